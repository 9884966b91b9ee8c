"""The pool of memory, as cupy.cuda.memory has it."""

from cupy._memory import Memory, MemoryPointer, MemoryPool, OutOfMemoryError

__all__ = ["Memory", "MemoryPointer", "MemoryPool", "OutOfMemoryError"]
