"""Brownian intervals: values, laws, and that only the seed and the interval matter."""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from numpy.testing import assert_allclose, assert_array_equal
from reference import brownian_reference
from reference.brownian_reference import Reference, threefry

import pysig
from pysig._core.sde.brownian import random_words
from pysig.sde.brownian import random_key

DTYPES = [np.float32, np.float64]
LEVY_AREAS = [None, "space-time", "davie", "foster"]


def parts(increment):
    """Return the arrays of an increment."""
    return increment if isinstance(increment, tuple) else (increment,)


def assert_same(first, second):
    """Assert that two increments are equal bit for bit."""
    for one, other in zip(parts(first), parts(second), strict=True):
        assert_array_equal(one, other)


def bound(dtype, levels=25):
    """Return the rounding error allowed for numbers of the size of one."""
    return 4 * levels * np.finfo(dtype).eps


def normal_pvalue(sample):
    """Return the p-value of Kolmogorov and Smirnov for a large standard normal sample."""
    n, found = sample.size, scipy.special.ndtr(np.sort(sample.ravel()).astype(float))
    ranks = np.arange(n + 1) / n
    distance = max(np.max(ranks[1:] - found), np.max(found - ranks[:-1]))
    return scipy.special.kolmogorov(np.sqrt(n) * distance)


# ------------------------------------------------------------------------- random numbers


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [  # the published vectors of Random123
        ([0] * 4, [0] * 4, [0x9C6CA96A, 0xE17EAE66, 0xFC10ECD4, 0x5256A7D8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 4, [0x2A881696, 0x57012287, 0xF6C7446E, 0xA16A6732]),
        (
            [0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89],
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0x59CD1DBB, 0xB8879579, 0x86B5D00C, 0xAC8B6D84],
        ),
    ],
)
def test_known_random_words(key, counter, words):
    assert_array_equal(compiled_words(key, [counter]), [words])
    assert threefry(key, counter) == words


def compiled_words(key, counters):
    """Return the words of the compiled Threefry."""
    counters = np.asarray(counters, np.uint32)
    words = np.empty_like(counters)
    random_words(key, counters, words)
    return words


def bits_of(words):
    """Return the bits of each row of words."""
    return np.unpackbits(words.view(np.uint8), axis=1)


def test_statistics_of_random_words():
    """2^20 words for counters as a tree has them: p above 1e-4 for each of six tests."""
    counters = np.zeros((2**18, 4), np.uint32)
    counters[:, 0] = np.arange(2**18) % 2**14  # nodes
    counters[:, 2] = np.arange(2**18) // 2**14  # blocks
    words = compiled_words(random_key(1), counters)
    pvalues = {}
    # how often each of the 128 bits is one
    z = (bits_of(words).sum(0, dtype=np.int64) - 2**17) / 2**8
    pvalues["bits"] = scipy.stats.chi2.sf(np.sum(z**2), 128)
    # how many bits change from a counter to the next node, and to the next block
    for name, other in (("node", words[1:]), ("block", words[2**14 :])):
        changed = bits_of(words[: len(other)] ^ other).sum(1, dtype=np.int64)
        counts = np.bincount(changed, minlength=129)[48:81]
        expected = len(other) * scipy.stats.binom.pmf(np.arange(48, 81), 128, 0.5)
        pvalues[name] = scipy.stats.chi2.sf(np.sum((counts - expected) ** 2 / expected), 32)
    # how often each half of a word comes: 32 times
    counts = np.bincount(words.view(np.uint16).ravel(), minlength=2**16)
    pvalues["halves"] = scipy.stats.chi2.sf(np.sum((counts - 32.0) ** 2 / 32), 2**16 - 1)
    # words that come again: Poisson, but for terms of the order of 2^-12
    again = scipy.stats.poisson(2**7), 2**20 - np.unique(words).size
    pvalues["again"] = 2 * min(again[0].cdf(again[1]), again[0].sf(again[1] - 1))
    # equal spacings between 512 birthdays in a year of 2^24 days: Poisson, 2 for each group
    births = np.sort(words.reshape(-1, 512) >> np.uint32(8), axis=1).astype(np.int64)
    spacings = np.sort(np.diff(births, axis=1, prepend=0), axis=1)
    equal, wanted = np.count_nonzero(spacings[:, 1:] == spacings[:, :-1]), 2 * len(births)
    pvalues["birthdays"] = 2 * scipy.stats.norm.sf(abs(equal - wanted) / np.sqrt(wanted))
    assert min(pvalues.values()) > 1e-4, pvalues


