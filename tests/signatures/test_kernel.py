"""The signature kernel and its gradients: the scheme cell by cell, closed forms, identities."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import arrays as pysig
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import kernel_reference as reference
from reference.accuracy import wide
from reference.kernel_reference import LINEAR, StaticKernel

pytestmark = pytest.mark.usefixtures("xp")

DTYPES = (np.float32, np.float64)
STATIC_KERNELS = (LINEAR, StaticKernel(0.75))
ORDERS = ((0, 0), (1, 0), (0, 2), (1, 1), (2, 3), (5, 0))


def brownian(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return paths of total size about one, of numbers that float32 has, too."""
    paths = np.cumsum(rng.standard_normal(shape), axis=-2) / math.sqrt(shape[-2])
    return paths.astype(np.float32).astype(np.float64)


def tolerance(x: np.ndarray, y: np.ndarray, orders: tuple[int, int]) -> float:
    """Return how many units an accurate kernel may be off: as good as random, one for each cell."""
    cells = (x.shape[-2] << orders[0]) * (y.shape[-2] << orders[1])
    return 8 + x.shape[-1] + 2 * math.sqrt(cells)


class Expected(NamedTuple):
    """The kernels of all pairs of paths, and their gradients; for each, the size of its terms."""

    value: np.ndarray
    gradients: tuple[np.ndarray, np.ndarray]
    bound: np.ndarray
    gradient_bounds: np.ndarray


def expected_gram(
    x: np.ndarray, y: np.ndarray, orders: tuple[int, int], static: StaticKernel, grad: np.ndarray
) -> Expected:
    """Return what the kernels of all pairs should be; x, y: lists of paths."""
    value, bound = (np.empty((len(x), len(y)), np.longdouble) for _ in range(2))
    gradients = np.zeros(x.shape, np.longdouble), np.zeros(y.shape, np.longdouble)
    sizes = np.zeros(2, np.longdouble)
    for i, j in itertools.product(range(len(x)), range(len(y))):
        pair = wide(x[i]), wide(y[j]), orders, static
        value[i, j], bound[i, j] = reference.kernel(*pair), reference.kernel_bound(*pair)
        for total, index, one in zip(gradients, (i, j), reference.kernel_vjp(*pair), strict=True):
            total[index] += grad[i, j] * one
        sizes += abs(grad[i, j]) * np.array(reference.kernel_vjp_bound(*pair))
    return Expected(value, gradients, bound, sizes)


def assert_near(actual: np.ndarray, expected: np.ndarray, units: float, size: Any = None) -> None:
    """Assert that arrays differ by some units of the last place of `size`, or of the largest."""
    assert actual.shape == expected.shape
    size = abs(expected).max(initial=0) if size is None else size
    assert np.all(abs(wide(actual) - expected) <= units * np.finfo(actual.dtype).eps * size)


def check_all(
    x: np.ndarray,
    y: np.ndarray,
    orders: tuple[int, int],
    static: StaticKernel,
    dtypes: tuple[Any, ...] = DTYPES,
) -> None:
    """Compare the kernels of all pairs, and their gradients, with the reference, both ways."""
    grad = np.random.default_rng(5).integers(-4, 5, (len(x), len(y))) / 4
    expected = expected_gram(x, y, orders, static, grad)
    units = tolerance(x, y, orders)
    options = {"dyadic_order": orders, **static.options()}
    for dtype in dtypes:
        left, right = x.astype(dtype), y.astype(dtype)
        for operation, one, name in (
            (pysig.signature_gram_forward, left, "signature_gram"),
            (pysig.signature_kernel_forward, left[:, None], "signature_kernel"),
        ):
            actual, residuals = operation(one, right, **options)
            assert actual.dtype == dtype
            assert_near(actual, expected.value, units, expected.bound)
            assert np.array_equal(getattr(pysig, name)(one, right, **options), actual)
            backward = getattr(pysig, f"{name}_backward")
            gradients = backward(residuals, grad.astype(dtype))
            assert gradients.x.dtype == gradients.y.dtype == dtype
            found = gradients.x.reshape(x.shape), gradients.y
            for triple in zip(found, expected.gradients, expected.gradient_bounds, strict=True):
                assert_near(*triple[:2], units, triple[2])


