"""The signature by its definition: tensor exponentials, multiplied by Chen's identity.

Everything here is plain NumPy without a hint of how the library works, and never rounds more than
its number type does: with ``Fraction`` or ``mpmath.mpf`` entries (dtype object) the results are
exact or as precise as asked, with ``longdouble`` they carry 11 more bits than float64, and complex
entries give derivatives by the complex step.

A truncated tensor is a list of levels; level k has shape ``(..., channels**k)``, level 0 included.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Levels = list[Array]


class Gradients(NamedTuple):
    """Gradients of a weighted sum of the signature's entries."""

    path: Array
    basepoint: Array | None = None
    initial: Array | None = None


# --- the truncated tensor algebra ----------------------------------------------------------------


def unit(batch: tuple[int, ...], channels: int, depth: int, dtype: Any) -> Levels:
    """Return the tensor (1, 0, ..., 0), once per path of the batch."""
    levels = [np.zeros((*batch, channels**k), dtype) for k in range(depth + 1)]
    levels[0] = levels[0] + 1
    return levels


def _outer(left: Array, right: Array) -> Array:
    full = left[..., :, None] * right[..., None, :]
    return full.reshape(*full.shape[:-2], full.shape[-2] * full.shape[-1])


def product(left: Levels, right: Levels) -> Levels:
    """Return the tensor product of two truncated tensors."""
    levels = []
    for k in range(len(left)):
        level = _outer(left[0], right[k])
        for i in range(1, k + 1):
            level = level + _outer(left[i], right[k - i])
        levels.append(level)
    return levels


def product_vjp(left: Levels, right: Levels, grad: Levels) -> tuple[Levels, Levels]:
    """Return the gradients of <grad, left ⊗ right> with respect to both factors."""
    grad_left = [np.zeros_like(level) for level in grad]
    grad_right = [np.zeros_like(level) for level in grad]
    for k in range(len(grad)):
        for i in range(k + 1):
            rows, columns = left[i].shape[-1], right[k - i].shape[-1]
            matrix = grad[k].reshape(*grad[k].shape[:-1], rows, columns)
            grad_left[i] = grad_left[i] + np.einsum("...ij,...j->...i", matrix, right[k - i])
            grad_right[k - i] = grad_right[k - i] + np.einsum("...i,...ij->...j", left[i], matrix)
    return grad_left, grad_right


def exponential(increment: Array, depth: int) -> Levels:
    """Return the signature of a straight line: increment^{⊗k} / k!."""
    levels = [increment[..., :1] * 0 + 1, increment]
    for k in range(2, depth + 1):
        levels.append(_outer(levels[-1], increment) / k)
    return levels[: depth + 1]


def exponential_vjp(increment: Array, levels: Levels, grad: Levels) -> Array:
    """Return the gradient of <grad, exponential(increment)> with respect to the increment."""
    grad_level = grad[-1]
    grad_increment = np.zeros_like(increment)
    for k in range(len(levels) - 1, 1, -1):
        rows, columns = levels[k - 1].shape[-1], increment.shape[-1]
        matrix = grad_level.reshape(*grad_level.shape[:-1], rows, columns) / k
        grad_increment = grad_increment + np.einsum("...i,...ij->...j", levels[k - 1], matrix)
        grad_level = grad[k - 1] + np.einsum("...ij,...j->...i", matrix, increment)
    return grad_increment + grad_level


def flatten(levels: Levels, scalar_term: bool) -> Array:
    """Concatenate the levels, with or without level 0."""
    return np.concatenate(levels[0 if scalar_term else 1 :], axis=-1)


def split(flat: Array, channels: int, depth: int, scalar_term: bool, scalar: int) -> Levels:
    """Return the levels of a flat tensor; level 0 is ``scalar``, whatever the array says."""
    levels = [np.zeros((*flat.shape[:-1], 1), flat.dtype) + scalar]
    start = int(scalar_term)
    for k in range(1, depth + 1):
        levels.append(flat[..., start : start + channels**k])
        start += channels**k
    assert start == flat.shape[-1], "the flat tensor has a wrong size"
    return levels


# --- a path turned into its increments -----------------------------------------------------------


