"""Exponentials and logarithms of tensors on the CPU: loops over the tasks of exponential.h.

The arrays arrive checked: C-contiguous rows of words, of one floating-point type. What stands in
front of the words is not touched.
"""

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free

from pysig._core.signatures.lyndon cimport (
    lyndon_basis,
    set_basis,
    tensor_make_shape,
    tensor_shape,
)
from pysig._core.threads cimport num_threads

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "signatures/exponential.h" nogil:
    ctypedef struct exponential_problem:
        tensor_shape shape
        const lyndon_basis *basis
        Py_ssize_t rows, lanes
        const void *argument
        void *result
        void *argument_gradient
        Py_ssize_t argument_words, argument_stride, result_words, result_stride

    size_t SIMD_ALIGNMENT
    Py_ssize_t exponential_numbers(const exponential_problem *, int) noexcept
    void exponential_choose_lanes(exponential_problem *, int, Py_ssize_t, int) noexcept
    void exponential_tasks(const exponential_problem *, int, int, int, Py_ssize_t, Py_ssize_t,
                           char *) noexcept
    void *aligned_alloc(size_t, size_t) noexcept


cdef int LEVEL = SIMD_LEVELS[simd_level()]


cdef int set_sizes(
    exponential_problem *problem, lyndon_basis *basis, sizes, bint logarithm, source,
) except -1:
    """Fills in all but the addresses. source: of the basis, or None."""
    cdef Py_ssize_t channels, depth, words
    problem.rows, channels, depth = sizes
    problem.shape = tensor_make_shape(channels, depth, logarithm)
    words = problem.shape.offset[depth + 1]
    problem.argument_words = problem.result_words = words
    problem.basis = NULL
    problem.argument_gradient = NULL
    if source is not None:
        set_basis(basis, source)
        problem.basis = basis
        if logarithm:
            problem.result_words = basis.words
        else:
            problem.argument_words = basis.words
    return 0


cdef int set_arrays(
    exponential_problem *problem, const floating[:, ::1] result, const floating[:, ::1] argument,
) except -1:
    problem.argument = &argument[0, argument.shape[1] - problem.argument_words]
    problem.argument_stride = argument.shape[1]
    problem.result = <void *>&result[0, result.shape[1] - problem.result_words]
    problem.result_stride = result.shape[1]
    return 0


cdef int run(exponential_problem *problem, Py_ssize_t item, bint backward) except -1:
    """All tasks, in as many threads as the work is worth: some thirty microseconds each."""
    exponential_choose_lanes(problem, LEVEL, item, backward)
    cdef Py_ssize_t numbers = exponential_numbers(problem, backward)
    cdef size_t bytes = (item * problem.lanes * numbers + SIMD_ALIGNMENT) // SIMD_ALIGNMENT
    cdef Py_ssize_t tasks = (problem.rows + problem.lanes - 1) // problem.lanes
    cdef double work = <double>tasks * numbers * problem.shape.depth
    cdef int threads = 1 if work < 100_000 else <int>min(<Py_ssize_t>num_threads(), tasks)
    cdef Py_ssize_t i, runs = min(tasks, <Py_ssize_t>threads * 8)
    cdef char *memory
    bytes *= SIMD_ALIGNMENT
    memory = <char *>aligned_alloc(SIMD_ALIGNMENT, bytes * threads)
    if memory == NULL:
        raise MemoryError(f"cannot allocate {bytes * threads} bytes of working memory")
    with nogil:
        if threads == 1:
            exponential_tasks(problem, item == 8, LEVEL, backward, 0, tasks, memory)
        else:
            for i in prange(runs, num_threads=threads, schedule="dynamic"):
                exponential_tasks(problem, item == 8, LEVEL, backward, tasks * i // runs,
                                  tasks * (i + 1) // runs, memory + threadid() * bytes)
        free(memory)
    return 0


def forward(floating[:, ::1] result, const floating[:, ::1] argument, sizes, logarithm, basis):
    """
    Write the exponentials, or logarithms, of the rows of `argument` into `result`.

    sizes: rows, channels, depth. logarithm: else exponentials. basis: None; or, for the rows of
    the result of a logarithm, or of the argument of an exponential, to have the Lyndon words only:
    whether they stand for their brackets; the LyndonTables; and the SparseRows of bracket_system
    and bracket_expansion, or None for what is not needed.
    """
    cdef exponential_problem problem
    cdef lyndon_basis lyndon
    set_sizes(&problem, &lyndon, sizes, logarithm, basis)
    set_arrays(&problem, result, argument)
    run(&problem, sizeof(floating), False)


def backward(
    floating[:, ::1] argument_gradient, const floating[:, ::1] grad,
    const floating[:, ::1] argument, sizes, logarithm, basis,
):
    """Write the gradient in `argument`, for `grad`, that in what `forward` writes."""
    cdef exponential_problem problem
    cdef lyndon_basis lyndon
    set_sizes(&problem, &lyndon, sizes, logarithm, basis)
    set_arrays(&problem, grad, argument)
    problem.argument_gradient = &argument_gradient[0, argument.shape[1] - problem.argument_words]
    run(&problem, sizeof(floating), True)
