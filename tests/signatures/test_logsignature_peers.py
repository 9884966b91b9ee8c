"""Agreement with other libraries, whose results ``make_logsignature_peers.py`` has stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pysig

FILE = Path(__file__).with_name("logsignature_peers.npz")
PEERS = np.load(FILE, allow_pickle=False)
SIZES = [tuple(map(int, size)) for size in PEERS["sizes"]]


def assert_close(actual: np.ndarray, expected: np.ndarray, allowed: float = 1e-12) -> None:
    """Assert a difference of at most so much, relative to the largest number of each path."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    axes = tuple(range(1, actual.ndim))
    size = np.max(abs(expected), axis=axes, keepdims=True)
    assert np.all(abs(actual - expected) <= allowed * size)


def test_stored_results_are_of_the_versions_that_the_benchmarks_use():
    assert list(PEERS["versions"]) == ["pysiglib 4.0.0", "iisignature 0.24"]


@pytest.mark.parametrize("mode", ["expand", "words", "brackets"])
@pytest.mark.parametrize(("i", "size"), list(enumerate(SIZES)), ids=str)
def test_pysiglib(i, size, mode):
    path, depth = PEERS[f"path_{i}"], size[-1]
    value, residuals = pysig.logsignature_forward(path, depth, mode=mode)
    assert_close(value, PEERS[f"{mode}_{i}"])
    grad = PEERS[f"{mode}_grad_{i}"].astype(np.float64)
    gradient = pysig.logsignature_backward(residuals, grad).path
    assert_close(gradient, PEERS[f"{mode}_gradient_{i}"])


@pytest.mark.parametrize(("i", "size"), list(enumerate(SIZES)), ids=str)
def test_iisignature(i, size):
    value = pysig.logsignature(PEERS[f"path_{i}"], size[-1], mode="brackets")
    assert_close(value, PEERS[f"iisignature_{i}"])
