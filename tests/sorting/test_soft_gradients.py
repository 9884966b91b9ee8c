"""Gradients of soft_sort and soft_rank."""

from __future__ import annotations

import pickle

import arrays as pysig
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import sorting_reference as reference

BOTH = [(r, d) for r in ("l2", "kl") for d in ("ascending", "descending")]
both = pytest.mark.parametrize(("regularization", "direction"), BOTH)
operations = pytest.mark.parametrize("operation", ["soft_sort", "soft_rank"])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def vjp(operation, x, grad, regularization="l2", strength=1.0, direction="ascending", axis=-1):
    """Return the gradients with respect to x and the strength."""
    _, residuals = getattr(pysig, operation + "_forward")(
        x,
        regularization=regularization,
        regularization_strength=strength,
        direction=direction,
        axis=axis,
    )
    backward = getattr(pysig, operation + "_backward")
    gradients = backward(residuals, grad, strength_gradient=True)
    assert_array_equal(backward(residuals, grad), gradients.x)
    return gradients


@operations
@both
@pytest.mark.parametrize("n", [1, 2, 3, 8, 20])
def test_differences(xp, operation, regularization, direction, n, rng):
    for scale, strength in [(1, 1.0), (1, 0.2), (n, 1.0), (5, 10.0), (20, 0.5)]:
        x, grad = scale * rng.normal(size=n), rng.normal(size=n)
        gradients = vjp(operation, x, grad, regularization, strength, direction)

        def of_x(x, strength=strength):
            return getattr(reference, operation)(x, regularization, strength, direction)

        def of_strength(strength, x=x):
            return getattr(reference, operation)(x, regularization, strength[0], direction)

        expected = reference.vjp_by_differences(of_x, x, grad).astype(float)
        atol = 1e-10 * (1 + 1 / strength) * n
        assert_allclose(gradients.x, expected, rtol=1e-9, atol=atol)
        expected = reference.vjp_by_differences(of_strength, [strength], grad)[0]
        assert_allclose(
            gradients.regularization_strength, float(expected), rtol=1e-9, atol=10 * atol
        )


@operations
@both
@pytest.mark.parametrize("n", [30, 500])
def test_float32_gradients_are_those_of_float64(xp, operation, regularization, direction, n, rng):
    x, grad = rng.normal(size=(2, 3, n)).astype(np.float32)
    for strength in [1.0, 0.3, 20.0]:
        narrow = vjp(operation, x, grad, regularization, strength, direction)
        wide = vjp(
            operation, x.astype(float), grad.astype(float), regularization, strength, direction
        )
        assert narrow.x.dtype == np.float32
        scale = np.abs(wide.x).max() + np.abs(grad).max() / strength * (operation == "soft_rank")
        assert_allclose(narrow.x, wide.x, rtol=0, atol=1e-4 * scale)


def test_published_gradient(xp):
    x = np.array([8.0, 0, 5, 3, 2, 1, 6, 7, 9])
    for entry in range(9):
        gradient = vjp("soft_sort", x, np.eye(9)[entry]).x
        assert_allclose(gradient, np.full(9, 1 / 9), rtol=1e-15)


@operations
@both
def test_gradient_at_a_kink_is_one_of_those_nearby(operation, regularization, direction, rng):
    """Whole numbers and the strength 1: many blocks are pooled by equality."""
    for x in ([3.0, 1.0, 2.0, 2.0, 7.0], [0.0, 1.0, 2.0, 3.0, 4.0, 4.0], [5.0, 5.0, 5.0, 1.0]):
        x = np.array(x)
        jacobian = [
            vjp(operation, x, row, regularization, 1.0, direction).x for row in np.eye(len(x))
        ]
        nearby = [
            [vjp(operation, moved, row, regularization, 1.0, direction).x for row in np.eye(len(x))]
            for moved in x + 1e-9 * rng.normal(size=(3000, len(x)))
        ]
        distances = np.abs(np.array(nearby) - jacobian).max(axis=(1, 2))
        assert distances.min() < 1e-7


@operations
@both
@dtypes
def test_adjoint_of_the_derivative(xp, operation, regularization, direction, dtype, rng):
    """<J u, v> = <u, J' v>, where u makes a derivative of values in float64."""
    n = 200
    x, u, v = rng.normal(size=(3, 2, n)).astype(dtype).astype(float)
    function = getattr(pysig, operation)
    options = {"regularization": regularization, "direction": direction}
    step = 1e-6
    for strength in [0.5, 40.0]:
        up, down = (
            function(x + s * u, regularization_strength=strength, **options) for s in (step, -step)
        )
        gradient = vjp(operation, x, v, regularization, strength, direction).x
        scale = np.abs(v * (up - down) / (2 * step)).sum()
        assert_allclose(
            ((up - down) / (2 * step) * v).sum(), (u * gradient).sum(), atol=3e-5 * scale
        )


