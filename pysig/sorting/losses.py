r"""Losses of rankings and of sorted errors, and their gradients.

Each is a loss that depends on ranks or on an order, with soft ranks or a soft sort in their place
(Blondel, Teboul, Berthet and Djolonga, "Fast Differentiable Sorting and Ranking", ICML 2020,
arXiv:2002.08871, section 6). There is one loss for each vector along the axis. What is computed
after ranking is computed in float64; the results have the type of the first argument.
"""

from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    boolean,
    check_residuals,
    device_of,
    integer,
    namespace,
    namespace_of,
    real_array,
)
from pysig._core.axis import from_rows, to_rows
from pysig.sorting.isotonic import check_regularization
from pysig.sorting.soft import (
    SoftRankResiduals,
    SoftSortResiduals,
    check_rows,
    check_small_grad,
    soft_rank,
    soft_rank_backward,
    soft_rank_forward,
    soft_sort_backward,
    soft_sort_forward,
)

__all__ = [
    "SoftNdcgResiduals",
    "SpearmanResiduals",
    "TrimmedSquaresResiduals",
    "soft_ndcg_loss",
    "soft_ndcg_loss_backward",
    "soft_ndcg_loss_forward",
    "spearman_loss",
    "spearman_loss_backward",
    "spearman_loss_forward",
    "trimmed_squares_loss",
    "trimmed_squares_loss_backward",
    "trimmed_squares_loss_forward",
]

HARD = 1e-300  # a strength at which equal entries alone share their rank


class SpearmanResiduals(NamedTuple):
    """What `spearman_loss_backward` needs."""

    ranking: SoftRankResiduals
    slope: np.ndarray  # of the loss with respect to the ranks, rows along the axis
    dtype: np.dtype
    shape: tuple[int, ...]
    axis: int


class SoftNdcgResiduals(NamedTuple):
    """What `soft_ndcg_loss_backward` needs."""

    ranking: SoftRankResiduals
    slope: np.ndarray  # of the loss with respect to the ranks, rows along the axis
    dtype: np.dtype
    shape: tuple[int, ...]
    axis: int


class TrimmedSquaresResiduals(NamedTuple):
    """What `trimmed_squares_loss_backward` needs."""

    sorting: SoftSortResiduals
    errors: np.ndarray  # prediction - target, rows along the axis
    trimmed: int
    dtype: np.dtype
    shape: tuple[int, ...]
    axis: int


