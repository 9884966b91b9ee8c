"""Solvers of stochastic differential equations against torchsde and diffrax, interleaved.

A call solves from 0 to 1, the construction of its Brownian motion included. Before anything is
timed, gradients are compared with those of torchsde, which gets the same noise.

Run ``python benchmarks/sde.py --help`` for the options; README.md tells how to make the environment
of the peers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import _sde_problems as problems
import numpy as np
from _measure import (
    Contender,
    Timing,
    can_measure_peak,
    interleave,
    load_average,
    machine,
    peak_growth,
    ratio,
)
from _options import measurable_threads, positive
from _report import Report, conditions, progress, ratio_cell, seconds_cell, table
from _sde_peers import Diffrax, Torchsde, installed

import pysig

PARTS = ("perceptrons", "growth", "small", "memory")
STEPS, PATHS, GROWTH_STEPS, SMALL_STEPS = 100, 10_000, 1000, 1000
NOISE_CHANNELS = (None, 8)  # diagonal and general noise
WANTED_OF_BACKPROP = {1: 1.0, 2: 1 / 0.6}
MEMORY_STEPS = (10, 100, 1000, 10_000)


def threads_setter(threads: int, torchsde: Torchsde | None) -> Callable[[], None]:
    def prepare() -> None:
        pysig.set_num_threads(threads)
        if torchsde:
            torchsde.torch.set_num_threads(threads)

    return prepare


def timed(calls: dict[str, Any], prepare: Callable[[], None], budget: float) -> dict[str, Timing]:
    """Return the times of the calls that there are."""
    contenders = {name: Contender(call, prepare) for name, call in calls.items() if call}
    return interleave(contenders, budget)


def times_of(timings: dict[str, Timing], numerator: str, denominator: str) -> Any:
    """Return how many times as long one takes as the other, if both are there."""
    if numerator not in timings or denominator not in timings:
        return None
    return ratio(timings[numerator], timings[denominator])


def check_agreement(torchsde: Torchsde) -> None:
    """Compare all gradients of small equations with torchsde's backprop."""
    for noise_channels in NOISE_CHANNELS:
        problem = problems.perceptrons(noise_channels, 3, 4, 5, np.float64)
        gradients = problem.gradients(16)
        ours = [gradients.y0, *gradients.drift_parameters, *gradients.diffusion_parameters]
        for one, other in zip(ours, torchsde.gradients(problem, 16), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def perceptrons_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> Any:
    torchsde, diffrax = peers
    if torchsde:
        check_agreement(torchsde)
    results: dict[str, Any] = {}
    for threads in options.threads:
        rows = []
        for noise_channels in NOISE_CHANNELS:
            problem = problems.perceptrons(noise_channels)
            progress(f"perceptrons, {problem.noise}, {threads} threads")
            calls = {
                "forward": partial(problem.forward, STEPS),
                "gradient": partial(problem.gradients, STEPS),
                "without fields": partial(problem.without_fields().gradients, STEPS),
            }
            if torchsde:
                calls |= torchsde.perceptron_calls(problem, STEPS)
            if diffrax and threads == 1:
                calls |= diffrax.perceptron_calls(problem, STEPS)
            timings = timed(calls, threads_setter(threads, torchsde), 4 * options.budget)
            where = f"{problem.noise}, {conditions('float32', threads)}"
            against = times_of(timings, "torchsde backprop", "gradient")
            beyond = times_of(timings, "without fields", "gradient")
            target = "gradient, times torchsde's backprop"
            wanted = WANTED_OF_BACKPROP.get(threads, 1.0)
            rows.append([problem.noise, *(seconds_cell(timings.get(name)) for name in NAMES)])
            rows[-1] += [
                ratio_cell(against),
                report.judge(target, where, against, wanted),
                ratio_cell(beyond),
                report.judge("share beyond the fields", where, beyond, 0.25, at_most=True),
            ]
            results[where] = {name: timing.record() for name, timing in timings.items()}
        print(f"## SDE of perceptrons, reversible Heun, {conditions('float32', threads)}\n")
        print("Batch 1024, 32 channels, 64 hidden, 100 steps. Milliseconds: minimum (median).\n")
        ours = [name if name.startswith(PEERS) else f"pysig {name}" for name in NAMES]
        header = ["noise", *ours, "backprop / pysig", "target", "beyond the fields", "target"]
        print(table(header, rows), "\n")
    return results


NAMES = [
    "forward",
    "gradient",
    "without fields",
    "torchsde forward",
    "torchsde backprop",
    "torchsde adjoint",
    "diffrax tree",
    "diffrax unsafe",
]
PEERS = ("torchsde", "diffrax")


def growth_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> Any:
    torchsde, diffrax = peers
    rows, results = [], {}
    size = PATHS, GROWTH_STEPS
    names = ["callables", "fields", "loop", "torchsde", "diffrax"]
    for method in options.methods:
        progress(f"geometric Brownian motion, {method}")
        calls: dict[str, Any] = {
            "callables": partial(problems.with_callables, method, *size),
            "fields": partial(problems.with_fields, method, *size),
            "loop": partial(problems.with_loop, method, *size),
            "torchsde": torchsde and torchsde.growth(method, *size),
            "diffrax": diffrax and diffrax.growth(method, *size),
        }
        for name in ("callables", "fields"):
            np.testing.assert_allclose(calls[name](), calls["loop"](), rtol=2e-4)
        timings = timed(calls, threads_setter(1, torchsde), 2 * options.budget)
        loop = times_of(timings, "loop", "callables")
        peer = times_of(timings, "torchsde", "fields")
        rows.append([method, *(seconds_cell(timings.get(name)) for name in names)])
        rows[-1] += [
            ratio_cell(loop),
            report.judge("callables, times a NumPy loop", method, loop, 1.0),
            ratio_cell(peer),
            report.judge("built-in fields, times torchsde", method, peer, 5.0),
        ]
        results[method] = {name: timing.record() for name, timing in timings.items()}
    print(f"## Geometric Brownian motion, {PATHS} paths, {GROWTH_STEPS} steps, float32, 1 thread\n")
    print("Milliseconds: minimum (median); the noise is included everywhere.\n")
    header = ["method", *names, "loop / callables", "target", "torchsde / fields", "target"]
    print(table(header, rows), "\n")
    return results


def small_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> Any:
    torchsde, _ = peers
    rows, results = [], {}
    names = ["callables", "fields", "torchsde"]
    for method in options.methods:
        progress(f"one path, {method}")
        calls: dict[str, Any] = {
            "callables": partial(problems.small, method, SMALL_STEPS, False),
            "fields": partial(problems.small, method, SMALL_STEPS, True),
            "torchsde": torchsde and torchsde.small(method, SMALL_STEPS),
        }
        timings = timed(calls, threads_setter(1, torchsde), options.budget)
        each = timings["callables"].minimum, timings["callables"].median
        each = each[0] / SMALL_STEPS * 1e6, each[1] / SMALL_STEPS * 1e6
        verdict = report.judge("one path, µs a step", method, each, 15.0, at_most=True)
        cells = (seconds_cell(timings.get(name), 1e-6 * SMALL_STEPS) for name in names)
        rows.append([method, *cells, verdict])
        results[method] = {name: timing.record() for name, timing in timings.items()}
    print("## One path of 2 channels, float64\n\nMicroseconds a step: minimum (median).\n")
    print(table(["method", *names, "target"], rows), "\n")
    return results


# ------------------------------------------------------------------------------------------ memory


def memory_section(options: argparse.Namespace, report: Report, peers: Sequence[Any]) -> Any:
    if not can_measure_peak():
        progress("the peak of the memory cannot be measured here")
        return {}
    # With a fixed threshold glibc gives every large block back when it is freed.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(128 * 1024)
    rows, results = [], {}
    for noise_channels in NOISE_CHANNELS:
        noise = "diagonal" if noise_channels is None else "general"
        growth = {}
        for steps in MEMORY_STEPS:
            progress(f"memory, {noise}, {steps} steps")
            growth[steps] = in_fresh_process(partial(growth_of_gradient, noise_channels, steps))
        few, many = MEMORY_STEPS[0], MEMORY_STEPS[-1]
        each = (growth[many] - growth[few]) / (many - few) / problems.perceptrons(None).y0.nbytes
        verdict = report.judge(
            "memory of one step more, times a state", noise, (each, each), 0.01, at_most=True
        )
        rows.append([noise, *(f"{growth[steps] / 2**20:.1f}" for steps in MEMORY_STEPS), verdict])
        results[noise] = growth
    print("## Memory of a gradient, SDE of perceptrons: growth of the peak, MiB\n")
    print(table(["noise", *(f"{steps} steps" for steps in MEMORY_STEPS), "target"], rows), "\n")
    return results


def in_fresh_process(work: Callable[[], int]) -> int:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh_process:
        return fresh_process.submit(work).result()


def growth_of_gradient(noise_channels: int | None, steps: int) -> int:
    pysig.set_num_threads(1)
    problems.perceptrons(noise_channels, 8).gradients(2)
    return peak_growth(partial(problems.perceptrons(noise_channels).gradients, steps))


# ------------------------------------------------------------------------------------ the program


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    peers = installed("torchsde", Torchsde), installed("diffrax", Diffrax)
    facts, report, before = machine() | {"pysig": pysig.__version__}, Report(), load_average()
    print("# Stochastic differential equations\n")
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()))
    print(f"- load average before: {before}\n")
    sections = {
        "perceptrons": perceptrons_section,
        "growth": growth_section,
        "small": small_section,
        "memory": memory_section,
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
    methods = list(problems.METHODS)
    add("--threads", type=int, nargs="+", default=[1, 2], help="thread counts (default: 1 2)")
    add("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="default: all")
    add("--methods", nargs="+", default=methods, choices=methods, help="default: all")
    add("--budget", type=positive, default=1.5, help="seconds for each comparison, or a few times")
    results = Path(__file__).resolve().parent / "results" / "sde.json"
    add("--json", type=Path, default=results, metavar="FILE", help="where everything is written")
    options = parser.parse_args(arguments)
    options.threads = measurable_threads(options.threads)
    return options


if __name__ == "__main__":
    main()
