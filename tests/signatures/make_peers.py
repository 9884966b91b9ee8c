"""Store signatures and gradients computed by other libraries, for ``test_signature_peers.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``peers.npz`` next to itself: the results do not depend on this library in any way.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import iisignature  # type: ignore[import-not-found]
import numpy as np
import pysiglib  # type: ignore[import-not-found]

SIZES = [
    # batch, length, channels, depth
    (3, 2, 3, 4),
    (2, 10, 2, 8),
    (1, 300, 2, 5),
    (2, 40, 3, 4),
    (9, 12, 2, 3),
    (1, 25, 4, 4),
    (2, 15, 5, 3),
    (1, 8, 7, 3),
    (2, 20, 12, 2),
    (17, 5, 3, 2),
    (2, 100, 1, 7),
    (1, 6, 30, 2),
    (3, 30, 6, 1),
]
STREAM_SIZES = [(2, 8, 2, 4), (1, 20, 3, 3), (3, 5, 5, 2)]


def brownian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return paths of total size about one; the drift keeps every level away from zero."""
    drift = np.linspace(0, 1, shape[1])[:, None]
    return np.cumsum(rng.standard_normal(shape), axis=1) / np.sqrt(shape[1]) + drift


def main() -> None:
    rng = np.random.default_rng(2024)
    arrays: dict[str, np.ndarray] = {
        "versions": np.array([f"{name} {version(name)}" for name in ("pysiglib", "iisignature")]),
        "sizes": np.array(SIZES),
        "stream_sizes": np.array(STREAM_SIZES),
    }
    for i, (batch, length, channels, depth) in enumerate(SIZES):
        path = brownian(rng, batch, length, channels)
        value = pysiglib.sig(path, depth)
        grad = rng.integers(-8, 9, value.shape) / 4
        arrays[f"path_{i}"] = path
        arrays[f"grad_{i}"] = grad.astype(np.float16)  # these numbers are exact in it
        arrays[f"pysiglib_{i}"] = value
        arrays[f"pysiglib_gradient_{i}"] = pysiglib.sig_backprop(path, value, grad, depth)
        arrays[f"iisignature_{i}"] = iisignature.sig(path, depth)
    for i, (batch, length, channels, depth) in enumerate(STREAM_SIZES):
        path = brownian(rng, batch, length, channels)
        arrays[f"stream_path_{i}"] = path
        arrays[f"stream_iisignature_{i}"] = iisignature.sig(path, depth, 2)
    np.savez_compressed(Path(__file__).with_name("peers.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
