"""Store signature kernels and gradients computed by pysiglib, for ``test_kernel_peers.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``kernel_peers.npz`` next to itself: the results do not depend on this library in any way.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pysiglib  # type: ignore[import-not-found]

CASES = [
    # paths of x and y, their lengths, channels, dyadic orders of x and y, sigma (0: linear)
    (3, 5, 10, 12, 2, 0, 0, 0.0),
    (3, 5, 10, 12, 2, 0, 0, 0.7),
    (1, 2, 60, 45, 5, 0, 0, 0.0),
    (1, 2, 60, 45, 5, 0, 0, 2.0),
    (2, 3, 6, 9, 3, 1, 2, 0.0),
    (2, 3, 6, 9, 3, 1, 2, 1.3),
    (2, 2, 5, 4, 1, 3, 3, 0.0),
    (2, 2, 5, 4, 7, 2, 0, 0.5),
]


def main() -> None:
    rng = np.random.default_rng(2025)
    arrays: dict[str, np.ndarray] = {
        "version": np.array(version("pysiglib")),
        "cases": np.array(CASES),
    }
    for i, (*counts, x_length, y_length, channels, first, second, sigma) in enumerate(CASES):
        x, y = (
            np.cumsum(rng.standard_normal((count, length, channels)), axis=1) / np.sqrt(length)
            for count, length in zip(counts, (x_length, y_length), strict=True)
        )
        options = {
            "dyadic_order": (first, second),
            "static_kernel": pysiglib.RBFKernel(sigma) if sigma else None,
        }
        value = pysiglib.sig_kernel_gram(x, y, **options)
        grad = rng.integers(-8, 9, value.shape) / 4
        gradients = pysiglib.sig_kernel_gram_backprop(
            grad, x, y, left_deriv=True, right_deriv=True, **options
        )
        arrays |= {f"x_{i}": x, f"y_{i}": y, f"grad_{i}": grad, f"gram_{i}": value}
        arrays |= {f"x_gradient_{i}": gradients[0], f"y_gradient_{i}": gradients[1]}
    np.savez_compressed(Path(__file__).with_name("kernel_peers.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
