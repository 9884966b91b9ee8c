"""Products, windows, intervals and streams of CuPy arrays: agreement with NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest

import pysig
from pysig.signatures import path as path_file
from pysig.signatures import product as tables
from pysig.signatures import window as windows_file

DTYPES = (np.float64, np.float32)
AGREEMENT = {np.float64: 1e-13, np.float32: 1e-5}  # times the largest number of a result


def short_path(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) / np.sqrt(shape[-2])


def compare(cupy: Any, dtype: Any, function: Callable[..., Any], *arrays: np.ndarray) -> None:
    """Compare what a function of arrays returns for NumPy and for CuPy; nothing may wait."""
    converted = [array.astype(dtype) for array in arrays]
    expected = function(np, *converted)
    moved = [cupy.asarray(array) for array in converted]
    with cuda_on_cpu.no_synchronization():
        actual = function(cupy, *moved)
    assert len(actual) == len(expected)
    for there, here in zip(actual, expected, strict=True):
        assert isinstance(there, cupy.ndarray)
        assert there.dtype == dtype
        tolerance = AGREEMENT[dtype] * abs(here).max(initial=0)
        np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), [(1, 4), (2, 5), (3, 3), (12, 2), (5, 1)])
def test_combine(cupy, rng, channels, depth, dtype):
    def combine(xp, first, second, grad):
        options = {"scalar_term": True}
        value, residuals = pysig.signature_combine_forward(
            first, second, channels, depth, **options
        )
        many = xp.stack((value, grad, value, grad, grad))
        whole, all_residuals = pysig.multi_signature_combine_forward(
            xp.ascontiguousarray(xp.moveaxis(many, 0, 1)), channels, depth, **options
        )
        gradient = pysig.multi_signature_combine_backward(all_residuals, grad)
        return value, *pysig.signature_combine_backward(residuals, grad), whole, gradient

    words = pysig.signature_channels(channels, depth, True)
    shared = rng.standard_normal((1, words)) / 2
    compare(cupy, dtype, combine, shared, *rng.standard_normal((2, 3, words)) / 2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_by_index(cupy, rng, dtype):
    indices = tuple(rng.integers(-1, 5, (4, 7)))

    def multiply(xp, table, grad):
        factors, results = (table,) * 4, []
        for count in (1, 2, 3, 4):
            results.append(xp.empty_like(grad))
            chosen = factors[:count], indices[:count], 3, 2, False
            tables.multiply(results[-1], *chosen)
            results.append(xp.zeros_like(table))
            uses = tables.uses_of_rows(indices[:count], 5, range(count))
            for add in (False, True):
                tables.product_gradient(results[-1], grad, *chosen, uses, add=add)
        return results

    compare(cupy, dtype, multiply, *(rng.standard_normal((2, rows, 12)) for rows in (5, 7)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("length", "stride"), [(None, 2), (3, 2), (6, 1), (13, 1), (26, 3)])
def test_windows(cupy, rng, monkeypatch, length, stride, dtype):
    monkeypatch.setattr(windows_file, "TABLE_BYTES", 1)
    monkeypatch.setattr(windows_file, "FEWEST_PIECES", 2)
    monkeypatch.setattr(windows_file, "FEW_OVERLAPS", 2)

    def windows(xp, path):
        options = {"length": length, "stride": stride, "scalar_term": True, "lengths": [31, 20]}
        value, residuals = pysig.signature_windows_forward(path, 3, **options)
        return value, pysig.signature_windows_backward(residuals, value)

    compare(cupy, dtype, windows, short_path(rng, 2, 31, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (2,)])
def test_path(cupy, rng, monkeypatch, batch, dtype):
    monkeypatch.setattr(path_file, "SIZE", 4)
    start = np.array([0, 1, 5, 5, 0, 30, 3, 17])
    end = np.array([31, 30, 6, 8, 17, 31, 22, 19])

    def queries(xp, points, more, basepoint):
        path = pysig.Path(points, 3, basepoint, scalar_term=True)
        one = path.signature(2, -2)
        path.update(more[..., :3, :])
        path.update(more[..., 3:, :])
        value, residuals = path.signature_forward(start, end)
        gradients = path.signature_backward(residuals, value)
        single, residuals = path.signature_forward(3, 25)
        return one, value, *gradients, single, *path.signature_backward(residuals, single)

    parts = np.split(short_path(rng, *batch, 30, 2), [14], axis=-2)
    compare(cupy, dtype, queries, *parts, rng.standard_normal(2) / 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stream(cupy, rng, dtype):
    def run(xp, points):
        stream, values = pysig.SignatureStream(points[:, :4], 3), []
        for i in range(4, 12, 2):
            stream.push(points[:, i : i + 2])
            values.append(stream.signature())
            stream.pop(3 if i == 6 else 2)
            values.append(stream.signature())
        return values

    compare(cupy, dtype, run, short_path(rng, 2, 12, 2))


def test_libraries_do_not_mix(cupy, rng):
    host = rng.standard_normal((2, 12))
    row = cupy.asarray(host)
    with pytest.raises(TypeError, match="first is CuPy's, but not second"):
        pysig.signature_combine(row, host, 3, 2)
    with pytest.raises(TypeError, match=r"signatures\[1\] is CuPy's"):
        pysig.multi_signature_combine([host, row], 3, 2)
    path = pysig.Path(cupy.asarray(host.reshape(6, 4)), 2)
    with pytest.raises(TypeError, match="start must be on the host"):
        path.signature(cupy.asarray([1]), 4)
    with pytest.raises(TypeError, match="all arrays must be of one library"):
        path.update(host.reshape(6, 4))
    with pytest.raises(TypeError, match="all arrays must be of one library"):
        pysig.SignatureStream(row, 2).push(host)
