"""Every CUDA kernel compiles for every architecture, within the bounds of kernels.toml.

No GPU and no driver are needed, only NVRTC (the extra gpu-check); without it the tests are skipped,
or fail if PYSIG_REQUIRE_NVRTC is set. ``python -m pytest -s tests/cuda`` prints what each kernel
takes, as a table for docs/gpu.md.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nvrtc
import pytest

from pysig._core import cuda

CORE = Path(cuda.__file__).parent
ARCHITECTURES = (80, 90, 100, 120)
KERNEL = re.compile(
    r"__global__\s+(?:void\s+)?(?:__launch_bounds__\s*\([^)]*\)\s*)?(?:void\s+)?(\w+)\s*\("
)
STEMS = sorted(path.relative_to(CORE).with_suffix("").as_posix() for path in CORE.rglob("*.cu"))
BOUNDS: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("kernels.toml").read_text(encoding="utf-8")
)
# Loops that some template arguments make unreachable, and functions that only others need.
HARMLESS_WARNINGS = {"128", "177"}

Usages = dict[tuple[str, int], dict[str, nvrtc.Usage]]  # by stem and architecture


@pytest.fixture(scope="module")
def usages() -> Iterator[Usages]:
    """Collect what the kernels take, and print it at the end."""
    reason = nvrtc.unavailable()
    if reason and os.environ.get("PYSIG_REQUIRE_NVRTC"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    collected: Usages = {}
    yield collected
    print(f"\n\nRegisters of a thread, by NVRTC {nvrtc.version()}\n")
    for stem in STEMS:
        print(f"{markdown_table(stem, collected)}\n")


def instances(stem: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Return the listed kernels with their template arguments, each with its bounds and type."""
    return {
        name.format(real=real): (bounds, real)
        for name, bounds in BOUNDS[stem].items()
        for real in ("float", "double")
    }


def test_every_kernel_is_listed():
    """The table has all kernels that there are, and no others."""
    assert STEMS, "there are no CUDA sources"
    kernels = {stem: set(KERNEL.findall(cuda.module_source(stem))) for stem in STEMS}
    listed = {stem: {name.partition("<")[0] for name in names} for stem, names in BOUNDS.items()}
    assert all(kernels.values())
    assert kernels == listed


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids="sm_{}".format)
@pytest.mark.parametrize("stem", STEMS)
def test_every_kernel_compiles_within_its_bounds(usages, stem, architecture):
    """Registers, shared memory and the stack are bounded; nothing spills."""
    listed = instances(stem)
    module = nvrtc.compile_module(
        cuda.module_source(stem), list(listed), architecture, cuda.OPTIONS
    )
    assert module.code.startswith(b"\x7fELF")
    assert set(re.findall(r"warning #(\d+)", module.log)) <= HARMLESS_WARNINGS, module.log
    usages[stem, architecture] = module.usage
    wrong = [
        f"{name}: {excess}"
        for name, (bounds, real) in listed.items()
        for excess in excesses(module.usage[name], bounds, real)
    ]
    assert not wrong, "\n".join(wrong)


def excesses(usage: nvrtc.Usage, bounds: dict[str, Any], real: str) -> Iterator[str]:
    """Give what a kernel takes beyond its bounds; without a bound nothing is allowed."""
    assert not {"stack", "spill_stores", "spill_loads"} & set(bounds) or bounds.get("because")
    limits = {"registers": bounds[real]}
    for what in ("shared", "stack", "spill_stores", "spill_loads"):
        limits[what] = bounds.get(what, 0)
    for what, limit in limits.items():
        if getattr(usage, what) > limit:
            yield f"{what}: {getattr(usage, what)}, at most {limit} allowed"


@pytest.mark.parametrize("field", ["registers", "shared", "stack", "spill_stores", "spill_loads"])
def test_what_is_beyond_a_bound_is_reported(field):
    figures = {"registers": 40, "shared": 0, "stack": 0, "spill_stores": 0, "spill_loads": 0}
    bounds = {"float": 40, "double": 32, "because": "it is an example"}
    assert not list(excesses(nvrtc.Usage(**figures), bounds, "float"))
    figures[field] += 1
    assert len(list(excesses(nvrtc.Usage(**figures), bounds, "float"))) == 1


def test_spills_and_stacks_are_seen(usages):
    """A kernel that has both is not taken for one that has none."""
    source = """
    extern "C" __global__ void spilling(double *x, int n) {
        double a[300];
        for (int i = 0; i < 300; ++i) a[i] = x[i];
        for (int t = 0; t < n; ++t)
            for (int i = 0; i < 300; ++i) a[i] += x[t] * a[(i + 7) % 300];
        for (int i = 0; i < 300; ++i) x[i] = a[i];
    }
    extern "C" __global__ void indexing(float *x, int n) {
        __shared__ float shared[64];
        float a[100];
        for (int i = 0; i < 100; ++i) a[i] = x[i];
        shared[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        for (int t = 0; t < n; ++t) a[(int)x[t]] += shared[63 - threadIdx.x];
        for (int i = 0; i < 100; ++i) x[i] = a[i];
    }
    """
    usage = nvrtc.compile_module(source, ["spilling", "indexing"], 90).usage
    assert usage["spilling"].spill_stores > 1000
    assert usage["spilling"].spill_loads > 1000
    assert usage["indexing"].stack == 400
    assert usage["indexing"].shared == 256


def markdown_table(stem: str, usages: Usages) -> str:
    """Return the registers of a module's kernels on each architecture, float and double."""
    architectures = [number for number in ARCHITECTURES if (stem, number) in usages]
    header = [f"`{stem}.cu`", *(f"sm_{number}" for number in architectures)]
    lines = [header, ["---"] * len(header)]
    for name in BOUNDS[stem]:
        both = [name.format(real=real) for real in ("float", "double")]
        cells = [
            cell([usages[stem, number][instance] for instance in both]) for number in architectures
        ]
        lines.append([f"`{name.replace('{', '').replace('}', '')}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(both: list[nvrtc.Usage]) -> str:
    """Return the registers for float and double, and the largest stack and spill in bytes."""
    text = ", ".join(str(usage.registers) for usage in both)
    stack = max(usage.stack for usage in both)
    spilled = max(max(usage.spill_stores, usage.spill_loads) for usage in both)
    return text + f"; stack {stack}" * (stack > 0) + f"; spilled {spilled}" * (spilled > 0)