# --- the scheme ----------------------------------------------------------------------------------


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
@pytest.mark.parametrize("orders", ORDERS, ids=str)
def test_every_static_kernel_and_order(rng, orders, static):
    check_all(brownian(rng, 2, 5, 3), brownian(rng, 3, 4, 3), orders, static)


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
@pytest.mark.parametrize(("lengths", "channels"), [((40, 23), 2), ((18, 35), 5), ((17, 70), 9)])
def test_several_blocks(rng, lengths, channels, static):
    x, y = (brownian(rng, 1, length, channels) for length in lengths)
    check_all(x, y, (0, 0), static)


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
def test_larger_blocks(rng, static):
    """The gradient's blocks grow with the path."""
    check_all(brownian(rng, 1, 3, 2), brownian(rng, 1, 600, 2), (0, 0), static, (np.float64,))
    check_all(brownian(rng, 1, 10, 2), brownian(rng, 1, 3, 2), (7, 2), static, (np.float64,))


@pytest.mark.parametrize("counts", [(1, 1), (1, 9), (2, 17), (9, 2), (5, 5), (17, 1)])
def test_any_number_of_paths(rng, counts):
    x, y = (brownian(rng, count, 4, 2) for count in counts)
    check_all(x, y, (0, 0), LINEAR)


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
@pytest.mark.parametrize("length", range(1, 8))
def test_any_length(rng, length, static):
    check_all(brownian(rng, 2, length, 2), brownian(rng, 2, 4, 2), (0, 0), static)
    check_all(brownian(rng, 2, 4, 2), brownian(rng, 2, length, 2), (1, 0), static)


@pytest.mark.parametrize("channels", range(1, 12))
def test_any_number_of_channels(rng, channels):
    for static in STATIC_KERNELS:
        check_all(brownian(rng, 2, 6, channels), brownian(rng, 1, 5, channels), (0, 0), static)


