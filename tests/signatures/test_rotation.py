"""Rotation invariants: they do not change, there are as many as there should be, and gradients."""

from __future__ import annotations

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import algebra_reference as algebra
from reference import signature_cases as cases
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)
KINDS = ("all", "irreducible")
COUNTS = {"all": [2, 6, 20, 70, 252], "irreducible": [2, 3, 10, 31, 108]}


def coefficients(depth, kind="all"):
    """Return the coefficients of all invariants, for signatures without scalar term."""
    levels = pysig.rotation_invariants_2d_coefficients(depth, kind=kind)
    result = np.zeros((sum(map(len, levels)), pysig.signature_channels(2, depth)))
    row = 0
    for k, level in zip(range(2, depth + 1, 2), levels, strict=True):
        result[row : row + len(level), 2**k - 2 : 2 ** (k + 1) - 2] = level
        row += len(level)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_invariants(kind):
    levels = pysig.rotation_invariants_2d_coefficients(10, kind=kind)
    assert [len(level) for level in levels] == COUNTS[kind]
    for level in levels[:4]:
        assert np.linalg.matrix_rank(level) == len(level)
        assert set(np.unique(level)) <= {-1.0, 0.0, 1.0}


@given(
    st.integers(2, 7),
    st.floats(-3, 3),
    st.sampled_from([(), (0,), (3,), (2, 2)]),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32 - 1),
)
def test_rotations_change_nothing(depth, angle, batch, dtype, seed):
    path = cases.random_path(np.random.default_rng(seed), (*batch, 8, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    values = [
        pysig.rotation_invariants_2d(pysig.signature(x.astype(dtype), depth), depth)
        for x in (path, path @ turn.T)
    ]
    assert values[0].dtype == dtype
    bounds = [
        reference.signature_bound(x, depth) @ abs(coefficients(depth)).T
        for x in (path, path @ turn.T)
    ]
    assert_accurate(
        values[0], wide(values[1]), 8 * (bounds[0] + bounds[1]), 2 * roundings(depth, 8)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scalar_term", [False, True])
@pytest.mark.parametrize("depth", [2, 3, 6])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients(rng, depth, kind, scalar_term, dtype):
    shape = (3, pysig.signature_channels(2, depth, scalar_term))
    tensor = rng.uniform(-1, 1, shape).astype(dtype)
    options = {"kind": kind, "scalar_term": scalar_term}
    matrix = coefficients(depth, kind)
    value, residuals = pysig.rotation_invariants_2d_forward(tensor, depth, **options)
    words = wide(tensor)[:, int(scalar_term) :]
    assert_accurate(value, words @ matrix.T, abs(words) @ abs(matrix).T, depth + 1)
    assert np.array_equal(pysig.rotation_invariants_2d(tensor, depth, **options), value)
    grad = rng.uniform(-1, 1, value.shape).astype(dtype)
    gradient = pysig.rotation_invariants_2d_backward(residuals, grad)
    assert gradient.shape == shape
    bound = abs(wide(grad)) @ abs(matrix)
    assert_accurate(gradient[:, int(scalar_term) :], wide(grad) @ matrix, bound, 2 * depth + 2)
    assert not gradient[:, : int(scalar_term)].any()


def test_first_invariants_are_the_distance_and_the_area(rng):
    path = rng.standard_normal((5, 9, 2))
    value = pysig.rotation_invariants_2d(pysig.signature(path, 2), 2)
    x, y = (path[:, -1] - path[:, 0]).T
    from_start = path - path[:, :1]
    before, after = from_start[:, :-1], from_start[:, 1:]
    area = (before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]).sum(-1) / 2
    np.testing.assert_allclose(value[:, 0], (x**2 + y**2) / 2, atol=1e-12)
    np.testing.assert_allclose(value[:, 1], -2 * area, atol=1e-12)


@pytest.mark.parametrize("letters", [4, 6])
def test_the_others_are_products_of_lower_ones(letters):
    """The irreducible invariants of a level and products of lower ones span all invariants."""
    every = coefficients(letters)
    level = slice(2**letters - 2, None)
    start = sum(COUNTS["all"][: letters // 2 - 1])
    products = [
        algebra.shuffle_product(first, second, 2, letters)[level]
        for first in every[:start]
        for second in every[:start]
        if np.flatnonzero(first)[0] <= np.flatnonzero(second)[0]
    ]
    products = np.array([x for x in products if x.any()])
    chosen = coefficients(letters, "irreducible")[-COUNTS["irreducible"][letters // 2 - 1] :, level]
    reducible = np.linalg.matrix_rank(products)
    assert reducible == COUNTS["all"][letters // 2 - 1] - len(chosen)
    together = np.linalg.matrix_rank(np.concatenate([products, chosen]))
    assert together == COUNTS["all"][letters // 2 - 1]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.zeros(12), 2), {}, ValueError, "signature must have the last axis 6"),
        ((np.zeros(2), 1), {}, ValueError, "depth must be between 2 and 64"),
        ((np.zeros(6), 2), {"kind": "a"}, ValueError, "kind must be one of 'all', 'irreducible'"),
        ((np.zeros(6), 13), {"kind": "irreducible"}, ValueError, "depth must be at most 12"),
        ((np.zeros(6), 2), {"scalar_term": 0}, TypeError, "scalar_term"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        pysig.rotation_invariants_2d(*arguments, **options)


def test_bad_gradients():
    _, residuals = pysig.rotation_invariants_2d_forward(np.zeros((3, 6)), 2)
    with pytest.raises(ValueError, match="grad must have the shape"):
        pysig.rotation_invariants_2d_backward(residuals, np.zeros((3, 6)))
    with pytest.raises(TypeError, match="residuals must be"):
        pysig.rotation_invariants_2d_backward((1,), np.zeros((3, 2)))
