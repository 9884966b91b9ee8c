"""Soft sort and soft rank on the CPU: loops over the rows of soft.h, with threads.

The arrays arrive checked: C-contiguous, of one floating-point type, of shape (batch, n), with at
least one entry.
"""

from cpython.buffer cimport PyBUF_ND, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange, threadid
from libc.stdint cimport int32_t, uint8_t

from pysig._core.memory cimport Memory, address, round_up
from pysig._core.threads cimport num_threads

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sorting/soft.h" nogil:
    ctypedef struct soft_problem:
        Py_ssize_t batch, n
        int kind, sign, is_double, level
        double strength
        const void *x
        void *value
        int32_t *order
        uint8_t *starts
        void *weights
        int32_t *blocks
        const void *grad
        void *x_gradient
        double *strength_gradient

    ctypedef struct soft_part:
        pass

    ctypedef void soft_task(void *, Py_ssize_t) noexcept

    ctypedef struct soft_workspace:
        double *keys
        int32_t *order
        void *sorted
        int32_t *bins
        double *columns
        soft_part *parts
        int threads
        void (*run)(soft_task *, void *, Py_ssize_t, int) noexcept

    Py_ssize_t soft_chunks(Py_ssize_t) noexcept
    void soft_fill_tables(const soft_problem *, soft_workspace *) noexcept

    int SOFT_SORT_L2, SOFT_RANK_L2, SOFT_SORT_KL, SOFT_RANK_KL, SOFT_SORT_HARD
    int SOFT_OK, SOFT_NAN, SOFT_INFINITE, SOFT_STRIP
    int soft_short_rows(const soft_problem *, Py_ssize_t, Py_ssize_t,
                        const soft_workspace *) noexcept
    int soft_prepare_row(const soft_problem *, Py_ssize_t, double *,
                         const soft_workspace *) noexcept
    int soft_finish_row(const soft_problem *, Py_ssize_t, double *,
                        const soft_workspace *) noexcept
    int soft_try_row(const soft_problem *, Py_ssize_t, const double *,
                     const soft_workspace *) noexcept
    void soft_choose_splitters(const soft_problem *, Py_ssize_t, double *) noexcept
    int soft_count_buckets(const soft_problem *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                           const double *, Py_ssize_t *) noexcept
    void soft_fill_buckets(const soft_problem *, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                           const double *, const Py_ssize_t *, double *) noexcept
    void soft_take_part(const soft_problem *, Py_ssize_t, Py_ssize_t, Py_ssize_t, const double *,
                        const soft_workspace *) noexcept
    int soft_finish_taken(const soft_problem *, Py_ssize_t, double *,
                          const soft_workspace *) noexcept
    void soft_backward_rows(const soft_problem *, Py_ssize_t, Py_ssize_t,
                            const soft_workspace *) noexcept


KINDS = {
    ("sort", "l2"): SOFT_SORT_L2,
    ("rank", "l2"): SOFT_RANK_L2,
    ("sort", "kl"): SOFT_SORT_KL,
    ("rank", "kl"): SOFT_RANK_KL,
    ("sort", "hard"): SOFT_SORT_HARD,
}
FINITE, NAN, INFINITE = SOFT_OK, SOFT_NAN, SOFT_INFINITE

cdef int LEVEL = SIMD_LEVELS[simd_level()]
cdef Py_ssize_t SHORT = SOFT_STRIP  # the longest rows that are sorted without NumPy
cdef Py_ssize_t WIDEST = 8   # lanes of the widest vector of doubles
cdef Py_ssize_t TOGETHER = 16  # short rows that are done together
cdef Py_ssize_t HUGE = 131072  # the shortest rows that several threads work on
cdef Py_ssize_t TASK = 16384  # the most entries that one thread does at a time
cdef Py_ssize_t PARALLEL = 8192  # the fewest entries that several threads do


cdef enum:
    ROOM = 32768  # bytes that a small call has on the stack: allocating takes as long as some rows
    ALIGNMENT = 64  # SIMD_ALIGNMENT of simd.h


cdef struct division:
    # Rows that one thread does at a time, and how many such tasks there are.
    Py_ssize_t rows, tasks
    int threads


