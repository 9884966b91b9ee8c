"""Products of signatures: Chen's identity, the definition, gradients, other libraries, input."""

from __future__ import annotations

import itertools
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, wide

import pysig
from pysig.signatures import product as tables

DTYPES = (np.float32, np.float64)
# (channels, depth): each number of channels that has code of its own, and others.
SIZES = [
    (1, 5),
    (2, 1),
    (2, 2),
    (2, 7),
    (3, 1),
    (3, 4),
    (4, 4),
    (5, 3),
    (6, 3),
    (7, 3),
    (8, 3),
    (9, 2),
    (13, 3),
    (32, 2),
    (41, 2),
    (100, 1),
]


def random_rows(rng: np.random.Generator, *shape: int) -> Any:
    """Return numbers that are exact in float32."""
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def levels(rows: Any, channels: int, depth: int, scalar: int = 1) -> reference.Levels:
    return reference.split(wide(rows), channels, depth, False, scalar)


def check_product(actual: np.ndarray, factors: list[np.ndarray], channels: int, depth: int) -> None:
    """Compare a product with the definition; factors have no scalar term."""
    expected = levels(factors[0], channels, depth)
    bound = levels(abs(factors[0]), channels, depth)
    for factor in factors[1:]:
        expected = reference.product(expected, levels(factor, channels, depth))
        bound = reference.product(bound, levels(abs(factor), channels, depth))
    roundings = 2 + depth * max(1, math.ceil(math.log2(len(factors))))
    assert_accurate(
        actual, reference.flatten(expected, False), reference.flatten(bound, False), roundings
    )


def check_gradients(
    actual: Any, first: np.ndarray, second: np.ndarray, grad: np.ndarray, channels: int, depth: int
) -> None:
    """Compare gradients of a product of arrays of one shape with the definition."""
    for absolute in (False, True):
        rows = (abs(x) if absolute else x for x in (first, second))
        arguments = [levels(x, channels, depth) for x in rows]
        scaled = levels(abs(grad) if absolute else grad, channels, depth, 0)
        gradients = reference.product_vjp(arguments[0], arguments[1], scaled)
        flat = [reference.flatten(x, False) for x in gradients]
        if absolute:
            bounds = flat
        else:
            expected = flat
    roundings = 2 + depth + math.sqrt(first.shape[-1]) / 4  # sums over all continuations of a word
    for one in zip(actual, expected, bounds, strict=True):
        assert_accurate(*one, roundings)


# --------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
def test_definition(rng, channels, depth, dtype):
    words = pysig.signature_channels(channels, depth)
    for rows in (1, 2, 19):
        first, second, grad = random_rows(rng, 3, rows, words).astype(dtype)
        value, residuals = pysig.signature_combine_forward(first, second, channels, depth)
        assert value.dtype == dtype
        assert np.array_equal(value, pysig.signature_combine(first, second, channels, depth))
        check_product(value, [first, second], channels, depth)
        gradients = pysig.signature_combine_backward(residuals, grad)
        check_gradients(gradients, first, second, grad, channels, depth)


@given(
    st.integers(1, 6),
    st.integers(1, 5),
    st.lists(st.integers(1, 9), min_size=1, max_size=7),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_chen(channels, depth, lengths, scalar_term, seed):
    """The signature of a path is the product of those of its pieces, in any grouping."""
    rng = np.random.default_rng(seed)
    path = rng.standard_normal((sum(lengths) + 1, channels)) / sum(lengths)
    ends = np.cumsum([0, *lengths])
    pieces = [
        pysig.signature(path[i : j + 1], depth, scalar_term=scalar_term)
        for i, j in itertools.pairwise(ends)
    ]
    sizes = channels, depth
    whole = pysig.signature(path, depth, scalar_term=scalar_term)
    one_by_one = pieces[0]
    for piece in pieces[1:]:
        one_by_one = pysig.signature_combine(one_by_one, piece, *sizes, scalar_term=scalar_term)
    tree = pysig.multi_signature_combine(np.stack(pieces), *sizes, scalar_term=scalar_term)
    bound = 1e-15 * (depth + len(lengths)) * np.exp(np.abs(np.diff(path, axis=0)).sum())
    for value in (one_by_one, tree):
        np.testing.assert_allclose(value, whole, rtol=0, atol=bound)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 15, 16, 17, 70])
