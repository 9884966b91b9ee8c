"""isotonic_regression and project_permutahedron of CuPy arrays: agreement with NumPy's."""

from __future__ import annotations

import itertools
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

import pysig

DTYPES = (np.float64, np.float32)
AGREEMENT = {np.float64: 1e-13, np.float32: 1e-5}  # times the largest number of a result
REGULARIZATIONS = ("l2", "kl")


def rows_of_all_kinds(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Return rows that are pooled in different ways, two of each kind."""
    x = rng.standard_normal((2, n))
    rising = np.sort(x)
    return {
        "normal": x,
        "walk": np.cumsum(x, -1),
        "trend": x + 0.3 * np.arange(n),
        "sorted": rising,
        "reversed": rising[:, ::-1],
        "equal": np.full((2, n), 0.3),
        "ties": np.round(3 * x) * 0.37,
        "far": x + 1e4,
        "two risings": np.concatenate([rising[:, n // 2 :], rising[:, : n // 2]], -1),
        "first absorbs all": np.where(np.arange(n) == 0, 9.0 * n, rising),
        "last absorbs all": np.where(np.arange(n) == n - 1, -9.0 * n, rising),
    }


def assert_agrees(cupy: Any, there: Any, here: Any, dtype: Any, scale: float = 0) -> None:
    """Compare a result with NumPy's; `scale` is that of what it was computed from."""
    assert isinstance(there, cupy.ndarray)
    assert there.dtype == here.dtype == dtype
    tolerance = AGREEMENT[dtype] * max(np.abs(here).max(initial=0), scale)
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


def compare_fit(cupy: Any, y: Any, weights: Any, grad: Any, **options: Any) -> int:
    """Compare a regression and its gradients; return how many arrays there are."""
    dtype = y.dtype.type
    value, residuals = pysig.isotonic_regression_forward(y, weights=weights, **options)
    gradients = pysig.isotonic_regression_backward(residuals, grad)
    there = cupy.asarray(y)
    weights_there = None if weights is None else cupy.asarray(weights)
    value_there, residuals_there = pysig.isotonic_regression_forward(
        there, weights=weights_there, **options
    )
    gradients_there = pysig.isotonic_regression_backward(residuals_there, cupy.asarray(grad))
    scale = float(np.abs(grad).max(initial=0))
    # For "kl" a factor of exp(rounding errors of y) is in the gradients.
    scale *= 1 if options["regularization"] == "l2" else 1 + float(np.abs(y).max(initial=0))
    assert_agrees(cupy, value_there, value, dtype, float(np.abs(y).max(initial=0)))
    assert_agrees(cupy, gradients_there.y, gradients.y, dtype, scale)
    alone = pysig.isotonic_regression(there, weights=weights_there, **options)
    np.testing.assert_array_equal(cupy.asnumpy(alone), cupy.asnumpy(value_there))
    if weights is None:
        assert gradients_there.weights is None
        return 2
    scale *= float(np.abs(y).max(initial=0)) * y.size / max(weights.size, 1)
    assert_agrees(cupy, gradients_there.weights, gradients.weights, dtype, scale)
    return 3


def compare_projection(cupy: Any, z: Any, w: Any, grad: Any, **options: Any) -> int:
    """Compare a projection and its gradients; return how many arrays there are."""
    dtype = z.dtype.type
    value, residuals = pysig.project_permutahedron_forward(z, w, **options)
    gradients = pysig.project_permutahedron_backward(residuals, grad)
    there = cupy.asarray(z), cupy.asarray(w)
    value_there, residuals_there = pysig.project_permutahedron_forward(*there, **options)
    gradients_there = pysig.project_permutahedron_backward(residuals_there, cupy.asarray(grad))
    finite = w[np.isfinite(w)]
    scale = float(np.abs(z).max(initial=0) + np.abs(finite).max(initial=0))
    assert_agrees(cupy, value_there, value, dtype, scale)
    scale = float(np.abs(grad).max(initial=0))
    # A factor of exp(rounding error of entries) is in the shares.
    scale *= 1 if options.get("regularization") != "kl" else 1 + float(np.abs(z).max(initial=0))
    assert_agrees(cupy, gradients_there.z, gradients.z, dtype, scale)
    assert_agrees(cupy, gradients_there.w, gradients.w, dtype, scale * z.size / max(w.size, 1))
    alone = pysig.project_permutahedron(*there, **options)
    np.testing.assert_array_equal(cupy.asnumpy(alone), cupy.asnumpy(value_there))
    return 3


def compare_all(cupy: Any, rng: np.random.Generator, n: int, dtype: Any) -> int:
    """Compare everything for rows of one length."""
    count = 0
    for y in rows_of_all_kinds(rng, n).values():
        y, grad = y.astype(dtype), rng.standard_normal(y.shape).astype(dtype)
        weights = rng.uniform(0.1, 3, n).astype(dtype)
        for regularization, increasing, weighted in itertools.product(
            REGULARIZATIONS, (True, False), (True, False)
        ):
            options = {"regularization": regularization, "increasing": increasing}
            count += compare_fit(cupy, y, weights if weighted else None, grad, **options)
        for regularization in REGULARIZATIONS:
            for w in (np.arange(n) * 1.0, rng.standard_normal(y.shape), np.full(n, 0.7)):
                w = w.astype(dtype)
                count += compare_projection(cupy, y, w, grad, regularization=regularization)
    return count


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_combination_agrees_with_numpy(cupy, rng, dtype, capsys):
    count = sum(compare_all(cupy, rng, n, dtype) for n in (1, 2, 9, 70))
    with capsys.disabled():
        print(f"\n{count} arrays of {np.dtype(dtype)} agree to {AGREEMENT[dtype]}")


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_every_plan_agrees_with_numpy(cupy, rng, monkeypatch, chunk):
    """Small chunks: parts are merged many times over."""
    from pysig._core.sorting import pool_cuda

    monkeypatch.setattr(pool_cuda, "CHUNK", chunk)
    monkeypatch.setattr(pool_cuda, "WORKSPACE", 3000)
    for n in (3, 33, 100):
        for dtype in DTYPES:
            compare_all(cupy, rng, n, dtype)


def test_numbers_of_all_sizes(cupy, rng):
    """Exponentials of these would overflow, and their sums lose what is small."""
    for scale in (100, 1e4):
        y, grad = rng.standard_normal((2, 3, 100))
        for sign in (1, -1):
            fall = scale * (y + sign * np.linspace(0, 3, 100))
            for increasing in (True, False):
                options = {"regularization": "kl", "increasing": increasing}
                compare_fit(cupy, fall, None, grad, **options)
                compare_fit(cupy, fall, rng.uniform(1e-6, 1e6, y.shape), grad, **options)
        compare_projection(cupy, scale * y, y, grad, regularization="kl")
    z = rng.standard_normal((2, 100))
    z[:, ::7] = -3.4e38
    value = pysig.project_permutahedron(z, np.arange(100.0))
    there = pysig.project_permutahedron(cupy.asarray(z), cupy.asarray(np.arange(100.0)))
    assert_agrees(cupy, there, value, np.float64)


def test_exponentials_with_zeros(cupy, rng):
    z, grad = 3 * rng.standard_normal((2, 5, 80))
    w = np.where(np.arange(80) < 30, 0.0, -np.inf)
    value, residuals = pysig.project_permutahedron_forward(
        cupy.asarray(z), cupy.asarray(w), regularization="kl"
    )
    np.testing.assert_allclose(np.exp(cupy.asnumpy(value)).sum(-1), 30, rtol=1e-13)
    gradients = pysig.project_permutahedron_backward(residuals, cupy.asarray(grad))
    assert np.isfinite(cupy.asnumpy(gradients.z)).all()
    np.testing.assert_array_equal(cupy.asnumpy(gradients.w)[30:], 0)
    compare_projection(cupy, z, w, grad, regularization="kl")


def test_long_rows_and_many_rows(cupy, rng):
    for shape in ((1, 10000), (2000, 5)):
        y, grad, w = rng.standard_normal((3, *shape))
        y = np.cumsum(y, -1)
        for regularization in REGULARIZATIONS:
            compare_fit(cupy, y, None, grad, regularization=regularization)
            compare_projection(cupy, y, w, grad, regularization=regularization)


def test_axes_and_broadcasting(cupy, rng):
    y, grad = rng.standard_normal((2, 3, 4, 5))
    weights = rng.uniform(1, 2, size=(4, 1))
    for regularization in REGULARIZATIONS:
        for axis in range(-3, 3):
            options = {"regularization": regularization, "axis": axis}
            compare_fit(cupy, y, weights, grad, **options)
            compare_projection(cupy, y, weights, grad, **options)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2), (2, 1)])
