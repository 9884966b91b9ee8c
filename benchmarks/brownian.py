"""Brownian intervals against torchsde and diffrax, in one process, interleaved.

A pattern of queries on [0, 1] is one call, the construction included: "sequential" asks for the
steps of a grid one by one, "double" forwards and then backwards, "random" in a shuffled order.
torchsde is timed as it is by default, with its hint `dt`, and with all values stored; diffrax with
one compiled loop over all queries, without the time to compile it.

Run ``python benchmarks/brownian.py --help`` for the options; README.md tells how to make the
environment of the peers.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _measure import Contender, Timing, interleave, load_average, machine, ratio
from _options import measurable_threads, positive
from _report import Report, conditions, progress, ratio_cell, seconds_cell, table

import pysig

PATTERNS = ("sequential", "double", "random")
SIZES = ((1, 1000), (2560, 100), (32768, 100))
WANTED = {1: 20.0, 2560: 6.0, 32768: 4.0}  # times torchsde's best setting
PARTS = ("queries", "path", "areas", "long")


def steps(count: int, pattern: str) -> list[tuple[float, float]]:
    """The queries of a pattern."""
    grid = np.linspace(0, 1, count + 1).tolist()
    forwards = list(itertools.pairwise(grid))
    if pattern == "double":
        return forwards + forwards[::-1]
    if pattern == "random":
        return [forwards[i] for i in np.random.default_rng(0).permutation(count)]
    return forwards


def asker(make: Callable[[], Any], queries: Sequence[tuple[float, float]]) -> Callable[[], None]:
    """A call that makes an object and asks it for all increments."""

    def call() -> None:
        brownian = make()
        for start, end in queries:
            brownian(start, end)

    return call


def ours(size: int, count: int, **options: Any) -> Callable[[], Any]:
    return lambda: pysig.BrownianInterval(
        0, 1, (size,), seed=1, dtype=np.float32, tolerance=1 / count, **options
    )


class Torchsde:
    """torchsde's objects in its three settings."""

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.torchsde = importlib.import_module("torchsde")

    def settings(self, size: int, count: int) -> dict[str, Callable[[], Any]]:
        interval, options = self.torchsde.BrownianInterval, {"size": (size, 1), "entropy": 1}
        w0 = self.torch.zeros(size, 1)
        return {
            "torchsde": lambda: interval(0.0, 1.0, **options),
            "torchsde dt": lambda: interval(0.0, 1.0, dt=1 / count, **options),
            "torchsde path": lambda: self.torchsde.BrownianPath(t0=0.0, w0=w0),
        }

    def areas(self, kind: str, count: int) -> Callable[[], Any]:
        return lambda: self.torchsde.BrownianInterval(
            0.0, 1.0, size=(1024, 8), entropy=1, dt=1 / count, levy_area_approximation=kind
        )


class Diffrax:
    """diffrax's virtual tree in a compiled loop."""

    def __init__(self) -> None:
        self.diffrax = importlib.import_module("diffrax")
        self.jax = importlib.import_module("jax")

    def call(self, size: int, count: int, pattern: str) -> Callable[[], None]:
        jax, numpy = self.jax, self.jax.numpy
        queries = np.array(steps(count, pattern), np.float32)
        shape = jax.ShapeDtypeStruct((size,), numpy.float32)

        def loop(key: Any, queries: Any) -> Any:
            tree = self.diffrax.VirtualBrownianTree(0.0, 1.0, 0.5 / count, shape, key)
            add = lambda total, query: (total + tree.evaluate(query[0], query[1]), None)  # noqa: E731
            return jax.lax.scan(add, numpy.zeros(size, numpy.float32), queries)[0]

        compiled, key = jax.jit(loop), jax.random.PRNGKey(1)
        return lambda: compiled(key, queries).block_until_ready()


def installed(name: str, peer: Callable[[], Any]) -> Any:
    try:
        return peer()
    except ImportError as error:
        progress(f"{name} is missing: {error}")
        return None


def threads_setter(threads: int, torchsde: Torchsde | None) -> Callable[[], None]:
    def prepare() -> None:
        pysig.set_num_threads(threads)
        if torchsde:
            torchsde.torch.set_num_threads(threads)

    return prepare


def best(timings: dict[str, Timing], prefix: str) -> Timing | None:
    """The fastest of a peer's settings."""
    found = [timing for name, timing in timings.items() if name.startswith(prefix)]
    return min(found, key=lambda timing: timing.minimum) if found else None


def compared(ours: Timing, peer: Timing | None) -> tuple[float, float] | None:
    return None if peer is None else ratio(peer, ours)


def queries_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> object:
    torchsde, diffrax = peers
    results = {}
    for threads in options.threads:
        rows = []
        for size, count in SIZES:
            for pattern in PATTERNS:
                progress(f"{size} x {count} {pattern}, {threads} threads")
                prepare = threads_setter(threads, torchsde)
                queries = steps(count, pattern)
                calls = {"pysig": asker(ours(size, count), queries)}
                if torchsde:
                    settings = torchsde.settings(size, count)
                    calls |= {name: asker(make, queries) for name, make in settings.items()}
                if diffrax and threads == 1:
                    calls["diffrax"] = diffrax.call(size, count, pattern)
                contenders = {name: Contender(call, prepare) for name, call in calls.items()}
                timings = interleave(contenders, options.budget)
                theirs, mine = best(timings, "torchsde"), timings["pysig"]
                where = f"{pattern}, {size} x {count}, {conditions('float32', threads)}"
                target = f"queries at batch {size}, times torchsde's best"
                against = compared(mine, theirs)
                rows.append([f"{size} x {count}", pattern])
                rows[-1] += [seconds_cell(timings.get(name)) for name in (*calls,)]
                rows[-1] += ["-"] * (5 - len(calls))
                rows[-1] += [ratio_cell(against)]
                rows[-1] += [report.judge(target, where, against, WANTED[size])]
                if "diffrax" in timings:
                    versus = compared(mine, timings["diffrax"])
                    rows[-1] += [report.judge("queries, times diffrax", where, versus, 3.0)]
                else:
                    rows[-1] += ["-"]
                results[where] = {name: timing.record() for name, timing in timings.items()}
        print(f"## Queries, {conditions('float32', threads)}\n\nMilliseconds: minimum (median).\n")
        names = ["pysig", "torchsde", "torchsde dt", "torchsde path", "diffrax"]
        header = [
            "batch x queries",
            "pattern",
            *names,
            "torchsde best / pysig",
            "target",
            "diffrax",
        ]
        print(table(header, rows), "\n")
    return results


