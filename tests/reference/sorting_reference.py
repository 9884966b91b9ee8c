"""Soft sorting and ranking from the definitions, in extended precision; slow and plain.

An isotonic regression is written as the minimum of maxima over all intervals, so that nothing here
pools adjacent violators. Everything is for one vector.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def log_sum_exp(a: Array) -> Any:
    largest = a.max()
    return largest + np.log(np.exp(a - largest).sum())


def block_value(s: Array, w: Array, regularization: str) -> Any:
    """Return the value of the regression if all of s and w are in one block."""
    if regularization == "l2":
        return (s - w).mean()
    return log_sum_exp(s) - log_sum_exp(w)


def isotonic(s: Array, w: Array, regularization: str) -> Array:
    """Return the nonincreasing v of the projection of s onto the permutahedron of w."""
    n = len(s)
    table = np.full((n, n), -np.inf, np.longdouble)
    for j in range(n):
        for k in range(j, n):
            table[j, k] = block_value(s[j : k + 1], w[j : k + 1], regularization)
    return np.array([min(table[j, i:].max() for j in range(i + 1)) for i in range(n)])


def project(z: Any, w: Any, regularization: str = "l2") -> Array:
    """Return the projection of z onto the permutahedron of w; with "kl", that of the logarithms."""
    z, w = np.asarray(z, np.longdouble), -np.sort(-np.asarray(w, np.longdouble))
    order = np.argsort(-z, kind="stable")
    result = np.empty_like(z)
    result[order] = z[order] - isotonic(z[order], w, regularization)
    return result


def soft_sort(
    x: Any, regularization: str = "l2", strength: Any = 1.0, direction: str = "ascending"
) -> Array:
    x = np.asarray(x, np.longdouble)
    rho = np.arange(len(x), 0, -1, dtype=np.longdouble) / np.longdouble(strength)
    if direction == "ascending":
        return -project(rho, -x, regularization)
    return project(rho, x, regularization)


def soft_rank(
    x: Any, regularization: str = "l2", strength: Any = 1.0, direction: str = "ascending"
) -> Array:
    x = np.asarray(x, np.longdouble)
    z = (x if direction == "ascending" else -x) / np.longdouble(strength)
    rho = np.arange(len(x), 0, -1, dtype=np.longdouble)
    if regularization == "l2":
        return project(z, rho)
    return np.exp(project(z, np.log(rho), "kl"))


def vertices(w: Any) -> Array:
    """Return all permutations of w as rows."""
    return np.array(list(permutations(np.asarray(w, np.longdouble))))


def vjp_by_differences(function: Any, x: Any, grad: Any, step: float = 1e-6) -> Array:
    """Return the vector-Jacobian product by central differences, of fourth order."""
    x = np.asarray(x, np.longdouble)
    result = np.empty_like(x)
    for i in range(x.size):
        shift = np.zeros_like(x)
        shift.flat[i] = step
        first = function(x + shift) - function(x - shift)
        second = function(x + 2 * shift) - function(x - 2 * shift)
        result.flat[i] = ((8 * first - second) / (12 * np.longdouble(step)) * grad).sum()
    return result


def average_ranks(x: Any) -> Array:
    """Return the ranks from 1; equal entries have the mean of theirs."""
    x = np.asarray(x)
    return np.array([(x < a).sum() + ((x == a).sum() + 1) / 2 for a in x])


def isotonic_regression(
    y: Any, weights: Any = None, regularization: str = "l2", increasing: bool = True
) -> Array:
    y = np.asarray(y, np.longdouble)
    weights = np.ones_like(y) if weights is None else np.asarray(weights, np.longdouble)
    if not increasing:
        return isotonic_regression(y[::-1], weights[::-1], regularization)[::-1]
    n = len(y)
    table = np.full((n, n), np.inf, np.longdouble)
    for j in range(n):
        for k in range(j, n):
            part, share = y[j : k + 1], weights[j : k + 1] / weights[j : k + 1].sum()
            if regularization == "l2":
                table[j, k] = (share * part).sum()
            else:
                table[j, k] = part.max() + np.log((share * np.exp(part - part.max())).sum())
    return np.array([max(table[j, i:].min() for j in range(i + 1)) for i in range(n)])
