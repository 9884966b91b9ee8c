"""Exponential, logarithm and brackets by their definitions, on top of ``signature_reference``.

Any number type does: ``longdouble`` has 11 more bits than float64, complex entries give derivatives
by the complex step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reference import signature_reference as reference
from reference.signature_reference import Array, Levels


def coefficients(depth: int, logarithm: bool) -> list[Any]:
    """Return the coefficients of x, x², ..., of the logarithm of 1 + x or the exponential."""
    if logarithm:
        return [(-1) ** (n + 1) / np.longdouble(n) for n in range(1, depth + 1)]
    return [1 / np.longdouble(math.factorial(n)) for n in range(1, depth + 1)]


def power_series(flat: Array, channels: int, depth: int, factors: list[Any]) -> Array:
    """Return the sum of factors[n - 1] * x^n for a tensor x without scalar term."""
    x = reference.split(flat, channels, depth, scalar_term=False, scalar=0)
    power, total = x, [level * 0 for level in x]
    for factor in factors:
        total = [level + factor * more for level, more in zip(total, power, strict=True)]
        power = reference.product(power, x)
    return reference.flatten(total, scalar_term=False)


def series(flat: Array, channels: int, depth: int, logarithm: bool) -> Array:
    """Return the logarithm of 1 + x, or the exponential of x."""
    return power_series(flat, channels, depth, coefficients(depth, logarithm))


def series_bound(flat: Array, channels: int, depth: int, logarithm: bool) -> Array:
    """Return the condition number of every entry: the series with absolute values."""
    factors = [abs(factor) for factor in coefficients(depth, logarithm)]
    return power_series(abs(flat), channels, depth, factors)


def lyndon_words(channels: int, depth: int) -> list[tuple[int, ...]]:
    """Return the words that are smaller than all their proper suffixes."""
    words = reference.words(channels, depth)
    return [word for word in words if all(word < word[i:] for i in range(1, len(word)))]


def lyndon_positions(channels: int, depth: int) -> list[int]:
    """Return where the Lyndon words stand in a signature."""
    position = {word: i for i, word in enumerate(reference.words(channels, depth))}
    return [position[word] for word in lyndon_words(channels, depth)]


def expand_bracket(bracket: Any, channels: int, depth: int) -> Levels:
    """Return the tensor of a nested pair of letters, by commutators."""
    if isinstance(bracket, int):
        levels = reference.unit((), channels, depth, np.longdouble)
        levels[0] = levels[0] * 0
        levels[1][bracket] = 1
        return levels
    left, right = (expand_bracket(part, channels, depth) for part in bracket)
    products = reference.product(left, right), reference.product(right, left)
    return [level - other for level, other in zip(*products, strict=True)]


def expand_brackets(brackets: list[Any], channels: int, depth: int) -> Array:
    """Return a matrix: a row of all words for each bracket."""
    rows = [expand_bracket(bracket, channels, depth) for bracket in brackets]
    return np.stack([reference.flatten(row, scalar_term=False) for row in rows])


def from_expanded(flat: Array, channels: int, depth: int, mode: str, matrix: Array) -> Array:
    """Return an expanded logsignature in another mode; matrix: that of expand_brackets."""
    if mode == "expand":
        return flat
    positions = lyndon_positions(channels, depth)
    values = flat[..., positions]
    if mode == "words":
        return values
    system = matrix[:, positions]  # unit upper triangular: row i is the bracket of word i
    values = values.copy()
    for i in range(len(positions)):
        values[..., i + 1 :] -= values[..., i, None] * system[i, i + 1 :]
    return values


def mode_bound(bound: Array, channels: int, depth: int, mode: str, matrix: Array) -> Array:
    """Return what the condition numbers of an expanded logsignature are in another mode."""
    if mode == "expand":
        return bound
    positions = lyndon_positions(channels, depth)
    if mode == "words":
        return bound[..., positions]
    inverse = np.linalg.inv(matrix[:, positions].astype(np.float64))
    return bound[..., positions] @ abs(inverse)
