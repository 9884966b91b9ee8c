"""Activations on the CPU: threads for the ranges of activations.h.

The arguments arrive checked: arrays in C order, all of one type, rows of `columns` numbers.
"""

from cpython.buffer cimport (
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

from pysig._core.threads cimport num_threads

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sde/activations.h" nogil:
    void activations_run(int, int, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *,
                         const void *, void *, void *) noexcept
    void activations_gradient(int, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *,
                              const void *, void *, void *) noexcept
    void activations_add(int, int, Py_ssize_t, Py_ssize_t, const void *, void *) noexcept


cdef int LEVEL = SIMD_LEVELS[simd_level()]
# Numbers of a thread at least, some 1 ms. Matrix products come before and after; the threads of
# NumPy's BLAS wait for the next one actively, and take a CPU from those here for milliseconds.
cdef Py_ssize_t TASK = 1 << 20


cdef void *address(array, Py_ssize_t *size, int flags=PyBUF_SIMPLE) except? NULL:
    """Where the numbers of an array begin, and its bytes. The caller keeps the array alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    size[0] = view.len
    PyBuffer_Release(&view)
    return view.buf


def forward(bint is_double, int kind, x, bias, value, derivative):
    """Write the activations of x + bias into value, which may be x, and derivative (or None)."""
    cdef Py_ssize_t bytes_x = 0, columns = 0, other = 0, i
    cdef const void *numbers = address(x, &bytes_x)
    cdef const void *biases = address(bias, &columns)
    cdef void *values = address(value, &other, PyBUF_WRITABLE)
    cdef void *slopes = NULL
    cdef Py_ssize_t item = 8 if is_double else 4, count = bytes_x // item
    cdef Py_ssize_t tasks = min(<Py_ssize_t>num_threads(), count // TASK)
    columns //= item
    if derivative is not None:
        slopes = address(derivative, &other, PyBUF_WRITABLE)
    if not count:
        return
    if tasks <= 1:
        with nogil:
            activations_run(is_double, LEVEL, kind, columns, 0, count, numbers, biases, values,
                            slopes)
        return
    for i in prange(tasks, num_threads=tasks, nogil=True):
        activations_run(is_double, LEVEL, kind, columns, count * i // tasks,
                        count * (i + 1) // tasks, numbers, biases, values, slopes)


def backward(bint is_double, grad, derivative, out, sums):
    """Write grad times derivative into out, another array, and its sums over rows into sums."""
    cdef Py_ssize_t size = 0, columns = 0, other = 0, i
    cdef const void *gradients = address(grad, &size)
    cdef const void *slopes = address(derivative, &other)
    cdef void *products = address(out, &other, PyBUF_WRITABLE)
    cdef char *totals = <char *>address(sums, &columns, PyBUF_WRITABLE)
    cdef Py_ssize_t item = 8 if is_double else 4, rows
    cdef char *parts
    columns //= item
    if not columns:
        return
    rows = size // item // columns
    # The parts depend on the sizes only, so that the sums do not depend on the threads.
    cdef Py_ssize_t tasks = max(min(rows * columns // TASK, rows), 1)
    cdef int threads = <int>min(<Py_ssize_t>num_threads(), tasks)
    if tasks == 1:
        with nogil:
            activations_gradient(is_double, LEVEL, columns, 0, rows, gradients, slopes, products,
                                 totals)
        return
    parts = <char *>malloc(tasks * columns * item)
    if parts == NULL:
        raise MemoryError(f"cannot allocate {tasks * columns * item} bytes of working memory")
    with nogil:
        if threads == 1:
            for i in range(tasks):
                activations_gradient(is_double, LEVEL, columns, rows * i // tasks,
                                     rows * (i + 1) // tasks, gradients, slopes, products,
                                     parts + i * columns * item)
        else:
            for i in prange(tasks, num_threads=threads):
                activations_gradient(is_double, LEVEL, columns, rows * i // tasks,
                                     rows * (i + 1) // tasks, gradients, slopes, products,
                                     parts + i * columns * item)
        activations_add(is_double, LEVEL, tasks, columns, parts, totals)
    free(parts)
