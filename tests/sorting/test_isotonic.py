"""isotonic_regression and project_permutahedron: values and gradients."""

from __future__ import annotations

import arrays as pysig
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import sorting_reference as reference

regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
directions = pytest.mark.parametrize("increasing", [True, False])

rows = hnp.arrays(
    np.float64,
    st.integers(1, 12),
    elements=st.one_of(st.integers(-3, 3).map(float), st.floats(-8, 8, allow_subnormal=False)),
)


@regularizations
@directions
@dtypes
@given(y=rows, data=st.data())
def test_definition(regularization, increasing, dtype, y, data):
    y = y.astype(dtype)
    weights = None
    if data.draw(st.booleans()):
        elements = st.floats(0.125, 8, width=32)
        weights = data.draw(hnp.arrays(dtype, len(y), elements=elements))
    options = {"weights": weights, "regularization": regularization, "increasing": increasing}
    value = pysig.isotonic_regression(y, **options)
    expected = reference.isotonic_regression(y, weights, regularization, increasing)
    bound = 8 * np.finfo(dtype).eps * (1 + np.abs(y).max())
    assert value.dtype == dtype
    assert_allclose(value, expected.astype(float), rtol=0, atol=bound)
    assert_array_equal(pysig.isotonic_regression_forward(y, **options)[0], value)


@directions
@pytest.mark.parametrize("n", [1, 2, 10, 1000, 30000])
def test_scipy_agrees(increasing, n, rng):
    weights = rng.uniform(0.1, 3, size=n)
    walk = np.cumsum(rng.normal(size=n))
    for y in [
        rng.normal(size=n),
        np.sort(rng.normal(size=n)),
        walk,
        np.ones(n),
        np.arange(n) % 7.0,
    ]:
        for w in [None, weights]:
            expected = scipy.optimize.isotonic_regression(y, weights=w, increasing=increasing)
            value = pysig.isotonic_regression(y, weights=w, increasing=increasing)
            assert_allclose(value, expected.x, rtol=0, atol=1e-11 * (1 + np.abs(y).max()))
            _, residuals = pysig.isotonic_regression_forward(y, weights=w, increasing=increasing)
            starts = np.flatnonzero(residuals.starts[0])
            assert np.all(np.isin(expected.blocks[:-1], starts))  # ours pools equal values, too


@regularizations
@directions
@given(y=rows)
def test_optimality(regularization, increasing, y):
    """The sums of residuals over the beginning of each block have one sign, and end at zero."""
    value, residuals = pysig.isotonic_regression_forward(
        y, regularization=regularization, increasing=increasing
    )
    assert np.all(np.diff(value if increasing else -value) >= 0)
    residual = y - value if regularization == "l2" else np.expm1(y - value)
    starts = np.flatnonzero(residuals.starts[0])
    for part in np.split(residual, starts[1:]):
        sums = np.cumsum(part) * (1 if increasing else -1)
        slack = 1e-14 * (1 + np.abs(part).sum())
        assert sums.min() >= -slack
        assert abs(sums[-1]) <= 4 * slack


@regularizations
@directions
@pytest.mark.parametrize("n", [1, 2, 9])
def test_gradients(xp, regularization, increasing, n, rng):
    for weighted in [False, True]:
        y, grad = rng.normal(size=n), rng.normal(size=n)
        weights = rng.uniform(0.5, 2, size=n) if weighted else None
        _, residuals = pysig.isotonic_regression_forward(
            y, weights=weights, regularization=regularization, increasing=increasing
        )
        gradients = pysig.isotonic_regression_backward(residuals, grad)

        def of_y(y, weights=weights):
            return reference.isotonic_regression(y, weights, regularization, increasing)

        def of_weights(weights, y=y):
            return reference.isotonic_regression(y, weights, regularization, increasing)

        expected = reference.vjp_by_differences(of_y, y, grad).astype(float)
        assert_allclose(gradients.y, expected, rtol=1e-10, atol=1e-11)
        if not weighted:
            assert gradients.weights is None
            continue
        expected = reference.vjp_by_differences(of_weights, weights, grad).astype(float)
        assert gradients.weights is not None
        assert_allclose(gradients.weights, expected, rtol=1e-10, atol=1e-11)


@regularizations
@pytest.mark.parametrize("operation", ["isotonic_regression", "project_permutahedron"])
def test_gradient_at_a_kink_is_one_of_those_nearby(operation, regularization, rng):
    """Blocks that are pooled by equality, and equal entries."""
    a = np.array([1.0, 1.0, 3.0, 2.0, 4.0, 4.0])
    b = np.array([1.0, 2.0, 2.0, 1.0, 3.0, 1.0])
    forward = getattr(pysig, operation + "_forward")
    backward = getattr(pysig, operation + "_backward")
    name = "weights" if operation == "isotonic_regression" else "w"

    def jacobian(a, b):
        _, residuals = forward(a, **{name: b}, regularization=regularization)
        rows = np.array([backward(residuals, row) for row in np.eye(6)])
        assert rows.shape == (6, 2, 6)
        return rows

    moves = 1e-9 * rng.normal(size=(500, 2, 6))
    nearby = np.array([jacobian(a + of_a, b + of_b) for of_a, of_b in moves])
    assert np.ptp(nearby, axis=0).max() > 0.1
    assert np.abs(nearby - jacobian(a, b)).max(axis=(1, 2, 3)).min() < 1e-7


