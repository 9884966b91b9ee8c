"""Exponential and logarithm of tensors: the series, identities, gradients, input."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import logsignature_reference as reference
from reference import signature_cases as cases
from reference.accuracy import assert_accurate, wide

import pysig

DTYPES = (np.float32, np.float64)
# Sizes that are computed side by side and row by row, with all numbers of letters at the end.
SIZES = [
    ((), 2, 3),
    ((), 1, 6),
    ((1,), 5, 4),
    ((3,), 4, 3),
    ((8,), 3, 4),
    ((2, 9), 2, 6),
    ((33,), 6, 2),
    ((17,), 7, 1),
    ((2,), 30, 2),
    ((9,), 11, 3),
    ((20,), 9, 4),
]


def functions(logarithm: bool) -> Any:
    """Return one of the two functions, its forward and its backward."""
    name = "tensor_log" if logarithm else "tensor_exp"
    return [getattr(pysig, name + end) for end in ("", "_forward", "_backward")]


def tensor(rng: np.random.Generator, batch: tuple[int, ...], channels: int, depth: int) -> Any:
    """Return tensors with numbers that are exact in float32, of the sizes of a signature's."""
    sizes = [1 / math.factorial(k) for k in range(1, depth + 1) for _ in range(channels**k)]
    return cases.short(rng.standard_normal((*batch, len(sizes))) * np.sqrt(sizes))


def roundings(depth: int) -> float:
    """A product for each power, and sums of up to depth - 1 numbers in each of them."""
    return 4 + depth**2 / 2


@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize(("batch", "channels", "depth"), SIZES)
def test_series(rng, batch, channels, depth, logarithm):
    x = tensor(rng, batch, channels, depth)
    expected = reference.series(wide(x), channels, depth, logarithm)
    bound = reference.series_bound(x, channels, depth, logarithm)
    for dtype in DTYPES:
        function = functions(logarithm)[0]
        value = function(x.astype(dtype), channels, depth)
        assert value.dtype == dtype
        assert_accurate(value, expected, bound, roundings(depth))
        longer = np.concatenate([np.full((*batch, 1), 7.0), x], axis=-1).astype(dtype)
        with_scalar = function(longer, channels, depth, scalar_term=True)
        np.testing.assert_array_equal(with_scalar[..., 0], 0 if logarithm else 1)
        np.testing.assert_array_equal(with_scalar[..., 1:], value)


@pytest.mark.parametrize("logarithm", [False, True])
@pytest.mark.parametrize(("batch", "channels", "depth"), SIZES)
def test_gradient_is_the_adjoint_of_the_derivative(rng, batch, channels, depth, logarithm):
    """With the derivative by the complex step, and its bound that of the absolute values."""
    x, direction, grad = (tensor(rng, batch, channels, depth) for _ in range(3))
    step = np.clongdouble(1e-200j)
    moved = reference.series(wide(x) + step * direction, channels, depth, logarithm)
    expected = cases.pairing(grad, moved.imag / step.imag)
    factors = [abs(factor) for factor in reference.coefficients(depth, logarithm)]
    both = wide(abs(x)) + step * abs(direction)
    bound = reference.power_series(both, channels, depth, factors).imag / step.imag
    tolerance = 2 * roundings(depth) * cases.pairing(abs(grad), bound)
    for dtype in DTYPES:
        _, forward, backward = functions(logarithm)
        _, residuals = forward(x.astype(dtype), channels, depth)
        gradient = backward(residuals, grad.astype(dtype))
        assert gradient.dtype == dtype
        difference = abs(cases.pairing(gradient, direction) - expected)
        assert difference <= np.finfo(dtype).eps * tolerance


@pytest.mark.parametrize("logarithm", [False, True])
def test_gradient_of_the_scalar_term_is_zero(rng, logarithm):
    x, grad = (tensor(rng, (3,), 2, 4) for _ in range(2))
    _, forward, backward = functions(logarithm)
    _, residuals = forward(x, 2, 4)
    expected = backward(residuals, grad)
    longer = [np.concatenate([np.full((3, 1), 5.0), array], axis=-1) for array in (x, grad)]
    _, residuals = forward(longer[0], 2, 4, scalar_term=True)
    gradient = backward(residuals, longer[1])
    np.testing.assert_array_equal(gradient[:, 0], 0)
    np.testing.assert_array_equal(gradient[:, 1:], expected)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 9]))
