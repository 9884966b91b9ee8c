r"""The maximum mean discrepancy of two samples of paths by the signature kernel, and its gradient.

For independent paths :math:`x, x'` of one law and :math:`y, y'` of another,

.. math:: \mathrm{MMD}^2 = \mathbb{E} \, k(x, x') - 2 \, \mathbb{E} \, k(x, y)
    + \mathbb{E} \, k(y, y'),

the squared distance of the two expected signatures (Chevyrev and Oberhauser, "Signature moments
to characterize laws of stochastic processes", JMLR 23, 2022, arXiv:1810.10971; the estimators are
those of Gretton, Borgwardt, Rasch, Schölkopf and Smola, "A kernel two-sample test", JMLR 13, 2012).
"""

import math
from typing import NamedTuple

from pysig._core.array import Array, boolean, check_residuals, namespace, namespace_of, real_array
from pysig.signatures.kernel import (
    SignatureGramResiduals,
    check_orders,
    check_paths,
    check_static_kernel,
    evaluate_gram,
    signature_gram_backward,
)

__all__ = [
    "SignatureMmdGradients",
    "SignatureMmdResiduals",
    "signature_mmd",
    "signature_mmd_backward",
    "signature_mmd_forward",
]


class SignatureMmdResiduals(NamedTuple):
    """What `signature_mmd_backward` needs: the inputs and options of the forward."""

    x: Array
    y: Array
    unbiased: bool
    dyadic_order: tuple[int, int]
    static_kernel: str
    sigma: float | None


class SignatureMmdGradients(NamedTuple):
    """The gradients with respect to both samples."""

    x: Array
    y: Array


def signature_mmd(x, y, *, unbiased=True, dyadic_order=0, static_kernel="linear", sigma=None):
    r"""
    Estimate the squared maximum mean discrepancy of two laws from samples of paths.

    Parameters
    ----------
    x : array_like, shape (..., x_samples, x_length, channels)
        Paths of the first law, at least two for the unbiased estimate. float32 and float64 are
        computed in their own type; integers and bools become float64.
    y : array_like, shape (..., y_samples, y_length, channels)
        Paths of the second law, of the same type and with the same leading axes.
    unbiased : bool
        Leave the kernels of a path with itself out, so that the mean of the estimates is right;
        they may then be negative. With False the estimate is the squared distance of the expected
        signatures of the two samples.
    dyadic_order : int or pair of int
        Cut each increment into 2\ :sup:`order` equal ones, from 0 to 16. A pair gives the orders
        for the first and for the second path of a kernel.
    static_kernel : {"linear", "rbf"}
        The kernel of two points: ⟨x, y⟩, or exp(-\|x - y\|²/σ).
    sigma : float, optional
        σ > 0 of "rbf", which needs it; "linear" has none.

    Returns
    -------
    ndarray, shape (...), or a NumPy scalar if it has no axes
        The estimates.

    Raises
    ------
    ValueError
        If a shape does not fit, or an option is not among those above.
    TypeError
        If an argument has the wrong type; `y` must have the floating-point type of `x`. If NumPy
        and CuPy arrays are mixed.

    See Also
    --------
    signature_mmd_forward, signature_mmd_backward : the same with gradients.
    signature_gram : the kernels that this is made of.

    Notes
    -----
    Memory: the three Gram matrices of one pair of samples.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> rng = np.random.default_rng(0)
    >>> x, y, drift = (rng.normal(size=(50, 20, 2)).cumsum(axis=1) / 10 for _ in range(3))
    >>> drift += np.linspace(0, 1, 20)[:, None]
    >>> print(f"{pysig.signature_mmd(x, y):.2f}, {pysig.signature_mmd(x, drift):.2f}")
    -0.01, 4.21
    """
    return evaluate(check(x, y, unbiased, dyadic_order, static_kernel, sigma))


def signature_mmd_forward(
    x, y, *, unbiased=True, dyadic_order=0, static_kernel="linear", sigma=None
):
    """
    Estimate the squared maximum mean discrepancy, and give what its gradient needs.

    The parameters are those of `signature_mmd`.

    Returns
    -------
    mmd : ndarray, or a NumPy scalar if it has no axes
        As `signature_mmd` returns it.
    residuals : SignatureMmdResiduals
        For `signature_mmd_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> x, y = [[[0.0], [1.0]], [[0.0], [2.0]]], [[[0.0], [1.0]], [[0.0], [3.0]]]
    >>> mmd, residuals = pysig.signature_mmd_forward(x, y)
    >>> print(mmd)
    -4.0
    >>> gradients = pysig.signature_mmd_backward(residuals, 1.0)
    >>> gradients.x.shape, gradients.y.shape
    ((2, 2, 1), (2, 2, 1))
    """
    residuals = check(x, y, unbiased, dyadic_order, static_kernel, sigma)
    return evaluate(residuals), residuals


