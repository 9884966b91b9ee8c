"""The executor: what CUDA kernels mean, in every order of their threads."""

from __future__ import annotations

import numpy as np
import pytest

from cuda_on_cpu.executor import LaunchError, Order


def launch(function, grid, block, *arguments, **options):
    """Launch a kernel and return the first argument, which it has written."""
    function(grid, block, arguments, **options)
    return arguments[0]


# -------------------------------------------------------------------------------- threads, blocks


INDICES = """
extern "C" __global__ void indices(long long *out) {
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int size = blockDim.x * blockDim.y * blockDim.z;
    out[block * size + thread] = block * size + thread;
}
"""


@pytest.mark.parametrize("grid", [(1,), (7,), (3, 4), (2, 3, 5)])
@pytest.mark.parametrize("block", [(1,), (33,), (1024,), (5, 7), (4, 3, 2), (1, 1, 64)])
def test_every_thread_runs_once_with_its_indices(kernel, order, grid, block):
    size = int(np.prod(grid) * np.prod(block))
    out = launch(kernel(INDICES), grid, block, np.full(size, -1), order=order)
    np.testing.assert_array_equal(out, np.arange(size))


def test_large_grids_run_every_block_once(kernel, order):
    code = """extern "C" __global__ void count(int *out) {
        ++out[blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z)];
    }"""
    grid = (70001, 3, 2)
    out = launch(kernel(code), grid, (1,), np.zeros(np.prod(grid), np.int32), order=order)
    np.testing.assert_array_equal(out, 1)


def test_grids_with_more_than_64_bits_of_threads_begin_at_either_end(kernel):
    code = 'extern "C" __global__ void stop(int *out) { __trap(); }'
    grid, out = (2**31 - 1, 65535, 65535), np.zeros(1, np.int32)
    with pytest.raises(LaunchError, match="trap"):
        launch(kernel(code), grid, (1,), out)
    code = 'extern "C" __global__ void stop(int *out) { *out = *out / (int)threadIdx.x; }'
    with pytest.raises(LaunchError, match=r"of block \(2147483646, 65534, 65534\)"):
        launch(kernel(code), grid, (1,), out, order=Order("reverse"))


ARRIVALS = """
extern "C" __global__ void arrivals(int *out, unsigned *count) {
    out[atomicAdd(count, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
}
"""


def arrivals(kernel, order, grid=(5,), block=(70,)):
    """Return the numbers of threads in the order in which they ran."""
    out = np.empty(grid[0] * block[0], np.int32)
    return launch(kernel(ARRIVALS), grid, block, out, np.zeros(1, np.uint32), order=order)


def test_order_is_forward_reverse_or_shuffled(kernel):
    threads = np.arange(350)
    np.testing.assert_array_equal(arrivals(kernel, Order("forward")), threads)
    np.testing.assert_array_equal(arrivals(kernel, Order("reverse")), threads[::-1])
    seen = [arrivals(kernel, Order("shuffled", seed)) for seed in range(4)]
    for out in seen:
        np.testing.assert_array_equal(np.sort(out), threads)
        blocks = out.reshape(5, 70) // 70
        assert (blocks == blocks[:, :1]).all(), "blocks do not overlap"
    assert len({tuple(out) for out in seen}) == 4


def test_shuffled_order_depends_on_the_seed_only(kernel):
    first = arrivals(kernel, Order("shuffled", 5))
    np.testing.assert_array_equal(arrivals(kernel, Order("shuffled", 5)), first)


def test_shuffled_order_puts_each_of_two_threads_first(kernel):
    firsts = {
        arrivals(kernel, Order("shuffled", seed), grid=grid, block=block)[0]
        for grid, block in (((2,), (1,)), ((1,), (2,)))
        for seed in range(10)
    }
    assert firsts == {0, 1}


# -------------------------------------------------------------------------------- barriers, memory


REVERSED = """
template <typename T, int SIZE> __global__ void reversed(T *out, const T *x) {
    __shared__ T part[SIZE], last;
    part[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == blockDim.x - 1) last = x[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = part[blockDim.x - 1 - threadIdx.x] + last;
}
"""


