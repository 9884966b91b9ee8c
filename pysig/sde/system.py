r"""A stochastic differential equation as the solvers see it: two fields that meet the noise.

For all solvers the equation is :math:`dy = F(t, y) \, dX` with the pair of fields F = (f, g) and
the driver X = (t, W). They evaluate F, multiply its value by an increment (h, W), and, on the way
back, multiply gradients by the transposes of both. A field that is None is zero, and costs nothing.

The arithmetic of updates is done by compiled code, in one pass over all operands: on the CPU by
``pysig/_core/sde/updates.pyx``, with CuPy by ``updates_cuda.py``.
"""

from typing import Any

import numpy as np

from pysig._core.array import cuda_kernel, namespace_of
from pysig._core.sde import updates

NOISES = ("diagonal", "scalar", "additive", "general")
MATRIX_NOISES = ("additive", "general")


class System:
    """The two fields, with checks of what they return, and the updates for their shapes.

    ``sum``, ``combine``, ``outer`` and ``inner`` are those of `Updates` in ``updates.pyx``.
    """

    def __init__(self, xp, drift, diffusion, noise, y0, noise_shape):
        kind, dtype = type(y0), y0.dtype
        is_matrix = noise in MATRIX_NOISES and len(noise_shape)
        shape = (*y0.shape, noise_shape[-1]) if is_matrix else y0.shape
        self.drift = CheckedField("drift", drift, y0.shape, y0.shape, dtype, kind)
        self.diffusion = CheckedField("diffusion", diffusion, shape, y0.shape, dtype, kind)
        self.has_drift, self.has_diffusion = drift is not None, diffusion is not None
        backend = updates if xp is np else cuda_kernel(updates)
        operations = backend.Updates(y0.shape, shape, noise_shape, dtype)
        self.sum, self.combine = operations.sum, operations.combine
        self.outer, self.inner = operations.outer, operations.inner

    def evaluate(self, t, y):
        """Return the values (f, g)."""
        return (
            self.drift(t, y) if self.has_drift else None,
            self.diffusion(t, y) if self.has_diffusion else None,
        )

    def evaluate_forward(self, t, y):
        """Return the values (f, g) and the residuals of both."""
        f, f_residuals = self.drift.forward(t, y) if self.has_drift else (None, None)
        g, g_residuals = self.diffusion.forward(t, y) if self.has_diffusion else (None, None)
        return (f, g), (f_residuals, g_residuals)

    def backward(self, residuals, grads):
        """
        Return the gradients with respect to y through f and through g.

        Those of the parameters are added up.
        """
        return (
            self.drift.backward(residuals[0], grads[0]) if self.has_drift else None,
            self.diffusion.backward(residuals[1], grads[1]) if self.has_diffusion else None,
        )


class CheckedField:
    """A drift or diffusion that complains about values of the wrong shape or type.

    It adds up the gradients with respect to the parameters.
    """

    def __init__(self, name, field, shape, state_shape, dtype, kind):
        self.name, self.field, self.shape, self.state_shape = name, field, shape, state_shape
        self.dtype, self.kind = dtype, kind
        self.value = field if callable(field) else self._value_of_forward
        self.parameters = Total()
        self.checks_finite = False

    def __call__(self, t, y):
        """Return the value."""
        value: Any = self.value(t, y)
        if type(value) is not self.kind or value.shape != self.shape or value.dtype != self.dtype:
            self._refuse(value, t)
        if self.checks_finite:
            check_finite_array(value, self.name, t)
        return value

    def forward(self, t, y):
        """Return the value and the residuals."""
        value, residuals = self.field.forward(t, y)
        if type(value) is not self.kind or value.shape != self.shape or value.dtype != self.dtype:
            self._refuse(value, t)
        return value, residuals

    def backward(self, residuals, grad):
        """Return the gradient with respect to y, which is None if the field does not depend on it.

        That with respect to the parameters is added to `parameters`.
        """
        grad_y, grad_parameters = self.field.backward(residuals, grad)
        if grad_y is not None and (
            type(grad_y) is not self.kind
            or grad_y.shape != self.state_shape
            or grad_y.dtype != self.dtype
        ):
            raise wrong_array(f"{self.name}.backward", grad_y, self.state_shape, self)
        self.parameters.add(grad_parameters)
        return grad_y

    def _value_of_forward(self, t, y):
        return self.field.forward(t, y)[0]

    def _refuse(self, value, t):
        raise wrong_array(f"{self.name} at t = {t!r}", value, self.shape, self)


def wrong_array(name, value, shape, field):
    """Return the exception for an array that a field should not have returned."""
    kind = f"{field.kind.__module__}.{field.kind.__name__}"
    given = f"a {type(value).__name__}"
    if type(value) is field.kind:
        given = f"the shape {value.shape} and {value.dtype}"
        if value.shape != shape:
            return ValueError(
                f"{name} must return the shape {shape} and {field.dtype}, not {given}"
            )
    return TypeError(f"{name} must return a {kind} of {shape} and {field.dtype}, not {given}")


class Total:
    """A running sum of arrays, or of tuples, lists and dicts of them."""

    def __init__(self):
        self.value, self.count = None, 0

    def add(self, value):
        """Add one more; the first is not written to, since it is the field's own."""
        self.count += 1
        self.value = value if self.count == 1 else add_trees(self.value, value, self.count > 2)


def add_trees(first, second, in_place):
    """Return the sum of two arrays, or of two structures of them, leaf by leaf."""
    if first is None or second is None:
        if first is not second:
            raise ValueError("a field must give the gradient of its parameters always or never")
        return None
    if isinstance(first, dict):
        return {name: add_trees(value, second[name], in_place) for name, value in first.items()}
    if isinstance(first, (tuple, list)):
        parts = [add_trees(*pair, in_place) for pair in zip(first, second, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if in_place:
        first += second
        return first
    return first + second


def check_finite_array(array, name, t):
    """Raise FloatingPointError if an array has NaN or infinity."""
    bad = int(array.size - namespace_of(array).isfinite(array).sum())
    if bad:
        raise FloatingPointError(
            f"{name} at t = {t!r} is not finite in {bad} of {array.size} entries"
        )


def check_noise(noise, y0, increment):
    """Raise unless an increment (W, or W and H) has the shape and type of this kind of noise."""
    w = increment[0] if isinstance(increment, tuple) else increment
    if type(w) is not type(y0) or w.dtype != y0.dtype:
        given = getattr(w, "dtype", type(w).__name__)
        raise TypeError(
            f"brownian must give {y0.dtype} arrays of the same library as y0, not {given}"
        )
    batch = y0.shape[:-1]
    wanted = {"diagonal": y0.shape, "scalar": (*batch, 1)}.get(noise, (*batch, "m"))
    fits = w.shape == wanted
    if noise in MATRIX_NOISES:
        fits = w.ndim == y0.ndim and w.shape[:-1] == batch
    if not fits:
        text = "(" + ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "") + ")"
        raise ValueError(
            f"brownian must have the shape {text} for {noise} noise and y0 of the shape "
            f"{y0.shape}, not {w.shape}"
        )
