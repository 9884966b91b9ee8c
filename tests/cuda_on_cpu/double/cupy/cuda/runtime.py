"""Devices by number, as cupy.cuda.runtime has them."""

from __future__ import annotations

from typing import Any

from cuda_on_cpu import observation

from cupy import _device

__all__ = [
    "CUDARuntimeError",
    "deviceSynchronize",
    "getDevice",
    "getDeviceCount",
    "getDeviceProperties",
    "setDevice",
]


class CUDARuntimeError(RuntimeError):
    """An error of the runtime."""


def getDevice() -> int:
    """Return the number of the current device."""
    return _device.current()


def setDevice(device: int) -> None:
    """Make a device the current one."""
    _device.set_current(device)


def getDeviceCount() -> int:
    """Return how many devices there are."""
    return _device.COUNT


def getDeviceProperties(device: int) -> dict[str, Any]:
    """Return a few properties of a device."""
    return {
        "name": b"double",
        "multiProcessorCount": _device.ATTRIBUTES["MultiProcessorCount"],
        "sharedMemPerBlockOptin": _device.ATTRIBUTES["MaxSharedMemoryPerBlockOptin"],
        "major": 9,
        "minor": 0,
    }


def deviceSynchronize() -> None:
    """Wait for all that the current device was asked to do."""
    observation.synchronize("deviceSynchronize")
