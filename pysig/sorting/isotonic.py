r"""Isotonic regression and the projection onto a permutahedron, and their gradients.

Isotonic regression fits monotonic values v to y. With weights ω and "l2" it minimises
:math:`\sum_i \omega_i (y_i - v_i)^2`; with "kl" :math:`\sum_i \omega_i (e^{y_i - v_i} + v_i)`,
which is the Kullback-Leibler divergence of :math:`e^v` and :math:`e^y`. The solution is constant on
blocks of neighbours: the mean of y, or the logarithm of the mean of :math:`e^y` (so that with "kl",
:math:`e^v` is the isotonic regression of :math:`e^y`, but nothing overflows). Pooling adjacent
violators finds the blocks in time linear in n (Best and Chakravarti, "Active set algorithms for
isotonic regression", 1990).

The permutahedron P(w) is the convex hull of all permutations of w. The projection of z onto it is z
minus an isotonic regression of the difference of z and w, both sorted, put back into the order of
z (Blondel et al., "Fast Differentiable Sorting and Ranking", ICML 2020, arXiv:2002.08871,
proposition 3). Soft sorting and ranking are special cases, which `pysig.soft_sort` and
`pysig.soft_rank` compute faster.
"""

from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    boolean,
    broadcast,
    check_broadcast,
    check_residuals,
    dispatch,
    namespace,
    real_array,
    sum_to_shape,
)
from pysig._core.axis import from_rows, to_rows
from pysig._core.sorting import isotonic as cpu_kernel
from pysig.sorting.soft import check_grad, check_rows, sort_rows

__all__ = [
    "IsotonicGradients",
    "IsotonicResiduals",
    "PermutahedronGradients",
    "PermutahedronResiduals",
    "isotonic_regression",
    "isotonic_regression_backward",
    "isotonic_regression_forward",
    "project_permutahedron",
    "project_permutahedron_backward",
    "project_permutahedron_forward",
]


class IsotonicResiduals(NamedTuple):
    """What `isotonic_regression_backward` needs. The arrays are rows along the axis."""

    y: np.ndarray
    weights: np.ndarray | None
    value: np.ndarray
    starts: np.ndarray  # bool: where blocks begin
    shape: tuple[int, ...]
    weights_shape: tuple[int, ...] | None
    regularization: str
    axis: int


class IsotonicGradients(NamedTuple):
    """The gradients of `isotonic_regression`; None for weights that were not given."""

    y: np.ndarray
    weights: np.ndarray | None


class PermutahedronResiduals(NamedTuple):
    """What `project_permutahedron_backward` needs. The arrays are rows along the axis."""

    z_order: np.ndarray  # int32: the permutation that sorts z
    w_order: np.ndarray  # int32: the permutation that sorts w
    starts: np.ndarray  # bool: where blocks begin, in sorted order
    z_shares: np.ndarray | None  # "kl": the softmax of sorted z in each block
    w_shares: np.ndarray | None  # "kl": the softmax of sorted w in each block
    dtype: np.dtype
    shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    axis: int


class PermutahedronGradients(NamedTuple):
    """The gradients of `project_permutahedron`."""

    z: np.ndarray
    w: np.ndarray


def isotonic_regression(y, *, weights=None, regularization="l2", increasing=True, axis=-1):
    """
    Fit monotonic values: isotonic regression.

    Parameters
    ----------
    y : array_like, shape (..., n, ...)
        Finite numbers, to be fitted along one axis. float32 and float64 keep their type; integers
        and bools become float64.
    weights : array_like, shape (..., n, ...), optional
        Positive and finite weights of the entries, broadcast to the shape of `y`; all 1 by default.
    regularization : {"l2", "kl"}
        Whether blocks take the mean of `y`, or the logarithm of the mean of exp(y).
    increasing : bool
        Whether the result increases (does not decrease) along the axis, or decreases.
    axis : int
        The axis to fit along.

    Returns
    -------
    ndarray, of the shape of `y`
        The fitted values. With "l2" those of `scipy.optimize.isotonic_regression`.

    Raises
    ------
    ValueError
        If `y` or `weights` are not finite, weights not positive, or shapes do not fit; if
        `regularization` is none of those above; if `axis` is out of range.
    TypeError
        If an argument has the wrong type; `weights` must have the floating-point type of `y`.

    See Also
    --------
    isotonic_regression_forward, isotonic_regression_backward : the same with gradients.

    Notes
    -----
    Memory: beside the result, each thread needs room for two rows of float64. The result does not
    depend on the number of threads. Rows of CuPy arrays that are not valid become NaN, and so do
    their gradients: nothing can be raised without waiting for the device.

    Examples
    --------
    >>> import pysig
    >>> pysig.isotonic_regression([1.0, 3.0, 2.0, 4.0])
    array([1. , 2.5, 2.5, 4. ])
    >>> pysig.isotonic_regression([1.0, 3.0, 2.0, 4.0], weights=[1, 1, 3, 1], increasing=False)
    array([2.33333333, 2.33333333, 2.33333333, 2.33333333])
    """
    y, rows, axis, weights, _ = check_isotonic(y, weights, regularization, axis)
    options = regularization == "kl", not boolean(increasing, "increasing")
    value, _ = dispatch(y, cpu_kernel, evaluate_regression, rows, weights, options, False)
    return from_rows_on_device(value, y.shape, axis)


