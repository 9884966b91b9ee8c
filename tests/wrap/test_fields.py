"""Modules of PyTorch and functions of JAX as vector fields: the same perceptron as pysig's own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pysig.sde import fields


def framework(name):
    """Import a framework; without it skip the test, or fail where frameworks are required."""
    if os.environ.get("PYSIG_REQUIRE_FRAMEWORKS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


PLAIN = fields.MLP((3, 5, 2), "softplus", "tanh", seed=4)


def torch_field(dtype):
    torch = framework("torch")

    class Perceptron(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = torch.nn.Linear(4, 5), torch.nn.Linear(5, 2)

        def forward(self, t, y):
            y = torch.cat([t.expand(*y.shape[:-1], 1), y], dim=-1)
            return self.second(torch.nn.functional.softplus(self.first(y))).tanh()

    wrap = importlib.import_module("pysig.wrap.torch")
    return wrap.Field(Perceptron()).with_parameters([p.astype(dtype) for p in PLAIN.parameters])


def jax_field(dtype):
    jax = framework("jax")
    wrap = importlib.import_module("pysig.wrap.jax")

    def perceptron(parameters, t, y):
        (first, bias), (second, other_bias) = parameters["layers"]
        t = jax.numpy.full((*y.shape[:-1], 1), t)
        hidden = jax.nn.softplus(jax.numpy.concatenate([t, y], axis=-1) @ first.T + bias)
        return jax.numpy.tanh(hidden @ second.T + other_bias)

    arrays = [p.astype(dtype) for p in PLAIN.parameters]
    return wrap.Field(perceptron, {"layers": [tuple(arrays[:2]), tuple(arrays[2:])]})


@pytest.fixture
def with_double():
    """Let JAX compute in float64, where it is there, until the test is over."""
    if importlib.util.find_spec("jax") is None:
        yield
        return
    jax = framework("jax")
    before = jax.config.read("jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


MAKERS = pytest.mark.parametrize("make", [torch_field, jax_field])


@MAKERS
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-5)])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_agrees_with_pysigs_own(with_double, rng, make, dtype, tolerance, batch):
    field, own = make(dtype), PLAIN.with_parameters([p.astype(dtype) for p in PLAIN.parameters])
    y, grad = rng.normal(size=(*batch, 3)).astype(dtype), rng.normal(size=(*batch, 2)).astype(dtype)
    value, residuals = field.forward(0.25, y)
    wanted, own_residuals = own.forward(0.25, y)
    assert type(value) is np.ndarray
    assert value.dtype == dtype
    assert_allclose(value, wanted, rtol=0, atol=tolerance)
    assert_allclose(field(0.25, y), value, rtol=0, atol=tolerance)
    value += 1  # residuals have a value of their own
    grad_y, gradients = field.backward(residuals, grad)
    own_y, own_gradients = own.backward(own_residuals, grad)
    assert isinstance(gradients, tuple)
    for one, other in zip([grad_y, *gradients], [own_y, *own_gradients], strict=True):
        assert type(one) is np.ndarray
        assert one.dtype == dtype
        assert one.flags.writeable
        assert_allclose(one, other, rtol=0, atol=20 * tolerance)
    assert_array_equal(field.backward(residuals, grad)[0], grad_y)


@MAKERS
def test_parameters(with_double, rng, make):
    field = make(np.float64)
    vector = fields.flatten_parameters(field)
    assert_array_equal(vector, fields.flatten_parameters(PLAIN))
    other = fields.unflatten_parameters(field, 2 * vector)
    assert_array_equal(fields.flatten_parameters(field), vector)
    assert_array_equal(fields.flatten_parameters(other), 2 * vector)
    y = rng.normal(size=(4, 3))
    assert_allclose(
        other(0.5, y), fields.unflatten_parameters(PLAIN, 2 * vector)(0.5, y), atol=1e-14
    )
    both = fields.Sequential(PLAIN, fields.Linear(np.eye(3, 2)), other)
    value, residuals = both.forward(0.5, y)
    gradients = both.backward(residuals, np.ones_like(value))[1]
    assert [g.shape for g in gradients] == [p.shape for p in both.parameters]
    with pytest.raises(ValueError, match="parameters must be 4 arrays, not 0"):
        field.with_parameters([])


@MAKERS
def test_refusals(with_double, make):
    field = make(np.float64)
    y = np.zeros((4, 3))
    with pytest.raises(TypeError, match="t must be a number"):
        field(None, y)
    with pytest.raises(TypeError, match="y must be float32"):
        field(0.0, y.astype(complex))
    _, residuals = field.forward(0.0, y)
    with pytest.raises(ValueError, match=r"grad must .*\(4, 2\)"):
        field.backward(residuals, np.zeros((4, 3)))


def test_torch_weights_are_clipped():
    field = torch_field(np.float64)
    assert field.is_weight == (True, False, True, False)
    large = field.with_parameters([10 * p for p in field.parameters])
    for one, other in zip(
        fields.clip_weights(large).parameters,
        fields.clip_weights(PLAIN.with_parameters(large.parameters)).parameters,
        strict=True,
    ):
        assert_array_equal(one, other)


def test_torch_fields_without_gradients():
    """What the value does not depend on has the gradient 0; what is frozen is no parameter."""
    torch = framework("torch")
    wrap = importlib.import_module("pysig.wrap.torch")

    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
            self.unused = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
            self.frozen = torch.nn.Parameter(self.used.detach(), requires_grad=False)

        def forward(self, t, y):
            return (self.used + self.frozen).expand(y.shape)

    field = wrap.Field(Constant())
    frozen_state = np.zeros((4, 2))
    frozen_state.flags.writeable = False
    value, residuals = field.forward(0.0, frozen_state)
    grad_y, (used, unused) = field.backward(residuals, np.ones((4, 2)))
    assert_array_equal(value, np.full((4, 2), 2.0))
    assert_array_equal(grad_y, np.zeros((4, 2)))
    assert_array_equal(used, [4, 4])
    assert_array_equal(unused, np.zeros(3))
    field.module.requires_grad_(False)
    value, residuals = field.forward(0.0, np.zeros((4, 2)))
    grad_y, gradients = field.backward(residuals, np.ones((4, 2)))
    assert_array_equal(grad_y, np.zeros((4, 2)))
    assert gradients == ()
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, not function"):
        wrap.Field(torch_field)


def test_jax_refuses_to_round():
    jax = framework("jax")
    field = jax_field(np.float32)
    if jax.config.read("jax_enable_x64"):
        pytest.skip("JAX has been told to compute in float64")
    with pytest.raises(TypeError, match="y is float64, and JAX computes in float32"):
        field(0.0, np.zeros((4, 3)))
    with pytest.raises(TypeError, match="function must be callable, not a int"):
        importlib.import_module("pysig.wrap.jax").Field(3, ())


def test_jax_compiles_once(rng):
    """New parameters, as each step of an optimiser makes them, do not compile again."""
    framework("jax")
    field = jax_field(np.float32)
    traces = []
    traced: Any = field._forward
    for factor in (1, 2, 3):
        other = field.with_parameters([factor * p for p in field.parameters])
        _, residuals = other.forward(0.5 * factor, np.zeros((4, 3), np.float32))
        other.backward(residuals, np.ones((4, 2), np.float32))
        traces.append((traced._cache_size(), field._backward._cache_size()))
    assert traces == [(1, 1)] * 3


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_missing_frameworks_are_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"pysig.wrap.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"pip install 'pysig\[{name}\]'"):
        importlib.import_module(f"pysig.wrap.{name}")
