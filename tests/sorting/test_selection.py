"""soft_topk_mask, soft_quantile and soft_median."""

from __future__ import annotations

import arrays as pysig
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import sorting_reference as reference

regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def reference_mask(x, k, regularization, strength):
    x = np.asarray(x, np.longdouble)
    if regularization == "l2":
        return reference.project(x / np.longdouble(strength), np.arange(len(x)) < k)
    # min(1, c exp(x / strength)): the j largest are 1, and the others share k - j.
    order = np.argsort(-x, kind="stable")
    weights = np.exp((x[order] - x.max()) / np.longdouble(strength))
    for j in range(k + 1):
        shares = np.ones_like(weights)
        shares[j:] = (k - j) * weights[j:] / weights[j:].sum() if j < len(x) else 1
        if shares.max() <= 1:
            break
    result = np.empty_like(shares)
    result[order] = shares
    return result


@regularizations
@dtypes
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_masks(xp, regularization, dtype, n, rng):
    for strength in [0.1, 1.0, 7.0]:
        x = (2 * rng.normal(size=(3, n))).astype(dtype)
        x[1] = np.round(x[1])
        for k in range(n + 1):
            options = {"regularization": regularization, "regularization_strength": strength}
            mask = pysig.soft_topk_mask(x, k, **options)
            assert mask.dtype == dtype
            assert_array_equal(pysig.soft_topk_mask_forward(x, k, **options)[0], mask)
            for row, result in zip(x, mask, strict=True):
                expected = reference_mask(row, k, regularization, strength).astype(float)
                assert_allclose(result, expected, rtol=0, atol=4 * np.finfo(dtype).eps + 1e-13)


@regularizations
@dtypes
def test_limits_of_masks(xp, regularization, dtype, rng):
    x = rng.normal(size=(4, 50)).astype(dtype)
    hard = np.argsort(np.argsort(-x)) < 7
    for strength in [1e-8, 1e-30, 1e-300]:
        options = {"regularization": regularization, "regularization_strength": strength}
        mask, residuals = pysig.soft_topk_mask_forward(x, 7, **options)
        if xp is np or regularization == "l2":
            assert_array_equal(mask, hard)
            assert_array_equal(pysig.soft_topk_mask_backward(residuals, x), 0)
        else:  # the exponent is rounded relative to the largest one
            atol = min(np.finfo(float).eps * np.ptp(x) / strength, 1) + np.finfo(dtype).eps
            assert_allclose(mask, hard, rtol=0, atol=atol)
    for strength in [1e10, 1e38, 1e300]:
        options = {"regularization": regularization, "regularization_strength": strength}
        mask, residuals = pysig.soft_topk_mask_forward(x, 7, **options)
        assert_allclose(mask, np.full(x.shape, 7 / 50), rtol=1e-8)
        assert np.isfinite(pysig.soft_topk_mask_backward(residuals, x)).all()
    ties = np.array([1, 3, 3, 3, 0], dtype)
    options = {"regularization": regularization, "regularization_strength": 1e-20}
    assert_allclose(
        pysig.soft_topk_mask(ties, 2, **options), [0, 2 / 3, 2 / 3, 2 / 3, 0], rtol=1e-6
    )


@regularizations
@pytest.mark.parametrize("n", [1, 2, 7])
def test_gradients_of_masks(xp, regularization, n, rng):
    for strength in [0.3, 2.0]:
        for k in range(n + 1):
            x, grad = rng.normal(size=(2, n))
            options = {"regularization": regularization, "regularization_strength": strength}
            _, residuals = pysig.soft_topk_mask_forward(x, k, **options)
            gradient = pysig.soft_topk_mask_backward(residuals, grad)

            def mask(x, k=k, strength=strength):
                return reference_mask(x, k, regularization, strength)

            expected = reference.vjp_by_differences(mask, x, grad).astype(float)
            assert_allclose(gradient, expected, rtol=1e-9, atol=1e-10)


PROBABILITIES = [0.0, 1.0, 0.5, 0.37, [0.1, 0.9], [[0.25, 0.5, 0.75]], []]


@dtypes
@pytest.mark.parametrize("q", PROBABILITIES)
def test_quantiles_of_small_strength_are_those_of_numpy(xp, dtype, q, rng):
    for shape, axis in [((9,), 0), ((1,), -1), ((4, 7, 3), 1), ((4, 7, 3), -1), ((6, 2), 0)]:
        x = rng.normal(size=shape).astype(dtype)
        value = pysig.soft_quantile(x, q=q, regularization_strength=1e-3, axis=axis)
        expected = np.quantile(x, np.asarray(q, dtype), axis=axis)
        assert value.shape == expected.shape
        assert value.dtype == dtype
        assert_allclose(value, expected, rtol=0, atol=8 * np.finfo(dtype).eps)
        with_residuals, _ = pysig.soft_quantile_forward(
            x, q=q, regularization_strength=1e-3, axis=axis
        )
        assert_array_equal(with_residuals, value)


