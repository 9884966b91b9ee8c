"""The operations on a GPU: against the CPU, against CuPy's array functions, and against limits.

``python benchmarks/gpu.py`` needs CuPy and a GPU. Every shape is first compared with the CPU. Times
are those of CUDA events, of calls that follow each other, minimum and median; the limits are what
this GPU copies and multiplies in the same run. ``--dry-run`` executes everything on tiny shapes
with the double of CuPy that the tests have, to see that it works; its times mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import machine
from _report import digits, table
from _sde_problems import perceptrons
from _signature_calls import SHAPES, Shape, normal
from _signature_kernel import SHAPES as GRAMS
from _signature_kernel import Gram, paths
from _sorting_calls import FUNCTIONS, RANDOM, Function, output_gradient
from _sorting_calls import SHAPES as SORTING_SHAPES
from _sorting_calls import Shape as SortingShape
from _sorting_calls import rows as sorting_rows

import pysig

TINY_SHAPES = [Shape(2, 5, 3, 3), Shape(1, 9, 7, 2)]
TINY_SORTING_SHAPES = [SortingShape(3, 20), SortingShape(1, 300)]
TINY_GRAMS = [Gram(2, 5, 3, 1, None), Gram(3, 4, 2, 0, 1.0)]
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
    parser.add_argument("--dtypes", nargs="+", default=list(AGREEMENT), choices=list(AGREEMENT))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dry-run", action="store_true", help="tiny shapes, without a GPU")
    options = parser.parse_args(arguments)
    cupy = double() if options.dry_run else require_gpu()
    for name, value in (machine() | device_facts(cupy) | {"pysig": pysig.__version__}).items():
        print(f"- {name}: {value}")
    shapes = options.shapes or (TINY_SHAPES if options.dry_run else SHAPES)
    for dtype in options.dtypes:
        limits = measured_limits(cupy, dtype, options)
        print(f"\n## Signature, {dtype}\n")
        print(
            f"Limits: {limits.bytes / 1e9:.0f} GB/s copied, "
            f"{limits.multiply_adds / 1e9:.0f} · 10⁹ multiply-adds/s in a matrix product.\n"
        )
        rows = [signature_row(cupy, shape, dtype, limits, options.repeats) for shape in shapes]
        print(table(HEADER, rows))
        print(f"\n## Logsignature, words, {dtype}\n")
        rows = [logsignature_row(cupy, shape, dtype, options.repeats) for shape in shapes]
        print(table(LOGSIGNATURE_HEADER, rows))
        print(f"\n## Products, windows and intervals, {dtype}\n")
        print(table(PATH_HEADER, path_rows(cupy, dtype, limits, options)))
        print(f"\n## Gram matrices of the signature kernel, {dtype}\n")
        grams = TINY_GRAMS if options.dry_run else GRAMS
        print(table(GRAM_HEADER, [gram_row(cupy, g, dtype, options.repeats) for g in grams]))
        print(f"\n## Solvers, perceptrons of 32 channels, 64 hidden, 100 steps, {dtype}\n")
        print(table(SOLVER_HEADER, solver_rows(cupy, dtype, options)))
        print(f"\n## Soft sorting, random rows, {dtype}\n")
        print(table(SORTING_HEADER, sorting_table(cupy, dtype, limits, options)))


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


GRAM_HEADER = (
    "paths, length, channels",
    "forward ms",
    "10⁹ cells/s",
    "gradient ms",
    "gradient / forward",
    "CPU / GPU forward",
    "CPU / GPU gradient",
)


def gram_row(cupy: Any, gram: Gram, dtype: str, repeats: int) -> list[str]:
    """Compare a Gram matrix with the CPU's, measure it, and return a line of the table."""
    host = paths(gram, dtype, 0), paths(gram, dtype, 1)
    value, residuals = pysig.signature_gram_forward(*host, **gram.options())
    moved, grad = [cupy.asarray(path) for path in host], cupy.asarray(value)
    there, residuals_there = pysig.signature_gram_forward(*moved, **gram.options())
    compare(cupy, there, value, dtype)
    gradients = pysig.signature_gram_backward(residuals, value)
    for one, other in zip(
        pysig.signature_gram_backward(residuals_there, grad), gradients, strict=True
    ):
        compare(cupy, one, other, dtype)

    def backward() -> object:
        return pysig.signature_gram_backward(residuals_there, grad)

    forward = device_timing(cupy, lambda: pysig.signature_gram(*moved, **gram.options()), repeats)
    backwards = device_timing(cupy, backward, repeats)
    cpu_forward = host_timing(lambda: pysig.signature_gram(*host, **gram.options()), 3)
    cpu_backward = host_timing(lambda: pysig.signature_gram_backward(residuals, value), 3)
    return [
        str(gram),
        forward.cell(),
        digits(gram.cells() / forward.minimum / 1e9),
        backwards.cell(),
        digits(backwards.minimum / forward.minimum),
        digits(cpu_forward.minimum / forward.minimum),
        digits(cpu_backward.minimum / backwards.minimum),
    ]


