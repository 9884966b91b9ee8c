"""Layers by the kernel: values and gradients against extended precision, for all sizes of tiles."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from reference.fields_reference import LONG, activation

import pysig
from pysig._core.sde import layers
from pysig.sde.activations import ACTIVATIONS

T = -0.625  # a number of float32
# rows, inputs, outputs: parts of tiles, and several of them
SIZES = [(1, 1, 1), (3, 17, 5), (8, 16, 32), (13, 40, 33), (70, 7, 2), (300, 65, 31), (150, 2, 9)]

SCRIPT = """
import pickle, sys
from test_layers import run

cases = pickle.load(sys.stdin.buffer)
from pysig._core.signatures.signature import simd_level
pickle.dump((simd_level(), [run(case) for case in cases]), sys.stdout.buffer)
"""


class Case(NamedTuple):
    """A layer, its input, and the gradient of its value; the kind is that of its activation."""

    kind: int
    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    grad: np.ndarray


def make_case(rows, inputs, outputs, kind, with_time, with_bias, dtype, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(rows, inputs), (outputs, inputs + with_time), (outputs,), (rows, outputs)]
    x, weight, bias, grad = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    return Case(kind, x, weight, bias if with_bias else None, grad)


def run(case):
    """Return the value, and the gradients of weight, bias and x."""
    kind, x, weight, bias, grad = case
    is_double = x.dtype == np.float64
    value, derivative = np.full_like(grad, np.nan), None
    if kind != layers.NO_ACTIVATION:
        derivative = np.full_like(grad, np.nan)
    layers.forward(is_double, kind, T, x, weight, bias, value, derivative)
    gradients = [np.full(a.shape, np.nan, x.dtype) for a in (weight, weight[:, 0], x)]
    layers.backward(is_double, T, x, weight, derivative, grad, *gradients)
    return [value, *gradients]


def expected(case):
    """Return what `run` should, and sums of absolute values, that rounding errors scale with."""
    x, weight, grad = case.x.astype(LONG), case.weight.astype(LONG), case.grad.astype(LONG)
    bias = np.zeros(len(weight), LONG) if case.bias is None else case.bias.astype(LONG)
    wide = x if weight.shape[1] == x.shape[1] else np.insert(x, 0, T, axis=1)
    value, slope = wide @ weight.T + bias, np.ones(grad.shape, LONG)
    size = 1 + abs(wide) @ abs(weight).T + abs(bias)
    of_slope = 0 * size
    if case.kind != layers.NO_ACTIVATION:
        value, slope = activation(ACTIVATIONS[case.kind], value)
        of_slope = size  # slopes are at the rounded sum; second derivatives are at most 1
    scaled = grad * slope
    results = [value, scaled.T @ wide, scaled.sum(axis=0), scaled @ weight[:, -x.shape[1] :]]
    of_grad = abs(grad) * (abs(slope) + of_slope)
    sizes = [
        size,
        of_grad.T @ abs(wide),
        of_grad.sum(axis=0),
        of_grad @ abs(weight[:, -x.shape[1] :]),
    ]
    return results, sizes


def assert_right(case, results):
    rows, inputs = case.x.shape
    eps = np.finfo(case.x.dtype).eps
    for one, other, size in zip(results, *expected(case), strict=True):
        assert one.shape == other.shape
        assert one.dtype == case.x.dtype
        terms = max(inputs, len(case.weight), rows)
        assert np.all(abs(one - other) <= (4 + np.sqrt(terms)) * eps * size)


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([layers.NO_ACTIVATION, *range(len(ACTIVATIONS))]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32),
)
def test_values_and_gradients(sizes, kind, with_time, with_bias, dtype, seed):
    rows, inputs, outputs = sizes
    case = make_case(rows, inputs, outputs, kind, with_time, with_bias, dtype, seed)
    assert_right(case, run(case))


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_instruction_sets(level):
    """Each takes a process of its own, which falls back to what the processor has."""
    cases = [
        make_case(rows, inputs, outputs, kind, with_time, True, dtype)
        for rows, inputs, outputs in SIZES
        for kind, with_time in ((layers.NO_ACTIVATION, True), (4, False))
        for dtype in (np.float32, np.float64)
    ]
    paths = [os.path.dirname(__file__), *sys.path]
    environment = dict(os.environ, PYSIG_SIMD=level, PYTHONPATH=os.pathsep.join(paths))
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps([tuple(case) for case in cases]),
        capture_output=True,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    used, results = pickle.loads(process.stdout)
    if used != level:
        pytest.skip(f"this processor has no {level}")
    for case, result in zip(cases, results, strict=True):
        assert_right(case, result)


def test_threads(keep_num_threads):
    """Blocks of rows are spread over threads, and the numbers do not depend on how many."""
    case = make_case(3000, 50, 40, 4, True, True, np.float32)
    results = []
    for threads in (1, 2, 5):
        pysig.set_num_threads(threads)
        results.append(run(case))
    assert_right(case, results[0])
    for one, other in ((0, 1), (0, 2)):
        for first, second in zip(results[one], results[other], strict=True):
            assert_array_equal(first, second)


def test_refusals():
    case = make_case(5, 4, 3, layers.NO_ACTIVATION, False, True, np.float64)
    value = np.empty((5, 3))
    for x, weight, bias in (
        (case.x[:, :2], case.weight, case.bias),
        (case.x, case.weight, np.zeros(4)),
        (case.x, case.weight.astype(np.float32), case.bias),
    ):
        with pytest.raises(ValueError, match="a layer of"):
            layers.forward(True, layers.NO_ACTIVATION, T, x, weight, bias, value, None)
