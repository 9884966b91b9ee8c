"""Which rows of a path's tables its intervals are products of.

The tables are those of pysig/signatures/path.py. Arrays are C-contiguous, of intp, on the host.
"""

from cpython.buffer cimport PyBUF_WRITABLE

from pysig._core.memory cimport address


cdef extern from *:
    int __builtin_clzll(unsigned long long) noexcept nogil


cdef Py_ssize_t highest_bit(Py_ssize_t number) noexcept nogil:
    """The place of the highest bit of a positive number."""
    return 63 - __builtin_clzll(number)


def find_rows(indices, inside, start, end, Py_ssize_t size, Py_ssize_t capacity):
    """
    Write which rows each interval is a product of; return how many are inside a piece.

    indices: (4, intervals): rows of the suffixes, of the disjoint sparse table (twice) and of the
    prefixes; -1 for none. inside: the numbers of the intervals that have to be computed from their
    points come first. start, end: the first increment of each interval, and the one after its last.
    size: increments of a piece. capacity: pieces for which a level of the table has room.
    """
    cdef Py_ssize_t count = start.size, found = 0, i, a, b, left, right, level
    cdef const Py_ssize_t *first = <Py_ssize_t *>address(start)
    cdef const Py_ssize_t *after = <Py_ssize_t *>address(end)
    cdef Py_ssize_t *suffix = <Py_ssize_t *>address(indices, PyBUF_WRITABLE)
    cdef Py_ssize_t *begin = suffix + count
    cdef Py_ssize_t *rest = begin + count
    cdef Py_ssize_t *prefix = rest + count
    cdef Py_ssize_t *numbers = <Py_ssize_t *>address(inside, PyBUF_WRITABLE)
    with nogil:
        for i in range(count):
            suffix[i] = begin[i] = rest[i] = prefix[i] = -1
            a, b = first[i], after[i]
            if a == b:
                continue
            left, right = a // size + 1, (b - 1) // size - 1
            if left <= right + 1 or (b % size == 0 and a % size):
                suffix[i] = a + size - 1 - 2 * (a % size)
            if left <= right + 1 or a % size == 0:
                prefix[i] = b - 1
            if suffix[i] < 0 and prefix[i] < 0:
                numbers[found] = i
                found += 1
            if left <= right:
                level = highest_bit(left ^ right) if left < right else 0
                begin[i] = level * capacity + left
                rest[i] = level * capacity + right if left < right else -1
    return found
