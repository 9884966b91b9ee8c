"""Gradients of the signature: exact references, the adjoint identity, long and rough paths."""

from __future__ import annotations

import itertools
import math
from typing import Any

import arrays as pysig
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signature_cases as cases
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide
from reference.signature_cases import COMBINATIONS, FEW_COMBINATIONS, PLAIN, Case

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)


def gradients_of(case: Case, grad: np.ndarray, dtype: Any) -> pysig.SignatureGradients:
    """Call the forward and the backward; the points past an end are NaN."""
    path, depth, options = case.cast(dtype)
    path = cases.poison_past_ends(path, options.get("lengths"))
    _, residuals = pysig.signature_forward(path, depth, **options)
    return pysig.signature_backward(residuals, grad.astype(dtype))


def check_gradients(case: Case, grad: np.ndarray, dtypes: tuple[Any, ...] = DTYPES) -> None:
    """Compare all gradients with the reference, entry by entry."""
    path, depth, options = case.wide()
    expected = reference.signature_vjp(path, depth, wide(grad), **options)
    path, depth, options = case.cast(np.float64)
    bounds = reference.signature_vjp_bound(path, depth, grad, **options)
    # Sums over broadcast axes, one rounding per path.
    factor = roundings(depth, case.steps) + math.sqrt(math.prod(path.shape[:-2]))
    for dtype in dtypes:
        gradients = gradients_of(case, grad, dtype)
        assert gradients._fields == expected._fields
        for actual, value, bound in zip(gradients, expected, bounds, strict=True):
            if actual is None or value is None or bound is None:
                assert actual is value is bound is None
            else:
                assert actual.dtype == dtype
                assert_accurate(actual, value, bound, factor)


def random_directions(rng: np.random.Generator, case: Case) -> reference.Gradients:
    """Return directions for the path and for those options that have gradients."""
    directions = {"path": cases.short(rng.standard_normal(case.path.shape))}
    for name in ("basepoint", "initial"):
        value = case.options[name]
        if isinstance(value, np.ndarray):
            directions[name] = cases.short(rng.standard_normal(value.shape))
    return reference.Gradients(**directions)


def pair_all(gradients: Any, directions: Any) -> np.longdouble:
    """Return the pairing of gradients and directions over all inputs that have them."""
    pairs = [pair for pair in zip(gradients, directions, strict=True) if pair[1] is not None]
    return np.longdouble(sum(cases.pairing(*pair) for pair in pairs))


# --- every combination of options ----------------------------------------------------------------


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_every_combination_of_options(rng, combination):
    for batch, length, channels, depth in (
        ((3,), 6, 2, 3),
        ((), 9, 3, 2),
        ((2, 9), 4, 2, 4),
        ((17,), 3, 5, 1),
        ((2,), 6, 17, 2),
        ((19,), 9, 3, 2),
        ((2,), 70, 2, 2),
    ):
        case = cases.make_case(rng, batch, length, channels, depth, combination)
        check_gradients(case, cases.random_grad(rng, case))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_backward_is_the_adjoint_of_the_derivative(rng, combination, dtype):
    """<grad, J v> = <Jᵀ grad, v>, with J v by the complex step."""
    case = cases.make_case(rng, (3,), 7, 2, 4, combination)
    grad, directions = cases.random_grad(rng, case), random_directions(rng, case)
    path, depth, options = case.wide()
    derivative = reference.signature_jvp(path, depth, directions, **options)
    bounds = reference.signature_vjp_bound(path, depth, wide(grad), **options)
    sizes = [None if x is None else abs(x) for x in directions]
    difference = pair_all(gradients_of(case, grad, dtype), directions)
    difference -= cases.pairing(grad, derivative)
    tolerance = roundings(depth, case.steps) * np.finfo(dtype).eps * pair_all(bounds, sizes)
    assert abs(difference) <= tolerance


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_backward_agrees_with_central_differences(rng, combination):
    """The library against itself; the fourth-order formula is exact for depth 4."""
    case = cases.make_case(rng, (3,), 7, 2, 4, combination)
    grad, directions = cases.random_grad(rng, case), random_directions(rng, case)

    def weighted(step):
        path, depth, options = case.path + step * directions.path, case.depth, dict(case.options)
        for name in ("basepoint", "initial"):
            direction = getattr(directions, name)
            if direction is not None:
                options[name] = options[name] + step * direction
        return cases.pairing(grad, pysig.signature(path, depth, **options))

    near, far = ((weighted(h) - weighted(-h)) / (2 * h) for h in (0.25, 0.5))
    expected = (4 * near - far) / 3
    actual = pair_all(gradients_of(case, grad, np.float64), directions)
    assert abs(actual - expected) <= 1e-12 * (1 + abs(near) + abs(far))


