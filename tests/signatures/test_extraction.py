"""Levels and coefficients of signatures, by the places of their words."""

from __future__ import annotations

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signature_reference as reference

pytestmark = pytest.mark.usefixtures("xp")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("channels", "depth"), [(1, 4), (2, 4), (5, 2)])
def test_levels(rng, channels, depth, dtype):
    path = rng.standard_normal((3, 6, channels)).astype(dtype)
    for scalar_term in (False, True):
        value = pysig.signature(path, depth, scalar_term=scalar_term)
        levels = reference.split(value, channels, depth, scalar_term, 1)
        for k in range(1 - scalar_term, depth + 1):
            options = {"term": k, "scalar_term": scalar_term}
            actual = pysig.extract_signature_term(value, channels, depth, **options)
            assert actual.dtype == dtype
            assert np.array_equal(actual, levels[k])


def test_levels_are_views(rng, xp):
    if xp is np:
        value = rng.standard_normal((3, 14))
        assert np.shares_memory(pysig.extract_signature_term(value, 2, 3, 2), value)


@st.composite
def word_lists(draw):
    """Draw channels, depth, whether there is a scalar term, and words, some of them twice."""
    channels, depth = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    scalar_term = draw(st.booleans())
    letters = st.integers(0, channels - 1)
    lengths = {"min_size": 1 - scalar_term, "max_size": depth}
    words = draw(st.lists(st.lists(letters, **lengths).map(tuple), max_size=8))
    return channels, depth, scalar_term, words


@given(word_lists(), st.sampled_from([(), (0,), (3,), (2, 2)]))
def test_words_and_their_gradient(arguments, batch):
    channels, depth, scalar_term, words = arguments
    rng = np.random.default_rng(1)
    every = [()] * scalar_term + reference.words(channels, depth)
    value = rng.integers(-9, 10, (*batch, len(every))).astype(float)
    places = [every.index(word) for word in words]
    options = {"scalar_term": scalar_term}
    together, residuals = pysig.extract_signature_term_forward(
        value, channels, depth, term=words, **options
    )
    assert np.array_equal(together, value[..., places])
    grad = rng.integers(-9, 10, together.shape).astype(float)
    expected = np.zeros_like(value)
    for i, place in enumerate(places):
        expected[..., place] += grad[..., i]
    assert np.array_equal(pysig.extract_signature_term_backward(residuals, grad), expected)
    for word, place in zip(words, places, strict=True):
        one, residuals = pysig.extract_signature_term_forward(
            value, channels, depth, term=word, **options
        )
        assert np.array_equal(one, value[..., place])
        expected = np.zeros_like(value)
        expected[..., place] = 2
        gradient = pysig.extract_signature_term_backward(residuals, np.full(batch, 2.0))
        assert np.array_equal(gradient, expected)


@pytest.mark.parametrize("term", [1, 3])
def test_gradient_of_a_level(rng, term):
    value = rng.standard_normal((3, 14))
    level, residuals = pysig.extract_signature_term_forward(value, 2, 3, term)
    grad = rng.standard_normal(level.shape)
    gradient = pysig.extract_signature_term_backward(residuals, grad)
    start = 2**term - 2
    assert np.array_equal(gradient[:, start : start + 2**term], grad)
    assert np.count_nonzero(gradient) == grad.size


@pytest.mark.parametrize(
    ("term", "error", "message"),
    [
        (0, ValueError, "term must be between 1 and 3"),
        (4, ValueError, "term must be between 1 and 3"),
        ((), ValueError, "1 to 3 letters"),
        ((0, 0, 0, 0), ValueError, "1 to 3 letters"),
        ((0, 2), ValueError, "a letter of term must be between 0 and 1"),
        ((0, -1), ValueError, "between 0 and 1"),
        ((0, 1.0), TypeError, "must be an integer"),
        ([(0, 1), 1], TypeError, "tuples of letters"),
        ("a", TypeError, "term must be an integer"),
        (None, TypeError, "term must be an integer"),
    ],
)
def test_bad_terms(term, error, message):
    with pytest.raises(error, match=message):
        pysig.extract_signature_term(np.zeros(14), 2, 3, term=term)


def test_bad_gradients():
    _, residuals = pysig.extract_signature_term_forward(np.zeros(14), 2, 3, 2)
    with pytest.raises(ValueError, match="grad must have the shape"):
        pysig.extract_signature_term_backward(residuals, np.zeros(3))
    with pytest.raises(TypeError, match="grad must be float64"):
        pysig.extract_signature_term_backward(residuals, np.zeros(4, np.float32))
    with pytest.raises(TypeError, match="residuals must be"):
        pysig.extract_signature_term_backward(None, np.zeros(4))
