"""What the signature kernel accepts and refuses; threads; instruction sets; pickling."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pysig

DTYPES = (np.float32, np.float64)
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"dyadic_order": (2, 1)},
    {"static_kernel": "rbf", "sigma": 0.5},
)


def everything(x: Any, y: Any, **options: Any) -> list[np.ndarray]:
    """Return kernels and gradients, of pairs and of Gram matrices."""
    results = []
    for name, one, other in (
        ("signature_kernel", x, y),
        ("signature_gram", x, y),
        ("signature_gram", x, None),
    ):
        value, residuals = getattr(pysig, f"{name}_forward")(one, other, **options)
        residuals = pickle.loads(pickle.dumps(residuals))
        gradients = getattr(pysig, f"{name}_backward")(residuals, value)
        results += [np.asarray(value), *(grad for grad in gradients if grad is not None)]
    return results


def assert_same(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Assert that two lists of arrays agree in type and in every bit."""
    for result, other in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (other.dtype, other.shape)
        assert result.tobytes() == other.tobytes()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_number_of_threads_changes_nothing(rng, keep_num_threads, options):
    x, y = rng.standard_normal((40, 12, 3)) / 4, rng.standard_normal((40, 9, 3)) / 4
    pysig.set_num_threads(1)
    expected = everything(x, y, **options)
    for threads in (2, 3):
        pysig.set_num_threads(threads)
        assert_same(everything(x, y, **options), expected)


SCRIPT = """
import pickle, sys
sys.path[:0] = pickle.load(sys.stdin.buffer)
from test_kernel_input import everything
calls = pickle.load(sys.stdin.buffer)
results = [everything(x, y, **options) for x, y, options in calls]
sys.stdout.buffer.write(pickle.dumps(results))
"""


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(rng, level):
    calls = [
        (rng.standard_normal((18, 21, 3)) / 4, rng.standard_normal((18, 19, 3)) / 4, options)
        for options in OPTIONS
    ]
    calls += [(x.astype(np.float32), y.astype(np.float32), options) for x, y, options in calls]
    here = os.path.dirname(__file__)
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=pickle.dumps([here, *sys.path]) + pickle.dumps(calls),
        capture_output=True,
        env=dict(os.environ, PYSIG_SIMD=level),
        check=False,
    )
    assert process.returncode == 0, process.stderr.decode()
    for (x, y, options), results in zip(calls, pickle.loads(process.stdout), strict=True):
        for result, expected in zip(results, everything(x, y, **options), strict=True):
            assert result.dtype == expected.dtype
            tolerance = 100 * np.finfo(result.dtype).eps * np.max(abs(expected))
            np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_does_not_matter_and_inputs_are_kept(rng, dtype):
    x = rng.standard_normal((6, 5, 8)).astype(dtype)
    y = rng.standard_normal((6, 7, 8)).astype(dtype)
    expected = everything(x[::2, :, 1::3].copy(), y[::2, :, 1::3].copy())
    kept = x.tobytes(), y.tobytes()
    x.setflags(write=False)
    assert_same(everything(x[::2, :, 1::3], y[::2, :, 1::3]), expected)
    assert (x.tobytes(), y.tobytes()) == kept


def test_integers_and_lists_become_float64():
    x, y = [[0, 1], [2, 1], [2, 3]], [[0, 0], [1, 2]]
    expected = pysig.signature_kernel(np.array(x, float), np.array(y, float))
    assert pysig.signature_kernel(x, y) == expected
    assert pysig.signature_kernel(np.array(x), np.array(y)).dtype == np.float64
    _, residuals = pysig.signature_kernel_forward(x, y)
    gradients = pysig.signature_kernel_backward(residuals, 1)
    assert gradients.x.dtype == gradients.y.dtype == np.float64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("static", [{}, {"static_kernel": "rbf", "sigma": 0.5}], ids=str)
def test_bad_numbers_stay_in_their_own_pairs(rng, dtype, static):
    x = rng.standard_normal((9, 6, 3)).astype(dtype)
    clean = pysig.signature_gram(x, **static)
    for bad in (np.nan, np.inf):
        x[4, 2, 1] = bad
        gram = pysig.signature_gram(x, **static)
        others = np.arange(9) != 4
        assert np.array_equal(gram[np.ix_(others, others)], clean[np.ix_(others, others)])
        value, residuals = pysig.signature_kernel_forward(x, x[::-1], **static)
        gradients = pysig.signature_kernel_backward(residuals, value)
        assert np.all(np.isfinite(gradients.x[others]))
        if np.isnan(bad) or not static:
            assert not np.any(np.isfinite(gram[4]))