@regularizations
@dtypes
def test_large_numbers_do_not_spoil_differences(xp, regularization, dtype, rng):
    y = rng.integers(0, 8, size=200)
    shift = 2**18
    near = pysig.isotonic_regression(y.astype(dtype), regularization=regularization)
    far = pysig.isotonic_regression((y + shift).astype(dtype), regularization=regularization)
    assert_allclose(far - shift, near, rtol=0, atol=np.spacing(dtype(shift)))
    far = pysig.isotonic_regression(np.array([3e4, 1e4, -1e4], dtype), regularization="kl")
    assert_allclose(far, 3e4 - np.log(3), rtol=np.finfo(dtype).eps)


@regularizations
@pytest.mark.parametrize("n", [1, 2, 3, 6, 10])
@dtypes
def test_projection_definition(xp, regularization, n, dtype, rng):
    for scale in [0.1, 1, 10]:
        z, w = (scale * rng.normal(size=(2, 3, n))).astype(dtype)
        z[0] = np.round(z[0])
        w[1] = np.round(w[1])
        value = pysig.project_permutahedron(z, w, regularization=regularization)
        assert value.dtype == dtype
        for row in range(3):
            expected = reference.project(z[row], w[row], regularization).astype(float)
            bound = 16 * np.finfo(dtype).eps * (1 + scale * 4)
            assert_allclose(value[row], expected, rtol=0, atol=bound)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_projection_among_all_permutations(xp, n, rng):
    for _ in range(10):
        z, w = 2 * rng.normal(size=(2, n))
        value = pysig.project_permutahedron(z, w)
        assert np.all((reference.vertices(w) - value) @ (value - z) > -1e-12)
        assert_allclose(value.sum(), w.sum(), atol=1e-13)
        value = pysig.project_permutahedron(z, w, regularization="kl")
        assert np.all((reference.vertices(np.exp(w)) - np.exp(value)) @ (value - z) > -1e-10)
        assert_allclose(np.exp(value).sum(), np.exp(w).sum(), rtol=1e-13)


@regularizations
def test_projection_gives_soft_sort_and_soft_rank(xp, regularization, rng):
    n, strength = 50, 0.7
    x = 3 * rng.normal(size=(4, n))
    rho = np.arange(n, 0, -1.0)
    options = {"regularization": regularization, "regularization_strength": strength}
    z = np.broadcast_to(rho / strength, x.shape)
    value = pysig.project_permutahedron(z, x, regularization=regularization)
    expected = pysig.soft_sort(x, direction="descending", **options)
    assert_allclose(value, expected, rtol=0, atol=1e-12)
    w = rho if regularization == "l2" else np.log(rho)
    value = pysig.project_permutahedron(x / strength, w, regularization=regularization)
    value = value if regularization == "l2" else np.exp(value)
    assert_allclose(value, pysig.soft_rank(x, **options), rtol=0, atol=1e-12)


@regularizations
@pytest.mark.parametrize("n", [1, 2, 7])
def test_projection_gradients(xp, regularization, n, rng):
    for scale in [0.3, 1, 4]:
        z, w, grad = scale * rng.normal(size=(3, n))
        _, residuals = pysig.project_permutahedron_forward(z, w, regularization=regularization)
        gradients = pysig.project_permutahedron_backward(residuals, grad)

        def of_z(z, w=w):
            return reference.project(z, w, regularization)

        def of_w(w, z=z):
            return reference.project(z, w, regularization)

        expected = reference.vjp_by_differences(of_z, z, grad).astype(float)
        assert_allclose(gradients.z, expected, rtol=1e-10, atol=1e-11)
        expected = reference.vjp_by_differences(of_w, w, grad).astype(float)
        assert_allclose(gradients.w, expected, rtol=1e-10, atol=1e-11)


def test_projection_onto_exponentials_with_zeros(xp, rng):
    """The entries of the projection onto all permutations of k ones are capped at 1."""
    z = 3 * rng.normal(size=(20, 9))
    w = np.where(np.arange(9) < 4, 0.0, -np.inf)
    value, residuals = pysig.project_permutahedron_forward(z, w, regularization="kl")
    weights = np.exp(value)
    assert_allclose(weights.sum(-1), 4, rtol=1e-14)
    assert weights.max() <= 1 + 1e-15
    for row, shifted in zip(weights, z, strict=True):
        factor = np.exp(np.log(row) - shifted)
        below = row < 1 - 1e-12
        assert_allclose(factor[below], factor[below][0], rtol=1e-12)
        assert np.all(factor[~below] <= factor[below][0] * (1 + 1e-12))
    gradients = pysig.project_permutahedron_backward(residuals, rng.normal(size=z.shape))
    assert np.isfinite(gradients.z).all()
    assert_array_equal(gradients.w[4:], 0)


