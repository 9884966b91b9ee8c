"""Updates of states: against plain formulae, for all kinds of noise, types and sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pysig
from pysig._core.sde.updates import Combination, Sum, Updates

H = 0.3
COMBINATIONS = [
    {"W": 1.0},
    {"W": -0.5, "area": 2.0, "square": 0.7, "cube": -1.5, "root": 0.3},
    {"root": 2.0},
    {"cube": 1.0, "square": -1.0},
]
SHAPES = [
    ((7,), (7,), (7,)),  # y, g, W: diagonal
    ((3, 700), (3, 700), (3, 700)),
    ((5, 4), (5, 4), (5, 1)),  # scalar
    ((2, 300), (2, 300), (2, 1)),
    *(((3, d), (3, d, m), (3, m)) for d in (1, 2, 5, 37) for m in (1, 2, 3, 4, 8, 19)),
    ((2, 2), (2, 2, 600), (2, 600)),
    ((2, 3, 4), (2, 3, 4, 2), (2, 3, 2)),
]


def vector(weights, w, area):
    """Return what g is multiplied by, from iterated integrals."""
    parts = {
        "W": w,
        "area": w / 2 + area,
        "square": (w**2 - H) / (2 * math.sqrt(H)),
        "cube": (w**3 - 3 * H * w) / (6 * H),
        "root": math.sqrt(H) + 0 * w,
    }
    return sum(weight * parts[name] for name, weight in weights.items())


def product(g, v):
    """Return g v."""
    return g * v if g.ndim == v.ndim else (g * v[..., None, :]).sum(-1)


def arrays(rng, *shapes):
    return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shapes", SHAPES)
def test_operations(shapes, dtype, rng):
    """The sum, and its gradients by the definition of an adjoint."""
    y_shape, g_shape, w_shape = shapes
    y, z, f, u, *gs = (array.astype(dtype) for array in arrays(rng, *[y_shape] * 4, *[g_shape] * 4))
    w, area = (array.astype(dtype) for array in arrays(rng, w_shape, w_shape))
    updates = Updates(y_shape, g_shape, w_shape, np.dtype(dtype))
    combinations = [Combination(**weights) for weights in COMBINATIONS]
    update = Sum((2, -1), {1: 0.7}, dict(enumerate(combinations)))
    result = updates.sum(update, H, (w, area), (y, z), (None, f), gs)

    wide = [np.asarray(g, np.float64) for g in gs]
    w64, area64, u64 = (np.asarray(array, np.float64) for array in (w, area, u))
    vectors = [vector(weights, w64, area64) for weights in COMBINATIONS]
    products = [product(g, v) for g, v in zip(wide, vectors, strict=True)]
    wanted = 2 * y.astype(float) - z + 0.7 * H * f + sum(products)
    eps = np.finfo(dtype).eps
    size = sum(product(abs(g), abs(v)) for g, v in zip(wide, vectors, strict=True)) + 4
    assert result.dtype == dtype
    assert result.shape == y_shape
    assert np.all(abs(result - wanted) <= 60 * eps * size)

    outer = updates.outer(*((H, (w, area), c, u) for c in combinations))
    is_matrix = len(g_shape) > len(y_shape)
    total = np.sum(vectors, axis=0)
    expected = u64[..., None] * total[..., None, :] if is_matrix else u64 * total
    bound = 60 * eps * np.abs(expected).max() + 60 * eps
    assert_allclose(outer, np.broadcast_to(expected, g_shape), rtol=0, atol=bound)

    for of_area in (False, True):
        parts = list(zip(combinations, gs, [u] * 4, strict=True))
        inner = updates.inner(H, (w, area), parts, of_area)
        step = 1e-5 * np.ones(w_shape)
        expected = 0
        for weights, g in zip(COMBINATIONS, wide, strict=True):
            moved = [
                vector(weights, *((w64, area64 + s) if of_area else (w64 + s, area64)))
                for s in (step, -step)
            ]
            contracted = (
                (g * u64[..., None]).sum(-2) if is_matrix
                else (g * u64).sum(-1, keepdims=True) if w_shape != y_shape else g * u64
            )  # fmt: skip
            expected = expected + contracted * (moved[0] - moved[1]) / 2e-5
        size = np.abs(expected).max() + 1
        assert_allclose(inner, expected, rtol=0, atol=max(1e-9, 200 * eps) * size)


def test_what_is_missing_or_not_in_order(rng):
    y, g = arrays(rng, (4, 3), (4, 3, 2))
    w = rng.normal(size=(2, 4)).T
    updates = Updates(y.shape, g.shape, w.shape, y.dtype)
    c = Combination(W=1)
    update = Sum((1,), {0: 1}, {0: c, 1: c})
    assert_array_equal(updates.sum(update, H, w, (y,), (None,), (None, None)), y)
    strided = np.asfortranarray(g)
    misaligned = np.frombuffer(b"\0" + g.tobytes(), np.uint8)[1:].view(g.dtype).reshape(g.shape)
    for other in (strided, misaligned, np.broadcast_to(g[:1], g.shape)):
        found = updates.sum(update, H, w, (y,), (y,), (other, None))
        assert_allclose(found, y + H * y + product(other, np.asarray(w)), rtol=1e-14)
    assert updates.combine((1, None), (2, None)) is None
    assert_allclose(updates.combine((2, y), (1, None), (-1, y)), y)
    assert (updates.inner(H, w, ((c, None, y), (c, g, None))) == 0).all()
    with pytest.raises(ValueError, match="unlike the first one"):
        updates.sum(update, H, w[:1], (y,), (y,), (g, None))
    with pytest.raises(ValueError, match="must come with its space-time area"):
        updates.outer((H, w, Combination(area=1), y))
    with pytest.raises(ValueError, match="at most 4 states"):
        Sum((1,) * 5)


@pytest.mark.parametrize("shapes", [SHAPES[1], ((20000, 40), (20000, 40, 3), (20000, 3))])
def test_threads(shapes, rng, keep_num_threads):
    """Results do not depend on the number of threads."""
    if shapes is SHAPES[1]:
        shapes = ((4000, 700),) * 3
    y_shape, g_shape, w_shape = shapes
    y, g, w = arrays(rng, *shapes)
    updates, c = Updates(y_shape, g_shape, w_shape, y.dtype), Combination(W=1)
    update = Sum((1, 1), {}, {0: c, 1: c})
    results = []
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        results.append(
            (
                updates.sum(update, H, w, (y, y), (), (g, g)),
                updates.outer((H, w, c, y)),
                updates.inner(H, w, ((c, g, y),)),
            )
        )
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert_array_equal(one, two)
