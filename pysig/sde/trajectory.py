"""Whole steps in compiled code, for fields that `pysig.sde.fields` has compiled operations of.

A method makes its steps with the operations of `System`. Here one step is made with a `Recorder` in
its place, which notes them; what it has noted is what the compiled code does in each step. So do
steps back by the reversible Heun method, with their gradients.
"""

import itertools
import math

import numpy as np

from pysig._core.array import FLOAT64
from pysig._core.sde.trajectory import MOST, SLOTS, Trajectory, padded
from pysig.sde.fields import operations_of

UPDATES = ("update", "outer")
LARGEST_ROW = 4096  # numbers; longer ones are better shared among threads
LARGEST_WEIGHT = 1 << 19  # bytes; blocks of rows take turns with the weights in the cache
STATE, OTHERS = 0, 1  # residuals: those that belong to the state, and those of this step


class Recorder:
    """Notes the operations of a step in the place of `System`; arrays are numbers of slots."""

    def __init__(self, has_drift, has_diffusion, slots):
        self.has_drift, self.has_diffusion, self.slots = has_drift, has_diffusion, slots
        self.drift, self.diffusion = RecordedField(self, 0), RecordedField(self, 1)
        self.instructions = []

    def note(self, *instruction):
        """Note one instruction; return the slot that it writes to."""
        name, *rest = instruction
        self.instructions.append((name, self.slots, *rest))
        self.slots += 1
        return self.slots - 1

    def evaluate(self, t, y):
        """Note what `System.evaluate` does."""
        return (
            self.drift(t, y) if self.has_drift else None,
            self.diffusion(t, y) if self.has_diffusion else None,
        )

    def evaluate_forward(self, t, y):
        """Note what `System.evaluate_forward` does."""
        f, f_residuals = self.drift.forward(t, y) if self.has_drift else (None, None)
        g, g_residuals = self.diffusion.forward(t, y) if self.has_diffusion else (None, None)
        return (f, g), (f_residuals, g_residuals)

    def backward(self, residuals, grads):
        """Note what `System.backward` does."""
        return (
            self.drift.backward(residuals[0], grads[0]) if self.has_drift else None,
            self.diffusion.backward(residuals[1], grads[1]) if self.has_diffusion else None,
        )

    def sum(self, update, h, noise, states, fs, gs):
        """Note an update."""
        pairs = list(zip(update.states, states, strict=True))
        pairs += [(weight * h, fs[number]) for number, weight in update.drift]
        products = [(gs[number], c, False) for number, c in update.noise if gs[number] is not None]
        return self.note("update", present(pairs), products)

    def combine(self, *pairs):
        """Note an update without noise."""
        return self.note("update", present(pairs), [])

    def outer(self, *parts):
        """Note a gradient of products; noise that is "later" is that of the next step."""
        return self.note("outer", [], [(u, c, noise == "later") for _, noise, c, u in parts])


class RecordedField:
    """Notes the evaluations of a field."""

    def __init__(self, recorder, number):
        self.recorder, self.number = recorder, number

    def __call__(self, t, y):
        """Note a value."""
        return self.recorder.note("evaluate", self.number, y, -1, t)

    def forward(self, t, y):
        """Note a value with residuals."""
        return self.recorder.note("evaluate", self.number, y, OTHERS, t), OTHERS

    def backward(self, residuals, grad):
        """Note a gradient; residuals of the state are those of the end of a step."""
        return self.recorder.note("pull_back", self.number, grad, residuals, "end")


def present(pairs):
    """Return pairs (slot, weight) of what is not None."""
    return [(slot, weight) for weight, slot in pairs if slot is not None]