# --- exact values and many sizes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "channels", "depth"), [(2, 3, 4), (6, 2, 5), (4, 3, 3), (9, 4, 2)]
)
@pytest.mark.parametrize("inverse", [False, True])
def test_exact_rational_arithmetic(rng, length, channels, depth, inverse):
    path = rng.standard_normal((length, channels))
    grad = rng.standard_normal(pysig.signature_channels(channels, depth))
    arguments = reference.exact(path), depth, reference.exact(grad)
    expected = reference.signature_vjp(*arguments, inverse=inverse).path
    bound = reference.signature_vjp_bound(*arguments, inverse=inverse).path
    _, residuals = pysig.signature_forward(path, depth, inverse=inverse)
    assert_accurate(pysig.signature_backward(residuals, grad).path, expected, bound, factor=8)


def test_gradient_of_level_one_is_the_end_minus_the_start(rng):
    for length in (2, 5, 100):
        _, residuals = pysig.signature_forward(rng.standard_normal((length, 3)), 4)
        grad = np.zeros(3 + 9 + 27 + 81)
        grad[:3] = [1, 2, 3]
        expected = np.zeros((length, 3))
        expected[0], expected[-1] = [-1, -2, -3], [1, 2, 3]
        assert np.array_equal(pysig.signature_backward(residuals, grad).path, expected)


@pytest.mark.parametrize(("size", "combination"), cases.LARGE_CASES, ids=str)
def test_large_sizes(rng, size, combination):
    case = cases.make_large_case(rng, size, combination)
    check_gradients(case, cases.random_grad(rng, case))


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 33])
def test_any_number_of_paths(rng, batch):
    for length, channels, depth in ((12, 2, 4), (5, 3, 3), (20, 6, 2), (70, 4, 3)):
        case = cases.make_case(rng, (batch,), length, channels, depth, PLAIN)
        check_gradients(case, cases.random_grad(rng, case))


@pytest.mark.parametrize(
    "length", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129]
)
def test_any_length(rng, length):
    for batch, channels, depth in (((), 3, 4), ((9,), 2, 3), ((2,), 12, 2)):
        case = cases.make_case(rng, batch, length, channels, depth, PLAIN)
        check_gradients(case, cases.random_grad(rng, case))


@pytest.mark.parametrize("channels", range(1, 14))
def test_any_number_of_channels(rng, channels):
    for batch, length in (((), 30), ((10,), 5)):
        for depth in range(1, 8):
            if channels**depth > 3000:
                break
            case = cases.make_case(rng, batch, length, channels, depth, PLAIN)
            check_gradients(case, cases.random_grad(rng, case))


