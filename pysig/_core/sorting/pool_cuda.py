"""Pooling on a GPU, and sums over blocks: plans, working memory, and launches.

The kernels, and the layout of all arrays, are explained in pool.cuh, pool.cu and segments.cuh. The
functions take CuPy arrays on the current device, of shape (rows, n), with at least one entry. A
null pointer is 0.
"""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import cupy

from pysig._core import cuda

# The kinds of problems, as in pool.cuh.
SORT_L2, RANK_L2, SORT_KL, RANK_KL, FIT_L2, FIT_KL, PROJECT_L2, PROJECT_KL = range(8)
SCALED = (SORT_KL, RANK_KL, FIT_KL, PROJECT_KL)
SHORTENED = (RANK_L2, PROJECT_L2)

# How many entries one thread pools, before parts are merged. Results depend on it in the last
# digits, so it is the same on every device.
CHUNK = 32
WARP = 32
FLOOR = 16  # as in segments.cuh
# What pooling may use, in bytes, unless a single row needs more: batches are cut into slices.
WORKSPACE = 2**28


@dataclass(frozen=True)
class Problem:
    """Rows to be pooled."""

    kind: int
    s: Any  # (rows, n): sorted entries, or those to be fitted
    w: Any = 0  # (rows, n): the sorted second argument of a projection, or weights, or 0
    backwards: bool = False
    strength: float = 1.0

    @property
    def rows(self):
        """How many rows there are."""
        return self.s.shape[0]

    @property
    def n(self):
        """How many entries a row has."""
        return self.s.shape[1]

    @property
    def chunks(self):
        """How many chunks a row is cut into."""
        return -(-self.n // CHUNK)

    @property
    def planes(self):
        """How many numbers there are for each entry in the first and the second prefix sums."""
        first = 3 if self.kind in SCALED else 2
        if self.kind == PROJECT_KL:
            return first, 3
        return first, 2 if self.kind in (FIT_L2, FIT_KL) and not is_null(self.w) else 0

    @property
    def real(self):
        """The type of the entries, in C."""
        return cuda.REAL[self.s.dtype.name]

    def slices(self):
        """Return slices of the rows that are pooled at a time."""
        bytes_of_row = self.n * (8 * sum(self.planes) + 8)
        step = max(1, WORKSPACE // bytes_of_row)
        return [slice(i, min(i + step, self.rows)) for i in range(0, self.rows, step)]

    def part(self, rows):
        """Return the problem for a slice of the rows."""
        w = self.w if is_null(self.w) else self.w[rows]
        return Problem(self.kind, self.s[rows], w, self.backwards, self.strength)


@dataclass(frozen=True)
class Blocks:
    """Pooled rows, as pool.cu leaves them."""

    starts: Any  # (rows, n) of int32
    counts: Any  # (rows, chunks) of int32; the first of each row counts
    a: Any  # (planes, rows, n) of float64
    b: Any  # the same, or 0


def is_null(array):
    """Whether an argument of a kernel is the null pointer instead of an array."""
    return isinstance(array, int)


def null_or(array):
    """Return the null pointer for None."""
    return 0 if array is None else array


def row_slice(array, rows):
    """Return a slice of an array, of None, or of the null pointer."""
    return 0 if array is None or is_null(array) else array[rows]


@functools.cache
def pool_kernels(real, kind):
    """Return the kernels that pool chunks, search, and move."""
    names = (f"pool_{name}<{real}, {kind}>" for name in ("chunks", "search", "move"))
    return cuda.kernels("sorting/pool", *names)


def pool(problem):
    """Return the blocks of all rows."""
    rows, n, chunks = problem.rows, problem.n, problem.chunks
    pool_chunks, pool_search, pool_move = pool_kernels(problem.real, problem.kind)
    a, b = (cupy.empty((planes, rows, n), "float64") if planes else 0 for planes in problem.planes)
    starts, counts = cupy.empty((rows, n), "int32"), cupy.empty((rows, chunks), "int32")
    is_shortened = problem.kind in SHORTENED
    widths = cupy.empty((2, rows, chunks), "float64") if is_shortened else 0
    data = problem.s, problem.w
    options = int(problem.backwards), problem.strength
    pool_chunks(
        rows * chunks, starts, counts, a, b, widths, *data, rows, n, CHUNK, chunks, *options
    )
    if chunks == 1:
        return Blocks(starts, counts, a, b)
    other, keeps, skips = cupy.empty_like(starts), cupy.empty_like(counts), cupy.empty_like(counts)
    shifts = cupy.empty_like(widths) if is_shortened else 0
    width = 1
    while width < chunks:
        pairs = -(-chunks // (2 * width))
        sizes = rows, n, CHUNK, chunks, pairs, width
        plan = counts, keeps, skips
        threads = rows * pairs * WARP
        pool_search(threads, *plan, widths, shifts, starts, a, b, *data, *sizes, *options)
        pool_move(rows * n, other, a, b, starts, *plan, shifts, *sizes)
        starts, other, width = other, starts, 2 * width
    return Blocks(starts, counts, a, b)


# ------------------------------------------------------------------------------- sums over blocks


@functools.cache
def segment_kernels():
    """Return the kernels of segments.cu by name."""
    names = ("marks", "marks_of_blocks", "begins", "floor", "sums")
    compiled = cuda.kernels("sorting/segments", *(f"segment_{name}" for name in names))
    return dict(zip(names, compiled, strict=True))


@dataclass(frozen=True)
class Segments:
    """The blocks of all rows."""

    number: Any  # (rows, n) of int64
    begins: Any  # (rows * n + 1) of int64
    shape: tuple[int, int]

    def sums(self, pyramid):
        """Return the sums over blocks of what stands in the lowest floor of a pyramid."""
        rows, n = self.shape
        kernels = segment_kernels()
        sizes = floor_sizes(n)
        begin = 0
        for below, numbers in itertools.pairwise(sizes):
            end = begin + rows * below
            kernels["floor"](rows * numbers, pyramid[end:], pyramid[begin:], rows, numbers, below)
            begin = end
        sums = cupy.empty(rows * n, "float64")
        kernels["sums"](rows * n, sums, self.number, self.begins, pyramid, rows, n)
        return sums


def floor_sizes(n):
    """Return how many numbers of a row there are in each floor, the lowest first."""
    sizes = [n]
    while sizes[-1] > FLOOR:
        sizes.append(-(-sizes[-1] // FLOOR))
    return sizes


def empty_pyramid(rows, n):
    """Return room for all floors; the lowest is to be filled first."""
    return cupy.empty(rows * sum(floor_sizes(n)), "float64")


def segments_of_starts(starts):
    """Return the blocks that begin where `starts` is set."""
    marks = cupy.empty(starts.shape, "int64")
    segment_kernels()["marks"](starts.size, marks, starts, *starts.shape)
    return segments_of_marks(marks)


def segments_of_blocks(blocks, order):
    """Return the blocks in sorted order, from the number of each entry's block."""
    marks = cupy.empty(blocks.shape, "int64")
    segment_kernels()["marks_of_blocks"](blocks.size, marks, blocks, order, *blocks.shape)
    return segments_of_marks(marks)


def segments_of_marks(marks):
    """Return the blocks."""
    number = cupy.cumsum(marks.ravel())
    begins = cupy.empty(number.size + 1, "int64")
    segment_kernels()["begins"](number.size, begins, number, number.size)
    return Segments(number, begins, marks.shape)
