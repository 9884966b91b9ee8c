"""Forward and backward against the peers, the matrix product, and one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from _measure import (
    Contender,
    Timing,
    estimated_seconds,
    geometric_mean,
    interleave,
    matrix_product,
    matrix_product_rate,
    ratio,
)
from _report import Report, conditions, digits, progress, ratio_cell, seconds_cell, table
from _signature_calls import (
    BACKWARD,
    BOTH,
    FORWARD,
    FORWARD_BESIDE,
    OPERATIONS,
    SHAPES,
    Key,
    Library,
    Settings,
    Shape,
    brownian_path,
    output_gradient,
    own_backward,
    own_call,
)

import pysig

# The targets.
FASTER_FORWARD, FASTER_FORWARD_MEAN = 2.0, 3.5  # times pysiglib: each shape, geometric mean
FASTER_BOTH, FASTER_BOTH_MEAN = 8.0, 12.0  # each shape of depth >= 3, geometric mean
BACKWARD_FORWARDS = 3.0  # a backward, in own forwards
PRODUCT_SHARE = 0.4  # of the matrix product's rate,
PRODUCT_COEFFICIENTS = 1600  # from this channels**depth on
SCALING_OF_TWO = 1.7  # two threads against one,
SCALING_SECONDS = 1e-3  # wherever a call takes longer

MATRIX_PRODUCT = Key("numpy", "matrix product", 1)
TOLERANCE = {"float64": 1e-12, "float32": 1e-3}  # relative, between two libraries


@dataclass
class Cell:
    """Everything measured for one shape and one type."""

    shape: Shape
    dtype: str
    timings: dict[Key, Timing] = field(default_factory=dict)
    disagreements: dict[str, float] = field(default_factory=dict)

    def get(self, library: str, operation: str, threads: int) -> Timing | None:
        return self.timings.get(Key(library, operation, threads))

    def own(self, operation: str, threads: int) -> Timing:
        return self.timings[Key("pysig", operation, threads)]

    def against(self, peer: str, operation: str, threads: int) -> tuple[float, float] | None:
        """How many times faster than the peer pysig is, by minimum and by median."""
        theirs = self.get(peer, operation, threads)
        return ratio(theirs, self.own(operation, threads)) if theirs else None

    def rate(self) -> tuple[float, float]:
        """Multiply-adds per second of the forward on one thread."""
        forward, work = self.own(FORWARD, 1), self.shape.multiply_adds()
        return work / forward.minimum, work / forward.median

    def product_share(self) -> tuple[float, float]:
        """The rate as a fraction of what the matrix product reaches."""
        product = self.timings[MATRIX_PRODUCT]
        minimum, median = self.rate()
        return (
            minimum / matrix_product_rate(product.minimum),
            median / matrix_product_rate(product.median),
        )

    def record(self) -> dict[str, object]:
        return {
            "shape": self.shape,
            "dtype": self.dtype,
            "multiply_adds": self.shape.multiply_adds(),
            "disagreements": self.disagreements,
            "timings": [key._asdict() | asdict(timing) for key, timing in self.timings.items()],
        }


class CellMeasurement:
    """Measures one cell: first that the libraries agree, then how long each takes."""

    def __init__(self, shape: Shape, dtype: str, settings: Settings) -> None:
        self.cell = Cell(shape, dtype)
        self.settings = settings
        self.path = brownian_path(shape, dtype)
        self.grad = output_gradient(shape, dtype)

    def run(self) -> Cell:
        for operation in OPERATIONS:
            progress(f"{operation} {self.cell.shape} {self.cell.dtype}")
            contenders = self.own_contenders(operation)
            for peer in self.settings.peers:
                contenders |= self.peer_contenders(peer, operation)
            if operation == FORWARD:
                contenders[MATRIX_PRODUCT] = matrix_product(self.path.dtype)
            self.cell.timings |= interleave(contenders, self.settings.budget)
        return self.cell

    def own_contenders(self, operation: str) -> dict[Key, Contender]:
        arguments = self.path, self.grad, self.cell.shape.depth
        calls: dict[str, Callable[[], object]] = {operation: own_call(operation, *arguments)}
        if operation == BOTH:
            calls[BACKWARD] = own_backward(*arguments)
            calls[FORWARD_BESIDE] = own_call(FORWARD, *arguments)
        return {
            Key("pysig", name, threads): Contender(call, partial(pysig.set_num_threads, threads))
            for threads in self.settings.threads
            for name, call in calls.items()
        }

    def peer_contenders(self, peer: Library, operation: str) -> dict[Key, Contender]:
        contenders: dict[Key, Contender] = {}
        for threads in self.settings.threads:
            batch = self.affordable_batch(peer, operation, threads)
            call = self.peer_call(peer, operation, threads, batch)
            if call is None:
                continue
            if not contenders:
                self.check_agreement(peer, operation, call(), batch)
            scale = self.cell.shape.batch / batch
            contenders[Key(peer.name, operation, threads)] = Contender(call, scale=scale)
        return contenders

    def peer_call(
        self, peer: Library, operation: str, threads: int, batch: int
    ) -> Callable[[], np.ndarray] | None:
        path, grad = first_paths(self.path, batch), first_paths(self.grad, batch)
        return peer.call(operation, path, grad, self.cell.shape.depth, threads)

    def affordable_batch(self, peer: Library, operation: str, threads: int) -> int:
        """The full batch, or as many of its paths as take the peer the longest call allowed."""
        full, limit = self.cell.shape.batch, self.settings.longest_call
        batch = threads
        while batch < full:
            pilot = self.peer_call(peer, operation, threads, batch)
            if pilot is None:
                break
            seconds = estimated_seconds(pilot)
            if seconds * full / batch <= limit:
                break
            if seconds > limit / 20:
                affordable = int(batch * limit / seconds)
                return max(threads, affordable - affordable % threads)
            batch *= 4
        return full

    def check_agreement(
        self, peer: Library, operation: str, theirs: np.ndarray, batch: int
    ) -> None:
        """On the very input that is timed; wrong results are not worth timing."""
        shape, dtype = self.cell.shape, self.cell.dtype
        pysig.set_num_threads(max(self.settings.threads))
        path, grad = first_paths(self.path, batch), first_paths(self.grad, batch)
        ours = own_call(operation, path, grad, shape.depth)()
        if operation == FORWARD:
            error = worst_level_error(ours, theirs, shape.channels, shape.depth)
            allowed = TOLERANCE[dtype]
        else:
            error = worst_path_error(ours, theirs)
            allowed = TOLERANCE[peer.gradient_dtype or dtype]
        if not error <= allowed:
            raise SystemExit(
                f"{operation} of {shape} in {dtype}: pysig and {peer.name} differ by "
                f"{error:.1e} (relative), more than {allowed:.0e}; nothing was timed"
            )
        self.cell.disagreements[f"{peer.name} {operation}"] = error


def first_paths(array: np.ndarray, batch: int) -> np.ndarray:
    """Not a view: pysiglib copies arrays that do not own their data, which would cost it time."""
    return array if batch == len(array) else array[:batch].copy()


def worst_level_error(ours: np.ndarray, theirs: np.ndarray, channels: int, depth: int) -> float:
    """The largest difference within a level, relative to the level's largest coefficient."""
    stops = np.cumsum([channels**level for level in range(1, depth)])
    levels = zip(np.split(ours, stops, axis=-1), np.split(theirs, stops, axis=-1), strict=True)
    return max(
        float(np.max(np.abs(mine - other)) / np.max(np.abs(other))) for mine, other in levels
    )


