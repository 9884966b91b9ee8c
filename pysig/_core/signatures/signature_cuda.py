"""The signature and its gradient on a GPU: plans, working memory, and launches of signature.cu.

The functions take the arguments of those in signature.pyx, as CuPy arrays on the current device
(`steps` is a NumPy array on the host). The mathematics and the layout of all arrays are explained
in signature.cu. A null pointer is 0.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cupy  # pyright: ignore[reportMissingImports]

from pysig._core import cuda

STEM = "signatures/signature"
AT_END, AFTER_STEP, BEFORE_STEP = range(3)

# Few paths are cut along time until there are so many threads, but not into shorter pieces than
# that. The numbers depend on no device, so that results do not, either.
ENOUGH_THREADS = 2**16
SHORTEST_PIECE = 256  # steps
# What a gradient may use beside its result, in bytes, unless the least that will do is more.
WORKSPACE = 2**28
WARP = 32
TILES = (1, 2, 3, 4, 5, 6)


class Strided(NamedTuple):
    """One row of words for each piece of each path."""

    numbers: Any  # from the first word of the first row on; or 0 for rows of zeros
    path_stride: int
    piece_stride: int  # 0: for the first piece of each path only


@dataclass(frozen=True)
class Problem:
    """Paths, and how they are cut into tasks."""

    increments: Any  # (paths, longest, channels)
    steps: Any  # (paths), or 0 if all paths have `longest` steps
    initial: Any  # (paths or 1, words), or 0 for the unit
    depth: int
    pieces: int = 1

    @property
    def paths(self):
        """How many paths there are."""
        return self.increments.shape[0]

    @property
    def longest(self):
        """How many steps a path has at most."""
        return self.increments.shape[1]

    @property
    def channels(self):
        """How many letters there are."""
        return self.increments.shape[2]

    @property
    def tasks(self):
        """How many pieces of paths there are."""
        return self.paths * self.pieces

    @property
    def longest_piece(self):
        """How many steps a piece has at most."""
        return -(-self.longest // self.pieces)

    @property
    def real(self):
        """The type of all numbers, in C."""
        return cuda.REAL[self.increments.dtype.name]

    @property
    def tile(self):
        """The side of the tiles of words."""
        return tile_side(self.channels)

    @property
    def tiles(self):
        """How many tiles make up all letters."""
        return -(-self.channels // self.tile)

    @property
    def one_tile(self):
        """Whether a tile has all continuations of a prefix, so that a thread has them, too."""
        return self.tiles == 1 and self.depth > 1

    def words(self, depth):
        """Return how many words have at most `depth` letters."""
        return sum(self.channels**length for length in range(1, depth + 1))

    def threads(self, depth):
        """Return how many threads compute the signature of a piece."""
        return self.tiles if depth == 1 else self.channels ** (depth - 2) * self.tiles**2

    def strided_initial(self):
        """Return the initial states."""
        if is_null(self.initial):
            return Strided(0, 0, 0)
        rows, words = self.initial.shape
        return Strided(self.initial, words if rows > 1 else 0, 0)

    def empty(self, *shape):
        """Return working memory."""
        return cupy.empty(shape, self.increments.dtype)

    def kernel(self, name):
        """Return a kernel that is not compiled for a certain depth."""
        return plain_kernels(self.real)[name]

    def part(self, paths):
        """Return the problem for a slice of the paths."""
        return replace(
            self,
            increments=self.increments[paths],
            steps=0 if is_null(self.steps) else self.steps[paths],
            initial=self.initial[paths] if self.strided_initial().path_stride else self.initial,
        )


@functools.cache
def tile_side(channels):
    """
    Return the side of the tiles of words that costs least.

    A thread reads about two numbers for each row and column of a tile, and the last tile may be
    partly empty.
    """

    def cost(side):
        return (-(-channels // side) * side) ** 2 * (1 + 2 / side)

    return min(TILES, key=cost)


def is_null(array):
    """Whether an argument of a kernel is the null pointer instead of an array."""
    return isinstance(array, int)


# ---------------------------------------------------------------------------------------- kernels


@functools.cache
def plain_kernels(real):
    """Return the kernels that are not compiled for a certain depth, by name."""
    names = (
        "increments",
        "product",
        "product_adjoint",
        "antipode",
        "repeated_rows",
        "increment_gradient",
        "point_gradient",
    )
    compiled = cuda.kernels(STEM, *(f"signature_{name}<{real}>" for name in names))
    return dict(zip(names, compiled, strict=True))


@functools.cache
def forward_kernel(real, depth, tile):
    """Return the kernel that computes signatures of this depth."""
    return cuda.kernels(STEM, f"signature_forward<{real}, {depth}, {tile}>")[0]


@functools.cache
def backward_kernels(real, depth, tile, one_tile):
    """Return the kernels of the gradient: for the longest words, then for each shorter length."""
    longest = "tile" if one_tile else "top"
    names = [f"signature_{longest}_backward<{real}, {depth}, {tile}>"]
    for length in shorter_lengths(depth, one_tile):
        names.append(f"signature_level_backward<{real}, {depth}, {length}>")
    return cuda.kernels(STEM, *names)


def shorter_lengths(depth, one_tile):
    """Return the lengths that are not done with the longest words, the largest first."""
    return range(depth - 3 if one_tile else depth - 1, 0, -1)


# ---------------------------------------------------------------------------------------- forward


def forward(signature, path, basepoint, initial, steps, order, sizes, options):
    """Write the signatures of the paths into `signature`."""
    del order  # of use only where paths of much the same length go together
    stream, inverse, scalar_term = options
    problem = make_problem(path, basepoint, initial, steps, sizes)
    words = problem.words(problem.depth)
    rows = signature.reshape(-1, words + scalar_term)
    if not inverse:
        write_signatures(problem, rows, stream)
        return
    forwards = problem.empty(len(rows), words)
    write_signatures(invert_initial(problem), forwards, stream)
    antipode(problem, rows, forwards)


def make_problem(path, basepoint, initial, steps, sizes):
    """Return the problem, with the increments computed."""
    paths, length, channels, depth, _ = sizes
    increments = cupy.empty((paths, length - (basepoint is None), channels), path.dtype)
    problem = Problem(
        increments,
        0 if steps is None else cupy.asarray(steps, "int64"),
        0 if initial is None else initial.reshape(-1, initial.shape[-1]),
        depth,
    )
    problem.kernel("increments")(
        increments.size,
        increments,
        path,
        0 if basepoint is None else basepoint,
        0 if basepoint is None or basepoint.ndim == 1 else channels,
        paths,
        length,
        channels,
    )
    wanted = ENOUGH_THREADS // (paths * problem.threads(depth))
    return replace(problem, pieces=max(1, min(wanted, problem.longest // SHORTEST_PIECE)))


def invert_initial(problem):
    """Return the problem with the inverse of its initial state."""
    if is_null(problem.initial):
        return problem
    initial = cupy.empty_like(problem.initial)
    antipode(problem, initial, problem.initial)
    return replace(problem, initial=initial)


def antipode(problem, result, signature):
    """Write the inverses of rows of words; both may have a scalar term in front of each row."""
    words = problem.words(problem.depth)
    problem.kernel("antipode")(
        len(signature) * words,
        without_scalar(result, words),
        without_scalar(signature, words),
        len(signature),
        words,
        problem.channels,
        result.shape[1],
        signature.shape[1],
    )


def without_scalar(rows, words):
    """Return the numbers of rows of words from the first row's first word on."""
    return rows.ravel()[rows.shape[1] - words :]


