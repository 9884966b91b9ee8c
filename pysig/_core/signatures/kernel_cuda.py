"""The signature kernel and its gradient on a GPU: working memory, and launches of kernel.cu.

The functions take the arguments of those in kernel.pyx, as CuPy arrays on the current device. Pairs
are done in parts, for which the working memory is enough: slices of a list of pairs, or rectangles
of a Gram matrix.
"""

from typing import Any, NamedTuple

import cupy  # pyright: ignore[reportMissingImports]
import numpy as np

from pysig._core import cuda

STEM = "signatures/kernel"
# What a part may use, in bytes, unless a single pair needs more. It depends on no device, so that
# results do not, either.
WORKSPACE = 2**28
WARP = 32


class Problem(NamedTuple):
    """Paths as letters, and the options of all kernels."""

    x: Any  # (paths, letters, channels)
    y: Any
    steps: tuple[int, int]  # of x and y
    orders: tuple[int, int]
    points: bool  # letters are points, not increments
    inverse_scale: float

    @property
    def fine(self):
        """How many fine rows and columns the grid has."""
        return tuple(steps << order for steps, order in zip(self.steps, self.orders, strict=True))

    def kernel(self, name):
        """Return a kernel."""
        points = "true" if self.points else "false"
        (kernel,) = cuda.kernels(STEM, f"{name}<{cuda.REAL[self.x.dtype.name]}, {points}>")
        return kernel

    def arguments(self, part):
        """Return what kernels take after their arrays of results, gradients and memory."""
        return (
            self.x,
            self.y,
            part.x_index,
            part.y_index,
            part.x_index.size,
            *self.steps,
            self.x.shape[-1],
            *self.orders,
            self.inverse_scale,
        )


class Part(NamedTuple):
    """Some of the pairs: of a list, or a rectangle of a Gram matrix."""

    x_index: Any
    y_index: Any
    rows: slice
    columns: slice | None  # of a rectangle

    @property
    def where(self):
        """What part of the result this is."""
        return self.rows if self.columns is None else (self.rows, self.columns)


def forward(value, x, y, pairs, symmetric, static_kernel, orders):
    """Write the kernels into `value`, as `forward` of kernel.pyx does."""
    problem = make_problem(x, y, static_kernel, orders)
    if 0 in problem.steps:
        value.fill(1)
        return
    value = value.reshape(-1 if pairs is not None else (len(x), len(y)))
    columns = problem.fine[1] + 1
    if symmetric:  # each pair once
        pairs = [cupy.asarray(index) for index in np.triu_indices(len(x))]
    for part in parts(problem, pairs, False, columns):
        result = cupy.empty(part.x_index.size, x.dtype)
        row = cupy.empty(part.x_index.size * columns, x.dtype)
        launch = problem.kernel("kernel_forward")
        launch(WARP * result.size, result, row, *problem.arguments(part))
        if symmetric:
            value[part.x_index, part.y_index] = result
            value[part.y_index, part.x_index] = result
        else:
            value[part.where] = result.reshape(value[part.where].shape)


def backward(grad, x, y, pairs, symmetric, static_kernel, orders):
    """Return the gradients of x and y, as `backward` of kernel.pyx does."""
    problem = make_problem(x, y, static_kernel, orders)
    if pairs is None:
        grad = grad.reshape(len(x), len(y))
        gradients = [cupy.zeros(letters.shape, x.dtype) for letters in (problem.x, problem.y)]
    else:
        grad = grad.ravel()
        gradients = [
            cupy.zeros((grad.size, *letters.shape[1:]), x.dtype)
            for letters in (problem.x, problem.y)
        ]
    memory = backward_memory(problem)
    for part in parts(problem, pairs, symmetric, sum(memory)) if all(problem.steps) else ():
        weights = part_grad(grad, part, symmetric)
        x_part, y_part = launch_backward(problem, part, memory, weights)
        if part.columns is None:
            gradients[0][part.rows], gradients[1][part.rows] = x_part, y_part
        else:
            gradients[0][part.rows] += x_part.reshape(*weights.shape, *x_part.shape[1:]).sum(axis=1)
            gradients[1][part.columns] += y_part.reshape(*weights.shape, *y_part.shape[1:]).sum(
                axis=0
            )
    x_gradient, y_gradient = (letters_to_points(problem, gradient) for gradient in gradients)
    if symmetric:
        return x_gradient + y_gradient, None
    return x_gradient, y_gradient


