"""Updates of states with CuPy arrays: the numbers of the CPU, to rounding."""

from __future__ import annotations

import importlib
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from numpy.testing import assert_allclose

from pysig._core.sde import updates

SHAPES = [
    ((13, 11),) * 3,  # y, g, W: diagonal
    ((13, 11), (13, 11), (13, 1)),  # scalar
    ((13, 11), (13, 11, 3), (13, 3)),
    ((0, 2), (0, 2, 3), (0, 3)),
]
STEP = 0.25


def results(module: Any, xp: Any, shapes: Any, dtype: Any) -> list[Any]:
    """Return those of all operations, with more arrays and products than one launch has."""
    y_shape, g_shape, w_shape = shapes
    rng = np.random.default_rng(3)
    ys = [xp.asarray(rng.normal(size=y_shape).astype(dtype)) for _ in range(6)]
    gs = [xp.asarray(rng.normal(size=g_shape).astype(dtype)) for _ in range(4)]
    w, area = (xp.asarray(rng.normal(size=w_shape).astype(dtype)) for _ in range(2))
    combinations = [
        updates.Combination(W=1.0),
        updates.Combination(W=0.5, area=-1.0, square=0.3, cube=0.7, root=0.1),
        updates.Combination(root=1.0),
        updates.Combination(cube=1.0),
    ]
    update = updates.Sum((2, -1), {0: 1, 1: 0.5, 2: 3}, dict(enumerate(combinations)))
    plain = updates.Sum((1,), {}, {1: combinations[0]})
    do = module.Updates(y_shape, g_shape, w_shape, np.dtype(dtype))
    with cuda_on_cpu.no_synchronization():
        return [
            do.sum(update, STEP, (w, area), (ys[0], ys[1]), (ys[2], None, ys[3]), gs),
            do.sum(plain, STEP, w, (ys[0],), (), (None, gs[0])),
            do.combine(*enumerate(ys)),
            do.outer((STEP, w, combinations[0], ys[0])),
            do.outer(*((STEP, (w, area), c, ys[0]) for c in combinations)),
            do.inner(STEP, w, ((combinations[0], gs[0], ys[0]),)),
            do.inner(STEP, (w, area), [(c, gs[0], ys[1]) for c in combinations]),
            do.inner(STEP, (w, area), [(c, gs[0], ys[1]) for c in combinations], True),
        ]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shapes", SHAPES)
def test_operations(cupy, shapes, dtype):
    there = importlib.import_module("pysig._core.sde.updates_cuda")
    found = results(there, cupy, shapes, dtype)
    wanted = results(updates, np, shapes, dtype)
    for one, other in zip(found, wanted, strict=True):
        assert isinstance(one, cupy.ndarray)
        assert one.dtype == dtype
        atol = 100 * np.finfo(dtype).eps
        assert_allclose(cupy.asnumpy(one), other, rtol=atol, atol=10 * atol)
