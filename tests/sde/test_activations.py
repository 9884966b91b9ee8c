"""Activation functions with bias: values, derivatives, sums of gradients, threads."""

from __future__ import annotations

from typing import Any

import arrays
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference.fields_reference import LONG
from reference.fields_reference import activation as reference

import pysig
from pysig.sde import activations

DTYPES = [np.float64, np.float32]


def of_library(xp, function):
    """Return a function that takes and gives NumPy arrays."""
    return function if xp is np else arrays.with_arrays_of(xp, function)


def assert_close(value, wanted, units, floor: Any = 0.0):
    """Assert errors of so many units in the last place, of numbers of at least the floor."""
    info = np.finfo(value.dtype)
    bound = units * LONG(info.eps) * np.maximum(abs(wanted), floor)
    assert np.all(abs(value - wanted) <= bound + 1024 * LONG(info.smallest_subnormal))


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_accuracy(xp, rng, name, dtype):
    """Three units in the last place, four for derivatives, over the whole range of the type."""
    widest = 130 if dtype == np.float32 else 780
    x = np.concatenate(
        [
            3 * rng.normal(size=2000),
            rng.uniform(-widest, widest, 1000),
            rng.choice([-1, 1], 1000) * np.exp(rng.uniform(-60, 3, 1000)),
        ]
    ).astype(dtype)
    value, residuals = of_library(xp, activations.activation_forward)(x, name)
    derivative, _ = of_library(xp, activations.activation_backward)(residuals, np.ones_like(x))
    wanted, slope = reference(name, x)
    assert value.dtype == derivative.dtype == dtype
    assert_close(value, wanted, 3)
    near_zero = (abs(x + 1.28) < 1) & np.isin(name, ["lipswish", "silu"])
    assert_close(derivative, slope, 4, np.where(near_zero, 0.25, 0))
    assert_array_equal(of_library(xp, activations.activation)(x, name), value)


@pytest.mark.parametrize("name", activations.ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_limits(xp, name, dtype):
    x = np.array([-np.inf, np.inf, np.nan, 0.0, np.finfo(dtype).max, -np.finfo(dtype).max], dtype)
    value, residuals = of_library(xp, activations.activation_forward)(x, name)
    derivative = of_library(xp, activations.activation_backward)(residuals, np.ones_like(x)).x
    low = -1 if name == "tanh" else 0
    high = 1 if name in ("tanh", "sigmoid") else np.inf
    assert_array_equal(value[[0, 1, 2, 5]], [low, high, np.nan, low])
    slope = {"lipswish": dtype(0.909), "silu": 1, "softplus": 1}.get(name, 0)
    assert_array_equal(derivative[[0, 1, 2, 4, 5]], [0, slope, np.nan, slope, 0])
    assert_allclose(value[3], reference(name, 0)[0].astype(dtype), rtol=2e-7)


@pytest.mark.parametrize(
    "shape", [(0, 3), (2, 0), (5,), (3, 7, 1), (70, 31), (2, 33), (9, 256), (4, 257), (3, 1100)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bias_and_gradients(xp, rng, shape, dtype):
    """The bias is added before; its gradient is the sum over all rows."""
    x, grad = rng.normal(size=(2, *shape)).astype(dtype)
    bias = rng.normal(size=shape[-1:]).astype(dtype)
    forward = of_library(xp, activations.activation_forward)
    value, residuals = forward(x, "lipswish", bias)
    gradients = of_library(xp, activations.activation_backward)(residuals, grad)
    wanted, slope = reference("lipswish", x + bias)
    assert_close(value, wanted, 3)
    assert_close(gradients.x, grad * slope, 5, 0.25 * abs(grad))
    products = (
        gradients.x.astype(LONG).reshape(-1, shape[-1]) if x.size else np.zeros((0, shape[-1]))
    )
    total = products.sum(axis=0)
    scale = abs(products).sum(axis=0)
    assert np.all(abs(gradients.bias - total) <= 8 * np.finfo(dtype).eps * scale)
    assert_array_equal(of_library(xp, activations.activation)(x, "lipswish", bias), value)


@pytest.mark.parametrize("columns", [1, 3, 64, 1000])
def test_threads_do_not_change_results(keep_num_threads, rng, columns):
    x, grad = rng.normal(size=(2, 3_500_000 // columns, columns))
    bias = rng.normal(size=columns)
    results = []
    for threads in (1, 3):
        pysig.set_num_threads(threads)
        value, residuals = activations.activation_forward(x, "softplus", bias)
        results.append((value, *activations.activation_backward(residuals, grad)))
    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)
    products = results[0][1]
    bound = 8 * np.finfo(float).eps * abs(products).sum(axis=0)
    assert np.all(abs(results[0][2] - products.sum(axis=0)) <= bound)


def test_inputs_of_all_kinds():
    x = np.arange(12).reshape(3, 4)
    wanted = activations.activation(x.astype(float), "silu")
    assert_array_equal(activations.activation(x, "silu"), wanted)
    assert_array_equal(activations.activation(x.astype(float).T, "silu"), wanted.T)
    read_only = x.astype(float)
    read_only.flags.writeable = False
    assert_array_equal(activations.activation(read_only, "silu"), wanted)
    assert activations.activation(0.0, "sigmoid") == 0.5


def test_refusals(xp):
    function = of_library(xp, activations.activation)
    x = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"name must be one of .*not 'relu'"):
        function(x, "relu")
    with pytest.raises(ValueError, match=r"bias must have the shape \(2,\), not \(3,\)"):
        function(x, "tanh", np.zeros(3))
    with pytest.raises(TypeError, match=r"bias must be float64.* not float32"):
        function(x, "tanh", np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="x must be float32"):
        function(x.astype(complex) if xp is np else x.astype(np.float16), "tanh")
    _, residuals = of_library(xp, activations.activation_forward)(x, "tanh")
    backward = of_library(xp, activations.activation_backward)
    with pytest.raises(ValueError, match=r"grad must have the shape \(3, 2\)"):
        backward(residuals, np.zeros((2, 3)))
