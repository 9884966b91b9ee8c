"""The expected signature: the mean of the signatures, whatever the size; its gradient."""

from __future__ import annotations

from typing import Any

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import signature_reference as reference
from reference.accuracy import wide

from pysig.signatures import expected

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)


def brownian(rng, *shape, dtype: Any = np.float64):
    """Return paths of total size about one."""
    return (np.cumsum(rng.standard_normal(shape), axis=-2) / np.sqrt(shape[-2])).astype(dtype)


def mean_of_reference(paths, depth, **options):
    """Return the mean of the signatures, and the sizes of their terms."""
    value = reference.signature(wide(paths), depth, **options)
    return value.mean(axis=-2), reference.signature_bound(paths, depth, **options).mean(axis=-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [(), (2,), (2, 1, 3), (0,)])
@pytest.mark.parametrize("options", [{}, {"basepoint": True}, {"scalar_term": True}], ids=str)
def test_mean_of_the_signatures(rng, batch, options, dtype):
    paths = brownian(rng, *batch, 7, 6, 3, dtype=dtype)
    value = pysig.expected_signature(paths, 3, **options)
    assert value.dtype == dtype
    mean, bound = mean_of_reference(paths.astype(np.float64), 3, **options)
    assert value.shape == mean.shape
    assert np.all(abs(wide(value) - mean) <= 8 * np.finfo(dtype).eps * bound)


def test_lengths_are_those_of_the_signature(rng):
    paths = brownian(rng, 2, 5, 8, 2)
    lengths = np.array([[3, 8, 1, 5, 2], [8, 8, 4, 4, 4]])
    paths[0, 0, 3:] = np.nan
    value, residuals = pysig.expected_signature_forward(paths, 3, lengths=lengths)
    mean = pysig.signature(paths, 3, lengths=lengths).mean(axis=-2)
    np.testing.assert_allclose(value, mean, rtol=1e-14, atol=1e-16)
    gradient = pysig.expected_signature_backward(residuals, np.ones_like(value))
    assert np.array_equal(gradient[0, 0, 3:], np.zeros((5, 2)))


@pytest.mark.parametrize("batch", [(), (3,)])
def test_cut_into_chunks(rng, monkeypatch, batch):
    paths, grad = brownian(rng, *batch, 23, 5, 2), rng.standard_normal((*batch, 14))
    results = []
    for size in (2**22, 1):
        monkeypatch.setattr(expected, "CHUNK_BYTES", size)
        monkeypatch.setattr(expected, "FEWEST_PATHS", 4)
        value, residuals = pysig.expected_signature_forward(paths, 3)
        results.append((value, pysig.expected_signature_backward(residuals, grad)))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-14, atol=1e-16)


@given(st.integers(1, 9), st.integers(1, 8), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_property_gradient_is_the_adjoint(samples, length, channels, depth, basepoint):
    """That of the signature, which is tested on its own, with the same weight for each path."""
    rng = np.random.default_rng(samples + 10 * length)
    paths = brownian(rng, samples, length, channels)
    value, residuals = pysig.expected_signature_forward(paths, depth, basepoint=basepoint)
    grad = rng.standard_normal(value.shape)
    gradient = pysig.expected_signature_backward(residuals, grad)
    _, each = pysig.signature_forward(paths, depth, basepoint=basepoint)
    repeated = np.tile(grad / samples, (samples, 1))
    wanted = pysig.signature_backward(each, repeated).path
    np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-13)


def test_float32_means_of_many_paths_keep_their_digits(rng):
    paths = brownian(rng, 20_000, 3, 2, dtype=np.float32) + np.float32(1)
    value = pysig.expected_signature(paths, 2, basepoint=True)
    mean = pysig.signature(paths, 2, basepoint=True).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(value, mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("paths", "options", "error", "message"),
    [
        (np.zeros((3, 2)), {}, ValueError, "paths must have the shape"),
        (np.zeros((0, 3, 2)), {}, ValueError, "at least one path"),
        (np.zeros((2, 0, 2)), {}, ValueError, "one point"),
        (np.zeros((2, 3, 2), complex), {}, TypeError, "paths must be float32"),
        (np.zeros((2, 3, 2)), {"basepoint": 1}, TypeError, "basepoint must be True or False"),
        (np.zeros((2, 3, 2)), {"lengths": [1, 4]}, ValueError, "lengths must be between 1 and 3"),
    ],
)
def test_bad_arguments_are_refused(paths, options, error, message, xp):
    if paths.dtype.kind == "c" and xp is not np:
        pytest.skip("the double has no complex numbers")
    with pytest.raises(error, match=message):
        pysig.expected_signature(paths, 2, **options)


def test_bad_gradients_are_refused():
    _, residuals = pysig.expected_signature_forward(np.zeros((2, 3, 2)), 2)
    with pytest.raises(ValueError, match=r"the shape of the means, \(6,\), not \(5,\)"):
        pysig.expected_signature_backward(residuals, np.zeros(5))
    with pytest.raises(TypeError, match="grad must be float64"):
        pysig.expected_signature_backward(residuals, np.zeros(6, np.float32))
    with pytest.raises(TypeError, match="residuals must be ExpectedSignatureResiduals"):
        pysig.expected_signature_backward(3, np.zeros(6))
