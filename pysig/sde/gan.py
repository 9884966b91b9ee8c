r"""Generative adversarial networks of neural SDEs: a generator and a discriminator of paths.

The generator solves a stochastic differential equation that begins at random,

.. math:: X_0 = \zeta(V), \qquad dX = \mu(t, X) \, dt + \sigma(t, X) \circ dW, \qquad
    Y = \ell(X),

with V standard normal. The discriminator is an equation that a path drives: t, Y, and Y as it was
one point before,

.. math:: H_0 = \xi(t_0, Y_0), \qquad dH = F(t, H) \, d(t, Y, Y^{lag}), \qquad
    D(Y) = m(H_T),

and trained to give generated paths lower scores than real ones, while the generator is trained to
have its scores high: with a Lipschitz discriminator, the best difference of the mean scores is a
Wasserstein distance of the two laws. `fields.clip_weights` keeps it Lipschitz.

In the papers below, (t, Y) drives it. Such an equation knows Stratonovich integrals along Y only,
and the quadratic variation of Y is none of them: of how rough paths are, it learns by their
consequences. With the lag, the quadratic variation is an integral (Flint, Hambly and Lyons,
"Discretely sampled signals and the rough Hoff process", Stochastic Processes and their Applications
126, 2016), and training takes fewer steps.

Both equations are solved by the reversible Heun method, one step from one time to the next: their
gradients are exact and need no stored states.

Kidger, Foster, Li, Oberhauser and Lyons, "Neural SDEs as Infinite-Dimensional GANs", ICML 2021,
arXiv:2102.03657; Kidger, Foster, Li and Lyons, "Efficient and Accurate Gradients for Neural SDEs",
NeurIPS 2021, arXiv:2105.13493.
"""

from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    FLOAT64,
    Array,
    boolean,
    check_residuals,
    device_of,
    integer,
    is_cupy,
    namespace_of,
    real_array,
)
from pysig.sde.activations import checked_gradient
from pysig.sde.brownian import BrownianInterval
from pysig.sde.controlled import cdeint, cdeint_backward, cdeint_forward
from pysig.sde.fields import (
    MLP,
    Composite,
    Linear,
    Reshape,
    Sequential,
    arrays_of_one_type,
)
from pysig.sde.solve import SdeintResiduals, sdeint, sdeint_backward, sdeint_forward
from pysig.sde.steps import check_ts

__all__ = [
    "Discriminator",
    "DiscriminatorResiduals",
    "Generator",
    "GeneratorResiduals",
    "WassersteinLossGradients",
    "WassersteinLossResiduals",
    "wasserstein_loss",
    "wasserstein_loss_backward",
    "wasserstein_loss_forward",
]


class GeneratorResiduals(NamedTuple):
    """What `Generator.backward` needs."""

    initial: Any
    solution: SdeintResiduals
    readout: Any
    shape: tuple[int, ...]  # of the paths


class DiscriminatorResiduals(NamedTuple):
    """What `Discriminator.backward` needs."""

    initial: Any
    solution: SdeintResiduals
    readout: Any
    shape: tuple[int, ...]  # of the paths


class WassersteinLossResiduals(NamedTuple):
    """What `wasserstein_loss_backward` needs: the scores."""

    generated: Array
    real: Array


class WassersteinLossGradients(NamedTuple):
    """The gradients with respect to the scores."""

    generated: Array
    real: Array


