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


WEAK_STEPS, WEAK_FINE, WEAK_PATHS = (4, 8, 16), 128, 8000
WEAK_ORDER_2 = {("srk", noise) for noise in NOISES} | {
    (method, "additive") for method in ("heun", "reversible_heun")
}
expectations = {}


def moments(method, noise, steps):
    """Return the first and second moments at time 1, path by path, with the same noise for all."""
    diffusion, m = NOISES[noise]
    brownian = pysig.BrownianInterval(
        0, 1, (WEAK_PATHS, m), seed=5, levy_area="space-time", tolerance=1 / WEAK_FINE
    )
    y0 = np.tile([0.5, -0.3], (WEAK_PATHS, 1))
    ys = pysig.sdeint(
        drift, diffusion, y0, [0, 1], brownian, dt=1 / steps, method=method, noise=noise
    )
    first, second = ys[-1].T
    return np.stack([first, second, first**2, second**2, first * second])


@pytest.mark.parametrize(("method", "noise", "strong_order", "fine_method"), CASES)
def test_weak_order(method, noise, strong_order, fine_method):
    """The bias of moments, as differences to the fine solution along the same paths."""
    if (fine_method, noise) not in expectations:
        expectations[fine_method, noise] = moments(fine_method, noise, WEAK_FINE)
    exact = expectations[fine_method, noise]
    biases = [
        np.linalg.norm((moments(method, noise, steps) - exact).mean(1)) for steps in WEAK_STEPS
    ]
    slope = -np.polyfit(np.log(WEAK_STEPS), np.log(biases), 1)[0]
    assert slope > (2 if (method, noise) in WEAK_ORDER_2 else 1) - 0.25


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
