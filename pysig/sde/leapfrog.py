r"""Asynchronous leapfrog method: reversible steps for ordinary differential equations.

For :math:`y' = f(t, y)` and a companion v of y that follows the velocity, one step of length h is

.. math::
    k = y + \tfrac h2 v, \quad u = f(t + \tfrac h2, k), \quad
    v' = v + 2 \eta (u - v), \quad y' = k + \tfrac h2 v',

and it is undone, with the same u, by

.. math::
    k = y' - \tfrac h2 v', \quad v = \frac{2 \eta u - v'}{2 \eta - 1}, \quad y = k - \tfrac h2 v.

f is evaluated once in a step, in both directions. η = 1 is of order 2, and stable for imaginary
eigenvalues only; with η < 1 the order is 1, and real eigenvalues λ are stable for
:math:`-2 (1 - \eta) / \eta \le h \lambda \le 0`. Undoing a damped step magnifies rounding errors
by :math:`1 / (2 \eta - 1)`, and many of them without bound: with damping, states are stored as for
other methods, instead.

With adjoints :math:`a_y, a_v` of the state after a step, those before it are

.. math::
    b = a_v + \tfrac h2 a_y, \quad a_y \leftarrow a_y + \partial f(k)^\top [2 \eta b], \quad
    a_v \leftarrow (1 - 2 \eta) b + \tfrac h2 a_y.

Mutze, "An asynchronous leapfrog method II", arXiv:1311.6602; Zhuang, Dvornek, Tatikonda and Duncan,
"MALI: a memory efficient and reverse accurate integrator for neural ODEs", ICLR 2021,
arXiv:2102.04668.
"""

from typing import NamedTuple

from pysig._core.array import Array


class State(NamedTuple):
    """The state between two steps."""

    y: Array
    v: Array


class Adjoint(NamedTuple):
    """The state on the way back, and the gradients with respect to it."""

    y: Array
    v: Array
    grad_y: Array
    grad_v: Array


class AsynchronousLeapfrog:
    """The method with its damping η, above 1/2 and at most 1; steps with η = 1 are undone."""

    needs_area = False

    def __init__(self, damping):
        self.damping = damping
        self.is_reversible = damping == 1

    def start(self, system, t, y):
        """Return the state at the beginning."""
        return State(y, system.drift(t, y))

    def step(self, system, t0, t1, state, w):
        """Return the state after a step."""
        y, v = state
        half = (t1 - t0) / 2
        k = system.combine((1, y), (half, v))
        return self.move(system, half, k, v, system.drift(t0 + half, k))

    def move(self, system, half, k, v, u):
        """Return the state at the end of a step, given that in its middle, and the velocity u."""
        v = system.combine((1 - 2 * self.damping, v), (2 * self.damping, u))
        return State(system.combine((1, k), (half, v)), v)

    def step_with_error(self, system, t0, t1, state, w):
        """Return the state after a step, and h (u - v), the error of the velocity."""
        after = self.step(system, t0, t1, state, w)
        scale = (t1 - t0) / (2 * self.damping)
        return after, system.combine((scale, after.v), (-scale, state.v))

    def start_backward(self, system, t, state):
        """Return the last state with gradients of zero."""
        return Adjoint(state[0], state[1], None, None)

    def step_backward(self, system, t0, t1, adjoint, w, wants_noise):
        """Undo a step; return the state with gradients, and None for that of the noise."""
        y, v, *grads = adjoint
        half = (t1 - t0) / 2
        k = system.combine((1, y), (-half, v))
        u, residuals = system.drift.forward(t0 + half, k)
        grads, _ = self.pull_back(system, (half, residuals), grads, False)
        y, v = self.move(system, -half, k, v, u)
        return Adjoint(y, v, *grads), None

    def step_forward(self, system, t0, t1, state, w):
        """Return the state after a step, and what its gradient needs."""
        y, v = state
        half = (t1 - t0) / 2
        k = system.combine((1, y), (half, v))
        u, residuals = system.drift.forward(t0 + half, k)
        return self.move(system, half, k, v, u), (half, residuals)

    def pull_back(self, system, tape, grads, wants_noise):
        """Return the gradients with respect to the state before a step; there is no noise."""
        half, residuals = tape
        grad_y, grad_v = grads
        factor = 2 * self.damping
        to_u = system.combine((factor * half, grad_y), (factor, grad_v))
        through_field = system.drift.backward(residuals, to_u)
        new_grad_y = system.combine((1, grad_y), (1, through_field))
        rest = (1 - factor) / factor
        return (new_grad_y, system.combine((rest, to_u), (half, new_grad_y))), None

    def add_gradient(self, system, adjoint, grad_y):
        """Return the state with one more gradient with respect to y."""
        return adjoint._replace(grad_y=system.combine((1, adjoint.grad_y), (1, grad_y)))

    def finish_backward(self, system, t, adjoint):
        """Return the gradient with respect to y0, with which v begins, too."""
        return self.finish_pull_back(system, t, adjoint.y, (adjoint.grad_y, adjoint.grad_v))

    def finish_pull_back(self, system, t, y0, grads):
        """Return the gradient with respect to y0, given those with respect to y and v."""
        _, residuals = system.drift.forward(t, y0)
        through_field = system.drift.backward(residuals, grads[1])
        return system.combine((1, grads[0]), (1, through_field))
