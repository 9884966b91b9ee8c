"""Products of signatures, interval queries, windows and streams, against computing each directly.

Run ``python benchmarks/paths.py --help`` for the options. Products are also compared with those of
pysiglib and iisignature, where they are installed (README.md).
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import threadpoolctl
from _measure import Contender, Timing, interleave, load_average, machine, ratio
from _options import measurable_threads, positive
from _report import Report, conditions, progress, ratio_cell, seconds_cell, table

import pysig
from pysig.signatures import product as tables

PARTS = ("products", "queries", "windows", "streams")
CHANNELS, DEPTH = 4, 4
SHAPES = [(1, 4, 4), (1000, 4, 4), (1000, 2, 8), (1000, 3, 5), (100, 8, 4), (1000, 40, 2)]

# The targets.
QUERIES_AGAINST_DIRECT = 20  # times faster than a signature for each interval
QUERIES_AGAINST_PRODUCTS = 2  # times the products of inverse prefixes and prefixes, at most
QUERY_ERROR = 1e-5  # of float32, relative to the largest number of each level
WINDOWS_AGAINST_LOOP = 5  # times faster


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report, before = Report(), load_average()
    facts = machine() | {"pysig": pysig.__version__}
    print("# Products, intervals, windows and streams\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    print(f"- load average before: {before}\n")
    sections = {
        "products": products_section,
        "queries": queries_section,
        "windows": windows_section,
        "streams": streams_section,
    }
    results: dict[str, Any] = {}
    threads = pysig.get_num_threads()
    try:
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            for part in PARTS:
                if part in options.parts:
                    progress(part)
                    results[part] = sections[part](options, report)
    finally:
        pysig.set_num_threads(threads)
    print(report.summary())
    print(f"\nLoad average (1, 5, 15 minutes): {before} before, {load_average()} after.")
    results["machine"] = facts | {"load average before": before}
    results["verdicts"] = [verdict.record() for verdict in report.verdicts]
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"Everything measured: {options.json}")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="default: all")
    add("--dtypes", nargs="+", default=["float64", "float32"], choices=["float64", "float32"])
    add("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default: 1 2)")
    add("--length", type=int, default=100_000, help="of the path with queries (default: 100000)")
    add("--queries", type=int, default=100_000, help="intervals (default: 100000)")
    add("--budget", type=positive, default=4.0, help="seconds for each comparison (default: 4)")
    results = Path(__file__).resolve().parent / "results" / "paths.json"
    add("--json", type=Path, default=results, metavar="FILE", help="where everything is written")
    options = parser.parse_args(arguments)
    options.threads = measurable_threads(options.threads)
    return options


def brownian(length: int, channels: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(length, channels)).cumsum(axis=0).astype(dtype)


def measured(
    calls: dict[str, Callable[[], object]], threads: int, budget: float, scales: dict[str, float]
) -> dict[str, Timing]:
    """Time calls against each other; `scales` has those that do a part of the work only."""
    contenders = {
        name: Contender(call, lambda: pysig.set_num_threads(threads), scales.get(name, 1))
        for name, call in calls.items()
    }
    return interleave(contenders, budget)


# ------------------------------------------------------------------------------------- products


def installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def products_section(options: argparse.Namespace, report: Report) -> list[dict[str, Any]]:
    peers = {name: installed(name) for name in ("pysiglib", "iisignature")}
    rows, records = [], []
    for dtype in options.dtypes:
        for batch, channels, depth in SHAPES:
            calls = product_calls(peers, batch, channels, depth, dtype)
            for threads in options.threads:
                timings = measured(calls, threads, options.budget / 2, {})
                rows.append(
                    [f"({batch},{channels},{depth})", conditions(dtype, threads)]
                    + [seconds_cell(timings.get(name), 1e-6) for name in PRODUCT_COLUMNS]
                )
                records += [
                    {"shape": (batch, channels, depth), "dtype": dtype, "threads": threads}
                    | {"call": name}
                    | asdict(timing)
                    for name, timing in timings.items()
                ]
    print("## Products\n\nMicroseconds for (batch,channels,depth): minimum (median).\n")
    print(table(["shape", "", *PRODUCT_COLUMNS], rows) + "\n")
    return records


PRODUCT_COLUMNS = ("pysig", "pysiglib", "iisignature", "pysig gradient", "pysiglib gradient")


def product_calls(
    peers: dict[str, ModuleType | None], batch: int, channels: int, depth: int, dtype: str
) -> dict[str, Callable[[], object]]:
    words = pysig.signature_channels(channels, depth)
    first, second, grad = np.random.default_rng(2).normal(size=(3, batch, words)).astype(dtype)
    sizes = channels, depth
    value, residuals = pysig.signature_combine_forward(first, second, *sizes)
    calls: dict[str, Callable[[], object]] = {
        "pysig": lambda: pysig.signature_combine(first, second, *sizes),
        "pysig gradient": lambda: pysig.signature_combine_backward(residuals, grad),
    }
    pysiglib, iisignature = peers["pysiglib"], peers["iisignature"]
    if pysiglib:
        np.testing.assert_allclose(
            pysiglib.sig_combine(first, second, *sizes), value, rtol=1e-3, atol=1e-3
        )
        calls["pysiglib"] = lambda: pysiglib.sig_combine(first, second, *sizes)
        calls["pysiglib gradient"] = lambda: pysiglib.sig_combine_backprop(
            grad, first, second, *sizes
        )
    if iisignature and dtype == "float64":
        calls["iisignature"] = lambda: iisignature.sigcombine(first, second, *sizes)
    return calls


# ------------------------------------------------------------------------------------- intervals


def queries_section(options: argparse.Namespace, report: Report) -> list[dict[str, Any]]:
    rows, records = [], []
    rng = np.random.default_rng(3)
    start = rng.integers(0, options.length - 1, options.queries)
    end = start + 2 + (rng.random(options.queries) * (options.length - start - 1)).astype(int)
    end = np.minimum(end, options.length)
    for dtype in options.dtypes:
        points = brownian(options.length, CHANNELS, dtype)
        calls, scales = query_calls(points, start, end)
        errors = query_errors(points, start, end) if dtype == "float32" else None
        for threads in options.threads:
            timings = measured(calls, threads, options.budget, scales)
            where = conditions(dtype, threads)
            cells = query_cells(report, timings, where)
            rows.append([where, *(seconds_cell(timings[name]) for name in calls), *cells])
            records += [
                {"dtype": dtype, "threads": threads, "call": name} | asdict(timing)
                for name, timing in timings.items()
            ]
        if errors:
            report.judge("queries, float32 error", dtype, (errors[0], errors[0]), QUERY_ERROR, True)
            records.append({"float32 error": errors[0], "that of inverses": errors[1]})
            print_errors(errors)
    print(f"## {options.queries} intervals of a path of {options.length} points, (4, 4)\n")
    print("Milliseconds: minimum (median). `products` and `gathers, products` are inverse prefixes")
    print("⊗ prefixes, by index or copied first.\n")
    header = ["", "path", "queries", "gathers, products", "products", "directly"]
    print(table([*header, "against directly", "against gathers", "against products"], rows) + "\n")
    return records


def query_cells(report: Report, timings: dict[str, Timing], where: str) -> list[str]:
    """What the times of queries are, against those of the others."""
    directly = ratio(timings["directly"], timings["queries"])
    gathers = ratio(timings["queries"], timings["gathers, products"])
    target = "queries, times faster than directly"
    faster = report.judge(target, where, directly, QUERIES_AGAINST_DIRECT)
    target = "queries, times the products of inverses with gathers"
    slower = report.judge(target, where, gathers, QUERIES_AGAINST_PRODUCTS, at_most=True)
    return [
        f"{ratio_cell(directly)} {faster}",
        f"{ratio_cell(gathers)} {slower}",
        ratio_cell(ratio(timings["queries"], timings["products"])),
    ]


def query_calls(
    points: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    path = pysig.Path(points, DEPTH)
    prefixes = pysig.signature(points, DEPTH, stream=True)
    inverses = pysig.signature(points, DEPTH, stream=True, inverse=True)
    before, last = np.maximum(start - 1, 0), end - 2
    some = range(0, len(start), max(1, len(start) // 50))

    def products() -> np.ndarray:
        result = np.empty((1, len(start), prefixes.shape[-1]), points.dtype)
        factors = inverses[None], prefixes[None]
        tables.multiply(result, factors, (before, last), CHANNELS, DEPTH, False)
        return result

    calls: dict[str, Callable[[], object]] = {
        "path": lambda: pysig.Path(points, DEPTH),
        "queries": lambda: path.signature(start, end),
        "gathers, products": lambda: pysig.signature_combine(
            inverses[before], prefixes[last], CHANNELS, DEPTH
        ),
        "products": products,
        "directly": lambda: [pysig.signature(points[start[i] : end[i]], DEPTH) for i in some],
    }
    return calls, {"directly": len(start) / len(some)}


def query_errors(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> tuple[float, float]:
    """The largest relative errors of intervals: of `Path`, and of inverses."""
    chosen = start > 0
    start, end = start[chosen][:1000], end[chosen][:1000]
    exact = pysig.Path(points.astype(np.float64), DEPTH).signature(start, end)
    inverses = pysig.signature(points, DEPTH, stream=True, inverse=True)[start - 1]
    prefixes = pysig.signature(points, DEPTH, stream=True)[end - 2]
    by_inverses = pysig.signature_combine(inverses, prefixes, CHANNELS, DEPTH)
    return largest_error(pysig.Path(points, DEPTH).signature(start, end), exact), largest_error(
        by_inverses, exact
    )


def largest_error(value: np.ndarray, exact: np.ndarray) -> float:
    ends = np.cumsum([CHANNELS**k for k in range(1, DEPTH)])
    pairs = zip(*(np.split(x, ends, axis=-1) for x in (value, exact)), strict=True)
    return max(float(np.max(abs(v - e).max(-1) / abs(e).max(-1))) for v, e in pairs)


def print_errors(errors: tuple[float, float]) -> None:
    print(
        f"Largest error of 1000 float32 queries, relative to the largest number of each level: "
        f"{errors[0]:.2g}; by inverse prefixes {errors[1]:.2g}.\n"
    )


# --------------------------------------------------------------------------- windows and streams


def windows_section(options: argparse.Namespace, report: Report) -> list[dict[str, Any]]:
    rows, records = [], []
    for dtype in options.dtypes:
        points = brownian(10_000, CHANNELS, dtype)
        for length, stride in ((100, 1), (100, 10), (1000, 1), (10, 1)):
            calls, scales = window_calls(points, length, stride)
            for threads in options.threads:
                timings = measured(calls, threads, options.budget / 2, scales)
                judged = ratio(timings["loop"], timings["windows"])
                where = f"{conditions(dtype, threads)}, length {length}, stride {stride}"
                cell = ratio_cell(judged)
                if (length, stride) == (100, 1):
                    cell += " " + report.judge(
                        "windows, times faster than a loop", where, judged, WINDOWS_AGAINST_LOOP
                    )
                rows.append([where, *(seconds_cell(timings[name]) for name in calls), cell])
                records += [
                    {"dtype": dtype, "threads": threads, "length": length, "stride": stride}
                    | {"call": name}
                    | asdict(timing)
                    for name, timing in timings.items()
                ]
    print("## Windows of a path of 10000 points, (4, 4)\n\nMilliseconds: minimum (median).\n")
    print(table(["", "windows", "gradient", "loop", "loop / windows"], rows) + "\n")
    return records


def window_calls(
    points: np.ndarray, length: int, stride: int
) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    value, residuals = pysig.signature_windows_forward(points, DEPTH, length=length, stride=stride)
    starts = range(0, len(points) - length + 1, stride)
    some = starts[:: max(1, len(starts) // 500)]
    calls: dict[str, Callable[[], object]] = {
        "windows": lambda: pysig.signature_windows(points, DEPTH, length=length, stride=stride),
        "gradient": lambda: pysig.signature_windows_backward(residuals, value),
        "loop": lambda: [pysig.signature(points[i : i + length], DEPTH) for i in some],
    }
    return calls, {"loop": len(starts) / len(some)}


def streams_section(options: argparse.Namespace, report: Report) -> list[dict[str, Any]]:
    """A point comes, a point goes, and the signature is asked for, a thousand times."""
    rows, records = [], []
    for dtype in options.dtypes:
        points = brownian(3000, CHANNELS, dtype)
        for length in (100, 1000):
            timings = measured(
                stream_calls(points, length), 1, options.budget / 2, {"directly": 10}
            )
            row = [f"{dtype}, {length} points", *(seconds_cell(t) for t in timings.values())]
            rows.append([*row, ratio_cell(ratio(timings["directly"], timings["stream"]))])
            records += [
                {"dtype": dtype, "length": length, "call": name} | asdict(timing)
                for name, timing in timings.items()
            ]
    print("## A stream, (4, 4), one thread\n\nMicroseconds a point: minimum (median).\n")
    print(table(["", "stream", "directly", "ratio"], rows) + "\n")
    return records


def stream_calls(points: np.ndarray, length: int) -> dict[str, Callable[[], object]]:
    def run() -> None:
        stream = pysig.SignatureStream(points[:length], DEPTH)
        for point in points[length : length + 1000]:
            stream.push(point)
            stream.pop()
            stream.signature()

    def directly() -> None:
        for i in range(1, 101):
            pysig.signature(points[i : i + length], DEPTH)

    return {"stream": run, "directly": directly}


if __name__ == "__main__":
    main()
