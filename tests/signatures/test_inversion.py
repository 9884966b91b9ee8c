"""Paths from signatures: what comes back exactly, what comes back nearly, and gradients."""

from __future__ import annotations

import arrays as pysig
import numpy as np
import pytest
from reference import algebra_reference as algebra
from reference import signature_cases as cases
from reference.accuracy import wide

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)
SIZES = [(1, 6), (2, 6), (3, 4), (5, 2), (4, 1)]


def curve(name: str, length: int) -> np.ndarray:
    """Return points of a curve of length 1, at equal distances."""
    t = np.linspace(0, 1, length)
    if name == "circle":
        return np.stack([np.cos(t), np.sin(t)], axis=-1)
    if name == "helix":
        points = [np.cos(4 * t) / 5, np.sin(4 * t) / 5, np.sqrt(1 - (4 / 5) ** 2) * t]
        return np.stack(points, axis=-1)
    return np.stack([np.minimum(t, 0.5), np.maximum(t, 0.5)], axis=-1)  # a corner


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
@pytest.mark.parametrize("batch", [(), (0,), (3,), (2, 2)])
def test_straight_lines_come_back(rng, channels, depth, dtype, batch):
    start, end = (rng.standard_normal((*batch, channels)).astype(dtype) for _ in range(2))
    value = pysig.signature(np.stack([start, end], axis=-2), depth)
    path = pysig.invert_signature(value, channels, depth, initial_position=start)
    assert path.dtype == dtype
    times = np.linspace(0, 1, depth + 1)[:, None]
    expected = start[..., None, :] + times * (end - start)[..., None, :]
    np.testing.assert_allclose(path, expected, rtol=0, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["circle", "helix", "corner"])
def test_curves_come_closer_with_the_depth(name):
    errors = []
    for depth in (2, 4, 8):
        points = curve(name, 400 * depth + 1)
        channels = points.shape[1]
        value = pysig.signature(points, depth)
        path = pysig.invert_signature(value, channels, depth, initial_position=points[0])
        errors.append(abs(path - points[::400]).max())
    assert errors[0] > 1.2 * errors[1] > 1.44 * errors[2]
    assert errors[2] < {"circle": 0.02, "helix": 0.05, "corner": 0.08}[name]


@pytest.mark.parametrize(("channels", "depth"), SIZES)
def test_reference(rng, channels, depth):
    path = cases.random_path(rng, (2, 3, 8, channels))
    position = rng.standard_normal((3, channels))
    for dtype in DTYPES:
        value = pysig.signature(path.astype(dtype), depth)
        moved = position.astype(dtype)
        actual = pysig.invert_signature(value, channels, depth, initial_position=moved)
        expected = algebra.invert(wide(value), wide(moved), channels, depth)
        size = abs(expected).max(axis=(-2, -1), keepdims=True)
        assert np.all(abs(actual - expected) <= 40 * np.finfo(dtype).eps * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), SIZES)
@pytest.mark.parametrize("shape", [(3,), (1,), ()])
def test_gradients(rng, channels, depth, dtype, shape):
    """<grad, J v> = <Jᵀ grad, v>; tensors that are not small keep the map well-conditioned."""
    words = pysig.signature_channels(channels, depth)
    tensor = rng.uniform(0.5, 1, (3, words)).astype(dtype)
    position = rng.standard_normal((*shape, channels)).astype(dtype)
    path, residuals = pysig.invert_signature_forward(
        tensor, channels, depth, initial_position=position
    )
    grad = rng.uniform(-1, 1, path.shape).astype(dtype)
    algebra.assert_adjoint(
        pysig.invert_signature_backward(residuals, grad),
        grad,
        lambda x, y: algebra.invert(x, y, channels, depth),
        lambda x, y: 4 * algebra.invert(x, y, channels, depth) + x.sum() * words,
        [tensor, position],
        [rng.uniform(-1, 1, x.shape) for x in (tensor, position)],
        40,
    )


def test_scalar_term_and_no_position(rng):
    value = pysig.signature(rng.standard_normal((4, 7, 2)), 4, scalar_term=True)
    expected = pysig.invert_signature(value[:, 1:], 2, 4)
    path, residuals = pysig.invert_signature_forward(value, 2, 4, scalar_term=True)
    assert np.array_equal(path, expected)
    assert not path[:, 0].any()
    gradients = pysig.invert_signature_backward(residuals, path)
    assert gradients.initial_position is None
    assert not gradients.signature[:, :7].any()  # levels 0 to 2
    assert gradients.signature[:, 7:].all()


def test_a_path_that_rests_stays():
    path, residuals = pysig.invert_signature_forward(np.zeros((2, 14)), 2, 3)
    assert np.array_equal(path, np.zeros((2, 4, 2)))
    assert np.isfinite(pysig.invert_signature_backward(residuals, path + 1).signature).all()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.zeros(13), 2, 3), {}, ValueError, "signature must have the last axis 14"),
        ((np.zeros(14), 2, 0), {}, ValueError, "depth"),
        ((np.zeros(14), 2, 3), {"initial_position": np.zeros(3)}, ValueError, "initial_position"),
        (
            (np.zeros(14), 2, 3),
            {"initial_position": np.zeros((2, 2))},
            ValueError,
            "initial_position",
        ),
        (
            (np.zeros(14), 2, 3),
            {"initial_position": np.zeros(2, np.float32)},
            TypeError,
            "initial_position must be float64",
        ),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        pysig.invert_signature(*arguments, **options)


def test_bad_gradients():
    _, residuals = pysig.invert_signature_forward(np.zeros(14), 2, 3)
    with pytest.raises(ValueError, match="grad must have the shape"):
        pysig.invert_signature_backward(residuals, np.zeros((3, 2)))
    with pytest.raises(TypeError, match="residuals must be"):
        pysig.invert_signature_backward((1,), np.zeros((4, 2)))
