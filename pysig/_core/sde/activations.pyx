"""Activations on the CPU: threads for the ranges of activations.h; small layers.

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
    ctypedef struct layer:
        int kind
        Py_ssize_t rows, inputs, outputs, stride
        double t
        const void *weight
        const void *bias

    void activations_run(int, int, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *,
                         const void *, void *, void *) noexcept
    void activations_gradient(int, int, Py_ssize_t, Py_ssize_t, Py_ssize_t, const void *,
                              const void *, void *, void *) noexcept
    void activations_add(int, int, Py_ssize_t, Py_ssize_t, const void *, void *) noexcept
    void layers_forward(int, int, const layer *, const void *, void *, void *) noexcept
    void layers_backward(int, int, const layer *, const void *, const void *, const void *, void *,
                         void *, void *, void *) noexcept


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


cdef layer make_layer(bint is_double, int kind, Py_ssize_t rows, double t, Py_ssize_t inputs,
                      weight, bias) except *:
    cdef layer one
    cdef Py_ssize_t numbers = 0, outputs = 0, item = 8 if is_double else 4
    one.kind = kind
    one.rows = rows
    one.inputs = inputs
    one.t = t
    one.weight = address(weight, &numbers)
    one.bias = address(bias, &outputs)
    one.outputs = outputs // item
    one.stride = numbers // max(outputs, 1)
    if one.stride * outputs != numbers or one.stride - inputs not in (0, 1):
        raise ValueError(
            f"a layer of {inputs} inputs cannot have a weight of the shape {weight.shape} and a "
            f"bias of the shape {bias.shape}"
        )
    return one


cdef int check_size(Py_ssize_t size, const layer *one, bint is_double) except -1:
    """Raise ValueError unless so many bytes are those of the layer's value."""
    if size != one.rows * one.outputs * (8 if is_double else 4):
        raise ValueError(f"the value of a layer must have {one.outputs} channels")
    return 0


def layer_forward(bint is_double, int kind, Py_ssize_t rows, double t, x, weight, bias, value,
                  derivative):
    """Write the value of a layer of one row or more, and the derivative (or None).

    The kind is that of its activation, or -1. If the weight has one more column than x, its first
    is for t.
    """
    cdef Py_ssize_t size = 0, other = 0
    cdef const void *numbers = address(x, &size)
    cdef void *slopes = NULL
    cdef void *values = address(value, &other, PyBUF_WRITABLE)
    if derivative is not None:
        slopes = address(derivative, &other, PyBUF_WRITABLE)
    cdef layer one = make_layer(is_double, kind, rows, t, size // (8 if is_double else 4) // rows,
                                weight, bias)
    check_size(other, &one, is_double)
    layers_forward(is_double, LEVEL, &one, numbers, values, slopes)


def layer_backward(bint is_double, Py_ssize_t rows, double t, x, weight, bias, derivative, grad,
                   scratch, grad_weight, grad_bias, grad_x):
    """Write the gradients of a layer; derivative and scratch, an array as grad, may be None."""
    cdef Py_ssize_t size = 0, other = 0, of_grad = 0
    cdef const void *numbers = address(x, &size)
    cdef const void *gradients = address(grad, &of_grad)
    cdef const void *slopes = NULL
    cdef void *products = NULL
    cdef void *weights = address(grad_weight, &other, PyBUF_WRITABLE)
    cdef void *biases = address(grad_bias, &other, PyBUF_WRITABLE)
    cdef void *states = address(grad_x, &other, PyBUF_WRITABLE)
    if derivative is not None:
        slopes = address(derivative, &other)
        products = address(scratch, &other, PyBUF_WRITABLE)
    cdef layer one = make_layer(is_double, 0, rows, t, size // (8 if is_double else 4) // rows,
                                weight, bias)
    check_size(of_grad, &one, is_double)
    layers_backward(is_double, LEVEL, &one, numbers, slopes, gradients, products, weights, biases,
                    states)
