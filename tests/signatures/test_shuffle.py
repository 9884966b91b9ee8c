"""The shuffle product, against all interleavings of all pairs of words."""

from __future__ import annotations

import math

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import algebra_reference as algebra
from reference import signature_cases as cases
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)
SIZES = [(1, 8), (2, 5), (3, 4), (5, 2), (4, 1)]


def random_tensor(rng, *shape, dtype=np.float64):
    return rng.uniform(-1, 1, shape).astype(dtype)


def with_scalars(function, channels, depth):
    """Return the same for tensors with scalar terms."""

    def product(first, second):
        a, b = first[..., :1], second[..., :1]
        x, y = first[..., 1:], second[..., 1:]
        words = function(x, y, channels, depth) + a * y + x * b
        return np.concatenate([a * b, words], axis=-1)

    return product


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
@pytest.mark.parametrize(
    "batches", [((), ()), ((3,), (3,)), ((), (3,)), ((3, 1), (2,)), ((0,), ())]
)
def test_every_pair_of_words(rng, channels, depth, dtype, batches):
    words = pysig.signature_channels(channels, depth)
    first, second = (random_tensor(rng, *batch, words, dtype=dtype) for batch in batches)
    expected = algebra.shuffle_product(wide(first), wide(second), channels, depth)
    bound = algebra.shuffle_product(abs(wide(first)), abs(wide(second)), channels, depth)
    actual = pysig.shuffle_product(first, second, channels, depth)
    assert actual.dtype == dtype
    assert_accurate(actual, expected, bound, 2 * depth + 2)


@pytest.mark.parametrize(("channels", "depth"), SIZES)
def test_scalar_terms(rng, channels, depth):
    words = pysig.signature_channels(channels, depth, scalar_term=True)
    first, second = random_tensor(rng, 3, words), random_tensor(rng, words)
    product = with_scalars(algebra.shuffle_product, channels, depth)
    actual = pysig.shuffle_product(first, second, channels, depth, scalar_term=True)
    bound = product(abs(wide(first)), abs(wide(second)))
    assert_accurate(actual, product(wide(first), wide(second)), bound, 2 * depth + 2)


def test_integers_are_exact(rng):
    first, second = rng.integers(-3, 4, (2, 62))
    expected = algebra.shuffle_product(first, second, 2, 5)
    assert np.array_equal(pysig.shuffle_product(first, second, 2, 5), expected)
    assert np.array_equal(pysig.shuffle_product(second, first, 2, 5), expected)


def test_product_is_associative(rng):
    x, y, z = rng.integers(-3, 4, (3, 4, 31)).astype(float)

    def multiply(a, b):
        return pysig.shuffle_product(a, b, 2, 4, scalar_term=True)

    assert np.array_equal(multiply(multiply(x, y), z), multiply(x, multiply(y, z)))


def test_powers_of_a_letter():
    """k-th powers of the word (0) are k! times the word with k letters 0."""
    letter = power = np.eye(1, 62)[0]
    for k in range(2, 6):
        power = pysig.shuffle_product(power, letter, 2, 5)
        expected = np.zeros(62)
        expected[2**k - 2] = math.factorial(k)
        assert np.array_equal(power, expected)


@st.composite
def functionals(draw):
    """Draw a path, a depth and two combinations of words of together at most so many letters."""
    channels = draw(st.integers(1, 4))
    depth = draw(st.integers(2, 5 if channels < 4 else 4))
    cut = draw(st.integers(1, depth - 1))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    path = cases.random_path(rng, (3, 7, channels)).astype(draw(st.sampled_from(DTYPES)))
    words = pysig.signature_channels(channels, depth)
    pair = rng.integers(-2, 3, (2, words)).astype(path.dtype)
    for functional, deepest in zip(pair, (cut, depth - cut), strict=True):
        functional[pysig.signature_channels(channels, deepest) :] = 0
    return path, depth, pair


@given(functionals())
def test_products_of_functionals_of_signatures(arguments):
    """<S, u> <S, v> = <S, u ⧢ v>."""
    path, depth, (first, second) = arguments
    product = pysig.shuffle_product(first, second, path.shape[-1], depth)
    size = algebra.shuffle_product(abs(wide(first)), abs(wide(second)), path.shape[-1], depth)
    value = wide(pysig.signature(path, depth))
    bound = reference.signature_bound(path.astype(np.float64), depth)
    difference = (value @ wide(first)) * (value @ wide(second)) - value @ wide(product)
    tolerance = 4 * roundings(depth, 7) * np.finfo(path.dtype).eps * (bound @ size)
    assert np.all(abs(difference) <= tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
@pytest.mark.parametrize("batches", [((3,), (3,)), ((), (3,)), ((3, 1), (2,))])
@pytest.mark.parametrize("scalar_term", [False, True])
def test_gradients(rng, channels, depth, dtype, batches, scalar_term):
    words = pysig.signature_channels(channels, depth, scalar_term)
    arrays = [random_tensor(rng, *batch, words, dtype=dtype) for batch in batches]
    options = {"scalar_term": scalar_term}
    value, residuals = pysig.shuffle_product_forward(*arrays, channels, depth, **options)
    grad = random_tensor(rng, *value.shape, dtype=dtype)

    def function(x, y):
        if scalar_term:
            return with_scalars(algebra.shuffle_product, channels, depth)(x, y)
        return algebra.shuffle_product(x, y, channels, depth)

    algebra.assert_adjoint(
        pysig.shuffle_product_backward(residuals, grad),
        grad,
        function,
        function,
        arrays,
        [random_tensor(rng, *x.shape) for x in arrays],
        4 * depth + 4 + math.sqrt(words),
    )


def test_bad_arguments(rng):
    tensor = random_tensor(rng, 2, 6)
    for arguments, error, message in (
        ((tensor[:, :5], tensor, 2, 2), ValueError, "first must have the last axis 6"),
        ((tensor, tensor[:, :5], 2, 2), ValueError, "second must have the last axis 6"),
        ((tensor, np.zeros((3, 6)), 2, 2), ValueError, "leading axes of first"),
        ((tensor, tensor.astype(np.float32), 2, 2), TypeError, "second must be float64"),
        ((tensor, tensor, 2, 0), ValueError, "depth"),
    ):
        with pytest.raises(error, match=message):
            pysig.shuffle_product(*arguments)
    _, residuals = pysig.shuffle_product_forward(tensor, tensor, 2, 2)
    with pytest.raises(ValueError, match="grad must have the shape"):
        pysig.shuffle_product_backward(residuals, tensor[:1])
    with pytest.raises(TypeError, match="residuals must be"):
        pysig.shuffle_product_backward((tensor,), tensor)
