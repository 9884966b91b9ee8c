"""Signature kernels of CuPy arrays: agreement with NumPy's, parts, devices, and bad mixtures."""

from __future__ import annotations

from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

import pysig

DTYPES = (np.float64, np.float32)
AGREEMENT = {np.float64: 1e-13, np.float32: 1e-5}  # times the largest number of a result
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"dyadic_order": (2, 1)},
    {"static_kernel": "rbf", "sigma": 0.5},
    {"static_kernel": "rbf", "sigma": 0.5, "dyadic_order": 1},
)


def results(x: Any, y: Any, grad: Any, **options: Any) -> list[Any]:
    """Return kernels and gradients, of pairs and of Gram matrices; x, y: equally many paths."""
    found = []
    for operation, backward, one, other, weights in (
        (pysig.signature_kernel_forward, pysig.signature_kernel_backward, x, y, grad[0]),
        (pysig.signature_gram_forward, pysig.signature_gram_backward, x, y, grad),
        (pysig.signature_gram_forward, pysig.signature_gram_backward, x, None, grad),
    ):
        value, residuals = operation(one, other, **options)
        found += [value, *(part for part in backward(residuals, weights) if part is not None)]
    return found


def compare(cupy: Any, shapes: Any, rng: np.random.Generator, dtype: Any, **options: Any) -> None:
    """Compare all results for NumPy and CuPy arrays."""
    x, y = (
        (rng.standard_normal(shape).cumsum(axis=1) / shape[1] ** 0.5).astype(dtype)
        for shape in shapes
    )
    grad = rng.standard_normal((len(x), len(x))).astype(dtype)
    expected = results(x, y, grad, **options)
    moved = results(cupy.asarray(x), cupy.asarray(y), cupy.asarray(grad), **options)
    for there, here in zip(moved, expected, strict=True):
        assert isinstance(there, cupy.ndarray)
        assert there.dtype == dtype
        assert there.shape == here.shape
        tolerance = AGREEMENT[dtype] * abs(here).max(initial=0)
        np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_agrees_with_numpy(cupy, rng, options, dtype):
    """One band of rows, several, and more rows than columns; dyadic orders add to them."""
    compare(cupy, ((3, 7, 3), (3, 5, 3)), rng, dtype, **options)
    compare(cupy, ((2, 67, 2), (2, 9, 2)), rng, dtype, **options)


@pytest.mark.parametrize("options", OPTIONS[:3:2], ids=str)
@pytest.mark.parametrize("pairs", [1, 4])
def test_every_part_agrees_with_numpy(cupy, rng, monkeypatch, options, pairs):
    """So little working memory that pairs are done one by one, or a few together."""
    from pysig._core.signatures import kernel_cuda

    def few_parts(problem, *arguments):
        room = arguments[-1] + problem.x[0].size + problem.y[0].size
        monkeypatch.setattr(kernel_cuda, "WORKSPACE", pairs * room * problem.x.dtype.itemsize)
        return all_parts(problem, *arguments)

    all_parts = kernel_cuda.parts
    monkeypatch.setattr(kernel_cuda, "parts", few_parts)
    compare(cupy, ((3, 4, 2), (3, 3, 2)), rng, np.float64, **options)


def test_rectangles_of_a_symmetric_matrix(cupy, rng, monkeypatch):
    """Several rows of the matrix together, in several pieces."""
    from pysig._core.signatures import kernel_cuda

    monkeypatch.setattr(kernel_cuda, "WORKSPACE", 2**16)
    x = (rng.standard_normal((20, 2, 1))).cumsum(axis=1)
    grad = rng.standard_normal((20, 20))
    _, residuals = pysig.signature_gram_forward(cupy.asarray(x))
    gradient = pysig.signature_gram_backward(residuals, cupy.asarray(grad)).x
    _, residuals = pysig.signature_gram_forward(x)
    expected = pysig.signature_gram_backward(residuals, grad).x
    np.testing.assert_allclose(cupy.asnumpy(gradient), expected, rtol=1e-12, atol=1e-12)


def test_working_memory_is_bounded(cupy, rng, monkeypatch):
    from pysig._core.signatures import kernel_cuda

    x = cupy.asarray(rng.standard_normal((12, 40, 2)))
    monkeypatch.setattr(kernel_cuda, "WORKSPACE", 2**18)
    value, residuals = pysig.signature_gram_forward(x)
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    pysig.signature_gram_backward(residuals, value)
    assert before < pool.total_bytes() < before + 2**18 + 10 * x.nbytes + 2**17


def test_results_are_on_the_device_of_the_paths(cupy, rng):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is only one device")
    host = rng.standard_normal((3, 5, 2))
    with cupy.cuda.Device(1):
        x = cupy.asarray(host)
    value: Any
    value, residuals = pysig.signature_gram_forward(x)
    with cupy.cuda.Device(1):
        grad = value + 0
    found: list[Any] = [value, pysig.signature_gram_backward(residuals, grad).x]
    assert [array.device.id for array in found] == [1, 1]
    np.testing.assert_allclose(cupy.asnumpy(value), pysig.signature_gram(host), rtol=1e-12)


def test_work_goes_to_the_current_stream(cupy, rng):
    x = cupy.asarray(rng.standard_normal((3, 5, 2)))
    if not cuda_on_cpu.is_double(cupy):
        pytest.skip("only the double knows where a kernel went")
    with cuda_on_cpu.record_launches() as launches, cupy.cuda.Stream() as stream:
        value, residuals = pysig.signature_gram_forward(x)
        pysig.signature_gram_backward(residuals, value)
    assert {launch.stream for launch in launches} == {stream.ptr}


@pytest.mark.parametrize("static", OPTIONS[::2], ids=str)
def test_empty_batches_and_single_points(cupy, static):
    for x, y in (
        (np.ones((0, 5, 2)), np.ones((3, 4, 2))),
        (np.ones((3, 1, 2)), np.ones((3, 4, 2))),
        (np.ones((3, 4, 2)), np.ones((2, 1, 2))),
    ):
        expected, host = pysig.signature_gram_forward(x, y, **static)
        value, residuals = pysig.signature_gram_forward(cupy.asarray(x), cupy.asarray(y), **static)
        np.testing.assert_array_equal(cupy.asnumpy(value), expected)
        gradients = pysig.signature_gram_backward(residuals, value)
        wanted = pysig.signature_gram_backward(host, expected)
        np.testing.assert_array_equal(cupy.asnumpy(gradients.x), wanted.x)
        np.testing.assert_array_equal(cupy.asnumpy(gradients.y), wanted.y)


def test_libraries_do_not_mix(cupy, rng):
    host = rng.standard_normal((2, 5, 3))
    x = cupy.asarray(host)
    for function in (
        pysig.signature_kernel,
        pysig.signature_gram,
        pysig.signature_mmd,
        pysig.signature_score,
    ):
        with pytest.raises(TypeError, match="x is CuPy's, but not y"):
            function(x, host)
    value, residuals = pysig.signature_kernel_forward(x, x)
    with pytest.raises(TypeError, match="x is CuPy's, but not grad"):
        pysig.signature_kernel_backward(residuals, cupy.asnumpy(value))
