r"""Transformations of paths to take before the signature, and their gradients.

The names are those of Morrill, Fermanian, Kidger and Lyons, "A generalised signature method for
multivariate time series feature extraction" (2020, arXiv:2006.00873), section 2.2. All are linear
maps, or affine ones, of arrays (..., length, channels); their gradients keep no arrays. Beside the
result they need no memory worth mentioning.

Ragged batches: what stands behind the end of a path may be anything, as in `signature`, whose
`lengths` then is, for paths of the lengths n,

===================================== =========
`time_augment`, `cumulative_sum`      n
`basepoint_augment`                   n + 1
`invisibility_reset_augment`          n + 2
`lead_lag`                            2 n - 1
===================================== =========
"""

from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    boolean,
    check_broadcast,
    check_residuals,
    device_of,
    empty,
    grad_array,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig.signatures.signature import check_lengths

__all__ = [
    "BasepointAugmentGradients",
    "BasepointAugmentResiduals",
    "CumulativeSumResiduals",
    "InvisibilityResetAugmentResiduals",
    "LeadLagResiduals",
    "TimeAugmentGradients",
    "TimeAugmentResiduals",
    "basepoint_augment",
    "basepoint_augment_backward",
    "basepoint_augment_forward",
    "cumulative_sum",
    "cumulative_sum_backward",
    "cumulative_sum_forward",
    "invisibility_reset_augment",
    "invisibility_reset_augment_backward",
    "invisibility_reset_augment_forward",
    "lead_lag",
    "lead_lag_backward",
    "lead_lag_forward",
    "time_augment",
    "time_augment_backward",
    "time_augment_forward",
]


class TimeAugmentResiduals(NamedTuple):
    """What `time_augment_backward` needs."""

    shape: tuple[int, ...]
    dtype: np.dtype
    times_shape: tuple[int, ...] | None
    last: bool


class TimeAugmentGradients(NamedTuple):
    """The gradients of `time_augment`; None for times that were not given."""

    path: Array
    times: Array  # or None


class LeadLagResiduals(NamedTuple):
    """What `lead_lag_backward` needs."""

    shape: tuple[int, ...]
    dtype: np.dtype


class BasepointAugmentResiduals(NamedTuple):
    """What `basepoint_augment_backward` needs."""

    shape: tuple[int, ...]
    dtype: np.dtype
    basepoint_shape: tuple[int, ...] | None


class BasepointAugmentGradients(NamedTuple):
    """The gradients of `basepoint_augment`; None for a basepoint that was not given."""

    path: Array
    basepoint: Array  # or None


class InvisibilityResetAugmentResiduals(NamedTuple):
    """What `invisibility_reset_augment_backward` needs."""

    lengths: np.ndarray | None
    shape: tuple[int, ...]
    dtype: np.dtype
    last: bool


class CumulativeSumResiduals(NamedTuple):
    """What `cumulative_sum_backward` needs."""

    shape: tuple[int, ...]
    dtype: np.dtype


# ------------------------------------------------------------------------------------ time_augment


def time_augment(path, times=None, *, last=True, lengths=None):
    """
    Give paths a channel with the time, so that the signature depends on how fast they are.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        float32 and float64 keep their type; integers and bools become float64.
    times : array_like, shape (..., length), optional
        The time of each point; broadcast to the leading axes of `path`. By default times are at
        equal distances from 0 to 1 over each path.
    last : bool
        Whether the time is the last channel, instead of the first.
    lengths : array_like of int, shape (...), optional
        How many points of each path count, from 1 to `length`; broadcast to the leading axes of
        `path`. The times of points from 0 to 1 then end there. Not with `times`.

    Returns
    -------
    ndarray, shape (..., length, channels + 1)

    Raises
    ------
    ValueError
        If a shape does not fit, or both `times` and `lengths` are given.
    TypeError
        If an argument has the wrong type; `times` must have that of `path`.

    See Also
    --------
    time_augment_forward, time_augment_backward : the same with gradients.

    Examples
    --------
    >>> import pysig
    >>> pysig.time_augment([[3.0], [4.0], [6.0]])
    array([[3. , 0. ],
           [4. , 0.5],
           [6. , 1. ]])
    >>> pysig.time_augment([[3.0], [4.0], [6.0]], times=[0.0, 10.0, 11.0], last=False)
    array([[ 0.,  3.],
           [10.,  4.],
           [11.,  6.]])
    """
    return time_augment_forward(path, times, last=last, lengths=lengths)[0]


