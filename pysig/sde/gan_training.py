r"""Training of an SDE-GAN: both nets take a step at a time, each with its own optimiser.

A step generates a batch of paths and draws as many real ones. One backward pass through the
discriminator gives the gradient of the difference of the mean scores with respect to its own
parameters, along which it descends, and to the generated paths, along which the generator climbs.
Then the discriminator's weights are clipped. The learning rate of the generator falls linearly, to
zero at the end, while the discriminator keeps up, and the parameters of the generator are averaged
over the second half of all steps: a GAN moves around its aim.

All random numbers of a step come from the seed and the number of the step: training that is
interrupted and resumed from a checkpoint gives the same numbers as without.

The recipe is that of Kidger, Foster, Li and Lyons, "Efficient and Accurate Gradients for Neural
SDEs", NeurIPS 2021, arXiv:2105.13493.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from pysig._core.array import device_of, integer, is_cupy, namespace, namespace_of, real_array
from pysig.sde.fields import clip_weights
from pysig.sde.gan import (
    Discriminator,
    Generator,
    wasserstein_loss_backward,
    wasserstein_loss_forward,
)
from pysig.sde.optimisers import Adadelta, AdadeltaState, WeightAverage
from pysig.sde.steps import check_ts

__all__ = ["GanTraining"]


class GanTraining:
    """
    A generator and a discriminator, and what it takes to train them further.

    Parameters
    ----------
    generator : Generator
    discriminator : Discriminator
        Its weights are clipped at once. Both have parameters of one type and library.
    ts : array_like, shape (points,)
        Strictly rising times.
    paths : array_like, shape (samples, points, channels)
        The real paths; converted to the type of the parameters.
    batch : int
        How many generated and real paths a step takes. The real ones are drawn with replacement.
    total_steps : int
        How many steps there are to be.
    generator_optimiser, discriminator_optimiser : Adadelta, optional
    seed : int or sequence of int
        Where all random numbers come from.

    Attributes
    ----------
    generator, discriminator
        As they are after the last step.
    averaged_generator : Generator
        With the mean of the parameters; in the first half of the steps, the generator.
    step_number : int
        How many steps have been made.

    Raises
    ------
    ValueError
        If a value is out of range or of the wrong shape.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> from pysig.sde import gan, gan_training
    >>> training = gan_training.GanTraining(
    ...     gan.Generator.of_perceptrons(1, seed=0),
    ...     gan.Discriminator.of_perceptrons(1, seed=1),
    ...     ts=np.arange(8.0),
    ...     paths=np.random.default_rng(2).normal(size=(100, 8, 1)).cumsum(axis=1),
    ...     batch=32,
    ...     total_steps=3,
    ...     seed=3,
    ... )
    >>> losses = [training.step() for _ in range(3)]
    >>> training.step_number
    3
    >>> training.generator(np.arange(8.0), batch=5, seed=4).shape
    (5, 8, 1)
    """

    def __init__(
        self,
        generator,
        discriminator,
        ts,
        paths,
        *,
        batch,
        total_steps,
        generator_optimiser=None,
        discriminator_optimiser=None,
        seed: Any = 0,
    ):
        if not isinstance(generator, Generator):
            raise TypeError(f"generator must be a Generator, not {type(generator).__name__}")
        if not isinstance(discriminator, Discriminator):
            raise TypeError(
                f"discriminator must be a Discriminator, not {type(discriminator).__name__}"
            )
        self.generator, self.discriminator = generator, clip_weights(discriminator)
        self.ts = check_ts(ts)
        self.paths = self._checked_paths(paths)
        self.batch = integer(batch, "batch", 1, 1 << 31)
        self.generator_optimiser = generator_optimiser or Adadelta()
        self.discriminator_optimiser = discriminator_optimiser or Adadelta()
        self.total_steps = integer(total_steps, "total_steps", 1, 1 << 62)
        self.seed = seed
        self.step_number = 0
        self._average = WeightAverage()
        self._generator_state = self.generator_optimiser.start(self.generator.parameters)
        self._discriminator_state = self.discriminator_optimiser.start(
            self.discriminator.parameters
        )

    @property
    def averaged_generator(self):
        """The generator with the mean of its parameters."""
        if not self._average.count:
            return self.generator
        return self.generator.with_parameters(self._average.parameters)

    def step(self):
        """
        Train both nets for one step.

        Returns
        -------
        float
            By how much the generated paths of this step scored higher than the real ones: minus an
            estimate of their distance.

        Raises
        ------
        ValueError
            If all steps have been made.
        FloatingPointError
            If paths or scores are not finite.
        """
        if self.step_number >= self.total_steps:
            raise ValueError(f"all {self.total_steps} steps have been made")
        generated, of_generator = self.generator.forward(
            self.ts, self.batch, seed=(*self._seed_words(), self.step_number, 0)
        )
        xp = namespace_of(generated)
        with device_of(generated):
            both = xp.concatenate([generated, self._real_batch()])
        scores, of_discriminator = self.discriminator.forward(self.ts, both)
        pair = scores[: self.batch], scores[self.batch :]
        loss, of_loss = wasserstein_loss_forward(*pair)
        if not math.isfinite(loss):
            raise FloatingPointError(f"the scores are not finite in step {self.step_number}")
        grads = wasserstein_loss_backward(of_loss, 1.0)
        with device_of(scores):
            grad_scores = xp.concatenate([*grads])
        grad_paths, grad_discriminator = self.discriminator.backward(of_discriminator, grad_scores)
        grad_generator = self.generator.backward(of_generator, -grad_paths[: self.batch])
        self._update(grad_generator, grad_discriminator)
        return float(loss)

    def save(self, file):
        """
        Write a checkpoint, from which `restore` goes on.

        Parameters
        ----------
        file : path-like
            An .npz file. It is replaced at once, and never half written.
        """
        arrays = {f"{name}_{i}": array for name, i, array in self._stored()}
        arrays = {name: array.get() if is_cupy(array) else array for name, array in arrays.items()}
        temporary = Path(f"{os.fspath(file)}.part")
        with temporary.open("wb") as opened:
            np.savez(
                opened,
                step_number=self.step_number,
                average_count=self._average.count,
                **arrays,
            )
        temporary.replace(file)

    def restore(self, file):
        """
        Go on from a checkpoint that `save` has written.

        Parameters
        ----------
        file : path-like
            From a training that was made with the same arguments.

        Raises
        ------
        ValueError
            If the nets have other sizes.
        """
        with np.load(file, allow_pickle=False) as stored:
            average_count = int(stored["average_count"])
            groups = {}
            for name, i, array in self._stored(average_count > 0):
                value = stored.get(f"{name}_{i}")
                if value is None or value.shape != array.shape or value.dtype != array.dtype:
                    raise ValueError(
                        f"{file} is not a checkpoint of this training: it has no {name} {i} of "
                        f"the shape {array.shape} and {array.dtype}"
                    )
                with device_of(array):
                    groups.setdefault(name, []).append(namespace_of(array).asarray(value))
            self.step_number = int(stored["step_number"])
        self.generator = self.generator.with_parameters(groups["generator"])
        self.discriminator = self.discriminator.with_parameters(groups["discriminator"])
        self._average = WeightAverage(average_count, tuple(groups.get("average", ())))
        self._generator_state = AdadeltaState(
            tuple(groups["generator_squares"]), tuple(groups["generator_changes"])
        )
        self._discriminator_state = AdadeltaState(
            tuple(groups["discriminator_squares"]), tuple(groups["discriminator_changes"])
        )

    def _update(self, grad_generator, grad_discriminator):
        """Let both optimisers make a step."""
        factor = 1 - self.step_number / self.total_steps
        parameters, self._generator_state = self.generator_optimiser.step(
            self.generator.parameters, grad_generator, self._generator_state, factor
        )
        self.generator = self.generator.with_parameters(parameters)
        parameters, self._discriminator_state = self.discriminator_optimiser.step(
            self.discriminator.parameters, grad_discriminator, self._discriminator_state
        )
        self.discriminator = clip_weights(self.discriminator.with_parameters(parameters))
        self.step_number += 1
        if 2 * self.step_number > self.total_steps:
            self._average = self._average.add(self.generator.parameters)

    def _real_batch(self):
        """Return real paths, drawn at random."""
        generator = np.random.default_rng((*self._seed_words(), self.step_number, 1))
        index = generator.integers(len(self.paths), size=self.batch)
        return self.paths[namespace_of(self.paths).asarray(index)]

    def _seed_words(self):
        """Return the seed as a tuple of integers, to which others can be added."""
        return tuple(int(word) for word in np.atleast_1d(self.seed))

    def _stored(self, with_average=None):
        """Yield name, number and array of all that a checkpoint has."""
        groups = {
            "generator": self.generator.parameters,
            "discriminator": self.discriminator.parameters,
            "generator_squares": self._generator_state.gradients,
            "generator_changes": self._generator_state.changes,
            "discriminator_squares": self._discriminator_state.gradients,
            "discriminator_changes": self._discriminator_state.changes,
        }
        if self._average.count if with_average is None else with_average:
            groups["average"] = self._average.parameters or self.generator.parameters
        for name, arrays in groups.items():
            for i, array in enumerate(arrays):
                yield name, i, array

    def _checked_paths(self, paths):
        """Return the real paths, of the type and library of the parameters."""
        first = self.generator.parameters[0]
        paths = real_array(paths, "paths").astype(first.dtype, copy=False)
        namespace(paths=paths, parameters=first)
        if paths.ndim != 3 or paths.shape[1] != len(self.ts) or not len(paths):
            raise ValueError(
                f"paths must have the shape (samples, {len(self.ts)}, channels), not {paths.shape}"
            )
        if not bool(namespace_of(paths).isfinite(paths).all()):
            raise ValueError("paths must be finite")
        return paths