def isotonic_regression_forward(y, *, weights=None, regularization="l2", increasing=True, axis=-1):
    """
    Fit monotonic values, and keep what the gradient needs.

    The parameters are those of `isotonic_regression`.

    Returns
    -------
    value : ndarray
        As `isotonic_regression` returns it.
    residuals : IsotonicResiduals
        For `isotonic_regression_backward`. It refers to the arrays given and to the result, which
        must not change meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> value, residuals = pysig.isotonic_regression_forward([1.0, 3.0, 2.0, 4.0])
    >>> pysig.isotonic_regression_backward(residuals, np.array([1.0, 1.0, 0.0, 0.0])).y
    array([1. , 0.5, 0.5, 0. ])
    """
    y, rows, axis, weights, weights_shape = check_isotonic(y, weights, regularization, axis)
    options = regularization == "kl", not boolean(increasing, "increasing")
    value, starts = dispatch(y, cpu_kernel, evaluate_regression, rows, weights, options, True)
    residuals = IsotonicResiduals(
        rows, weights, value, starts, y.shape, weights_shape, regularization, axis
    )
    return from_rows_on_device(value, y.shape, axis), residuals


def isotonic_regression_backward(residuals, grad):
    """
    Compute the gradients of `isotonic_regression`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : IsotonicResiduals
        As `isotonic_regression_forward` returned it.
    grad : array_like
        Gradient with respect to the fitted values, of their shape and type.

    Returns
    -------
    IsotonicGradients
        y : ndarray of the shape of `y`. weights : ndarray of the shape given, or None.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the fitted values.
    TypeError
        If `grad` has not their type, or `residuals` is something else.

    Examples
    --------
    See `isotonic_regression_forward`.
    """
    check_residuals(residuals, IsotonicResiduals)
    y, shape, axis = residuals.y, residuals.shape, residuals.axis
    grad, rows = check_grad(grad, shape, y.dtype, axis, "the fitted values", y)
    return dispatch(grad, cpu_kernel, evaluate_regression_gradients, residuals, rows)


def project_permutahedron(z, w, *, regularization="l2", axis=-1):
    """
    Project onto the permutahedron of a vector, the convex hull of its permutations.

    Parameters
    ----------
    z : array_like, shape (..., n, ...)
        What to project, along one axis; finite numbers. float32 and float64 keep their type;
        integers and bools become float64.
    w : array_like, shape (..., n, ...)
        The vectors whose permutations are the corners, in any order; broadcast to the shape of `z`.
        Finite, but for "kl" entries of minus infinity, of which each vector may have some.
    regularization : {"l2", "kl"}
        With "l2" the result is the nearest point. With "kl" it is the logarithm of the point of the
        permutahedron of exp(w) that is nearest to exp(z) in the Kullback-Leibler divergence.
    axis : int
        The axis of the vectors, counted in `z`.

    Returns
    -------
    ndarray, of the shape of `z`
        The projection; it has the sum of `w` along the axis (with "kl", its exponential has that of
        exp(w)), and the order of `z`.

    Raises
    ------
    ValueError
        If an array has NaN or infinite entries other than those above, or does not fit; if
        `regularization` is none of those above; if `axis` is out of range.
    TypeError
        If an argument has the wrong type; `w` must have the floating-point type of `z`.

    See Also
    --------
    project_permutahedron_forward, project_permutahedron_backward : the same with gradients.
    soft_sort, soft_rank : the projections for sorting and ranking.

    Notes
    -----
    Memory: beside the result, five arrays of the size of `z`. The result does not depend on the
    number of threads. Rows of CuPy arrays that are not valid become NaN, and so do their gradients:
    nothing can be raised without waiting for the device.

    Examples
    --------
    Of three weights, two at most are 1:

    >>> import pysig
    >>> pysig.project_permutahedron([3.0, 0.5, 1.0], [1.0, 1.0, 0.0])
    array([1.  , 0.25, 0.75])
    """
    value, _ = run_projection(z, w, regularization, axis, False)
    return value


