"""Working memory of the compiled modules, and where the numbers of arrays are."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free

cdef extern from "simd.h" nogil:
    size_t SIMD_ALIGNMENT
    void *aligned_alloc(size_t, size_t) noexcept


cdef class Memory:
    """Aligned memory that lives as long as the object."""

    def __cinit__(self, size_t bytes):
        self.data = <char *>aligned_alloc(SIMD_ALIGNMENT, round_up(bytes))
        if self.data == NULL:
            raise MemoryError(f"cannot allocate {bytes} bytes of working memory")

    def __dealloc__(self):
        free(self.data)


cdef size_t round_up(size_t bytes) noexcept nogil:
    """A multiple of the alignment that is larger than `bytes`."""
    return (bytes + SIMD_ALIGNMENT) // SIMD_ALIGNMENT * SIMD_ALIGNMENT


cdef void *address(array, int flags=PyBUF_SIMPLE) except? NULL:
    """Where the numbers of an array begin; NULL for None. The caller keeps the array alive."""
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, flags)
    PyBuffer_Release(&view)
    return view.buf
