"""The double of CuPy: as strict as a GPU, and more so where CuPy lets mistakes pass."""

from __future__ import annotations

import copy
import importlib
import pickle
import threading

import numpy as np
import pytest

import cuda_on_cpu
from cuda_on_cpu.compiler import sanitizers
from cuda_on_cpu.observation import SynchronizationError

pytestmark = pytest.mark.cuda_on_cpu

unsanitized = pytest.mark.skipif(bool(sanitizers()), reason="a sanitizer ends the process")


@pytest.fixture
def cupy(double):
    return double


def on_host(array):
    return array.get()


# ------------------------------------------------------------------------------------ the module


def test_it_is_what_import_gives_and_says_what_it_is(cupy):
    imported = importlib.import_module("cupy")

    assert imported is cupy is cuda_on_cpu.activate()
    assert cuda_on_cpu.is_double(cupy)
    assert not cuda_on_cpu.is_double(np)
    assert cupy.__version__.endswith("+double")
    assert cupy.cuda.is_available()
    assert type(cupy.zeros(1)).__module__ == "cupy"
    assert cupy.get_array_module(np.zeros(1), 2.0) is np
    assert cupy.get_array_module(np.zeros(1), cupy.zeros(1)) is cupy


def test_what_it_has_not_is_an_attribute_error(cupy):
    with pytest.raises(AttributeError, match="fft"):
        _ = cupy.fft
    with pytest.raises(AttributeError, match="partition"):
        cupy.zeros(3).partition(1)


# ------------------------------------------------------------------------- no way around the device

