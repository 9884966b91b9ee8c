"""Adadelta against PyTorch's."""

from __future__ import annotations

import os

import pytest
from numpy.testing import assert_allclose

from pysig.sde.optimisers import Adadelta

if os.environ.get("PYSIG_REQUIRE_FRAMEWORKS"):
    import torch
else:
    torch = pytest.importorskip("torch")


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adadelta(weight_decay, rng):
    start, gradients = rng.normal(size=(2, 3)), rng.normal(size=(30, 2, 3))
    theirs = torch.nn.Parameter(torch.tensor(start))
    peer = torch.optim.Adadelta([theirs], lr=0.5, rho=0.95, eps=1e-5, weight_decay=weight_decay)
    ours = Adadelta(learning_rate=0.5, decay=0.95, epsilon=1e-5, weight_decay=weight_decay)
    parameters, state = (start,), ours.start((start,))
    for gradient in gradients:
        theirs.grad = torch.tensor(gradient)
        peer.step()
        parameters, state = ours.step(parameters, (gradient,), state)
        assert_allclose(parameters[0], theirs.detach().numpy(), rtol=1e-12)
