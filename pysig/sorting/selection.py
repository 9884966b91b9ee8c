r"""Soft top-k masks, quantiles and medians, and their gradients.

The mask of the k largest entries is the corner of the permutahedron of k ones and n - k zeros in
the direction of x; soft, it is the projection :math:`P(x / \varepsilon, w)` for that w, see
`pysig.project_permutahedron`. A soft quantile is read off the soft sort, as NumPy reads a quantile
off the sorted array.
"""

from typing import NamedTuple

import numpy as np

from pysig._core.array import check_residuals, device_of, integer, namespace_of
from pysig._core.axis import from_rows
from pysig.sorting.isotonic import (
    PermutahedronResiduals,
    check_regularization,
    project_permutahedron_backward,
    run_projection,
)
from pysig.sorting.soft import (
    SoftSortResiduals,
    check_grad,
    check_rows,
    check_small_grad,
    check_strength,
    soft_sort,
    soft_sort_backward,
    soft_sort_forward,
)

__all__ = [
    "SoftQuantileResiduals",
    "SoftTopkMaskResiduals",
    "soft_median",
    "soft_median_backward",
    "soft_median_forward",
    "soft_quantile",
    "soft_quantile_backward",
    "soft_quantile_forward",
    "soft_topk_mask",
    "soft_topk_mask_backward",
    "soft_topk_mask_forward",
]


class SoftTopkMaskResiduals(NamedTuple):
    """What `soft_topk_mask_backward` needs."""

    projection: PermutahedronResiduals
    mask: np.ndarray  # float64, rows along the axis
    dtype: np.dtype
    shape: tuple[int, ...]
    regularization: str
    regularization_strength: float
    axis: int


class SoftQuantileResiduals(NamedTuple):
    """What `soft_quantile_backward` needs."""

    sorting: SoftSortResiduals
    positions: np.ndarray  # of the quantiles, in the sorted axis, from 0
    shape: tuple[int, ...]
    axis: int


def soft_topk_mask(x, k, *, regularization="l2", regularization_strength=1.0, axis=-1):
    """
    Mark the k largest entries softly, by numbers from 0 to 1 that add up to k.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Finite numbers. float32 and float64 keep their type; integers and bools become float64.
    k : int
        How many entries to choose, from 0 to n.
    regularization : {"l2", "kl"}
        The distance of the projection. With "l2" entries can be exactly 0; with "kl" the mask is
        min(1, c exp(x / ε)) for some c.
    regularization_strength : float
        ε > 0. As ε → 0 the mask becomes 1 for the k largest entries and 0 for the others (where the
        k-th is equal to others, these share what is left); as ε → ∞ all entries become k / n.
    axis : int
        The axis to choose along.

    Returns
    -------
    ndarray, of the shape of `x`
        The mask, ordered as the entries are.

    Raises
    ------
    ValueError
        If `x` has NaN or infinite entries; if `k`, `regularization`, the strength or `axis` are not
        among those above.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    soft_topk_mask_forward, soft_topk_mask_backward : the same with gradients.

    Notes
    -----
    Computed in float64. Memory: beside the result, seven arrays of float64 of the size of `x`.

    Examples
    --------
    >>> import pysig
    >>> pysig.soft_topk_mask([3.0, 0.5, 1.0, -2.0], 2)
    array([1.  , 0.25, 0.75, 0.  ])
    """
    return run_topk(x, k, regularization, regularization_strength, axis, False)[0]


def soft_topk_mask_forward(x, k, *, regularization="l2", regularization_strength=1.0, axis=-1):
    """
    Mark the k largest entries softly, and keep what the gradient needs.

    The parameters are those of `soft_topk_mask`.

    Returns
    -------
    mask : ndarray
        As `soft_topk_mask` returns it.
    residuals : SoftTopkMaskResiduals
        For `soft_topk_mask_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> mask, residuals = pysig.soft_topk_mask_forward([3.0, 0.5, 1.0, -2.0], 2)
    >>> pysig.soft_topk_mask_backward(residuals, np.array([0.0, 1.0, 0.0, 0.0]))
    array([ 0. ,  0.5, -0.5,  0. ])
    """
    return run_topk(x, k, regularization, regularization_strength, axis, True)


def soft_topk_mask_backward(residuals, grad):
    """
    Compute the gradient of `soft_topk_mask` with respect to `x`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SoftTopkMaskResiduals
        As `soft_topk_mask_forward` returned it.
    grad : array_like
        Gradient with respect to the mask, of its shape and type.

    Returns
    -------
    ndarray, of the shape of `x`

    Raises
    ------
    ValueError
        If `grad` has not the shape of the mask.
    TypeError
        If `grad` has not its type, or `residuals` is something else.

    Examples
    --------
    See `soft_topk_mask_forward`.
    """
    check_residuals(residuals, SoftTopkMaskResiduals)
    shape, axis, dtype = residuals.shape, residuals.axis, residuals.dtype
    _, rows = check_grad(grad, shape, dtype, axis, "the mask", residuals.mask)
    with device_of(rows):
        rows = rows.astype(np.float64)
        if residuals.regularization == "kl":
            rows = rows * residuals.mask
        gradient = project_permutahedron_backward(residuals.projection, rows).z
        # For both: that with "l2" was the projection of x onto the permutahedron of strength w.
        gradient /= residuals.regularization_strength
        return from_rows(gradient.astype(dtype), shape, axis)


