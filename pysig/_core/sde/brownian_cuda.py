"""Brownian motion on a GPU: launches of brownian.cu.

The class has the methods of that in brownian.pyx, for CuPy arrays on the current device; nothing is
kept between calls, so that threads need not take turns.
"""

import functools

import cupy

from pysig._core import cuda
from pysig._core.sde import brownian

STEM = "sde/brownian"
BLOCKS = 16  # of random words, in a chunk


@functools.cache
def kernel(name, *parameters):
    """Return a kernel for these parameters of its template."""
    return cuda.kernels(STEM, f"brownian_{name}<{', '.join(parameters)}>")[0]


def block_count(numbers, is_double):
    """Return how many blocks of random words make so many normal numbers, in whole chunks."""
    chunk = BLOCKS * (2 if is_double else 4)
    return -(-numbers // chunk) * BLOCKS


def halves(key):
    """Return a key of four words of 32 bits as two signed integers of 64."""
    pairs = [key[0] | key[1] << 32, key[2] | key[3] << 32]
    return [pair - (pair >> 63 << 64) for pair in pairs]


class BrownianTree:
    """A process on one interval."""

    def __init__(self, t0, t1, cells, size, is_double, components, key, cache_size, root):
        """Keep the numbers; root: W, or W and H, or None. The cache has no use here."""
        self.times = brownian.BrownianTree(t0, t1, cells, 0, is_double, components, key, 0, None)
        self.length, self.cells, self.size, self.is_double = t1 - t0, cells, size, is_double
        self.key, self.root = key, root
        self.blocks = block_count(size, is_double)
        self.real = "double" if is_double else "float"
        self.with_h = components == 2

    def cell(self, time, name):
        """Return a time in cells."""
        return self.times.cell(time, name)

    def grid(self, times, name):
        """Return times in cells."""
        return self.times.grid(times, name)

    def cuts(self):
        """Return nothing: there are no exact trees here."""
        return []

    def launch(self, w, h, points, start, end, sign, rows):
        """Launch the kernel for some rows."""
        root_w, root_h = (*(self.root or ()), 0, 0)[:2]
        kernel("increments", self.real, str(self.with_h).lower())(
            rows * self.blocks,
            w,
            0 if h is None else h,
            root_w,
            root_h,
            points,
            float(start),
            float(end),
            float(sign),
            rows,
            self.size,
            self.blocks,
            self.length,
            self.cells,
            *halves(self.key),
        )

    def increment(self, start, end, w, h):
        """Write the values from one time to another into w and h (or None)."""
        self.interval(self.cell(start, "start"), self.cell(end, "end"), w, h)

    def interval(self, start, end, w, h):
        """Do the same for times in cells."""
        if start == end:
            w.fill(0)
            if h is not None:
                h.fill(0)
        elif self.size:
            sign = 1.0 if start < end else -1.0
            self.launch(w, h, 0, min(start, end), max(start, end), sign, 1)

    def increments(self, times, w, h):
        """Write the values between `times`, which rise, into w (and h)."""
        if self.size:
            self.launch(w, h, cupy.asarray(times), 0.0, 0.0, 1.0, len(times) - 1)

    def area(self, start, end, length, foster, w, h, area):
        """Write areas for the increments w: (rows, m), h: (rows, m) into area: (rows, m, m)."""
        rows, m = w.shape
        blocks = block_count(rows * (m * (m - 1) // 2), self.is_double)
        key = brownian.area_key(self.key, min(start, end), max(start, end))
        sign = 1.0 if start < end else -1.0
        area.fill(0)
        kernel("area", self.real)(
            blocks, area, w, h, rows, m, blocks, float(length), sign, int(foster), *halves(key)
        )
