r"""The signature of a path, and its gradient.

The signature of a path :math:`x` with values in :math:`\mathbb{R}^d` is the sequence of its
iterated integrals, one for each word :math:`(i_1, \dots, i_k)` over the letters 0 to d - 1,

.. math:: S^{(i_1, \dots, i_k)} = \int_{t_1 < \dots < t_k} dx^{i_1}_{t_1} \cdots dx^{i_k}_{t_k},

here for words of length 1 to `depth`. Points given in an array are joined by straight lines; with
:math:`z_t = x_{t+1} - x_t` the signature is the product :math:`\exp(z_1) \otimes \dots \otimes
\exp(z_{L-1})` in the tensor algebra (Chen's identity). Each factor costs about
:math:`d^N (d / (d - 1))^2` multiplications and additions for depth N, by Horner's rule (Kidger and
Lyons, "Signatory", ICLR 2021, arXiv:2001.00706, for forward and backward alike).

The gradient is computed from the states before each step, which are kept at intervals and computed
again between them. It is exact on long and on rough paths alike.
"""

import functools
import sys
from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    boolean,
    broadcast,
    check_broadcast,
    check_residuals,
    dispatch,
    empty,
    integer,
    integer_array,
    namespace,
    real_array,
    sum_to_shape,
)
from pysig._core.signatures import signature as cpu_kernel

__all__ = [
    "SignatureGradients",
    "SignatureResiduals",
    "signature",
    "signature_backward",
    "signature_channels",
    "signature_forward",
]

LARGEST_DEPTH = 64


class SignatureResiduals(NamedTuple):
    """
    What `signature_backward` needs: the inputs and options of `signature_forward`.

    And, where that is little, states between, which would otherwise be computed again: `kept`.
    """

    path: Array
    basepoint: Array  # or True, or None
    initial: Array  # or None
    lengths: np.ndarray | None
    depth: int
    stream: bool
    inverse: bool
    scalar_term: bool
    kept: np.ndarray | None = None


class SignatureGradients(NamedTuple):
    """The gradients of `signature`; None for an input that was not given as an array."""

    path: Array
    basepoint: Array  # or None
    initial: Array  # or None


def signature_channels(channels, depth, scalar_term=False):
    """
    Return how many numbers a signature has: one for each word of at most `depth` letters.

    Parameters
    ----------
    channels : int
        Number of letters: the dimension of the space the path is in, at least 1.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the empty word counts, too.

    Returns
    -------
    int
        channels + channels² + … + channels^depth, and 1 more with `scalar_term`.

    Raises
    ------
    ValueError
        If `channels` or `depth` is out of range, or no array could have so many elements.
    TypeError
        If they are not integers.

    Examples
    --------
    >>> import pysig
    >>> pysig.signature_channels(3, 4)
    120
    """
    channels = integer(channels, "channels", 1, sys.maxsize)
    depth = integer(depth, "depth", 1, LARGEST_DEPTH)
    return count_words(channels, depth) + boolean(scalar_term, "scalar_term")


@functools.lru_cache(maxsize=256)
def count_words(channels, depth):
    """Return channels + ... + channels**depth, or raise ValueError if no array has that size."""
    words = sum(channels**length for length in range(1, depth + 1))
    if words >= sys.maxsize:
        raise ValueError(
            f"depth {depth} is too large for {channels} channels: "
            f"a signature would have {words} numbers"
        )
    return words