def project_permutahedron_forward(z, w, *, regularization="l2", axis=-1):
    """
    Project onto the permutahedron of a vector, and keep what the gradient needs.

    The parameters are those of `project_permutahedron`.

    Returns
    -------
    value : ndarray
        As `project_permutahedron` returns it.
    residuals : PermutahedronResiduals
        For `project_permutahedron_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> value, residuals = pysig.project_permutahedron_forward([3.0, 0.5, 1.0], [1.0, 1.0, 0.0])
    >>> gradients = pysig.project_permutahedron_backward(residuals, np.array([0.0, 1.0, 0.0]))
    >>> gradients.z
    array([ 0. ,  0.5, -0.5])
    >>> gradients.w
    array([0.5, 0. , 0.5])
    """
    return run_projection(z, w, regularization, axis, True)


def project_permutahedron_backward(residuals, grad):
    """
    Compute the gradients of `project_permutahedron`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : PermutahedronResiduals
        As `project_permutahedron_forward` returned it.
    grad : array_like
        Gradient with respect to the projection, of its shape and type.

    Returns
    -------
    PermutahedronGradients
        z : ndarray of the shape of `z`. w : ndarray of the shape in which `w` was given.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the projection.
    TypeError
        If `grad` has not its type, or `residuals` is something else.

    Examples
    --------
    See `project_permutahedron_forward`.
    """
    check_residuals(residuals, PermutahedronResiduals)
    shape, dtype, axis = residuals.shape, residuals.dtype, residuals.axis
    grad, rows = check_grad(grad, shape, dtype, axis, "the projection", residuals.starts)
    return dispatch(grad, cpu_kernel, evaluate_projection_gradients, residuals, rows)


def check_regularization(regularization):
    """Raise ValueError unless the regularisation is known."""
    if regularization not in ("l2", "kl"):
        raise ValueError(f'regularization must be "l2" or "kl", not {regularization!r}')


def check_isotonic(y, weights, regularization, axis):
    """Return `y` as an array and as rows, the axis, the weights as rows, and their shape."""
    check_regularization(regularization)
    namespace(y=y, weights=weights)
    y, rows, axis = check_rows(y, axis, "y")
    is_host = isinstance(y, np.ndarray)
    if is_host and not np.isfinite(rows).all():
        raise ValueError("y must be finite")
    if weights is None:
        return y, rows, axis, None, None
    weights = real_array(weights, "weights", y.dtype)
    if is_host and not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError("weights must be positive and finite")
    check_broadcast(weights, y.shape, "weights", "the shape of y")
    return y, rows, axis, broadcast_rows(weights, y.shape, axis), weights.shape


def broadcast_rows(array, shape, axis):
    """Return an array broadcast to a shape, as rows."""
    if isinstance(array, np.ndarray):
        return to_rows(broadcast(array, shape), axis)
    with array.device:
        return to_rows(broadcast(array, shape), axis)


def from_rows_on_device(rows, shape, axis):
    """Return rows as an array of `shape`."""
    if isinstance(rows, np.ndarray):
        return from_rows(rows, shape, axis)
    with rows.device:
        return from_rows(rows, shape, axis)


def evaluate_regression(xp, kernel, rows, weights, options, with_starts):
    """Return the fitted rows, and where blocks begin or None."""
    value = xp.empty_like(rows)
    starts = xp.empty(rows.shape, np.bool_) if with_starts else None
    if rows.size:
        kernel.isotonic(value, starts, rows, weights, *options)
    return value, starts


