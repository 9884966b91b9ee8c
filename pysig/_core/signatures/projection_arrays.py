"""Chosen coefficients of signatures by array functions, for all steps at a time: for CuPy arrays.

The functions are those of the compiled module `pysig._core.signatures.projection`, and so is the
mathematics, see projection_tree.h, but that it goes through the tree one length of words after the
other: the recursion in time is in cumulative sums over all steps.
"""

import functools
from typing import NamedTuple

import numpy as np

from pysig._core.array import namespace_of


class Level(NamedTuple):
    """The words of one length, those with longer ones below them first."""

    node: np.ndarray  # numbers in preorder
    parent: np.ndarray  # places in the level before
    letter: np.ndarray
    above: list[int]  # [j]: how many have a height of at least j


def forward(coefficients, increments, tree, stream):
    """Write the chosen coefficients of the paths' signatures into `coefficients`."""
    column = tree[3]
    if not increments.shape[1]:
        coefficients[...] = 0
        return
    for level, after, _ in descend(increments, tree):
        value = after if stream else after[:, -1]
        chosen = np.flatnonzero(column[level.node] >= 0)
        coefficients[..., column[level.node[chosen]].tolist()] = value[..., chosen.tolist()]


def backward(grad, gradient, increments, tree, stream):
    """Write the gradient with respect to the increments into `gradient`."""
    xp, column = namespace_of(increments), tree[3]
    gradient[...] = 0
    down = list(descend(increments, tree))
    adjoints = []  # P[1 ...] of a level
    for k in range(len(down) - 1, -1, -1):
        level = down[k][0]
        parents = down[k - 1][2] if k else root(increments, tree)
        adjoints = [
            adjoint_of_state(xp, level, adjoints, increments, grad, column, stream),
            *adjoints,
        ]
        above = [xp.zeros(parent.shape, parent.dtype) for parent in parents]
        for j, adjoint in enumerate(adjoints):
            for letter in np.unique(level.letter):  # each parent has a letter once
                places = np.flatnonzero(level.letter[: level.above[j]] == letter).tolist()
                chosen, at = adjoint[..., places], level.parent[places].tolist()
                gradient[..., letter] += (chosen * parents[j][..., at]).sum(axis=-1)
                above[j][..., at] += chosen * (increments[..., letter, None] / (j + 1))
        adjoints = above


def adjoint_of_state(xp, level, products, increments, grad, column, stream):
    """Return P[0] of a level, the gradient with respect to its coefficients after every step."""
    batch, steps, _ = increments.shape
    result = xp.zeros((batch, steps, len(level.node)), increments.dtype)
    for product in products:  # what a step gives belongs to the state before it
        result[:, :-1, : product.shape[-1]] += product[:, 1:]
    chosen = np.flatnonzero(column[level.node] >= 0)
    columns = column[level.node[chosen]].tolist()
    if stream:
        result[..., chosen.tolist()] += grad[..., columns]
    else:
        result[:, -1, chosen.tolist()] += grad[:, columns]
    return result[:, ::-1].cumsum(axis=1)[:, ::-1]


def descend(increments, tree):
    """Give the levels, their coefficients after every step, and their Y[1 ...], divided by j."""
    xp = namespace_of(increments)
    parents = root(increments, tree)
    for level in levels(*map(tuple, tree[:3])):
        products = [
            parent[..., level.parent[:count].tolist()]
            * increments[..., level.letter[:count].tolist()]
            for parent, count in zip(parents, level.above, strict=False)
        ]
        after = products[0].cumsum(axis=1)
        before = xp.zeros(after.shape, after.dtype)
        before[:, 1:] = after[:, :-1]
        parents = [
            (before[..., : product.shape[-1]] + product) / j
            for j, product in enumerate(products[1:], 1)
        ]
        yield level, after, parents


def root(increments, tree):
    """Return Y[1 ...] of the empty word, divided by j."""
    xp = namespace_of(increments)
    shape = (*increments.shape[:-1], 1)
    return [xp.full(shape, 1 / j, increments.dtype) for j in range(1, int(tree[1][0]) + 1)]


@functools.lru_cache(maxsize=64)
def levels(letter, height, end):
    """Return the words of the tree by their length, from 1 on."""
    result, nodes = [], [0]
    while True:
        pairs = []
        for place, node in enumerate(nodes):
            child = node + 1
            while child < end[node]:
                pairs.append((place, child))
                child = end[child]
        if not pairs:
            return result
        pairs.sort(key=lambda pair: (-height[pair[1]], pair))
        nodes = [node for _, node in pairs]
        heights = np.array([height[node] for node in nodes])
        result.append(
            Level(
                np.array(nodes),
                np.array([place for place, _ in pairs]),
                np.array([letter[node] for node in nodes]),
                [int((heights >= j).sum()) for j in range(heights.max() + 1)],
            )
        )