def backward_memory(problem):
    """Return how many numbers each array of working memory of kernel_backward has for a pair."""
    rows, columns = problem.fine
    bands, steps = -(-rows // WARP), problem.steps[1]
    return (
        bands * (columns + 1),
        3 * columns,
        (columns + WARP - 1) * WARP,
        (steps + WARP - 1) * WARP,
        (WARP + problem.points) * (steps + problem.points),
    )


def launch_backward(problem, part, memory, weights):
    """Return the gradients of the letters of each pair."""
    count, dtype = part.x_index.size, problem.x.dtype
    x_gradient, y_gradient = (
        cupy.zeros((count, *letters.shape[1:]), dtype) for letters in (problem.x, problem.y)
    )
    room = [cupy.empty(count * numbers, dtype) for numbers in memory]
    launch = problem.kernel("kernel_backward")
    launch(
        WARP * count,
        x_gradient,
        y_gradient,
        *room,
        cupy.ascontiguousarray(weights),
        *problem.arguments(part),
    )
    return x_gradient, y_gradient


def part_grad(grad, part, symmetric):
    """Return the gradient of the kernels of a part, those that are done once for two in one."""
    weights = grad[part.where]
    if symmetric:
        first = max(part.rows.stop, part.columns.start)
        weights = weights.copy()
        weights[:, first - part.columns.start :] += grad[first : part.columns.stop, part.rows].T
    return weights


def make_problem(x, y, static_kernel, orders):
    """Return paths as letters."""
    name, scale = static_kernel
    steps = x.shape[1] - 1, y.shape[1] - 1
    if name == "linear":
        x, y = (cupy.ascontiguousarray(path[:, 1:] - path[:, :-1]) for path in (x, y))
    return Problem(x, y, steps, orders, name != "linear", 1 / scale)


def letters_to_points(problem, gradient):
    """Return the gradient of points by that of letters."""
    if problem.points:
        return gradient
    paths, steps, channels = gradient.shape
    result = cupy.zeros((paths, steps + 1, channels), gradient.dtype)
    result[:, 1:] = gradient
    result[:, :-1] -= gradient
    return result


def parts(problem, pairs, symmetric, numbers):
    """Give all pairs in parts; numbers: of working memory for a pair."""
    per_pair = numbers + problem.x[0].size + problem.y[0].size
    most = max(1, WORKSPACE // (per_pair * problem.x.dtype.itemsize))
    if pairs is not None:
        for first in range(0, pairs[0].size, most):
            rows = slice(first, first + most)
            yield Part(pairs[0][rows], pairs[1][rows], rows, None)
        return
    for rows, columns in rectangles(len(problem.x), len(problem.y), symmetric, most):
        width = columns.stop - columns.start
        index = cupy.arange((rows.stop - rows.start) * width)
        yield Part(rows.start + index // width, columns.start + index % width, rows, columns)


def rectangles(rows, columns, symmetric, most):
    """Give rectangles of a matrix, each of at most so many entries; all, or the upper half."""
    row = 0
    while row < rows:
        first = row if symmetric else 0
        height = max(1, min(rows - row, most // (columns - first)))
        if symmetric:  # pairs on the diagonal of the matrix are done twice
            height = min(height, max(1, rows // 8))
        width = max(height, most // height)
        for column in range(first, columns, width):
            yield slice(row, row + height), slice(column, min(column + width, columns))
        row += height
