"""Values of the signature: exact references, algebraic identities, every option, every size."""

from __future__ import annotations

import math
from typing import Any

import arrays as pysig
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


def check_value(case: Case, dtypes: tuple[Any, ...] = DTYPES) -> None:
    """Compare the library with the reference, entry by entry."""
    path, depth, options = case.wide()
    expected = reference.signature(path, depth, **options)
    path, depth, options = case.cast(np.float64)
    bound = reference.signature_bound(path, depth, **options)
    for dtype in dtypes:
        path, depth, options = case.cast(dtype)
        path = cases.poison_past_ends(path, options.get("lengths"))
        actual = pysig.signature(path, depth, **options)
        assert actual.dtype == dtype
        assert_accurate(actual, expected, bound, roundings(depth, case.steps))


# --- exact values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "channels", "depth"), [(2, 3, 5), (6, 2, 5), (5, 3, 4), (9, 4, 2)]
)
def test_exact_rational_arithmetic(rng, length, channels, depth):
    path = rng.standard_normal((length, channels))
    expected = reference.signature(reference.exact(path), depth)
    bound = reference.signature_bound(reference.exact(path), depth)
    assert_accurate(pysig.signature(path, depth), expected, bound, factor=4)


def test_every_coefficient_is_its_iterated_integral(rng):
    path = rng.standard_normal((6, 2))
    exact = reference.exact(path)
    expected = np.array([reference.coefficient(exact, word) for word in reference.words(2, 5)])
    bound = reference.signature_bound(exact, 5)
    assert_accurate(pysig.signature(path, 5), expected, bound, factor=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "depth"), [(1, 12), (2, 8), (3, 5), (5, 4), (40, 2), (9, 1)])
def test_straight_line_has_its_closed_form(rng, channels, depth, dtype):
    line = cases.short(rng.standard_normal(channels))
    levels = [wide(line)]
    for _ in range(1, depth):
        levels.append(np.multiply.outer(levels[-1], wide(line)))
    expected = np.concatenate([x.ravel() / math.factorial(k) for k, x in enumerate(levels, 1)])
    # Quarters of a line are exact, and lie on it.
    for fractions in ([0, 1], [0, 0.25, 0.5, 1]):
        path = np.outer(fractions, line).astype(dtype)
        assert_accurate(
            pysig.signature(path, depth), expected, abs(expected), roundings(depth, len(path))
        )


def test_known_values_of_a_right_angle():
    """One unit along the first channel, then two along the second."""
    path = [[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]]
    level_2 = [1 / 2, 2, 0, 2]
    level_3 = [1 / 6, 1, 0, 2, 0, 0, 0, 8 / 6]
    expected = np.array([1, 2, *level_2, *level_3])
    np.testing.assert_allclose(pysig.signature(path, 3), expected, rtol=1e-15)


def test_antisymmetric_part_of_level_two_is_the_enclosed_area():
    angle = np.linspace(0, 2 * np.pi, 401)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    level_2 = pysig.signature(circle, 2)[2:].reshape(2, 2)
    polygon_area = 200 * np.sin(2 * np.pi / 400)
    assert (level_2[0, 1] - level_2[1, 0]) / 2 == pytest.approx(polygon_area, rel=1e-13)


# --- every combination of options, many sizes --------------------------------------------------


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_every_combination_of_options(rng, combination):
    for batch, length, channels, depth in (
        ((3,), 6, 2, 3),
        ((), 9, 3, 2),
        ((2, 9), 4, 2, 4),
        ((17,), 3, 5, 1),
        ((2,), 6, 17, 2),
    ):
        case = cases.make_case(rng, batch, length, channels, depth, combination)
        check_value(case)


@pytest.mark.parametrize(("size", "combination"), cases.LARGE_CASES, ids=str)
def test_large_sizes(rng, size, combination):
    case = cases.make_large_case(rng, size, combination)
    check_value(case)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 33])
def test_any_number_of_paths(rng, batch):
    for length, channels, depth in ((12, 2, 4), (5, 3, 3), (20, 6, 2), (70, 4, 3)):
        check_value(cases.make_case(rng, (batch,), length, channels, depth, PLAIN))