def write_signatures(problem, signature, stream):
    """Write the signatures of the paths, with `stream` of all their prefixes, to rows of words."""
    initial = problem.strided_initial()
    if problem.pieces > 1:
        ends = states_after_pieces(problem, problem.depth)
        if not stream:
            signature[:, -ends.shape[2] :] = ends[:, -1]
            return
        initial = states_before_pieces(problem, ends)
    rows, row_stride = len(signature) // problem.paths, signature.shape[1]
    walk(
        problem,
        problem.depth,
        AFTER_STEP if stream else AT_END,
        Strided(without_scalar(signature, problem.words(problem.depth)), rows * row_stride, 0),
        initial,
        row_stride=row_stride,
        rows=rows,
    )


def walk(
    problem,
    depth,
    when,
    states,
    initial,
    *,
    row_stride=0,
    rows=1,
    every=1,
    block=0,
    block_size=None,
):
    """Launch signature_forward, which explains the arguments."""
    forward_kernel(problem.real, depth, problem.tile)(
        problem.tasks * problem.threads(depth),
        states.numbers,
        problem.increments,
        initial.numbers,
        problem.steps,
        problem.paths,
        problem.longest,
        problem.channels,
        problem.pieces,
        block,
        block_size or problem.longest_piece,
        initial.path_stride,
        initial.piece_stride,
        states.path_stride,
        states.piece_stride,
        row_stride,
        rows,
        every,
        when,
    )


# ----------------------------------------------------------------------------------------- pieces


def contiguous(rows):
    """Return (paths, pieces, words) with its strides."""
    return Strided(rows, *strides(rows))


