"""Gram matrices of the signature kernel, and their gradients, against pysiglib."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from _measure import (
    Contender,
    Timing,
    estimated_seconds,
    interleave,
    matrix_product,
    matrix_product_rate,
    ratio,
)
from _report import Report, conditions, digits, progress, ratio_cell, seconds_cell, table
from _signature_calls import BOTH, FORWARD, OPERATIONS, Settings, normal

import pysig

FASTER = {FORWARD: 1.5, BOTH: 2.0}  # times pysiglib, on one thread, for linear kernels
# Relative, between the two libraries. In float32, for paths of 500 points, pysiglib is up to
# 1.2e-3 from the kernels in float64, pysig 2e-6.
TOLERANCE = {"float64": 1e-12, "float32": 2e-3}
PEER_PAIRS = 512  # that pysiglib does at once: it keeps a grid for each


class Gram(NamedTuple):
    """All pairs of two batches of paths."""

    paths: int  # of each batch
    length: int
    channels: int
    order: int
    sigma: float | None

    def __str__(self) -> str:
        kind = "linear" if self.sigma is None else "rbf"
        return (
            f"({self.paths}x{self.paths},{self.length},{self.channels}) {kind}, order {self.order}"
        )

    def cells(self) -> int:
        """Fine cells of all grids."""
        return (self.paths * ((self.length - 1) << self.order)) ** 2

    def multiply_adds(self) -> int:
        """Of the least that a forward of the linear kernel needs: products, and 4 for a cell."""
        return 4 * self.cells() + (self.cells() >> 2 * self.order) * self.channels

    def options(self) -> dict[str, Any]:
        static = {} if self.sigma is None else {"static_kernel": "rbf", "sigma": self.sigma}
        return {"dyadic_order": self.order, **static}


SHAPES = [
    Gram(64, 100, 5, 0, None),
    Gram(64, 500, 5, 0, None),
    Gram(64, 100, 5, 2, None),
    Gram(64, 100, 5, 0, 1.0),
    Gram(64, 100, 40, 0, None),
]


class Pysiglib:
    """What pysiglib takes and gives for the same."""

    def __init__(self) -> None:
        self.module = importlib.import_module("pysiglib")
        self.torch = importlib.import_module("torch")

    def call(
        self, operation: str, x: np.ndarray, y: np.ndarray, gram: Gram, threads: int
    ) -> Callable[[], Any]:
        static = None if gram.sigma is None else self.module.RBFKernel(gram.sigma)
        options = {
            "dyadic_order": gram.order,
            "static_kernel": static,
            "n_jobs": threads,
            "max_batch": PEER_PAIRS,
        }
        if operation == FORWARD:
            return partial(self.module.sig_kernel_gram, x, y, **options)
        return partial(self.both, x, y, options)

    def both(self, x: np.ndarray, y: np.ndarray, options: dict[str, Any]) -> Any:
        gram = self.module.sig_kernel_gram(x, y, **options)
        return self.module.sig_kernel_gram_backprop(
            np.ones_like(gram), x, y, left_deriv=True, right_deriv=True, **options
        )

    def prepare(self, threads: int) -> None:
        self.torch.set_num_threads(threads)


def own_call(operation: str, x: np.ndarray, y: np.ndarray, gram: Gram) -> Callable[[], Any]:
    if operation == FORWARD:
        return partial(pysig.signature_gram, x, y, **gram.options())
    return partial(own_both, x, y, gram)


def own_both(x: np.ndarray, y: np.ndarray, gram: Gram) -> tuple[np.ndarray, np.ndarray]:
    value, residuals = pysig.signature_gram_forward(x, y, **gram.options())
    return tuple(pysig.signature_gram_backward(residuals, np.ones_like(value)))


def paths(gram: Gram, dtype: str, seed: int) -> np.ndarray:
    points = normal((gram.paths, gram.length, gram.channels), dtype, seed)
    points /= np.sqrt(gram.length * gram.channels)
    return np.cumsum(points, axis=1, out=points)


def check_agreement(ours: Any, theirs: Any, gram: Gram, dtype: str) -> None:
    """On the very input that is timed; wrong results are not worth timing."""
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for mine, other in pairs:
        error = float(np.max(abs(mine - other)) / np.max(abs(other)))
        if not error <= TOLERANCE[dtype]:
            raise SystemExit(f"{gram} in {dtype}: pysig and pysiglib differ by {error:.1e}")


class Row(NamedTuple):
    """What was measured of one operation."""

    gram: Gram
    dtype: str
    threads: int
    operation: str
    timings: dict[str, Timing]

    def against(self) -> tuple[float, float] | None:
        if "pysiglib" not in self.timings:
            return None
        return ratio(self.timings["pysiglib"], self.timings["pysig"])

    def product_share(self) -> tuple[float, float] | None:
        """The forward's multiply-adds per second, as a share of the matrix product's."""
        if self.operation != FORWARD or self.gram.sigma is not None or self.threads > 1:
            return None
        own, product = self.timings["pysig"], self.timings["matrix product"]
        work = self.gram.multiply_adds()
        return (
            work / own.minimum / matrix_product_rate(product.minimum),
            work / own.median / matrix_product_rate(product.median),
        )

    def record(self) -> dict[str, object]:
        timings = {name: asdict(timing) for name, timing in self.timings.items()}
        return {**self._asdict(), "gram": str(self.gram), "timings": timings}


def set_num_threads(peer: Pysiglib | None, threads: int) -> None:
    """Set both limits: torch's holds for all that share its OpenMP, and so for pysig."""
    pysig.set_num_threads(threads)
    if peer:
        peer.prepare(threads)