def run_topk(x, k, regularization, strength, axis, with_residuals):
    """Return the mask, and the residuals or None."""
    check_regularization(regularization)
    strength = check_strength(strength)
    x, rows, axis = check_rows(x, axis)
    k = integer(k, "k", 0, x.shape[axis])
    with device_of(x):
        mask, projection = project_topk(rows, k, regularization, strength, with_residuals)
        value = from_rows(mask.astype(x.dtype), x.shape, axis)
    if projection is None:
        return value, None
    residuals = SoftTopkMaskResiduals(
        projection, mask, x.dtype, x.shape, regularization, strength, axis
    )
    return value, residuals


def project_topk(rows, k, regularization, strength, with_residuals):
    """Return the mask of rows in float64, and the residuals of the projection or None."""
    xp, n = namespace_of(rows), rows.shape[-1]
    is_finite = xp.isfinite(rows)
    if xp is np and not is_finite.all():
        raise ValueError("x must be finite")
    wide = rows.astype(np.float64)
    if xp is not np:  # such a row becomes NaN, as raising would have to wait for the device
        wide = xp.where(is_finite.all(axis=-1, keepdims=True), wide, np.nan)
    chosen = (xp.arange(n) >= n - k).astype(np.float64)
    if k == 0 or not rows.size:
        # No logarithm of the sum: with "kl", nothing to project onto.
        _, projection = run_projection(wide, xp.zeros(n), "l2", -1, with_residuals)
        return 0 * wide, projection
    if regularization == "l2":
        mask, projection = run_projection(wide, strength * chosen, "l2", -1, with_residuals)
        return xp.clip(mask / strength, 0, 1), projection
    with np.errstate(divide="ignore", over="ignore"):
        scaled = (wide - wide.max(axis=-1, keepdims=True)) / strength
        corners = xp.log(chosen)
    scaled = xp.maximum(scaled, np.finfo(np.float64).min)
    mask, projection = run_projection(scaled, corners, "kl", -1, with_residuals)
    return xp.minimum(xp.exp(mask), 1), projection


def soft_quantile(x, q, *, regularization="l2", regularization_strength=1.0, axis=-1):
    """
    Compute soft quantiles: interpolated entries of the soft sort.

    Parameters
    ----------
    x : array_like, shape (..., n, ...)
        Finite numbers, at least one along the axis. float32 and float64 keep their type; integers
        and bools become float64.
    q : float or array_like of floats
        Probabilities from 0 to 1, not as a CuPy array.
    regularization : {"l2", "kl"}
        The distance of the projection; see `soft_sort`.
    regularization_strength : float
        ε > 0. As ε → 0 the result becomes `numpy.quantile` (with its method "linear"), and is that
        from some ε on; as ε → ∞ all quantiles become the mean ("l2") or -log(mean(exp(-x))) ("kl").
    axis : int
        The axis along which quantiles are taken.

    Returns
    -------
    ndarray, or a NumPy scalar if it has no axes
        The shape is that of `q`, and after it that of `x` without the axis.

    Raises
    ------
    ValueError
        If `x` is empty along the axis, or has NaN or infinite entries; if `q`, `regularization`,
        the strength or `axis` are not among those above.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    soft_quantile_forward, soft_quantile_backward : the same with gradients.
    soft_median : the quantile 0.5.

    Examples
    --------
    >>> import pysig
    >>> x = [3.0, 0.0, 2.0, 10.0, 5.0]
    >>> print(pysig.soft_quantile(x, 0.5, regularization_strength=0.1))
    3.0
    >>> print(pysig.soft_quantile(x, 0.25, regularization_strength=1.0))
    3.0
    """
    q = check_probabilities(q)
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    x, _, axis = check_rows(x, axis)
    check_not_empty(x, axis)
    return interpolate(soft_sort(x, axis=axis, **options), positions(q, x.shape[axis]), axis)


def soft_quantile_forward(x, q, *, regularization="l2", regularization_strength=1.0, axis=-1):
    """
    Compute soft quantiles, and keep what the gradient needs.

    The parameters are those of `soft_quantile`.

    Returns
    -------
    value : ndarray or a NumPy scalar
        As `soft_quantile` returns it.
    residuals : SoftQuantileResiduals
        For `soft_quantile_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.soft_quantile_forward([3.0, 0.0, 2.5, 10.0, 5.0], 0.5)
    >>> pysig.soft_quantile_backward(residuals, 1.0)
    array([0.2, 0.2, 0.2, 0.2, 0.2])
    """
    q = check_probabilities(q)
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    x, _, axis = check_rows(x, axis)
    check_not_empty(x, axis)
    value, sorting = soft_sort_forward(x, axis=axis, **options)
    residuals = SoftQuantileResiduals(sorting, positions(q, x.shape[axis]), x.shape, axis)
    return interpolate(value, residuals.positions, axis), residuals