cdef division divide_rows(const soft_problem *problem, Py_ssize_t multiple) noexcept nogil:
    """One thread for calls that take less than some ten microseconds, else several tasks for each.

    multiple: rows that are done together.
    """
    cdef division parts
    cdef Py_ssize_t entries = problem.batch * problem.n, each = TASK
    parts.threads = num_threads() if entries >= PARALLEL else 1
    if parts.threads > 1:
        each = min(each, entries // (4 * parts.threads))
    parts.rows = max(each // problem.n // multiple * multiple, multiple)
    parts.tasks = (problem.batch + parts.rows - 1) // parts.rows
    parts.threads = <int>min(<Py_ssize_t>parts.threads, parts.tasks)
    return parts


cdef void *set_problem(soft_problem *problem, array, kind, sign, strength) except NULL:
    """Sets what an array (batch, n) tells, and returns where its numbers begin."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_ND)
    problem.batch, problem.n = view.shape[0], view.shape[1]
    problem.is_double = view.itemsize == 8
    PyBuffer_Release(&view)
    problem.kind = KINDS[kind]
    problem.sign = sign
    problem.strength = strength
    problem.level = LEVEL
    problem.value = problem.weights = problem.x_gradient = NULL
    problem.x = problem.grad = NULL
    problem.order = problem.blocks = NULL
    problem.starts = NULL
    problem.strength_gradient = NULL
    return view.buf


cdef void run_tasks(
    soft_task *task, void *context, Py_ssize_t count, int threads,
) noexcept nogil:
    """The tasks that several threads do together."""
    cdef Py_ssize_t i
    for i in prange(count, num_threads=threads, schedule="dynamic"):
        task(context, i)


cdef struct layout:
    Py_ssize_t keys, order, sorted, bins, columns, parts, total


cdef layout plan_workspace(const soft_problem *problem, bint is_short) noexcept:
    """Where the parts of one thread's workspace begin; long rows have their keys elsewhere."""
    cdef layout places
    cdef Py_ssize_t n = problem.n, stride = n + WIDEST
    cdef Py_ssize_t size = 8 if problem.is_double else 4
    cdef bint is_rank = problem.kind == SOFT_RANK_L2 or problem.kind == SOFT_RANK_KL
    places.keys = 0
    places.columns = round_up(8 * stride * (WIDEST + 1)) if is_short else 0
    places.order = places.columns + (round_up(8 * stride * WIDEST) if is_short else 0)
    places.sorted = places.order + (round_up(4 * n) if is_rank or is_short else 0)
    places.bins = places.sorted + (round_up(size * n) if is_rank else 0)
    places.parts = places.bins + (round_up(4 * n) if problem.kind == SOFT_RANK_L2 else 0)
    places.total = places.parts + round_up(sizeof(soft_part) * soft_chunks(n))
    return places


cdef void set_workspace(
    const soft_problem *problem, soft_workspace *workspace, char *memory, layout places,
) noexcept nogil:
    workspace.keys = <double *>(memory + places.keys)
    workspace.columns = <double *>(memory + places.columns)
    workspace.order = <int32_t *>(memory + places.order)
    workspace.sorted = memory + places.sorted
    workspace.bins = <int32_t *>(memory + places.bins)
    workspace.parts = <soft_part *>(memory + places.parts)
    workspace.threads = 1
    workspace.run = run_tasks
    soft_fill_tables(problem, workspace)


cdef int short_task(
    const soft_problem *problem, Py_ssize_t first, Py_ssize_t last, char *memory, layout places,
) noexcept nogil:
    cdef soft_workspace workspace
    set_workspace(problem, &workspace, memory, places)
    return soft_short_rows(problem, first, last, &workspace)


cdef int forward_short(const soft_problem *problem, division parts, int *status) except -1:
    """All rows, without NumPy. status: one for each task."""
    cdef layout places = plan_workspace(problem, True)
    cdef Py_ssize_t rows = parts.rows, i
    cdef char room[ROOM + ALIGNMENT]
    cdef char *place = <char *>round_up(<size_t>room)
    cdef Memory memory
    if places.total * parts.threads > ROOM:
        memory = Memory(places.total * parts.threads)
        place = memory.data
    if parts.threads == 1:
        with nogil:
            status[0] = short_task(problem, 0, problem.batch, place, places)
        return 0
    for i in prange(parts.tasks, num_threads=parts.threads, schedule="dynamic", nogil=True):
        status[i] = short_task(problem, rows * i, min(rows * (i + 1), problem.batch),
                               place + threadid() * places.total, places)
    return 0


cdef struct long_rows:
    # What a thread sorts with NumPy: arrays of rows, borrowed.
    void *keys
    void *value
    double *slots
    Py_ssize_t stride


cdef int sort_keys(const long_rows *rows, Py_ssize_t count, Py_ssize_t n) except -1 nogil:
    with gil:
        (<object>rows.keys)[:count, :n].sort()
    return 0


cdef int sort_values(const long_rows *rows, Py_ssize_t first, Py_ssize_t last) except -1 nogil:
    with gil:
        (<object>rows.value)[first:last].sort()
    return 0


cdef int long_task(
    const soft_problem *problem, Py_ssize_t first, Py_ssize_t last, char *memory, layout places,
    const long_rows *rows,
) except -1 nogil:
    """Prepares some rows, sorts those that need it in one call, and finishes them."""
    cdef soft_workspace workspace
    cdef Py_ssize_t waiting[64]
    cdef Py_ssize_t count = 0, row, i
    cdef int status
    set_workspace(problem, &workspace, memory, places)
    for row in range(first, last):
        workspace.keys = rows.slots + count * rows.stride
        status = soft_prepare_row(problem, row, workspace.keys, &workspace)
        if status > SOFT_OK:
            return status
        if status < 0:
            waiting[count] = row
            count += 1
    if count:
        sort_keys(rows, count, problem.n)
    for i in range(count):
        status = soft_finish_row(problem, waiting[i], rows.slots + i * rows.stride, &workspace)
        if status > SOFT_OK:
            return status
    return SOFT_OK


cdef int long_values_task(
    const soft_problem *problem, Py_ssize_t first, Py_ssize_t last, char *memory, layout places,
    const long_rows *rows,
) except -1 nogil:
    """The same for the values of a soft sort alone, which are sorted in place."""
    cdef soft_workspace workspace
    cdef Py_ssize_t row = first, start
    cdef int status = SOFT_OK
    set_workspace(problem, &workspace, memory, places)
    workspace.keys = rows.slots
    while row < last:
        start = row
        while row < last:
            status = soft_prepare_row(problem, row, NULL, &workspace)
            if status >= SOFT_OK:
                break
            row += 1
        if status > SOFT_OK:
            return status
        if row > start:
            sort_values(rows, start, row)
        for start in range(start, row):
            status = soft_finish_row(problem, start, NULL, &workspace)
            if status > SOFT_OK:
                return status
        row += row < last
    return SOFT_OK


cdef int forward_long(const soft_problem *problem, value, division parts, int *status) except -1:
    """All rows, those that are not in order already sorted by NumPy."""
    cdef layout places = plan_workspace(problem, False)
    cdef Py_ssize_t per_task = parts.rows, tasks = parts.tasks, i, first, last
    cdef int threads = parts.threads
    cdef bint is_rank = problem.kind == SOFT_RANK_L2 or problem.kind == SOFT_RANK_KL
    if problem.n >= HUGE and problem.batch < num_threads():
        return forward_huge(problem, value, num_threads(), status)
    cdef bint values_alone = not is_rank and problem.order == NULL
    cdef char room[ROOM + ALIGNMENT]
    cdef char *place = <char *>round_up(<size_t>room)
    cdef Memory memory
    cdef Py_ssize_t addresses = round_up(sizeof(long_rows) * threads)
    if addresses + places.total * threads > ROOM:
        memory = Memory(addresses + places.total * threads)
        place = memory.data
    cdef long_rows *rows = <long_rows *>place
    place += addresses
    slots = 1 if values_alone else per_task
    arrays = [np.empty((slots, problem.n + WIDEST)) for _ in range(threads)]
    for i in range(threads):
        rows[i].keys = <void *>arrays[i]
        rows[i].value = <void *>value
        rows[i].slots = <double *>address(arrays[i], PyBUF_WRITABLE)
        rows[i].stride = problem.n + WIDEST
    if threads == 1:
        with nogil:
            for i in range(tasks):
                first, last = per_task * i, min(per_task * (i + 1), problem.batch)
                status[i] = (long_values_task if values_alone else long_task)(
                    problem, first, last, place, places, rows)
        return 0
    for i in prange(tasks, num_threads=threads, schedule="dynamic", nogil=True):
        status[i] = (long_values_task if values_alone else long_task)(
            problem, per_task * i, min(per_task * (i + 1), problem.batch),
            place + threadid() * places.total, places, rows + threadid())
    return 0


cdef enum:
    BUCKETS = 8  # SOFT_BUCKETS of soft.h
    CHUNKS = 32  # parts of a row that one thread puts into buckets at a time


cdef int sort_slice(void *array, Py_ssize_t first, Py_ssize_t last) except -1 nogil:
    with gil:
        (<object>array)[first:last].sort()
    return 0


cdef int sort_in_buckets(
    const soft_problem *problem, Py_ssize_t row, double *keys, void *array,
    const soft_workspace *workspace, int threads,
) except -1:
    """Sorts one row with several threads. array: the keys, or the row of values if keys is NULL."""
    cdef double splitters[BUCKETS - 1]
    cdef Py_ssize_t counts[CHUNKS][BUCKETS]
    cdef Py_ssize_t starts[BUCKETS + 1]
    cdef int nan[CHUNKS]
    cdef Py_ssize_t n = problem.n, total = 0, i, j, count
    soft_choose_splitters(problem, row, splitters)
    for i in prange(CHUNKS, num_threads=threads, schedule="dynamic", nogil=True):
        nan[i] = soft_count_buckets(problem, row, n * i // CHUNKS, n * (i + 1) // CHUNKS, splitters,
                                    counts[i])
    for i in range(CHUNKS):
        if nan[i]:
            return SOFT_NAN
    for j in range(BUCKETS):
        starts[j] = total
        for i in range(CHUNKS):
            count = counts[i][j]
            counts[i][j] = total
            total += count
    starts[BUCKETS] = total
    for i in prange(CHUNKS, num_threads=threads, schedule="dynamic", nogil=True):
        soft_fill_buckets(problem, row, n * i // CHUNKS, n * (i + 1) // CHUNKS, splitters,
                          counts[i], keys)
    for j in prange(BUCKETS, num_threads=threads, schedule="dynamic", nogil=True):
        sort_slice(array, starts[j], starts[j + 1])
        if keys != NULL:
            soft_take_part(problem, row, starts[j], starts[j + 1], keys, workspace)
    return SOFT_OK


cdef int forward_huge(const soft_problem *problem, value, int threads, int *status) except -1:
    """Few rows so long that several threads work on each."""
    cdef layout places = plan_workspace(problem, False)
    cdef soft_workspace workspace
    cdef Memory memory = Memory(places.total)
    cdef bint is_rank = problem.kind == SOFT_RANK_L2 or problem.kind == SOFT_RANK_KL
    cdef double *keys
    cdef Py_ssize_t row
    array = np.empty(problem.n + WIDEST)
    set_workspace(problem, &workspace, memory.data, places)
    workspace.threads = threads
    workspace.keys = <double *>address(array, PyBUF_WRITABLE)
    keys = workspace.keys if is_rank or problem.order != NULL else NULL
    for row in range(problem.batch):
        with nogil:
            status[row] = soft_try_row(problem, row, keys, &workspace)
        if status[row] >= SOFT_OK:
            continue
        target = array if keys != NULL else value[row]
        status[row] = sort_in_buckets(problem, row, keys, <void *>target, &workspace, threads)
        if status[row] == SOFT_OK:
            with nogil:
                status[row] = soft_finish_taken(problem, row, keys, &workspace)
    return 0


def forward(value, order, starts, weights, blocks, x, kind, sign, strength):
    """
    Write soft sorted values or soft ranks into `value`, and what the gradient needs.

    value, x: (batch, n). order (int32), starts (bool), weights (as x): (batch, n), for the gradient
    of the sort, weights for "kl" only. blocks (int32): (batch, n), for the gradient of the ranks.
    kind: a key of KINDS. Returns FINITE, or why the values are not valid: NAN, INFINITE.
    """
    cdef soft_problem problem
    problem.x = set_problem(&problem, x, kind, sign, strength)
    problem.value = address(value, PyBUF_WRITABLE)
    problem.order = <int32_t *>address(order, PyBUF_WRITABLE)
    problem.starts = <uint8_t *>address(starts, PyBUF_WRITABLE)
    problem.weights = address(weights, PyBUF_WRITABLE)
    problem.blocks = <int32_t *>address(blocks, PyBUF_WRITABLE)
    cdef division parts = divide_rows(&problem, TOGETHER if problem.n <= SHORT else 1)
    cdef Py_ssize_t i
    cdef int one_status = SOFT_OK, worst = SOFT_OK
    cdef int *status = &one_status
    cdef Memory memory
    if parts.tasks > 1:
        memory = Memory(sizeof(int) * parts.tasks)
        status = <int *>memory.data
        for i in range(parts.tasks):
            status[i] = SOFT_OK
    if problem.n <= SHORT:
        forward_short(&problem, parts, status)
    else:
        forward_long(&problem, value, parts, status)
    for i in range(parts.tasks):
        worst = max(worst, status[i])
    return worst


def sort(value, order, x):
    """Write the sorted rows of x, without NaN, and the permutations; all are (batch, n)."""
    return forward(value, order, None, None, None, x, ("sort", "hard"), 1, 1.0)


def backward(x_gradient, strength_gradient, grad, value, order, starts, weights, blocks, kind, sign,
             strength):
    """
    Write the gradients for `grad`, the gradient with respect to what `forward` writes.

    x_gradient, grad: (batch, n). strength_gradient: (batch) of float64, or None. The others are
    those of `forward`; value is read for the ranks only.
    """
    cdef soft_problem problem
    cdef layout places
    problem.grad = set_problem(&problem, grad, kind, sign, strength)
    problem.value = address(value)
    problem.order = <int32_t *>address(order)
    problem.starts = <uint8_t *>address(starts)
    problem.weights = address(weights)
    problem.blocks = <int32_t *>address(blocks)
    problem.x_gradient = address(x_gradient, PyBUF_WRITABLE)
    problem.strength_gradient = <double *>address(strength_gradient, PyBUF_WRITABLE)
    cdef division parts = divide_rows(&problem, 1)
    cdef Py_ssize_t rows = parts.rows, i
    cdef int threads = parts.threads
    places.keys = 0
    cdef bint is_rank = problem.kind == SOFT_RANK_L2 or problem.kind == SOFT_RANK_KL
    places.order = round_up(8 * problem.n) if is_rank else 0
    places.parts = places.order + (round_up(4 * problem.n) if is_rank else 0)
    places.sorted = places.bins = places.columns = 0
    places.total = places.parts + round_up(sizeof(soft_part) * soft_chunks(problem.n))
    cdef bint is_huge = problem.n >= HUGE and problem.batch < num_threads()
    if is_huge:
        threads = 1
    cdef char room[ROOM + ALIGNMENT]
    cdef char *place = <char *>round_up(<size_t>room)
    cdef Memory memory
    if places.total * threads > ROOM:
        memory = Memory(places.total * threads)
        place = memory.data
    if threads == 1:
        if is_huge:
            threads = num_threads()
        with nogil:
            backward_task(&problem, 0, problem.batch, place, places, threads)
        return
    for i in prange(parts.tasks, num_threads=threads, schedule="dynamic", nogil=True):
        backward_task(&problem, rows * i, min(rows * (i + 1), problem.batch),
                      place + threadid() * places.total, places, 1)


cdef void backward_task(
    const soft_problem *problem, Py_ssize_t first, Py_ssize_t last, char *memory, layout places,
    int threads,
) noexcept nogil:
    """threads: those that work on each row."""
    cdef soft_workspace workspace
    set_workspace(problem, &workspace, memory, places)
    workspace.threads = threads
    soft_backward_rows(problem, first, last, &workspace)
