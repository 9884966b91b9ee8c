"""Compiles CUDA sources with NVRTC, which needs no driver, and tells what the kernels use.

NVRTC comes with the package nvidia-cuda-nvrtc-cu12 (or nvidia-cuda-nvrtc, from CUDA 13 on). It
gives machine code for one architecture at a time, and the assembler's report on each kernel.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")
LIBRARY = re.compile(r"libnvrtc\.so\.\d+|nvrtc64_\d+_\d+\.dll|libnvrtc\.dylib")

Call = Callable[..., None]


class CompilerError(RuntimeError):
    """NVRTC refuses a source, or a call; the message is the compiler's."""


@dataclass(frozen=True)
class Usage:
    """What one kernel takes on one architecture; all but the registers in bytes."""

    registers: int
    shared: int
    stack: int
    spill_stores: int
    spill_loads: int


@dataclass(frozen=True)
class Module:
    """What has been made of one source: the machine code, the log, and the kernels' usage."""

    code: bytes
    log: str
    usage: dict[str, Usage]


# ------------------------------------------------------------------------------------- the library


def find_library() -> Path | None:
    """Return where the installed NVRTC is, or None if there is none."""
    for package in PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if LIBRARY.fullmatch(file.name):
                return Path(str(file.locate()))
    return None


def unavailable() -> str | None:
    """Return why nothing can be compiled, or None if it can."""
    if find_library():
        return None
    return f"NVRTC is not installed (pip install {PACKAGES[0]}, or the extra gpu-check)"


@functools.cache
def library() -> ctypes.CDLL:
    """Return NVRTC."""
    path = find_library()
    if path is None:
        raise CompilerError(unavailable())
    loaded = ctypes.CDLL(str(path))
    loaded.nvrtcGetErrorString.restype = ctypes.c_char_p
    return loaded


def call(name: str, *arguments: object) -> None:
    """Call a function of NVRTC."""
    status = getattr(library(), name)(*arguments)
    if status:
        raise CompilerError(f"{name}: {library().nvrtcGetErrorString(status).decode()}")


@functools.cache
def version() -> str:
    """Return the version of NVRTC."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


# --------------------------------------------------------------------------------------- compiling


def compile_module(
    source: str, kernels: Sequence[str], architecture: int, options: Sequence[str] = ()
) -> Module:
    """
    Compile kernels of a source for an architecture, such as 90.

    `kernels` are names with their template arguments; of the source's other templates nothing is
    compiled.
    """
    program = ctypes.c_void_p()
    call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    try:
        for kernel in kernels:
            call("nvrtcAddNameExpression", program, kernel.encode())
        flags = [*options, f"--gpu-architecture=sm_{architecture}", "--ptxas-options=-v"]
        encoded = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        status = library().nvrtcCompileProgram(program, len(flags), encoded)
        log = content("ProgramLog", program).rstrip(b"\0").decode()
        if status:
            raise CompilerError(f"sm_{architecture}: {log}")
        usage = read_usage(log)
        names = {kernel: lowered_name(program, kernel) for kernel in kernels}
        code = content("CUBIN", program)
        return Module(code, log, {kernel: usage[name] for kernel, name in names.items()})
    finally:
        call("nvrtcDestroyProgram", ctypes.byref(program))


def content(what: str, program: ctypes.c_void_p) -> bytes:
    """Return what a program holds: "ProgramLog" or "CUBIN"."""
    size = ctypes.c_size_t()
    call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    call(f"nvrtcGet{what}", program, text)
    return text.raw


def lowered_name(program: ctypes.c_void_p, kernel: str) -> str:
    """Return the name that a kernel has for the assembler."""
    name = ctypes.c_char_p()
    call("nvrtcGetLoweredName", program, kernel.encode(), ctypes.byref(name))
    assert name.value is not None
    return name.value.decode()


# -------------------------------------------------------------------------- the assembler's report


def read_usage(log: str) -> dict[str, Usage]:
    """Return what the assembler says of each kernel, by the names that it uses."""
    _, *parts = re.split(r"Compiling entry function '(\w+)' for '\w+'", log)
    return {name: read_kernel(text) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def read_kernel(text: str) -> Usage:
    """
    Return the figures of one kernel. Functions that it calls are reported with it.

    Raises
    ------
    CompilerError
        If a figure that is always reported is missing: then another way to read it is needed.
    """

    def figures(pattern: str) -> list[int]:
        return [int(figure) for figure in re.findall(rf"(\d+) {pattern}", text)]

    registers = re.findall(r"Used (\d+) registers", text)
    frames = figures("bytes stack frame")
    stores, loads = figures("bytes spill stores"), figures("bytes spill loads")
    if not (registers and frames and stores and loads):
        raise CompilerError(f"the assembler's report cannot be read: {text}")
    return Usage(
        registers=int(registers[0]),
        shared=sum(figures("bytes smem")),
        stack=max(frames + figures("bytes cumulative stack size")),
        spill_stores=sum(stores),
        spill_loads=sum(loads),
    )
