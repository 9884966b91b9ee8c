r"""The score of a law of paths on observed paths, by the signature kernel, and its gradient.

For independent paths :math:`x, x'` of a law P and an observed path y,

.. math:: s(P, y) = \lambda \, \mathbb{E} \, k(x, x') - 2 \, \mathbb{E} \, k(x, y),

the signature kernel score of Issa, Horvath, Lemercier and Salvi, "Non-adversarial training of
neural SDEs with signature kernel scores" (NeurIPS 2023, arXiv:2305.16274). With :math:`\lambda = 1`
its mean over observed paths is the squared maximum mean discrepancy of the two laws, but for a
number that does not depend on P: it is least where P is the law of what is observed.
"""

import math
import numbers
from typing import NamedTuple

import numpy as np

from pysig._core.array import Array, check_residuals, grad_array, namespace, namespace_of
from pysig.signatures.kernel import (
    check_orders,
    check_paths,
    check_static_kernel,
    evaluate_gram,
    signature_gram_backward,
)
from pysig.signatures.mmd import as_rows, gram_residuals, mean_weights

__all__ = [
    "SignatureScoreGradients",
    "SignatureScoreResiduals",
    "signature_score",
    "signature_score_backward",
    "signature_score_forward",
]


class SignatureScoreResiduals(NamedTuple):
    """What `signature_score_backward` needs: the inputs and options of the forward."""

    x: Array
    y: Array
    spread: float
    dyadic_order: tuple[int, int]
    static_kernel: str
    sigma: float | None


class SignatureScoreGradients(NamedTuple):
    """The gradients with respect to the sample and the observed paths."""

    x: Array
    y: Array


def signature_score(x, y, *, spread=1.0, dyadic_order=0, static_kernel="linear", sigma=None):
    r"""
    Estimate how well a law, of which there is a sample, suits observed paths: less is better.

    Parameters
    ----------
    x : array_like, shape (..., samples, x_length, channels)
        Paths of the law, at least two. float32 and float64 are computed in their own type; integers
        and bools become float64.
    y : array_like, shape (..., observed, y_length, channels)
        Observed paths, of the same type and with the same leading axes.
    spread : float
        λ ≥ 0, the weight of the kernels within the sample. The score is proper, least in the mean
        for the law of the observed paths, with 1; with less it favours laws that spread less.
    dyadic_order : int or pair of int
        Cut each increment into 2\ :sup:`order` equal ones, from 0 to 16. A pair gives the orders
        for the first and for the second path of a kernel.
    static_kernel : {"linear", "rbf"}
        The kernel of two points: ⟨x, y⟩, or exp(-\|x - y\|²/σ).
    sigma : float, optional
        σ > 0 of "rbf", which needs it; "linear" has none.

    Returns
    -------
    ndarray, shape (..., observed)
        A score for each observed path. The mean over the last axis is the expected score.

    Raises
    ------
    ValueError
        If a shape does not fit, or an option is not among those above.
    TypeError
        If an argument has the wrong type; `y` must have the floating-point type of `x`. If NumPy
        and CuPy arrays are mixed.

    See Also
    --------
    signature_score_forward, signature_score_backward : the same with gradients.
    signature_mmd : compares two samples.
    signature_gram : the kernels that this is made of.

    Notes
    -----
    The kernels of a path of the sample with itself are left out, so that the mean of the estimates
    is right. Memory: the two Gram matrices of one sample.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> rng = np.random.default_rng(0)
    >>> x, y, drift = (rng.normal(size=(50, 20, 2)).cumsum(axis=1) / 10 for _ in range(3))
    >>> drift += np.linspace(0, 1, 20)[:, None]
    >>> for sample in (x, drift):
    ...     print(f"{pysig.signature_score(sample, y).mean():.2f}")
    -1.03
    3.10
    """
    return evaluate(check(x, y, spread, dyadic_order, static_kernel, sigma))


