"""Small calls, growth of the cost with the size, and peak memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from _measure import (
    Contender,
    Timing,
    can_measure_peak,
    fitted_exponent,
    fitted_growth,
    interleave,
    peak_growth,
)
from _report import Report, conditions, digits, progress, seconds_cell, table
from _signature_calls import (
    BOTH,
    FORWARD,
    OPERATIONS,
    SHAPES,
    Key,
    Settings,
    Shape,
    brownian_path,
    output_gradient,
    own_call,
)

import pysig

MEBIBYTE = 1 << 20
SMALL_SHAPE = Shape(1, 10, 3, 3)
LARGE_SHAPES = [Shape(1, 1000000, 4, 4), Shape(4096, 32, 8, 4)]  # beside the others for memory

# The targets.
LATENCY = 6e-6  # of a forward of (1, 10, 3) at depth 3
MEMORY_PER_THREAD = 16 * MEBIBYTE  # beside input and output, or one signature if that is larger


def latency_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    """Small calls, where the way into the kernel costs more than the kernel."""
    rows, records = [], []
    for leading in ((), (1,)):
        for operation in OPERATIONS:
            progress(f"latency of {operation}, leading axes {leading}")
            timings = small_call_timings(leading, operation, settings)
            for threads in settings.threads:
                row = [f"{(*leading, 10, 3)}", operation, str(threads)]
                for library in ("pysig", "pysiglib", "iisignature"):
                    row.append(seconds_cell(timings.get(Key(library, operation, threads)), 1e-6))
                own = timings[Key("pysig", operation, threads)]
                judged = (own.minimum * 1e6, own.median * 1e6)
                where = f"(1, 10, 3) depth 3, {conditions('float64', threads)}"
                row.append(
                    report.judge("forward, µs a call", where, judged, LATENCY * 1e6, True)
                    if leading and operation == FORWARD
                    else "-"
                )
                rows.append(row)
            records += [
                {"leading": leading} | key._asdict() | asdict(timing)
                for key, timing in timings.items()
            ]
    print("## Small calls\n")
    print("Microseconds a call from Python at depth 3, float64: minimum (median).\n")
    header = ["path", "operation", "threads", "pysig", "pysiglib", "iisignature", "target"]
    print(table(header, rows) + "\n")
    return records


def small_call_timings(
    leading: tuple[int, ...], operation: str, settings: Settings
) -> dict[Key, Timing]:
    depth = SMALL_SHAPE.depth
    path, grad = brownian_path(SMALL_SHAPE, "float64"), output_gradient(SMALL_SHAPE, "float64")
    if not leading:
        path, grad = path[0].copy(), grad[0].copy()
    contenders: dict[Key, Contender] = {}
    for threads in settings.threads:
        prepare = partial(pysig.set_num_threads, threads)
        call = own_call(operation, path, grad, depth)
        contenders[Key("pysig", operation, threads)] = Contender(call, prepare)
        for peer in settings.peers:
            peer_call = peer.call(operation, path, grad, depth, threads)
            if peer_call is not None:
                contenders[Key(peer.name, operation, threads)] = Contender(peer_call)
    return interleave(contenders, settings.budget)


@dataclass(frozen=True)
class Series:
    """Shapes in which one number grows."""

    varied: str
    title: str
    shapes: Sequence[Shape]

    def sizes(self) -> list[int]:
        """What the cost is held against: steps rather than points for the length."""
        if self.varied == "length":
            return [shape.length - 1 for shape in self.shapes]
        return [getattr(shape, self.varied) for shape in self.shapes]

    def fit(self, times: Sequence[float]) -> str:
        work = [shape.multiply_adds() for shape in self.shapes]
        if self.varied == "depth":
            grown, counted = fitted_growth(self.sizes(), times), fitted_growth(self.sizes(), work)
            return f"times {grown:.2f} a level (the multiply-adds: times {counted:.2f})"
        power = fitted_exponent(self.sizes(), times)
        counted = fitted_exponent(self.sizes(), work)
        return f"{self.varied}^{power:.2f} (the multiply-adds: {self.varied}^{counted:.2f})"


def cost_series(quick: bool) -> list[Series]:
    """Every second shape with ``quick``."""
    series = [
        Series("length", "length, 32 paths", [Shape(32, 2**k + 1, 4, 4) for k in range(6, 14)]),
        Series(
            "length",
            "length, one path",
            [Shape(1, points, 3, 4) for points in (300, 1000, 3000, 10000, 30000, 100000, 1000000)],
        ),
        Series("batch", "batch", [Shape(2**k, 128, 4, 4) for k in range(0, 13, 2)]),
        Series("depth", "depth", [Shape(32, 128, 4, depth) for depth in range(2, 9)]),
        Series("channels", "channels", [Shape(32, 128, d, 4) for d in (2, 3, 4, 6, 8, 12, 16)]),
    ]
    if not quick:
        return series
    return [Series(one.varied, one.title, one.shapes[::2]) for one in series]


def cost_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    dtype = settings.dtypes[0]
    print("## Cost\n")
    print(f"{conditions(dtype, 1)}; milliseconds: minimum (median); growth from row to row.\n")
    records: list[dict[str, object]] = []
    for series in cost_series(settings.quick):
        progress(f"cost against {series.title}")
        timings = series_timings(series, dtype, settings.budget)
        records += [
            {"series": series.title, "shape": shape, "operation": operation} | asdict(timing)
            for (shape, operation), timing in timings.items()
        ]
        print(f"### Against {series.title}\n")
        print(table(*series_table(series, timings)) + "\n")
        for operation in OPERATIONS:
            times = [timings[shape, operation].minimum for shape in series.shapes]
            print(f"- {operation}: {series.fit(times)}")
        print()
    return records


def series_timings(series: Series, dtype: str, budget: float) -> dict[tuple[Shape, str], Timing]:
    """All in one interleaved group, so that the machine's changes of speed bend no curve."""
    prepare = partial(pysig.set_num_threads, 1)
    contenders: dict[tuple[Shape, str], Contender] = {}
    for shape in series.shapes:
        path, grad = brownian_path(shape, dtype), output_gradient(shape, dtype)
        for operation in OPERATIONS:
            call = own_call(operation, path, grad, shape.depth)
            contenders[shape, operation] = Contender(call, prepare)
    return interleave(contenders, 2 * budget)