def evaluate_regression_gradients(xp, kernel, residuals, grad):
    """Return the gradients of a regression; `grad` as rows."""
    y, weights, value, starts, shape, weights_shape, regularization, axis = residuals
    y_gradient = xp.empty_like(grad)
    weights_gradient = None if weights is None else xp.empty_like(grad)
    if grad.size:
        is_kl = regularization == "kl"
        kernel.isotonic_backward(
            y_gradient, weights_gradient, grad, value, starts, y, weights, is_kl
        )
    if weights_gradient is not None:
        weights_gradient = sum_to_shape(from_rows(weights_gradient, shape, axis), weights_shape)
    return IsotonicGradients(from_rows(y_gradient, shape, axis), weights_gradient)


def run_projection(z, w, regularization, axis, with_residuals):
    """Return the projection, and the residuals or None."""
    check_regularization(regularization)
    is_kl = regularization == "kl"
    namespace(z=z, w=w)
    z, rows, axis = check_rows(z, axis, "z")
    w = real_array(w, "w", z.dtype)
    is_host = isinstance(z, np.ndarray)
    if is_host and not np.isfinite(rows).all():
        raise ValueError("z must be finite")
    check_broadcast(w, z.shape, "w", "the shape of z")
    w_rows = broadcast_rows(w, z.shape, axis)
    if is_host and not np.isfinite(w_rows).all():
        check_infinite_corners(w_rows, is_kl)
    value, arrays = dispatch(
        z, cpu_kernel, evaluate_projection, rows, w_rows, is_kl, with_residuals
    )
    value = from_rows_on_device(value, z.shape, axis)
    if not with_residuals:
        return value, None
    residuals = PermutahedronResiduals(
        *arrays, dtype=z.dtype, shape=z.shape, w_shape=w.shape, axis=axis
    )
    return value, residuals


def evaluate_projection(xp, kernel, z, w, is_kl, with_residuals) -> Any:
    """Return the projected rows, and the arrays of the residuals."""
    value = xp.empty_like(z)
    z_order, w_order = xp.empty(z.shape, np.int32), xp.empty(z.shape, np.int32)
    starts = z_shares = w_shares = None
    if with_residuals:
        starts = xp.empty(z.shape, np.bool_)
        z_shares, w_shares = (xp.empty_like(z), xp.empty_like(z)) if is_kl else (None, None)
    arrays = z_order, w_order, starts, z_shares, w_shares
    if z.size:
        project = project_on_cpu if xp is np else kernel.project
        project(value, *arrays, z, w, is_kl)
    return value, arrays


def project_on_cpu(value, z_order, w_order, starts, z_shares, w_shares, z, w, is_kl):
    """Write the projection of rows, their permutations, and what else the gradient needs."""
    sorted_z, sorted_w = sort_rows(z, z_order), sort_rows(w, w_order)
    sorted_value = np.empty_like(z)
    cpu_kernel.project(sorted_value, starts, z_shares, w_shares, sorted_z, sorted_w, is_kl)
    np.put_along_axis(value, z_order, sorted_value, -1)


def evaluate_projection_gradients(xp, kernel, residuals, grad):
    """Return the gradients of a projection; `grad` as rows."""
    arrays, (shape, w_shape, axis) = residuals[:5], residuals[6:]
    of_z, of_w = xp.empty_like(grad), xp.empty_like(grad)
    if grad.size:
        backward = project_backward_on_cpu if xp is np else kernel.project_backward
        backward(of_z, of_w, grad, *arrays)
    of_w = sum_to_shape(from_rows(of_w, shape, axis), w_shape)
    return PermutahedronGradients(from_rows(of_z, shape, axis), of_w)


def project_backward_on_cpu(of_z, of_w, grad, z_order, w_order, starts, z_shares, w_shares):
    """Write the gradients of the projection of rows."""
    sorted_grad = np.take_along_axis(grad, z_order, -1)
    sorted_z, sorted_w = np.empty_like(grad), np.empty_like(grad)
    cpu_kernel.project_backward(sorted_z, sorted_w, sorted_grad, starts, z_shares, w_shares)
    np.put_along_axis(of_z, z_order, sorted_z, -1)
    np.put_along_axis(of_w, w_order, sorted_w, -1)


def check_infinite_corners(w, is_kl):
    """Raise ValueError unless infinite entries are those that "kl" allows."""
    if not is_kl:
        raise ValueError("w must be finite")
    if not (w < np.inf).all() or (w.max(-1) == -np.inf).any():
        raise ValueError("w must be less than infinity, and each vector must have a finite entry")