def path_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> object:
    """All increments of a grid: nanoseconds for each number, as many as there are normals."""
    rows, results = [], {}
    ts = np.linspace(0, 1, 101)
    for dtype, limit in (("float32", 5.0), ("float64", 7.0)):
        calls = {
            threads: Contender(
                lambda dtype=dtype: pysig.brownian_path(ts, (32768,), seed=1, dtype=dtype),
                threads_setter(threads, peers[0]),
            )
            for threads in options.threads
        }
        timings = interleave(calls, options.budget)
        for threads, timing in timings.items():
            each = timing.minimum / 3.2768e-3, timing.median / 3.2768e-3
            verdict = "-"
            if threads == 1:
                verdict = report.judge("path, ns a number", dtype, each, limit, at_most=True)
            elif 1 in timings:
                gain = ratio(timings[1], timing)
                verdict = report.judge("path, two threads, times one", dtype, gain, 1.8)
            rows.append([dtype, str(threads), seconds_cell(timing), ratio_cell(each), verdict])
            results[f"{dtype} {threads}"] = timing.record()
    print("## brownian_path, 32768 x 100\n")
    print(table(["type", "threads", "ms", "ns a number", "target"], rows), "\n")
    return results


def areas_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> object:
    """Lévy areas of 8 components."""
    rows, results = [], {}
    queries = steps(100, "sequential")
    for kind in ("space-time", "davie", "foster"):
        make = lambda kind=kind: pysig.BrownianInterval(  # noqa: E731
            0, 1, (1024, 8), seed=1, dtype=np.float32, tolerance=0.01, levy_area=kind
        )
        prepare = threads_setter(1, peers[0])
        contenders = {"pysig": Contender(asker(make, queries), prepare)}
        if peers[0]:
            contenders["torchsde"] = Contender(asker(peers[0].areas(kind, 100), queries), prepare)
        timings = interleave(contenders, options.budget)
        against = compared(timings["pysig"], timings.get("torchsde"))
        verdict = report.judge("Lévy areas, times torchsde", kind, against, 8.0)
        cells = [seconds_cell(timings.get(name)) for name in ("pysig", "torchsde")]
        rows.append([kind, *cells, ratio_cell(against), verdict])
        results[kind] = {name: timing.record() for name, timing in timings.items()}
    print("## Lévy areas, (1024, 8), 100 steps, float32, 1 thread\n")
    print(table(["levy_area", "pysig ms", "torchsde ms", "times", "target"], rows), "\n")
    return results


def long_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> object:
    """A million queries of a single number: microseconds for each."""
    pysig.set_num_threads(1)
    rows, results = [], {}
    for pattern, count in (("sequential", 10**4), ("sequential", 10**6), ("double", 10**6 // 2),
                           ("random", 10**5)):  # fmt: skip
        progress(f"{count} queries, {pattern}")
        queries = steps(count, pattern)
        brownian = pysig.BrownianInterval(0, 1, seed=1, dtype=np.float32, tolerance=1 / count)
        calls = {"": Contender(asker(lambda brownian=brownian: brownian, queries))}
        timing = interleave(calls, options.budget)[""]
        each = timing.minimum / len(queries) * 1e6, timing.median / len(queries) * 1e6
        verdict = report.judge(
            "microseconds a query", f"{pattern}, {len(queries)}", each, 3.0, at_most=True
        )
        rows.append([pattern, str(len(queries)), ratio_cell(each), verdict])
        results[f"{pattern} {len(queries)}"] = timing.record()
    print("## Many queries of one number, float32\n")
    print(table(["pattern", "queries", "µs a query", "target"], rows), "\n")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    peers = installed("torchsde", Torchsde), installed("diffrax", Diffrax)
    facts, report, before = machine() | {"pysig": pysig.__version__}, Report(), load_average()
    print("# Brownian intervals\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    print(f"- load average before: {before}\n")
    sections = {
        "queries": queries_section,
        "path": path_section,
        "areas": areas_section,
        "long": long_section,
    }
    threads = pysig.get_num_threads()
    results: dict[str, object] = {}
    try:
        for part in options.parts:
            results[part] = sections[part](options, report, peers)
    finally:
        pysig.set_num_threads(threads)
    print(report.summary())
    print(f"\nLoad average (1, 5, 15 minutes): {before} before, {load_average()} after.")
    results["machine"] = facts
    results["verdicts"] = [verdict.record() for verdict in report.verdicts]
    options.json.write_text(json.dumps(results, indent=1) + "\n")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default: 1 2)")
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="default: all")
    add("--budget", type=positive, default=1.5, help="seconds for each comparison")
    results = Path(__file__).resolve().parent / "results" / "brownian.json"
    add("--json", type=Path, default=results, metavar="FILE", help="where everything is written")
    options = parser.parse_args(arguments)
    options.threads = measurable_threads(options.threads)
    return options


if __name__ == "__main__":
    main()