def time_augment_forward(path, times=None, *, last=True, lengths=None):
    """
    Give paths a channel with the time, and return what the gradient needs.

    The parameters are those of `time_augment`.

    Returns
    -------
    augmented : ndarray
        As `time_augment` returns it.
    residuals : TimeAugmentResiduals
        For `time_augment_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.time_augment_forward([[3.0], [4.0]], [0.0, 10.0])
    >>> gradients = pysig.time_augment_backward(residuals, [[1.0, 2.0], [3.0, 4.0]])
    >>> gradients.path
    array([[1.],
           [3.]])
    >>> gradients.times
    array([2., 4.])
    """
    namespace(path=path, times=times)
    path = check_path(path)
    last = boolean(last, "last")
    if times is not None:
        times = real_array(times, "times", path.dtype)
        check_broadcast(times, path.shape[:-1], "times", "(..., length)")
        if times.ndim == 0:
            raise ValueError("times must have the shape (..., length), not ()")
        if lengths is not None:
            raise ValueError("lengths must not be given together with times, which say it all")
    with device_of(path):
        xp = namespace_of(path)
        times_shape = None if times is None else times.shape
        if times is None:
            times = xp.asarray(uniform_times(path, lengths), dtype=path.dtype)
        shape = (*path.shape[:-1], path.shape[-1] + 1)
        result = empty(xp, shape, path.dtype, "the path with time")
        channels, time = split_channels(result, last)
        channels[...] = path
        time[...] = times
    return result, TimeAugmentResiduals(path.shape, path.dtype, times_shape, last)


def time_augment_backward(residuals, grad):
    """
    Compute the gradients of `time_augment`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : TimeAugmentResiduals
        As `time_augment_forward` returned it.
    grad : array_like
        Gradient with respect to the result, of its shape and type.

    Returns
    -------
    TimeAugmentGradients
        path : ndarray of the shape given.
        times : ndarray of the shape given, or None.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `time_augment_forward`.
    """
    check_residuals(residuals, TimeAugmentResiduals)
    *leading, channels = residuals.shape
    grad = grad_array(grad, (*leading, channels + 1), residuals.dtype)
    with device_of(grad):
        path_gradient, time_gradient = split_channels(grad, residuals.last)
        if residuals.times_shape is None:
            return TimeAugmentGradients(path_gradient.copy(), None)
        times_gradient = sum_to_shape(time_gradient.copy(), residuals.times_shape)
        return TimeAugmentGradients(path_gradient.copy(), times_gradient)


def uniform_times(path, lengths):
    """Return times from 0 to 1 on the host, of shape (length), or for each of the lengths."""
    points = np.arange(path.shape[-2], dtype=np.float64)
    if lengths is None:
        return points / max(path.shape[-2] - 1, 1)
    lengths = check_lengths(lengths, path)
    return np.minimum(points / np.maximum(lengths - 1, 1)[..., None], 1.0)


# ---------------------------------------------------------------------------------------- lead_lag


def lead_lag(path):
    r"""
    Make a path of each path and a copy of it that lags behind.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        float32 and float64 keep their type; integers and bools become float64.

    Returns
    -------
    ndarray, shape (..., 2 length - 1, 2 channels)
        The points (x₁, x₁), (x₂, x₁), (x₂, x₂), (x₃, x₂), …: the channels of the lead first.

    Raises
    ------
    ValueError
        If `path` has not at least one point and one channel.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    lead_lag_forward, lead_lag_backward : the same with gradients.

    Notes
    -----
    The signature of the result knows the quadratic variation (Flint, Hambly and Lyons, "Discretely
    sampled signals and the rough Hoff process", 2016): the coefficients of level two for (lead i,
    lag j), minus those for (lag i, lead j), are :math:`\sum_t z^i_t z^j_t` for increments z.
    The result takes four times the memory of `path`.

    Examples
    --------
    >>> import pysig
    >>> pysig.lead_lag([[3.0], [4.0], [6.0]])
    array([[3., 3.],
           [4., 3.],
           [4., 4.],
           [6., 4.],
           [6., 6.]])
    """
    return lead_lag_forward(path)[0]