@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 3), st.integers(1, 6)),
    st.integers(1, 6),
    st.sampled_from(ORDERS[:4]),
    st.sampled_from(STATIC_KERNELS),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32 - 1),
)
def test_property_any_shape(lengths, counts, channels, orders, static, dtype, seed):
    rng = np.random.default_rng(seed)
    pairs = counts[0] * counts[1] << sum(orders)
    shapes = [
        (n, max(1, min(m, 60 // pairs)), channels) for n, m in zip(counts, lengths, strict=True)
    ]
    x, y = (brownian(rng, *shape) for shape in shapes)
    check_all(x, y, orders, static, (dtype,))


# --- Gram matrices of one batch ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("orders", [(0, 0), (2, 2), (1, 0)])
@pytest.mark.parametrize("count", [1, 3, 9, 20])
def test_gram_of_one_batch_is_that_of_two(rng, count, orders, dtype):
    x = brownian(rng, count, 7, 3).astype(dtype)
    grad = rng.standard_normal((count, count)).astype(dtype)
    value, residuals = pysig.signature_gram_forward(x, dyadic_order=orders)
    expected, both = pysig.signature_gram_forward(x, x, dyadic_order=orders)
    units = tolerance(x, x, orders)
    assert_near(value, wide(expected), units)
    if orders[0] == orders[1]:
        assert np.array_equal(value, value.T)
    gradients = pysig.signature_gram_backward(residuals, grad)
    assert gradients.y is None
    sides = pysig.signature_gram_backward(both, grad)
    assert_near(gradients.x, wide(sides.x) + wide(sides.y), units)


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
def test_gram_matrix_is_positive_definite(rng, static):
    x = brownian(rng, 12, 20, 3)
    gram = pysig.signature_gram(x, dyadic_order=2, **static.options())
    assert np.linalg.eigvalsh(gram).min() > 0


def test_leading_axes(rng):
    x, y = brownian(rng, 2, 3, 5, 2), brownian(rng, 4, 6, 2)
    gram = pysig.signature_gram(x, y)
    assert gram.shape == (2, 3, 4)
    assert_near(pysig.signature_kernel(x[:, :, None], y), wide(gram), 10)
    assert pysig.signature_gram(x).shape == (2, 3, 2, 3)
    value, residuals = pysig.signature_kernel_forward(x[:, :1, None], y[1:])
    assert value.shape == (2, 1, 3)
    gradients = pysig.signature_kernel_backward(residuals, np.ones((2, 1, 3)))
    assert gradients.x.shape == (2, 1, 1, 5, 2)
    assert gradients.y.shape == (3, 6, 2)
    value, residuals = pysig.signature_kernel_forward(x[0, 0], y[0])
    assert np.shape(value) == ()
    assert pysig.signature_kernel_backward(residuals, np.array(1.0)).x.shape == (5, 2)


# --- closed forms and limits ---------------------------------------------------------------------


def bessel(product: float) -> float:
    """Return the kernel of two straight lines, I₀(2 √product) = Σ productᵏ / k!²."""
    return math.fsum(product**k / math.factorial(k) ** 2 for k in range(60))


def extrapolated(values: list[np.ndarray]) -> np.ndarray:
    """Return the limit by Richardson's extrapolation: the error has all orders from the second."""
    for order in range(2, len(values) + 1):
        values = [(2**order * b - a) / (2**order - 1) for a, b in itertools.pairwise(values)]
    return values[0]


@pytest.mark.parametrize("product", [1.0, -1.0, 3.5, -4.0, 0.0])
def test_straight_lines_have_their_closed_form(product):
    x, y = np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([[0.0, 0.0], [product / 2, 0.0]])
    values = [pysig.signature_kernel(x, y, dyadic_order=order) for order in range(9)]
    errors = [abs(value - bessel(product)) for value in values]
    assert errors[0] <= 0.15 * (1 + product**2)
    for before, after in itertools.pairwise(errors[5:]):
        assert before / 4.1 <= after <= before / 3.7
    assert extrapolated(values[2:]) == pytest.approx(bessel(product), rel=1e-11, abs=1e-11)


def test_limit_is_the_inner_product_of_signatures(rng):
    x, y = brownian(rng, 4, 5, 2) * 0.7, brownian(rng, 4, 7, 2) * 0.7
    signatures = [pysig.signature(path, 16, scalar_term=True) for path in (x, y)]
    expected = (signatures[0] * signatures[1]).sum(axis=-1)
    values = [pysig.signature_kernel(x, y, dyadic_order=order) for order in range(7)]
    errors = [abs(value - expected).max() for value in values]
    for before, after in itertools.pairwise(errors[3:]):
        assert before / 4.5 <= after <= before / 3.5
    np.testing.assert_allclose(extrapolated(values), expected, rtol=1e-10)


def test_gradient_has_the_limit_of_signatures(rng):
    x, y = brownian(rng, 5, 2) * 0.7, brownian(rng, 4, 2) * 0.7
    _, residuals = pysig.signature_forward(x, 14, scalar_term=True)
    expected = pysig.signature_backward(residuals, pysig.signature(y, 14, scalar_term=True)).path
    gradients = []
    for order in range(7):
        _, kernel_residuals = pysig.signature_kernel_forward(x, y, dyadic_order=order)
        gradients.append(pysig.signature_kernel_backward(kernel_residuals, np.array(1.0)).x)
    np.testing.assert_allclose(extrapolated(gradients), expected, rtol=1e-9, atol=1e-11)


# --- identities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("orders", ORDERS, ids=str)
def test_dyadic_order_is_a_refined_path(rng, orders):
    def refined(path, order):
        times = np.arange(((path.shape[-2] - 1) << order) + 1) / 2**order
        index = np.minimum(times.astype(int), path.shape[-2] - 2)
        part = (times - index)[:, None]
        return path[..., index, :] * (1 - part) + path[..., index + 1, :] * part

    x, y = brownian(rng, 3, 5, 2), brownian(rng, 3, 6, 2)
    value = pysig.signature_kernel(x, y, dyadic_order=orders)
    expected = pysig.signature_kernel(refined(x, orders[0]), refined(y, orders[1]))
    assert_near(value, wide(expected), tolerance(x, y, orders))


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
def test_paths_can_be_exchanged(rng, static):
    x, y = brownian(rng, 3, 9, 3), brownian(rng, 3, 6, 3)
    value = pysig.signature_kernel(x, y, dyadic_order=(1, 0), **static.options())
    exchanged = pysig.signature_kernel(y, x, dyadic_order=(0, 1), **static.options())
    assert_near(exchanged, wide(value), tolerance(x, y, (1, 0)))


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
def test_rotation_and_translation_change_nothing(rng, static):
    x, y = brownian(rng, 3, 9, 3), brownian(rng, 3, 6, 3)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    value = pysig.signature_kernel(x, y, **static.options())
    moved = pysig.signature_kernel(x @ rotation + 1, y @ rotation + 1, **static.options())
    assert_near(moved, wide(value), 100)


def test_a_point_has_the_kernel_one(rng):
    x = brownian(rng, 3, 9, 2)
    resting = np.broadcast_to(x[:, :1], x.shape)
    assert np.array_equal(pysig.signature_kernel(x, x[:, :1]), np.ones(3))
    assert np.array_equal(pysig.signature_kernel(x, resting, dyadic_order=1), np.ones(3))
    value, residuals = pysig.signature_gram_forward(x, x[:, :1])
    assert np.array_equal(value, np.ones((3, 3)))
    gradients = pysig.signature_gram_backward(residuals, value)
    assert np.array_equal(gradients.x, np.zeros((3, 9, 2)))
    assert np.array_equal(gradients.y, np.zeros((3, 1, 2)))


# --- gradients against derivatives ---------------------------------------------------------------


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
@pytest.mark.parametrize("orders", [(0, 0), (2, 1)])
def test_backward_is_the_adjoint_of_the_derivative(rng, orders, static):
    """<grad, J v> = <Jᵀ grad, v>, with J v by the complex step."""
    x, y = brownian(rng, 20, 3), brownian(rng, 7, 3)
    u, v = rng.standard_normal(x.shape), rng.standard_normal(y.shape)
    step = 1e-30
    derivative = reference.kernel(x + 1j * step * u, y + 1j * step * v, orders, static).imag / step
    options = {"dyadic_order": orders, **static.options()}
    _, residuals = pysig.signature_kernel_forward(x, y, **options)
    gradients = pysig.signature_kernel_backward(residuals, np.array(3.0))
    actual = (gradients.x * u).sum() + (gradients.y * v).sum()
    assert actual == pytest.approx(3 * derivative, rel=1e-12)


@pytest.mark.parametrize("static", STATIC_KERNELS, ids=str)
def test_gradients_agree_with_central_differences(rng, static):
    """The library against itself."""
    x, u = brownian(rng, 5, 12, 2), rng.standard_normal((5, 12, 2))
    grad = rng.standard_normal((5, 5))

    def weighted(step):
        return (grad * pysig.signature_gram(x + step * u, **static.options())).sum()

    near, far = ((weighted(h) - weighted(-h)) / (2 * h) for h in (1e-3, 2e-3))
    _, residuals = pysig.signature_gram_forward(x, **static.options())
    gradient = pysig.signature_gram_backward(residuals, grad).x
    assert (gradient * u).sum() == pytest.approx((4 * near - far) / 3, rel=1e-8)


def test_long_paths_keep_their_digits(rng):
    """Difference to float64, for kernels over ten thousands of fine cells."""
    x, y = brownian(rng, 2, 300, 2), brownian(rng, 2, 200, 2)
    grad = np.ones((2, 2))
    results = []
    for dtype in (np.float32, np.float64):
        value, residuals = pysig.signature_gram_forward(
            x.astype(dtype), y.astype(dtype), dyadic_order=1
        )
        gradients = pysig.signature_gram_backward(residuals, grad.astype(dtype))
        results.append((value, *gradients))
    for single, double in zip(*results, strict=True):
        assert np.max(abs(single - double)) <= 1e-5 * np.max(abs(double))