LOGSIGNATURE_HEADER = (
    "shape",
    "forward ms",
    "forward / signature's",
    "gradient ms",
    "gradient / signature's",
    "CPU / GPU forward",
    "CPU / GPU gradient",
)


def logsignature_row(cupy: Any, shape: Shape, dtype: str, repeats: int) -> list[str]:
    """Compare one shape with the CPU, measure it, and return a line of the table."""
    host = normal(shape[:3], dtype, seed=1) / shape.length
    value, residuals = pysig.logsignature_forward(host, shape.depth)
    path, grad = cupy.asarray(host), cupy.asarray(value)
    there, residuals_there = pysig.logsignature_forward(path, shape.depth)
    compare(cupy, there, value, dtype)
    gradient = pysig.logsignature_backward(residuals, value).path
    compare(cupy, pysig.logsignature_backward(residuals_there, grad).path, gradient, dtype)
    whole, whole_residuals = pysig.signature_forward(path, shape.depth)

    def timing(call: Callable[[], object]) -> Timing:
        return device_timing(cupy, call, repeats)

    forward = timing(lambda: pysig.logsignature(path, shape.depth))
    backward = timing(lambda: pysig.logsignature_backward(residuals_there, grad))
    whole_forward = timing(lambda: pysig.signature(path, shape.depth))
    whole_backward = timing(lambda: pysig.signature_backward(whole_residuals, whole))
    cpu_forward = host_timing(lambda: pysig.logsignature(host, shape.depth), 3)
    cpu_backward = host_timing(lambda: pysig.logsignature_backward(residuals, value), 3)
    return [
        str(shape),
        forward.cell(),
        digits(forward.minimum / whole_forward.minimum),
        backward.cell(),
        digits(backward.minimum / whole_backward.minimum),
        digits(cpu_forward.minimum / forward.minimum),
        digits(cpu_backward.minimum / backward.minimum),
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


# ------------------------------------------------------------------ products, windows and intervals

PATH_HEADER = ("what", "forward ms", "of bytes", "gradient ms", "CPU / GPU", "CPU / GPU gradient")


def path_rows(
    cupy: Any, dtype: str, limits: Limits, options: argparse.Namespace
) -> list[list[str]]:
    """Measure products of 4 channels to depth 4, and what is made of them."""
    length = 100 if options.dry_run else 100_000
    rng = np.random.default_rng(2)
    path = normal((length, 4), dtype, seed=3) / np.asarray(length**0.5, dtype)
    start = rng.integers(0, length - 1, length)
    end = start + 1 + rng.integers(1, length - start)
    first, second = normal((2, length, 340), dtype, seed=4)

    def combine(first: Any, second: Any) -> tuple[Any, Callable[[], Any]]:
        value, residuals = pysig.signature_combine_forward(first, second, 4, 4)
        return value, lambda: pysig.signature_combine_backward(residuals, value).first

    def windows(path: Any) -> tuple[Any, Callable[[], Any]]:
        value, residuals = pysig.signature_windows_forward(path, 4, length=length // 10)
        return value, lambda: pysig.signature_windows_backward(residuals, value)

    def queries(prepared: pysig.Path) -> tuple[Any, Callable[[], Any]]:
        value, residuals = prepared.signature_forward(start, end)
        return value, lambda: prepared.signature_backward(residuals, value).path

    there, here = pysig.Path(cupy.asarray(path), 4), pysig.Path(path, 4)
    moved = [cupy.asarray(array) for array in (first, second)]
    cases: tuple[tuple[str, Callable[..., Any], list[Any], list[Any], int], ...] = (
        ("products", combine, moved, [first, second], 3),
        ("windows", windows, [cupy.asarray(path)], [path], 7),
        ("intervals", queries, [there], [here], 11),
    )
    rows = []
    for name, function, device_arguments, arguments, tables in cases:
        value, backward = function(*arguments)
        value_there, backward_there = function(*device_arguments)
        compare(cupy, value_there, value, dtype)
        compare(cupy, backward_there(), backward(), dtype)
        forward = device_timing(cupy, partial(function, *device_arguments), options.repeats)
        gradient = device_timing(cupy, backward_there, options.repeats)
        traffic = tables * value.nbytes / forward.minimum / limits.bytes
        on_cpu = host_timing(partial(function, *arguments), 3), host_timing(backward, 3)
        rows.append(
            [
                name,
                forward.cell(),
                f"{traffic:.0%}",
                gradient.cell(),
                digits(on_cpu[0].minimum / forward.minimum),
                digits(on_cpu[1].minimum / gradient.minimum),
            ]
        )
    return rows


# ----------------------------------------------------------------------------------------- solvers

SOLVER_HEADER = ("noise", "batch", "gradient ms", "CPU / GPU")


def solver_rows(cupy: Any, dtype: str, options: argparse.Namespace) -> list[list[str]]:
    """Measure solutions of the reversible Heun method with their gradients."""
    batches, steps = ((3,), 4) if options.dry_run else ((1024, 32768), 100)
    rows = []
    for noise_channels, batch in itertools.product((None, 8), batches):
        problem = perceptrons(noise_channels, batch, dtype=dtype)
        there = problem.moved(cupy.asarray)
        gradients, gradients_there = problem.gradients(steps), there.gradients(steps)
        compare(cupy, gradients_there.y0, gradients.y0, dtype)
        on_gpu = device_timing(cupy, partial(there.gradients, steps), options.repeats)
        on_cpu = host_timing(partial(problem.gradients, steps), 3)
        ratio = digits(on_cpu.minimum / on_gpu.minimum)
        rows.append([problem.noise, str(batch), on_gpu.cell(), ratio])
    return rows


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


def sorting_table(
    cupy: Any, dtype: str, limits: Limits, options: argparse.Namespace
) -> list[list[str]]:
    """Return a line for each function and shape."""
    shapes = TINY_SORTING_SHAPES if options.dry_run else SORTING_SHAPES
    return [
        sorting_row(cupy, function, shape, dtype, limits, options.repeats)
        for function in FUNCTIONS
        for shape in shapes
    ]


def sorting_row(
    cupy: Any, function: Function, shape: SortingShape, dtype: str, limits: Limits, repeats: int
) -> list[str]:
    """Compare one function with the CPU, measure it, and return a line of the table."""
    forward = getattr(pysig, f"{function.name}_forward")
    backward = getattr(pysig, f"{function.name}_backward")
    kind = function.regularization
    x, grad = sorting_rows(RANDOM, shape, dtype), output_gradient(shape, dtype)
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