def worst_path_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference in a path's gradient, relative to that gradient's largest entry."""
    difference = np.max(np.abs(ours - theirs), axis=(-2, -1))
    return float(np.max(difference / np.max(np.abs(theirs), axis=(-2, -1))))


def peers_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    cells = [
        CellMeasurement(shape, dtype, settings).run()
        for dtype in settings.dtypes
        for shape in settings.shapes
    ]
    print("## Against the peers\n")
    print("Milliseconds and ratios: minimum (median). ~ scaled from a smaller batch.\n")
    for dtype in settings.dtypes:
        chosen = [cell for cell in cells if cell.dtype == dtype]
        for threads in settings.threads:
            print_forward(chosen, dtype, threads, report)
            print_both(chosen, dtype, threads, report)
        if settings.threads[0] == 1:
            print_rates(chosen, dtype, report)
            for threads in settings.threads[1:]:
                print_scaling(chosen, dtype, threads, report)
    return [cell.record() for cell in cells]


def print_forward(cells: Sequence[Cell], dtype: str, threads: int, report: Report) -> None:
    rows, ratios = [], []
    for cell in cells:
        speed = cell.against("pysiglib", FORWARD, threads)
        ratios.append(speed)
        where = f"{cell.shape} {conditions(dtype, threads)}"
        rows.append(
            [
                str(cell.shape),
                seconds_cell(cell.get("pysig", FORWARD, threads)),
                seconds_cell(cell.get("pysiglib", FORWARD, threads)),
                ratio_cell(speed),
                report.judge("forward, times pysiglib", where, speed, FASTER_FORWARD),
                seconds_cell(cell.get("iisignature", FORWARD, threads)),
                ratio_cell(cell.against("iisignature", FORWARD, threads)),
            ]
        )
    header = ["shape", "pysig ms", "pysiglib ms", "pysiglib / pysig", "target"]
    header += ["iisignature ms", "iisignature / pysig"]
    print(f"### Forward, {conditions(dtype, threads)}\n")
    print(table(header, rows) + "\n")
    print_mean("forward, geometric mean", ratios, FASTER_FORWARD_MEAN, dtype, threads, report)


def print_both(cells: Sequence[Cell], dtype: str, threads: int, report: Report) -> None:
    rows, ratios = [], []
    for cell in cells:
        speed = cell.against("pysiglib", BOTH, threads)
        ratios.append(speed)
        cost = ratio(cell.own(BACKWARD, threads), cell.own(FORWARD_BESIDE, threads))
        where = f"{cell.shape} {conditions(dtype, threads)}"
        deep = speed if cell.shape.depth >= 3 else None
        rows.append(
            [
                str(cell.shape),
                seconds_cell(cell.get("pysig", BOTH, threads)),
                seconds_cell(cell.get("pysiglib", BOTH, threads)),
                ratio_cell(speed),
                report.judge("forward + backward, times pysiglib", where, deep, FASTER_BOTH),
                ratio_cell(cost),
                report.judge("backward, own forwards", where, cost, BACKWARD_FORWARDS, True),
                seconds_cell(cell.get("iisignature", BOTH, threads)),
                ratio_cell(cell.against("iisignature", BOTH, threads)),
            ]
        )
    header = ["shape", "pysig ms", "pysiglib ms", "pysiglib / pysig", "target"]
    header += ["backward / forward", "target", "iisignature ms", "iisignature / pysig"]
    print(f"### Forward + backward, {conditions(dtype, threads)}\n")
    print(table(header, rows) + "\n")
    target = "forward + backward, geometric mean"
    print_mean(target, ratios, FASTER_BOTH_MEAN, dtype, threads, report)


def print_mean(
    target: str,
    ratios: Sequence[tuple[float, float] | None],
    wanted: float,
    dtype: str,
    threads: int,
    report: Report,
) -> None:
    known = [values for values in ratios if values is not None]
    if not known:
        return
    by_minimum, by_median = (geometric_mean(column) for column in zip(*known, strict=True))
    mean = (by_minimum, by_median)
    text = f"Geometric mean over {len(known)} shapes: {ratio_cell(mean)} times pysiglib"
    if len(known) == len(SHAPES):
        text += f"; {report.judge(target, conditions(dtype, threads), mean, wanted)}"
    print(text + ".\n")


def print_rates(cells: Sequence[Cell], dtype: str, report: Report) -> None:
    rows = []
    for cell in cells:
        share = cell.product_share()
        large = cell.shape.channels**cell.shape.depth >= PRODUCT_COEFFICIENTS
        where = f"{cell.shape} {conditions(dtype, 1)}"
        product = cell.timings[MATRIX_PRODUCT]
        target = "forward, share of the matrix product's rate"
        rows.append(
            [
                str(cell.shape),
                digits(cell.shape.multiply_adds() / 1e6),
                ratio_cell((cell.rate()[0] / 1e9, cell.rate()[1] / 1e9)),
                ratio_cell(
                    (
                        matrix_product_rate(product.minimum) / 1e9,
                        matrix_product_rate(product.median) / 1e9,
                    )
                ),
                ratio_cell(share),
                report.judge(target, where, share if large else None, PRODUCT_SHARE),
            ]
        )
    header = ["shape", "10^6 multiply-adds", "10^9 per second"]
    header += ["matrix product 10^9 per second", "share", "target"]
    print(f"### Multiply-adds of the forward, {conditions(dtype, 1)}\n")
    print(table(header, rows) + "\n")


def print_scaling(cells: Sequence[Cell], dtype: str, threads: int, report: Report) -> None:
    rows = []
    for cell in cells:
        row = [str(cell.shape)]
        for operation in OPERATIONS:
            one, many = cell.own(operation, 1), cell.own(operation, threads)
            gain = ratio(one, many)
            judged = gain if one.minimum > SCALING_SECONDS and threads == 2 else None
            where = f"{operation}, {cell.shape} {dtype}"
            row += [seconds_cell(one), seconds_cell(many), ratio_cell(gain)]
            row.append(report.judge("two threads, times one", where, judged, SCALING_OF_TWO))
        rows.append(row)
    header = ["shape"]
    for operation in OPERATIONS:
        header += [f"{operation}: 1 thread ms", f"{threads} threads ms", "times", "target"]
    print(f"### {threads} threads against 1, pysig, {dtype}\n")
    print(table(header, rows) + "\n")
