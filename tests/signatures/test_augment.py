"""Transformations of paths, against loops over points, and what they do to signatures."""

from __future__ import annotations

from typing import Any

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)


def lead_lag(path, length):
    pairs = [(t // 2 + t % 2, t // 2) for t in range(2 * length - 1)]
    return np.stack([np.concatenate([path[i], path[j]]) for i, j in pairs])


def invisibility(path, length):
    ends = [path[length - 1], np.zeros_like(path[0])]
    rest = np.zeros((len(path) - length, path.shape[1]))
    points = np.concatenate([path[:length], ends, rest])
    return np.column_stack([points, [1] * length + [0] * (len(path) - length + 2)])


EXPECTED: dict[str, Any] = {
    "time_augment": lambda path, n: np.column_stack(
        [path, np.minimum(np.arange(len(path)) / max(n - 1, 1), 1)]
    ),
    "lead_lag": lead_lag,
    "basepoint_augment": lambda path, n: np.concatenate([np.zeros_like(path[:1]), path]),
    "invisibility_reset_augment": invisibility,
    "cumulative_sum": lambda path, n: np.array([path[: t + 1].sum(0) for t in range(len(path))]),
}
NAMES = list(EXPECTED)
RAGGED = ("time_augment", "invisibility_reset_augment")


def each(name: str, path: np.ndarray, lengths: Any = None) -> np.ndarray:
    """Apply what is expected to every path."""
    lengths = np.broadcast_to(path.shape[-2] if lengths is None else lengths, path.shape[:-2])
    results = [EXPECTED[name](path[i], lengths[i]) for i in np.ndindex(*path.shape[:-2])]
    shape = EXPECTED[name](np.zeros(path.shape[-2:]), path.shape[-2]).shape
    return np.array(results).reshape(*path.shape[:-2], *shape)


@st.composite
def paths(draw):
    """Draw paths of whole numbers, so that all sums are exact."""
    batch = draw(st.sampled_from([(), (0,), (1,), (3,), (2, 2)]))
    shape = (*batch, draw(st.integers(1, 9)), draw(st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    path = rng.integers(-9, 10, shape).astype(draw(st.sampled_from(DTYPES)))
    return path, rng.integers(1, shape[-2] + 1, batch), rng


@pytest.mark.parametrize("name", NAMES)
@given(paths())
def test_points(name, arguments):
    path, lengths, _ = arguments
    for options in ({}, {"lengths": lengths}) if name in RAGGED else ({},):
        actual = getattr(pysig, name)(path, **options)
        assert actual.dtype == path.dtype
        expected = each(name, path, options.get("lengths"))
        np.testing.assert_allclose(actual, expected, rtol=np.finfo(path.dtype).eps, atol=0)
        if name in RAGGED:
            first = getattr(pysig, name)(path, last=False, **options)
            assert np.array_equal(first, np.roll(actual, 1, axis=-1))


@pytest.mark.parametrize("name", NAMES)
@given(paths())
def test_gradient_is_the_adjoint(name, arguments):
    """<grad, f(x + v) - f(x)> = <fᵀ grad, v>, exactly."""
    path, lengths, rng = arguments
    direction = rng.integers(-9, 10, path.shape).astype(path.dtype)
    choices: list[dict[str, Any]] = [{}]
    if name in RAGGED:
        choices += [{"lengths": lengths}, {"last": False}]
    for options in choices:
        value, residuals = getattr(pysig, f"{name}_forward")(path, **options)
        moved = each(name, direction, options.get("lengths"))
        if name == "time_augment":
            moved[..., -1] = 0
        if name == "invisibility_reset_augment":
            moved[..., -1] = 0
        if options.get("last") is False:
            moved = np.roll(moved, 1, axis=-1)
        grad = rng.integers(-9, 10, value.shape).astype(path.dtype)
        gradient = getattr(pysig, f"{name}_backward")(residuals, grad)
        if isinstance(gradient, tuple):
            assert gradient[1] is None
            gradient = gradient[0]
        assert gradient.dtype == path.dtype
        assert gradient.shape == path.shape
        assert (grad * moved).sum() == (gradient * direction).sum()


def test_given_times(rng):
    path, times = rng.standard_normal((4, 3, 5, 2)), rng.standard_normal((3, 5))
    value, residuals = pysig.time_augment_forward(path, times)
    assert np.array_equal(value[..., :2], path)
    assert np.array_equal(value[..., 2], np.broadcast_to(times, (4, 3, 5)))
    grad = rng.integers(-9, 10, value.shape).astype(float)
    gradients = pysig.time_augment_backward(residuals, grad)
    assert np.array_equal(gradients.path, grad[..., :2])
    assert np.array_equal(gradients.times, grad[..., 2].sum(0))


def test_given_basepoint(rng):
    path, basepoint = rng.standard_normal((4, 3, 5, 2)), rng.standard_normal((3, 2))
    value, residuals = pysig.basepoint_augment_forward(path, basepoint)
    assert np.array_equal(value[..., 1:, :], path)
    assert np.array_equal(value[..., 0, :], np.broadcast_to(basepoint, (4, 3, 2)))
    grad = rng.integers(-9, 10, value.shape).astype(float)
    gradients = pysig.basepoint_augment_backward(residuals, grad)
    assert np.array_equal(gradients.path, grad[..., 1:, :])
    assert np.array_equal(gradients.basepoint, grad[..., 0, :].sum(0))


def test_points_behind_the_end_are_not_read(rng):
    path = rng.standard_normal((3, 6, 2))
    lengths = np.array([1, 4, 6])
    poisoned = np.where(np.arange(6)[:, None] < lengths[:, None, None], path, np.nan)
    value, residuals = pysig.invisibility_reset_augment_forward(poisoned, lengths=lengths)
    assert np.array_equal(value, each("invisibility_reset_augment", path, lengths))
    gradient = pysig.invisibility_reset_augment_backward(residuals, np.ones(value.shape))
    assert np.array_equal(gradient[0, :, 0], [2, 0, 0, 0, 0, 0])
    assert np.array_equal(gradient[1, :, 0], [1, 1, 1, 2, 0, 0])


# ---------------------------------------------------------------------------------- in signatures


@given(paths())
def test_area_between_lead_and_lag_is_the_quadratic_variation(arguments):
    path, _, _ = arguments
    channels = path.shape[-1]
    value = pysig.signature(pysig.lead_lag(path), 2)
    level = value[..., 2 * channels :].reshape(*path.shape[:-2], 2 * channels, 2 * channels)
    increments = np.diff(wide(path), axis=-2)
    variation = np.einsum("...ti,...tj->...ij", increments, increments)
    area = level[..., :channels, channels:] - level[..., channels:, :channels]
    size = reference.signature_bound(pysig.lead_lag(path).astype(np.float64), 2)
    assert_accurate(area, variation, variation * 0 + size.max(initial=1), roundings(2, 18))


@given(paths())
def test_basepoint_is_that_of_the_signature(arguments):
    path, _, _ = arguments
    expected = pysig.signature(path, 3, basepoint=True)
    bound = reference.signature_bound(path.astype(np.float64), 3, basepoint=True)
    actual = pysig.signature(pysig.basepoint_augment(path), 3)
    assert_accurate(actual, wide(expected), bound, roundings(3, 10))


@given(paths())
def test_invisibility_gives_the_signature_with_a_basepoint(arguments):
    """Words that begin with the new channel's letter, which all happens at the end of the path."""
    path, lengths, _ = arguments
    channels = path.shape[-1]
    augmented = pysig.invisibility_reset_augment(path, lengths=lengths)
    value = wide(pysig.signature(augmented, 3, lengths=lengths + 2))
    words = reference.words(channels + 1, 3)
    ends = pysig.signature(path, 2, basepoint=True, lengths=lengths, inverse=True)
    for word, expected in zip(reference.words(channels, 2), np.moveaxis(ends, -1, 0), strict=True):
        # The channel falls by 1, then the path goes straight from its end to the origin.
        place = words.index((channels, *word))
        end = np.take_along_axis(path, lengths[..., None, None] - 1, axis=-2)[..., 0, :]
        straight = np.prod([-wide(end[..., i]) for i in word], axis=0) / len(word)
        size = 1 + 81.0 * 9
        assert np.all(abs(value[..., place] + straight) <= 40 * np.finfo(path.dtype).eps * size)
        if len(word) == 1:
            assert np.all(abs(straight - expected) <= 40 * np.finfo(path.dtype).eps * size)


def test_cumulative_sum_has_the_points_as_increments(rng):
    path = rng.integers(-3, 4, (3, 6, 2)).astype(float)
    actual = pysig.signature(pysig.cumulative_sum(path), 1, basepoint=True)
    assert np.array_equal(actual, path.sum(-2))


# ------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments(name):
    function, forward = getattr(pysig, name), getattr(pysig, f"{name}_forward")
    for path in (np.zeros(3), np.zeros((0, 2)), np.zeros((3, 0))):
        with pytest.raises(ValueError, match="path must have the shape"):
            function(path)
    with pytest.raises(TypeError, match="path must be float32, float64 or integers"):
        function(np.zeros((3, 2), np.float16))
    value, residuals = forward(np.zeros((3, 2)))
    backward = getattr(pysig, f"{name}_backward")
    with pytest.raises(ValueError, match="grad must have the shape"):
        backward(residuals, value[1:])
    with pytest.raises(TypeError, match="grad must be float64"):
        backward(residuals, value.astype(np.float32))
    with pytest.raises(TypeError, match="residuals must be"):
        backward((1,), value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pysig.time_augment(np.zeros((3, 2)), np.zeros(2)), ValueError, "times"),
        (lambda: pysig.time_augment(np.zeros((3, 2)), np.zeros((2, 3))), ValueError, "times"),
        (
            lambda: pysig.time_augment(np.zeros((3, 2)), np.zeros(3, np.float32)),
            TypeError,
            "times must be float64",
        ),
        (
            lambda: pysig.time_augment(np.zeros((3, 2)), np.zeros(3), lengths=3),
            ValueError,
            "lengths must not be given together with times",
        ),
        (lambda: pysig.time_augment(np.zeros((3, 2)), lengths=4), ValueError, "lengths"),
        (lambda: pysig.time_augment(np.zeros((3, 2)), last=0), TypeError, "last"),
        (lambda: pysig.basepoint_augment(np.zeros((3, 2)), np.zeros(3)), ValueError, "basepoint"),
        (
            lambda: pysig.basepoint_augment(np.zeros((3, 2)), np.zeros((4, 2))),
            ValueError,
            "basepoint",
        ),
        (lambda: pysig.invisibility_reset_augment(np.zeros((3, 2)), last="no"), TypeError, "last"),
        (
            lambda: pysig.invisibility_reset_augment(np.zeros((3, 2)), lengths=[1, 2]),
            ValueError,
            "lengths",
        ),
    ],
)
def test_bad_options(call, error, message):
    with pytest.raises(error, match=message):
        call()
