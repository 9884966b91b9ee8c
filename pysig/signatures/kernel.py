r"""The signature kernel: inner products of signatures of all depths, and their gradients.

The kernel of two paths is :math:`k(x, y) = \langle S(x), S(y) \rangle`, the sum over all words of
the products of their signatures' coefficients. As a function of the ends of both paths it solves a
Goursat problem (Salvi, Cass, Foster, Lyons and Yang, "The Signature Kernel is the solution of a
Goursat PDE", SIAM Journal on Mathematics of Data Science 3(3), 2021, arXiv:2006.14794),

.. math:: \frac{\partial^2 k}{\partial s \, \partial t} = \langle \dot x_s, \dot y_t \rangle \, k,
    \qquad k(0, t) = k(s, 0) = 1,

here by their finite differences of second order: with :math:`p_{ij} = \langle x_{i+1} - x_i,
y_{j+1} - y_j \rangle`,

.. math:: k_{i+1,j+1} = (k_{i+1,j} + k_{i,j+1}) (1 + p_{ij}/2 + p_{ij}^2/12)
    - k_{ij} (1 - p_{ij}^2/12).

A dyadic order :math:`\lambda` cuts each increment of a path into :math:`2^\lambda` equal ones; if
both paths are refined, the error falls with :math:`4^{-\lambda}`. A static kernel :math:`\kappa`
stands for paths :math:`\kappa(x_i, \cdot)` in its own Hilbert space: then :math:`p_{ij}` is the
second difference of :math:`\kappa(x_i, y_j)`.

The gradients are those of the finite differences, not of the equation: exact for any order. They
are computed from the grid of the :math:`k_{ij}`, of which the edges of blocks are kept and the rest
is computed again.
"""

import math
import numbers
from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    check_residuals,
    cuda_kernel,
    device_of,
    empty,
    grad_array,
    integer,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig._core.signatures import kernel as cpu_kernel

__all__ = [
    "SignatureGramResiduals",
    "SignatureKernelGradients",
    "SignatureKernelResiduals",
    "signature_gram",
    "signature_gram_backward",
    "signature_gram_forward",
    "signature_kernel",
    "signature_kernel_backward",
    "signature_kernel_forward",
]

LARGEST_ORDER = 16
SMALLEST_SIGMA = 1e-37  # its inverse is finite in float32


class SignatureKernelResiduals(NamedTuple):
    """What `signature_kernel_backward` needs: the inputs and options of the forward."""

    x: Array
    y: Array
    dyadic_order: tuple[int, int]
    static_kernel: str
    sigma: float | None


class SignatureGramResiduals(NamedTuple):
    """What `signature_gram_backward` needs: the inputs and options of the forward."""

    x: Array
    y: Array  # or None
    dyadic_order: tuple[int, int]
    static_kernel: str
    sigma: float | None


class SignatureKernelGradients(NamedTuple):
    """The gradients with respect to both batches of paths; None for one that was not given."""

    x: Array
    y: Array  # or None


def signature_kernel(x, y, *, dyadic_order=0, static_kernel="linear", sigma=None):
    r"""
    Compute the signature kernels of pairs of paths.

    Parameters
    ----------
    x : array_like, shape (..., x_length, channels)
        Points of one path, or of many along any leading axes. float32 and float64 are computed in
        their own type; integers and bools become float64.
    y : array_like, shape (..., y_length, channels)
        The other paths, of the same type; the leading axes are broadcast against those of `x`.
    dyadic_order : int or pair of int
        Cut each increment into 2\ :sup:`order` equal ones, from 0 to 16. A pair gives the orders
        for `x` and for `y`.
    static_kernel : {"linear", "rbf"}
        The kernel of two points: ⟨x, y⟩, or exp(-\|x - y\|²/σ).
    sigma : float, optional
        σ > 0 of "rbf", which needs it; "linear" has none.

    Returns
    -------
    ndarray, shape (...), or a NumPy scalar if it has no axes
        The kernels. That of a path of a single point with any other path is 1.

    Raises
    ------
    ValueError
        If a shape does not fit, or an option is not among those above.
    TypeError
        If an argument has the wrong type; `y` must have the floating-point type of `x`. If NumPy
        and CuPy arrays are mixed.

    See Also
    --------
    signature_kernel_forward, signature_kernel_backward : the same with gradients.
    signature_gram : the kernels of all pairs of two batches, faster than by broadcasting.

    Notes
    -----
    Memory: beside the result, each thread keeps as many pairs of paths as fit a vector register,
    and a row of the refined grid for each. NaN and infinity spread within their own pairs.

    Examples
    --------
    Two steps of length 1 in the same direction: the modified Bessel function I₀(2) = Σ 1/k!².

    >>> import pysig
    >>> step = [[0.0], [1.0]]
    >>> for order in (0, 3, 6):
    ...     print(f"{pysig.signature_kernel(step, step, dyadic_order=order):.6f}")
    2.250000
    2.280023
    2.279594
    """
    return evaluate_kernel(check_kernel(x, y, dyadic_order, static_kernel, sigma))