@pytest.mark.parametrize("size", [1, 31, 32, 33, 100, 1024])
@pytest.mark.parametrize(("c_type", "dtype"), [("float", "f4"), ("double", "f8"), ("int", "i4")])
def test_barrier_and_static_shared_memory(kernel, order, size, c_type, dtype):
    x = np.arange(size).astype(dtype)
    function = kernel(REVERSED, f"reversed<{c_type}, {size}>")
    out = launch(function, (1,), (size,), np.empty(size, dtype), x, order=order)
    np.testing.assert_array_equal(out, x[::-1] + x[-1])


def test_dynamic_shared_memory_and_many_barriers(kernel, order):
    code = """extern "C" __global__ void rotate(double *x, int rounds) {
        extern __shared__ __align__(16) double buffer[];
        for (int i = 0; i < rounds; ++i) {
            buffer[threadIdx.x] = x[threadIdx.x];
            __syncthreads();
            x[threadIdx.x] = buffer[(threadIdx.x + 1) % blockDim.x];
            __syncthreads();
        }
    }"""
    x = np.arange(96.0)
    out = launch(
        kernel(code), (1,), (96,), x.copy(), np.int32(40), shared_bytes=96 * 8, order=order
    )
    np.testing.assert_array_equal(out, np.roll(x, -40))


def test_shared_memory_is_each_block_s_own_and_nan_at_first(kernel, order):
    code = """extern "C" __global__ void leftovers(double *out) {
        extern __shared__ double dynamic[];
        __shared__ double fixed[32];
        __shared__ int whole;
        const bool fresh = isnan(dynamic[threadIdx.x]) && isnan(fixed[threadIdx.x]) && whole == -1;
        __syncthreads();
        dynamic[threadIdx.x] = fixed[threadIdx.x] = whole = 1;
        out[blockIdx.x * blockDim.x + threadIdx.x] = fresh;
    }"""
    out = launch(kernel(code), (3,), (32,), np.zeros(96), shared_bytes=32 * 8, order=order)
    np.testing.assert_array_equal(out, 1)


def test_votes_of_a_block(kernel, order):
    code = """extern "C" __global__ void votes(int *out, int limit) {
        out[threadIdx.x] = __syncthreads_count((int)threadIdx.x < limit);
        out[threadIdx.x] += 1000 * (__syncthreads_and((int)threadIdx.x < limit) != 0);
        out[threadIdx.x] += 2000 * (__syncthreads_or((int)threadIdx.x < limit) != 0);
    }"""
    for limit, expected in ((0, 0), (7, 2007), (50, 3050)):
        out = launch(kernel(code), (1,), (50,), np.empty(50, "i4"), np.int32(limit), order=order)
        np.testing.assert_array_equal(out, expected)


def test_constant_memory_and_functions(kernel):
    code = """
    __constant__ double table[3] = {2, 3, 5};
    static __device__ __forceinline__ double look_up(int i) { return table[i]; }
    extern "C" __global__ void read(double *out) { out[threadIdx.x] = look_up(threadIdx.x); }
    """
    np.testing.assert_array_equal(launch(kernel(code), (1,), (3,), np.empty(3)), [2, 3, 5])


def test_fence_orders_what_blocks_write(kernel, order):
    code = """extern "C" __global__ void sum(double *out, unsigned *ended) {
        out[1 + blockIdx.x] = blockIdx.x + 1;
        __threadfence();
        if (atomicAdd(ended, 1) < gridDim.x - 1) return;
        __threadfence();
        out[0] = 0;
        for (unsigned i = 0; i < gridDim.x; ++i) out[0] += out[1 + i];
    }"""
    out = launch(kernel(code), (4,), (1,), np.empty(5), np.zeros(1, "u4"), order=order)
    assert out[0] == 10


# -------------------------------------------------------------------------------------------- warps

SHUFFLE = """
template <typename T> __global__ void shuffle(T *out, const T *x, int operand, int width) {
    out[threadIdx.x] = OPERATION(0xffffffffu, x[threadIdx.x], operand, width);
}
"""


