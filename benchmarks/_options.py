"""Options that the benchmarks of all domains have."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from _measure import available_processors


def positive(text: str) -> float:
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0 is needed; got {text!r}")
    return number


def measurable_threads(wanted: Sequence[int]) -> list[int]:
    """Those of the wanted thread counts that this machine has processors for."""
    available = available_processors()
    threads = sorted({count for count in wanted if 1 <= count <= available})
    if len(threads) < len(set(wanted)):
        print(f"only 1 to {available} threads can be measured on this machine", file=sys.stderr)
    if not threads:
        raise SystemExit("no thread count left to measure")
    return threads
