r"""Soft sorting and soft ranking, and their gradients.

Sorting and ranking are projections onto permutahedra, the convex hulls :math:`P(w)` of all
permutations of a vector :math:`w`; a regularisation makes them differentiable (Blondel, Teboul,
Berthet and Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020, arXiv:2002.08871). With
:math:`\rho = (n, \dots, 1)`, the strength :math:`\varepsilon`, and the projection :math:`P_Q` in
the Euclidean distance ("l2"), in descending order

.. math::

    \mathrm{sort}_\varepsilon(x) = P_Q(\rho / \varepsilon, x), \qquad
    \mathrm{rank}_\varepsilon(x) = P_Q(-x / \varepsilon, \rho),

and with the Kullback-Leibler divergence ("kl"), :math:`P_E(z, w)` being the logarithm of the
projection of :math:`e^z` onto :math:`P(e^w)`,

.. math::

    \mathrm{sort}_\varepsilon(x) = P_E(\rho / \varepsilon, x), \qquad
    \mathrm{rank}_\varepsilon(x) = \exp P_E(-x / \varepsilon, \log \rho).

Ascending order is the ascending rank of x, by the sign of x, and minus the descending sort of -x.

The solution is that of an isotonic regression of the sorted entries, in time linear in n: entries
whose neighbours are too close (the rank) or too far apart (the sort) are pooled in blocks. Let B be
a block at the positions i, counted from 1 in ascending order, a the sorted entries, M the mean
over the block and W the sum of its positions. Then in ascending order

==== ========================================= ============================================
..   sort                                      rank
==== ========================================= ============================================
l2   M a + (i - M i) / ε                       (a - M a) / ε + M i
kl   a₁ + (i - i₁) / ε - log (S / G), with     W exp(a / ε) / Σ exp(a / ε)
     S = Σ exp(a₁ - a), G = Σ exp((i₁ - i)/ε)
==== ========================================= ============================================

where a₁ and i₁ belong to the first entry of the block. An entry alone in its block keeps its value
or its rank exactly. The Jacobian has a block for each B; it needs the blocks, and nothing has to
be sorted again for the gradient.
"""

import math
import numbers
from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    boolean,
    check_residuals,
    device_of,
    dispatch,
    grad_array,
    namespace,
    namespace_of,
    real_array,
)
from pysig._core.axis import axis_number, from_rows, moved_shape, reshaped, to_rows
from pysig._core.sorting import soft as cpu_kernel

__all__ = [
    "SoftRankGradients",
    "SoftRankResiduals",
    "SoftSortGradients",
    "SoftSortResiduals",
    "soft_rank",
    "soft_rank_backward",
    "soft_rank_forward",
    "soft_sort",
    "soft_sort_backward",
    "soft_sort_forward",
]

LARGEST_LENGTH = 2**28
SMALLEST_STRENGTH = float(np.finfo(np.float64).tiny)
SIGNS = {"ascending": 1, "descending": -1}


class SoftSortResiduals(NamedTuple):
    """What `soft_sort_backward` needs. The arrays have the axis that was sorted last."""

    order: np.ndarray  # int32: the permutation that sorts, as np.argsort gives it
    starts: np.ndarray  # bool: where blocks begin, in sorted order
    weights: np.ndarray | None  # "kl": the derivative of the block's values by each sorted entry
    dtype: np.dtype  # of the result
    regularization: str
    regularization_strength: float
    axis: int
    direction: str


class SoftRankResiduals(NamedTuple):
    """What `soft_rank_backward` needs. The arrays have the axis that was ranked last."""

    ranks: np.ndarray  # the result
    blocks: np.ndarray  # int32, the number of each entry's block, ascending
    order: np.ndarray | None  # CuPy: int32, the permutation that sorts
    regularization: str
    regularization_strength: float
    axis: int
    direction: str


class SoftSortGradients(NamedTuple):
    """The gradients of `soft_sort`."""

    x: np.ndarray
    regularization_strength: float  # CuPy: an array without axes


