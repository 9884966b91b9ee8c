"""Adadelta and means of parameters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pysig.sde.optimisers import Adadelta, WeightAverage


def test_steps_of_the_paper(rng):
    """Algorithm 1 of arXiv:1212.5701, for one number after the other."""
    rho, eps, rate = 0.95, 1e-4, 0.5
    optimiser = Adadelta(learning_rate=rate, decay=rho, epsilon=eps)
    start, gradients = rng.normal(size=3), rng.normal(size=(20, 3))
    parameters, state = (start,), optimiser.start((start,))
    for gradient in gradients:
        parameters, state = optimiser.step(parameters, (gradient,), state)
    for i in range(3):
        x, squares, changes = start[i], 0.0, 0.0
        for g in gradients[:, i]:
            squares = rho * squares + (1 - rho) * g * g
            change = -np.sqrt(changes + eps) / np.sqrt(squares + eps) * g
            changes = rho * changes + (1 - rho) * change * change
            x += rate * change
        assert_allclose(parameters[0][i], x, rtol=1e-13)


def test_type_shapes_and_inputs_are_kept():
    arrays = (np.ones((2, 3), np.float32), np.ones(4, np.float32))
    for array in arrays:
        array.flags.writeable = False
    optimiser = Adadelta(weight_decay=0.1)
    parameters, state = optimiser.step(arrays, arrays, optimiser.start(arrays), 0.5)
    for after in (parameters, state.gradients, state.changes):
        assert [array.shape for array in after] == [(2, 3), (4,)]
        assert all(array.dtype == np.float32 for array in after)


def test_factor_and_weight_decay(rng):
    x, g = rng.normal(size=3), rng.normal(size=3)
    fast, slow = Adadelta(learning_rate=0.5, weight_decay=0.1), Adadelta(learning_rate=1.0)
    one, _ = fast.step((x,), (g,), fast.start((x,)))
    other, _ = slow.step((x,), (g + 0.1 * x,), slow.start((x,)), 0.5)
    assert_array_equal(one[0], other[0])


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"learning_rate": 0}, ValueError, "learning_rate"),
        ({"decay": 1.0}, ValueError, "decay"),
        ({"epsilon": -1.0}, ValueError, "epsilon"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay"),
        ({"weight_decay": "much"}, TypeError, "weight_decay"),
    ],
)
def test_refusals(options, error, name):
    with pytest.raises(error, match=name):
        Adadelta(**options)


def test_gradient_of_another_shape():
    optimiser, x = Adadelta(), (np.zeros(3),)
    with pytest.raises(ValueError, match=r"shapes of the parameters, \(3,\), not \(1,\)"):
        optimiser.step(x, (np.zeros(1),), optimiser.start(x))


def test_mean_of_parameters(rng):
    values = rng.normal(size=(10, 4))
    average = WeightAverage()
    for value in values:
        average = average.add((value, 2 * value))
    assert average.count == 10
    assert_allclose(average.parameters[0], values.mean(0), rtol=1e-13)
    assert_allclose(average.parameters[1], 2 * values.mean(0), rtol=1e-13)
