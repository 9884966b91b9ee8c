"""Signatures of windows: each is what a call for it alone gives; the gradient; the input."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pysig
from pysig.signatures import window as windows_file


def bounds_of(path: np.ndarray, depth: int) -> float:
    """Return how far two ways to compute signatures of parts of a path may differ, in float64."""
    return 1e-15 * depth * np.exp(np.abs(np.diff(path, axis=-2)).sum(axis=(-2, -1)).max(initial=0))


def expected_windows(path, depth, length, stride, inverse=False):
    points = path.shape[-2]
    if length is None:
        ends = range(stride + 1, points + 1, stride)
        slices = [slice(0, end) for end in ends]
    else:
        slices = [slice(i, i + length) for i in range(0, points - length + 1, stride)]
    values = [pysig.signature(path[..., s, :], depth, inverse=inverse) for s in slices]
    words = pysig.signature_channels(path.shape[-1], depth)
    return np.stack(values, axis=-2) if values else np.zeros((*path.shape[:-2], 0, words))


def expected_gradient(path, depth, length, stride, inverse, grad):
    gradient = np.zeros(path.shape)
    for i in range(grad.shape[-2]):
        s = slice(0, (i + 1) * stride + 1)
        if length is not None:
            s = slice(i * stride, i * stride + length)
        _, residuals = pysig.signature_forward(path[..., s, :], depth, inverse=inverse)
        gradient[..., s, :] += pysig.signature_backward(residuals, grad[..., i, :].copy()).path
    return gradient


def short_path(rng, *shape):
    return rng.standard_normal(shape) / np.sqrt(shape[-2])


@given(
    st.sampled_from([(), (1,), (3,), (2, 2), (0,)]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(1, 60),
    st.booleans(),
    st.sampled_from([2**22, 1]),
    st.integers(0, 2**32 - 1),
)
def test_windows_and_their_gradient(
    batch, channels, depth, points, stride, length, inverse, room, seed
):
    rng = np.random.default_rng(seed)
    path = short_path(rng, *batch, points, channels)
    length = length if length <= points else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows_file, "TABLE_BYTES", room)
        patch.setattr(windows_file, "FEWEST_PIECES", 3)
        value, residuals = pysig.signature_windows_forward(
            path, depth, length=length, stride=stride, inverse=inverse
        )
        expected = expected_windows(path, depth, length, stride, inverse)
        assert value.shape == expected.shape
        np.testing.assert_allclose(value, expected, rtol=0, atol=8 * bounds_of(path, depth))
        grad = rng.standard_normal(value.shape)
        gradient = pysig.signature_windows_backward(residuals, grad)
    reference = expected_gradient(path, depth, length, stride, inverse, grad)
    scale = np.abs(reference).max(initial=1)
    np.testing.assert_allclose(gradient, reference, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("length", [None, 1, 2, 5, 30, 61])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalar_term_and_type(rng, length, dtype):
    path = short_path(rng, 2, 61, 3).astype(dtype)
    plain = pysig.signature_windows(path, 3, length=length, stride=2)
    value, residuals = pysig.signature_windows_forward(
        path, 3, length=length, stride=2, scalar_term=True
    )
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, np.insert(plain, 0, 1, axis=-1))
    grad = rng.standard_normal(value.shape).astype(dtype)
    gradient = pysig.signature_windows_backward(residuals, grad)
    _, residuals = pysig.signature_windows_forward(path, 3, length=length, stride=2)
    other = pysig.signature_windows_backward(residuals, grad[..., 1:])
    np.testing.assert_array_equal(gradient, other)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("length", "stride"), [(None, 1), (None, 3), (21, 1), (5, 2)])
def test_ragged_paths_stay_where_they_end(rng, length, stride, inverse):
    lengths = np.array([[1, 40], [17, 60]])
    path, direction = short_path(rng, 2, 2, 2, 60, 3)
    inside = np.arange(60)[:, None] < lengths[..., None, None]
    ends = np.take_along_axis(path, lengths[..., None, None] - 1, axis=-2)
    options: dict[str, Any] = {"length": length, "stride": stride, "inverse": inverse}
    value, residuals = pysig.signature_windows_forward(
        np.where(inside, path, np.nan), 3, lengths=lengths, **options
    )
    held = np.where(inside, path, ends)
    expected, plain = pysig.signature_windows_forward(held, 3, **options)
    np.testing.assert_array_equal(value, expected)
    grad = rng.standard_normal(value.shape)
    gradient = pysig.signature_windows_backward(residuals, grad)
    np.testing.assert_array_equal(gradient[~inside[..., 0]], 0)
    direction = np.where(
        inside, direction, np.take_along_axis(direction, lengths[..., None, None] - 1, axis=-2)
    )
    np.testing.assert_allclose(
        np.sum(gradient * direction),
        np.sum(pysig.signature_windows_backward(plain, grad) * direction),
        rtol=1e-12,
    )


def test_backward_is_the_adjoint_of_the_derivative(rng):
    """<grad, J v> = <Jᵀ grad, v>, with J v by a central difference that is exact for depth 2."""
    path, direction = short_path(rng, 2, 2, 40, 3)
    options: dict[str, Any] = {"depth": 2, "length": 12, "stride": 1}
    _, residuals = pysig.signature_windows_forward(path, **options)
    difference = pysig.signature_windows(path + direction, **options)
    difference -= pysig.signature_windows(path - direction, **options)
    grad = rng.standard_normal(difference.shape)
    gradient = pysig.signature_windows_backward(residuals, grad)
    np.testing.assert_allclose(np.sum(gradient * direction), np.sum(grad * difference) / 2, 1e-12)


def test_float32_error_on_a_long_path(rng):
    """Nothing grows with the length of the path, however far it strays."""
    path = rng.standard_normal((4000, 4)).cumsum(axis=0).astype(np.float32)
    value = pysig.signature_windows(path, 4, length=51, stride=3)
    exact = pysig.signature_windows(path.astype(np.float64), 4, length=51, stride=3)
    error = np.max(abs(value - exact), axis=-1) / np.max(abs(exact), axis=-1)
    assert np.max(error) < 2e-6


@pytest.mark.usefixtures("keep_num_threads")
def test_result_does_not_depend_on_the_number_of_threads(rng):
    path = short_path(rng, 2, 700, 3)
    results = set()
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        value, residuals = pysig.signature_windows_forward(path, 4, length=40)
        results.add(value.tobytes() + pysig.signature_windows_backward(residuals, value).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"length": 0}, ValueError, "length must be between 1 and 9"),
        ({"length": 10}, ValueError, "length must be between 1 and 9"),
        ({"length": 2.0}, TypeError, "length"),
        ({"length": 2, "stride": 0}, ValueError, "stride"),
        ({"length": 2, "depth": 0}, ValueError, "depth"),
        ({"length": 2, "path": np.zeros(3)}, ValueError, "path"),
        ({"length": 2, "scalar_term": 1}, TypeError, "scalar_term"),
        ({"length": 2, "lengths": 10}, ValueError, "lengths must be between 1 and 9"),
        ({"length": 2, "lengths": 2.0}, TypeError, "lengths must be integers"),
    ],
)
def test_refuses(options, error, message):
    with pytest.raises(error, match=message):
        pysig.signature_windows(**{"path": np.zeros((9, 2)), "depth": 2} | options)


def test_backward_refuses_and_residuals_can_be_pickled(rng):
    value, residuals = pysig.signature_windows_forward(short_path(rng, 9, 2), 2, length=3)
    with pytest.raises(ValueError, match="grad must have the shape of the signatures"):
        pysig.signature_windows_backward(residuals, value[1:])
    with pytest.raises(TypeError, match="grad must be float64"):
        pysig.signature_windows_backward(residuals, value.astype(np.float32))
    with pytest.raises(TypeError, match="residuals must be"):
        pysig.signature_windows_backward(tuple(residuals), value)
    again = pickle.loads(pickle.dumps(residuals))
    np.testing.assert_array_equal(
        pysig.signature_windows_backward(again, value),
        pysig.signature_windows_backward(residuals, value),
    )