def signatures_of_pieces(problem, depth):
    """Return (paths, pieces, words); those of the first pieces begin with the initial states."""
    result = problem.empty(problem.paths, problem.pieces, problem.words(depth))
    if depth:
        walk(problem, depth, AT_END, contiguous(result), problem.strided_initial())
    return result


def states_after_pieces(problem, depth):
    """Return the state after each piece of each path: (paths, pieces, words)."""
    return joined(problem, signatures_of_pieces(problem, depth))


def joined(problem, factors):
    """Return the products of each piece's factor with those of all pieces before it."""
    for distance in doublings(problem.pieces):
        factors = products(problem, factors, distance, reverse=False)
    return factors


def states_before_pieces(problem, ends):
    """Return the state before each piece, from those after the pieces."""
    states = cupy.empty_like(ends)
    states[:, 1:] = ends[:, :-1]
    states[:, 0] = 0 if is_null(problem.initial) else problem.initial[:, : ends.shape[2]]
    return contiguous(states)


def doublings(pieces):
    """Yield 1, 2, 4 and so on: with each, a scan joins ranges of twice as many pieces."""
    distance = 1
    while distance < pieces:
        yield distance
        distance *= 2


def products(problem, factors, distance, *, reverse):
    """Launch signature_product."""
    result = cupy.empty_like(factors)
    problem.kernel("product")(
        result.size,
        result,
        factors,
        problem.paths,
        problem.pieces,
        factors.shape[2],
        problem.channels,
        distance,
        int(reverse),
    )
    return result


def adjoints_after_pieces(problem, adjoints, factors):
    """
    Return the adjoint of the state after each piece: (paths, pieces, words).

    adjoints: (paths, pieces + 1, words): what each piece adds to the adjoint before it, and at last
    the adjoint of the path's end. factors: the signatures of the pieces up to `depth` - 1.
    """
    for distance in doublings(problem.pieces + 1):
        result = cupy.empty_like(adjoints)
        problem.kernel("product_adjoint")(
            result.size,
            result,
            adjoints,
            factors,
            problem.paths,
            problem.pieces,
            adjoints.shape[2],
            factors.shape[2],
            problem.channels,
            problem.depth,
            distance,
        )
        adjoints = result
        factors = products(problem, factors, distance, reverse=True)
    return cupy.ascontiguousarray(adjoints[:, 1:])


# --------------------------------------------------------------------------------------- backward


def backward(
    grad,
    path_gradient,
    basepoint_gradient,
    initial_gradient,
    path,
    basepoint,
    initial,
    steps,
    order,
    sizes,
    options,
):
    """Write the gradients for `grad`, the gradient with respect to what `forward` writes."""
    del order
    stream, inverse, scalar_term = options
    problem = make_problem(path, basepoint, initial, steps, sizes)
    words = problem.words(problem.depth)
    rows = grad.reshape(-1, words + scalar_term)
    if inverse:
        problem = invert_initial(problem)
        rows = problem.empty(len(rows), words)
        antipode(problem, rows, grad.reshape(-1, words + scalar_term))
    elif scalar_term:
        rows = cupy.ascontiguousarray(rows[:, 1:])
    rows = rows.reshape(problem.paths, -1, words)
    increment_gradient = cupy.empty_like(problem.increments)
    adjoint = begin_adjoints(initial_gradient, words, inverse)
    at_once = paths_at_once(problem)
    for first in range(0, problem.paths, at_once):
        part = slice(first, first + at_once)
        shorter, longest = sweep_all(
            problem.part(part), rows[part], stream, increment_gradient[part]
        )
        if adjoint is not None:
            adjoint[part, : shorter.shape[1]] = shorter
            adjoint[part, shorter.shape[1] :] = longest
    if inverse and adjoint is not None:
        antipode(problem, initial_gradient.reshape(-1, words), adjoint)
    problem.kernel("point_gradient")(
        path.size,
        path_gradient,
        0 if basepoint_gradient is None else basepoint_gradient,
        increment_gradient,
        problem.steps,
        problem.paths,
        sizes[1],
        problem.longest,
        problem.channels,
        int(basepoint is not None),
    )


def begin_adjoints(initial_gradient, words, inverse):
    """Return where the adjoints of the initial states go: (paths, words); None if nowhere."""
    if initial_gradient is None:
        return None
    rows = initial_gradient.reshape(-1, words)
    return cupy.empty_like(rows) if inverse else rows


