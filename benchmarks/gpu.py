"""The operations on a GPU: against the CPU, against CuPy's array functions, and against limits.

``python benchmarks/gpu.py`` needs CuPy and a GPU. Every shape is first compared with the CPU. Times
are those of CUDA events, of calls that follow each other, minimum and median; the limits are what
this GPU copies and multiplies in the same run. ``--dry-run`` executes everything on tiny shapes
with the double of CuPy that the tests have, to see that it works; its times mean nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import machine
from _report import digits, table
from _signature_calls import SHAPES, Shape, normal
from _sorting_calls import FUNCTIONS, RANDOM, Function, output_gradient, rows
from _sorting_calls import SHAPES as SORTING_SHAPES
from _sorting_calls import Shape as SortingShape

import pysig

TINY_SHAPES = [Shape(2, 5, 3, 3), Shape(1, 9, 7, 2)]
TINY_SORTING_SHAPES = [SortingShape(3, 20), SortingShape(1, 300)]
AGREEMENT = {"float64": 1e-12, "float32": 1e-4}  # times the largest number of a result
COPY_BYTES = 2**30
MATRIX_SIZE = 4096


class Limits(NamedTuple):
    """What the GPU does in a second."""

    bytes: float
    multiply_adds: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shapes", type=Shape.parse, nargs="+", metavar="B,L,C,N")
    parser.add_argument("--sorting-shapes", type=SortingShape.parse, nargs="+", metavar="B,N")
    parser.add_argument("--dtypes", nargs="+", default=list(AGREEMENT), choices=list(AGREEMENT))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes, without a GPU")
    options = parser.parse_args(arguments)
    cupy = double() if options.dry_run else require_gpu()
    for name, value in (machine() | device_facts(cupy) | {"pysig": pysig.__version__}).items():
        print(f"- {name}: {value}")
    shapes = options.shapes or (TINY_SHAPES if options.dry_run else SHAPES)
    sorting_shapes = options.sorting_shapes or (
        TINY_SORTING_SHAPES if options.dry_run else SORTING_SHAPES
    )
    for dtype in options.dtypes:
        limits = measured_limits(cupy, dtype, options)
        print(f"\n## Signature, {dtype}\n")
        print(
            f"Limits: {limits.bytes / 1e9:.0f} GB/s copied, "
            f"{limits.multiply_adds / 1e9:.0f} · 10⁹ multiply-adds/s in a matrix product.\n"
        )
        lines = [signature_row(cupy, shape, dtype, limits, options.repeats) for shape in shapes]
        print(table(HEADER, lines))
        print(f"\n## Soft sorting, random rows, {dtype}\n")
        lines = [
            sorting_row(cupy, function, shape, dtype, limits, options.repeats)
            for function in FUNCTIONS
            for shape in sorting_shapes
        ]
        print(table(SORTING_HEADER, lines))


def require_gpu() -> Any:
    """Return CuPy, or end the program with the reason why it cannot be used."""
    try:
        import cupy  # pyright: ignore[reportMissingImports]
    except ImportError:
        sys.exit("There is no CuPy: pip install 'pysig[cuda12]' or 'pysig[cuda13]'.")
    if not cupy.cuda.is_available():
        sys.exit("CuPy finds no GPU. To see only that the program works: --dry-run.")
    return cupy


def double() -> Any:
    """Return the double of CuPy, which executes kernels on the CPU."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import cuda_on_cpu

    return cuda_on_cpu.activate()


def device_facts(cupy: Any) -> dict[str, object]:
    """What the numbers depend on."""
    facts: dict[str, object] = {"cupy": cupy.__version__}
    if not getattr(cupy, "is_double", False):
        properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
        facts |= {
            "device": properties["name"].decode(),
            "compute capability": cupy.cuda.Device().compute_capability,
            "driver": cupy.cuda.runtime.driverGetVersion(),
            "CUDA runtime": cupy.cuda.runtime.runtimeGetVersion(),
        }
    return facts


# ------------------------------------------------------------------------------------------- times


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


