"""The references are held against definitions, identities and each other."""

from __future__ import annotations

import numpy as np
import pytest

from reference import signature_cases as cases
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide
from reference.signature_cases import COMBINATIONS, Case, Combination

ALL_OPTIONS = Combination(
    stream=False,
    basepoint="own basepoint",
    initial="own initial",
    inverse=True,
    scalar_term=True,
    ragged=True,
)


def fractions_case(rng: np.random.Generator, combination: Combination) -> Case:
    """Return a tiny case in exact rational arithmetic."""
    case = cases.make_case(rng, (2,), 4, 2, 3, combination)
    options = dict(case.options)
    for name in ("basepoint", "initial"):
        if isinstance(options[name], np.ndarray):
            options[name] = reference.exact(options[name])
    return Case(reference.exact(case.path), case.depth, options)


def test_signature_is_made_of_iterated_integrals(rng):
    path = reference.exact(cases.random_path(rng, (5, 2)))
    expected = [reference.coefficient(path, word) for word in reference.words(2, 4)]
    assert np.array_equal(reference.signature(path, 4), np.array(expected))


def test_inverse_and_reversed_path_agree_exactly(rng):
    path = reference.exact(cases.random_path(rng, (5, 3)))
    inverse = reference.signature(path, 3, inverse=True)
    assert np.array_equal(inverse, reference.signature(path[::-1], 3))
    levels = [reference.split(x, 3, 3, False, 1) for x in (reference.signature(path, 3), inverse)]
    identity = reference.flatten(reference.product(*levels), scalar_term=True)
    assert np.array_equal(identity, np.eye(1, identity.size, dtype=int)[0])


def test_initial_multiplies_from_the_other_side_when_inverse(rng):
    path = reference.exact(cases.random_path(rng, (4, 2)))
    initial = reference.exact(rng.standard_normal(14))
    start = reference.split(initial, 2, 3, False, 1)
    value = reference.split(reference.signature(path, 3), 2, 3, False, 1)
    inverse = reference.split(reference.signature(path[::-1], 3), 2, 3, False, 1)
    for options, expected in (
        ({}, reference.product(start, value)),
        ({"inverse": True}, reference.product(inverse, start)),
    ):
        actual = reference.signature(path, 3, initial=initial, **options)
        assert np.array_equal(actual, reference.flatten(expected, scalar_term=False))


def test_ragged_stream_repeats_the_last_value(rng):
    path = reference.exact(cases.random_path(rng, (2, 5, 2)))
    actual = reference.signature(path, 2, stream=True, lengths=[3, 1], basepoint=True)
    for i, length in enumerate((3, 1)):
        alone = reference.signature(path[i, :length], 2, stream=True, basepoint=True)
        assert np.array_equal(actual[i, :length], alone)
        assert np.array_equal(actual[i, length:], np.repeat(alone[-1:], 5 - length, axis=0))


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
def test_vjp_and_complex_step_agree(rng, combination):
    case = cases.make_case(rng, (3,), 5, 2, 3, combination)
    path, depth, options = case.wide()
    grad = wide(cases.random_grad(rng, case))
    gradients = reference.signature_vjp(path, depth, grad, **options)
    directions = reference.Gradients(
        **{
            name: wide(rng.standard_normal(gradient.shape))
            for name, gradient in gradients._asdict().items()
            if gradient is not None
        }
    )
    derivative = reference.signature_jvp(path, depth, directions, **options)
    pairs = [pair for pair in zip(gradients, directions, strict=True) if pair[0] is not None]
    assert sum(cases.pairing(*pair) for pair in pairs) == pytest.approx(
        cases.pairing(grad, derivative), rel=1e-13, abs=1e-15
    )


def test_vjp_is_exact_with_fractions(rng):
    """A polynomial of degree 3 in the step is recovered exactly from four of its values."""
    case = fractions_case(rng, ALL_OPTIONS)
    grad = reference.exact(cases.random_grad(rng, case))
    gradients = reference.signature_vjp(case.path, case.depth, grad, **case.options)

    def central_difference(direction, step):
        paths = [case.path + h * direction for h in (step, -step)]
        values = [reference.signature(path, case.depth, **case.options) for path in paths]
        return (grad * (values[0] - values[1])).sum() / (2 * step)

    for index in np.ndindex(*case.path.shape):
        direction = np.zeros(case.path.shape, int)
        direction[index] = 1
        near, far = (central_difference(direction, step) for step in (1, 2))
        assert gradients.path[index] == (4 * near - far) / 3


def test_bounds_are_the_values_of_positive_inputs(rng):
    path = wide(np.cumsum(rng.uniform(size=(2, 6, 3)), axis=-2))
    grad = wide(rng.uniform(size=(2, 39)))
    assert np.array_equal(reference.signature_bound(path, 3), reference.signature(path, 3))
    bound = reference.signature_vjp_bound(path, 3, grad).path
    exact = reference.signature_vjp(path, 3, grad).path
    assert np.all(bound >= abs(exact))
    assert np.array_equal(bound[..., -1, :], exact[..., -1, :])
    assert np.array_equal(bound[..., 0, :], -exact[..., 0, :])


def test_long_path_in_chunks_is_the_whole_path(rng):
    path = wide(cases.random_path(rng, (121, 2)))
    grad = wide(rng.standard_normal(14))
    value, grad_path = reference.long_signature_vjp(path, 3, grad, chunk=8, group=4)
    factor = roundings(3, 120)
    bound = reference.signature_bound(path, 3)
    assert_accurate(value, reference.signature(path, 3), bound, factor)
    expected = reference.signature_vjp(path, 3, grad).path
    assert_accurate(grad_path, expected, reference.signature_vjp_bound(path, 3, grad).path, factor)


def test_shuffles_count_every_interleaving():
    assert reference.shuffles((0,), (1, 2)) == {(0, 1, 2): 1, (1, 0, 2): 1, (1, 2, 0): 1}
    assert reference.shuffles((0, 0), (0,)) == {(0, 0, 0): 3}
    assert sum(reference.shuffles((0, 1, 2), (3, 4, 5)).values()) == 20


def test_assert_accurate_notices_errors_and_nan():
    expected = wide([1.0, 2.0])
    assert_accurate(np.array([1.0, 2.0 + 4e-16]), expected, expected, 1.5)
    for wrong in ([1.0, 2.0 + 2e-15], [np.nan, 2.0], [1.0, np.inf]):
        with pytest.raises(AssertionError, match="entry"):
            assert_accurate(np.array(wrong), expected, expected, 1.5)
    exact = reference.exact([0.5, 0.25])
    assert_accurate(np.array([0.5, 0.25]), exact, exact, 0)
    with pytest.raises(AssertionError, match="entry"):
        assert_accurate(np.array([0.5, 0.2500001]), exact, exact, 1)
