"""Strong and weak orders of the solvers, and where they are stable."""

from __future__ import annotations

import numpy as np
import pytest

import pysig

STEPS = (8, 16, 32, 64)
FINE = 1024
PATHS = 400


def drift(t, y):
    return np.sin(y[..., ::-1]) - y / 2 + t


def diagonal(t, y):
    return 0.5 + 0.5 * np.sin(2 * y + t)


def scalar(t, y):
    return 0.4 * y[..., ::-1] + 0.5


def additive(t, y):
    return np.broadcast_to((1 + t) * np.array([[1.0, -0.5], [0.3, 0.8]]), (*y.shape, 2))


def general(t, y):
    """A matrix whose columns do not commute as vector fields."""
    return np.stack([np.sin(y[..., ::-1]), 0.7 + 0.5 * np.cos(y)], axis=-1)


NOISES = {
    "diagonal": (diagonal, 2),
    "scalar": (scalar, 1),
    "additive": (additive, 2),
    "general": (general, 2),
}
STRATONOVICH = ("reversible_heun", "heun", "midpoint", "euler_heun")
CASES = [
    *((method, noise, 0.5 if noise == "general" else 1.0, "heun")
      for method in STRATONOVICH for noise in NOISES),
    *(("euler", noise, 1.0 if noise == "additive" else 0.5, "euler") for noise in NOISES),
    *(("milstein", noise, 1.0, "srk") for noise in ("diagonal", "scalar", "additive")),
    *(("srk", noise, 1.5, "srk") for noise in ("diagonal", "scalar", "additive")),
]  # fmt: skip
Y0 = np.tile([0.5, -0.3], (PATHS, 1))
references = {}


def solve(method, noise, steps):
    """Solve up to time 1; all methods and numbers of steps have the same noise."""
    diffusion, m = NOISES[noise]
    brownian = pysig.BrownianInterval(
        0, 1, (PATHS, m), seed=8, levy_area="space-time", tolerance=1 / FINE
    )
    return pysig.sdeint(
        drift, diffusion, Y0, [0, 1], brownian, dt=1 / steps, method=method, noise=noise
    )[-1]


def fine_solution(method, noise):
    """Return the solution with many steps."""
    if (method, noise) not in references:
        references[method, noise] = solve(method, noise, FINE)
    return references[method, noise]


@pytest.mark.parametrize(("method", "noise", "order", "fine_method"), CASES)
def test_strong_order(method, noise, order, fine_method):
    exact = fine_solution(fine_method, noise)
    errors = [np.sqrt(np.mean((solve(method, noise, steps) - exact) ** 2)) for steps in STEPS]
    slope = -np.polyfit(np.log(STEPS), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.2)


# ------------------------------------------------------------------------------- weak orders


@pytest.mark.parametrize("method", [*STRATONOVICH, "euler", "milstein"])
def test_weak_order(method):
    """The bias of the second moment of geometric Brownian motion, by paths with the same noise."""
    growth, level, paths = 0.4, 0.4, 20_000
    brownian = pysig.BrownianInterval(0, 1, (paths, 1), seed=4, tolerance=1 / 16)
    ito = level**2 / 2 if method in ("euler", "milstein") else 0
    exact = np.exp(growth - ito + level * np.asarray(brownian(0, 1)))
    biases = []
    for steps in (2, 4, 8):
        ys = pysig.sdeint(
            lambda t, y: growth * y,
            lambda t, y: level * y,
            np.ones((paths, 1)),
            [0, 1],
            brownian,
            dt=1 / steps,
            method=method,
        )
        biases.append(abs(np.mean(ys[-1] ** 2 - exact**2)))
    slope = -np.polyfit(np.log([2, 4, 8]), np.log(biases), 1)[0]
    assert slope > 0.75


# --------------------------------------------------------------------------------- stability


def growth_factor(method, eigenvalue, **options):
    """Return how much 400 steps of length 1 of y' = λ y magnify y."""
    matrix = np.array([[eigenvalue.real, -eigenvalue.imag], [eigenvalue.imag, eigenvalue.real]])
    ys = pysig.sdeint(
        lambda t, y: y @ matrix.T, None, np.ones(2), [0, 400], None, dt=1, method=method, **options
    )
    return np.abs(ys[-1]).max()


@pytest.mark.parametrize("method", ["reversible_heun", "asynchronous_leapfrog"])
def test_reversible_methods_are_stable_for_imaginary_eigenvalues_only(method):
    for eigenvalue in (0.3j, 0.9j):
        assert growth_factor(method, eigenvalue) < 100
    for eigenvalue in (1.1j, -0.1 + 0j, -0.1 + 0.5j):
        assert growth_factor(method, eigenvalue) > 1e6


@pytest.mark.parametrize("damping", [0.6, 0.75, 0.9])
def test_damping_makes_decay_stable(damping):
    end = -2 * (1 - damping) / damping
    options = {"method": "asynchronous_leapfrog", "damping": damping}
    for inside in (0.02, 0.5, 0.95):
        assert growth_factor(eigenvalue=complex(inside * end), **options) < 2
    assert growth_factor(eigenvalue=complex(1.3 * end), **options) > 1e3
