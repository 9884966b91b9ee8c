"""Bugs of kernels that the compiler's sanitizers find, each in a process of its own.

Those with the marker ``races`` are found by ThreadSanitizer.
"""

from __future__ import annotations

import re

import pytest

from cuda_on_cpu import sanitizing

pytestmark = pytest.mark.cuda_on_cpu

CODE = """\
#define BLOCK 64
template <typename T> static __device__ T block_sum(T value) {
    __shared__ T part[2];
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
    __syncthreads();
    value = part[0] + part[1];
    __syncthreads();
    return value;
}
extern "C" __global__ void right(double *x, long long n, unsigned *ended) {
    extern __shared__ double dynamic[];
    __shared__ double fixed[BLOCK];
    dynamic[threadIdx.x] = fixed[threadIdx.x] = x[threadIdx.x % n];
    __syncthreads();
    for (int i = 0; i < 3; ++i) {
        const double other = dynamic[(threadIdx.x + 1) % BLOCK] + fixed[threadIdx.x ^ 1];
        __syncthreads();
        dynamic[threadIdx.x] = block_sum(other);
        __syncwarp();
        fixed[threadIdx.x ^ 2] = dynamic[threadIdx.x ^ 3];
        __syncwarp();
        __syncthreads();
    }
    if (threadIdx.x) return;
    atomicAdd(x + n, dynamic[0]);
    __threadfence();
    if (atomicAdd(ended, 1) < gridDim.x - 1) return;
    __threadfence();
    x[n] *= 2;
}
"""
# A kernel with a bug, in its line 6.
PATTERN = """
extern "C" __global__ void NAME(double *x, long long n, unsigned *ended) {
    extern __shared__ double dynamic[];
    __shared__ double fixed[BLOCK];
    const int i = threadIdx.x;
    fixed[i] = dynamic[i] = i; __syncthreads(); BUG
}
"""
OVERRUNS = {
    "read of static shared memory": ("x[0] = *(fixed + BLOCK);", "use-after-poison"),
    "write to static shared memory": ("*(fixed - 1) = i;", "use-after-poison"),
    "read of dynamic shared memory": ("x[0] = dynamic[BLOCK];", "use-after-poison"),
    "write to dynamic shared memory": ("dynamic[-1] = i;", "use-after-poison"),
    "read of global memory": ("fixed[i] = x[n + 1];", "heap-buffer-overflow"),
    "read far beyond": ("fixed[i] = x[n + 2];", "heap-buffer-overflow"),
    "write to global memory": ("x[n + 1] = i;", "heap-buffer-overflow"),
    "write before global memory": ("x[-1] = i;", "heap-buffer-overflow"),
    "local array": (
        "double local[4]; local[i % 5] = x[0]; x[1] = local[i % 3];",
        "index 4 out of b",
    ),
    "overflow of an integer": ("x[0] = (i + 2147483647) + 1;", "signed integer overflow"),
    "shift too far": ("x[0] = 1 << (i + 32);", "shift exponent"),
    "index of an array": ("x[0] = fixed[BLOCK + i];", "index 64 out of bounds"),
    "null pointer": ("x = nullptr; x[i] = 1;", "null pointer"),
}


RACES = {
    "block, shared memory": "fixed[i] = fixed[BLOCK - 1 - i] + 1;",
    "block, global memory": "x[i % n] = i;",
    "warp": "fixed[i] += 1; __syncwarp(); x[n] = fixed[i ^ 32];",
    "lanes": "dynamic[i ^ 1] += fixed[i]; if (i == 0) x[n] = dynamic[i];",
    "lanes after a shuffle": "fixed[i] = __shfl_sync(~0u, i, 0); dynamic[i] = fixed[i ^ 1];",
    "lanes of other masks": "fixed[i] = 1; __syncwarp(3u << (i & 30)); dynamic[i] = fixed[i ^ 2];",
    "blocks": "if (i == 0) x[0] += 1;",
    "blocks, after all": "if (i == 0) x[blockIdx.x] = 1; __syncthreads(); if (i == 0) x[3] = x[0];",
    "atomic and not": "if (i == 0) atomicAdd(x, 1.0); if (i == 40) x[0] = 0;",
}


SCRIPT = """
import sys
import numpy as np
import cuda_on_cpu
cupy = cuda_on_cpu.activate()

name, code = sys.argv[1:]
kernel = cupy.RawModule(code=code).get_function(name)
for order in cuda_on_cpu.ORDERS:
    with cuda_on_cpu.launch_order(order):
        x = cupy.zeros(5)
        kernel((3,), (64,), (x, 4, cupy.zeros(1, np.uint32)), shared_mem=64 * 8)
print("end", np.isfinite(x.get()).all())
"""


def run(sanitizer, name, bugs):
    """Run a kernel of a module that has all the bugs, each in a kernel called bug0, bug1, ...."""
    reason = sanitizing.unavailable(sanitizer)
    if reason:
        pytest.skip(reason)
    kernels = [
        PATTERN.replace("NAME", f"bug{number}").replace("BUG", bug)
        for number, bug in enumerate(bugs)
    ]
    return sanitizing.run(sanitizer, SCRIPT, name, CODE + "".join(kernels))


def check_found(sanitizer, number, bugs, report):
    """Check that the process with a bug ends by a report about its line."""
    process = run(sanitizer, f"bug{number}", bugs)
    line = CODE.count("\n") + number * PATTERN.count("\n") + 6
    assert process.returncode != 0, process.stdout
    assert re.search(report, process.stderr), process.stderr
    assert f"kernel.cu:{line}" in process.stderr, process.stderr


@pytest.mark.parametrize("sanitizer", ["address", pytest.param("thread", marks=pytest.mark.races)])
def test_a_kernel_without_a_bug_passes(sanitizer):
    process = run(sanitizer, "right", [])
    assert process.returncode == 0, process.stderr
    assert "Sanitizer" not in process.stderr
    assert process.stdout == "end True\n"


@pytest.mark.parametrize("bug", OVERRUNS)
def test_address_and_undefined_behaviour(bug):
    bugs = [statement for statement, _ in OVERRUNS.values()]
    check_found("address", list(OVERRUNS).index(bug), bugs, OVERRUNS[bug][1])


@pytest.mark.races
@pytest.mark.parametrize("bug", RACES)
def test_races(bug):
    number = list(RACES).index(bug)
    check_found("thread", number, list(RACES.values()), "ThreadSanitizer: data race")
