"""What the double sees: what waits for the GPU, what takes memory, and which kernels are launched.

With CuPy itself nothing is seen, and nothing is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "Launch",
    "SynchronizationError",
    "allocations",
    "no_synchronization",
    "record_launches",
    "synchronizations",
]


class SynchronizationError(RuntimeError):
    """Something waits for the GPU where nothing should."""


class Launch(NamedTuple):
    """A launch of a kernel; `stream` is the number that CuPy calls ptr, 0 for the default one."""

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared_mem: int
    device: int
    stream: int


class State:
    """What has happened since the double was imported."""

    synchronizations = 0
    allocations = 0
    forbidden = 0
    recorders: tuple[list[Launch], ...] = ()


def synchronizations() -> int:
    """Return how often the host has waited for a GPU, as for a number from its memory."""
    return State.synchronizations


def allocations() -> int:
    """Return how often memory was taken from the pool."""
    return State.allocations


@contextlib.contextmanager
def no_synchronization() -> Iterator[None]:
    """Make it an error that the host waits for a GPU."""
    State.forbidden += 1
    try:
        yield
    finally:
        State.forbidden -= 1


@contextlib.contextmanager
def record_launches() -> Iterator[list[Launch]]:
    """Give a list to which every launch of a kernel is added."""
    launches: list[Launch] = []
    State.recorders = (*State.recorders, launches)
    try:
        yield launches
    finally:
        State.recorders = tuple(other for other in State.recorders if other is not launches)


def synchronize(what: str) -> None:
    """Count that `what` waits for the GPU, or refuse it."""
    if State.forbidden:
        raise SynchronizationError(f"{what} waits for the GPU")
    State.synchronizations += 1


def record(launch: Launch) -> None:
    """Add a launch to all lists that want it."""
    for launches in State.recorders:
        launches.append(launch)