def test_no_entries_and_one(cupy, shape):
    y = np.ones(shape)
    for regularization in REGULARIZATIONS:
        compare_fit(cupy, y, y, y, regularization=regularization)
        compare_projection(cupy, y, y, y, regularization=regularization)


@pytest.mark.parametrize("regularization", REGULARIZATIONS)
def test_rows_that_are_not_valid_become_nan(cupy, rng, regularization):
    for n, bad in itertools.product((1, 5, 80), (np.nan, np.inf, -np.inf)):
        y, grad = rng.standard_normal((2, 3, n))
        weights = np.ones((3, n))
        for spoilt, others in ((y, (weights,)), (weights, (y,))):
            kept = spoilt[1, n // 2]
            spoilt[1, n // 2] = bad
            value, residuals = pysig.isotonic_regression_forward(
                cupy.asarray(y), weights=cupy.asarray(weights), regularization=regularization
            )
            gradient = pysig.isotonic_regression_backward(residuals, cupy.asarray(grad)).y
            results = [value, gradient]
            if spoilt is y:
                value, residuals = pysig.project_permutahedron_forward(
                    cupy.asarray(y), cupy.asarray(*others), regularization=regularization
                )
                gradients = pysig.project_permutahedron_backward(residuals, cupy.asarray(grad))
                results += [value, *gradients]
            for result in map(cupy.asnumpy, results):
                assert np.isnan(result[1]).all()
                assert np.isfinite(result[[0, 2]]).all()
            spoilt[1, n // 2] = kept


def test_nothing_waits_and_work_goes_to_the_current_stream(cupy, rng):
    y = cupy.asarray(rng.standard_normal((3, 4, 50)))
    if not cuda_on_cpu.is_double(cupy):
        pytest.skip("only the double knows where a kernel went, and what waits")
    for regularization in REGULARIZATIONS:
        options = {"regularization": regularization, "axis": 1}
        with (
            cuda_on_cpu.record_launches() as launches,
            cuda_on_cpu.no_synchronization(),
            cupy.cuda.Stream() as stream,
        ):
            value, residuals = pysig.isotonic_regression_forward(y, weights=y * y + 1, **options)
            pysig.isotonic_regression_backward(residuals, value)
            value, projected = pysig.project_permutahedron_forward(y, y[0], **options)
            pysig.project_permutahedron_backward(projected, value)
        assert launches
        assert {launch.stream for launch in launches} == {stream.ptr}


def test_libraries_and_devices_do_not_mix(cupy, rng):
    host = rng.standard_normal((2, 5))
    y = cupy.asarray(host)
    with pytest.raises(TypeError, match="y is CuPy's, but not weights"):
        pysig.isotonic_regression(y, weights=np.ones(5))
    with pytest.raises(TypeError, match="w is CuPy's, but not z"):
        pysig.project_permutahedron(host, y)
    with pytest.raises(TypeError, match="residuals is CuPy's, but not grad"):
        pysig.isotonic_regression_backward(pysig.isotonic_regression_forward(y)[1], host)
    with pytest.raises(TypeError, match="grad is CuPy's, but not residuals"):
        pysig.project_permutahedron_backward(pysig.project_permutahedron_forward(host, host)[1], y)
    if cupy.cuda.runtime.getDeviceCount() < 2:
        return
    with cupy.cuda.Device(1):
        other = cupy.asarray(np.abs(host) + 1)
    with pytest.raises(ValueError, match="y is on device 0, weights is on device 1"):
        pysig.isotonic_regression(y, weights=other)
    value: Any
    value, residuals = pysig.isotonic_regression_forward(other, axis=0)
    gradient: Any = pysig.isotonic_regression_backward(residuals, value).y
    assert value.device.id == gradient.device.id == 1
    value, residuals = pysig.project_permutahedron_forward(other, other, axis=0)
    gradients: Any = pysig.project_permutahedron_backward(residuals, value)
    assert value.device.id == gradients.z.device.id == gradients.w.device.id == 1
    assert cupy.cuda.runtime.getDevice() == 0
