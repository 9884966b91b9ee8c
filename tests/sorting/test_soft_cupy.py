"""soft_sort and soft_rank of CuPy arrays: agreement with NumPy's, plans, devices, bad mixtures."""

from __future__ import annotations

import itertools
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

import pysig
from pysig._core import cuda

DTYPES = (np.float64, np.float32)
AGREEMENT = {np.float64: 1e-13, np.float32: 1e-5}  # times the largest number of a result
OPERATIONS = ("soft_sort", "soft_rank")
COMBINATIONS = [
    {"regularization": regularization, "direction": direction, "regularization_strength": strength}
    for regularization, direction, strength in itertools.product(
        ("l2", "kl"), ("ascending", "descending"), (0.1, 1.0, 30.0)
    )
]
FEW_COMBINATIONS = COMBINATIONS[::5]


def rows_of_all_kinds(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Return rows that are pooled in different ways, two of each kind."""
    x = rng.standard_normal((2, n))
    rising = np.sort(np.abs(x))
    return {
        "normal": x,
        "spread": n * x,
        "sorted": np.sort(x) * n**0.5,
        "reversed": -np.sort(x),
        "equal": np.full((2, n), 0.3),
        "ties": np.round(3 * x) * 0.37,
        "far": x + 1e4,
        "two groups": np.where(rng.random((2, n)) < 0.5, x, x + 3 * n),
        "one absorbs all": np.where(np.arange(n) == n - 1, 3.0 * n, rising),
        "curved": np.arange(n) ** 2 / np.array([[np.pi], [n + np.sqrt(2)]]),
    }


def assert_agrees(cupy: Any, there: Any, here: Any, dtype: Any, scale: float = 0) -> None:
    """Compare a result with NumPy's; `scale` is that of what it was computed from."""
    assert isinstance(there, cupy.ndarray)
    tolerance = AGREEMENT[dtype] * max(np.abs(here).max(initial=0), scale)
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


def strength_scale(operation: str, grad: np.ndarray, strength: float) -> float:
    """Return the size of what is summed for the gradient of the strength."""
    n = grad.shape[-1] + 1
    factor = n / strength**2 if operation == "soft_sort" else n * np.log(n) / strength
    return float(np.abs(grad).sum() * factor)


def compare(cupy: Any, operation: str, x: Any, grad: Any, options: Any) -> int:
    """Compare values, residuals and gradients; return how many arrays there are."""
    dtype = x.dtype.type
    forward, backward = (getattr(pysig, operation + name) for name in ("_forward", "_backward"))
    value, residuals = forward(x, **options)
    gradients = backward(residuals, grad, strength_gradient=True)
    there = cupy.asarray(x)
    value_there, residuals_there = forward(there, **options)
    gradients_there = backward(residuals_there, cupy.asarray(grad), strength_gradient=True)
    assert value_there.dtype == gradients_there.x.dtype == dtype
    assert type(residuals_there) is type(residuals)
    assert_agrees(cupy, value_there, value, dtype)
    alone = getattr(pysig, operation)(there, **options)
    np.testing.assert_array_equal(cupy.asnumpy(alone), cupy.asnumpy(value_there))
    strength = options["regularization_strength"]
    assert_agrees(cupy, gradients_there.x, gradients.x, dtype, float(np.abs(grad).max(initial=0)))
    scale = strength_scale(operation, grad, strength)
    here = np.asarray(gradients.regularization_strength)
    assert_agrees(cupy, gradients_there.regularization_strength, here, dtype, scale)
    if operation == "soft_sort":
        np.testing.assert_array_equal(cupy.asnumpy(residuals_there.order), residuals.order)
        assert residuals_there.order.dtype == np.int32
        assert residuals_there.starts.dtype == bool
    return 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_combination_agrees_with_numpy(cupy, rng, operation, dtype, capsys):
    count = 0
    for n in (1, 2, 9, 70):
        for x in rows_of_all_kinds(rng, n).values():
            grad = rng.standard_normal(x.shape).astype(dtype)
            for options in COMBINATIONS:
                count += compare(cupy, operation, x.astype(dtype), grad, options)
    with capsys.disabled():
        print(f"\n{count} arrays of {np.dtype(dtype)} agree to {AGREEMENT[dtype]}")


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_plan_agrees_with_numpy(cupy, rng, monkeypatch, operation, chunk):
    """Small chunks: parts are merged many times over."""
    from pysig._core.sorting import pool_cuda

    monkeypatch.setattr(pool_cuda, "CHUNK", chunk)
    monkeypatch.setattr(pool_cuda, "WORKSPACE", 2000)
    for n in (3, 33, 150):
        for x in rows_of_all_kinds(rng, n).values():
            grad = rng.standard_normal(x.shape)
            for options in FEW_COMBINATIONS:
                for dtype in DTYPES:
                    compare(cupy, operation, x.astype(dtype), grad.astype(dtype), options)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 20000), (3000, 5)])