class _Walk(NamedTuple):
    """A product of exponentials: start ⊗ exp(z_1) ⊗ ..., or with on_left ... ⊗ exp(z_1) ⊗ start."""

    increments: Array  # (*batch, steps, channels), zero where a path has ended
    active: Array  # (*batch, steps), False where a path has ended
    start: Levels
    depth: int
    on_left: bool

    def values(self) -> Iterator[Levels]:
        """Yield the product after 0, 1, ... steps."""
        value = self.start
        yield value
        for t in range(self.increments.shape[-2]):
            factor = exponential(self.increments[..., t, :], self.depth)
            value = product(factor, value) if self.on_left else product(value, factor)
            yield value

    def absolute(self) -> _Walk:
        """Return the walk with every number replaced by its absolute value."""
        start = [abs(level) for level in self.start]
        return self._replace(increments=abs(self.increments), start=start)


def _walk(
    path: Any,
    depth: int,
    basepoint: Any = None,
    initial: Any = None,
    inverse: bool = False,
    scalar_term: bool = False,
    lengths: Any = None,
) -> _Walk:
    path = np.asarray(path)
    batch, channels = path.shape[:-2], path.shape[-1]
    if basepoint is True:
        basepoint = np.zeros(channels, path.dtype)
    based = basepoint is not None and basepoint is not False
    if based:
        point = np.broadcast_to(np.asarray(basepoint), (*batch, channels))
        path = np.concatenate([point[..., None, :], path], axis=-2)
    active = np.ones((*batch, path.shape[-2] - 1), bool)
    if lengths is not None:
        last = np.broadcast_to(np.asarray(lengths), batch)[..., None] - 1 + based
        active = np.arange(path.shape[-2] - 1) < last
        points = np.minimum(np.arange(path.shape[-2]), last)  # a path rests where it ends
        path = np.take_along_axis(path, points[..., None], axis=-2)
    increments = path[..., 1:, :] - path[..., :-1, :]
    if initial is None:
        start = unit(batch, channels, depth, increments.dtype)
    else:
        initial = np.asarray(initial)
        start = split(initial, channels, depth, scalar_term, scalar=1)
        start = [np.broadcast_to(level, (*batch, level.shape[-1])) for level in start]
    return _Walk(-increments if inverse else increments, active, start, depth, inverse)


def _evaluate(walk: _Walk, stream: bool, scalar_term: bool) -> Array:
    if not stream:
        for value in walk.values():
            last = value
        return flatten(last, scalar_term)
    prefixes = [flatten(value, scalar_term) for value in walk.values()]
    return np.stack(prefixes, axis=-2)[..., 1:, :]


def _differentiate(
    walk: _Walk, grad: Array, stream: bool, scalar_term: bool
) -> tuple[Array, Levels]:
    """Return the gradients with respect to the increments and the start."""
    channels = walk.increments.shape[-1]
    grad_increments = np.zeros_like(walk.increments)
    values = list(walk.values())
    grads = split(grad, channels, walk.depth, scalar_term, scalar=0)
    if stream:
        grad_value = [level * 0 for level in walk.start]
    else:
        grad_value = grads
    for t in range(walk.increments.shape[-2] - 1, -1, -1):
        if stream:
            pairs = zip(grad_value, grads, strict=True)
            grad_value = [total + level[..., t, :] for total, level in pairs]
        increment, value = walk.increments[..., t, :], values[t]
        factor = exponential(increment, walk.depth)
        if walk.on_left:
            grad_factor, grad_value = product_vjp(factor, value, grad_value)
        else:
            grad_value, grad_factor = product_vjp(value, factor, grad_value)
        grad_increments[..., t, :] = exponential_vjp(increment, factor, grad_factor)
    grad_increments = np.where(walk.active[..., None], grad_increments, 0)
    return grad_increments, grad_value


