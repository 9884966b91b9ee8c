r"""The expected signature of a sample of paths, and its gradient.

The mean :math:`\frac{1}{n} \sum_i S(x_i)` of the signatures of :math:`n` paths is for a law on
paths what the moments are for a random vector: if all of it exists, and does not grow too fast, it
determines the law (Chevyrev and Lyons, "Characteristic functions of measures on geometric rough
paths", Annals of Probability 44(6), 2016, arXiv:1307.3580).

The signatures are computed a few paths at a time and added up in float64, so that there are never
more of them than fit the cache.
"""

import math
from typing import NamedTuple

import numpy as np

from pysig._core.array import Array, check_residuals, namespace, namespace_of, real_array
from pysig.signatures.signature import SignatureResiduals, evaluate, signature_backward
from pysig.signatures.signature import check as check_signature

__all__ = [
    "ExpectedSignatureResiduals",
    "expected_signature",
    "expected_signature_backward",
    "expected_signature_forward",
]

CHUNK_BYTES = 2**22  # of signatures
FEWEST_PATHS = 16  # which are computed together


class ExpectedSignatureResiduals(NamedTuple):
    """What `expected_signature_backward` needs: the inputs and options of the forward."""

    paths: Array
    lengths: np.ndarray | None
    depth: int
    basepoint: bool
    scalar_term: bool


def expected_signature(paths, depth, *, basepoint=False, scalar_term=False, lengths=None):
    """
    Compute the mean of the signatures of a sample of paths.

    Parameters
    ----------
    paths : array_like, shape (..., samples, length, channels)
        Points of at least one path, along any leading axes. float32 and float64 are computed in
        their own type; integers and bools become float64.
    depth : int
        Length of the longest words, from 1 to 64.
    basepoint : bool
        Put the origin before each path, so that the signature depends on where the path begins.
    scalar_term : bool
        Put the coefficient of the empty word, 1, in front.
    lengths : array_like of int, shape (..., samples), optional
        How many points of each path count, from 1 to `length`; broadcast to the leading axes of
        `paths`. The points after them are not read, and may be NaN.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        The means, in the order of words of `signature`.

    Raises
    ------
    ValueError
        If a shape does not fit, a size or a length is out of range, or the result would be larger
        than any memory.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    expected_signature_forward, expected_signature_backward : the same with gradients.
    signature : the signature of each path.

    Notes
    -----
    Memory: beside the result, 4 MiB of signatures, or 16 of them if they are larger.

    Examples
    --------
    Steps to the right and to the left: the mean of level two remains.

    >>> import pysig
    >>> pysig.expected_signature([[[0.0], [2.0]], [[0.0], [-2.0]]], depth=2)
    array([0., 2.])
    """
    return evaluate_mean(check(paths, depth, basepoint, scalar_term, lengths))


def expected_signature_forward(paths, depth, *, basepoint=False, scalar_term=False, lengths=None):
    """
    Compute the mean of the signatures of a sample of paths, and what its gradient needs.

    The parameters are those of `expected_signature`.

    Returns
    -------
    mean : ndarray, shape (..., signature_channels)
        As `expected_signature` returns it.
    residuals : ExpectedSignatureResiduals
        For `expected_signature_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> paths = [[[0.0], [2.0]], [[0.0], [-2.0]]]
    >>> mean, residuals = pysig.expected_signature_forward(paths, depth=2)
    >>> pysig.expected_signature_backward(residuals, [0.0, 1.0])
    array([[[-1.],
            [ 1.]],
    <BLANKLINE>
           [[ 1.],
            [-1.]]])
    """
    residuals = check(paths, depth, basepoint, scalar_term, lengths)
    return evaluate_mean(residuals), residuals


def expected_signature_backward(residuals, grad):
    """
    Compute the gradient of `expected_signature`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : ExpectedSignatureResiduals
        As `expected_signature_forward` returned it.
    grad : array_like, shape (..., signature_channels)
        Gradient with respect to the means, of their shape and type.

    Returns
    -------
    ndarray, shape (..., samples, length, channels)
        The gradient with respect to `paths`.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the means.
    TypeError
        If `grad` has not the type of the means, or `residuals` is something else.

    Notes
    -----
    Memory: beside the result, that of `signature_backward` for as many paths as take 4 MiB of
    signatures, or for 16 paths.

    Examples
    --------
    See `expected_signature_forward`.
    """
    check_residuals(residuals, ExpectedSignatureResiduals)
    paths = residuals.paths
    namespace(paths=paths, grad=grad)
    grad = real_array(grad, "grad", paths.dtype)
    shape = (*paths.shape[:-3], words_of(residuals))
    if grad.shape != shape:
        raise ValueError(f"grad must have the shape of the means, {shape}, not {grad.shape}")
    xp = namespace_of(paths)
    each = grad.reshape(-1, shape[-1]) / paths.shape[-3]
    gradient = xp.empty(paths.shape, paths.dtype)
    rows = gradient.reshape(-1, *paths.shape[-3:])
    for row, samples, signature_residuals in chunks(residuals):
        count = signature_residuals.path.shape[0]
        repeated = xp.repeat(each[row].reshape(1, -1), count, axis=0)
        rows[row, samples] = signature_backward(signature_residuals, repeated).path
    return gradient


def check(paths, depth, basepoint, scalar_term, lengths):
    """Check all arguments, and return them with arrays converted."""
    namespace(paths=paths)
    paths = real_array(paths, "paths")
    if paths.ndim < 3 or 0 in paths.shape[-3:]:
        raise ValueError(
            "paths must have the shape (..., samples, length, channels), with at least one path, "
            f"one point and one channel, not {paths.shape}"
        )
    if basepoint is not True and basepoint is not False:
        raise TypeError(f"basepoint must be True or False, not {basepoint!r}")
    checked = check_signature(paths, depth, False, basepoint, None, False, scalar_term, lengths)
    return ExpectedSignatureResiduals(
        paths, checked.lengths, checked.depth, basepoint, checked.scalar_term
    )


def words_of(residuals):
    """Return how many numbers a signature has."""
    channels = residuals.paths.shape[-1]
    words = sum(channels**length for length in range(1, residuals.depth + 1))
    return words + residuals.scalar_term


def chunks(residuals):
    """Give the row and the samples of a few paths, and the residuals of their signatures."""
    paths, lengths, depth, basepoint, scalar_term = residuals
    *batch, samples, length, channels = paths.shape
    rows = paths.reshape(math.prod(batch), samples, length, channels)
    if lengths is not None:
        lengths = np.broadcast_to(lengths, (*batch, samples)).reshape(-1, samples)
    together = max(FEWEST_PATHS, CHUNK_BYTES // (words_of(residuals) * paths.itemsize))
    for row in range(rows.shape[0]):
        for first in range(0, samples, together):
            part = slice(first, first + together)
            steps = None if lengths is None else lengths[row, part]
            yield (
                row,
                part,
                SignatureResiduals(
                    rows[row, part],
                    True if basepoint else None,
                    None,
                    steps,
                    depth,
                    False,
                    False,
                    scalar_term,
                ),
            )


def evaluate_mean(residuals):
    """Return the means of the signatures."""
    paths = residuals.paths
    xp = namespace_of(paths)
    words = words_of(residuals)
    total = xp.zeros((math.prod(paths.shape[:-3]), words), np.float64)
    for row, _, signature_residuals in chunks(residuals):
        total[row] += evaluate(signature_residuals).sum(axis=0, dtype=np.float64)
    total /= paths.shape[-3]
    return total.astype(paths.dtype, copy=False).reshape(*paths.shape[:-3], words)