def test_many_factors(rng, count):
    factors = random_rows(rng, 3, count, 14) / 2
    value, residuals = pysig.multi_signature_combine_forward(factors, 2, 3)
    check_product(value, list(np.moveaxis(factors, 1, 0)), 2, 3)
    sequence = [np.ascontiguousarray(factors[:, i]) for i in range(count)]
    assert np.array_equal(pysig.multi_signature_combine(sequence, 2, 3), value)
    assert value.base is not factors
    grad = random_rows(rng, 3, 14)
    gradient = pysig.multi_signature_combine_backward(residuals, grad)
    direction = random_rows(rng, *factors.shape)
    complex_step = levels_of_complex_product(factors + 1e-30j * direction)
    expected = np.sum(grad * (complex_step.imag / 1e-30))
    terms = np.sum(abs(grad) * reference_bound(factors, direction))
    assert abs(np.sum(gradient * direction) - expected) <= 1e-14 * terms
    _, residuals = pysig.multi_signature_combine_forward(sequence, 2, 3)
    gradients = pysig.multi_signature_combine_backward(residuals, grad)
    assert isinstance(gradients, tuple)
    assert np.array_equal(np.stack(gradients, axis=1), gradient)


def levels_of_complex_product(factors: np.ndarray) -> Any:
    """Return the product along axis 1 for 2 channels and depth 3, of any type."""
    value = reference.split(factors[:, 0], 2, 3, False, 1)
    for i in range(1, factors.shape[1]):
        value = reference.product(value, reference.split(factors[:, i], 2, 3, False, 1))
    return reference.flatten(value, False)


def reference_bound(factors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    return levels_of_complex_product(abs(factors) + abs(direction)).real


def test_a_unit_changes_nothing(rng):
    row = random_rows(rng, 5, 84)
    unit = np.zeros(84)
    for pair in ((row, unit), (unit, row)):
        np.testing.assert_array_equal(pysig.signature_combine(*pair, 4, 3), row)


@pytest.mark.parametrize(
    ("first_shape", "second_shape"),
    [((), (4,)), ((4,), ()), ((3, 1), (4,)), ((1,), (2, 1)), ((2, 1, 3), (5, 1)), ((0,), (1,))],
)
@pytest.mark.parametrize("scalar_term", [False, True])
def test_leading_axes_broadcast(rng, first_shape, second_shape, scalar_term):
    first, second = (random_rows(rng, *s, 12 + scalar_term) for s in (first_shape, second_shape))
    value, residuals = pysig.signature_combine_forward(first, second, 3, 2, scalar_term=scalar_term)
    whole = np.broadcast_arrays(first, second)
    expected, full = pysig.signature_combine_forward(
        whole[0], whole[1], 3, 2, scalar_term=scalar_term
    )
    np.testing.assert_array_equal(value, expected)
    if scalar_term:
        np.testing.assert_array_equal(value[..., 0], 1)
    grad = random_rows(rng, *value.shape)
    gradients = pysig.signature_combine_backward(residuals, grad)
    for array, one, other in zip(
        (first, second), gradients, pysig.signature_combine_backward(full, grad), strict=True
    ):
        assert one.shape == array.shape
        axes = tuple(range(other.ndim - array.ndim))
        total = other.sum(axis=axes)
        total = total.sum(
            axis=tuple(i for i, n in enumerate(array.shape) if n == 1 != total.shape[i]),
            keepdims=True,
        )
        np.testing.assert_allclose(one, total, rtol=1e-13, atol=1e-13)
        if scalar_term:
            np.testing.assert_array_equal(one[..., 0], 0)


def test_a_scalar_term_counts_as_one(rng):
    first, second, grad = random_rows(rng, 3, 6, 39)
    plain, plain_residuals = pysig.signature_combine_forward(first, second, 3, 3)
    with_nan = [np.insert(x, 0, np.nan, axis=-1) for x in (first, second, grad)]
    value, residuals = pysig.signature_combine_forward(
        with_nan[0], with_nan[1], 3, 3, scalar_term=True
    )
    np.testing.assert_array_equal(value, np.insert(plain, 0, 1, axis=-1))
    gradients = pysig.signature_combine_backward(residuals, with_nan[2])
    expected = pysig.signature_combine_backward(plain_residuals, grad)
    for one, other in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(one, np.insert(other, 0, 0, axis=-1))


# ------------------------------------------------------------------------------ rows by index


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), [(2, 5), (3, 3), (4, 3), (5, 2), (9, 2), (1, 3)])
def test_rows_by_index(rng, channels, depth, dtype):
    """Up to four factors, shared rows, factors left out; the gradient adds up over all uses."""
    words = pysig.signature_channels(channels, depth)
    table = random_rows(rng, 2, 5, words).astype(dtype)
    other = random_rows(rng, 2, 3, words).astype(dtype)
    indices = (
        np.array([0, 4, -1, 3, 3, -1, 2], np.intp),
        np.array([2, 2, 1, -1, 0, -1, 0], np.intp),
        np.array([4, 0, 0, -1, 3, -1, -1], np.intp),
        np.array([1, -1, 2, -1, 4, -1, 3], np.intp),
    )
    factors = (table, other, table, table)
    product = np.full((2, 7, words), np.nan, dtype)
    tables.multiply(product, factors, indices, channels, depth, False)
    chosen = [
        np.where((index >= 0)[:, None], factor[:, index], 0)
        for factor, index in zip(factors, indices, strict=True)
    ]
    check_product(product, [np.ascontiguousarray(x) for x in chosen], channels, depth)
    grad = random_rows(rng, 2, 7, words).astype(dtype)
    expected, bound = (
        gradients_of_rows([f(x) for x in chosen], f(grad), channels, depth)
        for f in (wide, absolute)
    )
    for array, positions in ((table, (0, 2, 3)), (other, (1,))):
        sums = np.zeros((2, *array.shape), np.longdouble)
        for position in positions:
            for r, row in enumerate(indices[position]):
                if row >= 0:
                    sums[0][:, row] += expected[position][:, r]
                    sums[1][:, row] += bound[position][:, r]
        uses = tables.uses_of_rows([indices[p] for p in positions], array.shape[1], positions)
        gradient = np.full_like(array, np.nan)
        arguments = (grad, factors, indices, channels, depth, False, uses)
        tables.product_gradient(gradient, *arguments)
        assert_accurate(gradient, sums[0], sums[1], 10 + math.sqrt(words))
        tables.product_gradient(gradient, *arguments, add=True)
        np.testing.assert_allclose(gradient, 2 * sums[0].astype(dtype), rtol=1e-3, atol=1e-3)


