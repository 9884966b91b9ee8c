"""Signature kernels agree with pysiglib's, which ``make_kernel_peers.py`` has stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arrays as pysig
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("xp")

PEERS = np.load(Path(__file__).with_name("kernel_peers.npz"), allow_pickle=False)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Assert a difference of at most 1e-12 of the largest number."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    assert np.max(abs(actual - expected)) <= 1e-12 * np.max(abs(expected))


def test_stored_results_are_of_the_version_that_the_benchmarks_use():
    assert PEERS["version"] == "4.0.0"


@pytest.mark.parametrize("i", range(len(PEERS["cases"])))
def test_kernels_and_gradients(i):
    *_, first, second, sigma = PEERS["cases"][i]
    options: dict[str, Any] = {"dyadic_order": (int(first), int(second))}
    if sigma:
        options |= {"static_kernel": "rbf", "sigma": sigma}
    x, y, grad = (PEERS[f"{name}_{i}"] for name in ("x", "y", "grad"))
    gram, residuals = pysig.signature_gram_forward(x, y, **options)
    assert_close(gram, PEERS[f"gram_{i}"])
    gradients = pysig.signature_gram_backward(residuals, grad)
    assert_close(gradients.x, PEERS[f"x_gradient_{i}"])
    assert_close(gradients.y, PEERS[f"y_gradient_{i}"])
    value, residuals = pysig.signature_kernel_forward(x[:, None], y, **options)
    assert_close(value, PEERS[f"gram_{i}"])
    gradients = pysig.signature_kernel_backward(residuals, grad)
    assert_close(gradients.x[:, 0], PEERS[f"x_gradient_{i}"])
    assert_close(gradients.y, PEERS[f"y_gradient_{i}"])