def signature_mmd_backward(residuals, grad):
    """
    Compute the gradients of `signature_mmd`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureMmdResiduals
        As `signature_mmd_forward` returned it.
    grad : array_like, shape (...)
        Gradient with respect to the estimates, of their shape and type.

    Returns
    -------
    SignatureMmdGradients
        x, y : ndarrays of the shapes of `x` and `y`.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the estimates.
    TypeError
        If `grad` has not the type of the estimates, or `residuals` is something else.

    Notes
    -----
    Memory: that of `signature_gram_backward` for one pair of samples.

    Examples
    --------
    See `signature_mmd_forward`.
    """
    check_residuals(residuals, SignatureMmdResiduals)
    x, y, unbiased = residuals[:3]
    namespace(x=x, grad=grad)
    grad = real_array(grad, "grad", x.dtype)
    if grad.shape != x.shape[:-3]:
        raise ValueError(
            f"grad must have the shape of the estimates, {x.shape[:-3]}, not {grad.shape}"
        )
    xp = namespace_of(x)
    x_gradient, y_gradient = xp.empty(x.shape, x.dtype), xp.empty(y.shape, y.dtype)
    rows = zip(*(as_rows(array) for array in (x, y, x_gradient, y_gradient)), strict=True)
    for i, (x_row, y_row, x_to, y_to) in enumerate(rows):
        size, other = x_row.shape[0], y_row.shape[0]
        one = grad.reshape(-1)[i]
        across = signature_gram_backward(
            gram_residuals(residuals, x_row, y_row),
            xp.ascontiguousarray(xp.broadcast_to(-2 * one / (size * other), (size, other))),
        )
        for to, row, part in ((x_to, x_row, across.x), (y_to, y_row, across.y)):
            within = gram_residuals(residuals, row, None)
            weights = one * mean_weights(xp, row.shape[0], unbiased, x.dtype)
            to[...] = signature_gram_backward(within, weights).x + part
    return SignatureMmdGradients(x_gradient, y_gradient)


def check(x, y, unbiased, dyadic_order, static_kernel, sigma):
    """Check all arguments, and return them with arrays converted."""
    x, y = check_paths(x, y)
    unbiased = boolean(unbiased, "unbiased")
    if x.ndim < 3 or y.ndim < 3 or x.shape[:-3] != y.shape[:-3]:
        raise ValueError(
            "x and y must have the shapes (..., samples, length, channels) with the same leading "
            f"axes, not {x.shape} and {y.shape}"
        )
    for name, array in (("x", x), ("y", y)):
        if array.shape[-3] < 1 + unbiased:
            raise ValueError(
                f"{name} must have at least {1 + unbiased} paths for "
                f"unbiased={unbiased}, not {array.shape[-3]}"
            )
    orders = check_orders(dyadic_order)
    return SignatureMmdResiduals(x, y, unbiased, orders, *check_static_kernel(static_kernel, sigma))


def gram_residuals(residuals, x, y):
    """Return what the Gram matrix of two samples, or of one, is evaluated from."""
    options = residuals.dyadic_order, residuals.static_kernel, residuals.sigma
    return SignatureGramResiduals(x, y, *options)


def as_rows(samples):
    """Return samples with all leading axes in one."""
    return samples.reshape(math.prod(samples.shape[:-3]), *samples.shape[-3:])


def mean_weights(xp, size, unbiased, dtype):
    """Return the weights of the kernels of a sample with itself in their mean."""
    weights = xp.full((size, size), 1 / (size * (size - unbiased)), dtype)
    if unbiased:
        weights[xp.arange(size), xp.arange(size)] = 0
    return weights


def evaluate(residuals):
    """Return the estimates."""
    x, y, unbiased = residuals[:3]
    xp = namespace_of(x)
    result = xp.empty(x.shape[:-3], x.dtype)
    for i, (x_row, y_row) in enumerate(zip(as_rows(x), as_rows(y), strict=True)):
        across = evaluate_gram(gram_residuals(residuals, x_row, y_row))
        total = -2 * across.mean()
        for row in (x_row, y_row):
            within = evaluate_gram(gram_residuals(residuals, row, None))
            total = total + (within * mean_weights(xp, row.shape[0], unbiased, x.dtype)).sum()
        result.reshape(-1)[i] = total
    return result[()]
