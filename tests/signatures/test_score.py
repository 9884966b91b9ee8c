"""Scores by the signature kernel: their definition, and their gradient."""

from __future__ import annotations

import arrays as pysig
import numpy as np
import pytest
from reference import kernel_reference as reference
from reference.accuracy import wide
from reference.kernel_reference import LINEAR, StaticKernel

pytestmark = pytest.mark.usefixtures("xp")


def brownian(rng, *shape, dtype=np.float64):
    """Return paths of total size about one."""
    return (np.cumsum(rng.standard_normal(shape), axis=-2) / np.sqrt(shape[-2])).astype(dtype)


def score(x, y, spread, orders, static):
    """Return the score of a sample on one path by its definition, kernel by kernel."""

    def kernel(a, b):
        return reference.kernel(wide(a), wide(b), orders, static)

    within = [kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    return spread * np.mean(within) - 2 * np.mean([kernel(a, y) for a in x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [1, 0.25])
@pytest.mark.parametrize(("static", "orders"), [(LINEAR, (0, 0)), (StaticKernel(0.75), (1, 0))])
def test_definition(rng, static, orders, spread, dtype):
    x, y = brownian(rng, 2, 4, 5, 2, dtype=dtype), brownian(rng, 2, 3, 4, 2, dtype=dtype)
    options = {"spread": spread, "dyadic_order": orders, **static.options()}
    value = pysig.signature_score(x, y, **options)
    assert value.dtype == dtype
    expected = [[score(x[i], y[i, j], spread, orders, static) for j in range(3)] for i in range(2)]
    tolerance = 200 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(value, np.array(expected, float), rtol=0, atol=tolerance)
    alone, _ = pysig.signature_score_forward(x[1], y[1], **options)
    np.testing.assert_array_equal(alone, value[1])


def test_mean_score_is_the_discrepancy_but_for_the_observed(rng):
    """Of two samples, the same observed paths say the same difference."""
    one, other, y = brownian(rng, 5, 6, 2), 2 * brownian(rng, 4, 6, 2), brownian(rng, 7, 5, 2)
    scores = [pysig.signature_score(x, y).mean() for x in (one, other)]
    discrepancies = [pysig.signature_mmd(x, y) for x in (one, other)]
    np.testing.assert_allclose(
        scores[0] - scores[1], discrepancies[0] - discrepancies[1], rtol=1e-12
    )


@pytest.mark.parametrize(("static", "orders"), [(LINEAR, (0, 1)), (StaticKernel(0.75), (0, 0))])
def test_gradients_agree_with_central_differences(rng, static, orders):
    x, y = brownian(rng, 2, 4, 6, 2), brownian(rng, 2, 3, 5, 2)
    u, v, grad = (rng.standard_normal(shape) for shape in (x.shape, y.shape, (2, 3)))
    options = {"spread": 0.5, "dyadic_order": orders, **static.options()}

    def weighted(step):
        return (grad * pysig.signature_score(x + step * u, y + step * v, **options)).sum()

    near, far = ((weighted(h) - weighted(-h)) / (2 * h) for h in (5e-4, 1e-3))
    _, residuals = pysig.signature_score_forward(x, y, **options)
    gradients = pysig.signature_score_backward(residuals, grad)
    actual = (gradients.x * u).sum() + (gradients.y * v).sum()
    assert actual == pytest.approx((4 * near - far) / 3, rel=1e-8)


def test_no_observed_path(rng):
    x, y = brownian(rng, 3, 4, 2), np.zeros((0, 5, 2))
    value, residuals = pysig.signature_score_forward(x, y)
    assert value.shape == (0,)
    gradients = pysig.signature_score_backward(residuals, value)
    np.testing.assert_array_equal(gradients.x, np.zeros(x.shape))
    assert gradients.y.shape == y.shape


@pytest.mark.parametrize(
    ("shapes", "options", "error", "message"),
    [
        (((3, 2), (4, 3, 2)), {}, ValueError, "with the same leading axes"),
        (((2, 4, 3, 2), (4, 3, 2)), {}, ValueError, "with the same leading axes"),
        (((1, 3, 2), (4, 3, 2)), {}, ValueError, "x must have at least 2 paths, not 1"),
        (((4, 3, 2), (4, 3, 2)), {"spread": -1}, ValueError, "spread must be at least 0"),
        (((4, 3, 2), (4, 3, 2)), {"spread": True}, TypeError, "spread must be a real number"),
        (((4, 3, 2), (4, 3, 2)), {"static_kernel": "rbf"}, ValueError, "sigma must be given"),
    ],
)
def test_bad_arguments_are_refused(shapes, options, error, message):
    with pytest.raises(error, match=message):
        pysig.signature_score(*(np.zeros(shape) for shape in shapes), **options)


def test_bad_gradients_are_refused():
    _, residuals = pysig.signature_score_forward(np.zeros((5, 2, 3, 2)), np.zeros((5, 4, 3, 2)))
    with pytest.raises(ValueError, match=r"the shape of the scores, \(5, 4\)"):
        pysig.signature_score_backward(residuals, np.zeros(5))
    with pytest.raises(TypeError, match="residuals must be SignatureScoreResiduals"):
        pysig.signature_score_backward(3, np.zeros((5, 4)))
