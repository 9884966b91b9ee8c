r"""Explicit stochastic Runge-Kutta methods: one step, and its exact gradient, for every table.

A method is a table of stages. Stage j evaluates the drift f, the diffusion g, or both, at

.. math::
    z_j = y + \sum_{k < j} a_{jk} h f_k + \sum_{k < j} g_k v_{jk}, \qquad t_j = t + c_j h,

and the result of a step, y', is one more such sum. The vectors :math:`v_{jk}` are combinations of
iterated integrals of the noise (`Combination` in ``pysig/_core/sde/updates.pyx``).

The gradient is that of the transposed table: what belongs to the fields of stage k is a sum over
the gradients with respect to all later points, with the weights of column k. Nothing in it is
reversible, so that the residuals of the fields have to be there: `solve` stores some states, and
repeats the steps between two of them.
"""

from typing import NamedTuple

from pysig._core.array import Array
from pysig._core.sde.updates import Combination, Sum


class Row(NamedTuple):
    """A sum over earlier stages: weights of h f, and combinations that g is multiplied by."""

    drift: dict
    noise: dict


class Stage(NamedTuple):
    """Where the fields are evaluated (c, and the sum that is added to y), and which."""

    time: float
    fields: str
    row: Row


class Table(NamedTuple):
    """A method; `error` is the difference of its result from that of Euler's method."""

    stages: tuple
    result: Row
    error: Row | None = None


HERE = Stage(0, "fg", Row({}, {}))
W, HALF_W = {"W": 1}, {"W": 0.5}
EULER_STEP = Row({0: 1}, {0: W})

EULER = Table((HERE,), EULER_STEP)

EULER_HEUN = Table(
    (HERE, Stage(1, "g", Row({}, {0: W}))),
    result=Row({0: 1}, {0: HALF_W, 1: HALF_W}),
)

HEUN = Table(
    (HERE, Stage(1, "fg", EULER_STEP)),
    result=Row({0: 0.5, 1: 0.5}, {0: HALF_W, 1: HALF_W}),
    error=Row({0: -0.5, 1: 0.5}, {0: {"W": -0.5}, 1: HALF_W}),
)

MIDPOINT = Table(
    (HERE, Stage(0.5, "fg", Row({0: 0.5}, {0: HALF_W}))),
    result=Row({1: 1}, {1: W}),
    error=Row({0: -1, 1: 1}, {0: {"W": -1}, 1: W}),
)

# Kloeden and Platen, "Numerical Solution of Stochastic Differential Equations", section 11.1.
MILSTEIN = Table(
    (HERE, Stage(0, "g", Row({0: 1}, {0: {"root": 1}}))),
    result=Row({0: 1}, {0: {"W": 1, "square": -1}, 1: {"square": 1}}),
)

# Rößler, "Runge-Kutta methods for the strong approximation of solutions of stochastic differential
# equations", SIAM Journal on Numerical Analysis 48, 2010: SRI1W1 ...
SRI = Table(
    (
        HERE,
        Stage(0.75, "f", Row({0: 0.75}, {0: {"area": 1.5}})),
        Stage(0.25, "g", Row({0: 0.25}, {0: {"root": 0.5}})),
        Stage(1, "g", Row({0: 1}, {0: {"root": -1}})),
        Stage(0.25, "g", Row({0: 0.25}, {0: {"root": -5}, 2: {"root": 3}, 3: {"root": 0.5}})),
    ),
    result=Row(
        {0: 1 / 3, 1: 2 / 3},
        {
            0: {"W": -1, "square": -1, "area": 2, "cube": -2},
            2: {"W": 4 / 3, "square": 4 / 3, "area": -4 / 3, "cube": 5 / 3},
            3: {"W": 2 / 3, "square": -1 / 3, "area": -2 / 3, "cube": -2 / 3},
            4: {"cube": 1},
        },
    ),
)

# ... and SRA1.
SRA = Table(
    (
        HERE,
        Stage(1, "g", Row({}, {})),
        Stage(0.75, "f", Row({0: 0.75}, {1: {"area": 1.5}})),
    ),
    result=Row({0: 1 / 3, 2: 2 / 3}, {0: {"area": 1}, 1: {"W": 1, "area": -1}}),
)


class StepTape(NamedTuple):
    """What the gradient of a step needs."""

    h: float
    noise: Array
    gs: list  # of all stages
    residuals: list


class Column(NamedTuple):
    """What the fields of a stage contribute to: numbers of stages, the last one is the result."""

    drift: tuple  # of (number, weight of h f)
    noise: tuple  # of (number, combination)


