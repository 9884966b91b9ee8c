"""Whole steps in compiled code: the numbers of the steps that return to Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pysig
from pysig.sde import fields, trajectory

BATCH, D, M = 7, 3, 2
METHODS = ["reversible_heun", "heun", "midpoint", "euler_heun", "euler", "milstein", "srk"]
CASES = [
    (method, noise)
    for method in METHODS
    for noise in ("diagonal", "scalar", "additive", "general")
    if noise != "general" or method not in ("milstein", "srk")
]


class Interpreted:
    """A field that is not known to be compiled."""

    def __init__(self, field):
        self.field, self.forward, self.backward = field, field.forward, field.backward

    def __call__(self, t, y):
        return self.field(t, y)


def make_fields(noise, dtype):
    drift = fields.Sequential(
        fields.MLP((D, 4, D), "tanh", final="softplus", seed=1, dtype=dtype),
        fields.Linear(np.eye(D, dtype=dtype) - dtype(0.2)),
    )
    if noise == "additive":
        return drift, fields.Constant(np.linspace(0.1, 0.6, D * M, dtype=dtype).reshape(D, M))
    if noise == "general":
        mlp = fields.MLP((D, D * M), final="sigmoid", seed=2, dtype=dtype)
        return drift, fields.Sequential(mlp, fields.Reshape((D, M)))
    return drift, fields.Sequential(
        fields.Activation("tanh"), fields.Scale(np.linspace(0.2, 0.5, D, dtype=dtype)),
        fields.Reshape((D,)), fields.Scale(dtype(0.5)),
    )  # fmt: skip


def arguments(method, noise, dtype=np.float64, batch=BATCH):
    shape = {"diagonal": (batch, D), "scalar": (batch, 1)}.get(noise, (batch, M))
    area = "space-time" if method == "srk" else None
    brownian = pysig.BrownianInterval(0, 1, shape, seed=3, dtype=dtype, levy_area=area)
    y0 = np.linspace(-1, 1, batch * D).reshape(batch, D).astype(dtype)
    return y0, [0, 0.1, 0.3, 0.35, 1], brownian


def count_runs(monkeypatch):
    """Return a list that gets an entry for each solution in compiled code."""
    runs = []
    march = trajectory.march
    monkeypatch.setattr(trajectory, "march", lambda *args: runs.append(args) or march(*args))
    return runs


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("method", "noise"), CASES)
def test_solution(method, noise, dtype, monkeypatch):
    runs = count_runs(monkeypatch)
    f, g = make_fields(noise, dtype)
    options: dict[str, Any] = {"dt": 0.03, "method": method, "noise": noise}
    monkeypatch.setattr("pysig.sde.steps.BLOCK_STEPS", 10)
    compiled = pysig.sdeint(f, g, *arguments(method, noise, dtype), **options)
    assert len(runs) == 1
    plain = pysig.sdeint(
        Interpreted(f), Interpreted(g), *arguments(method, noise, dtype), **options
    )
    assert len(runs) == 1
    assert compiled.dtype == dtype
    assert_allclose(compiled, plain, rtol=0, atol=100 * np.finfo(dtype).eps)


def gradients(fs, ys_to_grad, *args, **options):
    """Return all gradients as a list of arrays."""
    ys, residuals = pysig.sdeint_forward(*fs, *args, **options)
    result = pysig.sdeint_backward(residuals, ys_to_grad(ys))
    leaves = [result.y0]
    for parameters in (result.drift_parameters, result.diffusion_parameters):
        leaves += [] if parameters is None else list(parameters)
    return leaves


def count_runs_back(monkeypatch):
    """Return a list that gets an entry for each solution that went back in compiled code."""
    runs = []
    march_back = trajectory.march_back

    def counting(*args):
        result = march_back(*args)
        if result is not None:
            runs.append(args)
        return result

    monkeypatch.setattr(trajectory, "march_back", counting)
    return runs


def assert_gradients_agree(one, other, dtype=np.float64):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first.shape == second.shape
        assert first.dtype == second.dtype == dtype
        atol = 500 * np.finfo(dtype).eps * (np.abs(second).max() + 1)
        assert_allclose(first, second, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("noise", ["diagonal", "scalar", "additive", "general"])
def test_gradients(noise, dtype, monkeypatch):
    """Steps back in compiled code, over several blocks of noise and of rows."""
    runs = count_runs_back(monkeypatch)
    monkeypatch.setattr("pysig.sde.steps.BLOCK_STEPS", 10)
    f, g = make_fields(noise, dtype)
    args = arguments("reversible_heun", noise, dtype, batch=250)
    options = {"dt": 0.03, "noise": noise}
    compiled = gradients((f, g), np.cos, *args, **options)
    assert len(runs) == 1
    plain = gradients((Interpreted(f), Interpreted(g)), np.cos, *args, **options)
    assert len(runs) == 1
    assert_gradients_agree(compiled, plain, dtype)


@pytest.mark.parametrize(
    "fs",
    [
        (fields.Scale(-0.5), None),
        (None, fields.Scale([0.1, 0.2, 0.3])),
        (fields.Linear(np.eye(D) / 3), fields.Linear(np.eye(D) / 4, bias=[0.1, 0.2, 0.3])),
        (fields.Reshape((D,)), fields.Constant([0.1, 0.2, 0.3])),
        (fields.Activation("tanh"), fields.MLP((D, 2, D), "silu", final="lipswish", seed=1)),
    ],
)
def test_gradients_of_all_fields(fs, monkeypatch):
    """One of the fields may be missing, and have no parameters; one step, and many."""
    runs = count_runs_back(monkeypatch)
    y0, ts, brownian = arguments("reversible_heun", "diagonal")
    brownian = None if fs[1] is None else brownian
    for dt in (1.0, 0.007):
        compiled = gradients(fs, np.cos, y0, ts, brownian, dt=dt)
        plain = gradients(
            [field and Interpreted(field) for field in fs], np.cos, y0, ts, brownian, dt=dt
        )
        assert_gradients_agree(compiled, plain)
    assert len(runs) == 2


@pytest.mark.parametrize("method", ["heun", "srk"])
def test_stored_states(method, monkeypatch):
    """What the forward pass keeps is the same, whichever way it went."""
    runs = count_runs(monkeypatch)
    f, g = make_fields("diagonal", np.float64)
    args = arguments(method, "diagonal")
    both = [
        gradients(fs, np.cos, *args, dt=0.03, method=method)
        for fs in ((f, g), (Interpreted(f), Interpreted(g)))
    ]
    assert len(runs) == 1
    assert_gradients_agree(both[0], both[1])


@pytest.mark.parametrize("damping", [1.0, 0.8])
def test_ordinary_equations(damping, monkeypatch):
    runs = count_runs(monkeypatch)
    f, _ = make_fields("diagonal", np.float64)
    y0, ts, _ = arguments("heun", "diagonal")
    for method in ("asynchronous_leapfrog", "reversible_heun", "midpoint"):
        options = {"damping": damping} if method == "asynchronous_leapfrog" else {}
        both = [
            pysig.sdeint(field, None, y0, ts, None, dt=0.03, method=method, **options)
            for field in (f, Interpreted(f))
        ]
        assert_allclose(*both, rtol=0, atol=1e-13)
    assert len(runs) == 3
    only_noise = [
        pysig.sdeint(None, field, *arguments("srk", "diagonal"), dt=0.03, method="srk")
        for field in (fields.Scale(0.3), Interpreted(fields.Scale(0.3)))
    ]
    assert_allclose(*only_noise, rtol=0, atol=1e-13)
    assert len(runs) == 4


def test_controlled_equations(monkeypatch):
    """A path is noise like any other."""
    runs = count_runs(monkeypatch)
    _, field = make_fields("general", np.float64)
    y0, _, _ = arguments("heun", "general")
    path = np.cos(np.arange(BATCH * 20 * M)).reshape(BATCH, 20, M)
    for method in ("reversible_heun", "midpoint"):
        both = [
            pysig.cdeint(each, y0, path, ts=[0, 2.5, 19], dt=0.7, method=method)
            for each in (field, Interpreted(field))
        ]
        assert_allclose(both[0], both[1], rtol=0, atol=1e-12)
    assert len(runs) == 2


def test_threads_and_batches(keep_num_threads):
    """Results do not depend on the number of threads, and rows not on each other."""
    f, g = fields.Scale(0.1), fields.Scale([0.2, 0.3, 0.4])
    results = []
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        results.append(
            pysig.sdeint(f, g, *arguments("srk", "diagonal", batch=3000), dt=0.02, method="srk")
        )
    assert_array_equal(results[0], results[1])
    assert_array_equal(results[0], results[2])
    few = pysig.sdeint(f, g, *arguments("srk", "diagonal", batch=2), dt=0.02, method="srk")
    assert few.shape == (5, 2, D)
    drift, diffusion = make_fields("general", np.float64)
    both = []
    for threads in (1, 3):
        pysig.set_num_threads(threads)
        args = arguments("reversible_heun", "general", batch=300)
        both.append(gradients((drift, diffusion), np.cos, *args, dt=0.01, noise="general"))
    for one, other in zip(*both, strict=True):
        assert_array_equal(one, other)


def test_what_is_not_compiled(monkeypatch):
    """Own classes, large layers, single increments; and errors are those of the fields."""
    runs = count_runs(monkeypatch)

    class Own(fields.Scale):
        def __call__(self, t, y):
            return super().__call__(t, y) + 1

    y0, ts, brownian = arguments("heun", "diagonal")
    g = fields.Scale(0.3)
    ys = pysig.sdeint(Own(0.1), None, y0, ts, None, dt=0.1, method="euler")
    assert_allclose(ys[1], y0 + 0.1 * (0.1 * y0 + 1))
    pysig.sdeint(fields.MLP((D, 600, 600, D), seed=1), g, y0, ts, brownian, dt=0.1)
    pysig.sdeint(g, g, y0, ts, lambda start, end: brownian(start, end), dt=0.1)
    assert not runs
    flat = fields.MLP((D, D * M), seed=2)
    with pytest.raises(ValueError, match=r"y must have the shape \(\.\.\., 2\)(.|\n)*in step 0"):
        pysig.sdeint(fields.Linear(np.eye(3, 2)), g, y0, ts, brownian, dt=0.1, method="heun")
    with pytest.raises(
        ValueError, match=r"diffusion at t = 0\.0 must return the shape \(7, 3, 2\)"
    ):
        pysig.sdeint(g, flat, *arguments("heun", "general"), dt=0.1, method="heun", noise="general")
    with pytest.raises(TypeError, match="y must be float32"):
        pysig.sdeint(fields.Scale(np.float32(1)), g, y0, ts, brownian, dt=0.1, method="heun")
    with pytest.raises(FloatingPointError, match="drift at t"):
        pysig.sdeint(fields.Scale(1e200), g, y0, ts, brownian, dt=0.1, method="heun")


def test_parameters_that_were_replaced():
    """Parameters that are not in order work; those of another shape or type are refused."""
    y0, ts, brownian = arguments("heun", "diagonal")
    matrix = np.arange(9.0).reshape(3, 3) / 10
    field = fields.Linear(matrix)
    field.parameters = (np.asfortranarray(matrix),)
    options: dict[str, Any] = {"dt": 0.1, "method": "heun"}
    wanted = pysig.sdeint(fields.Linear(matrix), fields.Scale(0.1), y0, ts, brownian, **options)
    found = pysig.sdeint(field, fields.Scale(0.1), y0, ts, brownian, **options)
    assert_array_equal(found, wanted)
    field.parameters = (matrix.astype(np.float32),)
    with pytest.raises(TypeError, match="y must be float32"):
        pysig.sdeint(field, fields.Scale(0.1), y0, ts, brownian, **options)
    perceptron = fields.MLP((D, 4, D), seed=1)
    perceptron.parameters = (*perceptron.parameters[:3], np.zeros(D + 1))
    with pytest.raises(ValueError, match="shape"):
        pysig.sdeint(perceptron, fields.Scale(0.1), y0, ts, brownian, **options)