class Generator(Composite):
    """
    Random paths: the solution of an SDE that begins at random, seen through a readout.

    Parameters
    ----------
    initial : Field
        ζ, which makes the initial state (..., hidden) of normal numbers (..., initial_noise).
    drift, diffusion : Field
        μ and σ, with values of the shapes (..., hidden) and (..., hidden, noise).
    readout : Field
        ℓ, which makes the points (..., channels) of the states.
    initial_noise, noise : int
        How many normal numbers an initial state is made of; and channels of the noise.

    Attributes
    ----------
    fields, parameters, is_weight
        The four fields, and what they have.

    See Also
    --------
    Generator.of_perceptrons : one that is ready.

    Notes
    -----
    All fields have parameters of one type and library; that of the paths.

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde import fields, gan
    >>> generator = gan.Generator(
    ...     fields.Linear([[1.0]]),
    ...     fields.Scale(-1.0),
    ...     fields.Constant([[0.5]]),
    ...     fields.Linear([[2.0]]),
    ...     initial_noise=1,
    ...     noise=1,
    ... )
    >>> paths = generator(np.linspace(0, 1, 11), 20000, seed=1)
    >>> paths.shape
    (20000, 11, 1)
    >>> np.allclose(paths[:, 0].std(), 2, rtol=0.02)
    True
    """

    def __init__(self, initial, drift, diffusion, readout, *, initial_noise, noise):
        self.fields = (initial, drift, diffusion, readout)
        check_fields(self.fields, ("initial", "drift", "diffusion", "readout"))
        self.initial_noise = integer(initial_noise, "initial_noise", 1, 1 << 31)
        self.noise = integer(noise, "noise", 1, 1 << 31)

    @classmethod
    def of_perceptrons(
        cls,
        channels,
        *,
        hidden=16,
        width=16,
        noise=3,
        initial_noise=5,
        initial_factor=3.0,
        field_factor=0.5,
        seed=None,
        dtype: Any = FLOAT64,
        like=None,
    ):
        """
        Make a generator of perceptrons with one hidden layer, and a linear readout.

        Parameters
        ----------
        channels : int
            Of the paths.
        hidden : int
            Channels of the state.
        width : int
            Channels of the hidden layers.
        noise, initial_noise : int
            As for `Generator`.
        initial_factor, field_factor : float
            What the initial parameters of ζ, and those of the other fields, are multiplied by:
            a spread of initial states, and slow movements, are a good beginning.
        seed, dtype, like
            As for `fields.MLP`.

        Returns
        -------
        Generator

        Examples
        --------
        >>> from pysig.sde import gan
        >>> generator = gan.Generator.of_perceptrons(2, seed=0, dtype="float32")
        >>> generator([0.0, 1.0, 2.5], batch=4, seed=1).shape
        (4, 3, 2)
        """
        options = {"seed": np.random.default_rng(seed), "dtype": dtype, "like": like}
        initial = MLP((initial_noise, width, hidden), with_time=False, **options)
        drift = MLP((hidden, width, hidden), final="tanh", **options)
        diffusion = Sequential(
            MLP((hidden, width, hidden * noise), final="tanh", **options), Reshape((hidden, noise))
        )
        readout = random_linear(hidden, channels, options)
        return cls(
            scaled(initial, initial_factor),
            scaled(drift, field_factor),
            scaled(diffusion, field_factor),
            scaled(readout, field_factor),
            initial_noise=initial_noise,
            noise=noise,
        )

    def __call__(self, ts, batch, *, seed=None):
        """
        Generate paths.

        Parameters
        ----------
        ts : array_like, shape (points,)
            Strictly rising times, at least two.
        batch : int
            The number of paths.
        seed : None, int, sequence of int or numpy.random.SeedSequence
            Where the random numbers come from; path i depends on the seed and i only.

        Returns
        -------
        ndarray, shape (batch, points, channels)
        """
        ts, normals, brownian = self._random(ts, batch, seed)
        initial, drift, diffusion, readout = self.fields
        x0 = initial(ts[0], normals)
        xs = sdeint(drift, diffusion, x0, ts, brownian, dt=longest(ts), noise="general")
        return batch_first(readout(ts[0], xs))

    def forward(self, ts, batch, *, seed=None):
        """Generate paths, and return them with the residuals; the parameters are those of a call.

        The residuals take a few states, whatever the number of times, beside the states at the
        times, which the gradient of the readout needs.
        """
        ts, normals, brownian = self._random(ts, batch, seed)
        initial, drift, diffusion, readout = self.fields
        x0, initial_residuals = initial.forward(ts[0], normals)
        xs, solution = sdeint_forward(
            drift, diffusion, x0, ts, brownian, dt=longest(ts), noise="general"
        )
        ys, readout_residuals = readout.forward(ts[0], xs)
        paths = batch_first(ys)
        return paths, GeneratorResiduals(
            initial_residuals, solution, readout_residuals, paths.shape
        )

    def backward(self, residuals, grad):
        """
        Return the gradients with respect to the parameters.

        Parameters
        ----------
        residuals : GeneratorResiduals
            From `forward`.
        grad : array_like, shape (batch, points, channels)
            Gradient with respect to the paths.

        Returns
        -------
        tuple of array
            In the order of `parameters`.
        """
        check_residuals(residuals, GeneratorResiduals)
        initial, _, _, readout = self.fields
        grad = checked_gradient(grad, residuals.shape, self.parameters[0])
        grad_xs, grad_readout = readout.backward(residuals.readout, batch_first(grad))
        solution = sdeint_backward(residuals.solution, grad_xs)
        _, grad_initial = initial.backward(residuals.initial, solution.y0)
        return (
            *grad_initial,
            *solution.drift_parameters,
            *solution.diffusion_parameters,
            *grad_readout,
        )

    def _random(self, ts, batch, seed):
        """Return the checked times, the normal numbers for the beginning, and the noise."""
        ts = check_ts(ts)
        batch = integer(batch, "batch", 0, 1 << 40)
        first = self.parameters[0]
        seed = np.random.SeedSequence().entropy if seed is None else seed
        options = {"dtype": first.dtype, "like": first if is_cupy(first) else None}
        shape = (batch, self.initial_noise)
        normals = BrownianInterval(0, 1, shape, seed=child_seed(seed, 0), **options)(0, 1)
        brownian = BrownianInterval(
            ts[0],
            ts[-1],
            (batch, self.noise),
            seed=child_seed(seed, 1),
            tolerance=float(np.diff(ts).min()) / 2,
            **options,
        )
        return ts, normals, brownian


