r"""Exponential and logarithm in the truncated tensor algebra, and their gradients.

For a tensor x without scalar term, that is one whose coefficient of the empty word is 0, and words
of at most `depth` letters,

.. math:: \exp(x) = \sum_{n=0}^{N} \frac{x^{\otimes n}}{n!}, \qquad
          \log(1 + x) = \sum_{n=1}^{N} \frac{(-1)^{n+1}}{n} x^{\otimes n},

each the inverse of the other. A tensor has the layout of a signature. Both series are evaluated by
Horner's rule, which takes a product with x for every power; a product that is needed up to the
length k only costs about :math:`(k - 1) d^k` multiplications and additions for d channels, so that
the first of them, with the longest words, is most of the work. The gradient evaluates the series
again and walks back through its products.
"""

import sys
from typing import NamedTuple

from pysig._core.array import (
    Array,
    boolean,
    check_residuals,
    dispatch,
    empty,
    integer,
    namespace,
    real_array,
)
from pysig._core.signatures import exponential as cpu_kernel
from pysig._core.signatures.lyndon import kernel_basis
from pysig.signatures.signature import LARGEST_DEPTH, count_words

__all__ = [
    "TensorExpResiduals",
    "TensorLogResiduals",
    "tensor_exp",
    "tensor_exp_backward",
    "tensor_exp_forward",
    "tensor_log",
    "tensor_log_backward",
    "tensor_log_forward",
]


class TensorExpResiduals(NamedTuple):
    """What `tensor_exp_backward` needs: the argument and options of `tensor_exp_forward`."""

    tensor: Array
    channels: int
    depth: int
    scalar_term: bool


class TensorLogResiduals(NamedTuple):
    """What `tensor_log_backward` needs: the argument and options of `tensor_log_forward`."""

    tensor: Array
    channels: int
    depth: int
    scalar_term: bool


def tensor_exp(tensor, channels, depth, *, scalar_term=False):
    """
    Compute the exponential of tensors.

    Parameters
    ----------
    tensor : array_like, shape (..., signature_channels)
        Coefficients of the words, in the order of a signature; that of the empty word, with
        `scalar_term`, is taken to be 0. float32 and float64 are computed in their own type;
        integers and bools become float64.
    channels : int
        Number of letters, at least 1.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front: in the result it is 1.

    Returns
    -------
    ndarray, shape (..., signature_channels)

    Raises
    ------
    ValueError
        If a size is out of range, or the last axis of `tensor` does not fit.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    tensor_log : the inverse.
    tensor_exp_forward, tensor_exp_backward : the same with gradients.

    Notes
    -----
    NaN and infinity spread within their own tensor, and nowhere else. Memory: beside the result,
    each thread needs less than 1 MiB, or, where a tensor is larger than that, room for some eight
    tensors.

    Examples
    --------
    The exponential of a vector is the signature of a straight line:

    >>> import pysig
    >>> pysig.tensor_exp([2.0, 3.0, 0.0, 0.0, 0.0, 0.0], channels=2, depth=2)
    array([2. , 3. , 2. , 3. , 3. , 4.5])
    """
    return tensor_exp_forward(tensor, channels, depth, scalar_term=scalar_term)[0]


def tensor_exp_forward(tensor, channels, depth, *, scalar_term=False):
    """
    Compute the exponential of tensors, and what its gradient needs.

    The parameters are those of `tensor_exp`.

    Returns
    -------
    exponential : ndarray
        As `tensor_exp` returns it.
    residuals : TensorExpResiduals
        For `tensor_exp_backward`. It refers to the array given, which must not change meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.tensor_exp_forward([3.0, 0.0], channels=1, depth=2)
    >>> value
    array([3. , 4.5])
    >>> pysig.tensor_exp_backward(residuals, [0.0, 1.0])
    array([3., 1.])
    """
    residuals = TensorExpResiduals(*check(tensor, channels, depth, scalar_term))
    tensor, channels, depth, scalar_term = residuals
    value = evaluate(
        tensor,
        channels,
        depth,
        logarithm=False,
        size=tensor.shape[-1],
        scalar=1 if scalar_term else None,
    )
    return value, residuals


def tensor_exp_backward(residuals, grad):
    """
    Compute the gradient of `tensor_exp`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : TensorExpResiduals
        As `tensor_exp_forward` returned it.
    grad : array_like
        Gradient with respect to the exponential, of its shape and type.

    Returns
    -------
    ndarray
        Gradient with respect to `tensor`, of its shape and type; zero for the scalar term.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the exponential.
    TypeError
        If `grad` has not the type of the exponential, or `residuals` is something else.

    Examples
    --------
    See `tensor_exp_forward`.
    """
    check_residuals(residuals, TensorExpResiduals)
    tensor, channels, depth, scalar_term = residuals
    size = tensor.shape[-1]
    return evaluate_gradient(
        tensor, channels, depth, grad, logarithm=False, size=size, has_scalar=scalar_term
    )


