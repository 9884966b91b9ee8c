"""Inverses, rescaled channels and joined segments, against their definitions and signatures."""

from __future__ import annotations

import math
from typing import Any

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
SIZES = [(1, 5), (2, 5), (3, 3), (5, 2), (4, 1)]


@st.composite
def sizes(draw):
    """Draw leading axes, channels, depth, a type and a seed."""
    batch = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 2)]))
    channels = draw(st.integers(1, 5))
    depth = draw(st.integers(1, 5 if channels < 4 else 3))
    return batch, channels, depth, draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**32 - 1))


def random_path(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return a path of few digits, so that sums and products of some of them are exact."""
    return cases.short(rng.standard_normal(shape))


def random_tensor(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> np.ndarray:
    return rng.uniform(-1, 1, shape).astype(dtype)


# ---------------------------------------------------------------------------------------- inverses


@given(sizes())
def test_inverse_of_a_signature_is_that_of_the_reversed_path(arguments):
    batch, channels, depth, dtype, seed = arguments
    path = random_path(np.random.default_rng(seed), *batch, 6, channels).astype(dtype)
    value = pysig.signature(path, depth)
    reverse = path[..., ::-1, :]
    bound = reference.signature_bound(reverse.astype(np.float64), depth)
    expected = wide(pysig.signature(reverse, depth))
    inverse = pysig.signature_inverse(value, channels, depth)
    assert inverse.dtype == dtype
    assert_accurate(inverse, expected, bound, 2 * roundings(depth, 6))
    expected = algebra.reversed_words(value, channels, depth)
    assert np.array_equal(inverse, expected)


@given(sizes())
def test_product_of_a_signature_and_its_inverse_is_one(arguments):
    batch, channels, depth, dtype, seed = arguments
    path = random_path(np.random.default_rng(seed), *batch, 5, channels).astype(dtype)
    value = pysig.signature(path, depth)
    inverse = pysig.signature_inverse(value, channels, depth)
    bounds = [
        reference.signature_bound(points.astype(np.float64), depth)
        for points in (path, path[..., ::-1, :])
    ]

    def multiply(left, right):
        levels = (reference.split(wide(x), channels, depth, False, 1) for x in (left, right))
        return reference.flatten(reference.product(*levels), False)

    for sides in (slice(None), slice(None, None, -1)):
        one = multiply(*(value, inverse)[sides]).astype(dtype)
        zero = np.zeros(one.shape, np.longdouble)
        assert_accurate(one, zero, multiply(*bounds[sides]), 2 * roundings(depth, 5))


@given(sizes())
def test_inverse_of_any_tensor(arguments):
    batch, channels, depth, dtype, seed = arguments
    rng = np.random.default_rng(seed)
    tensor = random_tensor(rng, *batch, pysig.signature_channels(channels, depth), dtype=dtype)
    expected = algebra.inverse(wide(tensor), channels, depth)
    bound = algebra.inverse(abs(wide(tensor)), channels, depth, absolute=True)
    actual = pysig.tensor_inverse(tensor, channels, depth)
    assert actual.dtype == dtype
    assert_accurate(actual, expected, bound, 2 * depth + 2)


def test_both_inverses_agree_on_signatures_and_differ_on_means(rng):
    path = random_path(rng, 10, 8, 3)
    values = pysig.signature(path, 4)
    bound = algebra.inverse(reference.signature_bound(path, 4), 3, 4, absolute=True)
    antipode = wide(pysig.signature_inverse(values, 3, 4))
    assert_accurate(pysig.tensor_inverse(values, 3, 4), antipode, bound, 20)
    mean = values.mean(axis=0)
    assert not np.allclose(pysig.tensor_inverse(mean, 3, 4), pysig.signature_inverse(mean, 3, 4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
def test_gradient_of_inverses(rng, channels, depth, dtype):
    shape = (3, pysig.signature_channels(channels, depth))
    tensor, grad = (random_tensor(rng, *shape, dtype=dtype) for _ in range(2))
    direction = random_tensor(rng, *shape)
    for name, function in (
        ("signature_inverse", algebra.reversed_words),
        ("tensor_inverse", algebra.inverse),
    ):
        _, residuals = getattr(pysig, f"{name}_forward")(tensor, channels, depth)
        gradient = getattr(pysig, f"{name}_backward")(residuals, grad)
        algebra.assert_adjoint(
            [gradient],
            grad,
            lambda x, function=function: function(x, channels, depth),
            lambda x, function=function: function(x, channels, depth, absolute=True),
            [tensor],
            [direction],
            4 * depth + 4,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", [4, 8])
def test_levels_of_one_number(rng, depth, dtype):
    """Levels that are columns of an array, a power of two apart."""
    tensor = rng.integers(-9, 10, (5, depth)).astype(dtype)
    signs = np.array([(-1) ** k for k in range(1, depth + 1)])
    assert np.array_equal(pysig.signature_inverse(tensor, 1, depth), tensor * signs)
    expected = algebra.inverse(tensor.astype(int), 1, depth)
    assert np.array_equal(pysig.tensor_inverse(tensor.astype(float), 1, depth), expected)
    assert np.array_equal(pysig.tensor_inverse(tensor, 1, depth)[:, :4], expected[:, :4])


def test_scalar_terms_of_inverses(rng):
    tensor = random_tensor(rng, 2, 13)
    for function in (pysig.signature_inverse, pysig.tensor_inverse):
        without = function(tensor[:, 1:], 3, 2)
        with_term = function(tensor, 3, 2, scalar_term=True)
        assert np.array_equal(with_term[:, 1:], without)
    assert np.array_equal(
        pysig.signature_inverse(tensor, 3, 2, scalar_term=True)[:, 0], tensor[:, 0]
    )
    assert np.array_equal(with_term[:, 0], [1, 1])
    _, residuals = pysig.tensor_inverse_forward(tensor, 3, 2, scalar_term=True)
    assert np.array_equal(pysig.tensor_inverse_backward(residuals, tensor)[:, 0], [0, 0])


# ------------------------------------------------------------------------------- rescaled channels


@given(sizes())
def test_scaled_signature_is_that_of_the_scaled_path(arguments):
    batch, channels, depth, dtype, seed = arguments
    rng = np.random.default_rng(seed)
    path = random_path(rng, *batch, 6, channels).astype(dtype)
    scales = cases.short(rng.uniform(-2, 2, (*batch, channels))).astype(dtype)
    actual = pysig.signature_scale(pysig.signature(path, depth), scales, depth)
    assert actual.dtype == dtype
    scaled = path.astype(np.float64) * scales[..., None, :]
    expected = reference.signature(wide(scaled), depth)
    bound = reference.signature_bound(scaled, depth)
    assert_accurate(actual, expected, bound, 2 * roundings(depth, 6))


def test_leading_axes_of_scales_are_broadcast(rng):
    tensor, scales = random_tensor(rng, 4, 1, 14), random_tensor(rng, 5, 2)
    expected = algebra.scale(wide(tensor), wide(scales), 3)
    actual = pysig.signature_scale(tensor, scales, 3)
    assert actual.shape == (4, 5, 14)
    assert_accurate(actual, expected, abs(expected), 8)
    with_term = np.concatenate([np.full((4, 1, 1), 7.0), tensor], axis=-1)
    value = pysig.signature_scale(with_term, scales, 3, scalar_term=True)
    assert np.array_equal(value[..., 1:], actual)
    assert np.all(value[..., 0] == 7)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
@pytest.mark.parametrize("batches", [((3,), (3,)), ((), (3,)), ((3, 1), (2,))])
def test_gradients_of_scaling(rng, channels, depth, dtype, batches):
    words = pysig.signature_channels(channels, depth)
    tensor = random_tensor(rng, *batches[0], words, dtype=dtype)
    scales = random_tensor(rng, *batches[1], channels, dtype=dtype)
    value, residuals = pysig.signature_scale_forward(tensor, scales, depth)
    grad = random_tensor(rng, *value.shape, dtype=dtype)
    algebra.assert_adjoint(
        pysig.signature_scale_backward(residuals, grad),
        grad,
        lambda x, y: algebra.scale(x, y, depth),
        lambda x, y: algebra.scale(x, y, depth),
        [tensor, scales],
        [random_tensor(rng, *x.shape) for x in (tensor, scales)],
        4 * depth + 4 + math.sqrt(words),
    )


# -------------------------------------------------------------------------------- one more segment


@given(sizes(), st.booleans())
def test_joined_signature_is_that_of_the_longer_path(arguments, front):
    batch, channels, depth, dtype, seed = arguments
    rng = np.random.default_rng(seed)
    path = random_path(rng, *batch, 6, channels).astype(dtype)
    known = path[..., 1:, :] if front else path[..., :-1, :]
    segment = path[..., 1, :] - path[..., 0, :] if front else path[..., -1, :] - path[..., -2, :]
    actual = pysig.signature_join(pysig.signature(known, depth), segment, depth, front=front)
    assert actual.dtype == dtype
    bound = reference.signature_bound(path.astype(np.float64), depth)
    assert_accurate(actual, reference.signature(wide(path), depth), bound, roundings(depth, 6) + 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
@pytest.mark.parametrize("front", [False, True])
@pytest.mark.parametrize("batches", [((3,), (3,)), ((), (3,)), ((3, 1), (2,))])
def test_gradients_of_joining(rng, channels, depth, front, dtype, batches):
    words = pysig.signature_channels(channels, depth)
    tensor = random_tensor(rng, *batches[0], words, dtype=dtype)
    segment = random_tensor(rng, *batches[1], channels, dtype=dtype)

    def join(x, z):
        exponential = reference.exponential(z, depth)
        factors = [reference.split(x, channels, depth, scalar_term=False, scalar=1), exponential]
        return reference.flatten(reference.product(*factors[:: -1 if front else 1]), False)

    value, residuals = pysig.signature_join_forward(tensor, segment, depth, front=front)
    assert_accurate(
        value, join(wide(tensor), wide(segment)), join(abs(tensor), abs(segment)), depth + 4
    )
    grad = random_tensor(rng, *value.shape, dtype=dtype)
    algebra.assert_adjoint(
        pysig.signature_join_backward(residuals, grad),
        grad,
        join,
        join,
        [tensor, segment],
        [random_tensor(rng, *x.shape) for x in (tensor, segment)],
        4 * depth + 4 + math.sqrt(words),
    )


def test_scalar_term_of_joining(rng):
    tensor, segment = random_tensor(rng, 2, 13), random_tensor(rng, 2, 3)
    value, residuals = pysig.signature_join_forward(tensor, segment, 2, scalar_term=True)
    assert np.array_equal(value[:, 0], [1, 1])
    assert np.array_equal(value[:, 1:], pysig.signature_join(tensor[:, 1:], segment, 2))
    assert not pysig.signature_join_backward(residuals, tensor).signature[:, 0].any()


# ------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pysig.signature_inverse(np.zeros(5), 2, 2), ValueError, "last axis 6"),
        (lambda: pysig.signature_inverse(np.zeros(()), 2, 2), ValueError, "last axis 6"),
        (lambda: pysig.signature_inverse(np.zeros(6), 2, 0), ValueError, "depth"),
        (lambda: pysig.signature_inverse(np.zeros(6), 0, 2), ValueError, "channels"),
        (lambda: pysig.signature_inverse(np.zeros(6), 2.0, 2), TypeError, "channels"),
        (lambda: pysig.signature_inverse(np.zeros(6, complex), 2, 2), TypeError, "signature"),
        (lambda: pysig.signature_inverse(np.zeros(6), 10, 40), ValueError, "depth 40"),
        (lambda: pysig.tensor_inverse(np.zeros(6), 2, 2, scalar_term=True), ValueError, "tensor"),
        (lambda: pysig.tensor_inverse(np.zeros(6), 2, 2, scalar_term=1), TypeError, "scalar_term"),
        (lambda: pysig.signature_scale(np.zeros(6), np.zeros(3), 2), ValueError, "signature"),
        (lambda: pysig.signature_scale(np.zeros(6), np.zeros(()), 2), ValueError, "scales"),
        (
            lambda: pysig.signature_scale(np.zeros((2, 6)), np.zeros((3, 2)), 2),
            ValueError,
            "leading axes",
        ),
        (
            lambda: pysig.signature_scale(np.zeros(6), np.zeros(2, np.float32), 2),
            TypeError,
            "scales must be float64",
        ),
        (lambda: pysig.signature_join(np.zeros(6), np.zeros(0), 2), ValueError, "segment"),
        (lambda: pysig.signature_join(np.zeros(6), np.zeros(2), 2, front=2), TypeError, "front"),
        (
            lambda: pysig.signature_join(np.zeros((2, 6)), np.zeros((3, 2)), 2),
            ValueError,
            "leading axes",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bad_gradients(rng):
    tensor, scales = random_tensor(rng, 2, 6), random_tensor(rng, 2)
    for name, arguments in (
        ("signature_inverse", (tensor, 2, 2)),
        ("tensor_inverse", (tensor, 2, 2)),
        ("signature_scale", (tensor, scales, 2)),
        ("signature_join", (tensor, scales, 2)),
    ):
        _, residuals = getattr(pysig, f"{name}_forward")(*arguments)
        backward = getattr(pysig, f"{name}_backward")
        with pytest.raises(ValueError, match="grad must have the shape"):
            backward(residuals, tensor[:1])
        with pytest.raises(TypeError, match="grad must be float64"):
            backward(residuals, tensor.astype(np.float32))
        with pytest.raises(TypeError, match="residuals must be"):
            backward((tensor,), tensor)


def test_inputs_of_any_layout_are_left_alone(rng):
    tensor = random_tensor(rng, 6, 2).T
    tensor.flags.writeable = False
    before = tensor.copy()
    for function in (pysig.signature_inverse, pysig.tensor_inverse):
        assert np.array_equal(function(tensor, 2, 2), function(before, 2, 2))
    scales = np.broadcast_to(np.float64(2), (2,))
    value = pysig.signature_scale(tensor, scales, 2)
    assert np.array_equal(value, tensor * [2, 2, 4, 4, 4, 4])
    assert np.array_equal(tensor, before)
    assert pysig.signature_inverse(np.ones(6, int), 2, 2).dtype == np.float64
