"""Set-up shared by all tests."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from typing import Any

import arrays
import cuda_on_cpu
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import pysig

settings.register_profile(
    "default",
    deadline=None,
    max_examples=150,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,  # what they set up is the same for every example
    ],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, max_examples=50)
settings.register_profile("few", settings.get_profile("ci"), max_examples=15)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator of random numbers that is the same for every test and every run."""
    return np.random.default_rng(20240229)


@pytest.fixture
def keep_num_threads() -> Iterator[None]:
    """Restore the number of threads when the test is over."""
    before = pysig.get_num_threads()
    yield
    pysig.set_num_threads(before)


@pytest.fixture(autouse=True)
def keep_subnormal_numbers() -> Iterator[None]:
    """Fail a test after which the processor flushes tiny numbers to zero."""
    yield
    tiny = np.full(3, np.finfo(np.float64).tiny)
    assert np.all(tiny / 2 > 0), "the test has switched subnormal numbers off"


# ------------------------------------------------------------------------------- array libraries


# On a GPU threads run in the GPU's own order. The double has several: tests that are about kernels
# run in each of them; all others in one, which goes round with their names, or with
# PYSIG_EVERY_ORDER=1 in each of them, too.
ORDERS = (
    [pytest.param("gpu", marks=pytest.mark.gpu)]
    if cuda_on_cpu.has_gpu()
    else [pytest.param(order, marks=pytest.mark.cuda_on_cpu) for order in cuda_on_cpu.ORDERS]
)


@contextlib.contextmanager
def cupy_in_order(order: str) -> Iterator[Any]:
    """Give CuPy, or the double with an order in which the threads of a kernel run."""
    reason = cuda_on_cpu.unavailable()
    if reason:
        pytest.skip(reason)
    cupy = cuda_on_cpu.activate()
    with contextlib.nullcontext() if order == "gpu" else cuda_on_cpu.launch_order(order, seed=7):
        yield cupy


@pytest.fixture(params=ORDERS)
def cupy(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give CuPy, in every order."""
    with cupy_in_order(request.param) as cupy:
        yield cupy


XP_ORDERS = (
    ORDERS
    if os.environ.get("PYSIG_EVERY_ORDER") == "1"
    else [pytest.param("cupy", marks=ORDERS[0].marks)]
)


@pytest.fixture(params=["numpy", *XP_ORDERS])
def xp(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give numpy and cupy in turn, which the functions of tests/arrays.py use meanwhile."""
    if request.param == "numpy":
        yield np
        return
    order = request.param
    if order == "cupy":
        number = zlib.crc32(request.node.nodeid.encode())
        order = str(ORDERS[number % len(ORDERS)].values[0])
    with cupy_in_order(order) as cupy, arrays.use(cupy):
        yield cupy
