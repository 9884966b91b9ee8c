"""Tables of Lyndon words for the kernels of the logsignature.

Everything is an array that is computed once for each (channels, depth) and kept while it is in use;
`functools.lru_cache` may be called by several threads. Words of one length are numbered in
lexicographic order, and all words as they stand in a signature without scalar term.

A prenecklace is a beginning of a Lyndon word or of a power of one. It may be followed by the
letters from a least one on, and becomes a Lyndon word with all but this one (Cattell, Ruskey,
Sawada, Serra and Miers, "Fast algorithms to generate necklaces, unlabeled necklaces, and
irreducible polynomials over GF(2)", Journal of Algorithms 37, 2000). So Lyndon words come in groups
that differ in the last letter only.
"""

import functools
from typing import NamedTuple

import numpy as np


class LyndonTables(NamedTuple):
    """What the kernels need to find the Lyndon words, as arrays of intp."""

    words: int  # how many Lyndon words there are
    positions: np.ndarray  # (words): where each stands in a signature
    # (depth): groups of each length from 2 on; then 0
    group_counts: np.ndarray
    # One record for each group of Lyndon words of length m: how many there are; where the first of
    # them stands; and for k = 1 ... m - 1 where its first k letters, and its last m - k stand.
    groups: np.ndarray
    # int32, for all words of length 0 ... depth - 1: the least letter that may follow in a
    # prenecklace; `channels` for what is not a prenecklace.
    least: np.ndarray


class SparseRows(NamedTuple):
    """A sparse matrix: the entries starts[i] ... starts[i + 1] - 1 are those of row i."""

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray


