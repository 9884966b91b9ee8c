r"""Reversible Heun method: steps that can be undone, and so a gradient without stored states.

For :math:`dy = F(t, y) \circ dX` with F = (f, g), X = (t, W), and a companion z of y, one step is

.. math::
    z' = 2 y - z + F(t, z) \Delta X, \qquad
    y' = y + \tfrac12 \bigl(F(t, z) + F(t', z')\bigr) \Delta X,

and it is undone by the same formulae with the roles of both ends exchanged:

.. math::
    z = 2 y' - z' - F(t', z') \Delta X, \qquad
    y = y' - \tfrac12 \bigl(F(t, z) + F(t', z')\bigr) \Delta X.

F is evaluated once in a step, in both directions: the state is (y, z, F(t, z)).

With adjoints :math:`a_y, a_z, a_F` of the state after a step, those before it are

.. math::
    u = a_z + \partial_z F(t', z')^\top \bigl[a_F + \tfrac12 a_y \otimes \Delta X\bigr], \quad
    a_F \leftarrow \bigl(\tfrac12 a_y + u\bigr) \otimes \Delta X, \quad
    a_y \leftarrow a_y + 2 u, \quad a_z \leftarrow -u.

Kidger, Foster, Li and Lyons, "Efficient and Accurate Gradients for Neural SDEs", NeurIPS 2021,
arXiv:2105.13493.
"""

from typing import NamedTuple

from pysig._core.array import Array


class State(NamedTuple):
    """The state between two steps; F is the pair of values at z."""

    y: Array
    z: Array
    F: tuple


class Adjoint(NamedTuple):
    """The state on the way back: its values, the residuals of F, and gradients to all of it.

    That with respect to F is the product of a gradient u and the increments (h, W) of a step:
    only (u, h, W) is kept, since the product may be large.
    """

    y: Array
    z: Array
    F: tuple
    F_residuals: tuple
    grad_y: Array
    grad_z: Array
    to_grad_F: tuple | None


class ReversibleHeun:
    """Of strong order 1 for additive and commutative noise, and 1/2 else; Stratonovich."""

    needs_area = False
    is_reversible = True

    def start(self, system, t, y):
        """Return the state at the beginning."""
        return State(y, y, system.evaluate(t, y))

    def step(self, system, t0, t1, state, w):
        """Return the state after a step."""
        y, z, values = state
        h = t1 - t0
        change = system.increment(values, h, w)
        z = change - z
        z += y
        z += y
        values = system.evaluate(t1, z)
        change += system.increment(values, h, w)
        change *= 0.5
        change += y
        return State(change, z, values)

    def step_with_error(self, system, t0, t1, state, w):
        """Return the state after a step, and by how much it differs from Euler's method."""
        after = self.step(system, t0, t1, state, w)
        error = system.increment(after.F, t1 - t0, w)
        error -= system.increment(state.F, t1 - t0, w)
        error *= 0.5
        return after, error

    def start_backward(self, system, t, state):
        """Return the last state with gradients of zero."""
        y, z = state[:2]
        values, residuals = system.evaluate_forward(t, z)
        zero = system.xp.zeros_like(y)
        return Adjoint(y, z, values, residuals, zero, zero, None)

    def step_backward(self, system, t0, t1, adjoint, w, wants_noise):
        """Undo a step; return the state with gradients, and the gradient with respect to w."""
        y1, z1, values1, residuals1, grad_y, grad_z, to_grad_F = adjoint
        h = t1 - t0
        change1 = system.increment(values1, h, w)
        z0 = y1 - z1
        z0 += y1
        z0 -= change1
        values0, residuals0 = system.evaluate_forward(t0, z0)
        change1 += system.increment(values0, h, w)
        change1 *= -0.5
        change1 += y1

        half = grad_y * 0.5
        terms = ((half, h, w),) if to_grad_F is None else ((half, h, w), to_grad_F)
        grads = system.increment_adjoint(*terms)
        through_field = system.backward(residuals1, grads)
        u = grad_z if through_field is None else grad_z + through_field
        both = half + u
        grad_w = None
        if wants_noise:
            grad_w = system.product_adjoint(values0[1], both)
            grad_w += system.product_adjoint(values1[1], half)
        grad_y = both + u
        grad_y += half
        return Adjoint(change1, z0, values0, residuals0, grad_y, -u, (both, h, w)), grad_w

    def add_gradient(self, adjoint, grad_y):
        """Return the state with one more gradient with respect to y."""
        return adjoint._replace(grad_y=adjoint.grad_y + grad_y)

    def finish_backward(self, system, t, adjoint):
        """Return the gradient with respect to y0, where y, z and F all begin."""
        grad = adjoint.grad_y + adjoint.grad_z
        through_field = system.backward(
            adjoint.F_residuals, system.increment_adjoint(adjoint.to_grad_F)
        )
        return grad if through_field is None else grad + through_field
