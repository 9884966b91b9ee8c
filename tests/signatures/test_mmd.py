"""The maximum mean discrepancy by the signature kernel: its definition, and its gradient."""

from __future__ import annotations

import itertools
from typing import Any

import arrays as pysig
import numpy as np
import pytest
from reference import kernel_reference as reference
from reference.accuracy import wide
from reference.kernel_reference import LINEAR, StaticKernel

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)


def brownian(rng, *shape, dtype: Any = np.float64):
    """Return paths of total size about one."""
    return (np.cumsum(rng.standard_normal(shape), axis=-2) / np.sqrt(shape[-2])).astype(dtype)


def mmd(x, y, unbiased, orders, static):
    """Return the estimate by its definition, kernel by kernel."""

    def kernels(left, right, leave_out):
        pairs = itertools.product(enumerate(left), enumerate(right))
        return [
            reference.kernel(wide(a), wide(b), orders, static)
            for (i, a), (j, b) in pairs
            if not (leave_out and i == j)
        ]

    return (
        np.mean(kernels(x, x, unbiased))
        + np.mean(kernels(y, y, unbiased))
        - 2 * np.mean(kernels(x, y, leave_out=False))
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("static", [LINEAR, StaticKernel(0.75)], ids=str)
@pytest.mark.parametrize("orders", [(0, 0), (1, 0)])
def test_definition(rng, orders, static, unbiased, dtype):
    x, y = brownian(rng, 2, 4, 5, 2, dtype=dtype), brownian(rng, 2, 3, 4, 2, dtype=dtype)
    options = {"unbiased": unbiased, "dyadic_order": orders, **static.options()}
    value = pysig.signature_mmd(x, y, **options)
    assert value.shape == (2,)
    assert value.dtype == dtype
    for i in range(2):
        expected = mmd(x[i], y[i], unbiased, orders, static)
        assert value[i] == pytest.approx(
            float(expected), rel=0, abs=200 * float(np.finfo(dtype).eps)
        )
        alone, _ = pysig.signature_mmd_forward(x[i], y[i], **options)
        assert alone == value[i]


def test_biased_estimate_is_the_distance_of_expected_signatures(rng):
    x, y = brownian(rng, 5, 4, 2) / 2, brownian(rng, 6, 5, 2) / 2
    means = [pysig.expected_signature(paths, 14) for paths in (x, y)]
    expected = ((means[0] - means[1]) ** 2).sum()
    values = [pysig.signature_mmd(x, y, unbiased=False, dyadic_order=n) for n in range(6)]
    errors = [abs(value - expected) for value in values]
    assert errors[5] <= 1e-4 * expected
    for before, after in itertools.pairwise(errors[3:]):
        assert after <= before / 3.3


def test_samples_of_one_law_are_near(rng):
    x, y, z = (brownian(rng, 60, 10, 2) for _ in range(3))
    z += np.linspace(0, 1, 10)[:, None]
    assert abs(pysig.signature_mmd(x, y)) < 0.1 * pysig.signature_mmd(x, z)
    assert pysig.signature_mmd(x, x, unbiased=False) == pytest.approx(0, abs=1e-13)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("static", [LINEAR, StaticKernel(0.75)], ids=str)
@pytest.mark.parametrize("orders", [(0, 0), (0, 1)])
def test_gradients_agree_with_central_differences(rng, orders, static, unbiased):
    x, y = brownian(rng, 2, 4, 6, 2), brownian(rng, 2, 3, 5, 2)
    u, v, grad = rng.standard_normal(x.shape), rng.standard_normal(y.shape), np.array([1.0, -2.0])
    options = {"unbiased": unbiased, "dyadic_order": orders, **static.options()}

    def weighted(step):
        return (grad * pysig.signature_mmd(x + step * u, y + step * v, **options)).sum()

    near, far = ((weighted(h) - weighted(-h)) / (2 * h) for h in (1e-3, 2e-3))
    _, residuals = pysig.signature_mmd_forward(x, y, **options)
    gradients = pysig.signature_mmd_backward(residuals, grad)
    actual = (gradients.x * u).sum() + (gradients.y * v).sum()
    assert actual == pytest.approx((4 * near - far) / 3, rel=1e-8)


@pytest.mark.parametrize(
    ("shapes", "options", "error", "message"),
    [
        (((3, 2), (4, 3, 2)), {}, ValueError, "with the same leading axes"),
        (((2, 4, 3, 2), (4, 3, 2)), {}, ValueError, "with the same leading axes"),
        (((1, 3, 2), (4, 3, 2)), {}, ValueError, "x must have at least 2 paths"),
        (((4, 3, 2), (0, 3, 2)), {"unbiased": False}, ValueError, "y must have at least 1 paths"),
        (((4, 3, 2), (4, 3, 2)), {"unbiased": 1}, TypeError, "unbiased must be True or False"),
        (((4, 3, 2), (4, 3, 2)), {"static_kernel": "rbf"}, ValueError, "sigma must be given"),
    ],
)
def test_bad_arguments_are_refused(shapes, options, error, message):
    with pytest.raises(error, match=message):
        pysig.signature_mmd(*(np.zeros(shape) for shape in shapes), **options)


def test_bad_gradients_are_refused():
    _, residuals = pysig.signature_mmd_forward(np.zeros((5, 2, 3, 2)), np.zeros((5, 2, 3, 2)))
    with pytest.raises(ValueError, match=r"the shape of the estimates, \(5,\)"):
        pysig.signature_mmd_backward(residuals, np.zeros(2))
    with pytest.raises(TypeError, match="residuals must be SignatureMmdResiduals"):
        pysig.signature_mmd_backward(3, np.zeros(5))
