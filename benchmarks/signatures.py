"""Signatures against pysiglib and iisignature, in one process, interleaved.

Run ``python benchmarks/signatures.py --help`` for the options; README.md tells how to make the
environment of the peers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import threadpoolctl
from _measure import load_average, machine
from _options import measurable_threads, positive
from _report import Report
from _signature_calls import SHAPES, Library, Settings, Shape, installed_peers
from _signature_costs import cost_section, latency_section, memory_section
from _signature_kernel import kernel_section
from _signature_logarithm import logsignature_section
from _signature_peers import peers_section

import pysig

PARTS = ("peers", "logsignature", "latency", "cost", "memory", "kernel")


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    peers, remarks = installed_peers(options.iisignature_backward)
    settings = settings_of(options, peers)
    # pysiglib warns where it copies its input first; then its time would not be comparable.
    warnings.filterwarnings("error", message=".*will be cloned", category=UserWarning)
    report = Report()
    facts = machine() | {"pysig": pysig.__version__, "SIMD level of pysig": simd_level()} | remarks
    before = load_average()
    print("# Signatures\n")
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
    sections = {
        "peers": peers_section,
        "logsignature": logsignature_section,
        "latency": latency_section,
        "cost": cost_section,
        "memory": memory_section,
        "kernel": kernel_section,
    }
    threads = pysig.get_num_threads()
    try:
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            return {part: sections[part](settings, report) for part in PARTS if part in parts}
    finally:
        pysig.set_num_threads(threads)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--shapes", type=Shape.parse, nargs="+", default=SHAPES, metavar="B,L,C,N")
    add("--dtypes", nargs="+", default=["float64", "float32"], choices=["float64", "float32"])
    add("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default: 1 2)")
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="default: all")
    add("--budget", type=positive, help="seconds for each comparison (default: 4; quick: 0.4)")
    add(
        "--longest-call",
        type=positive,
        help="seconds after which a peer gets fewer paths of the batch and its time is scaled and "
        "marked ~ (default: 2; quick: 0.3; inf: never)",
    )
    add(
        "--quick",
        action="store_true",
        help="smaller budgets: a rough picture in two or three minutes",
    )
    add("--iisignature-backward", action="store_true", help="time its float32 gradients as well")
    results = Path(__file__).resolve().parent / "results" / "signatures.json"
    add("--json", type=Path, default=results, metavar="FILE", help="where everything is written")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace, peers: Sequence[Library]) -> Settings:
    threads = measurable_threads(options.threads)
    budget = options.budget or (0.4 if options.quick else 4.0)
    longest_call = options.longest_call or (0.3 if options.quick else 2.0)
    return Settings(
        peers, options.shapes, options.dtypes, threads, budget, longest_call, options.quick
    )


def simd_level() -> str:
    return importlib.import_module("pysig._core.signatures.signature").simd_level()


if __name__ == "__main__":
    main()