class SoftRankGradients(NamedTuple):
    """The gradients of `soft_rank`."""

    x: np.ndarray
    regularization_strength: float  # CuPy: an array without axes


def soft_sort(
    x, *, regularization="l2", regularization_strength=1.0, axis=-1, direction="ascending"
):
    """
    Sort softly: a differentiable relaxation of sorting.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Numbers to sort along one axis, all of them finite. float32 and float64 keep their type;
        integers and bools become float64.
    regularization : {"l2", "kl"}
        The distance of the projection. "l2" preserves the sum; "kl" is smoother inside a block.
    regularization_strength : float
        ε > 0. Sorted neighbours less than 1/ε apart are not changed: as ε → 0 the result becomes
        the sorted array, and is exactly that from some ε on. As ε → ∞ all values become the mean
        ("l2"), or -log(mean(exp(-x))) in ascending order ("kl").
    axis : int
        The axis to sort along.
    direction : {"ascending", "descending"}
        The order of the result. With "l2", descending is ascending reversed. With "kl" it is not:
        ascending is minus the descending result for -x.

    Returns
    -------
    ndarray, of the shape of `x`
        The sorted values, monotonic along the axis.

    Raises
    ------
    ValueError
        If `x` has NaN or infinite entries, no axis, or more than 2**28 entries along it; if
        `regularization` or `direction` is none of those above; if the strength is not positive
        (at least 2.3e-308) and finite; if `axis` is out of range.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    soft_sort_forward, soft_sort_backward : the same with gradients.

    Notes
    -----
    An axis of length 0 gives an empty result, one of length 1 a copy. Of CuPy arrays, which cannot
    be looked at without waiting for the device, rows with NaN or infinite entries become NaN, and
    so do their gradients. Time: that of `numpy.sort`
    and a few passes. Memory: beside the result, each thread needs room for one row of float64 (for
    about 16 000 entries, if rows are shorter). The result does not depend on the number of threads.

    Examples
    --------
    >>> import pysig
    >>> pysig.soft_sort([8.0, 0.0, 5.0, 3.0], regularization_strength=0.1)
    array([0., 3., 5., 8.])
    >>> pysig.soft_sort([5.0, 1.0, 2.0], regularization_strength=1.0)
    array([1.66666667, 2.66666667, 3.66666667])
    """
    options = check_options(regularization, regularization_strength, direction)
    x, rows, axis = check_rows(x, axis)
    return dispatch(
        x, cpu_kernel, evaluate_values, ("sort", regularization), x, rows, axis, options
    )


def soft_sort_forward(
    x, *, regularization="l2", regularization_strength=1.0, axis=-1, direction="ascending"
):
    """
    Sort softly, and keep what the gradient needs.

    The parameters are those of `soft_sort`.

    Returns
    -------
    value : ndarray
        As `soft_sort` returns it.
    residuals : SoftSortResiduals
        For `soft_sort_backward`: 5 bytes for each entry, and with "kl" a number of the type of `x`.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> value, residuals = pysig.soft_sort_forward([8.0, 0.0, 5.0, 3.0])
    >>> value
    array([2.5, 3.5, 4.5, 5.5])
    >>> pysig.soft_sort_backward(residuals, np.array([1.0, 0.0, 0.0, 0.0]))
    array([0.25, 0.25, 0.25, 0.25])
    """
    options = check_options(regularization, regularization_strength, direction)
    x, rows, axis = check_rows(x, axis)
    return dispatch(x, cpu_kernel, evaluate_sort, regularization, direction, x, rows, axis, options)


