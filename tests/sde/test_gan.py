"""Generator, discriminator and loss: values against loops in plain NumPy, gradients, refusals."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import pysig
from pysig.sde import fields, gan

TS = np.array([0.0, 0.5, 1.5, 2.0])
CHANNELS, BATCH = 2, 5


@pytest.fixture
def generator() -> gan.Generator:
    return gan.Generator.of_perceptrons(
        CHANNELS, hidden=3, width=4, noise=2, initial_noise=3, seed=1
    )


def make_discriminator(with_lag: bool) -> gan.Discriminator:
    return gan.Discriminator.of_perceptrons(CHANNELS, hidden=3, width=4, with_lag=with_lag, seed=2)


def reversible_heun(field: Any, ts: np.ndarray, y: np.ndarray, increments: list) -> list:
    """Solve dy = F dX, step by step, as the paper has it; return y at all times."""
    z, ys = y, [y]
    value = field(ts[0], z)
    for t, dx in zip(ts[1:], increments, strict=True):
        z = 2 * y - z + np.einsum("bhc,bc->bh", value, dx)
        new = field(t, z)
        y = y + np.einsum("bhc,bc->bh", (value + new) / 2, dx)
        value = new
        ys.append(y)
    return ys


class TestGenerator:
    def test_against_a_loop(self, generator):
        initial, drift, diffusion, readout = generator.fields
        seeds = [np.random.SeedSequence(7, spawn_key=(k,)) for k in range(2)]
        normals = pysig.BrownianInterval(0, 1, (BATCH, 3), seed=seeds[0])(0, 1)
        brownian = pysig.BrownianInterval(0, 2, (BATCH, 2), seed=seeds[1], tolerance=0.25)
        increments = [
            np.concatenate([np.full((BATCH, 1), end - start), brownian(start, end)], axis=1)
            for start, end in itertools.pairwise(TS)
        ]

        def both(t, x):
            return np.concatenate([drift(t, x)[..., None], diffusion(t, x)], axis=-1)

        xs = reversible_heun(both, TS, initial(0, normals), increments)
        expected = np.stack([readout(0, x) for x in xs], axis=1)
        assert_allclose(generator(TS, BATCH, seed=7), expected, rtol=1e-13, atol=1e-13)

    def test_forward_is_the_same(self, generator):
        paths, _ = generator.forward(TS, BATCH, seed=7)
        assert_array_equal(paths, generator(TS, BATCH, seed=7))

    def test_more_paths_begin_with_fewer(self, generator):
        more, fewer = generator(TS, 9, seed=3), generator(TS, 4, seed=3)
        assert_allclose(more[:4], fewer, rtol=1e-13, atol=1e-13)

    def test_seeds(self, generator):
        seed = np.random.SeedSequence(5)
        first, again = (generator(TS, 3, seed=seed) for _ in range(2))
        assert_array_equal(first, again)
        assert_array_equal(first, generator(TS, 3, seed=5))
        assert np.all(first != generator(TS, 3, seed=6))
        assert np.all(generator(TS, 3) != generator(TS, 3))

    def test_gradient(self, generator, rng):
        paths, residuals = generator.forward(TS, BATCH, seed=7)
        grad = rng.normal(size=paths.shape)
        gradients = generator.backward(residuals, grad)

        def value(parameters):
            return (generator.with_parameters(parameters)(TS, BATCH, seed=7) * grad).sum()

        check_directional_derivative(value, generator.parameters, gradients, rng)

    def test_law(self):
        """Of an Ornstein-Uhlenbeck process: mean and variance at the end."""
        generator = gan.Generator(
            fields.Linear([[0.5]], [1.0]),
            fields.Scale(-1.0),
            fields.Constant([[0.8]]),
            fields.Linear([[1.0]]),
            initial_noise=1,
            noise=1,
        )
        last = generator(np.linspace(0, 1, 51), 40000, seed=0)[:, -1, 0]
        variance = 0.25 * np.exp(-2) + 0.32 * (1 - np.exp(-2))
        assert_allclose(last.mean(), np.exp(-1), atol=4 * np.sqrt(variance / 40000))
        assert_allclose(last.var(), variance, rtol=4 * np.sqrt(2 / 40000))

    def test_float32_and_no_paths(self):
        generator = gan.Generator.of_perceptrons(1, seed=0, dtype=np.float32)
        paths, residuals = generator.forward(TS, 0, seed=0)
        assert paths.dtype == np.float32
        assert paths.shape == (0, 4, 1)
        for gradient in generator.backward(residuals, paths):
            assert_array_equal(gradient, 0)

    def test_can_be_pickled(self, generator):
        copied = pickle.loads(pickle.dumps(generator))
        assert_array_equal(copied(TS, 2, seed=1), generator(TS, 2, seed=1))

    @pytest.mark.parametrize(
        ("call", "error", "text"),
        [
            (lambda g: g([0.0], 3), ValueError, "ts must have the shape"),
            (lambda g: g([0.0, 0.0], 3), ValueError, "ts must rise"),
            (lambda g: g(TS, -1), ValueError, "batch must be between 0"),
            (lambda g: g(TS, 2.0), TypeError, "batch must be an integer"),
            (lambda g: g.backward(None, 1.0), TypeError, "residuals must be GeneratorResiduals"),
            (
                lambda g: g.backward(g.forward(TS, 3)[1], np.zeros((3, 4, 1))),
                ValueError,
                "grad must have the shape",
            ),
            (
                lambda g: gan.Generator(1, *g.fields[1:], initial_noise=3, noise=2),
                TypeError,
                "initial must have forward",
            ),
            (
                lambda g: gan.Generator(*g.fields, initial_noise=0, noise=2),
                ValueError,
                "initial_noise must be between 1",
            ),
        ],
    )
    def test_refusals(self, generator, call, error, text):
        with pytest.raises(error, match=text):
            call(generator)


@pytest.mark.parametrize("with_lag", [True, False])
class TestDiscriminator:
    def test_against_a_loop(self, with_lag, rng):
        discriminator = make_discriminator(with_lag)
        initial, field, readout = discriminator.fields
        paths = rng.normal(size=(BATCH, 4, CHANNELS))
        parts = [np.broadcast_to(TS[:, None], (BATCH, 4, 1)), paths]
        if with_lag:
            parts.append(paths[:, [0, 0, 1, 2]])
        increments = np.diff(np.concatenate(parts, axis=-1), axis=1)
        steps = [increments[:, k] for k in range(3)]
        hs = reversible_heun(field, TS, initial(0.0, paths[:, 0]), steps)
        expected = readout(2.0, hs[-1])[:, 0]
        assert_allclose(discriminator(TS, paths), expected, rtol=1e-13, atol=1e-13)

    def test_gradients(self, with_lag, rng):
        discriminator = make_discriminator(with_lag)
        paths, grad = rng.normal(size=(BATCH, 4, CHANNELS)), rng.normal(size=BATCH)
        scores, residuals = discriminator.forward(TS, paths)
        assert_array_equal(scores, discriminator(TS, paths))
        grad_paths, gradients = discriminator.backward(residuals, grad)

        def of_parameters(parameters):
            return discriminator.with_parameters(parameters)(TS, paths) @ grad

        check_directional_derivative(of_parameters, discriminator.parameters, gradients, rng)
        check_directional_derivative(
            lambda moved: discriminator(TS, moved[0]) @ grad, (paths,), (grad_paths,), rng
        )

    def test_clipped(self, with_lag):
        discriminator = fields.clip_weights(make_discriminator(with_lag))
        assert discriminator.with_lag == with_lag
        for parameter, is_weight in zip(
            discriminator.parameters, discriminator.is_weight, strict=True
        ):
            assert not is_weight or np.abs(parameter).max() <= 1 / parameter.shape[1]

    @pytest.mark.parametrize(
        ("call", "error", "text"),
        [
            (lambda d: d(TS, np.zeros((2, 3, 2))), ValueError, r"shape \(batch, 4, channels\)"),
            (lambda d: d(TS, np.zeros((4, 2))), ValueError, r"shape \(batch, 4, channels\)"),
            (lambda d: d(TS, np.zeros((2, 4, 3))), ValueError, r"shape \(..., 2\)"),
            (lambda d: d(TS, np.zeros((2, 4, 2), np.float32)), TypeError, "must be float64"),
            (lambda d: d.backward(None, 1.0), TypeError, "must be DiscriminatorResiduals"),
            (
                lambda d: d.backward(d.forward(TS, np.zeros((2, 4, 2)))[1], np.zeros(3)),
                ValueError,
                "grad must have the shape",
            ),
        ],
    )
    def test_refusals(self, with_lag, call, error, text):
        with pytest.raises(error, match=text):
            call(make_discriminator(with_lag))


def test_roughness_shows_with_the_lag(rng):
    """Of random fields, the mean score tells how rough paths are only if there is a lag.

    Two laws of the same paths at even points: between them, one stays and one jumps about.
    """
    ts = np.linspace(0, 1, 257)
    smooth = np.interp(ts, ts[::32], np.zeros(9)) * np.ones((512, 1))
    rough = smooth + 0.1 * rng.choice([-1.0, 1.0], size=smooth.shape)
    rough[:, [0, -1]] = 0
    differences = []
    for with_lag in (True, False):
        discriminator = gan.Discriminator.of_perceptrons(1, with_lag=with_lag, seed=3)
        scores = [discriminator(ts, paths[..., None]) for paths in (smooth, rough)]
        differences.append(abs(scores[0].mean() - scores[1].mean()))
    assert differences[0] > 5 * differences[1]


class TestLoss:
    def test_value_and_gradients(self, rng):
        generated, real = rng.normal(size=4), rng.normal(size=7)
        loss, residuals = gan.wasserstein_loss_forward(generated, real)
        assert loss == gan.wasserstein_loss(generated, real)
        assert_allclose(loss, generated.sum() / 4 - real.sum() / 7)
        gradients = gan.wasserstein_loss_backward(residuals, 2.0)
        assert_array_equal(gradients.generated, np.full(4, 0.5))
        assert_array_equal(gradients.real, np.full(7, -2 / 7))

    @pytest.mark.parametrize(
        ("generated", "error"),
        [([], ValueError), (np.zeros((2, 1)), ValueError), (np.zeros(2, np.float32), TypeError)],
    )
    def test_refusals(self, generated, error):
        with pytest.raises(error, match=r"generated|real"):
            gan.wasserstein_loss(generated, np.zeros(3))


def check_directional_derivative(value, arguments, gradients, rng):
    """Compare the gradients with a central difference in a random direction."""
    directions = [rng.normal(size=argument.shape) for argument in arguments]
    h = 1e-5

    def moved(step):
        return value([a + step * d for a, d in zip(arguments, directions, strict=True)])

    expected = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    exact = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    assert_allclose(exact, expected, rtol=1e-8, atol=1e-9)
