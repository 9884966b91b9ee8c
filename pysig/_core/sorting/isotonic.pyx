"""Isotonic regression and projections on the CPU: loops over the rows of isotonic.h, with threads.

The arrays arrive checked: C-contiguous, of one floating-point type, finite, of shape (batch, n),
with at least one entry.
"""

from cpython.buffer cimport PyBUF_WRITABLE
from cython.parallel cimport prange, threadid
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from pysig._core.memory cimport address
from pysig._core.threads cimport num_threads


cdef extern from "sorting/isotonic.h" nogil:
    ctypedef struct isotonic_block:
        int length

    ctypedef struct isotonic_problem:
        Py_ssize_t batch, n
        int is_kl, is_double, is_decreasing
        const void *y
        const void *weights
        void *value
        uint8_t *starts
        void *y_share
        void *w_share
        const void *grad
        void *y_gradient
        void *w_gradient

    void isotonic_row(const isotonic_problem *, Py_ssize_t, void *) noexcept
    void isotonic_row_backward(const isotonic_problem *, Py_ssize_t) noexcept
    void projection_row(const isotonic_problem *, Py_ssize_t, void *) noexcept
    void projection_row_backward(const isotonic_problem *, Py_ssize_t) noexcept


cdef enum:
    ISOTONIC, ISOTONIC_BACKWARD, PROJECTION, PROJECTION_BACKWARD


cdef void set_problem(isotonic_problem *problem, y, bint is_kl) noexcept:
    problem.batch, problem.n = y.shape
    problem.is_double = y.itemsize == 8
    problem.is_kl = is_kl
    problem.is_decreasing = 0
    problem.y = problem.weights = problem.grad = NULL
    problem.value = problem.y_share = problem.w_share = NULL
    problem.y_gradient = problem.w_gradient = NULL
    problem.starts = NULL


cdef void run_row(
    int task, const isotonic_problem *problem, Py_ssize_t row, char *stack
) noexcept nogil:
    if task == ISOTONIC:
        isotonic_row(problem, row, stack)
    elif task == ISOTONIC_BACKWARD:
        isotonic_row_backward(problem, row)
    elif task == PROJECTION:
        projection_row(problem, row, stack)
    else:
        projection_row_backward(problem, row)


cdef int run(int task, const isotonic_problem *problem) except -1:
    """All rows; one thread for calls that take less than some fifty microseconds."""
    cdef Py_ssize_t bytes = sizeof(isotonic_block) * (problem.n // 2 + 1), row
    cdef int threads = 1
    if problem.batch * problem.n >= 8192:
        threads = <int>min(<Py_ssize_t>num_threads(), problem.batch)
    cdef char *stacks = <char *>malloc(bytes * threads)
    if stacks == NULL:
        raise MemoryError(f"cannot allocate {bytes * threads} bytes of working memory")
    cdef Py_ssize_t chunk = max(4096 // problem.n, 1)
    if threads == 1:
        with nogil:
            for row in range(problem.batch):
                run_row(task, problem, row, stacks)
    else:
        for row in prange(problem.batch, num_threads=threads, schedule="dynamic",
                          chunksize=chunk, nogil=True):
            run_row(task, problem, row, stacks + threadid() * bytes)
    free(stacks)
    return 0


def isotonic(value, starts, y, weights, is_kl, is_decreasing):
    """
    Write the isotonic regression of y into `value`.

    value, y, weights (or None), starts (bool; or None): (batch, n); starts is set where a block
    begins.
    """
    cdef isotonic_problem problem
    set_problem(&problem, y, is_kl)
    problem.is_decreasing = is_decreasing
    problem.y = address(y)
    problem.weights = address(weights)
    problem.value = address(value, PyBUF_WRITABLE)
    problem.starts = <uint8_t *>address(starts, PyBUF_WRITABLE)
    run(ISOTONIC, &problem)


def isotonic_backward(y_gradient, weights_gradient, grad, value, starts, y, weights, is_kl):
    """
    Write the gradients for `grad`, the gradient with respect to what `isotonic` writes.

    All are (batch, n); weights and weights_gradient may be None.
    """
    cdef isotonic_problem problem
    set_problem(&problem, y, is_kl)
    problem.y = address(y)
    problem.weights = address(weights)
    problem.value = address(value)
    problem.starts = <uint8_t *>address(starts)
    problem.grad = address(grad)
    problem.y_gradient = address(y_gradient, PyBUF_WRITABLE)
    problem.w_gradient = address(weights_gradient, PyBUF_WRITABLE)
    run(ISOTONIC_BACKWARD, &problem)


def project(value, starts, z_share, w_share, z, w, is_kl):
    """
    Write the projection of z onto the permutahedron of w into `value`.

    All are (batch, n), z and w in ascending order. starts (bool) and, for "kl", the shares, which
    the gradient needs, may be None.
    """
    cdef isotonic_problem problem
    set_problem(&problem, z, is_kl)
    problem.y = address(z)
    problem.weights = address(w)
    problem.value = address(value, PyBUF_WRITABLE)
    problem.starts = <uint8_t *>address(starts, PyBUF_WRITABLE)
    problem.y_share = address(z_share, PyBUF_WRITABLE)
    problem.w_share = address(w_share, PyBUF_WRITABLE)
    run(PROJECTION, &problem)


def project_backward(z_gradient, w_gradient, grad, starts, z_share, w_share):
    """
    Write the gradients for `grad`, the gradient with respect to what `project` writes.

    All are (batch, n), in the order of z and w sorted; the shares are None for "l2".
    """
    cdef isotonic_problem problem
    set_problem(&problem, grad, z_share is not None)
    problem.starts = <uint8_t *>address(starts)
    problem.y_share = address(z_share)
    problem.w_share = address(w_share)
    problem.grad = address(grad)
    problem.y_gradient = address(z_gradient, PyBUF_WRITABLE)
    problem.w_gradient = address(w_gradient, PyBUF_WRITABLE)
    run(PROJECTION_BACKWARD, &problem)
