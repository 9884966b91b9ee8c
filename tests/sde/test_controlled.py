"""Controlled equations: exact gradients, and signatures as solutions of linear ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import sde_reference as reference

import pysig

BATCH, D, C, POINTS = 2, 3, 2, 6
METHODS = ["reversible_heun", "heun", "midpoint", "euler"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dt", [None, 0.4, 0.13])
@pytest.mark.parametrize("ts", [None, [0.1, 0.6, 1.7]])
def test_gradients(method, dt, ts, rng):
    field = reference.General(rng.normal(size=(D, D * C)), C)
    y0, path = rng.normal(size=(BATCH, D)), rng.normal(size=(BATCH, POINTS, C))
    times = np.array([0, 0.3, 0.5, 1.1, 1.4, 2.0])
    ys, residuals = pysig.cdeint_forward(field, y0, path, times=times, ts=ts, dt=dt, method=method)
    assert_array_equal(residuals.times[residuals.outputs], times if ts is None else ts)
    for time in times[(times > residuals.times[0]) & (times < residuals.times[-1])]:
        assert time in residuals.times
    assert dt is None or np.diff(residuals.times).max() <= dt * (1 + 1e-9)
    # The matrix that interpolates: the increments are its product with the points.
    hats = np.array([np.interp(residuals.times, times, row) for row in np.eye(POINTS)])
    weights = rng.normal(size=ys.shape)

    def loss(perturbed):
        start, parameters, points = perturbed
        increments = np.diff(np.einsum("pk,...pc->k...c", hats, points), axis=0)
        solution = reference.solve(
            method,
            lambda t, y: 0 * y,
            lambda t, y: field.plain(parameters, t, y),
            "general",
            start,
            residuals.times,
            increments,
        )
        return sum(
            (solution[k] * row).sum((-1, -2))
            for k, row in zip(residuals.outputs, weights, strict=True)
        )

    arrays = [y0, field.parameters, path]
    assert_allclose((ys * weights).sum(), loss(arrays), rtol=1e-12)
    found = pysig.cdeint_backward(residuals, weights)
    for one, other in zip(found, reference.gradients(loss, arrays), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= 2e-13 * np.abs(other).max()
    assert_array_equal(ys, pysig.cdeint(field, y0, path, times=times, ts=ts, dt=dt, method=method))


def test_signature(rng):
    """The signature S solves dS = S ⊗ dX; here up to the words of two letters."""
    path = rng.normal(size=(5, 2)).cumsum(0)

    def field(t, y):
        value = np.zeros((6, 2))
        for i in range(2):
            value[i, i] = 1
            value[2 + i, i], value[4 + i, i] = y[0], y[1]
        return value

    ys = pysig.cdeint(field, np.zeros(6), path, method="heun")
    assert_allclose(ys[-1], pysig.signature(path, depth=2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_order(method):
    times = np.linspace(0, 1, 3)
    path = np.array([[0.0, 1.0], [0.5, -1.0], [1.5, 0.5]])

    def field(t, y):
        return np.stack([np.sin(y[::-1]), np.cos(y) * t], axis=-1)

    def solve(dt, method):
        return pysig.cdeint(field, np.array([0.3, 1.0]), path, times=times, dt=dt, method=method)[
            -1
        ]

    exact = solve(1e-3, "midpoint")
    errors = [np.abs(solve(dt, method) - exact).max() for dt in (0.05, 0.025)]
    order = 1 if method == "euler" else 2
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"path": np.zeros((2, 5, 2))}, "path must have the shape"),
        ({"path": np.zeros((1, 2))}, "path must have the shape"),
        ({"times": [0, 1]}, r"times must have the shape \(5,\)"),
        ({"times": [0, 1, 1, 2, 3]}, "times must rise strictly"),
        ({"ts": [0, 5]}, r"ts must be from 0\.0 to 4\.0"),
        ({"dt": -1}, "dt must be above 0"),
        ({"method": "milstein"}, "method must be one of"),
        ({"field": lambda t, y: np.zeros(3)}, r"must return the shape \(3, 2\)"),
    ],
)
def test_refused(options, match):
    arguments = {
        "field": lambda t, y: np.zeros((3, 2)),
        "y0": np.zeros(3),
        "path": np.zeros((5, 2)),
    }
    with pytest.raises(ValueError, match=match):
        pysig.cdeint(**{**arguments, **options})