def spearman_loss(
    prediction,
    target,
    *,
    soft_target=False,
    regularization="l2",
    regularization_strength=1.0,
    axis=-1,
):
    """
    Compute 1 - Spearman's rank correlation, with soft ranks of the predictions.

    Parameters
    ----------
    prediction : array_like, shape (..., n, ...)
        Finite or infinite numbers. float32 and float64 keep their type; integers and bools become
        float64.
    target : array_like, shape (..., n, ...)
        What the predictions should be ordered as; of the shape and type of `prediction`.
    soft_target : bool
        Whether the ranks of the targets are soft, too. By default they are not, and equal targets
        have the mean of their ranks.
    regularization : {"l2", "kl"}
        The distance of the projection; see `soft_rank`.
    regularization_strength : float
        ε > 0. As ε → 0 the loss becomes that of the ranks of the predictions, a step function; as
        ε → ∞ with "l2", that of the predictions themselves, 1 - their correlation with the ranks of
        the targets.
    axis : int
        The axis to rank along.

    Returns
    -------
    ndarray, or a NumPy scalar if it has no axes
        The losses, from 0 to 2, of the shape of `prediction` without the axis. Where all ranks of
        the predictions, or all of the targets, are equal, the correlation counts as 0.

    Raises
    ------
    ValueError
        If the shapes differ or there is NaN; if `regularization`, the strength or `axis` are not
        among those above.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    spearman_loss_forward, spearman_loss_backward : the same with gradients.

    Notes
    -----
    Memory: about twelve arrays of float64 of the size of `prediction`.

    Examples
    --------
    >>> import pysig
    >>> prediction, target = [1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 6.0, 7.0, 8.0, 7.0]
    >>> print(f"{pysig.spearman_loss(prediction, target):.6f}")
    0.179217
    >>> print(f"{pysig.spearman_loss(prediction, target, soft_target=True):.6f}")
    0.167950
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    return spearman_loss_forward(prediction, target, soft_target=soft_target, axis=axis, **options)[
        0
    ]


def spearman_loss_forward(
    prediction,
    target,
    *,
    soft_target=False,
    regularization="l2",
    regularization_strength=1.0,
    axis=-1,
):
    """
    Compute 1 - Spearman's rank correlation, and keep what the gradient needs.

    The parameters are those of `spearman_loss`.

    Returns
    -------
    loss : ndarray or a NumPy scalar
        As `spearman_loss` returns it.
    residuals : SpearmanResiduals
        For `spearman_loss_backward`.

    Examples
    --------
    >>> import pysig
    >>> _, residuals = pysig.spearman_loss_forward([0.0, 1.0, 1.5], [1.0, 3.0, 2.0])
    >>> pysig.spearman_loss_backward(residuals, 1.0).round(4)
    array([ 0.187 , -0.5611,  0.3741])
    """
    options: dict[str, Any] = {
        "regularization": regularization,
        "regularization_strength": regularization_strength,
    }
    soft_target = boolean(soft_target, "soft_target")
    dtype, shape, axis, rows, target_rows = check_pair(prediction, target, "target", axis)
    refuse_nan(target_rows, "target")
    with device_of(rows):
        xp = namespace_of(rows)
        ranks, ranking = soft_rank_forward(rows, **options)
        unit, length = normalise(ranks)
        if not soft_target:
            options = {"regularization_strength": HARD}
        target_unit, _ = normalise(soft_rank(target_rows, **options))
        correlation = (unit * target_unit).sum(axis=-1, keepdims=True)
        slope = (correlation * unit - target_unit) / xp.where(length == 0, np.inf, length)
        residuals = SpearmanResiduals(ranking, slope, dtype, shape, axis)
        return one_each(1 - correlation, shape, axis, dtype), residuals


def spearman_loss_backward(residuals, grad):
    """
    Compute the gradient of `spearman_loss` with respect to the predictions.

    Parameters
    ----------
    residuals : SpearmanResiduals
        As `spearman_loss_forward` returned it.
    grad : array_like
        Gradient with respect to the losses, of their shape and type; a number, if there is one.

    Returns
    -------
    ndarray, of the shape of `prediction`

    Raises
    ------
    ValueError
        If `grad` has not the shape of the losses.
    TypeError
        If `grad` has not their type, or `residuals` is something else.

    Examples
    --------
    See `spearman_loss_forward`.
    """
    check_residuals(residuals, SpearmanResiduals)
    return ranking_gradient(residuals, grad)


def soft_ndcg_loss(
    scores,
    relevance,
    *,
    gain="exponential",
    regularization="l2",
    regularization_strength=1.0,
    axis=-1,
):
    """
    Compute 1 - NDCG, the normalised discounted cumulative gain, with soft ranks of the scores.

    The gain is the sum of g(relevance) / log₂(1 + rank), where the largest score has rank 1, and is
    divided by the largest value that any ranking can have.

    Parameters
    ----------
    scores : array_like, shape (..., n, ...)
        Finite or infinite numbers. float32 and float64 keep their type; integers and bools become
        float64.
    relevance : array_like, shape (..., n, ...)
        Numbers from 0 on, finite, of the shape and type of `scores`.
    gain : {"exponential", "linear"}
        g(relevance) is 2**relevance - 1, or relevance itself.
    regularization : {"l2", "kl"}
        The distance of the projection; see `soft_rank`.
    regularization_strength : float
        ε > 0. As ε → 0 the loss becomes that of the ranks themselves, a step function; as ε → ∞,
        that of equal ranks.
    axis : int
        The axis to rank along.

    Returns
    -------
    ndarray, or a NumPy scalar if it has no axes
        The losses, of the shape of `scores` without the axis. Where no relevance is positive, 0.

    Raises
    ------
    ValueError
        If the shapes differ, scores have NaN, or a relevance is negative or not finite; if `gain`,
        `regularization`, the strength or `axis` are not among those above.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    soft_ndcg_loss_forward, soft_ndcg_loss_backward : the same with gradients.

    Notes
    -----
    Memory: about ten arrays of float64 of the size of `scores`.

    Examples
    --------
    >>> import pysig
    >>> print(pysig.soft_ndcg_loss([9.0, 5.0, 1.0], [3.0, 1.0, 0.0]))
    0.0
    >>> print(f"{pysig.soft_ndcg_loss([1.0, 5.0, 9.0], [3.0, 1.0, 0.0]):.6f}")
    0.458660
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    return soft_ndcg_loss_forward(scores, relevance, gain=gain, axis=axis, **options)[0]


