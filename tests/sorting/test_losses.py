"""spearman_loss, soft_ndcg_loss and trimmed_squares_loss."""

from __future__ import annotations

import arrays as pysig
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from reference import sorting_reference as reference

regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LOSSES = ["spearman_loss", "soft_ndcg_loss", "trimmed_squares_loss"]
losses = pytest.mark.parametrize("name", LOSSES)


def make_arguments(name, shape, rng, dtype=np.float64):
    first, second = rng.normal(size=(2, *shape))
    if name == "soft_ndcg_loss":
        return first.astype(dtype), rng.integers(0, 4, size=shape).astype(dtype)
    arguments = first.astype(dtype), second.astype(dtype)
    return (*arguments, min(2, shape[-1] - 1)) if name == "trimmed_squares_loss" else arguments


def centred(ranks):
    ranks = ranks - ranks.mean()
    return ranks / np.sqrt((ranks**2).sum())


def reference_loss(name, first, second, *rest, regularization, strength):
    if name == "spearman_loss":
        ranks = reference.soft_rank(first, regularization, strength)
        return 1 - (centred(ranks) * centred(reference.average_ranks(second))).sum()
    if name == "soft_ndcg_loss":
        ranks = reference.soft_rank(first, regularization, strength, "descending")
        gains = 2 ** np.asarray(second, np.longdouble) - 1
        best = (-np.sort(-gains) / np.log2(2 + np.arange(len(gains)))).sum()
        return 1 - (gains / np.log2(1 + ranks)).sum() / best if best else np.longdouble(0)
    squares = (np.asarray(first, np.longdouble) - second) ** 2
    ordered = reference.soft_sort(squares, regularization, strength)
    return ordered[: len(ordered) - rest[0]].mean()


@losses
@regularizations
@pytest.mark.parametrize("n", [3, 8])
def test_values_and_gradients(xp, name, regularization, n, rng):
    for strength in [0.3, 2.0]:
        first, second, *rest = make_arguments(name, (n,), rng)
        options = {"regularization": regularization, "regularization_strength": strength}
        value, residuals = getattr(pysig, name + "_forward")(first, second, *rest, **options)
        assert value == getattr(pysig, name)(first, second, *rest, **options)

        def loss(first, second=second, rest=rest, strength=strength):
            options = {"regularization": regularization, "strength": strength}
            return reference_loss(name, first, second, *rest, **options)

        assert_allclose(value, float(loss(first)), rtol=1e-12, atol=1e-13)
        gradient = getattr(pysig, name + "_backward")(residuals, 0.7)
        expected = reference.vjp_by_differences(loss, first, 0.7).astype(float)
        assert_allclose(gradient, expected, rtol=1e-8, atol=1e-9)


def test_published_spearman_example(xp):
    prediction, target = np.arange(1.0, 6), np.array([5.0, 6, 7, 8, 7])
    value, residuals = pysig.spearman_loss_forward(prediction, target, soft_target=True)
    assert_allclose(1 - value, 0.8320502943378436, rtol=1e-14)
    gradient = -pysig.spearman_loss_backward(residuals, 1.0)
    expected = [-0.0554700196, 0, 0.0554700196, 0.1109400393, -0.1109400393]
    assert_allclose(gradient, expected, rtol=0, atol=6e-11)
    value = pysig.spearman_loss(prediction, target, soft_target=True, regularization="kl")
    assert_allclose(1 - value, 0.8207826817, rtol=0, atol=6e-11)


@dtypes
def test_spearman_of_small_strength_is_that_of_scipy(xp, dtype, rng):
    for n in [3, 40]:
        prediction, target = rng.integers(0, 20, size=(2, n)).astype(dtype)
        expected = np.asarray(scipy.stats.spearmanr(prediction, target))[0]
        for strength in [0.01, 1e-30, 1e-300]:
            value = pysig.spearman_loss(prediction, target, regularization_strength=strength)
            assert_allclose(value, 1 - expected, rtol=0, atol=4 * np.finfo(dtype).eps)