def soft_quantile_backward(residuals, grad):
    """
    Compute the gradient of `soft_quantile` with respect to `x`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SoftQuantileResiduals
        As `soft_quantile_forward` returned it.
    grad : array_like
        Gradient with respect to the quantiles, of their shape and type; a number, if they are.

    Returns
    -------
    ndarray, of the shape of `x`

    Raises
    ------
    ValueError
        If `grad` has not the shape of the quantiles.
    TypeError
        If `grad` has not their type, or `residuals` is something else.

    Examples
    --------
    See `soft_quantile_forward`.
    """
    check_residuals(residuals, SoftQuantileResiduals)
    sorting, places, shape, axis = residuals
    value_shape = (*places.shape, *shape[:axis], *shape[axis + 1 :])
    grad = check_small_grad(grad, value_shape, sorting.dtype, "the quantiles", sorting.order)
    with device_of(grad):
        xp = namespace_of(grad)
        grad = grad.reshape((places.size, *shape[:axis], *shape[axis + 1 :]))
        sorted_grad = xp.zeros((shape[axis], *grad.shape[1:]), sorting.dtype)
        for low, high, fraction, part in zip(*neighbours(places), grad, strict=True):
            sorted_grad[low] += (1 - fraction) * part
            sorted_grad[high] += fraction * part
        return soft_sort_backward(sorting, xp.moveaxis(sorted_grad, 0, axis))


def soft_median(x, *, regularization="l2", regularization_strength=1.0, axis=-1):
    """
    Compute the soft median, which is the soft quantile for the probability 0.5.

    The parameters, the result and the errors are those of `soft_quantile`.

    See Also
    --------
    soft_median_forward, soft_median_backward : the same with gradients.

    Examples
    --------
    >>> import pysig
    >>> print(pysig.soft_median([3.0, 0.0, 2.5, 100.0, 5.0], regularization_strength=0.01))
    3.0
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    return soft_quantile(x, 0.5, axis=axis, **options)


def soft_median_forward(x, *, regularization="l2", regularization_strength=1.0, axis=-1):
    """
    Compute the soft median, and keep what the gradient needs.

    The parameters are those of `soft_median`.

    Returns
    -------
    value : ndarray or a NumPy scalar
        As `soft_median` returns it.
    residuals : SoftQuantileResiduals
        For `soft_median_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.soft_median_forward([[3.0, 0.0, 2.5], [1.0, 1.5, 1.75]])
    >>> pysig.soft_median_backward(residuals, [1.0, 1.0])
    array([[0.33333333, 0.33333333, 0.33333333],
           [0.        , 1.        , 0.        ]])
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    return soft_quantile_forward(x, 0.5, axis=axis, **options)


def soft_median_backward(residuals, grad):
    """
    Compute the gradient of `soft_median` with respect to `x`: the vector-Jacobian product.

    The parameters, the result and the errors are those of `soft_quantile_backward`.

    Examples
    --------
    See `soft_median_forward`.
    """
    return soft_quantile_backward(residuals, grad)


def check_probabilities(q):
    """Return `q` as an array of float64."""
    try:
        q = np.asarray(q, np.float64)
    except (TypeError, ValueError):
        raise TypeError("q must be a number or an array of numbers") from None
    if not ((q >= 0) & (q <= 1)).all():
        raise ValueError(f"q must be between 0 and 1, not {q}")
    return q


def check_not_empty(x, axis):
    """Raise ValueError if there is nothing along the axis."""
    if x.shape[axis] == 0:
        raise ValueError(
            f"x must have at least one entry along the axis, but has the shape {x.shape}"
        )


def positions(q, n):
    """Return where the quantiles stand among n sorted entries."""
    return q * (n - 1)


def neighbours(places):
    """Return lists: the entries before and after each place, and how far it is from the first."""
    places = places.reshape(-1)
    low, high = np.floor(places), np.ceil(places)
    return low.astype(int).tolist(), high.astype(int).tolist(), (places - low).tolist()


def interpolate(value, places, axis):
    """Return the quantiles at these places of the sorted array."""
    with device_of(value):
        xp = namespace_of(value)
        value = xp.moveaxis(value, axis, 0)
        result = xp.empty((places.size, *value.shape[1:]), value.dtype)
        for i, (low, high, fraction) in enumerate(zip(*neighbours(places), strict=True)):
            result[i] = value[low] + fraction * (value[high] - value[low])
        return result.reshape((*places.shape, *value.shape[1:]))[()]
