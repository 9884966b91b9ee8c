r"""The shuffle product of tensors, and its gradient.

The shuffle product of two words is the sum of all ways to interleave them. Products of coefficients
of a signature S are coefficients again (Ree, "Lie elements and an algebra associated with
shuffles", 1958):

.. math:: \langle S, u \rangle \langle S, v \rangle = \langle S, u ⧢ v \rangle.

A coefficient of a product at a word of n letters is a sum over the :math:`2^n` ways to deal the
letters to two words. It is computed from the end of the word: after some letters have been dealt,
i are left for the first word and j for the second, however they were dealt, so that all ways with
the same i and j are added before the next letter is dealt. That are fewer than n² additions for
each coefficient, all of whole arrays.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    broadcast,
    check_residuals,
    device_of,
    empty,
    grad_array,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig.signatures.algebra import broadcast_batches, check_tensor

__all__ = [
    "ShuffleProductGradients",
    "ShuffleProductResiduals",
    "shuffle_product",
    "shuffle_product_backward",
    "shuffle_product_forward",
]

BLOCK = 2**15  # numbers of the last levels that are computed at a time


class ShuffleProductResiduals(NamedTuple):
    """What `shuffle_product_backward` needs: the inputs of `shuffle_product_forward`."""

    first: Array
    second: Array
    channels: int
    depth: int
    scalar_term: bool


class ShuffleProductGradients(NamedTuple):
    """The gradients of `shuffle_product`."""

    first: Array
    second: Array


def shuffle_product(first, second, channels, depth, *, scalar_term=False):
    r"""
    Compute the shuffle products of tensors, truncated at words of `depth` letters.

    Parameters
    ----------
    first, second : array_like, shape (..., signature_channels)
        Linear combinations of words, in the order of a signature's coefficients. The leading axes
        are broadcast. float32 and float64 keep their type; integers and bools become float64.
    channels : int
        Number of letters.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front. Without it that coefficient is 0,
        in both factors and in the product: these are combinations of words, not signatures, which
        would begin with 1.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        Words longer than `depth` are left out.

    Raises
    ------
    ValueError
        If an array has not the last axis that `channels`, `depth` and `scalar_term` ask for, or
        leading axes do not fit.
    TypeError
        If an argument has the wrong type; both arrays must have the same.

    See Also
    --------
    shuffle_product_forward, shuffle_product_backward : the same with gradients.

    Notes
    -----
    A level k of the result costs k² channels\ :sup:`k` additions. Memory: beside the result,
    2 (depth + 1) arrays of the size of the last level of one tensor, or of 256 KiB if that is more.

    Examples
    --------
    The product of the letters 0 and 1 is the sum of the words (0, 1) and (1, 0):

    >>> import pysig
    >>> pysig.shuffle_product([1.0, 0, 0, 0, 0, 0], [0.0, 1, 0, 0, 0, 0], channels=2, depth=2)
    array([0., 0., 0., 1., 1., 0.])
    """
    return evaluate(check(first, second, channels, depth, scalar_term))


def shuffle_product_forward(first, second, channels, depth, *, scalar_term=False):
    """
    Compute the shuffle products of tensors, and what the gradient needs.

    The parameters are those of `shuffle_product`.

    Returns
    -------
    product : ndarray
        As `shuffle_product` returns it.
    residuals : ShuffleProductResiduals
        For `shuffle_product_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.shuffle_product_forward([2.0, 1.0], [3.0, 5.0], 1, 2)
    >>> value
    array([ 0., 12.])
    >>> pysig.shuffle_product_backward(residuals, [0.0, 1.0]).first
    array([6., 0.])
    """
    residuals = check(first, second, channels, depth, scalar_term)
    return evaluate(residuals), residuals


def shuffle_product_backward(residuals, grad):
    """
    Compute the gradients of `shuffle_product`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : ShuffleProductResiduals
        As `shuffle_product_forward` returned it.
    grad : array_like
        Gradient with respect to the product, of its shape and type.

    Returns
    -------
    ShuffleProductGradients
        first, second : ndarray of the shapes given.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Notes
    -----
    Memory: as `shuffle_product`, and the results, with the leading axes that both inputs have
    together.

    Examples
    --------
    See `shuffle_product_forward`.
    """
    check_residuals(residuals, ShuffleProductResiduals)
    first, second = residuals[:2]
    namespace(first=first, grad=grad)
    batch_shape = broadcast_batches(first, second, "first", "second")
    grad = grad_array(grad, (*batch_shape, first.shape[-1]), first.dtype)
    with device_of(grad):
        gradients = pull_back(residuals, grad)
        return ShuffleProductGradients(
            sum_to_shape(gradients[0], first.shape), sum_to_shape(gradients[1], second.shape)
        )


def pull_back(residuals, grad):
    """Return the gradients, with the leading axes that both factors have together."""
    xp, options, channels = namespace_of(grad), residuals[2:], residuals.channels
    gradients = tuple(empty(xp, grad.shape, grad.dtype, "the gradient") for _ in range(2))
    for chosen in blocks(residuals, grad.shape):
        first, second, weights = (
            columns(array, grad.shape, chosen) for array in (*residuals[:2], grad)
        )
        factors = levels(first, *options), levels(second, *options)
        sums = tuple(xp.zeros(weights.shape, grad.dtype) for _ in range(2))
        targets = levels(sums[0], *options), levels(sums[1], *options)
        for n, level in enumerate(levels(weights, *options)):
            for i, dealt in enumerate([] if level is None else deal(level, channels, n)):
                left, right = factors[0][i], factors[1][n - i]
                if left is not None and right is not None:
                    targets[0][i][...] += xp.einsum("ijb,jb->ib", dealt, right)
                    targets[1][n - i][...] += xp.einsum("ijb,ib->jb", dealt, left)
        for gradient, part in zip(gradients, sums, strict=True):
            flat(gradient)[chosen] = part.T
    return gradients


def check(first, second, channels, depth, scalar_term):
    """Check all arguments, and return them with arrays converted."""
    namespace(first=first, second=second)
    checked = check_tensor(first, channels, depth, scalar_term, "first")
    second = real_array(second, "second", checked[0].dtype)
    check_tensor(second, channels, depth, scalar_term, "second")
    broadcast_batches(checked[0], second, "first", "second")
    return ShuffleProductResiduals(checked[0], second, *checked[1:])


def evaluate(residuals):
    """Return the product."""
    with device_of(residuals.first):
        return multiply(residuals)


def multiply(residuals):
    """Return the product, on the current device."""
    first, second = residuals[:2]
    xp, options = namespace_of(first), residuals[2:]
    shape = (*broadcast_batches(first, second, "first", "second"), first.shape[-1])
    result = empty(xp, shape, first.dtype, "the shuffle product")
    for chosen in blocks(residuals, shape):
        factors = [levels(columns(array, shape, chosen), *options) for array in (first, second)]
        part = xp.empty((shape[-1], chosen.stop - chosen.start), first.dtype)
        for n, target in enumerate(levels(part, *options)):
            if target is not None:
                products = [
                    None if left is None or right is None else left[:, None] * right
                    for left, right in zip(factors[0][: n + 1], factors[1][n::-1], strict=True)
                ]
                target[...] = interleave(products, residuals.channels, n)
        flat(result)[chosen] = part.T
    return result


def blocks(residuals, shape):
    """Return which of the tensors to multiply at a time: on the CPU what the cache has room for."""
    batch = math.prod(shape[:-1])
    size = residuals.channels**residuals.depth
    most = max(1, BLOCK // size) if isinstance(residuals.first, np.ndarray) else max(batch, 1)
    return [slice(start, min(start + most, batch)) for start in range(0, batch, most)]


def columns(array, shape, chosen):
    """Return the chosen ones of an array broadcast to the shape, as columns: words come first."""
    xp = namespace_of(array)
    return xp.ascontiguousarray(flat(broadcast(array, shape))[chosen].T)


def flat(array):
    """Return an array with all leading axes in one."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def levels(tensors, channels, depth, scalar_term) -> list[Any]:
    """Return the levels 0 to depth of columns; None for a level 0 that is left out."""
    result, start = [tensors[:1] if scalar_term else None], int(scalar_term)
    for k in range(1, depth + 1):
        result.append(tensors[start : start + channels**k])
        start += channels**k
    return result


def interleave(products, channels, n) -> Any:
    """
    Return the sum of the shuffles of i letters with n - i letters, for all i.

    products[i], of shape (channels**i, channels**(n - i), columns), has the coefficients of the
    pairs of words; None is zero. The result has the shape (channels**n, columns).
    """
    state: list[Any] = products
    for left in range(n - 1, -1, -1):
        state = [
            add(
                last_of_first(state[i + 1], channels, i, left - i),
                last_of_second(state[i], channels, i, left - i),
            )
            for i in range(left + 1)
        ]
    return 0 if state[0] is None else state[0].reshape(channels**n, -1)


def last_of_first(state, channels, i, j):
    """Deal the last one of i + 1 letters of the first words: it comes before all dealt so far.

    The last axis of a state has the letters that have been dealt, and the columns.
    """
    if state is None:
        return None
    return state.reshape(channels**i, channels, channels**j, state.shape[-1]).swapaxes(1, 2)


def last_of_second(state, channels, i, j):
    """Deal the last one of j + 1 letters of the second words."""
    if state is None:
        return None
    return state.reshape(channels**i, channels**j, channels, state.shape[-1])


def add(first, second) -> Any:
    """Return the sum, with the letter just dealt joined to the others; None is zero."""
    terms: list[Any] = [term for term in (first, second) if term is not None]
    if not terms:
        return None
    total: Any = terms[0]
    if len(terms) == 2:
        xp = namespace_of(total)
        total = xp.empty(total.shape, total.dtype)  # in C order, unlike the sum of the terms
        xp.add(*terms, out=total)
    return total.reshape(*total.shape[:2], total.shape[2] * total.shape[3])


def deal(level, channels, n):
    """Return the adjoint of `interleave`: arrays (channels**i, channels**(n - i), columns)."""
    state = [level.reshape(1, 1, level.size)]
    for total in range(1, n + 1):
        dealt = state[0].shape[-1] // channels
        parts = []
        for i in range(total + 1):
            j, part = total - i, 0
            whole = (channels**i, channels**j, dealt)
            if i:
                split = state[i - 1].reshape(channels ** (i - 1), channels**j, channels, dealt)
                part = split.swapaxes(1, 2).reshape(whole)
            if j:
                part = part + state[i].reshape(whole)
            parts.append(part)
        state = parts
    return state