def shuffled_lane(operation, lane, operand, width):
    """Return the lane that a shuffle reads from."""
    segment, place = lane // width * width, lane % width
    if operation == "__shfl_sync":
        return segment + operand % width
    if operation == "__shfl_xor_sync":
        source = lane ^ operand
        return source if source < segment + width else lane
    place += operand if operation == "__shfl_down_sync" else -operand
    return segment + place if 0 <= place < width else lane


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize(
    "operation", ["__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync"]
)
def test_shuffles(kernel, order, operation, width):
    x = np.random.default_rng(0).normal(size=64)
    function = kernel(SHUFFLE, "shuffle<double>", (f"-DOPERATION={operation}",))
    for operand in (0, 1, 3, 16, 31):
        out = launch(
            function, (1,), (64,), np.empty(64), x, np.int32(operand), np.int32(width), order=order
        )
        lanes = [
            warp + shuffled_lane(operation, lane, operand, width)
            for warp in (0, 32)
            for lane in range(32)
        ]
        np.testing.assert_array_equal(out, x[lanes])


@pytest.mark.parametrize(
    ("c_type", "dtype"),
    [("int", "i4"), ("unsigned", "u4"), ("long long", "i8"), ("float", "f4"), ("double", "f8")],
)
def test_shuffles_of_every_type(kernel, c_type, dtype):
    x = (np.arange(32) * 1000003).astype(dtype)
    function = kernel(SHUFFLE, f"shuffle<{c_type}>", ("-DOPERATION=__shfl_xor_sync",))
    out = launch(function, (1,), (32,), np.empty(32, dtype), x, np.int32(5), np.int32(32))
    np.testing.assert_array_equal(out, x[np.arange(32) ^ 5])


def test_sum_by_shuffles_and_atomics(kernel, order):
    code = """
    template <typename T> static __device__ T warp_sum(T value) {
        for (int distance = 16; distance > 0; distance /= 2)
            value += __shfl_down_sync(0xffffffffu, value, distance);
        return value;
    }
    extern "C" __global__ void __launch_bounds__(1024) sum(double *out, const double *x, int n) {
        __shared__ double part[32];
        double value = 0;
        const int threads = blockDim.x * gridDim.x;
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += threads) value += x[i];
        value = warp_sum(value);
        if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
        __syncthreads();
        if (threadIdx.x >= 32) return;
        value = threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0;
        value = warp_sum(value);
        if (threadIdx.x == 0) atomicAdd(out, value);
    }"""
    x = np.random.default_rng(0).integers(-1000, 1000, 10007).astype(float)
    for block in (32, 96, 1024):
        out = launch(kernel(code), (3,), (block,), np.zeros(1), x, np.int32(x.size), order=order)
        assert out[0] == x.sum()


def test_votes_and_matches_of_a_warp(kernel, order):
    code = """extern "C" __global__ void votes(unsigned *out) {
        const unsigned lane = threadIdx.x, half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
        unsigned *mine = out + 6 * lane;
        mine[0] = __ballot_sync(0xffffffffu, lane % 3 == 0);
        mine[1] = __ballot_sync(half, lane % 2);
        mine[2] = __any_sync(half, lane == 3);
        mine[3] = __all_sync(half, lane > 15);
        mine[4] = __match_any_sync(0xffffffffu, (int)lane / 8);
        mine[5] = __activemask() >> lane & 1;
        __syncwarp();
        __syncwarp(half);
    }"""
    out = launch(kernel(code), (1,), (32,), np.empty(32 * 6, np.uint32), order=order)
    lanes = np.arange(32)
    low = lanes < 16
    expected = [
        np.full(32, sum(1 << lane for lane in lanes if lane % 3 == 0)),
        np.where(low, 0x0000AAAA, 0xAAAA0000),
        low,
        ~low,
        0xFF << lanes // 8 * 8,
        np.ones(32),
    ]
    np.testing.assert_array_equal(out.reshape(32, 6), np.stack(expected, axis=1))


def test_a_short_warp_may_name_lanes_that_do_not_exist(kernel, order):
    code = """extern "C" __global__ void shift(double *x) {
        x[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], 4);
    }"""
    out = launch(kernel(code), (1,), (20,), np.arange(20.0), order=order)
    np.testing.assert_array_equal(out[:16], np.arange(4, 20))
    assert np.isnan(out[16:]).all(), "the value of a lane that does not exist is undefined"