class Discriminator(Composite):
    """
    Scores of paths: a linear function of where an equation ends that a path drives.

    Parameters
    ----------
    initial : Field
        ξ, a function of time and the first point (..., channels), of shape (..., hidden).
    field : Field
        F, a function of time and state, of shape (..., hidden, 1 + 2 channels).
    readout : Field
        m, which makes the score (..., 1) of the last state.
    with_lag : bool
        Whether the path that lags behind drives the equation, too. Without, F is of the shape
        (..., hidden, 1 + channels).

    Attributes
    ----------
    fields, parameters, is_weight
        The three fields, and what they have.

    See Also
    --------
    Discriminator.of_perceptrons : one that is ready.

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde import fields, gan
    >>> discriminator = gan.Discriminator.of_perceptrons(1, seed=0)
    >>> discriminator = fields.clip_weights(discriminator)
    >>> ts = np.linspace(0, 3, 7)
    >>> scores, residuals = discriminator.forward(ts, np.sin(ts)[:, None] * np.ones((4, 1, 1)))
    >>> scores.shape
    (4,)
    >>> grad_paths, grad_parameters = discriminator.backward(residuals, np.ones(4))
    >>> grad_paths.shape
    (4, 7, 1)
    """

    def __init__(self, initial, field, readout, *, with_lag=True):
        self.fields = (initial, field, readout)
        check_fields(self.fields, ("initial", "field", "readout"))
        self.with_lag = boolean(with_lag, "with_lag")

    @classmethod
    def of_perceptrons(
        cls,
        channels,
        *,
        hidden=16,
        width=16,
        with_lag=True,
        seed=None,
        dtype: Any = FLOAT64,
        like=None,
    ):
        """
        Make a discriminator of perceptrons with one hidden layer, and a linear readout.

        Parameters
        ----------
        channels : int
            Of the paths.
        hidden : int
            Channels of the state.
        width : int
            Channels of the hidden layers.
        with_lag : bool
            As for `Discriminator`.
        seed, dtype, like
            As for `fields.MLP`.

        Returns
        -------
        Discriminator
        """
        options = {"seed": np.random.default_rng(seed), "dtype": dtype, "like": like}
        initial = MLP((channels, width, hidden), **options)
        driver = 1 + channels * (2 if with_lag else 1)
        field = Sequential(
            MLP((hidden, width, hidden * driver), final="tanh", **options),
            Reshape((hidden, driver)),
        )
        return cls(initial, field, random_linear(hidden, 1, options), with_lag=with_lag)

    def __call__(self, ts, paths):
        """
        Score paths.

        Parameters
        ----------
        ts : array_like, shape (points,)
            Strictly rising times, at least two.
        paths : array_like, shape (batch, points, channels)
            Of the type and library of the parameters.

        Returns
        -------
        ndarray, shape (batch,)
        """
        ts, paths, driver = self._driver(ts, paths)
        initial, field, readout = self.fields
        h0 = initial(ts[0], paths[:, 0])
        hs = cdeint(field, h0, driver, times=ts, ts=ts[[0, -1]])
        return readout(ts[-1], hs[-1])[:, 0]

    def forward(self, ts, paths):
        """Score paths, and return the scores with the residuals, which are a few states."""
        ts, paths, driver = self._driver(ts, paths)
        initial, field, readout = self.fields
        h0, initial_residuals = initial.forward(ts[0], paths[:, 0])
        hs, solution = cdeint_forward(field, h0, driver, times=ts, ts=ts[[0, -1]])
        scores, readout_residuals = readout.forward(ts[-1], hs[-1])
        return scores[:, 0], DiscriminatorResiduals(
            initial_residuals, solution, readout_residuals, paths.shape
        )

    def backward(self, residuals, grad):
        """
        Return the gradients with respect to the paths and the parameters.

        Parameters
        ----------
        residuals : DiscriminatorResiduals
            From `forward`.
        grad : array_like, shape (batch,)
            Gradient with respect to the scores.

        Returns
        -------
        grad_paths : ndarray, shape (batch, points, channels)
        grad_parameters : tuple of array
            In the order of `parameters`.
        """
        check_residuals(residuals, DiscriminatorResiduals)
        initial, _, readout = self.fields
        first = self.parameters[0]
        grad = checked_gradient(grad, residuals.shape[:1], first)
        grad_h, grad_readout = readout.backward(residuals.readout, grad[:, None])
        with device_of(first):
            grad_hs = namespace_of(first).zeros((2, *grad_h.shape), grad_h.dtype)
            grad_hs[1] = grad_h
            solution = cdeint_backward(residuals.solution, grad_hs)
            grad_start, grad_initial = initial.backward(residuals.initial, solution.y0)
            channels = residuals.shape[2]
            grad_paths = namespace_of(first).ascontiguousarray(solution.path[..., 1 : 1 + channels])
            grad_paths[:, 0] += grad_start
            if self.with_lag:
                grad_paths[:, :-1] += solution.path[:, 1:, 1 + channels :]
                grad_paths[:, 0] += solution.path[:, 0, 1 + channels :]
        return grad_paths, (*grad_initial, *solution.field_parameters, *grad_readout)

    def _driver(self, ts, paths):
        """Return the checked times and paths, and what drives the equation."""
        ts, first = check_ts(ts), self.parameters[0]
        paths = real_array(paths, "paths", first.dtype)
        if paths.ndim != 3 or paths.shape[1] != len(ts):
            raise ValueError(
                f"paths must have the shape (batch, {len(ts)}, channels), not {paths.shape}"
            )
        with device_of(paths):
            xp = namespace_of(paths)
            channels = paths.shape[2]
            width = 1 + channels * (2 if self.with_lag else 1)
            driver = xp.empty((*paths.shape[:2], width), paths.dtype)
            driver[..., 0] = xp.asarray(ts)
            driver[..., 1 : 1 + channels] = paths
            if self.with_lag:
                driver[:, 0, 1 + channels :] = paths[:, 0]
                driver[:, 1:, 1 + channels :] = paths[:, :-1]
        return ts, paths, driver


