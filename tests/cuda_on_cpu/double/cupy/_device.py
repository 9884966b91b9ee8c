"""Devices and streams, of which each thread of the host has a current one."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from cuda_on_cpu import executor, observation

COUNT = 2
MEMORY = 4 << 30  # bytes; the host must have them

# Those of an H100, but for few multiprocessors: what depends on their number works with any.
ATTRIBUTES = {
    "ComputeCapabilityMajor": 9,
    "ComputeCapabilityMinor": 0,
    "MaxBlockDimX": executor.MAX_BLOCK[0],
    "MaxBlockDimY": executor.MAX_BLOCK[1],
    "MaxBlockDimZ": executor.MAX_BLOCK[2],
    "MaxGridDimX": executor.MAX_GRID[0],
    "MaxGridDimY": executor.MAX_GRID[1],
    "MaxGridDimZ": executor.MAX_GRID[2],
    "MaxRegistersPerBlock": 65536,
    "MaxSharedMemoryPerBlock": executor.SHARED_MEMORY,
    "MaxSharedMemoryPerBlockOptin": executor.SHARED_MEMORY_OPT_IN,
    "MaxSharedMemoryPerMultiprocessor": 228 << 10,
    "MaxThreadsPerBlock": executor.MAX_THREADS,
    "MaxThreadsPerMultiProcessor": 2048,
    "MultiProcessorCount": 2,
    "WarpSize": 32,
}


class Current(threading.local):
    """The current device of a thread, and the current stream of each device."""

    def __init__(self) -> None:
        self.device = 0
        self.streams: dict[int, Stream] = {}


state = Current()


def current() -> int:
    """Return the number of the current device."""
    return state.device


def set_current(device: int) -> None:
    """Make a device the current one."""
    if not 0 <= device < COUNT:
        raise RuntimeError(f"cudaErrorInvalidDevice: invalid device ordinal: {device}")
    state.device = device


class Device:
    """A device; in a ``with`` block it is the current one."""

    def __init__(self, device: Any = None):
        self.id = current() if device is None else int(device)
        self._before: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Device:
        self._before.append(current())
        set_current(self.id)
        return self

    def __exit__(self, *error: object) -> None:
        set_current(self._before.pop())

    def use(self) -> None:
        """Make this the current device."""
        set_current(self.id)

    def synchronize(self) -> None:
        """Wait for all that the device was asked to do."""
        observation.synchronize("Device.synchronize")

    @property
    def attributes(self) -> dict[str, int]:
        """What the device has."""
        return dict(ATTRIBUTES)

    @property
    def compute_capability(self) -> str:
        """The version of its instruction set."""
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total memory, in bytes."""
        from cupy._memory import pool

        with self:
            return MEMORY - pool.total_bytes(), MEMORY


class Stream:
    """A stream; in a ``with`` block it is the current one. Work is done at once in any."""

    null: ClassVar[Stream]
    _numbers = iter(range(0x1000, 1 << 62, 16))

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False):
        self.device_id = -1 if null or ptds else current()
        self.ptr = 0 if null else 2 if ptds else next(self._numbers)
        self._before: list[Stream] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return hash(self.ptr)

    def __repr__(self) -> str:
        return f"<Stream {self.ptr} (device {self.device_id})>"

    def __enter__(self) -> Stream:
        self._before.append(get_current_stream())
        return self.use()

    def __exit__(self, *error: object) -> None:
        state.streams[current()] = self._before.pop()

    def use(self) -> Stream:
        """Make this the current stream of its device, which must be the current one."""
        if self.device_id not in (-1, current()):
            raise RuntimeError(
                f"This stream was created on device {self.device_id}, the current is {current()}"
            )
        state.streams[current()] = self
        return self

    def synchronize(self) -> None:
        """Wait for all that is in the stream."""
        observation.synchronize("Stream.synchronize")


Stream.null = Stream(null=True)


def get_current_stream(device_id: int = -1) -> Stream:
    """Return the current stream of a device, -1 being the current one."""
    return state.streams.get(current() if device_id == -1 else device_id, Stream.null)
