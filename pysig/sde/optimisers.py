r"""What trains the parameters of fields: Adadelta, and averages of the parameters on the way.

Parameters and gradients are sequences of arrays, as fields have and return them. Nothing is
modified: each step returns new parameters and a new state, which is a NamedTuple of arrays.
"""

from typing import NamedTuple

from pysig._core.array import Array, device_of, namespace_of
from pysig.sde.steps import check_positive

__all__ = ["Adadelta", "AdadeltaState", "WeightAverage"]


class AdadeltaState(NamedTuple):
    """Running means of the squares of gradients and of changes, for each parameter."""

    gradients: tuple[Array, ...]
    changes: tuple[Array, ...]


class Adadelta:
    r"""
    Gradient descent whose step lengths come from running means of squares.

    With gradient g, decay ρ and learning rate η, a step is

    .. math::
        s \leftarrow \rho s + (1 - \rho) g^2, \quad
        \Delta = -\sqrt{\frac{u + \epsilon}{s + \epsilon}} \, g, \quad
        u \leftarrow \rho u + (1 - \rho) \Delta^2, \quad x \leftarrow x + \eta \Delta

    (Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, where η = 1).

    Parameters
    ----------
    learning_rate : float
        η > 0.
    decay : float
        ρ, above 0 and below 1.
    epsilon : float
        ε > 0.
    weight_decay : float
        Times the parameter, this is added to the gradient; at least 0.

    Raises
    ------
    ValueError
        If a number is out of range.
    TypeError
        If an argument is not a number.

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde.optimisers import Adadelta
    >>> optimiser = Adadelta()
    >>> parameters = (np.array([3.0, -2.0]),)
    >>> state = optimiser.start(parameters)
    >>> for _ in range(2000):
    ...     parameters, state = optimiser.step(parameters, parameters, state)  # of (x**2).sum() / 2
    >>> bool(np.abs(parameters[0]).max() < 0.01)
    True
    """

    def __init__(self, *, learning_rate=1.0, decay=0.9, epsilon=1e-6, weight_decay=0.0):
        self.learning_rate = check_positive(learning_rate, "learning_rate")
        self.decay = check_positive(decay, "decay")
        if self.decay >= 1:
            raise ValueError(f"decay must be below 1, not {decay}")
        self.epsilon = check_positive(epsilon, "epsilon")
        self.weight_decay = 0.0
        if weight_decay != 0:
            self.weight_decay = check_positive(weight_decay, "weight_decay")

    def start(self, parameters) -> AdadeltaState:
        """Return the state before the first step."""
        return AdadeltaState(zeros_like(parameters), zeros_like(parameters))

    def step(
        self, parameters, gradients, state, factor=1.0
    ) -> tuple[tuple[Array, ...], AdadeltaState]:
        """
        Return parameters after a step, and the state.

        Parameters
        ----------
        parameters, gradients : sequence of array
            Of the same shapes and types.
        state : AdadeltaState
            From `start` or the step before.
        factor : float
            What the learning rate is multiplied by, for rates that change on the way.

        Returns
        -------
        parameters : tuple of array
        state : AdadeltaState
        """
        rate = self.learning_rate * factor
        updates = [
            self._update(rate, *arrays)
            for arrays in zip(parameters, gradients, *state, strict=True)
        ]
        after, squares, changes = zip(*updates, strict=True) if updates else ((), (), ())
        return after, AdadeltaState(squares, changes)

    def _update(self, rate, parameter, gradient, squares, changes):
        if gradient.shape != parameter.shape:
            raise ValueError(
                f"gradients must have the shapes of the parameters, {parameter.shape}, not "
                f"{gradient.shape}"
            )
        xp = namespace_of(parameter)
        with device_of(parameter):
            if self.weight_decay:
                gradient = gradient + self.weight_decay * parameter
            squares = self.decay * squares + (1 - self.decay) * gradient**2
            change = gradient * xp.sqrt((changes + self.epsilon) / (squares + self.epsilon))
            changes = self.decay * changes + (1 - self.decay) * change**2
            return parameter - rate * change, squares, changes


class WeightAverage(NamedTuple):
    """
    The mean of the parameters after several steps.

    The generator of a GAN moves around its aim; the mean of where it has been is nearer (Yazıcı,
    Foo, Winkler, Yap, Piliouras and Chandrasekhar, "The unusual effectiveness of averaging in GAN
    training", ICLR 2019, arXiv:1806.04498).

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde.optimisers import WeightAverage
    >>> average = WeightAverage()
    >>> for value in (1.0, 2.0, 6.0):
    ...     average = average.add([np.array([value])])
    >>> average.count, average.parameters
    (3, (array([3.]),))
    """

    count: int = 0
    parameters: tuple[Array, ...] = ()

    def add(self, parameters):
        """Return the mean with one more."""
        count = self.count + 1
        if count == 1:
            return WeightAverage(1, tuple(parameters))
        means = []
        for mean, parameter in zip(self.parameters, parameters, strict=True):
            with device_of(parameter):
                means.append(mean + (parameter - mean) / count)
        return WeightAverage(count, tuple(means))


def zeros_like(parameters):
    """Return arrays of zeros."""
    arrays = []
    for parameter in parameters:
        with device_of(parameter):
            arrays.append(namespace_of(parameter).zeros_like(parameter))
    return tuple(arrays)
