"""Signatures of intervals: each is what a call for it alone gives, however the path was built."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pysig
from pysig.signatures import path as path_file


def short_path(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape) / np.sqrt(shape[-2])


def bound_of(path: np.ndarray, depth: int) -> float:
    """Return how far two ways to compute signatures of parts of a path may differ, in float64."""
    length = np.abs(np.diff(path, axis=-2)).sum(axis=(-2, -1)).max(initial=0)
    return 1e-14 * depth * np.exp(length)


def all_intervals(length: int) -> tuple[np.ndarray, np.ndarray]:
    start, end = np.triu_indices(length)
    return start, end + 1


def direct(path: np.ndarray, depth: int, start: Any, end: Any, **options: Any) -> np.ndarray:
    values = [
        pysig.signature(path[..., s:e, :], depth, **options)
        for s, e in zip(np.ravel(start), np.ravel(end), strict=True)
    ]
    return np.stack(values, axis=-2)


def direct_gradient(path: np.ndarray, depth: int, start: Any, end: Any, grad: Any) -> np.ndarray:
    gradient = np.zeros(path.shape)
    for i, (s, e) in enumerate(zip(start, end, strict=True)):
        _, residuals = pysig.signature_forward(path[..., s:e, :], depth)
        part = np.ascontiguousarray(grad[..., i, :])
        gradient[..., s:e, :] += pysig.signature_backward(residuals, part).path
    return gradient


# --------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("size", "length"), [(3, n) for n in (1, 2, 3, 4, 5, 6, 7, 9, 10, 13, 16, 34)] + [(32, 67)]
)
def test_all_intervals(rng, monkeypatch, size, length):
    """With all of their gradients: every row of every table takes part."""
    monkeypatch.setattr(path_file, "SIZE", size)
    path = short_path(rng, length, 2)
    start, end = all_intervals(length)
    value, residuals = pysig.Path(path, 2).signature_forward(start, end)
    np.testing.assert_allclose(
        value, direct(path, 2, start, end), rtol=0, atol=bound_of(path, 2) / 10
    )
    grad = rng.standard_normal(value.shape) / np.sqrt(len(start))
    gradient = pysig.Path.signature_backward(residuals, grad)
    assert gradient.basepoint is None
    expected = direct_gradient(path, 2, start, end, grad)
    np.testing.assert_allclose(gradient.path, expected, rtol=0, atol=1e-13 * length)


@given(
    st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.lists(st.integers(0, 150), min_size=1, max_size=4),
    st.sampled_from([None, True, "shared", "own"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_any_path_queries_and_updates(batch, channels, depth, counts, kind, scalar_term, seed):
    rng = np.random.default_rng(seed)
    counts[0] += 1
    points = short_path(rng, *batch, sum(counts), channels)
    first, *more = np.split(points, np.cumsum(counts)[:-1], axis=-2)
    basepoint = kind
    if kind in ("shared", "own"):
        basepoint = rng.standard_normal((*(batch if kind == "own" else ()), channels)) / 4
    path = pysig.Path(first, depth, basepoint, scalar_term)
    for part in more:
        path.signature(rng.integers(0, len(path)), None)
        path.update(part)
    whole = points
    if kind is not None:
        row = np.broadcast_to(0 if kind is True else basepoint, (*batch, channels))
        whole = np.concatenate([row[..., None, :], points], axis=-2)
    assert len(path) == whole.shape[-2]
    start = rng.integers(0, len(path), 20)
    end = start + 1 + rng.integers(0, len(path) - start)
    value, residuals = path.signature_forward(start, end)
    expected = direct(whole, depth, start, end, scalar_term=scalar_term)
    assert value.shape == expected.shape
    tolerance = bound_of(whole, depth)
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance)
    at_once = pysig.Path(points, depth, basepoint, scalar_term).signature(start, end)
    np.testing.assert_allclose(value, at_once, rtol=0, atol=tolerance)
    grad = rng.standard_normal(value.shape)
    gradients = pysig.Path.signature_backward(residuals, grad)
    of_all = direct_gradient(whole, depth, start, end, grad[..., int(scalar_term) :])
    scale = 1e-12 * np.abs(of_all).max(initial=1)
    np.testing.assert_allclose(gradients.path, of_all[..., kind is not None :, :], 0, scale)
    if not isinstance(basepoint, np.ndarray):
        assert gradients.basepoint is None
    else:
        expected = of_all[..., 0, :]
        expected = expected.sum(axis=tuple(range(expected.ndim - basepoint.ndim)))
        np.testing.assert_allclose(gradients.basepoint, expected, rtol=0, atol=scale)


def test_points_one_by_one(rng, monkeypatch):
    monkeypatch.setattr(path_file, "SIZE", 5)
    points = short_path(rng, 70, 2)
    path = pysig.Path(points[:1], 3)
    for i in range(1, 70):
        path.update(points[i : i + 1])
        if i % 9 == 0:
            value, residuals = path.signature_forward([0, i // 3, i - 5], [i + 1, i, None])
            kept = value, residuals, pysig.Path.signature_backward(residuals, value).path
    start, end = all_intervals(70)
    expected = pysig.Path(points, 3).signature(start, end)
    np.testing.assert_allclose(path.signature(start, end), expected, rtol=0, atol=1e-14)
    value, residuals, gradient = kept
    again = pysig.Path.signature_backward(residuals, value).path
    np.testing.assert_array_equal(again, gradient)


def test_a_single_interval(rng):
    points = short_path(rng, 2, 100, 3)
    path = pysig.Path(points, 3)
    value, residuals = path.signature_forward(7, 90)
    assert value.shape == (2, 39)
    grad = rng.standard_normal(value.shape)
    gradient = pysig.Path.signature_backward(residuals, grad).path
    _, residuals = pysig.signature_forward(points[:, 7:90], 3)
    expected = np.zeros_like(points)
    expected[:, 7:90] = pysig.signature_backward(residuals, grad).path
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-12)


def test_backward_is_the_adjoint_of_the_derivative(rng):
    """<grad, J v> = <Jᵀ grad, v>, with J v by a central difference that is exact for depth 2."""
    points, direction = short_path(rng, 2, 2, 300, 3)
    start = rng.integers(0, 299, 200)
    end = start + 1 + rng.integers(0, 300 - start)
    _, residuals = pysig.Path(points, 2).signature_forward(start, end)
    difference = pysig.Path(points + direction, 2).signature(start, end)
    difference -= pysig.Path(points - direction, 2).signature(start, end)
    grad = rng.standard_normal(difference.shape)
    gradient = pysig.Path.signature_backward(residuals, grad).path
    np.testing.assert_allclose(np.sum(gradient * direction), np.sum(grad * difference) / 2, 1e-12)


def test_queries_of_any_shape_are_as_slices(rng):
    points = short_path(rng, 3, 50, 2)
    path = pysig.Path(points, 2)
    for s, e in ((None, None), (3, None), (None, -7), (-20, -3), (-1000, 1000), (49, 50), (-1, 99)):
        expected = pysig.signature(points[:, s:e], 2)
        np.testing.assert_allclose(path.signature(s, e), expected, rtol=0, atol=1e-14)
    start, end = [None, -10, 4], [None, -2, 1000]
    for value in (path.signature(start, end), path.signature(tuple(start), end)):
        assert value.shape == (3, 3, 6)
        for i in range(3):
            expected = pysig.signature(points[:, start[i] : end[i]], 2)
            np.testing.assert_allclose(value[:, i], expected, rtol=0, atol=1e-14)
    grid = path.signature(np.arange(4)[:, None], np.arange(10, 40, 10, dtype=np.uint8))
    assert grid.shape == (3, 4, 3, 6)
    np.testing.assert_allclose(grid[:, 2, 1], pysig.signature(points[:, 2:20], 2), atol=1e-14)
    assert path.signature(np.zeros(0, int), 5).shape == (3, 0, 6)


@pytest.mark.parametrize("mode", ["words", "brackets", "expand"])
@pytest.mark.parametrize("scalar_term", [False, True])
def test_logsignature(rng, mode, scalar_term):
    points = short_path(rng, 2, 90, 3)
    path = pysig.Path(points, 3, scalar_term=scalar_term)
    value = path.logsignature([0, 5, 70], [90, 60, 71], mode=mode)
    for i, (s, e) in enumerate(((0, 90), (5, 60), (70, 71))):
        expected = pysig.logsignature(points[:, s:e], 3, mode=mode)
        np.testing.assert_allclose(value[:, i], expected, rtol=0, atol=1e-13)
    assert path.logsignature(3, 9).shape == path.logsignature([3], 9)[:, 0].shape


def test_float32_error_beside_that_of_inverses(rng):
    """Increments of size 1 for 5000 steps; relative to the largest number of each level."""
    points = rng.standard_normal((5000, 4)).cumsum(axis=0).astype(np.float32)
    start = rng.integers(1, 4000, 300)
    end = start + rng.integers(2, 1000, 300)
    exact = pysig.Path(points.astype(np.float64), 4).signature(start, end)
    by_tables = pysig.Path(points, 4).signature(start, end)
    prefixes = pysig.signature(points, 4, stream=True)
    inverses = pysig.signature(points, 4, stream=True, inverse=True)
    by_inverses = pysig.signature_combine(inverses[start - 1], prefixes[end - 2], 4, 4)
    assert largest_error(by_tables, exact) < 2e-6
    assert largest_error(by_inverses, exact) > 0.02


def largest_error(value: np.ndarray, exact: np.ndarray) -> float:
    ends = np.cumsum([4, 16, 64])
    pairs = zip(*(np.split(x, ends, axis=-1) for x in (value, exact)), strict=True)
    return max(np.max(abs(v - e).max(axis=-1) / abs(e).max(axis=-1)) for v, e in pairs)


@pytest.mark.usefixtures("keep_num_threads")
def test_result_does_not_depend_on_the_number_of_threads(rng):
    points = short_path(rng, 2, 900, 3)
    start = rng.integers(0, 899, 500)
    end = start + 1 + rng.integers(0, 900 - start)
    results = set()
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        value, residuals = pysig.Path(points, 4).signature_forward(start, end)
        gradient = pysig.Path.signature_backward(residuals, value).path
        results.add(value.tobytes() + gradient.tobytes())
    assert len(results) == 1


# ------------------------------------------------------------------------------------ the input


@pytest.mark.parametrize(
    ("start", "end", "error", "message"),
    [
        (3, 3, ValueError, "an interval without points: from 3 to 3"),
        ([1, 8], [4, 5], ValueError, "from 8 to 5"),
        (-3, 2, ValueError, "from 7 to 2"),
        (1.0, 5, TypeError, "start must be integers or None"),
        (1, [5.0], TypeError, "end must be integers or None"),
        (True, 5, TypeError, "start must be integers"),
        ([1, 2], [5, 6, 7], ValueError, "broadcast"),
        ([[1], [2, 3]], 5, ValueError, "start cannot be made a NumPy array"),
        (1, np.ma.array([5, 6], mask=[False, True]), TypeError, "end must not be a masked array"),
    ],
)
def test_query_refuses(start, end, error, message):
    with pytest.raises(error, match=message):
        pysig.Path(np.zeros((10, 2)), 2).signature(start, end)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros(3), 2), ValueError, "path must have the shape"),
        ((np.zeros((0, 3)), 2), ValueError, "path must have the shape"),
        ((np.zeros((4, 3)), 0), ValueError, "depth"),
        ((np.zeros((4, 3)), 2, np.zeros(2)), ValueError, "basepoint must have the shape"),
        ((np.zeros((4, 3)), 2, None, 1), TypeError, "scalar_term"),
    ],
)
def test_path_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        pysig.Path(*arguments)


def test_update_and_backward_refuse(rng):
    path = pysig.Path(np.zeros((2, 10, 3)), 2)
    for shape in ((5, 3), (2, 5, 2), (3,), (2, 1, 5, 3)):
        with pytest.raises(ValueError, match="more must have the shape"):
            path.update(np.zeros(shape))
    with pytest.raises(TypeError, match="more must be float64"):
        path.update(np.zeros((2, 5, 3), np.float32))
    value, residuals = path.signature_forward([0, 1])
    with pytest.raises(ValueError, match="grad must have the shape of the signatures"):
        path.signature_backward(residuals, value[:1])
    with pytest.raises(TypeError, match="residuals must be PathResiduals"):
        path.signature_backward(value, value)


def test_inputs_are_not_changed_and_may_change(rng):
    points = short_path(rng, 2, 70, 3)
    kept = points.copy()
    path = pysig.Path(points, 2)
    before = path.signature(3, 60)
    np.testing.assert_array_equal(points, kept)
    points[:] = 7
    np.testing.assert_array_equal(path.signature([3, 3], 60)[:, 1], before)
    again = pickle.loads(pickle.dumps(path))
    np.testing.assert_array_equal(again.signature(3, 60), before)


def test_copies_are_updated_by_themselves(rng):
    points, one, other = (
        short_path(rng, 2, 70, 3),
        rng.standard_normal((2, 5, 3)),
        np.ones((2, 5, 3)),
    )
    path = pysig.Path(points, 2)
    path.update(one[:, :1])
    twin = copy.copy(path)
    path.update(one[:, 1:])
    twin.update(other)
    for which, more in ((path, one), (twin, np.concatenate((one[:, :1], other), axis=1))):
        whole = np.concatenate((points, more), axis=1)
        np.testing.assert_allclose(which.signature(60), pysig.signature(whole[:, 60:], 2), 1e-12)
    assert repr(twin) == "Path(shape=(2, 76, 3), depth=2, dtype=float64)"
