"""Values of soft_sort and soft_rank: definition, identities, limits, edge cases."""

from __future__ import annotations

import arrays as pysig
import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import sorting_reference as reference

REGULARIZATIONS = ["l2", "kl"]
DIRECTIONS = ["ascending", "descending"]
BOTH = [(r, d) for r in REGULARIZATIONS for d in DIRECTIONS]
OPERATIONS = ["soft_sort", "soft_rank"]
EXAMPLE = [8.0, 0, 5, 3, 2, 1, 6, 7, 9]

both = pytest.mark.parametrize(("regularization", "direction"), BOTH)
operations = pytest.mark.parametrize("operation", OPERATIONS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def evaluate(operation, x, regularization="l2", strength=1.0, direction="ascending", axis=-1):
    return getattr(pysig, operation)(
        x,
        regularization=regularization,
        regularization_strength=strength,
        direction=direction,
        axis=axis,
    )


def forward(operation, x, regularization="l2", strength=1.0, direction="ascending", axis=-1):
    return getattr(pysig, operation + "_forward")(
        x,
        regularization=regularization,
        regularization_strength=strength,
        direction=direction,
        axis=axis,
    )


def expected_value(operation, x, regularization, strength, direction):
    return getattr(reference, operation)(x, regularization, strength, direction)


def tolerance(operation, x, dtype, strength):
    """A few roundings of the largest number that a result is computed from."""
    n = len(x)
    spread = np.ptp(x) + np.abs(x).max() if operation == "soft_sort" else n
    return 8 * np.finfo(dtype).eps * (spread + n / strength * (operation == "soft_sort"))


finite_rows = hnp.arrays(
    np.float64,
    st.integers(1, 12),
    elements=st.one_of(
        st.integers(-4, 4).map(float), st.floats(-8, 8, allow_subnormal=False), st.just(0.5)
    ),
)
strengths = st.one_of(st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]), st.floats(0.01, 100))


@both
@operations
@dtypes
@given(x=finite_rows, strength=strengths)
def test_definition(operation, regularization, direction, dtype, x, strength):
    x = x.astype(dtype)
    value = evaluate(operation, x, regularization, strength, direction)
    with_residuals, _ = forward(operation, x, regularization, strength, direction)
    expected = expected_value(operation, x, regularization, strength, direction)
    assert value.dtype == dtype
    bound = tolerance(operation, x, dtype, strength)
    # What follows a block boundary is continuous in the data, with a slope of at most 1 / strength.
    assert_allclose(value, expected.astype(np.float64), rtol=0, atol=bound * 4)
    assert_allclose(with_residuals, value, rtol=0, atol=bound)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 33, 64, 100])