def signature_score_forward(
    x, y, *, spread=1.0, dyadic_order=0, static_kernel="linear", sigma=None
):
    """
    Estimate the scores of a law on observed paths, and give what their gradient needs.

    The parameters are those of `signature_score`.

    Returns
    -------
    scores : ndarray
        As `signature_score` returns them.
    residuals : SignatureScoreResiduals
        For `signature_score_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> x, y = [[[0.0], [1.0]], [[0.0], [2.0]]], [[[0.0], [1.0]]]
    >>> scores, residuals = pysig.signature_score_forward(x, y)
    >>> scores
    array([-2.25])
    >>> gradients = pysig.signature_score_backward(residuals, [1.0])
    >>> gradients.x.shape, gradients.y.shape
    ((2, 2, 1), (1, 2, 1))
    """
    residuals = check(x, y, spread, dyadic_order, static_kernel, sigma)
    return evaluate(residuals), residuals


def signature_score_backward(residuals, grad):
    """
    Compute the gradients of `signature_score`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureScoreResiduals
        As `signature_score_forward` returned it.
    grad : array_like, shape (..., observed)
        Gradient with respect to the scores, of their shape and type.

    Returns
    -------
    SignatureScoreGradients
        x, y : ndarrays of the shapes of `x` and `y`.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the scores.
    TypeError
        If `grad` has not the type of the scores, or `residuals` is something else.

    Notes
    -----
    Memory: that of `signature_gram_backward` for one sample.

    Examples
    --------
    See `signature_score_forward`.
    """
    check_residuals(residuals, SignatureScoreResiduals)
    x, y, spread = residuals[:3]
    namespace(x=x, grad=grad)
    grad = grad_array(grad, y.shape[:-2], x.dtype, "the scores")
    xp = namespace_of(x)
    gradients = SignatureScoreGradients(xp.empty(x.shape, x.dtype), xp.empty(y.shape, y.dtype))
    rows = zip(*(as_rows(array) for array in (x, y, *gradients)), strict=True)
    samples, observed = x.shape[-3], y.shape[-3]
    for of_row, (x_row, y_row, x_to, y_to) in zip(
        grad.reshape(math.prod(grad.shape[:-1]), observed), rows, strict=True
    ):
        weights = xp.broadcast_to(-2 / samples * of_row, (samples, observed))
        across = signature_gram_backward(
            gram_residuals(residuals, x_row, y_row), xp.ascontiguousarray(weights)
        )
        weights = (spread * of_row.sum()) * mean_weights(xp, samples, True, x.dtype)
        within = signature_gram_backward(gram_residuals(residuals, x_row, None), weights)
        x_to[...] = across.x + within.x
        y_to[...] = across.y
    return gradients


def check(x, y, spread, dyadic_order, static_kernel, sigma):
    """Check all arguments, and return them with arrays converted."""
    x, y = check_paths(x, y)
    if x.ndim < 3 or y.ndim < 3 or x.shape[:-3] != y.shape[:-3]:
        raise ValueError(
            "x and y must have the shapes (..., samples, length, channels) and (..., observed, "
            f"length, channels) with the same leading axes, not {x.shape} and {y.shape}"
        )
    if x.shape[-3] < 2:
        raise ValueError(f"x must have at least 2 paths, not {x.shape[-3]}")
    if isinstance(spread, bool | np.bool_) or not isinstance(spread, numbers.Real):
        raise TypeError(f"spread must be a real number, not {type(spread).__name__}")
    spread = float(spread)
    if not 0 <= spread < math.inf:
        raise ValueError(f"spread must be at least 0 and finite, not {spread}")
    orders = check_orders(dyadic_order)
    kernel = check_static_kernel(static_kernel, sigma)
    return SignatureScoreResiduals(x, y, spread, orders, *kernel)


def evaluate(residuals):
    """Return the scores."""
    x, y, spread = residuals[:3]
    xp = namespace_of(x)
    result = xp.empty(y.shape[:-2], x.dtype)
    samples, observed = x.shape[-3], y.shape[-3]
    scores = result.reshape(math.prod(result.shape[:-1]), observed)
    weights = spread * mean_weights(xp, samples, True, x.dtype)
    for to, x_row, y_row in zip(scores, as_rows(x), as_rows(y), strict=True):
        across = evaluate_gram(gram_residuals(residuals, x_row, y_row))
        within = evaluate_gram(gram_residuals(residuals, x_row, None))
        to[...] = (within * weights).sum() - 2 * across.mean(axis=0)
    return result