@given(
    st.sampled_from([(), (0,), (1,), (5,), (9,), (2, 3)]),
    st.integers(1, 80),
    st.integers(1, 10),
    st.integers(1, 6),
    st.sampled_from(COMBINATIONS),
    st.integers(0, 2**32 - 1),
)
def test_property_any_shape_and_options(batch, length, channels, depth, combination, seed):
    depth = min(depth, max(d for d in range(1, 7) if channels**d <= 1000 or d == 1))
    length = min(length, max(3, 200_000 // (max(1, math.prod(batch)) * channels**depth)))
    rng = np.random.default_rng(seed)
    case = cases.make_case(rng, batch, length, channels, depth, combination)
    check_gradients(case, cases.random_grad(rng, case))


# --- long and rough paths ------------------------------------------------------------------------


def fractional_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(abs(wide(actual) - expected)) / np.max(abs(expected)))


@pytest.mark.slow
@pytest.mark.skipif(bool(np.finfo(np.longdouble).eps > 1e-18), reason="needs extended precision")
def test_path_of_a_million_steps(rng):
    """A Brownian path in finer and finer steps keeps its size, and its gradient its digits."""
    steps = 1_000_000
    path = np.cumsum(rng.standard_normal((steps + 1, 2)) / math.sqrt(steps), axis=0)
    grad = rng.standard_normal(14)
    value, expected = reference.long_signature_vjp(wide(path), 3, wide(grad), chunk=500, group=1000)
    actual, residuals = pysig.signature_forward(path, 3)
    assert fractional_error(actual, value) < 1e-12
    assert fractional_error(pysig.signature(path, 3), value) < 1e-12
    gradient = pysig.signature_backward(residuals, grad).path
    assert fractional_error(gradient[[0, -1]], expected[[0, -1]]) < 1e-12
    # Inside, the gradient of a point is a difference of those of its two steps: a thousand times
    # smaller than these, and still accurate relative to its own size.
    assert fractional_error(gradient[1:-1], expected[1:-1]) < 1e-10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    ("batch", "length", "channels", "depth"),
    [
        ((), 200, 7, 6),
        ((), 700, 40, 3),
        ((2,), 4000, 4, 6),
        ((), 5000, 2, 10),
        ((40,), 1000, 5, 4),
        ((), 20_000, 3, 4),
        ((3,), 3000, 1, 12),
    ],
    ids=str,
)
def test_gradient_of_a_path_is_that_of_its_parts(
    rng, batch, length, channels, depth, inverse, dtype
):
    """The chain rule through ``initial``, for paths too large for the reference.

    A path and its parts differ in how they are cut into blocks, and in what is kept of them.
    """
    path = cases.random_path(rng, (*batch, length, channels)).astype(dtype)
    size = pysig.signature_channels(channels, depth)
    grad = rng.standard_normal((*batch, size)).astype(dtype)
    value, residuals = pysig.signature_forward(path, depth, inverse=inverse)
    gradient = pysig.signature_backward(residuals, grad).path

    cuts = [0, length // 5, length // 5 + 3, length - 20, length - 1]
    parts, state = [], np.zeros((*batch, size), dtype)
    for start, end in itertools.pairwise(cuts):
        part = path[..., start : end + 1, :]
        state, residuals = pysig.signature_forward(part, depth, initial=state, inverse=inverse)
        parts.append((slice(start, end + 1), residuals))
    expected = np.zeros_like(path)
    for points, residuals in reversed(parts):
        step = pysig.signature_backward(residuals, grad)
        expected[..., points, :] += step.path
        assert step.initial is not None
        grad = step.initial

    tolerance = 500 * np.finfo(dtype).eps
    assert np.max(abs(value - state)) <= tolerance * np.max(abs(state))
    assert np.max(abs(gradient - expected)) <= tolerance * np.max(abs(expected))


def wild_path(rng: np.random.Generator) -> np.ndarray:
    """Return a path that is calm, goes a thousand units up and down, and ends calm."""
    scale = np.repeat([0.05, 300.0, 0.05], 40)[:, None]
    increments = rng.standard_normal((120, 2)) * scale
    increments[60:80] = -increments[40:60][::-1]
    return np.concatenate([np.zeros((1, 2)), np.cumsum(increments, axis=0)])


@pytest.mark.parametrize("word", [(1, 1, 1, 1, 0), (0, 1, 1, 1, 1), (1, 1, 0, 1, 1), (1, 0)])
def test_wild_path_keeps_the_digits_of_its_calm_parts(rng, word):
    """What a point contributes is known to the last digits, however far away the path goes later.

    The gradient of the coefficient 11110 with respect to an early step of channel 0 is the
    coefficient 1111 of the little that came before. Recovering that from the whole signature by
    multiplying with inverses leaves nothing but rounding errors.
    """
    path = wild_path(rng)
    depth = 5
    grad = np.zeros(pysig.signature_channels(2, depth))
    grad[reference.words(2, depth).index(word)] = 1.0
    with mpmath.workdps(60):
        to_mpf = np.frompyfunc(mpmath.mpf, 1, 1)
        exact_path, exact_grad = np.asarray(to_mpf(path)), np.asarray(to_mpf(grad))
        expected = reference.signature_vjp(exact_path, depth, exact_grad).path
        bound = reference.signature_vjp_bound(exact_path, depth, exact_grad).path
        _, residuals = pysig.signature_forward(path, depth)
        actual = pysig.signature_backward(residuals, grad).path
        factor = roundings(depth, 120)
        assert_accurate(actual, expected, bound, factor)
        if word[-1] == 0 and len(word) == depth:
            recovered = reference.reversing_vjp(path, depth, grad)
            with pytest.raises(AssertionError, match="off by"):
                assert_accurate(recovered, expected, bound, 1e6 * factor)


def test_float32_keeps_the_digits_of_calm_parts(rng):
    path = wild_path(rng).astype(np.float32)
    grad = np.zeros(pysig.signature_channels(2, 4))
    for word in ((1, 1, 1, 0), (0, 1, 1, 1)):
        grad[:] = 0
        grad[reference.words(2, 4).index(word)] = 1
        check_gradients(Case(path.astype(np.float64), 4, {}), grad)


# --- the edges of the definition -----------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_single_point_has_no_gradient(batch, stream):
    point = np.ones((*batch, 1, 2))
    value, residuals = pysig.signature_forward(point, 3, stream=stream, initial=np.arange(14.0))
    gradients = pysig.signature_backward(residuals, np.ones_like(value))
    assert np.array_equal(gradients.path, np.zeros_like(point))
    assert gradients.basepoint is None
    # In stream mode there is no prefix to which the initial signature could have contributed.
    count = 0 if stream else math.prod(batch)
    assert gradients.initial is not None
    assert np.array_equal(gradients.initial, np.full(14, float(count)))


@pytest.mark.parametrize("combination", FEW_COMBINATIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_batch(rng, combination, dtype):
    case = cases.make_case(rng, (2, 0), 5, 3, 2, combination)
    path, depth, options = case.cast(dtype)
    if isinstance(options["basepoint"], np.ndarray):
        options["basepoint"] = np.ones(3, dtype)
    value, residuals = pysig.signature_forward(path, depth, **options)
    assert value.shape == cases.output_shape(case)
    assert value.dtype == dtype
    gradients = pysig.signature_backward(residuals, value)
    assert gradients.path.shape == path.shape
    assert gradients.path.dtype == dtype
    for name in ("basepoint", "initial"):
        if isinstance(options[name], np.ndarray):
            gradient = getattr(gradients, name)
            assert gradient.dtype == dtype
            assert np.array_equal(gradient, np.zeros(options[name].shape))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 3), (2, 1, 3), (2, 4, 3), (1, 1, 3)])
