"""Logsignatures: from paths, from and to signatures, in all modes, with gradients."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import logsignature_reference as reference
from reference import signature_cases as cases
from reference import signature_reference
from reference.accuracy import assert_accurate, wide
from reference.signature_cases import COMBINATIONS, PLAIN

import pysig

DTYPES = (np.float32, np.float64)
MODES = ("words", "brackets", "expand")
WITHOUT_SCALAR = [combination for combination in COMBINATIONS if not combination.scalar_term]
# Batch, length, channels, depth: side by side with all numbers of letters, in pieces of time, one
# at a time; with a remainder of lanes, and without.
SIZES = [
    ((), 2, 2, 3),
    ((3,), 6, 1, 4),
    ((2, 9), 5, 2, 7),
    ((40,), 4, 3, 4),
    ((17,), 40, 4, 4),
    ((33,), 9, 5, 3),
    ((18,), 9, 6, 3),
    ((32,), 5, 8, 3),
    ((64,), 70, 3, 3),
    ((40,), 6, 13, 2),
    ((5,), 7, 40, 2),
    ((33,), 3, 2, 1),
    ((1,), 700, 3, 4),
    ((1,), 30, 5, 5),
    ((), 60, 12, 3),
    ((3,), 30, 7, 4),
    ((36,), 4, 2, 10),
]


def brackets_matrix(channels: int, depth: int) -> np.ndarray:
    return reference.expand_brackets(pysig.lyndon_brackets(channels, depth), channels, depth)


def roundings(depth: int, steps: int) -> float:
    return 4 + depth**2 / 2 + depth * math.sqrt(steps) / 4


def check_value(case: cases.Case, mode: str) -> None:
    """Compare with the logarithm of the signature by its definition."""
    channels = case.path.shape[-1]
    path, depth, options = case.wide()
    expected = signature_reference.signature(path, depth, **options)
    path, depth, options = case.cast(np.float64)
    bound = signature_reference.signature_bound(path, depth, **options)
    matrix = brackets_matrix(channels, depth) if mode == "brackets" else np.empty(0)
    expected = reference.series(expected, channels, depth, logarithm=True)
    bound = reference.series_bound(bound, channels, depth, logarithm=True)
    expected = reference.from_expanded(expected, channels, depth, mode, matrix)
    bound = reference.mode_bound(bound, channels, depth, mode, matrix)
    for dtype in DTYPES:
        path, depth, options = case.cast(dtype)
        path = cases.poison_past_ends(path, options.get("lengths"))
        del options["scalar_term"]
        actual = pysig.logsignature(path, depth, mode=mode, **options)
        assert actual.dtype == dtype
        assert_accurate(actual, expected, bound, roundings(depth, case.steps))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("batch", "length", "channels", "depth"), SIZES)
def test_value(rng, batch, length, channels, depth, mode):
    if mode == "brackets" and channels**depth > 1000:
        depth -= 1
    check_value(cases.make_case(rng, batch, length, channels, depth, PLAIN), mode)


@pytest.fixture(params=["in the lanes", "by signatures"])
def way(request, monkeypatch):
    """Compute logarithms right after the signatures, in both ways that there are."""
    from pysig.signatures import logsignature

    if request.param == "by signatures":
        monkeypatch.setattr(logsignature, "is_fused", lambda *arguments: False)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("combination", WITHOUT_SCALAR, ids=str)
def test_every_combination_of_options(rng, combination):
    for (batch, length, channels, depth), mode in (
        (((3,), 6, 2, 3), "words"),
        (((10,), 4, 3, 3), "brackets"),
        (((2, 9), 3, 2, 4), "expand"),
        (((2,), 5, 17, 2), "words"),
        (((2,), 4, 18, 2), "expand"),
    ):
        check_value(cases.make_case(rng, batch, length, channels, depth, combination), mode)


def both_gradients(case: cases.Case, mode: str, dtype: Any) -> tuple[Any, Any]:
    """Return the gradients, and those through the signature, for one random grad."""
    path, depth, options = case.cast(dtype)
    channels = path.shape[-1]
    path = cases.poison_past_ends(path, options.get("lengths"))
    signature, paths = pysig.signature_forward(path, depth, **options)
    del options["scalar_term"]
    value, residuals = pysig.logsignature_forward(path, depth, mode=mode, **options)
    grad = np.random.default_rng(7).standard_normal(value.shape).astype(dtype)
    expected, tensors = pysig.signature_to_logsignature_forward(
        signature, channels, depth, mode=mode
    )
    scale = abs(expected).max(initial=0)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1000 * np.finfo(dtype).eps * scale)
    through = pysig.signature_to_logsignature_backward(tensors, grad)
    through = pysig.signature_backward(paths, through)
    return pysig.logsignature_backward(residuals, grad), through


def check_gradients(case: cases.Case, mode: str) -> None:
    """Compare the gradients with those by way of the signature, which have their own tests."""
    for dtype in DTYPES:
        for actual, expected in zip(*both_gradients(case, mode, dtype), strict=True):
            if expected is None:
                assert actual is None
                continue
            assert actual.dtype == dtype
            tolerance = 200 * case.depth * np.finfo(dtype).eps * abs(expected).max(initial=1)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("batch", "length", "channels", "depth"), SIZES)
def test_gradient(rng, batch, length, channels, depth, mode):
    if mode == "brackets" and channels**depth > 1000:
        depth -= 1
    check_gradients(cases.make_case(rng, batch, length, channels, depth, PLAIN), mode)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("combination", WITHOUT_SCALAR, ids=str)
def test_gradient_of_every_combination_of_options(rng, combination):
    for (batch, length, channels, depth), mode in (
        (((3,), 6, 2, 3), "words"),
        (((40,), 4, 3, 3), "brackets"),
        (((2, 9), 3, 2, 4), "expand"),
        (((34,), 5, 2, 5), "words"),
        (((2,), 5, 17, 2), "words"),
        (((2,), 4, 18, 2), "expand"),
    ):
        check_gradients(cases.make_case(rng, batch, length, channels, depth, combination), mode)


@pytest.mark.parametrize("mode", MODES)
def test_gradient_is_the_adjoint_of_the_derivative(rng, mode):
    """With the derivative by the complex step."""
    for batch, length, channels, depth in (((34,), 7, 2, 4), ((), 5, 3, 3), ((1,), 300, 2, 3)):
        case = cases.make_case(rng, batch, length, channels, depth, PLAIN)
        matrix = brackets_matrix(channels, depth)
        direction = rng.standard_normal(case.path.shape)
        derivative = wide_derivative(case, direction, mode, matrix)
        grad = rng.standard_normal(derivative.shape)
        expected = cases.pairing(grad, derivative)
        for dtype in DTYPES:
            path = case.path.astype(dtype)
            _, residuals = pysig.logsignature_forward(path, depth, mode=mode)
            gradient = pysig.logsignature_backward(residuals, grad.astype(dtype)).path
            difference = abs(cases.pairing(gradient, direction) - expected)
            size = cases.pairing(abs(wide(gradient)), abs(direction))
            assert difference <= 100 * np.finfo(dtype).eps * size


def wide_derivative(case: cases.Case, direction: Any, mode: str, matrix: Any) -> np.ndarray:
    step = np.clongdouble(1e-200j)
    channels, depth = case.path.shape[-1], case.depth
    moved = signature_reference.signature(wide(case.path) + step * direction, depth)
    moved = reference.series(moved, channels, depth, logarithm=True)
    return reference.from_expanded(moved, channels, depth, mode, matrix).imag / step.imag


# --- from and to signatures --------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scalar_term", [False, True])
@pytest.mark.parametrize(
    ("batch", "channels", "depth"),
    [((), 2, 4), ((5,), 3, 3), ((2, 9), 2, 6), ((3,), 5, 2), ((2,), 1, 3), ((17,), 4, 4)],
)
def test_there_and_back(rng, batch, channels, depth, scalar_term, mode):
    path = cases.random_path(rng, (*batch, 9, channels))
    signature = pysig.signature(path, depth, scalar_term=scalar_term)
    options = {"mode": mode, "scalar_term": scalar_term}
    logsignature = pysig.signature_to_logsignature(signature, channels, depth, **options)
    direct = pysig.logsignature(path, depth, mode=mode)
    np.testing.assert_allclose(logsignature, direct, rtol=0, atol=1e-13 * abs(direct).max())
    back = pysig.logsignature_to_signature(logsignature, channels, depth, **options)
    np.testing.assert_allclose(back, signature, rtol=0, atol=1e-12 * abs(signature).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scalar_term", [False, True])
@pytest.mark.parametrize(("batch", "channels", "depth"), [((), 2, 5), ((18,), 3, 3), ((3,), 6, 2)])
def test_gradients_of_the_conversions(rng, batch, channels, depth, scalar_term, mode):
    """The adjoint identity, with central differences in extended accuracy from float64."""
    signature = pysig.signature(cases.random_path(rng, (*batch, 9, channels)), depth)
    if scalar_term:
        signature = np.concatenate([np.ones((*batch, 1)), signature], axis=-1)
    options = {"mode": mode, "scalar_term": scalar_term}
    arguments = channels, depth
    logsignature = pysig.signature_to_logsignature(signature, *arguments, **options)
    for name, x in (
        ("signature_to_logsignature", signature),
        ("logsignature_to_signature", logsignature),
    ):
        function, forward, backward = (
            getattr(pysig, name + end) for end in ("", "_forward", "_backward")
        )
        direction = rng.standard_normal(x.shape)
        value, residuals = forward(x, *arguments, **options)
        np.testing.assert_array_equal(value, function(x, *arguments, **options))
        grad = rng.standard_normal(value.shape)
        gradient = backward(residuals, grad)
        if scalar_term and name == "signature_to_logsignature":
            np.testing.assert_array_equal(gradient[..., 0], 0)

        def weighted(h, function=function, x=x, direction=direction, grad=grad):
            return cases.pairing(grad, function(x + h * direction, *arguments, **options))

        # Polynomials of degree at most 5: three central differences are exact.
        steps = 0.25 * np.array([1, 2, 3])
        differences = [(weighted(h) - weighted(-h)) / (2 * h) for h in steps]
        expected = (15 * differences[0] - 6 * differences[1] + differences[2]) / 10
        size = sum(map(abs, differences)) + cases.pairing(abs(gradient), abs(direction))
        assert abs(cases.pairing(gradient, direction) - expected) <= 1e-12 * size


@pytest.mark.parametrize(("channels", "depth"), [(2, 6), (3, 4), (5, 3)])
def test_modes_stand_for_the_same_tensor(rng, channels, depth):
    path = cases.random_path(rng, (11, 30, channels))
    expand = pysig.logsignature(path, depth, mode="expand")
    brackets = pysig.logsignature(path, depth, mode="brackets")
    words = pysig.logsignature(path, depth, mode="words")
    matrix = brackets_matrix(channels, depth).astype(float)
    scale = abs(expand).max()
    np.testing.assert_allclose(brackets @ matrix, expand, rtol=0, atol=1e-14 * scale)
    positions = [
        pysig.word_to_index(word, channels) for word in pysig.lyndon_words(channels, depth)
    ]
    np.testing.assert_allclose(words, expand[:, positions], rtol=0, atol=1e-14 * scale)


def test_baker_campbell_hausdorff(rng):
    """Of two segments, to the fourth order."""
    x, y = rng.standard_normal((2, 3))
    depth = 4
    levels = [np.concatenate([z, np.zeros(117)]) for z in (x, y)]
    a, b = (signature_reference.split(flat, 3, depth, False, 0) for flat in levels)

    def commutator(u, v):
        products = signature_reference.product(u, v), signature_reference.product(v, u)
        return [one - other for one, other in zip(*products, strict=True)]

    ab = commutator(a, b)
    aab, bab = commutator(a, ab), commutator(b, ab)
    terms = [
        (1, a),
        (1, b),
        (1 / 2, ab),
        (1 / 12, aab),
        (-1 / 12, bab),
        (-1 / 24, commutator(b, aab)),
    ]
    expected = sum(factor * signature_reference.flatten(term, False) for factor, term in terms)
    path = np.stack([0 * x, x, x + y])
    actual = pysig.logsignature(path, depth, mode="expand")
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 40),
    st.sampled_from([1, 7, 33, 64]),
    st.data(),
)
def test_property_straight_lines_and_inverses(channels, depth, length, batch, data):
    depth = min(depth, {1: 5, 2: 5, 3: 4}.get(channels, 3))
    mode = data.draw(st.sampled_from(MODES))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    line = np.sort(rng.uniform(size=(batch, length)))[..., None] * rng.standard_normal(channels)
    value = pysig.logsignature(line, depth, mode=mode)
    ends = line[:, -1] - line[:, 0]
    np.testing.assert_allclose(value[:, :channels], ends, rtol=0, atol=1e-14)
    size = (1 + abs(line).max()) ** depth
    np.testing.assert_allclose(value[:, channels:], 0, rtol=0, atol=1e-13 * size)
    path = cases.random_path(rng, (batch, length, channels))
    value = pysig.logsignature(path, depth, mode=mode)
    reverse = pysig.logsignature(path[:, ::-1], depth, mode=mode)
    np.testing.assert_allclose(reverse, -value, rtol=0, atol=1e-11 * (1 + abs(value).max()))
    inverse = pysig.logsignature(path, depth, mode=mode, inverse=True)
    np.testing.assert_array_equal(inverse, -value)


# --- input ---------------------------------------------------------------------------------------


def test_large_signatures_go_in_parts(rng, monkeypatch):
    """Values and gradients do not depend on how many paths go at once."""
    from pysig.signatures import logsignature

    for combination in (
        PLAIN,
        PLAIN._replace(stream=True, ragged=True, basepoint="own basepoint"),
        PLAIN._replace(initial="own initial", basepoint="shared basepoint", inverse=True),
        PLAIN._replace(initial="shared initial", ragged=True),
    ):
        case = cases.make_case(rng, (2, 11), 6, 3, 3, combination)
        whole, _ = both_gradients(case, "brackets", np.float64)
        with monkeypatch.context() as patch:
            patch.setattr(logsignature, "WORKING_MEMORY", 1)
            patch.setattr(logsignature, "is_fused", lambda *arguments: False)
            pieces, _ = both_gradients(case, "brackets", np.float64)
        for one, other in zip(whole, pieces, strict=True):
            if one is not None:
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * abs(one).max())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(0, 5, 2), (3, 0, 4, 2), (2, 1, 3), (40, 1, 2)])
@pytest.mark.parametrize("stream", [False, True])
def test_empty_batches_and_single_points(shape, stream, mode):
    value, residuals = pysig.logsignature_forward(np.ones(shape), 3, mode=mode, stream=stream)
    size = pysig.logsignature_channels(shape[-1], 3, mode)
    assert value.shape == (*shape[:-2], *(shape[-2] - 1,) * stream, size)
    np.testing.assert_array_equal(value, 0)
    gradient = pysig.logsignature_backward(residuals, value).path
    np.testing.assert_array_equal(gradient, np.zeros(shape))


def test_nan_stays_in_its_path(rng):
    path = rng.standard_normal((40, 9, 3))
    path[17, 4, 1] = np.nan
    for mode in MODES:
        value, residuals = pysig.logsignature_forward(path, 3, mode=mode)
        bad = np.isnan(value)
        assert bad[17].any()
        assert not np.delete(bad, 17, axis=0).any()
        gradient = pysig.logsignature_backward(residuals, np.ones_like(value)).path
        assert not np.isnan(np.delete(gradient, 17, axis=0)).any()


def test_any_layout_and_integers(rng):
    path = cases.random_path(rng, (4, 6, 2))
    expected = pysig.logsignature(path, 3)
    np.testing.assert_array_equal(pysig.logsignature(path.copy(order="F"), 3), expected)
    flipped = path[::-1].copy()[::-1]
    np.testing.assert_array_equal(pysig.logsignature(flipped, 3), expected)
    whole = np.arange(24).reshape(3, 4, 2) ** 2
    value = pysig.logsignature(whole, 3)
    np.testing.assert_array_equal(value, pysig.logsignature(whole.astype(float), 3))
    value, residuals = pysig.logsignature_forward(path, 3, basepoint=True)
    kept, grad = path.copy(), value.copy()
    gradient = pysig.logsignature_backward(residuals, grad).path
    np.testing.assert_array_equal(path, kept)
    np.testing.assert_array_equal(grad, value)
    again = pickle.loads(pickle.dumps(residuals))
    np.testing.assert_array_equal(pysig.logsignature_backward(again, grad).path, gradient)


def test_threads_do_not_change_results(rng, keep_num_threads):
    for shape, depth in (((200, 30, 3), 4), ((2, 40, 5), 5), ((1, 3000, 3), 4)):
        path = rng.standard_normal(shape) / 5
        results = []
        for threads in (1, 3):
            pysig.set_num_threads(threads)
            value, residuals = pysig.logsignature_forward(path, depth)
            results.append((value, pysig.logsignature_backward(residuals, value).path))
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other)


SCRIPT = """
import pickle, sys
import pysig
results = []
for path, depth, mode, grad in pickle.load(sys.stdin.buffer):
    value, residuals = pysig.logsignature_forward(path, depth, mode=mode)
    results.append((value, pysig.logsignature_backward(residuals, grad).path))
