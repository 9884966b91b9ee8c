"""Words, Lyndon words and their brackets."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import logsignature_reference
from reference import signature_reference as reference

import pysig

WRONG: Any = 1
SIZES = [(1, 1), (1, 6), (2, 1), (2, 7), (3, 5), (4, 4), (7, 3), (30, 2), (100, 1)]


@pytest.mark.parametrize(("channels", "depth"), SIZES)
def test_words_are_those_of_the_definition(channels, depth):
    assert pysig.all_words(channels, depth) == reference.words(channels, depth)
    words = pysig.lyndon_words(channels, depth)
    assert words == logsignature_reference.lyndon_words(channels, depth)
    assert len(words) == pysig.logsignature_channels(channels, depth)
    assert len(pysig.all_words(channels, depth)) == pysig.signature_channels(channels, depth)


def moebius(n):
    """Return 0 if a square divides n, else 1 or -1 for an even or odd number of primes."""
    primes = [p for p in range(2, n + 1) if n % p == 0 and all(p % q for q in range(2, p))]
    return 0 if any(n % p**2 == 0 for p in primes) else (-1) ** len(primes)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 12])
def test_numbers_of_lyndon_words_are_witts(channels):
    total = 0
    for n in range(1, 13 if channels < 3 else 7):
        divisors = [m for m in range(1, n + 1) if n % m == 0]
        total += sum(moebius(m) * channels ** (n // m) for m in divisors) // n
        assert pysig.logsignature_channels(channels, n) == total
        assert pysig.logsignature_channels(channels, n, "brackets") == total
        assert len(pysig.lyndon_words(channels, n)) == total


@pytest.mark.parametrize(("channels", "depth"), [(2, 7), (3, 5), (4, 4), (6, 3)])
def test_brackets_are_a_basis_that_begins_with_its_words(channels, depth):
    """Each bracket is its own word and larger ones, of the same letters."""
    words = pysig.lyndon_words(channels, depth)
    every = reference.words(channels, depth)
    matrix = logsignature_reference.expand_brackets(
        pysig.lyndon_brackets(channels, depth), channels, depth
    )
    for word, row in zip(words, matrix, strict=True):
        terms = {every[i]: row[i] for i in np.flatnonzero(row)}
        assert min(terms) == word
        assert terms[word] == 1
        assert all(sorted(other) == sorted(word) for other in terms)


def test_known_brackets():
    assert pysig.lyndon_brackets(3, 2) == [0, 1, 2, (0, 1), (0, 2), (1, 2)]
    assert pysig.lyndon_brackets(2, 4)[5:] == [
        (0, (0, (0, 1))),
        (0, ((0, 1), 1)),
        (((0, 1), 1), 1),
    ]


@given(st.integers(2, 9), st.booleans(), st.integers(1, 5000))
def test_indices_and_words_are_inverses(channels, scalar_term, index):
    word = pysig.index_to_word(index, channels, scalar_term)
    assert pysig.word_to_index(word, channels, scalar_term) == index
    assert pysig.word_to_index(np.array(word, int), channels, scalar_term) == index


@pytest.mark.parametrize("scalar_term", [False, True])
def test_indices_are_those_of_the_list(scalar_term):
    for index, word in enumerate([()] * scalar_term + pysig.all_words(3, 4)):
        assert pysig.word_to_index(word, 3, scalar_term) == index
        assert pysig.index_to_word(index, 3, scalar_term) == word


def test_results_may_be_changed():
    pysig.lyndon_words(2, 3).clear()
    assert len(pysig.lyndon_words(2, 3)) == 5


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pysig.all_words(0, 2), ValueError, "channels must be between 1"),
        (lambda: pysig.lyndon_words(2, 0), ValueError, "depth must be between 1 and 64"),
        (lambda: pysig.lyndon_brackets(2, 65), ValueError, "depth must be between 1 and 64"),
        (lambda: pysig.all_words(2.0, 2), TypeError, "channels must be an integer"),
        (lambda: pysig.lyndon_words(10**9, 3), ValueError, "depth 3 is too large"),
        (lambda: pysig.word_to_index((2,), 2), ValueError, "a letter of word must be between 0"),
        (lambda: pysig.word_to_index((0.5,), 2), TypeError, "a letter of word must be an integer"),
        (lambda: pysig.word_to_index((), 2), ValueError, "word must not be empty"),
        (lambda: pysig.word_to_index(1, 2), TypeError, "word must be a tuple of letters"),
        (lambda: pysig.word_to_index((0,) * 65, 2), ValueError, "at most 64 letters"),
        (
            lambda: pysig.word_to_index((0,), 2, WRONG),
            TypeError,
            "scalar_term must be True or False",
        ),
        (lambda: pysig.index_to_word(-1, 2), ValueError, "index must be between 0"),
        (lambda: pysig.index_to_word(64, 1), ValueError, "more than 64 letters"),
        (lambda: pysig.logsignature_channels(2, 3, "lyndon"), ValueError, "mode must be one of"),
        (lambda: pysig.logsignature_channels(2, 3, WRONG), TypeError, "mode must be a string"),
    ],
)
def test_bad_arguments_are_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_word_of_the_largest_length_has_an_index():
    for scalar_term in itertools.product((False, True)):
        index = pysig.word_to_index((0,) * 64, 1, *scalar_term)
        assert pysig.index_to_word(index, 1, *scalar_term) == (0,) * 64