def sweep_all(problem, grad, stream, increment_gradient):
    """
    Write the gradients of the increments.

    grad: (paths, rows, words). Returns the adjoints of the initial states, (paths, words): of the
    words of less than `depth` letters, and of those of `depth`.
    """
    words, depth = problem.words(problem.depth), problem.depth
    adjoint = repeated_rows(problem, grad) if stream else grad[:, 0]
    states = problem.strided_initial()
    adjoint = adjoint.reshape(problem.paths, 1, words)
    if problem.pieces > 1:
        factors = signatures_of_pieces(problem, depth - 1)
        states = states_before_pieces(problem, joined(problem, factors))
        adjoints = cupy.zeros((problem.paths, problem.pieces + 1, words), grad.dtype)
        adjoints[:, -1:] = adjoint
        if stream:
            inside = cupy.zeros((problem.paths, problem.pieces, words), grad.dtype)
            sweep(problem, states, inside, grad, increment_gradient)
            adjoints[:, :-1] = inside
        adjoint = adjoints_after_pieces(problem, adjoints, factors)
    shorter = words - problem.channels**depth
    if stream:
        sweep(problem, states, adjoint, grad, increment_gradient)
        return adjoint[:, 0, :shorter], adjoint[:, 0, shorter:]
    return sweep(problem, states, adjoint, None, increment_gradient)[:, 0], adjoint[:, 0, shorter:]


def repeated_rows(problem, grad):
    """Return the gradients of the rows that repeat the last state of a path, (paths, words)."""
    paths, rows, words = grad.shape
    result = problem.empty(paths, words)
    problem.kernel("repeated_rows")(result.size, result, grad, problem.steps, paths, rows, words)
    return result


# ------------------------------------------------------------------------------ backward, in blocks


class Level(NamedTuple):
    """How the words of one length are treated in a backward sweep."""

    width: int  # threads of a group
    groups: int  # of a task; for the longest words, of a column of tiles
    first_slot: int  # where their parts of the gradients of letters begin
    numbers: int  # for each step: what they hand to the words that are a letter shorter


def plan_levels(problem):
    """Return the levels, those of the longest words first, and the number of slots."""
    channels, depth = problem.channels, problem.depth
    prefixes = channels ** max(depth - 2, 0)
    if problem.one_tile:
        levels = [make_level(prefixes, 0, 3 * prefixes if depth > 2 else 0)]
    else:
        rows = problem.tiles * prefixes if depth > 1 else 1
        levels = [make_level(rows, 0, problem.tiles * channels ** (depth - 1))]
    slots = levels[0].groups
    for length in shorter_lengths(depth, problem.one_tile):
        words = channels**length
        levels.append(make_level(words, slots, (depth - length + 1) * words))
        if length < depth - 1:  # the last letters of the longest words have been done with them
            slots += levels[-1].groups
    return levels, slots


