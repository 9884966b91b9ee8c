"""Puts CuPy, or the double, where `import cupy` finds it."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from cuda_on_cpu.compiler import find_compiler

DOUBLE = Path(__file__).parent / "double" / "cupy" / "__init__.py"


def has_gpu() -> bool:
    """
    Whether `activate` gives CuPy: it is installed and there is a GPU. CuPy is not imported.

    PYSIG_CUPY=double asks for the double even then, PYSIG_CUPY=real for CuPy in any case.
    """
    wanted = os.environ.get("PYSIG_CUPY", "")
    if wanted not in ("", "double", "real"):
        raise ValueError(f"PYSIG_CUPY must be double or real, not {wanted}")
    return wanted == "real" or (wanted != "double" and find_cupy() and count_gpus() > 0)


def activate() -> Any:
    """Return CuPy if it is installed and there is a GPU, else the double as the module `cupy`."""
    loaded = sys.modules.get("cupy")
    if loaded is not None and is_double(loaded):
        return loaded
    if has_gpu():
        return importlib.import_module("cupy")
    if loaded is not None:
        raise RuntimeError(
            "CuPy was imported, without a GPU, before the double could take its name"
        )
    return import_double()


def find_cupy() -> bool:
    """Whether CuPy is installed."""
    return importlib.machinery.PathFinder.find_spec("cupy") is not None


@functools.cache
def count_gpus() -> int:
    """Return how many GPUs the driver knows of; CuPy, which takes a second, is not imported."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        ok = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    except (OSError, AttributeError):
        return 0
    return count.value if ok else 0


def import_double() -> ModuleType:
    """Return the double, imported as `cupy`."""
    spec = importlib.util.spec_from_file_location(
        "cupy", DOUBLE, submodule_search_locations=[str(DOUBLE.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cupy"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == "cupy"]:
            del sys.modules[name]
        raise
    return module


def is_double(module: Any) -> bool:
    """Whether a module is the double, not CuPy."""
    return getattr(module, "is_double", False)


def unavailable() -> str | None:
    """Return why kernels cannot be run on the CPU, or None if they can."""
    return None if find_compiler() else "g++ is needed to run CUDA kernels on the CPU"
