"""Speed: against torchsort, against NumPy's hard sort, and two threads against one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
from _measure import Contender, Timing, geometric_mean, interleave, ratio
from _report import Report, conditions, progress, ratio_cell, seconds_cell, table
from _sorting_calls import (
    BOTH,
    FORWARD,
    FUNCTIONS,
    OPERATIONS,
    POOLED,
    RANDOM,
    RANK_L2,
    SHAPES,
    SORT_L2,
    TIED,
    VALUE,
    Function,
    Key,
    Settings,
    Shape,
    output_gradient,
    own_call,
    rows,
)

import pysig

# The targets.
FASTER = {"l2": (4.0, 6.0), "kl": (3.0, 5.0)}  # times torchsort: each shape, geometric mean
VALUE_SORTS = 2.0  # value of soft_sort l2, in np.sort, for rows from LONG_ROW entries on
FORWARD_ARGSORTS = 1.5  # forward, in np.argsort
LONG_ROW = 1000
SHORT_ROWS, SHORT_ROWS_ARGSORTS = Shape(10_000, 20), 1.0  # forward + backward, two threads
SCALING_OF_BATCHES, SCALING_OF_ROW = 1.7, 1.3  # two threads against one
LONGEST_ROW = 1_000_000
SCALING_SECONDS = 1e-3  # shorter calls are judged apart

NUMPY_SORT, NUMPY_ARGSORT = Key("numpy", "sort", VALUE, 1), Key("numpy", "argsort", VALUE, 1)
# Relative to the largest entry. torchsort's float32 is not accurate enough to compare with: results
# of float32 are held against its float64.
VALUE_TOLERANCE = {"float64": 1e-8, "float32": 1e-5}
GRADIENT_TOLERANCE = {"float64": 1e-6, "float32": 1e-4}


@dataclass
class Cell:
    """Everything measured for rows of one kind, one shape and one type."""

    kind: str
    shape: Shape
    dtype: str
    timings: dict[Key, Timing] = field(default_factory=dict)
    disagreements: dict[str, float] = field(default_factory=dict)
    gradients_without_numbers: list[str] = field(default_factory=list)  # of torchsort

    def own(self, function: Function, operation: str, threads: int) -> Timing | None:
        return self.timings.get(Key("pysig", str(function), operation, threads))

    def peer(self, function: Function, operation: str, threads: int) -> Timing | None:
        return self.timings.get(Key("torchsort", str(function), operation, threads))

    def against(
        self, function: Function, operation: str, threads: int
    ) -> tuple[float, float] | None:
        """How many times faster than torchsort pysig is, by minimum and by median."""
        own = self.own(function, operation, threads)
        peer = self.peer(function, operation, threads)
        return ratio(peer, own) if peer and own else None

    def in_hard_sorts(
        self, function: Function, operation: str, threads: int, floor: Key
    ) -> tuple[float, float] | None:
        own = self.own(function, operation, threads)
        return ratio(own, self.timings[floor]) if own else None

    def where(self, function: Function, threads: int) -> str:
        return f"{function}, {self.shape} {self.kind}, {conditions(self.dtype, threads)}"

    def record(self) -> dict[str, object]:
        return {
            "rows": self.kind,
            "shape": self.shape,
            "dtype": self.dtype,
            "disagreements": self.disagreements,
            "gradients_without_numbers": self.gradients_without_numbers,
            "timings": [key._asdict() | asdict(timing) for key, timing in self.timings.items()],
        }


class CellMeasurement:
    """Measures one cell: first that the libraries agree, then how long each takes."""

    def __init__(self, kind: str, shape: Shape, dtype: str, settings: Settings) -> None:
        self.cell = Cell(kind, shape, dtype)
        self.settings = settings
        self.x = rows(kind, shape, dtype)
        self.grad = output_gradient(shape, dtype)

    def run(self) -> Cell:
        progress(f"{self.cell.shape} {self.cell.kind} {self.cell.dtype}")
        for function in FUNCTIONS:
            self.check_agreement(function)
        contenders = {
            NUMPY_SORT: Contender(partial(np.sort, self.x, axis=-1)),
            NUMPY_ARGSORT: Contender(partial(np.argsort, self.x, axis=-1)),
        }
        for threads in self.settings.threads:
            for function in FUNCTIONS:
                contenders |= self.own_contenders(function, threads)
                contenders |= self.peer_contenders(function, threads)
        self.cell.timings = interleave(contenders, self.settings.budget)
        return self.cell

    def set_num_threads(self, threads: int) -> None:
        """For all: torch sets the maximum of OpenMP, which the two share and pysig heeds."""
        pysig.set_num_threads(threads)
        if self.settings.peer is not None:
            self.settings.peer.set_num_threads(threads)

    def own_contenders(self, function: Function, threads: int) -> dict[Key, Contender]:
        return {
            Key("pysig", str(function), operation, threads): Contender(
                own_call(function, operation, self.x, self.grad),
                partial(self.set_num_threads, threads),
            )
            for operation in self.own_operations(function, threads)
        }

    def own_operations(self, function: Function, threads: int) -> Sequence[str]:
        """All of them on random rows; on the others those that a target speaks of."""
        if self.cell.kind == RANDOM:
            return OPERATIONS
        if threads > 1:
            return (BOTH,)
        return {SORT_L2: OPERATIONS, RANK_L2: (FORWARD, BOTH)}.get(function, (BOTH,))

    def peer_contenders(self, function: Function, threads: int) -> dict[Key, Contender]:
        peer = self.settings.peer
        if peer is None:
            return {}
        operations = (VALUE, BOTH) if self.cell.kind == RANDOM and threads == 1 else (BOTH,)
        return {
            Key(peer.name, str(function), operation, threads): Contender(
                peer.call(function, operation, self.x, self.grad),
                partial(self.set_num_threads, threads),
            )
            for operation in operations
        }

    def check_agreement(self, function: Function) -> None:
        """On the very input that is timed; wrong results are not worth timing."""
        peer, dtype = self.settings.peer, self.cell.dtype
        if peer is None:
            return
        ours = own_call(function, BOTH, self.x, self.grad)()
        wide_x, wide_grad = self.x.astype(np.float64), self.grad.astype(np.float64)
        theirs = peer.call(function, BOTH, wide_x, wide_grad)()
        if self.cell.kind == TIED:  # the order of equal entries, and of their gradients, is open
            ours, theirs = ([np.sort(each) for each in pair] for pair in (ours, theirs))
        self.check("value", function, worst_error(ours[0], theirs[0]), VALUE_TOLERANCE[dtype])
        if np.isfinite(theirs[1]).all():
            error = common_error(ours[1], theirs[1])
            self.check("gradient", function, error, GRADIENT_TOLERANCE[dtype])
        else:
            self.cell.gradients_without_numbers.append(str(function))

    def check(self, name: str, function: Function, error: float, allowed: float) -> None:
        if not error <= allowed:
            raise SystemExit(
                f"{name} of {self.cell.where(function, 1)}: pysig and torchsort differ by "
                f"{error:.1e} (relative), more than {allowed:.0e}; nothing was timed"
            )
        self.cell.disagreements[f"{function} {name}"] = error


def worst_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest entry."""
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def common_error(ours: np.ndarray, theirs: np.ndarray) -> float:
    """What 95 of 100 entries do not exceed, relative to the largest entry.

    Gradients jump where blocks merge and where equal entries change places. Long rows have some
    such places within rounding, of float32 or of torchsort's absolute tolerance of 1e-9.
    """
    return float(np.quantile(np.abs(ours - theirs), 0.95) / np.max(np.abs(theirs)))


