"""Agreement with diffrax where there is no noise; its results are what ``make_peers.py`` stored.

With noise, `tests/wrap/test_torch.py` compares steps with torchsde's, for the same Brownian motion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import pysig

PEERS = np.load(Path(__file__).with_name("peers.npz"), allow_pickle=False)


def drift(t, y):
    return np.tanh(y @ PEERS["A"].T + PEERS["b"]) * np.cos(t) - y / 5


@pytest.mark.parametrize("method", ["euler", "heun", "midpoint", "reversible_heun"])
def test_steps_are_those_of_diffrax(method):
    """At the ends of all steps, which are uneven; no noise is the limit of small noise."""
    times = PEERS["times"]
    ys = pysig.sdeint(drift, None, PEERS["y0"], times, None, dt=1, method=method)
    assert_allclose(ys, PEERS[method], rtol=1e-13, atol=1e-14)
    motion = pysig.BrownianInterval(0, times[-1], 3, seed=1)
    noisy = pysig.sdeint(
        drift, lambda t, y: 1e-9 * y, PEERS["y0"], times, motion, dt=1, method=method
    )
    assert_allclose(noisy, PEERS[method], rtol=0, atol=1e-7)


def test_steps_between_outputs_are_those_of_diffrax():
    """dt divides the intervals between outputs as `make_peers.py` has divided them."""
    rows = np.searchsorted(PEERS["times"], PEERS["ts"])
    ys = pysig.sdeint(drift, None, PEERS["y0"], PEERS["ts"], None, dt=0.12, method="heun")
    assert_allclose(ys, PEERS["heun"][rows], rtol=1e-13, atol=1e-14)