def test_long_rows_and_many_rows(cupy, rng, operation, shape):
    x, grad = rng.standard_normal((2, *shape))
    for scale, regularization in ((1, "l2"), (shape[1], "l2"), (shape[1], "kl")):
        options = {"regularization": regularization, "regularization_strength": 1.0}
        compare(cupy, operation, scale * x, grad, options)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_axes(cupy, rng, operation):
    x, grad = rng.standard_normal((2, 3, 4, 5))
    for axis in range(-3, 3):
        for options in FEW_COMBINATIONS:
            compare(cupy, operation, x, grad, {**options, "axis": axis})


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), (2, 1)])
def test_no_entries_and_one(cupy, operation, shape):
    for options in COMBINATIONS:
        x = np.ones(shape)
        for axis in range(len(shape)):
            compare(cupy, operation, x, x, {**options, "axis": axis})


@pytest.mark.parametrize("regularization", ["l2", "kl"])
@pytest.mark.parametrize("n", [7, 100])
def test_outliers_and_infinite_entries_do_not_spoil_ranks(cupy, rng, regularization, n):
    x = rng.standard_normal(n)
    grad = rng.standard_normal(n)
    for far in (1e30, 3e38, 1e300, np.inf):
        x[[1, 4, 5]], x[[2, 6]] = -far, far
        for direction in ("ascending", "descending"):
            for strength in (0.1, 1.0, 30.0):
                options = {
                    "regularization": regularization,
                    "direction": direction,
                    "regularization_strength": strength,
                }
                value, residuals = pysig.soft_rank_forward(x, **options)
                there, residuals_there = pysig.soft_rank_forward(cupy.asarray(x), **options)
                assert_agrees(cupy, there, value, np.float64)
                gradient = pysig.soft_rank_backward(residuals, grad)
                gradient_there = pysig.soft_rank_backward(residuals_there, cupy.asarray(grad))
                assert_agrees(cupy, gradient_there, gradient, np.float64, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_tiny_and_huge_strengths(cupy, rng, operation, dtype):
    x = np.stack([rng.permutation(70) / 7, np.round(rng.standard_normal(70) * 9)]).astype(dtype)
    for strength in (np.finfo(float).tiny, 1e-300, 1e-40, 1e-9, 1e9, 1e300):
        for regularization in ("l2", "kl"):
            options = {"regularization": regularization, "regularization_strength": strength}
            value = getattr(pysig, operation)(x, **options)
            there = getattr(pysig, operation)(cupy.asarray(x), **options)
            assert_agrees(cupy, there, value, dtype)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("regularization", ["l2", "kl"])
def test_rows_that_are_not_valid_become_nan(cupy, rng, operation, regularization):
    for n in (1, 5, 80):
        x = rng.standard_normal((3, n))
        bad = [np.nan] if operation == "soft_rank" else [np.nan, np.inf, -np.inf]
        for value in bad:
            x[1, n // 2] = value
            options = {"regularization": regularization}
            there, residuals = getattr(pysig, operation + "_forward")(cupy.asarray(x), **options)
            expected = getattr(pysig, operation)(x[[0, 2]], **options)
            assert np.isnan(cupy.asnumpy(there)[1]).all()
            np.testing.assert_allclose(cupy.asnumpy(there)[[0, 2]], expected, rtol=1e-12)
            gradient = getattr(pysig, operation + "_backward")(residuals, there * 0 + 1)
            ones = cupy.asarray(np.ones((3, n)))
            gradient = cupy.asnumpy(getattr(pysig, operation + "_backward")(residuals, ones))
            assert np.isnan(gradient[1]).all()
            assert np.isfinite(gradient[[0, 2]]).all()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_gradient_that_is_not_finite_spoils_its_own_block_only(cupy, operation):
    x = np.repeat(np.arange(4.0) * 1000, 25)
    _, residuals = getattr(pysig, operation + "_forward")(
        cupy.asarray(x), regularization_strength=1e-3 if operation == "soft_sort" else 1.0
    )
    grad = np.ones(100)
    grad[30] = np.nan
    gradient = getattr(pysig, operation + "_backward")(residuals, cupy.asarray(grad))
    spoilt = np.isnan(cupy.asnumpy(gradient))
    assert spoilt[30]
    assert not spoilt[:25].any()
    assert not spoilt[50:].any()


# ----------------------------------------------------------------------------- where arrays are


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_waits_and_work_goes_to_the_current_stream(cupy, rng, operation):
    x = cupy.asarray(rng.standard_normal((3, 4, 50)))
    if not cuda_on_cpu.is_double(cupy):
        pytest.skip("only the double knows where a kernel went, and what waits")
    for regularization in ("l2", "kl"):
        with (
            cuda_on_cpu.record_launches() as launches,
            cuda_on_cpu.no_synchronization(),
            cupy.cuda.Stream() as stream,
        ):
            value, residuals = getattr(pysig, operation + "_forward")(
                x, regularization=regularization, axis=1
            )
            getattr(pysig, operation + "_backward")(residuals, value, strength_gradient=True)
        assert launches
        assert {launch.stream for launch in launches} == {stream.ptr}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_results_are_on_the_device_of_the_array(cupy, rng, operation):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is only one device")
    host = rng.standard_normal((4, 5))
    with cupy.cuda.Device(1):
        x = cupy.asarray(host)
    value, residuals = getattr(pysig, operation + "_forward")(x, axis=0)
    gradient = getattr(pysig, operation + "_backward")(residuals, value)
    assert value.device.id == gradient.device.id == 1
    assert cupy.cuda.runtime.getDevice() == 0
    expected = getattr(pysig, operation)(host, axis=0)
    np.testing.assert_allclose(cupy.asnumpy(value), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="residuals is on device 1, grad is on device 0"):
        getattr(pysig, operation + "_backward")(residuals, cupy.asarray(host))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_libraries_do_not_mix(cupy, rng, operation):
    host = rng.standard_normal((2, 5))
    forward, backward = (getattr(pysig, operation + name) for name in ("_forward", "_backward"))
    with pytest.raises(TypeError, match="residuals is CuPy's, but not grad"):
        backward(forward(cupy.asarray(host))[1], host)
    with pytest.raises(TypeError, match="grad is CuPy's, but not residuals"):
        backward(forward(host)[1], cupy.asarray(host))


def test_kernels_are_compiled_once(cupy, rng):
    x = cupy.asarray(rng.standard_normal((2, 50)))
    pysig.soft_sort(x)
    misses = cuda.kernels.cache_info().misses
    pysig.soft_sort(x + 1, regularization_strength=3.0, direction="descending", axis=0)
    assert cuda.kernels.cache_info().misses == misses


@pytest.mark.parametrize("operation", OPERATIONS)
def test_working_memory_is_bounded(cupy, rng, monkeypatch, operation):
    from pysig._core.sorting import pool_cuda

    x = cupy.asarray(rng.standard_normal((400, 100)))
    monkeypatch.setattr(pool_cuda, "WORKSPACE", 2**16)
    pool = cupy.get_default_memory_pool()
    for regularization in ("l2", "kl"):
        pool.free_all_blocks()
        before = pool.total_bytes()
        getattr(pysig, operation)(x, regularization=regularization)
        assert before < pool.total_bytes() <= before + 6 * x.nbytes + 2**18


@pytest.mark.parametrize("operation", OPERATIONS)
def test_layout_and_type_of_the_input(cupy, rng, operation):
    host = rng.standard_normal((5, 4, 6))
    x = cupy.asarray(host)
    for there, here in ((x[::2, ::-1], host[::2, ::-1]), (x.T, host.T), (x[:, 1:3, ::3],) * 2):
        here = cupy.asnumpy(here) if isinstance(here, cupy.ndarray) else here
        value = getattr(pysig, operation)(there)
        np.testing.assert_allclose(
            cupy.asnumpy(value), getattr(pysig, operation)(here), rtol=1e-13, atol=1e-13
        )
    np.testing.assert_array_equal(cupy.asnumpy(x), host)
    integers = rng.integers(0, 9, (3, 7))
    value = getattr(pysig, operation)(cupy.asarray(integers))
    assert value.dtype == np.float64
    np.testing.assert_allclose(
        cupy.asnumpy(value), getattr(pysig, operation)(integers), rtol=1e-13, atol=1e-13
    )
    with pytest.raises(TypeError, match="x must be float32, float64 or integers"):
        getattr(pysig, operation)(cupy.zeros(3, np.float16))
