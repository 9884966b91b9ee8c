"""There is a GPU, and it computes: ``python -m pytest -m gpu`` begins here.

With a GPU and CuPy, every test that has CuPy arrays uses them, and has the marker ``gpu``. Without,
those tests use the double of CuPy, and this one says what is missing.
"""

from __future__ import annotations

import os

import cuda_on_cpu
import numpy as np
import pytest
from cuda_on_cpu.activation import count_gpus, find_cupy

import pysig


def missing() -> str | None:
    """Return why no GPU is used, or None if one is."""
    if cuda_on_cpu.has_gpu():
        return None
    if os.environ.get("PYSIG_CUPY") == "double":
        return "PYSIG_CUPY=double asks for the double of CuPy"
    lacks = [] if find_cupy() else ["CuPy is not installed (the extras cuda12 and cuda13)"]
    lacks += [] if count_gpus() else ["the driver, libcuda.so.1, is missing or finds no GPU"]
    return f"nothing runs on a GPU: {', and '.join(lacks)}"


@pytest.mark.gpu
def test_the_gpu_computes(rng, capsys):
    reason = missing()
    if reason:
        pytest.skip(reason)
    cupy = cuda_on_cpu.activate()
    assert not cuda_on_cpu.is_double(cupy)
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    with capsys.disabled():
        print(f"\non {properties['name'].decode()}, CuPy {cupy.__version__}")
    path = rng.standard_normal((3, 20, 4))
    signature = pysig.signature(cupy.asarray(path), 3)
    assert isinstance(signature, cupy.ndarray)
    np.testing.assert_allclose(cupy.asnumpy(signature), pysig.signature(path, 3), rtol=1e-12)