def signature_kernel_forward(x, y, *, dyadic_order=0, static_kernel="linear", sigma=None):
    """
    Compute the signature kernels of pairs of paths, and what their gradient needs.

    The parameters are those of `signature_kernel`.

    Returns
    -------
    kernel : ndarray, or a NumPy scalar if it has no axes
        As `signature_kernel` returns it.
    residuals : SignatureKernelResiduals
        For `signature_kernel_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.signature_kernel_forward([[0.0], [1.0]], [[0.0], [3.0]])
    >>> print(value)
    6.25
    >>> gradients = pysig.signature_kernel_backward(residuals, 1.0)
    >>> gradients.x
    array([[-7.5],
           [ 7.5]])
    """
    residuals = check_kernel(x, y, dyadic_order, static_kernel, sigma)
    return evaluate_kernel(residuals), residuals


def signature_kernel_backward(residuals, grad):
    """
    Compute the gradients of `signature_kernel`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureKernelResiduals
        As `signature_kernel_forward` returned it.
    grad : array_like, shape (...)
        Gradient with respect to the kernels, of their shape and type.

    Returns
    -------
    SignatureKernelGradients
        x, y : ndarrays of the shapes of `x` and `y`.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the kernels.
    TypeError
        If `grad` has not the type of the kernels, or `residuals` is something else.

    Notes
    -----
    Memory: beside gradients for all pairs (before those of a path that was broadcast are added),
    each thread keeps as many pairs of paths as fit a vector register, and some 3 (mn)^(3/4) numbers
    of each, where m and n are the numbers of steps after refinement.

    Examples
    --------
    See `signature_kernel_forward`.
    """
    check_residuals(residuals, SignatureKernelResiduals)
    x, y, *options = residuals
    namespace(x=x, grad=grad)
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    grad = grad_array(grad, batch, x.dtype, "the kernels")
    x_shape, y_shape = (*batch, *x.shape[-2:]), (*batch, *y.shape[-2:])
    xp, kernel = library(x)
    if not grad.size:
        return SignatureKernelGradients(xp.zeros(x.shape, x.dtype), xp.zeros(y.shape, y.dtype))
    with device_of(x):
        pairs = pair_indices(xp, x, y, batch)
        x_gradient, y_gradient = kernel.backward(
            grad, as_batch(x), as_batch(y), pairs, False, *kernel_options(*options)
        )
        x_gradient = sum_to_shape(x_gradient.reshape(x_shape), x.shape)
        y_gradient = sum_to_shape(y_gradient.reshape(y_shape), y.shape)
    return SignatureKernelGradients(x_gradient, y_gradient)


def signature_gram(x, y=None, *, dyadic_order=0, static_kernel="linear", sigma=None):
    r"""
    Compute the signature kernels of all pairs of two batches of paths.

    Parameters
    ----------
    x : array_like, shape (..., x_length, channels)
        Paths along any leading axes. float32 and float64 are computed in their own type; integers
        and bools become float64.
    y : array_like, shape (..., y_length, channels), optional
        The other paths, of the same type, along leading axes of their own; by default those of `x`.
        Then each pair is computed once, unless the dyadic orders differ.
    dyadic_order : int or pair of int
        Cut each increment into 2\ :sup:`order` equal ones, from 0 to 16. A pair gives the orders
        for `x` and for `y`.
    static_kernel : {"linear", "rbf"}
        The kernel of two points: ⟨x, y⟩, or exp(-\|x - y\|²/σ).
    sigma : float, optional
        σ > 0 of "rbf", which needs it; "linear" has none.

    Returns
    -------
    ndarray, shape (leading axes of x, leading axes of y), or a NumPy scalar if it has no axes
        The kernels.

    Raises
    ------
    ValueError
        If a shape does not fit, or an option is not among those above.
    TypeError
        If an argument has the wrong type; `y` must have the floating-point type of `x`. If NumPy
        and CuPy arrays are mixed.

    See Also
    --------
    signature_gram_forward, signature_gram_backward : the same with gradients.
    signature_kernel : the kernels of pairs.

    Notes
    -----
    Memory: beside the result, each thread keeps a path `x`, as many paths `y` as fit a vector
    register, and a row of the refined grid for each. NaN and infinity spread within their own
    pairs.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> steps = np.random.default_rng(0).normal(size=(8, 100, 3)) / 10
    >>> gram = pysig.signature_gram(steps.cumsum(axis=-2))
    >>> gram.shape
    (8, 8)
    >>> print(np.linalg.eigvalsh(gram).min() > 0)
    True
    """
    return evaluate_gram(check_gram(x, y, dyadic_order, static_kernel, sigma))


