"""Accuracy in single precision, and peak memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from _measure import can_measure_peak, peak_growth
from _report import Report, conditions, progress, table
from _sorting_calls import (
    BOTH,
    FUNCTIONS,
    OPERATIONS,
    RANDOM,
    RANK_KL,
    RANK_L2,
    SORT_KL,
    SORT_L2,
    VALUE,
    Function,
    Settings,
    Shape,
    Torchsort,
    installed_peer,
    output_gradient,
    own_call,
    rows,
)

import pysig

MEBIBYTE = 1 << 20
LONG_ROWS = Shape(1, 1_000_000)
KL_ROWS = Shape(1, 100_000)
GRADIENT_ROWS = Shape(1, 1000)
# From all entries pooled, or about half of them, to none.
VALUE_CASES = [
    (RANK_L2, LONG_ROWS, (1.0, 0.01, 1e-5)),
    (SORT_L2, LONG_ROWS, (1e5, 1.0, 0.01)),
    (RANK_KL, KL_ROWS, (1.0, 0.1, 0.01, 0.001)),
    (SORT_KL, KL_ROWS, (1e4, 1.0, 0.1, 0.01, 0.001)),
]
GRADIENT_STRENGTHS = {
    "soft_rank": (1.0, 0.1, 0.01, 0.001),
    "soft_sort": (1e3, 100.0, 1.0, 0.001),
}
LARGE_SHAPES = [Shape(1, 4_000_000), Shape(400, 10_000), Shape(200_000, 20)]

# The targets.
L2_ERROR = 0.05  # of values in float32, at 10^6 entries
KL_ERROR = 1e-5  # the same at 10^5 entries, relative to each value's size
KL_GRADIENT_ERROR = 1e-5  # relative to the largest entry of the gradient
MEMORY_INPUTS = 6.0  # peak beside the input, in arrays of its size


def accuracy_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    """float32 against float64 on the same float32 numbers."""
    print("## Accuracy in float32\n")
    print("Errors against pysig in float64 on the same numbers, standard normal.\n")
    records = value_errors(settings, report)
    print("Gradients with random coefficients: largest error, relative to the largest entry.\n")
    return records + gradient_errors(settings, report)


def value_errors(settings: Settings, report: Report) -> list[dict[str, object]]:
    cases = [(f, shape, strength) for f, shape, each in VALUE_CASES for strength in each]
    lines, records = [], []
    for function, shape, strength in cases:
        progress(f"accuracy of {function} {shape}, strength {strength:g}")
        is_l2 = function.regularization == "l2"
        measure = worst_error if is_l2 else worst_relative_error
        own, peers = errors(function, VALUE, shape, strength, measure, settings.peer)
        where = f"{function}, {shape}, strength {strength:g}"
        target = f"float32 error, {function.regularization} {'absolute' if is_l2 else 'relative'}"
        verdict = report.judge(target, where, (own, own), L2_ERROR if is_l2 else KL_ERROR, True)
        kind = "absolute" if is_l2 else "relative"
        lines.append([str(function), str(shape), f"{strength:g}", kind, f"{own:.1e}", verdict])
        lines[-1].append("-" if peers is None else f"{peers:.1e}")
        records.append(error_record(function, VALUE, shape, strength, own, peers))
    header = ["function", "shape", "strength", "error", "pysig", "target", "torchsort"]
    print(table(header, lines) + "\n")
    return records


def gradient_errors(settings: Settings, report: Report) -> list[dict[str, object]]:
    lines, records = [], []
    for function in FUNCTIONS:
        for strength in GRADIENT_STRENGTHS[function.name]:
            own, peers = errors(
                function, BOTH, GRADIENT_ROWS, strength, worst_gradient_error, settings.peer
            )
            target = "float32 error of gradients, kl relative"
            where = f"{function}, {GRADIENT_ROWS}, strength {strength:g}"
            verdict = "-"
            if function.regularization == "kl":
                verdict = report.judge(target, where, (own, own), KL_GRADIENT_ERROR, True)
            lines.append(
                [str(function), str(GRADIENT_ROWS), f"{strength:g}", f"{own:.1e}", verdict]
            )
            lines[-1].append("-" if peers is None else f"{peers:.1e}")
            records.append(error_record(function, BOTH, GRADIENT_ROWS, strength, own, peers))
    header = ["function", "shape", "strength", "pysig", "target", "torchsort"]
    print(table(header, lines) + "\n")
    return records


def errors(
    function: Function,
    operation: str,
    shape: Shape,
    strength: float,
    measure: Callable[[Any, Any], float],
    peer: Torchsort | None,
) -> tuple[float, float | None]:
    """The errors of pysig and of torchsort in float32."""
    x, grad = rows(RANDOM, shape, "float32"), output_gradient(shape, "float32")
    wide = x.astype(np.float64), grad.astype(np.float64)
    exact = own_call(function, operation, *wide, strength)()
    own = measure(own_call(function, operation, x, grad, strength)(), exact)
    if peer is None:
        return own, None
    theirs = peer.call(function, operation, x, grad, strength)()
    if operation == VALUE:
        theirs = theirs.numpy()
    return own, measure(theirs, exact)


def worst_error(value: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(value - exact)))


def worst_relative_error(value: np.ndarray, exact: np.ndarray) -> float:
    """Values near zero count as one: a sorted value is as accurate as what it is made of."""
    return float(np.max(np.abs(value - exact) / np.maximum(np.abs(exact), 1)))


def worst_gradient_error(result: Any, exact: Any) -> float:
    """Not a number where the gradient has entries that are none."""
    return worst_error(result[1], exact[1]) / float(np.max(np.abs(exact[1])))


def error_record(
    function: Function,
    operation: str,
    shape: Shape,
    strength: float,
    own: float,
    peers: float | None,
) -> dict[str, object]:
    return {
        "function": str(function),
        "operation": operation,
        "shape": shape,
        "strength": strength,
        "pysig": own,
        "torchsort": peers,
    }


def memory_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    """Peak memory, each in a fresh process."""
    print("## Peak memory\n")
    if not can_measure_peak():
        print("Not measured: this system has no writable /proc/self/clear_refs.\n")
        return []
    dtype, threads = settings.dtypes[0], settings.threads[-1]
    lines, records = [], []
    for shape in LARGE_SHAPES:
        for function in FUNCTIONS:
            progress(f"peak memory of {function} {shape}, {conditions(dtype, threads)}")
            record = measured_memory(function, shape, dtype, threads, settings.peer is not None)
            records.append(record)
            line = [str(shape), str(function)]
            for operation in OPERATIONS:
                inputs = record[operation] / record["input"]
                where = f"{operation} of {function}, {shape}, {conditions(dtype, threads)}"
                target = "peak memory, in inputs"
                verdict = report.judge(target, where, (inputs, inputs), MEMORY_INPUTS, True)
                line += [f"{inputs:.1f}", verdict]
            peers = record.get(f"torchsort {BOTH}")
            line.append("-" if peers is None else f"{peers / record['input']:.1f}")
            lines.append(line)
    print(
        f"{conditions(dtype, threads)}. Growth of the peak during the call, in arrays of the "
        "input's size, results included. The input was there before.\n"
    )
    header = ["shape", "function"]
    for operation in OPERATIONS:
        header += [operation, "target"]
    print(table([*header, f"torchsort {BOTH}"], lines) + "\n")
    return records


def measured_memory(
    function: Function, shape: Shape, dtype: str, threads: int, with_peer: bool
) -> dict[str, Any]:
    # With a fixed threshold glibc gives every large block back when it is freed.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(128 * 1024)
    growth: dict[str, Any] = {
        "function": str(function),
        "shape": shape,
        "dtype": dtype,
        "threads": threads,
        "input": shape.batch * shape.length * np.dtype(dtype).itemsize,
    }
    arguments = function, shape, dtype, threads
    for operation in OPERATIONS:
        growth[operation] = in_fresh_process(partial(growth_of_call, operation, *arguments))
    if with_peer and shape == LARGE_SHAPES[0]:
        growth[f"torchsort {BOTH}"] = in_fresh_process(partial(growth_of_peer, *arguments))
    return growth


def in_fresh_process(work: Callable[[], int]) -> int:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as fresh_process:
        return fresh_process.submit(work).result()


def growth_of_call(
    operation: str, function: Function, shape: Shape, dtype: str, threads: int
) -> int:
    pysig.set_num_threads(threads)
    x, grad = rows(RANDOM, shape, dtype), output_gradient(shape, dtype)
    own_call(function, operation, x[:, :10].copy(), grad[:, :10].copy())()
    return peak_growth(own_call(function, operation, x, grad))


def growth_of_peer(function: Function, shape: Shape, dtype: str, threads: int) -> int:
    peer, _ = installed_peer()
    assert peer is not None
    peer.set_num_threads(threads)
    x, grad = rows(RANDOM, shape, dtype), output_gradient(shape, dtype)
    peer.call(function, BOTH, x[:, :10].copy(), grad[:, :10].copy())()
    return peak_growth(peer.call(function, BOTH, x, grad))
