"""Training of an SDE-GAN: what a step is, checkpoints, and that something is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pysig.sde import fields, gan
from pysig.sde.gan_training import GanTraining
from pysig.sde.optimisers import Adadelta

TS = np.arange(5.0)


def make_training(steps: int = 4, **options: Any) -> GanTraining:
    paths = np.random.default_rng(0).normal(size=(20, 5, 1)).cumsum(axis=1)
    sizes: Any = {"hidden": 4, "width": 4}
    return GanTraining(
        gan.Generator.of_perceptrons(1, seed=1, **sizes),
        gan.Discriminator.of_perceptrons(1, seed=2, **sizes),
        options.pop("ts", TS),
        options.pop("paths", paths),
        **{"batch": 8, "total_steps": steps, "seed": 3} | options,
    )


def assert_same(one: GanTraining, other: GanTraining) -> None:
    assert one.step_number == other.step_number
    for name in ("generator", "discriminator", "averaged_generator"):
        pair = getattr(one, name).parameters, getattr(other, name).parameters
        for first, second in zip(*pair, strict=True):
            assert_array_equal(first, second)


def test_one_step():
    """The generator climbs, the discriminator descends, along the gradients of the same paths."""
    training = make_training(seed=(3, 4))
    before = training.generator, training.discriminator
    loss = training.step()
    generator, discriminator = before
    generated, of_generator = generator.forward(TS, 8, seed=(3, 4, 0, 0))
    drawn = np.random.default_rng((3, 4, 0, 1)).integers(20, size=8)
    both = np.concatenate([generated, training.paths[drawn]])
    scores, of_discriminator = discriminator.forward(TS, both)
    assert_allclose(loss, scores[:8].mean() - scores[8:].mean(), rtol=1e-12)
    signs = np.repeat([1 / 8, -1 / 8], 8)
    grad_paths, of_parameters = discriminator.backward(of_discriminator, signs)
    optimiser = Adadelta()
    for net, gradients, after in (
        (generator, generator.backward(of_generator, -grad_paths[:8]), training.generator),
        (discriminator, of_parameters, training.discriminator),
    ):
        stepped, _ = optimiser.step(net.parameters, gradients, optimiser.start(net.parameters))
        expected = net.with_parameters(stepped)
        if net is discriminator:
            expected = fields.clip_weights(expected)
        for one, other in zip(after.parameters, expected.parameters, strict=True):
            assert_allclose(one, other, rtol=1e-12)


def test_the_second_half_is_averaged():
    training, seen = make_training(4), []
    for _ in range(4):
        training.step()
        seen.append(training.generator.parameters[0])
        if training.step_number <= 2:
            assert training.averaged_generator is training.generator
    assert_allclose(training.averaged_generator.parameters[0], (seen[2] + seen[3]) / 2, rtol=1e-14)
    with pytest.raises(ValueError, match="all 4 steps have been made"):
        training.step()


def test_the_rate_of_the_generator_falls():
    """With the same gradients, the third of four steps is half as long as the first."""
    training, late = make_training(4), make_training(4)
    late.step_number = 2
    moved = []
    for one in (training, late):
        before = one.generator.parameters, one.discriminator.parameters
        one._update(before[0], [0.01 * p for p in before[1]])
        after = one.generator.parameters, one.discriminator.parameters
        moved.append([b[0] - a[0] for a, b in zip(after, before, strict=True)])
    assert_allclose(moved[1][0], moved[0][0] / 2, rtol=1e-9)
    assert_allclose(moved[1][1], moved[0][1], rtol=1e-9)


@pytest.mark.parametrize("made", [1, 3])
def test_resuming_changes_nothing(made, tmp_path):
    straight, begun, resumed = (make_training() for _ in range(3))
    for _ in range(4):
        straight.step()
    for _ in range(made):
        begun.step()
    begun.save(tmp_path / "checkpoint.npz")
    resumed.restore(tmp_path / "checkpoint.npz")
    assert_same(begun, resumed)
    for _ in range(4 - made):
        resumed.step()
    assert_same(straight, resumed)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_checkpoint_of_other_nets(tmp_path):
    training = make_training()
    training.save(tmp_path / "checkpoint.npz")
    training.generator = gan.Generator.of_perceptrons(1, hidden=5, width=4, seed=1)
    with pytest.raises(ValueError, match="not a checkpoint of this training: it has no generator"):
        training.restore(tmp_path / "checkpoint.npz")


def test_discriminator_stays_clipped():
    training = make_training(3, discriminator_optimiser=Adadelta(learning_rate=100.0))
    for _ in range(3):
        net = training.discriminator
        for parameter, is_weight in zip(net.parameters, net.is_weight, strict=True):
            assert not is_weight or np.abs(parameter).max() <= 1 / parameter.shape[1]
        training.step()


def test_something_is_learned():
    """Of paths that begin around 2, the generator finds where they are, and how widely spread."""
    walk = np.random.default_rng(0).normal(size=(500, 4, 1)).cumsum(axis=1)
    paths = (2 + walk / 2).astype(np.float32)
    sizes: Any = {"hidden": 8, "width": 8, "dtype": np.float32}
    training = GanTraining(
        gan.Generator.of_perceptrons(1, seed=1, **sizes),
        gan.Discriminator.of_perceptrons(1, seed=2, **sizes),
        TS[:4],
        paths,
        batch=64,
        total_steps=400,
        generator_optimiser=Adadelta(learning_rate=0.2),
        seed=0,
    )

    def wasserstein_distance(generator):
        """Of the values at a time; the mean over the times."""
        generated = np.sort(generator(TS[:4], 500, seed=9), axis=0)
        return np.abs(generated - np.sort(paths, axis=0)).mean()

    before = wasserstein_distance(training.generator)
    for _ in range(400):
        training.step()
    assert wasserstein_distance(training.averaged_generator) < before / 3


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"paths": np.zeros((20, 4, 1))}, ValueError, "paths"),
        ({"paths": np.zeros((0, 5, 1))}, ValueError, "paths"),
        ({"ts": [0.0]}, ValueError, "ts"),
        ({"batch": 0}, ValueError, "batch"),
        ({"total_steps": 0}, ValueError, "total_steps"),
    ],
)
def test_refusals(options, error, name):
    with pytest.raises(error, match=f"^{name}"):
        make_training(**options)


def test_refuses_what_is_no_net():
    net = gan.Discriminator.of_perceptrons(1, seed=0)
    with pytest.raises(TypeError, match="generator must be a Generator"):
        GanTraining(net, net, TS, np.zeros((3, 5, 1)), batch=1, total_steps=1)


def test_paths_that_are_not_finite():
    paths = np.full((20, 5, 1), np.nan)
    with pytest.raises(ValueError, match="paths must be finite"):
        make_training(paths=paths)
