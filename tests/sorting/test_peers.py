"""Agreement with torchsort, whose results ``make_peers.py`` has stored, and known differences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from reference import sorting_reference as reference

import pysig

PEERS = np.load(Path(__file__).with_name("peers.npz"), allow_pickle=False)
FUNCTIONS = ["soft_sort", "soft_rank"]
REGULARIZATIONS = ["l2", "kl"]
SIZES = [tuple(map(int, size)) for size in PEERS["sizes"]]
STRENGTHS = [float(strength) for strength in PEERS["strengths"]]
SPEARMAN_SIZES = [tuple(map(int, size)) for size in PEERS["spearman_sizes"]]

strengths = pytest.mark.parametrize("strength", STRENGTHS)
regularizations = pytest.mark.parametrize("regularization", REGULARIZATIONS)
functions = pytest.mark.parametrize("function", FUNCTIONS)


def evaluate(name, function, regularization, strength):
    """Return value and gradient of the stored input, and those of torchsort."""
    x, grad = PEERS[f"{name}_x"], PEERS[f"{name}_grad"].astype(np.float64)
    value, residuals = getattr(pysig, f"{function}_forward")(
        x, regularization=regularization, regularization_strength=strength
    )
    gradient = getattr(pysig, f"{function}_backward")(residuals, grad)
    case = f"{name}_{function}_{regularization}_{strength:g}"
    return (value, gradient), (PEERS[f"{case}_value"], PEERS[f"{case}_gradient"])


def assert_close(actual, expected):
    """Assert a difference of at most 1e-13, relative to the largest entry if that is above 1.

    torchsort subtracts numbers of the size n / strength from each other, here 2000 at most.
    """
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype == np.float64
    assert np.all(abs(actual - expected) <= 1e-13 * max(1, np.max(abs(expected))))


def assert_agreement(name, function, regularization, strength):
    ours, theirs = evaluate(name, function, regularization, strength)
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected)


def test_stored_results_are_of_the_version_that_the_benchmarks_use():
    assert list(PEERS["versions"]) == ["torchsort 0.1.10"]


@functions
@regularizations
@strengths
@pytest.mark.parametrize("i", range(len(SIZES)), ids=[f"{n}x{m}" for n, m in SIZES])
def test_value_and_gradient(i, function, regularization, strength):
    assert_agreement(str(i), function, regularization, strength)


@functions
@strengths
def test_kinks(function, strength):
    assert_agreement("integers", function, "l2", strength)


@strengths
def test_ties(strength):
    assert_agreement("ties", "soft_rank", "l2", strength)


@regularizations
@pytest.mark.parametrize("i", range(len(SPEARMAN_SIZES)))
def test_spearman(i, regularization):
    prediction, target = PEERS[f"spearman_{i}_pair"]
    losses, residuals = pysig.spearman_loss_forward(
        prediction, target, soft_target=True, regularization=regularization
    )
    gradient = pysig.spearman_loss_backward(residuals, np.ones(len(losses)))
    assert_close(losses, PEERS[f"spearman_{i}_{regularization}_losses"])
    assert_close(gradient, PEERS[f"spearman_{i}_{regularization}_gradient"])


class TestKnownDifferences:
    """torchsort is wrong here, and pysig agrees with the definition instead."""

    def test_blocks_closer_than_torchsorts_tolerance_are_not_one(self):
        ours, theirs = evaluate("tiny", "soft_sort", "l2", 1e10)
        assert np.max(abs(ours[0] - theirs[0])) < 1e-25
        assert_array_equal(ours[1], [[1, 0, 0]])  # no neighbours are pooled
        assert np.max(abs(theirs[1] - 1 / 3)) < 1e-12  # as if all of them were

    def test_large_entries_have_kl_gradients(self):
        ours, theirs = evaluate("large", "soft_rank", "kl", 1.0)
        assert np.max(abs(ours[0] - theirs[0])) < 1e-12
        assert np.isnan(theirs[1]).any()
        x, grad = PEERS["large_x"][0], PEERS["large_grad"][0].astype(np.float64)
        expected = reference.vjp_by_differences(
            lambda x: reference.soft_rank(x, "kl", 1.0), x, grad
        )
        assert np.all(abs(ours[1][0] - expected) <= 1e-6)
