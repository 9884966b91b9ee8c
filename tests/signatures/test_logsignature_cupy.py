"""Logsignatures of CuPy arrays: agreement with NumPy's, in all modes and with all options."""

from __future__ import annotations

from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from reference import signature_cases as cases
from reference.signature_cases import FEW_COMBINATIONS, PLAIN, Case

import pysig

MODES = ("words", "brackets", "expand")
AGREEMENT = {np.float64: 1e-12, np.float32: 1e-4}  # times the largest number of a result


def results(path: Any, depth: int, options: dict[str, Any], grad: Any) -> list[Any]:
    """Return the logsignature and its gradients."""
    value, residuals = pysig.logsignature_forward(path, depth, **options)
    gradients = pysig.logsignature_backward(residuals, grad)
    return [value, *(gradient for gradient in gradients if gradient is not None)]


def assert_agree(cupy: Any, there: Any, here: np.ndarray) -> None:
    """Compare an array on the device with one on the host."""
    assert isinstance(there, cupy.ndarray)
    assert there.dtype == here.dtype
    tolerance = AGREEMENT[here.dtype.type] * abs(here).max(initial=1)
    np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)


def compare(cupy: Any, rng: np.random.Generator, case: Case, mode: str, dtype: Any) -> None:
    """Compare all results for NumPy and CuPy arrays."""
    path, depth, options = case.cast(dtype)
    del options["scalar_term"]
    options["mode"] = mode
    grad = rng.standard_normal(pysig.logsignature(path, depth, **options).shape).astype(dtype)
    expected = results(path, depth, options, grad)
    moved = {
        name: cupy.asarray(value) if isinstance(value, np.ndarray) and name != "lengths" else value
        for name, value in options.items()
    }
    arrays = cupy.asarray(path), cupy.asarray(grad)
    with cuda_on_cpu.no_synchronization():
        actual = results(arrays[0], depth, moved, arrays[1])
    for there, here in zip(actual, expected, strict=True):
        assert_agree(cupy, there, here)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_agrees_with_numpy(cupy, rng, mode):
    case = cases.make_case(rng, (2,), 5, 2, 4, PLAIN)
    for dtype in AGREEMENT:
        compare(cupy, rng, case, mode, dtype)


def test_options_agree_with_numpy(cupy, rng, monkeypatch):
    """All at once, and path by path."""
    from pysig.signatures import logsignature

    for combination in FEW_COMBINATIONS[1:]:
        combination = combination._replace(scalar_term=False)
        case = cases.make_case(rng, (2, 5), 3, 2, 2, combination)
        compare(cupy, rng, case, "words", np.float64)
        with monkeypatch.context() as patch:
            patch.setattr(logsignature, "WORKING_MEMORY", 1)
            compare(cupy, rng, case, "words", np.float64)


@pytest.mark.parametrize("mode", MODES)
def test_conversions_agree_with_numpy(cupy, rng, mode):
    signature = pysig.signature(cases.random_path(rng, (3, 6, 3)), 3, scalar_term=True)
    arguments = {"channels": 3, "depth": 3, "mode": mode, "scalar_term": True}
    logsignature = pysig.signature_to_logsignature(signature, **arguments)
    for name, x in (
        ("signature_to_logsignature", signature),
        ("logsignature_to_signature", logsignature),
    ):
        forward, backward = (getattr(pysig, name + end) for end in ("_forward", "_backward"))
        value, residuals = forward(x, **arguments)
        grad = rng.standard_normal(value.shape)
        moved, grad_there = cupy.asarray(x), cupy.asarray(grad)
        with cuda_on_cpu.no_synchronization():
            there, kept = forward(moved, **arguments)
            gradient = backward(kept, grad_there)
        assert_agree(cupy, there, value)
        assert_agree(cupy, gradient, backward(residuals, grad))


@pytest.mark.parametrize("shape", [(0, 5, 2), (2, 1, 3)])
def test_empty_batches_and_single_points(cupy, shape):
    value, residuals = pysig.logsignature_forward(cupy.ones(shape), 3)
    assert value.shape == (shape[0], pysig.logsignature_channels(shape[-1], 3))
    assert pysig.logsignature_backward(residuals, value).path.shape == shape


def test_libraries_do_not_mix(cupy):
    path = np.zeros((2, 5, 2))
    with pytest.raises(TypeError, match="path is CuPy's, but not basepoint"):
        pysig.logsignature(cupy.asarray(path), 2, basepoint=path[0, 0])
    _, residuals = pysig.logsignature_forward(cupy.asarray(path), 2)
    with pytest.raises(TypeError, match="path is CuPy's, but not grad"):
        pysig.logsignature_backward(residuals, np.zeros((2, 3)))