def signature(
    path,
    depth,
    *,
    stream=False,
    basepoint=None,
    initial=None,
    inverse=False,
    scalar_term=False,
    lengths=None,
):
    r"""
    Compute the signature of paths.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        Points of one path, or of many along any leading axes. float32 and float64 are computed in
        their own type; integers and bools become float64.
    depth : int
        Length of the longest words, from 1 to 64.
    stream : bool
        Give the signature of every prefix of the path, instead of that of the whole path only.
    basepoint : None, True or array_like, shape (..., channels)
        A point to put before each path, so that the signature depends on where the path begins:
        the origin if True. An array is broadcast to the leading axes of `path`.
    initial : array_like, shape (..., signature_channels), optional
        A signature to continue from, of the same depth and `scalar_term`; broadcast to the
        leading axes of `path`. The result is initial ⊗ S(path), with `inverse`
        S(path)\ :sup:`-1` ⊗ initial. A scalar term in it is taken to be 1.
    inverse : bool
        Give the inverse element, the signature of the path run through backwards; with `stream`,
        that of every prefix.
    scalar_term : bool
        Put the coefficient of the empty word, 1, in front.
    lengths : array_like of int, shape (...), optional
        How many points of each path count, from 1 to `length`; broadcast to the leading axes of
        `path`. The points after them are not read, and may be NaN. With `stream`, the last
        signature is repeated.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        Words of length 1 first; those of one length in lexicographic order, the letter that comes
        first in time being the first. With `stream` the shape is (..., steps, signature_channels),
        where steps is length - 1, or length with a basepoint. A single point without a basepoint
        has no steps: its signature is the unit, all zeros (but for the scalar term).

    Raises
    ------
    ValueError
        If a shape does not fit, a size or a length is out of range, or the result would be larger
        than any memory.
    TypeError
        If an argument has the wrong type; `basepoint` and `initial` must have the floating-point
        type of `path`. If NumPy and CuPy arrays are mixed.

    See Also
    --------
    signature_forward, signature_backward : the same with gradients.
    signature_channels : the length of the last axis of the result.

    Notes
    -----
    NaN and infinity spread within their own path, and nowhere else. Memory: beside the result,
    each thread needs a few hundred KiB, or, where a signature is larger than some MiB, room for
    one signature. The result does not depend on the number of threads.

    Examples
    --------
    A straight line from the origin to (2, 3) has the iterated integrals (2, 3), and half of the
    products of its coordinates:

    >>> import numpy as np
    >>> import pysig
    >>> pysig.signature([[0.0, 0.0], [2.0, 3.0]], depth=2)
    array([2. , 3. , 2. , 3. , 3. , 4.5])
    >>> paths = np.random.default_rng(0).normal(size=(32, 100, 4))
    >>> pysig.signature(paths, depth=3).shape
    (32, 84)
    """
    return evaluate(check(path, depth, stream, basepoint, initial, inverse, scalar_term, lengths))


def signature_forward(
    path,
    depth,
    *,
    stream=False,
    basepoint=None,
    initial=None,
    inverse=False,
    scalar_term=False,
    lengths=None,
):
    """
    Compute the signature of paths, and what its gradient needs.

    The parameters are those of `signature`.

    Returns
    -------
    signature : ndarray
        As `signature` returns it.
    residuals : SignatureResiduals
        For `signature_backward`. It refers to the arrays given, which must not change meanwhile.

    Notes
    -----
    The residuals have memory of their own where that saves time: for NumPy arrays, depths of at
    least 3, without `stream`, and paths of more than some 32 steps, the levels up to `depth` - 1 of
    the signature so far, every some 32 steps or less often, so that they take at most 8 MiB for all
    paths together; and the signatures of the pieces into which a few long paths are cut, at most
    2^20 numbers. If states so seldom were of no use, nothing is kept.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.signature_forward([[0.0, 0.0], [2.0, 3.0]], depth=2)
    >>> gradients = pysig.signature_backward(residuals, [0, 0, 1, 0, 0, 0])
    >>> gradients.path
    array([[-2.,  0.],
           [ 2.,  0.]])
    """
    residuals = check(path, depth, stream, basepoint, initial, inverse, scalar_term, lengths)
    value, kept = dispatch(residuals.path, cpu_kernel, evaluate_and_keep, residuals)
    return value, residuals._replace(kept=kept)


