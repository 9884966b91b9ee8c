"""Solvers of stochastic differential equations step by step, each from its own formulae.

They work on complex numbers, too: the imaginary parts carry derivatives (the complex step), so that
these are exact to rounding, without any backward pass. All arrays may have one more axis in front,
of directions.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

STEP = 1e-40


def product(noise: str, g: Any, w: Any) -> Any:
    """Return the diffusion times the noise."""
    return (g * w[..., None, :]).sum(-1) if noise in ("additive", "general") else g * w


def solve(
    method: str, f: Any, g: Any, noise: str, y0: Any, times: Any, W: Any, H: Any = None
) -> Any:
    """Return the solution at all times; W and H have an axis of steps in front."""
    if method == "reversible_heun":
        return reversible_heun(f, g, noise, y0, times, W)
    step = STEPS[method]
    ys = [y0]
    for k, (t, end) in enumerate(itertools.pairwise(times)):
        area = None if H is None else H[k]

        def G(t: float, y: Any, v: Any) -> Any:
            return product(noise, g(t, y), v)

        ys.append(step(f, G, t, end - t, ys[-1], W[k], area))
    return ys


def reversible_heun(f: Any, g: Any, noise: str, y0: Any, times: Any, W: Any) -> Any:
    y, z, ys = y0, y0, [y0]
    for k, (t, end) in enumerate(itertools.pairwise(times)):
        h = end - t
        before = f(t, z) * h + product(noise, g(t, z), W[k])
        z = 2 * y - z + before
        after = f(end, z) * h + product(noise, g(end, z), W[k])
        y = y + (before + after) / 2
        ys.append(y)
    return ys


def leapfrog(f: Any, y0: Any, times: Any, damping: float) -> Any:
    y, v, ys = y0, f(times[0], y0), [y0]
    for t, end in itertools.pairwise(times):
        h = end - t
        k = y + h / 2 * v
        v = v + 2 * damping * (f(t + h / 2, k) - v)
        y = k + h / 2 * v
        ys.append(y)
    return ys


def euler(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    return y + h * f(t, y) + G(t, y, W)


def euler_heun(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    return y + h * f(t, y) + (G(t, y, W) + G(t + h, y + G(t, y, W), W)) / 2


def heun(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    z = euler(f, G, t, h, y, W, H)
    return (y + euler(f, G, t + h, h, z, W, H) + h * f(t, y) + G(t, y, W) - z + y) / 2


def midpoint(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    middle = y + h / 2 * f(t, y) + G(t, y, W / 2)
    return y + h * f(t + h / 2, middle) + G(t + h / 2, middle, W)


def milstein(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    """Kloeden and Platen, (11.1.3), for diagonal or scalar noise."""
    root, square = math.sqrt(h), W**2 - h
    support = y + h * f(t, y) + G(t, y, root)
    correction = (G(t, support, square) - G(t, y, square)) / (2 * root)
    return y + h * f(t, y) + G(t, y, W) + correction


def srk(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    """Rößler's SRI1W1 for diagonal or scalar noise."""
    root = math.sqrt(h)
    I10, I11, I111 = h * (W / 2 + H), (W**2 - h) / 2, (W**3 - 3 * h * W) / 6
    f1 = f(t, y)
    f2 = f(t + 3 / 4 * h, y + 3 / 4 * h * f1 + G(t, y, 3 / 2 * I10 / h))
    z2 = y + h / 4 * f1 + G(t, y, root / 2)
    z3 = y + h * f1 - G(t, y, root)
    z4 = y + h / 4 * f1 - G(t, y, 5 * root) + G(t + h / 4, z2, 3 * root) + G(t + h, z3, root / 2)
    return (
        y
        + h * (f1 / 3 + 2 / 3 * f2)
        + G(t, y, -W - I11 / root + 2 * I10 / h - 2 * I111 / h)
        + G(t + h / 4, z2, 4 / 3 * W + 4 / 3 * I11 / root - 4 / 3 * I10 / h + 5 / 3 * I111 / h)
        + G(t + h, z3, 2 / 3 * W - I11 / root / 3 - 2 / 3 * I10 / h - 2 / 3 * I111 / h)
        + G(t + h / 4, z4, I111 / h)
    )


def sra(f: Any, G: Any, t: float, h: float, y: Any, W: Any, H: Any) -> Any:
    """Rößler's SRA1 for additive noise."""
    I10 = h * (W / 2 + H)
    f1 = f(t, y)
    f2 = f(t + 3 / 4 * h, y + 3 / 4 * h * f1 + 3 / 2 * G(t + h, y, I10 / h))
    return y + h * (f1 + 2 * f2) / 3 + G(t + h, y, W - I10 / h) + G(t, y, I10 / h)


