"""Store products computed by other libraries, for ``test_product.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``product_peers.npz`` next to itself: the results do not depend on this library in any way.
"""

from __future__ import annotations

from pathlib import Path

import iisignature  # type: ignore[import-not-found]
import numpy as np
import pysiglib  # type: ignore[import-not-found]

SIZES = [
    (3, 2, 6),
    (2, 3, 4),
    (2, 4, 4),
    (1, 5, 3),
    (2, 7, 3),
    (1, 12, 2),
]  # batch, channels, depth


def main() -> None:
    rng = np.random.default_rng(2025)
    arrays: dict[str, np.ndarray] = {"sizes": np.array(SIZES)}
    for i, (batch, channels, depth) in enumerate(SIZES):
        paths = np.cumsum(rng.standard_normal((2, batch, 12, channels)), axis=2) / 4
        first, second = (iisignature.sig(path, depth) for path in paths)
        grad = rng.integers(-8, 9, first.shape) / 4
        arrays[f"first_{i}"], arrays[f"second_{i}"] = first, second
        arrays[f"grad_{i}"] = grad.astype(np.float16)  # these numbers are exact in it
        arrays[f"pysiglib_{i}"] = pysiglib.sig_combine(first, second, channels, depth)
        arrays[f"iisignature_{i}"] = iisignature.sigcombine(first, second, channels, depth)
        gradients = pysiglib.sig_combine_backprop(grad, first, second, channels, depth)
        arrays[f"first_gradient_{i}"], arrays[f"second_gradient_{i}"] = gradients
    np.savez_compressed(Path(__file__).with_name("product_peers.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