def peers_section(settings: Settings, report: Report) -> list[dict[str, object]]:
    # Gaps of single precision near the ends of long pooled rows are not small against 1 / strength.
    cells = [
        CellMeasurement(kind, shape, dtype, settings).run()
        for dtype in settings.dtypes
        for kind in settings.rows
        for shape in settings.shapes
        if (kind, dtype) != (POOLED, "float32")
    ]
    print("## Speed\n")
    print(
        "Milliseconds and ratios: minimum (median). Strength 1; rows are described in README.md.\n"
    )
    if settings.peer is not None:
        for threads in settings.threads:
            for chosen in groups(cells):
                print_against(chosen, BOTH, threads, report)
                if chosen[0].kind == RANDOM and threads == 1:
                    print_against(chosen, VALUE, threads, report)
    if settings.threads[0] == 1:
        for chosen in groups(cells):
            print_floor(chosen, report)
    for threads in settings.threads:
        print_short_rows(cells, threads, report)
    if settings.threads[0] == 1:
        for threads in settings.threads[1:]:
            for chosen in groups(cells):
                print_scaling(chosen, threads, report)
    return [cell.record() for cell in cells]


def groups(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """The cells of one table: rows of one kind and one type, in all shapes."""
    for kind, dtype in dict.fromkeys((cell.kind, cell.dtype) for cell in cells):
        yield [cell for cell in cells if (cell.kind, cell.dtype) == (kind, dtype)]


def print_against(cells: Sequence[Cell], operation: str, threads: int, report: Report) -> None:
    """Times torchsort: what the targets of forward + backward are about."""
    kind, dtype = cells[0].kind, cells[0].dtype
    lines = [[str(cell.shape)] for cell in cells]
    mean = ["geometric mean"]
    for function in FUNCTIONS:
        each, in_mean = FASTER[function.regularization]
        target = f"{operation} {function.regularization}, times torchsort"
        speeds = [cell.against(function, operation, threads) for cell in cells]
        for line, cell, speed in zip(lines, cells, speeds, strict=True):
            line.append(seconds_cell(cell.own(function, operation, threads)))
            where = cell.where(function, threads)
            line.append(judged_cell(report, target, where, speed, each, is_judged(cell, operation)))
        known = [speed for speed in speeds if speed is not None]
        by_minimum, by_median = (geometric_mean(column) for column in zip(*known, strict=True))
        where = f"{function}, {kind}, {conditions(dtype, threads)}"
        whole = len(cells) == len(SHAPES) and is_judged(cells[0], operation)
        values = (by_minimum, by_median)
        mean += [
            "",
            judged_cell(report, f"{target}, geometric mean", where, values, in_mean, whole),
        ]
    header = ["shape"]
    for function in FUNCTIONS:
        header += [f"{function} ms", "torchsort / pysig"]
    print(f"### {operation.capitalize()}, {kind} rows, {conditions(dtype, threads)}\n")
    print(table(header, [*lines, mean]) + "\n")
    if operation == BOTH:
        failures = [f"{f} {cell.shape}" for cell in cells for f in cell.gradients_without_numbers]
        if failures:
            print(f"Gradients by torchsort that have NaN: {', '.join(failures)}.\n")


def is_judged(cell: Cell, operation: str) -> bool:
    """Pooled rows are shown for what they cost; no target speaks of them."""
    return operation == BOTH and cell.kind != POOLED


def judged_cell(
    report: Report,
    target: str,
    where: str,
    values: tuple[float, float] | None,
    wanted: float,
    is_judged: bool = True,
    at_most: bool = False,
) -> str:
    """The values, marked if they are judged and do not reach the target."""
    if values is None or not is_judged:
        return ratio_cell(values)
    report.judge(target, where, values, wanted, at_most)
    return report.verdicts[-1].value_cell()


def print_floor(cells: Sequence[Cell], report: Report) -> None:
    """Against the hard sorts of NumPy, which have one thread."""
    kind, dtype = cells[0].kind, cells[0].dtype
    lines = []
    for cell in cells:
        judged, length = kind != POOLED, cell.shape.length
        line = [str(cell.shape), seconds_cell(cell.timings[NUMPY_SORT])]
        in_sorts = cell.in_hard_sorts(SORT_L2, VALUE, 1, NUMPY_SORT)
        target, is_long = f"value, in np.sort, n ≥ {LONG_ROW}", length >= LONG_ROW
        where = cell.where(SORT_L2, 1)
        line.append(seconds_cell(cell.own(SORT_L2, VALUE, 1)))
        line.append(
            judged_cell(report, target, where, in_sorts, VALUE_SORTS, judged and is_long, True)
        )
        line.append(seconds_cell(cell.timings[NUMPY_ARGSORT]))
        for function in (SORT_L2, RANK_L2):
            in_argsorts = cell.in_hard_sorts(function, FORWARD, 1, NUMPY_ARGSORT)
            target = f"forward, in np.argsort, n {'≥' if is_long else '<'} {LONG_ROW}"
            where = cell.where(function, 1)
            line.append(seconds_cell(cell.own(function, FORWARD, 1)))
            line.append(
                judged_cell(report, target, where, in_argsorts, FORWARD_ARGSORTS, judged, True)
            )
        lines.append(line)
    header = ["shape", "np.sort ms", "soft_sort l2, value ms", "/ np.sort", "np.argsort ms"]
    for function in (SORT_L2, RANK_L2):
        header += [f"{function}, forward ms", "/ np.argsort"]
    print(f"### Against NumPy, {kind} rows, {conditions(dtype, 1)}\n")
    print(table(header, lines) + "\n")


def print_short_rows(cells: Sequence[Cell], threads: int, report: Report) -> None:
    """Many short rows, everything included."""
    lines = []
    for cell in cells:
        if cell.shape != SHORT_ROWS:
            continue
        line = [cell.kind, cell.dtype, seconds_cell(cell.timings[NUMPY_ARGSORT])]
        for function in FUNCTIONS:
            in_argsorts = cell.in_hard_sorts(function, BOTH, threads, NUMPY_ARGSORT)
            target, where = "short rows, in np.argsort", cell.where(function, threads)
            judged = threads == 2 and cell.kind != POOLED
            line.append(
                judged_cell(report, target, where, in_argsorts, SHORT_ROWS_ARGSORTS, judged, True)
            )
        lines.append(line)
    if not lines:
        return
    plural = "s" if threads > 1 else ""
    print(f"### Forward + backward of {SHORT_ROWS} in np.argsort, {threads} thread{plural}\n")
    header = ["rows", "dtype", "np.argsort ms", *(str(function) for function in FUNCTIONS)]
    print(table(header, lines) + "\n")


def print_scaling(cells: Sequence[Cell], threads: int, report: Report) -> None:
    kind, dtype = cells[0].kind, cells[0].dtype
    lines = []
    for cell in cells:
        for function in FUNCTIONS:
            line = [str(cell.shape), str(function)]
            for operation in OPERATIONS:
                one = cell.own(function, operation, 1)
                many = cell.own(function, operation, threads)
                gain = ratio(one, many) if one and many else None
                target, wanted = scaling_target(cell, one)
                judged = threads == 2 and wanted > 0 and kind != POOLED
                where = f"{operation} of {cell.where(function, threads)}"
                line += [seconds_cell(one), seconds_cell(many)]
                line.append(judged_cell(report, target, where, gain, wanted, judged))
            lines.append(line)
    header = ["shape", "function"]
    for operation in OPERATIONS:
        header += [f"{operation}: 1 thread ms", f"{threads} threads ms", "times"]
    print(f"### {threads} threads against 1, {kind} rows, pysig, {dtype}\n")
    print(table(header, lines) + "\n")


def scaling_target(cell: Cell, one: Timing | None) -> tuple[str, float]:
    """The target's name and figure; 0 where there is none."""
    if cell.shape.batch == 1:
        wanted = SCALING_OF_ROW if cell.shape.length == LONGEST_ROW else 0.0
        return f"two threads, times one, a row of {LONGEST_ROW}", wanted
    is_short = one is not None and one.minimum < SCALING_SECONDS
    calls = "under" if is_short else "of at least"
    limit = f"{SCALING_SECONDS * 1e3:g} ms"
    return f"two threads, times one, batches, calls {calls} {limit}", SCALING_OF_BATCHES