def soft_ndcg_loss_forward(
    scores,
    relevance,
    *,
    gain="exponential",
    regularization="l2",
    regularization_strength=1.0,
    axis=-1,
):
    """
    Compute 1 - NDCG, and keep what the gradient needs.

    The parameters are those of `soft_ndcg_loss`.

    Returns
    -------
    loss : ndarray or a NumPy scalar
        As `soft_ndcg_loss` returns it.
    residuals : SoftNdcgResiduals
        For `soft_ndcg_loss_backward`.

    Examples
    --------
    >>> import pysig
    >>> _, residuals = pysig.soft_ndcg_loss_forward([1.0, 1.5, 2.0], [3.0, 1.0, 0.0])
    >>> pysig.soft_ndcg_loss_backward(residuals, 1.0).round(4)
    array([-0.0688,  0.0219,  0.0469])
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    if gain not in ("exponential", "linear"):
        raise ValueError(f'gain must be "exponential" or "linear", not {gain!r}')
    dtype, shape, axis, rows, gains = check_pair(scores, relevance, "relevance", axis)
    with device_of(rows):
        gains = compute_gains(gains, gain)
        ranks, ranking = soft_rank_forward(rows, direction="descending", **options)
        loss, slope = compute_ndcg(ranks, gains)
        residuals = SoftNdcgResiduals(ranking, slope, dtype, shape, axis)
        return one_each(loss, shape, axis, dtype), residuals


def compute_gains(relevance, gain):
    """Return gains relative to the largest: 2**relevance may be more than any number."""
    xp = namespace_of(relevance)
    is_valid = xp.isfinite(relevance) & (relevance >= 0)
    if xp is np and not is_valid.all():
        raise ValueError("relevance must be finite and at least 0")
    if xp is not np:  # such a row becomes NaN, as raising would have to wait for the device
        relevance = xp.where(is_valid, relevance, np.nan)
    largest = relevance.max(axis=-1, keepdims=True)
    if gain == "exponential":
        return xp.exp2(relevance - largest) - xp.exp2(-largest)
    return relevance / xp.where(largest == 0, 1, largest)


def compute_ndcg(ranks, gains):
    """Return the losses as a column, and their slopes with respect to the ranks."""
    xp = namespace_of(ranks)
    discounts = 1 / xp.log2(2.0 + xp.arange(gains.shape[-1]))
    best = (-xp.sort(-gains, axis=-1) * discounts).sum(axis=-1, keepdims=True)
    best = xp.where(best == 0, np.inf, best)
    logarithm = xp.log2(1 + ranks)
    value = (gains / logarithm).sum(axis=-1, keepdims=True) / best
    slope = gains / best / (logarithm**2 * (1 + ranks) * np.log(2))
    return xp.where(xp.isinf(best), 0 * value, 1 - value), slope


def soft_ndcg_loss_backward(residuals, grad):
    """
    Compute the gradient of `soft_ndcg_loss` with respect to the scores.

    Parameters
    ----------
    residuals : SoftNdcgResiduals
        As `soft_ndcg_loss_forward` returned it.
    grad : array_like
        Gradient with respect to the losses, of their shape and type; a number, if there is one.

    Returns
    -------
    ndarray, of the shape of `scores`

    Raises
    ------
    ValueError
        If `grad` has not the shape of the losses.
    TypeError
        If `grad` has not their type, or `residuals` is something else.

    Examples
    --------
    See `soft_ndcg_loss_forward`.
    """
    check_residuals(residuals, SoftNdcgResiduals)
    return ranking_gradient(residuals, grad)


def trimmed_squares_loss(
    prediction, target, trimmed, *, regularization="l2", regularization_strength=1.0, axis=-1
):
    """
    Compute the mean of squared errors but for the largest: soft least trimmed squares.

    The squared errors are sorted softly, and the mean of all but the last `trimmed` is taken, so
    that a fit is not spoilt by that many outliers.

    Parameters
    ----------
    prediction : array_like, shape (..., n, ...)
        Finite numbers. float32 and float64 keep their type; integers and bools become float64.
    target : array_like, shape (..., n, ...)
        What was to be predicted; of the shape and type of `prediction`.
    trimmed : int
        How many errors to leave out, from 0 to n - 1.
    regularization : {"l2", "kl"}
        The distance of the projection; see `soft_sort`.
    regularization_strength : float
        ε > 0. As ε → 0 the loss becomes that of least trimmed squares; as ε → ∞, with "l2", the
        mean of all squared errors.
    axis : int
        The axis of the errors.

    Returns
    -------
    ndarray, or a NumPy scalar if it has no axes
        The losses, of the shape of `prediction` without the axis.

    Raises
    ------
    ValueError
        If the shapes differ, there is nothing along the axis, or the squared errors are not finite;
        if `trimmed`, `regularization`, the strength or `axis` are not among those above.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    trimmed_squares_loss_forward, trimmed_squares_loss_backward : the same with gradients.

    Notes
    -----
    Memory: about seven arrays of float64 of the size of `prediction`.

    Examples
    --------
    >>> import pysig
    >>> prediction, target = [1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 2.0, 40.0]
    >>> loss = pysig.trimmed_squares_loss(prediction, target, 1, regularization_strength=1e-4)
    >>> print(f"{loss:.6f}")
    0.416667
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    return trimmed_squares_loss_forward(prediction, target, trimmed, axis=axis, **options)[0]


