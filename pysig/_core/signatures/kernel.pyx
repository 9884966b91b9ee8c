"""The signature kernel and its gradient on the CPU: loops over the tasks of kernel.h, with threads.

The arrays arrive checked: C-contiguous, of one floating-point type, of the shapes that the sizes
say.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from cython.parallel cimport prange, threadid

from pysig._core.memory cimport Memory, address, round_up
from pysig._core.threads cimport num_threads

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "signatures/kernel.h" nogil:
    ctypedef struct kernel_problem:
        Py_ssize_t x_count, y_count, x_length, y_length, channels
        int x_order, y_order, static_kernel
        double inverse_scale
        const void *x
        const void *y
        int pairing
        Py_ssize_t pairs
        const Py_ssize_t *x_index
        const Py_ssize_t *y_index
        Py_ssize_t x_stride, y_stride
        void *value
        const void *grad
        void *x_gradient
        void *y_gradient

    ctypedef struct kernel_plan:
        Py_ssize_t slots, forward_tasks, backward_tasks

    int KERNEL_LINEAR, KERNEL_RBF, KERNEL_PAIRS, KERNEL_GRAM, KERNEL_SYMMETRIC
    void kernel_make_plan(const kernel_problem *, kernel_plan *, int, Py_ssize_t) noexcept
    size_t kernel_workspace(const kernel_problem *, const kernel_plan *, int) noexcept
    void kernel_tasks(const kernel_problem *, const kernel_plan *, int, Py_ssize_t, Py_ssize_t,
                      void *) noexcept


STATIC_KERNELS = {"linear": KERNEL_LINEAR, "rbf": KERNEL_RBF}

cdef int LEVEL = SIMD_LEVELS[simd_level()]


cdef int set_problem(kernel_problem *problem, x, y, pairs, symmetric, static_kernel,
                     orders) except -1:
    """Fills in all but the results."""
    problem.x_count, problem.x_length, problem.channels = x.shape
    problem.y_count, problem.y_length = y.shape[:2]
    problem.x = address(x)
    problem.y = address(y)
    name, scale = static_kernel
    problem.static_kernel = STATIC_KERNELS[name]
    problem.inverse_scale = 1 / scale
    problem.x_order, problem.y_order = orders
    problem.pairing = KERNEL_SYMMETRIC if symmetric else KERNEL_GRAM
    problem.pairs = 0
    problem.x_index = problem.y_index = NULL
    if pairs is not None:
        x_index, y_index = pairs
        problem.pairing = KERNEL_PAIRS
        problem.pairs = len(x_index)
        problem.x_index = <const Py_ssize_t *>address(x_index)
        problem.y_index = <const Py_ssize_t *>address(y_index)
    problem.x_stride, problem.y_stride = problem.y_count, 1
    problem.value = problem.x_gradient = problem.y_gradient = NULL
    problem.grad = NULL
    return 0


cdef bint swap_sides(kernel_problem *problem) noexcept:
    """Lanes are y: the larger batch, of which fewer lanes are left over. Whether x and y changed
    places."""
    if problem.pairing != KERNEL_GRAM or problem.x_count <= problem.y_count:
        return False
    problem.x_count, problem.y_count = problem.y_count, problem.x_count
    problem.x_length, problem.y_length = problem.y_length, problem.x_length
    problem.x_order, problem.y_order = problem.y_order, problem.x_order
    problem.x_stride, problem.y_stride = problem.y_stride, problem.x_stride
    problem.x, problem.y = problem.y, problem.x
    return True


cdef int choose_threads(const kernel_problem *problem, Py_ssize_t tasks) noexcept nogil:
    """One thread for calls that take less than some thirty microseconds."""
    cdef double pairs = <double>problem.pairs
    cdef double cells = <double>problem.x_length * <double>problem.y_length
    if problem.pairing != KERNEL_PAIRS:
        pairs = <double>problem.x_count * <double>problem.y_count
    cells *= (<Py_ssize_t>8 << (problem.x_order + problem.y_order)) + problem.channels
    if pairs * cells < 300_000:
        return 1
    return <int>min(<Py_ssize_t>num_threads(), tasks)


cdef int run(
    const kernel_problem *problem, const kernel_plan *plan, bint is_double, Py_ssize_t tasks,
) except -1:
    """All tasks, each thread with working memory of its own."""
    cdef int threads = choose_threads(problem, tasks)
    cdef size_t bytes = round_up(kernel_workspace(problem, plan, is_double))
    cdef Memory memory = Memory(bytes * threads)
    cdef Py_ssize_t i, runs = min(tasks, <Py_ssize_t>threads * 16)
    if threads == 1:
        with nogil:
            kernel_tasks(problem, plan, is_double, 0, tasks, memory.data)
        return 0
    for i in prange(runs, num_threads=threads, schedule="dynamic", nogil=True):
        kernel_tasks(problem, plan, is_double, tasks * i // runs, tasks * (i + 1) // runs,
                     memory.data + threadid() * bytes)
    return 0


def forward(value, x, y, pairs, symmetric, static_kernel, orders):
    """
    Write the kernels into `value`: (pairs), or without `pairs` (x paths, y paths).

    x, y: (paths, length, channels). pairs: two arrays of intp, the indices of the paths of each
    pair, or None. symmetric: x and y are the same, and so are the orders. static_kernel: its name
    and its scale. orders: dyadic, of x and y.
    """
    cdef kernel_problem problem
    cdef kernel_plan plan
    cdef bint is_double = x.itemsize == 8
    set_problem(&problem, x, y, pairs, symmetric, static_kernel, orders)
    problem.value = address(value, PyBUF_WRITABLE)
    swap_sides(&problem)
    kernel_make_plan(&problem, &plan, LEVEL, x.itemsize)
    run(&problem, &plan, is_double, plan.forward_tasks)


def backward(grad, x, y, pairs, symmetric, static_kernel, orders):
    """
    Return the gradients of x and y for `grad`, the gradient of what `forward` writes.

    They have the shape of x and y, or with `pairs` (pairs, length, channels); for a symmetric
    result, the first has both sides, and the second is None.
    """
    cdef kernel_problem problem
    cdef kernel_plan plan
    cdef bint is_double = x.itemsize == 8
    set_problem(&problem, x, y, pairs, symmetric, static_kernel, orders)
    problem.grad = address(grad)
    cdef bint swapped = swap_sides(&problem)
    if swapped:
        x, y = y, x
    kernel_make_plan(&problem, &plan, LEVEL, x.itemsize)
    if pairs is not None:
        x_gradient = np.empty((problem.pairs, *x.shape[1:]), x.dtype)
        y_gradient = np.empty((problem.pairs, *y.shape[1:]), y.dtype)
    else:
        x_gradient = np.zeros((plan.slots, *x.shape), x.dtype)
        y_gradient = np.empty(y.shape, y.dtype)
    problem.x_gradient = address(x_gradient, PyBUF_WRITABLE)
    problem.y_gradient = address(y_gradient, PyBUF_WRITABLE)
    run(&problem, &plan, is_double, plan.backward_tasks)
    if pairs is None:
        x_gradient = x_gradient.sum(axis=0)
    if symmetric:
        return x_gradient + y_gradient, None
    return (y_gradient, x_gradient) if swapped else (x_gradient, y_gradient)