def signature_backward(residuals, grad):
    """
    Compute the gradients of `signature`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureResiduals
        As `signature_forward` returned it.
    grad : array_like
        Gradient with respect to the signature, of its shape and type.

    Returns
    -------
    SignatureGradients
        path : ndarray, shape (..., length, channels). Zero for points that `lengths` leaves out.
        basepoint : ndarray of the shape given, or None if no array was given.
        initial : ndarray of the shape given, or None. Zero for the scalar term.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the signature.
    TypeError
        If `grad` has not the type of the signature, or `residuals` is something else.

    Notes
    -----
    Memory: beside the result, each thread keeps states of `depth` - 1 for about √length steps, of
    as many paths as fit a vector register (of a single path where a signature is large), and two
    blocks of the size of a signature. Of long paths of which there are few, which are cut into
    pieces, as of all whose residuals have states, at most 8 MiB of states are kept. At depth 2,
    without `stream`, no states are kept, but a matrix of the size of a signature.

    Examples
    --------
    See `signature_forward`.
    """
    check_residuals(residuals, SignatureResiduals)
    path = residuals.path
    namespace(path=path, grad=grad)
    grad = real_array(grad, "grad", path.dtype)
    shape = result_shape(residuals)
    if grad.shape != shape:
        raise ValueError(f"grad must have the shape of the signature, {shape}, not {grad.shape}")
    return dispatch(path, cpu_kernel, evaluate_gradients, residuals, grad)


def evaluate_gradients(xp, kernel, residuals, grad, *lyndon):
    """Return the gradients; `grad` has been checked. lyndon: what the logsignature adds."""
    path, basepoint, initial = residuals[:3]
    *batch_shape, _, channels = path.shape
    words = count_words(channels, residuals.depth)
    allocate = xp.empty if grad.size else xp.zeros  # the kernel writes all there is
    path_gradient = allocate(path.shape, path.dtype)
    basepoint_gradient = initial_gradient = None
    if basepoint is not None and basepoint is not True:
        basepoint_gradient = allocate((*batch_shape, channels), path.dtype)
    if initial is not None:
        initial_gradient = allocate((*batch_shape, words), path.dtype)
    if grad.size:
        kernel.backward(
            grad,
            path_gradient,
            basepoint_gradient,
            initial_gradient,
            *kernel_arguments(xp, residuals),
            *(lyndon if residuals.kept is None else (residuals.kept,)),
        )
    if basepoint_gradient is not None:
        basepoint_gradient = sum_to_shape(basepoint_gradient, residuals.basepoint.shape)
    if initial_gradient is not None:
        if residuals.scalar_term:
            zeros = xp.zeros_like(initial_gradient[..., :1])
            initial_gradient = xp.concatenate((zeros, initial_gradient), axis=-1)
        initial_gradient = sum_to_shape(initial_gradient, residuals.initial.shape)
    return SignatureGradients(path_gradient, basepoint_gradient, initial_gradient)


def check(path, depth, stream, basepoint, initial, inverse, scalar_term, lengths):
    """Check all arguments, and return them with arrays converted."""
    namespace(path=path, basepoint=basepoint, initial=initial)
    path = real_array(path, "path")
    if path.ndim < 2 or path.shape[-2] == 0 or path.shape[-1] == 0:
        raise ValueError(
            "path must have the shape (..., length, channels), with at least one point and one "
            f"channel, not {path.shape}"
        )
    depth = integer(depth, "depth", 1, LARGEST_DEPTH)
    scalar_term = boolean(scalar_term, "scalar_term")
    channels = count_words(path.shape[-1], depth) + scalar_term
    if basepoint is False:
        basepoint = None
    elif basepoint is not None and basepoint is not True:
        basepoint = real_array(basepoint, "basepoint", path.dtype)
        check_words(basepoint, path, path.shape[-1], "basepoint", "(..., channels)")
    if initial is not None:
        initial = real_array(initial, "initial", path.dtype)
        check_words(initial, path, channels, "initial", "(..., signature_channels)")
    if lengths is not None:
        lengths = check_lengths(lengths, path)
    return SignatureResiduals(
        path,
        basepoint,
        initial,
        lengths,
        depth,
        boolean(stream, "stream"),
        boolean(inverse, "inverse"),
        scalar_term,
    )


