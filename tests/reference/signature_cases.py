"""Inputs for the signature, over every combination of its options."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from reference.accuracy import wide

Array = np.ndarray[Any, Any]

BASEPOINTS = ("no basepoint", "zero basepoint", "shared basepoint", "own basepoint")
INITIALS = ("no initial", "shared initial", "own initial")


class Combination(NamedTuple):
    """One choice for every option of ``pysig.signature``."""

    stream: bool
    basepoint: str
    initial: str
    inverse: bool
    scalar_term: bool
    ragged: bool

    def __str__(self) -> str:
        """Return the options that are switched on, as a test's name."""
        names = [name for name in ("stream", "inverse", "scalar_term", "ragged") if self._is(name)]
        chosen = [text for text in (self.basepoint, self.initial) if not text.startswith("no ")]
        return ", ".join([*names, *chosen]) or "plain"

    def _is(self, name: str) -> bool:
        return getattr(self, name)


COMBINATIONS = [
    Combination(*choice)
    for choice in itertools.product(
        (False, True), BASEPOINTS, INITIALS, (False, True), (False, True), (False, True)
    )
]


PLAIN = Combination(
    stream=False,
    basepoint="no basepoint",
    initial="no initial",
    inverse=False,
    scalar_term=False,
    ragged=False,
)
EVERYTHING = Combination(
    stream=True,
    basepoint="shared basepoint",
    initial="shared initial",
    inverse=True,
    scalar_term=True,
    ragged=True,
)

# A few combinations for the large sizes. Between them they switch on everything.
FEW_COMBINATIONS = [
    PLAIN,
    EVERYTHING,
    EVERYTHING._replace(stream=False, basepoint="own basepoint", initial="own initial"),
    PLAIN._replace(stream=True),
    PLAIN._replace(inverse=True, initial="shared initial"),
    PLAIN._replace(basepoint="zero basepoint", ragged=True),
]

# Sizes (batch, length, channels, depth) apart enough to be computed in every way there may be:
# side by side, one at a time, in pieces of time; small, large, deep and wide signatures.
LARGE_SIZES = [
    ((1,), 20, 5, 5),
    ((5,), 100, 4, 5),
    ((17,), 200, 4, 3),
    ((9,), 70, 3, 5),
    ((9,), 1000, 2, 3),
    ((40,), 70, 2, 4),
    ((1000,), 20, 3, 3),
    ((3,), 70, 8, 3),
    ((5,), 70, 9, 3),
    ((17,), 70, 16, 2),
    ((2,), 70, 40, 2),
    ((3,), 20, 100, 2),
    ((17,), 1000, 3, 1),
    ((2,), 3, 5000, 1),
    ((3,), 130, 1, 12),
    ((2,), 130, 2, 10),
]
# These take the reference seconds: not every combination.
LARGEST_SIZES = [
    ((), 35, 7, 6),
    ((2,), 9, 7, 6),
    ((1,), 3000, 3, 4),
    ((1,), 1000, 5, 4),
    ((1,), 20, 300, 2),
]
LARGE_CASES = [
    *itertools.product(LARGE_SIZES, FEW_COMBINATIONS),
    *itertools.product(LARGEST_SIZES, FEW_COMBINATIONS[:3]),
]


class Case(NamedTuple):
    """The arguments of one call; all numbers are exact in float32."""

    path: Array
    depth: int
    options: dict[str, Any]

    @property
    def steps(self) -> int:
        """The number of increments of the longest path."""
        return self.path.shape[-2] - 1 + (self.options.get("basepoint") is not None)

    def cast(self, dtype: Any) -> tuple[Array, int, dict[str, Any]]:
        """Return path, depth and options in a floating type."""
        options = dict(self.options)
        for name in ("basepoint", "initial"):
            if isinstance(options.get(name), np.ndarray):
                options[name] = options[name].astype(dtype)
        return self.path.astype(dtype), self.depth, options

    def wide(self) -> tuple[Array, int, dict[str, Any]]:
        """Return path, depth and options in extended precision."""
        return self.cast(np.longdouble)


def short(array: Array) -> Array:
    """Return the values rounded to float32, so that both types are given the same numbers."""
    return np.asarray(array, np.float32).astype(np.float64)


def random_path(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Return Brownian paths of total size about one, which start anywhere."""
    steps = rng.standard_normal(shape) / np.sqrt(shape[-2])
    return short(np.cumsum(steps, axis=-2) + rng.standard_normal((*shape[:-2], 1, shape[-1])))


def signature_size(channels: int, depth: int, scalar_term: bool = False) -> int:
    """Return the number of entries of a signature."""
    return sum(channels**k for k in range(0 if scalar_term else 1, depth + 1))


def make_case(
    rng: np.random.Generator,
    batch: tuple[int, ...],
    length: int,
    channels: int,
    depth: int,
    combination: Combination,
) -> Case:
    """Return random arguments for a combination of options."""
    path = random_path(rng, (*batch, length, channels))
    size = signature_size(channels, depth, combination.scalar_term)
    shared = batch[-1:] and (1,)  # an axis to be broadcast, where there is a batch
    basepoint: Any = {
        "no basepoint": None,
        "zero basepoint": True,
        "shared basepoint": short(rng.standard_normal((*shared, channels))),
        "own basepoint": short(rng.standard_normal((*batch, channels))),
    }[combination.basepoint]
    initial: Any = {
        "no initial": None,
        "shared initial": short(rng.standard_normal(size)),
        "own initial": short(rng.standard_normal((*batch, size))),
    }[combination.initial]
    lengths = rng.integers(1, length + 1, batch) if combination.ragged else None
    options = combination._asdict()
    del options["ragged"]
    options.update(basepoint=basepoint, initial=initial, lengths=lengths)
    return Case(path, depth, options)


def make_large_case(
    rng: np.random.Generator, size: tuple[Any, ...], combination: Combination
) -> Case:
    """Return a large case, with fewer steps where all prefixes would be too many numbers."""
    batch, length, channels, depth = size
    count = math.prod(batch) * signature_size(channels, depth)
    if combination.stream and count * length > 2_000_000:
        length = max(5, 2_000_000 // count)
    return make_case(rng, batch, length, channels, depth, combination)


def output_shape(case: Case) -> tuple[int, ...]:
    """Return the shape of the signature of a case."""
    batch, channels = case.path.shape[:-2], case.path.shape[-1]
    size = signature_size(channels, case.depth, case.options["scalar_term"])
    return (*batch, case.steps, size) if case.options["stream"] else (*batch, size)


def random_grad(rng: np.random.Generator, case: Case) -> Array:
    """Return weights for the entries of the signature of a case."""
    return short(rng.standard_normal(output_shape(case)))


def poison_past_ends(path: Array, lengths: Any) -> Array:
    """Return the path with every point past its end made NaN, as nobody may look at them."""
    if lengths is None:
        return path
    past = np.arange(path.shape[-2]) >= np.broadcast_to(lengths, path.shape[:-2])[..., None]
    return np.where(past[..., None], path.dtype.type(np.nan), path)


def pairing(left: Any, right: Any) -> np.longdouble:
    """Return the sum of products of two arrays, in extended precision."""
    return np.longdouble((wide(left) * wide(right)).sum())
