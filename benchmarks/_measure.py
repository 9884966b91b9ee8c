"""Measuring helpers that the benchmarks of all domains share.

Times are taken interleaved: every contender of a comparison gets a short burst of calls in every
round, so that a slow minute of the machine hits all of them alike. The minimum and the median over
all repeats are kept: the minimum estimates the undisturbed time better, the median shows how
disturbed the run was.
"""

from __future__ import annotations

import gc
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import threadpoolctl

Key = TypeVar("Key", bound=Hashable)

LOOP_SECONDS = 2e-4  # calls shorter than this are timed in loops of at least this long
BURST_SECONDS = 0.03  # one contender's turn within a round
SETTLE_SECONDS = (
    0.015  # pause before a turn: OpenMP workers of the one before may still be spinning
)
MINIMUM_ROUNDS = 3  # made even beyond the budget, up to this many times the budget
LARGEST_BURST = 50
MATRIX_SIZE = 384  # of the reference matrix product; larger ones run at the same rate

# Asked for before OpenMP is loaded, which binds this thread to one of them if OMP_PROC_BIND is set.
PROCESSORS = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
)


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Contender:
    """One call to be timed.

    ``prepare`` runs untimed before every burst (thread counts are set there). ``scale`` multiplies
    the measured time: it is above 1 where a smaller problem stands for the full one, and every
    table marks such times.
    """

    call: Callable[[], object]
    prepare: Callable[[], object] = _nothing
    scale: float = 1.0


@dataclass(frozen=True)
class Timing:
    """Seconds per call over all repeats of one contender."""

    minimum: float
    median: float
    lower_quartile: float
    upper_quartile: float
    repeats: int
    calls_per_repeat: int
    scale: float

    @classmethod
    def of(cls, samples: Sequence[float], calls_per_repeat: int, scale: float) -> Timing:
        seconds = [scale * sample for sample in samples]
        lower, upper = np.quantile(seconds, [0.25, 0.75])
        return cls(
            minimum=min(seconds),
            median=statistics.median(seconds),
            lower_quartile=float(lower),
            upper_quartile=float(upper),
            repeats=len(seconds),
            calls_per_repeat=calls_per_repeat,
            scale=scale,
        )

    def record(self) -> dict[str, float]:
        return asdict(self)


class _Turns:
    """The bursts of one contender, and the samples they have collected."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        contender.prepare()
        self.estimate = estimated_seconds(contender.call)
        self.calls = max(1, math.ceil(LOOP_SECONDS / self.estimate))
        burst = round(BURST_SECONDS / (self.estimate * self.calls))
        self.burst = min(max(1, burst), LARGEST_BURST)
        self.samples: list[float] = []

    def take(self) -> None:
        self.contender.prepare()
        time.sleep(SETTLE_SECONDS)
        if self.estimate < BURST_SECONDS:
            self.contender.call()  # warms caches and threads, as in a loop of calls
        for _ in range(self.burst):
            self.samples.append(seconds_per_call(self.contender.call, self.calls))

    def timing(self) -> Timing:
        return Timing.of(self.samples, self.calls, self.contender.scale)


def seconds_per_call(call: Callable[[], object], calls: int = 1) -> float:
    repetitions = range(calls)
    started = time.perf_counter()
    for _ in repetitions:
        call()
    return (time.perf_counter() - started) / calls


def estimated_seconds(call: Callable[[], object]) -> float:
    """A rough time of one call. The first pays for warming up: unless it is long, more follow."""
    estimate = seconds_per_call(call)
    for longest in (1.0, BURST_SECONDS, BURST_SECONDS):
        if estimate < longest:
            estimate = min(estimate, seconds_per_call(call))
    return max(estimate, 1e-7)


def interleave(contenders: Mapping[Key, Contender], budget: float) -> dict[Key, Timing]:
    """Time all contenders in rounds for about ``budget`` seconds; at least one round is made."""
    turns = {key: _Turns(contender) for key, contender in contenders.items()}
    order = list(turns.values())
    collecting = gc.isenabled()
    gc.disable()
    try:
        started = time.perf_counter()
        rounds, elapsed = 0, 0.0
        while rounds == 0 or _worth_another_round(rounds, elapsed, budget):
            for turn in order:
                turn.take()
            order.reverse()  # nobody always follows the same neighbour
            rounds += 1
            elapsed = time.perf_counter() - started
    finally:
        if collecting:
            gc.enable()
    return {key: turn.timing() for key, turn in turns.items()}


def _worth_another_round(rounds: int, elapsed: float, budget: float) -> bool:
    if rounds < MINIMUM_ROUNDS:
        return elapsed < MINIMUM_ROUNDS * budget
    return elapsed * (rounds + 1) / rounds <= budget


def matrix_product(dtype: np.dtype) -> Contender:
    """NumPy's matrix product, the reference of how many multiply-adds a core can do."""
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((2, MATRIX_SIZE, MATRIX_SIZE)).astype(dtype)
    product = np.empty_like(left)
    return Contender(lambda: np.matmul(left, right, out=product))


def matrix_product_rate(seconds: float) -> float:
    """Multiply-adds per second of :func:`matrix_product`."""
    return MATRIX_SIZE**3 / seconds


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def fitted_exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The least-squares p in ``times ~ sizes ** p``."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def fitted_growth(steps: Sequence[float], times: Sequence[float]) -> float:
    """The least-squares factor g in ``times ~ g ** steps``."""
    return math.exp(float(np.polyfit(steps, np.log(times), 1)[0]))


def ratio(numerator: Timing, denominator: Timing) -> tuple[float, float]:
    """The ratio of two times, by minimum and by median."""
    return (
        numerator.minimum / denominator.minimum,
        numerator.median / denominator.median,
    )


# peak memory

CLEAR_REFERENCES = Path(
    "/proc/self/clear_refs"
)  # Linux: writing 5 sets the peak back to the present


def can_measure_peak() -> bool:
    return os.access(CLEAR_REFERENCES, os.W_OK)


def peak_growth(call: Callable[[], object]) -> int:
    """Bytes by which the resident memory's peak rises above its level before ``call``.

    To be used in a fresh process: memory freed earlier and kept by the allocator would hide a part
    of the rise.
    """
    CLEAR_REFERENCES.write_text("5")
    before = _peak_resident()
    kept = call()
    growth = _peak_resident() - before
    del kept
    return growth


def _peak_resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmHWM line")


# the machine


def machine() -> dict[str, object]:
    """What the numbers depend on: processor, system, interpreter, NumPy and its BLAS, OpenMP."""
    openmp = sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_")))
    return {
        "processor": _processor(),
        "processors available": available_processors(),
        "instruction sets": _instruction_sets(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas(),
        "environment": " ".join(openmp) or "no variables of OpenMP",
    }


def available_processors() -> int:
    return PROCESSORS


def load_average() -> str:
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _cpuinfo(field: str) -> str | None:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return None


def _processor() -> str:
    fields = {name: _cpuinfo(name) for name in ("model name", "cpu family", "model")}
    if fields["model name"] is None:
        return platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']})"


def _instruction_sets() -> str:
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    known = ("avx2", "fma", "avx512f", "avx512dq", "avx512vl", "asimd", "sve")
    return " ".join(flag for flag in known if flag in flags) or "unknown"


def _blas() -> str:
    libraries = [
        f"{library['internal_api']} {library['version']}, "
        f"{library.get('architecture', 'unknown')} kernels"
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]
    return "; ".join(libraries) or "unknown"
