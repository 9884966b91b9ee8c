"""Levels and single coefficients of signatures, and their gradients."""

from typing import NamedTuple

import numpy as np

from pysig._core.array import check_residuals, device_of, grad_array, integer, namespace_of
from pysig.signatures.algebra import check_tensor
from pysig.signatures.words import find_word

__all__ = [
    "ExtractSignatureTermResiduals",
    "extract_signature_term",
    "extract_signature_term_backward",
    "extract_signature_term_forward",
]


class ExtractSignatureTermResiduals(NamedTuple):
    """What `extract_signature_term_backward` needs: the map is linear, and no array is kept."""

    shape: tuple[int, ...]
    dtype: np.dtype
    places: slice | int | list[int]  # along the last axis


def extract_signature_term(signature, channels, depth, term, *, scalar_term=False):
    """
    Return one level of signatures, or the coefficients of single words.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures, or any tensors. float32 and float64 keep their type; integers and bools become
        float64.
    channels : int
        Number of letters.
    depth : int
        Length of the longest words, from 1 to 64.
    term : int, tuple of int, or list of tuples of int
        A level, from 1 to `depth`; or a word, whose letters are from 0 to channels - 1; or several
        words. With `scalar_term` level 0 and the empty word are allowed, too.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front.

    Returns
    -------
    ndarray
        For a level k, shape (..., channels^k): a view, if `signature` is a contiguous
        array of floating-point numbers. Reshape its last axis to (channels, …, channels) to index
        it by letters. For a word, shape (...). For a list of words, shape (..., words).

    Raises
    ------
    ValueError
        If `signature` has not the last axis that `channels`, `depth` and `scalar_term` ask for, or
        has no such level or word.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    extract_signature_term_forward, extract_signature_term_backward : the same with gradients.
    signature_words : computes the coefficients of some words without the others.

    Examples
    --------
    >>> import pysig
    >>> signature = pysig.signature([[0.0, 0.0], [2.0, 3.0]], depth=2)
    >>> pysig.extract_signature_term(signature, channels=2, depth=2, term=2)
    array([2. , 3. , 3. , 4.5])
    >>> pysig.extract_signature_term(signature, channels=2, depth=2, term=[(1,), (0, 1)])
    array([3., 3.])
    """
    return extract_signature_term_forward(
        signature, channels, depth, term, scalar_term=scalar_term
    )[0]


def extract_signature_term_forward(signature, channels, depth, term, *, scalar_term=False):
    """
    Return one level of signatures, or coefficients of words, and what the gradient needs.

    The parameters are those of `extract_signature_term`.

    Returns
    -------
    term : ndarray
        As `extract_signature_term` returns it.
    residuals : ExtractSignatureTermResiduals
        For `extract_signature_term_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.extract_signature_term_forward([2.0, 1.0, 5.0], 1, 3, (0, 0))
    >>> float(value)
    1.0
    >>> pysig.extract_signature_term_backward(residuals, 7.0)
    array([0., 7., 0.])
    """
    tensor, *options = check_tensor(signature, channels, depth, scalar_term)
    places = find_places(term, *options)
    residuals = ExtractSignatureTermResiduals(tensor.shape, tensor.dtype, places)
    with device_of(tensor):
        return tensor[..., places], residuals


def extract_signature_term_backward(residuals, grad):
    """
    Compute the gradient of `extract_signature_term`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : ExtractSignatureTermResiduals
        As `extract_signature_term_forward` returned it.
    grad : array_like
        Gradient with respect to the result, of its shape and type.

    Returns
    -------
    ndarray of the shape of the signature
        Zero for all other coefficients.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `extract_signature_term_forward`.
    """
    check_residuals(residuals, ExtractSignatureTermResiduals)
    shape, dtype, places = residuals
    # An array of no memory that has the shape: what indexing gives is asked, not repeated.
    last = np.broadcast_to(np.float32(0), shape)[..., places]
    grad = grad_array(grad, last.shape, dtype)
    with device_of(grad):
        result = namespace_of(grad).zeros(shape, dtype)
        if not isinstance(places, list):
            result[..., places] = grad
        for chosen in rounds(places) if isinstance(places, list) else ():
            result[..., [places[i] for i in chosen]] += grad[..., chosen]
        return result


def rounds(places):
    """Return the positions in a list, as lists in which no value comes twice."""
    seen, result = {}, []
    for position, place in enumerate(places):
        repetition = seen[place] = seen.get(place, -1) + 1
        if repetition == len(result):
            result.append([])
        result[repetition].append(position)
    return result


def find_places(term, channels, depth, scalar_term):
    """Return where a level (a slice), a word (an int) or words (a list) stand."""
    if isinstance(term, tuple):
        return find_term(term, channels, depth, scalar_term)
    if isinstance(term, list):
        return [find_term(word, channels, depth, scalar_term) for word in term]
    level = integer(term, "term", 1 - scalar_term, depth)
    start = sum(channels**k for k in range(1 - scalar_term, level))
    return slice(start, start + channels**level)


def find_term(word, channels, depth, scalar_term):
    """Return where the coefficient of a word stands."""
    if not isinstance(word, tuple):
        raise TypeError(f"term must have words that are tuples of letters, not {word!r}")
    if not 1 - scalar_term <= len(word) <= depth:
        raise ValueError(
            f"term must have words of {1 - scalar_term} to {depth} letters, not {word}"
        )
    return find_word(word, "term", channels, scalar_term)