@pytest.mark.parametrize(
    "length", [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129]
)
def test_any_length(rng, length):
    for batch, channels, depth in (((), 3, 4), ((9,), 2, 3), ((2,), 12, 2)):
        case = cases.make_case(rng, batch, length, channels, depth, PLAIN)
        check_value(case)


@pytest.mark.parametrize("channels", range(1, 14))
def test_any_number_of_channels(rng, channels):
    for batch, length in (((), 30), ((10,), 5)):
        for depth in range(1, 8):
            if channels**depth > 5000:
                break
            case = cases.make_case(rng, batch, length, channels, depth, PLAIN)
            check_value(case)


def test_path_of_many_wild_swings(rng):
    """The bound holds whatever the signs and sizes of the increments."""
    path = cases.short(rng.standard_normal((4, 300, 3)) * 10.0 ** rng.integers(-3, 4, (4, 300, 1)))
    case = Case(path, 4, {})
    check_value(case)


# --- identities ----------------------------------------------------------------------------------


def unfold(flat: np.ndarray, channels: int, depth: int) -> list[np.ndarray]:
    """Return the levels of a signature without scalar term, in extended precision."""
    return reference.split(wide(flat), channels, depth, scalar_term=False, scalar=1)


@st.composite
def paths(draw, max_entries: int = 300_000, batches: Any = ((), (0,), (1,), (5,), (9,), (2, 3))):
    """Draw a path and a depth, of all shapes, characters and scales; both float types."""
    batch = draw(st.sampled_from(batches))
    channels = draw(st.integers(1, 10))
    deepest = max(d for d in range(1, 7) if channels**d <= 3000 or d == 1)
    depth = draw(st.integers(1, deepest))
    per_step = max(1, math.prod(batch)) * channels**depth
    length = draw(st.integers(1, min(80, max(3, max_entries // per_step))))
    shape = (*batch, length, channels)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    character = draw(st.sampled_from(["brownian", "jumps", "lattice", "axes", "monotone", "still"]))
    if character == "brownian":
        path = cases.random_path(rng, shape)
    elif character == "jumps":
        path = rng.uniform(-1, 1, shape)
    elif character == "lattice":
        path = rng.integers(-4, 5, shape) / 4
    elif character == "axes":
        path = np.cumsum(np.where(rng.random(shape) < 1 / channels, 0.5, 0), axis=-2)
    elif character == "monotone":
        path = np.cumsum(rng.uniform(0, 2 / length, shape), axis=-2)
    else:
        path = np.broadcast_to(rng.uniform(-1, 1, (*batch, 1, channels)), shape)
    # Powers of two: errors of many equal steps that are rounded are not as good as random.
    path = path * draw(st.sampled_from([1.0, 1.0, 1 / 128, 8.0]))
    return path.astype(draw(st.sampled_from(DTYPES))), depth


def condition(path: np.ndarray, depth: int) -> np.ndarray:
    """Return the condition numbers of the entries of a path's signature."""
    return reference.signature_bound(path.astype(np.float64), depth)


@given(paths())
def test_property_reference(arguments):
    path, depth = arguments
    check_value(Case(path.astype(np.float64), depth, {}), (path.dtype,))


@given(paths(), st.data())
def test_property_chen(arguments, data):
    """The signature of a concatenation is the product of the signatures of its parts."""
    path, depth = arguments
    channels, length = path.shape[-1], path.shape[-2]
    cut = data.draw(st.integers(1, length))
    parts = [pysig.signature(x, depth) for x in (path[..., :cut, :], path[..., cut - 1 :, :])]
    levels = [unfold(part, channels, depth) for part in parts]
    expected = reference.flatten(reference.product(*levels), scalar_term=False)
    bound, factor = condition(path, depth), 2 * roundings(depth, length)
    assert_accurate(pysig.signature(path, depth), expected, bound, factor)
    continued = pysig.signature(path[..., cut - 1 :, :], depth, initial=parts[0])
    assert_accurate(continued, expected, bound, factor)


@given(paths(batches=((), (3,))), st.data())
def test_property_shuffle(arguments, data):
    """A product of two coefficients is the sum of the coefficients of all shuffles."""
    path, depth = arguments
    channels = path.shape[-1]
    depth = max(depth, 2) if channels**2 <= 3000 else depth
    letters = st.integers(0, channels - 1)
    left = tuple(data.draw(st.lists(letters, min_size=1, max_size=depth - 1)))
    right = tuple(data.draw(st.lists(letters, min_size=1, max_size=depth - len(left))))
    position = {word: i for i, word in enumerate(reference.words(channels, depth))}
    shuffles = reference.shuffles(left, right).items()

    def both_sides(entries):
        one = entries[..., position[left]] * entries[..., position[right]]
        other = sum(count * entries[..., position[word]] for word, count in shuffles)
        return one, other

    product, shuffled = both_sides(wide(pysig.signature(path, depth)))
    bound = sum(both_sides(wide(condition(path, depth))))
    tolerance = roundings(depth, path.shape[-2]) * np.finfo(path.dtype).eps * bound
    assert np.all(abs(product - shuffled) <= tolerance)


@given(paths())
def test_property_inverse(arguments):
    """The inverse element is the reversed path's signature, and undoes the signature."""
    path, depth = arguments
    channels, factor = path.shape[-1], 2 * roundings(depth, path.shape[-2])
    bound, reverse_bound = condition(path, depth), condition(path[..., ::-1, :], depth)
    value = pysig.signature(path, depth)
    inverse = pysig.signature(path, depth, inverse=True)
    reverse = pysig.signature(path[..., ::-1, :], depth)
    assert_accurate(inverse, wide(reverse), reverse_bound, factor)

    def multiply(left, right):
        levels = (unfold(flat, channels, depth) for flat in (left, right))
        return reference.flatten(reference.product(*levels), scalar_term=False)

    for product, product_bound in (
        (multiply(value, inverse), multiply(bound, reverse_bound)),
        (multiply(inverse, value), multiply(reverse_bound, bound)),
    ):
        undone = product.astype(path.dtype)
        assert_accurate(undone, np.zeros_like(product), product_bound, factor)


@given(paths(), st.data())
def test_property_reparametrisation(arguments, data):
    """Resting on points, and points on straight pieces, change nothing."""
    path, depth = arguments
    path = np.round(path * 256) / 256  # middles of such points are exact
    length = path.shape[-2]
    times = sorted(data.draw(st.lists(st.integers(0, 2 * length - 2), max_size=20)))
    times = np.sort(np.concatenate([np.arange(0, 2 * length, 2), np.array(times, int)]))
    resampled = (path[..., times // 2, :] + path[..., (times + 1) // 2, :]) / 2
    actual = pysig.signature(resampled.astype(path.dtype), depth)
    factor = 2 * roundings(depth, resampled.shape[-2])
    assert_accurate(actual, wide(pysig.signature(path, depth)), condition(path, depth), factor)


@given(paths(), st.sampled_from([-2.0, 0.25, -1.0, 1024.0]), st.floats(-3, 3, width=16))
def test_property_scaling(arguments, power_of_two, scale):
    """Level k is homogeneous of degree k; scaling by a power of two does not even round."""
    path, depth = arguments
    channels = path.shape[-1]
    degrees = np.repeat(np.arange(1, depth + 1), [channels**k for k in range(1, depth + 1)])
    value = pysig.signature(path, depth)
    scaled = pysig.signature(path * path.dtype.type(power_of_two), depth)
    assert np.array_equal(scaled, value * path.dtype.type(power_of_two) ** degrees)
    path = np.round(path * 16) / 16
    value = wide(pysig.signature(path, depth)) * wide(scale) ** degrees
    bound = condition(path, depth) * abs(scale) ** degrees
    scaled = pysig.signature((path * scale).astype(path.dtype), depth)
    assert_accurate(scaled, value, bound, 2 * roundings(depth, path.shape[-2]))


@given(paths(batches=((), (3,))), st.integers(0, 2**32 - 1))
def test_property_linear_map(arguments, seed):
    """Mapping the points by a matrix maps level k by the k-th tensor power of the matrix."""
    path, depth = arguments
    channels = path.shape[-1]
    path = np.round(path * 16) / 16
    matrix = np.random.default_rng(seed).integers(-2, 3, (channels, channels)) / 2
    mapped = pysig.signature((path @ matrix.T).astype(path.dtype), depth)

    def map_levels(flat, matrix):
        result = []
        for k, level in enumerate(unfold(flat, channels, depth)[1:], 1):
            tensor = level.reshape(*level.shape[:-1], *[channels] * k)
            for axis in range(-k, 0):
                tensor = np.moveaxis(np.tensordot(tensor, matrix, axes=(axis, 1)), -1, axis)
            result.append(tensor.reshape(level.shape))
        return np.concatenate(result, axis=-1)

    expected = map_levels(pysig.signature(path, depth), matrix)
    bound = map_levels(condition(path, depth), abs(matrix))
    assert_accurate(mapped, expected, bound, 2 * roundings(depth, path.shape[-2]))


@given(paths())
def test_property_translation(arguments):
    """Where the path starts does not matter, unless a basepoint says where to come from."""
    path, depth = arguments
    path = np.round(path * 16) / 16
    moved = path + path.dtype.type(3)
    assert np.array_equal(pysig.signature(moved, depth), pysig.signature(path, depth))
    start = pysig.signature(moved, depth, basepoint=True)
    assert np.array_equal(pysig.signature(path, depth, basepoint=[-3] * path.shape[-1]), start)


@given(paths(max_entries=100_000), st.booleans(), st.booleans(), st.booleans())
def test_property_stream_is_every_prefix(arguments, inverse, with_basepoint, with_initial):
    path, depth = arguments
    length, channels = path.shape[-2:]
    size = pysig.signature_channels(channels, depth)
    initial = np.linspace(-1, 1, size).astype(path.dtype) if with_initial else None
    options: dict[str, Any] = {"inverse": inverse, "basepoint": with_basepoint, "initial": initial}
    stream = pysig.signature(path, depth, stream=True, **options)
    assert stream.shape == (*path.shape[:-2], length - 1 + with_basepoint, size)
    bounds = reference.signature_bound(path.astype(np.float64), depth, stream=True, **options)
    first = 1 if with_basepoint else 2
    for i in range(length - 1 + with_basepoint):
        prefix = pysig.signature(path[..., : first + i, :], depth, **options)
        factor = 2 * roundings(depth, i + 1)
        assert_accurate(stream[..., i, :], wide(prefix), bounds[..., i, :], factor)


@given(paths(batches=((0,), (1,), (5,), (17,), (2, 3))), st.booleans(), st.booleans(), st.data())
def test_property_ragged_is_one_by_one(arguments, inverse, with_basepoint, data):
    path, depth = arguments
    batch, length = path.shape[:-2], path.shape[-2]
    draw_lengths = st.lists(
        st.integers(1, length), min_size=math.prod(batch), max_size=math.prod(batch)
    )
    lengths = np.array(data.draw(draw_lengths), int).reshape(batch)
    options: dict[str, Any] = {"inverse": inverse, "basepoint": with_basepoint}
    poisoned = cases.poison_past_ends(path, lengths)
    together = pysig.signature(poisoned, depth, lengths=lengths, **options)
    for index in np.ndindex(*batch):
        alone = path[index][: lengths[index]]
        bound = reference.signature_bound(alone.astype(np.float64), depth, **options)
        expected = wide(pysig.signature(alone, depth, **options))
        assert_accurate(together[index], expected, bound, 2 * roundings(depth, length))


# --- the edges of the definition -----------------------------------------------------------------


@pytest.mark.parametrize("batch", [(), (0,), (4,), (2, 0, 3)])
def test_single_point_has_the_unit_signature(batch):
    point = np.full((*batch, 1, 3), 7.0)
    assert np.array_equal(pysig.signature(point, 2), np.zeros((*batch, 12)))
    unit = pysig.signature(point, 2, scalar_term=True)
    assert np.array_equal(unit, np.broadcast_to(np.eye(1, 13)[0], (*batch, 13)))
    assert pysig.signature(point, 2, stream=True).shape == (*batch, 0, 12)
    initial = np.arange(12.0)
    for inverse in (False, True):
        kept = pysig.signature(point, 2, initial=initial, inverse=inverse)
        assert np.array_equal(kept, np.broadcast_to(initial, (*batch, 12)))


def test_single_point_with_basepoint_is_one_step():
    expected = pysig.signature([[1.0, 2.0], [4.0, 6.0]], 3)
    assert np.array_equal(pysig.signature([[4.0, 6.0]], 3, basepoint=[1.0, 2.0]), expected)
    stream = pysig.signature([[4.0, 6.0]], 3, basepoint=[1.0, 2.0], stream=True)
    assert np.array_equal(stream, expected[None])


def test_scalar_term_is_one_and_that_of_initial_is_ignored(rng):
    path, initial = rng.standard_normal((5, 2)), rng.standard_normal(7)
    with_term = pysig.signature(path, 2, initial=initial, scalar_term=True)
    assert with_term[0] == 1
    assert np.array_equal(with_term[1:], pysig.signature(path, 2, initial=initial[1:]))


def test_ragged_stream_repeats_the_value_at_the_end(rng):
    path, initial = rng.standard_normal((3, 6, 2)), rng.standard_normal(6)
    lengths = [1, 4, 6]
    stream = pysig.signature(path, 2, stream=True, lengths=lengths)
    assert np.array_equal(stream[0], np.zeros((5, 6)))
    assert np.array_equal(stream[1, 3:], stream[1, [2, 2]])
    assert np.all(stream[2, 3] != stream[2, 4])
    stream = pysig.signature(path, 2, stream=True, lengths=lengths, initial=initial)
    assert np.array_equal(stream[0], np.broadcast_to(initial, (5, 6)))


def test_lengths_are_broadcast_over_the_batch(rng):
    path = rng.standard_normal((4, 3, 6, 2))
    short = pysig.signature(path[..., :4, :], 3)
    bound = condition(path[..., :4, :], 3)
    for lengths in (4, [4], [4, 4, 4], np.full((4, 1), 4), np.full((4, 3), 4, np.uint8)):
        assert_accurate(pysig.signature(path, 3, lengths=lengths), wide(short), bound, 16)
    assert np.array_equal(pysig.signature(path[0, 0], 3, lengths=4).shape, (14,))


def test_signature_and_signature_forward_agree(rng):
    for combination in FEW_COMBINATIONS:
        case = cases.make_case(rng, (5,), 40, 3, 4, combination)
        for dtype in DTYPES:
            path, depth, options = case.cast(dtype)
            value, _ = pysig.signature_forward(path, depth, **options)
            assert value.dtype == dtype
            expected = wide(pysig.signature(path, depth, **options))
            bound = reference.signature_bound(path, depth, **options)
            assert_accurate(value, expected, bound, roundings(depth, case.steps))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("batch", [3, 9, 20])
def test_bad_numbers_stay_in_their_own_path(rng, batch, value):
    path = rng.standard_normal((batch, 30, 3))
    clean = pysig.signature(path, 3)
    path[1, 10, 2] = value
    result = pysig.signature(path, 3)
    others = np.arange(batch) != 1
    assert np.array_equal(result[others], clean[others])
    for word, entry in zip(reference.words(3, 3), result[1], strict=True):
        assert not (np.isfinite(entry) and 2 in word)


# --- the number of channels ----------------------------------------------------------------------


def test_signature_channels_counts_the_words():
    assert pysig.signature_channels(3, 4) == 3 + 9 + 27 + 81
    assert pysig.signature_channels(3, 4, scalar_term=True) == 121
    assert pysig.signature_channels(1, 12) == 12
    assert pysig.signature_channels(7, 1) == 7
    assert isinstance(pysig.signature_channels(np.int64(2), np.int32(3)), int)
    for channels in range(1, 5):
        for depth in range(1, 5):
            expected = len(reference.words(channels, depth))
            assert pysig.signature_channels(channels, depth) == expected
            shape = pysig.signature(np.zeros((2, channels)), depth).shape
            assert shape == (expected,)


@pytest.mark.parametrize(
    ("channels", "depth", "error", "message"),
    [
        (0, 2, ValueError, "channels"),
        (-1, 2, ValueError, "channels"),
        (2, 0, ValueError, "depth"),
        (2, -3, ValueError, "depth"),
        (2.0, 2, TypeError, "channels"),
        (2, 2.0, TypeError, "depth"),
        (2, True, TypeError, "depth"),
        (True, 2, TypeError, "channels"),
        ("2", 2, TypeError, "channels"),
        (2, None, TypeError, "depth"),
    ],
)
def test_signature_channels_refuses(channels, depth, error, message):
    with pytest.raises(error, match=message):
        pysig.signature_channels(channels, depth)
