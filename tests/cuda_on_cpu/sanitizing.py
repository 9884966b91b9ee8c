"""Runs Python in a process of which the CUDA kernels are compiled with sanitizers.

Python itself is not: the library of the sanitizer is loaded before it. The first error ends the
process with a report and a status that is not 0.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cuda_on_cpu.compiler import compiler

FLAGS = {
    "address": "-g -fsanitize=address,undefined -fno-sanitize-recover=undefined",
    "thread": "-g -fsanitize=thread",
}
# libstdc++ as well: AddressSanitizer looks for the functions that throw exceptions when it starts.
LIBRARIES = {"address": ("libasan.so", "libstdc++.so"), "thread": ("libtsan.so",)}
OPTIONS = {
    "address": {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
    "thread": {"TSAN_OPTIONS": "ignore_noninstrumented_modules=1:report_signal_unsafe=0"},
}


@functools.cache
def find_library(name: str) -> str | None:
    """Return the path of a library of the compiler's, or None if it has it not."""
    command = [compiler(), f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return path if Path(path).is_absolute() else None


def run(sanitizer: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script in Python with its arguments, and the kernels with a sanitizer."""
    preloaded = " ".join(filter(None, map(find_library, LIBRARIES[sanitizer])))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "LD_PRELOAD": preloaded,
        "CUDA_ON_CPU_FLAGS": FLAGS[sanitizer],
        "PYSIG_CUPY": "double",
        "OMP_NUM_THREADS": "1",
        **OPTIONS[sanitizer],
    }
    command = [*fixed_addresses(sanitizer), sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@functools.cache
def fixed_addresses(sanitizer: str) -> tuple[str, ...]:
    """Return a command for ThreadSanitizer, which fails where addresses are too random."""
    setarch = shutil.which("setarch")
    if sanitizer != "thread" or not setarch:
        return ()
    works = (
        subprocess.run([setarch, "-R", "true"], capture_output=True, check=False).returncode == 0
    )
    return (setarch, "-R") if works else ()


@functools.cache
def unavailable(sanitizer: str) -> str | None:
    """Return why a sanitizer cannot be used here, or None if it can."""
    for name in LIBRARIES[sanitizer]:
        if find_library(name) is None:
            return f"the compiler has no {name}"
    process = run(sanitizer, "import numpy")
    if process.returncode:
        return f"{LIBRARIES[sanitizer][0]} does not run here: {process.stderr.strip()[:200]}"
    return None
