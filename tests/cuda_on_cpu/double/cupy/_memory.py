"""The memory of the devices: hostile where a GPU's may be.

New memory is filled with 0xff, which reads as NaN or -1. Guards around it hold other NaN; a launch
checks that they are unchanged. Under AddressSanitizer there are none, since it has its own, wider
ones. The pool counts as CuPy's does, in multiples of 512 bytes, and keeps what is freed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cuda_on_cpu import observation
from cuda_on_cpu.compiler import sanitizers

from cupy import _device

GUARD = 512  # bytes
UNIT = 512  # of which all sizes are multiples
PATTERN = b"\xf7\xff" * (GUARD // 2)


class OutOfMemoryError(MemoryError):
    """The memory of the device, or the limit of the pool, is not enough."""

    def __init__(self, size: int, total: int, limit: int = 0):
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, "
            f"limit set to: {limit:,} bytes)."
        )


class Memory:
    """A piece of the memory of one device; `bytes` is an array of what is in it."""

    def __init__(self, size: int, device: int, pool: MemoryPool):
        self.size, self.device, self._pool = size, device, pool
        self._charged = 0
        charged = -(-size // UNIT) * UNIT
        pool._take(charged, device)
        self._charged = charged
        self._guards: tuple[np.ndarray, ...] = ()
        self.bytes = self._allocate()
        self.bytes.fill(0xFF)

    def _allocate(self) -> np.ndarray:
        if "address" in sanitizers():
            return np.empty(self.size, np.uint8)
        buffer = np.empty(GUARD + UNIT + self.size + GUARD, np.uint8)
        begin = GUARD + -(buffer.ctypes.data + GUARD) % UNIT
        end = begin + self.size
        self._guards = (buffer[begin - GUARD : begin], buffer[end : end + GUARD])
        for guard in self._guards:
            guard[...] = np.frombuffer(PATTERN, np.uint8)
        return buffer[begin:end]

    def is_intact(self) -> bool:
        """Whether nothing was written just before or behind the memory."""
        return all(guard.tobytes() == PATTERN for guard in self._guards)

    def __del__(self) -> None:
        self._pool._give_back(self._charged, self.device)


class MemoryPointer:
    """The address of an array."""

    def __init__(self, mem: Memory, offset: int):
        self.mem = mem
        self._offset = offset

    @property
    def ptr(self) -> int:
        """The address, of the host's memory here."""
        return self.mem.bytes.ctypes.data + self._offset

    @property
    def device_id(self) -> int:
        """The number of the device."""
        return self.mem.device

    @property
    def device(self) -> Any:
        """The device."""
        return _device.Device(self.mem.device)


class MemoryPool:
    """The pool of each device's memory; methods are about the current device, as CuPy's are."""

    def __init__(self) -> None:
        self._used = [0] * _device.COUNT
        self._total = [0] * _device.COUNT
        self._limit = [0] * _device.COUNT

    def _take(self, size: int, device: int) -> None:
        used = self._used[device] + size
        if used > min(self._limit[device] or _device.MEMORY, _device.MEMORY):
            raise OutOfMemoryError(size, self._used[device], self._limit[device])
        observation.State.allocations += 1
        self._used[device] = used
        self._total[device] = max(self._total[device], used)

    def _give_back(self, size: int, device: int) -> None:
        self._used[device] -= size

    def used_bytes(self) -> int:
        """Return how much is in use."""
        return self._used[_device.current()]

    def total_bytes(self) -> int:
        """Return how much is in use or kept: the most in use since free_all_blocks."""
        return self._total[_device.current()]

    def free_bytes(self) -> int:
        """Return how much is kept."""
        return self.total_bytes() - self.used_bytes()

    def free_all_blocks(self, stream: Any = None) -> None:
        """Keep nothing that is not in use."""
        self._total[_device.current()] = self.used_bytes()

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Refuse to allocate more than `size` bytes; 0 for no limit."""
        if fraction is not None:
            raise NotImplementedError("the double has limits in bytes only")
        self._limit[_device.current()] = size or 0

    def get_limit(self) -> int:
        """Return the limit."""
        return self._limit[_device.current()]


pool = MemoryPool()


def allocate(size: int) -> Memory:
    """Return memory of the current device."""
    return Memory(size, _device.current(), pool)
