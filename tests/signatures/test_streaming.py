"""A stream's signature is that of the points there are, whatever has come and gone."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pysig

STEPS = st.lists(st.tuples(st.sampled_from(["push", "point", "pop"]), st.integers(0, 9)))


@given(
    st.sampled_from([(), (3,), (2, 2), (0,)]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 9),
    st.booleans(),
    STEPS,
    st.integers(0, 2**32 - 1),
)
def test_what_comes_and_goes(batch, channels, depth, first, scalar_term, steps, seed):
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((*batch, first, channels)) / 4
    stream = pysig.SignatureStream(points, depth, scalar_term=scalar_term)
    for kind, count in steps:
        if kind == "pop":
            count = min(count, points.shape[-2] - 1)
            stream.pop(count)
            points = points[..., count:, :]
        else:
            new = rng.standard_normal((*batch, count if kind == "push" else 1, channels)) / 4
            stream.push(new if kind == "push" else new[..., 0, :])
            points = np.concatenate([points, new], axis=-2)
        assert len(stream) == points.shape[-2]
        expected = pysig.signature(points, depth, scalar_term=scalar_term)
        length = np.abs(np.diff(points, axis=-2)).sum(axis=(-2, -1)).max(initial=0)
        value = stream.signature()
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-15 * depth * np.exp(length))
    value, residuals = stream.signature_forward()
    assert np.array_equal(value, stream.signature())
    stream.push(points[..., :2, :])
    stream.pop()
    _, at_once = pysig.signature_forward(points, depth, scalar_term=scalar_term)
    grad = rng.standard_normal(value.shape)
    gradient = stream.signature_backward(residuals, grad)
    assert np.array_equal(gradient, pysig.signature_backward(at_once, grad).path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_do_not_grow_with_time(rng, dtype):
    points = rng.standard_normal((3000, 3)).cumsum(axis=0).astype(dtype)
    stream = pysig.SignatureStream(points[:50], 3)
    worst = 0.0
    for i in range(50, 3000, 2):
        stream.push(points[i : i + 2])
        stream.pop(2)
        if i % 100 == 0:
            expected = pysig.signature(
                points[i - 48 : i + 2].astype(np.longdouble).astype(float), 3
            )
            error = np.max(abs(stream.signature() - expected)) / np.max(abs(expected))
            worst = max(worst, float(error))
    assert worst < 20 * np.finfo(dtype).eps
    assert stream.signature().dtype == dtype


def test_memory_is_bounded(rng):
    """What a stream keeps does not depend on how long it has been running."""
    points = rng.standard_normal((2000, 2))
    stream = pysig.SignatureStream(points[:30], 2)
    sizes = []
    for i in range(30, 2000):
        stream.push(points[i])
        stream.pop()
        sizes.append(len(pickle.dumps(stream)))
    assert max(sizes[-100:]) <= max(sizes[:100])


def test_arrays_given_may_change(rng):
    points = rng.standard_normal((10, 2))
    kept = points.copy()
    stream = pysig.SignatureStream(points, 2)
    new = rng.standard_normal(2)
    kept = np.concatenate([kept, new[None]])
    stream.push(new)
    points[:] = new[:] = 7
    stream.pop(3)
    np.testing.assert_allclose(stream.signature(), pysig.signature(kept[3:], 2), rtol=1e-13)


def test_copies_go_their_own_ways(rng):
    points, one, other = rng.standard_normal((3, 10, 2))
    stream = pysig.SignatureStream(points, 2)
    twin = copy.copy(stream)
    stream.push(one)
    twin.push(other)
    expected = pysig.signature(np.concatenate((points, other)), 2)
    np.testing.assert_allclose(twin.signature(), expected, rtol=1e-13)
    assert repr(stream) == "SignatureStream(shape=(20, 2), depth=2, dtype=float64)"


def test_refuses():
    stream = pysig.SignatureStream(np.zeros((2, 4, 3)), 2)
    for shape in ((3,), (2, 4), (2, 5, 2), (1, 3), (2, 1, 1, 3)):
        with pytest.raises(ValueError, match="points must have the shape"):
            stream.push(np.zeros(shape))
    with pytest.raises(TypeError, match="points must be float64"):
        stream.push(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="count must be between 0 and 3"):
        stream.pop(4)
    with pytest.raises(TypeError, match="count"):
        stream.pop(np.float64(1))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="path must have the shape"):
        pysig.SignatureStream(np.zeros((2, 0, 3)), 2)
    with pytest.raises(ValueError, match="depth"):
        pysig.SignatureStream(np.zeros((2, 3)), 0)
