"""Brownian intervals of CuPy arrays: the same paths as NumPy's, to rounding."""

from __future__ import annotations

import pickle
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

import pysig

AGREEMENT = {np.float64: 1e-14, np.float32: 4e-6}


def parts(increment: Any) -> tuple[Any, ...]:
    """Return the arrays of an increment."""
    return increment if isinstance(increment, tuple) else (increment,)


def assert_agrees(cupy: Any, there: Any, here: Any, dtype: Any, shortest: float = 1) -> None:
    """Compare an increment with NumPy's; H inside a cell is divided by the length."""
    for one, other in zip(parts(there), parts(here), strict=True):
        assert isinstance(one, cupy.ndarray)
        assert one.dtype == other.dtype == dtype
        tolerance = AGREEMENT[dtype] / shortest
        np.testing.assert_allclose(cupy.asnumpy(one), other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("levy_area", [None, "space-time", "davie", "foster"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("tolerance", [1.0, 0.3, 0.01])
def test_increments(cupy, levy_area, dtype, tolerance):
    options = {"seed": 5, "dtype": dtype, "levy_area": levy_area, "tolerance": tolerance}
    here = pysig.BrownianInterval(0, 2, (13, 3), **options)
    there = pysig.BrownianInterval(0, 2, (13, 3), like=cupy.zeros(1), **options)
    for start, end in [(0, 2), (0, 0.7), (0.7, 2), (0.25, 1.5), (1.5, 0.11), (0.3, 0.301), (1, 1)]:
        with cuda_on_cpu.no_synchronization():
            increment = there(start, end)
        assert_agrees(cupy, increment, here(start, end), dtype, 1e-3)
    times = [0.1, 0.1001, 0.25, 1.0, 1.99]
    with cuda_on_cpu.no_synchronization():
        increments = there.increments(times)
    assert_agrees(cupy, increments, here.increments(times), dtype, 1e-4)


def test_additive_areas(cupy):
    options: dict[str, Any] = {"seed": 5, "levy_area": "foster", "tolerance": 0.25}
    here = pysig.BrownianInterval(0, 1, (13, 3), additive_areas=True, **options)
    there = pysig.BrownianInterval(
        0, 1, (13, 3), additive_areas=True, like=cupy.zeros(1), **options
    )
    for start, end in [(0, 1), (0.9, 0.1)]:
        with cuda_on_cpu.no_synchronization():
            increment = there(start, end)
        assert_agrees(cupy, increment, here(start, end), np.float64)


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (200,)])
def test_shapes_and_paths(cupy, shape):
    ts = np.linspace(0, 1, 6)
    here = pysig.brownian_path(ts, shape, seed=3)
    there = pysig.brownian_path(ts, shape, seed=3, like=cupy.zeros(1))
    assert_agrees(cupy, there, here, np.float64)


def test_given_values(cupy, rng):
    w, h, factor = rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    options: dict[str, Any] = {"seed": 5, "levy_area": "foster"}
    here = pysig.BrownianInterval(0, 1, (4, 3), W=w, H=h, covariance_factor=factor, **options)
    moved = {"W": cupy.asarray(w), "H": cupy.asarray(h), "covariance_factor": cupy.asarray(factor)}
    there = pysig.BrownianInterval(0, 1, (4, 3), **moved, **options)
    for interval in (there, pickle.loads(pickle.dumps(there))):
        increment = interval(0.2, 0.9)
        for one, other in zip(increment, here(0.2, 0.9), strict=True):
            np.testing.assert_allclose(cupy.asnumpy(one), other, rtol=0, atol=1e-13)
    with pytest.raises(TypeError, match="one library"):
        pysig.BrownianInterval(0, 1, (4, 3), W=w, like=cupy.zeros(1))
