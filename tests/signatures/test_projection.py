"""Chosen coefficients of signatures and their gradients: those of the whole signature."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys
from typing import Any

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signature_cases as cases
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide
from reference.signature_cases import COMBINATIONS, Case, Combination

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)
CHOICES = [c for c in COMBINATIONS if c.initial == "no initial" and not c.scalar_term]
FEW_CHOICES = [
    CHOICES[0],
    CHOICES[0]._replace(stream=True, basepoint="own basepoint", ragged=True),
    CHOICES[0]._replace(inverse=True, basepoint="shared basepoint", ragged=True),
    CHOICES[0]._replace(stream=True, inverse=True),
]
# Paths side by side, one after the other, and in pieces; some with several blocks of steps.
SIZES = [
    ((3,), 6, 2, 3),
    ((), 9, 3, 2),
    ((17,), 4, 2, 4),
    ((2,), 300, 2, 3),
    ((40,), 90, 3, 3),
    ((), 1, 2, 2),
    ((1,), 600, 5, 2),
    ((2, 2), 40, 1, 6),
    ((5,), 20, 40, 2),
]


def options_of(case: Case) -> dict[str, Any]:
    """Return the options that `signature_words` has."""
    return {name: case.options[name] for name in ("stream", "basepoint", "inverse", "lengths")}


def choose_words(rng: np.random.Generator, channels: int, depth: int) -> Any:
    """Return some words in any order, and their places in the signature."""
    words = reference.words(channels, depth)
    places = rng.permutation(len(words))[: rng.integers(1, min(len(words), 30) + 1)]
    return tuple(words[i] for i in places), places


def check(case: Case, words: Any, places: Any, grad: Any, dtypes: Any = DTYPES) -> None:
    """Compare values and gradients with the reference, entry by entry."""
    full = np.zeros((*grad.shape[:-1], len(reference.words(case.path.shape[-1], case.depth))))
    full[..., places] = grad
    path, depth, _ = case.wide()
    options = options_of(Case(*case.wide()))
    expected = reference.signature(path, depth, **options)[..., places]
    expected_gradients = reference.signature_vjp(path, depth, wide(full), **options)
    narrow = options_of(Case(*case.cast(np.float64)))
    bound = reference.signature_bound(case.path, depth, **narrow)[..., places]
    bounds = reference.signature_vjp_bound(case.path, depth, full, **narrow)
    for dtype in dtypes:
        path, _, _ = case.cast(dtype)
        options = options_of(Case(*case.cast(dtype)))
        path = cases.poison_past_ends(path, options["lengths"])
        value, residuals = pysig.signature_words_forward(path, words, **options)
        assert value.dtype == dtype
        factor = roundings(depth, case.steps) + 2
        assert_accurate(value, expected, bound, factor)
        assert np.array_equal(pysig.signature_words(path, words, **options), value)
        gradients = pysig.signature_words_backward(residuals, grad.astype(dtype))
        factor += math.sqrt(math.prod(path.shape[:-2]))
        assert_accurate(gradients.path, expected_gradients.path, bounds.path, factor)
        if isinstance(options["basepoint"], np.ndarray):
            assert expected_gradients.basepoint is not None
            assert bounds.basepoint is not None
            pair = expected_gradients.basepoint, bounds.basepoint
            assert_accurate(gradients.basepoint, *pair, factor)
        else:
            assert gradients.basepoint is None


def make(rng: np.random.Generator, size: Any, choice: Combination) -> tuple[Case, Any, Any, Any]:
    """Return a case, words, their places, and weights for the coefficients."""
    batch, length, channels, depth = size
    case = cases.make_case(rng, batch, length, channels, depth, choice)
    words, places = choose_words(rng, channels, depth)
    shape = (*cases.output_shape(case)[:-1], len(words))
    return case, words, places, cases.short(rng.standard_normal(shape))


# ------------------------------------------------------------------------------- all combinations


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_combination_of_options(rng, choice):
    for size in SIZES[:3]:
        check(*make(rng, size, choice))


@pytest.mark.parametrize("choice", FEW_CHOICES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(rng, size, choice):
    check(*make(rng, size, choice))


@st.composite
def calls(draw):
    """Draw sizes, options and words, some of them twice, the empty one and long ones among them."""
    channels = draw(st.integers(1, 4))
    longest = draw(st.integers(1, 5 if channels < 4 else 4))
    letters = st.integers(0, channels - 1)
    words = draw(st.lists(st.lists(letters, max_size=longest).map(tuple), max_size=12))
    batch = draw(st.sampled_from([(), (0,), (1,), (9,), (2, 3)]))
    length = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    return batch, length, channels, longest, words, draw(st.sampled_from(CHOICES)), seed


@given(calls())
def test_any_words(arguments):
    batch, length, channels, depth, words, choice, seed = arguments
    rng = np.random.default_rng(seed)
    case = cases.make_case(rng, batch, length, channels, depth, choice)
    path, _, options = case.cast(np.float64)
    options = options_of(case)
    value, residuals = pysig.signature_words_forward(path, tuple(words), **options)
    full = reference.signature(path, depth, **options)
    bound = reference.signature_bound(path, depth, **options)
    ones = np.ones((*full.shape[:-1], 1))
    every = [(), *reference.words(channels, depth)]
    places = [every.index(word) for word in words]
    full, bound = (np.concatenate([ones, x], axis=-1)[..., places] for x in (full, bound))
    assert_accurate(value, full, bound, 2 * roundings(depth, case.steps) + 2)
    grad = rng.integers(-3, 4, value.shape).astype(float)
    spread = np.zeros((*value.shape[:-1], len(every)))
    for i, place in enumerate(places):
        spread[..., place] += grad[..., i]
    gradient = pysig.signature_words_backward(residuals, grad).path
    expected = reference.signature_vjp(path, depth, spread[..., 1:], **options).path
    bound = reference.signature_vjp_bound(path, depth, abs(spread[..., 1:]), **options).path
    assert_accurate(gradient, expected, bound, 2 * roundings(depth, case.steps) + 2)


# ------------------------------------------------------------------------------------- long paths


@pytest.mark.parametrize(
    ("batch", "length", "channels", "depth"), [(1, 20_000, 2, 8), (70, 2500, 2, 7)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_more_states_than_are_kept(rng, xp, batch, length, channels, depth, dtype):
    """The states of all blocks take more than 2 MiB: they are kept at two intervals."""
    if xp is not np:
        pytest.skip("array functions keep all states")
    path = cases.random_path(rng, (batch, length, channels)).astype(dtype)
    words = tuple(reference.words(channels, depth))
    value, residuals = pysig.signature_words_forward(path, words)
    full, full_residuals = pysig.signature_forward(path, depth)
    tolerance = 200 * np.finfo(dtype).eps
    assert np.all(abs(value - full) <= tolerance * abs(full).max())
    grad = rng.uniform(-1, 1, value.shape).astype(dtype)
    gradient = pysig.signature_words_backward(residuals, grad).path
    expected = pysig.signature_backward(full_residuals, grad).path
    assert np.all(abs(gradient - expected) <= tolerance * abs(expected).max())


def test_one_word_of_64_letters(rng, xp):
    """Along the diagonal its coefficient is 1 / 64!; it is homogeneous of degree 64."""
    word = tuple(rng.integers(0, 3, 64).tolist())
    length = 200 if xp is np else 6
    path = np.repeat(np.linspace(0, 1, length)[:, None], 3, axis=1)
    value, residuals = pysig.signature_words_forward(path, (word,))
    expected = 1 / math.factorial(64)
    np.testing.assert_allclose(value, [expected], rtol=1e-13)
    gradient = pysig.signature_words_backward(residuals, np.ones(1)).path
    # The sum over points of the point times its gradient is the degree times the value.
    np.testing.assert_allclose((gradient * path).sum(), 64 * expected, rtol=1e-12)


def test_threads_change_nothing(rng, xp, keep_num_threads):
    path = rng.standard_normal((100, 50, 3))
    words = tuple(reference.words(3, 4))
    results = []
    for threads in (1, 2, 4):
        pysig.set_num_threads(threads)
        value, residuals = pysig.signature_words_forward(path, words)
        results.append((value, pysig.signature_words_backward(residuals, value).path))
    for value, gradient in results[1:]:
        assert np.array_equal(value, results[0][0])
        assert np.array_equal(gradient, results[0][1])


@pytest.mark.parametrize("batch", [3, 40])
def test_bad_numbers_stay_in_their_own_path(rng, batch):
    path = rng.standard_normal((batch, 30, 2))
    words = ((0,), (1,), (0, 1))
    clean = pysig.signature_words(path, words)
    path[1, 10, 1] = np.nan
    result = pysig.signature_words(path, words)
    others = np.arange(batch) != 1
    assert np.array_equal(result[others], clean[others])
    assert np.array_equal(np.isnan(result[1]), [False, True, True])


# ------------------------------------------------------------------------------- instruction sets

SCRIPT = """
import pickle, sys
import pysig

