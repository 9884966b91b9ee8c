"""What the benchmarks of all domains print: figures held against targets, markdown tables."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from _measure import Timing


@dataclass(frozen=True)
class Verdict:
    """A figure held against its target: by the minima of the times, and by their medians."""

    target: str
    where: str
    wanted: float
    at_most: bool
    by_minimum: float
    by_median: float

    @property
    def margins(self) -> list[float]:
        sign = -1 if self.at_most else 1
        return [sign * (value - self.wanted) for value in (self.by_minimum, self.by_median)]

    @property
    def outcome(self) -> str:
        if min(self.margins) >= 0:
            return "reached"
        return "missed" if max(self.margins) < 0 else "split"

    @property
    def reached(self) -> bool:
        return self.outcome == "reached"

    @property
    def bound(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.wanted:g}"

    def cell(self) -> str:
        return f"{self.bound} reached" if self.reached else f"{self.bound} **{self.outcome}**"

    def value_cell(self) -> str:
        """For tables with a target in every column: the value, marked where it does not reach."""
        values = ratio_cell((self.by_minimum, self.by_median))
        return values if self.reached else f"{values} **{self.outcome}**"

    def sentence(self) -> str:
        values = ratio_cell((self.by_minimum, self.by_median))
        return f"{self.outcome}: {self.target}: {values}, wanted {self.bound}; {self.where}"

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"outcome": self.outcome}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table, padded to read well as plain text; columns without entries are left out."""
    columns = [
        [name, "-" * max(map(len, [name, *cells])), *cells]
        for name, *cells in zip(header, *rows, strict=True)
        if any(cell != "-" for cell in cells)
    ]
    padded = [[cell.ljust(len(column[1])) for cell in column] for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def seconds_cell(timing: Timing | None, unit: float = 1e-3) -> str:
    """Minimum (median), in milliseconds unless told otherwise; a tilde marks a scaled time."""
    if timing is None:
        return "-"
    mark = "~" if timing.scale != 1 else ""
    return f"{mark}{digits(timing.minimum / unit)} ({digits(timing.median / unit)})"


def ratio_cell(values: tuple[float, float] | None) -> str:
    return "-" if values is None else f"{digits(values[0])} ({digits(values[1])})"


def digits(value: float, significant: int = 3) -> str:
    """``value`` with three significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = significant - 1 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(places, 0)}f}"


def conditions(dtype: str, threads: int) -> str:
    return f"{dtype}, {threads} thread{'s' if threads > 1 else ''}"


def progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


class Report:
    """Collects the verdicts that the sections pass, to be summed up at the end."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def judge(
        self,
        target: str,
        where: str,
        values: tuple[float, float] | None,
        wanted: float,
        at_most: bool = False,
    ) -> str:
        """The verdict's table cell."""
        if values is None:
            return "-"
        verdict = Verdict(target, where, wanted, at_most, *values)
        self.verdicts.append(verdict)
        return verdict.cell()

    def summary(self) -> str:
        outcomes = ("reached", "missed", "split")
        targets = {
            target: [verdict for verdict in self.verdicts if verdict.target == target]
            for target in dict.fromkeys(one.target for one in self.verdicts)
        }
        rows = []
        for target, verdicts in targets.items():
            count = Counter(verdict.outcome for verdict in verdicts)
            worst = min(verdicts, key=lambda verdict: min(verdict.margins))
            values = ratio_cell((worst.by_minimum, worst.by_median))
            rows.append([target, worst.bound, values, *(str(count[each]) for each in outcomes)])
        lines = ["## Targets", "", "Split: reached by only one of minimum and median.", ""]
        lines += [table(["target", "wanted", "worst", *outcomes], rows), ""]
        lines += [
            f"- {verdict.sentence()}"
            for verdicts in targets.values()
            for verdict in verdicts
            if not verdict.reached
        ]
        return "\n".join(lines)
