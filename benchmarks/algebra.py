"""Chosen words, joined and rescaled signatures against pysiglib and iisignature, interleaved.

Run ``python benchmarks/algebra.py --help`` for the options; README.md tells how to make the
environment of the peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _measure import Contender, Timing, interleave, load_average, machine, ratio
from _options import positive
from _report import progress, ratio_cell, seconds_cell, table

import pysig

# batch, length, channels, depth, number of words drawn
WORD_SIZES = [
    (32, 128, 4, 4, 10),
    (128, 256, 4, 6, 20),
    (128, 256, 4, 6, 300),
    (1, 1000, 5, 5, 50),
    (20000, 8, 3, 4, 10),
    (1, 100_000, 3, 4, 30),
    (256, 100, 6, 8, 30),
]
# batch, channels, depth
TENSOR_SIZES = [(1, 3, 3), (100, 4, 4), (100, 4, 6), (1000, 3, 4), (32, 40, 2)]


class Row(NamedTuple):
    """One line of the tables: the calls of each library, which must agree."""

    name: str
    calls: dict[str, Callable[[], Any]]
    tolerance: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", default=["float64", "float32"])
    parser.add_argument("--budget", type=positive, default=1.0, help="seconds for each line")
    results = Path(__file__).resolve().parent / "results" / "algebra.json"
    parser.add_argument("--json", type=Path, default=results, metavar="FILE")
    options = parser.parse_args(arguments)
    peers = {name: importlib.import_module(name) for name in ("pysiglib", "iisignature")}
    pysig.set_num_threads(1)
    facts = machine() | {"pysig": pysig.__version__, "load average before": load_average()}
    print("# Chosen words and the tensor algebra, one thread\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    measured = {}
    for dtype in options.dtypes:
        rng = np.random.default_rng(0)
        rows = [word_row(rng, peers, dtype, *size) for size in WORD_SIZES]
        rows += [row for size in TENSOR_SIZES for row in tensor_rows(rng, peers, dtype, *size)]
        print(f"\n## {dtype}\n")
        lines = []
        for row in rows:
            progress(f"{dtype}: {row.name}")
            timings = measure(row, options.budget)
            measured[f"{dtype}: {row.name}"] = {
                name: timing.minimum for name, timing in timings.items()
            }
            lines.append(cells(row.name, timings))
        print(table(["ms", "pysig", "pysiglib", "iisignature", "best peer / pysig"], lines))
    facts["load average after"] = load_average()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": facts, "seconds": measured}, indent=1) + "\n")
    print(f"\nLoad average after: {facts['load average after']}. Everything: {options.json}")


def word_row(
    rng: np.random.Generator,
    peers: dict[str, Any],
    dtype: str,
    batch: int,
    length: int,
    channels: int,
    depth: int,
    count: int,
) -> Row:
    steps = rng.standard_normal((batch, length, channels)) / np.sqrt(length)
    path = np.ascontiguousarray(steps.cumsum(axis=1), dtype)
    lengths = rng.integers(1, depth + 1, count)
    words = [tuple(rng.integers(0, channels, size).tolist()) for size in lengths]
    words = list(dict.fromkeys(words))
    calls = {
        "pysig": lambda: pysig.signature_words(path, words),
        "pysiglib": lambda: peers["pysiglib"].sig_coef(path, words),
    }
    name = f"{len(words)} words of ({batch},{length},{channels},{depth})"
    return Row(name, calls, 1e-12 if dtype == "float64" else 1e-3)


def tensor_rows(
    rng: np.random.Generator,
    peers: dict[str, Any],
    dtype: str,
    batch: int,
    channels: int,
    depth: int,
) -> list[Row]:
    words = pysig.signature_channels(channels, depth)
    value = rng.standard_normal((batch, words)).astype(dtype)
    vector = rng.standard_normal((batch, channels)).astype(dtype)
    pysiglib, iisignature = peers["pysiglib"], peers["iisignature"]
    joined = {
        "pysig": lambda: pysig.signature_join(value, vector, depth),
        "pysiglib": lambda: pysiglib.sig_join(value, vector, channels, depth),
        "iisignature": lambda: iisignature.sigjoin(value, vector, depth),
    }
    scaled = {
        "pysig": lambda: pysig.signature_scale(value, vector, depth),
        "iisignature": lambda: iisignature.sigscale(value, vector, depth),
    }
    size = f"({batch},{channels},{depth})"
    # iisignature gives float32.
    return [Row(f"join {size}", joined, 1e-4), Row(f"scale {size}", scaled, 1e-4)]


def measure(row: Row, budget: float) -> dict[str, Timing]:
    expected = row.calls["pysig"]()
    for name, call in row.calls.items():
        size = row.tolerance * abs(expected).max()
        np.testing.assert_allclose(call(), expected, rtol=0, atol=size, err_msg=f"{name} differs")
    return interleave({name: Contender(call) for name, call in row.calls.items()}, budget)


def cells(name: str, timings: dict[str, Timing]) -> list[str]:
    others = [timing for peer, timing in timings.items() if peer != "pysig"]
    best = min(others, key=lambda timing: timing.minimum)
    times = [seconds_cell(timings.get(peer)) for peer in ("pysig", "pysiglib", "iisignature")]
    return [name, *times, ratio_cell(ratio(best, timings["pysig"]))]


if __name__ == "__main__":
    main()
