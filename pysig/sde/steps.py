"""Steps of a solver: where they end, and the noise that belongs to each.

Times are laid out once, as a list; every later pass, forwards or backwards, reads the same numbers.
Adding up a step length would drift by rounding, so that a step may be lost or one too many, and a
pass back from the end would see other steps than the way there.
"""

import itertools
import math

import numpy as np

MOST_STEPS = 1 << 31
BLOCK_BYTES = 3 << 19  # of noise that is asked for in one call
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
        self.has_blocks = self.is_in_blocks or brownian is None
        parts = parts_of(first)
        self.kinds = None if first is None else [kind_of(part) for part in parts]
        self.numbers = getattr(parts[0], "size", 0)
        step_bytes = sum(getattr(part, "nbytes", 0) for part in parts)
        self.block = max(1, min(BLOCK_STEPS, BLOCK_BYTES // max(step_bytes, 1)))

    def forwards(self, first, last):
        """Yield the increments of the steps from `first` up to `last`."""
        for start in range(first, last, self.block):
            end = min(start + self.block, last)
            yield from itertools.islice(self.increments(start, end), end - start)

    def backwards(self, first, last):
        """Yield what `forwards` does, in the opposite order."""
        for end in range(last, first, -self.block):
            start = max(end - self.block, first)
            increments = list(itertools.islice(self.increments(start, end), end - start))
            yield from reversed(increments)

    def blocks(self, first, last, between):
        """Yield starts and ends of blocks of steps, which end at multiples of `between`, too.

        With each come the increments: None, or arrays of W, or W and H, with an axis of steps.
        """
        start = first
        while start < last:
            end = min(start + self.block, last, (start // between + 1) * between)
            yield start, end, None if self.brownian is None else self.arrays(start, end)
            start = end

    def blocks_back(self, steps):
        """Yield blocks from the last on, as `blocks` does, with the increment of one more step.

        After the last step, which has none, comes its own.
        """
        for end in range(steps, 0, -self.block):
            start = max(end - self.block, 0)
            if self.brownian is None:
                yield start, end, None
            elif end < steps:
                yield start, end, self.arrays(start, end + 1)
            else:
                parts = [
                    np.append(part, part[-1:], 0) for part in parts_of(self.arrays(start, end))
                ]
                yield start, end, tuple(parts) if len(parts) > 1 else parts[0]

    def arrays(self, start, end):
        """Return what `brownian.increments` gives, checked."""
        parts = self.needed(self.brownian.increments(self.times[start : end + 1]))
        first = tuple(part[0] for part in parts) if isinstance(parts, tuple) else parts[0]
        for part in parts_of(parts):
            if len(part) != end - start:
                raise ValueError(f"brownian must give {end - start} increments, not {len(part)}")
        self.check(first)
        return parts

    def increments(self, start, end):
        """Return an iterator over W, over (W, H) if the area is needed, or over None."""
        if self.brownian is None:
            return itertools.repeat(None)
        if self.is_in_blocks:
            parts = self.arrays(start, end)
            return zip(*parts, strict=True) if isinstance(parts, tuple) else iter(parts)
        times = self.times[start : end + 1].tolist()
        return (self.increment(*pair) for pair in itertools.pairwise(times))

    def increment(self, start, end):
        """Return the increment over one step that need not be in the list."""
        if self.brownian is None:
            return None
        parts = self.needed(self.brownian(start, end))
        self.check(parts)
        return parts

    def needed(self, parts):
        """Return what is needed of W, or of W, H and A: W, or the pair of W and H."""
        if not isinstance(parts, tuple):
            return parts
        return parts[:2] if self.needs_area else parts[0]

    def check(self, increment):
        """Raise ValueError unless an increment is like the first one, but for its numbers."""
        if self.kinds is None:
            return
        kinds = [kind_of(part) for part in parts_of(increment)]
        if kinds != self.kinds:
            raise ValueError(f"brownian must give what it gave first, {self.kinds}, not {kinds}")


def parts_of(increment):
    """Return a tuple of W, or of W and H."""
    return increment if isinstance(increment, tuple) else (increment,)


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
