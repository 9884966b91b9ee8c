"""Store solutions of an ordinary equation by diffrax's solvers, for ``test_solve_peers.py``.

Run it by hand, in an environment with the packages of ``benchmarks/peers.txt``. It writes
``peers.npz`` next to itself: the results do not depend on this library in any way.

The equation is y' = tanh(A y + b) cos(t) - y / 5. diffrax is asked for equal steps between given
times, in float64; its reversible Heun method is the one that torchsde has, too.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import diffrax  # type: ignore[import-not-found]
import jax  # type: ignore[import-not-found]
import numpy as np

SOLVERS = {
    "euler": diffrax.Euler,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "reversible_heun": diffrax.ReversibleHeun,
}
TS = np.array([0.0, 0.3, 0.5, 1.7])
STEPS = (3, 2, 10)  # between neighbouring times


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(2026)
    A, b, y0 = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3)
    times = np.concatenate(
        [
            np.linspace(start, end, count, endpoint=False)
            for start, end, count in zip(TS, TS[1:], STEPS, strict=False)
        ]
        + [TS[-1:]]
    )
    arrays: dict[str, Any] = {"A": A, "b": b, "y0": y0, "ts": TS, "times": times}
    arrays["versions"] = np.array([f"{name} {version(name)}" for name in ("diffrax", "jax")])
    field = diffrax.ODETerm(lambda t, y, args: jax.numpy.tanh(A @ y + b) * jax.numpy.cos(t) - y / 5)
    for name, solver in SOLVERS.items():
        solution = diffrax.diffeqsolve(
            field,
            solver(),
            times[0],
            times[-1],
            None,
            jax.numpy.asarray(y0),
            stepsize_controller=diffrax.StepTo(ts=times),
            saveat=diffrax.SaveAt(ts=times),
        )
        arrays[name] = np.asarray(solution.ys)
        assert arrays[name].dtype == np.float64
    np.savez_compressed(Path(__file__).with_name("peers.npz"), **arrays)


if __name__ == "__main__":
    main()