def wasserstein_loss(generated, real):
    r"""
    Return how much higher generated paths score than real ones, in the mean.

    The discriminator is trained to make it small, and the generator to make it large:
    ``-wasserstein_loss`` is the distance that the discriminator knows of.

    Parameters
    ----------
    generated, real : array_like, shape (batch,)
        Scores, at least one each.

    Returns
    -------
    NumPy or CuPy number

    Raises
    ------
    ValueError
        If there are no scores, or they have another number of axes.
    TypeError
        If they have different types.

    See Also
    --------
    wasserstein_loss_forward, wasserstein_loss_backward : the same with gradients.

    Examples
    --------
    >>> from pysig.sde import gan
    >>> print(gan.wasserstein_loss([1.0, 2.0], [4.0]))
    -2.5
    """
    generated, real = checked_scores(generated, real)
    with device_of(generated):
        return generated.mean() - real.mean()


def wasserstein_loss_forward(generated, real):
    """
    Return `wasserstein_loss` and the residuals.

    Examples
    --------
    >>> from pysig.sde import gan
    >>> loss, residuals = gan.wasserstein_loss_forward([1.0, 2.0], [4.0])
    >>> gan.wasserstein_loss_backward(residuals, 1.0)
    WassersteinLossGradients(generated=array([0.5, 0.5]), real=array([-1.]))
    """
    residuals = WassersteinLossResiduals(*checked_scores(generated, real))
    return wasserstein_loss(*residuals), residuals