@regularizations
@pytest.mark.parametrize("q", PROBABILITIES)
def test_quantiles_are_those_of_the_soft_sort(xp, regularization, q, rng):
    options = {"regularization": regularization, "regularization_strength": 2.0}
    x = 3 * rng.normal(size=(3, 8))
    value, residuals = pysig.soft_quantile_forward(x, q=q, **options)
    ordered = pysig.soft_sort(x, **options)
    expected = np.quantile(ordered, np.asarray(q), axis=-1)
    assert_allclose(value, expected, rtol=1e-13, atol=1e-14)
    grad = rng.normal(size=value.shape)
    gradient = pysig.soft_quantile_backward(residuals, grad)

    def loss(x):
        rows = np.array([reference.soft_sort(row, regularization, 2.0) for row in x])
        return (np.quantile(rows, np.asarray(q), axis=-1).astype(np.longdouble) * grad).sum()

    expected = reference.vjp_by_differences(loss, x, 1.0).astype(float)
    assert_allclose(gradient, expected, rtol=1e-8, atol=1e-9)


def test_median(xp, rng):
    for shape in [(7,), (3, 8)]:
        x = rng.normal(size=shape)
        assert_allclose(pysig.soft_median(x, regularization_strength=1e-9), np.median(x, axis=-1))
        value, residuals = pysig.soft_median_forward(x)
        assert_array_equal(value, pysig.soft_quantile(x, 0.5))
        _, others = pysig.soft_quantile_forward(x, 0.5)
        grad = np.ones(value.shape)
        gradient = pysig.soft_median_backward(residuals, grad)
        assert_array_equal(gradient, pysig.soft_quantile_backward(others, grad))
        assert_allclose(gradient.sum(-1), 1)


@regularizations
def test_axes_of_masks(xp, regularization, rng):
    x, grad = rng.normal(size=(2, 3, 4, 5))
    for axis in range(-3, 3):
        options = {"regularization": regularization, "axis": axis}
        mask, residuals = pysig.soft_topk_mask_forward(x, 2, **options)
        gradient = pysig.soft_topk_mask_backward(residuals, grad)
        moved, moved_grad = (np.moveaxis(a, axis, -1) for a in (x, grad))
        other, residuals = pysig.soft_topk_mask_forward(moved, 2, regularization=regularization)
        expected = pysig.soft_topk_mask_backward(residuals, moved_grad)
        assert_array_equal(mask, np.moveaxis(other, -1, axis))
        assert_array_equal(gradient, np.moveaxis(expected, -1, axis))


def test_bad_input():
    x = np.zeros((2, 3))
    for k in [-1, 4]:
        with pytest.raises(ValueError, match="k must be between 0 and 3"):
            pysig.soft_topk_mask(x, k)
    with pytest.raises(TypeError, match="k must be an integer"):
        pysig.soft_topk_mask(x, 1.0)
    for bad in [np.nan, np.inf]:
        with pytest.raises(ValueError, match="x must be finite"):
            pysig.soft_topk_mask([1.0, bad], 1)
    for q in [-0.1, 1.1, np.nan, [0.5, 2]]:
        with pytest.raises(ValueError, match="q must be between 0 and 1"):
            pysig.soft_quantile(x, q=q)
    with pytest.raises(TypeError, match="q must be a number"):
        pysig.soft_quantile(x, "median")
    with pytest.raises(ValueError, match="x must have at least one entry"):
        pysig.soft_quantile(np.zeros((2, 0)), 0.5)
    with pytest.raises(ValueError, match="regularization_strength must be positive"):
        pysig.soft_topk_mask(x, 1, regularization_strength=0)
    value, residuals = pysig.soft_quantile_forward(x, 0.5)
    with pytest.raises(ValueError, match="grad must have the shape of the quantiles"):
        pysig.soft_quantile_backward(residuals, x)
    with pytest.raises(TypeError, match="residuals must be SoftTopkMaskResiduals"):
        pysig.soft_topk_mask_backward(residuals, value)
    for shape in [(0,), (0, 3), (3, 0)]:
        mask, residuals = pysig.soft_topk_mask_forward(np.zeros(shape), 0)
        assert pysig.soft_topk_mask_backward(residuals, mask).shape == shape


@regularizations
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_valid_become_nan(cupy, regularization, bad, rng):
    x = rng.normal(size=(3, 6))
    x[1, 2] = bad
    there, grad = cupy.asarray(x), cupy.ones((3, 6))
    for k in [0, 2]:
        mask, residuals = pysig.soft_topk_mask_forward(there, k, regularization=regularization)
        gradient = pysig.soft_topk_mask_backward(residuals, grad)
        expected = pysig.soft_topk_mask(x[::2], k, regularization=regularization)
        assert_allclose(cupy.asnumpy(mask)[::2], expected, rtol=0, atol=1e-14)
        for result in [mask, gradient]:
            assert_array_equal(np.isnan(cupy.asnumpy(result)).any(-1), [False, True, False])
            assert np.isnan(cupy.asnumpy(result)[1]).all()
    median, residuals = pysig.soft_median_forward(there, regularization=regularization)
    assert_array_equal(np.isnan(cupy.asnumpy(median)), [False, True, False])
    gradient = pysig.soft_median_backward(residuals, cupy.ones(3))
    assert np.isnan(cupy.asnumpy(gradient)[1]).all()


def test_libraries_are_not_mixed(cupy):
    x = cupy.zeros((2, 3))
    with pytest.raises(TypeError, match="q must be a number"):
        pysig.soft_quantile(x, cupy.ones(2))
    _, residuals = pysig.soft_topk_mask_forward(x, 1)
    with pytest.raises(TypeError, match="all arrays must be of one library"):
        pysig.soft_topk_mask_backward(residuals, np.zeros((2, 3)))
    _, residuals = pysig.soft_median_forward(x)
    with pytest.raises(TypeError, match="all arrays must be of one library"):
        pysig.soft_median_backward(residuals, np.zeros(2))