def absolute(array: np.ndarray) -> np.ndarray:
    return wide(abs(array))


def gradients_of_rows(
    factors: list[np.ndarray], grad: np.ndarray, channels: int, depth: int
) -> list[np.ndarray]:
    """Return the gradients of a product of rows in each factor, by the definition."""
    rows = [levels(x, channels, depth) for x in factors]
    products = [rows[0]]
    for row in rows[1:]:
        products.append(reference.product(products[-1], row))
    gradient = levels(grad, channels, depth, 0)
    result = []
    for before, row in zip(products[-2::-1], rows[:0:-1], strict=True):
        gradient, last = reference.product_vjp(before, row, gradient)
        result.append(reference.flatten(last, False))
    return [reference.flatten(gradient, False), *result[::-1]]


@pytest.mark.usefixtures("keep_num_threads")
def test_result_does_not_depend_on_the_number_of_threads(rng):
    table = rng.standard_normal((1, 400, 340)).astype(np.float32)
    indices = tuple(rng.integers(-1, 400, (4, 3000)))
    grad = rng.standard_normal((1, 3000, 340)).astype(np.float32)
    uses = tables.uses_of_rows(indices, 400, range(4))
    results = []
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        product, gradient = np.empty_like(grad), np.empty_like(table)
        tables.multiply(product, (table,) * 4, indices, 4, 4, False)
        tables.product_gradient(gradient, grad, (table,) * 4, indices, 4, 4, False, uses)
        results.append(product.tobytes() + gradient.tobytes())
    assert results[0] == results[1] == results[2]


# ------------------------------------------------------------------------------ other libraries

PEERS = np.load(Path(__file__).with_name("product_peers.npz"), allow_pickle=False)