def test_spearman_of_large_strength_is_the_correlation_with_ranks(xp, rng):
    prediction, target = rng.normal(size=(2, 30))
    expected = np.corrcoef(prediction, reference.average_ranks(target))[0, 1]
    for strength in [1e3, 1e6]:
        value = pysig.spearman_loss(prediction, target, regularization_strength=strength)
        assert_allclose(value, 1 - expected, rtol=0, atol=1e-8)


def test_spearman_of_equal_entries(xp):
    for prediction, target in [
        ([1.0, 1, 1], [1.0, 2, 3]),
        ([1.0, 2, 3], [1.0, 1, 1]),
        ([1.0], [2.0]),
    ]:
        value, residuals = pysig.spearman_loss_forward(prediction, target)
        assert value == 1
        assert_array_equal(pysig.spearman_loss_backward(residuals, 1.0), np.zeros(len(prediction)))


@pytest.mark.parametrize("gain", ["exponential", "linear"])
def test_ndcg_of_small_strength(xp, gain, rng):
    scores, relevance = rng.normal(size=12), rng.integers(0, 4, size=12).astype(float)
    gains = 2**relevance - 1 if gain == "exponential" else relevance
    discounts = 1 / np.log2(2 + np.arange(12))
    expected = gains[np.argsort(-scores)] @ discounts / (-np.sort(-gains) @ discounts)
    value = pysig.soft_ndcg_loss(scores, relevance, gain=gain, regularization_strength=1e-9)
    assert_allclose(value, 1 - expected, rtol=1e-13)
    perfect = pysig.soft_ndcg_loss(relevance, relevance, gain=gain, regularization_strength=1e-9)
    assert perfect >= 0


def test_ndcg_without_relevance_and_with_huge_relevance(xp, rng):
    scores = rng.normal(size=5)
    value, residuals = pysig.soft_ndcg_loss_forward(scores, np.zeros(5))
    assert value == 0
    assert_array_equal(pysig.soft_ndcg_loss_backward(residuals, 1.0), np.zeros(5))
    value = pysig.soft_ndcg_loss([3.0, 2.0, 1.0], [1e4, 1e4 - 1, 0.0], regularization_strength=1e-3)
    assert_allclose(value, 0, atol=1e-15)


def test_trimmed_squares_limits(xp, rng):
    prediction, target = rng.normal(size=(2, 20))
    squares = np.sort((prediction - target) ** 2)
    for trimmed in [0, 3, 19]:
        value = pysig.trimmed_squares_loss(
            prediction, target, trimmed, regularization_strength=1e-9
        )
        assert_allclose(value, squares[: 20 - trimmed].mean(), rtol=1e-14)
        value = pysig.trimmed_squares_loss(
            prediction, target, trimmed, regularization_strength=1e12
        )
        assert_allclose(value, squares.mean(), rtol=1e-10)


@losses
@regularizations
@dtypes
def test_axes_and_types(xp, name, regularization, dtype, rng):
    first, second, *rest = make_arguments(name, (3, 4, 5), rng, dtype)
    for axis in range(-3, 3):
        options = {"regularization": regularization, "axis": axis}
        value, residuals = getattr(pysig, name + "_forward")(first, second, *rest, **options)
        grad = rng.normal(size=value.shape).astype(dtype)
        gradient = getattr(pysig, name + "_backward")(residuals, grad)
        assert value.dtype == gradient.dtype == dtype
        moved, moved_second = (np.moveaxis(a, axis, -1) for a in (first, second))
        other, residuals = getattr(pysig, name + "_forward")(
            moved, moved_second, *rest, regularization=regularization
        )
        expected = getattr(pysig, name + "_backward")(residuals, grad)
        assert_array_equal(value, other)
        assert_array_equal(gradient, np.moveaxis(expected, -1, axis))


