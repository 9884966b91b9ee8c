"""Bugs of kernels and of launches, each of which must be caught without a sanitizer."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_on_cpu.executor import LaunchError


def outcomes(function, orders, x, *, grid=1):
    """Return what a kernel with a thread for each element makes of x, in each order."""
    results = []
    for order in orders:
        result = x.copy()
        function((grid,), (x.size // grid,), (result,), order=order)
        results.append(result)
    return results


def agree(results):
    """Whether all orders give the same."""
    return all(np.array_equal(result, results[0]) for result in results)


# ------------------------------------------------------------------------------- missing barriers

EXCHANGE = """
extern "C" __global__ void exchange(double *x) {
    __shared__ double part[64];
    part[threadIdx.x] = x[threadIdx.x];
    BARRIER
    x[threadIdx.x] = part[63 - threadIdx.x];
}
"""
SCAN = """
extern "C" __global__ void scan(double *x) {
    __shared__ double part[64];
    part[threadIdx.x] = x[threadIdx.x];
    for (int distance = 1; distance < 64; distance *= 2) {
        __syncthreads();
        const double other = threadIdx.x >= distance ? part[threadIdx.x - distance] : 0;
        BARRIER
        part[threadIdx.x] += other;
    }
    x[threadIdx.x] = part[threadIdx.x];
}
"""
LANES = """
extern "C" __global__ void lanes(double *x) {
    __shared__ double part[32];
    part[threadIdx.x] = x[threadIdx.x];
    BARRIER
    x[threadIdx.x] = part[threadIdx.x ^ 1];
}
"""


@pytest.mark.parametrize(
    ("code", "barrier", "expected"),
    [
        (EXCHANGE, "__syncthreads();", np.arange(64.0)[::-1]),
        (SCAN, "__syncthreads();", np.cumsum(np.arange(64.0))),
        (LANES, "__syncwarp();", np.arange(32.0).reshape(-1, 2)[:, ::-1].ravel()),
    ],
)
def test_missing_barrier_makes_orders_disagree(kernel, orders, code, barrier, expected):
    x = np.arange(float(expected.size))
    right = outcomes(kernel(code.replace("BARRIER", barrier)), orders, x)
    assert agree(right)
    np.testing.assert_array_equal(right[0], expected)
    wrong = outcomes(kernel(code.replace("BARRIER", "")), orders, x)
    assert not agree(wrong)


def test_blocks_that_write_the_same_number_make_orders_disagree(kernel, orders):
    code = """extern "C" __global__ void last(double *x) { x[threadIdx.x] = blockIdx.x; }"""
    assert not agree(outcomes(kernel(code), orders, np.zeros(96), grid=3))


def test_lanes_do_not_run_in_lockstep(kernel, orders):
    code = """extern "C" __global__ void lockstep(double *x) {
        volatile double *y = x;
        if (threadIdx.x < 16) {
            y[threadIdx.x] += y[threadIdx.x + 8];
            y[threadIdx.x] += y[threadIdx.x + 4];
        }
    }"""
    assert not agree(outcomes(kernel(code), orders, np.arange(32.0)))


# -------------------------------------------------------------------- barriers that not all reach


def check_refused(kernel, code, message, block=64, order=None):
    """Launch a kernel, and again one that is right, and check that only the former fails."""
    x = np.zeros(64)
    with pytest.raises(LaunchError, match=message):
        kernel(code)((2,), (block,), (x,), order=order)
    right = kernel(EXCHANGE.replace("BARRIER", "__syncthreads();"))
    x = np.arange(64.0)
    right((1,), (64,), (x,), order=order)
    np.testing.assert_array_equal(x, np.arange(64.0)[::-1])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x < 8) {\n__syncthreads();\n} else {\n__syncthreads();\n}",
            r"divergent barrier: some threads wait in line \d, others in line \d",
        ),
        ("if (threadIdx.x > 40) return;\n__syncthreads();", "41 of 64 threads reach, the others"),
        ("if (threadIdx.x < 5) __syncthreads();", "line 2: a barrier that 5 of 64 threads reach"),
        (
            "if (threadIdx.x % 2) __syncthreads(); else __syncthreads_or(0);",
            "divergent barrier",
        ),
        (
            "if (threadIdx.x < 16) __syncwarp(); else __syncthreads();",
            "mask 0xffffffff that not all of its lanes reach",
        ),
        (
            "if (threadIdx.x < 16) x[0] = __shfl_sync(0xffffffffu, x[0], 0);\n__syncthreads();",
            "line 2: an operation of a warp with the mask 0xffffffff",
        ),
        ("x[0] = __shfl_sync(1u, x[0], 0);", "line 2: a lane that is not in the mask it gives"),
        ("x[0] = __shfl_sync(~0u, x[0], 0, 12);", "the width of a shuffle must be 1, 2, 4"),
        (
            "x[0] = threadIdx.x % 2 ? __ballot_sync(~0u, 1) : __shfl_sync(~0u, 1, 0);",
            "different operations of a warp",
        ),
        (
            "x[0] = threadIdx.x % 2 ? __shfl_sync(~0u, 1, 0) : __shfl_sync(~0u, 1.0, 0);",
            "different operations of a warp",
        ),
        (
            "__syncwarp(threadIdx.x % 32 ? 0xffffffffu : 0x7fffffffu);",
            "that not all of its lanes reach",
        ),
        ("assert(threadIdx.x != 3);", "line 2: assertion failed: threadIdx.x != 3"),
        ("__builtin_assume(x == nullptr);", "line 2: assumed, but false: x == nullptr"),
        ("if (blockIdx.x) __trap();", "line 2: trap"),
    ],
)
def test_barriers_and_masks(kernel, order, body, message):
    code = f'extern "C" __global__ void k(double *x) {{\n{body}\n}}'
    check_refused(kernel, code, message, order=order)


# ------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("place", ["part[32]", "part[-1]", "dynamic[16]", "dynamic[-1]"])
def test_writing_beyond_shared_memory(kernel, order, place):
    code = f"""extern "C" __global__ void k(double *x) {{
        extern __shared__ double dynamic[];
        __shared__ double part[32];
        part[0] = dynamic[0] = 1;
        if (threadIdx.x == 5) {place} = x[0];
    }}"""
    with pytest.raises(LaunchError, match="shared memory was written beyond a variable"):
        kernel(code)((1,), (32,), (np.ones(1),), shared_bytes=16 * 8, order=order)


@pytest.mark.parametrize("place", ["part[32]", "dynamic[16]"])
def test_reading_beyond_shared_memory_gives_nan(kernel, place):
    code = f"""extern "C" __global__ void k(double *x) {{
        extern __shared__ double dynamic[];
        __shared__ double part[32];
        part[threadIdx.x] = dynamic[threadIdx.x / 2] = 1;
        __syncthreads();
        x[0] = {place};
    }}"""
    x = np.zeros(1)
    kernel(code)((1,), (32,), (x,), shared_bytes=16 * 8)
    assert np.isnan(x[0])


@pytest.mark.parametrize("declaration", ["extern __shared__ T s[];", "__shared__ T s[32];"])
@pytest.mark.parametrize(("c_type", "dtype"), [("float", "f4"), ("double", "f8")])
def test_shared_memory_without_a_value_is_nan_in_every_block(kernel, declaration, c_type, dtype):
    code = f"""template <typename T> __global__ void k(T *x) {{
        {declaration}
        x[blockIdx.x * blockDim.x + threadIdx.x] = s[threadIdx.x];
        s[threadIdx.x] = 1;
    }}"""
    x = np.zeros(96, dtype)
    kernel(code, f"k<{c_type}>")((3,), (32,), (x,), shared_bytes=32 * x.itemsize)
    assert np.isnan(x).all()


def test_too_much_shared_memory(kernel):
    code = 'extern "C" __global__ void k(double *x) { __shared__ double s[6145]; s[0] = *x; }'
    with pytest.raises(LaunchError, match="more than 48 KiB of static shared memory"):
        kernel(code)((1,), (1,), (np.zeros(1),))
    with pytest.raises(LaunchError, match="232449 bytes of shared memory; there are 232448"):
        kernel(EXCHANGE.replace("BARRIER", ""))((1,), (64,), (np.zeros(64),), shared_bytes=232449)
    with pytest.raises(LaunchError, match="static and dynamic shared memory are more than"):
        kernel(EXCHANGE.replace("BARRIER", ""))((1,), (64,), (np.zeros(64),), shared_bytes=232448)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x[1ll << 40] = 1;", r"invalid address in thread \(0, 0, 0\) of block \(0, 0, 0\)"),
        ("x[0] = *(double *)threadIdx.x;", "invalid address"),
        ("x[0] = (int)x[0] / (int)threadIdx.x;", "an integer division by zero in thread"),
        (
            "volatile double big[100000]; big[threadIdx.x] = x[0]; x[0] = big[5];",
            "more memory for local variables than a thread has",
        ),
    ],
)
def test_faults(kernel, body, message):
    check_refused(kernel, f'extern "C" __global__ void k(double *x) {{ {body} }}', message)


# ----------------------------------------------------------------------------------------- launches

PARAMETERS = """
extern "C" __global__ void k(double *out, const float *x, int n, long long m, double scale) { }
"""
RIGHT = (np.zeros(3), np.zeros(3, np.float32), np.int32(1), np.int64(1), np.float64(1))


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("number", "argument", "message"),
    [
        (0, np.zeros(3, np.float32), "an array of float64, not an array of float32"),
        (0, read_only(np.zeros(3)), "an array of float64, not a read-only array"),
        (0, np.zeros((3, 4))[:, 1], "an array of float64, not an array that is not C-contiguous"),
        (
            0,
            np.zeros((3, 4), order="F"),
            "an array of float64, not an array that is not C-contiguous",
        ),
        (0, np.float64(1), "an array of float64, not a number of float64"),
        (0, np.int64(12345), "an array of float64, not a number of int64"),
        (0, np.int32(0), "an array of float64, not a number of int32"),
        (0, None, "an array of float64, not a NoneType"),
        (1, np.zeros(3), "a const array of float32, not an array of float64"),
        (1, np.zeros(3, ">f4"), "a const array of float32, not an array of >f4"),
        (2, np.int64(1), "a number of int32, not a number of int64"),
        (2, np.uint32(1), "a number of int32, not a number of uint32"),
        (2, 1, "a number of int32, not a int"),
        (3, np.int32(1), "a number of int64, not a number of int32"),
        (3, np.zeros(1, np.int64), "a number of int64, not an array of int64"),
        (4, np.float32(1), "a number of float64, not a number of float32"),
        (4, np.int64(1), "a number of float64, not a number of int64"),
    ],
)
def test_arguments_of_the_wrong_type(kernel, number, argument, message):
    function = kernel(PARAMETERS)
    function((1,), (1,), RIGHT)
    arguments = [*RIGHT[:number], argument, *RIGHT[number + 1 :]]
    with pytest.raises(TypeError, match=f"k: argument {number} must be {message}"):
        function((1,), (1,), arguments)


@pytest.mark.parametrize("arguments", [RIGHT[:4], (*RIGHT, np.int32(1)), ()])
def test_too_few_and_too_many_arguments(kernel, arguments):
    with pytest.raises(TypeError, match=f"k: {len(arguments)} arguments for 5 parameters"):
        kernel(PARAMETERS)((1,), (1,), arguments)


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((0,), (1,), r"the grid must be from \(1, 1, 1\) to .* not \(0, 1, 1\)"),
        ((2**31,), (1,), "the grid must be from"),
        ((1, 65536), (1,), "the grid must be from"),
        ((1, 1, 1, 1), (1,), "one to three sizes"),
        ((), (1,), "one to three sizes"),
        ((1,), (0,), "the block must be from"),
        ((1,), (-1,), "the block must be from"),
        ((1,), (1025,), "the block must be from"),
        ((1,), (1, 1, 65), "the block must be from"),
        ((1,), (33, 32), "more than 1024 threads in a block"),
    ],
)
def test_sizes_out_of_range(kernel, grid, block, message):
    with pytest.raises(LaunchError, match=message):
        kernel(PARAMETERS)(grid, block, RIGHT)


def test_launch_bounds(kernel):
    code = """template <int THREADS>
    __global__ void __launch_bounds__(THREADS, 2) k(int *x) { x[threadIdx.x] = 1; }"""
    x = np.zeros(65, np.int32)
    kernel(code, "k<64>")((1,), (64,), (x,))
    assert x.sum() == 64
    with pytest.raises(LaunchError, match="more threads in a block than __launch_bounds__ allows"):
        kernel(code, "k<64>")((1,), (65,), (x,))


def test_writing_through_const_does_not_compile(kernel):
    with pytest.raises(RuntimeError, match="read-only"):
        kernel('extern "C" __global__ void k(const double *x) { x[0] = 1; }')


def test_writing_to_the_index_of_a_thread_does_not_compile(kernel):
    with pytest.raises(RuntimeError, match="read-only"):
        kernel('extern "C" __global__ void k(const double *x) { threadIdx.x = 1; }')
