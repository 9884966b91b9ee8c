"""Products of signatures, and their adjoint, on the CPU: loops over the rows of product.h.

The arrays arrive checked: C-contiguous, of one floating-point type. A table is an array (batch,
rows, words), or with a scalar term (batch, rows, 1 + words); the scalar term is not touched.
Indices are arrays of intp, of rows that exist; a negative one stands for the factor 1.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE
from cython.parallel cimport prange, threadid
from libc.string cimport memset

from pysig._core.memory cimport Memory, address, round_up
from pysig._core.threads cimport num_threads

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "signatures/product.h" nogil:
    ctypedef struct product_table:
        void *numbers
        Py_ssize_t stride, rows
        const Py_ssize_t *index

    ctypedef struct product_problem:
        Py_ssize_t batch, rows, channels, depth
        int factors, level
        product_table factor[4]
        product_table product
        product_table gradient
        const Py_ssize_t *begins
        const Py_ssize_t *products
        const Py_ssize_t *positions
        Py_ssize_t position
        int add

    int PRODUCT_FORWARD, PRODUCT_BACKWARD
    double product_cost(const product_problem *) noexcept
    size_t product_workspace(const product_problem *, int) noexcept
    void product_tasks(int, const product_problem *, int, Py_ssize_t, Py_ssize_t, void *) noexcept


cdef int LEVEL = SIMD_LEVELS[simd_level()]


cdef int set_table(product_table *table, array, Py_ssize_t words, int flags) except -1:
    cdef Py_ssize_t scalar_term = array.shape[2] - words
    table.numbers = <char *>address(array, flags) + scalar_term * <Py_ssize_t>array.itemsize
    table.rows, table.stride = array.shape[1:]
    table.index = NULL
    return 0


cdef int set_problem(
    product_problem *problem, product, factors, indices, sizes, int flags
) except -1:
    """Fills in all but the gradient. flags: of the buffer of `product`."""
    cdef Py_ssize_t words, f
    problem.channels, problem.depth, words = sizes
    problem.batch, problem.rows = product.shape[:2]
    problem.factors = len(factors)
    problem.level = LEVEL
    set_table(&problem.product, product, words, flags)
    for f in range(problem.factors):
        set_table(&problem.factor[f], factors[f], words, PyBUF_SIMPLE)
        problem.factor[f].index = <const Py_ssize_t *>address(indices[f])
    return 0


cdef void run(int kind, const product_problem *problem, bint is_double, Py_ssize_t tasks,
              int threads, char *memory, size_t bytes) noexcept nogil:
    """All tasks. memory: `bytes` for each thread."""
    cdef Py_ssize_t i, runs = min(tasks, <Py_ssize_t>threads * 16)
    if threads == 1:
        product_tasks(kind, problem, is_double, 0, tasks, memory)
        return
    for i in prange(runs, num_threads=threads, schedule="dynamic"):
        product_tasks(kind, problem, is_double, tasks * i // runs, tasks * (i + 1) // runs,
                      memory + threadid() * bytes)


cdef run_all(int kind, const product_problem *problem, bint is_double, Py_ssize_t tasks):
    """One thread for calls that take less than some thirty microseconds."""
    cdef size_t bytes = round_up(product_workspace(problem, is_double))
    cdef double work = product_cost(problem) * problem.batch * problem.rows * problem.factors
    cdef int threads = 1 if work < 300_000 else <int>min(<Py_ssize_t>num_threads(), tasks)
    cdef Memory memory = Memory(bytes * threads)
    memset(memory.data, 0, bytes * threads)
    with nogil:
        run(kind, problem, is_double, tasks, threads, memory.data, bytes)


def forward(product, factors, indices, sizes):
    """
    Write the products of rows into `product`.

    product: (batch, rows, words). factors: one to four tables of the same batch. indices: for each
    of them which row each product takes, (rows), or None if product r takes row r. sizes: channels,
    depth, words.
    """
    cdef product_problem problem
    set_problem(&problem, product, factors, indices, sizes, PyBUF_WRITABLE)
    run_all(PRODUCT_FORWARD, &problem, product.itemsize == 8, problem.batch * problem.rows)


def backward(gradient, grad, factors, indices, sizes, uses, add=False):
    """
    Write the gradient of one table for `grad`, the gradient of what `forward` writes.

    gradient: of the shape of the table. uses: where its rows are factors, as three arrays of intp,
    begins, products and positions: row r is factor positions[e] of product products[e], for
    begins[r] <= e < begins[r + 1]; or a number p, if row r is factor p of product r and nothing
    else. add: add to what is in `gradient`. The others are those of `forward`.
    """
    cdef product_problem problem
    set_problem(&problem, grad, factors, indices, sizes, PyBUF_SIMPLE)
    set_table(&problem.gradient, gradient, sizes[2], PyBUF_WRITABLE)
    problem.begins = problem.products = problem.positions = NULL
    problem.position = 0
    problem.add = add
    if isinstance(uses, int):
        problem.position = uses
    else:
        begins, products, positions = uses
        problem.begins = <const Py_ssize_t *>address(begins)
        problem.products = <const Py_ssize_t *>address(products)
        problem.positions = <const Py_ssize_t *>address(positions)
    run_all(PRODUCT_BACKWARD, &problem, grad.itemsize == 8, problem.batch * problem.gradient.rows)