def trimmed_squares_loss_forward(
    prediction, target, trimmed, *, regularization="l2", regularization_strength=1.0, axis=-1
):
    """
    Compute the mean of squared errors but for the largest, and keep what the gradient needs.

    The parameters are those of `trimmed_squares_loss`.

    Returns
    -------
    loss : ndarray or a NumPy scalar
        As `trimmed_squares_loss` returns it.
    residuals : TrimmedSquaresResiduals
        For `trimmed_squares_loss_backward`.

    Examples
    --------
    >>> import pysig
    >>> prediction, target = [1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 2.0, 40.0]
    >>> options = {"regularization_strength": 1e-4}
    >>> _, residuals = pysig.trimmed_squares_loss_forward(prediction, target, 2, **options)
    >>> pysig.trimmed_squares_loss_backward(residuals, 1.0)
    array([-0.5,  0. ,  0. , -0. ])
    """
    options = {"regularization": regularization, "regularization_strength": regularization_strength}
    check_regularization(regularization)
    dtype, shape, axis, rows, target_rows = check_pair(prediction, target, "target", axis)
    n = shape[axis]
    trimmed = integer(trimmed, "trimmed", 0, n - 1)
    with device_of(rows), np.errstate(over="ignore", invalid="ignore"):
        errors = rows - target_rows
        squares = errors**2
        if isinstance(squares, np.ndarray) and not np.isfinite(squares).all():
            raise ValueError(
                "prediction and target must be finite, and so must be their squared errors"
            )
        value, sorting = soft_sort_forward(squares, **options)
        loss = value[:, : n - trimmed].mean(axis=-1, keepdims=True)
        residuals = TrimmedSquaresResiduals(sorting, errors, trimmed, dtype, shape, axis)
        return one_each(loss, shape, axis, dtype), residuals


