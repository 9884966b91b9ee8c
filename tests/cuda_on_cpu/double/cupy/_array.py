"""The array: NumPy's, in the memory of a device, and nowhere mixed with arrays of the host.

Whatever gives a number or an array to the host waits for the GPU, and is counted. Arrays of another
device than the current one are refused, but for views and copies of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from cuda_on_cpu import observation

from cupy import _device
from cupy._memory import Memory, MemoryPointer, allocate
from cupy._signatures import METHODS, bind

IMPLICIT = "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct "


class Flags:
    """How an array lies in memory."""

    def __init__(self, array: np.ndarray, owndata: bool):
        self.c_contiguous = array.flags.c_contiguous
        self.f_contiguous = array.flags.f_contiguous
        self.owndata = owndata

    def __getitem__(self, name: str) -> bool:
        return getattr(self, name.lower())

    @property
    def forc(self) -> bool:
        """Whether the elements are contiguous in one order or the other."""
        return self.c_contiguous or self.f_contiguous


class ndarray:
    """An array on a device."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("__weakref__", "_host", "_memory", "base")

    base: ndarray | None
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    size: int
    nbytes: int
    ndim: int
    itemsize: int

    def __init__(
        self,
        shape: Any,
        dtype: Any = float,
        memptr: MemoryPointer | None = None,
        strides: Any = None,
        order: str = "C",
    ):
        if memptr is not None or strides is not None:
            raise NotImplementedError("the double makes arrays of new memory only")
        shape = tuple(shape) if np.iterable(shape) else (shape,)
        dtype = np.dtype(dtype)
        self._memory = allocate(math.prod(map(operator.index, shape)) * dtype.itemsize)
        self._host = np.ndarray(shape, dtype, self._memory.bytes, order=order or "C")  # type: ignore[arg-type]
        self.base = None

    # ------------------------------------------------------------------------- what it is made of

    @property
    def device(self) -> _device.Device:
        """The device it is on."""
        return _device.Device(self._memory.device)

    @property
    def data(self) -> MemoryPointer:
        """Its address."""
        return MemoryPointer(self._memory, self._host.ctypes.data - self._memory.bytes.ctypes.data)

    @property
    def flags(self) -> Flags:
        """How it lies in memory."""
        return Flags(self._host, self.base is None)

    @property
    def T(self) -> ndarray:
        """It with the axes in reverse order."""
        return view(self, self._host.T)

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        """Return the same memory, of another type if one is given."""
        return view(self, self._host.view() if dtype is None else self._host.view(dtype))

    # ------------------------------------------------------------------------------------ elements

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, slices: Any) -> ndarray:
        if has_mask(slices):
            observation.synchronize("indexing with a mask")
        parts = slices if isinstance(slices, tuple) else (slices,)
        if not any(part is Ellipsis for part in parts):
            parts = (*parts, Ellipsis)  # or a single element would be a copy
        return wrap(self._host[host_operands(parts)], self)

    def __setitem__(self, slices: Any, value: Any) -> None:
        check_devices(self)
        with np.errstate(all="ignore"):
            self._host[host_operands(slices)] = host_operands(value)

    # --------------------------------------------------------------------------------- to the host

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise TypeError(IMPLICIT + "a NumPy array explicitly.")

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> np.ndarray:
        """Return a copy in the memory of the host."""
        observation.synchronize("ndarray.get")
        if out is None:
            return self._host.copy(order)  # type: ignore[arg-type]
        if not isinstance(out, np.ndarray):
            raise TypeError("Only numpy.ndarray can be obtained from cupy.ndarray")
        out[...] = self._host
        return out

    def set(self, arr: np.ndarray, stream: Any = None) -> None:
        """Copy an array of the host into this one."""
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.shape != self.shape or arr.dtype != self.dtype:
            raise ValueError("the array must have the same shape and type")
        self._host[...] = arr

    def item(self) -> Any:
        """Return the only element as a Python number."""
        observation.synchronize("ndarray.item")
        return self._host.item()

    def tolist(self) -> Any:
        """Return the elements as nested lists."""
        observation.synchronize("ndarray.tolist")
        return self._host.tolist()

    def tobytes(self, order: str = "C") -> bytes:
        """Return the elements as bytes."""
        observation.synchronize("ndarray.tobytes")
        return self._host.tobytes(order)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        observation.synchronize("bool(ndarray)")
        return bool(self._host)

    def __int__(self) -> int:
        observation.synchronize("int(ndarray)")
        return int(self._host)

    def __float__(self) -> float:
        observation.synchronize("float(ndarray)")
        return float(self._host)

    def __complex__(self) -> complex:
        observation.synchronize("complex(ndarray)")
        return complex(self._host)

    def __repr__(self) -> str:
        observation.synchronize("repr(ndarray)")
        return repr(self._host)

    def __str__(self) -> str:
        observation.synchronize("str(ndarray)")
        return str(self._host)

    def __format__(self, format_spec: str) -> str:
        observation.synchronize("format(ndarray)")
        return format(self._host, format_spec)

    def __reduce__(self) -> Any:
        return from_host, (self.get(),)

    # -------------------------------------------------------------------------------------- copies

    def copy(self, order: str = "C") -> ndarray:
        """Return a copy on the current device."""
        return from_host(self._host, order=order)

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        with self.device:
            return self.copy()

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: Any = None,
        subok: Any = None,
        copy: bool = True,
    ) -> ndarray:
        """Return the elements converted; itself if that is nothing to do and `copy` is False."""
        check_devices(self)
        if casting is not None or subok is not None:
            raise NotImplementedError("the double converts by any casting")
        with np.errstate(all="ignore"):
            result = self._host.astype(dtype, order, copy=copy)  # type: ignore[call-overload]
        return self if result is self._host else wrap(result, self)

    def reshape(self, *shape: Any, order: str = "C") -> ndarray:
        """Return the elements in another shape, without a copy where that can be."""
        return wrap(self._host.reshape(*shape, order=order), self)  # type: ignore[call-overload]

    def transpose(self, *axes: Any) -> ndarray:
        """Return it with the axes in another order."""
        return view(self, self._host.transpose(*axes))

    def fill(self, value: Any) -> None:
        """Set all elements."""
        self[...] = value

    def sort(self, axis: int = -1) -> None:
        """Sort in place."""
        check_devices(self)
        self._host.sort(axis)

    # ---------------------------------------------------------------------------- NumPy's functions

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        import cupy

        function = getattr(cupy, ufunc.__name__, None)
        if method != "__call__" or function is None:
            return NotImplemented
        if isinstance(kwargs.get("out"), tuple):
            (kwargs["out"],) = kwargs["out"]
        return function(*inputs, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        import cupy

        function = getattr(cupy, func.__name__, None)
        if function is None or not all(issubclass(other, ndarray) for other in types):
            return NotImplemented
        return function(*args, **kwargs)


ndarray.__module__ = "cupy"


# ------------------------------------------------------------------------------ attributes, methods


def make_attribute(name: str) -> property:
    """Return an attribute that is the same as NumPy's."""
    return property(lambda self: getattr(self._host, name), doc=f"As numpy.ndarray.{name}.")


def make_method(name: str) -> Any:
    """Return a method that computes what NumPy's does, with the parameters of CuPy's."""

    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = bind(METHODS[name], name, args, kwargs)
        return compute(getattr(np.ndarray, name), self, *args, **kwargs)

    method.__name__ = name
    return method


def make_operator(name: str) -> Any:
    """Return an operator; what it does not know, it refuses as CuPy does."""
    function = getattr(operator, name)

    def method(self: ndarray, *others: Any) -> Any:
        return compute(function, self, *others)

    return method


def make_reflected(name: str) -> Any:
    """Return an operator for an array on the right hand side."""
    function = getattr(operator, name)

    def method(self: ndarray, other: Any) -> Any:
        return compute(function, other, self)

    return method


def make_in_place(name: str) -> Any:
    """Return an operator that keeps its result in the array."""
    function = getattr(operator, name)

    def method(self: ndarray, other: Any) -> ndarray:
        check_devices(self)
        with np.errstate(all="ignore"):
            function(self._host, host_operands(other))
        return self

    return method


UNARY = ("neg", "pos", "abs", "invert")
COMPARISONS = ("lt", "le", "eq", "ne", "ge", "gt")
BINARY = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
    *("and", "or", "xor", "lshift", "rshift"),
)
for stem in ("shape", "strides", "dtype", "size", "nbytes", "ndim", "itemsize"):
    setattr(ndarray, stem, make_attribute(stem))