def lead_lag_forward(path):
    """
    Make lead-lag paths, and return what the gradient needs.

    The parameters are those of `lead_lag`.

    Returns
    -------
    lead_lag : ndarray
        As `lead_lag` returns it.
    residuals : LeadLagResiduals
        For `lead_lag_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.lead_lag_forward([[3.0], [4.0]])
    >>> pysig.lead_lag_backward(residuals, [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    array([[ 7.],
           [14.]])
    """
    path = check_path(path)
    *batch_shape, length, channels = path.shape
    with device_of(path):
        shape = (*batch_shape, 2 * length - 1, 2 * channels)
        result = empty(namespace_of(path), shape, path.dtype, "the lead-lag path")
        lead, lag = result[..., :channels], result[..., channels:]
        lead[..., ::2, :] = path
        lead[..., 1::2, :] = path[..., 1:, :]
        lag[..., ::2, :] = path
        lag[..., 1::2, :] = path[..., :-1, :]
    return result, LeadLagResiduals(path.shape, path.dtype)


def lead_lag_backward(residuals, grad):
    """
    Compute the gradient of `lead_lag`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : LeadLagResiduals
        As `lead_lag_forward` returned it.
    grad : array_like
        Gradient with respect to the result, of its shape and type.

    Returns
    -------
    ndarray of the shape of the path

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `lead_lag_forward`.
    """
    check_residuals(residuals, LeadLagResiduals)
    *batch_shape, length, channels = residuals.shape
    grad = grad_array(grad, (*batch_shape, 2 * length - 1, 2 * channels), residuals.dtype)
    with device_of(grad):
        lead, lag = grad[..., :channels], grad[..., channels:]
        result = lead[..., ::2, :] + lag[..., ::2, :]
        result[..., 1:, :] += lead[..., 1::2, :]
        result[..., :-1, :] += lag[..., 1::2, :]
        return result


# ------------------------------------------------------------------------------- basepoint_augment


def basepoint_augment(path, basepoint=None):
    """
    Put a point before paths, so that the signature depends on where they begin.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        float32 and float64 keep their type; integers and bools become float64.
    basepoint : array_like, shape (..., channels), optional
        The point; broadcast to the leading axes of `path`. By default the origin.

    Returns
    -------
    ndarray, shape (..., length + 1, channels)

    Raises
    ------
    ValueError
        If a shape does not fit.
    TypeError
        If an argument has the wrong type; `basepoint` must have that of `path`.

    See Also
    --------
    basepoint_augment_forward, basepoint_augment_backward : the same with gradients.
    signature : its option `basepoint` does the same without a copy of the path.

    Examples
    --------
    >>> import pysig
    >>> pysig.basepoint_augment([[3.0], [4.0]])
    array([[0.],
           [3.],
           [4.]])
    """
    return basepoint_augment_forward(path, basepoint)[0]


def basepoint_augment_forward(path, basepoint=None):
    """
    Put a point before paths, and return what the gradient needs.

    The parameters are those of `basepoint_augment`.

    Returns
    -------
    augmented : ndarray
        As `basepoint_augment` returns it.
    residuals : BasepointAugmentResiduals
        For `basepoint_augment_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.basepoint_augment_forward([[3.0], [4.0]], [1.0])
    >>> pysig.basepoint_augment_backward(residuals, [[1.0], [2.0], [3.0]]).basepoint
    array([1.])
    """
    namespace(path=path, basepoint=basepoint)
    path = check_path(path)
    *batch_shape, length, channels = path.shape
    if basepoint is not None:
        basepoint = real_array(basepoint, "basepoint", path.dtype)
        if basepoint.ndim == 0 or basepoint.shape[-1] != channels:
            raise ValueError(
                f"basepoint must have the shape (..., channels) with the last axis {channels}, "
                f"not {basepoint.shape}"
            )
        check_broadcast(basepoint, (*batch_shape, channels), "basepoint", "(..., channels)")
    with device_of(path):
        shape = (*batch_shape, length + 1, channels)
        result = empty(namespace_of(path), shape, path.dtype, "the path with a basepoint")
        result[..., 0, :] = 0 if basepoint is None else basepoint
        result[..., 1:, :] = path
    basepoint_shape = None if basepoint is None else basepoint.shape
    return result, BasepointAugmentResiduals(path.shape, path.dtype, basepoint_shape)


