"""soft_sort and soft_rank on long rows and many rows: accuracy, ties in keys, threads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal

import pysig

operations = pytest.mark.parametrize("operation", ["soft_sort", "soft_rank"])
regularizations = pytest.mark.parametrize("regularization", ["l2", "kl"])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def everything(operation, x, **options):
    """Return the values, those of the forward, its residuals, and the gradients."""
    value = getattr(pysig, operation)(x, **options)
    other, residuals = getattr(pysig, operation + "_forward")(x, **options)
    grad = np.cos(np.arange(x.size)).reshape(x.shape).astype(x.dtype)
    gradients = getattr(pysig, operation + "_backward")(residuals, grad, strength_gradient=True)
    return [value, other, *(a for a in residuals if isinstance(a, np.ndarray)), *gradients]


@dtypes
@pytest.mark.parametrize("n", [2, 3, 31, 64, 255, 256, 257, 1000, 70000])
@pytest.mark.parametrize(
    "kind", ["random", "ties", "close", "very close", "zeros", "wide", "subnormal", "two values"]
)
def test_permutations_are_stable(dtype, n, kind, rng):
    x = rng.normal(size=n)
    eps = np.finfo(dtype).eps
    x = {
        "random": x,
        "ties": np.round(x * 3),
        "close": 1 + rng.integers(0, 50, size=n) * eps,
        "very close": -1 - rng.permutation(n) * eps,
        "zeros": np.where(rng.random(n) < 0.5, 0.0, -0.0),
        "wide": x * 10.0 ** rng.integers(-30, 30, size=n),
        "subnormal": rng.integers(-40, 40, size=n) * np.finfo(dtype).smallest_subnormal,
        "two values": rng.integers(0, 2, size=n) * 1.0,
    }[kind].astype(dtype)
    for sign, direction in [(1, "ascending"), (-1, "descending")]:
        options = {"regularization_strength": 1e-300, "direction": direction}
        value, residuals = pysig.soft_sort_forward(x, **options)
        assert_array_equal(residuals.order, np.argsort(sign * x, kind="stable"))
        assert_array_equal(value, sign * np.sort(sign * x))
        assert_array_equal(pysig.soft_sort(x, **options), value)


@pytest.mark.parametrize("n", [20, 300, 5000])
def test_largest_numbers_and_infinity_are_kept_apart(n, rng):
    largest = np.finfo(float).max
    x = rng.choice([np.inf, -np.inf, largest, -largest, np.nextafter(largest, 0), 1.0], size=n)
    ranks = pysig.soft_rank(x, regularization_strength=1e-300)
    assert_array_equal(ranks, [(x < a).sum() + ((x == a).sum() + 1) / 2 for a in x])


@operations
@dtypes
def test_l2_accuracy_of_long_rows(operation, dtype, rng):
    x = rng.normal(size=10**6).astype(dtype)
    for strength in [1.0, 0.01, 1e-6]:
        value = getattr(pysig, operation)(x, regularization_strength=strength)
        wide = getattr(pysig, operation)(x.astype(float), regularization_strength=strength)
        bound = 1e-6 if operation == "soft_sort" else 0.05
        assert_allclose(value, wide, rtol=0, atol=bound)


@operations
def test_kl_accuracy_of_long_rows(operation, rng):
    x = rng.normal(size=10**5).astype(np.float32)
    options = {"regularization": "kl"}
    for scale, strength in [(1, 1.0), (1, 1e-4), (1e4, 1.0), (1, 100.0)]:
        row = (scale * x).astype(np.float32)
        value = getattr(pysig, operation)(row, regularization_strength=strength, **options)
        wide = getattr(pysig, operation)(
            row.astype(float), regularization_strength=strength, **options
        )
        assert np.isfinite(value).all()
        atol = 0 if operation == "soft_rank" else 1e-6 * scale
        assert_allclose(value, wide, rtol=1e-5, atol=atol)


@operations
@regularizations
@dtypes
@pytest.mark.parametrize("shape", [(3000, 20), (40, 1000), (5, 20000), (1, 300000)])
def test_results_do_not_depend_on_the_number_of_threads(
    operation, regularization, dtype, shape, rng, keep_num_threads
):
    x = rng.normal(size=shape).astype(dtype)
    x[0] = np.sort(x[0])
    results = []
    for threads in [1, 2, 3]:
        pysig.set_num_threads(threads)
        results.append(everything(operation, x, regularization=regularization))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_array_equal(a, b)


def rows_of_kind(kind, n, rng):
    """Rows that are pooled in different ways; in chunks, blocks reach over their limits."""
    i = np.arange(n)
    return {
        "pooled": rng.permutation(np.cumsum(rng.exponential(size=n))),
        "one block": rng.permutation(1e-9 * i),
        "far apart": rng.permutation(np.where(i < n // 3, 1e-6 * i, 1e6 + np.sqrt(i))),
        "few values": rng.integers(0, 9, size=n) * 0.7,
        "falling": -np.sort(rng.integers(0, n, size=n) * 0.5),
        "last absorbs": np.where(i == n - 1, 4.0 * n, np.cumsum(np.linspace(0.5, 1, n))),
    }[kind]


@operations
@regularizations
@pytest.mark.parametrize(
    "kind",
    ["pooled", "one block", "far apart", "falling", "last absorbs"],
)
def test_long_rows_of_all_kinds(operation, regularization, kind, rng, keep_num_threads):
    """Threads change nothing, and the sums are those of the definition, block by block."""
    n = 150_000
    x = rows_of_kind(kind, n, rng)
    results = []
    for threads in [1, 2]:
        pysig.set_num_threads(threads)
        results.append(everything(operation, x, regularization=regularization))
    for a, b in zip(*results, strict=True):
        assert_array_equal(a, b)
    value, gradient = results[0][0], results[0][-2]
    grad = np.cos(np.arange(n))
    if operation == "soft_rank":
        assert_allclose(value.sum(), n * (n + 1) / 2, rtol=1e-12)
        assert np.all(np.diff(value[np.argsort(x)]) >= -1e-9)
    else:
        assert np.all(np.diff(value) >= -1e-9 * np.abs(x).max())
        assert_allclose(gradient.sum(), grad.sum(), atol=1e-9)
    if operation == "soft_sort" and regularization == "l2":
        assert_allclose(value.sum(), x.sum(), rtol=1e-12)
    if regularization == "l2":
        fit = blocks_by_isotonic_regression(operation, x)
        # Differences of x and the positions are rounded relative to the larger of them.
        assert_allclose(value, fit, rtol=0, atol=1e-13 * max(np.abs(x).max(), n))


def blocks_by_isotonic_regression(operation, x):
    """The values for "l2" and the strength 1, by regression of the sorted entries."""
    i = np.arange(1.0, len(x) + 1)
    order = np.argsort(x, kind="stable")
    if operation == "soft_sort":
        difference = i - x[order]
        return i - scipy.optimize.isotonic_regression(difference).x
    result = np.empty_like(x)
    fit = scipy.optimize.isotonic_regression(x[order] - i).x
    result[order] = x[order] - fit
    return result


@pytest.mark.parametrize("n", [1, 20, 100, 256, 257, 600, 2000])
@pytest.mark.parametrize("kind", ["pooled", "one block", "few values", "last absorbs"])
def test_kl_is_a_projection(kind, n, rng):
    """Pooling by strips, and of several short rows at once, against the kernel of projections."""
    x = np.stack([rows_of_kind(kind, n, rng) for _ in range(5)])
    x[2] = rng.normal(size=n)
    x[3] *= np.minimum(1, 300 / np.ptp(x[3])) if n > 1 else 1  # no exponential underflows
    positions = np.arange(1.0, n + 1)
    for strength in [0.3, 1.0, 20.0]:
        options = {"regularization": "kl", "regularization_strength": strength}
        z = pysig.project_permutahedron(x / strength, np.log(positions), regularization="kl")
        assert_allclose(pysig.soft_rank(x, **options), np.exp(z), rtol=1e-9)
        rho = np.broadcast_to(positions[::-1] / strength, x.shape)
        expected = pysig.project_permutahedron(rho, x, regularization="kl")
        value = pysig.soft_sort(x, direction="descending", **options)
        assert_allclose(value, expected, rtol=0, atol=1e-12 * max(np.abs(x).max(), n / strength))


@dtypes
@pytest.mark.parametrize("n", [3, 64, 65, 300, 1000, 70000])
def test_falling_rows_with_ties_are_stable(dtype, n, rng):
    for values in [2, n // 2 + 1, n * n]:
        x = -np.sort(rng.integers(0, values, size=n)).astype(dtype)
        for sign, direction in [(1, "ascending"), (-1, "descending")]:
            _, residuals = pysig.soft_sort_forward(sign * x, direction=direction)
            assert_array_equal(residuals.order, np.argsort(x, kind="stable"))


@operations
@regularizations
@dtypes
def test_rows_do_not_depend_on_their_neighbours(operation, regularization, dtype, rng):
    for n in [5, 100, 400]:
        x = rng.normal(size=(23, n)).astype(dtype)
        x[3:6] = np.sort(x[3:6])
        x[8] = x[8, ::-1]
        x[10] *= 1e4
        together = everything(operation, x, regularization=regularization)[:-2]
        for i in range(len(x)):
            alone = everything(operation, x[i : i + 1], regularization=regularization)[:-2]
            for a, b in zip(together, alone, strict=True):
                assert_array_equal(a[i], b[0])


SCRIPT = """
import sys, numpy as np, pysig
out = {}
rng = np.random.default_rng(0)
for shape in [(9, 20), (3, 100), (2, 700)]:
    for dtype in (np.float32, np.float64):
        x = rng.normal(size=shape).astype(dtype)
        for r in ("l2", "kl"):
            for s in (0.1, 1.0, 10.0):
                for op in ("soft_sort", "soft_rank"):
                    v, res = getattr(pysig, op + "_forward")(
                        x, regularization=r, regularization_strength=s)
                    g = getattr(pysig, op + "_backward")(res, x)
                    key = f"{op} {r} {s} {shape} {np.dtype(dtype)}"
                    out[key], out[key + " gradient"] = v, g
