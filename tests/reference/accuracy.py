"""What "accurate" means in the tests: a few roundings times the entry's own condition number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def wide(array: Any) -> Array:
    """Return the array in extended precision, which holds every float32 and float64 exactly."""
    return np.asarray(array, np.longdouble)


def roundings(depth: int, steps: int) -> float:
    """Return how many units in the last place of its condition number an entry may be off.

    Each level costs about one rounding. In the worst case those of all steps would add up; as they
    are as good as random, they grow with the square root of the number of steps at most.
    """
    return 2 + depth + math.sqrt(steps) / 4


def assert_accurate(actual: Array, expected: Array, bound: Array, factor: float) -> None:
    """Assert |actual - expected| <= factor * eps * bound for every entry.

    ``expected`` and ``bound`` may hold fractions or mpmath numbers; ``eps`` belongs to ``actual``.
    """
    limits = np.finfo(actual.dtype)
    assert actual.shape == expected.shape
    if expected.dtype == object:
        to_number = type(expected.flat[0])
        values = np.empty(actual.shape, object)
        values[...] = np.reshape([to_number(float(x)) for x in actual.flat], actual.shape)
        # A ratio is enough to be judged in floating point; the difference has to be exact.
        ratio = abs(values - expected) / (bound + to_number(float(limits.tiny)))
        ratio = np.asarray(ratio, float) / float(limits.eps)
    else:
        ratio = abs(wide(actual) - expected) / (wide(bound) + wide(limits.tiny)) / limits.eps
    if ratio.size == 0:
        return
    worst = np.unravel_index(np.argmax(np.where(np.isnan(ratio), np.inf, ratio)), ratio.shape)
    assert ratio[worst] <= factor, (
        f"entry {tuple(map(int, worst))} of {actual.shape} is {actual[worst]!r}, "
        f"not {expected[worst]!r}: off by {float(ratio[worst]):.3g} units, {factor:.3g} allowed"
    )
