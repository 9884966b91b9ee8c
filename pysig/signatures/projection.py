r"""The coefficients of chosen words in the signatures of paths, and their gradient.

The coefficient of a word needs those of the words it begins with, and no others. These form a tree,
and the work is that of the tree: for each step of the path, one multiplication and addition for
each word of it, and one more for each letter that the longest word below it is longer.

Sets of words that are of use: those of a weighted (anisotropic) truncation, where a letter of a
rough or an unimportant channel counts for more than one (`words_of_weight`); words that do not
repeat the time; the words that a regression has selected.
"""

import collections
import functools
from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    boolean,
    broadcast,
    check_broadcast,
    check_residuals,
    device_of,
    empty,
    grad_array,
    integer,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig._core.signatures import projection as cpu_kernel
from pysig._core.signatures import projection_arrays as array_kernel
from pysig.signatures.augment import check_path
from pysig.signatures.extraction import rounds
from pysig.signatures.signature import LARGEST_DEPTH, check_lengths

__all__ = [
    "SignatureWordsGradients",
    "SignatureWordsResiduals",
    "signature_words",
    "signature_words_backward",
    "signature_words_forward",
    "words_of_weight",
]

MOST_WORDS = 2**20


class SignatureWordsResiduals(NamedTuple):
    """What `signature_words_backward` needs."""

    increments: Array  # (..., steps, channels), negated for the inverse
    lengths: np.ndarray | None
    words: tuple[tuple[int, ...], ...]
    stream: bool
    inverse: bool
    length: int
    basepoint: tuple[int, ...] | bool  # the shape of an array, or whether it is the origin


class SignatureWordsGradients(NamedTuple):
    """The gradients of `signature_words`; None for a basepoint that was not given as an array."""

    path: Array
    basepoint: Array  # or None


class Tree(NamedTuple):
    """The chosen words and those they begin with, in preorder; see projection.h."""

    letter: np.ndarray
    height: np.ndarray
    end: np.ndarray
    column: np.ndarray
    columns: int  # chosen words that differ
    repeated: tuple[int, ...] | None  # the column of each word, if some come twice
    empty: int | None  # the column of the empty word


def words_of_weight(weights, largest):
    """
    Return the words whose letters have together at most some weight.

    Parameters
    ----------
    weights : sequence of float
        The weight of each letter, positive.
    largest : float
        The largest weight of a word: the sum over its letters.

    Returns
    -------
    list of tuple of int
        Words of one letter first; those of one length in lexicographic order. The empty word is
        left out. With all weights 1 these are the words of a signature of the depth `largest`.

    Raises
    ------
    ValueError
        If a weight is not positive and finite; if there would be more than 2²⁰ words, or
        some of more than 64 letters.
    TypeError
        If `weights` is not a sequence of numbers, or `largest` no number.

    Examples
    --------
    Time and two channels, of which each counts twice:

    >>> import pysig
    >>> pysig.words_of_weight([1, 2, 2], 3)
    [(0,), (1,), (2,), (0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (0, 0, 0)]
    """
    weights, largest = real_numbers(weights, "weights"), real_numbers([largest], "largest")[0]
    if not weights or not all(0 < weight < np.inf for weight in weights):
        raise ValueError(f"weights must be positive and finite, one for each letter, not {weights}")
    if not largest < np.inf:
        raise ValueError(f"largest must be finite, not {largest}")
    # A sum of weights such as 0.1 must not be above its own multiple by a rounding.
    bound = largest * (1 + 1e-12)
    if not few_words(weights, bound):
        raise ValueError(
            f"largest = {largest} is too large for the weights {weights}: there are more than "
            f"{MOST_WORDS} words, or some have more than {LARGEST_DEPTH} letters"
        )
    result, level = [], [((), 0.0)]
    while level:
        level = [
            ((*word, letter), total + weight)
            for word, total in level
            for letter, weight in enumerate(weights)
            if total + weight <= bound
        ]
        result += [word for word, _ in level]
    return result