@regularizations
def test_axes_and_broadcasting(regularization, rng):
    y, weights = rng.normal(size=(3, 4, 5)), rng.uniform(1, 2, size=(4, 1))
    wide = np.broadcast_to(weights, y.shape)
    grad = rng.normal(size=y.shape)
    for axis in range(-3, 3):
        options = {"regularization": regularization, "axis": axis}
        value, residuals = pysig.isotonic_regression_forward(y, weights=weights, **options)
        gradients = pysig.isotonic_regression_backward(residuals, grad)
        moved, moved_weights = (np.moveaxis(a, axis, -1) for a in (y, wide))
        other, residuals = pysig.isotonic_regression_forward(
            moved, weights=moved_weights, regularization=regularization
        )
        expected = pysig.isotonic_regression_backward(residuals, np.moveaxis(grad, axis, -1))
        assert_array_equal(value, np.moveaxis(other, -1, axis))
        assert_array_equal(gradients.y, np.moveaxis(expected.y, -1, axis))
        assert gradients.weights is not None
        assert expected.weights is not None
        folded = np.moveaxis(expected.weights, -1, axis).sum(axis=(0, 2))[:, None]
        assert_allclose(gradients.weights, folded, rtol=1e-12, atol=1e-13)

        value, residuals = pysig.project_permutahedron_forward(y, weights, **options)
        gradients = pysig.project_permutahedron_backward(residuals, grad)
        other, residuals = pysig.project_permutahedron_forward(
            moved, moved_weights, regularization=regularization
        )
        expected = pysig.project_permutahedron_backward(residuals, np.moveaxis(grad, axis, -1))
        assert_array_equal(value, np.moveaxis(other, -1, axis))
        assert_array_equal(gradients.z, np.moveaxis(expected.z, -1, axis))
        folded = np.moveaxis(expected.w, -1, axis).sum(axis=(0, 2))[:, None]
        assert_allclose(gradients.w, folded, rtol=1e-12, atol=1e-12)


def test_no_entries(xp):
    for shape in [(0,), (2, 0), (0, 2)]:
        value, residuals = pysig.isotonic_regression_forward(
            np.zeros(shape), weights=np.ones(shape)
        )
        assert pysig.isotonic_regression_backward(residuals, value).y.shape == shape
        value, residuals = pysig.project_permutahedron_forward(np.zeros(shape), np.zeros(shape))
        assert pysig.project_permutahedron_backward(residuals, value).w.shape == shape


def test_bad_input():
    y = np.zeros((2, 3))
    for bad in [np.nan, np.inf, -np.inf]:
        with pytest.raises(ValueError, match="y must be finite"):
            pysig.isotonic_regression([1.0, bad])
        with pytest.raises(ValueError, match="weights must be positive and finite"):
            pysig.isotonic_regression([1.0, 2.0], weights=[1.0, bad])
        with pytest.raises(ValueError, match="z must be finite"):
            pysig.project_permutahedron([1.0, bad], [1.0, 2.0])
        with pytest.raises(ValueError, match="w must be finite"):
            pysig.project_permutahedron([1.0, 2.0], [1.0, bad])
    for bad in [np.nan, np.inf]:
        with pytest.raises(ValueError, match="w must be less than infinity"):
            pysig.project_permutahedron([1.0, 2.0], [1.0, bad], regularization="kl")
    with pytest.raises(ValueError, match="must have a finite entry"):
        pysig.project_permutahedron([1.0, 2.0], [-np.inf, -np.inf], regularization="kl")
    with pytest.raises(ValueError, match="weights must be positive"):
        pysig.isotonic_regression(y, weights=np.zeros(3))
    with pytest.raises(ValueError, match="weights must have a shape that broadcasts"):
        pysig.isotonic_regression(y, weights=np.ones(2))
    with pytest.raises(ValueError, match="w must have a shape that broadcasts"):
        pysig.project_permutahedron(y, np.ones(2))
    with pytest.raises(TypeError, match="weights must be float64"):
        pysig.isotonic_regression(y, weights=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="regularization must be"):
        pysig.isotonic_regression(y, regularization="l1")
    with pytest.raises(TypeError, match="increasing must be True or False"):
        pysig.isotonic_regression(y, increasing="yes")  # pyright: ignore[reportArgumentType]
    for backward in [pysig.isotonic_regression_backward, pysig.project_permutahedron_backward]:
        with pytest.raises(TypeError, match="residuals must be"):
            backward(None, y)
    _, residuals = pysig.isotonic_regression_forward(y)
    with pytest.raises(ValueError, match="grad must have the shape of the fitted values"):
        pysig.isotonic_regression_backward(residuals, np.zeros(3))