@pytest.mark.parametrize("static", [{}, {"static_kernel": "rbf", "sigma": 0.5}], ids=str)
def test_empty_batches(static):
    x, y = np.ones((0, 5, 2)), np.ones((3, 4, 2))
    assert pysig.signature_gram(x, y, **static).shape == (0, 3)
    assert pysig.signature_gram(x, **static).shape == (0, 0)
    assert pysig.signature_kernel(x, y[:1], **static).shape == (0,)
    value, residuals = pysig.signature_gram_forward(x, y, **static)
    gradients = pysig.signature_gram_backward(residuals, value)
    assert gradients.x.shape == x.shape
    assert np.array_equal(gradients.y, np.zeros(y.shape))
    value, kernel_residuals = pysig.signature_kernel_forward(x, y[:1], **static)
    kernel_gradients = pysig.signature_kernel_backward(kernel_residuals, value)
    assert np.array_equal(kernel_gradients.y, np.zeros((1, 4, 2)))


def path(*shape: int, dtype: Any = float) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((path(3), path(3, 2)), {}, ValueError, "x must have the shape"),
        ((path(3, 2), path(0, 2)), {}, ValueError, "y must have the shape"),
        ((path(3, 2), "path"), {}, TypeError, "y must be float32, float64 or integers"),
        ((path(3, 0), path(3, 0)), {}, ValueError, "x must have the shape"),
        ((path(3, 2), path(3, 1)), {}, ValueError, "same number of channels, not 2 and 1"),
        ((path(3, 2), path(3, 2, dtype="f4")), {}, TypeError, "y must be float64"),
        ((path(3, 2, dtype=complex), path(3, 2)), {}, TypeError, "x must be float32, float64"),
        ((path(3, 2), path(3, 2)), {"dyadic_order": -1}, ValueError, "dyadic_order must be betw"),
        ((path(3, 2), path(3, 2)), {"dyadic_order": 17}, ValueError, "dyadic_order must be betw"),
        ((path(3, 2), path(3, 2)), {"dyadic_order": 1.0}, TypeError, "dyadic_order must be an int"),
        ((path(3, 2), path(3, 2)), {"dyadic_order": (1, 2, 3)}, ValueError, "or a pair of them"),
        ((path(3, 2), path(3, 2)), {"dyadic_order": (1, True)}, TypeError, "not a bool"),
        ((path(3, 2), path(3, 2)), {"static_kernel": "cubic"}, ValueError, "static_kernel must"),
        ((path(3, 2), path(3, 2)), {"static_kernel": "rbf"}, ValueError, "sigma must be given"),
        ((path(3, 2), path(3, 2)), {"sigma": 1.0}, ValueError, "sigma must be None"),
    ],
)
def test_bad_arguments_are_refused(arguments, options, error, message):
    for function in (pysig.signature_kernel, pysig.signature_gram):
        with pytest.raises(error, match=message):
            function(*arguments, **options)


@pytest.mark.parametrize(
    ("sigma", "error"),
    [(0, ValueError), (-1.0, ValueError), (np.inf, ValueError), (np.nan, ValueError),
     (True, TypeError), ("1", TypeError), (1e-40, ValueError), ([1.0], TypeError)],
)  # fmt: skip
def test_bad_scales_are_refused(sigma, error):
    with pytest.raises(error, match="sigma must be"):
        pysig.signature_kernel(path(3, 2), path(3, 2), static_kernel="rbf", sigma=sigma)


def test_leading_axes_must_broadcast():
    with pytest.raises(ValueError, match="leading axes of x and y must broadcast"):
        pysig.signature_kernel(path(2, 3, 2), path(3, 3, 2))


def test_bad_gradients_are_refused():
    _, residuals = pysig.signature_gram_forward(path(2, 3, 2), path(4, 3, 2))
    with pytest.raises(ValueError, match=r"grad must have the shape of the kernels, \(2, 4\)"):
        pysig.signature_gram_backward(residuals, np.zeros((4, 2)))
    with pytest.raises(TypeError, match="grad must be float64"):
        pysig.signature_gram_backward(residuals, np.zeros((2, 4), np.float32))
    with pytest.raises(TypeError, match="residuals must be SignatureKernelResiduals"):
        pysig.signature_kernel_backward(residuals, np.zeros((2, 4)))
    with pytest.raises(TypeError, match="residuals must be SignatureGramResiduals, not tuple"):
        pysig.signature_gram_backward(tuple(residuals), np.zeros((2, 4)))
