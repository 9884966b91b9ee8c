r"""Paths from signatures, by insertion.

For a path of constant speed over the time from 0 to 1, :math:`k!` times level k of the signature is
the mean of :math:`\dot x_{t_1} \otimes \dots \otimes \dot x_{t_k}` over k random times in order.
One more time, the p-th, concentrates at p / (k + 1) for large k, so that level k + 1 is close to
level k with the velocity there inserted at the p-th place. The velocity for which it is closest,
for p = 1, …, N in level N of a signature, gives the increments of a path with N segments (Chang and
Lyons, "Insertion algorithm for inverting the signature of a path", 2019, arXiv:1907.08423).
"""

from typing import NamedTuple

from pysig._core.array import (
    Array,
    check_broadcast,
    check_residuals,
    device_of,
    grad_array,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig.signatures.algebra import check_tensor, levels

__all__ = [
    "InvertSignatureGradients",
    "InvertSignatureResiduals",
    "invert_signature",
    "invert_signature_backward",
    "invert_signature_forward",
]


class InvertSignatureResiduals(NamedTuple):
    """What `invert_signature_backward` needs."""

    signature: Array
    increments: Array  # (..., depth, channels)
    initial_position: tuple[int, ...] | None  # the shape of the array given
    depth: int
    scalar_term: bool


class InvertSignatureGradients(NamedTuple):
    """The gradients of `invert_signature`; None for an initial position that was not given."""

    signature: Array
    initial_position: Array  # or None


def invert_signature(signature, channels, depth, *, initial_position=None, scalar_term=False):
    r"""
    Compute paths that have signatures close to those given.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures of paths. float32 and float64 keep their type; integers and bools become float64.
    channels : int
        Dimension of the space that the paths are in.
    depth : int
        Length of the longest words, from 1 to 64.
    initial_position : array_like, shape (..., channels), optional
        Where the paths begin, which their signatures do not say; broadcast to the leading axes of
        `signature`. By default the origin.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front.

    Returns
    -------
    ndarray, shape (..., depth + 1, channels)
        The points of a path of `depth` segments.

    Raises
    ------
    ValueError
        If a shape does not fit, or a size is out of range.
    TypeError
        If an argument has the wrong type; `initial_position` must have that of `signature`.

    See Also
    --------
    invert_signature_forward, invert_signature_backward : the same with gradients.

    Notes
    -----
    Straight lines come back exactly, others as averages of the path at constant speed over times of
    the order of 1 / √depth; pieces that a path runs through forwards and backwards are not in its
    signature. Only the last two levels are used. Where the last but one is zero, the path does not
    move. Memory: the inputs and the result.

    Examples
    --------
    A quarter of a circle:

    >>> import numpy as np
    >>> import pysig
    >>> angles = np.linspace(0, np.pi / 2, 100)
    >>> circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    >>> path = pysig.invert_signature(pysig.signature(circle, 10), 2, 10, initial_position=[1.0, 0])
    >>> np.round(path[[0, 5, 10]], 2)
    array([[1.  , 0.  ],
           [0.69, 0.69],
           [0.  , 1.  ]])
    """
    return invert_signature_forward(
        signature, channels, depth, initial_position=initial_position, scalar_term=scalar_term
    )[0]


def invert_signature_forward(
    signature, channels, depth, *, initial_position=None, scalar_term=False
):
    """
    Compute paths that have signatures close to those given, and what the gradient needs.

    The parameters are those of `invert_signature`.

    Returns
    -------
    path : ndarray
        As `invert_signature` returns it.
    residuals : InvertSignatureResiduals
        For `invert_signature_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path, residuals = pysig.invert_signature_forward([2.0, 3.0], 2, 1)
    >>> path
    array([[0., 0.],
           [2., 3.]])
    >>> pysig.invert_signature_backward(residuals, np.ones((2, 2))).signature
    array([1., 1.])
    """
    namespace(signature=signature, initial_position=initial_position)
    checked = check_tensor(signature, channels, depth, scalar_term)
    signature, channels, depth, scalar_term = checked
    if initial_position is not None:
        initial_position = real_array(initial_position, "initial_position", signature.dtype)
        shape = (*signature.shape[:-1], channels)
        if initial_position.ndim == 0 or initial_position.shape[-1] != channels:
            raise ValueError(
                "initial_position must have the shape (..., channels) with the last axis "
                f"{channels}, not {initial_position.shape}"
            )
        check_broadcast(initial_position, shape, "initial_position", "(..., channels)")
    with device_of(signature):
        xp = namespace_of(signature)
        lower, upper, square = last_levels(*checked)
        increments = xp.zeros((*signature.shape[:-1], depth, channels), signature.dtype)
        for p in range(depth):
            increments[..., p, :] = contract(xp, lower, split(upper, channels, depth, p))
        increments /= square[..., None]
        path = xp.zeros((*signature.shape[:-1], depth + 1, channels), signature.dtype)
        if initial_position is not None:
            path += initial_position[..., None, :]
        path[..., 1:, :] += increments.cumsum(axis=-2)
    position_shape = None if initial_position is None else initial_position.shape
    return path, InvertSignatureResiduals(signature, increments, position_shape, depth, scalar_term)


def invert_signature_backward(residuals, grad):
    """
    Compute the gradients of `invert_signature`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : InvertSignatureResiduals
        As `invert_signature_forward` returned it.
    grad : array_like
        Gradient with respect to the path, of its shape and type.

    Returns
    -------
    InvertSignatureGradients
        signature : ndarray of the shape given. Zero for all levels but the last two.
        initial_position : ndarray of the shape given, or None.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the path.
    TypeError
        If `grad` has not the type of the path, or `residuals` is something else.

    Examples
    --------
    See `invert_signature_forward`.
    """
    check_residuals(residuals, InvertSignatureResiduals)
    signature, increments, position_shape, depth, scalar_term = residuals
    namespace(signature=signature, grad=grad)
    *batch_shape, _, channels = increments.shape
    grad = grad_array(grad, (*batch_shape, depth + 1, channels), signature.dtype)
    with device_of(grad):
        xp = namespace_of(grad)
        options = channels, depth, scalar_term
        slopes = grad[..., :0:-1, :].cumsum(axis=-2)[..., ::-1, :]  # of the increments
        lower, upper, square = last_levels(signature, *options)
        result = xp.zeros(signature.shape, signature.dtype)
        targets = [None, *levels(result, *options)]
        for p in range(depth):
            slope = slopes[..., p, :] / square
            target = split(targets[depth], channels, depth, p)
            rows = lower.reshape(*batch_shape, channels**p, 1, channels ** (depth - 1 - p))
            target += rows * slope[..., None, :, None]
            if depth > 1:
                pairing = (split(upper, channels, depth, p) * slope[..., None, :, None]).sum(-2)
                targets[depth - 1] += pairing.reshape(lower.shape)
        if depth > 1:
            inner = (slopes * increments).sum(axis=(-2, -1))[..., None]
            targets[depth - 1] -= lower * (2 * inner / square)
        if position_shape is None:
            return InvertSignatureGradients(result, None)
        return InvertSignatureGradients(result, sum_to_shape(grad.sum(axis=-2), position_shape))


def last_levels(signature, channels, depth, scalar_term):
    """Return the last two levels, and the square of the lower one's norm, or 1 if that is 0.

    An increment is depth times the velocity over depth, and both factors are left out.
    """
    xp = namespace_of(signature)
    found = levels(signature, channels, depth, scalar_term)
    upper = found[-1]
    lower = found[-2] if depth > 1 else xp.ones((*signature.shape[:-1], 1), signature.dtype)
    square = (lower * lower).sum(axis=-1, keepdims=True)
    return lower, upper, xp.where(square == 0, xp.ones((), square.dtype), square)


def split(level, channels, depth, p):
    """Return a level with its letters before the p-th, the p-th, and those behind."""
    return level.reshape(*level.shape[:-1], channels**p, channels, channels ** (depth - 1 - p))


def contract(xp, lower, upper):
    """Return the sums over all letters but the one that was split off."""
    *batch_shape, before, _, behind = upper.shape
    rows = lower.reshape(*batch_shape, before, behind)
    return xp.einsum("...ik,...ijk->...j", rows, upper)
