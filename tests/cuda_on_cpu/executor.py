"""Launches CUDA kernels on NumPy arrays, on the CPU.

`Module` compiles a source, a `Function` launches one of its kernels. A launch passes arguments only
if they are what the kernel's parameters say, down to the size of each number: on a GPU nothing
checks or converts them.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from cuda_on_cpu.compiler import compile_kernels
from cuda_on_cpu.source import translate

MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_THREADS = 1024
# Of compute capability 9.0: what a block may have, and what it may if its kernel is allowed to.
SHARED_MEMORY, SHARED_MEMORY_OPT_IN = 48 << 10, 227 << 10

ORDERS = ("forward", "reverse", "shuffled")


class LaunchError(RuntimeError):
    """A launch is not possible, or a kernel has done what it must not."""


# ------------------------------------------------------------------------------------------- order


class Order(NamedTuple):
    """In which order blocks, warps and lanes run; `seed` is that of the shuffled order."""

    name: str = "forward"
    seed: int = 0


current_order = Order()


@contextlib.contextmanager
def launch_order(name: str, seed: int = 0) -> Iterator[None]:
    """Run kernels in this order: "forward", "reverse" or "shuffled"."""
    global current_order
    if name not in ORDERS:
        raise ValueError(f"the order must be one of {', '.join(ORDERS)}, not {name!r}")
    before, current_order = current_order, Order(name, seed)
    try:
        yield
    finally:
        current_order = before


# ----------------------------------------------------------------------------------------- modules


class Module:
    """A compiled source; `functions` are its kernels, by the names that CuPy finds them by."""

    def __init__(
        self, code: str, options: Sequence[str] = (), name_expressions: Sequence[str] = ()
    ):
        source, names = translate(code, name_expressions)
        file = compile_kernels(source, macros(options))
        # PyDLL: there is one scheduler in a process, and no two threads may use it at once.
        self.library = ctypes.PyDLL(str(file))
        self.functions = {
            name: Function(self.library, number, name) for number, name in enumerate(names)
        }


def macros(options: Sequence[str]) -> list[str]:
    """Return those of NVRTC's options that define macros; the others have no meaning here."""
    for option in options:
        if not option.startswith("-"):
            raise ValueError(f"{option!r} is not an option of the compiler")
    return [option for option in options if option.startswith(("-D", "-U"))]


# ---------------------------------------------------------------------------------------- arguments


class Parameter(NamedTuple):
    """A parameter of a kernel: "in" and "out" are arrays, the former of const elements."""

    kind: str
    dtype: np.dtype

    def __str__(self) -> str:
        texts = {"in": "a const array", "out": "an array", "scalar": "a number"}
        return f"{texts[self.kind]} of {self.dtype}"


def what_is_wrong(argument: Any, parameter: Parameter) -> str | None:
    """Return what an argument is instead of what the parameter says, or None if it fits."""
    if is_null(argument) and parameter.kind != "scalar":
        return None
    is_array = isinstance(argument, np.ndarray)
    if not is_array and not isinstance(argument, np.generic):
        return f"a {type(argument).__name__}"
    if argument.dtype != parameter.dtype or is_array == (parameter.kind == "scalar"):
        return f"{'an array' if is_array else 'a number'} of {argument.dtype}"
    if is_array and not argument.flags.c_contiguous:
        return "an array that is not C-contiguous"
    if is_array and not argument.flags.writeable and parameter.kind == "out":
        return "a read-only array"
    return None


def is_null(argument: Any) -> bool:
    """Whether an argument is the null pointer: the integer 0 of a pointer's size."""
    return isinstance(argument, np.integer) and argument.itemsize == 8 and argument == 0


def value_of(argument: Any) -> np.ndarray:
    """Return an array of what the kernel gets: the address of an array, or the number."""
    if isinstance(argument, np.ndarray):
        return np.array(argument.ctypes.data, np.uintp)
    return np.array(argument)


# ----------------------------------------------------------------------------------------- launches


class Dimensions(ctypes.Structure):
    """Three sizes."""

    _fields_ = (("x", ctypes.c_uint), ("y", ctypes.c_uint), ("z", ctypes.c_uint))


class Launch(ctypes.Structure):
    """The struct Launch of scheduler.h."""

    _fields_ = (
        ("grid", Dimensions),
        ("block", Dimensions),
        ("dynamic_shared", ctypes.c_ulonglong),
        ("shared_limit", ctypes.c_ulonglong),
        ("seed", ctypes.c_ulonglong),
        ("order", ctypes.c_int),
    )


class Function:
    """A kernel, to be called with a grid, a block and its arguments."""

    def __init__(self, library: ctypes.CDLL, number: int, name: str):
        self.name = name
        self.run = getattr(library, f"launch_{number}")
        self.run.restype = ctypes.c_char_p
        describe = getattr(library, f"describe_{number}")
        describe.restype = ctypes.c_char_p
        lines = (line.split() for line in describe().decode().splitlines())
        self.parameters = [Parameter(kind, np.dtype(code)) for kind, code in lines]

    def __call__(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Any],
        *,
        shared_bytes: int = 0,
        order: Order | None = None,
    ) -> None:
        """Run the kernel on NumPy's arrays and scalars; for an array, an int64 of 0 is null."""
        order = order or current_order
        grid = self.check_sizes(grid, MAX_GRID, "grid")
        block = self.check_sizes(block, MAX_BLOCK, "block")
        if math.prod(block) > MAX_THREADS:
            raise LaunchError(f"{self.name}: more than {MAX_THREADS} threads in a block: {block}")
        if not 0 <= shared_bytes <= SHARED_MEMORY_OPT_IN:
            raise LaunchError(
                f"{self.name}: {shared_bytes} bytes of shared memory; "
                f"there are {SHARED_MEMORY_OPT_IN}"
            )
        self.check_arguments(arguments)
        values = [value_of(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        launch = Launch(
            Dimensions(*grid),
            Dimensions(*block),
            shared_bytes,
            SHARED_MEMORY_OPT_IN,
            order.seed,
            ORDERS.index(order.name),
        )
        error = self.run(ctypes.byref(launch), pointers)
        if error:
            raise LaunchError(f"{self.name}: {error.decode()}")

    def check_sizes(
        self, sizes: Sequence[int], limits: Sequence[int], name: str
    ) -> tuple[int, ...]:
        """Return three sizes, each at least 1 and at most its limit."""
        if not 1 <= len(sizes) <= 3:
            raise LaunchError(f"{self.name}: the {name} must have one to three sizes, not {sizes}")
        sizes = (*sizes, 1, 1)[:3]
        if not all(1 <= size <= limit for size, limit in zip(sizes, limits, strict=True)):
            raise LaunchError(
                f"{self.name}: the {name} must be from (1, 1, 1) to {limits}, not {sizes}"
            )
        return sizes

    def check_arguments(self, arguments: Sequence[Any]) -> None:
        """Raise TypeError unless the arguments are what the parameters say."""
        if len(arguments) != len(self.parameters):
            raise TypeError(
                f"{self.name}: {len(arguments)} arguments for {len(self.parameters)} parameters"
            )
        for number, parameter in enumerate(self.parameters):
            given = what_is_wrong(arguments[number], parameter)
            if given:
                raise TypeError(f"{self.name}: argument {number} must be {parameter}, not {given}")
