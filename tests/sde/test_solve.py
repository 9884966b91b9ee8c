"""Solvers: values against plain formulae, exact gradients, and what is refused."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import sde_reference as reference

import pysig
from pysig.sde.steps import fixed_steps

STRATONOVICH = ["reversible_heun", "heun", "midpoint", "euler_heun"]
ITO = ["euler", "milstein", "srk"]
NOISES = ["diagonal", "scalar", "additive", "general"]
CASES = [
    (method, noise)
    for method in STRATONOVICH + ITO
    for noise in NOISES
    if noise != "general" or method not in ("milstein", "srk")
]
BATCH, D, M = 2, 3, 2
EPS = np.finfo(float).eps


def noise_shape(noise):
    """Return the shape of the Brownian motion."""
    return {"diagonal": (BATCH, D), "scalar": (BATCH, 1)}.get(noise, (BATCH, M))


def make_fields(noise, rng):
    """Return a drift and a diffusion."""
    drift = reference.Drift(rng.normal(size=(D, D)) / 2, rng.normal(size=D))
    if noise in ("diagonal", "scalar"):
        return drift, reference.Diagonal(rng.normal(size=D))
    if noise == "additive":
        return drift, reference.Additive(rng.normal(size=(D, M)) / 2)
    return drift, reference.General(rng.normal(size=(D, D * M)), M)


def make_brownian(noise, method, steps=100, **options):
    """Return the noise of a method."""
    area = "space-time" if method == "srk" else None
    return pysig.BrownianInterval(
        0, 1, noise_shape(noise), seed=3, levy_area=area, tolerance=1 / steps, **options
    )


def solve_plainly(method, noise, drift, diffusion, arrays, times, increments):
    """Return the reference's solution; the arrays are those of y0 and both fields, and W."""
    y0, *others, W = arrays
    drift_parameters = reference.with_leaves(drift.parameters, others)
    diffusion_parameters = reference.with_leaves(diffusion.parameters, others)
    if method == "srk" and noise == "additive":
        method = "sra"
    if method == "milstein" and noise == "additive":
        method = "euler"
    return reference.solve(
        method,
        lambda t, y: drift.plain(drift_parameters, t, y),
        lambda t, y: diffusion.plain(diffusion_parameters, t, y),
        noise,
        y0,
        times,
        np.moveaxis(W, -3, 0),
        increments[1] if isinstance(increments, tuple) else None,
    )


def check_gradients(method, noise, ts, dt, rng, *, with_noise=False, bound=1e-13, **options):
    """Compare values and all gradients with the reference."""
    drift, diffusion = make_fields(noise, rng)
    y0 = rng.normal(size=(BATCH, D))
    brownian = make_brownian(noise, method, 100_000)
    ys, residuals = pysig.sdeint_forward(
        drift, diffusion, y0, ts, brownian, dt=dt, method=method, noise=noise, **options
    )
    assert_array_equal(residuals.times[residuals.outputs], ts)
    increments = brownian.increments(residuals.times)
    W = increments[0] if isinstance(increments, tuple) else increments
    arrays = [y0, *reference.leaves(drift.parameters), *reference.leaves(diffusion.parameters)]
    weights = rng.normal(size=ys.shape)

    def loss(perturbed):
        if not with_noise:
            perturbed = [*perturbed, W]
        solution = solve_plainly(
            method, noise, drift, diffusion, perturbed, residuals.times, increments
        )
        total = 0
        for row, k in enumerate(residuals.outputs):
            total = total + (solution[k] * weights[row]).sum((-1, -2))
        return total

    plain = solve_plainly(
        method, noise, drift, diffusion, [*arrays, W], residuals.times, increments
    )
    assert_allclose(ys, [plain[k] for k in residuals.outputs], rtol=bound, atol=bound)
    wanted = reference.gradients(loss, [*arrays, W] if with_noise else arrays)
    result = pysig.sdeint_backward(residuals, weights, noise_gradient=with_noise)
    found = reference.leaves(result[:3])
    if with_noise:
        found.append(result.noise[0] if isinstance(result.noise, tuple) else result.noise)
    else:
        assert result.noise is None
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() <= bound * np.abs(other).max()
    return result