def tensor_log(tensor, channels, depth, *, scalar_term=False):
    """
    Compute the logarithm of tensors.

    Parameters
    ----------
    tensor : array_like, shape (..., signature_channels)
        Coefficients of the words, in the order of a signature; that of the empty word, with
        `scalar_term`, is taken to be 1. float32 and float64 are computed in their own type;
        integers and bools become float64.
    channels : int
        Number of letters, at least 1.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front: in the result it is 0.

    Returns
    -------
    ndarray, shape (..., signature_channels)

    Raises
    ------
    ValueError
        If a size is out of range, or the last axis of `tensor` does not fit.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    tensor_exp : the inverse.
    logsignature : the logarithm of a path's signature, from the path.
    signature_to_logsignature : the same for signatures, with other bases of the result.
    tensor_log_forward, tensor_log_backward : the same with gradients.

    Notes
    -----
    NaN, infinity and memory are as for `tensor_exp`.

    Examples
    --------
    The logarithm of the signature of a straight line is its direction:

    >>> import pysig
    >>> line = pysig.signature([[0.0, 0.0], [2.0, 3.0]], depth=2)
    >>> pysig.tensor_log(line, channels=2, depth=2)
    array([2., 3., 0., 0., 0., 0.])
    """
    return tensor_log_forward(tensor, channels, depth, scalar_term=scalar_term)[0]


def tensor_log_forward(tensor, channels, depth, *, scalar_term=False):
    """
    Compute the logarithm of tensors, and what its gradient needs.

    The parameters are those of `tensor_log`.

    Returns
    -------
    logarithm : ndarray
        As `tensor_log` returns it.
    residuals : TensorLogResiduals
        For `tensor_log_backward`. It refers to the array given, which must not change meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.tensor_log_forward([3.0, 4.5], channels=1, depth=2)
    >>> value
    array([3., 0.])
    >>> pysig.tensor_log_backward(residuals, [0.0, 1.0])
    array([-3.,  1.])
    """
    residuals = TensorLogResiduals(*check(tensor, channels, depth, scalar_term))
    tensor, channels, depth, scalar_term = residuals
    value = evaluate(
        tensor,
        channels,
        depth,
        logarithm=True,
        size=tensor.shape[-1],
        scalar=0 if scalar_term else None,
    )
    return value, residuals


def tensor_log_backward(residuals, grad):
    """
    Compute the gradient of `tensor_log`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : TensorLogResiduals
        As `tensor_log_forward` returned it.
    grad : array_like
        Gradient with respect to the logarithm, of its shape and type.

    Returns
    -------
    ndarray
        Gradient with respect to `tensor`, of its shape and type; zero for the scalar term.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the logarithm.
    TypeError
        If `grad` has not the type of the logarithm, or `residuals` is something else.

    Examples
    --------
    See `tensor_log_forward`.
    """
    check_residuals(residuals, TensorLogResiduals)
    tensor, channels, depth, scalar_term = residuals
    size = tensor.shape[-1]
    return evaluate_gradient(
        tensor, channels, depth, grad, logarithm=True, size=size, has_scalar=scalar_term
    )


def check(tensor, channels, depth, scalar_term, name="tensor"):
    """Check all arguments, and return them with the array converted."""
    channels = integer(channels, "channels", 1, sys.maxsize)
    depth = integer(depth, "depth", 1, LARGEST_DEPTH)
    scalar_term = boolean(scalar_term, "scalar_term")
    words = count_words(channels, depth) + scalar_term
    tensor = real_array(tensor, name)
    check_last_axis(tensor, words, name, "signature_channels")
    return tensor, channels, depth, scalar_term


def check_last_axis(array, size, name, what):
    """Raise ValueError unless the last axis has this size."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"{name} must have the shape (..., {what}) with the last axis {size}, not {array.shape}"
        )


def evaluate(tensor, channels, depth, *, logarithm, size, scalar=None, mode="expand"):
    """
    Return the exponential or logarithm of a checked tensor.

    size: of the last axis of the result. scalar: what is put in front there, if anything. mode: of
    the logsignature that is the logarithm's result, or the exponential's argument.
    """
    shape = (*tensor.shape[:-1], size)
    arguments = (tensor, channels, depth, logarithm, shape, scalar, mode)
    return dispatch(tensor, cpu_kernel, evaluate_series, *arguments)


def evaluate_series(xp, kernel, tensor, channels, depth, logarithm, shape, scalar, mode):
    """Do what `evaluate` does, with arrays of the library xp."""
    result = empty(xp, shape, tensor.dtype, "the result")
    if scalar is not None:
        result[..., 0] = scalar
    if result.size:
        rows = as_rows(result, tensor)
        sizes = (len(rows[0]), channels, depth)
        basis = kernel_basis(mode, channels, depth, logarithm)
        kernel.forward(*rows, sizes, logarithm, basis)
    return result


def evaluate_gradient(tensor, channels, depth, grad, *, logarithm, size, has_scalar, mode="expand"):
    """Return the gradient of `evaluate`; has_scalar: whether one is in front of the tensor."""
    namespace(tensor=tensor, grad=grad)
    grad = real_array(grad, "grad", tensor.dtype)
    shape = (*tensor.shape[:-1], size)
    if grad.shape != shape:
        raise ValueError(f"grad must have the shape of the result, {shape}, not {grad.shape}")
    arguments = (tensor, channels, depth, grad, logarithm, has_scalar, mode)
    return dispatch(tensor, cpu_kernel, evaluate_adjoint, *arguments)


def evaluate_adjoint(xp, kernel, tensor, channels, depth, grad, logarithm, has_scalar, mode):
    """Do what `evaluate_gradient` does, with arrays of the library xp."""
    gradient = xp.empty(tensor.shape, tensor.dtype)
    if has_scalar:
        gradient[..., 0] = 0
    if gradient.size:
        rows = as_rows(gradient, grad, tensor)
        sizes = (len(rows[0]), channels, depth)
        basis = kernel_basis(mode, channels, depth, logarithm)
        kernel.backward(*rows, sizes, logarithm, basis)
    return gradient


def as_rows(*arrays):
    """Return the arrays with all axes but the last in one."""
    return [array.reshape(-1, array.shape[-1]) for array in arrays]
