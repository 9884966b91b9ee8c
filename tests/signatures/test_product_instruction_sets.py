"""The same products and gradients with every instruction set that the processor has."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import pysig

SIZES = [(1, 4), (2, 6), (3, 4), (4, 4), (5, 3), (6, 3), (7, 3), (8, 3), (9, 2), (17, 2), (33, 2)]

SCRIPT = """
import pickle, sys
import pysig

results = []
for first, second, grad, channels, depth in pickle.load(sys.stdin.buffer):
    value, residuals = pysig.signature_combine_forward(first, second, channels, depth)
    results.append((value, *pysig.signature_combine_backward(residuals, grad)))
pickle.dump(results, sys.stdout.buffer)
"""


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(rng, level):
    """Products in float64 by one instruction set, in float32 too, against those of the widest."""
    calls, expected = [], []
    for channels, depth in SIZES:
        words = pysig.signature_channels(channels, depth)
        rows = rng.standard_normal((3, 3, words)).astype(np.float32)
        wide = rows.astype(np.float64)
        value, residuals = pysig.signature_combine_forward(wide[0], wide[1], channels, depth)
        gradients = pysig.signature_combine_backward(residuals, wide[2])
        for arrays in (rows, wide):
            calls.append((*arrays, channels, depth))
            expected.append((value, *gradients))
    environment = dict(os.environ, PYSIG_SIMD=level, PYTHONPATH=os.pathsep.join(sys.path))
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps(calls),
        capture_output=True,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    for call, results, others in zip(calls, pickle.loads(process.stdout), expected, strict=True):
        for result, other in zip(results, others, strict=True):
            assert result.dtype == call[0].dtype
            tolerance = 8 * np.finfo(result.dtype).eps * np.max(abs(other))
            np.testing.assert_allclose(result, other, rtol=0, atol=tolerance)
