"""Logsignatures against pysiglib: words and brackets, forward and with gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from _measure import Contender, Timing, geometric_mean, interleave, ratio
from _report import Report, conditions, progress, ratio_cell, seconds_cell, table
from _signature_calls import (
    BOTH,
    FORWARD,
    OPERATIONS,
    SHAPES,
    Key,
    Library,
    Settings,
    Shape,
    brownian_path,
    normal,
)

import pysig

METHODS = {"words": 1, "brackets": 2}  # the modes, as pysiglib calls them
MANY_SHORT = Shape(20000, 8, 3, 4)

# The targets, in times pysiglib.
FASTER = {FORWARD: 2.0}  # each shape
FASTER_MANY_SHORT = 3.0
FASTER_MEAN = {FORWARD: 3.5, BOTH: 10.0}
# Relative to a path's largest number. Gradients of brackets at depth 9 lose most digits: those of
# the path and of the path backwards in time differ by 1.1e-11 in pysiglib, and by 3e-12 in pysig.
TOLERANCE = {"float64": 3e-11, "float32": 1e-2}

Measured = dict[tuple[Shape, str], dict[Key, Timing]]


def own_call(
    operation: str, mode: str, path: np.ndarray, grad: np.ndarray, depth: int
) -> Callable[[], np.ndarray]:
    if operation == FORWARD:
        return partial(pysig.logsignature, path, depth, mode=mode)
    return partial(own_forward_backward, mode, path, grad, depth)


def own_forward_backward(mode: str, path: np.ndarray, grad: np.ndarray, depth: int) -> np.ndarray:
    _, residuals = pysig.logsignature_forward(path, depth, mode=mode)
    return pysig.logsignature_backward(residuals, grad).path


def peer_call(
    module: Any,
    operation: str,
    mode: str,
    path: np.ndarray,
    grad: np.ndarray,
    depth: int,
    threads: int,
) -> Callable[[], np.ndarray]:
    """Its tables are made before anything is timed."""
    module.prepare_log_sig(path.shape[-1], depth, METHODS[mode])
    if operation == FORWARD:
        return partial(module.log_sig, path, depth, method=METHODS[mode], n_jobs=threads)
    return partial(peer_forward_backward, module, mode, path, grad, depth, threads)


def peer_forward_backward(
    module: Any, mode: str, path: np.ndarray, grad: np.ndarray, depth: int, threads: int
) -> np.ndarray:
    """Keeps the signature, so that it is computed once."""
    options = {"method": METHODS[mode], "n_jobs": threads}
    signature = module.sig(path, depth, n_jobs=threads)
    module.sig_to_log_sig(signature, path.shape[-1], depth, **options)
    through = module.sig_to_log_sig_backprop(signature, grad, path.shape[-1], depth, **options)
    return module.sig_backprop(path, signature, through, depth, n_jobs=threads)


def logsignature_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    peers = {peer.name: peer for peer in settings.peers}
    shapes = [*settings.shapes, *([MANY_SHORT] if settings.shapes == SHAPES else [])]
    print("## Logsignatures\n")
    print("Milliseconds and ratios: minimum (median).\n")
    records: list[dict[str, object]] = []
    for dtype in settings.dtypes:
        for mode in METHODS:
            timings = {
                (shape, operation): measured(
                    shape, dtype, mode, operation, peers.get("pysiglib"), settings
                )
                for shape in shapes
                for operation in OPERATIONS
            }
            records += [
                {"shape": shape, "dtype": dtype, "mode": mode} | key._asdict() | vars(timing)
                for (shape, _), cell in timings.items()
                for key, timing in cell.items()
            ]
            for threads in settings.threads:
                for operation in OPERATIONS:
                    print_table(timings, shapes, operation, mode, dtype, threads, report)
    return records


def measured(
    shape: Shape, dtype: str, mode: str, operation: str, peer: Library | None, settings: Settings
) -> dict[Key, Timing]:
    """First that the libraries agree, then how long each takes."""
    progress(f"logsignature, {mode}, {operation} {shape} {dtype}")
    path = brownian_path(shape, dtype)
    size = pysig.logsignature_channels(shape.channels, shape.depth, mode)
    grad = normal((shape.batch, size), dtype, seed=1)
    own = own_call(operation, mode, path, grad, shape.depth)
    contenders: dict[Key, Contender] = {}
    for threads in settings.threads:
        prepare = partial(pysig.set_num_threads, threads)
        contenders[Key("pysig", operation, threads)] = Contender(own, prepare)
        if peer is None or is_too_long(shape, operation, settings):
            continue
        module: Any = vars(peer)["module"]
        call = peer_call(module, operation, mode, path, grad, shape.depth, threads)
        check_agreement(own(), call(), f"{operation} of {mode}, {shape}", dtype)
        contenders[Key("pysiglib", operation, threads)] = Contender(call)
    return interleave(contenders, settings.budget)


def is_too_long(shape: Shape, operation: str, settings: Settings) -> bool:
    """Whether pysiglib would take longer than --longest-call, at its rate of 10^9 a second."""
    passes = 30 if operation == BOTH else 2
    return shape.multiply_adds() * passes / 3e9 > 10 * settings.longest_call


def check_agreement(ours: np.ndarray, theirs: np.ndarray, what: str, dtype: str) -> None:
    axes = tuple(range(1, ours.ndim))
    error = np.max(np.max(abs(ours - theirs), axes) / np.max(abs(theirs), axes))
    if not error <= TOLERANCE[dtype]:
        raise SystemExit(f"{what} in {dtype}: pysig and pysiglib differ by {error:.1e} (relative)")


def print_table(
    timings: Measured,
    shapes: list[Shape],
    operation: str,
    mode: str,
    dtype: str,
    threads: int,
    report: Report,
) -> None:
    rows, ratios = [], []
    for shape in shapes:
        cell = timings[shape, operation]
        own = cell[Key("pysig", operation, threads)]
        theirs = cell.get(Key("pysiglib", operation, threads))
        speed = ratio(theirs, own) if theirs else None
        wanted = FASTER.get(operation)
        if shape == MANY_SHORT and wanted:
            wanted = FASTER_MANY_SHORT
        elif speed:
            ratios.append(speed)
        where = f"{mode}, {shape} {conditions(dtype, threads)}"
        name = f"logsignature, {operation}, times pysiglib"
        judged = report.judge(name, where, speed, wanted) if wanted else "-"
        rows.append(
            [str(shape), seconds_cell(own), seconds_cell(theirs), ratio_cell(speed), judged]
        )
    print(f"### {mode}, {operation}, {conditions(dtype, threads)}\n")
    header = ["shape", "pysig ms", "pysiglib ms", "pysiglib / pysig", "target"]
    print(table(header, rows) + "\n")
    if not ratios:
        return
    by_minimum, by_median = (geometric_mean(column) for column in zip(*ratios, strict=True))
    name = f"logsignature, {operation}, geometric mean"
    where = f"{mode}, {conditions(dtype, threads)}"
    mean = (by_minimum, by_median)
    text = f"Geometric mean over {len(ratios)} shapes: {ratio_cell(mean)} times pysiglib"
    if len(ratios) >= len(SHAPES) - 1:  # but one that takes pysiglib minutes
        text += f"; {report.judge(name, where, mean, FASTER_MEAN[operation])}"
    print(text + ".\n")