def basepoint_augment_backward(residuals, grad):
    """
    Compute the gradients of `basepoint_augment`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : BasepointAugmentResiduals
        As `basepoint_augment_forward` returned it.
    grad : array_like
        Gradient with respect to the result, of its shape and type.

    Returns
    -------
    BasepointAugmentGradients
        path : ndarray of the shape given.
        basepoint : ndarray of the shape given, or None.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `basepoint_augment_forward`.
    """
    check_residuals(residuals, BasepointAugmentResiduals)
    *batch_shape, length, channels = residuals.shape
    grad = grad_array(grad, (*batch_shape, length + 1, channels), residuals.dtype)
    with device_of(grad):
        path_gradient = grad[..., 1:, :].copy()
        if residuals.basepoint_shape is None:
            return BasepointAugmentGradients(path_gradient, None)
        first = sum_to_shape(grad[..., 0, :].copy(), residuals.basepoint_shape)
        return BasepointAugmentGradients(path_gradient, first)


# ---------------------------------------------------------------------- invisibility_reset_augment


def invisibility_reset_augment(path, *, last=True, lengths=None):
    """
    Give paths a channel of ones that goes to zero at their end, before they go to the origin.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        float32 and float64 keep their type; integers and bools become float64.
    last : bool
        Whether the channel that is added is the last one, instead of the first.
    lengths : array_like of int, shape (...), optional
        How many points of each path count, from 1 to `length`; broadcast to the leading axes of
        `path`. What is added then stands behind them, and zeros behind that.

    Returns
    -------
    ndarray, shape (..., length + 2, channels + 1)
        The points (x₁, 1), …, (xₙ, 1), (xₙ, 0), (0, 0).

    Raises
    ------
    ValueError
        If a shape does not fit.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    invisibility_reset_augment_forward, invisibility_reset_augment_backward : with gradients.

    Notes
    -----
    The signature then depends on where the path is, and not only on how it moves: its coefficients
    for words with one letter for the new channel are those of the path with a basepoint (Yang,
    Lyons, Ni, Schmid and Jin, "Developing the path signature methodology and its application to
    landmark-based human action recognition", 2017, arXiv:1707.03993).

    Examples
    --------
    >>> import pysig
    >>> pysig.invisibility_reset_augment([[3.0], [4.0]])
    array([[3., 1.],
           [4., 1.],
           [4., 0.],
           [0., 0.]])
    """
    return invisibility_reset_augment_forward(path, last=last, lengths=lengths)[0]


def invisibility_reset_augment_forward(path, *, last=True, lengths=None):
    """
    Add the channel and the points of `invisibility_reset_augment`, and return the residuals.

    The parameters are those of `invisibility_reset_augment`.

    Returns
    -------
    augmented : ndarray
        As `invisibility_reset_augment` returns it.
    residuals : InvisibilityResetAugmentResiduals
        For `invisibility_reset_augment_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> value, residuals = pysig.invisibility_reset_augment_forward([[3.0], [4.0]])
    >>> pysig.invisibility_reset_augment_backward(residuals, np.ones((4, 2)))
    array([[1.],
           [2.]])
    """
    path = check_path(path)
    last = boolean(last, "last")
    if lengths is not None:
        lengths = np.broadcast_to(check_lengths(lengths, path), path.shape[:-2])
    residuals = InvisibilityResetAugmentResiduals(lengths, path.shape, path.dtype, last)
    *batch_shape, length, channels = path.shape
    with device_of(path):
        xp = namespace_of(path)
        shape = (*batch_shape, length + 2, channels + 1)
        result = xp.zeros(shape, path.dtype)
        points, visible = split_channels(result, last)
        if lengths is None:
            points[..., :length, :] = path
            points[..., length, :] = path[..., -1, :]
            visible[..., :length] = 1
        else:
            before, end, source = ends(xp, lengths, length)
            points[..., :length, :] = xp.where(before, path, 0)
            points += xp.where(end, xp.take_along_axis(path, source, axis=-2), 0)
            visible[..., :length] = before[..., 0]
    return result, residuals