def signature_gram_forward(x, y=None, *, dyadic_order=0, static_kernel="linear", sigma=None):
    """
    Compute the signature kernels of all pairs of two batches, and what their gradient needs.

    The parameters are those of `signature_gram`.

    Returns
    -------
    gram : ndarray, or a NumPy scalar if it has no axes
        As `signature_gram` returns it.
    residuals : SignatureGramResiduals
        For `signature_gram_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> gram, residuals = pysig.signature_gram_forward([[[0.0], [1.0]], [[0.0], [3.0]]])
    >>> gram
    array([[ 2.25,  6.25],
           [ 6.25, 30.25]])
    >>> pysig.signature_gram_backward(residuals, [[0.0, 1.0], [0.0, 0.0]]).x
    array([[[-7.5],
            [ 7.5]],
    <BLANKLINE>
           [[-2.5],
            [ 2.5]]])
    """
    residuals = check_gram(x, y, dyadic_order, static_kernel, sigma)
    return evaluate_gram(residuals), residuals


def signature_gram_backward(residuals, grad):
    """
    Compute the gradients of `signature_gram`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureGramResiduals
        As `signature_gram_forward` returned it.
    grad : array_like, shape (leading axes of x, leading axes of y)
        Gradient with respect to the kernels, of their shape and type.

    Returns
    -------
    SignatureKernelGradients
        x, y : ndarrays of the shapes of `x` and `y`; y is None if it was not given, and x then has
        the gradients of both sides.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the kernels.
    TypeError
        If `grad` has not the type of the kernels, or `residuals` is something else.

    Notes
    -----
    Memory: beside at most 16 arrays of the size of the smaller batch, each thread keeps as many
    pairs of paths as fit a vector register, and some 3 (mn)^(3/4) numbers of each, where m and n
    are the numbers of steps after refinement.

    Examples
    --------
    See `signature_gram_forward`.
    """
    check_residuals(residuals, SignatureGramResiduals)
    x, y, *options = residuals
    other, symmetric = gram_sides(residuals)
    namespace(x=x, grad=grad)
    grad = grad_array(grad, (*x.shape[:-2], *other.shape[:-2]), x.dtype, "the kernels")
    xp, kernel = library(x)
    if not grad.size:
        zeros = None if y is None else xp.zeros(y.shape, y.dtype)
        return SignatureKernelGradients(xp.zeros(x.shape, x.dtype), zeros)
    with device_of(x):
        x_gradient, y_gradient = kernel.backward(
            grad, as_batch(x), as_batch(other), None, symmetric, *kernel_options(*options)
        )
        x_gradient = x_gradient.reshape(x.shape)
        if y_gradient is not None:
            y_gradient = y_gradient.reshape(other.shape)
        if y is None and y_gradient is not None:
            x_gradient, y_gradient = x_gradient + y_gradient, None
    return SignatureKernelGradients(x_gradient, y_gradient)


# ------------------------------------------------------------------------------------- arguments


def check_kernel(x, y, dyadic_order, static_kernel, sigma):
    """Check all arguments of `signature_kernel`, and return them with arrays converted."""
    x, y = check_paths(x, y)
    try:
        np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ValueError(
            "the leading axes of x and y must broadcast against each other, but the shapes are "
            f"{x.shape} and {y.shape}"
        ) from None
    orders = check_orders(dyadic_order)
    return SignatureKernelResiduals(x, y, orders, *check_static_kernel(static_kernel, sigma))


def check_gram(x, y, dyadic_order, static_kernel, sigma):
    """Check all arguments of `signature_gram`, and return them with arrays converted."""
    if y is None:
        x = check_path(real_array(x, "x"), "x")
    else:
        x, y = check_paths(x, y)
    orders = check_orders(dyadic_order)
    return SignatureGramResiduals(x, y, orders, *check_static_kernel(static_kernel, sigma))


