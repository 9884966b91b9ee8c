"""Brownian motion, solvers and SDE-GANs on a GPU, against the CPU with the same random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from _gpu_measure import Limits, Timing, compare, device_timing, host_timing
from _report import digits
from _sde_problems import perceptrons

import pysig
from pysig.sde import gan


class Grid(NamedTuple):
    """Sizes: processes and steps of the Brownian motion, batch and steps of the equations."""

    processes: int
    intervals: int
    batch: int
    channels: int
    steps: int


WHOLE_GRID, TINY_GRID = Grid(1 << 20, 100, 1024, 32, 100), Grid(8, 3, 4, 3, 2)

BROWNIAN_HEADER = ("what", "ms", "ns a number", "of bytes", "CPU / GPU")


def brownian_rows(
    cupy: Any, grid: Grid, dtype: str, limits: Limits, repeats: int
) -> list[list[str]]:
    """Compare grids and single queries with the CPU, and return a line for each."""
    ts = np.linspace(0, 1, grid.intervals + 1)
    rows = []
    for area in (None, "space-time"):
        for name, times in ((f"grid of {grid.intervals}", ts), ("one interval", ts[1:3])):
            there, here = (motion(like, grid, area, dtype) for like in (cupy.empty(0, dtype), None))
            line = brownian_row(cupy, there, here, times, dtype, limits, repeats)
            rows.append([f"{name}, {area or 'W'}", *line])
    return rows


def motion(like: Any, grid: Grid, area: str | None, dtype: str) -> pysig.BrownianInterval:
    """Return a Brownian motion of CuPy's arrays, like the one given, or of NumPy's."""
    return pysig.BrownianInterval(
        0, 1, (grid.processes,), seed=1, dtype=dtype, levy_area=area, like=like,
        tolerance=1 / grid.intervals,
    )  # fmt: skip


def brownian_row(
    cupy: Any, there: Any, here: Any, times: np.ndarray, dtype: str, limits: Limits, repeats: int
) -> list[str]:
    """Compare the increments between times, and return the numbers of a line."""
    parts = [increments if isinstance(increments, tuple) else (increments,)
             for increments in (there.increments(times), here.increments(times))]  # fmt: skip
    for one, other in zip(*parts, strict=True):
        compare(cupy, one, other, dtype)
    size, count = (sum(getattr(part, name) for part in parts[1]) for name in ("nbytes", "size"))
    on_gpu = device_timing(cupy, lambda: there.increments(times), repeats)
    on_cpu = host_timing(lambda: here.increments(times), 2)
    return [
        on_gpu.cell(),
        digits(on_gpu.minimum / count * 1e9),
        f"{size / on_gpu.minimum / limits.bytes:.0%}",
        digits(on_cpu.minimum / on_gpu.minimum),
    ]


SOLVER_HEADER = ("problem", "forward ms", "with gradient ms", "CPU / GPU", "CPU / GPU, gradient")


def solver_rows(cupy: Any, grid: Grid, dtype: str, repeats: int) -> list[list[str]]:
    """Compare solutions and gradients with the CPU, and return a line for each problem."""
    rows = []
    for name, make in (
        ("perceptrons, diagonal", lambda xp: equation(xp, grid, None, dtype)),
        ("perceptrons, general", lambda xp: equation(xp, grid, 8, dtype)),
        ("step of an SDE-GAN", lambda xp: gan_step(xp, grid, dtype)),
    ):
        forward, whole = make(cupy)
        cpu_forward, cpu_whole = make(np)
        for one, other in zip(whole(), cpu_whole(), strict=True):
            compare(cupy, one, other, dtype)
        on_gpu = [device_timing(cupy, call, repeats) for call in (forward, whole)]
        on_cpu: list[Timing] = [host_timing(call, 2) for call in (cpu_forward, cpu_whole)]
        ratios = [digits(c.minimum / g.minimum) for c, g in zip(on_cpu, on_gpu, strict=True)]
        rows.append([name, *(timing.cell() for timing in on_gpu), *ratios])
    return rows


def moved(xp: Any, field: Any) -> Any:
    """Return a field with parameters of a library."""
    return field.with_parameters([xp.asarray(parameter) for parameter in field.parameters])


def equation(
    xp: Any, grid: Grid, noise_channels: int | None, dtype: str
) -> tuple[Callable[[], Any], Callable[[], list[Any]]]:
    """Return calls that solve an SDE of perceptrons, and that give its gradients."""
    problem = perceptrons(noise_channels, grid.batch, grid.channels, 2 * grid.channels, dtype)
    if xp is not np:
        problem = problem.moved(xp.asarray)

    def whole() -> list[Any]:
        gradients = problem.gradients(grid.steps)
        return [gradients.y0, *gradients.drift_parameters, *gradients.diffusion_parameters]

    return lambda: problem.forward(grid.steps), whole


def gan_step(xp: Any, grid: Grid, dtype: str) -> tuple[Callable[[], Any], Callable[[], list[Any]]]:
    """Return calls that generate and score paths, and that give all gradients of a step."""
    generator = moved(xp, gan.Generator.of_perceptrons(1, seed=0, dtype=dtype))
    discriminator = moved(xp, gan.Discriminator.of_perceptrons(1, seed=1, dtype=dtype))
    ts, signs = np.linspace(0, 8, 1 + grid.steps), xp.ones(grid.batch, dtype)

    def forward() -> Any:
        return discriminator(ts, generator(ts, grid.batch, seed=2))

    def whole() -> list[Any]:
        paths, of_generator = generator.forward(ts, grid.batch, seed=2)
        scores, of_discriminator = discriminator.forward(ts, paths)
        grad_paths, gradients = discriminator.backward(of_discriminator, signs)
        return [paths, scores, *gradients, *generator.backward(of_generator, grad_paths)]

    return forward, whole
