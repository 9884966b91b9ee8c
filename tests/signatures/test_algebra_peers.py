"""Agreement with other libraries, whose results ``make_algebra_peers.py`` has stored."""

from __future__ import annotations

from pathlib import Path

import arrays as pysig
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("xp")

PEERS = np.load(Path(__file__).with_name("algebra_peers.npz"), allow_pickle=False)
SIZES = [tuple(map(int, size)) for size in PEERS["sizes"]]
EACH_SIZE = pytest.mark.parametrize(("i", "size"), list(enumerate(SIZES)), ids=str)


def assert_close(actual: np.ndarray, expected: np.ndarray, places: int = 13) -> None:
    """Assert an error of at most 1e-13, or so, of the largest number."""
    assert actual.shape == expected.shape
    assert np.all(abs(actual - expected) <= 10.0**-places * abs(expected).max())


def words_of(i: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row[row >= 0].tolist()) for row in PEERS[f"words_{i}"])


def test_stored_results_are_of_the_versions_that_the_benchmarks_use():
    assert list(PEERS["versions"]) == ["pysiglib 4.0.0", "iisignature 0.24"]


@EACH_SIZE
def test_join(i, size):
    value, segment, depth = PEERS[f"value_{i}"], PEERS[f"segment_{i}"], size[-1]
    after = pysig.signature_join(value, segment, depth)
    assert_close(after, PEERS[f"joined_{i}"])
    assert_close(after, PEERS[f"iisignature_joined_{i}"], 6)  # it has computed in float32
    before = pysig.signature_join(value, segment, depth, front=True)
    assert_close(before, PEERS[f"front_{i}"])


@EACH_SIZE
def test_scale(i, size):
    scaled = pysig.signature_scale(PEERS[f"value_{i}"], PEERS[f"scales_{i}"], size[-1])
    assert_close(scaled, PEERS[f"iisignature_scaled_{i}"], 6)


@EACH_SIZE
def test_chosen_words(i, size):
    *_, channels, depth = size
    words = words_of(i)
    value = pysig.signature_words(PEERS[f"path_{i}"], words)
    assert_close(value, PEERS[f"coefficients_{i}"])
    extracted = pysig.extract_signature_term(PEERS[f"value_{i}"], channels, depth, term=list(words))
    assert_close(extracted, PEERS[f"extracted_{i}"])
    prefixes = tuple(word[:k] for word in words for k in range(1, len(word) + 1))
    _, residuals = pysig.signature_words_forward(PEERS[f"path_{i}"], prefixes)
    gradient = pysig.signature_words_backward(residuals, PEERS[f"grad_{i}"]).path
    assert_close(gradient, PEERS[f"gradient_{i}"])


@EACH_SIZE
def test_transformations(i, size):
    path, channels = PEERS[f"path_{i}"], size[-2]
    assert_close(pysig.time_augment(path), PEERS[f"timed_{i}"], 15)
    lag_first = np.roll(PEERS[f"lead_lag_{i}"], channels, axis=-1)
    assert np.array_equal(pysig.lead_lag(path), lag_first)


@pytest.mark.parametrize("depth", PEERS["invariant_depths"].tolist())
def test_rotation_invariants(depth):
    """The other library has other bases of the same spaces."""
    theirs = PEERS[f"invariant_coefficients_{depth}"]
    ours = pysig.rotation_invariants_2d_coefficients(depth)[-1]
    change, *_ = np.linalg.lstsq(theirs.T, ours.T, rcond=None)
    assert len(theirs) == len(ours) == np.linalg.matrix_rank(change)
    np.testing.assert_allclose(theirs.T @ change, ours.T, atol=1e-12)
    value = pysig.rotation_invariants_2d(pysig.signature(PEERS["plane"], depth), depth)
    expected = PEERS[f"invariants_{depth}"][:, -len(theirs) :] @ change
    assert_close(value[:, -len(ours) :], expected, 12)
