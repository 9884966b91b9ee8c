"""The equations of _sde_problems.py, as torchsde and diffrax solve them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from _report import progress
from _sde_problems import GROWTH, LEVEL, Perceptrons

Call = Callable[[], Any]


def installed(name: str, peer: Callable[[], Any]) -> Any:
    try:
        return peer()
    except ImportError as error:
        progress(f"{name} is missing: {error}")
        return None


class Torchsde:
    """torchsde 0.2.6; its Brownian intervals know the length of the steps."""

    def __init__(self) -> None:
        self.torch = importlib.import_module("torch")
        self.torchsde = importlib.import_module("torchsde")

    def brownian(self, shape: tuple[int, ...], steps: int, method: str = "") -> Any:
        area = "space-time" if method == "srk" else "none"
        return self.torchsde.BrownianInterval(
            0.0, 1.0, size=shape, entropy=1, dt=1 / steps, levy_area_approximation=area
        )

    def perceptrons(self, problem: Perceptrons) -> Any:
        """Make the module, with the same weights."""
        torch = self.torch

        def network(field: Any) -> Any:
            first, first_bias, last, last_bias = (
                torch.from_numpy(parameter.copy()) for parameter in field.parameters
            )
            layers = [torch.nn.Linear(*first.shape[::-1]), torch.nn.Linear(*last.shape[::-1])]
            for layer, weight, bias in zip(
                layers, (first, last), (first_bias, last_bias), strict=True
            ):
                layer.weight, layer.bias = torch.nn.Parameter(weight), torch.nn.Parameter(bias)
            return torch.nn.Sequential(layers[0], torch.nn.SiLU(), layers[1])

        class Module(torch.nn.Module):
            noise_type, sde_type = problem.noise, "stratonovich"

            def __init__(self) -> None:
                super().__init__()
                self.drift, self.diffusion = network(problem.drift), network(problem.diffusion)

            def f(self, t: Any, y: Any) -> Any:
                return self.drift(y)

            def g(self, t: Any, y: Any) -> Any:
                value = self.diffusion(y)
                if problem.noise_channels is None:
                    return value
                return value.reshape(len(y), problem.channels, problem.noise_channels)

        return Module()

    def perceptron_calls(self, problem: Perceptrons, steps: int) -> dict[str, Call]:
        torch, module = self.torch, self.perceptrons(problem)
        y0, ts = torch.from_numpy(problem.y0), torch.tensor([0.0, 1.0])
        options = {"dt": 1 / steps, "method": "reversible_heun"}

        def forward() -> None:
            with torch.no_grad():
                self.torchsde.sdeint(
                    module, y0, ts, bm=self.brownian(problem.noise_shape, steps), **options
                )

        def gradient(solve: Callable[..., Any], **more: Any) -> Call:
            def call() -> None:
                module.zero_grad()
                start = y0.clone().requires_grad_()
                bm = self.brownian(problem.noise_shape, steps)
                solve(module, start, ts, bm=bm, **options, **more).sum().backward()

            return call

        return {
            "torchsde forward": forward,
            "torchsde backprop": gradient(self.torchsde.sdeint),
            "torchsde adjoint": gradient(
                self.torchsde.sdeint_adjoint, adjoint_method="adjoint_reversible_heun"
            ),
        }

    def gradients(self, problem: Perceptrons, steps: int) -> list[np.ndarray]:
        """Those of `Perceptrons.gradients`, with the noise of pysig."""
        from pysig.wrap.torch import BrownianInterval

        torch, module = self.torch, self.perceptrons(problem)
        y0 = torch.from_numpy(problem.y0).requires_grad_()
        bm = BrownianInterval(
            0, 1, size=problem.noise_shape, dtype=y0.dtype, entropy=1, tol=1 / steps
        )
        ts = torch.tensor([0.0, 1.0], dtype=y0.dtype)
        ys = self.torchsde.sdeint(module, y0, ts, bm=bm, dt=1 / steps, method="reversible_heun")
        ys.sum().backward()
        return [y0.grad.numpy(), *(p.grad.numpy() for p in module.parameters())]

    def growth(self, method: str, paths: int, steps: int) -> Call:
        """Geometric Brownian motion."""
        torch = self.torch
        is_ito = method in ("euler", "milstein", "srk")
        growth, level = float(GROWTH), float(LEVEL)

        class Module(torch.nn.Module):
            noise_type, sde_type = "diagonal", "ito" if is_ito else "stratonovich"

            def f(self, t: Any, y: Any) -> Any:
                return growth * y

            def g(self, t: Any, y: Any) -> Any:
                return level * y

        module, y0, ts = Module(), torch.ones(paths, 1), torch.tensor([0.0, 1.0])

        def call() -> None:
            with torch.no_grad():
                bm = self.brownian((paths, 1), steps, method)
                self.torchsde.sdeint(module, y0, ts, bm=bm, dt=1 / steps, method=method)

        return call

    def small(self, method: str, steps: int) -> Call:
        """One path of two channels."""
        torch = self.torch
        is_ito = method in ("euler", "milstein", "srk")
        matrix = torch.tensor([[-0.1, -1.0], [1.0, -0.1]], dtype=torch.float64)
        levels = torch.tensor([0.1, 0.2], dtype=torch.float64)

        class Module(torch.nn.Module):
            noise_type, sde_type = "diagonal", "ito" if is_ito else "stratonovich"

            def f(self, t: Any, y: Any) -> Any:
                return y @ matrix

            def g(self, t: Any, y: Any) -> Any:
                return levels * y

        module = Module()
        y0, ts = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0.0, 1.0])
        area = "space-time" if method == "srk" else "none"

        def call() -> None:
            with torch.no_grad():
                bm = self.torchsde.BrownianInterval(
                    0.0, 1.0, size=(1, 2), dtype=torch.float64, dt=1 / steps,
                    levy_area_approximation=area,
                )  # fmt: skip
                self.torchsde.sdeint(module, y0, ts, bm=bm, dt=1 / steps, method=method)

        return call


SOLVERS = {
    "euler": "Euler",
    "milstein": "ItoMilstein",
    "reversible_heun": "ReversibleHeun",
    "midpoint": "Midpoint",
    "heun": "Heun",
    "euler_heun": "EulerHeun",
}


class Diffrax:
    """diffrax 0.7.2: compiled solvers, of single paths that are mapped over."""

    def __init__(self) -> None:
        # Only one thread is compared, and XLA reads this once.
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.setdefault("XLA_FLAGS", flags)
        self.diffrax = importlib.import_module("diffrax")
        self.jax = importlib.import_module("jax")

    def solver(
        self, method: str, f: Any, g: Any, shape: tuple[int, ...], steps: int, tree: bool
    ) -> Callable[[Any, Any], Any]:
        """Return a function of a start and a key; the noise of `tree` can be asked for again."""
        diffrax, jax = self.diffrax, self.jax

        def solve(y0: Any, key: Any) -> Any:
            noise = jax.ShapeDtypeStruct(shape, y0.dtype)
            motion = (
                diffrax.VirtualBrownianTree(0.0, 1.0, 0.5 / steps, noise, key)
                if tree
                else diffrax.UnsafeBrownianPath(noise, key)
            )
            terms = diffrax.MultiTerm(
                diffrax.ODETerm(lambda t, y, _: f(y)),
                diffrax.ControlTerm(lambda t, y, _: g(y), motion),
            )
            solution = diffrax.diffeqsolve(
                terms, getattr(diffrax, SOLVERS[method])(), 0.0, 1.0, 1 / steps, y0,
                saveat=diffrax.SaveAt(t1=True), max_steps=None, adjoint=diffrax.ForwardMode(),
            )  # fmt: skip
            return solution.ys[0]

        return solve

    def mapped(self, solve: Callable[[Any, Any], Any], y0: np.ndarray) -> Call:
        """Return a call for a batch, compiled here."""
        jax = self.jax
        keys = jax.random.split(jax.random.PRNGKey(1), len(y0))
        start = jax.numpy.asarray(y0)
        compiled = jax.jit(jax.vmap(solve))
        compiled(start, keys).block_until_ready()
        return lambda: compiled(start, keys).block_until_ready()

    def perceptron_calls(self, problem: Perceptrons, steps: int) -> dict[str, Call]:
        numpy, silu = self.jax.numpy, self.jax.nn.silu
        lineax = importlib.import_module("lineax")

        def network(field: Any) -> Callable[[Any], Any]:
            first, first_bias, last, last_bias = map(numpy.asarray, field.parameters)
            return lambda y: last @ silu(first @ y + first_bias) + last_bias

        drift, diffusion = network(problem.drift), network(problem.diffusion)

        def g(y: Any) -> Any:
            if problem.noise_channels is None:
                return lineax.DiagonalLinearOperator(diffusion(y))
            return diffusion(y).reshape(problem.channels, problem.noise_channels)

        shape = problem.noise_shape[1:]
        calls = {}
        for name, tree in (("diffrax tree", True), ("diffrax unsafe", False)):
            progress(f"{name} is compiled")
            solve = self.solver("reversible_heun", drift, g, shape, steps, tree)
            calls[name] = self.mapped(solve, problem.y0)
        return calls

    def growth(self, method: str, paths: int, steps: int) -> Call | None:
        """Geometric Brownian motion, with noise that cannot be asked for again, the fastest."""
        if method not in SOLVERS:
            return None
        progress(f"diffrax {method} is compiled")
        growth, level = float(GROWTH), float(LEVEL)
        solve = self.solver(
            method, lambda y: growth * y, lambda y: level * y, (), steps, tree=False
        )
        return self.mapped(solve, np.ones(paths, np.float32))