for stem in METHODS:
    setattr(ndarray, stem, make_method(stem))
for stem in (*UNARY, *COMPARISONS, *BINARY):
    setattr(ndarray, f"__{stem}__", make_operator(f"__{stem}__"))
for stem in BINARY:
    setattr(ndarray, f"__r{stem}__", make_reflected(f"__{stem}__"))
for stem in set(BINARY) - {"matmul"}:
    setattr(ndarray, f"__i{stem}__", make_in_place(f"__i{stem}__"))


# -------------------------------------------------------------------------- between host and device


def check_devices(*values: Any) -> None:
    """Raise ValueError for an array of another device than the current one."""
    for value in values:
        if isinstance(value, ndarray) and value._memory.device != _device.current():
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {value._memory.device} while current = {_device.current()}"
            )


def host_operands(value: Any) -> Any:
    """Return what NumPy is to compute with; arrays of the host are refused."""
    if isinstance(value, ndarray):
        check_devices(value)
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if type(value) in (tuple, list):
        return type(value)(host_operands(item) for item in value)
    return value


def device_arrays(value: Any) -> Iterator[ndarray]:
    """Give all arrays in a value."""
    if isinstance(value, ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from device_arrays(item)


def has_mask(slices: Any) -> bool:
    """Whether an index is or has an array of bools, so that its result has an unknown shape."""
    return any(array.dtype == bool for array in device_arrays(slices))


def compute(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what NumPy's function gives for arrays on the current device."""
    arrays = list(device_arrays((args, list(kwargs.values()))))
    args = host_operands(args)
    kwargs = {name: host_operands(value) for name, value in kwargs.items()}
    with np.errstate(all="ignore"):
        result = function(*args, **kwargs)
    if result is NotImplemented:
        return result
    for array in arrays:
        if result is array._host:  # it was given as `out`
            return array
    return wrap(result, *arrays)


def wrap(result: Any, *arrays: ndarray) -> Any:
    """Return NumPy's result as a view of one of the arrays it is of, or in new memory."""
    if isinstance(result, (tuple, list)):
        return type(result)(wrap(item, *arrays) for item in result)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    result = np.asarray(result)
    for array in arrays:
        if result.base is not None and np.may_share_memory(result, array._memory.bytes):
            return view(array, result)
    check_devices(*arrays)
    return from_host(result, order="K")


def view(array: ndarray, host: np.ndarray) -> ndarray:
    """Return an array of the same memory."""
    result = object.__new__(ndarray)
    result._memory, result._host = array._memory, host
    result.base = array if array.base is None else array.base
    return result


def from_host(host: np.ndarray, order: str = "C") -> ndarray:
    """Return a copy in new memory on the current device."""
    is_fortran = order == "F" or (
        order in "AK" and host.flags.f_contiguous and not host.flags.c_contiguous
    )
    if order == "K" and not host.flags.forc:
        # In the order of the strides, as NumPy copies.
        axes = sorted(range(host.ndim), key=lambda axis: -abs(host.strides[axis]))
        result = ndarray([host.shape[axis] for axis in axes], host.dtype).transpose(
            *np.argsort(axes)
        )
        result.base = None
    else:
        result = ndarray(host.shape, host.dtype, order="F" if is_fortran else "C")
    result._host[...] = host
    return result


def memory_of(array: ndarray) -> Memory:
    """Return the memory that an array is in."""
    return array._memory