class RungeKutta:
    """The method of a table."""

    is_reversible = False

    def __init__(self, table):
        rows = [stage.row for stage in table.stages]
        self.stages = [
            (stage.time, "f" in stage.fields, "g" in stage.fields, as_sum(row, (1,)))
            for stage, row in zip(table.stages, rows, strict=True)
        ]
        self.result = as_sum(table.result, (1,))
        self.difference = table.error and as_sum(table.error, ())
        rows.append(table.result)
        combinations = [combinations_of(row) for row in rows]
        self.columns = [
            Column(
                tuple((j, row.drift[k]) for j, row in enumerate(rows) if k in row.drift),
                tuple((j, row[k]) for j, row in enumerate(combinations) if k in row),
            )
            for k in range(len(table.stages))
        ]
        self.needs_area = any(c.needs_area for row in combinations for c in row.values())

    def start(self, system, t, y):
        """Return the state at the beginning."""
        return (y,)

    def step(self, system, t0, t1, state, noise):
        """Return the state after a step."""
        fs, gs = self.evaluate(system, t0, t1, state[0], noise)
        return (system.sum(self.result, t1 - t0, noise, state, fs, gs),)

    def step_with_error(self, system, t0, t1, state, noise):
        """Return the state after a step, and the error that the table estimates."""
        h = t1 - t0
        fs, gs = self.evaluate(system, t0, t1, state[0], noise)
        after = (system.sum(self.result, h, noise, state, fs, gs),)
        return after, system.sum(self.difference, h, noise, (), fs, gs)

    def evaluate(self, system, t0, t1, y, noise):
        """Return the values of both fields at all stages of a step."""
        h, fs, gs = t1 - t0, [], []
        f = system.drift if system.has_drift else None
        g = system.diffusion if system.has_diffusion else None
        for time, wants_f, wants_g, row in self.stages:
            t = t1 if time == 1 else t0 + time * h
            z = system.sum(row, h, noise, (y,), fs, gs) if row else y
            fs.append(f(t, z) if f and wants_f else None)
            gs.append(g(t, z) if g and wants_g else None)
        return fs, gs

    def step_forward(self, system, t0, t1, state, noise):
        """Return the state after a step, and what its gradient needs."""
        h, fs, gs, residuals = t1 - t0, [], [], []
        for time, wants_f, wants_g, row in self.stages:
            t = t1 if time == 1 else t0 + time * h
            z = system.sum(row, h, noise, state, fs, gs) if row else state[0]
            f = g = f_residuals = g_residuals = None
            if system.has_drift and wants_f:
                f, f_residuals = system.drift.forward(t, z)
            if system.has_diffusion and wants_g:
                g, g_residuals = system.diffusion.forward(t, z)
            fs.append(f)
            gs.append(g)
            residuals.append((f_residuals, g_residuals))
        after = system.sum(self.result, h, noise, state, fs, gs)
        return (after,), StepTape(h, noise, gs, residuals)

    def pull_back(self, system, tape, grads, wants_noise):
        """Return the gradients with respect to the state before a step, and to its noise."""
        h, noise = tape.h, tape.noise
        # of the points of all stages, and of the result
        points = [None] * len(self.stages) + [grads[0]]
        for k in range(len(self.stages) - 1, -1, -1):
            _, wants_f, wants_g, _ = self.stages[k]
            column, (f_residuals, g_residuals) = self.columns[k], tape.residuals[k]
            through_f = through_g = None
            if system.has_drift and wants_f:
                grad_f = system.combine(*((weight * h, points[j]) for j, weight in column.drift))
                if grad_f is not None:
                    through_f = system.drift.backward(f_residuals, grad_f)
            if system.has_diffusion and wants_g:
                parts = [(h, noise, c, points[j]) for j, c in column.noise if points[j] is not None]
                if parts:
                    through_g = system.diffusion.backward(g_residuals, system.outer(*parts))
            points[k] = system.combine((1, through_f), (1, through_g))
        grad_y = system.combine(*((1, point) for point in points))
        return (grad_y,), self.noise_gradient(system, tape, points) if wants_noise else None

    def noise_gradient(self, system, tape, points):
        """Return the gradients with respect to W, or to W and H."""
        parts = [
            (combination, g, points[j])
            for g, column in zip(tape.gs, self.columns, strict=True)
            for j, combination in column.noise
        ]
        grad_w = system.inner(tape.h, tape.noise, parts)
        if not self.needs_area:
            return grad_w
        return grad_w, system.inner(tape.h, tape.noise, parts, True)

    def finish_pull_back(self, system, t, y0, grads):
        """Return the gradient with respect to y0."""
        return grads[0]


def combinations_of(row):
    """Return what values of g are multiplied by in a row, by stage."""
    return {k: Combination(**weights) for k, weights in row.noise.items()}


def as_sum(row, states):
    """Return a row of a table, plus states, as an update; None for a point that is y itself."""
    if states and not (row.drift or row.noise):
        return None
    return Sum(states, row.drift, combinations_of(row))
