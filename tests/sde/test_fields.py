"""Vector fields: values and gradients against extended precision, parameters, refusals."""

from __future__ import annotations

import math
import pickle
from typing import Any

import arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference.fields_reference import LONG, activation, directional_derivative, perceptron

from pysig.sde import fields
from pysig.sde.activations import ACTIVATIONS

DTYPES = [np.float64, np.float32]
T = 0.375  # a number of float32
TWO: Any = 2


def moved(xp, field, dtype=np.float64):
    """Return a field with parameters of this library and type."""
    return field.with_parameters([xp.asarray(p.astype(dtype)) for p in field.parameters])


def of_library(xp, function):
    """Return a function that takes and gives NumPy arrays."""
    return function if xp is np else arrays.with_arrays_of(xp, function)


def concatenated(t, y):
    return np.concatenate([np.full((*y.shape[:-1], 1), t, LONG), y], axis=-1)


# name: (field, channels, the value in extended precision as a function of t, y and the parameters)
CASES: dict[str, tuple[Any, int, Any]] = {
    "linear": (
        fields.Linear(np.arange(6.0).reshape(2, 3) / 5, [0.5, -1]),
        3,
        lambda t, y, a, b: y @ a.T + b,
    ),
    "linear without bias": (
        fields.Linear(np.arange(6.0).reshape(3, 2) / 5),
        2,
        lambda t, y, a: y @ a.T,
    ),
    "mlp": (
        fields.MLP((3, 5, 4, 2), "lipswish", "tanh", seed=1),
        3,
        lambda t, y, *p: perceptron(p, t, y, "lipswish", "tanh", True),
    ),
    "mlp without time": (
        fields.MLP((3, 5, 2), "softplus", with_time=False, seed=2),
        3,
        lambda t, y, *p: perceptron(p, t, y, "softplus", None, False),
    ),
    "mlp of one layer": (
        fields.MLP((2, 3), final="sigmoid", seed=3),
        2,
        lambda t, y, *p: perceptron(p, t, y, None, "sigmoid", True),
    ),
    "scale": (fields.Scale([0.5, -2.0]), 2, lambda t, y, a: y * a),
    "scale by one number": (fields.Scale(0.75), 2, lambda t, y, a: y * a),
    "constant": (
        fields.Constant(np.arange(6.0).reshape(3, 2)),
        3,
        lambda t, y, a: np.broadcast_to(a, (*y.shape[:-1], 3, 2)),
    ),
    "activation": (fields.Activation("silu"), 3, lambda t, y: activation("silu", y)[0]),
    "time": (fields.ConcatenateTime(), 3, concatenated),
    "reshape": (fields.Reshape((3, 2)), 6, lambda t, y: y.reshape(*y.shape[:-1], 3, 2)),
    "composition": (
        fields.Sequential(
            fields.ConcatenateTime(),
            fields.Linear(np.cos(np.arange(24.0)).reshape(6, 4), np.linspace(-1, 1, 6)),
            fields.Activation("softplus"),
            fields.Scale(-1.5),
            fields.Reshape((3, 2)),
        ),
        3,
        lambda t, y, a, b, c: (c * activation("softplus", concatenated(t, y) @ a.T + b)[0]).reshape(
            *y.shape[:-1], 3, 2
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (4,), (2, 0), (2, 3)])
def test_values_and_gradients(xp, rng, name, dtype, batch):
    """The value, and its gradients along random directions, are those of extended precision."""
    plain, channels, function = CASES[name]
    field = moved(xp, plain, dtype)
    parameters = [p.astype(dtype) for p in plain.parameters]
    y = rng.normal(size=(*batch, channels)).astype(dtype)
    value, residuals = of_library(xp, field.forward)(T, y)
    wanted = function(LONG(T), y.astype(LONG), *[p.astype(LONG) for p in parameters])
    tolerance = 64 * float(np.finfo(dtype).eps)
    assert value.dtype == dtype
    assert value.shape == wanted.shape
    assert_allclose(value, wanted.astype(dtype), rtol=tolerance, atol=tolerance)
    assert_array_equal(of_library(xp, field)(T, y), value)

    grad = rng.normal(size=value.shape).astype(dtype)
    grad_y, grad_parameters = of_library(xp, field.backward)(residuals, grad)
    gradients = [grad_y, *grad_parameters]
    assert [g.shape for g in gradients] == [y.shape, *[p.shape for p in parameters]]
    assert {g.dtype for g in gradients} == {np.dtype(dtype)}
    for number, argument in enumerate([y, *parameters]):
        directions = [np.zeros(a.shape) for a in [y, *parameters]]
        directions[number] = rng.normal(size=argument.shape)
        slope = directional_derivative(
            lambda y, *p: (grad * function(LONG(T), y, *p)).sum(), [y, *parameters], directions
        )
        got = (gradients[number].astype(LONG) * directions[number]).sum()
        scale = abs(gradients[number] * directions[number]).sum() + abs(grad).sum()
        assert abs(got - slope) <= (tolerance + 1e-11) * float(scale)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from([None, *ACTIVATIONS]),
    st.booleans(),
    st.integers(0, 2**32),
    st.sampled_from([0, fields.LARGEST_WEIGHT]),
)
def test_perceptrons_of_any_size(sizes, batch, hidden, final, with_time, seed, largest):
    """Values, and <grad, dV> = <grad_y, dy> + <grad_parameters, dp>; by the kernel and by NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fields, "LARGEST_WEIGHT", largest)
        check_perceptron(sizes, batch, hidden, final, with_time, seed)


def check_perceptron(sizes, batch, hidden, final, with_time, seed):
    field = fields.MLP(sizes, hidden, final, with_time=with_time, seed=seed)
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(*batch, sizes[0]))
    value, residuals = field.forward(T, y)

    def function(y, *parameters):
        return perceptron(parameters, T, y, hidden, final, with_time)

    wanted = function(y, *field.parameters)
    assert value.shape == wanted.shape
    assert_allclose(value, wanted.astype(float), rtol=1e-13, atol=1e-13)
    grad = rng.normal(size=value.shape)
    grad_y, grad_parameters = field.backward(residuals, grad)
    arguments, gradients = [y, *field.parameters], [grad_y, *grad_parameters]
    directions = [rng.normal(size=a.shape) for a in arguments]
    slope = (grad * directional_derivative(function, arguments, directions)).sum()
    products = [(g * d).sum() for g, d in zip(gradients, directions, strict=True)]
    scale = sum(abs(g * d).sum() for g, d in zip(gradients, directions, strict=True)) + 1
    assert abs(sum(products) - slope) <= 1e-11 * scale


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "sizes"), [(1, (40, 70, 33)), (300, (40, 70, 33)), (50, (1, 9))])
def test_wide_perceptrons(xp, rng, dtype, rows, sizes):
    """More inputs than a vector register holds; large and small ones agree with all gradients."""
    field = moved(xp, fields.MLP(sizes, "tanh", seed=6), dtype)
    parameters = [p if xp is np else xp.asnumpy(p) for p in field.parameters]
    y = rng.normal(size=(rows, sizes[0])).astype(dtype)
    value, residuals = of_library(xp, field.forward)(T, y)
    wanted = perceptron(parameters, T, y, "tanh", None, True)
    eps = float(np.finfo(dtype).eps)
    assert_allclose(value, wanted.astype(dtype), rtol=0, atol=64 * eps)
    grad = rng.normal(size=value.shape).astype(dtype)
    grad_y, gradients = of_library(xp, field.backward)(residuals, grad)
    exact = gradients_of_tanh_perceptron(parameters, T, y.astype(LONG), grad)
    for one, other in zip([grad_y, *gradients], exact, strict=True):
        assert_allclose(one, other.astype(dtype), rtol=0, atol=64 * eps * math.sqrt(rows) * 4)


def gradients_of_tanh_perceptron(parameters, t, y, grad):
    """Return the gradients with respect to y and the parameters, by the chain rule."""
    x, inputs, slopes = concatenated(t, y), [], []
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    for number, (weight, bias) in enumerate(layers):
        inputs.append(x)
        x = x @ weight.astype(LONG).T + bias
        if number < len(layers) - 1:
            x, slope = activation("tanh", x)
            slopes.append(slope)
    gradients, g = [], grad.astype(LONG)
    for number, (weight, _) in reversed(list(enumerate(layers))):
        gradients[:0] = [g.T @ inputs[number], g.sum(axis=0)]
        g = g @ weight.astype(LONG)
        if number:
            g = g * slopes[number - 1]
    return [g[:, 1:], *gradients]


@pytest.mark.parametrize("name", CASES)
def test_parameters_as_a_vector(xp, rng, name):
    plain, channels, _ = CASES[name]
    field = moved(xp, plain)
    vector = of_library(xp, lambda: fields.flatten_parameters(field))
    if not field.parameters:
        assert fields.flatten_parameters(field).shape == (0,)
        return
    assert_array_equal(vector(), np.concatenate([p.ravel() for p in plain.parameters]))
    new = rng.normal(size=vector().shape)
    other = fields.unflatten_parameters(field, xp.asarray(new))
    assert type(other) is type(field)
    assert other.is_weight == field.is_weight
    assert_array_equal(of_library(xp, lambda: fields.flatten_parameters(other))(), new)
    assert_array_equal(vector(), np.concatenate([p.ravel() for p in plain.parameters]))
    y = rng.normal(size=(4, channels))
    value, residuals = of_library(xp, other.forward)(T, y)
    _, gradients = other.backward(residuals, xp.asarray(np.ones_like(value)))
    flat = of_library(xp, lambda: fields.flatten_parameters(gradients))()
    assert flat.shape == new.shape


def test_clip_weights(xp):
    field = moved(
        xp,
        fields.Sequential(
            fields.MLP((2, 3, 5), seed=0),
            fields.Linear(np.linspace(-1, 1, 20).reshape(4, 5), np.full(4, 9.0)),
            fields.Scale(7.0),
        ),
    )
    large = field.with_parameters([10 * p for p in field.parameters])
    clipped = fields.clip_weights(large).parameters
    for before, after, is_weight in zip(large.parameters, clipped, large.is_weight, strict=True):
        before, after = (p if xp is np else xp.asnumpy(p) for p in (before, after))
        bound = 1 / before.shape[1] if is_weight else math.inf
        assert_array_equal(after, np.clip(before, -bound, bound))
        assert is_weight == (before.ndim == 2)
    with pytest.raises(TypeError, match="field must have is_weight, which a float has not"):
        fields.clip_weights(1.0)


def test_lipschitz_after_clipping(rng):
    """Clipped perceptrons with lipswish do not expand the largest absolute value."""
    field = fields.MLP((6, 8, 8, 4), with_time=False, seed=5)
    field = fields.clip_weights(field.with_parameters([20 * p for p in field.parameters]))
    y, z = rng.normal(size=(2, 500, 6))
    change = abs(field(0.0, y) - field(0.0, z)).max(axis=-1)
    assert np.all(change <= abs(y - z).max(axis=-1))


def test_random_parameters(xp):
    field = fields.MLP((4, 300, 2), seed=3, dtype=np.float32, like=xp.zeros(1))
    same = fields.MLP((4, 300, 2), seed=3, dtype="float32")
    for one, other in zip(field.parameters, same.parameters, strict=True):
        assert isinstance(one, xp.ndarray)
        assert other.dtype == np.float32
        assert_array_equal(one if xp is np else xp.asnumpy(one), other)
    for parameter, inputs in zip(same.parameters, (5, 5, 300, 300), strict=True):
        assert abs(parameter).max() <= 1 / math.sqrt(inputs)
        assert abs(parameter).max() > 0.5 / math.sqrt(inputs)
    assert not np.array_equal(fields.MLP((4, 300, 2), seed=4).parameters[0], same.parameters[0])


@pytest.mark.parametrize("name", CASES)
def test_fields_and_residuals_pickle(name):
    field, channels, _ = CASES[name]
    y = np.linspace(-1, 1, 2 * channels).reshape(2, channels)
    value, residuals = field.forward(T, y)
    again, kept = pickle.loads(pickle.dumps((field, residuals)))
    assert_array_equal(again(T, y), value)
    for one, other in zip(
        fields.flatten_parameters(again.backward(kept, value)[1]),
        fields.flatten_parameters(field.backward(residuals, value)[1]),
        strict=True,
    ):
        assert one == other


def test_states_of_all_kinds(rng):
    """Integers, views and arrays that cannot be written are states, and stay as they are."""
    field = fields.MLP((3, 4, 2), seed=0)
    y = np.arange(12).reshape(3, 4).T
    before = y.copy()
    value, residuals = field.forward(1, y)
    assert_array_equal(value, field(1.0, np.ascontiguousarray(y, dtype=float)))
    wide = rng.normal(size=(2, 4)).T
    assert_array_equal(
        field.backward(residuals, wide)[0], field.backward(residuals, wide.copy())[0]
    )
    assert_array_equal(y, before)
    frozen = y.astype(float)
    frozen.flags.writeable = False
    assert_array_equal(field(1, frozen), value)


def test_refusals(xp):
    field = moved(xp, fields.MLP((3, 4, 2), seed=0))
    y = np.zeros((5, 3))
    call = of_library(xp, field)
    with pytest.raises(ValueError, match=r"y must have the shape \(..., 3\), not \(5, 2\)"):
        call(0.0, y[:, :2])
    with pytest.raises(ValueError, match=r"y must have the shape \(..., 3\), not \(\)"):
        call(0.0, np.array(0.0))
    with pytest.raises(TypeError, match=r"y must be float64.* not float32"):
        call(0.0, y.astype(np.float32))
    with pytest.raises(TypeError, match="t must be a number, not NoneType"):
        call(None, y)
    _, residuals = of_library(xp, field.forward)(0.0, y)
    with pytest.raises(ValueError, match=r"grad must have the shape \(5, 2\)"):
        of_library(xp, field.backward)(residuals, np.zeros((5, 3)))
    with pytest.raises(ValueError, match="parameters must be 4 arrays, not 1"):
        field.with_parameters(field.parameters[:1])
    with pytest.raises(ValueError, match=r"parameters\[1\] must have the shape \(4,\)"):
        field.with_parameters(bad_shapes(field))
    with pytest.raises(ValueError, match=r"vector must have the shape \(30,\), not \(3,\)"):
        fields.unflatten_parameters(field, xp.zeros(3))
    if xp is not np:
        with pytest.raises(TypeError, match="one library"):
            field(0.0, y)


def bad_shapes(field):
    first, second, *rest = field.parameters
    return [first, second[:2], *rest]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: fields.Linear(np.zeros(3)), ValueError, "matrix must have the shape"),
        (lambda: fields.Linear(np.eye(2), np.zeros(3)), ValueError, r"bias must .* \(2,\)"),
        (lambda: fields.Linear(np.eye(2), np.zeros(2, "f")), TypeError, "bias must be float64"),
        (lambda: fields.MLP((3,)), ValueError, "sizes must be at least 2"),
        (lambda: fields.MLP(3), TypeError, "sizes must be integers"),
        (lambda: fields.MLP((3, 0)), ValueError, "sizes must be between 1"),
        (lambda: fields.MLP((3, 1.5)), TypeError, "sizes must be an integer"),
        (lambda: fields.MLP((3, 2), "relu"), ValueError, "activation must be one of"),
        (lambda: fields.MLP((3, 2), final="relu"), ValueError, "final must be one of"),
        (lambda: fields.MLP((3, 2), dtype="int64"), TypeError, "dtype must be"),
        (
            lambda: fields.MLP((3, 2), with_time=TWO),
            TypeError,
            "with_time must be True or False",
        ),
        (lambda: fields.MLP((3, 2), like=3.0), TypeError, "like must be"),
        (lambda: fields.Activation("gelu"), ValueError, "name must be one of"),
        (lambda: fields.Scale(np.eye(2)), ValueError, "factor must have the shape"),
        (lambda: fields.Scale([1, 2])(0, np.zeros((2, 3))), ValueError, "y must have the shape"),
        (lambda: fields.Constant(1j), TypeError, "value must be float32"),
        (lambda: fields.Reshape((2, 0)), ValueError, "shape must be between 1"),
        (lambda: fields.Reshape((2, 2))(0, np.zeros(3)), ValueError, r"\(..., 4\)"),
        (lambda: fields.Sequential(), ValueError, "at least one"),
        (lambda: fields.Sequential(abs), TypeError, r"fields\[0\] must have forward"),
    ],
)
def test_refused_constructions(make, error, message):
    with pytest.raises(error, match=message):
        make()