STEPS = {
    "euler": euler,
    "euler_heun": euler_heun,
    "heun": heun,
    "midpoint": midpoint,
    "milstein": milstein,
    "srk": srk,
    "sra": sra,
}


# ------------------------------------------------------------------------------ fields for tests


class Drift:
    """tanh(A y + b) cos(t) - y / 5, with its gradient."""

    def __init__(self, A: Any, b: Any) -> None:
        self.parameters: Any = {"A": A, "b": b}

    @staticmethod
    def plain(parameters: Any, t: float, y: Any) -> Any:
        A, b = parameters["A"], parameters["b"]
        return np.tanh(y @ A.swapaxes(-1, -2) + b[..., None, :]) * math.cos(t) - y / 5

    def forward(self, t: float, y: Any) -> Any:
        hidden = np.tanh(y @ self.parameters["A"].T + self.parameters["b"])
        return hidden * math.cos(t) - y / 5, (y, hidden, math.cos(t))

    def backward(self, residuals: Any, grad: Any) -> Any:
        y, hidden, scale = residuals
        inner = grad * scale * (1 - hidden**2)
        return inner @ self.parameters["A"] - grad / 5, {"A": inner.T @ y, "b": inner.sum(0)}


class Diagonal:
    """0.4 + 0.3 sin(s y + t), component by component; the gradient is a tuple."""

    def __init__(self, s: Any) -> None:
        self.parameters: Any = (s,)

    @staticmethod
    def plain(parameters: Any, t: float, y: Any) -> Any:
        return 0.4 + 0.3 * np.sin(parameters[0][..., None, :] * y + t)

    def forward(self, t: float, y: Any) -> Any:
        return 0.4 + 0.3 * np.sin(self.parameters[0] * y + t), (t, y)

    def backward(self, residuals: Any, grad: Any) -> Any:
        t, y = residuals
        inner = 0.3 * np.cos(self.parameters[0] * y + t) * grad
        return inner * self.parameters[0], ((inner * y).sum(0),)


class General:
    """0.3 + sin(y B) / 5, a matrix for each y; the gradient is an array."""

    def __init__(self, B: Any, m: int) -> None:
        self.parameters, self.m = B, m

    def plain(self, parameters: Any, t: float, y: Any) -> Any:
        value = 0.3 + np.sin(y @ parameters) / 5
        return value.reshape(*y.shape, self.m)

    def forward(self, t: float, y: Any) -> Any:
        return self.plain(self.parameters, t, y), y

    def backward(self, y: Any, grad: Any) -> Any:
        inner = np.cos(y @ self.parameters) / 5 * grad.reshape(len(y), -1)
        return inner @ self.parameters.T, y.T @ inner


class Additive:
    """(1 + t) C, the same matrix for every y; it has no gradient with respect to y."""

    def __init__(self, C: Any) -> None:
        self.parameters: Any = [C]

    @staticmethod
    def plain(parameters: Any, t: float, y: Any) -> Any:
        C = parameters[0][..., None, :, :]
        return np.broadcast_to((1 + t) * C, (*y.shape, C.shape[-1]))

    def forward(self, t: float, y: Any) -> Any:
        return np.repeat(((1 + t) * self.parameters[0])[None], len(y), 0), t

    def backward(self, t: float, grad: Any) -> Any:
        return None, [(1 + t) * grad.sum(0)]


def leaves(tree: Any) -> list[Any]:
    """Return the arrays of a structure."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in leaves(value)]
    if isinstance(tree, list | tuple):
        return [leaf for value in tree for leaf in leaves(value)]
    return [] if tree is None else [tree]


def with_leaves(tree: Any, new: list[Any]) -> Any:
    """Return the structure with other arrays, which are taken from the list."""
    if isinstance(tree, dict):
        return {name: with_leaves(value, new) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(with_leaves(value, new) for value in tree)
    return new.pop(0)


def gradients(loss: Any, arrays: list[Any]) -> list[Any]:
    """Return the derivatives of a loss of arrays, which has all directions at once in front."""
    sizes = [array.size for array in arrays]
    total, perturbed, start = sum(sizes), [], 0
    for array, size in zip(arrays, sizes, strict=True):
        directions = np.zeros((total, size), complex)
        directions[start : start + size] = 1j * STEP * np.eye(size)
        perturbed.append(array + directions.reshape(total, *array.shape))
        start += size
    slopes = loss(perturbed).imag / STEP
    parts = np.split(slopes, np.cumsum(sizes)[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]