@dtypes
@pytest.mark.parametrize("direction", ["ascending", "descending"])
def test_kl_gradients_are_finite_at_small_strengths(xp, dtype, direction, rng):
    x = rng.normal(size=(3, 1000)).astype(dtype)
    x[0] = np.round(x[0] * 50) / 50  # blocks of ties at any strength
    grad = rng.normal(size=x.shape).astype(dtype)
    for strength in [1.0, 0.1, 0.01, 1e-3, 1e-5]:
        gradients = vjp("soft_rank", x, grad, "kl", strength, direction)
        wide = vjp("soft_rank", x.astype(float), grad.astype(float), "kl", strength, direction)
        assert np.isfinite(gradients.x).all()
        error = np.abs(gradients.x - wide.x).max(-1)
        assert np.all(error <= 1e-4 * np.abs(wide.x).max(-1) + 1e-3)
        assert np.abs(gradients.x[0]).max() > 0
        large = 50 * x
        gradients = vjp("soft_sort", large, grad, "kl", strength, direction)
        wide = vjp("soft_sort", large.astype(float), grad.astype(float), "kl", strength, direction)
        assert np.isfinite(gradients.x).all()
        assert_allclose(gradients.x, wide.x, rtol=0, atol=1e-3)


@operations
@both
def test_axes(operation, regularization, direction, rng):
    x, grad = rng.normal(size=(2, 3, 4, 5))
    for axis in range(-3, 3):
        gradients = vjp(operation, x, grad, regularization, 0.3, direction, axis)
        moved, moved_grad = (np.moveaxis(a, axis, -1) for a in (x, grad))
        expected = vjp(operation, moved, moved_grad, regularization, 0.3, direction)
        assert_array_equal(gradients.x, np.moveaxis(expected.x, -1, axis))
        np.testing.assert_equal(gradients.regularization_strength, expected.regularization_strength)


@operations
def test_residuals_hold_permutation_and_blocks(operation):
    x = np.array([[0.0, 0.1, 5.0, 0.2], [4.0, 3.0, 2.0, 1.0]])
    residuals = getattr(pysig, operation + "_forward")(x, regularization_strength=0.5)[1]
    if operation == "soft_sort":
        assert_array_equal(residuals.order, np.argsort(x))
        assert_array_equal(residuals.starts, [[1, 1, 1, 0], [1, 1, 1, 1]])
        assert residuals.order.dtype == np.int32
    else:
        assert_array_equal(residuals.blocks, [[0, 0, 1, 0], [3, 2, 1, 0]])
    copy = pickle.loads(pickle.dumps(residuals))
    backward = getattr(pysig, operation + "_backward")
    assert_array_equal(backward(copy, x), backward(residuals, x))


@both
@pytest.mark.parametrize("n", [20, 300, 70000])
def test_ranks_of_a_block_add_up_to_its_positions(regularization, direction, n, rng):
    x = rng.normal(size=(3, n))
    x[1] = rng.permutation(np.cumsum(rng.exponential(size=n)))  # many blocks
    x[2] = np.sort(x[2]) * 1e4  # exponents that are too large for the others' way
    ranks, residuals = pysig.soft_rank_forward(
        x, regularization=regularization, direction=direction
    )
    for row, blocks in zip(ranks, residuals.blocks, strict=True):
        lengths = np.bincount(blocks)
        ends = np.cumsum(lengths)
        positions = lengths * (2 * ends - lengths + 1) / 2
        assert_allclose(np.bincount(blocks, weights=row), positions, rtol=1e-11)
        assert np.all(np.diff(blocks[np.argsort(row, kind="stable")]) >= 0)
        alone = lengths[blocks] == 1
        assert_array_equal(row[alone], ends[blocks[alone]])


@operations
def test_grad_of_any_kind(operation, rng):
    x, grad = rng.normal(size=(2, 4, 6))
    expected = vjp(operation, x, grad).x
    read_only = grad.copy()
    read_only.flags.writeable = False
    for array in [np.asfortranarray(grad), read_only, grad.astype(">f8"), grad.tolist()]:
        assert_array_equal(vjp(operation, x, array).x, expected)