def test_property_inverses(channels, depth, seed, batch):
    depth = min(depth, {1: 5, 2: 5, 3: 4}.get(channels, 3))
    x = tensor(np.random.default_rng(seed), (batch,), channels, depth)
    for logarithm in (False, True):
        one, other = functions(logarithm)[0], functions(not logarithm)[0]
        inner = reference.series_bound(x, channels, depth, logarithm)
        bound = reference.series_bound(inner, channels, depth, not logarithm)
        there_and_back = other(one(x, channels, depth), channels, depth)
        assert_accurate(there_and_back, wide(x), bound, 2 * roundings(depth))


def test_exponential_of_a_vector_is_the_signature_of_a_line(rng):
    z = rng.standard_normal((5, 3))
    x = np.concatenate([z, np.zeros((5, 117))], axis=-1)
    line = pysig.signature(np.stack([0 * z, z], axis=1), 4)
    np.testing.assert_allclose(pysig.tensor_exp(x, 3, 4), line, rtol=1e-14, atol=1e-16)
    logarithm = pysig.tensor_log(line, 3, 4)
    np.testing.assert_allclose(logarithm, x, rtol=1e-14, atol=1e-14)


def test_deep_series_do_not_underflow():
    """In float32 1 / 40! is 0, but the exponential of 30 in one letter is not."""
    x = np.zeros(40, np.float32)
    x[0] = 30
    expected = [30.0**k / math.factorial(k) for k in range(1, 41)]
    np.testing.assert_allclose(pysig.tensor_exp(x, 1, 40), expected, rtol=1e-5)


# --- input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("logarithm", [False, True])
def test_any_layout_and_integers(rng, logarithm):
    function, forward, backward = functions(logarithm)
    x = tensor(rng, (4, 6), 2, 3)
    expected = function(x, 2, 3)
    np.testing.assert_array_equal(function(x.copy(order="F"), 2, 3), expected)
    np.testing.assert_array_equal(function(x[::2, ::-1], 2, 3), expected[::2, ::-1])
    whole = np.arange(14)
    np.testing.assert_array_equal(function(whole, 2, 3), function(whole.astype(float), 2, 3))
    kept = x.copy()
    _, residuals = forward(x, 2, 3)
    grad = expected.copy()
    backward(residuals, grad)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(grad, expected)
    assert function(np.zeros((3, 0, 14)), 2, 3).shape == (3, 0, 14)
    again = pickle.loads(pickle.dumps(residuals))
    np.testing.assert_array_equal(backward(again, grad), backward(residuals, grad))


def test_nan_stays_in_its_row(rng):
    x = tensor(rng, (20,), 2, 4)
    x[7] = np.nan
    for function in (pysig.tensor_log, pysig.tensor_exp):
        bad = np.isnan(function(x, 2, 4))
        assert bad[7].all()
        assert not np.delete(bad, 7, axis=0).any()


@pytest.mark.parametrize("logarithm", [False, True])
def test_bad_arguments_are_refused(logarithm):
    function, forward, backward = functions(logarithm)
    x = np.zeros((2, 6))
    for arguments, error, match in (
        ((x, 2, 3), ValueError, "with the last axis 14, not"),
        ((1.0, 2, 2), ValueError, "with the last axis 6, not"),
        ((x, 0, 2), ValueError, "channels must be between"),
        ((x, 2, 65), ValueError, "depth must be between"),
        ((x, 2.5, 2), TypeError, "channels must be an integer"),
        ((x.astype(complex), 2, 2), TypeError, "tensor must be float32"),
    ):
        with pytest.raises(error, match=match):
            function(*arguments)
    with pytest.raises(TypeError, match="scalar_term"):
        function(x, 2, 2, scalar_term=1)
    _, residuals = forward(x, 2, 2)
    with pytest.raises(ValueError, match="grad must have the shape of the result"):
        backward(residuals, x[0])
    with pytest.raises(TypeError, match="grad must be float64"):
        backward(residuals, x.astype(np.float32))
    with pytest.raises(TypeError, match="residuals must be Tensor"):
        backward(x, x)
