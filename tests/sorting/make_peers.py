"""Store soft sorts, soft ranks and gradients computed by torchsort, for ``test_peers.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``peers.npz`` next to itself: the results do not depend on this library in any way.

Everything is in float64. torchsort's results in float32 are not accurate enough to be compared
with. Two inputs show where it is wrong: its "kl" gradients are not numbers where entries divided by
the strength exceed about 700 (``large``), and in gradients it takes neighbouring blocks for one if
their values differ by less than 1e-9 (``tiny``). It sorts equal entries in no particular order, so
that only ranks get any here.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
import torchsort  # type: ignore[import-not-found]

FUNCTIONS = ["soft_sort", "soft_rank"]
REGULARIZATIONS = ["l2", "kl"]
STRENGTHS = [0.1, 1.0, 10.0]
SIZES = [(3, 1), (4, 2), (5, 7), (3, 20), (2, 64), (1, 200)]
SPEARMAN_SIZES = [(1, 5), (3, 12), (2, 40)]


def with_gradient(
    function: str, x: np.ndarray, grad: np.ndarray, regularization: str, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    tensor = torch.tensor(x, requires_grad=True)
    options = {"regularization": regularization, "regularization_strength": strength}
    value = getattr(torchsort, function)(tensor, **options)
    (gradient,) = torch.autograd.grad(value, tensor, torch.tensor(grad))
    return value.detach().numpy(), gradient.numpy()


def spearman(
    prediction: np.ndarray, target: np.ndarray, regularization: str, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return 1 - the correlation of soft ranks, both soft, and the gradient of its sum."""
    options = {"regularization": regularization, "regularization_strength": strength}
    tensor = torch.tensor(prediction, requires_grad=True)
    units = []
    for each in (tensor, torch.tensor(target)):
        ranks = torchsort.soft_rank(each, **options)
        ranks = ranks - ranks.mean(-1, keepdim=True)
        units.append(ranks / ranks.norm(dim=-1, keepdim=True))
    losses = 1 - (units[0] * units[1]).sum(-1)
    (gradient,) = torch.autograd.grad(losses.sum(), tensor)
    return losses.detach().numpy(), gradient.numpy()


def main() -> None:
    rng = np.random.default_rng(2024)
    arrays: dict[str, Any] = {
        "versions": np.array([f"{name} {version(name)}" for name in ("torchsort",)]),
        "sizes": np.array(SIZES),
        "strengths": np.array(STRENGTHS),
        "spearman_sizes": np.array(SPEARMAN_SIZES),
    }

    def store(name: str, x: np.ndarray, *which: Any) -> None:
        for function, regularization, strength in which:
            case = f"{name}_{function}_{regularization}_{strength:g}"
            grad = arrays[f"{name}_grad"].astype(np.float64)
            results = with_gradient(function, x, grad, regularization, strength)
            arrays[f"{case}_value"], arrays[f"{case}_gradient"] = results

    every = [(f, r, s) for f in FUNCTIONS for r in REGULARIZATIONS for s in STRENGTHS]
    for i, size in enumerate(SIZES):
        arrays[f"{i}_x"] = rng.standard_normal(size)
        arrays[f"{i}_grad"] = (rng.integers(-8, 9, size) / 4).astype(np.float16)  # exact in it
        store(str(i), arrays[f"{i}_x"], *every)

    # Kinks: integers a whole number of 1 / strength apart, and equal ones.
    arrays["integers_x"] = np.stack(
        [[8.0, 0, 5, 3, 2, 1, 6, 7, 9], *rng.permuted([range(9)] * 3, axis=-1)]
    )
    arrays["ties_x"] = rng.integers(0, 4, (4, 9)).astype(np.float64)
    for name in ("integers", "ties"):
        arrays[f"{name}_grad"] = (rng.integers(-8, 9, (4, 9)) / 4).astype(np.float16)
    store("integers", arrays["integers_x"], *((f, "l2", s) for f in FUNCTIONS for s in STRENGTHS))
    store("ties", arrays["ties_x"], *(("soft_rank", "l2", s) for s in STRENGTHS))

    for i, size in enumerate(SPEARMAN_SIZES):
        prediction, target = arrays[f"spearman_{i}_pair"] = rng.standard_normal((2, *size))
        for regularization in REGULARIZATIONS:
            losses, gradient = spearman(prediction, target, regularization, 1.0)
            arrays[f"spearman_{i}_{regularization}_losses"] = losses
            arrays[f"spearman_{i}_{regularization}_gradient"] = gradient

    arrays["tiny_x"] = np.array([[0, 1e-11, 3e-11]])
    arrays["tiny_grad"] = np.array([[1, 0, 0]], np.float16)
    store("tiny", arrays["tiny_x"], ("soft_sort", "l2", 1e10))
    arrays["large_x"] = np.array([[0.0, 800.0, 1600.0, 1601.0]])
    arrays["large_grad"] = np.array([[1, 2, -1, 0.5]], np.float16)
    store("large", arrays["large_x"], ("soft_rank", "kl", 1.0))
    np.savez_compressed(Path(__file__).with_name("peers.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