pickle.dump(results, sys.stdout.buffer)
"""


@pytest.mark.parametrize("level", ["baseline", "avx2"])
def test_narrower_instruction_sets(rng, level):
    """The instruction set is chosen when the library is loaded, which takes another process."""
    calls, expected = [], []
    for (batch, length, channels, depth), mode, dtype in itertools.product(
        [((20,), 30, 4, 3), ((1,), 400, 3, 4), ((2,), 9, 7, 4), ((33,), 7, 9, 2), ((18,), 9, 5, 4)],
        MODES,
        DTYPES,
    ):
        path = cases.random_path(rng, (*batch, length, channels)).astype(dtype)
        value, residuals = pysig.logsignature_forward(path, depth, mode=mode)
        grad = rng.standard_normal(value.shape).astype(dtype)
        calls.append((path, depth, mode, grad))
        expected.append((value, pysig.logsignature_backward(residuals, grad).path))
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps(calls),
        capture_output=True,
        env=dict(os.environ, PYSIG_SIMD=level, PYTHONPATH=os.pathsep.join(sys.path)),
        check=True,
    )
    for pair, other in zip(pickle.loads(process.stdout), expected, strict=True):
        for one, two in zip(pair, other, strict=True):
            scale = abs(two).max()
            np.testing.assert_allclose(one, two, rtol=0, atol=500 * np.finfo(two.dtype).eps * scale)


def test_tables_are_made_by_several_threads_at_once(rng):
    from pysig._core.signatures import lyndon

    path = rng.standard_normal((2, 5, 3))
    for table in (lyndon.lyndon_tables, lyndon.bracket_system, lyndon.bracket_expansion):
        table.cache_clear()
    results: list[np.ndarray] = []

    def call():
        results.append(pysig.logsignature(path, 5, mode="brackets"))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(result, results[0]) for result in results)
    assert len(results) == 8


def test_bad_arguments_are_refused(rng):
    path = rng.standard_normal((3, 5, 2))
    with pytest.raises(ValueError, match=r"mode must be one of 'words', 'brackets', 'expand'"):
        pysig.logsignature(path, 3, mode="lyndon")
    wrong: Any = 1
    with pytest.raises(TypeError, match="mode must be a string, not int"):
        pysig.logsignature(path, 3, mode=wrong)
    with pytest.raises(ValueError, match="path must have the shape"):
        pysig.logsignature(path[0, 0], 3)
    with pytest.raises(ValueError, match="depth must be between 1 and 64"):
        pysig.logsignature(path, 0)
    with pytest.raises(ValueError, match="initial must have the shape"):
        pysig.logsignature(path, 3, initial=np.zeros(5))
    _, residuals = pysig.logsignature_forward(path, 3)
    for grad in (np.zeros((3, 14)), np.zeros(5)):
        with pytest.raises(ValueError, match="grad must have the shape of the logsignature"):
            pysig.logsignature_backward(residuals, grad)
    with pytest.raises(TypeError, match="grad must be float64"):
        pysig.logsignature_backward(residuals, np.zeros((3, 5), np.float32))
    with pytest.raises(TypeError, match="residuals must be LogsignatureResiduals, not int"):
        pysig.logsignature_backward(3, np.zeros((3, 5)))
    for name in ("signature_to_logsignature", "logsignature_to_signature"):
        function = getattr(pysig, name)
        with pytest.raises(ValueError, match="must have the shape"):
            function(np.zeros((3, 7)), 2, 3)
        with pytest.raises(ValueError, match="mode must be one of"):
            function(np.zeros((3, 5)), 2, 3, mode="Lyndon")
        with pytest.raises(TypeError, match="residuals must be"):
            getattr(pysig, name + "_backward")(None, path)


def test_depths_with_no_lyndon_words(rng):
    """With one letter there is one Lyndon word, whatever the depth."""
    path = rng.standard_normal((40, 6, 1))
    for mode in ("words", "brackets"):
        value = pysig.logsignature(path, 5, mode=mode)
        np.testing.assert_allclose(value, path[:, -1] - path[:, 0], rtol=0, atol=1e-14)
