"""The functions of pysig, called with the arrays of the library that the fixture `xp` chooses.

Tests that write ``import arrays as pysig`` and use the fixture give NumPy arrays and get NumPy
arrays. With CuPy, every call here moves the arrays to the device, checks that the results have
stayed there and that nothing has waited for the device meanwhile, and moves them back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import cuda_on_cpu
import numpy as np

import pysig

# What refers to arrays of a residual, and what stays on the host.
ON_THE_HOST = {"lengths", "q", "residuals", "term", "words"}
library: Any = np


@contextlib.contextmanager
def use(xp: Any) -> Iterator[None]:
    """Let the functions use the arrays of numpy or cupy."""
    global library
    before, library = library, xp
    try:
        yield
    finally:
        library = before


def __getattr__(name: str) -> Any:
    """Return a public name of pysig; a function such that it converts arrays."""
    value = getattr(pysig, name)
    if library is np or isinstance(value, type) or not callable(value):
        return value
    return with_arrays_of(library, value)


def with_arrays_of(xp: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes and gives NumPy arrays, though `function` has those of xp."""

    def call(*args: Any, **kwargs: Any) -> Any:
        moved = [to_library(xp, value) for value in args]
        moved_options = {
            name: value if name in ON_THE_HOST else to_library(xp, value)
            for name, value in kwargs.items()
        }
        with cuda_on_cpu.no_synchronization():
            result = function(*moved, **moved_options)
        return to_numpy(xp, result)

    return call


def to_library(xp: Any, value: Any) -> Any:
    """Return an array, or a list of numbers, as an array of xp."""
    return xp.asarray(np.asarray(value)) if isinstance(value, np.ndarray | list) else value


def to_numpy(xp: Any, value: Any) -> Any:
    """Return a result with NumPy arrays; residuals are left alone."""
    assert not isinstance(value, np.ndarray), "a result has left the device"
    if isinstance(value, xp.ndarray):
        return xp.asnumpy(value)
    if isinstance(value, tuple) and not type(value).__name__.endswith("Residuals"):
        items = [to_numpy(xp, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
