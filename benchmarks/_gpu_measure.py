"""What the benchmarks on a GPU measure with: events, limits, and comparisons with the CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _report import digits

AGREEMENT = {"float64": 1e-12, "float32": 1e-4}  # times the largest number of a result
COPY_BYTES = 2**30
MATRIX_SIZE = 4096


class Limits(NamedTuple):
    """What the GPU does in a second."""

    bytes: float
    multiply_adds: float


class Timing(NamedTuple):
    """Seconds per call."""

    minimum: float
    median: float

    def cell(self) -> str:
        return f"{digits(self.minimum * 1e3)} ({digits(self.median * 1e3)})"


def device_timing(cupy: Any, call: Callable[[], object], repeats: int) -> Timing:
    """Return the times between events before and after a call."""
    call()  # compiles
    if getattr(cupy, "is_double", False):
        return host_timing(call, 1)
    samples = []
    for _ in range(repeats):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        call()
        end.record()
        end.synchronize()
        samples.append(cupy.cuda.get_elapsed_time(start, end) * 1e-3)
    return Timing(min(samples), statistics.median(samples))


def host_timing(call: Callable[[], object], repeats: int) -> Timing:
    samples = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        samples.append(time.perf_counter() - started)
    return Timing(min(samples), statistics.median(samples))


def measured_limits(cupy: Any, dtype: str, is_dry_run: bool, repeats: int) -> Limits:
    """Return what a copy and a matrix product reach."""
    count, side = (1024, 32) if is_dry_run else (COPY_BYTES, MATRIX_SIZE)
    source = cupy.zeros(count // 8, "float64")
    target = cupy.empty_like(source)
    matrix = cupy.ones((side, side), dtype)
    copying = device_timing(cupy, lambda: cupy.copyto(target, source), repeats)
    product = device_timing(cupy, lambda: matrix @ matrix, repeats)
    return Limits(2 * source.nbytes / copying.minimum, side**3 / product.minimum)


def compare(cupy: Any, there: Any, here: np.ndarray, dtype: str) -> None:
    """Raise AssertionError unless the GPU and the CPU agree."""
    tolerance = AGREEMENT[dtype] * float(abs(here).max())
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)
