from cpython.buffer cimport PyBUF_SIMPLE


cdef class Memory:
    cdef char *data


cdef void *address(array, int flags=*) except? NULL
cdef size_t round_up(size_t bytes) noexcept nogil