def test_gradients_of_broadcast_basepoints_have_their_shape(rng, shape):
    path, basepoint = cases.random_path(rng, (2, 4, 5, 3)), cases.short(rng.standard_normal(shape))
    case = Case(path, 3, {"basepoint": basepoint})
    check_gradients(case, cases.short(rng.standard_normal((2, 4, 39))))


@pytest.mark.parametrize("shape", [(12,), (1, 12), (4, 12), (2, 1, 12), (2, 4, 12), (1, 1, 12)])
@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_of_broadcast_initials_have_their_shape(rng, shape, inverse):
    path, initial = cases.random_path(rng, (2, 4, 5, 3)), cases.short(rng.standard_normal(shape))
    case = Case(path, 2, {"initial": initial, "inverse": inverse})
    check_gradients(case, cases.short(rng.standard_normal((2, 4, 12))))


def test_basepoint_and_initial_without_array_have_no_gradient(rng):
    for basepoint in (None, False, True):
        value, residuals = pysig.signature_forward(
            rng.standard_normal((4, 2)), 2, basepoint=basepoint
        )
        gradients = pysig.signature_backward(residuals, value)
        assert gradients.basepoint is None
        assert gradients.initial is None


def test_scalar_terms_take_no_gradient(rng):
    path, initial = rng.standard_normal((5, 2)), rng.standard_normal(7)
    _, residuals = pysig.signature_forward(path, 2, initial=initial, scalar_term=True)
    grad = rng.standard_normal(7)
    gradients = pysig.signature_backward(residuals, grad)
    grad[0] = 1e9
    same = pysig.signature_backward(residuals, grad)
    assert np.array_equal(gradients.path, same.path)
    assert gradients.initial is not None
    assert gradients.initial[0] == 0
    _, residuals = pysig.signature_forward(path, 2, initial=initial[1:])
    without = pysig.signature_backward(residuals, grad[1:])
    assert np.array_equal(gradients.path, without.path)
    assert without.initial is not None
    assert np.array_equal(gradients.initial[1:], without.initial)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("batch", [3, 8, 17])