def wasserstein_loss_backward(residuals, grad):
    """
    Return the gradients with respect to the scores.

    Parameters
    ----------
    residuals : WassersteinLossResiduals
        From `wasserstein_loss_forward`.
    grad : float
        Gradient with respect to the loss.

    Returns
    -------
    WassersteinLossGradients
    """
    check_residuals(residuals, WassersteinLossResiduals)
    generated, real = residuals
    with device_of(generated):
        xp = namespace_of(generated)
        return WassersteinLossGradients(
            xp.full_like(generated, grad / generated.size), xp.full_like(real, -grad / real.size)
        )


def checked_scores(generated, real):
    """Return two arrays of scores, of one type and library."""
    generated, real = arrays_of_one_type({"generated": generated, "real": real})
    for name, scores in (("generated", generated), ("real", real)):
        if scores.ndim != 1 or not scores.size:
            raise ValueError(f"{name} must have the shape (batch,), not {scores.shape}")
    return generated, real


def check_fields(fields, names):
    """Raise TypeError unless all of these are fields with parameters that can be exchanged."""
    wanted = ("forward", "backward", "parameters", "with_parameters")
    for field, name in zip(fields, names, strict=True):
        missing = [attribute for attribute in wanted if not hasattr(field, attribute)]
        if missing:
            raise TypeError(
                f"{name} must have {missing[0]}, which a {type(field).__name__} has not"
            )


def random_linear(inputs, outputs, options):
    """Return a linear map with random parameters, those of a perceptron without hidden layers."""
    return Linear(*MLP((inputs, outputs), with_time=False, **options).parameters)


def scaled(field, factor):
    """Return a field with all parameters multiplied by a number."""
    with device_of(field.parameters[0]):
        return field.with_parameters([parameter * factor for parameter in field.parameters])


def child_seed(seed, number):
    """Return a seed that belongs to another one; `seed` itself is not changed."""
    if not isinstance(seed, np.random.SeedSequence):
        seed = np.random.SeedSequence(seed)
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, number))


def longest(ts):
    """Return a length of steps with which each step ends at the next time."""
    return float(np.diff(ts).max())


def batch_first(array):
    """Return paths, of shape (batch, points, channels), of points (points, batch, channels)."""
    with device_of(array):
        return namespace_of(array).ascontiguousarray(array.swapaxes(0, 1))
