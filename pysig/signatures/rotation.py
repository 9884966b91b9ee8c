r"""Rotation invariants of paths in the plane.

With the complex coordinates :math:`z = x + iy` and :math:`\bar z`, a rotation by the angle φ
multiplies z by :math:`e^{i\varphi}`, so that the iterated integrals of words in z and
:math:`\bar z` with as many of the one as of the other do not change. Their real and imaginary parts
are all the linear functions of the signature that are invariant (Diehl, "Rotation invariants of two
dimensional curves based on iterated integrals", 2013, arXiv:1305.6883). There are
:math:`\binom{2k}{k}` independent ones in level 2k, as the word and its conjugate have the same.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np

from pysig._core.array import check_residuals, device_of, grad_array, integer, namespace_of
from pysig.signatures.algebra import check_tensor, levels
from pysig.signatures.shuffle import interleave

__all__ = [
    "RotationInvariants2dResiduals",
    "rotation_invariants_2d",
    "rotation_invariants_2d_backward",
    "rotation_invariants_2d_coefficients",
    "rotation_invariants_2d_forward",
]

KINDS = ("all", "irreducible")
DEEPEST_IRREDUCIBLE = 12
PRIME = 2**31 - 1


class RotationInvariants2dResiduals(NamedTuple):
    """What `rotation_invariants_2d_backward` needs: the map is linear, and no array is kept."""

    shape: tuple[int, ...]
    dtype: np.dtype
    depth: int
    kind: str
    scalar_term: bool


def rotation_invariants_2d(signature, depth, *, kind="all", scalar_term=False):
    r"""
    Compute the numbers in signatures of paths in the plane that rotations do not change.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures of paths with two channels. float32 and float64 keep their type; integers and
        bools become float64.
    depth : int
        Length of the longest words, from 2 to 64; the invariants are in the even levels.
    kind : {"all", "irreducible"}
        All invariants; or without those that are polynomials of invariants in lower levels, by the
        shuffle product, up to depth 12.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front; it is left out.

    Returns
    -------
    ndarray, shape (..., invariants)
        Level 2 first; in each level the real parts of words that begin with z, in lexicographic
        order with z before its conjugate, then the imaginary parts. The first two numbers are
        (x² + y²) / 2, for the increment (x, y) over the whole path, and minus twice the Lévy area.

    Raises
    ------
    ValueError
        If `signature` has not the last axis that `depth` and `scalar_term` ask for, or `depth` or
        `kind` is not among those above.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    rotation_invariants_2d_forward, rotation_invariants_2d_backward : the same with gradients.
    rotation_invariants_2d_coefficients : the invariants as linear combinations of words.

    Notes
    -----
    There are 2, 6, 20, 70, 252, … invariants in levels 2, 4, 6, …, of which 2, 3, 10, 31, 108, …
    are irreducible. A level is turned to the complex coordinates letter by letter, in four arrays
    of its size.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    >>> pysig.rotation_invariants_2d(pysig.signature(path, 2), depth=2)
    array([ 2.5, -2. ])
    >>> quarter_turn = np.stack([-path[:, 1], path[:, 0]], axis=-1)
    >>> pysig.rotation_invariants_2d(pysig.signature(quarter_turn, 2), depth=2)
    array([ 2.5, -2. ])
    """
    return rotation_invariants_2d_forward(signature, depth, kind=kind, scalar_term=scalar_term)[0]


def rotation_invariants_2d_forward(signature, depth, *, kind="all", scalar_term=False):
    """
    Compute rotation invariants, and what the gradient needs.

    The parameters are those of `rotation_invariants_2d`.

    Returns
    -------
    invariants : ndarray
        As `rotation_invariants_2d` returns it.
    residuals : RotationInvariants2dResiduals
        For `rotation_invariants_2d_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.rotation_invariants_2d_forward([1.0, 2, 0.5, 2, 0, 2], 2)
    >>> pysig.rotation_invariants_2d_backward(residuals, [0.0, 1.0])
    array([ 0.,  0.,  0., -1.,  1.,  0.])
    """
    depth, kind = check_options(depth, kind)
    tensor, _, _, scalar_term = check_tensor(signature, 2, depth, scalar_term)
    residuals = RotationInvariants2dResiduals(tensor.shape, tensor.dtype, depth, kind, scalar_term)
    with device_of(tensor):
        parts = []
        for k, level in enumerate(levels(tensor, 2, depth, scalar_term), 1):
            if k % 2 == 0:
                pairs = zip(complex_coordinates(level, k), invariant_words(k, kind), strict=True)
                parts += [part[..., places] for part, places in pairs]
        return namespace_of(tensor).concatenate(parts, axis=-1), residuals


def rotation_invariants_2d_backward(residuals, grad):
    """
    Compute the gradient of `rotation_invariants_2d`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : RotationInvariants2dResiduals
        As `rotation_invariants_2d_forward` returned it.
    grad : array_like
        Gradient with respect to the invariants, of their shape and type.

    Returns
    -------
    ndarray of the shape of the signature

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `rotation_invariants_2d_forward`.
    """
    check_residuals(residuals, RotationInvariants2dResiduals)
    shape, dtype, depth, kind, scalar_term = residuals
    words = [invariant_words(k, kind) for k in range(2, depth + 1, 2)]
    invariants = sum(len(real) + len(imaginary) for real, imaginary in words)
    grad = grad_array(grad, (*shape[:-1], invariants), dtype)
    with device_of(grad):
        xp = namespace_of(grad)
        result = xp.zeros(shape, dtype)
        start = 0
        targets = levels(result, 2, depth, scalar_term)
        for k, (real, imaginary) in zip(range(2, depth + 1, 2), words, strict=True):
            parts = [xp.zeros((*shape[:-1], 2**k), dtype) for _ in range(2)]
            for part, places in zip(parts, (real, imaginary), strict=True):
                part[..., places] = grad[..., start : start + len(places)]
                start += len(places)
            targets[k - 1][...] = complex_coordinates_adjoint(parts[0], parts[1], k)
        return result


def rotation_invariants_2d_coefficients(depth, *, kind="all"):
    """
    Return the rotation invariants as linear combinations of the words in x and y.

    Parameters
    ----------
    depth : int
        Length of the longest words, from 2 to 64.
    kind : {"all", "irreducible"}
        As in `rotation_invariants_2d`.

    Returns
    -------
    list of ndarray, shape (invariants, 2^k)
        One array for each of the levels k = 2, 4, …: a row for each invariant, with the
        coefficients of the words of that level, all of them 0, 1 or -1.

    Raises
    ------
    ValueError
        If `depth` or `kind` is not among those above.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> import pysig
    >>> pysig.rotation_invariants_2d_coefficients(2)
    [array([[ 1.,  0.,  0.,  1.],
           [ 0., -1.,  1.,  0.]])]
    """
    depth, kind = check_options(depth, kind)
    result = []
    for k in range(2, depth + 1, 2):
        pairs = zip(complex_coordinates(np.eye(2**k), k), invariant_words(k, kind), strict=True)
        rows = np.concatenate([part[:, places].T for part, places in pairs])
        result.append(rows + 0.0)  # no negative zeros
    return result


def check_options(depth, kind):
    """Check the options that all functions have."""
    depth = integer(depth, "depth", 2, 64)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, not {kind!r}")
    if kind == "irreducible" and depth > DEEPEST_IRREDUCIBLE:
        raise ValueError(
            f"depth must be at most {DEEPEST_IRREDUCIBLE} with kind='irreducible', not {depth}"
        )
    return depth, kind


def complex_coordinates(level, letters):
    """Return the coefficients of the words in z and its conjugate: real and imaginary parts."""
    xp = namespace_of(level)
    real, imaginary = level, xp.zeros(level.shape, level.dtype)
    for i in range(letters):
        (x_real, y_real), (x_imag, y_imag) = (
            split_letter(part, level.shape, i) for part in (real, imaginary)
        )
        real = xp.stack([x_real - y_imag, x_real + y_imag], axis=-2)
        imaginary = xp.stack([x_imag + y_real, x_imag - y_real], axis=-2)
    return real.reshape(level.shape), imaginary.reshape(level.shape)


def complex_coordinates_adjoint(real, imaginary, letters):
    """Return the adjoint of `complex_coordinates`."""
    xp, shape = namespace_of(real), real.shape
    for i in range(letters):
        (z_real, c_real), (z_imag, c_imag) = (
            split_letter(part, shape, i) for part in (real, imaginary)
        )
        real = xp.stack([z_real + c_real, z_imag - c_imag], axis=-2)
        imaginary = xp.stack([z_imag + c_imag, c_real - z_real], axis=-2)
    return real.reshape(shape)


def split_letter(part, shape, i):
    """Return the words of which the letter i is the first one, and those where it is the second."""
    pairs = part.reshape(*shape[:-1], 2**i, 2, shape[-1] // 2 ** (i + 1))
    return pairs[..., 0, :], pairs[..., 1, :]


# --------------------------------------------------------------------------- which words they are


@functools.lru_cache(maxsize=64)
def invariant_words(letters, kind):
    """Return the places of the words whose real parts, and whose imaginary parts, are wanted."""
    places = [place for place in balanced_words(letters) if place < 2 ** (letters - 1)]
    if kind == "all":
        return places, places
    products = reducible(letters)
    conjugates = [2**letters - 1 - place for place in places]
    # The real part of a word is that of its conjugate, the imaginary part is minus that.
    real = free_columns(products[:, places] + products[:, conjugates])
    imaginary = free_columns(products[:, places] - products[:, conjugates])
    return [places[i] for i in real], [places[i] for i in imaginary]


def balanced_words(letters):
    """Return the places of words with as many letters z (0) as conjugates of it (1)."""
    return [place for place in range(2**letters) if 2 * place.bit_count() == letters]


def reducible(letters):
    """Return the products of words of lower levels: in each row the coefficients of all words."""
    rows = []
    for size in range(2, letters // 2 + 1, 2):
        pairs = list(itertools.product(balanced_words(size), balanced_words(letters - size)))
        factors = np.zeros((2**size, 2 ** (letters - size), len(pairs)), np.int64)
        for row, pair in enumerate(pairs):
            factors[(*pair, row)] = 1
        products = [factors if i == size else None for i in range(letters + 1)]
        rows.append(interleave(products, 2, letters).T)
    return np.concatenate(rows) if rows else np.zeros((0, 2**letters), np.int64)


def free_columns(matrix):
    """Return the columns without a pivot, in row echelon form with the last columns first.

    It is computed modulo a prime, where nothing is rounded; a pivot would be lost only if the prime
    divided a minor of these matrices of small integers.
    """
    matrix = matrix % PRIME
    free = []
    for column in range(matrix.shape[1] - 1, -1, -1):
        (rows,) = np.nonzero(matrix[:, column])
        if not len(rows):
            free.append(column)
            continue
        pivot = matrix[rows[0]] * pow(int(matrix[rows[0], column]), -1, PRIME) % PRIME
        others = rows[1:]
        matrix[others] = (matrix[others] - matrix[others, column][:, None] * pivot) % PRIME
        matrix = np.delete(matrix, rows[0], axis=0)
    return free[::-1]