def soft_sort_backward(residuals, grad, *, strength_gradient=False) -> Any:
    """
    Compute the gradient of `soft_sort`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SoftSortResiduals
        As `soft_sort_forward` returned it.
    grad : array_like
        Gradient with respect to the sorted values, of their shape and type.
    strength_gradient : bool
        Whether to give the gradient with respect to the strength, too.

    Returns
    -------
    ndarray, of the shape of `x`
        The gradient with respect to `x`. With `strength_gradient` a SoftSortGradients: that, and
        the gradient with respect to the strength, a float (for CuPy an array without axes).

    Raises
    ------
    ValueError
        If `grad` has not the shape of the sorted values.
    TypeError
        If `grad` has not their type, or `residuals` is something else. If NumPy and CuPy arrays
        are mixed.

    Notes
    -----
    Where entries are just close enough to be pooled the values have a kink, and the gradient is
    that of the pooled side. Equal entries are told apart by their order in `x`.

    Examples
    --------
    See `soft_sort_forward`.
    """
    check_residuals(residuals, SoftSortResiduals)
    with_strength = boolean(strength_gradient, "strength_gradient")
    axis = residuals.axis
    shape = result_shape(residuals.order, axis)
    grad, rows = check_grad(
        grad, shape, residuals.dtype, axis, "the sorted values", residuals.order
    )
    x_gradient, strength = dispatch(
        grad, cpu_kernel, evaluate_gradients, "sort", residuals, grad, rows, axis, with_strength
    )
    return x_gradient if strength is None else SoftSortGradients(x_gradient, strength)


def soft_rank(
    x, *, regularization="l2", regularization_strength=1.0, axis=-1, direction="ascending"
):
    """
    Rank softly: a differentiable relaxation of the ranks 1 to n.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Numbers to rank along one axis. float32 and float64 keep their type; integers and bools
        become float64. Infinite entries are ranked apart from all others.
    regularization : {"l2", "kl"}
        The distance of the projection. Both give ranks from 1 to n with the sum n (n + 1) / 2.
    regularization_strength : float
        ε > 0. Entries more than ε apart ("l2") have exact ranks: as ε → 0 the result becomes the
        ranks 1 to n, and the mean of their ranks for equal entries. As ε → ∞ all ranks become
        (n + 1) / 2; with "l2" the result is then (x - mean(x)) / ε + (n + 1) / 2.
    axis : int
        The axis to rank along.
    direction : {"ascending", "descending"}
        Whether the smallest or the largest entry has rank 1. With "l2", the two ranks add up to
        n + 1; with "kl" they do not.

    Returns
    -------
    ndarray, of the shape of `x`
        The ranks, ordered as the entries are; equal entries have equal ranks.

    Raises
    ------
    ValueError
        If `x` has NaN entries, no axis, or more than 2**28 entries along it; if `regularization`
        or `direction` is none of those above; if the strength is not positive (at least 2.3e-308)
        and finite; if `axis` is out of range.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    soft_rank_forward, soft_rank_backward : the same with gradients.

    Notes
    -----
    An axis of length 0 gives an empty result, one of length 1 the rank 1. Of CuPy arrays, which
    cannot be looked at without waiting for the device, rows with NaN entries become NaN, and so do
    their gradients. With "l2", rows whose
    range is at most n ε / 2 or so are ranked in time linear in n, without sorting. Memory: beside
    the result, each thread needs room for five rows of float32 or four of float64 (for about 16 000
    entries, if rows are shorter). The result does not depend on the number of threads.

    Examples
    --------
    >>> import pysig
    >>> pysig.soft_rank([8.0, 0.0, 5.0, 3.0], regularization_strength=0.1)
    array([4., 1., 3., 2.])
    >>> pysig.soft_rank([5.0, 1.0, 2.0], regularization_strength=2.0)
    array([3.  , 1.25, 1.75])
    """
    options = check_options(regularization, regularization_strength, direction)
    x, rows, axis = check_rows(x, axis)
    return dispatch(
        x, cpu_kernel, evaluate_values, ("rank", regularization), x, rows, axis, options
    )


def soft_rank_forward(
    x, *, regularization="l2", regularization_strength=1.0, axis=-1, direction="ascending"
):
    """
    Rank softly, and keep what the gradient needs.

    The parameters are those of `soft_rank`.

    Returns
    -------
    value : ndarray
        As `soft_rank` returns it.
    residuals : SoftRankResiduals
        For `soft_rank_backward`: 4 bytes for each entry. It refers to the result, which must not
        change meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> value, residuals = pysig.soft_rank_forward([5.0, 1.0, 2.0], regularization_strength=2.0)
    >>> pysig.soft_rank_backward(residuals, np.array([1.0, 1.0, 0.0]))
    array([ 0.  ,  0.25, -0.25])
    """
    options = check_options(regularization, regularization_strength, direction)
    x, rows, axis = check_rows(x, axis)
    return dispatch(x, cpu_kernel, evaluate_rank, regularization, direction, x, rows, axis, options)


