"""Set-up for the tests of the executor and of the double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import cuda_on_cpu
from cuda_on_cpu.executor import Function, Module, Order

ORDERS = [Order("forward"), Order("reverse"), Order("shuffled", 1), Order("shuffled", 2)]


@pytest.fixture(autouse=True)
def compiler() -> None:
    """Skip the test where no kernel can be compiled."""
    reason = cuda_on_cpu.unavailable()
    if reason:
        pytest.skip(reason)


@pytest.fixture(params=ORDERS, ids=lambda order: f"{order.name}{order.seed or ''}")
def order(request: pytest.FixtureRequest) -> Order:
    """Return each order in turn."""
    return request.param


@pytest.fixture
def orders() -> list[Order]:
    """Return all orders."""
    return ORDERS


@pytest.fixture
def kernel() -> Callable[..., Function]:
    """Return a function that compiles a kernel: the first one, or that of a name expression."""

    def compile(code: str, name: str | None = None, options: tuple[str, ...] = ()) -> Function:
        module = Module(code, options, () if name is None else (name,))
        return module.functions[name] if name else next(iter(module.functions.values()))

    return compile


@pytest.fixture
def double() -> Any:
    """Return the double of CuPy; skip the test where CuPy itself is used."""
    cupy = cuda_on_cpu.activate()
    if not cuda_on_cpu.is_double(cupy):
        pytest.skip("there is a GPU")
    return cupy