@losses
def test_bad_input(name, rng):
    first, second, *rest = make_arguments(name, (2, 3), rng)
    function = getattr(pysig, name)
    with pytest.raises(ValueError, match=r"must have the shape of .* \(2, 3\), not \(3,\)"):
        function(first, second[0], *rest)
    with pytest.raises(TypeError, match="must be float64"):
        function(first, second.astype(np.float32), *rest)
    with pytest.raises(ValueError, match="must have at least one entry"):
        function(np.zeros((2, 0)), np.zeros((2, 0)), *rest)
    broken = first.copy()
    broken[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN|finite"):
        function(broken, second, *rest)
    with pytest.raises(ValueError, match=r"NaN|finite"):
        function(first, broken, *rest)
    with pytest.raises(ValueError, match="regularization must be"):
        function(first, second, *rest, regularization="l1")
    _, residuals = getattr(pysig, name + "_forward")(first, second, *rest)
    with pytest.raises(ValueError, match="grad must have the shape of the losses"):
        getattr(pysig, name + "_backward")(residuals, first)
    with pytest.raises(TypeError, match="residuals must be"):
        getattr(pysig, name + "_backward")(None, first[:, 0])


def test_bad_options():
    x = np.zeros(3)
    for trimmed in [-1, 3]:
        with pytest.raises(ValueError, match="trimmed must be between 0 and 2"):
            pysig.trimmed_squares_loss(x, x, trimmed)
    with pytest.raises(ValueError, match="squared errors"):
        pysig.trimmed_squares_loss([1e200, 0.0], [0.0, 0.0], 1)
    with pytest.raises(ValueError, match="relevance must be finite and at least 0"):
        pysig.soft_ndcg_loss(x, x - 1)
    with pytest.raises(ValueError, match="gain must be"):
        pysig.soft_ndcg_loss(x, x, gain="cubic")


@losses
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_that_are_not_valid_become_nan(cupy, name, bad, rng):
    """Infinite predictions and scores are ranked."""
    first, second, *rest = make_arguments(name, (3, 6), rng)
    forward, backward = (getattr(pysig, name + suffix) for suffix in ("_forward", "_backward"))
    for is_second in [False, True]:
        arguments = [first.copy(), second.copy()]
        arguments[is_second][1, 2] = bad
        loss, residuals = forward(*map(cupy.asarray, arguments), *rest)
        gradient = backward(residuals, cupy.ones(3))
        is_ranked = bad == np.inf and (
            name == "spearman_loss" or (name == "soft_ndcg_loss" and not is_second)
        )
        assert_array_equal(np.isnan(cupy.asnumpy(loss)), [False, not is_ranked, False])
        spoilt = np.isnan(cupy.asnumpy(gradient))
        assert_array_equal(spoilt.any(-1), [False, not is_ranked, False])
        assert spoilt[1].all() != is_ranked
        expected = getattr(pysig, name)(first[::2], second[::2], *rest)
        assert_allclose(cupy.asnumpy(loss)[::2], expected, rtol=0, atol=1e-14)


def test_scores_without_relevance_that_are_not_valid(cupy):
    scores = cupy.asarray([np.nan, 1.0, 2.0])
    assert np.isnan(cupy.asnumpy(pysig.soft_ndcg_loss(scores, cupy.zeros(3))))


@losses
def test_libraries_are_not_mixed(cupy, name, rng):
    first, second, *rest = make_arguments(name, (2, 3), rng)
    with pytest.raises(TypeError, match="all arrays must be of one library"):
        getattr(pysig, name)(cupy.asarray(first), second, *rest)
    _, residuals = getattr(pysig, name + "_forward")(
        cupy.asarray(first), cupy.asarray(second), *rest
    )
    with pytest.raises(TypeError, match="all arrays must be of one library"):
        getattr(pysig, name + "_backward")(residuals, np.zeros(2))
