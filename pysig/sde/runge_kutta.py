r"""Explicit stochastic Runge-Kutta methods: one step, and its exact gradient, for every table.

A method is a table of stages. Stage j evaluates the drift f, the diffusion g, or both, at

.. math::
    z_j = y + \sum_{k < j} a_{jk} h f_k + \sum_{k < j} g_k v_{jk}, \qquad t_j = t + c_j h,

and the result of a step, y', is one more such sum. The vectors :math:`v_{jk}` are sums of

- "W", the increment of the Brownian motion,
- "area", :math:`I_{10} / h = W / 2 + H`, H the space-time Lévy area,
- "square", :math:`I_{11} / \sqrt h = (W^2 - h) / (2 \sqrt h)`,
- "cube", :math:`I_{111} / h = (W^3 - 3 h W) / (6 h)`,
- "root", :math:`\sqrt h`,

the iterated integrals being those of Itô. The gradient runs through the same table from its end.
Nothing in it is reversible, so that the values of the stages, and the residuals of the fields, have
to be there: `solve` stores some states, and repeats the steps between two of them.
"""

import math
from typing import NamedTuple

from pysig._core.array import Array


class Row(NamedTuple):
    """A sum over earlier stages: weights of h f, and vectors that g is multiplied by."""

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
    vectors: list
    values: list
    residuals: list


class Terms(NamedTuple):
    """A row, in groups of stages that share a weight or a vector: what they share is used once."""

    drift: tuple  # of (weight of h f, numbers of stages)
    noise: tuple  # of (number of the vector, its weight, numbers of stages)


