r"""The logsignature of a path, its gradient, and the way from and to the signature.

The logsignature is the logarithm of the signature in the tensor algebra. It lies in the free Lie
algebra, which has far fewer dimensions than there are words: for d channels and words of length n,

.. math:: \frac{1}{n} \sum_{m | n} \mu(m) \, d^{n / m}

(Witt's formula), as many as there are Lyndon words of that length. The modes are the coordinates:

- "expand": the coefficients of all words, as `tensor_log` gives them;
- "words": the coefficients of the Lyndon words only, which determine the others (Kidger and Lyons,
  "Signatory", ICLR 2021, arXiv:2001.00706, appendix A.2);
- "brackets": the coefficients in the basis of the brackets of the Lyndon words. They follow from
  those of the words by a triangular system, in which only words with the same letters meet, for a
  bracket is its own Lyndon word and larger words (Reutenauer, "Free Lie Algebras", Oxford 1993,
  theorem 5.1).

The orders of the words are those of `lyndon_words`, the brackets those of `lyndon_brackets`. Tables
for a number of channels and a depth are made when they are first needed, and kept.

The coefficient of a word in the logarithm depends on the signature's coefficients of parts of the
word only. So, where Lyndon words are all that is wanted, the signature's longest words need be the
Lyndon words only, which are `depth` times fewer, and their beginnings are the only ones among the
shorter words that have longer words after them. Forward and backward, this takes less time than the
signature itself, and the logarithm that follows takes about as much as two more steps of the path.

Another way would be the Baker-Campbell-Hausdorff formula, which adds one step to a logsignature. It
takes more multiplications. At depth 2, a step costs d (d - 1) by the formula, two for each bracket,
and d (d - 1) / 2 here. At depth 4 with 3 channels there are about 90 here, of which 18 are for the
words of length 4. The formula has [L, z], [L, [L, z]], [z, [L, z]], [L, [L, [L, z]]] and
[z, [L, [L, z]]], each up to length 4, for the logsignature L and the increment z. The first of them
takes 39, all some 160. So all sizes go by way of the signature.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    boolean,
    broadcast,
    check_residuals,
    cuda_kernel,
    device_of,
    empty,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig._core.signatures import exponential as cpu_exponential
from pysig._core.signatures import logsignature as cpu_logsignature
from pysig._core.signatures import signature as cpu_signature
from pysig._core.signatures.lyndon import kernel_basis, lyndon_count
from pysig.signatures import exponential, signature
from pysig.signatures.exponential import as_rows, check_last_axis
from pysig.signatures.signature import SignatureGradients, SignatureResiduals, count_words

__all__ = [
    "LogsignatureResiduals",
    "LogsignatureToSignatureResiduals",
    "SignatureToLogsignatureResiduals",
    "logsignature",
    "logsignature_backward",
    "logsignature_channels",
    "logsignature_forward",
    "logsignature_to_signature",
    "logsignature_to_signature_backward",
    "logsignature_to_signature_forward",
    "signature_to_logsignature",
    "signature_to_logsignature_backward",
    "signature_to_logsignature_forward",
]

MODES = ("words", "brackets", "expand")
WORKING_MEMORY = 2**24  # bytes, for the signatures of some of the paths


class Kernels(NamedTuple):
    """The modules that compute signatures and logarithms."""

    signature: Any
    exponential: Any


KERNELS = Kernels(cpu_logsignature, cpu_exponential)


class LogsignatureResiduals(NamedTuple):
    """What `logsignature_backward` needs: the inputs and options of `logsignature_forward`."""

    path: Array
    basepoint: Array  # or True, or None
    initial: Array  # or None
    lengths: np.ndarray | None
    depth: int
    mode: str
    stream: bool
    inverse: bool


class SignatureToLogsignatureResiduals(NamedTuple):
    """What `signature_to_logsignature_backward` needs: argument and options of the forward."""

    signature: Array
    channels: int
    depth: int
    mode: str
    scalar_term: bool


class LogsignatureToSignatureResiduals(NamedTuple):
    """What `logsignature_to_signature_backward` needs: argument and options of the forward."""

    logsignature: Array
    channels: int
    depth: int
    mode: str
    scalar_term: bool


def logsignature_channels(channels, depth, mode="words"):
    """
    Return how many numbers a logsignature has.

    Parameters
    ----------
    channels : int
        Number of letters: the dimension of the space the path is in, at least 1.
    depth : int
        Length of the longest words, from 1 to 64.
    mode : {"words", "brackets", "expand"}
        As for `logsignature`.

    Returns
    -------
    int
        The number of Lyndon words of at most `depth` letters; for "expand", of all words.

    Raises
    ------
    ValueError
        If `channels`, `depth` or `mode` is out of range, or no array could have so many elements.
    TypeError
        If they have the wrong type.

    Examples
    --------
    >>> import pysig
    >>> pysig.logsignature_channels(3, 4)
    32
    >>> pysig.logsignature_channels(3, 4, "expand")
    120
    """
    words = signature.signature_channels(channels, depth)
    if check_mode(mode) == "expand":
        return words
    return lyndon_count(int(channels), int(depth))


def logsignature(
    path,
    depth,
    *,
    mode="words",
    stream=False,
    basepoint=None,
    initial=None,
    inverse=False,
    lengths=None,
):
    r"""
    Compute the logsignature of paths.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        Points of one path, or of many along any leading axes. float32 and float64 are computed in
        their own type; integers and bools become float64.
    depth : int
        Length of the longest words, from 1 to 64.
    mode : {"words", "brackets", "expand"}
        The coordinates of the result: coefficients of the Lyndon words; coefficients in the basis
        of their brackets; or coefficients of all words.
    stream : bool
        Give the logsignature of every prefix of the path, instead of that of the whole path only.
    basepoint : None, True or array_like, shape (..., channels)
        A point to put before each path: the origin if True. An array is broadcast to the leading
        axes of `path`.
    initial : array_like, shape (..., signature_channels), optional
        A signature to continue from; broadcast to the leading axes of `path`. The result is the
        logarithm of initial ⊗ S(path), with `inverse` of S(path)\ :sup:`-1` ⊗ initial.
    inverse : bool
        Give the logsignature of the path run through backwards; with `stream`, that of every
        prefix. Without `initial` this is minus the logsignature.
    lengths : array_like of int, shape (...), optional
        How many points of each path count, from 1 to `length`; broadcast to the leading axes of
        `path`. The points after them are not read, and may be NaN. With `stream`, the last
        logsignature is repeated.

    Returns
    -------
    ndarray, shape (..., logsignature_channels)
        In the order of `lyndon_words`, or of the words of a signature. With `stream` the shape is
        (..., steps, logsignature_channels), where steps is length - 1, or length with a basepoint.
        A single point without a basepoint has the logsignature 0.

    Raises
    ------
    ValueError
        If a shape does not fit, a size, a length or the mode is out of range, or the result would
        be larger than any memory.
    TypeError
        If an argument has the wrong type; `basepoint` and `initial` must have the floating-point
        type of `path`. If NumPy and CuPy arrays are mixed.

    See Also
    --------
    logsignature_forward, logsignature_backward : the same with gradients.
    logsignature_channels : the length of the last axis of the result.
    signature_to_logsignature : the same from a signature.

    Notes
    -----
    NaN and infinity spread within their own path, and nowhere else. Memory: as for `signature`;
    where one signature is large, or paths are few, room for at most eight signatures (with
    `stream`, for those of the prefixes of one path), or 16 MiB if that is more. The first call for
    a number of channels and a depth makes tables, of about the size of one signature; those of
    "brackets" grow faster with the depth (7 channels at depth 7: a second). The result does not
    depend on the number of threads.

    Examples
    --------
    Of a straight line, the logsignature is its direction; of a right angle, the third number is
    the area between the path and its chord:

    >>> import pysig
    >>> pysig.logsignature([[0.0, 0.0], [2.0, 3.0]], depth=2)
    array([2., 3., 0.])
    >>> pysig.logsignature([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0]], depth=2)
    array([2., 3., 3.])
    """
    return evaluate(check(path, depth, mode, stream, basepoint, initial, inverse, lengths))


def logsignature_forward(
    path,
    depth,
    *,
    mode="words",
    stream=False,
    basepoint=None,
    initial=None,
    inverse=False,
    lengths=None,
):
    """
    Compute the logsignature of paths, and what its gradient needs.

    The parameters are those of `logsignature`.

    Returns
    -------
    logsignature : ndarray
        As `logsignature` returns it.
    residuals : LogsignatureResiduals
        For `logsignature_backward`. It refers to the arrays given, which must not change meanwhile.

    Examples
    --------
    >>> import pysig
    >>> path = [[0.0, 0.0], [2.0, 0.0], [2.0, 3.0]]
    >>> value, residuals = pysig.logsignature_forward(path, depth=2)
    >>> gradients = pysig.logsignature_backward(residuals, [0, 0, 1])
    >>> gradients.path
    array([[-1.5,  0. ],
           [ 1.5, -1. ],
           [ 0. ,  1. ]])
    """
    residuals = check(path, depth, mode, stream, basepoint, initial, inverse, lengths)
    return evaluate(residuals), residuals


def logsignature_backward(residuals, grad):
    """
    Compute the gradients of `logsignature`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : LogsignatureResiduals
        As `logsignature_forward` returned it.
    grad : array_like
        Gradient with respect to the logsignature, of its shape and type.

    Returns
    -------
    SignatureGradients
        path : ndarray, shape (..., length, channels). Zero for points that `lengths` leaves out.
        basepoint : ndarray of the shape given, or None if no array was given.
        initial : ndarray of the shape given, or None.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the logsignature.
    TypeError
        If `grad` has not the type of the logsignature, or `residuals` is something else.

    Notes
    -----
    Memory: that of `signature_backward`; where one signature is large, or paths are few, twice
    that of `logsignature` beside it.

    Examples
    --------
    See `logsignature_forward`.
    """
    check_residuals(residuals, LogsignatureResiduals)
    path = residuals.path
    namespace(path=path, grad=grad)
    grad = real_array(grad, "grad", path.dtype)
    shape = result_shape(residuals)
    if grad.shape != shape:
        raise ValueError(f"grad must have the shape of the logsignature, {shape}, not {grad.shape}")
    paths, negative = signature_residuals(residuals)
    if negative:
        grad = -grad
    with device_of(path):
        return evaluate_gradients(*library(path), paths, residuals.mode, grad)


def signature_to_logsignature(signature, channels, depth, *, mode="words", scalar_term=False):
    """
    Compute logsignatures from signatures.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures, in the order of `signature`; the scalar term is taken to be 1. float32 and
        float64 are computed in their own type; integers and bools become float64.
    channels : int
        Number of letters, at least 1.
    depth : int
        Length of the longest words, from 1 to 64.
    mode : {"words", "brackets", "expand"}
        The coordinates of the result, as for `logsignature`.
    scalar_term : bool
        Whether the scalar term stands in front of the signature; a logsignature has none.

    Returns
    -------
    ndarray, shape (..., logsignature_channels)
        Of a tensor that is no signature, "words" and "brackets" give the logarithm's coefficients
        of the Lyndon words, and those of the brackets that agree with it there.

    Raises
    ------
    ValueError
        If a size or the mode is out of range, or the last axis of `signature` does not fit.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    logsignature_to_signature : the inverse.
    logsignature : the same from a path, which is faster than by way of its signature.

    Examples
    --------
    >>> import pysig
    >>> value = pysig.signature([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0]], depth=2)
    >>> pysig.signature_to_logsignature(value, channels=2, depth=2)
    array([2., 3., 3.])
    """
    return signature_to_logsignature_forward(
        signature, channels, depth, mode=mode, scalar_term=scalar_term
    )[0]


def signature_to_logsignature_forward(
    signature, channels, depth, *, mode="words", scalar_term=False
):
    """
    Compute logsignatures from signatures, and what the gradient needs.

    The parameters are those of `signature_to_logsignature`.

    Returns
    -------
    logsignature : ndarray
        As `signature_to_logsignature` returns it.
    residuals : SignatureToLogsignatureResiduals
        For `signature_to_logsignature_backward`. It refers to the array given, which must not
        change meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value = pysig.signature([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0]], depth=2)
    >>> _, residuals = pysig.signature_to_logsignature_forward(value, channels=2, depth=2)
    >>> pysig.signature_to_logsignature_backward(residuals, [0.0, 0.0, 1.0])
    array([-1.5, -1. ,  0. ,  1. ,  0. ,  0. ])
    """
    mode = check_mode(mode)
    arguments = exponential.check(signature, channels, depth, scalar_term, "signature")
    signature, channels, depth, scalar_term = arguments
    residuals = SignatureToLogsignatureResiduals(signature, channels, depth, mode, scalar_term)
    size = logsignature_channels(channels, depth, mode)
    value = exponential.evaluate(signature, channels, depth, logarithm=True, size=size, mode=mode)
    return value, residuals


def signature_to_logsignature_backward(residuals, grad):
    """
    Compute the gradient of `signature_to_logsignature`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureToLogsignatureResiduals
        As `signature_to_logsignature_forward` returned it.
    grad : array_like
        Gradient with respect to the logsignature, of its shape and type.

    Returns
    -------
    ndarray
        Gradient with respect to `signature`, of its shape and type; zero for the scalar term.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the logsignature.
    TypeError
        If `grad` has not the type of the logsignature, or `residuals` is something else.

    Examples
    --------
    See `signature_to_logsignature_forward`.
    """
    check_residuals(residuals, SignatureToLogsignatureResiduals)
    signature, channels, depth, mode, scalar_term = residuals
    size = logsignature_channels(channels, depth, mode)
    return exponential.evaluate_gradient(
        signature,
        channels,
        depth,
        grad,
        logarithm=True,
        size=size,
        has_scalar=scalar_term,
        mode=mode,
    )


def logsignature_to_signature(logsignature, channels, depth, *, mode="words", scalar_term=False):
    """
    Compute signatures from logsignatures.

    Parameters
    ----------
    logsignature : array_like, shape (..., logsignature_channels)
        Logsignatures. float32 and float64 are computed in their own type; integers and bools
        become float64.
    channels : int
        Number of letters, at least 1.
    depth : int
        Length of the longest words, from 1 to 64.
    mode : {"words", "brackets", "expand"}
        The coordinates in which they are given, as for `logsignature`.
    scalar_term : bool
        Put the scalar term, 1, in front of the signature.

    Returns
    -------
    ndarray, shape (..., signature_channels)

    Raises
    ------
    ValueError
        If a size or the mode is out of range, or the last axis of `logsignature` does not fit.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    signature_to_logsignature : the inverse.

    Notes
    -----
    From "words", the brackets' coefficients are found by the triangular system; brackets are
    expanded to words by a table of all their terms, of which a bracket of length n has up to
    2^(n - 1).

    Examples
    --------
    >>> import pysig
    >>> pysig.logsignature_to_signature([2.0, 3.0, 3.0], channels=2, depth=2)
    array([2. , 3. , 2. , 6. , 0. , 4.5])
    """
    return logsignature_to_signature_forward(
        logsignature, channels, depth, mode=mode, scalar_term=scalar_term
    )[0]


def logsignature_to_signature_forward(
    logsignature, channels, depth, *, mode="words", scalar_term=False
):
    """
    Compute signatures from logsignatures, and what the gradient needs.

    The parameters are those of `logsignature_to_signature`.

    Returns
    -------
    signature : ndarray
        As `logsignature_to_signature` returns it.
    residuals : LogsignatureToSignatureResiduals
        For `logsignature_to_signature_backward`. It refers to the array given, which must not
        change meanwhile.

    Examples
    --------
    >>> import pysig
    >>> _, residuals = pysig.logsignature_to_signature_forward([2.0, 3.0, 3.0], 2, 2)
    >>> pysig.logsignature_to_signature_backward(residuals, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    array([1.5, 1. , 1. ])
    """
    mode = check_mode(mode)
    size = logsignature_channels(channels, depth, mode)
    scalar_term = boolean(scalar_term, "scalar_term")
    logsignature = real_array(logsignature, "logsignature")
    check_last_axis(logsignature, size, "logsignature", "logsignature_channels")
    residuals = LogsignatureToSignatureResiduals(
        logsignature, int(channels), int(depth), mode, scalar_term
    )
    value = exponential.evaluate(
        logsignature,
        residuals.channels,
        residuals.depth,
        logarithm=False,
        size=count_words(residuals.channels, residuals.depth) + scalar_term,
        scalar=1 if scalar_term else None,
        mode=mode,
    )
    return value, residuals


def logsignature_to_signature_backward(residuals, grad):
    """
    Compute the gradient of `logsignature_to_signature`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : LogsignatureToSignatureResiduals
        As `logsignature_to_signature_forward` returned it.
    grad : array_like
        Gradient with respect to the signature, of its shape and type.

    Returns
    -------
    ndarray
        Gradient with respect to `logsignature`, of its shape and type.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the signature.
    TypeError
        If `grad` has not the type of the signature, or `residuals` is something else.

    Examples
    --------
    See `logsignature_to_signature_forward`.
    """
    check_residuals(residuals, LogsignatureToSignatureResiduals)
    logsignature, channels, depth, mode, scalar_term = residuals
    return exponential.evaluate_gradient(
        logsignature,
        channels,
        depth,
        grad,
        logarithm=False,
        size=count_words(channels, depth) + scalar_term,
        has_scalar=False,
        mode=mode,
    )


# ------------------------------------------------------------------------------------ of paths


def check_mode(mode):
    """Return the mode, checked."""
    if not isinstance(mode, str):
        raise TypeError(f"mode must be a string, not {type(mode).__name__}")
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, MODES))}, not {mode!r}")
    return mode


def check(path, depth, mode, stream, basepoint, initial, inverse, lengths):
    """Check all arguments, and return them with arrays converted."""
    mode = check_mode(mode)
    paths = signature.check(path, depth, stream, basepoint, initial, inverse, False, lengths)
    return LogsignatureResiduals(*paths[:5], mode, paths.stream, paths.inverse)


def signature_residuals(residuals):
    """Return the arguments of the signature, and whether the result is minus its logarithm."""
    path, basepoint, initial, lengths, depth, _, stream, inverse = residuals
    negative = inverse and initial is None
    paths = SignatureResiduals(
        path, basepoint, initial, lengths, depth, stream, inverse and not negative, False
    )
    return paths, negative


def result_shape(residuals):
    """Return the shape of the logsignature."""
    paths, _ = signature_residuals(residuals)
    size = logsignature_channels(residuals.path.shape[-1], residuals.depth, residuals.mode)
    return (*signature.result_shape(paths)[:-1], size)


def evaluate(residuals):
    """Return the logsignature."""
    paths, negative = signature_residuals(residuals)
    shape = result_shape(residuals)
    with device_of(residuals.path):
        result = evaluate_logsignature(*library(residuals.path), paths, residuals.mode, shape)
    return namespace(result=result).negative(result, out=result) if negative else result


def library(path):
    """Return the array library of a path, and the modules that compute with its arrays."""
    if isinstance(path, np.ndarray):
        return np, KERNELS
    return namespace_of(path), Kernels(cuda_kernel(cpu_signature), cuda_kernel(cpu_exponential))


def evaluate_logsignature(xp, kernels, paths, mode, shape):
    """Return the logarithms of the signatures, computed for a few paths at a time."""
    result = empty(xp, shape, paths.path.dtype, "the logsignature")
    if result.size == 0:
        return result
    *_, length, channels = paths.path.shape
    basis = kernel_basis(mode, channels, paths.depth, True)
    arguments = signature.kernel_arguments(xp, paths)
    if xp is np and is_fused(paths, arguments):
        kernels.signature.forward(result, *arguments, basis, True)
        return result
    few_words = longest_words(xp, paths, basis)
    by_path = result.reshape(paths.path.size // (length * channels), -1, shape[-1])
    for part, few in parts(paths, shape):
        value = signature.evaluate_signature(xp, kernels.signature, few, *few_words)
        logarithms, signatures = as_rows(by_path[part], value)
        sizes = (len(signatures), channels, paths.depth)
        kernels.exponential.forward(logarithms, signatures, sizes, True, basis)
    return result


def is_fused(paths, arguments):
    """Whether the kernel takes the logarithms of the signatures, too, before it writes a result."""
    sizes, item = arguments[5], paths.path.dtype.itemsize
    return not paths.inverse and cpu_logsignature.takes_paths_whole(sizes, paths.stream, item)


def longest_words(xp, paths, basis):
    """Return what makes the signatures' longest words be Lyndon words only, where that is known."""
    if xp is not np:
        return ()
    return (None if paths.inverse else basis), False


def evaluate_gradients(xp, kernels, paths, mode, grad):
    """Return the gradients for `grad`, computed for a few paths at a time."""
    path, basepoint, initial = paths[:3]
    *batch_shape, length, channels = path.shape
    if grad.size == 0:
        return signature.evaluate_gradients(xp, kernels.signature, paths, grad)
    basis = kernel_basis(mode, channels, paths.depth, True)
    arguments = signature.kernel_arguments(xp, paths)
    if xp is np and not paths.stream and is_fused(paths, arguments):
        return signature.evaluate_gradients(xp, kernels.signature, paths, grad, basis, True)
    by_path = grad.reshape(path.size // (length * channels), -1, grad.shape[-1])
    few_words = longest_words(xp, paths, basis)
    gradients = []
    for part, few in parts(paths, grad.shape):
        value = signature.evaluate_signature(xp, kernels.signature, few, *few_words)
        gradient = xp.empty_like(value)
        arrays = as_rows(gradient, by_path[part], value)
        sizes = (len(arrays[0]), channels, paths.depth)
        kernels.exponential.backward(*arrays, sizes, True, basis)
        gradients.append(
            signature.evaluate_gradients(xp, kernels.signature, few, gradient, *few_words)
        )
    path_gradients, *others = zip(*gradients, strict=True)
    return SignatureGradients(
        xp.concatenate(path_gradients).reshape(path.shape),
        *(
            joined_gradient(xp, *both, batch_shape)
            for both in zip(others, (basepoint, initial), strict=True)
        ),
    )


def joined_gradient(xp, gradients, given, batch_shape):
    """Return the gradient in the basepoint or the initial signature from those of the parts."""
    if gradients[0] is None:
        return None
    if given.ndim == 1:
        return sum(gradients)
    gradient = xp.concatenate(gradients)
    return sum_to_shape(gradient.reshape(*batch_shape, -1), given.shape)


def parts(paths, shape):
    """Give slices of the batch, as one axis, and the arguments of the signature of each."""
    path, basepoint, initial, lengths = paths[:4]
    *batch_shape, length, channels = path.shape
    batch = path.size // (length * channels)
    path = path.reshape(batch, length, channels)
    if basepoint is not None and basepoint is not True and basepoint.ndim > 1:
        basepoint = broadcast(basepoint, (*batch_shape, channels)).reshape(batch, channels)
    if initial is not None and initial.ndim > 1:
        initial = broadcast(initial, (*batch_shape, initial.shape[-1])).reshape(batch, -1)
    if lengths is not None:
        lengths = np.broadcast_to(lengths, batch_shape).ravel()
    words = count_words(channels, paths.depth)
    rows = math.prod(shape[:-1]) // batch
    fitting = WORKING_MEMORY // (rows * words * path.dtype.itemsize)
    together = max(1 if paths.stream else 8, fitting)
    for first in range(0, batch, together):
        part = slice(first, first + together)
        yield (
            part,
            paths._replace(
                path=path[part],
                basepoint=part_of(basepoint, part),
                initial=part_of(initial, part),
                lengths=None if lengths is None else lengths[part],
            ),
        )


def part_of(value, part):
    """Return a part of a basepoint or an initial signature; what is shared by all, as it is."""
    return value if value is None or value is True or value.ndim == 1 else value[part]
