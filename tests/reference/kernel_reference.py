"""The signature kernel by its definition: the finite differences, cell by cell, in plain NumPy.

Everything works for any number type: extended precision, or complex entries for derivatives by the
complex step. One pair of paths at a time.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class StaticKernel(NamedTuple):
    """A kernel of two points; without sigma it is their inner product."""

    sigma: float | None = None

    def matrix(self, x: Array, y: Array) -> Array:
        """Return the kernels of all points of x with all of y."""
        if self.sigma is None:
            return x @ y.T
        differences = x[:, None, :] - y[None, :, :]
        return np.exp(-(differences**2).sum(axis=-1) / self.sigma)

    def vjp(self, x: Array, y: Array, grad: Array) -> tuple[Array, Array]:
        """Return the gradients of the sum of grad * matrix."""
        if self.sigma is None:
            return grad @ y, grad.T @ x
        weights = -2 / self.sigma * grad * self.matrix(x, y)
        differences = weights[:, :, None] * (x[:, None, :] - y[None, :, :])
        return differences.sum(axis=1), -differences.sum(axis=0)

    def options(self) -> dict[str, Any]:
        """Return the options of the library."""
        return {} if self.sigma is None else {"static_kernel": "rbf", "sigma": self.sigma}


LINEAR = StaticKernel()


def products(x: Array, y: Array, orders: tuple[int, int], static: StaticKernel) -> Array:
    """Return what drives the equation, for each cell of the refined grid."""
    steps = np.diff(np.diff(static.matrix(x, y), axis=0), axis=1)
    repeated = np.repeat(np.repeat(steps, 2 ** orders[0], axis=0), 2 ** orders[1], axis=1)
    return repeated / 2 ** sum(orders)


def solve(p: Array) -> Array:
    """Return the grid of the kernels of all beginnings of the two paths."""
    rows, columns = p.shape
    k = np.ones((rows + 1, columns + 1), p.dtype)
    for i, j in itertools.product(range(rows), range(columns)):
        step = p[i, j]
        beside = (k[i + 1, j] + k[i, j + 1]) * (1 + step / 2 + step**2 / 12)
        k[i + 1, j + 1] = beside - k[i, j] * (1 - step**2 / 12)
    return k


def solve_vjp(p: Array) -> Array:
    """Return the derivatives of the last kernel of the grid with respect to p."""
    rows, columns = p.shape
    k = solve(p)
    adjoint = np.zeros_like(k)
    adjoint[-1, -1] = 1
    result = np.zeros_like(p)
    for i, j in itertools.product(reversed(range(rows)), reversed(range(columns))):
        step, grad = p[i, j], adjoint[i + 1, j + 1]
        beside = k[i + 1, j] + k[i, j + 1]
        adjoint[i + 1, j] += grad * (1 + step / 2 + step**2 / 12)
        adjoint[i, j + 1] += grad * (1 + step / 2 + step**2 / 12)
        adjoint[i, j] -= grad * (1 - step**2 / 12)
        result[i, j] = grad * (beside * (1 / 2 + step / 6) + k[i, j] * step / 6)
    return result


def kernel(x: Array, y: Array, orders: tuple[int, int], static: StaticKernel = LINEAR) -> Any:
    """Return the signature kernel of two paths."""
    return solve(products(x, y, orders, static))[-1, -1]


def kernel_vjp(
    x: Array, y: Array, orders: tuple[int, int], static: StaticKernel = LINEAR
) -> tuple[Array, Array]:
    """Return the gradients of the signature kernel of two paths."""
    fine = solve_vjp(products(x, y, orders, static)) / 2 ** sum(orders)
    rows, columns = len(x) - 1, len(y) - 1
    steps = fine.reshape(rows, 2 ** orders[0], columns, 2 ** orders[1]).sum(axis=(1, 3))
    grad = np.zeros((rows + 1, columns + 1), steps.dtype)
    grad[1:, 1:] += steps
    grad[:-1, :-1] += steps
    grad[1:, :-1] -= steps
    grad[:-1, 1:] -= steps
    return static.vjp(x, y, grad)


def sizes(x: Array, y: Array, orders: tuple[int, int], static: StaticKernel) -> Array:
    """Return the sizes of the terms of what drives the equation."""
    if static.sigma is not None:
        return abs(products(x, y, orders, static))
    steps = abs(np.diff(x, axis=0)) @ abs(np.diff(y, axis=0)).T
    repeated = np.repeat(np.repeat(steps, 2 ** orders[0], axis=0), 2 ** orders[1], axis=1)
    return repeated / 2 ** sum(orders)


def kernel_bound(x: Array, y: Array, orders: tuple[int, int], static: StaticKernel = LINEAR) -> Any:
    """Return the kernel with everything that drives it positive: the size of all terms."""
    return solve(sizes(x, y, orders, static))[-1, -1]


def kernel_vjp_bound(
    x: Array, y: Array, orders: tuple[int, int], static: StaticKernel = LINEAR
) -> tuple[Any, Any]:
    """Return the sizes of the largest terms of the gradients."""
    fine = solve_vjp(sizes(x, y, orders, static)) / 2 ** sum(orders)
    rows, columns = len(x) - 1, len(y) - 1
    steps = fine.reshape(rows, 2 ** orders[0], columns, 2 ** orders[1]).sum(axis=(1, 3))
    if static.sigma is None:
        terms = steps @ abs(np.diff(y, axis=0)), steps.T @ abs(np.diff(x, axis=0))
    else:
        distances = np.sqrt(((x[:-1, None] - y[None, :-1]) ** 2).sum(axis=-1))
        weights = 8 / static.sigma * steps * (distances + 1)
        terms = weights.sum(axis=1), weights.sum(axis=0)
    first, second = (2 * np.max(term, initial=0) for term in terms)
    return first, second
