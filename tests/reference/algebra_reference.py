"""Operations on tensors by their definitions, word by word or level by level.

As in signature_reference, entries may be complex, so that derivatives are those of the complex
step. With ``absolute`` every term counts by its absolute value: for arguments that are absolute
values, too, this is the condition number of each entry, as rounding errors are proportional to it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from reference import signature_reference as reference

Array = np.ndarray[Any, Any]


def reversed_words(tensor: Array, channels: int, depth: int, absolute: bool = False) -> Array:
    """Return the coefficients of the reversed words, with a sign for each letter."""
    words = reference.words(channels, depth)
    position = {word: i for i, word in enumerate(words)}
    signs = np.array([1 if absolute else (-1) ** len(word) for word in words])
    return tensor[..., [position[word[::-1]] for word in words]] * signs


def inverse(tensor: Array, channels: int, depth: int, absolute: bool = False) -> Array:
    """Return y with (1 + x) ⊗ (1 + y) = 1, from the powers of x."""
    x = reference.split(tensor, channels, depth, scalar_term=False, scalar=0)
    power = reference.unit(tensor.shape[:-1], channels, depth, tensor.dtype)
    result = power
    for _ in range(depth):
        power = reference.product(power, x if absolute else [-level for level in x])
        result = [a + b for a, b in zip(result, power, strict=True)]
    return reference.flatten(result, scalar_term=False)


def scale(tensor: Array, scales: Array, depth: int) -> Array:
    """Multiply each coefficient by the scales of the letters of its word."""
    words = reference.words(scales.shape[-1], depth)
    factors = [functools.reduce(np.multiply, [scales[..., i] for i in word]) for word in words]
    return tensor * np.stack(factors, axis=-1)


def shuffle_product(first: Array, second: Array, channels: int, depth: int) -> Array:
    """Return the sum over all pairs of words of the shuffles of the two; no scalar terms."""
    shape = np.broadcast_shapes(first.shape, second.shape)
    result = np.zeros(shape, np.result_type(first, second))
    for i, j, place, count in shuffle_table(channels, depth):
        result[..., place] += count * first[..., i] * second[..., j]
    return result


@functools.cache
def shuffle_table(channels: int, depth: int) -> list[tuple[int, int, int, int]]:
    """Return for all pairs of words, and all of their shuffles, the places and the multiplicity."""
    words = reference.words(channels, depth)
    position = {word: i for i, word in enumerate(words)}
    return [
        (position[left], position[right], position[word], count)
        for left in words
        for right in words
        if len(left) + len(right) <= depth
        for word, count in reference.shuffles(left, right).items()
    ]


def invert(tensor: Array, position: Array, channels: int, depth: int) -> Array:
    """Return the path whose p-th velocity, inserted into level depth - 1, is next to level depth.

    The velocity is the minimiser of a quadratic function, found by its normal equation.
    """
    levels = reference.split(tensor, channels, depth, scalar_term=False, scalar=1)
    lower = levels[depth - 1].reshape(*tensor.shape[:-1], *(channels,) * (depth - 1))
    upper = levels[depth].reshape(*tensor.shape[:-1], *(channels,) * depth) * depth
    batch = tensor.ndim - 1
    points = [np.broadcast_to(position, (*tensor.shape[:-1], channels))]
    for p in range(depth):
        first = np.moveaxis(upper, batch + p, batch)
        axes = tuple(range(-(depth - 1), 0))
        expanded = lower[(..., None) + (slice(None),) * (depth - 1)]
        numerator = (first * expanded).sum(axis=axes) if depth > 1 else first * expanded
        square = (lower * lower).sum(axis=axes) if depth > 1 else lower * lower
        points.append(points[-1] + numerator / square[..., None] / depth)
    return np.stack(points, axis=-2)


def jvp(function: Callable[..., Array], arrays: list[Array], directions: list[Array]) -> Array:
    """Return the derivative along directions, by the complex step."""
    step = np.clongdouble(1e-200j)
    moved = [
        np.asarray(array, np.longdouble) + step * np.asarray(direction, np.longdouble)
        for array, direction in zip(arrays, directions, strict=True)
    ]
    return function(*moved).imag / step.imag


def assert_adjoint(
    gradients: Any,
    grad: Array,
    function: Callable[..., Array],
    bound: Callable[..., Array],
    arrays: list[Array],
    directions: list[Array],
    factor: float,
) -> None:
    """Assert <grad, J v> = <Jᵀ grad, v>; bound: the function with absolute values of all terms."""
    eps = np.finfo(grad.dtype).eps
    wide = [np.asarray(array, np.longdouble) for array in arrays]
    expected = (np.asarray(grad, np.longdouble) * jvp(function, wide, directions)).sum()
    actual = np.longdouble(0)
    for gradient, array, direction in zip(gradients, arrays, directions, strict=True):
        assert gradient.shape == array.shape
        assert gradient.dtype == grad.dtype
        actual += (np.asarray(gradient, np.longdouble) * direction).sum()
    size = jvp(bound, [abs(array) for array in wide], [abs(direction) for direction in directions])
    assert (
        abs(actual - expected) <= factor * eps * (abs(np.asarray(grad, np.longdouble)) * size).sum()
    )
