"""Brownian motion on the CPU: memory and threads for the programs of brownian.h.

The arguments arrive checked; times are in cells, from 0 to their number.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE
from cython.parallel cimport prange, threadid
from libc.math cimport fabs, rint, sqrt
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from pysig._core.memory cimport address
from pysig._core.threads cimport num_threads

import numpy as np

from pysig._core.signatures.signature import SIMD_LEVELS, simd_level


cdef extern from "sde/brownian.h" nogil:
    ctypedef struct threefry_block:
        unsigned int word[4]

    ctypedef struct brownian_point:
        uint64_t cell
        double part

    ctypedef struct brownian_place:
        char *array
        Py_ssize_t slot

    ctypedef struct brownian_bridge "bridge":
        double noise, left_2

    ctypedef struct brownian_operation:
        threefry_block key
        brownian_place left
        brownian_bridge bridge

    ctypedef struct brownian_program:
        brownian_operation *operations
        Py_ssize_t count, capacity, slots
        int failed

    ctypedef struct brownian_cache:
        pass

    ctypedef struct brownian_cells:
        uint64_t node, end

    ctypedef struct brownian_cut:
        double time

    ctypedef struct brownian_cuts:
        brownian_cut *cuts
        Py_ssize_t count

    ctypedef struct brownian_tree:
        double length
        uint64_t cells
        int is_double, components, simd_level
        Py_ssize_t size, chunks
        threefry_block key
        char *root
        brownian_cache cache
        int exact
        brownian_cuts cuts
        void *later
        brownian_cells *path

    int BROWNIAN_ROOT
    Py_ssize_t brownian_chunk(int) noexcept
    Py_ssize_t brownian_array_bytes(const brownian_tree *) noexcept
    Py_ssize_t brownian_slot_bytes(const brownian_tree *) noexcept
    int brownian_make_cache(brownian_cache *, Py_ssize_t) noexcept
    void brownian_forget_all(brownian_tree *) noexcept
    void brownian_forget_grid(brownian_tree *) noexcept
    void brownian_free_cache(brownian_cache *) noexcept
    void brownian_free_cuts(brownian_cuts *) noexcept
    brownian_operation *brownian_append(brownian_program *, int) noexcept
    brownian_point brownian_locate(double) noexcept
    void brownian_plan_interval(brownian_tree *, brownian_program *, brownian_point,
                                brownian_point, double) noexcept
    void brownian_plan_grid(brownian_tree *, brownian_program *, const brownian_point *,
                            Py_ssize_t) noexcept
    void brownian_run(const brownian_tree *, const brownian_program *, Py_ssize_t, Py_ssize_t,
                      char *, void *, void *) noexcept
    void brownian_area(int, int, threefry_block, double, double, int, Py_ssize_t, Py_ssize_t,
                       Py_ssize_t, const void *, const void *, void *) noexcept
    threefry_block brownian_area_key(threefry_block, double, double) noexcept
    threefry_block threefry(threefry_block, threefry_block) noexcept
    void *aligned_alloc(size_t, size_t) noexcept


cdef int LEVEL = SIMD_LEVELS[simd_level()]
cdef double EPSILON_32 = np.finfo(np.float32).eps, EPSILON_64 = np.finfo(np.float64).eps
cdef object FLOAT32 = np.float32
# Operations on chunks that one thread does at least, some 0.7 ms. Between two queries of a solver
# are matrix products; the threads of NumPy's BLAS wait for the next one actively, on the CPUs of
# others.
cdef Py_ssize_t TASK = 8192


cdef threefry_block as_block(words) except *:
    cdef threefry_block block
    for i in range(4):
        block.word[i] = words[i]
    return block


def area_key(key, double start, double end):
    """The key for the Lévy areas of one interval."""
    cdef threefry_block block = brownian_area_key(as_block(key), start, end)
    return [block.word[i] for i in range(4)]


def random_words(key, const unsigned int[:, ::1] counters, unsigned int[:, ::1] words):
    """Threefry-4x32-20: write four words of 32 bits for each counter of four."""
    cdef threefry_block block = as_block(key), counter, result
    cdef Py_ssize_t row, i
    for row in range(counters.shape[0]):
        for i in range(4):
            counter.word[i] = counters[row, i]
        result = threefry(block, counter)
        for i in range(4):
            words[row, i] = result.word[i]


cdef int run(const brownian_tree *tree, const brownian_program *program, void *w,
             void *h) except -1 nogil:
    """Runs a program on all chunks, several at a time if that is worth it."""
    cdef Py_ssize_t most = min(program.count * tree.chunks // TASK, tree.chunks)
    cdef int threads = 1 if most < 2 else <int>min(<Py_ssize_t>num_threads(), most)
    cdef Py_ssize_t scratch = program.slots * brownian_slot_bytes(tree)
    cdef Py_ssize_t tasks = min(tree.chunks, threads * 8), i
    cdef char *memory = NULL
    if program.failed:
        raise MemoryError("no memory for the operations of a query")
    if scratch:
        memory = <char *>aligned_alloc(64, scratch * threads)
        if memory == NULL:
            raise MemoryError(f"cannot allocate {scratch * threads} bytes of working memory")
    if threads == 1:
        brownian_run(tree, program, 0, tree.chunks, memory, w, h)
    else:
        for i in prange(tasks, num_threads=threads, schedule="dynamic"):
            brownian_run(tree, program, tree.chunks * i // tasks, tree.chunks * (i + 1) // tasks,
                         memory + threadid() * scratch, w, h)
    free(memory)
    return 0


cdef class BrownianTree:
    """A process on one interval, and the ranges of it that are kept."""

    cdef brownian_tree tree
    cdef brownian_program program
    cdef cython.pythread_type_lock lock
    cdef double t0, t1

    def __cinit__(self, double t0, double t1, uint64_t cells, Py_ssize_t size, bint is_double,
                  int components, key, Py_ssize_t cache_size, root, bint exact=False):
        """root: the values of the whole, W or W and H one after the other, or None."""
        cdef Py_ssize_t chunk = brownian_chunk(is_double)
        self.t0 = t0
        self.t1 = t1
        self.tree.length = t1 - t0
        self.tree.cells = cells
        self.tree.is_double = is_double
        self.tree.components = components
        self.tree.simd_level = LEVEL
        self.tree.size = size
        self.tree.chunks = (size + chunk - 1) // chunk
        self.tree.key = as_block(key)
        self.tree.exact = exact
        self.tree.path[0].node = 1
        self.tree.path[0].end = cells
        if not brownian_make_cache(&self.tree.cache, cache_size):
            raise MemoryError(f"cannot allocate a cache of {cache_size} entries")
        self.tree.root = <char *>aligned_alloc(64, brownian_array_bytes(&self.tree) + 64)
        if self.tree.root == NULL:
            raise MemoryError("cannot allocate the values of the whole interval")
        if root is None:
            self.make_root()
        else:
            self.set_root(root)

    def __dealloc__(self):
        brownian_forget_grid(&self.tree)
        brownian_free_cache(&self.tree.cache)
        free(self.tree.root)
        brownian_free_cuts(&self.tree.cuts)
        free(self.tree.later)
        free(self.program.operations)

    cdef int make_root(self) except -1:
        cdef brownian_operation *operation = brownian_append(&self.program, BROWNIAN_ROOT)
        operation.key = self.tree.key
        operation.left.array = self.tree.root
        operation.bridge.noise = sqrt(self.tree.length)
        operation.bridge.left_2 = sqrt(self.tree.length / 12)
        run(&self.tree, &self.program, NULL, NULL)
        return 0

    cdef int set_root(self, root) except -1:
        """root: (chunks, components, numbers of a chunk), contiguous."""
        cdef const char *values = <const char *>address(root)
        cdef Py_ssize_t i
        for i in range(brownian_array_bytes(&self.tree)):
            self.tree.root[i] = values[i]
        return 0

    cdef double locate(self, time, name) except -1:
        """A time in cells."""
        cdef double cell = self.locate_number(time, EPSILON_32 if type(time) is FLOAT32
                                              else EPSILON_64)
        if cell < 0:
            raise ValueError(f"{name} must be between {self.t0} and {self.t1}, not {time}")
        return cell

    cdef double locate_number(self, double value, double resolution) noexcept:
        """A time in cells, from 0 to their number, or -1; those a rounding error apart are one."""
        cdef double slack = 4 * resolution * max(fabs(self.t0), fabs(value))
        cdef double scale = self.tree.cells / self.tree.length
        cdef double cell = (value - self.t0) * scale, nearest = rint(cell)
        if not self.t0 - slack <= value <= self.t1 + slack:
            return -1
        if fabs(cell - nearest) <= slack * scale:
            cell = nearest
        return min(max(cell, 0.0), <double>self.tree.cells)

    def cell(self, time, name):
        """A time in cells."""
        return self.locate(time, name)

    def grid(self, const double[::1] times, name):
        """Times in cells."""
        cdef Py_ssize_t i
        cells = np.empty(times.shape[0])
        cdef double[::1] values = cells
        for i in range(times.shape[0]):
            values[i] = self.locate_number(times[i], EPSILON_64)
            if values[i] < 0:
                self.locate(times[i], f"{name}[{i}]")  # says what is wrong
        return cells

    def cuts(self):
        """The times, in cells, at which the cells of an exact tree were cut, in that order."""
        with self.lock:
            return [self.tree.cuts.cuts[i].time for i in range(self.tree.cuts.count)]

    def increment(self, start, end, w, h):
        """Write the values from one time to another into w and h (or None)."""
        self.interval(self.locate(start, "start"), self.locate(end, "end"), w, h)

    cpdef interval(self, double start, double end, w, h):
        """The same for times in cells."""
        cdef void *w_values = address(w, PyBUF_WRITABLE)
        cdef void *h_values = address(h, PyBUF_WRITABLE)
        cdef Py_ssize_t bytes = self.tree.size * (8 if self.tree.is_double else 4)
        if start == end:
            memset(w_values, 0, bytes)
            if h is not None:
                memset(h_values, 0, bytes)
        elif bytes:
            self.run_interval(start, end, w_values, h_values)

    cdef int run_interval(self, double start, double end, void *w, void *h) except -1:
        with self.lock:
            with nogil:
                brownian_plan_interval(&self.tree, &self.program, brownian_locate(min(start, end)),
                                       brownian_locate(max(start, end)),
                                       1.0 if start < end else -1.0)
            self.run_planned(w, h)
        return 0

    cdef int run_planned(self, void *w, void *h) except -1:
        try:
            with nogil:
                run(&self.tree, &self.program, w, h)
        except MemoryError:
            brownian_forget_all(&self.tree)
            raise
        return 0

    def area(self, double start, double end, double length, bint foster, w, h, area):
        """Write areas for the increments w: (rows, m), h: (rows, m) into area: (rows, m, m)."""
        cdef Py_ssize_t rows = w.shape[0], m = w.shape[1], i
        cdef const void *w_values = address(w)
        cdef const void *h_values = address(h)
        cdef void *areas = address(area, PyBUF_WRITABLE)
        cdef threefry_block key = brownian_area_key(self.tree.key, min(start, end), max(start, end))
        cdef double sign = 1.0 if start < end else -1.0
        cdef Py_ssize_t most = min(rows * m * m // 65536, rows)
        cdef int threads = 1 if most < 2 else <int>min(<Py_ssize_t>num_threads(), most)
        cdef int is_double = self.tree.is_double
        if threads == 1:
            with nogil:
                brownian_area(is_double, LEVEL, key, length, sign, foster, m, 0, rows, w_values,
                              h_values, areas)
            return
        for i in prange(threads, num_threads=threads, nogil=True):
            brownian_area(is_double, LEVEL, key, length, sign, foster, m, rows * i // threads,
                          rows * (i + 1) // threads, w_values, h_values, areas)

    def increments(self, const double[::1] times, w, h):
        """Write the values between `times`, which rise, into w (and h): (times - 1, size)."""
        cdef Py_ssize_t count = times.shape[0], i
        cdef void *w_values = address(w, PyBUF_WRITABLE)
        cdef void *h_values = address(h, PyBUF_WRITABLE)
        cdef brownian_point *points
        if not self.tree.size:
            return
        if self.tree.exact:
            for i in range(count - 1):
                self.interval(times[i], times[i + 1], w[i:i + 1], None if h is None else h[i:i + 1])
            return
        points = <brownian_point *>malloc(count * sizeof(brownian_point))
        if points == NULL:
            raise MemoryError(f"cannot allocate {count} points of time")
        try:
            for i in range(count):
                points[i] = brownian_locate(times[i])
            with self.lock:
                with nogil:
                    brownian_plan_grid(&self.tree, &self.program, points, count)
                self.run_planned(w_values, h_values)
        finally:
            free(points)
