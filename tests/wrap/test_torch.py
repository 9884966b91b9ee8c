"""pysig.wrap.torch: with torchsde's own solvers where torchsde is there, and alone."""

from __future__ import annotations

import importlib
import os

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pysig


def framework(name):
    """Import a framework; without it skip the test, or fail where frameworks are required."""
    if os.environ.get("PYSIG_REQUIRE_FRAMEWORKS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


@pytest.fixture
def torch():
    return framework("torch")


@pytest.fixture
def wrap(torch):
    return importlib.import_module("pysig.wrap.torch")


@pytest.mark.parametrize("levy_area", ["none", "space-time", "davie", "foster"])
def test_increments_are_those_of_pysig(torch, wrap, levy_area):
    bm = wrap.BrownianInterval(
        0, 2, size=(5, 3), dtype=torch.float64, entropy=4, levy_area_approximation=levy_area
    )
    interval = pysig.BrownianInterval(
        0, 2, (5, 3), seed=4, levy_area=None if levy_area == "none" else levy_area
    )
    increment = interval(0.5, 1.75)
    if levy_area == "none":
        assert_array_equal(bm(0.5, torch.tensor(1.75)).numpy(), increment)
        with pytest.raises(ValueError, match="return_U needs"):
            bm(0.5, 1.75, return_U=True)
        return
    w, u = bm(0.5, 1.75, return_U=True)
    assert_array_equal(w.numpy(), increment.W)
    assert_allclose(u.numpy(), 1.25 * (increment.W / 2 + increment.H), rtol=1e-15)
    if levy_area == "space-time":
        with pytest.raises(ValueError, match="return_A needs"):
            bm(0.5, 1.75, return_A=True)
    else:
        assert_array_equal(bm(0.5, 1.75, return_A=True)[1].numpy(), increment.A)
        assert len(bm(0.5, 1.75, return_U=True, return_A=True)) == 3


def test_attributes(torch, wrap):
    bm = wrap.BrownianInterval(0, 1, size=(5, 3))
    assert bm.size() == bm.shape == torch.Size([5, 3])
    assert bm(0.5).dtype == bm.dtype == torch.float32
    assert bm.device.type == "cpu"
    given = torch.ones(5, 3, dtype=torch.float64)
    assert_allclose(wrap.BrownianInterval(0, 1, W=given)(0, 1).numpy(), np.ones((5, 3)))
    with pytest.raises(ValueError, match="size must be given"):
        wrap.BrownianInterval(0, 1)
    with pytest.raises(ValueError, match="levy_area_approximation must be"):
        wrap.BrownianInterval(0, 1, (5, 3), levy_area_approximation="full")


def test_times_in_float32(torch, wrap):
    """Ends that have been rounded to float32 are the ends."""
    bm = wrap.BrownianInterval(0, 14.614644, size=(2, 1), entropy=1)
    late = torch.tensor(14.614644, dtype=torch.float32)
    assert_array_equal(bm(0, late).numpy(), bm(0, 14.614644).numpy())


METHODS = [
    ("euler", "ito", "diagonal", "none"),
    ("milstein", "ito", "diagonal", "none"),
    ("srk", "ito", "diagonal", "space-time"),
    ("midpoint", "stratonovich", "diagonal", "none"),
    ("heun", "stratonovich", "diagonal", "none"),
    ("reversible_heun", "stratonovich", "general", "none"),
    ("log_ode", "stratonovich", "general", "foster"),
]


@pytest.mark.parametrize(("method", "kind", "noise", "levy_area"), METHODS)
def test_solvers_of_torchsde(torch, wrap, method, kind, noise, levy_area):
    """Every solver runs, and its steps add up to the solution for constant coefficients."""
    torchsde = framework("torchsde")

    class Constant(torch.nn.Module):
        sde_type, noise_type = kind, noise

        def f(self, t, y):
            return torch.full_like(y, 0.5)

        def g(self, t, y):
            matrix = torch.tensor([[1.0, 0.3], [-0.2, 0.8]], dtype=y.dtype)
            return torch.full_like(y, 2.0) if noise == "diagonal" else matrix.expand(len(y), 2, 2)

    bm = wrap.BrownianInterval(
        0, 1, size=(6, 2), dtype=torch.float64, entropy=3, levy_area_approximation=levy_area
    )
    y0 = torch.zeros(6, 2, dtype=torch.float64)
    ts = torch.tensor([0, 0.5, 1], dtype=torch.float64)
    ys = torchsde.sdeint(Constant(), y0, ts, bm=bm, dt=0.125, method=method)
    factor = 2 * np.eye(2) if noise == "diagonal" else np.array([[1, 0.3], [-0.2, 0.8]])
    wanted = 0.5 + bm(0, 1).numpy() @ factor.T
    assert_allclose(ys[-1].numpy(), wanted, rtol=0, atol=1e-12)


def test_adjoint_of_torchsde(torch, wrap):
    """The backward solve asks for the same increments again, in reverse."""
    torchsde = framework("torchsde")

    class Linear(torch.nn.Module):
        sde_type, noise_type = "stratonovich", "diagonal"

        def __init__(self):
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

        def f(self, t, y):
            return -self.rate * y

        def g(self, t, y):
            return 0.2 * y

    gradients = []
    for solve, method in [
        (torchsde.sdeint, {}),
        (torchsde.sdeint_adjoint, {"adjoint_method": "adjoint_reversible_heun"}),
    ]:
        sde = Linear()
        bm = wrap.BrownianInterval(0, 1, size=(6, 2), dtype=torch.float64, entropy=3)
        y0 = torch.ones(6, 2, dtype=torch.float64)
        ts = torch.tensor([0, 1], dtype=torch.float64)
        ys = solve(sde, y0, ts, bm=bm, dt=0.125, method="reversible_heun", **method)
        ys[-1].sum().backward()
        gradients.append(float(sde.rate.grad))
    assert_allclose(gradients[1], gradients[0], rtol=1e-13)


# What torchsde calls the method, the sense of the equation, and pysig's name.
SOLVERS = [
    ("euler", "ito", "euler"),
    ("milstein", "ito", "milstein"),
    ("srk", "ito", "srk"),
    ("euler_heun", "stratonovich", "euler_heun"),
    ("heun", "stratonovich", "heun"),
    ("midpoint", "stratonovich", "midpoint"),
    ("reversible_heun", "stratonovich", "reversible_heun"),
]


@pytest.mark.parametrize("noise", ["diagonal", "scalar", "additive", "general"])
@pytest.mark.parametrize(("solver", "sense", "method"), SOLVERS)
def test_steps_are_those_of_torchsde(torch, wrap, solver, sense, method, noise):
    """Step by step, along the same Brownian path; steps of 1/8 are exact in both."""
    if method in ("milstein", "srk") and noise == "general":
        return  # refused by both
    if method == "srk" and noise != "additive":
        return  # the same order, but another scheme
    torchsde = framework("torchsde")
    batch, d, m = 4, 3, {"diagonal": 3, "scalar": 1}.get(noise, 2)
    C = np.linspace(0.1, 0.6, d * m).reshape(d, m)

    def diffusion(xp, t, y):
        if noise in ("diagonal", "scalar"):
            return 0.3 + 0.2 * xp.sin(y + t)
        if noise == "additive":
            return (1 + t) * (xp.zeros_like(y)[..., None] + xp.asarray(C))
        return xp.cos(y)[..., None] * xp.asarray(C) + 0.1 * t

    class Equation(torch.nn.Module):
        noise_type, sde_type = noise, sense

        def f(self, t, y):
            return torch.sin(y) * t - y

        def g(self, t, y):
            value = diffusion(torch, t, y)
            return value[..., None] if noise == "scalar" else value

    levy_area = "space-time" if method == "srk" else "none"
    options = {"size": (batch, m), "dtype": torch.float64, "entropy": 3}
    bm = wrap.BrownianInterval(0, 1, levy_area_approximation=levy_area, **options)
    ts, y0 = np.linspace(0, 1, 9), np.linspace(-1, 1, batch * d).reshape(batch, d)
    wanted = torchsde.sdeint(
        Equation(), torch.asarray(y0), torch.asarray(ts), bm=bm, dt=1 / 8, method=solver,
        options={"grad_free": True} if method == "milstein" else None,
    )  # fmt: skip
    ys = pysig.sdeint(
        lambda t, y: np.sin(y) * t - y,
        lambda t, y: diffusion(np, t, y),
        y0,
        ts,
        bm.interval,
        dt=1 / 8,
        method=method,
        noise=noise,
    )
    assert_allclose(ys, wanted.numpy(), rtol=1e-13, atol=1e-14)