@pytest.mark.parametrize(("method", "noise"), CASES)
def test_gradients(method, noise, rng):
    check_gradients(method, noise, [0, 0.1, 0.55, 1], 0.15, rng, with_noise=True)


@pytest.mark.parametrize("dt", [0.1, 0.3, 0.01, 1.0])
@pytest.mark.parametrize("ts", [[0, 1], [0, 0.25, 1], [0, 0.1, 0.3, 0.7, 0.95]])
@pytest.mark.parametrize("noise", ["diagonal", "general"])
def test_reversible_gradients_of_any_steps(ts, dt, noise, rng):
    check_gradients("reversible_heun", noise, ts, dt, rng)


@pytest.mark.parametrize("steps", [1, 2, 10, 100, 1000, 10_000])
def test_reversible_gradients_of_many_steps(steps, rng):
    check_gradients("reversible_heun", "diagonal", [0, 1], 1 / steps, rng)


@pytest.mark.parametrize("checkpoints", [1, 2, 3, 7, 100])
def test_stored_states(checkpoints, rng):
    seed = rng.integers(1 << 30)
    first = check_gradients(
        "heun", "general", [0, 0.3, 1], 0.05, np.random.default_rng(seed), checkpoints=checkpoints
    )
    second = check_gradients("heun", "general", [0, 0.3, 1], 0.05, np.random.default_rng(seed))
    for one, other in zip(reference.leaves(first[:3]), reference.leaves(second[:3]), strict=True):
        assert_array_equal(one, other)


def test_number_of_stored_states(rng):
    drift, diffusion = make_fields("diagonal", rng)
    y0, brownian = np.ones((BATCH, D)), make_brownian("diagonal", "heun")
    for checkpoints, stored in [(None, 10), (1, 1), (4, 4), (7, 7), (1000, 100)]:
        residuals = pysig.sdeint_forward(
            drift, diffusion, y0, [0, 1], brownian, dt=0.01, method="heun", checkpoints=checkpoints
        )[1]
        assert len(residuals.states) == stored


@pytest.mark.parametrize("damping", [1.0, 0.9, 0.75])
@pytest.mark.parametrize(("ts", "dt"), [([0, 0.3, 1], 0.3), ([0, 0.25, 1], 0.1), ([0, 1], 0.01)])
def test_leapfrog(ts, dt, damping, rng):
    drift, _ = make_fields("diagonal", rng)
    y0 = rng.normal(size=(BATCH, D))
    ys, residuals = pysig.sdeint_forward(
        drift, None, y0, ts, None, dt=dt, method="asynchronous_leapfrog", damping=damping
    )
    weights = rng.normal(size=ys.shape)
    rows = dict(zip(residuals.outputs.tolist(), weights, strict=True))

    def loss(perturbed):
        start, *others = perturbed
        parameters = reference.with_leaves(drift.parameters, others)
        solution = reference.leapfrog(
            lambda t, y: drift.plain(parameters, t, y), start, residuals.times, damping
        )
        return sum((solution[k] * row).sum((-1, -2)) for k, row in rows.items())

    arrays = [y0, *reference.leaves(drift.parameters)]
    result = pysig.sdeint_backward(residuals, weights)
    for one, other in zip(
        reference.leaves(result[:3]), reference.gradients(loss, arrays), strict=True
    ):
        assert np.abs(one - other).max() <= 1e-13 * np.abs(other).max()
    assert result.diffusion_parameters is None
    assert_allclose((ys * weights).sum(), loss(arrays), rtol=1e-13)


