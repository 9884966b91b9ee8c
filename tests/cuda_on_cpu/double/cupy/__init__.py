"""A double of CuPy for machines without a GPU: what the library calls of it, and no more.

It is stricter than NumPy, as a GPU is. Arrays never become NumPy's by themselves, and never mix
with them; a sum is an array, too; new memory is full of NaN; arrays belong to one of two devices;
CuPy's functions have CuPy's parameters only. Kernels run by the executor of cuda_on_cpu. What CuPy
would wait for the GPU for is counted by cuda_on_cpu.observation, or refused. Launches are done when
the call returns: that something forgets to wait for a stream cannot be seen here.
"""

import typing as _typing

import numpy as _numpy

from cupy import _routines
from cupy import cuda as cuda
from cupy._array import ndarray as ndarray
from cupy._memory import pool as _pool
from cupy._raw import RawKernel as RawKernel
from cupy._raw import RawModule as RawModule
from cupy._routines import *  # noqa: F403

__version__ = "13.6.0+double"
is_double = True

bool_ = _numpy.bool_
int8, int16, int32, int64 = _numpy.int8, _numpy.int16, _numpy.int32, _numpy.int64
uint8, uint16, uint32, uint64 = _numpy.uint8, _numpy.uint16, _numpy.uint32, _numpy.uint64
intp, uintp = _numpy.intp, _numpy.uintp
float16, float32, float64 = _numpy.float16, _numpy.float32, _numpy.float64
dtype, finfo, iinfo = _numpy.dtype, _numpy.finfo, _numpy.iinfo
inf, nan, pi, newaxis = _numpy.inf, _numpy.nan, _numpy.pi, _numpy.newaxis


def get_default_memory_pool() -> cuda.MemoryPool:
    """Return the pool that memory is taken from."""
    return _pool


globals().update(_routines.FUNCTION_TABLE)
if _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any: ...