def make_level(threads, first_slot, numbers):
    """Return a level with groups of threads as wide as it fills, up to a warp."""
    width = min(WARP, 1 << (threads - 1).bit_length())
    return Level(width, -(-threads // width), first_slot, numbers)


def numbers_of_step(problem):
    """Return how many numbers a sweep keeps for each step of a block."""
    levels, slots = plan_levels(problem)
    states = problem.words(problem.depth - 1)
    return states + sum(level.numbers for level in levels) + slots * problem.channels


def least_block(problem):
    """Return how many steps a block has at least: then there are no more blocks than that."""
    return min(problem.longest_piece, math.isqrt(problem.longest_piece) + 1)


def paths_at_once(problem):
    """Return for how many paths there is enough working memory."""
    itemsize = problem.increments.dtype.itemsize
    of_path = problem.pieces * least_block(problem) * numbers_of_step(problem) * itemsize
    return max(1, WORKSPACE // max(1, of_path))


def block_size(problem):
    """Return how many steps a block has."""
    of_step = problem.tasks * numbers_of_step(problem) * problem.increments.dtype.itemsize
    return min(problem.longest_piece, max(least_block(problem), WORKSPACE // of_step))


def sweep(problem, states, adjoint, grad, increment_gradient):
    """
    Take adjoints from the ends of the pieces to their beginnings, and write increment_gradient.

    states: before the pieces. adjoint: (paths, pieces, words); with the gradients of rows in
    `grad`, those at the beginnings replace those at the ends. Otherwise they are returned for words
    of less than `depth` letters; for those of `depth` letters they are the same.
    """
    shorter = adjoint
    if grad is None:
        shorter = adjoint[..., : problem.words(problem.depth - 1)].copy()
    size = block_size(problem)
    blocks = -(-problem.longest_piece // size) if size else 0
    starts = states_before_blocks(problem, states, blocks, size)
    memory = Memory(problem, size)
    for block in reversed(range(blocks)):
        write_states(problem, memory, starts[block], block)
        sweep_longest(problem, memory, shorter, adjoint, grad, block)
        sweep_shorter(problem, memory, shorter, grad, block)
        write_increment_gradient(problem, memory, increment_gradient, block)
    return shorter


def states_before_blocks(problem, states, blocks, size):
    """Return the states before each block of the pieces: one Strided for each block."""
    shorter = problem.words(problem.depth - 1)
    if blocks <= 1 or not shorter:
        return [states] * blocks
    numbers = problem.empty(problem.tasks * blocks, shorter)
    strides = (problem.pieces * blocks * shorter, blocks * shorter)
    walk(
        problem,
        problem.depth - 1,
        BEFORE_STEP,
        Strided(numbers, *strides),
        states,
        row_stride=shorter,
        every=size,
    )
    return [Strided(numbers.ravel()[block * shorter :], *strides) for block in range(blocks)]


class Memory:
    """What the kernels of a block of steps hand to one another."""

    def __init__(self, problem, size):
        self.size = size
        self.levels, self.slots = plan_levels(problem)
        self.kernels = backward_kernels(problem.real, problem.depth, problem.tile, problem.one_tile)
        tasks, shorter = problem.tasks, problem.words(problem.depth - 1)
        self.states = problem.empty(tasks, size, shorter)
        self.letter_gradient = problem.empty(tasks, size, self.slots, problem.channels)
        self.contractions = [problem.empty(tasks, size, level.numbers) for level in self.levels]


def write_states(problem, memory, start, block):
    """Write the states before the steps of a block, for words of less than `depth` letters."""
    if problem.depth == 1:
        return
    shorter = memory.states.shape[2]
    walk(
        problem,
        problem.depth - 1,
        BEFORE_STEP,
        Strided(memory.states, problem.pieces * memory.size * shorter, memory.size * shorter),
        start,
        row_stride=shorter,
        block=block,
        block_size=memory.size,
    )


def paths_and_block(problem, memory, block):
    """Return the arguments that say which steps a kernel is for."""
    return (
        problem.increments,
        problem.steps,
        problem.paths,
        problem.longest,
        problem.channels,
        problem.pieces,
        block,
        memory.size,
    )


def rows_of(grad):
    """Return the arguments for gradients of rows, (paths, rows, words) or None."""
    return (0, 0, 0) if grad is None else (grad, grad.shape[1] * grad.shape[2], grad.shape[2])


def sweep_longest(problem, memory, shorter, adjoint, grad, block):
    """Launch signature_tile_backward, or signature_top_backward where there are several tiles."""
    level = memory.levels[0]
    rows, path_stride, row_stride = rows_of(grad)
    columns, shorter_arguments, shorter_strides = problem.tiles, (), ()
    if problem.one_tile:
        shorter_arguments, shorter_strides = (shorter,), strides(shorter)
    memory.kernels[0](
        problem.tasks * columns * level.groups * level.width,
        adjoint.ravel()[problem.words(problem.depth - 1) :],
        *shorter_arguments,
        memory.contractions[0],
        memory.letter_gradient,
        rows,
        memory.states,
        *paths_and_block(problem, memory, block),
        level.width,
        memory.slots,
        *strides(adjoint),
        *shorter_strides,
        path_stride,
        row_stride,
    )


def strides(rows):
    """Return the strides of (paths, pieces, words) for paths and pieces."""
    return rows.shape[1] * rows.shape[2], rows.shape[2]


def sweep_shorter(problem, memory, shorter, grad, block):
    """Launch signature_level_backward for each length of words, the longest first."""
    rows, path_stride, row_stride = rows_of(grad)
    for i, level in enumerate(memory.levels[1:], start=1):
        memory.kernels[i](
            problem.tasks * level.groups * level.width,
            shorter,
            memory.contractions[i],
            memory.letter_gradient,
            memory.contractions[i - 1],
            rows,
            memory.states,
            *paths_and_block(problem, memory, block),
            level.width,
            memory.slots,
            level.first_slot,
            problem.tiles,
            *strides(shorter),
            path_stride,
            row_stride,
        )


def write_increment_gradient(problem, memory, increment_gradient, block):
    """Launch signature_increment_gradient."""
    problem.kernel("increment_gradient")(
        problem.tasks * memory.size * problem.channels,
        increment_gradient,
        memory.letter_gradient,
        memory.contractions[-1] if problem.depth > (2 if problem.one_tile else 1) else 0,
        problem.steps,
        problem.paths,
        problem.longest,
        problem.channels,
        problem.depth,
        problem.pieces,
        block,
        memory.size,
        memory.slots,
    )