@pytest.mark.parametrize(("damping", "most"), [(1.0, 10_000), (0.8, 1000)])
def test_leapfrog_of_many_steps(damping, most, rng):
    drift, _ = make_fields("diagonal", rng)
    y0 = rng.normal(size=(BATCH, D))
    for steps in (1, 10, most):
        _, residuals = pysig.sdeint_forward(
            drift,
            None,
            y0,
            [0, 1],
            None,
            dt=1 / steps,
            method="asynchronous_leapfrog",
            damping=damping,
        )

        def loss(perturbed, times=residuals.times):
            parameters = reference.with_leaves(drift.parameters, perturbed[1:])
            solution = reference.leapfrog(
                lambda t, y: drift.plain(parameters, t, y), perturbed[0], times, damping
            )
            return solution[-1].sum((-1, -2))

        arrays = [y0, *reference.leaves(drift.parameters)]
        weights = np.stack([np.zeros_like(y0), np.ones_like(y0)])
        found = reference.leaves(pysig.sdeint_backward(residuals, weights)[:3])
        for one, other in zip(found, reference.gradients(loss, arrays), strict=True):
            assert np.abs(one - other).max() <= 1e-13 * np.abs(other).max()


class Counting:
    """A field that counts how often it is evaluated."""

    def __init__(self, field):
        self.field, self.count = field, 0

    def forward(self, t, y):
        self.count += 1
        return self.field.forward(t, y)

    def backward(self, residuals, grad):
        return self.field.backward(residuals, grad)


