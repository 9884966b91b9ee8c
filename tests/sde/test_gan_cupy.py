"""Generator and discriminator on arrays of CuPy: the numbers of NumPy, without waiting."""

from __future__ import annotations

import cuda_on_cpu
import numpy as np
from numpy.testing import assert_allclose

from pysig.sde import gan, gan_training

TS = np.array([0.0, 0.5, 2.0])


def make(xp):
    """Return a generator and a discriminator with parameters of this library."""
    sizes = {"hidden": 3, "width": 4, "like": None if xp is np else xp.empty(0)}
    return (
        gan.Generator.of_perceptrons(2, noise=2, seed=1, **sizes),
        gan.Discriminator.of_perceptrons(2, seed=2, **sizes),
    )


def on_host(xp, arrays):
    assert all(isinstance(array, xp.ndarray) for array in arrays)
    return [array if xp is np else xp.asnumpy(array) for array in arrays]


def everything(xp):
    """Return paths, scores and all gradients as NumPy arrays."""
    generator, discriminator = make(xp)
    with cuda_on_cpu.no_synchronization():
        paths, of_generator = generator.forward(TS, 4, seed=3)
        scores, of_discriminator = discriminator.forward(TS, paths)
        _, of_loss = gan.wasserstein_loss_forward(scores[:2], scores[2:])
        grads = gan.wasserstein_loss_backward(of_loss, 1.0)
        grad_paths, gradients = discriminator.backward(of_discriminator, xp.concatenate([*grads]))
        arrays = [paths, scores, grad_paths, *gradients]
        arrays += generator.backward(of_generator, grad_paths)
    return on_host(xp, arrays)


def test_gan(xp):
    for one, other in zip(everything(xp), everything(np), strict=True):
        assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_training(xp, tmp_path):
    results = []
    for library in (xp, np):
        paths = library.asarray(np.cos(np.arange(30.0)).reshape(5, 3, 2))
        training = gan_training.GanTraining(*make(library), TS, paths, batch=4, total_steps=2)
        training.step()
        training.save(tmp_path / "checkpoint.npz")
        training.restore(tmp_path / "checkpoint.npz")
        training.step()
        results.append(on_host(library, training.averaged_generator.parameters))
    for one, other in zip(*results, strict=True):
        assert_allclose(one, other, rtol=1e-6, atol=1e-7)