def test_lanes_may_wait_for_each_other_in_different_groups(kernel, order):
    code = """extern "C" __global__ void chain(int *out) {
        const int lane = threadIdx.x;
        int value = lane;
        for (int i = 0; i < 31; ++i)
            if (lane == i || lane == i + 1) {
                const int other = __shfl_sync(3u << i, value, i);
                if (lane == i + 1) value = other + 1;
            }
        out[lane] = value;
    }"""
    out = launch(kernel(code), (1,), (32,), np.empty(32, np.int32), order=order)
    np.testing.assert_array_equal(out, np.arange(32))


# ------------------------------------------------------------------------------ atomics, arithmetic


@pytest.mark.parametrize(
    ("call", "start", "result"),
    [
        ("atomicAdd(x, threadIdx.x)", 5, 5 + 64 * 63 // 2),
        ("atomicSub(x, threadIdx.x)", 5000, 5000 - 64 * 63 // 2),
        ("atomicMin(x, threadIdx.x + 3)", 50, 3),
        ("atomicMax(x, threadIdx.x)", 5, 63),
        ("atomicAnd(x, ~threadIdx.x)", 0xFFF, 0xFC0),
        ("atomicOr(x, threadIdx.x)", 0, 63),
        ("atomicXor(x, 1u << threadIdx.x % 32)", 7, 7),
        ("atomicInc(x, 9u)", 0, 64 % 10),
        ("atomicDec(x, 9u)", 0, 6),
        ("atomicCAS(x, 7u, 9u)", 7, 9),
        ("atomicExch(x, 4u)", 0, 4),
    ],
)
def test_atomics(kernel, order, call, start, result):
    code = f'extern "C" __global__ void update(unsigned *x) {{ {call}; }}'
    assert launch(kernel(code), (1,), (64,), np.array([start], "u4"), order=order)[0] == result


@pytest.mark.parametrize(
    ("c_type", "dtype"),
    [("int", "i4"), ("unsigned long long", "u8"), ("float", "f4"), ("double", "f8")],
)
def test_atomic_addition_returns_what_was_there(kernel, order, c_type, dtype):
    code = """template <typename T> __global__ void add(T *x, T *before) {
        before[threadIdx.x] = atomicAdd(x, (T)1);
    }"""
    x, before = np.zeros(1, dtype), np.empty(64, dtype)
    kernel(code, f"add<{c_type}>")((1,), (64,), (x, before), order=order)
    assert x[0] == 64
    np.testing.assert_array_equal(np.sort(before), np.arange(64))


def test_there_is_no_atomic_addition_for_long_long_as_in_cuda(kernel):
    code = 'extern "C" __global__ void add(long long *x) { atomicAdd(x, 1); }'
    with pytest.raises(
        RuntimeError, match=r"kernel\.cu:1:.*invalid conversion from .long long int"
    ):
        kernel(code)


FUNCTIONS = {
    "fma(x, y, z)": lambda x, y, z: x * y + z,
    "exp(x)": lambda x, y, z: np.exp(x),
    "log(x)": lambda x, y, z: np.log(x),
    "rsqrt(x)": lambda x, y, z: 1 / np.sqrt(x),
    "sqrt(x)": lambda x, y, z: np.sqrt(x),
    "pow(x, y)": lambda x, y, z: x**y,
    "abs(-x)": lambda x, y, z: x,
    "max(x, y) - min(x, y)": lambda x, y, z: np.abs(x - y),
    "sinpi(x)": lambda x, y, z: np.sin(np.pi * x),
    "cospi(x)": lambda x, y, z: np.cos(np.pi * x),
    "__ldg(&x)": lambda x, y, z: x,
    "copysign(x, -y)": lambda x, y, z: -x,
}


@pytest.mark.parametrize(("c_type", "dtype"), [("float", np.float32), ("double", np.float64)])
@pytest.mark.parametrize("expression", FUNCTIONS)
def test_mathematical_functions(kernel, expression, c_type, dtype):
    code = f"""template <typename T> __global__ void compute(T *out, const T *values) {{
        const T x = values[0], y = values[1], z = values[2];
        out[0] = {expression};
        static_assert(sizeof({expression}) == sizeof(T), "computed in its own type");
    }}"""
    values = np.array([0.3, 1.7, 0.9], dtype)
    out = launch(kernel(code, f"compute<{c_type}>"), (1,), (1,), np.empty(1, dtype), values)
    expected = FUNCTIONS[expression](*values.astype(float))
    np.testing.assert_allclose(out[0], expected, rtol=4 * np.finfo(dtype).eps)


def test_fma_rounds_once_and_products_are_not_fused(kernel):
    code = """extern "C" __global__ void compute(double *out, double x, double y) {
        out[0] = fma(x, x, y);
        out[1] = x * x + y;
    }"""
    x = 1 + 2.0**-30
    out = launch(kernel(code), (1,), (1,), np.empty(2), np.float64(x), np.float64(-1 - 2.0**-29))
    np.testing.assert_array_equal(out, [2.0**-60, 0])


def test_extremes_pass_over_nan_and_take_cuda_s_pairs_of_types(kernel):
    code = """extern "C" __global__ void compute(double *out, double nan) {
        out[0] = max(nan, 1.0);
        out[1] = min(2.0f, nan);
        out[2] = max(-1, 1u) == 4294967295u;
        out[3] = min((long long)-5, (long long)threadIdx.x);
    }"""
    out = launch(kernel(code), (1,), (1,), np.empty(4), np.float64(np.nan))
    np.testing.assert_array_equal(out, [1, 2, 1, -5])


def test_bits(kernel):
    code = """extern "C" __global__ void compute(long long *out) {
        out[0] = __popc(0xf0f0u);
        out[1] = __popcll(~0ull);
        out[2] = __ffs(8);
        out[3] = __clz(1);
        out[4] = __umulhi(0x80000000u, 6u);
        out[5] = __umul64hi(1ull << 63, 6ull);
        out[6] = __float_as_int(1.0f);
        out[7] = __longlong_as_double(__double_as_longlong(3.0));
    }"""
    out = launch(kernel(code), (1,), (1,), np.empty(8, np.int64))
    np.testing.assert_array_equal(out, [8, 64, 4, 31, 3, 3, 0x3F800000, 3])


def test_vector_types(kernel):
    code = """extern "C" __global__ void swap(double *x) {
        double2 *pairs = reinterpret_cast<double2 *>(x);
        const double2 pair = pairs[threadIdx.x];
        pairs[threadIdx.x] = make_double2(pair.y, pair.x);
    }"""
    out = launch(kernel(code), (1,), (4,), np.arange(8.0))
    np.testing.assert_array_equal(out, [1, 0, 3, 2, 5, 4, 7, 6])


# ---------------------------------------------------------------------------------------- arguments


def test_every_kind_of_argument_arrives(kernel):
    code = """extern "C" __global__ void pass(double *out, const float *x, bool flag, int i,
                                          unsigned char c, long long n, float f, const double d) {
        out[0] = x[0];
        out[1] = flag;
        out[2] = i;
        out[3] = c;
        out[4] = n;
        out[5] = f;
        out[6] = d;
    }"""
    values = (np.float32([1.5]), np.True_, np.int32(-3), np.uint8(200), np.int64(2**40))
    out = launch(kernel(code), (1,), (1,), np.empty(7), *values, np.float32(0.25), np.float64(0.1))
    np.testing.assert_array_equal(out, [1.5, 1, -3, 200, 2**40, 0.25, 0.1])


def test_null_pointers_and_empty_arrays(kernel):
    code = """extern "C" __global__ void check(int *out, const double *x, double *y) {
        out[0] = x == nullptr;
        out[1] = y == nullptr;
    }"""
    out = launch(kernel(code), (1,), (1,), np.empty(2, np.int32), np.int64(0), np.empty(0))
    np.testing.assert_array_equal(out, [1, 0])


def test_read_only_arrays_are_passed_as_const(kernel):
    x = np.arange(3.0)
    x.flags.writeable = False
    code = 'extern "C" __global__ void copy(double *o, const double *x) { *o = x[2]; }'
    assert launch(kernel(code), (1,), (1,), np.empty(1), x)[0] == 2
