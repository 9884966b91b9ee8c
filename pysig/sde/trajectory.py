"""Whole steps in compiled code, for fields that `pysig.sde.fields` has compiled operations of.

A method makes its steps with the operations of `System`. Here one step is made with a `Recorder` in
its place, which notes them; what it has noted is what the compiled code does in each step.
"""

import itertools
import math

import numpy as np

from pysig._core.array import FLOAT64
from pysig._core.sde.trajectory import MOST, SLOTS, Trajectory
from pysig.sde.fields import FEW, operations_of

LARGEST_ROW = 4096  # numbers; longer ones are better shared among threads


class Recorder:
    """Notes the operations of a step; arrays are numbers of slots."""

    def __init__(self, has_drift, has_diffusion, slots):
        self.has_drift, self.has_diffusion, self.slots = has_drift, has_diffusion, slots
        self.instructions = []

    def note(self, name, first, second):
        """Note one instruction; return the slot that it writes to."""
        self.instructions.append((name, self.slots, first, second))
        self.slots += 1
        return self.slots - 1

    def drift(self, t, y):
        """Note an evaluation."""
        return self.note("drift", y, t)

    def diffusion(self, t, y):
        """Note an evaluation."""
        return self.note("diffusion", y, t)

    def evaluate(self, t, y):
        """Note what `System.evaluate` does."""
        return (
            self.drift(t, y) if self.has_drift else None,
            self.diffusion(t, y) if self.has_diffusion else None,
        )

    def sum(self, update, h, noise, states, fs, gs):
        """Note an update."""
        pairs = list(zip(update.states, states, strict=True))
        pairs += [(weight * h, fs[number]) for number, weight in update.drift]
        products = [(gs[number], c) for number, c in update.noise if gs[number] is not None]
        return self.note("update", present(pairs), products)

    def combine(self, *pairs):
        """Note an update without noise."""
        return self.note("update", present(pairs), [])


def present(pairs):
    """Return pairs (slot, weight) of what is not None."""
    return [(slot, weight) for weight, slot in pairs if slot is not None]


def recorded_step(method, states, has_drift, has_diffusion):
    """
    Return the instructions of a step, how many slots they need, and the slots of the state after.

    Weights are linear functions of the length h of a step, and times in it are proportional to h:
    steps of two lengths tell them.
    """
    recordings = []
    for h in (1.0, 2.0):
        recorder = Recorder(has_drift, has_diffusion, sum(slot is not None for slot in states))
        after = method.step(recorder, 0.0, h, states, None)
        recordings.append(recorder)
    instructions = []
    for one, other in zip(*(recorder.instructions for recorder in recordings), strict=True):
        name, out, first, second = one
        if name == "update":
            first = [
                (slot, 2 * weight - weight_2, weight_2 - weight)
                for (slot, weight), (_, weight_2) in zip(first, other[2], strict=True)
            ]
        instructions.append((name, out, first, second))
    return instructions, recorder.slots, [slot for slot in after if slot is not None]


def make_trajectory(problem, state):
    """Return compiled steps for a problem with this state at its beginning, or None."""
    drift, diffusion, *_ = problem.arguments
    system, noise, y0 = problem.system, problem.noise, problem.y0
    if not isinstance(y0, np.ndarray) or not y0.size or not noise.has_blocks:
        return None
    channels = y0.shape[-1]
    rows = y0.size // channels
    size = 0 if diffusion is None else math.prod(system.diffusion.shape) // rows
    of_drift = compiled_operations(drift, rows, channels, channels)
    of_diffusion = compiled_operations(diffusion, rows, channels, size)
    if of_drift is None or of_diffusion is None:
        return None
    system.evaluate(float(problem.times[0]), y0)  # complains about shapes and types
    count = itertools.count()
    slots = tuple(None if part is None else next(count) for part in state)
    instructions, used, after = recorded_step(
        problem.method, slots, drift is not None, diffusion is not None
    )
    terms = [part for name, _, *parts in instructions if name == "update" for part in parts]
    if used > SLOTS or max(map(len, terms)) > MOST:
        return None
    return Trajectory(
        y0.dtype == FLOAT64,
        rows,
        channels,
        size,
        noise.numbers // rows,
        of_drift,
        of_diffusion,
        instructions,
        used,
        [part.size // rows for part in state if part is not None],
        after,
    )


def compiled_operations(field, rows, channels, size):
    """Return the operations of a field of so many numbers, or None if they are not for this."""
    if field is None:
        return []
    operations = operations_of(field, channels)
    if operations is None or (operations[-1][2] if operations else channels) != size:
        return None
    for name, inputs, outputs, *_ in operations:
        # Large products of matrices are for NumPy, long rows for more than one thread.
        if max(inputs, outputs) > LARGEST_ROW or (
            name == "layer" and rows * inputs * outputs > FEW
        ):
            return None
    return operations


def march(problem, trajectory, state, stored, advance):
    """Go through all steps; return the solution at the output times and the last state."""
    times, outputs, y0 = problem.times, problem.outputs, problem.y0
    ys = np.empty((len(outputs), *y0.shape), y0.dtype)
    ys[0] = y0
    parts = [None if part is None else part.copy() for part in state]
    arrays = [part for part in parts if part is not None]
    if stored is not None and not stored.is_needed:
        stored = None
    between = len(times) if stored is None else stored.between
    for start, end, noise in problem.noise.blocks(0, len(times) - 1, between):
        if stored is not None:
            stored.add(start, [part.copy() for part in arrays])
        first, last = np.searchsorted(outputs, (start, end), side="right")
        trajectory.run(
            times[start : end + 1], noise, arrays, outputs[first:last] - start, ys[first:last]
        )
        if advance is not None:
            advance(end - start)
    return ys, tuple(parts)
