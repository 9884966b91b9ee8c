"""What soft_sort and soft_rank refuse, and how."""

from __future__ import annotations

import numpy as np
import pytest

import pysig

OPERATIONS = ["soft_sort", "soft_rank"]
operations = pytest.mark.parametrize("operation", OPERATIONS)
suffixes = pytest.mark.parametrize("suffix", ["", "_forward"])


@operations
@suffixes
@pytest.mark.parametrize("regularization", ["l2", "kl"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 20, 1000])
def test_nan_is_refused(operation, suffix, regularization, dtype, n):
    function = getattr(pysig, operation + suffix)
    for place in sorted({0, n // 2, n - 1}):
        for rest in [np.zeros(n), np.arange(n), -np.arange(n), np.sin(np.arange(n))]:
            x = np.stack([np.arange(n), rest]).astype(dtype)
            x[1, place] = np.nan
            with pytest.raises(ValueError, match="x must not have NaN"):
                function(x, regularization=regularization)


@suffixes
@pytest.mark.parametrize("regularization", ["l2", "kl"])
@pytest.mark.parametrize("n", [1, 2, 20, 1000])
def test_soft_sort_refuses_infinity(suffix, regularization, n):
    for infinite in [np.inf, -np.inf]:
        for rest in [np.zeros(n), np.arange(n), -np.arange(n), np.sin(np.arange(n))]:
            x = rest.astype(float)
            x[n // 2] = infinite
            for direction in ["ascending", "descending"]:
                with pytest.raises(ValueError, match="x must be finite"):
                    getattr(pysig, "soft_sort" + suffix)(
                        x, regularization=regularization, direction=direction
                    )


@operations
@suffixes
def test_options(operation, suffix):
    function = getattr(pysig, operation + suffix)
    x = np.zeros(3)
    for strength in [0, -1.0, np.inf, -np.inf, np.nan, 1e-310]:
        with pytest.raises(ValueError, match=f"regularization_strength .* not {float(strength)}"):
            function(x, regularization_strength=strength)
    for strength in ["1", None, True, 1j, [1.0]]:
        with pytest.raises(TypeError, match="regularization_strength must be a real number"):
            function(x, regularization_strength=strength)
    for regularization in ["L2", "entropy", None, 2]:
        with pytest.raises(ValueError, match='regularization must be "l2" or "kl"'):
            function(x, regularization=regularization)
    for direction in ["ASCENDING", None, 1]:
        with pytest.raises(ValueError, match='direction must be "ascending" or "descending"'):
            function(x, direction=direction)
    for strength in [2, np.float32(2), np.int8(2)]:
        np.testing.assert_array_equal(
            getattr(pysig, operation)(x, regularization_strength=strength),
            getattr(pysig, operation)(x, regularization_strength=2.0),
        )


@operations
@suffixes
def test_axis(operation, suffix):
    function = getattr(pysig, operation + suffix)
    for axis in [2, -3]:
        with pytest.raises(ValueError, match="axis must be between -2 and 1"):
            function(np.zeros((2, 2)), axis=axis)
    for axis in [None, 1.0, (0,)]:
        with pytest.raises(TypeError, match="axis must be an integer"):
            function(np.zeros((2, 2)), axis=axis)
    with pytest.raises(ValueError, match="x must have at least one axis"):
        function(1.0)


@operations
@suffixes
def test_types(operation, suffix):
    function = getattr(pysig, operation + suffix)
    for x in [["a"], [1j], [None], np.zeros(3, np.float16), np.zeros(3, np.longdouble)]:
        with pytest.raises(TypeError, match="x must be float32, float64 or integers"):
            function(x)
    with pytest.raises(TypeError, match="masked"):
        function(np.ma.masked_array([1.0, 2.0], [True, False]))


@operations
@pytest.mark.parametrize("regularization", ["l2", "kl"])
def test_backward(operation, regularization):
    forward = getattr(pysig, operation + "_forward")
    backward = getattr(pysig, operation + "_backward")
    value, residuals = forward(np.zeros((2, 3), np.float32), axis=0, regularization=regularization)
    with pytest.raises(ValueError, match=r"grad must have the shape of .* \(2, 3\), not \(3, 2\)"):
        backward(residuals, np.zeros((3, 2), np.float32))
    with pytest.raises(TypeError, match="grad must be float32"):
        backward(residuals, np.zeros((2, 3)))
    other = pysig.soft_rank_forward if operation == "soft_sort" else pysig.soft_sort_forward
    for wrong in [None, tuple(residuals), other(np.zeros(3))[1]]:
        with pytest.raises(TypeError, match="residuals must be Soft"):
            backward(wrong, value)
    with pytest.raises(TypeError, match="strength_gradient must be True or False"):
        backward(residuals, value, strength_gradient=1)
