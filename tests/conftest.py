"""Set-up shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import pysig

settings.register_profile(
    "default",
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
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