class RungeKutta:
    """The method of a table, for an equation that may lack one of the fields."""

    is_reversible = False

    def __init__(self, table, has_drift, has_diffusion, has_matrices):
        self.combinations = []
        # To add matrices takes longer than to multiply each of them by the same vector.
        self.has_matrices = has_matrices
        self.stages = [
            (
                stage.time,
                has_drift and "f" in stage.fields,
                has_diffusion and "g" in stage.fields,
                self.terms(stage.row, has_drift, has_diffusion),
            )
            for stage in table.stages
        ]
        self.result = self.terms(table.result, has_drift, has_diffusion)
        self.difference = table.error and self.terms(table.error, has_drift, has_diffusion)
        self.needs_area = any("area" in combination for combination in self.combinations)
        self.needs_only_w = self.combinations == [W]

    def terms(self, row, has_drift, has_diffusion):
        """Return the terms of a row, and note the vectors that it needs."""
        drift, noise = {}, {}
        for k, weight in row.drift.items() if has_drift else ():
            drift.setdefault(weight, []).append(k)
        for k, combination in row.noise.items() if has_diffusion else ():
            weight = 1
            if len(combination) == 1:  # results are scaled instead, which are overwritten
                ((name, weight),) = combination.items()
                combination = {name: 1}
            if combination not in self.combinations:
                self.combinations.append(combination)
            vector = self.combinations.index(combination)
            group = (vector, weight, k if self.has_matrices else None)
            noise.setdefault(group, []).append(k)
        return Terms(
            tuple((weight, tuple(stages)) for weight, stages in drift.items()),
            tuple((vector, weight, tuple(stages)) for (vector, weight, _), stages in noise.items()),
        )

    def start(self, system, t, y):
        """Return the state at the beginning."""
        return (y,)

    def step(self, system, t0, t1, state, noise):
        """Return the state after a step."""
        vectors = self.vectors(t1 - t0, noise)
        values = self.evaluate(system, t0, t1, state[0], vectors)
        return (self.sum(system, self.result, values, t1 - t0, vectors, state[0]),)

    def step_with_error(self, system, t0, t1, state, noise):
        """Return the state after a step, and the error that the table estimates."""
        h = t1 - t0
        vectors = self.vectors(h, noise)
        values = self.evaluate(system, t0, t1, state[0], vectors)
        after = self.sum(system, self.result, values, h, vectors, state[0])
        return (after,), self.sum(system, self.difference, values, h, vectors, None)

    def evaluate(self, system, t0, t1, y, vectors):
        """Return the values of the fields at all stages of a step."""
        h = t1 - t0
        values = []
        for time, wants_f, wants_g, terms in self.stages:
            t = t1 if time == 1 else t0 + time * h
            z = self.sum(system, terms, values, h, vectors, y)
            f = system.drift(t, z) if wants_f else None
            values.append((f, system.diffusion(t, z) if wants_g else None))
        return values

    def step_forward(self, system, t0, t1, state, noise):
        """Return the state after a step, and what its gradient needs."""
        h = t1 - t0
        vectors = self.vectors(h, noise)
        values, residuals = [], []
        for time, wants_f, wants_g, terms in self.stages:
            t = t1 if time == 1 else t0 + time * h
            z = self.sum(system, terms, values, h, vectors, state[0])
            f, f_residuals = system.drift.forward(t, z) if wants_f else (None, None)
            g, g_residuals = system.diffusion.forward(t, z) if wants_g else (None, None)
            values.append((f, g))
            residuals.append((f_residuals, g_residuals))
        after = (self.sum(system, self.result, values, h, vectors, state[0]),)
        return after, StepTape(h, noise, vectors, values, residuals)

    def pull_back(self, system, tape, grads, wants_noise):
        """Return the gradients with respect to the state before a step, and to its noise."""
        (grad,) = grads
        h, vectors = tape.h, tape.vectors
        grad_f, grad_g = [None] * len(self.stages), [None] * len(self.stages)
        grad_vectors = [None] * len(vectors)

        def spread(terms, u):
            for weight, stages in terms.drift:
                part = u * (weight * h)
                for k in stages:
                    accumulate(grad_f, k, part)
            for vector, weight, stages in terms.noise:
                scaled = u if weight == 1 else u * weight
                part = system.outer((scaled, vectors[vector]))
                for k in stages:
                    accumulate(grad_g, k, part)
                    if wants_noise and not isinstance(vectors[vector], float):
                        change = system.product_adjoint(tape.values[k][1], scaled)
                        accumulate(grad_vectors, vector, change)

        spread(self.result, grad)
        for j in range(len(self.stages) - 1, -1, -1):
            u = None
            for field, grads, residuals in (
                (system.drift, grad_f, tape.residuals[j][0]),
                (system.diffusion, grad_g, tape.residuals[j][1]),
            ):
                if grads[j] is not None:
                    part = field.backward(residuals, grads[j])
                    u = part if u is None else u if part is None else u + part
            if u is not None:
                grad = grad + u
                spread(self.stages[j][3], u)
        return (grad,), self.noise_gradient(system, tape, grad_vectors) if wants_noise else None

    def finish_pull_back(self, system, t, y0, grads):
        """Return the gradient with respect to y0."""
        return grads[0]

    def sum(self, system, terms, values, h, vectors, y):
        """Return y plus the terms of a row, in a new array unless there are none."""
        total = None
        for vector, weight, stages in terms.noise:
            g = values[stages[0]][1]
            for k in stages[1:]:
                g = g + values[k][1]
            part = system.product(g, vectors[vector])
            if weight != 1:
                part *= weight
            if total is None:
                total = part
            else:
                total += part
        for weight, stages in terms.drift:
            f = values[stages[0]][0]
            for k in stages[1:]:
                f = f + values[k][0]
            part = f * (weight * h)
            if total is None:
                total = part
            else:
                total += part
        if total is None:
            return y
        if y is not None:
            total += y
        return total

    def vectors(self, h, noise):
        """Return what the values of g are multiplied by."""
        if self.needs_only_w:
            return [noise]
        w, area = noise if self.needs_area else (noise, None)
        vectors, parts = [], {"W": w, "root": math.sqrt(h)}
        for combination in self.combinations:
            vector = None
            for name, weight in combination.items():
                if name not in parts:
                    parts[name] = integral(name, w, area, h)
                part = parts[name] if weight == 1 else parts[name] * weight
                vector = part if vector is None else vector + part
            vectors.append(vector)
        return vectors

    def noise_gradient(self, system, tape, grad_vectors):
        """Return the gradients with respect to W, or to W and H."""
        w = tape.noise[0] if self.needs_area else tape.noise
        grad_w = system.xp.zeros_like(w)
        grad_h = system.xp.zeros_like(w) if self.needs_area else None
        for combination, grad in zip(self.combinations, grad_vectors, strict=True):
            for name, weight in combination.items() if grad is not None else ():
                part = grad * weight
                grad_w += part * integral_slope(name, w, tape.h)
                if name == "area":
                    grad_h += part
        return (grad_w, grad_h) if self.needs_area else grad_w


def accumulate(sums, k, part):
    """Add to the k-th of several sums, but not in place: parts may be shared."""
    sums[k] = part if sums[k] is None else sums[k] + part


def integral(name, w, area, h):
    """Return an iterated integral of the driver, scaled to the size of W."""
    if name == "area":
        return w * 0.5 + area
    if name == "square":
        return (w * w - h) * (0.5 / math.sqrt(h))
    return w * (w * w - 3 * h) * (1 / (6 * h))  # "cube"


def integral_slope(name, w, h):
    """Return the derivative of such an integral with respect to W."""
    if name == "W":
        return 1.0
    if name == "area":
        return 0.5
    if name == "square":
        return w * (1 / math.sqrt(h))
    return (w * w - h) * (0.5 / h)  # "cube"
