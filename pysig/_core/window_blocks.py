"""Signatures of sliding windows of arrays that are larger than memory, block by block.

As many paths as the memory allows make a block; of a path larger than that, some windows do.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

import pysig

# Coefficients in a block, so that a progress bar moves about once a second.
COEFFICIENTS_OF_BLOCK = 50_000_000


class WindowOptions(NamedTuple):
    """What `pysig.signature_windows` takes beside the path."""

    depth: int
    length: int
    stride: int
    scalar_term: bool

    def windows(self, points: int) -> int:
        """Return how many windows a path has."""
        return (points - self.length) // self.stride + 1

    def points(self, windows: int) -> int:
        """Return how many points so many windows have."""
        return (windows - 1) * self.stride + self.length


def window_blocks(
    path: np.ndarray,
    dtype: np.dtype,
    options: WindowOptions,
    memory: int,
    report: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """Yield the signatures of the windows of ``path``, piece by piece in C order.

    Parameters
    ----------
    path : ndarray
        ``(..., length, channels)``, usually a memory map.
    dtype : dtype
        What to compute in.
    options : WindowOptions
        What to compute.
    memory : int
        Bytes that one block of input and output may take.
    report : callable
        Is told the number of points done, in portions.
    """
    if path.ndim == 2:
        path = path[None]
    *leading, points, _ = path.shape
    count = math.prod(leading)
    windows = options.windows(points)
    paths, part = choose_block_size(path.shape, dtype, options, memory)
    for start in range(0, count, paths):
        indices = np.arange(start, min(start + paths, count))
        chosen = np.unravel_index(indices, leading)
        if part == windows:
            block = path[chosen].astype(dtype)
            yield pysig.signature_windows(block, **options._asdict())
            report(len(indices) * points)
            continue
        one_path = path[tuple(int(index[0]) for index in chosen)]
        for first in range(0, windows, part):
            last = min(first + part, windows)
            begin = first * options.stride
            piece = one_path[begin : begin + options.points(last - first)].astype(dtype)
            yield pysig.signature_windows(piece, **options._asdict())
            end = points if last == windows else last * options.stride
            report(end - begin)


def choose_block_size(
    shape: tuple[int, ...], dtype: np.dtype, options: WindowOptions, memory: int
) -> tuple[int, int]:
    """Choose how many paths of this shape, or how many windows of one, to take."""
    *leading, points, channels = shape
    windows = options.windows(points)
    coefficients = pysig.signature_channels(channels, options.depth, options.scalar_term)
    numbers = memory // dtype.itemsize
    per_path = channels * points + coefficients * windows
    most = min(numbers, COEFFICIENTS_OF_BLOCK)
    if per_path <= most:
        return max(1, min(math.prod(leading), most // per_path)), windows
    per_window = channels * options.stride + coefficients
    return 1, min(windows, max(1, (most - channels * options.length) // per_window))
