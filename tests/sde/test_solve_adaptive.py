"""Adaptive steps: errors follow the tolerance, and gradients are those of the steps taken."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import sde_reference as reference

import pysig

METHODS = ["reversible_heun", "heun", "midpoint"]
Y0 = np.array([[1.0, -0.5]])


def fields():
    """Return a drift with a short time scale at t = 0.5, and a diffusion."""

    def drift(t, y):
        return -y + 8 * np.exp(-(((t - 0.5) * 5) ** 2)) * np.sin(y)

    return drift, lambda t, y: 0.2 + 0.1 * np.sin(y)


@pytest.mark.parametrize("method", METHODS)
def test_tolerance(method):
    drift, diffusion = fields()
    brownian = pysig.BrownianInterval(0, 1, Y0.shape, seed=5, exact=True)
    ts = [0, 0.3, 1]
    fine = pysig.sdeint(drift, diffusion, Y0, ts, brownian, dt=1e-4, method="heun")
    errors = []
    for tolerance in (0.01, 1e-3, 1e-4):
        ys = pysig.sdeint(
            drift,
            diffusion,
            Y0,
            ts,
            brownian,
            dt=0.1,
            method=method,
            rtol=tolerance,
            atol=tolerance,
        )
        errors.append(np.abs(ys - fine).max())
    assert errors[2] < 3e-3
    assert errors[2] < errors[0] / 5


@pytest.mark.parametrize("method", ["reversible_heun", "heun", "asynchronous_leapfrog"])
def test_tolerance_of_an_ode(method):
    drift, _ = fields()
    fine = pysig.sdeint(drift, None, Y0, [0, 1], None, dt=1e-4, method="midpoint")
    for tolerance in (1e-2, 1e-4, 1e-6):
        ys = pysig.sdeint(
            drift, None, Y0, [0, 1], None, dt=0.1, method=method, rtol=tolerance, atol=tolerance
        )
        assert np.abs(ys - fine).max() < 10 * tolerance


@pytest.mark.parametrize("checkpoints", [None, 1, 5])
@pytest.mark.parametrize("method", ["reversible_heun", "heun"])
def test_gradients(method, checkpoints, rng):
    """The steps are not equal, some are rejected, and the gradient is exact all the same."""
    drift = reference.Drift(rng.normal(size=(2, 2)) * 3, rng.normal(size=2))
    diffusion = reference.Diagonal(rng.normal(size=2))
    brownian = pysig.BrownianInterval(0, 1, Y0.shape, seed=9, exact=True)
    ts = [0, 0.2, 1]
    ys, residuals = pysig.sdeint_forward(
        drift, diffusion, Y0, ts, brownian, dt=0.5, method=method, rtol=1e-3, atol=1e-3,
        checkpoints=checkpoints,
    )  # fmt: skip
    times = residuals.times
    lengths = np.diff(times)
    assert len(lengths) > 10
    assert lengths.max() > 2 * lengths.min()
    assert_array_equal(times[residuals.outputs], ts)
    if method == "heun":
        limit = checkpoints or 3 * np.sqrt(len(lengths))
        assert len(residuals.states) <= limit
    W = brownian.increments(times)
    weights = rng.normal(size=ys.shape)

    def loss(perturbed):
        y0, A, b, s = perturbed
        solution = reference.solve(
            method,
            lambda t, y: drift.plain({"A": A, "b": b}, t, y),
            lambda t, y: diffusion.plain((s,), t, y),
            "diagonal",
            y0,
            times,
            W,
        )
        return sum(
            (solution[k] * row).sum((-1, -2))
            for k, row in zip(residuals.outputs, weights, strict=True)
        )

    arrays = [Y0, *reference.leaves(drift.parameters), *diffusion.parameters]
    assert_allclose((ys * weights).sum(), loss(arrays), rtol=1e-12)
    found = reference.leaves(pysig.sdeint_backward(residuals, weights)[:3])
    for one, other in zip(found, reference.gradients(loss, arrays), strict=True):
        assert np.abs(one - other).max() <= 1e-12 * np.abs(other).max()


def test_refused():
    drift, diffusion = fields()
    coarse = pysig.BrownianInterval(0, 1, Y0.shape, seed=5)
    exact = pysig.BrownianInterval(0, 1, Y0.shape, seed=5, exact=True)
    for brownian, options, match in [
        (coarse, {"rtol": 0.1, "atol": 0.1}, "brownian must have exact=True"),
        (exact, {"rtol": 0.1}, "both be given"),
        (exact, {"rtol": 0.0, "atol": 0.1}, "rtol must be above 0"),
        (exact, {"rtol": 0.1, "atol": 0.1, "method": "euler"}, "euler, which estimates no error"),
    ]:
        with pytest.raises(ValueError, match=match):
            pysig.sdeint(drift, diffusion, Y0, [0, 1], brownian, dt=0.1, **options)


def test_no_step_is_short_enough():
    options = {"dt": 0.1, "rtol": 1e-2, "atol": 1e-2, "method": "heun"}
    with pytest.raises(FloatingPointError, match=r"not finite after t = .*(\n|.)*in step"):
        pysig.sdeint(lambda t, y: y * np.nan, None, Y0, [0, 1], None, **options)
    with pytest.raises(ValueError, match=r"no step from t = 0\.5"):
        pysig.sdeint(
            lambda t, y: y * 0 + (1e30 if t > 0.5 else 0), None, Y0, [0, 0.5, 1], None, **options
        )
