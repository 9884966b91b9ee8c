"""Soft sorting and ranking against torchsort and NumPy's hard sort, in one process, interleaved.

Run ``python benchmarks/sorting.py --help`` for the options; README.md tells how to make the
environment of the peers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from _measure import load_average, machine
from _options import measurable_threads, positive
from _report import Report
from _sorting_calls import ROWS, SHAPES, Settings, Shape, Torchsort, installed_peer
from _sorting_costs import accuracy_section, memory_section
from _sorting_peers import peers_section

import pysig

PARTS = ("peers", "accuracy", "memory")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    peer, remarks = installed_peer()
    settings = settings_of(options, peer)
    report = Report()
    facts = machine() | {"pysig": pysig.__version__} | remarks
    before = load_average()
    print("# Soft sorting and ranking\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    print(f"- load average before: {before}\n")
    results = measured_parts(options.parts, settings, report)
    after = load_average()
    print(report.summary())
    print(f"\nLoad average (1, 5, 15 minutes): {before} before, {after} after.")
    results["machine"] = facts | {"load average before": before, "load average after": after}
    results["options"] = {name: str(value) for name, value in vars(options).items()}
    results["verdicts"] = [verdict.record() for verdict in report.verdicts]
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"Everything measured: {options.json}")


def measured_parts(parts: Sequence[str], settings: Settings, report: Report) -> dict[str, object]:
    sections = {"peers": peers_section, "accuracy": accuracy_section, "memory": memory_section}
    threads = pysig.get_num_threads()
    try:
        return {part: sections[part](settings, report) for part in PARTS if part in parts}
    finally:
        pysig.set_num_threads(threads)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--shapes", type=Shape.parse, nargs="+", default=SHAPES, metavar="B,N")
    add("--dtypes", nargs="+", default=["float64", "float32"], choices=["float64", "float32"])
    add("--rows", nargs="+", default=list(ROWS), choices=ROWS, help="default: all")
    add("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default: 1 2)")
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="default: all")
    add("--budget", type=positive, help="seconds for each comparison (default: 1.5; quick: 0.2)")
    add("--quick", action="store_true", help="smaller budgets: a rough picture in two minutes")
    results = Path(__file__).resolve().parent / "results" / "sorting.json"
    add("--json", type=Path, default=results, metavar="FILE", help="where everything is written")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace, peer: Torchsort | None) -> Settings:
    threads = measurable_threads(options.threads)
    budget = options.budget or (0.2 if options.quick else 1.5)
    return Settings(peer, options.shapes, options.dtypes, options.rows, threads, budget)


if __name__ == "__main__":
    main()
