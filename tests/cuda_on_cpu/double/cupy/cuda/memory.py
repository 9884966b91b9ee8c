"""The pool of memory, as cupy.cuda.memory has it."""

from cupy._memory import MemoryPointer, MemoryPool, OutOfMemoryError

__all__ = ["MemoryPointer", "MemoryPool", "OutOfMemoryError"]
