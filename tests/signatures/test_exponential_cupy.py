"""Exponential and logarithm of CuPy arrays: agreement with NumPy's."""

from __future__ import annotations

from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

import pysig

AGREEMENT = {np.float64: 1e-13, np.float32: 1e-5}  # times the largest number of a result
PAIRS = [
    (getattr(pysig, f"{name}_forward"), getattr(pysig, f"{name}_backward"))
    for name in ("tensor_exp", "tensor_log")
]


def assert_agree(cupy: Any, there: Any, here: np.ndarray) -> None:
    """Compare an array on the device with one on the host."""
    assert isinstance(there, cupy.ndarray)
    assert there.dtype == here.dtype
    tolerance = AGREEMENT[here.dtype.type] * abs(here).max(initial=0)
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("forward", "backward"), PAIRS)
def test_values_and_gradients_agree_with_numpy(cupy, rng, forward, backward, dtype):
    for batch, channels, depth, scalar_term in (
        ((2, 3), 2, 4, False),
        ((), 3, 3, True),
        ((2,), 1, 3, False),
        ((3,), 7, 1, True),
        ((1,), 12, 2, False),
    ):
        words = pysig.signature_channels(channels, depth, scalar_term)
        x, grad = (rng.standard_normal((*batch, words)).astype(dtype) for _ in range(2))
        value, residuals = forward(x, channels, depth, scalar_term=scalar_term)
        moved, grad_there = cupy.asarray(x), cupy.asarray(grad)
        with cuda_on_cpu.no_synchronization():
            there, kept = forward(moved, channels, depth, scalar_term=scalar_term)
            gradient = backward(kept, grad_there)
        assert_agree(cupy, there, value)
        assert_agree(cupy, gradient, backward(residuals, grad))


def test_empty_batches(cupy):
    for forward, backward in PAIRS:
        value, residuals = forward(cupy.zeros((3, 0, 6)), 2, 2)
        assert value.shape == backward(residuals, value).shape == (3, 0, 6)


def test_libraries_do_not_mix(cupy):
    for forward, backward in PAIRS:
        _, residuals = forward(cupy.zeros(6), 2, 2)
        with pytest.raises(TypeError, match="tensor is CuPy's, but not grad"):
            backward(residuals, np.zeros(6))
