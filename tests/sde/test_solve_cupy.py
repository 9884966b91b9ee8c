"""Solvers on arrays of CuPy: the same numbers as with NumPy's, without waiting for the device."""

from __future__ import annotations

import cuda_on_cpu
import numpy as np
import pytest
from numpy.testing import assert_allclose

import pysig

BATCH, D, M = 3, 2, 2
CASES = [
    ("reversible_heun", "diagonal"),
    ("reversible_heun", "general"),
    ("heun", "scalar"),
    ("midpoint", "additive"),
    ("milstein", "diagonal"),
    ("srk", "diagonal"),
    ("srk", "additive"),
    ("asynchronous_leapfrog", "diagonal"),
]


class Decay:
    """A drift with the rates as parameters."""

    def __init__(self, rates):
        self.rates = rates

    def forward(self, t, y):
        return -(1 + t) * self.rates * y, (t, y)

    def backward(self, residuals, grad):
        t, y = residuals
        return -(1 + t) * self.rates * grad, -(1 + t) * (grad * y).sum(0)


class Level:
    """A diffusion that is the parameters times y, of which none enters for additive noise."""

    def __init__(self, levels, noise):
        self.levels, self.noise = levels, noise

    def forward(self, t, y):
        if self.noise in ("diagonal", "scalar"):
            return self.levels[0] * y, y
        first = y[..., None] if self.noise == "general" else 0 * y[..., None] + 1
        return first * self.levels, y

    def backward(self, y, grad):
        if self.noise in ("diagonal", "scalar"):
            return self.levels[0] * grad, (grad * y).sum(0)
        if self.noise == "additive":
            return None, grad.sum(0)
        return (grad * self.levels).sum(-1), (grad * y[..., None]).sum(0)


def solve(xp, method, noise):
    """Return the solution and all gradients as NumPy arrays."""
    numbers = np.linspace(0.5, 1.5, BATCH * D).reshape(BATCH, D)
    y0, levels = xp.asarray(numbers), xp.asarray(np.array([[0.3, 0.2], [0.1, 0.4]]))
    diffusion = brownian = None
    if method != "asynchronous_leapfrog":
        shape = {"diagonal": (BATCH, D), "scalar": (BATCH, 1)}.get(noise, (BATCH, M))
        area = "space-time" if method == "srk" else None
        like = None if xp is np else y0
        brownian = pysig.BrownianInterval(0, 1, shape, seed=2, levy_area=area, like=like)
        diffusion = Level(levels, noise)
    drift = Decay(xp.asarray(np.array([0.5, 1.0])))
    grad_ys = xp.asarray(np.cos(np.arange(3.0 * BATCH * D)).reshape(3, BATCH, D))
    with cuda_on_cpu.no_synchronization():
        ys, residuals = pysig.sdeint_forward(
            drift, diffusion, y0, [0, 0.4, 1], brownian, dt=0.2, method=method, noise=noise
        )
        gradients = pysig.sdeint_backward(residuals, grad_ys, noise_gradient=brownian is not None)
    arrays = [ys, *gradients[:3]]
    arrays += gradients.noise if isinstance(gradients.noise, tuple) else [gradients.noise]
    arrays = [array for array in arrays if array is not None]
    assert all(isinstance(array, xp.ndarray) for array in arrays)
    return arrays if xp is np else [xp.asnumpy(array) for array in arrays]


@pytest.mark.parametrize(("method", "noise"), CASES)
def test_solvers(method, noise, xp):
    for one, other in zip(solve(xp, method, noise), solve(np, method, noise), strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_controlled(xp):
    points = np.cos(np.arange(2.0 * BATCH * 5)).reshape(BATCH, 5, 2)
    results = []
    for library in (xp, np):
        field = Level(library.asarray(np.array([[0.3, 0.2], [0.1, 0.4]])), "general")
        y0, path = library.asarray(np.ones((BATCH, 2))), library.asarray(points)
        with cuda_on_cpu.no_synchronization():
            ys, residuals = pysig.cdeint_forward(field, y0, path, dt=0.4)
            gradients = pysig.cdeint_backward(residuals, ys)
        arrays = [ys, *gradients]
        results.append(arrays if library is np else [library.asnumpy(array) for array in arrays])
    for one, other in zip(*results, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_adaptive_and_finite(xp):
    """What waits for the device, and says so."""
    y0 = xp.asarray(np.ones((1, 2)))
    ys = pysig.sdeint(
        lambda t, y: -5 * y, None, y0, [0, 1], None, dt=0.5, method="heun", rtol=1e-3, atol=1e-3
    )
    assert isinstance(ys, xp.ndarray)
    last = ys[1] if xp is np else xp.asnumpy(ys[1])
    assert_allclose(last, np.full((1, 2), np.exp(-5)), atol=3e-3)
    with pytest.raises(FloatingPointError, match="drift at t"):
        pysig.sdeint(
            lambda t, y: y * np.nan, None, y0, [0, 1], None, dt=0.5, method="heun",
            check_finite=True,
        )  # fmt: skip