MIXTURES = {
    "asarray": lambda cupy, x: np.asarray(x),
    "array": lambda cupy, x: np.array([x, x]),
    "sum of both": lambda cupy, x: x + np.ones(3),
    "reflected sum of both": lambda cupy, x: np.ones(3) + x,
    "in place": lambda cupy, x: x.__iadd__(np.ones(3)),
    "in place on the host": lambda cupy, x: np.ones(3).__iadd__(x),
    "0-d array of the host": lambda cupy, x: x + np.array(1.0),
    "matrix product": lambda cupy, x: np.ones((3, 3)) @ x,
    "comparison": lambda cupy, x: x == np.ones(3),
    "assignment": lambda cupy, x: x.__setitem__(slice(None), np.ones(3)),
    "index": lambda cupy, x: x[np.array([0, 1])],
    "concatenation": lambda cupy, x: cupy.concatenate([x, np.ones(3)]),
    "where": lambda cupy, x: cupy.where(x > 0, x, np.ones(3)),
    "maximum": lambda cupy, x: cupy.maximum(x, np.ones(3)),
    "numpy's maximum": lambda cupy, x: np.maximum(np.ones(3), x),
    "function of the host's": lambda cupy, x: cupy.sum(np.ones(3)),
    "empty_like": lambda cupy, x: cupy.empty_like(np.ones(3)),
    "out": lambda cupy, x: cupy.exp(x, out=np.ones(3)),
    "numpy's out": lambda cupy, x: np.exp(np.ones(3), out=x),
    "argument of a size": lambda cupy, x: cupy.arange(x[0]),
    "numpy's allclose": lambda cupy, x: np.testing.assert_allclose(x, np.ones(3)),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_arrays_of_host_and_device_do_not_mix(cupy, mixture):
    before = cuda_on_cpu.synchronizations()
    with pytest.raises(TypeError):
        MIXTURES[mixture](cupy, cupy.ones(3))
    assert cuda_on_cpu.synchronizations() == before


def test_scalars_mix(cupy):
    x = cupy.ones(3, np.float32)
    assert (x + 1).dtype == (2.5 * x).dtype == (x + np.float32(1)).dtype == "float32"
    np.testing.assert_array_equal(on_host(2 - x * np.float32(3)), -1)


WAITING = {
    "get": lambda cupy, x: x.get(),
    "asnumpy": lambda cupy, x: cupy.asnumpy(x),
    "item": lambda cupy, x: x.sum().item(),
    "float": lambda cupy, x: float(x.sum()),
    "int": lambda cupy, x: int(x.sum()),
    "bool": lambda cupy, x: bool(x.sum()),
    "if": lambda cupy, x: 1 if (x > 0).all() else 0,
    "max": lambda cupy, x: max(x[0], x[1]),
    "print": lambda cupy, x: print(x),
    "repr": lambda cupy, x: repr(x),
    "format": lambda cupy, x: f"{x.sum():.3f}",
    "tolist": lambda cupy, x: x.tolist(),
    "bytes": lambda cupy, x: x.tobytes(),
    "mask": lambda cupy, x: x[x > 0],
    "where": lambda cupy, x: cupy.where(x > 0),
    "nonzero": lambda cupy, x: cupy.nonzero(x),
    "pickle": lambda cupy, x: pickle.dumps(x),
    "stream": lambda cupy, x: cupy.cuda.get_current_stream().synchronize(),
    "null stream": lambda cupy, x: cupy.cuda.Stream.null.synchronize(),
    "device": lambda cupy, x: cupy.cuda.Device().synchronize(),
    "runtime": lambda cupy, x: cupy.cuda.runtime.deviceSynchronize(),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_waits_for_the_device_is_counted_and_may_be_refused(cupy, what):
    x = cupy.arange(1.0, 4.0)
    before = cuda_on_cpu.synchronizations()
    WAITING[what](cupy, x)
    assert cuda_on_cpu.synchronizations() == before + 1
    with cuda_on_cpu.no_synchronization(), pytest.raises(SynchronizationError):
        WAITING[what](cupy, x)
    assert cuda_on_cpu.synchronizations() == before + 1


def test_what_does_not_wait_is_not_counted(cupy):
    before = cuda_on_cpu.synchronizations()
    with cuda_on_cpu.no_synchronization():
        x = cupy.asarray(np.arange(6.0)).reshape(2, 3)
        y = cupy.exp(x).sum(axis=1) + x[1, 1:].max() - cupy.where(x > 1, x, 0.0).ravel()[:2]
        y[...] = cupy.concatenate([y, y])[1:3]
        y[y > 1] = 0
        assert (y.shape, y.ndim, len(y), y.dtype.kind) == ((2,), 1, 2, "f")
        _ = [row.T for row in x]
    assert cuda_on_cpu.synchronizations() == before


# -------------------------------------------------------------------------------------- what is new


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u8"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 3)])
def test_new_memory_holds_no_number(cupy, shape, dtype):
    new = [
        cupy.empty(shape, dtype),
        cupy.empty_like(cupy.zeros(shape, dtype)),
        cupy.ndarray(shape, dtype),
        cupy.empty(shape, dtype, order="F"),
    ]
    for array in new:
        assert array.shape == shape
        assert array.dtype == dtype
        values = on_host(array)
        wrong = ~np.isnan(values) if dtype[0] == "f" else values != np.array(-1).astype(dtype)
        assert not wrong.any()


def test_creation(cupy):
    np.testing.assert_array_equal(on_host(cupy.zeros((2, 3))), np.zeros((2, 3)))
    np.testing.assert_array_equal(on_host(cupy.ones(3, np.int32)), [1, 1, 1])
    np.testing.assert_array_equal(on_host(cupy.full((2,), 7)), [7, 7])
    np.testing.assert_array_equal(on_host(cupy.arange(5)), np.arange(5))
    np.testing.assert_array_equal(on_host(cupy.arange(1, 7, 2, dtype="f4")), [1, 3, 5])
    np.testing.assert_array_equal(on_host(cupy.linspace(0, 1, 5)), np.linspace(0, 1, 5))
    np.testing.assert_array_equal(on_host(cupy.eye(3, k=1)), np.eye(3, k=1))
    np.testing.assert_array_equal(on_host(cupy.ones_like(cupy.empty(2))), [1, 1])
    np.testing.assert_array_equal(on_host(cupy.zeros_like(cupy.empty(2), dtype="i8")), [0, 0])
    assert cupy.full((2,), 7).dtype == cupy.arange(5).dtype == "int64"


def test_asarray_copies_from_the_host_and_only_then(cupy):
    host = np.arange(6.0).reshape(2, 3)
    x = cupy.asarray(host)
    host[...] = 0
    np.testing.assert_array_equal(on_host(x).ravel(), np.arange(6))
    assert cupy.asarray(x) is x
    assert cupy.ascontiguousarray(x) is x
    assert cupy.array(x) is not x
    assert cupy.asarray(x, dtype="f4").dtype == "float32"
    assert cupy.asarray([1, 2.5]).dtype == "float64"
    assert cupy.ascontiguousarray(x.T).flags.c_contiguous
    assert cupy.ascontiguousarray(2.0).shape == (1,)
    assert cupy.array(2.0, ndmin=2).shape == (1, 1)
    np.testing.assert_array_equal(on_host(cupy.asarray([x[0, 1], x[1, 2]])), [1, 5])
    np.testing.assert_array_equal(cupy.asnumpy([1, 2]), [1, 2])


# ------------------------------------------------------------------------------------------- arrays


def test_results_are_arrays_of_the_device(cupy):
    x = cupy.arange(6.0).reshape(2, 3)
    for result in (x.sum(), x[0, 0], x.max(), cupy.sum(x), x[0] @ x[1], cupy.exp(2.0), abs(x)):
        assert type(result) is cupy.ndarray
    assert x.sum().shape == x[0, 0].shape == ()
    assert all(type(row) is cupy.ndarray for row in x)
    with pytest.raises(TypeError):
        range(cupy.asarray(3))
    with pytest.raises(TypeError):
        hash(x)


def test_elements_and_slices_are_views(cupy):
    x = cupy.zeros((3, 4))
    for view in (x[1], x[1, 2], x.T, x[:, ::2], x.reshape(12), x.ravel(), x.view(), x[None]):
        view[...] = view + 1
    assert on_host(x)[1, 2] == 8
    assert on_host(x)[0, 1] == 5
    assert cupy.shares_memory(x, x.T[1:, ::2])
    assert not cupy.shares_memory(x, x.copy())
    assert x[1].base is x
    assert x.T[1].base is x
    assert x.base is None
    assert x.copy().base is None
    assert x.data.ptr + 4 * 8 == x[1].data.ptr


def test_flags_and_strides(cupy):
    x = cupy.zeros((3, 4))
    assert (x.flags.c_contiguous, x.flags.f_contiguous, x.flags.owndata) == (True, False, True)
    assert (x.T.flags.c_contiguous, x.T.flags.f_contiguous, x.T.flags.owndata) == (
        False,
        True,
        False,
    )
    assert x.T.flags["F_CONTIGUOUS"]
    assert not x[:, ::2].flags.forc
    assert x.T.strides == (8, 32)
    assert cupy.broadcast_to(x[0], (3, 4)).strides == (0, 8)
    assert x.nbytes == 96
    assert x.itemsize == 8
    assert x.T.copy().flags.c_contiguous
    assert x.T.copy(order="F").flags.f_contiguous
    assert (x.T + 1).flags.f_contiguous
    assert not hasattr(x.flags, "writeable"), "there are no read-only arrays"


def test_copies(cupy):
    x = cupy.arange(6.0).reshape(2, 3)
    for other in (x.copy(), copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert not cupy.shares_memory(x, other)
        np.testing.assert_array_equal(on_host(other), on_host(x))
    assert x.astype("f8", copy=False) is x
    assert x.astype("f4").dtype == "float32"


def test_to_and_from_arrays_of_the_host(cupy):
    x, out = cupy.arange(3.0), np.zeros(3)
    assert x.get(out=out) is out
    np.testing.assert_array_equal(out, [0, 1, 2])
    x.set(np.ones(3))
    np.testing.assert_array_equal(on_host(x), 1)
    with pytest.raises(ValueError, match="same shape and type"):
        x.set(np.ones(4))
    with pytest.raises(TypeError):
        x.set([1, 2, 3])


OPERATIONS = {
    "arithmetic": lambda xp, x: (2 * x - x / 3) ** 2 // 1 % 5 + -x,
    "comparison": lambda xp, x: (x > 3) & ~(x == 4) | (x <= 1) ^ (x != 2),
    "matmul": lambda xp, x: x @ x.T,
    "functions": lambda xp, x: xp.exp(-x) + xp.log1p(x) * xp.sqrt(x) - xp.isnan(x),
    "reductions": lambda xp, x: x.sum(axis=0) + x.max(axis=0) * x.mean() - xp.prod(x, axis=0),
    "keepdims": lambda xp, x: xp.sum(x, axis=1, keepdims=True),
    "scans": lambda xp, x: xp.cumsum(x, axis=1) + x.cumprod(axis=1),
    "sorting": lambda xp, x: xp.sort(-x, axis=1),
    "argsort": lambda xp, x: xp.argsort(-x, kind="stable"),
    "take": lambda xp, x: xp.take_along_axis(x, xp.argsort(-x, axis=1), axis=1),
    "joining": lambda xp, x: xp.concatenate([xp.stack([x, x]), x[None]], axis=0),
    "broadcasting": lambda xp, x: xp.broadcast_to(x[:1], (4, 3)),
    "where": lambda xp, x: xp.where(x > 2, x, xp.asarray(0.5)),
    "shapes": lambda xp, x: xp.moveaxis(x[None], 0, 2).swapaxes(0, 1).squeeze(),
    "einsum": lambda xp, x: xp.einsum("ij,kj->ik", x, x),
    "clip": lambda xp, x: xp.clip(x, 1, 3),
    "diff": lambda xp, x: xp.diff(x, axis=1, prepend=0),
    "fancy index": lambda xp, x: x[xp.asarray([1, 0]), 1:],
    "out": lambda xp, x: xp.add(x, x, out=xp.empty_like(x)),
    "outer operators": lambda xp, x: xp.multiply(x, x).T[::-1] + xp.maximum(x, 2.0).T,
    "indices": lambda xp, x: xp.searchsorted(x.ravel(), xp.asarray([0.5, 3.5])),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_values_are_numpy_s(cupy, operation):
    x = np.arange(6.0).reshape(2, 3)
    expected = OPERATIONS[operation](np, x)
    result = OPERATIONS[operation](cupy, cupy.asarray(x))
    assert type(result) is cupy.ndarray
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(on_host(result), expected)


def test_in_place(cupy):
    x = cupy.arange(4.0)
    same = x
    x += 1
    x *= x[1]
    x[1:] -= x[:-1]
    x[x > 1] = 0
    assert x is same
    np.testing.assert_array_equal(on_host(x), [0, 0, 0, 0])
    x[...] = [3, 1, 2, 0]
    x.sort()
    np.testing.assert_array_equal(on_host(x), [0, 1, 2, 3])
    x.fill(9)
    cupy.copyto(x[:2], cupy.zeros(2))
    np.testing.assert_array_equal(on_host(x), [0, 0, 9, 9])


def test_nothing_warns_as_on_a_device(cupy):
    x = cupy.asarray([0.0, -1.0])
    result = on_host(x / x + cupy.log(x))
    assert np.isnan(result).all()


def test_numpy_s_functions_are_cupy_s_for_its_arrays(cupy):
    x = cupy.arange(3.0)
    for result in (
        np.exp(x),
        np.concatenate([x, x]),
        np.sum(x),
        np.add(x, 1),
        np.where(x > 1, x, x),
    ):
        assert type(result) is cupy.ndarray
    assert np.add(x, x, out=x) is x
    with pytest.raises(TypeError):
        np.add.reduce(x)
    with pytest.raises(TypeError):
        np.fft.fft(x)


@pytest.mark.parametrize(
    "call",
    [
        lambda cupy, x: x.sum(where=x > 0),
        lambda cupy, x: x.max(initial=0),
        lambda cupy, x: cupy.sum(x, initial=0),
        lambda cupy, x: cupy.exp(x, where=x > 0),
        lambda cupy, x: x.sum(axis=0, unknown=1),
        lambda cupy, x: cupy.arange(3, like=x),
        lambda cupy, x: x.argsort(kind="stable"),
        lambda cupy, x: cupy.asarray(x, like=x),
        lambda cupy, x: cupy.add(x),
    ],
)
def test_parameters_that_cupy_has_not(cupy, call):
    with pytest.raises(TypeError):
        call(cupy, cupy.arange(3.0))


# ------------------------------------------------------------------------------------------ kernels

CODE = """
extern "C" __global__ void scale(double *x, double factor, long long n) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] *= factor;
}
template <typename T, int SIZE> __global__ void reverse(T *x) {
    extern __shared__ unsigned char memory[];
    T *part = reinterpret_cast<T *>(memory);
    part[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    x[threadIdx.x] = part[SIZE - 1 - threadIdx.x];
}
extern "C" __global__ void beyond(double *x, long long i) { x[i] = 1; }
extern "C" __global__ void read(double *out, const double *x, long long i) { out[0] = x[i]; }
extern "C" __global__ void order(int *first) {
    if (*first < 0) *first = threadIdx.x;
}
extern "C" __global__ void flag(bool *out, bool value, int n, float x) { *out = value; }
"""
EXPRESSIONS = ("reverse<double, 8>", "reverse<float, 16>")


@pytest.fixture
def module(cupy):
    return cupy.RawModule(code=CODE, options=("--std=c++17",), name_expressions=EXPRESSIONS)


def test_kernels_run_on_arrays_of_the_device(cupy, module, order):
    x = cupy.arange(100.0)
    with cuda_on_cpu.launch_order(*order):
        module.get_function("scale")((4,), (32,), (x, 2.0, 100))
        np.testing.assert_array_equal(on_host(x), 2 * np.arange(100))
        y = cupy.arange(16, dtype=np.float32)
        module.get_function(EXPRESSIONS[1])((1,), (16,), (y,), shared_mem=64)
    np.testing.assert_array_equal(on_host(y), np.arange(16)[::-1])
    kernel = cupy.RawKernel(CODE, "scale")
    kernel((4,), (32,), (x[50:], 0.0, 50))
    np.testing.assert_array_equal(on_host(x), np.where(np.arange(100) < 50, 2 * np.arange(100), 0))


def test_the_order_of_a_launch_is_chosen(cupy, module):
    def first():
        x = cupy.asarray([-1], dtype=np.int32)
        module.get_function("order")((1,), (32,), (x,))
        return int(x[0])

    assert first() == 0
    with cuda_on_cpu.launch_order("reverse"):
        assert first() == 31
        with cuda_on_cpu.launch_order("forward"):
            assert first() == 0
        assert first() == 31
    firsts = set()
    for seed in range(5):
        with cuda_on_cpu.launch_order("shuffled", seed=seed):
            firsts.add(first())
    assert len(firsts) > 1
    assert first() == 0
    with (
        pytest.raises(ValueError, match="forward, reverse, shuffled, not 'sideways'"),
        cuda_on_cpu.launch_order("sideways"),
    ):
        pass


def test_numbers_are_passed_as_cupy_does(cupy, module):
    x = cupy.zeros(1, bool)
    kernel = module.get_function("flag")
    kernel((1,), (1,), (x, np.True_, np.int32(1), np.float32(1)))
    assert bool(x[0])
    for wrong in (
        (x, True, np.int32(1), np.float32(1)),  # CuPy makes int64 of it
        (x, np.True_, 1, np.float32(1)),
        (x, np.True_, np.int32(1), 1.0),
    ):
        with pytest.raises(TypeError, match="flag: argument"):
            kernel((1,), (1,), wrong)
    for unsupported in (None, "text", [1], x.data, 1j):
        with pytest.raises(TypeError, match=r"argument 1.*Unsupported type"):
            kernel((1,), (1,), (x, unsupported, np.int32(1), np.float32(1)))


LAUNCHES = {
    "array of the host": (TypeError, "argument 0 is an array on the host"),
    "wrong type": (TypeError, "argument 0 must be an array of float64"),
    "not contiguous": (TypeError, "not C-contiguous"),
    "wrong number": (TypeError, "argument 1 must be a number of float64, not a number of int64"),
    "too few": (TypeError, "2 arguments for 3 parameters"),
    "list of sizes": (TypeError, "grid must be a tuple, not list"),
    "real size": (TypeError, "block must be integers"),
    "no blocks": (RuntimeError, "the grid must be from"),
    "too many threads": (RuntimeError, "more than 1024 threads|the block must be from"),
    "too much shared memory": (RuntimeError, "max_dynamic_shared_size_bytes is 49152"),
}


@pytest.mark.parametrize("bug", LAUNCHES)
def test_launches_that_are_refused(cupy, module, bug):
    x = cupy.arange(8.0)
    arguments = {
        "array of the host": ((1,), (8,), (np.arange(8.0), 2.0, 8)),
        "wrong type": ((1,), (8,), (x.astype("f4"), 2.0, 8)),
        "not contiguous": ((1,), (8,), (x[::2], 2.0, 4)),
        "wrong number": ((1,), (8,), (x, 2, 8)),
        "too few": ((1,), (8,), (x, 2.0)),
        "list of sizes": ([1], (8,), (x, 2.0, 8)),
        "real size": ((1,), (8.0,), (x, 2.0, 8)),
        "no blocks": ((0,), (8,), (x, 2.0, 8)),
        "too many threads": ((1,), (2048,), (x, 2.0, 8)),
        "too much shared memory": ((1,), (8,), (x, 2.0, 8)),
    }[bug]
    options = {"shared_mem": 49153} if bug == "too much shared memory" else {}
    error, message = LAUNCHES[bug]
    with cuda_on_cpu.record_launches() as launches, pytest.raises(error, match=message):
        module.get_function("scale")(*arguments, **options)
    assert launches == []
    np.testing.assert_array_equal(on_host(x), np.arange(8))


def test_more_shared_memory_must_be_asked_for_on_each_device(cupy):
    # A source of its own, for what is set holds for all kernels of this name in the same source.
    code = CODE + "// shared"
    module = cupy.RawModule(code=code, name_expressions=EXPRESSIONS)
    kernel = module.get_function(EXPRESSIONS[0])
    assert kernel.max_dynamic_shared_size_bytes == 48 << 10
    kernel.max_dynamic_shared_size_bytes = 227 << 10
    x = cupy.arange(8.0)
    kernel((1,), (8,), (x,), shared_mem=227 << 10)
    assert float(x[0]) == 7
    with pytest.raises(RuntimeError):
        kernel.max_dynamic_shared_size_bytes = (227 << 10) + 1
    with cupy.cuda.Device(1):
        assert kernel.max_dynamic_shared_size_bytes == 48 << 10
        with pytest.raises(RuntimeError, match="max_dynamic_shared_size_bytes is 49152"):
            kernel((1,), (8,), (cupy.arange(8.0),), shared_mem=49153)


@unsanitized
@pytest.mark.parametrize(("array", "index"), [(0, 8), (0, -1), (0, 60), (1, 20), (1, -9)])
def test_writing_beyond_an_array(cupy, module, array, index):
    arrays = [cupy.arange(8.0), cupy.zeros((4, 5))]
    with pytest.raises(
        RuntimeError, match="beyond: memory was written before or behind argument 0"
    ):
        module.get_function("beyond")((1,), (1,), (arrays[array], index))
    # The memory is unharmed, and so is what follows.
    module.get_function("scale")((1,), (8,), (arrays[0] + 0, 2.0, 8))


@unsanitized
@pytest.mark.parametrize("index", [8, -1, 60])
def test_reading_beyond_an_array_gives_nan(cupy, module, index):
    out = cupy.zeros(1)
    module.get_function("read")((1,), (1,), (out, cupy.arange(8.0), index))
    assert np.isnan(float(out[0]))


def test_names_of_kernels_are_those_that_cupy_finds(cupy, module):
    for name in ("reverse", "reverse<double,8>", "unknown", "reverse<int, 8>"):
        with pytest.raises(RuntimeError, match="CUDA_ERROR_NOT_FOUND"):
            module.get_function(name)
    for code in (
        "__global__ void k(",
        "no code",
        CODE.replace("if (i < n)", "if (i < undeclared)"),
    ):
        module = cupy.RawModule(code=code, name_expressions=EXPRESSIONS)
        with pytest.raises(cupy.cuda.compiler.CompileException):
            module.get_function("scale")
        with pytest.raises(cupy.cuda.compiler.CompileException):
            module.compile()


def test_sources_are_texts_and_options_tuples(cupy):
    with pytest.raises(TypeError, match="options must be a tuple"):
        cupy.RawModule(code=CODE, options=["-DX"])
    with pytest.raises(TypeError, match="code must be a str"):
        cupy.RawModule(code=CODE.encode())


# ------------------------------------------------------------------------ devices, streams, memory


def test_devices(cupy):
    Device = cupy.cuda.Device
    assert cupy.cuda.runtime.getDeviceCount() == 2
    assert cupy.cuda.runtime.getDevice() == cupy.cuda.get_device_id() == Device().id == 0
    with Device(1) as device:
        assert cupy.cuda.runtime.getDevice() == 1
        x = cupy.zeros(3)
        with Device(0):
            assert cupy.cuda.runtime.getDevice() == 0
        assert x.device == device == Device(1) == Device()
    assert cupy.cuda.runtime.getDevice() == 0
    assert x.device.id == x.data.device_id == int(x[1:].device) == 1
    assert cupy.zeros(3).device == Device(0) != x.device
    cupy.cuda.runtime.setDevice(1)
    Device(0).use()
    assert cupy.cuda.runtime.getDevice() == 0
    with pytest.raises(RuntimeError, match="cudaErrorInvalidDevice"), Device(2):
        pass
    assert Device().attributes["MaxSharedMemoryPerBlockOptin"] == 227 << 10
    assert Device().attributes["WarpSize"] == 32
    assert Device().compute_capability == "90"


def test_the_current_device_is_each_thread_s_own(cupy):
    seen = []
    with cupy.cuda.Device(1):
        thread = threading.Thread(target=lambda: seen.append(cupy.cuda.runtime.getDevice()))
        thread.start()
        thread.join()
    assert seen == [0]


FOREIGN = {
    "both": lambda cupy, x, y: x + y,
    "one": lambda cupy, x, y: y * 2,
    "function": lambda cupy, x, y: cupy.exp(y),
    "reduction": lambda cupy, x, y: y.sum(),
    "joining": lambda cupy, x, y: cupy.concatenate([x, y]),
    "assignment": lambda cupy, x, y: x.__setitem__(slice(None), y),
    "assignment to it": lambda cupy, x, y: y.__setitem__(slice(None), 1),
    "in place": lambda cupy, x, y: y.__iadd__(1),
    "index": lambda cupy, x, y: x[y.astype("i8")],
    "conversion": lambda cupy, x, y: y.astype("f4"),
    "reshape that copies": lambda cupy, x, y: cupy.broadcast_to(y, (2, 3)).ravel(),
}


@pytest.mark.parametrize("operation", FOREIGN)
def test_arrays_of_another_device_are_refused(cupy, operation):
    with cupy.cuda.Device(1):
        y = cupy.zeros(3)
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        FOREIGN[operation](cupy, cupy.zeros(3), y)


def test_kernels_refuse_arrays_of_another_device(cupy, module):
    with cupy.cuda.Device(1):
        y = cupy.arange(8.0)
        module.get_function("scale")((1,), (8,), (y, 2.0, 8))
    np.testing.assert_array_equal(on_host(y), 2 * np.arange(8))
    with pytest.raises(ValueError, match="array device = 1 while current = 0"):
        module.get_function("scale")((1,), (8,), (y, 2.0, 8))
    np.testing.assert_array_equal(on_host(y), 2 * np.arange(8))


def test_views_and_copies_of_arrays_of_another_device(cupy):
    with cupy.cuda.Device(1):
        y = cupy.arange(6.0).reshape(2, 3)
    views = [y[1], y.T, y.reshape(3, 2), y.ravel(), y.view("i8"), cupy.asarray(y), y.squeeze()]
    for view in (*views, cupy.broadcast_to(y, (4, 2, 3)), cupy.moveaxis(y, 0, 1)):
        assert view.device.id == 1
    assert y.copy().device.id == cupy.array(y).device.id == 0
    np.testing.assert_array_equal(y.get(), np.arange(6).reshape(2, 3))


def test_launches_go_to_the_current_stream_of_the_current_device(cupy, module):
    x = cupy.arange(8.0)
    kernel = module.get_function("scale")
    with cuda_on_cpu.record_launches() as launches:
        kernel((1,), (8,), (x, 2.0, 8))
        with cupy.cuda.Stream() as stream:
            assert cupy.cuda.get_current_stream() == stream
            kernel((2,), (4,), (x, 2.0, 8), shared_mem=16)
            with cupy.cuda.Stream(non_blocking=True) as inner:
                kernel((1,), (8,), (x, 2.0, 8))
            kernel((1,), (8,), (x, 2.0, 8))
        with cupy.cuda.Device(1):
            kernel((1,), (8,), (cupy.arange(8.0), 2.0, 8))
    assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
    assert [launch.stream for launch in launches] == [0, stream.ptr, inner.ptr, stream.ptr, 0]
    assert [launch.device for launch in launches] == [0, 0, 0, 0, 1]
    assert launches[1] == ("scale", (2,), (4,), 16, 0, stream.ptr)
    kernel((1,), (8,), (x, 2.0, 8))
    assert len(launches) == 5


def test_streams_belong_to_a_device(cupy):
    stream = cupy.cuda.Stream()
    with cupy.cuda.Device(1):
        with pytest.raises(RuntimeError, match="created on device 0"):
            stream.use()
        with cupy.cuda.Stream() as other:
            assert other.device_id == 1
            assert cupy.cuda.get_current_stream(0) == cupy.cuda.Stream.null
        assert cupy.cuda.get_current_stream() == cupy.cuda.Stream.null
    assert stream != other


def test_the_pool_counts_what_is_used(cupy):
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    used, allocations = pool.used_bytes(), cuda_on_cpu.allocations()
    x = cupy.zeros(100)
    assert cuda_on_cpu.allocations() == allocations + 1
    assert pool.used_bytes() == used + 1024, "in multiples of 512 bytes"
    _ = x[10:].T.reshape(9, 10)
    assert cuda_on_cpu.allocations() == allocations + 1, "views take none"
    y = x + 1
    with cupy.cuda.Device(1):
        elsewhere = pool.used_bytes()
        z = cupy.zeros(1)
        assert pool.used_bytes() == elsewhere + 512
    assert pool.used_bytes() == used + 2048
    del x, y, _, z
    assert pool.used_bytes() == used
    assert pool.total_bytes() == used + 2048, "the most that was used at once"
    assert pool.free_bytes() == 2048
    pool.free_all_blocks()
    assert pool.total_bytes() == used


def test_memory_runs_out(cupy):
    pool = cupy.get_default_memory_pool()
    error = cupy.cuda.memory.OutOfMemoryError
    used = pool.used_bytes()
    with pytest.raises(error, match="Out of memory allocating"):
        cupy.empty(2**40)
    pool.set_limit(size=used + 4096)
    try:
        x = cupy.zeros(512)
        with pytest.raises(error, match=r"limit set to: [\d,]+ bytes"):
            cupy.zeros(1)
        del x
        cupy.zeros(1)
    finally:
        pool.set_limit(size=0)
    assert pool.used_bytes() == used
    assert pool.get_limit() == 0
    assert issubclass(error, MemoryError)