def soft_rank_backward(residuals, grad, *, strength_gradient=False) -> Any:
    """
    Compute the gradient of `soft_rank`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SoftRankResiduals
        As `soft_rank_forward` returned it.
    grad : array_like
        Gradient with respect to the ranks, of their shape and type.
    strength_gradient : bool
        Whether to give the gradient with respect to the strength, too.

    Returns
    -------
    ndarray, of the shape of `x`
        The gradient with respect to `x`. With `strength_gradient` a SoftRankGradients: that, and
        the gradient with respect to the strength, a float (for CuPy an array without axes).

    Raises
    ------
    ValueError
        If `grad` has not the shape of the ranks.
    TypeError
        If `grad` has not their type, or `residuals` is something else. If NumPy and CuPy arrays
        are mixed.

    Notes
    -----
    Where entries are just close enough to be pooled the ranks have a kink, and the gradient is
    that of the pooled side.

    Examples
    --------
    See `soft_rank_forward`.
    """
    check_residuals(residuals, SoftRankResiduals)
    with_strength = boolean(strength_gradient, "strength_gradient")
    axis = residuals.axis
    ranks = residuals.ranks
    shape = result_shape(ranks, axis)
    grad, rows = check_grad(grad, shape, ranks.dtype, axis, "the ranks", ranks)
    x_gradient, strength = dispatch(
        grad, cpu_kernel, evaluate_gradients, "rank", residuals, grad, rows, axis, with_strength
    )
    return x_gradient if strength is None else SoftRankGradients(x_gradient, strength)


def check_options(regularization, strength, direction):
    """Return the sign of `x` and the strength as a float, all arguments checked."""
    if regularization not in ("l2", "kl"):
        raise ValueError(f'regularization must be "l2" or "kl", not {regularization!r}')
    if direction not in SIGNS:
        raise ValueError(f'direction must be "ascending" or "descending", not {direction!r}')
    return SIGNS[direction], check_strength(strength)


def check_strength(strength):
    """Return the regularisation strength as a float."""
    if type(strength) is float and SMALLEST_STRENGTH <= strength < math.inf:
        return strength
    if isinstance(strength, (bool, np.bool_)) or not isinstance(strength, numbers.Real):
        raise TypeError(
            f"regularization_strength must be a real number, not {type(strength).__name__}"
        )
    strength = float(strength)
    if not SMALLEST_STRENGTH <= strength < math.inf:
        raise ValueError(
            "regularization_strength must be positive and finite, "
            f"at least {SMALLEST_STRENGTH:.3g}, not {strength}"
        )
    return strength


def check_rows(x, axis, name="x"):
    """Return `x` as an array, as rows along the axis, and the axis counted from 0."""
    x = real_array(x, name)
    axis = axis_number(axis, x.ndim, name)
    if x.shape[axis] > LARGEST_LENGTH:
        raise ValueError(
            f"{name} must have at most {LARGEST_LENGTH} entries along the axis, not {x.shape[axis]}"
        )
    return x, to_rows(x, axis), axis


def result_shape(moved, axis):
    """Return the shape of the result; `moved` has its axis last."""
    *others, n = moved.shape
    return (*others[:axis], n, *others[axis:])


def check_grad(grad, shape, dtype, axis, what, of):
    """Return `grad` as an array, and as rows; `of` is an array of the residuals."""
    namespace(residuals=of, grad=grad)
    grad = grad_array(grad, shape, dtype, what)
    return grad, to_rows(grad, axis)


