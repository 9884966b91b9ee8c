r"""Reversible Heun method: steps that can be undone, and so a gradient without stored states.

For :math:`dy = F(t, y) \circ dX` with F = (f, g), X = (t, W), and a companion z of y, one step is

.. math::
    z' = 2 y - z + F(t, z) \Delta X, \qquad
    y' = y + \tfrac12 \bigl(F(t, z) + F(t', z')\bigr) \Delta X
       = \tfrac12 \bigl(z + z' + F(t', z') \Delta X\bigr),

and it is undone by the same formulae with the roles of both ends exchanged:

.. math::
    z = 2 y' - z' - F(t', z') \Delta X, \qquad
    y = \tfrac12 \bigl(z + z' - F(t, z) \Delta X\bigr).

F is evaluated once in a step, in both directions: the state is (y, z, F(t, z)).

With adjoints :math:`a_y, a_z, a_F` of the state after a step, those before it are

.. math::
    u = a_z + \partial_z F(t', z')^\top \bigl[a_F + \tfrac12 a_y \otimes \Delta X\bigr], \quad
    a_y \leftarrow a_y + 2 u, \quad a_z \leftarrow -u, \quad
    a_F \leftarrow \tfrac12 a_y \otimes \Delta X,

the last with the new :math:`a_y`.

Kidger, Foster, Li and Lyons, "Efficient and Accurate Gradients for Neural SDEs", NeurIPS 2021,
arXiv:2105.13493.
"""

from typing import NamedTuple

from pysig._core.array import Array
from pysig._core.sde.updates import Combination, Sum

W, HALF_W = Combination(W=1), Combination(W=0.5)
MINUS_W, MINUS_HALF_W = Combination(W=-1), Combination(W=-0.5)

NEXT_Z = Sum(states=(2, -1), drift={0: 1}, noise={0: W})  # of y, z, F(t, z)
NEXT_Y = Sum(states=(0.5, 0.5), drift={0: 0.5}, noise={0: HALF_W})  # of z, z', F(t', z')
LAST_Z = Sum(states=(2, -1), drift={0: -1}, noise={0: MINUS_W})
LAST_Y = Sum(states=(0.5, 0.5), drift={0: -0.5}, noise={0: MINUS_HALF_W})
ERROR = Sum(drift={0: -0.5, 1: 0.5}, noise={0: MINUS_HALF_W, 1: HALF_W})


class State(NamedTuple):
    """The state between two steps; f and g are values at z."""

    y: Array
    z: Array
    f: Array
    g: Array


class Adjoint(NamedTuple):
    """
    The state on the way back: its values, the residuals of f and g, and gradients to all of it.

    That with respect to z is -u, with the u of the step that was undone last. Those with respect to
    f and g are products of its increments with half the gradient with respect to y before that
    step: they may be large, and only their factors, (h, W, grad_y), are kept.
    """

    y: Array
    z: Array
    f: Array
    g: Array
    residuals: tuple
    grad_y: Array
    u: Array
    to_grad_F: tuple | None


class ReversibleHeun:
    """Of strong order 1 for additive and commutative noise, and 1/2 else; Stratonovich."""

    needs_area = False
    is_reversible = True
    adjoint = Adjoint

    def start(self, system, t, y):
        """Return the state at the beginning."""
        return State(y, y, *system.evaluate(t, y))

    def step(self, system, t0, t1, state, w):
        """Return the state after a step."""
        y, z0, f, g = state
        h = t1 - t0
        z1 = system.sum(NEXT_Z, h, w, (y, z0), (f,), (g,))
        f, g = system.evaluate(t1, z1)
        return State(system.sum(NEXT_Y, h, w, (z0, z1), (f,), (g,)), z1, f, g)

    def step_with_error(self, system, t0, t1, state, w):
        """Return the state after a step, and by how much it differs from Euler's method."""
        after = self.step(system, t0, t1, state, w)
        return after, system.sum(ERROR, t1 - t0, w, (), (state.f, after.f), (state.g, after.g))

    def start_backward(self, system, t, state):
        """Return the last state without gradients."""
        y, z = state[:2]
        (f, g), residuals = system.evaluate_forward(t, z)
        return Adjoint(y, z, f, g, residuals, None, None, None)

    def step_backward(self, system, t0, t1, adjoint, w, wants_noise):
        """Undo a step; return the state with gradients, and the gradient with respect to w."""
        y1, z1, f1, g1, residuals1, grad_y1, u1, to_grad_F = adjoint
        h = t1 - t0
        z0 = system.sum(LAST_Z, h, w, (y1, z1), (f1,), (g1,))
        (f0, g0), residuals0 = system.evaluate_forward(t0, z0)
        y0 = system.sum(LAST_Y, h, w, (z0, z1), (f0,), (g0,))

        grads = gradients_of_fields(system, (h, w, grad_y1), to_grad_F)
        through_f, through_g = system.backward(residuals1, grads)
        u = system.combine((-1, u1), (1, through_f), (1, through_g))
        grad_y0 = system.combine((1, grad_y1), (2, u))
        grad_w = None
        if wants_noise:
            grad_w = system.inner(h, w, ((HALF_W, g0, grad_y0), (HALF_W, g1, grad_y1)))
        return Adjoint(y0, z0, f0, g0, residuals0, grad_y0, u, (h, w, grad_y0)), grad_w

    def add_gradient(self, system, adjoint, grad_y):
        """Return the state with one more gradient with respect to y."""
        return adjoint._replace(grad_y=system.combine((1, adjoint.grad_y), (1, grad_y)))

    def finish_backward(self, system, t, adjoint):
        """Return the gradient with respect to y0, where y, z and F all begin."""
        grads = gradients_of_fields(system, adjoint.to_grad_F, None)
        through_f, through_g = system.backward(adjoint.residuals, grads)
        return system.combine((1, adjoint.grad_y), (-1, adjoint.u), (1, through_f), (1, through_g))


def gradients_of_fields(system, *steps):
    """Return those of f and g, which are in the results of one or two steps (h, W, grad_y)."""
    steps = [step for step in steps if step is not None]
    grad_f = grad_g = None
    if system.has_drift:
        grad_f = system.combine(*((h / 2, grad_y) for h, _, grad_y in steps))
    if system.has_diffusion:
        grad_g = system.outer(*((h, w, HALF_W, grad_y) for h, w, grad_y in steps))
    return grad_f, grad_g
