"""Vector fields and activation functions in extended precision, in plain NumPy."""

from __future__ import annotations

import numpy as np

LONG = np.longdouble
STEP = LONG(1e-6)


def activation(name, x):
    """Return the value and the derivative, in long double."""
    x = np.asarray(x, LONG)
    e = np.exp(-abs(x))
    sigmoid = np.where(x < 0, e, 1) / (1 + e)
    slope = e / (1 + e) ** 2
    if name == "sigmoid":
        return sigmoid, slope
    if name == "softplus":
        return np.maximum(x, 0) + np.log1p(e), sigmoid
    if name == "tanh":
        twice = np.exp(-2 * abs(x))
        return np.tanh(x), 4 * twice / (1 + twice) ** 2
    factor = LONG("0.909") if name == "lipswish" else LONG(1)
    return factor * x * sigmoid, factor * (sigmoid + x * slope)


def perceptron(parameters, t, y, hidden, final, with_time):
    """Return the value of an MLP."""
    x = np.asarray(y, LONG)
    if with_time:
        x = np.concatenate([np.full((*x.shape[:-1], 1), t, LONG), x], axis=-1)
    layers = len(parameters) // 2
    for number in range(layers):
        weight, bias = parameters[2 * number : 2 * number + 2]
        x = np.einsum("...i,oi->...o", x, np.asarray(weight, LONG)) + bias
        name = final if number == layers - 1 else hidden
        x = x if name is None else activation(name, x)[0]
    return x


def directional_derivative(function, arguments, directions):
    """Return the derivative of function(*arguments), by central differences of order 4."""

    def value(factor):
        moved = [
            np.asarray(a, LONG) + factor * STEP * np.asarray(d, LONG)
            for a, d in zip(arguments, directions, strict=True)
        ]
        return function(*moved)

    return (8 * (value(1) - value(-1)) - (value(2) - value(-2))) / (12 * STEP)
