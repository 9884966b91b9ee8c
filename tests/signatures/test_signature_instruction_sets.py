"""The same values and gradients with every instruction set that the processor has.

The instruction set is chosen when the library is loaded, so that each takes a process of its own.
"""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from reference import signature_cases as cases
from reference import signature_reference as reference
from reference.accuracy import assert_accurate, roundings, wide
from reference.signature_cases import FEW_COMBINATIONS, Case

LEVELS = ["baseline", "avx2", "avx512"]

SIZES = [
    ((17,), 30, 4, 3),
    ((1,), 400, 3, 4),
    ((2,), 20, 7, 4),
    ((), 20, 40, 2),
    ((3,), 9, 1, 6),
    ((9,), 70, 2, 5),
    ((33,), 7, 9, 2),
]

SCRIPT = """
import pickle, sys
import pysig
from pysig._core.signatures.signature import simd_level

results = []
for path, depth, options, grad in pickle.load(sys.stdin.buffer):
    value, residuals = pysig.signature_forward(path, depth, **options)
    gradients = pysig.signature_backward(residuals, grad)
    results.append([value, *(x for x in gradients if x is not None)])
pickle.dump((simd_level(), results), sys.stdout.buffer)
"""


def compute(calls: list[Any], level: str) -> tuple[str, list[Any]]:
    """Return the instruction set used and the results of the calls."""
    environment = dict(os.environ, PYSIG_SIMD=level, PYTHONPATH=os.pathsep.join(sys.path))
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps(calls),
        capture_output=True,
        env=environment,
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    return pickle.loads(process.stdout)


class Problem(NamedTuple):
    """A call, what it should return, and how accurately: the value, then the gradients."""

    case: Case
    grad: np.ndarray
    expected: list[np.ndarray]
    bounds: list[np.ndarray]


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    rng = np.random.default_rng(7)
    result = []
    for size, combination in itertools.product(SIZES, FEW_COMBINATIONS):
        case = cases.make_large_case(rng, size, combination)
        grad = cases.random_grad(rng, case)
        path, depth, options = case.wide()
        expected = [
            reference.signature(path, depth, **options),
            *reference.signature_vjp(path, depth, wide(grad), **options),
        ]
        path, depth, options = case.cast(np.float64)
        bounds = [
            reference.signature_bound(path, depth, **options),
            *reference.signature_vjp_bound(path, depth, grad, **options),
        ]
        lists = ([x for x in results if x is not None] for results in (expected, bounds))
        result.append(Problem(case, grad, *lists))
    return result


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_instruction_set(problems, level, dtype):
    calls = [(*problem.case.cast(dtype), problem.grad.astype(dtype)) for problem in problems]
    used, results = compute(calls, level)
    assert LEVELS.index(used) <= LEVELS.index(level)
    for problem, result in zip(problems, results, strict=True):
        case = problem.case
        factor = roundings(case.depth, case.steps) + math.sqrt(math.prod(case.path.shape[:-2]))
        assert [x.dtype for x in result] == [dtype] * len(problem.expected)
        for triple in zip(result, problem.expected, problem.bounds, strict=True):
            assert_accurate(*triple, factor)


def test_instruction_set_can_be_chosen_and_is_never_wider_than_the_processor_has():
    used = [compute([], level)[0] for level in LEVELS]
    assert used[0] == "baseline"
    widest = LEVELS.index(used[-1])
    assert used == [LEVELS[min(i, widest)] for i in range(len(LEVELS))]


def test_unknown_instruction_set_is_refused():
    environment = dict(os.environ, PYSIG_SIMD="sse9", PYTHONPATH=os.pathsep.join(sys.path))
    process = subprocess.run(
        [sys.executable, "-c", "import pysig"], capture_output=True, env=environment, check=False
    )
    assert process.returncode != 0
    assert b"PYSIG_SIMD must be one of" in process.stderr