@pytest.mark.parametrize("method", ["reversible_heun", "asynchronous_leapfrog"])
def test_evaluations(method, rng):
    drift, diffusion = (Counting(field) for field in make_fields("diagonal", rng))
    brownian = make_brownian("diagonal", method)
    if method == "asynchronous_leapfrog":
        diffusion = brownian = None
    y0 = np.ones((BATCH, D))
    ys, residuals = pysig.sdeint_forward(
        drift, diffusion, y0, [0, 0.5, 1], brownian, dt=0.1, method=method
    )
    assert drift.count == 11
    pysig.sdeint_backward(residuals, np.ones_like(ys))
    assert drift.count == 22
    assert diffusion is None or diffusion.count == 22


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_undone(dtype, rng):
    drift, diffusion = make_fields("diagonal", rng)
    starts = []

    class Watching(Counting):
        def forward(self, t, y):
            if t == 0:
                starts.append(y)
            value, residuals = self.field.forward(t, y)
            return value.astype(dtype), residuals

        def backward(self, residuals, grad):
            grad_y, grad_parameters = self.field.backward(residuals, grad)
            return grad_y.astype(dtype), grad_parameters

    y0 = rng.normal(size=(BATCH, D)).astype(dtype)
    brownian = pysig.BrownianInterval(0, 1, y0.shape, seed=1, dtype=dtype)
    ys, residuals = pysig.sdeint_forward(
        Watching(drift), Watching(diffusion), y0, [0, 1], brownian, dt=1e-3
    )
    assert ys.dtype == dtype
    gradients = pysig.sdeint_backward(residuals, np.ones_like(ys))
    assert gradients.y0.dtype == dtype
    assert_allclose(starts[-1], y0, rtol=0, atol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("method", ["reversible_heun", "asynchronous_leapfrog"])
def test_memory_does_not_grow(method, rng):
    class Field:
        def forward(self, t, y):
            return 0.1 * y, y

        def backward(self, y, grad):
            return 0.1 * grad, (grad * y).sum()

    y0 = rng.normal(size=4000)
    w = rng.normal(size=y0.shape) / 1000
    diffusion, brownian = Field(), lambda start, end: w
    if method == "asynchronous_leapfrog":
        diffusion = brownian = None

    def peak(steps):
        ys, residuals = pysig.sdeint_forward(
            Field(), diffusion, y0, [0, 1], brownian, dt=1 / steps, method=method
        )
        tracemalloc.start()
        pysig.sdeint_backward(residuals, ys)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(2)
    few, many = peak(10), peak(10_000)
    assert many - few < 50 * 10_000  # their times
    assert few < 25 * y0.nbytes


def test_steps():
    for dt in (0.1, 0.3, 0.01, 1e-3, 0.07, 2.0):
        for ts in ([0.0, 1.0], [0.0, 0.25, 1.0], [-0.3, 0.1, 0.7, 0.95], [1e3, 1e3 + 1]):
            ts = np.array(ts)
            times, outputs = fixed_steps(ts, dt)
            assert_array_equal(times[outputs], ts)
            steps = np.diff(times)
            assert np.all(steps > 0)
            assert np.all(steps <= dt * (1 + 1e-8) + 8 * EPS * np.abs(ts).max())
            assert_array_equal(np.diff(outputs), np.ceil(np.diff(ts) / dt - 1e-6))


def test_pickled_residuals(rng):
    drift, diffusion = make_fields("diagonal", rng)
    brownian = make_brownian("diagonal", "heun")
    for method in ("reversible_heun", "heun"):
        ys, residuals = pysig.sdeint_forward(
            drift, diffusion, np.ones((BATCH, D)), [0, 1], brownian, dt=0.1, method=method
        )
        again = pickle.loads(pickle.dumps(residuals))
        one, other = (pysig.sdeint_backward(r, np.ones_like(ys)) for r in (residuals, again))
        for first, second in zip(
            reference.leaves(one[:3]), reference.leaves(other[:3]), strict=True
        ):
            assert_array_equal(first, second)


class Rounded:
    """A Brownian motion with increments of another type; a callable is enough for the solvers."""

    def __init__(self, brownian, dtype):
        self.brownian, self.dtype = brownian, dtype

    def __call__(self, start, end):
        increment = self.brownian(start, end)
        if isinstance(increment, tuple):
            return type(increment)(*(part.astype(self.dtype) for part in increment))
        return increment.astype(self.dtype)


@pytest.mark.parametrize(("method", "noise"), CASES)
def test_single_precision(method, noise, rng):
    """Nothing becomes float64 on the way, and results are those of float64 to rounding."""
    drift, diffusion = make_fields(noise, rng)
    y0 = rng.normal(size=(BATCH, D))
    single = [copy.copy(field) for field in (drift, diffusion)]
    for field in single:
        arrays = [array.astype(np.float32) for array in reference.leaves(field.parameters)]
        field.parameters = reference.with_leaves(field.parameters, arrays)
    results = []
    for fields, dtype in ((single, np.float32), ((drift, diffusion), np.float64)):
        brownian = Rounded(make_brownian(noise, method), dtype)
        ys, residuals = pysig.sdeint_forward(
            fields[0], fields[1], y0.astype(dtype), [0, 0.3, 1], brownian, dt=0.1,
            method=method, noise=noise,
        )  # fmt: skip
        gradients = pysig.sdeint_backward(residuals, np.ones_like(ys), noise_gradient=True)
        arrays = [ys, *reference.leaves(tuple(gradients))]
        assert all(array.dtype == dtype for array in arrays)
        results.append(arrays)
    for one, other in zip(*results, strict=True):
        assert np.abs(one - other).max() <= 2e-5 * np.abs(other).max()


@pytest.mark.parametrize("noise", ["diagonal", "scalar", "additive"])
def test_gradient_of_the_area(noise, rng):
    """The second part of the gradient of the noise is that with respect to H."""
    drift, diffusion = make_fields(noise, rng)
    y0, brownian = rng.normal(size=(BATCH, D)), make_brownian(noise, "srk")
    ys, residuals = pysig.sdeint_forward(
        drift, diffusion, y0, [0, 0.4, 1], brownian, dt=0.2, method="srk", noise=noise
    )
    increments: Any = brownian.increments(residuals.times)
    W, H = increments
    weights = rng.normal(size=ys.shape)

    def loss(perturbed):
        solution = reference.solve(
            "sra" if noise == "additive" else "srk",
            lambda t, y: drift.plain(drift.parameters, t, y),
            lambda t, y: diffusion.plain(diffusion.parameters, t, y),
            noise,
            y0,
            residuals.times,
            W,
            np.moveaxis(perturbed[0], -3, 0),
        )
        rows = zip(residuals.outputs, weights, strict=True)
        return sum((solution[k] * row).sum((-1, -2)) for k, row in rows)

    (wanted,) = reference.gradients(loss, [H])
    found = pysig.sdeint_backward(residuals, weights, noise_gradient=True).noise[1]
    assert np.abs(found - wanted).max() <= 1e-13 * np.abs(wanted).max()
