"""Layers of perceptrons on the CPU: blocks of rows, and threads, for layers.h.

The arguments arrive checked; arrays are in C order, but for the weight.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from cython.parallel cimport prange
from libc.string cimport memset

from pysig._core.memory cimport Memory, address
from pysig._core.threads cimport num_threads

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sde/layers.h" nogil:
    int LAYERS_NO_ACTIVATION
    ctypedef struct layer:
        int kind
        Py_ssize_t inputs, outputs
        int has_time
        double t
        const void *packed
        const void *packed_back

    Py_ssize_t layers_packed_size(const layer *) noexcept
    Py_ssize_t layers_packed_back_size(const layer *) noexcept
    Py_ssize_t layers_sums_size(const layer *) noexcept
    Py_ssize_t layers_memory(const layer *, Py_ssize_t) noexcept
    void layers_pack(int, int, const layer *, const void *, const void *, void *) noexcept
    void layers_pack_back(int, int, const layer *, const void *, void *) noexcept
    void layers_forward(int, int, const layer *, Py_ssize_t, const void *, void *, void *) noexcept
    void layers_backward(int, int, const layer *, Py_ssize_t, const void *, const void *,
                         const void *, void *, void *, void *) noexcept
    void layers_add(int, int, const layer *, Py_ssize_t, void *, void *, void *) noexcept


NO_ACTIVATION = LAYERS_NO_ACTIVATION
cdef int LEVEL = SIMD_LEVELS[simd_level()]
cdef Py_ssize_t BLOCK = 4096  # numbers of inputs or values that stay in the cache, ...
cdef Py_ssize_t FEWEST_ROWS = 32  # ... or more: the weights are loaded for each block
cdef Py_ssize_t TASK = 1 << 20  # products of numbers of a thread at least, some 10 us
cdef Py_ssize_t PART = 1 << 18  # ... of a part with sums of gradients of its own
cdef Py_ssize_t PARTS = 32  # at most


cdef layer make_layer(int kind, double t, x, weight, bias, value) except *:
    cdef layer one
    one.kind = kind
    one.inputs = x.shape[1]
    one.outputs = weight.shape[0]
    one.has_time = weight.shape[1] - x.shape[1]
    one.t = t
    one.packed = one.packed_back = NULL
    if (
        one.has_time not in (0, 1)
        or (bias is not None and bias.shape != weight.shape[:1])
        or value.shape != (len(x), one.outputs)
        or any(a.dtype != x.dtype for a in (weight, bias, value) if a is not None)
    ):
        raise ValueError(
            f"a layer of {one.inputs} inputs cannot have a weight of the shape {weight.shape} and "
            f"a bias of the shape {getattr(bias, 'shape', None)}"
        )
    return one


def forward(bint is_double, int kind, double t, x, weight, bias, value, derivative):
    """
    Write the value of a layer, of shape (rows, outputs), and the derivative of its activation.

    The kind is that of the activation, or NO_ACTIVATION; bias and derivative may be None. If the
    weight has one more column than x, its first is for t.
    """
    cdef Py_ssize_t rows = x.shape[0], i, item = 8 if is_double else 4
    cdef layer one = make_layer(kind, t, x, weight, bias, value)
    cdef const char *numbers = <const char *>address(x)
    cdef char *values = <char *>address(value, PyBUF_WRITABLE)
    cdef char *slopes = <char *>address(derivative, PyBUF_WRITABLE)
    weight = np.ascontiguousarray(weight)
    cdef const void *weights = address(weight)
    cdef const void *biases = address(bias)
    cdef Memory packed = Memory(layers_packed_size(&one) * item)
    cdef Py_ssize_t group = rows_of_block(&one), blocks = (rows + group - 1) // group
    cdef Py_ssize_t tasks = count_tasks(rows * one.inputs * one.outputs, blocks)
    one.packed = packed.data
    with nogil:
        layers_pack(is_double, LEVEL, &one, weights, biases, packed.data)
        if tasks == 1:
            forward_blocks(is_double, &one, rows, 0, blocks, numbers, values, slopes)
        else:
            for i in prange(tasks, num_threads=tasks):
                forward_blocks(is_double, &one, rows, blocks * i // tasks,
                               blocks * (i + 1) // tasks, numbers, values, slopes)


cdef Py_ssize_t rows_of_block(const layer *one) noexcept nogil:
    return max(BLOCK // max(one.inputs, one.outputs), FEWEST_ROWS)


cdef Py_ssize_t count_tasks(Py_ssize_t products, Py_ssize_t most) noexcept:
    return max(min(min(<Py_ssize_t>num_threads(), products // TASK), most), 1)


cdef void forward_blocks(bint is_double, const layer *one, Py_ssize_t rows, Py_ssize_t first,
                         Py_ssize_t last, const char *x, char *value,
                         char *derivative) noexcept nogil:
    cdef Py_ssize_t block, row, some, place, item = 8 if is_double else 4
    cdef Py_ssize_t group = rows_of_block(one)
    for block in range(first, last):
        row = block * group
        some = min(group, rows - row)
        place = row * one.outputs * item
        layers_forward(is_double, LEVEL, one, some, x + row * one.inputs * item, value + place,
                       NULL if derivative == NULL else derivative + place)


def backward(bint is_double, double t, x, weight, derivative, grad, grad_weight, grad_bias, grad_x):
    """Write the gradients of a layer of one row or more; derivative may be None."""
    cdef Py_ssize_t rows = x.shape[0], i, item = 8 if is_double else 4
    cdef layer one = make_layer(LAYERS_NO_ACTIVATION, t, x, weight, grad_bias, grad)
    cdef const char *numbers = <const char *>address(x)
    cdef const char *slopes = <const char *>address(derivative)
    cdef const char *gradients = <const char *>address(grad)
    weight = np.ascontiguousarray(weight)
    cdef const void *weights = address(weight)
    cdef void *of_weight = address(grad_weight, PyBUF_WRITABLE)
    cdef void *of_bias = address(grad_bias, PyBUF_WRITABLE)
    cdef char *of_x = <char *>address(grad_x, PyBUF_WRITABLE)
    cdef Py_ssize_t group = rows_of_block(&one), blocks = (rows + group - 1) // group
    cdef Py_ssize_t products = rows * one.inputs * one.outputs
    # The parts depend on the sizes only, so that the sums do not depend on the threads.
    cdef Py_ssize_t parts = max(min(min(products // PART, blocks), PARTS), 1)
    cdef Py_ssize_t tasks = count_tasks(2 * products, parts)
    cdef Py_ssize_t of_sums = layers_sums_size(&one) * item
    cdef Py_ssize_t of_memory = layers_memory(&one, min(group, rows)) * item
    cdef Memory packed = Memory(layers_packed_back_size(&one) * item)
    cdef Memory sums = Memory(parts * of_sums)
    cdef Memory memory = Memory(tasks * of_memory)
    one.packed_back = packed.data
    with nogil:
        layers_pack_back(is_double, LEVEL, &one, weights, packed.data)
        if tasks == 1:
            backward_parts(is_double, &one, rows, 0, parts, parts, numbers, slopes, gradients,
                           memory.data, sums.data, of_x)
        else:
            for i in prange(tasks, num_threads=tasks):
                backward_parts(is_double, &one, rows, parts * i // tasks, parts * (i + 1) // tasks,
                               parts, numbers, slopes, gradients, memory.data + i * of_memory,
                               sums.data, of_x)
        layers_add(is_double, LEVEL, &one, parts, sums.data, of_weight, of_bias)


cdef void backward_parts(bint is_double, const layer *one, Py_ssize_t rows, Py_ssize_t first,
                         Py_ssize_t last, Py_ssize_t parts, const char *x, const char *derivative,
                         const char *grad, char *memory, char *sums, char *grad_x) noexcept nogil:
    cdef Py_ssize_t group = rows_of_block(one), blocks = (rows + group - 1) // group
    cdef Py_ssize_t item = 8 if is_double else 4
    cdef Py_ssize_t of_sums = layers_sums_size(one) * item
    cdef Py_ssize_t part, block, row, some, place
    cdef const char *slopes = NULL
    for part in range(first, last):
        memset(sums + part * of_sums, 0, of_sums)
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            row = block * group
            some = min(group, rows - row)
            place = row * one.outputs * item
            if derivative != NULL:
                slopes = derivative + place
            layers_backward(is_double, LEVEL, one, some, x + row * one.inputs * item, slopes,
                            grad + place, memory, sums + part * of_sums,
                            grad_x + row * one.inputs * item)
