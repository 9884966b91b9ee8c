"""What every operation does with its arguments before any work.

Which library the arrays belong to, which type they have, and errors that name the argument.
"""

import contextlib
import importlib
import operator
import sys
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or cupy.ndarray

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)


def is_cupy(value):
    """Whether `value` is a CuPy array; CuPy is not imported to find out."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def namespace(**arrays):
    """
    Return the array library, numpy or cupy, that the arguments belong to.

    Anything that is not a CuPy array counts as NumPy's; None and bools are left out.

    Raises
    ------
    TypeError
        If arrays of both are given.
    ValueError
        If CuPy arrays are on different devices.
    """
    if "cupy" not in sys.modules:
        return np
    arrays = {
        name: value
        for name, value in arrays.items()
        if value is not None and not isinstance(value, bool)
    }
    on_gpu = {name: is_cupy(value) for name, value in arrays.items()}
    if not any(on_gpu.values()):
        return np
    if not all(on_gpu.values()):
        there = ", ".join(name for name, cupy in on_gpu.items() if cupy)
        here = ", ".join(name for name, cupy in on_gpu.items() if not cupy)
        raise TypeError(
            f"all arrays must be of one library: {there} is CuPy's, but not {here}; "
            "move them with cupy.asarray or cupy.asnumpy"
        )
    devices = {name: value.device.id for name, value in arrays.items()}
    if len(set(devices.values())) > 1:
        places = ", ".join(f"{name} is on device {device}" for name, device in devices.items())
        raise ValueError(f"all arrays must be on one device, but {places}")
    return sys.modules["cupy"]


def namespace_of(array):
    """Return the library, numpy or cupy, of a checked array."""
    return np if isinstance(array, np.ndarray) else sys.modules["cupy"]


def device_of(array):
    """Return a context in which work goes to the device that a checked array is on."""
    return contextlib.nullcontext() if isinstance(array, np.ndarray) else array.device


def dispatch(array, kernel, function, *arguments) -> Any:
    """
    Call a function with the library of a checked array and what computes with its arrays.

    That is the compiled module `kernel`, or for CuPy the module beside it whose name ends in _cuda.
    """
    if isinstance(array, np.ndarray):
        return function(np, kernel, *arguments)
    with array.device:
        return function(sys.modules["cupy"], cuda_kernel(kernel), *arguments)


def cuda_kernel(kernel):
    """Return the module that stands in for a compiled one where arrays are CuPy's."""
    return importlib.import_module(f"{kernel.__name__}_cuda")


def real_array(value, name, dtype=None):
    """
    Return `value` as a float32 or float64 array in C order; integers and bools become float64.

    It is aligned and of the machine's byte order, too: what compiled code takes.

    With `dtype`, floating-point values must have that type already, and integers (and nested
    lists of any numbers) are converted to it.
    """
    given = getattr(value, "dtype", None)
    if type(value) is np.ndarray and (given is FLOAT64 or given is FLOAT32):
        array = value
    elif is_cupy(value):
        return real_cupy_array(value, name, dtype)
    else:
        array = converted_array(value, name, None if given is not None else dtype)
    if dtype is not None and array.dtype != dtype:
        if given is not None and given.kind == "f":
            raise TypeError(f"{name} must be {dtype}, as the other arrays are, not {given}")
        array = array.astype(dtype)
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, requirements=["C", "A"])


def real_cupy_array(value, name, dtype):
    """Do for a CuPy array what `real_array` does."""
    if value.dtype.kind in "biu":
        dtype = dtype or FLOAT64
    elif value.dtype not in (FLOAT32, FLOAT64):
        raise TypeError(f"{name} must be float32, float64 or integers, not {value.dtype}")
    elif dtype is not None and value.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, as the other arrays are, not {value.dtype}")
    with value.device:
        array = sys.modules["cupy"].ascontiguousarray(value, dtype)
        return array.reshape(value.shape)  # a number without axes may have got one


def converted_array(value, name, dtype):
    """Return what is not yet a native float32 or float64 array as one, of `dtype` if given."""
    array = numpy_array(value, name)
    if array.dtype.kind in "biu":
        return array.astype(dtype or FLOAT64)
    if array.dtype.kind == "f" and array.dtype.itemsize in (4, 8):
        return array.astype(dtype or array.dtype.newbyteorder("="), copy=False)
    raise TypeError(f"{name} must be float32, float64 or integers, not {array.dtype}")


def integer_array(value, name, allowed="integers"):
    """Return `value` as a NumPy array of integers of any type; CuPy arrays are refused."""
    if is_cupy(value):
        raise TypeError(
            f"{name} must be on the host, as {allowed} or a NumPy array, for it is checked there; "
            "use cupy.asnumpy"
        )
    array = numpy_array(value, name)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be {allowed}, not {array.dtype}")
    return array


def numpy_array(value, name):
    """Return `value` as a NumPy array of any type."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: masked values have no meaning here")
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} cannot be made a NumPy array: {error}") from error


def integer(value, name, lowest, highest):
    """Return `value` as an int between two bounds, both included."""
    if type(value) is not int:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be an integer, not a bool")
        try:
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if not lowest <= value <= highest:
        raise ValueError(f"{name} must be between {lowest} and {highest}, not {value}")
    return value


def boolean(value, name):
    """Return `value` as a bool."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    raise TypeError(f"{name} must be True or False, not {value!r}")


def check_broadcast(array, shape, name, allowed):
    """Raise ValueError unless `array` broadcasts to `shape`, which `allowed` describes."""
    fits = array.ndim <= len(shape) and all(
        size in (1, wanted) for size, wanted in zip(array.shape[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"{name} must have a shape that broadcasts to {allowed} = {shape}, not {array.shape}"
        )


def check_residuals(residuals, kind):
    """Raise TypeError unless the residuals are of the kind that the forward function returns."""
    if not isinstance(residuals, kind):
        raise TypeError(f"residuals must be {kind.__name__}, not {type(residuals).__name__}")


def grad_array(grad, shape, dtype, what="the result"):
    """Return `grad` as an array of this type, and of this shape, which is that of `what`."""
    grad = real_array(grad, "grad", dtype)
    if grad.shape != shape:
        raise ValueError(f"grad must have the shape of {what}, {shape}, not {grad.shape}")
    return grad


def broadcast(array, shape):
    """Return `array` broadcast to `shape` in C order."""
    if array.shape == shape:
        return array
    xp = namespace_of(array)
    return xp.ascontiguousarray(xp.broadcast_to(array, shape))


def sum_to_shape(array, shape):
    """Return the adjoint of broadcasting from `shape`: sums over the axes that were repeated."""
    extra = array.ndim - len(shape)
    array = array.sum(axis=tuple(range(extra))) if extra else array
    repeated = tuple(i for i, size in enumerate(shape) if size == 1 and array.shape[i] != 1)
    return array.sum(axis=repeated, keepdims=True) if repeated else array


def empty(xp, shape, dtype, name):
    """Return a new array, or raise ValueError if none can have this shape."""
    try:
        return xp.empty(shape, dtype)
    except ValueError as error:
        raise ValueError(f"{name} would have the shape {shape}: {error}") from None
