"""Compiles translated kernels with g++, each once.

What is compiled is kept in a folder, under names that are fingerprints of all that it is made from,
and used again by later processes. The scheduler is one library in a process, which all kernels are
linked with. The header of the CUDA language is precompiled: it would take most of the time.

Environment variables:
CUDA_ON_CPU_CXX     the compiler, if it is not g++
CUDA_ON_CPU_FLAGS   flags after ``-O1``, such as ``-g -fsanitize=address,undefined``
CUDA_ON_CPU_CACHE   the folder for what is compiled, if it is not one among the temporary files
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HEADERS = ("cuda_language.h", "scheduler.h")
SCHEDULER = ("scheduler.cpp", "scheduler.h", "faults.h", "fiber.h", "shared_memory.h")
# By which the scheduler, which itself is not instrumented, knows the sanitizers of kernels.
SANITIZER_MACROS = {"address": "-DCUDA_ON_CPU_ASAN", "thread": "-DCUDA_ON_CPU_TSAN"}


class CompilerError(RuntimeError):
    """The compiler is missing, or refuses a source; the message is the compiler's."""


def compile_kernels(source: str, macros: Sequence[str]) -> Path:
    """Return the library of a translated source."""
    runner = scheduler()
    key = fingerprint(runner.name, flags(), contents(*HEADERS), source, macros)
    arguments = [*flags(), *macros, "-include", str(language_header()), str(runner)]
    return compile_once(f"kernel-{key}.so", [*arguments, "-Wl,-rpath,$ORIGIN"], source)


# ------------------------------------------------------------------------------------- the compiler


def find_compiler() -> str | None:
    """Return the path of the compiler, or None if there is none."""
    return shutil.which(os.environ.get("CUDA_ON_CPU_CXX", "g++"))


@functools.cache
def compiler() -> str:
    """Return the path of the compiler."""
    path = find_compiler()
    if path is None:
        name = os.environ.get("CUDA_ON_CPU_CXX", "g++")
        raise CompilerError(f"{name} is needed to run CUDA kernels on the CPU")
    return path


@functools.cache
def compiler_version() -> str:
    """Return what the compiler says of itself."""
    process = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=True)
    return compiler() + process.stdout


@functools.cache
def flags() -> tuple[str, ...]:
    """
    Return the flags for kernels.

    Products and sums are not fused unless the kernel says so, which makes results the same on all
    processors. A frame larger than the page that guards a stack must not reach across it.
    """
    general = ["-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", "-w"]
    machine = ["-O1", "-ffp-contract=off", "-fstack-clash-protection", *processor_flags()]
    return (*general, *machine, *shlex.split(os.environ.get("CUDA_ON_CPU_FLAGS", "")))


@functools.cache
def processor_flags() -> tuple[str, ...]:
    """Return the flag for a processor that has fma, for which calls to the library are slow."""
    try:
        description = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    return ("-mfma",) if re.search(r"^flags\s*:.*\bfma\b", description, re.MULTILINE) else ()


@functools.cache
def sanitizers() -> frozenset[str]:
    """Return the sanitizers that kernels are compiled with."""
    lists = re.findall(r"-fsanitize=(\S+)", " ".join(flags()))
    return frozenset(name for names in lists for name in names.split(","))


# ------------------------------------------------------------------------------- what is compiled


@functools.cache
def scheduler() -> Path:
    """Return the library that runs kernels."""
    known = [macro for name, macro in SANITIZER_MACROS.items() if name in sanitizers()]
    extra = [flag for flag in flags() if flag.startswith("-DCUDA_ON_CPU_")]
    arguments = ["-std=c++17", "-O2", "-shared", "-fPIC", "-Wall", *known, *extra]
    name = f"libscheduler-{fingerprint(compiler_version(), arguments, contents(*SCHEDULER))}.so"
    return compile_once(name, [*arguments, str(HERE / "scheduler.cpp"), f"-Wl,-soname,{name}"])


@functools.cache
def language_header() -> Path:
    """Return a header that includes that of the language, next to which lies its compiled form."""
    text = f'#include "{HERE / "cuda_language.h"}"\n'
    key = fingerprint(compiler_version(), flags(), contents(*HEADERS), text)
    header = cache_folder() / f"language-{key}.h"
    if not header.exists():
        with tempfile.NamedTemporaryFile("w", dir=cache_folder(), delete=False) as file:
            file.write(text)
        os.replace(file.name, header)
    compile_once(f"{header.name}.gch", [*flags(), "-x", "c++-header", str(header)])
    return header


@functools.cache
def contents(*names: str) -> tuple[str, ...]:
    """Return the texts of files next to this one."""
    return tuple((HERE / name).read_text(encoding="utf-8") for name in names)


def fingerprint(*parts: Any) -> str:
    """Return a name for what is made from these."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


# --------------------------------------------------------------------------------------- the folder


@functools.cache
def cache_folder() -> Path:
    """Return the folder for what is compiled, made if need be."""
    chosen = os.environ.get("CUDA_ON_CPU_CACHE")
    if chosen:
        folder = Path(chosen).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"cuda_on_cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else; set CUDA_ON_CPU_CACHE")
    return folder


def compile_once(name: str, arguments: Sequence[str], source: str | None = None) -> Path:
    """
    Return the file `name` in the cache, made by the compiler if it is not there.

    Several processes may do so at the same time: each writes files of its own, of which one stays.
    """
    target = cache_folder() / name
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        result = Path(temporary) / name
        command = [compiler(), *arguments, "-o", str(result)]
        if source is not None:
            file = Path(temporary) / "kernel.cpp"
            file.write_text(source, encoding="utf-8")
            command.insert(1, str(file))
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            raise CompilerError(f"{shlex.join(command)}\n{process.stderr}")
        os.replace(result, target)
    return target
