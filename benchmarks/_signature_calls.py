"""What is measured: the shapes, their inputs, and the calls of the libraries on them."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

import pysig

FORWARD, BACKWARD, BOTH = "forward", "backward", "forward + backward"
FORWARD_BESIDE = "forward, timed beside the backward"  # in the same rounds, for their ratio
OPERATIONS = (FORWARD, BOTH)


class Shape(NamedTuple):
    batch: int
    length: int
    channels: int
    depth: int

    def __str__(self) -> str:
        return f"({self.batch},{self.length},{self.channels},{self.depth})"

    @classmethod
    def parse(cls, text: str) -> Shape:
        try:
            shape = cls(*(int(number) for number in text.strip("()").split(",")))
        except (ValueError, TypeError):
            raise argparse.ArgumentTypeError(
                f"a shape is batch,length,channels,depth, such as 32,128,4,4; got {text!r}"
            ) from None
        if min(shape) < 1 or shape.length < 2:
            raise argparse.ArgumentTypeError(
                f"a shape needs positive numbers and a length of at least 2; got {text!r}"
            )
        return shape

    def multiply_adds(self) -> int:
        """Of a forward by Horner's scheme: the same count for every library, whatever it does."""
        powers = (
            self.channels**level
            for highest in range(2, self.depth + 1)
            for level in range(2, highest + 1)
        )
        per_step = self.channels * (self.depth - 1) + sum(powers)
        return self.batch * (self.length - 1) * per_step

    def signature_bytes(self, dtype: str) -> int:
        """Of one signature."""
        return pysig.signature_channels(self.channels, self.depth) * np.dtype(dtype).itemsize


SHAPES = [
    Shape(32, 128, 4, 4),
    Shape(128, 256, 4, 6),
    Shape(1, 1000, 5, 5),
    Shape(1, 100000, 3, 4),
    Shape(32, 128, 2, 9),
    Shape(512, 64, 8, 3),
    Shape(128, 100, 40, 2),
    Shape(32, 128, 7, 7),
    Shape(10000, 20, 3, 3),
]


def normal(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Normal numbers, made in place so that no temporaries disturb the measuring of memory."""
    numbers = np.empty(shape, dtype)
    np.random.default_rng(seed).standard_normal(out=numbers, dtype=numbers.dtype.type)
    return numbers


def brownian_path(shape: Shape, dtype: str) -> np.ndarray:
    points = normal((shape.batch, shape.length, shape.channels), dtype, seed=0)
    points /= math.sqrt(shape.length)
    return np.cumsum(points, axis=1, out=points)


def output_gradient(shape: Shape, dtype: str) -> np.ndarray:
    channels = pysig.signature_channels(shape.channels, shape.depth)
    return normal((shape.batch, channels), dtype, seed=1)


class Key(NamedTuple):
    library: str
    operation: str
    threads: int


@dataclass(frozen=True)
class Settings:
    peers: Sequence[Library]
    shapes: Sequence[Shape]
    dtypes: Sequence[str]
    threads: Sequence[int]
    budget: float
    longest_call: float
    quick: bool


class Library(Protocol):
    """A peer to compare with.

    ``call`` binds the arguments, so that the library's own entry is timed and as little as possible
    around it; it returns None where the library cannot do the operation.
    """

    name: str
    wanted: str  # the version that the targets speak of
    gradient_dtype: str | None  # where it is not the path's

    def call(
        self, operation: str, path: np.ndarray, grad: np.ndarray, depth: int, threads: int
    ) -> Callable[[], np.ndarray] | None: ...


def own_call(
    operation: str, path: np.ndarray, grad: np.ndarray, depth: int
) -> Callable[[], np.ndarray]:
    if operation == FORWARD:
        return partial(pysig.signature, path, depth)
    return partial(own_forward_backward, path, grad, depth)


def own_forward_backward(path: np.ndarray, grad: np.ndarray, depth: int) -> np.ndarray:
    _, residuals = pysig.signature_forward(path, depth)
    return pysig.signature_backward(residuals, grad).path


def own_backward(path: np.ndarray, grad: np.ndarray, depth: int) -> Callable[[], object]:
    _, residuals = pysig.signature_forward(path, depth)
    return partial(pysig.signature_backward, residuals, grad)


class Pysiglib:
    name = "pysiglib"
    wanted = "4.0.0"
    gradient_dtype: str | None = None

    def __init__(self) -> None:
        self.module: Any = importlib.import_module(self.name)

    def call(
        self, operation: str, path: np.ndarray, grad: np.ndarray, depth: int, threads: int
    ) -> Callable[[], np.ndarray] | None:
        if operation == FORWARD:
            return partial(self.module.sig, path, depth, n_jobs=threads)
        return partial(self.forward_backward, path, grad, depth, threads)

    def forward_backward(
        self, path: np.ndarray, grad: np.ndarray, depth: int, threads: int
    ) -> np.ndarray:
        signature = self.module.sig(path, depth, n_jobs=threads)
        return self.module.sig_backprop(path, signature, grad, depth, n_jobs=threads)


class Iisignature:
    """It has one thread and computes in float64 whatever comes in: it is timed for these alone."""

    name = "iisignature"
    wanted = "0.24"
    gradient_dtype: str | None = "float32"

    def __init__(self, with_backward: bool) -> None:
        self.module: Any = importlib.import_module(self.name)
        self.operations = OPERATIONS if with_backward else (FORWARD,)

    def call(
        self, operation: str, path: np.ndarray, grad: np.ndarray, depth: int, threads: int
    ) -> Callable[[], np.ndarray] | None:
        if threads > 1 or path.dtype != np.float64 or operation not in self.operations:
            return None
        if operation == FORWARD:
            return partial(self.module.sig, path, depth)
        return partial(self.forward_backward, path, grad, depth)

    def forward_backward(self, path: np.ndarray, grad: np.ndarray, depth: int) -> np.ndarray:
        self.module.sig(path, depth)
        return self.module.sigbackprop(grad, path, depth)


def installed_peers(with_iisignature_backward: bool) -> tuple[list[Library], dict[str, str]]:
    """The peers that can be imported, and a remark on every one for the report."""
    makers: dict[str, Callable[[], Library]] = {
        "pysiglib": Pysiglib,
        "iisignature": partial(Iisignature, with_iisignature_backward),
    }
    peers: list[Library] = []
    remarks: dict[str, str] = {}
    for name, make in makers.items():
        try:
            peer = make()
        except ImportError as error:
            remarks[name] = f"MISSING, all comparisons with it are left out ({error})"
            continue
        version = importlib.metadata.version(name)
        remarks[name] = version if version == peer.wanted else f"{version}, NOT {peer.wanted}"
        peers.append(peer)
    return peers, remarks
