"""Chosen coefficients of signatures on the CPU: loops over the tasks of projection.h, with threads.

The arrays arrive checked: C-contiguous, of one floating-point type, of the shapes that belong
together. A tree is four arrays of intp: letter, height, end and column of each node, see
projection.h.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE
from cython.parallel cimport prange, threadid
from libc.stdlib cimport free

from pysig._core.memory cimport address
from pysig._core.threads cimport num_threads

from pysig._core.signatures import signature


cdef extern from "signatures/projection.h" nogil:
    ctypedef struct projection_problem:
        Py_ssize_t batch, steps, channels, nodes, columns
        const Py_ssize_t *letter
        const Py_ssize_t *height
        const Py_ssize_t *end
        const Py_ssize_t *column
        int stream
        const void *increments
        void *coefficients
        void *gradient

    ctypedef struct projection_plan:
        int level
        Py_ssize_t tasks

    int SIMD_BASELINE, SIMD_AVX2, SIMD_AVX512
    size_t SIMD_ALIGNMENT
    void projection_make_plan(const projection_problem *, projection_plan *, int,
                              Py_ssize_t) noexcept
    Py_ssize_t projection_workspace(const projection_problem *, const projection_plan *,
                                    int) noexcept
    void projection_tasks(const projection_problem *, const projection_plan *, int, int, Py_ssize_t,
                          Py_ssize_t, void *) noexcept
    void *aligned_alloc(size_t, size_t) noexcept


cdef dict SIMD_LEVELS = {"baseline": SIMD_BASELINE, "avx2": SIMD_AVX2, "avx512": SIMD_AVX512}
cdef int LEVEL = SIMD_LEVELS[signature.simd_level()]


cdef int set_problem(
    projection_problem *problem, coefficients, increments, tree, bint stream, int flags
) except -1:
    """Fills in all but the gradient. flags: of the buffer of the coefficients."""
    problem.batch, problem.steps, problem.channels = increments.shape
    problem.nodes, problem.columns = len(tree[0]), coefficients.shape[coefficients.ndim - 1]
    problem.letter, problem.height, problem.end, problem.column = (
        <const Py_ssize_t *>address(tree[0]),
        <const Py_ssize_t *>address(tree[1]),
        <const Py_ssize_t *>address(tree[2]),
        <const Py_ssize_t *>address(tree[3]),
    )
    problem.stream = stream
    problem.increments = address(increments)
    problem.coefficients = address(coefficients, flags)
    problem.gradient = NULL
    return 0


cdef int run(const projection_problem *problem, int backward, bint is_double) except -1:
    """All tasks, on one thread where they take less than some thirty microseconds."""
    cdef projection_plan plan
    cdef Py_ssize_t i, runs, item = 8 if is_double else 4
    cdef int threads = 1
    projection_make_plan(problem, &plan, LEVEL, item)
    cdef size_t vector = <size_t>16 << plan.level
    cdef size_t bytes = <size_t>projection_workspace(problem, &plan, backward) * vector
    bytes = (bytes + SIMD_ALIGNMENT) // SIMD_ALIGNMENT * SIMD_ALIGNMENT
    if <double>problem.batch * problem.steps * problem.nodes > 100_000:
        threads = <int>min(<Py_ssize_t>num_threads(), plan.tasks)
    cdef char *memory = <char *>aligned_alloc(SIMD_ALIGNMENT, bytes * threads)
    if memory == NULL:
        raise MemoryError(f"cannot allocate {bytes * threads} bytes of working memory")
    with nogil:
        if threads == 1:
            projection_tasks(problem, &plan, backward, is_double, 0, plan.tasks, memory)
        else:
            runs = min(plan.tasks, <Py_ssize_t>threads * 8)
            for i in prange(runs, num_threads=threads, schedule="dynamic"):
                projection_tasks(problem, &plan, backward, is_double, plan.tasks * i // runs,
                                 plan.tasks * (i + 1) // runs, memory + threadid() * bytes)
        free(memory)
    return 0


def forward(coefficients, increments, tree, stream):
    """
    Write the chosen coefficients of the paths' signatures into `coefficients`.

    coefficients: (batch, columns), with stream (batch, steps, columns). increments: (batch, steps,
    channels). tree: letter, height, end, column.
    """
    cdef projection_problem problem
    set_problem(&problem, coefficients, increments, tree, stream, PyBUF_WRITABLE)
    run(&problem, 0, increments.itemsize == 8)


def backward(grad, gradient, increments, tree, stream):
    """
    Write the gradient with respect to the increments into `gradient`, an array of their shape.

    grad: the gradient with respect to what `forward` writes. The others are those of `forward`.
    """
    cdef projection_problem problem
    set_problem(&problem, grad, increments, tree, stream, PyBUF_SIMPLE)
    problem.gradient = address(gradient, PyBUF_WRITABLE)
    run(&problem, 1, increments.itemsize == 8)