def test_ragged_gradients_are_those_of_each_path_alone(rng, batch, inverse, stream):
    path = cases.random_path(rng, (batch, 40, 3))
    lengths = rng.integers(1, 41, batch)
    lengths[:3] = [1, 2, 40]
    options: dict[str, Any] = {"inverse": inverse, "stream": stream}
    poisoned = cases.poison_past_ends(path, lengths)
    value, residuals = pysig.signature_forward(poisoned, 3, lengths=lengths, **options)
    grad = cases.short(rng.standard_normal(value.shape))
    gradient = pysig.signature_backward(residuals, grad).path
    for i, length in enumerate(lengths):
        alone = path[i, :length]
        grad_alone = grad[i]
        if stream:  # the repeated last value collects the gradients of its copies
            grad_alone = grad[i, : length - 1].copy()
            grad_alone[-1:] += grad[i, length - 1 :].sum(axis=0)
        _, residuals = pysig.signature_forward(alone, 3, **options)
        expected = pysig.signature_backward(residuals, grad_alone).path
        bound = reference.signature_vjp_bound(alone, 3, grad_alone, **options).path
        assert_accurate(gradient[i, :length], wide(expected), bound, 2 * roundings(3, 40))
        assert np.array_equal(gradient[i, length:], np.zeros((40 - length, 3)))


@pytest.mark.parametrize("batch", [3, 9, 20])
def test_bad_numbers_stay_in_their_own_path(rng, batch):
    path = rng.standard_normal((batch, 30, 3))
    grad = rng.standard_normal((batch, 39))

    def gradient():
        _, residuals = pysig.signature_forward(path, 3)
        return pysig.signature_backward(residuals, grad).path

    clean = gradient()
    path[1, 10, 2] = np.nan
    others = np.arange(batch) != 1
    result = gradient()
    assert np.array_equal(result[others], clean[others])
    assert np.isnan(result[1]).any()
    path[1, 10, 2] = 0
    grad[2, 7] = np.inf
    others = np.arange(batch) != 2
    result, path[2] = gradient(), 0
    assert not np.isfinite(result[2]).all()
    assert np.isfinite(result[others]).all()


def test_backward_is_linear_in_the_gradient(rng):
    path = rng.standard_normal((6, 30, 3))
    _, residuals = pysig.signature_forward(path, 4)
    grad = rng.standard_normal((6, 120))
    once = pysig.signature_backward(residuals, grad).path
    assert np.array_equal(pysig.signature_backward(residuals, grad).path, once)
    assert np.array_equal(pysig.signature_backward(residuals, -4 * grad).path, -4 * once)
    zero = pysig.signature_backward(residuals, 0 * grad).path
    assert np.array_equal(zero, np.zeros_like(path))


def test_no_rows_of_a_signature_too_large_for_memory():
    value, residuals = pysig.signature_forward(np.ones((1, 1, 1000)), 6, stream=True)
    assert value.shape == (1, 0, sum(1000**k for k in range(1, 7)))
    gradient = pysig.signature_backward(residuals, value).path
    np.testing.assert_array_equal(gradient, np.zeros((1, 1, 1000)))


@pytest.mark.parametrize(
    "size", [(40, 100, 3, 4), (1, 4000, 3, 4), (2, 900, 2, 5), (1, 200_000, 6, 4)]
)
def test_kept_states_do_not_change_the_gradient(xp, rng, size):
    """With them, without, and with those of another instruction set, which are not used."""
    if xp is not np:
        pytest.skip("nothing is kept for CuPy")
    batch, length, channels, depth = size
    path = rng.standard_normal((batch, length, channels)).cumsum(axis=1) / math.sqrt(length)
    lengths = rng.integers(length // 2, length + 1, size=batch)
    value, residuals = pysig.signature_forward(path, depth, lengths=lengths)
    assert residuals.kept.nbytes < 10 * 2**20
    grad = rng.standard_normal(value.shape)
    expected = pysig.signature_backward(residuals._replace(kept=None), grad).path
    foreign = np.append(np.full(residuals.kept.size - 1, np.nan), -1)
    for kept in (residuals.kept, foreign):
        actual = pysig.signature_backward(residuals._replace(kept=kept), grad).path
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12 * abs(expected).max())


@pytest.mark.parametrize("size", [(300, 20, 3, 4), (2, 100, 3, 2), (64, 400, 5, 6)])
def test_nothing_is_kept_where_it_is_of_no_use_or_too_much(rng, size):
    batch, length, channels, depth = size
    _, residuals = pysig.signature_forward(rng.standard_normal((batch, length, channels)), depth)
    assert residuals.kept is None