def measured(
    gram: Gram, dtype: str, threads: int, operation: str, peer: Pysiglib | None, settings: Settings
) -> Row:
    progress(f"{operation} {gram} {dtype}")
    x, y = paths(gram, dtype, 0), paths(gram, dtype, 1)
    own = Contender(own_call(operation, x, y, gram), partial(set_num_threads, peer, threads))
    contenders = {"pysig": own, "matrix product": matrix_product(x.dtype)}
    if peer:
        peer.prepare(threads)
        few = x[: max(1, gram.paths // 16)].copy()
        theirs = peer.call(operation, few, y, gram, threads)
        check_agreement(own_call(operation, few, y, gram)(), theirs(), gram, dtype)
        scale = gram.paths / len(few)
        if estimated_seconds(theirs) * scale <= settings.longest_call:
            theirs, scale = peer.call(operation, x, y, gram, threads), 1.0
        prepare = partial(peer.prepare, threads)
        contenders["pysiglib"] = Contender(theirs, prepare, scale)
    return Row(gram, dtype, threads, operation, interleave(contenders, settings.budget))


def kernel_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    names = {peer.name for peer in settings.peers}
    peer = Pysiglib() if "pysiglib" in names else None
    print("## Gram matrices of the signature kernel\n")
    print("Milliseconds and ratios: minimum (median). ~ scaled from fewer paths.\n")
    rows = []
    for dtype in settings.dtypes:
        for threads in settings.threads:
            for operation in OPERATIONS:
                chosen = [
                    measured(gram, dtype, threads, operation, peer, settings) for gram in SHAPES
                ]
                print(f"### {operation.capitalize()}, {conditions(dtype, threads)}\n")
                print(table(*cells_of(chosen, report)) + "\n")
                rows += chosen
    return [row.record() for row in rows]


def cells_of(rows: list[Row], report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the header and the lines of a table."""
    header = ["paths, length, channels", "10^6 cells", "pysig ms", "pysiglib ms"]
    header += ["pysiglib / pysig", "target", "share of the matrix product's rate"]
    lines = []
    for row in rows:
        judged = row.against() if row.threads == 1 and row.gram.sigma is None else None
        where = f"{row.gram} {conditions(row.dtype, row.threads)}"
        target = f"Gram matrix, {row.operation}, times pysiglib"
        lines.append(
            [
                str(row.gram),
                digits(row.gram.cells() / 1e6),
                seconds_cell(row.timings["pysig"]),
                seconds_cell(row.timings.get("pysiglib")),
                ratio_cell(row.against()),
                report.judge(target, where, judged, FASTER[row.operation]),
                ratio_cell(row.product_share()),
            ]
        )
    return header, lines