@functools.lru_cache(maxsize=256)
def lyndon_count(channels, depth):
    """Return the number of Lyndon words of at most `depth` letters, by Witt's formula."""
    primitive = {}
    for n in range(1, depth + 1):
        # Each word is a power of exactly one rotation of one Lyndon word.
        primitive[n] = channels**n - sum(primitive[m] for m in range(1, n) if n % m == 0)
    return sum(count // n for n, count in primitive.items())


@functools.lru_cache(maxsize=16)
def lyndon_tables(channels, depth):
    """Return the LyndonTables."""
    offsets = word_offsets(channels, depth)
    positions, counts, groups = [], [], []
    least_letters = [np.zeros(1, np.int32)]
    for n, (value, period, least) in enumerate(prenecklaces(channels, depth), 1):
        positions.append(offsets[n] + value[period == n])
        if n == depth:
            break
        dense = np.full(channels**n, channels, np.int32)
        dense[value] = least
        least_letters.append(dense)
        grows = least < channels - 1
        records = group_records(value[grows], least[grows], channels, n + 1, offsets)
        counts.append(len(records))
        groups.append(records.ravel())
    positions = np.concatenate(positions)
    return LyndonTables(
        len(positions),
        positions,
        np.array([*counts, 0], np.intp),
        np.concatenate([*groups, np.zeros(1, np.intp)]),
        np.concatenate(least_letters),
    )


def word_offsets(channels, depth):
    """Return where the words of each length 0 ... depth begin; the empty word has no place."""
    offsets = [0, 0]
    for k in range(1, depth):
        offsets.append(offsets[-1] + channels**k)
    return offsets


def prenecklaces(channels, depth):
    """Give the prenecklaces of each length from 1 on: their number, period and least letter."""
    value = least = np.arange(channels, dtype=np.intp)
    period = np.ones(channels, np.intp)
    yield value, period, least
    for n in range(2, depth + 1):
        counts = channels - least
        parent = np.repeat(np.arange(len(value)), counts)
        first = np.cumsum(counts) - counts
        letter = np.arange(len(parent)) - first[parent] + least[parent]
        period = np.where(letter == least[parent], period[parent], n)
        value = value[parent] * channels + letter
        least = value // powers(channels, period - 1) % channels
        yield value, period, least


def powers(channels, exponents):
    """Return channels ** exponents for an array of small exponents."""
    table = channels ** np.arange(exponents.max(initial=0) + 1, dtype=np.intp)
    return table[exponents]


def group_records(value, least, channels, length, offsets):
    """Return the groups of Lyndon words of one length, see LyndonTables."""
    records = np.empty((len(value), 2 * length), np.intp)
    first = value * channels + least + 1
    records[:, 0] = channels - 1 - least
    records[:, 1] = offsets[length] + first
    for k in range(1, length):
        records[:, 2 * k] = offsets[k] + first // channels ** (length - k)
        records[:, 2 * k + 1] = offsets[length - k] + first % channels ** (length - k)
    return records


# ------------------------------------------------------------------------------------- brackets


class Expansions(NamedTuple):
    """The brackets of the Lyndon words of one length as sums of words."""

    value: np.ndarray  # (brackets): the number of the Lyndon word
    starts: np.ndarray  # (brackets + 1)
    word: np.ndarray  # (terms): the number of a word of this length
    coefficient: np.ndarray  # (terms), float64


@functools.lru_cache(maxsize=16)
def bracket_system(channels, depth):
    """
    Return the matrix that takes coefficients of brackets to those of Lyndon words.

    It is lower triangular, with ones on the diagonal, which are left out.
    """
    rows, columns, values, before = [], [], [], 0
    for level in expansions(channels, depth, lyndon_words_only=True):
        source = np.repeat(np.arange(len(level.value)), np.diff(level.starts))
        target = np.searchsorted(level.value, level.word)
        found = level.value[np.minimum(target, len(level.value) - 1)] == level.word
        found &= target != source
        rows.append(before + target[found])
        columns.append(before + source[found])
        values.append(level.coefficient[found])
        before += len(level.value)
    entries = (np.concatenate(arrays) for arrays in (rows, columns, values))
    return sparse_rows(before, *entries)


@functools.lru_cache(maxsize=16)
def bracket_expansion(channels, depth):
    """Return the matrix that takes coefficients of brackets to those of all words."""
    offsets = word_offsets(channels, depth)
    rows, columns, values, before = [], [], [], 0
    for n, level in enumerate(expansions(channels, depth), 1):
        rows.append(offsets[n] + level.word)
        columns.append(before + np.repeat(np.arange(len(level.value)), np.diff(level.starts)))
        values.append(level.coefficient)
        before += len(level.value)
    count = offsets[-1] + channels**depth
    entries = (np.concatenate(arrays) for arrays in (rows, columns, values))
    return sparse_rows(count, *entries)


@functools.lru_cache(maxsize=16)
def bracket_expansion_transposed(channels, depth):
    """Return the transposed matrix of `bracket_expansion`."""
    starts, columns, values = bracket_expansion(channels, depth)
    rows = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return sparse_rows(lyndon_tables(channels, depth).words, columns, rows, values)


@functools.lru_cache(maxsize=16)
def anagram_classes(channels, depth):
    """
    Return the Lyndon words sorted by their letters, and where words with other letters begin.

    The starts come first, and one more for the end. Words with the same letters keep their order.
    """
    starts, members, before = [np.zeros(1, np.intp)], [], 0
    for n, (value, period, _) in enumerate(prenecklaces(channels, depth), 1):
        value = value[period == n]
        letters = np.sort(value[:, None] // channels ** np.arange(n, dtype=np.intp) % channels)
        order = np.lexsort(letters.T)
        changes = np.any(np.diff(letters[order], axis=0) != 0, axis=1)
        members.append(before + order)
        before += len(value)
        ends = np.append(np.flatnonzero(changes) + 1, len(value))
        starts.append(before - len(value) + ends[ends > 0])
    return np.concatenate(starts), np.concatenate(members)


def sparse_rows(count, rows, columns, values):
    """Return a matrix of `count` rows, given the row of each entry."""
    order = np.argsort(rows, kind="stable")
    starts = np.zeros(count + 1, np.intp)
    np.cumsum(np.bincount(rows, minlength=count), out=starts[1:])
    return SparseRows(starts, columns[order].astype(np.intp), values[order])


def expansions(channels, depth, lyndon_words_only=False):
    """Give the Expansions of each length; of the last, if asked, the Lyndon words only."""
    lower = []
    for n, (value, period, _) in enumerate(prenecklaces(channels, depth), 1):
        value = value[period == n]
        if n == 1:
            level = Expansions(value, np.arange(channels + 1), value, np.ones(channels))
        else:
            only = value if lyndon_words_only and n == depth else None
            level = expand_brackets(value, n, channels, lower, only)
        lower.append(level)
        yield level


def expand_brackets(value, length, channels, lower, only):
    """Return [u, v] = uv - vu for the Lyndon words uv; `only`: the words that are wanted."""
    source, words, coefficients = [], [], []
    left = np.arange(len(value))
    for cut in range(1, length):  # v, the longest suffix that is a Lyndon word, is after the cut
        rest = channels ** (length - cut)
        head, tail = lower[cut - 1], lower[length - cut - 1]
        place = np.searchsorted(tail.value, value[left] % rest)
        found = tail.value[np.minimum(place, len(tail.value) - 1)] == value[left] % rest
        which, left = left[found], left[~found]
        u = np.searchsorted(head.value, value[which] // rest)
        bracket, i, j = term_pairs(head.starts, u, tail.starts, place[found])
        product = head.coefficient[i] * tail.coefficient[j]
        for word, sign in (
            (head.word[i] * rest + tail.word[j], 1),
            (tail.word[j] * channels**cut + head.word[i], -1),
        ):
            kept = slice(None) if only is None else np.isin(word, only)
            source.append(which[bracket][kept])
            words.append(word[kept])
            coefficients.append(sign * product[kept])
    return collect_terms(
        value, channels**length, *map(np.concatenate, (source, words, coefficients))
    )


def term_pairs(starts, u, other_starts, v):
    """Return for all pairs of terms of u[b] and v[b]: b, and the places of both terms."""
    sizes, other_sizes = np.diff(starts)[u], np.diff(other_starts)[v]
    counts = sizes * other_sizes
    bracket = np.repeat(np.arange(len(u)), counts)
    number = np.arange(len(bracket)) - (np.cumsum(counts) - counts)[bracket]
    first, second = np.divmod(number, other_sizes[bracket])
    return bracket, starts[u][bracket] + first, other_starts[v][bracket] + second


def collect_terms(value, words, source, word, coefficient):
    """Add up the terms of equal words of each bracket, and drop those that cancel."""
    keys, place = np.unique(source * words + word, return_inverse=True)
    sums = np.bincount(place, coefficient, len(keys))
    keys, sums = keys[sums != 0], sums[sums != 0]
    starts = np.searchsorted(keys, np.arange(len(value) + 1) * words)
    return Expansions(value, starts, keys % words, sums)


# ---------------------------------------------------------------------------------- for the kernels


def kernel_basis(mode, channels, depth, logarithm):
    """Return what the kernels of exponential.pyx take for a mode of the logsignature."""
    if mode == "expand":
        return None
    tables = lyndon_tables(channels, depth)
    brackets = mode == "brackets"
    system = bracket_system(channels, depth) if brackets == logarithm else None
    expansion = None if logarithm else bracket_expansion(channels, depth)
    return brackets, tables, system, expansion
