"""The signature of CuPy arrays: agreement with NumPy's, devices, streams, and bad mixtures."""

from __future__ import annotations

import itertools
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from reference import signature_cases as cases
from reference.signature_cases import COMBINATIONS, FEW_COMBINATIONS, PLAIN, Case

import pysig
from pysig._core import cuda

DTYPES = (np.float64, np.float32)
AGREEMENT = {np.float64: 1e-13, np.float32: 1e-5}  # times the largest number of a result


def move(cupy: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return options with their arrays on the device; lengths stay on the host."""
    return {
        name: cupy.asarray(value) if isinstance(value, np.ndarray) and name != "lengths" else value
        for name, value in options.items()
    }


def results(path: Any, depth: int, options: dict[str, Any], grad: Any) -> list[Any]:
    """Return the signature and all its gradients."""
    value, residuals = pysig.signature_forward(path, depth, **options)
    gradients = pysig.signature_backward(residuals, grad)
    return [value, *(gradient for gradient in gradients if gradient is not None)]


def compare(cupy: Any, case: Case, dtype: Any, rng: np.random.Generator) -> int:
    """Compare all results for NumPy and CuPy arrays; return how many there are."""
    path, depth, options = case.cast(dtype)
    path = cases.poison_past_ends(path, options.get("lengths"))
    grad = rng.standard_normal(pysig.signature(path, depth, **options).shape).astype(dtype)
    expected = results(path, depth, options, grad)
    moved = cupy.asarray(path), depth, move(cupy, options), cupy.asarray(grad)
    actual = results(*moved)
    for there, here in zip(actual, expected, strict=True):
        assert isinstance(there, cupy.ndarray)
        assert there.dtype == dtype
        tolerance = AGREEMENT[dtype] * abs(here).max(initial=0)
        np.testing.assert_allclose(cupy.asnumpy(there), here, rtol=0, atol=tolerance)
    return len(actual)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_combination_agrees_with_numpy(cupy, rng, dtype, capsys):
    count = 0
    for combination in COMBINATIONS:
        for batch, length, channels, depth in (((3,), 6, 2, 3), ((2,), 4, 5, 2), ((5,), 3, 3, 1)):
            case = cases.make_case(rng, batch, length, channels, depth, combination)
            count += compare(cupy, case, dtype, rng)
    with capsys.disabled():
        print(f"\n{count} arrays of {np.dtype(dtype)} agree to {AGREEMENT[dtype]}")


# Each changes how a gradient is cut into pieces of paths, blocks of steps and slices of batches.
PLANS = {
    "pieces": {"SHORTEST_PIECE": 3},
    "pieces and blocks": {"SHORTEST_PIECE": 5, "WORKSPACE": 2**14},
    "smallest blocks, path by path": {"SHORTEST_PIECE": 10**9, "WORKSPACE": 1},
}


@pytest.mark.parametrize("plan", PLANS)
def test_every_plan_agrees_with_numpy(cupy, rng, monkeypatch, plan):
    from pysig._core.signatures import signature_cuda

    for name, value in PLANS[plan].items():
        monkeypatch.setattr(signature_cuda, name, value)
    for batch, length, channels, depth in (
        ((2,), 26, 3, 3),
        ((), 40, 2, 5),
        ((3,), 20, 1, 4),
        ((2,), 19, 7, 2),
        ((2,), 30, 12, 1),
    ):
        for combination in FEW_COMBINATIONS:
            case = cases.make_case(rng, batch, length, channels, depth, combination)
            for dtype in DTYPES:
                compare(cupy, case, dtype, rng)


@pytest.mark.parametrize(
    ("channels", "depth"), [(40, 2), (7, 4), (2, 9), (1, 20), (70, 1), (13, 3)]
)
def test_sizes_of_tiles_and_groups(cupy, rng, channels, depth):
    case = cases.make_case(rng, (2,), 5, channels, depth, PLAIN)
    for dtype in DTYPES:
        compare(cupy, case, dtype, rng)


def test_working_memory_is_bounded(cupy, rng, monkeypatch):
    from pysig._core.signatures import signature_cuda

    path = cupy.asarray(rng.standard_normal((1, 4000, 3)))
    monkeypatch.setattr(signature_cuda, "WORKSPACE", 2**21)
    value, residuals = pysig.signature_forward(path, 5)
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    before = pool.total_bytes()
    pysig.signature_backward(residuals, value)
    # Beside the workspace: the increments, their gradient, and the states between pieces.
    most = 2**21 + 4 * path.nbytes + 2**20
    assert before < pool.total_bytes() < before + most


# ----------------------------------------------------------------------------- where arrays are


def test_results_are_on_the_device_of_the_path(cupy, rng):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is only one device")
    host = rng.standard_normal((2, 5, 3))
    with cupy.cuda.Device(1):
        path = cupy.asarray(host)
    assert cupy.cuda.runtime.getDevice() == 0
    value, residuals = pysig.signature_forward(path, 3, basepoint=True)
    with cupy.cuda.Device(1):
        grad = value + 0
    gradient = pysig.signature_backward(residuals, grad).path
    assert value.device.id == gradient.device.id == 1
    assert cupy.cuda.runtime.getDevice() == 0
    np.testing.assert_allclose(
        cupy.asnumpy(value), pysig.signature(host, 3, basepoint=True), rtol=1e-12
    )


def test_work_goes_to_the_current_stream(cupy, rng):
    path = cupy.asarray(rng.standard_normal((2, 5, 3)))
    if not cuda_on_cpu.is_double(cupy):
        pytest.skip("only the double knows where a kernel went")
    with cuda_on_cpu.record_launches() as launches, cupy.cuda.Stream() as stream:
        value, residuals = pysig.signature_forward(path, 3)
        pysig.signature_backward(residuals, value)
    assert {launch.stream for launch in launches} == {stream.ptr}


def test_kernels_are_compiled_once(cupy, rng):
    path = cupy.asarray(rng.standard_normal((2, 5, 3)))
    pysig.signature(path, 3)
    misses = cuda.kernels.cache_info().misses
    pysig.signature(path + 1, 3, stream=True, lengths=[2, 3])
    assert cuda.kernels.cache_info().misses == misses


# --------------------------------------------------------------------------------------- inputs


def test_layout_of_the_inputs_does_not_matter(cupy, rng):
    host = rng.standard_normal((5, 4, 6))
    path = cupy.asarray(host)
    for there, here in (
        (path[::2, ::-1], host[::2, ::-1]),
        (path.T, host.T),
        (path.copy(order="F"), host),
        (path[:, 1:3, ::3], host[:, 1:3, ::3]),
    ):
        value, expected = pysig.signature(there, 3), pysig.signature(here, 3)
        np.testing.assert_allclose(cupy.asnumpy(value), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64, bool])
def test_integers_become_float64(cupy, rng, dtype):
    host = rng.integers(0, 2, (3, 4, 2)).astype(dtype)
    value = pysig.signature(cupy.asarray(host), 2)
    assert value.dtype == np.float64
    np.testing.assert_array_equal(cupy.asnumpy(value), pysig.signature(host, 2))


@pytest.mark.parametrize("dtype", [np.float16, np.complex128])
def test_other_types_are_refused(cupy, dtype):
    with pytest.raises(TypeError, match="path must be float32, float64 or integers"):
        pysig.signature(cupy.zeros((4, 2), dtype), 2)


def test_inputs_are_never_modified(cupy, rng):
    for combination, batch in itertools.product(FEW_COMBINATIONS, ((2,), (1,))):
        case = cases.make_case(rng, batch, 5, 3, 3, combination)
        options = move(cupy, case.options)
        path = cupy.asarray(case.path)
        value, residuals = pysig.signature_forward(path, 3, **options)
        grad = value + 1
        kept = cupy.asnumpy(grad)
        pysig.signature_backward(residuals, grad)
        np.testing.assert_array_equal(cupy.asnumpy(grad), kept)
        np.testing.assert_array_equal(cupy.asnumpy(path), case.path)
        for name in ("basepoint", "initial"):
            if isinstance(case.options.get(name), np.ndarray):
                np.testing.assert_array_equal(cupy.asnumpy(options[name]), case.options[name])


@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 4, 2), (2, 1, 3)])
def test_empty_batches_and_single_points(cupy, shape):
    host = np.ones(shape)
    for stream in (False, True):
        for basepoint in (None, True):
            expected = pysig.signature(host, 3, stream=stream, basepoint=basepoint)
            value, residuals = pysig.signature_forward(
                cupy.asarray(host), 3, stream=stream, basepoint=basepoint
            )
            np.testing.assert_allclose(cupy.asnumpy(value), expected, rtol=1e-14)
            assert pysig.signature_backward(residuals, value).path.shape == shape


def options(name: str, value: Any) -> dict[str, Any]:
    """Return one option, by its name."""
    return {name: value}


def test_libraries_do_not_mix(cupy, rng):
    host = rng.standard_normal((2, 5, 3))
    path = cupy.asarray(host)
    words = pysig.signature_channels(3, 2)
    for name, size in (("basepoint", 3), ("initial", words)):
        with pytest.raises(TypeError, match=f"path is CuPy's, but not {name}"):
            pysig.signature(path, 2, **options(name, np.zeros(size)))
        with pytest.raises(TypeError, match=f"{name} is CuPy's, but not path"):
            pysig.signature(host, 2, **options(name, cupy.zeros(size)))
    value, residuals = pysig.signature_forward(path, 2)
    with pytest.raises(TypeError, match="path is CuPy's, but not grad"):
        pysig.signature_backward(residuals, cupy.asnumpy(value))
    with pytest.raises(TypeError, match="lengths must be on the host"):
        pysig.signature(path, 2, lengths=cupy.asarray([2, 3]))


def test_devices_do_not_mix(cupy, rng):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is only one device")
    path = cupy.asarray(rng.standard_normal((2, 5, 3)))
    with cupy.cuda.Device(1):
        basepoint = cupy.zeros(3)
    with pytest.raises(ValueError, match="path is on device 0, basepoint is on device 1"):
        pysig.signature(path, 2, basepoint=basepoint)
