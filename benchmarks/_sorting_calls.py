"""What is measured: the functions, the rows they get, and the calls of the libraries on them."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import pysig

VALUE, FORWARD, BOTH = "value", "forward", "forward + backward"
OPERATIONS = (VALUE, FORWARD, BOTH)
STRENGTH = 1.0

RANDOM, SORTED, REVERSED, TIED, POOLED = "random", "sorted", "reversed", "tied", "pooled"
ROWS = (RANDOM, SORTED, REVERSED, TIED, POOLED)


class Function(NamedTuple):
    name: str
    regularization: str

    def __str__(self) -> str:
        return f"{self.name} {self.regularization}"


SORT_L2, RANK_L2 = Function("soft_sort", "l2"), Function("soft_rank", "l2")
SORT_KL, RANK_KL = Function("soft_sort", "kl"), Function("soft_rank", "kl")
FUNCTIONS = (SORT_L2, RANK_L2, SORT_KL, RANK_KL)


class Shape(NamedTuple):
    batch: int
    length: int

    def __str__(self) -> str:
        return f"({self.batch},{self.length})"

    @classmethod
    def parse(cls, text: str) -> Shape:
        try:
            shape = cls(*(int(float(number)) for number in text.strip("()").split(",")))
        except (ValueError, TypeError):
            raise argparse.ArgumentTypeError(
                f"a shape is batch,length, such as 128,100; got {text!r}"
            ) from None
        if min(shape) < 1:
            raise argparse.ArgumentTypeError(f"a shape needs positive numbers; got {text!r}")
        return shape


SHAPES = [
    Shape(1, 100),
    Shape(1, 10_000),
    Shape(1, 1_000_000),
    Shape(128, 100),
    Shape(512, 1000),
    Shape(10_000, 20),
    Shape(64, 10_000),
]


def rows(kind: str, shape: Shape, dtype: str) -> np.ndarray:
    """Rows of one kind.

    With standard normal entries and strength 1 the soft sort of a long row pools nothing, and its
    soft rank is a single block; sorted, reversed and tied rows are no different. "pooled" rows have
    gaps around 1 / strength, so that about as many neighbours are pooled as are not, in random
    order.
    """
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal(shape)
    if kind == SORTED:
        numbers.sort(axis=-1)
    elif kind == REVERSED:
        numbers = -np.sort(-numbers, axis=-1)
    elif kind == TIED:
        numbers[:] = 0.5
    elif kind == POOLED:
        numbers = np.cumsum(generator.exponential(STRENGTH, shape), axis=-1)
        numbers = generator.permuted(numbers, axis=-1)
    return np.ascontiguousarray(numbers, dtype)


def output_gradient(shape: Shape, dtype: str) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(dtype)


class Key(NamedTuple):
    library: str
    function: str
    operation: str
    threads: int


@dataclass(frozen=True)
class Settings:
    peer: Torchsort | None
    shapes: Sequence[Shape]
    dtypes: Sequence[str]
    rows: Sequence[str]
    threads: Sequence[int]
    budget: float


def own_call(
    function: Function, operation: str, x: np.ndarray, grad: np.ndarray, strength: float = STRENGTH
) -> Callable[[], Any]:
    """The result is the value, the value with its residuals, or the value with the gradient."""
    options = {
        "regularization": function.regularization,
        "regularization_strength": strength,
    }
    if operation == VALUE:
        return partial(getattr(pysig, function.name), x, **options)
    forward = partial(getattr(pysig, f"{function.name}_forward"), x, **options)
    if operation == FORWARD:
        return forward
    return partial(own_forward_backward, forward, getattr(pysig, f"{function.name}_backward"), grad)


def own_forward_backward(
    forward: Callable[[], Any], backward: Callable[..., Any], grad: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    value, residuals = forward()
    return value, backward(residuals, grad)


class Torchsort:
    """Called with tensors that are there before, so that no conversion is timed."""

    name = "torchsort"
    wanted = "0.1.10"

    def __init__(self) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.module: Any = importlib.import_module(self.name)

    def set_num_threads(self, threads: int) -> None:
        self.torch.set_num_threads(threads)

    def call(
        self,
        function: Function,
        operation: str,
        x: np.ndarray,
        grad: np.ndarray,
        strength: float = STRENGTH,
    ) -> Callable[[], Any]:
        tensor = self.torch.from_numpy(x)
        if operation != VALUE:
            tensor = tensor.clone().requires_grad_()
        forward = partial(
            getattr(self.module, function.name),
            tensor,
            regularization=function.regularization,
            regularization_strength=strength,
        )
        if operation != BOTH:
            return forward
        return partial(self.forward_backward, forward, tensor, self.torch.from_numpy(grad))

    def forward_backward(
        self, forward: Callable[[], Any], tensor: Any, grad: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        value = forward()
        (gradient,) = self.torch.autograd.grad(value, tensor, grad)
        return value.detach().numpy(), gradient.numpy()


def installed_peer() -> tuple[Torchsort | None, dict[str, str]]:
    """torchsort if it can be imported, and remarks for the report."""
    name = Torchsort.name
    try:
        peer = Torchsort()
    except ImportError as error:
        return None, {name: f"MISSING, all comparisons with it are left out ({error})"}
    version = importlib.metadata.version(name)
    remark = version if version == peer.wanted else f"{version}, NOT {peer.wanted}"
    return peer, {name: remark, "torch": peer.torch.__version__}
