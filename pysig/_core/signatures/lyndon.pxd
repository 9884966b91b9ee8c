"""The tables of lyndon.py as the structures of lyndon.h."""

from libc.stdint cimport int32_t


cdef extern from "signatures/lyndon.h" nogil:
    ctypedef struct tensor_shape:
        Py_ssize_t channels, depth
        Py_ssize_t *offset

    ctypedef struct sparse_rows:
        Py_ssize_t rows
        const Py_ssize_t *starts
        const Py_ssize_t *columns
        const double *values

    ctypedef struct lyndon_basis:
        int brackets
        Py_ssize_t words
        const Py_ssize_t *group_counts
        const Py_ssize_t *groups
        const int32_t *least
        sparse_rows system
        sparse_rows expansion

    tensor_shape tensor_make_shape(Py_ssize_t, Py_ssize_t, int) noexcept


cdef inline sparse_rows sparse_rows_of(matrix) except *:
    """A SparseRows of Python, which the caller keeps alive; or an empty matrix for None."""
    cdef sparse_rows result
    cdef const Py_ssize_t[::1] starts, columns
    cdef const double[::1] values
    result.rows = 0
    result.starts = result.columns = NULL
    result.values = NULL
    if matrix is None:
        return result
    starts, columns, values = matrix
    result.rows = starts.shape[0] - 1
    result.starts = &starts[0]
    if columns.shape[0]:
        result.columns = &columns[0]
        result.values = &values[0]
    return result


cdef inline int set_basis(lyndon_basis *basis, source) except -1:
    """source: brackets, the LyndonTables, and two SparseRows or None."""
    cdef const Py_ssize_t[::1] group_counts, groups
    cdef const int32_t[::1] least
    basis.brackets, tables, system, expansion = source
    basis.words, _, group_counts, groups, least = tables
    basis.group_counts = &group_counts[0]
    basis.groups = &groups[0]
    basis.least = &least[0]
    basis.system = sparse_rows_of(system)
    basis.expansion = sparse_rows_of(expansion)
    return 0