# ----------------------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_h", [False, True])
@pytest.mark.parametrize("tolerance", [1.0, 0.3, 0.25, 0.01, 1e-4, 0])
def test_values(dtype, with_h, tolerance, rng):
    brownian = pysig.BrownianInterval(
        0, 2, 70, seed=11, dtype=dtype, tolerance=tolerance,
        levy_area="space-time" if with_h else None,
    )  # fmt: skip
    times = np.sort(rng.uniform(0, 2, (4, 2)))
    for start, end in [(0.0, 2.0), (0.0, 0.7), (0.5, 2.0), (0.25, 1.5), *times]:
        increment = parts(brownian(start, end))
        for element in (0, 15, 16, 33, 69):
            reference = Reference(2.0, brownian._cells, element, random_key(11), dtype, with_h)
            tree = brownian._tree
            wanted: Any = reference.increment(tree.cell(start, "start"), tree.cell(end, "end"))
            for values, value in zip(increment, wanted, strict=False):
                # what the reference divides by makes its own errors larger
                assert_allclose(values[element], value, rtol=0, atol=bound(dtype, 60))


@pytest.mark.parametrize("levy_area", LEVY_AREAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_grids_equal_single_increments(levy_area, dtype, rng):
    times = np.unique(np.concatenate([rng.uniform(-1, 3, 30), [0.1, 0.1 + 1e-9, 0.1 + 3e-9, 0.5]]))
    for tolerance, grid in [(0.01, times), (None, times), (0.04, np.linspace(-1, 3, 101))]:
        brownian = pysig.BrownianInterval(
            -1, 3, (5, 3), seed=1, dtype=dtype, levy_area=levy_area, tolerance=tolerance
        )
        increments = brownian.increments(grid)
        for i in range(len(grid) - 1):
            row = [values[i] for values in parts(increments)]
            assert_same(tuple(row), tuple(parts(brownian(grid[i], grid[i + 1]))))


def test_path_equals_interval():
    ts = np.linspace(0.5, 2, 31)
    path = pysig.brownian_path(ts, (4,), seed=3, levy_area="foster")
    brownian = pysig.BrownianInterval(0.5, 2, (4,), seed=3, levy_area="foster", tolerance=0.05)
    for i in range(30):
        assert_same(tuple(values[i] for values in path), brownian(ts[i], ts[i + 1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levy_area", ["davie", "foster"])
@pytest.mark.parametrize(("rows", "m"), [(1, 1), (5, 2), (37, 3), (33, 8), (18, 16), (3, 17)])
def test_areas(dtype, levy_area, rows, m):
    brownian = pysig.BrownianInterval(
        0, 2, (rows, m), seed=11, dtype=dtype, tolerance=0.5, levy_area=levy_area
    )
    w, h, area = brownian(0.25, 1.5)
    wanted = brownian_reference.area(
        random_key(11), 0.5, 3.0, 1.25, levy_area == "foster", w.astype(float), h, dtype
    )
    assert_allclose(area, wanted, rtol=0, atol=bound(dtype, 10))


intervals = st.lists(st.floats(0, 1), min_size=3, max_size=3, unique=True).map(sorted)


@given(times=intervals, tolerance=st.sampled_from([0, 1e-6, 0.01, 0.3, 2]))
def test_parts_add_up(times, tolerance):
    brownian = pysig.BrownianInterval(
        0, 1, 5, seed=2, levy_area="space-time", tolerance=tolerance, cache_size=8
    )
    s, t, u = times
    first, second, whole = brownian(s, t), brownian(t, u), brownian(s, u)
    assert_allclose(first.W + second.W, whole.W, rtol=0, atol=bound(float, 60))
    joined = (u - t) * (second.H + first.W / 2) + (t - s) * (first.H - second.W / 2)
    assert_allclose(joined, (u - s) * whole.H, rtol=0, atol=bound(float, 60))


def test_float32_loses_no_digits_late():
    """Increments over short intervals are as exact in float32, relatively, as long ones."""
    brownian = pysig.BrownianInterval(0, 1, 1000, seed=2, dtype=np.float32)
    start = 0.75
    increments = np.stack([brownian(start + i * 1e-4, start + (i + 1) * 1e-4) for i in range(10)])
    assert_allclose(increments.sum(0), brownian(start, start + 1e-3), rtol=0, atol=1e-7)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("levy_area", ["davie", "foster"])
def test_areas_add_up(levy_area, exact, rng):
    brownian = pysig.BrownianInterval(
        0, 1, (5, 3), seed=2, levy_area=levy_area, tolerance=1 / 12, exact=exact,
        additive_areas=True,
    )  # fmt: skip
    cuts = np.sort([rng.permutation(13)[:3] for _ in range(30)]) / 12
    for s, t, u in [*cuts, (0.01, 0.25, 0.98), (0.3, 0.5, 0.51)]:
        first, second, whole = brownian(s, t), brownian(t, u), brownian(s, u)
        product = first.W[..., :, None] * second.W[..., None, :]
        joined = first.A + second.A + (product - product.swapaxes(-1, -2)) / 2
        assert_allclose(joined, whole.A, rtol=0, atol=1e-14)
        assert_array_equal(brownian(u, s).A, -whole.A)
        assert_array_equal(brownian.increments([s, t, u]).A, [first.A, second.A])


# --------------------------------------------------------- what the values depend on


class Queries(RuleBasedStateMachine):
    """Whatever was asked before, with any cache, the increments are those of a fresh object."""

    @initialize(
        cache_size=st.sampled_from([0, 1, 2, 7, 64]),
        levy_area=st.sampled_from([None, "space-time", "foster"]),
        tolerance=st.sampled_from([None, 0, 0.01, 0.3]),
    )
    def make(self, cache_size, levy_area, tolerance):
        self.options = {"seed": 5, "levy_area": levy_area, "tolerance": tolerance}
        self.brownian = pysig.BrownianInterval(0, 1, (3,), cache_size=cache_size, **self.options)

    @rule(start=st.floats(0, 1), end=st.floats(0, 1))
    def ask(self, start, end):
        fresh = pysig.BrownianInterval(0, 1, (3,), cache_size=0, **self.options)
        assert_same(self.brownian(start, end), fresh(start, end))

    @rule(start=st.integers(0, 99), backwards=st.booleans())
    def walk(self, start, backwards):
        steps = range(start, min(start + 10, 100))
        for i in reversed(steps) if backwards else steps:
            self.ask(i / 100, (i + 1) / 100)

    @rule(start=st.integers(0, 98), points=st.integers(2, 12))
    def grid(self, start, points):
        times = np.arange(start, min(start + points, 101)) / 100
        increments = parts(self.brownian.increments(times))
        fresh = pysig.BrownianInterval(0, 1, (3,), cache_size=0, **self.options)
        for i in range(len(times) - 1):
            row = tuple(values[i] for values in increments)
            assert_same(row, tuple(parts(fresh(times[i], times[i + 1]))))

    @rule()
    def pickle(self):
        self.brownian = pickle.loads(pickle.dumps(self.brownian))

    @rule()
    def ask_from_threads(self):
        results = {}

        def work(number):
            results[number] = [self.brownian(i / 37, (i + 1) / 37) for i in range(number, 37)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in (1, 2):
            for first, second in zip(results[number], results[0][number:], strict=True):
                assert_same(first, second)


TestQueries = Queries.TestCase


@pytest.mark.parametrize("levy_area", LEVY_AREAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_smaller_batches_begin_larger_ones(levy_area, dtype):
    large = pysig.BrownianInterval(0, 1, (300, 3), seed=4, dtype=dtype, levy_area=levy_area)
    for size in (1, 7, 100):
        small = pysig.BrownianInterval(0, 1, (size, 3), seed=4, dtype=dtype, levy_area=levy_area)
        wanted = tuple(values[:size] for values in parts(large(0.1, 0.7)))
        assert_same(tuple(parts(small(0.1, 0.7))), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_matter(dtype, keep_num_threads):
    results = []
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        brownian = pysig.BrownianInterval(0, 1, (9000, 3), seed=4, dtype=dtype, levy_area="foster")
        results.append((*brownian(0.2, 0.3), *brownian.increments([0.1, 0.2, 0.4])))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


def test_seeds():
    def value(seed):
        return pysig.BrownianInterval(0, 1, 50, seed=seed)(0.2, 0.4)

    assert_array_equal(value(3), value(np.random.SeedSequence(3)))
    assert_array_equal(value([1, 2]), value([1, 2]))
    several = [value(seed) for seed in (None, None, 0, 1, [0, 1], 2**100)]
    assert len({values.tobytes() for values in several}) == len(several)


def test_no_two_nodes_share_random_words():
    """Ten million ranges of cells: no two have the same random words, not even half of them."""
    counters = np.zeros((10**7, 4), np.uint32)
    counters[:, 0] = np.arange(1, 10**7 + 1)
    for half in compiled_words(random_key(1), counters).view(np.uint64).T:
        ordered = np.sort(half)
        assert np.all(ordered[1:] > ordered[:-1])


def test_copies(rng):
    brownian = pysig.BrownianInterval(
        0, 1, (2, 3), seed=4, W=rng.normal(size=(2, 3)), H=np.zeros(3), levy_area="davie",
        covariance_factor=rng.normal(size=(3, 3)),
    )  # fmt: skip
    for other in (
        copy.copy(brownian),
        copy.deepcopy(brownian),
        pickle.loads(pickle.dumps(brownian)),
    ):
        assert_same(other(0.3, 0.9), brownian(0.3, 0.9))
        assert other.shape == (2, 3)


# ------------------------------------------------------------------------------ exact trees


@pytest.mark.parametrize("levy_area", [None, "space-time", "foster"])
@pytest.mark.parametrize("tolerance", [1.0, 0.1])
def test_exact_trees_do_not_depend_on_the_cache(levy_area, tolerance, rng):
    options = {"seed": 5, "levy_area": levy_area, "tolerance": tolerance, "exact": True}
    brownians = [pysig.BrownianInterval(0, 1, (3,), cache_size=n, **options) for n in (0, 1, 5, 64)]
    for start, end in rng.uniform(size=(100, 2)):
        first, *others = [brownian(start, end) for brownian in brownians]
        for other in others:
            assert_same(other, first)
    brownians.append(pickle.loads(pickle.dumps(brownians[0])))
    for start, end in rng.uniform(size=(20, 2)):
        first, *others = [brownian(start, end) for brownian in brownians]
        for other in others:
            assert_same(other, first)


@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_parts_of_exact_trees_add_up(shape, rng):
    brownian = pysig.BrownianInterval(
        0, 1, shape, seed=2, levy_area="space-time", tolerance=0.5, exact=True
    )
    for times in np.sort(rng.uniform(size=(100, 3)), axis=-1):
        s, t, u = times
        first, second, whole = brownian(s, t), brownian(t, u), brownian(s, u)
        assert_allclose(first.W + second.W, whole.W, rtol=0, atol=bound(float, 60))
        joined = (u - t) * (second.H + first.W / 2) + (t - s) * (first.H - second.W / 2)
        assert_allclose(joined, (u - s) * whole.H, rtol=0, atol=bound(float, 60))
        assert_allclose(brownian.increments(times).W, [first.W, second.W])


def test_law_inside_a_cell_of_an_exact_tree():
    """Increments over parts of one cell are independent, in whatever order they are asked for."""
    brownian = pysig.BrownianInterval(
        0, 1, 400_000, seed=8, tolerance=1, levy_area="space-time", exact=True
    )
    values = []
    for start, end in [(0.4, 0.5), (0.1, 0.3), (0.55, 0.9), (0.5, 0.55), (0.3, 0.4)]:
        increment = brownian(start, end)
        values.append(increment.W / np.sqrt(end - start))
        values.append(increment.H / np.sqrt((end - start) / 12))
    for sample in values:
        assert normal_pvalue(sample) > 1e-3
    assert np.abs(np.corrcoef(values) - np.eye(len(values))).max() < 7e-3


def test_exact_tree_with_many_cuts_in_a_cell():
    brownian = pysig.BrownianInterval(0, 1, seed=3, tolerance=1, exact=True)
    total = sum(float(brownian(i / 3000, (i + 1) / 3000)) for i in range(3000))
    assert_allclose(total, brownian(0, 1), rtol=0, atol=1e-11)
    assert len(brownian._tree.cuts()) == 2999


# ------------------------------------------------------------------------------ laws


@pytest.mark.parametrize("dtype", DTYPES)
def test_law_of_increments(dtype):
    """Kolmogorov-Smirnov, and moments of a million samples; p above 1e-3 for a fixed seed."""
    brownian = pysig.BrownianInterval(0, 2, 10**6, seed=8, dtype=dtype, levy_area="space-time")
    times = [0, 0.3, 0.31, 1.7, 2]
    values = []
    for start, end in itertools.pairwise(times):
        h = end - start
        increment = brownian(start, end)
        values += [increment.W / np.sqrt(h), increment.H / np.sqrt(h / 12)]
    for sample in values:
        assert normal_pvalue(sample) > 1e-3
        assert abs(sample.mean(dtype=float)) < 4e-3
        assert abs(np.mean(sample.astype(float) ** 2) - 1) < 6e-3
        assert abs(np.mean(sample.astype(float) ** 4) - 3) < 4e-2
    correlations = np.corrcoef(np.array(values, float)) - np.eye(len(values))
    assert np.abs(correlations).max() < 4.5e-3  # four and a half standard deviations


def test_large_samples_have_no_lattice():
    sample = pysig.BrownianInterval(0, 1, 10**6, seed=1, dtype=np.float32)(0, 1).astype(float)
    assert normal_pvalue(sample) > 1e-3
    assert len(np.unique(sample)) > 900_000
    tails = np.mean(np.abs(sample) > 4)
    assert abs(tails - 2 * scipy.stats.norm.sf(4)) < 4 * np.sqrt(6.3e-5 / 10**6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levy_area", [None, "space-time"])
def test_conditional_law_inside(dtype, levy_area):
    """Given W and H of the whole, its first part is normal, with the mean and variance known."""
    n, left, right = 10**6, 0.3, 0.7
    given: dict[str, Any] = {"W": np.linspace(-3, 3, n)}
    if levy_area:
        given["H"] = np.cos(np.arange(n))
    brownian = pysig.BrownianInterval(
        0, 1, n, seed=3, dtype=dtype, levy_area=levy_area, tolerance=1, **given
    )
    for part, name in zip(parts(brownian(0, 1)), "WH", strict=False):
        assert_allclose(part, given[name], rtol=np.finfo(dtype).eps)
    first: Any = parts(brownian(0, left))
    if levy_area is None:
        residuals = [(first[0] - left * given["W"]) / np.sqrt(left * right)]
    else:  # W and H of the part are correlated, given those of the whole
        mean = left * given["W"] + 6 * left * right * given["H"], left**2 * given["H"]
        v = np.sqrt(left * right / (left**3 + right**3)) / 2
        a, b, c = v * left**2, v * right**2, v / np.sqrt(3)
        x1 = (first[0] - mean[0]) / (2 * (a * left + b * right))
        residuals = [x1, (first[1] - mean[1] + a * x1) / (c * right)]
    for residual in residuals:
        assert normal_pvalue(residual) > 1e-3
        for values in given.values():
            assert abs(np.corrcoef(residual, values)[0, 1]) < 4.5e-3
    assert len(residuals) == 1 or abs(np.corrcoef(residuals)[0, 1]) < 4.5e-3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("levy_area", "fourth"),
    [("davie", 13 / 48), ("foster", 123 / 400)],  # of the approximations; exact: 5 / 16
)
def test_law_of_areas(dtype, levy_area, fourth):
    """Moments within four and a half standard deviations, p above 1e-3 for a fixed seed."""
    h, n = 0.6, 340_000
    brownian = pysig.BrownianInterval(0, 1, (n, 3), seed=3, dtype=dtype, levy_area=levy_area)
    w, half, area = (values.astype(float) for values in brownian(0.3, 0.9))
    assert_array_equal(area, -np.swapaxes(area, -1, -2))
    a = area[:, 0, 1] / h
    for power, wanted in ((1, 0), (2, 1 / 4), (3, 0), (4, fourth)):
        deviation = np.std(a**power) / np.sqrt(n)
        assert abs(np.mean(a**power) - wanted) < 4.5 * deviation
    i, j = np.triu_indices(3, 1)
    correlations = np.corrcoef([*area[:, i, j].T, *w.T, *half.T]) - np.eye(9)
    assert np.abs(correlations).max() < 4.5 / np.sqrt(n)
    # given W and H, a million independent numbers
    noise = area[:, i, j] - (half[:, i] * w[:, j] - w[:, i] * half[:, j])
    variance = h**2 / 12
    if levy_area == "foster":
        variance = h**2 / 20 + h / 5 * (half[:, i] ** 2 + half[:, j] ** 2)
    assert normal_pvalue(noise / np.sqrt(variance)) > 1e-3


def test_law_of_joined_areas():
    """The fourth moment comes nearer to 5 / 16, the exact one, as the cube of their number."""
    n, cells = 400_000, 4
    brownian = pysig.BrownianInterval(
        0, 1, (n, 2), seed=3, levy_area="davie", tolerance=1 / cells, additive_areas=True
    )
    a = brownian(0, 1).A[:, 0, 1]
    for power, wanted in ((2, 1 / 4), (4, 5 / 16 - (5 / 16 - 13 / 48) / cells**3)):
        assert abs(np.mean(a**power) - wanted) < 4.5 * np.std(a**power) / np.sqrt(n)


def test_covariance_factor(rng):
    factor = np.array([[1.0, 0.0], [0.8, 0.6], [-0.5, 0.2]])
    brownian = pysig.BrownianInterval(
        0, 1, (200_000, 3), seed=3, covariance_factor=factor, levy_area="foster"
    )
    increment = brownian(0.5, 1)
    assert_allclose(np.cov(increment.W.T) / 0.5, factor @ factor.T, atol=0.02)
    plain = pysig.BrownianInterval(0, 1, (200_000, 2), seed=3, levy_area="foster")(0.5, 1)
    assert_allclose(increment.W, plain.W @ factor.T, rtol=0, atol=1e-14)
    assert_allclose(increment.A, factor @ plain.A @ factor.T, rtol=0, atol=1e-13)


# ----------------------------------------------------------------------- what is allowed


@pytest.mark.parametrize("levy_area", LEVY_AREAS)
def test_backwards(levy_area):
    brownian = pysig.BrownianInterval(0, 1, (3, 2), seed=3, levy_area=levy_area)
    forwards, backwards = parts(brownian(0.2, 0.9)), parts(brownian(0.9, 0.2))
    for sign, one, other in zip((-1, 1, -1), forwards, backwards, strict=False):
        assert_array_equal(one, sign * other)


@pytest.mark.parametrize("shape", [(), 0, 1, (0, 3), (2, 0), (2, 3, 4)])
def test_shapes(shape):
    brownian = pysig.BrownianInterval(0, 1, shape, seed=3)
    wanted = (shape,) if isinstance(shape, int) else shape
    assert brownian(0.1, 0.2).shape == wanted
    assert brownian(0.2).shape == wanted
    assert brownian.increments([0, 0.5, 1]).shape == (2, *wanted)
    if wanted:
        area = pysig.BrownianInterval(0, 1, shape, seed=3, levy_area="foster")
        assert area(0.1, 0.2).A.shape == (*wanted, wanted[-1])


def test_empty_interval_is_zero():
    increment = pysig.BrownianInterval(0, 1, 3, seed=3, levy_area="foster")(0.3, 0.3)
    for values in increment:
        assert not values.any()


def test_one_time_is_from_the_beginning():
    brownian = pysig.BrownianInterval(-1, 1, 3, seed=3)
    assert_array_equal(brownian(0.25), brownian(-1, 0.25))


def test_rounding_errors_of_times():
    brownian = pysig.BrownianInterval(0.1, 14.614644, 3, seed=3, tolerance=0.1)
    assert_array_equal(brownian(0.1, np.nextafter(14.614644, 20)), brownian(0.1, 14.614644))
    assert_array_equal(brownian(0.1, np.float32(14.614644)), brownian(0.1, 14.614644))
    steps = pysig.BrownianInterval(0, 1, 3, seed=3, tolerance=0.1)
    assert_array_equal(steps(0, 0.1 + 0.1 + 0.1), steps(0, 0.3))
    with pytest.raises(ValueError, match="end must be between"):
        brownian(0.2, 14.6147)
    with pytest.raises(ValueError, match="start must be between"):
        brownian(np.nan, 1)


def resident_bytes():
    """Return how much memory the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_million_queries():
    """In order and back, and 10^5 in any order: the sums are right, and memory does not grow."""
    count = 10**6
    brownian = pysig.BrownianInterval(0, 1, seed=3, tolerance=1 / count)
    for i in range(10**4):
        brownian(i / count, (i + 1) / count)
    before, whole = resident_bytes(), float(brownian(0, 1))
    for steps in (range(count), reversed(range(count))):
        total = 0.0
        for i in steps:
            total += float(brownian(i / count, (i + 1) / count))
        assert_allclose(total, whole, rtol=0, atol=1e-11)
    for start, end in np.random.default_rng(0).uniform(size=(10**5, 2)):
        brownian(start, end)
    assert resident_bytes() - before < 2**20


def test_many_queries():
    """Neither many steps nor a tiny cache exhaust anything."""
    brownian = pysig.BrownianInterval(0, 1, seed=3, tolerance=1e-4, cache_size=20)
    total = sum(float(brownian(i * 1e-4, (i + 1) * 1e-4)) for i in range(5000))
    assert_allclose(total, brownian(0, 0.5), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((1, 0), {}, ValueError, "t0 must be before t1"),
        ((0, np.inf), {}, ValueError, "t0 must be before t1"),
        (("0", 1), {}, TypeError, "t0 must be a number"),
        ((0, 1, -1), {}, ValueError, "shape must have sizes"),
        ((0, 1, 2.5), {}, TypeError, "shape must be an integer"),
        ((0, 1), {"dtype": int}, TypeError, "dtype must be float32 or float64"),
        ((0, 1), {"levy_area": "full"}, ValueError, "levy_area must be one of"),
        ((0, 1), {"levy_area": "foster"}, ValueError, "at least one axis"),
        ((0, 1), {"tolerance": -1}, ValueError, "tolerance must be 0 or more"),
        ((0, 1), {"cache_size": -1}, ValueError, "cache_size must be between"),
        ((0, 1), {"cache_size": 1.5}, TypeError, "cache_size must be an integer"),
        ((0, 1), {"seed": -1}, ValueError, "seed must be"),
        ((0, 1), {"seed": "x"}, TypeError, "seed must be"),
        ((0, 1, 3), {"additive_areas": True}, ValueError, "additive_areas must be False"),
        ((0, 1), {"H": 1.0}, ValueError, "without levy_area"),
        ((0, 1), {"W": 1.0, "levy_area": "space-time"}, ValueError, "given together"),
        ((0, 1, 3), {"W": np.zeros(2)}, ValueError, "W must have a shape"),
        ((0, 1, 3), {"covariance_factor": np.zeros((2, 2))}, ValueError, "covariance_factor must"),
        ((0, 1), {"covariance_factor": np.zeros((2, 2))}, ValueError, "at least one axis"),
    ],
)  # fmt: skip
def test_wrong_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        pysig.BrownianInterval(*arguments, **options)


def test_wrong_grids():
    brownian = pysig.BrownianInterval(0, 1)
    for times in ([0.5], [[0, 1]], [0, 0.5, 0.5], [0.5, 0.2], [0, 2]):
        with pytest.raises(ValueError, match="times"):
            brownian.increments(times)
    for ts in ([0.5], [[0, 1]], [0, 0.5, 0.5]):
        with pytest.raises(ValueError, match="ts must"):
            pysig.brownian_path(ts)