def real_numbers(values, name):
    """Return the values as floats."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be real: {error}") from None


def few_words(weights, bound):
    """Whether there are at most so many words, and none too long, that can be listed."""
    words, level = 0, {0.0: 1}  # the words of one length, counted by weight
    for _ in range(LARGEST_DEPTH + 1):
        longer = collections.Counter()
        for weight in weights:
            for total, count in level.items():
                if total + weight <= bound:
                    longer[total + weight] += count
        level, words = longer, words + longer.total()
        if not level or words > MOST_WORDS:
            break
    return not level and words <= MOST_WORDS


def signature_words(path, words, *, stream=False, basepoint=None, inverse=False, lengths=None):
    r"""
    Compute the coefficients of chosen words in the signatures of paths, and no others.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        Points of one path, or of many along any leading axes. float32 and float64 are computed in
        their own type; integers and bools become float64.
    words : sequence of tuples of int
        Words of at most 64 letters from 0 to channels - 1. The empty word, of which the coefficient
        is 1, may be among them.
    stream : bool
        Give the coefficients for every prefix of the path, instead of for the whole path only.
    basepoint : None, True or array_like, shape (..., channels)
        A point to put before each path: the origin if True. An array is broadcast to the leading
        axes of `path`.
    inverse : bool
        Give the coefficients of the inverse signature; with `stream`, of that of every prefix.
    lengths : array_like of int, shape (...), optional
        How many points of each path count, from 1 to `length`; broadcast to the leading axes of
        `path`. The points after them may be NaN. With `stream`, the last coefficients are repeated.

    Returns
    -------
    ndarray, shape (..., words)
        In the order of `words`. With `stream` the shape is (..., steps, words), where steps is
        length - 1, or length with a basepoint.

    Raises
    ------
    ValueError
        If a shape does not fit, or a letter, the length of a word or of a path is out of range.
    TypeError
        If an argument has the wrong type; `basepoint` must have the floating-point type of `path`.

    See Also
    --------
    signature_words_forward, signature_words_backward : the same with gradients.
    words_of_weight : the words of a weighted truncation.
    signature : all words up to a length; its `initial` needs the coefficients of all the words that
        those chosen begin with, and is missing here.

    Notes
    -----
    Beside the result, the increments of the path are copied, and each thread keeps the coefficients
    of the words of the tree for as many paths as fit a vector register. Threads share the paths; a
    single one is computed by one thread. The preparation of a set of words is kept for later calls.

    With CuPy arrays everything is done by array functions, for all steps and words of one length at
    a time: they take the memory of all coefficients at all steps, times half the length of the
    longest word.

    Examples
    --------
    >>> import pysig
    >>> path = [[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]
    >>> pysig.signature_words(path, [(0, 1), (1, 0), (0, 1, 1, 1)])
    array([2.        , 0.        , 1.33333333])
    """
    return signature_words_forward(
        path, words, stream=stream, basepoint=basepoint, inverse=inverse, lengths=lengths
    )[0]


def signature_words_forward(
    path, words, *, stream=False, basepoint=None, inverse=False, lengths=None
):
    """
    Compute the coefficients of chosen words, and what their gradient needs.

    The parameters are those of `signature_words`.

    Returns
    -------
    coefficients : ndarray
        As `signature_words` returns it.
    residuals : SignatureWordsResiduals
        For `signature_words_backward`.

    Examples
    --------
    >>> import pysig
    >>> path = [[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]
    >>> value, residuals = pysig.signature_words_forward(path, [(0, 1)])
    >>> pysig.signature_words_backward(residuals, [1.0]).path
    array([[-2. , -0.5],
           [ 1. , -0.5],
           [ 1. ,  1. ]])
    """
    namespace(path=path, basepoint=basepoint)
    path = check_path(path)
    words = check_words(words, path.shape[-1])
    stream, inverse = boolean(stream, "stream"), boolean(inverse, "inverse")
    if lengths is not None:
        lengths = check_lengths(lengths, path)
    basepoint = check_basepoint(basepoint, path)
    with device_of(path):
        increments = path_increments(path, basepoint, inverse)
        if lengths is not None:
            lengths = np.broadcast_to(lengths, path.shape[:-2])
            increments = without_ends(increments, lengths, path.shape[-2])
        shape = basepoint if isinstance(basepoint, bool) else basepoint.shape
        residuals = SignatureWordsResiduals(
            increments, lengths, words, stream, inverse, path.shape[-2], shape
        )
        return evaluate(residuals), residuals


def signature_words_backward(residuals, grad):
    """
    Compute the gradients of `signature_words`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureWordsResiduals
        As `signature_words_forward` returned it.
    grad : array_like
        Gradient with respect to the coefficients, of their shape and type.

    Returns
    -------
    SignatureWordsGradients
        path : ndarray, shape (..., length, channels). Zero for points that `lengths` leaves out.
        basepoint : ndarray of the shape given, or None if no array was given.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the coefficients.
    TypeError
        If `grad` has not the type of the coefficients, or `residuals` is something else.

    Notes
    -----
    The states before each step are computed again from those at the beginnings of blocks of steps,
    of which each thread keeps as many as fit 2 MiB, or of the order of √length. No step divides
    anything out of a signature.

    Examples
    --------
    See `signature_words_forward`.
    """
    check_residuals(residuals, SignatureWordsResiduals)
    increments = residuals.increments
    namespace(increments=increments, grad=grad)
    grad = grad_array(grad, result_shape(residuals), increments.dtype)
    with device_of(grad):
        gradient = increments_gradient(residuals, grad)
        if residuals.lengths is not None:
            gradient = without_ends(gradient, residuals.lengths, residuals.length)
        return points_gradient(residuals, gradient)


# ------------------------------------------------------------------------ words and what they need


def check_words(words, channels):
    """Return the words as a tuple of tuples of ints, each checked."""
    try:
        words = tuple(map(tuple, words))
    except TypeError:
        raise TypeError(
            "words must be a sequence of words, which are tuples of letters; use [(0, 1)] for the "
            "only word (0, 1)"
        ) from None
    for word in words:
        if len(word) > LARGEST_DEPTH:
            raise ValueError(f"words must have at most {LARGEST_DEPTH} letters, not {len(word)}")
        if not all(type(letter) is int and 0 <= letter < channels for letter in word):
            for letter in word:
                integer(letter, f"the letters of {word} in words", 0, channels - 1)
    return words


@functools.lru_cache(maxsize=64)
def make_tree(words, inverse):
    """Return the tree of the words; for the inverse, that of the reversed words."""
    distinct = {word: i for i, word in enumerate(dict.fromkeys(words))}
    columns = {word[::-1] if inverse else word: i for word, i in distinct.items()}
    height = {(): 0}
    children = {}
    for word in columns:
        for i in range(len(word) + 1):
            prefix = word[:i]
            height[prefix] = max(height.get(prefix, 0), len(word) - i)
            if i:
                children.setdefault(prefix[:-1], set()).add(prefix)
    order, end = [], {}
    stack = [(False, ())]
    while stack:
        is_done, word = stack.pop()
        if is_done:
            end[word] = len(order)
            continue
        order.append(word)
        stack.append((True, word))
        # Leaves come first; the last one on the stack is the first one to be taken.
        below = sorted(children.get(word, ()), key=lambda child: (height[child] > 0, child))
        stack += [(False, child) for child in reversed(below)]

    def numbers(values):
        return np.array(list(values), np.intp)

    return Tree(
        numbers(word[-1] if word else 0 for word in order),
        numbers(height[word] for word in order),
        numbers(end[word] for word in order),
        numbers(columns.get(word, -1) for word in order),
        len(distinct),
        tuple(distinct[word] for word in words) if len(distinct) < len(words) else None,
        distinct.get(()),
    )


# ------------------------------------------------------------------------------------- increments


def check_basepoint(basepoint, path):
    """Return False for none, True for the origin, or an array."""
    if basepoint is None or basepoint is False or basepoint is True:
        return basepoint is True
    basepoint = real_array(basepoint, "basepoint", path.dtype)
    channels = path.shape[-1]
    if basepoint.ndim == 0 or basepoint.shape[-1] != channels:
        raise ValueError(
            f"basepoint must have the shape (..., channels) with the last axis {channels}, "
            f"not {basepoint.shape}"
        )
    check_broadcast(basepoint, (*path.shape[:-2], channels), "basepoint", "(..., channels)")
    return basepoint


def path_increments(path, basepoint, inverse):
    """Return the differences between neighbouring points; for the inverse, minus those."""
    xp = namespace_of(path)
    based = basepoint is not False
    shape = (*path.shape[:-2], path.shape[-2] - 1 + based, path.shape[-1])
    result = empty(xp, shape, path.dtype, "the increments")
    before, after = path[..., :-1, :], path[..., 1:, :]
    with np.errstate(invalid="ignore"):  # what is behind the end of a path may be infinite
        if inverse:
            before, after = after, before
        xp.subtract(after, before, out=result[..., based:, :])
        if based:
            first = path[..., 0, :] if basepoint is True else path[..., 0, :] - basepoint
            result[..., 0, :] = -first if inverse else first
    return result


def without_ends(increments, lengths, length):
    """Return the increments with zeros behind the ends of the paths."""
    xp = namespace_of(increments)
    steps = increments.shape[-2]
    ends = xp.asarray(lengths + (steps - length))[..., None, None]
    return xp.where(xp.arange(steps)[:, None] < ends, increments, xp.zeros((), increments.dtype))


def points_gradient(residuals, gradient):
    """Return the gradients with respect to the points, from that of the increments."""
    xp = namespace_of(gradient)
    based = residuals.basepoint is not False
    *batch_shape, _, channels = gradient.shape
    if residuals.inverse:
        gradient = -gradient
    path_gradient = xp.zeros((*batch_shape, residuals.length, channels), gradient.dtype)
    path_gradient[..., 1 - based :, :] += gradient
    path_gradient[..., :-1, :] -= gradient[..., based:, :]
    if isinstance(residuals.basepoint, bool):
        return SignatureWordsGradients(path_gradient, None)
    basepoint_gradient = sum_to_shape(-gradient[..., 0, :], residuals.basepoint)
    return SignatureWordsGradients(path_gradient, basepoint_gradient)


# -------------------------------------------------------------------------------------- evaluation


def result_shape(residuals):
    """Return the shape of the coefficients."""
    *batch_shape, steps, _ = residuals.increments.shape
    return (*batch_shape, *((steps,) if residuals.stream else ()), len(residuals.words))


def kernel_arguments(residuals):
    """Return the increments with one leading axis, the tree, and what the kernels call it."""
    increments = residuals.increments
    *batch_shape, steps, channels = increments.shape
    batch = int(np.prod(batch_shape, dtype=np.intp))
    tree = make_tree(residuals.words, residuals.inverse)
    kernel = cpu_kernel if isinstance(increments, np.ndarray) else array_kernel
    return kernel, increments.reshape(batch, steps, channels), tree


def evaluate(residuals):
    """Return the coefficients."""
    kernel, increments, tree = kernel_arguments(residuals)
    xp, shape = namespace_of(increments), result_shape(residuals)
    result = empty(xp, (*shape[:-1], tree.columns), increments.dtype, "the coefficients")
    if result.size:
        flat = result.reshape(len(increments), *result.shape[result.ndim - 1 - residuals.stream :])
        kernel.forward(flat, increments, tree[:4], residuals.stream)
        if tree.empty is not None:
            result[..., tree.empty] = 1
    return result if tree.repeated is None else result[..., list(tree.repeated)]


def increments_gradient(residuals, grad):
    """Return the gradient with respect to the increments; `grad` has been checked."""
    kernel, increments, tree = kernel_arguments(residuals)
    xp = namespace_of(increments)
    if tree.repeated is not None:
        distinct = xp.zeros((*grad.shape[:-1], tree.columns), grad.dtype)
        for chosen in rounds(tree.repeated):
            distinct[..., [tree.repeated[i] for i in chosen]] += grad[..., chosen]
        grad = distinct
    if not grad.size or not increments.size:
        return xp.zeros(residuals.increments.shape, grad.dtype)
    gradient = empty(xp, increments.shape, grad.dtype, "the gradient")
    flat = broadcast(grad, grad.shape).reshape(
        len(increments), *grad.shape[grad.ndim - 1 - residuals.stream :]
    )
    kernel.backward(flat, gradient, increments, tree[:4], residuals.stream)
    return gradient.reshape(residuals.increments.shape)
