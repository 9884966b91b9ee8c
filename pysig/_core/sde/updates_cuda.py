"""Updates of the states of a solver on a GPU: launches of updates.cu.

The class has the methods of that in updates.pyx, for CuPy arrays on the current device. A launch
has at most three arrays and four products, or two where the products have gradients; what is more
is added by further launches.
"""

import functools
import itertools

import cupy

from pysig._core import cuda

STEM = "sde/updates"
NONE = (0.0,) * 5


@functools.cache
def kernel(name, real):
    """Return a kernel for a type."""
    return cuda.kernels(STEM, f"updates_{name}<{real}>")[0]


def padded(values, count, with_what):
    """Return values and what stands for those that are missing."""
    return (*values, *[with_what] * (count - len(values)))


def coefficients(polynomials, count):
    """Return those of several polynomials as numbers, one after the other."""
    return itertools.chain.from_iterable(padded(polynomials, count, NONE))


def parts_of(noise):
    """Return W and H, or 0 in its place."""
    if not isinstance(noise, tuple):
        return cupy.ascontiguousarray(noise), 0
    return cupy.ascontiguousarray(noise[0]), cupy.ascontiguousarray(noise[1])


class Updates:
    """Updates of states of one shape and type, with noise of one kind."""

    def __init__(self, y_shape, g_shape, w_shape, dtype):
        """Take what the class in updates.pyx takes."""
        self.y_shape, self.g_shape, self.w_shape, self.dtype = y_shape, g_shape, w_shape, dtype
        self.real = cuda.REAL[str(dtype)]
        is_matrix = len(g_shape) > len(y_shape)
        self.m = g_shape[-1] if is_matrix else 1
        self.channels = y_shape[-1] if is_matrix or w_shape not in (y_shape, ()) else 1

    def sum(self, update, h, noise, states, fs, gs):
        """Return the sum in a new array; fields that are None count as zero."""
        pairs = list(zip(update.states, states, strict=True))
        pairs += [(weight * h, fs[number]) for number, weight in update.drift]
        products = [
            (gs[number], combination.polynomial(h))
            for number, combination in update.noise
            if gs[number] is not None
        ]
        return self._sum([pair for pair in pairs if pair[1] is not None], products, noise)

    def combine(self, *pairs):
        """Return the sum of weights times arrays, given in pairs; None if all arrays are None."""
        pairs = [pair for pair in pairs if pair[1] is not None]
        return self._sum(pairs, (), None) if pairs else None

    def _sum(self, pairs, products, noise):
        """Launch as often as the arrays need; the products go with the first ones."""
        w, area = parts_of(noise) if products else (0, 0)
        some, rest = pairs[:3], pairs[3:]
        while True:
            out = cupy.empty(self.y_shape, self.dtype)
            arrays = [cupy.ascontiguousarray(array) for _, array in some]
            gs = [cupy.ascontiguousarray(g) for g, _ in products]
            kernel("sum", self.real)(
                out.size,
                out,
                *padded(arrays, 3, 0),
                *padded(gs, 4, 0),
                w,
                area,
                out.size,
                self.channels,
                self.m,
                *padded([float(weight) for weight, _ in some], 3, 0.0),
                *coefficients([polynomial for _, polynomial in products], 4),
            )
            if not rest:
                return out
            some, rest, products = [(1.0, out), *rest[:2]], rest[2:], ()

    def outer(self, *parts):
        """Return the gradient with respect to g of a sum of products."""
        out = cupy.empty(self.g_shape, self.dtype)
        for begin in range(0, len(parts), 2):
            some = parts[begin : begin + 2]
            us = [cupy.ascontiguousarray(u) for *_, u in some]
            noises = [parts_of(noise) for _, noise, _, _ in some]
            kernel("outer", self.real)(
                out.size,
                out,
                *padded(us, 2, 0),
                *padded([w for w, _ in noises], 2, 0),
                *padded([area for _, area in noises], 2, 0),
                out.size,
                self.channels,
                self.m,
                int(begin > 0),
                *coefficients([combination.polynomial(h) for h, _, combination, _ in some], 2),
            )
        return out

    def inner(self, h, noise, parts, of_area=False):
        """Return the gradient with respect to W, or H, of a sum of products."""
        parts = [part for part in parts if part[1] is not None and part[2] is not None]
        out = cupy.empty(self.w_shape, self.dtype)
        w, area = parts_of(noise)
        for begin in range(0, max(len(parts), 1), 2):
            some = parts[begin : begin + 2]
            gs = [cupy.ascontiguousarray(g) for _, g, _ in some]
            us = [cupy.ascontiguousarray(u) for *_, u in some]
            slopes = [slope(combination.polynomial(h), of_area) for combination, *_ in some]
            kernel("inner", self.real)(
                out.size,
                out,
                *padded(gs, 2, 0),
                *padded(us, 2, 0),
                w,
                area,
                out.size,
                self.channels,
                self.m,
                int(begin > 0),
                *coefficients(slopes, 2),
            )
        return out


def slope(polynomial, of_area):
    """Return the derivative of a polynomial with respect to W, or H."""
    _, first, second, third, area = polynomial
    return (area, 0.0, 0.0, 0.0, 0.0) if of_area else (first, 2 * second, 3 * third, 0.0, 0.0)
