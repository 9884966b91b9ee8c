"""Exponentials and logarithms of tensors on a GPU: working memory, and launches of exponential.cu.

The functions take the arguments of those in exponential.pyx, as CuPy arrays on the current device;
the tables of Lyndon words are NumPy arrays, and are copied when they are first needed there. A null
pointer is 0.
"""

import functools
from dataclasses import dataclass
from typing import Any

import cupy  # pyright: ignore[reportMissingImports]
import numpy as np

from pysig._core import cuda
from pysig._core.signatures import lyndon

WARP = 32


@dataclass(frozen=True)
class Series:
    """A power series of the rows of x, which have no scalar term."""

    x: Any
    channels: int
    depth: int
    logarithm: bool

    def words(self, depth):
        """Return how many words have at most `depth` letters."""
        return sum(self.channels**length for length in range(1, depth + 1))

    def ratio(self, n):
        """Return the quotient of the coefficients n + 1 and n."""
        return -n / (n + 1) if self.logarithm else 1 / (n + 1)

    def multiply(self, b, words, ratio, places=0):
        """Return ratio * x ⊗ b, for so many words, or those at `places`."""
        rows, x_words = self.x.shape
        result = cupy.empty((rows, words), self.x.dtype)
        b_words = 0 if b is None else b.shape[1]
        b = 0 if b is None else b
        sizes = (rows, words, x_words, b_words, self.channels, float(ratio))
        kernel("multiply", self.x)(result.size, result, self.x, b, places, *sizes)
        return result

    def stages(self):
        """Give the intermediate tensors of Horner's rule, see exponential_algebra.h."""
        b = None
        for n in range(self.depth - 1, 0, -1):
            b = self.multiply(b, self.words(self.depth - n), self.ratio(n))
            yield b

    def gradient(self, grad):
        """Return the gradient in x, for that of the series at all words."""
        rows, words = grad.shape
        x_gradient = cupy.zeros_like(grad)
        for n, b in enumerate([*reversed(list(self.stages())), None]):
            ratio = float(self.ratio(n)) if n else 1.0
            b_words = 0 if b is None else b.shape[1]
            sizes = (rows, grad.shape[1], words, b_words, self.channels, ratio)
            kernel("multiply_x_gradient", grad)(
                grad.size * WARP, x_gradient, grad, 0 if b is None else b, *sizes
            )
            if b is not None:
                b_gradient = cupy.empty_like(b)
                kernel("multiply_b_gradient", grad)(b.size * WARP, b_gradient, grad, self.x, *sizes)
                grad = b_gradient
        return x_gradient


def forward(result, argument, sizes, logarithm, basis):
    """Write the exponentials, or logarithms, of the rows of `argument` into `result`."""
    _, channels, depth = sizes
    tables = basis and Tables(basis, channels, depth)
    if tables and not logarithm:
        x = expand(tables, argument)
    else:
        x = words_of(argument, channels, depth)
    series = Series(x, channels, depth, logarithm)
    b = None
    for stage in series.stages():
        b = stage
    words = series.words(depth)
    if tables and logarithm:
        places = tables.places
        result[...] = series.multiply(b, len(places), 1, places)
        if tables.brackets:
            solve_brackets(tables, result)
        return
    result[:, result.shape[1] - words :] = series.multiply(b, words, 1)


def backward(argument_gradient, grad, argument, sizes, logarithm, basis):
    """Write the gradient in `argument`, for `grad`, that in what `forward` writes."""
    _, channels, depth = sizes
    tables = basis and Tables(basis, channels, depth)
    if tables and not logarithm:
        x = expand(tables, argument)
    else:
        x = words_of(argument, channels, depth)
    if tables and logarithm:
        grad = grad_at_places(tables, grad, x)
    else:
        grad = words_of(grad, channels, depth)
    x_gradient = Series(x, channels, depth, logarithm).gradient(grad)
    if not (tables and not logarithm):
        argument_gradient[:, argument_gradient.shape[1] - x.shape[1] :] = x_gradient
        return
    argument_gradient[...] = multiply_sparse(tables.expansion_transposed, x_gradient)
    if not tables.brackets:
        solve_brackets(tables, argument_gradient, "solve_brackets_backward")


def grad_at_places(tables, grad, x):
    """Return the gradient of all words for that of the Lyndon words, or of their brackets."""
    if tables.brackets:
        grad = grad.copy()
        solve_brackets(tables, grad, "solve_brackets_backward")
    dense = cupy.zeros_like(x)
    dense[:, tables.places] = grad
    return dense


def expand(tables, argument):
    """Return the tensors that coefficients of Lyndon words, or of their brackets, stand for."""
    if not tables.brackets:
        argument = argument.copy()
        solve_brackets(tables, argument)
    return multiply_sparse(tables.expansion, argument)


def multiply_sparse(matrix, x):
    """Return a sparse matrix times each row of x."""
    result = cupy.empty((len(x), len(matrix[0]) - 1), x.dtype)
    kernel("multiply_sparse", x)(
        result.size, result, x, *matrix, len(x), result.shape[1], x.shape[1]
    )
    return result


def solve_brackets(tables, x, name="solve_brackets"):
    """Go from coefficients of Lyndon words to those of brackets, or the adjoint; in place."""
    class_starts, members = tables.classes
    rows, words = x.shape
    classes = len(class_starts) - 1
    sizes = (rows, words, classes)
    kernel(name, x)(rows * classes, x, *tables.system, class_starts, members, *sizes)


def words_of(rows, channels, depth):
    """Return contiguous rows without what stands in front of the words."""
    words = sum(channels**length for length in range(1, depth + 1))
    return cupy.ascontiguousarray(rows[:, rows.shape[1] - words :])


class Tables:
    """The tables of a basis on the current device."""

    def __init__(self, basis, channels, depth):
        self.brackets = basis[0]
        self.key = (channels, depth, cupy.cuda.Device().id)

    @property
    def places(self):
        """Where the Lyndon words stand."""
        return places(*self.key)

    @property
    def system(self):
        """The matrix of the triangular system."""
        return matrix("bracket_system", *self.key)

    @property
    def classes(self):
        """Where classes of words with the same letters begin in a list of all, and this list."""
        return matrix("anagram_classes", *self.key)

    @property
    def expansion(self):
        """The matrix from brackets to words."""
        return matrix("bracket_expansion", *self.key)

    @property
    def expansion_transposed(self):
        """Its transpose."""
        return matrix("bracket_expansion_transposed", *self.key)


@functools.lru_cache(maxsize=16)
def places(channels, depth, device):
    """Return LyndonTables.positions on the device, which is the current one."""
    return cupy.asarray(lyndon.lyndon_tables(channels, depth).positions, np.int64)


@functools.lru_cache(maxsize=32)
def matrix(name, channels, depth, device):
    """Return a table of lyndon.py on the device, which is the current one."""
    arrays = getattr(lyndon, name)(channels, depth)
    return [cupy.asarray(a, np.int64 if a.dtype.kind == "i" else a.dtype) for a in arrays]


@functools.cache
def kernels_of(real):
    """Return all kernels for a type, by their names."""
    names = (
        "multiply",
        "multiply_x_gradient",
        "multiply_b_gradient",
        "multiply_sparse",
        "solve_brackets",
        "solve_brackets_backward",
    )
    functions = cuda.kernels("signatures/exponential", *(f"tensor_{n}<{real}>" for n in names))
    return dict(zip(names, functions, strict=True))


def kernel(name, array):
    """Return a kernel for the type of an array."""
    return kernels_of(cuda.REAL[array.dtype.name])[name]