np.savez(sys.argv[1], **out)
"""


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_every_instruction_set(level, tmp_path):
    results = []
    for name in ["baseline", level]:
        environment = dict(os.environ, PYSIG_SIMD=name, PYTHONPATH=os.pathsep.join(sys.path))
        path = tmp_path / f"{name}.npz"
        subprocess.run([sys.executable, "-c", SCRIPT, path], env=environment, check=True)
        results.append(np.load(path))
    for key, expected in results[0].items():
        eps = np.finfo(expected.dtype).eps
        size = expected.shape[-1] / float(key.split()[2]) if "rank" in key else 10
        assert_allclose(
            results[1][key], expected, rtol=100 * eps, atol=100 * eps * size, err_msg=key
        )


MEMORY_SCRIPT = """
import sys, numpy as np, pysig

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

operation, regularization, dtype, threads = sys.argv[1:]
pysig.set_num_threads(int(threads))
forward = getattr(pysig, operation + "_forward")
backward = getattr(pysig, operation + "_backward")
x = 3 * np.random.default_rng(0).normal(size=4_000_000).astype(dtype)
backward(forward(x[:200_000], regularization=regularization)[1], x[:200_000])
before = status("VmRSS")
value, residuals = forward(x, regularization=regularization)
print((status("VmHWM") - before) / x.nbytes)
backward(residuals, x)
print((status("VmHWM") - before) / x.nbytes)
"""


@operations
@regularizations
@dtypes
@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the memory from /proc")
def test_memory(operation, regularization, dtype):
    """At most six arrays of the size of the input, all results included."""
    for threads in ["1", "2"]:
        arguments = [operation, regularization, np.dtype(dtype).name, threads]
        # Large blocks go back to the system at once, so that only what is in use is counted.
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
        environment["MALLOC_MMAP_THRESHOLD_"] = "65536"
        process = subprocess.run(
            [sys.executable, "-c", MEMORY_SCRIPT, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        arrays = [float(number) for number in process.stdout.split()]
        assert max(arrays) < 6.3, arguments
