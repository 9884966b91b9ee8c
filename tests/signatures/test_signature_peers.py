"""Agreement with other libraries, whose results ``make_peers.py`` has stored."""

from __future__ import annotations

from pathlib import Path

import arrays as pysig
import numpy as np
import pytest
from reference.accuracy import wide

pytestmark = pytest.mark.usefixtures("xp")

PEERS = np.load(Path(__file__).with_name("peers.npz"), allow_pickle=False)
SIZES = [tuple(map(int, size)) for size in PEERS["sizes"]]
STREAM_SIZES = [tuple(map(int, size)) for size in PEERS["stream_sizes"]]


def assert_close(actual: np.ndarray, expected: np.ndarray, channels: int, depth: int) -> None:
    """Assert a relative difference of at most 1e-13, in each level of each path."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    ends = np.cumsum([channels**k for k in range(1, depth + 1)])
    pairs = zip(*(np.split(x, ends[:-1], axis=-1) for x in (actual, expected)), strict=True)
    for level, other in pairs:
        size = np.max(abs(other), axis=-1)
        assert np.all(size > 0)
        assert np.all(np.max(abs(level - other), axis=-1) <= 1e-13 * size)


def test_stored_results_are_of_the_versions_that_the_benchmarks_use():
    assert list(PEERS["versions"]) == ["pysiglib 4.0.0", "iisignature 0.24"]


@pytest.mark.parametrize("peer", ["pysiglib", "iisignature"])
@pytest.mark.parametrize(("i", "size"), list(enumerate(SIZES)), ids=str)
def test_signature(i, size, peer):
    *_, channels, depth = size
    value = pysig.signature(PEERS[f"path_{i}"], depth)
    assert_close(value, PEERS[f"{peer}_{i}"], channels, depth)


@pytest.mark.parametrize(("i", "size"), list(enumerate(STREAM_SIZES)), ids=str)
def test_stream(i, size):
    *_, channels, depth = size
    value = pysig.signature(PEERS[f"stream_path_{i}"], depth, stream=True)
    assert_close(value, PEERS[f"stream_iisignature_{i}"], channels, depth)


@pytest.mark.parametrize(("i", "size"), list(enumerate(SIZES)), ids=str)
def test_gradient(i, size):
    *_, depth = size
    _, residuals = pysig.signature_forward(PEERS[f"path_{i}"], depth)
    grad = PEERS[f"grad_{i}"].astype(np.float64)
    gradient = pysig.signature_backward(residuals, grad).path
    expected = PEERS[f"pysiglib_gradient_{i}"]
    assert gradient.shape == expected.shape
    size_of_path = np.max(abs(expected), axis=(1, 2), keepdims=True)
    assert np.all(abs(wide(gradient) - wide(expected)) <= 1e-13 * size_of_path)