def _sum_to_shape(array: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: sum the axes along which an array of the given shape was repeated."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and array.shape[i] != 1)
    return array.sum(axis=axes, keepdims=True)


def _collect(
    grad_increments: Array,
    grad_start: Levels,
    path: Any,
    basepoint: Any,
    initial: Any,
    inverse: bool,
    scalar_term: bool,
    absolute: bool,
) -> Gradients:
    """Turn gradients of the increments into gradients of the points, or into bounds on them."""
    path = np.asarray(path)
    sign = -1 if inverse and not absolute else 1
    based = basepoint is not None and basepoint is not False
    shape = (*path.shape[:-2], path.shape[-2] + based, path.shape[-1])
    grad_points = np.zeros(shape, grad_increments.dtype)
    grad_points[..., 1:, :] += sign * grad_increments
    grad_points[..., :-1, :] += (sign if absolute else -sign) * grad_increments
    grad_basepoint = grad_initial = None
    if based:
        if basepoint is not True:
            shape = np.asarray(basepoint).shape
            grad_basepoint = _sum_to_shape(grad_points[..., 0, :], shape)
        grad_points = grad_points[..., 1:, :]
    if initial is not None:
        grad_start = [grad_start[0] * 0, *grad_start[1:]]
        grad_initial = _sum_to_shape(flatten(grad_start, scalar_term), np.shape(initial))
    return Gradients(grad_points, grad_basepoint, grad_initial)


# --- the reference -------------------------------------------------------------------------------


def signature(
    path: Any,
    depth: int,
    *,
    stream: bool = False,
    basepoint: Any = None,
    initial: Any = None,
    inverse: bool = False,
    scalar_term: bool = False,
    lengths: Any = None,
) -> Array:
    """Return what ``pysig.signature`` must return, in the number type of the path."""
    walk = _walk(path, depth, basepoint, initial, inverse, scalar_term, lengths)
    return _evaluate(walk, stream, scalar_term)


def signature_bound(
    path: Any,
    depth: int,
    *,
    stream: bool = False,
    basepoint: Any = None,
    initial: Any = None,
    inverse: bool = False,
    scalar_term: bool = False,
    lengths: Any = None,
) -> Array:
    """Return the condition number of every entry: the signature of the absolute increments.

    An entry is a sum of products of increments with positive weights. Each product can be computed
    to a few roundings, so that |error| <= c * eps * (sum of absolute values) with a small c.
    """
    walk = _walk(path, depth, basepoint, initial, inverse, scalar_term, lengths)
    return _evaluate(walk.absolute(), stream, scalar_term)


def signature_vjp(
    path: Any,
    depth: int,
    grad: Array,
    *,
    stream: bool = False,
    basepoint: Any = None,
    initial: Any = None,
    inverse: bool = False,
    scalar_term: bool = False,
    lengths: Any = None,
) -> Gradients:
    """Return the gradient of <grad, signature> by reverse accumulation through every product."""
    walk = _walk(path, depth, basepoint, initial, inverse, scalar_term, lengths)
    gradients = _differentiate(walk, grad, stream, scalar_term)
    return _collect(*gradients, path, basepoint, initial, inverse, scalar_term, absolute=False)


def signature_vjp_bound(
    path: Any,
    depth: int,
    grad: Array,
    *,
    stream: bool = False,
    basepoint: Any = None,
    initial: Any = None,
    inverse: bool = False,
    scalar_term: bool = False,
    lengths: Any = None,
) -> Gradients:
    """Return the condition number of every gradient entry, as :func:`signature_bound` does."""
    walk = _walk(path, depth, basepoint, initial, inverse, scalar_term, lengths)
    gradients = _differentiate(walk.absolute(), abs(grad), stream, scalar_term)
    return _collect(*gradients, path, basepoint, initial, inverse, scalar_term, absolute=True)


def signature_jvp(path: Any, depth: int, directions: Gradients, **options: Any) -> Array:
    """Return the derivative of the signature along directions, by the complex step.

    The signature is a polynomial, so a step this small has no truncation error, and nothing is
    subtracted: the derivative is as accurate as a value. ``directions`` holds one direction for the
    path, and for basepoint and initial where they are arrays.
    """
    step = np.clongdouble(1e-200j)
    moved = np.asarray(path, np.longdouble) + step * directions.path
    for name in ("basepoint", "initial"):
        direction = getattr(directions, name)
        if direction is not None:
            options[name] = np.asarray(options[name], np.longdouble) + step * direction
    return signature(moved, depth, **options).imag / step.imag


# --- other ways to the same numbers --------------------------------------------------------------


def coefficient(path: Any, word: Sequence[int]) -> Any:
    """Return one coefficient of one path's signature, as the iterated integral itself.

    Integrating dx^{i_1} ... dx^{i_k} over times t_1 < ... < t_k, the times fall into steps
    s_1 <= ... <= s_k; a step holding m of them contributes the volume 1 / m! of its simplex.
    """
    increments = np.asarray(path)[1:] - np.asarray(path)[:-1]
    total: Any = 0
    for steps in itertools.combinations_with_replacement(range(len(increments)), len(word)):
        term: Any = 1
        for step, letter in zip(steps, word, strict=True):
            term = term * increments[step, letter]
        for multiplicity in Counter(steps).values():
            term = term / math.factorial(multiplicity)
        total = total + term
    return total


def words(channels: int, depth: int) -> list[tuple[int, ...]]:
    """Return the words in the order of the signature's entries, the empty word left out."""
    letters = range(channels)
    lengths = range(1, depth + 1)
    return [word for length in lengths for word in itertools.product(letters, repeat=length)]


def shuffles(left: tuple[int, ...], right: tuple[int, ...]) -> Counter[tuple[int, ...]]:
    """Return the shuffle product of two words: every interleaving, with its multiplicity."""
    if not left or not right:
        return Counter([left + right])
    result: Counter[tuple[int, ...]] = Counter()
    for word, count in shuffles(left[:-1], right).items():
        result[(*word, left[-1])] += count
    for word, count in shuffles(left, right[:-1]).items():
        result[(*word, right[-1])] += count
    return result


def reversing_vjp(path: Any, depth: int, grad: Array) -> Array:
    """Return the path's gradient with the prefixes recovered by multiplying with inverses.

    Cheap in memory, and what other libraries do. It is here to be beaten: where the path has been
    far away, the recovered prefixes of its calm beginning have lost their digits.
    """
    walk = _walk(path, depth)
    channels = walk.increments.shape[-1]
    grad_increments = np.zeros_like(walk.increments)
    for value in walk.values():
        last = value
    grad_value = split(grad, channels, depth, scalar_term=False, scalar=0)
    for t in range(walk.increments.shape[-2] - 1, -1, -1):
        increment = walk.increments[..., t, :]
        last = product(last, exponential(-increment, depth))
        factor = exponential(increment, depth)
        grad_value, grad_factor = product_vjp(last, factor, grad_value)
        grad_increments[..., t, :] = exponential_vjp(increment, factor, grad_factor)
    flags = {"inverse": False, "scalar_term": False, "absolute": False}
    return _collect(grad_increments, grad_value, path, None, None, **flags).path


def long_signature_vjp(
    path: Array, depth: int, grad: Array, chunk: int, group: int
) -> tuple[Array, Array]:
    """Return signature and gradient of one long path, (length, channels), in reasonable time.

    The path is cut into chunks of ``chunk`` steps, which are computed side by side as a batch of
    short paths, ``group`` of them at a time to limit the memory, and joined by Chen's identity.
    """
    steps, channels = path.shape[0] - 1, path.shape[1]
    assert steps % chunk == 0, "the chunks must fit"
    starts = np.arange(0, steps, chunk)
    chunks = path[starts[:, None] + np.arange(chunk + 1)]
    factors = split(signature(chunks, depth), channels, depth, scalar_term=False, scalar=1)

    def factor(i: int) -> Levels:
        return [level[i] for level in factors]

    prefixes = [unit((), channels, depth, path.dtype)]
    for i in range(len(starts)):
        prefixes.append(product(prefixes[-1], factor(i)))

    grad_prefix = split(grad, channels, depth, scalar_term=False, scalar=0)
    grad_factors = np.empty((len(starts), grad.shape[-1]), path.dtype)
    for i in range(len(starts) - 1, -1, -1):
        grad_prefix, grad_factor = product_vjp(prefixes[i], factor(i), grad_prefix)
        grad_factors[i] = flatten(grad_factor, scalar_term=False)

    grad_path = np.zeros_like(path)
    for i in range(0, len(starts), group):
        pieces = signature_vjp(chunks[i : i + group], depth, grad_factors[i : i + group]).path
        for start, piece in zip(starts[i : i + group], pieces, strict=True):
            grad_path[start : start + chunk + 1] += piece
    return flatten(prefixes[-1], scalar_term=False), grad_path


def exact(values: Any) -> Array:
    """Return the values as an array of fractions, without rounding."""
    from fractions import Fraction

    values = np.asarray(values)
    result = np.empty(values.shape, object)
    result[...] = np.vectorize(lambda value: Fraction(float(value)), otypes=[object])(values)
    return result