def measured_limits(cupy: Any, dtype: str, options: argparse.Namespace) -> Limits:
    """Return what a copy and a matrix product reach."""
    count, side = (1024, 32) if options.dry_run else (COPY_BYTES, MATRIX_SIZE)
    source = cupy.zeros(count // 8, "float64")
    target = cupy.empty_like(source)
    matrix = cupy.ones((side, side), dtype)
    copying = device_timing(cupy, lambda: cupy.copyto(target, source), options.repeats)
    product = device_timing(cupy, lambda: matrix @ matrix, options.repeats)
    return Limits(2 * source.nbytes / copying.minimum, side**3 / product.minimum)


# --------------------------------------------------------------------------------------- signature

HEADER = (
    "shape",
    "forward ms",
    "of multiply-adds",
    "of bytes",
    "forward, CuPy's functions ms",
    "gradient ms",
    "gradient / forward",
    "CPU / GPU forward",
    "CPU / GPU gradient",
)


def signature_row(cupy: Any, shape: Shape, dtype: str, limits: Limits, repeats: int) -> list[str]:
    """Compare one shape with the CPU, measure it, and return a line of the table."""
    host = normal(shape[:3], dtype, seed=1)
    value, residuals = pysig.signature_forward(host, shape.depth)
    path, grad = cupy.asarray(host), cupy.asarray(value)
    there, residuals_there = pysig.signature_forward(path, shape.depth)
    compare(cupy, there, value, dtype)
    gradient = pysig.signature_backward(residuals, value).path
    compare(cupy, pysig.signature_backward(residuals_there, grad).path, gradient, dtype)
    compare(cupy, with_array_functions(cupy, path, shape.depth), value, dtype)

    def backward() -> object:
        return pysig.signature_backward(residuals_there, grad)

    forward = device_timing(cupy, lambda: pysig.signature(path, shape.depth), repeats)
    backwards = device_timing(cupy, backward, repeats)
    plain = device_timing(cupy, lambda: with_array_functions(cupy, path, shape.depth), 3)
    cpu_forward = host_timing(lambda: pysig.signature(host, shape.depth), 3)
    cpu_backward = host_timing(lambda: pysig.signature_backward(residuals, value), 3)
    operations = shape.multiply_adds() / forward.minimum / limits.multiply_adds
    traffic = (host.nbytes + value.nbytes) / forward.minimum / limits.bytes
    return [
        str(shape),
        forward.cell(),
        f"{operations:.0%}",
        f"{traffic:.0%}",
        plain.cell(),
        backwards.cell(),
        digits(backwards.minimum / forward.minimum),
        digits(cpu_forward.minimum / forward.minimum),
        digits(cpu_backward.minimum / backwards.minimum),
    ]


def compare(cupy: Any, there: Any, here: np.ndarray, dtype: str) -> None:
    """Raise AssertionError unless the GPU and the CPU agree."""
    tolerance = AGREEMENT[dtype] * float(abs(here).max())
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


def with_array_functions(cupy: Any, path: Any, depth: int) -> Any:
    """Return the signature as one writes it with array functions, step by step."""
    batch, length, channels = path.shape
    levels = [cupy.zeros((batch, channels**k), path.dtype) for k in range(1, depth + 1)]
    for step in range(1, length):
        increment = path[:, step] - path[:, step - 1]
        for k in range(depth, 0, -1):
            value = increment / k
            for j in range(1, k):
                outer = (levels[j - 1] + value)[:, :, None] * (increment / (k - j))[:, None, :]
                value = outer.reshape(batch, -1)
            levels[k - 1] += value
    return cupy.concatenate(levels, axis=1)


# ------------------------------------------------------------------------------------ soft sorting

SORTING_HEADER = (
    "function",
    "shape",
    "forward ms",
    "forward / CuPy's argsort",
    "of bytes",
    "gradient ms",
    "of bytes",
    "CPU / GPU forward",
    "CPU / GPU gradient",
)
ORDER_BYTES = 4  # of the permutation, or of the blocks, for each entry


def sorting_row(
    cupy: Any, function: Function, shape: SortingShape, dtype: str, limits: Limits, repeats: int
) -> list[str]:
    """Compare one function with the CPU, measure it, and return a line of the table."""
    forward = getattr(pysig, f"{function.name}_forward")
    backward = getattr(pysig, f"{function.name}_backward")
    kind = function.regularization
    x, grad = rows(RANDOM, shape, dtype), output_gradient(shape, dtype)
    x_there, grad_there = cupy.asarray(x), cupy.asarray(grad)
    value, residuals = forward(x, regularization=kind)
    there, residuals_there = forward(x_there, regularization=kind)
    compare(cupy, there, value, dtype)
    compare(cupy, backward(residuals_there, grad_there), backward(residuals, grad), dtype)

    forwards = device_timing(cupy, lambda: forward(x_there, regularization=kind), repeats)
    backwards = device_timing(cupy, lambda: backward(residuals_there, grad_there), repeats)
    argsort = device_timing(cupy, lambda: cupy.argsort(x_there, axis=-1), repeats)
    cpu_forward = host_timing(lambda: forward(x, regularization=kind), 3)
    cpu_backward = host_timing(lambda: backward(residuals, grad), 3)
    order = ORDER_BYTES * x.size
    return [
        str(function),
        str(shape),
        forwards.cell(),
        digits(forwards.minimum / argsort.minimum),
        f"{(2 * x.nbytes + order) / forwards.minimum / limits.bytes:.0%}",
        backwards.cell(),
        f"{(2 * x.nbytes + order) / backwards.minimum / limits.bytes:.0%}",
        digits(cpu_forward.minimum / forwards.minimum),
        digits(cpu_backward.minimum / backwards.minimum),
    ]


if __name__ == "__main__":
    main()