def trimmed_squares_loss_backward(residuals, grad):
    """
    Compute the gradient of `trimmed_squares_loss` with respect to the predictions.

    That with respect to the targets is its negative.

    Parameters
    ----------
    residuals : TrimmedSquaresResiduals
        As `trimmed_squares_loss_forward` returned it.
    grad : array_like
        Gradient with respect to the losses, of their shape and type; a number, if there is one.

    Returns
    -------
    ndarray, of the shape of `prediction`

    Raises
    ------
    ValueError
        If `grad` has not the shape of the losses.
    TypeError
        If `grad` has not their type, or `residuals` is something else.

    Examples
    --------
    See `trimmed_squares_loss_forward`.
    """
    check_residuals(residuals, TrimmedSquaresResiduals)
    sorting, errors, trimmed, dtype, shape, axis = residuals
    kept = errors.shape[-1] - trimmed
    losses_grad = check_losses_grad(grad, shape, axis, dtype, errors)
    with device_of(errors):
        sorted_grad = namespace_of(errors).zeros_like(errors)
        sorted_grad[:, :kept] = losses_grad / kept
        gradient = 2 * errors * soft_sort_backward(sorting, sorted_grad)
        return from_rows(gradient.astype(dtype), shape, axis)


def check_pair(first, second, name, axis):
    """Return the type and shape of the first array, the axis, and both as rows of float64."""
    first_name = {"relevance": "scores"}.get(name, "prediction")
    namespace(**{first_name: first, name: second})
    first, rows, axis = check_rows(first, axis, first_name)
    if first.shape[axis] == 0:
        raise ValueError(
            f"{first_name} must have at least one entry along the axis, "
            f"but has the shape {first.shape}"
        )
    refuse_nan(rows, first_name)
    second = real_array(second, name, first.dtype)
    if second.shape != first.shape:
        raise ValueError(
            f"{name} must have the shape of {first_name}, {first.shape}, not {second.shape}"
        )
    with device_of(first):
        second_rows = to_rows(second, axis).astype(np.float64)
        return first.dtype, first.shape, axis, rows.astype(np.float64), second_rows


def refuse_nan(rows, name):
    """Raise ValueError if there is NaN; of CuPy arrays, such rows have NaN as their loss."""
    if isinstance(rows, np.ndarray) and np.isnan(rows).any():
        raise ValueError(f"{name} must not have NaN entries")


def normalise(ranks):
    """Return centred ranks of length 1, or 0 where all are equal, and the lengths before."""
    xp, n = namespace_of(ranks), ranks.shape[-1]
    centred = ranks - (n + 1) / 2
    length = xp.sqrt((centred**2).sum(axis=-1, keepdims=True))
    return centred / xp.where(length == 0, 1, length), length


def one_each(losses, shape, axis, dtype):
    """Return losses of rows, as an array with the shape of the losses, or as a scalar."""
    loss_shape = (*shape[:axis], *shape[axis + 1 :])
    return losses.reshape(loss_shape).astype(dtype)[()]


def check_losses_grad(grad, shape, axis, dtype, of):
    """Return the gradient with respect to the losses as a column, in float64."""
    loss_shape = (*shape[:axis], *shape[axis + 1 :])
    grad = check_small_grad(grad, loss_shape, dtype, "the losses", of)
    with device_of(grad):
        return grad.astype(np.float64).reshape(-1, 1)


def ranking_gradient(residuals, grad):
    """Return the gradient of a loss from its slope with respect to the ranks."""
    ranking, slope, dtype, shape, axis = residuals
    grad = check_losses_grad(grad, shape, axis, dtype, slope)
    with device_of(slope):
        gradient = soft_rank_backward(ranking, slope * grad)
        return from_rows(gradient.astype(dtype), shape, axis)
