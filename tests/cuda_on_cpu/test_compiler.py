"""The compiler: what it makes is kept, by several processes at once, and its errors are told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuda_on_cpu.executor import Module

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys
import numpy as np
from cuda_on_cpu.executor import Module

code = '''template <typename T> __global__ void fill(T *x, int seed) {
    __shared__ T value;
    if (threadIdx.x == 0) value = seed;
    __syncthreads();
    x[threadIdx.x] = __shfl_sync(0xffffffffu, value, 0);
}'''
x = np.zeros(64)
Module(code, (), ("fill<double>",)).functions["fill<double>"]((1,), (64,), (x, np.int32(7)))
assert (x == 7).all(), x
"""


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that compiles a kernel and runs it."""
    variables = {name: value for name, value in os.environ.items() if name != "CUDA_ON_CPU_FLAGS"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**variables, "PYTHONPATH": os.fspath(TESTS), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(environment: dict[str, str]) -> tuple[int, str]:
    """Return how a process ends, and its errors."""
    process = start(environment)
    _, errors = process.communicate()
    return process.returncode, errors


def test_processes_may_compile_the_same_at_once(tmp_path):
    environment = {"CUDA_ON_CPU_CACHE": os.fspath(tmp_path / "new" / "folder")}
    processes = [start(environment) for _ in range(3)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    files = sorted(file.suffix for file in (tmp_path / "new" / "folder").iterdir())
    assert files == [".gch", ".h", ".so", ".so"]


def test_what_is_compiled_is_used_again_without_the_compiler(tmp_path):
    # A compiler that says which it is, and then compiles nothing.
    wrapper = tmp_path / "g++-wrapper"
    wrapper.write_text(
        '#!/bin/sh\n[ "$1" = --version ] || [ -z "$BROKEN" ] || exit 1\nexec g++ "$@"\n'
    )
    wrapper.chmod(0o755)
    environment = {"CUDA_ON_CPU_CACHE": os.fspath(tmp_path), "CUDA_ON_CPU_CXX": os.fspath(wrapper)}
    assert run(environment)[0] == 0
    assert run({**environment, "BROKEN": "1"})[0] == 0
    status, errors = run({**environment, "BROKEN": "1", "CUDA_ON_CPU_FLAGS": "-DOTHER"})
    assert status != 0
    assert "CompilerError" in errors


def test_threads_are_switched_by_swapcontext_elsewhere(tmp_path):
    flags = {
        "CUDA_ON_CPU_CACHE": os.fspath(tmp_path),
        "CUDA_ON_CPU_FLAGS": "-DCUDA_ON_CPU_UCONTEXT",
    }
    status, errors = run(flags)
    assert status == 0, errors


def test_a_missing_compiler_is_named(tmp_path):
    environment = {"CUDA_ON_CPU_CACHE": os.fspath(tmp_path), "CUDA_ON_CPU_CXX": "no-compiler"}
    status, errors = run(environment)
    assert status != 0
    assert "no-compiler is needed to run CUDA kernels on the CPU" in errors


def test_errors_name_the_line_of_the_kernel():
    code = '// first line\n\nextern "C" __global__ void k(int *x) { *x = unknown; }'
    with pytest.raises(RuntimeError, match=r"kernel\.cu:3:.*unknown"):
        Module(code)


def test_name_expressions_that_name_nothing_are_refused():
    code = "template <typename T> __global__ void k(T *x) { }"
    with pytest.raises(RuntimeError, match="other"):
        Module(code, (), ("other<int>",))


def test_options_define_macros_and_must_be_options():
    code = 'extern "C" __global__ void k(REAL *x) { }'
    function = Module(code, ("--std=c++17", "-DREAL=float")).functions["k"]
    assert function.parameters[0].dtype == "float32"
    with pytest.raises(ValueError, match="'REAL=float' is not an option"):
        Module(code, ("REAL=float",))