def recorded(make_step, has_drift, has_diffusion, slots):
    """
    Return the instructions of a step, how many slots they need, and the slots of the state after.

    `make_step` is called with a recorder, and the lengths h of the step and of the next one.
    Weights are linear functions of both, and times are proportional to h: steps of three kinds tell
    them.
    """
    recordings, after = [], ()
    for lengths in ((1.0, 1.0), (2.0, 1.0), (1.0, 2.0)):
        recorder = Recorder(has_drift, has_diffusion, slots)
        after = make_step(recorder, *lengths)
        recordings.append(recorder.instructions)
    instructions = []
    for one, longer, later in zip(*recordings, strict=True):
        name, out, first, *rest = one
        if name in ("update", "outer"):
            first = [
                (slot, (3 * weight - with_h - with_next, with_h - weight, with_next - weight))
                for (slot, weight), (_, with_h), (_, with_next) in zip(
                    first, longer[2], later[2], strict=True
                )
            ]
        instructions.append((name, out, first, *(1.0 if part == "end" else part for part in rest)))
    return instructions, recorder.slots, after


def make_trajectory(problem, state):
    """Return compiled steps for a problem with this state at its beginning, or None."""
    drift, diffusion, *_ = problem.arguments
    y0, noise = problem.y0, problem.noise
    operations = operations_of_fields((drift, diffusion), problem.system, noise, y0)
    if operations is None:
        return None
    problem.system.evaluate(float(problem.times[0]), y0)  # complains about shapes and types
    parts = [part for part in state if part is not None]
    count = itertools.count()
    slots = tuple(None if part is None else next(count) for part in state)

    def make_step(recorder, h, _):
        after = problem.method.step(recorder, 0.0, h, slots, None)
        return [slot for slot in after if slot is not None]

    recording = recorded(make_step, drift is not None, diffusion is not None, len(parts))
    channels = y0.shape[-1]
    numbers = [part.size * channels // y0.size for part in parts]
    return trajectory_of(recording, operations, problem.system, noise, y0, numbers)


def operations_of_fields(fields, system, noise, y0):
    """Return lists of the operations of drift and diffusion, or None if they are not for this."""
    if not isinstance(y0, np.ndarray) or not y0.size or not noise.has_blocks:
        return None
    channels, rows = y0.shape[-1], y0.size // y0.shape[-1]
    lists = []
    for field, shape in zip(fields, (y0.shape, system.diffusion.shape), strict=True):
        operations = [] if field is None else operations_of(field, channels)
        outputs = operations[-1][2] if operations else channels
        if operations is None or (field is not None and outputs * rows != math.prod(shape)):
            return None
        lists.append(operations)
    for name, inputs, outputs, *_ in itertools.chain(*lists):
        is_large = name == "layer" and inputs * outputs * y0.itemsize > LARGEST_WEIGHT
        if is_large or max(inputs, outputs) > LARGEST_ROW:
            return None
    return lists


def trajectory_of(recording, operations, system, noise, y0, numbers):
    """Return compiled steps, or None if there are too many arrays in one."""
    instructions, slots, after = recording
    terms = [len(part) for name, _, *parts in instructions if name in UPDATES for part in parts]
    if slots > SLOTS or max(terms) > MOST:
        return None
    channels, rows = y0.shape[-1], y0.size // y0.shape[-1]
    return Trajectory(
        y0.dtype == FLOAT64,
        rows,
        channels,
        math.prod(system.diffusion.shape) // rows if system.has_diffusion else 0,
        noise.numbers // rows,
        operations,
        instructions,
        slots,
        numbers,
        after,
    )


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


# ----------------------------------------------------------- back, by the reversible Heun method

# The state on the way back is y, z, the values f and g, the gradient with respect to y, u of the
# step that was undone last, and the gradient with respect to y before that.
VALUES, GRADIENT, U, LATER_GRADIENT = (2, 3), 4, 5, 6


def make_trajectory_back(method, system, noise, residuals, operations):
    """Return compiled steps back, or None."""
    has = system.has_drift, system.has_diffusion
    values = [slot if is_there else None for slot, is_there in zip(VALUES, has, strict=True)]

    def make_step(recorder, h, later):
        before = method.adjoint(
            y=0, z=1, f=values[0], g=values[1], residuals=(STATE, STATE), grad_y=GRADIENT, u=U,
            to_grad_F=(later, "later", LATER_GRADIENT),
        )  # fmt: skip
        after, _ = method.step_backward(recorder, 0.0, h, before, "now", False)
        f = VALUES[0] if after.f is None else after.f
        g = VALUES[1] if after.g is None else after.g
        # One array twice would be written to through both.
        copy = recorder.combine((1, after.grad_y))
        return [after.y, after.z, f, g, after.grad_y, after.u, copy]

    y = residuals.states[0][0]
    channels, rows = y.shape[-1], y.size // y.shape[-1]
    numbers = [channels] * (LATER_GRADIENT + 1)
    numbers[VALUES[1]] = math.prod(system.diffusion.shape) // rows
    recording = recorded(make_step, *has, slots=len(numbers))
    return trajectory_of(recording, operations, system, noise, y, numbers)


def march_back(method, system, noise, residuals, grad_ys):
    """
    Undo all steps; return the gradient with respect to y0, or None if Python has to undo them.

    The gradients with respect to the parameters are added to those of the system.
    """
    y, z = residuals.states[0]
    operations = operations_of_fields((residuals.drift, residuals.diffusion), system, noise, y)
    if operations is None:
        return None
    trajectory = make_trajectory_back(method, system, noise, residuals, operations)
    if trajectory is None:
        return None
    outputs = residuals.outputs
    # The last step has no next one: its gradients are zeros, and its length does not matter.
    times = np.append(residuals.times, 2 * residuals.times[-1] - residuals.times[-2])
    parts = [y.copy(), z.copy(), None, None, *(np.zeros_like(y) for _ in range(3))]
    sums = np.zeros(trajectory.sums_shape, y.dtype)
    for start, end, increments in noise.blocks_back(len(times) - 2):
        first, last = np.searchsorted(outputs, (start, end), side="right")
        some = outputs[first:last] - start
        trajectory.run(times[start : end + 2], increments, parts, some, grad_ys[first:last], sums)
    add_parameters(system, operations, sums.sum(axis=0))
    y, z, _, _, grad_y, u, later = parts
    start, end = times[:2].tolist()
    (f, g), kept = system.evaluate_forward(start, z)
    step = end - start, noise.increment(start, end), later
    adjoint = method.adjoint(y, z, f, g, kept, grad_y, u, step)
    return method.finish_backward(system, start, adjoint)


def add_parameters(system, operations, sums):
    """Add the gradients of all parameters to those of the fields."""
    place = 0
    for checked, some in zip((system.drift, system.diffusion), operations, strict=True):
        gradients = []
        for name, inputs, outputs, *rest in some:
            arrays = [part for part in rest if isinstance(part, np.ndarray)]
            if name == "layer":
                shape = arrays[0].shape
                size = outputs * padded(inputs) + 2 * padded(outputs)
                parts = gradients_of_layer(sums[place : place + size], inputs, outputs, shape)
                gradients += parts[: len(arrays)]  # a bias may be no parameter
            else:
                size = sum(array.size for array in arrays)
                gradients += [sums[place : place + size].reshape(array.shape) for array in arrays]
            place += size
        if checked.field is not None:
            checked.parameters.add(tuple(gradients))


def gradients_of_layer(sums, inputs, outputs, shape):
    """Return the gradients of a weight of this shape and of the bias: ``_core/sde/layers.h``."""
    of_weight, last = np.split(sums, [outputs * padded(inputs)])
    of_bias, of_time = last.reshape(2, -1)[:, :outputs]
    gradient = np.empty(shape, sums.dtype)
    gradient[:, 0] = of_time  # if there is no such column, it is written to once more
    gradient[:, -inputs:] = of_weight.reshape(outputs, -1)[:, :inputs]
    return [gradient, of_bias.copy()]
