"""Compiles the CUDA kernels of this package and launches them: the only user of cupy.RawModule.

A kernel stands in ``pysig/_core/STEM.cu`` as a C++ template; what it includes with quotes is looked
for in ``pysig/_core`` and put in its place, so that CuPy's cache of compiled code sees any change.
CuPy compiles a module when it is first used, for each device, and keeps the result on disk.

Every thread of a kernel finds its work by its index, and those past the end return; so a launch
needs to know no more than how many threads there are. It goes to the current stream of the current
device, and nothing here waits for it. Memory comes from CuPy's pool, which hands a block that is
released to later work of the same stream.
"""

import functools
import re
from pathlib import Path

CORE = Path(__file__).parent
INCLUDE = re.compile(r'^#include "(.+)"$', re.MULTILINE)
OPTIONS = ("--std=c++17",)
BLOCK = 128  # threads

REAL = {"float32": "float", "float64": "double"}  # the names of NumPy's types in C


@functools.cache
def module_source(stem):
    """Return the text of ``pysig/_core/{stem}.cu`` with the files it includes."""
    return with_includes((CORE / f"{stem}.cu").read_text(encoding="utf-8"))


def with_includes(text):
    """Return `text` with the files of this package that it includes in their places."""

    def content(match):
        return with_includes((CORE / match[1]).read_text(encoding="utf-8"))

    return INCLUDE.sub(content, text)


@functools.cache
def kernels(stem, *names):
    """
    Return functions that launch kernels, compiled as one module.

    Parameters
    ----------
    stem : str
        The file, as in ``signatures/signature``.
    *names : str
        Kernels with their template arguments, as in ``signature_increments<double>``.

    Returns
    -------
    list of callable
        Each is called with the number of threads, and the kernel's arguments: CuPy arrays, where
        0 is the null pointer, and Python integers for ``long long``.
    """
    import cupy  # pyright: ignore[reportMissingImports]

    module = cupy.RawModule(code=module_source(stem), options=OPTIONS, name_expressions=names)
    return [functools.partial(launch, module.get_function(name)) for name in names]


def launch(kernel, threads, *arguments):
    """Launch a kernel with at least so many threads; with none, do nothing."""
    if threads:
        kernel((-(-threads // BLOCK),), (BLOCK,), arguments)
