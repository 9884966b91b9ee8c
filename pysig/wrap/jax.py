"""Adapters to JAX: what works with its functions, with no mathematics of its own.

Needs the extra "jax": ``pip install 'pysig[jax]'``.
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pysig._core.array import FLOAT64, is_cupy, real_array
from pysig.sde import fields

try:
    import jax
except ImportError:
    raise ImportError("pysig.wrap.jax needs JAX: pip install 'pysig[jax]'") from None

__all__ = ["Field", "FieldResiduals"]


class FieldResiduals(NamedTuple):
    """What `Field.backward` needs: JAX's pullback, which is a pytree of arrays, and a shape."""

    pullback: Callable
    shape: tuple[int, ...]  # of the value
    dtype: np.dtype


class Field(fields.Field):
    """
    A function f(parameters, t, y) as a vector field of pysig: NumPy arrays in, NumPy arrays out.

    It is compiled once for each shape and type of the state.

    Parameters
    ----------
    function : callable
        A pure function of a pytree, a scalar and an array, which `jax.jit` and `jax.vjp` take.
    parameters : pytree of array
        Of floating-point numbers.

    Attributes
    ----------
    parameters : tuple of array
        The leaves, in JAX's order.

    Raises
    ------
    TypeError
        If `function` cannot be called.

    See Also
    --------
    pysig.sde.fields

    Notes
    -----
    JAX computes in float32 unless it is told otherwise: states of float64 need
    ``jax.config.update("jax_enable_x64", True)``.

    Examples
    --------
    >>> import jax.numpy, pysig.wrap.jax  # doctest: +SKIP
    >>> def drift(parameters, t, y):  # doctest: +SKIP
    ...     return jax.numpy.tanh(y @ parameters["weight"] + t * parameters["slope"])
    >>> parameters = {"slope": jax.numpy.ones(3), "weight": jax.numpy.eye(3)}  # doctest: +SKIP
    >>> field = pysig.wrap.jax.Field(drift, parameters)  # doctest: +SKIP
    >>> value, residuals = field.forward(0.0, numpy.zeros((5, 3), "float32"))  # doctest: +SKIP
    >>> grad_y, (grad_slope, grad_weight) = field.backward(residuals, value)  # doctest: +SKIP
    """

    def __init__(self, function, parameters):
        if not callable(function):
            raise TypeError(f"function must be callable, not a {type(function).__name__}")
        self._leaves, structure = jax.tree_util.tree_flatten(parameters)

        def value(leaves, t, y):
            return function(jax.tree_util.tree_unflatten(structure, leaves), t, y)

        # What is compiled has the leaves as an argument: fields with other parameters share it.
        self._value = jax.jit(value)
        self._forward = jax.jit(
            lambda leaves, t, y: jax.vjp(lambda leaves, y: value(leaves, t, y), leaves, y)
        )
        self._backward = jax.jit(lambda pullback, grad: pullback(grad))

    @property
    def parameters(self):
        """The leaves of the parameters."""
        return tuple(np.asarray(leaf) for leaf in self._leaves)

    def with_parameters(self, parameters):
        """Return the field with other leaves; see `pysig.sde.fields.Field.with_parameters`."""
        field = copy.copy(self)
        field._leaves = list(fields.checked_parameters(parameters, self.parameters))
        return field

    def __call__(self, t, y):
        """Return the value at time `t` and state `y`."""
        return np.array(self._value(self._leaves, *arguments(t, y)))

    def forward(self, t, y):
        """Return the value at time `t` and state `y`, and the residuals."""
        value, pullback = self._forward(self._leaves, *arguments(t, y))
        return np.array(value), FieldResiduals(pullback, value.shape, value.dtype)

    def backward(self, residuals, grad):
        """Return the gradients with respect to y, and the leaves of the parameters."""
        pullback, shape, dtype = residuals
        grad = host_array(grad, "grad", dtype)
        if grad.shape != shape:
            raise ValueError(f"grad must have the shape {shape} of the value, not {grad.shape}")
        leaves, grad_y = self._backward(pullback, grad)
        return np.array(grad_y), tuple(np.array(leaf) for leaf in leaves)


def arguments(t, y):
    """Return time and state as a function gets them."""
    y = host_array(y, "y")
    return np.asarray(fields.checked_time(t), y.dtype), y


def host_array(array, name, dtype=None):
    """Return a NumPy array that JAX takes without changing its type."""
    if is_cupy(array):
        raise TypeError(f"{name} must be a NumPy array, not CuPy's")
    array = real_array(array, name, dtype)
    if array.dtype == FLOAT64 and not jax.config.read("jax_enable_x64"):
        raise TypeError(
            f"{name} is float64, and JAX computes in float32: make it float32, or "
            'jax.config.update("jax_enable_x64", True)'
        )
    return array
