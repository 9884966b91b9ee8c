"""Devices, streams and memory, as cupy.cuda has them."""

from cupy._device import Device, Stream, get_current_stream
from cupy.cuda import compiler, driver, memory, runtime
from cupy.cuda.memory import MemoryPointer, MemoryPool

__all__ = [
    "Device",
    "MemoryPointer",
    "MemoryPool",
    "Stream",
    "compiler",
    "driver",
    "get_current_stream",
    "get_device_id",
    "is_available",
    "memory",
    "runtime",
]


def is_available() -> bool:
    """Whether there is a device: there is, of the double's."""
    return True


def get_device_id() -> int:
    """Return the number of the current device."""
    return runtime.getDevice()
