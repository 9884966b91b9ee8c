r"""Activation functions of neural networks, with bias and derivative in one pass.

==========  =====================================  =============================================
lipswish    :math:`0.909\, x\, \sigma(x)`          Lipschitz with constant 1 (Chen, Behrmann,
                                                   Duvenaud and Jacobsen, "Residual flows for
                                                   invertible generative modeling", 2019)
sigmoid     :math:`\sigma(x) = 1 / (1 + e^{-x})`
silu        :math:`x\, \sigma(x)`
softplus    :math:`\log(1 + e^x)`
tanh        :math:`\tanh x`
==========  =====================================  =============================================

All are computed from :math:`e^{-|x|}`, so that nothing overflows. Values have relative errors of at
most three units in the last place, derivatives of four (those of lipswish and silu near their zero
at x = -1.28: absolute errors of that size).
"""

import math
from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    FLOAT64,
    Array,
    cuda_kernel,
    device_of,
    namespace,
    namespace_of,
    real_array,
)
from pysig._core.sde import activations as kernels

__all__ = [
    "ACTIVATIONS",
    "ActivationGradients",
    "ActivationResiduals",
    "activation",
    "activation_backward",
    "activation_forward",
]

ACTIVATIONS = ("lipswish", "sigmoid", "silu", "softplus", "tanh")  # the numbers of the kernels


class ActivationResiduals(NamedTuple):
    """What `activation_backward` needs."""

    derivative: Array
    with_bias: bool


class ActivationGradients(NamedTuple):
    """Gradients of `activation`; that of the bias is None where there was none."""

    x: Array
    bias: Array | None


def activation(x, name, bias=None):
    """
    Apply an activation function to x + bias.

    Parameters
    ----------
    x : array, shape (..., channels), or any shape without a bias
        float32 or float64; integers become float64.
    name : {"lipswish", "sigmoid", "silu", "softplus", "tanh"}
        The function.
    bias : array, shape (channels,), optional
        What is added first, of the type of x.

    Returns
    -------
    array, the shape of x

    Raises
    ------
    ValueError
        If `name` is unknown, or `bias` has another shape than (channels,).
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    activation_forward, activation_backward

    Examples
    --------
    >>> from pysig.sde import activations
    >>> activations.activation([-1.0, 0.0, 2.0], "silu")
    array([-0.26894142,  0.        ,  1.76159416])
    """
    kind, x, bias = checked(x, name, bias)
    return activate(kind, x, bias, namespace_of(x).empty_like(x))


def activation_forward(x, name, bias=None):
    """
    Do what `activation` does, and keep the derivative for `activation_backward`.

    Parameters
    ----------
    x, name, bias
        As in `activation`.

    Returns
    -------
    value : array, the shape of x
    residuals : ActivationResiduals

    Examples
    --------
    >>> from pysig.sde import activations
    >>> value, residuals = activations.activation_forward([[0.5, 1.0]], "tanh", [-0.5, 0.0])
    >>> activations.activation_backward(residuals, [[1.0, 0.0]])
    ActivationGradients(x=array([[1., 0.]]), bias=array([1., 0.]))
    """
    kind, x, bias = checked(x, name, bias)
    xp = namespace_of(x)
    derivative = xp.empty_like(x)
    value = activate(kind, x, bias, xp.empty_like(x), derivative)
    return value, ActivationResiduals(derivative, bias is not None)


def activation_backward(residuals, grad):
    """
    Return the gradients of `activation` from that of its value.

    Parameters
    ----------
    residuals : ActivationResiduals
        What `activation_forward` has returned.
    grad : array, the shape of the value

    Returns
    -------
    ActivationGradients
        With respect to x and the bias.

    Raises
    ------
    ValueError
        If `grad` has another shape than the value.
    TypeError
        If it has another type.
    """
    derivative, with_bias = residuals
    grad = checked_gradient(grad, derivative.shape, derivative)
    if not with_bias:
        with device_of(grad):
            return ActivationGradients(grad * derivative, None)
    return ActivationGradients(*activate_backward(derivative, grad))


def checked(x, name, bias):
    """Return the number of the function, and the arrays, checked."""
    namespace(x=x, bias=bias)
    kind = kind_of(name, "name")
    x = real_array(x, "x")
    if bias is not None:
        bias = real_array(bias, "bias", x.dtype)
        if not x.ndim or bias.shape != x.shape[-1:]:
            raise ValueError(f"bias must have the shape {x.shape[-1:]}, not {bias.shape}")
    return kind, x, bias


def kind_of(name, argument):
    """Return the number of an activation function."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{argument} must be one of {ACTIVATIONS}, not {name!r}")
    return ACTIVATIONS.index(name)


def checked_gradient(grad, shape, like):
    """Return the gradient of a value of this shape, and of the type and library of `like`."""
    namespace(grad=grad, residuals=like)
    grad = real_array(grad, "grad", like.dtype)
    if grad.shape != shape:
        raise ValueError(f"grad must have the shape {shape} of the value, not {grad.shape}")
    return grad


# Adding it changes no number, not even -0.
NO_BIAS = {dtype: np.array([-0.0], dtype) for dtype in (np.dtype(np.float32), FLOAT64)}


def activate(kind, x, bias, value, derivative=None):
    """Write the activation of checked arrays into `value`, which may be x, and its derivative."""
    is_double = x.dtype == FLOAT64
    if isinstance(x, np.ndarray):
        bias = NO_BIAS[x.dtype] if bias is None else bias
        kernels.forward(is_double, kind, x, bias, value, derivative)
        return value
    with x.device:
        bias = namespace_of(x).full(1, -0.0, x.dtype) if bias is None else bias
        cuda_kernel(kernels).forward(is_double, kind, x, bias, value, derivative)
    return value


def activate_backward(derivative, grad):
    """Return the gradients of x and of the bias."""
    xp, columns = namespace_of(grad), grad.shape[-1]
    with device_of(grad):
        out, sums = xp.empty_like(grad), xp.empty(columns, grad.dtype)
        backend = kernels if xp is np else cuda_kernel(kernels)
        backend.backward(grad.dtype == FLOAT64, grad, derivative, out, sums)
    return out, sums


def rows_of(array):
    """Return a view of an array of shape (..., channels) as (rows, channels)."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])