def check_paths(x, y):
    """Return both batches of paths as arrays of one type."""
    namespace(x=x, y=y)
    x = check_path(real_array(x, "x"), "x")
    y = check_path(real_array(y, "y", x.dtype), "y")
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"x and y must have the same number of channels, not {x.shape[-1]} and {y.shape[-1]}"
        )
    return x, y


def check_path(path, name):
    """Return `path`, or raise ValueError if it has no points or no channels."""
    if path.ndim < 2 or path.shape[-2] == 0 or path.shape[-1] == 0:
        raise ValueError(
            f"{name} must have the shape (..., length, channels), with at least one point and one "
            f"channel, not {path.shape}"
        )
    return path


def check_orders(dyadic_order):
    """Return the dyadic orders for x and y."""
    if isinstance(dyadic_order, (tuple, list)):
        if len(dyadic_order) != 2:
            raise ValueError(
                f"dyadic_order must be an integer or a pair of them, not {dyadic_order!r}"
            )
        orders = dyadic_order
    else:
        orders = (dyadic_order, dyadic_order)
    first, second = (integer(order, "dyadic_order", 0, LARGEST_ORDER) for order in orders)
    return first, second


def check_static_kernel(static_kernel, sigma):
    """Return the name of the static kernel, and its scale as a float or None."""
    if static_kernel not in ("linear", "rbf"):
        raise ValueError(f"static_kernel must be 'linear' or 'rbf', not {static_kernel!r}")
    if static_kernel == "linear":
        if sigma is not None:
            raise ValueError(f"sigma must be None for the linear kernel, not {sigma!r}")
        return static_kernel, None
    if sigma is None:
        raise ValueError("sigma must be given for the static kernel 'rbf'")
    if isinstance(sigma, (bool, np.bool_)) or not isinstance(sigma, numbers.Real):
        raise TypeError(f"sigma must be a real number, not {type(sigma).__name__}")
    sigma = float(sigma)
    if not SMALLEST_SIGMA <= sigma < math.inf:
        raise ValueError(
            f"sigma must be positive and finite, at least {SMALLEST_SIGMA:.3g}, not {sigma}"
        )
    return static_kernel, sigma


# ---------------------------------------------------------------------------------------- kernels


def library(x):
    """Return the array library of `x`, and the module with its kernels."""
    if isinstance(x, np.ndarray):
        return np, cpu_kernel
    return namespace_of(x), cuda_kernel(cpu_kernel)


def as_batch(paths):
    """Return paths as (paths, length, channels)."""
    return paths.reshape(-1, *paths.shape[-2:])


def pair_indices(xp, x, y, batch):
    """Return, for each pair, the indices of its paths among those of x and of y."""

    def indices(shape):
        each = xp.arange(math.prod(shape), dtype=np.intp).reshape(shape)
        return xp.ascontiguousarray(xp.broadcast_to(each, batch)).ravel()

    return indices(x.shape[:-2]), indices(y.shape[:-2])


def gram_sides(residuals):
    """Return what the second side of a Gram matrix is, and whether it is symmetric."""
    x, y, (x_order, y_order), *_ = residuals
    return (x, x_order == y_order) if y is None else (y, False)


def kernel_options(dyadic_order, static_kernel, sigma):
    """Return what the kernels take after the arrays."""
    return (static_kernel, sigma or 1.0), dyadic_order


def evaluate_kernel(residuals):
    """Return the kernels of pairs."""
    x, y, *options = residuals
    xp, kernel = library(x)
    with device_of(x):
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        value = empty(xp, batch, x.dtype, "the kernels")
        if value.size:
            pairs = pair_indices(xp, x, y, batch)
            kernel.forward(value, as_batch(x), as_batch(y), pairs, False, *kernel_options(*options))
    return value[()]


def evaluate_gram(residuals):
    """Return the kernels of all pairs."""
    x, _, *options = residuals
    other, symmetric = gram_sides(residuals)
    xp, kernel = library(x)
    with device_of(x):
        shape = (*x.shape[:-2], *other.shape[:-2])
        value = empty(xp, shape, x.dtype, "the kernels")
        if value.size:
            kernel.forward(
                value, as_batch(x), as_batch(other), None, symmetric, *kernel_options(*options)
            )
    return value[()]
