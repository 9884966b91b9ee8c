"""Kernels: compiled and launched by the executor, with the arguments as CuPy passes them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from cuda_on_cpu import executor, observation
from cuda_on_cpu.compiler import CompilerError

from cupy import _device
from cupy._array import check_devices, memory_of, ndarray
from cupy.cuda import compiler, driver

# What CuPy passes as they are. Of other Python numbers it makes int64 and float64; bool, too, is
# an int there.
NUMBERS = tuple(np.dtype(code).type for code in "?bhilqBHILQefd")


@functools.cache
def load(code: str, options: tuple[str, ...], names: tuple[str, ...]) -> executor.Module:
    """Return the compiled source."""
    try:
        return executor.Module(code, options, names)
    except (CompilerError, ValueError) as error:
        raise compiler.CompileException(str(error), code, "kernel.cu", options) from None


# What each device lets each kernel have, where it was told.
dynamic_limits: dict[tuple[Any, ...], int] = {}


class RawKernel:
    """A kernel, compiled when it is first used."""

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        *,
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        jitify: bool = False,
    ):
        if translate_cucomplex or enable_cooperative_groups or jitify or backend != "nvrtc":
            raise NotImplementedError("the double knows code and options only")
        check_source(code, options)
        self.code, self.name, self.options, self.backend = code, name, options, backend
        self.name_expressions: tuple[str, ...] | None = None

    @property
    def kernel(self) -> executor.Function:
        """The compiled kernel."""
        module = load(self.code, self.options, self.name_expressions or ())
        if self.name not in module.functions:
            raise driver.CUDADriverError(
                f"CUDA_ERROR_NOT_FOUND: named symbol not found: {self.name} (kernels are found by "
                'their name if they are extern "C", else by one of the name_expressions)'
            )
        return module.functions[self.name]

    def compile(self, log_stream: Any = None) -> None:
        """Compile it now."""
        _ = self.kernel

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """How much dynamic shared memory a block may have, on the current device."""
        return dynamic_limits.get(self._key(), executor.SHARED_MEMORY)

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, bytes: int) -> None:
        if not 0 <= bytes <= executor.SHARED_MEMORY_OPT_IN:
            raise driver.CUDADriverError("CUDA_ERROR_INVALID_VALUE: invalid argument")
        dynamic_limits[self._key()] = bytes

    def _key(self) -> tuple[Any, ...]:
        return (self.code, self.options, self.name_expressions, self.name, _device.current())

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Any,
        *,
        shared_mem: int = 0,
        stream: Any = None,
    ) -> None:
        kernel = self.kernel
        for sizes, name in ((grid, "grid"), (block, "block")):
            if not isinstance(sizes, tuple):
                raise TypeError(f"{self.name}: {name} must be a tuple, not {type(sizes).__name__}")
            if not all(isinstance(size, (int, np.integer)) for size in sizes):
                raise TypeError(f"{self.name}: {name} must be integers, not {sizes}")
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise driver.CUDADriverError(
                f"CUDA_ERROR_INVALID_VALUE: {self.name}: {shared_mem} bytes of shared memory, "
                f"max_dynamic_shared_size_bytes is {self.max_dynamic_shared_size_bytes}"
            )
        values = [self._pass(number, value) for number, value in enumerate(args)]
        kernel(grid, block, values, shared_bytes=shared_mem)
        for number, value in enumerate(args):
            if isinstance(value, ndarray) and not memory_of(value).is_intact():
                raise executor.LaunchError(
                    f"{self.name}: memory was written before or behind argument {number}"
                )
        ptr = (_device.get_current_stream() if stream is None else stream).ptr
        observation.record(
            observation.Launch(self.name, grid, block, shared_mem, _device.current(), ptr)
        )

    def _pass(self, number: int, value: Any) -> Any:
        """Return an argument as the executor takes it; it compares it with the parameter."""
        if isinstance(value, ndarray):
            check_devices(value)
            return value._host
        if isinstance(value, np.ndarray):
            raise TypeError(f"{self.name}: argument {number} is an array on the host")
        if type(value) in NUMBERS:
            return value
        if isinstance(value, int):
            return np.int64(value)
        if isinstance(value, float):
            return np.float64(value)
        raise TypeError(f"{self.name}: argument {number}: Unsupported type {type(value)}")


class RawModule:
    """A source with kernels, compiled when one is first asked for."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ):
        if code is None or path is not None:
            raise NotImplementedError("the double compiles code only")
        if translate_cucomplex or enable_cooperative_groups or jitify or backend != "nvrtc":
            raise NotImplementedError("the double knows code, options and name_expressions only")
        check_source(code, options)
        self.code, self.options, self.backend = code, options, backend
        self.name_expressions = None if name_expressions is None else tuple(name_expressions)

    def compile(self, log_stream: Any = None) -> None:
        """Compile it now."""
        load(self.code, self.options, self.name_expressions or ())

    def get_function(self, name: str) -> RawKernel:
        """Return a kernel, by its name in C or by one of the name expressions as it was given."""
        kernel = RawKernel(self.code, name, self.options, self.backend)
        kernel.name_expressions = self.name_expressions
        kernel.compile()
        return kernel


def check_source(code: Any, options: Any) -> None:
    """Raise TypeError for what CuPy takes for neither a source nor options."""
    if not isinstance(code, str):
        raise TypeError(f"code must be a str, not {type(code).__name__}")
    if not isinstance(options, tuple):
        raise TypeError(f"options must be a tuple, not {type(options).__name__}")
