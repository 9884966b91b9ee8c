"""The equations that the benchmarks of solvers solve, and NumPy loops of the same methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import pysig
from pysig.sde import fields

METHODS = ("euler", "milstein", "srk", "reversible_heun", "midpoint", "heun", "euler_heun")
GROWTH, LEVEL = np.float32(0.1), np.float32(0.2)  # of geometric Brownian motion
BLOCK = 250  # steps whose noise a loop asks for in one call


class Perceptrons(NamedTuple):
    """Drift and diffusion of the SDE of perceptrons; the channels of its noise, or None."""

    batch: int
    channels: int
    hidden: int
    noise_channels: int | None
    drift: Any
    diffusion: Any
    y0: Any
    move: Callable[[np.ndarray], Any] = np.asarray  # to the library of the fields

    @property
    def noise(self) -> str:
        return "diagonal" if self.noise_channels is None else "general"

    @property
    def noise_shape(self) -> tuple[int, int]:
        return self.batch, self.noise_channels or self.channels

    def brownian(self, steps: int) -> pysig.BrownianInterval:
        like = self.drift.parameters[0]
        return pysig.BrownianInterval(
            0, 1, self.noise_shape, seed=1, dtype=like.dtype, tolerance=1 / steps,
            like=None if isinstance(like, np.ndarray) else like,
        )  # fmt: skip

    def moved(self, move: Callable[[np.ndarray], Any]) -> Perceptrons:
        """Return the same equation with arrays of another library."""
        drift, diffusion = (
            field.with_parameters([move(parameter) for parameter in field.parameters])
            for field in (self.drift, self.diffusion)
        )
        return self._replace(drift=drift, diffusion=diffusion, y0=move(self.y0), move=move)

    def forward(self, steps: int) -> np.ndarray:
        return pysig.sdeint(
            self.drift, self.diffusion, self.y0, [0, 1], self.brownian(steps), dt=1 / steps,
            noise=self.noise,
        )  # fmt: skip

    def gradients(self, steps: int) -> Any:
        ys, residuals = pysig.sdeint_forward(
            self.drift, self.diffusion, self.y0, [0, 1], self.brownian(steps), dt=1 / steps,
            noise=self.noise,
        )  # fmt: skip
        return pysig.sdeint_backward(residuals, self.move(np.ones(ys.shape, ys.dtype)))

    def without_fields(self) -> Perceptrons:
        """Return the equation with fields that cost next to nothing, for what else there is."""
        factor = self.drift.parameters[0].dtype.type(0.1)
        diffusion: Any = fields.Scale(factor)
        if self.noise_channels is not None:
            diffusion = fields.Constant(np.full((self.channels, self.noise_channels), factor))
        return self._replace(drift=fields.Scale(factor), diffusion=diffusion)


def perceptrons(
    noise_channels: int | None,
    batch: int = 1024,
    channels: int = 32,
    hidden: int = 64,
    dtype: Any = np.float32,
) -> Perceptrons:
    """Make the SDE: both fields have one hidden layer with SiLU, and do not see the time."""
    options: dict[str, Any] = {"with_time": False, "dtype": dtype}
    outputs = channels * (noise_channels or 1)
    drift = fields.MLP((channels, hidden, channels), "silu", seed=1, **options)
    diffusion: Any = fields.MLP((channels, hidden, outputs), "silu", seed=2, **options)
    if noise_channels is not None:
        diffusion = fields.Sequential(diffusion, fields.Reshape((channels, noise_channels)))
    y0 = np.random.default_rng(0).normal(size=(batch, channels)).astype(dtype)
    return Perceptrons(batch, channels, hidden, noise_channels, drift, diffusion, y0)


# ------------------------------------------------------------------ geometric Brownian motion


def brownian(method: str, paths: int, steps: int) -> pysig.BrownianInterval:
    area = "space-time" if method == "srk" else None
    return pysig.BrownianInterval(
        0, 1, (paths, 1), seed=1, dtype=np.float32, levy_area=area, tolerance=1 / steps
    )


def with_callables(method: str, paths: int, steps: int) -> np.ndarray:
    return pysig.sdeint(
        lambda t, y: GROWTH * y,
        lambda t, y: LEVEL * y,
        np.ones((paths, 1), np.float32),
        [0, 1],
        brownian(method, paths, steps),
        dt=1 / steps,
        method=method,
    )[-1]


def with_fields(method: str, paths: int, steps: int) -> np.ndarray:
    return pysig.sdeint(
        fields.Scale(GROWTH),
        fields.Scale(LEVEL),
        np.ones((paths, 1), np.float32),
        [0, 1],
        brownian(method, paths, steps),
        dt=1 / steps,
        method=method,
    )[-1]


def increments(method: str, paths: int, steps: int) -> Iterator[Any]:
    """The noise of all steps, or pairs of W and H: that of the solvers above."""
    motion = brownian(method, paths, steps)
    times = np.linspace(0, 1, steps + 1)
    for begin in range(0, steps, BLOCK):
        parts: Any = motion.increments(times[begin : begin + BLOCK + 1])
        yield from zip(*parts, strict=True) if isinstance(parts, tuple) else parts


def with_loop(method: str, paths: int, steps: int) -> np.ndarray:
    """What one would write by hand, with the same noise."""
    y, h = np.ones((paths, 1), np.float32), np.float32(1 / steps)
    if method == "reversible_heun":
        return reversible_heun(y, h, increments(method, paths, steps))
    step = STEPS[method]
    for w in increments(method, paths, steps):
        y = step(y, h, w)
    return y


def f(y: np.ndarray) -> np.ndarray:
    return GROWTH * y


def g(y: np.ndarray) -> np.ndarray:
    return LEVEL * y


def reversible_heun(y: np.ndarray, h: Any, noise: Iterator[np.ndarray]) -> np.ndarray:
    z, fz, gz = y, f(y), g(y)
    for w in noise:
        before = fz * h + gz * w
        z = 2 * y - z + before
        fz, gz = f(z), g(z)
        y = y + (before + fz * h + gz * w) / 2
    return y


def euler(y: np.ndarray, h: Any, w: np.ndarray) -> np.ndarray:
    return y + f(y) * h + g(y) * w


def milstein(y: np.ndarray, h: Any, w: np.ndarray) -> np.ndarray:
    root = np.float32(math.sqrt(h))
    fy, gy = f(y), g(y)
    support = y + fy * h + gy * root
    return y + fy * h + gy * w + (g(support) - gy) * (w * w - h) / (2 * root)


def srk(y: np.ndarray, h: Any, noise: Any) -> np.ndarray:
    w, area = noise
    root = np.float32(math.sqrt(h))
    i10, i11, i111 = w / 2 + area, (w * w - h) / (2 * root), w * (w * w - 3 * h) / (6 * h)
    f1, g1 = f(y) * h, g(y)
    f2 = f(y + f1 * np.float32(0.75) + g1 * i10 * np.float32(1.5)) * h
    quarter = y + f1 / 4
    g2 = g(quarter + g1 * (root / 2))
    g3 = g(y + f1 - g1 * root)
    g4 = g(quarter + (g2 * 3 - g1 * 5 + g3 / 2) * root)
    return (
        y
        + (f1 + 2 * f2) / 3
        + g1 * (2 * i10 - w - i11 - 2 * i111)
        + g2 * (4 * (w + i11 - i10) + 5 * i111) / 3
        + g3 * (2 * (w - i10 - i111) - i11) / 3
        + g4 * i111
    )


def midpoint(y: np.ndarray, h: Any, w: np.ndarray) -> np.ndarray:
    middle = y + f(y) * (h / 2) + g(y) * w / 2
    return y + f(middle) * h + g(middle) * w


def heun(y: np.ndarray, h: Any, w: np.ndarray) -> np.ndarray:
    before = f(y) * h + g(y) * w
    z = y + before
    return y + (before + f(z) * h + g(z) * w) / 2


def euler_heun(y: np.ndarray, h: Any, w: np.ndarray) -> np.ndarray:
    gy = g(y) * w
    return y + f(y) * h + (gy + g(y + gy) * w) / 2


STEPS: dict[str, Callable[[Any, Any, Any], np.ndarray]] = {
    "euler": euler,
    "milstein": milstein,
    "srk": srk,
    "midpoint": midpoint,
    "heun": heun,
    "euler_heun": euler_heun,
}


# --------------------------------------------------------------------------------- small problems


def small(method: str, steps: int, built_in: bool) -> np.ndarray:
    """One path of two channels."""
    drift: Any = fields.Linear([[-0.1, 1.0], [-1.0, -0.1]])
    diffusion: Any = fields.Scale([0.1, 0.2])
    if not built_in:
        matrix = np.array([[-0.1, -1.0], [1.0, -0.1]])
        levels = np.array([0.1, 0.2])
        drift, diffusion = (lambda t, y: y @ matrix), (lambda t, y: levels * y)
    area = "space-time" if method == "srk" else None
    motion = pysig.BrownianInterval(0, 1, (1, 2), seed=1, levy_area=area, tolerance=1 / steps)
    return pysig.sdeint(
        drift, diffusion, np.ones((1, 2)), [0, 1], motion, dt=1 / steps, method=method
    )[-1]
