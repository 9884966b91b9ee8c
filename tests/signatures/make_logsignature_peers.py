"""Store logsignatures and gradients of other libraries, for ``test_logsignature_peers.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``logsignature_peers.npz`` next to itself: the results do not depend on this library in any way.
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
    (17, 12, 3, 4),
    (1, 25, 4, 4),
    (10, 15, 5, 3),
    (1, 8, 7, 3),
    (9, 20, 12, 2),
]
METHODS = {"expand": 0, "words": 1, "brackets": 2}


def brownian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return paths of total size about one."""
    return np.cumsum(rng.standard_normal(shape), axis=1) / np.sqrt(shape[1])


def main() -> None:
    rng = np.random.default_rng(2025)
    arrays: dict[str, np.ndarray] = {
        "versions": np.array([f"{name} {version(name)}" for name in ("pysiglib", "iisignature")]),
        "sizes": np.array(SIZES),
    }
    for i, (batch, length, channels, depth) in enumerate(SIZES):
        path = brownian(rng, batch, length, channels)
        arrays[f"path_{i}"] = path
        signature = pysiglib.sig(path, depth)
        for mode, method in METHODS.items():
            pysiglib.prepare_log_sig(channels, depth, method)
            value = pysiglib.log_sig(path, depth, method=method)
            grad = rng.integers(-8, 9, value.shape) / 4
            through = pysiglib.sig_to_log_sig_backprop(
                signature, grad, channels, depth, method=method
            )
            arrays[f"{mode}_{i}"] = value
            arrays[f"{mode}_grad_{i}"] = grad.astype(np.float16)  # these numbers are exact in it
            arrays[f"{mode}_gradient_{i}"] = pysiglib.sig_backprop(path, signature, through, depth)
        prepared = iisignature.prepare(channels, depth, "S")
        arrays[f"iisignature_{i}"] = iisignature.logsig(path, prepared, "S")
    file = Path(__file__).with_name("logsignature_peers.npz")
    np.savez_compressed(file, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