results = []
for path, words, options, grad in pickle.load(sys.stdin.buffer):
    value, residuals = pysig.signature_words_forward(path, words, **options)
    results.append((value, pysig.signature_words_backward(residuals, grad).path))
pickle.dump(results, sys.stdout.buffer)
"""


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(rng, xp, level):
    if xp is not np:
        pytest.skip("it is the compiled module's")
    calls, expected = [], []
    for size, choice, dtype in itertools.product(SIZES, FEW_CHOICES, DTYPES):
        case, words, _, grad = make(rng, size, choice)
        path, options, grad = case.path.astype(dtype), options_of(case), grad.astype(dtype)
        options = options_of(Case(*case.cast(dtype)))
        calls.append((path, words, options, grad))
        value, residuals = pysig.signature_words_forward(path, words, **options)
        expected.append((value, pysig.signature_words_backward(residuals, grad).path))
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps(calls),
        capture_output=True,
        env=dict(os.environ, PYSIG_SIMD=level, PYTHONPATH=os.pathsep.join(sys.path)),
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    for results in zip(pickle.loads(process.stdout), expected, strict=True):
        for actual, other in zip(*results, strict=True):
            tolerance = 100 * np.finfo(other.dtype).eps * abs(other).max(initial=0)
            assert np.all(abs(actual - other) <= tolerance)


# ------------------------------------------------------------------------------- weighted words


@pytest.mark.parametrize(
    ("weights", "largest"),
    [([1], 5), ([1, 1], 4), ([1, 2], 5), ([0.5, 1.5, 1], 2.5), ([2, 3], 1), ([0.1, 0.25], 0.7)],
)
def test_words_of_weight(weights, largest):
    depth = math.ceil(largest / min(weights)) + 1
    expected = [
        word
        for word in reference.words(len(weights), depth)
        if sum(weights[i] for i in word) <= largest + 1e-9
    ]
    assert pysig.words_of_weight(tuple(weights), largest) == expected


def test_words_of_equal_weight_are_those_of_the_signature(rng):
    path = rng.standard_normal((4, 20, 3))
    words = tuple(pysig.words_of_weight((1, 1, 1), 4))
    bound = reference.signature_bound(path, 4)
    expected = wide(pysig.signature(path, 4))
    assert_accurate(pysig.signature_words(path, words), expected, bound, 2 * roundings(4, 20))


# ------------------------------------------------------------------------------------------- input


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.zeros(3), ((0,),)), {}, ValueError, "path must have the shape"),
        ((np.zeros((3, 2)), ((2,),)), {}, ValueError, "between 0 and 1"),
        ((np.zeros((3, 2)), ((0, -1),)), {}, ValueError, "between 0 and 1"),
        ((np.zeros((3, 2)), ((0.0,),)), {}, TypeError, "must be an integer"),
        ((np.zeros((3, 2)), (0, 1)), {}, TypeError, "words must be a sequence of words"),
        ((np.zeros((3, 2)), 1), {}, TypeError, "words must be a sequence of words"),
        ((np.zeros((3, 2)), ((0,) * 65,)), {}, ValueError, "at most 64 letters"),
        ((np.zeros((3, 2)), ((0,),)), {"stream": 1}, TypeError, "stream"),
        ((np.zeros((3, 2)), ((0,),)), {"inverse": None}, TypeError, "inverse"),
        ((np.zeros((3, 2)), ((0,),)), {"lengths": 4}, ValueError, "lengths"),
        ((np.zeros((3, 2)), ((0,),)), {"basepoint": np.zeros(3)}, ValueError, "basepoint"),
        ((np.zeros((3, 2)), ((0,),)), {"basepoint": np.zeros((2, 2))}, ValueError, "basepoint"),
        (
            (np.zeros((3, 2)), ((0,),)),
            {"basepoint": np.zeros(2, np.float32)},
            TypeError,
            "basepoint must be float64",
        ),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        pysig.signature_words(*arguments, **options)


@pytest.mark.parametrize(
    ("weights", "largest", "error", "message"),
    [
        ((), 1, ValueError, "weights must be positive"),
        ((1, 0), 1, ValueError, "weights must be positive"),
        ((1, math.inf), 1, ValueError, "weights must be positive"),
        ((1,), math.nan, ValueError, "largest must be finite"),
        ((1,), 65, ValueError, "more than 64 letters"),
        ((1, 1, 1, 1), 13, ValueError, "too large"),
        (2, 1, TypeError, "weights must be real"),
        ((1, "a"), 1, TypeError, "weights must be real"),
        ((1,), None, TypeError, "largest must be real"),
    ],
)
def test_bad_weights(weights, largest, error, message):
    with pytest.raises(error, match=message):
        pysig.words_of_weight(weights, largest)


def test_bad_gradients():
    _, residuals = pysig.signature_words_forward(np.zeros((3, 2)), ((0,), (0, 1)))
    with pytest.raises(ValueError, match="grad must have the shape"):
        pysig.signature_words_backward(residuals, np.zeros(3))
    with pytest.raises(TypeError, match="grad must be float64"):
        pysig.signature_words_backward(residuals, np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="residuals must be"):
        pysig.signature_words_backward(None, np.zeros(2))


def test_words_of_any_kind(rng):
    path = rng.standard_normal((5, 2)).astype(np.float32)
    expected = pysig.signature_words(path, ((0, 1), (1,)))
    for words in ([[0, 1], [1]], np.array([[0, 1]]), [(np.int64(0), 1)]):
        actual = pysig.signature_words(path, words=words)
        assert np.array_equal(actual, expected[: len(words)])
    assert pysig.signature_words(path, ()).shape == (0,)
    assert pysig.signature_words([[0, 0], [1, 2]], words=[(1,)]).dtype == np.float64