def check_small_grad(grad, shape, dtype, what, of):
    """Return `grad` as an array of `dtype`; it may be a number where there is one result."""
    if isinstance(grad, numbers.Real) or (isinstance(grad, np.ndarray) and not grad.ndim):
        with device_of(of):
            grad = namespace_of(of).full((), float(grad), dtype)
    namespace(residuals=of, grad=grad)
    return grad_array(grad, shape, dtype, what)


def sort_rows(rows, order):
    """Return sorted rows, and fill `order` with the permutations; equal entries keep their order.

    Infinite entries are allowed, NaN is not.
    """
    value = np.empty_like(rows)
    cpu_kernel.sort(value, order, rows)
    return value


def evaluate_values(xp, kernel, kind, x, rows, axis, options):
    """Return the values or ranks alone."""
    value = xp.empty_like(rows)
    if rows.size:
        run_forward(kernel, kind, value, rows, options)
    return from_rows(value, x.shape, axis)


def evaluate_sort(xp, kernel, regularization, direction, x, rows, axis, options):
    """Return the sorted values and the residuals."""
    value = xp.empty_like(rows)
    order = xp.empty(rows.shape, np.int32)
    starts = xp.empty(rows.shape, np.bool_)
    weights = xp.empty_like(rows) if regularization == "kl" else None
    if rows.size:
        kind = ("sort", regularization)
        run_forward(kernel, kind, value, rows, options, order, starts, weights)
    if rows is not x:
        moved = moved_shape(x.shape, axis)
        order, starts = reshaped(order, moved), reshaped(starts, moved)
        weights = None if weights is None else reshaped(weights, moved)
        value = from_rows(value, x.shape, axis)
    residuals = SoftSortResiduals(
        order,
        starts,
        weights,
        value.dtype,
        regularization,
        options[1],
        axis,
        direction,
    )
    return value, residuals


def evaluate_rank(xp, kernel, regularization, direction, x, rows, axis, options):
    """Return the ranks and the residuals."""
    value = xp.empty_like(rows)
    blocks = xp.empty(rows.shape, np.int32)
    order = None if xp is np else xp.empty(rows.shape, np.int32)
    if rows.size:
        run_forward(kernel, ("rank", regularization), value, rows, options, order, blocks=blocks)
    ranks = value
    if rows is not x:
        moved = moved_shape(x.shape, axis)
        ranks, blocks = reshaped(value, moved), reshaped(blocks, moved)
        order = None if order is None else reshaped(order, moved)
        value = from_rows(value, x.shape, axis)
    residuals = SoftRankResiduals(ranks, blocks, order, regularization, options[1], axis, direction)
    return value, residuals


def run_forward(
    kernel, kind, value, rows, options, order=None, starts=None, weights=None, blocks=None
):
    """Fill the arrays, or raise ValueError for entries that cannot be sorted."""
    status = kernel.forward(value, order, starts, weights, blocks, rows, kind, *options)
    if status == kernel.FINITE:
        return
    if status == kernel.NAN:
        raise ValueError("x must not have NaN entries")
    if status == kernel.INFINITE:
        raise ValueError("x must be finite: a soft sort of infinite entries has no limit")


def evaluate_gradients(xp, kernel, operation, residuals, grad, rows, axis, with_strength):
    """Return the gradients with respect to x and the strength, None unless asked for."""
    x_gradient = xp.empty_like(rows)
    strengths = xp.zeros(len(rows)) if with_strength else None
    if rows.size:
        starts = weights = blocks = ranks = None
        if operation == "sort":
            order, starts, weights = residuals[:3]
        else:
            ranks, blocks, order = residuals[:3]
        kernel.backward(
            x_gradient,
            strengths,
            rows,
            *(
                array if array is None else reshaped(array, rows.shape)
                for array in (ranks, order, starts, weights, blocks)
            ),
            (operation, residuals.regularization),
            SIGNS[residuals.direction],
            residuals.regularization_strength,
        )
    x_gradient = from_rows(x_gradient, grad.shape, axis)
    if strengths is None:
        return x_gradient, None
    return x_gradient, float(strengths.sum()) if xp is np else strengths.sum()