@pytest.mark.parametrize(("i", "size"), list(enumerate(PEERS["sizes"])), ids=str)
def test_agreement_with_other_libraries(i, size):
    _, channels, depth = map(int, size)
    value, residuals = pysig.signature_combine_forward(
        PEERS[f"first_{i}"], PEERS[f"second_{i}"], channels, depth
    )
    gradients = pysig.signature_combine_backward(residuals, PEERS[f"grad_{i}"].astype(float))
    for actual, name in (
        (value, "pysiglib"),
        (value, "iisignature"),
        (gradients.first, "first_gradient"),
        (gradients.second, "second_gradient"),
    ):
        expected = PEERS[f"{name}_{i}"]
        # iisignature's products have float32's precision.
        tolerance = 400 * np.finfo(expected.dtype).eps
        assert np.max(abs(actual - expected)) <= tolerance * np.max(abs(expected))


# ------------------------------------------------------------------------------------- the input


def test_layouts_and_types_of_the_input(rng):
    first, second = random_rows(rng, 2, 6, 12)
    expected = pysig.signature_combine(first, second, 3, 2)
    for change in (np.asfortranarray, lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: x.tolist()):
        np.testing.assert_array_equal(
            pysig.signature_combine(change(first), change(second), 3, 2), expected
        )
    assert pysig.signature_combine([1, 2], [3, 4], 1, 2).dtype == np.float64
    assert pysig.signature_combine([1, 2], np.array([3, 4], np.float32), 1, 2).dtype == np.float32
    first.setflags(write=False)
    pysig.signature_combine(first, second, 3, 2)


def test_residuals_can_be_pickled(rng):
    first, second = random_rows(rng, 2, 6, 12)
    value, residuals = pysig.signature_combine_forward(first, second, 3, 2)
    again = pickle.loads(pickle.dumps(residuals))
    for one, other in zip(
        pysig.signature_combine_backward(again, value),
        pysig.signature_combine_backward(residuals, value),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


ROW = np.zeros(6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((ROW, ROW, 2, 3), ValueError, r"first must have the shape .* the last axis 14"),
        ((ROW, np.zeros(7), 2, 2), ValueError, "second must have the shape"),
        ((np.float64(3), ROW, 2, 2), ValueError, "first must have the shape"),
        ((np.zeros((2, 6)), np.zeros((3, 6)), 2, 2), ValueError, "broadcast against each other"),
        ((ROW, ROW.astype(np.float32), 2, 2), TypeError, "second must be float64"),
        ((ROW.astype(complex), ROW, 2, 2), TypeError, "first must be float32"),
        ((ROW, ROW, 0, 2), ValueError, "channels"),
        ((ROW, ROW, 2, 0), ValueError, "depth"),
        ((ROW, ROW, 2.0, 2), TypeError, "channels"),
    ],
)
def test_combine_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        pysig.signature_combine(*arguments)


@pytest.mark.parametrize(
    ("signatures", "error", "message"),
    [
        (ROW, ValueError, r"signatures must have the shape \(..., count"),
        (np.zeros((0, 6)), ValueError, "at least one factor"),
        ([], ValueError, "at least one factor"),
        ([ROW, np.zeros(7)], ValueError, r"signatures\[1\] must have the shape"),
        ([np.zeros((2, 6)), np.zeros((3, 6))], ValueError, "broadcast against each other"),
        ([ROW, ROW.astype(np.float32)], TypeError, r"signatures\[1\] must be float64"),
    ],
)
def test_multi_combine_refuses(signatures, error, message):
    with pytest.raises(error, match=message):
        pysig.multi_signature_combine(signatures, 2, 2)


def test_backward_refuses(rng):
    value, residuals = pysig.signature_combine_forward(ROW, ROW, 2, 2)
    _, many = pysig.multi_signature_combine_forward([ROW, ROW], 2, 2)
    for backward, right, wrong in (
        (pysig.signature_combine_backward, residuals, many),
        (pysig.multi_signature_combine_backward, many, residuals),
    ):
        with pytest.raises(TypeError, match="residuals must be"):
            backward(wrong, value)
        with pytest.raises(ValueError, match="grad must have the shape"):
            backward(right, value[:5])
        with pytest.raises(TypeError, match="grad must be float64"):
            backward(right, value.astype(np.float32))


def test_nan_stays_in_its_row(rng):
    first, second = random_rows(rng, 2, 9, 39)
    first[4, 7] = np.nan
    value, residuals = pysig.signature_combine_forward(first, second, 3, 3)
    gradients = pysig.signature_combine_backward(residuals, np.ones_like(value))
    for array in (value, gradients.second):
        np.testing.assert_array_equal(np.isnan(array).any(axis=1), np.arange(9) == 4)
    assert not np.isnan(gradients.first).any()
