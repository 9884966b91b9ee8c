"""Store what other libraries compute of signatures, for ``test_algebra_peers.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``algebra_peers.npz`` next to itself: the results do not depend on this library in any way.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import iisignature  # type: ignore[import-not-found]
import numpy as np
import pysiglib  # type: ignore[import-not-found]

SIZES = [
    # batch, length, channels, depth
    (3, 10, 2, 6),
    (2, 20, 3, 4),
    (4, 6, 5, 3),
    (2, 9, 1, 7),
    (3, 12, 9, 2),
]
INVARIANT_DEPTHS = [2, 4, 6]


def main() -> None:
    rng = np.random.default_rng(2025)
    arrays: dict[str, np.ndarray] = {
        "versions": np.array([f"{name} {version(name)}" for name in ("pysiglib", "iisignature")]),
        "sizes": np.array(SIZES),
        "invariant_depths": np.array(INVARIANT_DEPTHS),
    }
    for i, (batch, length, channels, depth) in enumerate(SIZES):
        path = np.cumsum(rng.uniform(-1, 2, (batch, length, channels)), axis=1) / np.sqrt(length)
        segment, scales = (rng.uniform(-2, 2, (batch, channels)) for _ in range(2))
        value = pysiglib.sig(path, depth)
        words = [
            tuple(rng.integers(0, channels, rng.integers(1, depth + 1)).tolist()) for _ in range(12)
        ]
        words = list(dict.fromkeys(words))
        chosen = np.full((len(words), depth), -1)
        for row, word in zip(chosen, words, strict=True):
            row[: len(word)] = word
        coefficients = pysiglib.sig_coef(path, words)
        prefixes = pysiglib.sig_coef(path, words, prefixes=True)
        grad = rng.integers(-8, 9, prefixes.shape) / 4
        # It writes into its arguments.
        gradient = pysiglib.sig_coef_backprop(path, words, prefixes.copy(), grad.copy())
        arrays |= {
            f"path_{i}": path,
            f"segment_{i}": segment,
            f"scales_{i}": scales,
            f"words_{i}": chosen,
            f"grad_{i}": grad,
            f"value_{i}": value,
            f"joined_{i}": pysiglib.sig_join(value, segment, channels, depth),
            f"front_{i}": pysiglib.sig_join(value, segment, channels, depth, prepend=True),
            f"iisignature_joined_{i}": iisignature.sigjoin(value, segment, depth),
            f"iisignature_scaled_{i}": iisignature.sigscale(value, scales, depth),
            f"coefficients_{i}": coefficients,
            f"gradient_{i}": gradient,
            f"extracted_{i}": pysiglib.extract_sig_coef(value, words, channels),
            f"timed_{i}": pysiglib.transform_path(path, time_aug=True),
            f"lead_lag_{i}": pysiglib.transform_path(path, lead_lag=True),
        }
    plane = np.cumsum(rng.standard_normal((4, 15, 2)), axis=1) / 4
    arrays["plane"] = plane
    for depth in INVARIANT_DEPTHS:
        prepared = iisignature.rotinv2dprepare(depth, "a")
        arrays[f"invariants_{depth}"] = iisignature.rotinv2d(plane, prepared)
        arrays[f"invariant_coefficients_{depth}"] = iisignature.rotinv2dcoeffs(prepared)[-1]
    np.savez_compressed(Path(__file__).with_name("algebra_peers.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