def invisibility_reset_augment_backward(residuals, grad):
    """
    Compute the gradient of `invisibility_reset_augment`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : InvisibilityResetAugmentResiduals
        As `invisibility_reset_augment_forward` returned it.
    grad : array_like
        Gradient with respect to the result, of its shape and type.

    Returns
    -------
    ndarray of the shape of the path
        Zero for points that `lengths` leaves out.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `invisibility_reset_augment_forward`.
    """
    check_residuals(residuals, InvisibilityResetAugmentResiduals)
    lengths, shape, dtype, last = residuals
    *batch_shape, length, channels = shape
    grad = grad_array(grad, (*batch_shape, length + 2, channels + 1), dtype)
    with device_of(grad):
        xp = namespace_of(grad)
        points, _ = split_channels(grad, last)
        if lengths is None:
            result = points[..., :length, :].copy()
            result[..., -1, :] += points[..., length, :]
            return result
        before, end, source = ends(xp, lengths, length)
        result = xp.where(before, points[..., :length, :], 0)
        at_end = xp.where(end, points, 0).sum(axis=-2, keepdims=True)
        is_last = xp.arange(length)[:, None] == source
        return result + xp.where(is_last, at_end, 0)


def ends(xp, lengths, length):
    """Return masks of the points that count and of the one behind them, and the last that counts.

    Their shapes are (..., length, 1), (..., length + 2, 1) and (..., 1, 1).
    """
    lengths = xp.asarray(lengths)[..., None, None]
    points = xp.arange(length + 2)[:, None]
    return points[:length] < lengths, points == lengths, lengths - 1


# ---------------------------------------------------------------------------------- cumulative_sum


def cumulative_sum(path):
    """
    Compute the sums of the points of paths up to each point.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        float32 and float64 keep their type; integers and bools become float64.

    Returns
    -------
    ndarray, shape (..., length, channels)
        x₁, x₁ + x₂, …. Its signature with `basepoint=True` has the points as increments.

    Raises
    ------
    ValueError
        If `path` has not at least one point and one channel.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    cumulative_sum_forward, cumulative_sum_backward : the same with gradients.

    Examples
    --------
    >>> import pysig
    >>> pysig.cumulative_sum([[3.0], [4.0], [6.0]])
    array([[ 3.],
           [ 7.],
           [13.]])
    """
    return cumulative_sum_forward(path)[0]


def cumulative_sum_forward(path):
    """
    Compute cumulative sums of paths, and return what the gradient needs.

    The parameters are those of `cumulative_sum`.

    Returns
    -------
    sums : ndarray
        As `cumulative_sum` returns it.
    residuals : CumulativeSumResiduals
        For `cumulative_sum_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.cumulative_sum_forward([[3.0], [4.0], [6.0]])
    >>> pysig.cumulative_sum_backward(residuals, [[1.0], [1.0], [1.0]])
    array([[3.],
           [2.],
           [1.]])
    """
    path = check_path(path)
    with device_of(path):
        return path.cumsum(axis=-2), CumulativeSumResiduals(path.shape, path.dtype)


def cumulative_sum_backward(residuals, grad):
    """
    Compute the gradient of `cumulative_sum`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : CumulativeSumResiduals
        As `cumulative_sum_forward` returned it.
    grad : array_like
        Gradient with respect to the result, of its shape and type.

    Returns
    -------
    ndarray of the shape of the path

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `cumulative_sum_forward`.
    """
    check_residuals(residuals, CumulativeSumResiduals)
    grad = grad_array(grad, residuals.shape, residuals.dtype)
    with device_of(grad):
        xp = namespace_of(grad)
        return xp.ascontiguousarray(grad[..., ::-1, :].cumsum(axis=-2)[..., ::-1, :])


# ----------------------------------------------------------------------------------------- helpers


def check_path(path):
    """Return the path as an array with at least one point and one channel."""
    path = real_array(path, "path")
    if path.ndim < 2 or path.shape[-2] == 0 or path.shape[-1] == 0:
        raise ValueError(
            "path must have the shape (..., length, channels), with at least one point and one "
            f"channel, not {path.shape}"
        )
    return path


def split_channels(array, last):
    """Return the channels of a path, and the channel that was added to them."""
    if last:
        return array[..., :-1], array[..., -1]
    return array[..., 1:], array[..., 0]
