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

from typing import NamedTuple

from pysig._core.array import (
    Array,
    device_of,
    empty,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig.signatures.algebra import (
    broadcast_batches,
    check_grad,
    check_residuals,
    check_tensor,
    contract_first,
    contract_last,
)
from pysig.signatures.algebra import levels as proper_levels

__all__ = [
    "ShuffleProductGradients",
    "ShuffleProductResiduals",
    "shuffle_product",
    "shuffle_product_backward",
    "shuffle_product_forward",
]


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
    2 (depth + 1) arrays of the size of its last level.

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
    grad = check_grad(grad, (*batch_shape, first.shape[-1]), first.dtype)
    with device_of(grad):
        gradients = pull_back(residuals, grad)
        return ShuffleProductGradients(
            sum_to_shape(gradients[0], first.shape), sum_to_shape(gradients[1], second.shape)
        )


def pull_back(residuals, grad):
    """Return the gradients, with the leading axes that both factors have together."""
    first, second, *options = residuals
    xp, channels = namespace_of(grad), residuals.channels
    first_gradient, second_gradient = (xp.zeros(grad.shape, grad.dtype) for _ in range(2))
    sources = levels(first, *options), levels(second, *options)
    targets = levels(first_gradient, *options), levels(second_gradient, *options)
    for n, level in enumerate(levels(grad, *options)):
        for i, dealt in enumerate([] if level is None else deal(level, channels, n)):
            if sources[0][i] is not None and sources[1][n - i] is not None:
                targets[0][i][...] += contract_last(xp, dealt, sources[1][n - i])
                targets[1][n - i][...] += contract_first(xp, sources[0][i], dealt)
    return first_gradient, second_gradient


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
    first, second, *options = residuals
    xp, channels = namespace_of(first), residuals.channels
    batch_shape = broadcast_batches(first, second, "first", "second")
    shape = (*batch_shape, first.shape[-1])
    result = empty(xp, shape, first.dtype, "the shuffle product")
    factors = levels(first, *options), levels(second, *options)
    for n, target in enumerate(levels(result, *options)):
        if target is not None:
            products = [
                None if left is None or right is None else left[..., :, None] * right[..., None, :]
                for left, right in zip(factors[0][: n + 1], factors[1][n::-1], strict=True)
            ]
            target[...] = interleave(products, channels, n)
    return result


def levels(tensor, channels, depth, scalar_term):
    """Return the levels 0 to depth as views; None for a level 0 that is left out."""
    scalar = tensor[..., :1] if scalar_term else None
    return [scalar, *proper_levels(tensor, channels, depth, scalar_term)]


def interleave(products, channels, n):
    """
    Return the sum of the shuffles of i letters with n - i letters, for all i.

    products[i], of shape (..., channels**i, channels**(n - i)), has the coefficients of the pairs
    of words; None is zero.
    """
    state = [None if pairs is None else pairs[..., None] for pairs in products]
    for left in range(n - 1, -1, -1):
        state = [
            add(
                last_of_first(state[i + 1], channels, i, left - i),
                last_of_second(state[i], channels, i, left - i),
            )
            for i in range(left + 1)
        ]
    return 0 if state[0] is None else state[0][..., 0, 0, :]


def last_of_first(state, channels, i, j):
    """Deal the last one of i + 1 letters of the first words: it comes before all dealt so far."""
    if state is None:
        return None
    *batch_shape, _, _, dealt = state.shape
    split = state.reshape(*batch_shape, channels**i, channels, channels**j, dealt)
    return split.swapaxes(-3, -2)


def last_of_second(state, channels, i, j):
    """Deal the last one of j + 1 letters of the second words."""
    if state is None:
        return None
    *batch_shape, _, _, dealt = state.shape
    return state.reshape(*batch_shape, channels**i, channels**j, channels, dealt)


def add(first, second):
    """Return the sum, with the letter just dealt joined to the others; None is zero."""
    if first is None and second is None:
        return None
    total = second if first is None else first if second is None else first + second
    *shape, channels, dealt = total.shape
    return total.reshape(*shape, channels * dealt)


def deal(level, channels, n):
    """Return the adjoint of `interleave`: for each i, an array (..., channels**i, ...)."""
    state = [level[..., None, None, :]]
    for total in range(1, n + 1):
        *batch_shape, _, _, dealt = state[0].shape
        dealt //= channels
        parts = []
        for i in range(total + 1):
            j, part = total - i, 0
            whole = (*batch_shape, channels**i, channels**j, dealt)
            if i:
                shape = (*batch_shape, channels ** (i - 1), channels**j, channels, dealt)
                part = state[i - 1].reshape(shape).swapaxes(-3, -2).reshape(whole)
            if j:
                part = part + state[i].reshape(whole)
            parts.append(part)
        state = parts
    return [part[..., 0] for part in state]
