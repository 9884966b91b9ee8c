"""Steps of a solver: where they end, and the noise that belongs to each.

Times are laid out once, as a list; every later pass, forwards or backwards, reads the same numbers.
Adding up a step length would drift by rounding, so that a step may be lost or one too many, and a
pass back from the end would see other steps than the way there.
"""

import itertools
import math

import numpy as np

MOST_STEPS = 1 << 31
BLOCK_BYTES = 1 << 20  # of noise that is asked for in one call
BLOCK_STEPS = 256


def fixed_steps(ts, dt):
    """
    Lay steps so that every output time is the end of one.

    Parameters
    ----------
    ts : ndarray, shape (outputs,)
        Output times, strictly rising.
    dt : float
        The longest step. Each interval of neighbouring output times gets equal steps, as few as
        are no longer than this, rounding errors aside.

    Returns
    -------
    times : ndarray, shape (steps + 1,)
        The ends of the steps.
    outputs : ndarray of int, shape (outputs,)
        Where the output times are in it: ``times[outputs] == ts``, exactly.
    """
    counts = np.maximum(np.ceil(np.diff(ts) / dt * (1 - 1e-9)), 1)
    if counts.sum() > MOST_STEPS:
        raise ValueError(f"dt = {dt} would need {counts.sum():.3g} steps, more than {MOST_STEPS}")
    outputs = np.concatenate([[0], np.cumsum(counts.astype(np.int64))])
    times = np.empty(outputs[-1] + 1)
    for start, end, first, last in zip(ts, ts[1:], outputs, outputs[1:], strict=False):
        fractions = np.arange(last - first) / (last - first)
        times[first:last] = start + (end - start) * fractions
    times[-1] = ts[-1]
    if not np.all(times[1:] > times[:-1]):
        raise ValueError(f"dt = {dt} is too short: neighbouring steps would have the same time")
    return times, outputs


class Noise:
    """The increments of a Brownian motion over the steps, in blocks of bounded memory."""

    def __init__(self, brownian, times, needs_area, first=None):
        """Take the increment over the first step, which all others have to be like."""
        self.brownian, self.times, self.needs_area = brownian, times, needs_area
        self.is_in_blocks = hasattr(brownian, "increments")
        parts = first if isinstance(first, tuple) else (first,)
        self.kinds = None if first is None else [kind_of(part) for part in parts]
        step_bytes = sum(getattr(part, "nbytes", 0) for part in parts)
        self.block = max(1, min(BLOCK_STEPS, BLOCK_BYTES // max(step_bytes, 1)))

    def forwards(self, first, last):
        """Yield the number of each step from `first` up to `last`, and its increment."""
        for start in range(first, last, self.block):
            end = min(start + self.block, last)
            yield from zip(range(start, end), self.increments(start, end), strict=False)

    def backwards(self, first, last):
        """Yield what `forwards` does, in the opposite order."""
        for end in range(last, first, -self.block):
            start = max(end - self.block, first)
            increments = list(itertools.islice(self.increments(start, end), end - start))
            yield from zip(range(end - 1, start - 1, -1), increments[::-1], strict=True)

    def increments(self, start, end):
        """Return an iterator over W, over (W, H) if the area is needed, or over None."""
        if self.brownian is None:
            return itertools.repeat(None)
        if self.is_in_blocks:
            parts = self.brownian.increments(self.times[start : end + 1])
            if not isinstance(parts, tuple):
                return iter(parts)
            return zip(parts[0], parts[1], strict=True) if self.needs_area else iter(parts[0])
        times = self.times[start : end + 1].tolist()
        return (self.increment(*pair) for pair in itertools.pairwise(times))

    def increment(self, start, end):
        """Return the increment over one step that need not be in the list."""
        if self.brownian is None:
            return None
        parts = self.brownian(start, end)
        if isinstance(parts, tuple):
            parts = parts[:2] if self.needs_area else parts[0]
        if self.kinds is not None:
            kinds = [kind_of(part) for part in (parts if isinstance(parts, tuple) else (parts,))]
            if kinds != self.kinds:
                raise ValueError(
                    f"brownian must give what it gave first, {self.kinds}, not {kinds}"
                )
        return parts


def kind_of(increment):
    """Return what tells an increment from another one, but for its numbers."""
    return type(increment), getattr(increment, "shape", None), getattr(increment, "dtype", None)


def check_ts(ts, name="ts"):
    """Return times as a float64 array."""
    try:
        ts = np.array(ts, np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} must be numbers: {error}") from None
    if ts.ndim != 1 or ts.size < 2:
        raise ValueError(f"{name} must have the shape (times,), with 2 or more, not {ts.shape}")
    if not (np.all(np.isfinite(ts)) and np.all(ts[1:] > ts[:-1])):
        raise ValueError(f"{name} must rise strictly, and be finite")
    return ts


def check_positive(value, name):
    """Return a length of time or a tolerance as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    value = float(value)
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be above 0 and finite, not {value}")
    return value
