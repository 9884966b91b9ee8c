"""A progress bar for work on large files."""

import shutil
import sys
import time
from collections.abc import Callable


class Progress:
    """A progress bar on standard error, if that is a terminal and the work takes a while.

    Entered as a context, it gives the function to call with the number of ``units`` just done.
    """

    def __init__(self, name: str, units: str, total: int, delay: float = 0.5) -> None:
        self.name, self.units, self.total, self.done = name, units, total, 0
        self.start = time.monotonic()
        self.next_time = self.start + delay if sys.stderr.isatty() else float("inf")
        self.is_shown = False

    def __enter__(self) -> Callable[[int], None]:
        return self._add

    def __exit__(self, *_: object) -> None:
        if self.is_shown:
            self._draw("")

    def _add(self, done: int) -> None:
        self.done += done
        now = time.monotonic()
        if now < self.next_time:
            return
        self.next_time, self.is_shown = now + 0.1, True
        fraction = min(1.0, self.done / self.total)
        rate = self.done / (now - self.start)
        left = (self.total - self.done) / rate
        bar = "#" * round(20 * fraction)
        self._draw(
            f"{self.name} [{bar:<20}] {fraction:4.0%} {rate:.3g} {self.units}/s, {left:.0f} s left"
        )

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{text[:width]:<{width}}" + "\r" * (not text))
        sys.stderr.flush()
