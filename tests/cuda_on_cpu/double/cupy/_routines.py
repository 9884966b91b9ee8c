"""The functions of the double: NumPy's, on arrays of a device, with the parameters of CuPy's."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
from cuda_on_cpu import observation

from cupy._array import compute, device_arrays, from_host, host_operands, ndarray, wrap
from cupy._signatures import ELEMENTWISE, FUNCTIONS, bind

__all__ = [
    "arange",
    "array",
    "asarray",
    "ascontiguousarray",
    "asnumpy",
    "copyto",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "get_array_module",
    "linspace",
    "matmul",
    "may_share_memory",
    "ndim",
    "nonzero",
    "ones",
    "ones_like",
    "result_type",
    "shape",
    "shares_memory",
    "size",
    "zeros",
    "zeros_like",
]

# ----------------------------------------------------------------------------------------- creation


def empty(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return a new array of which the elements are undefined: NaN, or -1."""
    return ndarray(shape, dtype, order=order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C") -> ndarray:
    """Return a new array filled with one value."""
    if dtype is None:
        kind = fill_value if isinstance(fill_value, ndarray) else np.asarray(fill_value)
        dtype = kind.dtype
    result = empty(shape, dtype, order)
    result.fill(fill_value)
    return result


def zeros(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return a new array of zeros."""
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return a new array of ones."""
    return full(shape, 1, dtype, order)


def empty_like(
    prototype: Any, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """Return a new array of the same shape and type, of which the elements are undefined."""
    if not isinstance(prototype, ndarray):
        raise TypeError(f"Unsupported type {type(prototype)}")
    pattern = np.empty_like(prototype._host, dtype, order, shape=shape)
    result = from_host(pattern, order="K")
    result._memory.bytes.fill(0xFF)
    return result


def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: Any = None,
    shape: Any = None,
) -> ndarray:
    """Return a new array of the same shape and type, filled with one value."""
    result = empty_like(a, dtype, order, subok, shape)
    result.fill(fill_value)
    return result


def zeros_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """Return an array of zeros of the same shape and type."""
    return full_like(a, 0, dtype, order, subok, shape)


def ones_like(
    a: Any, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    """Return an array of ones of the same shape and type."""
    return full_like(a, 1, dtype, order, subok, shape)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> ndarray:
    """Return numbers at equal distances."""
    refuse_arrays("arange", start, stop, step)
    numbers = np.arange(0, start, step) if stop is None else np.arange(start, stop, step)
    return from_host(numbers if dtype is None else numbers.astype(dtype))


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> ndarray:
    """Return a number of numbers at equal distances."""
    refuse_arrays("linspace", start, stop)
    if retstep:
        raise NotImplementedError("the double's linspace does not return the step")
    return from_host(np.linspace(start, stop, num, endpoint, dtype=dtype, axis=axis))


def eye(N: int, M: Any = None, k: int = 0, dtype: Any = float, order: Any = "C") -> ndarray:
    """Return a matrix with ones on a diagonal."""
    return from_host(np.eye(N, M, k, dtype, order), order)


def refuse_arrays(name: str, *values: Any) -> None:
    """Raise TypeError for an array where a number is wanted: it would have to come to the host."""
    if any(isinstance(value, ndarray) for value in values):
        raise TypeError(f"cupy.{name} of a device's array waits for the GPU")


# ----------------------------------------------------------------------------- from and to the host


def array(
    obj: Any,
    dtype: Any = None,
    copy: bool = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    """Return an array on the current device, of what is on the host or a device."""
    if isinstance(obj, (list, tuple)) and any(True for _ in device_arrays(obj)):
        obj = FUNCTION_TABLE["stack"]([array(item, copy=False) for item in obj])
    if not isinstance(obj, ndarray):
        return from_host(np.array(obj, dtype, order=order, ndmin=ndmin), order)
    is_converted = dtype is not None and np.dtype(dtype) != obj.dtype
    is_moved = (order == "C" and not obj.flags.c_contiguous) or (
        order == "F" and not obj.flags.f_contiguous
    )
    result = obj
    if copy or is_converted or is_moved:
        # A copy on the current device, wherever the array is.
        result = from_host(obj._host if dtype is None else obj._host.astype(dtype), order)
    return result.reshape((1,) * (ndmin - result.ndim) + result.shape) if ndmin else result


def asarray(a: Any, dtype: Any = None, order: Any = None, *, blocking: bool = False) -> ndarray:
    """Return an array on a device: the same, if it is one already."""
    return array(a, dtype, copy=False, order=order or "K", blocking=blocking)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    """Return an array on a device in C order, of at least one dimension."""
    return array(a, dtype, copy=False, order="C", ndmin=1)


def asnumpy(
    a: Any, stream: Any = None, order: Any = "C", out: Any = None, *, blocking: bool = True
) -> np.ndarray:
    """Return a copy in the memory of the host."""
    if isinstance(a, ndarray):
        return a.get(stream, order, out)
    return np.asarray(a, order=order)


def get_array_module(*args: Any) -> ModuleType:
    """Return cupy if any of the arguments is an array on a device, else numpy."""
    return sys.modules["cupy" if any(isinstance(arg, ndarray) for arg in args) else "numpy"]


# -------------------------------------------------------------------------------------- computation


def make_function(name: str) -> Any:
    """Return a function that computes what NumPy's does, with the parameters of CuPy's."""

    def function(*args: Any, **kwargs: Any) -> Any:
        positional, keywords = bind(FUNCTIONS[name], name, args, kwargs)
        if not any(True for _ in device_arrays((positional, list(keywords.values())))):
            raise TypeError(f"cupy.{name} needs an array on a device")
        if name == "where" and keywords:
            positional, keywords = [*positional, keywords["x"], keywords["y"]], {}
        elif name == "where":
            observation.synchronize("cupy.where of a condition alone")
        return compute(getattr(np, name), *positional, **keywords)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numpy.{name}."
    return function


class ElementwiseFunction:
    """A function of each element, which CuPy calls a ufunc."""

    def __init__(self, name: str):
        self.__name__ = name
        self.function = getattr(np, name)
        self.nin = self.function.nin

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.nin <= len(args) <= self.nin + 1:
            raise TypeError(f"cupy.{self.__name__} takes {self.nin} arrays and the result")
        if len(args) > self.nin:
            kwargs["out"] = args[-1]
        unknown = set(kwargs) - {"out", "dtype", "casting"}
        if unknown:
            raise TypeError(f"cupy.{self.__name__} has no parameter {unknown.pop()}")
        return compute(self.function, *args[: self.nin], **kwargs)

    def __repr__(self) -> str:
        return f"<ufunc '{self.__name__}'>"


FUNCTION_TABLE = {name: make_function(name) for name in FUNCTIONS} | {
    name: ElementwiseFunction(name) for name in ELEMENTWISE
}


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """Return the product of matrices."""
    return compute(np.matmul, a, b) if out is None else compute(np.matmul, a, b, out=out)


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """Return the type that these have in common."""
    return np.result_type(*(host_operands(value) for value in arrays_and_dtypes))


def ndim(a: Any) -> int:
    """Return the number of axes."""
    return np.ndim(host_operands(a))


def shape(a: Any) -> tuple[int, ...]:
    """Return the sizes of the axes."""
    return np.shape(host_operands(a))


def size(a: Any, axis: Any = None) -> int:
    """Return the number of elements."""
    return np.size(host_operands(a), axis)


def may_share_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    """Whether two arrays may overlap."""
    return np.may_share_memory(a._host, b._host)


def shares_memory(a: Any, b: Any, max_work: Any = None) -> bool:
    """Whether two arrays overlap."""
    return np.shares_memory(a._host, b._host)


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    """Copy elements into an array."""
    where = True if where is None else host_operands(where)
    np.copyto(host_operands(dst), host_operands(src), casting, where=where)  # type: ignore[arg-type]


def nonzero(a: ndarray) -> Any:
    """Return the indices of the elements that are not zero."""
    observation.synchronize("cupy.nonzero")
    return wrap(np.nonzero(host_operands(a)), a)
