"""Signatures and logsignatures of arrays that are larger than memory, block by block.

As many paths as the memory allows make a block; a path that is larger than that is cut along time,
and every piece continues from the signature of those before it.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import pysig

# Coefficients updated in a block, so that a progress bar moves about once a second.
WORK_OF_BLOCK = 1_000_000_000
# Fewer paths than this per thread would leave some of the machine idle.
PATHS_PER_THREAD = 16


class Options(NamedTuple):
    """What `pysig.signature` takes beside the path, its length and where it continues from.

    With a mode, it is the logsignature that is wanted.
    """

    depth: int
    stream: bool
    basepoint: bool
    inverse: bool
    scalar_term: bool
    mode: str | None = None

    def signature(self) -> dict[str, Any]:
        """Return the keyword arguments of `pysig.signature`."""
        return {name: value for name, value in self._asdict().items() if name != "mode"}

    def logsignature(self) -> dict[str, Any]:
        """Return the keyword arguments of `pysig.logsignature`."""
        return {name: value for name, value in self._asdict().items() if name != "scalar_term"}

    def coefficients(self, channels: int) -> int:
        """Return how many numbers a result has."""
        if self.mode is not None:
            return pysig.logsignature_channels(channels, self.depth, self.mode)
        return pysig.signature_channels(channels, self.depth, self.scalar_term)


class BlockSize(NamedTuple):
    """How much one block holds: some whole paths, or some points of a single path."""

    paths: int
    points: int


def signature_blocks(
    path: np.ndarray,
    dtype: np.dtype,
    options: Options,
    lengths: np.ndarray | None,
    memory: int,
    report: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """Yield the signatures, or logsignatures, of ``path``, piece by piece in C order.

    Parameters
    ----------
    path : ndarray
        ``(..., length, channels)``, usually a memory map; each piece of it is read once.
    dtype : dtype
        What to compute in.
    options : Options
        What to compute.
    lengths : ndarray or None
        One length per path, of the shape of the leading axes.
    memory : int
        Bytes that one block of input and output may take.
    report : callable
        Is told the number of points done, in portions.
    """
    if path.ndim == 2:
        path = path[None]
    if lengths is not None:
        lengths = lengths.reshape(-1)
    *leading, length, _ = path.shape
    count = math.prod(leading)
    block_size = choose_block_size(path.shape, dtype, options, memory)
    for start in range(0, count, block_size.paths):
        indices = np.arange(start, min(start + block_size.paths, count))
        chosen = np.unravel_index(indices, leading)
        ends = None if lengths is None else lengths[indices]
        if block_size.points < length:
            one_path = path[tuple(int(index[0]) for index in chosen)]
            end = length if ends is None else int(ends[0])
            yield from _along_time(one_path, end, dtype, options, block_size.points, report)
        else:
            block = path[chosen].astype(dtype)
            if options.mode is None:
                yield pysig.signature(block, **options.signature(), lengths=ends)
            else:
                yield pysig.logsignature(block, **options.logsignature(), lengths=ends)
            report(len(indices) * length)


def choose_block_size(
    shape: tuple[int, ...], dtype: np.dtype, options: Options, memory: int
) -> BlockSize:
    """Choose the size of blocks of paths of the given shape ``(..., length, channels)``."""
    *leading, length, channels = shape
    coefficients = pysig.signature_channels(channels, options.depth, options.scalar_term)
    per_point = dtype.itemsize * (channels + coefficients * options.stream)
    per_path = per_point * length + dtype.itemsize * coefficients * (not options.stream)
    enough = max(
        PATHS_PER_THREAD * pysig.get_num_threads(), WORK_OF_BLOCK // (length * coefficients)
    )
    paths = min(math.prod(leading), memory // per_path, enough)
    if paths > 1:
        return BlockSize(paths, length)
    points = min(length, memory // per_point, WORK_OF_BLOCK // coefficients)
    return BlockSize(1, max(1, points))


def _along_time(
    path: np.ndarray,
    end: int,
    dtype: np.dtype,
    options: Options,
    points: int,
    report: Callable[[int], None],
) -> Iterator[np.ndarray]:
    """Yield the result for ``path[:end]``, or those for all prefixes, from pieces along time."""
    keywords = options.signature()

    def finish(signature: np.ndarray) -> np.ndarray:
        if options.mode is None:
            return signature
        return pysig.signature_to_logsignature(
            signature, path.shape[-1], options.depth, mode=options.mode
        )

    # The unit element, until there are steps.
    signature = pysig.signature(
        np.zeros((1, path.shape[-1]), dtype), options.depth, scalar_term=options.scalar_term
    )
    for start in range(0, end, points):
        piece = path[start : min(start + points, end)].astype(dtype)
        result = pysig.signature(piece, **keywords, initial=signature)
        keywords["basepoint"] = piece[-1]
        if not options.stream:
            signature = result
        elif len(result):
            signature = result[-1]
            yield finish(result)
        report(len(piece))
    last = finish(signature)
    if not options.stream:
        yield last
        report(len(path) - end)
        return
    for start in range(end, len(path), points):
        repeated = min(points, len(path) - start)
        yield np.broadcast_to(last, (repeated, len(last)))
        report(repeated)