def check_words(array, path, last, name, allowed):
    """Raise ValueError unless `array` broadcasts to path's leading axes and one of `last`."""
    shape = (*path.shape[:-2], last)
    if array.ndim == 0 or array.shape[-1] != last:
        raise ValueError(
            f"{name} must have the shape {allowed} with the last axis {last}, "
            f"and broadcast to {shape}, not {array.shape}"
        )
    check_broadcast(array, shape, name, allowed)


def check_lengths(lengths, path):
    """Return `lengths` as a NumPy array of intp, each checked."""
    lengths = integer_array(lengths, "lengths")
    length = path.shape[-2]
    if lengths.size and not (lengths.min() >= 1 and lengths.max() <= length):
        raise ValueError(
            f"lengths must be between 1 and {length}, the length of the paths, but range from "
            f"{lengths.min()} to {lengths.max()}"
        )
    lengths = lengths.astype(np.intp)
    check_broadcast(lengths, path.shape[:-2], "lengths", "(...), the leading axes of path")
    return lengths


def result_shape(residuals):
    """Return the shape of the signature."""
    *batch_shape, length, channels = residuals.path.shape
    words = count_words(channels, residuals.depth) + residuals.scalar_term
    if residuals.stream:
        return (*batch_shape, length - (residuals.basepoint is None), words)
    return (*batch_shape, words)


def kernel_arguments(xp, residuals):
    """Return what the kernels take: contiguous arrays and numbers."""
    path, basepoint, initial, lengths = residuals[:4]
    *batch_shape, length, channels = path.shape
    longest = length - (basepoint is None)
    steps = order = None
    if basepoint is True:
        basepoint = xp.zeros(channels, path.dtype)
    elif basepoint is not None and basepoint.ndim > 1:
        basepoint = broadcast(basepoint, (*batch_shape, channels))
    if initial is not None:
        if initial.ndim > 1:
            initial = broadcast(initial, (*batch_shape, initial.shape[-1]))
        if residuals.scalar_term:
            initial = xp.ascontiguousarray(initial[..., 1:])
    if lengths is not None:
        lengths = np.broadcast_to(lengths, batch_shape).ravel()
        steps = lengths - (basepoint is None)
        order = np.argsort(-steps, kind="stable")
        longest = int(steps.max(initial=0))
    batch = path.size // (length * channels)
    sizes = (batch, length, channels, residuals.depth, longest)
    options = (residuals.stream, residuals.inverse, residuals.scalar_term)
    return path, basepoint, initial, steps, order, sizes, options


def evaluate(residuals):
    """Return the signature."""
    return dispatch(residuals.path, cpu_kernel, evaluate_signature, residuals)


def evaluate_signature(xp, kernel, residuals, *lyndon):
    """Return the signature, an array of the library xp. lyndon: what the logsignature adds."""
    result = empty_result(xp, residuals)
    if result.size:
        kernel.forward(result, *kernel_arguments(xp, residuals), *lyndon)
    return result


def evaluate_and_keep(xp, kernel, residuals):
    """Return the signature, and what the kernel keeps for the gradient, or None."""
    if xp is not np:
        return evaluate_signature(xp, kernel, residuals), None
    result = empty_result(xp, residuals)
    kept = None
    if result.size:
        arguments = kernel_arguments(xp, residuals)
        size = kernel.kept_size(*arguments[-2:], result.itemsize)
        if size:
            kept = np.empty(size, result.dtype)
        kernel.forward(result, *arguments, kept)
    return result, kept


def empty_result(xp, residuals):
    """Return the array for the signature, with the scalar term in its place."""
    result = empty(xp, result_shape(residuals), residuals.path.dtype, "the signature")
    if residuals.scalar_term:
        result[..., 0] = 1
    return result