def series_table(
    series: Series, timings: dict[tuple[Shape, str], Timing]
) -> tuple[list[str], list[list[str]]]:
    rows: list[list[str]] = []
    previous: Shape | None = None
    for shape in series.shapes:
        work = shape.multiply_adds()
        row = [str(shape), digits(work / 1e6)]
        row.append(digits(work / previous.multiply_adds()) if previous else "-")
        for operation in OPERATIONS:
            timing = timings[shape, operation]
            before = timings[previous, operation] if previous else None
            row.append(seconds_cell(timing))
            row.append(digits(timing.minimum / before.minimum) if before else "-")
        row.append(digits(work / timings[shape, FORWARD].minimum / 1e9))
        rows.append(row)
        previous = shape
    header = ["shape", "10^6 multiply-adds", "growth", "forward", "growth"]
    header += ["forward + backward", "growth", "forward 10^9 multiply-adds per second"]
    return header, rows


def memory_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    """Peak memory, each in a fresh process."""
    print("## Peak memory\n")
    if not can_measure_peak():
        print("Not measured: this system has no writable /proc/self/clear_refs.\n")
        return []
    dtype = settings.dtypes[0]
    rows, records = [], []
    for shape in [*settings.shapes, *(LARGE_SHAPES if settings.shapes == SHAPES else [])]:
        for threads in settings.threads:
            progress(f"peak memory of {shape}, {conditions(dtype, threads)}")
            record = measured_memory(shape, dtype, threads)
            records.append(record)
            rows.append(memory_row(shape, dtype, threads, record, report))
    print(
        f"{dtype}, MiB. Scratch: growth of the peak during the call, less its result (signature; "
        "gradient of the path). The input was there before.\n"
    )
    header = ["shape", "threads", "input", "output", "forward: growth", "scratch", "target"]
    print(table([*header, "forward + backward: growth", "scratch"], rows) + "\n")
    return records


def memory_row(
    shape: Shape, dtype: str, threads: int, record: dict[str, Any], report: Report
) -> list[str]:
    allowed = threads * max(MEMORY_PER_THREAD, shape.signature_bytes(dtype)) / MEBIBYTE
    path, output = record["input"] / MEBIBYTE, record["output"] / MEBIBYTE
    forward, both = record[FORWARD] / MEBIBYTE, record[BOTH] / MEBIBYTE
    scratch = max(forward - output, 0.0)
    where = f"{shape} {conditions(dtype, threads)}"
    return [
        str(shape),
        str(threads),
        f"{path:.1f}",
        f"{output:.1f}",
        f"{forward:.1f}",
        f"{scratch:.1f}",
        report.judge("memory of a forward, MiB", where, (scratch, scratch), allowed, True),
        f"{both:.1f}",
        f"{max(both - path, 0.0):.1f}",
    ]


def measured_memory(shape: Shape, dtype: str, threads: int) -> dict[str, Any]:
    # With a fixed threshold glibc gives every large block back when it is freed.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(128 * 1024)
    context = multiprocessing.get_context("spawn")
    growth: dict[str, Any] = {
        "shape": shape,
        "dtype": dtype,
        "threads": threads,
        "input": shape.batch * shape.length * shape.channels * np.dtype(dtype).itemsize,
        "output": shape.batch * shape.signature_bytes(dtype),
    }
    for operation in OPERATIONS:
        with ProcessPoolExecutor(1, mp_context=context) as fresh_process:
            arguments = operation, shape, dtype, threads
            growth[operation] = fresh_process.submit(growth_of_call, *arguments).result()
    return growth


def growth_of_call(operation: str, shape: Shape, dtype: str, threads: int) -> int:
    pysig.set_num_threads(threads)
    path = brownian_path(shape, dtype)
    grad = output_gradient(shape, dtype)
    small = SMALL_SHAPE
    own_call(operation, brownian_path(small, dtype), output_gradient(small, dtype), small.depth)()
    return peak_growth(own_call(operation, path, grad, shape.depth))