@both
@operations
@dtypes
def test_definition_for_rows_of_all_lengths(
    xp, operation, regularization, direction, dtype, n, rng
):
    for scale, strength in [(1, 1.0), (1, 0.1), (n, 1.0), (5, 10.0), (100, 0.5)]:
        x = (scale * rng.normal(size=(2, n))).astype(dtype)
        value = evaluate(operation, x, regularization, strength, direction)
        for row, result in zip(x, value, strict=True):
            expected = expected_value(operation, row, regularization, strength, direction)
            bound = 4 * tolerance(operation, row, dtype, strength)
            assert_allclose(result, expected.astype(np.float64), rtol=0, atol=bound)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ranks_are_the_projection_among_all_permutations(xp, n, direction, rng):
    vertices = reference.vertices(np.arange(1, n + 1))
    for strength in [0.1, 0.5, 1, 3]:
        x = rng.normal(size=n)
        z = (x if direction == "ascending" else -x) / strength
        for regularization in REGULARIZATIONS:
            ranks = evaluate("soft_rank", x, regularization, strength, direction)
            slope = ranks - z if regularization == "l2" else np.log(ranks) - z
            # The projection is the point of the hull from where no vertex lies downhill.
            assert np.all((vertices - ranks) @ slope > -1e-12 * n * n / strength)
            assert np.all(np.cumsum(np.sort(ranks)) > np.cumsum(np.arange(1, n + 1)) - 1e-12)
            assert_allclose(ranks.sum(), n * (n + 1) / 2, rtol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_sorting_is_the_projection_among_all_permutations(xp, n, direction, rng):
    for strength in [0.1, 0.5, 1, 3]:
        x = rng.normal(size=n)
        sign = -1 if direction == "ascending" else 1
        z = np.arange(n, 0, -1) / strength
        value = sign * evaluate("soft_sort", x, "l2", strength, direction)
        assert np.all((reference.vertices(sign * x) - value) @ (value - z).T > -1e-11 / strength)
        assert_allclose(value.sum(), sign * x.sum(), atol=1e-13)
        value = sign * evaluate("soft_sort", x, "kl", strength, direction)
        vertices = reference.vertices(np.exp(sign * x))
        assert np.all((vertices - np.exp(value)) @ (value - z) > -1e-11 / strength)
        assert_allclose(np.exp(value).sum(), np.exp(sign * x).sum(), rtol=1e-13)


@pytest.mark.parametrize(
    ("operation", "regularization", "strength", "expected"),
    [
        ("soft_sort", "l2", 1.0, 5 / 9 + np.arange(9)),
        ("soft_sort", "l2", 0.1, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
        ("soft_sort", "l2", 2.0, 2.5555555556 + 0.5 * np.arange(9)),
        ("soft_sort", "kl", 0.1, [0, 1, 2, 3, 5, 6, 7, 8, 9]),
        ("soft_sort", "kl", 1.0, 0.0115677505 + np.arange(9)),
        ("soft_sort", "kl", 2.0, 0.4745969899 + 0.5 * np.arange(9)),
        ("soft_sort", "kl", 10.0, 1.3833490407 + 0.1 * np.arange(9)),
        ("soft_rank", "l2", 0.1, [8, 1, 5, 4, 3, 2, 6, 7, 9]),
        ("soft_rank", "l2", 1.0, [8, 1, 5, 4, 3, 2, 6, 7, 9]),
        (
            "soft_rank",
            "l2",
            10.0,
            [
                5.3444444444,
                4.5444444444,
                5.0444444444,
                4.8444444444,
                4.7444444444,
                4.6444444444,
                5.1444444444,
                5.2444444444,
                5.4444444444,
            ],
        ),
        ("soft_rank", "kl", 1.0, [8, 1, 5, 4, 3, 2, 6, 7, 9]),
        ("soft_rank", "kl", 2.0, [8, 1.1326220064, 5, 4, 3, 1.8673779936, 6, 7, 9]),
        (
            "soft_rank",
            "kl",
            10.0,
            [
                6.7458035635,
                3.0310849273,
                4.997414193,
                4.0915366857,
                3.7021754905,
                3.3498669119,
                5.5229968317,
                6.103855479,
                7.4552659175,
            ],
        ),
    ],
)
def test_published_values(xp, operation, regularization, strength, expected):
    value = evaluate(operation, EXAMPLE, regularization, strength)
    assert_allclose(value, expected, rtol=0, atol=6e-11)


@operations
@pytest.mark.parametrize("regularization", REGULARIZATIONS)
@dtypes
@pytest.mark.parametrize("n", [7, 60, 300, 5000])
def test_monotone_bounded_and_equivariant(xp, operation, regularization, dtype, n, rng):
    x = (3 * rng.normal(size=n)).astype(dtype)
    permutation = rng.permutation(n)
    for strength in [1e-3, 0.1, 1.0, 30.0]:
        value = evaluate(operation, x, regularization, strength)
        other = evaluate(operation, x[permutation], regularization, strength)
        if operation == "soft_sort":
            assert_array_equal(value, other)
            assert np.all(np.diff(value) >= 0)
            if regularization == "l2":
                bound = 4 * n * np.finfo(dtype).eps * np.abs(value).max()
                assert_allclose(value.sum(dtype=float), x.sum(dtype=float), rtol=0, atol=bound)
        else:
            rtol = 4 * np.finfo(dtype).eps
            assert_allclose(value[permutation], other, rtol=rtol * n)
            assert np.all(np.diff(value[np.argsort(x)]) >= -rtol * n)
            assert_allclose(value.sum(dtype=float), n * (n + 1) / 2, rtol=8 * rtol)
            assert value.min() >= 1 - rtol * n
            assert value.max() <= n * (1 + rtol)


@operations
@dtypes
def test_descending_mirrors_ascending(xp, operation, dtype, rng):
    for n in [5, 300]:
        x = rng.normal(size=(3, n)).astype(dtype)
        for strength in [0.01, 1.0, 5.0]:
            up, down = (evaluate(operation, x, "l2", strength, d) for d in DIRECTIONS)
            mirrored = down[:, ::-1] if operation == "soft_sort" else n + 1 - down
            assert_allclose(mirrored, up, rtol=0, atol=40 * n * np.finfo(dtype).eps)
            down = evaluate(operation, x, "kl", strength, "descending")
            up = evaluate(operation, -x, "kl", strength)
            assert_array_equal(-up if operation == "soft_sort" else up, down)


@operations
@pytest.mark.parametrize("regularization", REGULARIZATIONS)
@dtypes
@pytest.mark.parametrize("n", [9, 400])
def test_small_strengths_are_hard(xp, operation, regularization, dtype, n, rng):
    x = rng.permutation(n).astype(dtype) / 7
    for strength in [1e-3, 1e-10, 1e-40, 1e-300, np.finfo(float).tiny]:
        value, residuals = forward(operation, x, regularization, strength)
        hard = np.sort(x) if operation == "soft_sort" else np.argsort(np.argsort(x)) + 1
        assert_array_equal(value, hard)
        gradient = getattr(pysig, operation + "_backward")(residuals, np.arange(n, dtype=dtype))
        expected = np.argsort(np.argsort(x)) if operation == "soft_sort" else 0
        assert_array_equal(gradient, np.full(n, expected))


@pytest.mark.parametrize("regularization", REGULARIZATIONS)
@dtypes
@pytest.mark.parametrize("n", [9, 400])
def test_large_strengths_average(xp, regularization, dtype, n, rng):
    x = rng.normal(size=n).astype(dtype)
    wide = x.astype(float)
    mean = wide.mean() if regularization == "l2" else -np.log(np.exp(-wide).mean())
    eps = np.finfo(dtype).eps
    for strength in [1e8, 1e20, 1e300, np.finfo(float).max]:
        assert_allclose(
            evaluate("soft_sort", x, regularization, strength),
            np.full(n, mean),
            atol=n / strength + 4 * eps,
        )
        ranks = evaluate("soft_rank", x, regularization, strength)
        assert_allclose(ranks, np.full(n, (n + 1) / 2), rtol=4 * eps + 10 / strength)


@pytest.mark.parametrize("regularization", REGULARIZATIONS)
@dtypes
@pytest.mark.parametrize("n", [11, 700])
def test_ties_share_the_mean_rank_at_any_small_strength(xp, regularization, dtype, n, rng):
    x = (rng.integers(0, n // 3, size=n) / 3).astype(dtype)
    for strength in [1e-3, 1e-12, 1e-30, 1e-300]:
        ranks = evaluate("soft_rank", x, regularization, strength)
        assert_allclose(ranks, reference.average_ranks(x), rtol=8 * np.finfo(dtype).eps)


@operations
@both
@dtypes
@pytest.mark.parametrize("kind", ["sorted", "reversed", "equal", "one huge", "far", "mixed zeros"])
@pytest.mark.parametrize("n", [2, 6, 40, 90])
def test_special_rows(xp, operation, regularization, direction, dtype, kind, n, rng):
    x = rng.normal(size=n)
    x = {
        "sorted": np.sort(x),
        "reversed": -np.sort(-x),
        "equal": np.full(n, 0.3),
        "one huge": np.where(np.arange(n) == n // 2, 1e6, x),
        "far": x + 1e4,
        "mixed zeros": np.where(np.arange(n) % 2, 0.0, -0.0),
    }[kind].astype(dtype)
    for strength in [0.05, 1.0]:
        value = evaluate(operation, x, regularization, strength, direction)
        expected = expected_value(operation, x, regularization, strength, direction)
        bound = 4 * tolerance(operation, x, dtype, strength)
        # The reference subtracts numbers of this size, in extended precision.
        bound += 4 * n * np.finfo(np.longdouble).eps * float(np.abs(x).max()) / strength
        assert_allclose(value, expected.astype(float), rtol=0, atol=bound)
        assert_allclose(
            forward(operation, x, regularization, strength, direction)[0], value, atol=bound
        )


@operations
@both
def test_no_entries_and_one(xp, operation, regularization, direction):
    for shape in [(0,), (3, 0), (0, 3), (0, 0)]:
        for axis in range(-1, len(shape)):
            value, residuals = forward(
                operation, np.zeros(shape, np.float32), regularization, 1.0, direction, axis
            )
            assert value.shape == shape
            assert value.dtype == np.float32
            gradient = getattr(pysig, operation + "_backward")(residuals, value)
            assert gradient.shape == shape
    value, residuals = forward(operation, [[2.5], [-1.0]], regularization, 1.0, direction)
    assert_array_equal(value, [[2.5], [-1.0]] if operation == "soft_sort" else [[1], [1]])
    gradient = getattr(pysig, operation + "_backward")(residuals, [[3.0], [4.0]])
    assert_array_equal(gradient, [[3], [4]] if operation == "soft_sort" else [[0], [0]])


@both
@dtypes
@pytest.mark.parametrize("n", [7, 500])
def test_infinite_entries_are_ranked_apart(xp, regularization, direction, dtype, n, rng):
    x = rng.normal(size=n).astype(dtype)
    low, high = [1, 4, 5], [2, 6]
    x[low], x[high] = -np.inf, np.inf
    first, last = (low, high) if direction == "ascending" else (high, low)
    middle = np.setdiff1d(np.arange(n), low + high)
    value, residuals = forward("soft_rank", x, regularization, 1.0, direction)
    expected = np.empty(n)
    expected[first] = (1 + len(first)) / 2
    expected[last] = n - (len(last) - 1) / 2
    assert_array_equal(value[low + high], expected[low + high])
    without, without_residuals = forward("soft_rank", x[middle], regularization, 1.0, direction)
    if regularization == "l2":
        eps = np.finfo(dtype).eps
        assert_allclose(value[middle], without + len(first), rtol=4 * eps)
    grad = rng.normal(size=n).astype(dtype)
    gradient = pysig.soft_rank_backward(residuals, grad)
    assert np.isfinite(gradient).all()
    if regularization == "l2":
        alone = pysig.soft_rank_backward(without_residuals, grad[middle])
        assert_allclose(gradient[middle], alone, rtol=0, atol=100 * np.finfo(dtype).eps)


@operations
@both
def test_axes(operation, regularization, direction, rng):
    x = rng.normal(size=(3, 4, 5))
    for axis in range(-3, 3):
        value = evaluate(operation, x, regularization, 0.3, direction, axis)
        moved = np.moveaxis(x, axis, -1)
        rows = [
            evaluate(operation, np.ascontiguousarray(row), regularization, 0.3, direction)
            for row in moved.reshape(-1, x.shape[axis])
        ]
        expected = np.moveaxis(np.reshape(rows, moved.shape), -1, axis)
        assert_allclose(value, expected, rtol=0, atol=1e-13)
        assert value.flags.c_contiguous


@operations
def test_inputs_of_all_kinds(operation, rng):
    x = rng.normal(size=(4, 6))
    expected = evaluate(operation, x)
    strided = np.zeros((8, 12))
    strided[::2, ::2] = x
    strided = strided[::2, ::2]
    read_only = x.copy()
    read_only.flags.writeable = False
    before = x.copy()
    for array in [strided, read_only, np.asfortranarray(x), x.astype(">f8"), x.tolist()]:
        assert_array_equal(evaluate(operation, array), expected)
    assert_array_equal(x, before)
    integers = rng.integers(-5, 5, size=(3, 7))
    for dtype in [np.int8, np.int64, np.uint16]:
        value = evaluate(operation, integers.astype(dtype))
        assert value.dtype == np.float64
        assert_array_equal(value, evaluate(operation, integers.astype(dtype).astype(float)))
