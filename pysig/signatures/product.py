r"""The product of signatures, and its gradient.

If one path ends where another one begins, then the signature of both together is the product of
their signatures in the tensor algebra (Chen's identity): for words of length 1 to depth,

.. math:: (A \otimes B)^{(i_1, \dots, i_k)} = \sum_{j=0}^{k} A^{(i_1, \dots, i_j)}
    B^{(i_{j+1}, \dots, i_k)},

where the coefficient of the empty word is 1. It costs :math:`\sum_k (k - 1) d^k` multiplications
and additions for d channels.

Tables of rows and indices into them are what everything here is made of: product r is that of the
rows ``indices[0][r]``, ``indices[1][r]`` and so on of up to four tables, so that factors which
several products share are never copied.
"""

from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    FLOAT64,
    Array,
    check_residuals,
    cuda_kernel,
    device_of,
    empty,
    grad_array,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig._core.signatures import product as cpu_kernel
from pysig.signatures.signature import count_words, signature_channels

__all__ = [
    "MultiSignatureCombineResiduals",
    "SignatureCombineGradients",
    "SignatureCombineResiduals",
    "multi_signature_combine",
    "multi_signature_combine_backward",
    "multi_signature_combine_forward",
    "signature_combine",
    "signature_combine_backward",
    "signature_combine_forward",
]

FACTORS = 4  # of one product, at most


class SignatureCombineResiduals(NamedTuple):
    """What `signature_combine_backward` needs: the arguments of `signature_combine_forward`."""

    first: Array
    second: Array
    channels: int
    depth: int
    scalar_term: bool


class SignatureCombineGradients(NamedTuple):
    """The gradients of `signature_combine`."""

    first: Array
    second: Array


class MultiSignatureCombineResiduals(NamedTuple):
    """What `multi_signature_combine_backward` needs."""

    signatures: Array  # (..., count, words)
    shapes: tuple[tuple[int, ...], ...] | None  # of the arrays given, if it was a sequence
    channels: int
    depth: int
    scalar_term: bool


# ---------------------------------------------------------------------------------- two factors


def signature_combine(first, second, channels, depth, *, scalar_term=False):
    """
    Multiply signatures: that of two paths, one after the other, from those of each.

    Parameters
    ----------
    first, second : array_like, shape (..., signature_channels)
        Signatures of the same depth and type. Their leading axes are broadcast against each other.
    channels : int
        Number of channels of the paths.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front, in both and in the result. It is
        taken to be 1, whatever the arrays say.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        first ⊗ second.

    Raises
    ------
    ValueError
        If the last axis does not fit `channels` and `depth`, or leading axes do not broadcast.
    TypeError
        If an argument has the wrong type, or NumPy and CuPy arrays are mixed.

    See Also
    --------
    multi_signature_combine : the product of many.
    signature_combine_forward, signature_combine_backward : the same with gradients.

    Notes
    -----
    Memory: beside the result, each thread needs room for four signatures. What is broadcast is not
    copied. The result does not depend on the number of threads.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path = np.random.default_rng(0).normal(size=(10, 3))
    >>> first, second = pysig.signature(path[:6], 4), pysig.signature(path[5:], 4)
    >>> both = pysig.signature_combine(first, second, channels=3, depth=4)
    >>> np.allclose(both, pysig.signature(path, 4))
    True
    """
    return evaluate_pair(check_pair(first, second, channels, depth, scalar_term))


def signature_combine_forward(first, second, channels, depth, *, scalar_term=False):
    """
    Multiply signatures, and return what the gradient needs.

    The parameters are those of `signature_combine`.

    Returns
    -------
    product : ndarray
        As `signature_combine` returns it.
    residuals : SignatureCombineResiduals
        For `signature_combine_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.signature_combine_forward([1.0, 2.0], [3.0, 4.0], 1, 2)
    >>> value
    array([4., 9.])
    >>> pysig.signature_combine_backward(residuals, [0, 1]).first
    array([3., 1.])
    """
    residuals = check_pair(first, second, channels, depth, scalar_term)
    return evaluate_pair(residuals), residuals


def signature_combine_backward(residuals, grad):
    """
    Compute the gradients of `signature_combine`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureCombineResiduals
        As `signature_combine_forward` returned it.
    grad : array_like
        Gradient with respect to the product, of its shape and type.

    Returns
    -------
    SignatureCombineGradients
        first, second : ndarray of the shapes given. Zero for scalar terms.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the product.
    TypeError
        If `grad` has not the type of the product, or `residuals` is something else.

    Examples
    --------
    See `signature_combine_forward`.
    """
    check_residuals(residuals, SignatureCombineResiduals)
    first, second, channels, depth, scalar_term = residuals
    lead = leading_axes(first, second)
    grad = check_grad(grad, (*lead, first.shape[-1]), first, "product")
    factors, indices = broadcast_factors(first, second, lead)
    gradients = []
    for position, factor in enumerate((first, second)):
        gradient = empty(namespace_of(grad), grad.shape, grad.dtype, "the gradient")
        product_gradient(
            gradient.reshape(1, -1, grad.shape[-1]),
            grad.reshape(1, -1, grad.shape[-1]),
            factors,
            indices,
            channels,
            depth,
            scalar_term,
            position,
        )
        gradients.append(sum_to_shape(gradient, factor.shape))
    return SignatureCombineGradients(*gradients)


def check_pair(first, second, channels, depth, scalar_term):
    """Check all arguments, and return them with arrays converted."""
    namespace(first=first, second=second)
    first, second = convert_pair(first, second)
    words = signature_channels(channels, depth, scalar_term)
    check_words(first, "first", words)
    check_words(second, "second", words)
    try:
        leading_axes(first, second)
    except ValueError:
        raise ValueError(
            "the leading axes of first and second must broadcast against each other, but the "
            f"shapes are {first.shape} and {second.shape}"
        ) from None
    return SignatureCombineResiduals(first, second, int(channels), int(depth), bool(scalar_term))


def convert_pair(first, second):
    """Return both as arrays of one type: that of the one with floating-point numbers."""
    given = getattr(first, "dtype", None)
    if given is None or given.kind != "f":
        second = real_array(second, "second")
        return real_array(first, "first", second.dtype), second
    first = real_array(first, "first")
    return first, real_array(second, "second", first.dtype)


def leading_axes(first, second):
    """Return the shape to which the leading axes of both are broadcast."""
    if first.shape == second.shape:
        return first.shape[:-1]
    return np.broadcast_shapes(first.shape[:-1], second.shape[:-1])


def check_words(array, name, words):
    """Raise ValueError unless the last axis of `array` has the numbers of one signature."""
    if array.ndim == 0 or array.shape[-1] != words:
        raise ValueError(
            f"{name} must have the shape (..., signature_channels) with the last axis {words}, "
            f"not {array.shape}"
        )


def check_grad(grad, shape, like, name):
    """Return `grad` as an array of this shape, and of the type of `like`, or raise an error."""
    namespace(signatures=like, grad=grad)
    return grad_array(grad, shape, like.dtype, f"the {name}")


def evaluate_pair(residuals):
    """Return the product."""
    first, second, channels, depth, scalar_term = residuals
    lead = leading_axes(first, second)
    words = first.shape[-1]
    result = empty(namespace_of(first), (*lead, words), first.dtype, "the product")
    factors, indices = broadcast_factors(first, second, lead)
    multiply(result.reshape(1, -1, words), factors, indices, channels, depth, scalar_term)
    return result


def broadcast_factors(first, second, lead):
    """Return the tables of both factors, and the indices that broadcast their rows."""
    factors = first.reshape(1, -1, first.shape[-1]), second.reshape(1, -1, second.shape[-1])
    if first.shape == second.shape:
        return factors, (None, None)
    indices = []
    for array in (first, second):
        shape = array.shape[:-1]
        if shape == lead:
            indices.append(None)
        else:
            rows = np.arange(np.prod(shape, dtype=np.intp)).reshape(shape)
            indices.append(np.broadcast_to(rows, lead).ravel())
    return factors, tuple(indices)


# ----------------------------------------------------------------------------------- many factors


def multi_signature_combine(signatures, channels, depth, *, scalar_term=False):
    """
    Multiply many signatures: that of paths one after the other, from those of each.

    Parameters
    ----------
    signatures : array_like, shape (..., count, signature_channels)
        The factors, the first one first. A list or tuple is taken for a sequence of arrays
        (..., signature_channels), the leading axes of which are broadcast against each other.
    channels : int
        Number of channels of the paths.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front, in all and in the result. It is
        taken to be 1, whatever the arrays say.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        signatures[..., 0, :] ⊗ signatures[..., 1, :] ⊗ ...

    Raises
    ------
    ValueError
        If there are no factors, the last axis does not fit `channels` and `depth`, or leading axes
        do not broadcast.
    TypeError
        If an argument has the wrong type, or NumPy and CuPy arrays are mixed.

    See Also
    --------
    multi_signature_combine_forward, multi_signature_combine_backward : the same with gradients.

    Notes
    -----
    Products are taken as a balanced tree, four factors at a time, so that rounding errors grow with
    the logarithm of `count`. Memory: beside the result, a third of that of the factors; a sequence
    is copied first. The gradient keeps the products of the tree while it runs.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path = np.random.default_rng(0).normal(size=(101, 3))
    >>> steps = pysig.signature(np.stack((path[:-1], path[1:]), axis=1), 4)  # straight lines
    >>> steps.shape
    (100, 120)
    >>> whole = pysig.multi_signature_combine(steps, channels=3, depth=4)
    >>> np.allclose(whole, pysig.signature(path, 4))
    True
    """
    residuals = check_many(signatures, channels, depth, scalar_term)
    return combine_tree(residuals)[-1][:, 0].reshape(product_shape(residuals))


def multi_signature_combine_forward(signatures, channels, depth, *, scalar_term=False):
    """
    Multiply many signatures, and return what the gradient needs.

    The parameters are those of `multi_signature_combine`.

    Returns
    -------
    product : ndarray
        As `multi_signature_combine` returns it.
    residuals : MultiSignatureCombineResiduals
        For `multi_signature_combine_backward`. It refers to the array given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> factors = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    >>> value, residuals = pysig.multi_signature_combine_forward(factors, 1, 2)
    >>> value
    array([ 9., 35.])
    >>> pysig.multi_signature_combine_backward(residuals, [0, 1])
    (array([8., 1.]), array([6., 1.]), array([4., 1.]))
    """
    residuals = check_many(signatures, channels, depth, scalar_term)
    return combine_tree(residuals)[-1][:, 0].reshape(product_shape(residuals)), residuals


def multi_signature_combine_backward(residuals, grad):
    """
    Compute the gradient of `multi_signature_combine`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : MultiSignatureCombineResiduals
        As `multi_signature_combine_forward` returned it.
    grad : array_like
        Gradient with respect to the product, of its shape and type.

    Returns
    -------
    ndarray or tuple of ndarray
        The gradient of `signatures`; a tuple of arrays if that was a list or a tuple. Zero for
        scalar terms.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the product.
    TypeError
        If `grad` has not the type of the product, or `residuals` is something else.

    Examples
    --------
    See `multi_signature_combine_forward`.
    """
    check_residuals(residuals, MultiSignatureCombineResiduals)
    signatures, shapes, channels, depth, scalar_term = residuals
    grad = check_grad(grad, product_shape(residuals), signatures, "product")
    xp = namespace_of(signatures)
    *tables, _ = combine_tree(residuals)
    gradient = grad.reshape(-1, 1, grad.shape[-1])
    for table in reversed(tables):
        upper, gradient = gradient, empty(xp, table.shape, table.dtype, "the gradient")
        rows = np.arange(table.shape[1])
        uses = (np.arange(len(rows) + 1), rows // FACTORS, rows % FACTORS)
        sizes = channels, depth, scalar_term
        product_gradient(gradient, upper, *tree_factors(table), *sizes, uses)
    gradient = gradient.reshape(signatures.shape)
    if shapes is None:
        return gradient
    return tuple(
        sum_to_shape(xp.ascontiguousarray(gradient[..., i, :]), shape)
        for i, shape in enumerate(shapes)
    )


def check_many(signatures, channels, depth, scalar_term):
    """Check all arguments, and return them with arrays converted."""
    words = signature_channels(channels, depth, scalar_term)
    shapes = None
    if isinstance(signatures, list | tuple):
        signatures, shapes = stack(signatures, words)
    signatures = real_array(signatures, "signatures")
    if signatures.ndim < 2 or signatures.shape[-1] != words or signatures.shape[-2] == 0:
        raise ValueError(
            "signatures must have the shape (..., count, signature_channels) with at least one "
            f"factor and the last axis {words}, not {signatures.shape}"
        )
    return MultiSignatureCombineResiduals(
        signatures, shapes, int(channels), int(depth), bool(scalar_term)
    )


def stack(signatures, words):
    """Return a sequence of signatures as one array, and the shapes of its items."""
    names = {f"signatures[{i}]": array for i, array in enumerate(signatures)}
    if not names:
        raise ValueError("signatures must have at least one factor, but is an empty sequence")
    xp = namespace(**names)
    types = [
        real_array(array, name).dtype
        for name, array in names.items()
        if getattr(getattr(array, "dtype", None), "kind", None) == "f"
    ]
    dtype = types[0] if types else FLOAT64
    arrays = [real_array(array, name, dtype) for name, array in names.items()]
    for name, array in zip(names, arrays, strict=True):
        check_words(array, name, words)
    try:
        lead = np.broadcast_shapes(*(array.shape[:-1] for array in arrays))
    except ValueError:
        raise ValueError(
            "the leading axes of signatures must broadcast against each other, but the shapes are "
            f"{', '.join(str(array.shape) for array in arrays)}"
        ) from None
    whole = xp.stack([xp.broadcast_to(array, (*lead, words)) for array in arrays], axis=-2)
    return whole, tuple(array.shape for array in arrays)


def product_shape(residuals):
    """Return the shape of the product of many."""
    shape = residuals.signatures.shape
    return (*shape[:-2], shape[-1])


def combine_tree(residuals):
    """Return the factors and the products of each level of the tree: (batch, rows, words) each."""
    signatures, _, *sizes = residuals
    count, words = signatures.shape[-2:]
    batch = signatures.size // (count * words)
    tables = [signatures.reshape(batch, count, words)]
    xp = namespace_of(signatures)
    while count > 1 or len(tables) == 1:  # the product of a single factor is a copy
        count = -(-count // FACTORS)
        product = empty(xp, (batch, count, words), signatures.dtype, "the product")
        multiply(product, *tree_factors(tables[-1]), *sizes)
        tables.append(product)
    return tables


def tree_factors(table):
    """Return a table as four, and the indices with which each product takes four rows of it."""
    rows = np.arange(-(-table.shape[1] // FACTORS)) * FACTORS
    indices = [rows + i for i in range(FACTORS)]
    return (table,) * FACTORS, tuple(np.where(i < table.shape[1], i, -1) for i in indices)


# ------------------------------------------------------------------------ products of rows by index


def multiply(product, factors, indices, channels, depth, scalar_term):
    """
    Write products of rows: row r of `product` is that of the rows indices[f][r] of factors[f].

    product: (batch, rows, words). factors: one to four tables (batch, table rows, words). indices:
    for each factor an array (rows) of intp on the host, in which negative numbers stand for the
    factor 1; or None, if product r takes row r. With `scalar_term`, a scalar stands in front of the
    words of the product; each table has one or not, as its last axis says.
    """
    if scalar_term:
        product[..., 0] = 1
    if not product.size:
        return
    words = count_words(channels, depth)
    with device_of(product):
        kernel_of(product).forward(product, factors, indices, (channels, depth, words))


def product_gradient(
    gradient, grad, factors, indices, channels, depth, scalar_term, uses, add=False
):
    """
    Write the gradient of one table for `grad`, the gradient of what `multiply` writes.

    uses: where the rows of the table are factors, as arrays of intp on the host (begins, products,
    positions): row r is factor positions[e] of product products[e] for begins[r] <= e <
    begins[r + 1]; or a number p, if row r is factor p of product r and nothing else. Terms are
    added in this order. add: add to what is in `gradient`.
    """
    if scalar_term and not add:
        gradient[..., 0] = 0
    if not gradient.size:
        return
    words = count_words(channels, depth)
    with device_of(gradient):
        kernel_of(gradient).backward(
            gradient, grad, factors, indices, (channels, depth, words), uses, add
        )


def uses_of_rows(indices, rows, positions):
    """
    Return the `uses` of a table with so many rows, which several factors are taken from.

    indices: for each of these factors which row each product takes; positions: which factor it is.
    """
    index = np.concatenate(indices)
    products = np.concatenate([np.arange(len(one)) for one in indices])
    position = np.repeat(np.asarray(positions, np.intp), [len(one) for one in indices])
    order = np.argsort(index, kind="stable")
    order = order[np.searchsorted(index[order], 0) :]
    begins = np.searchsorted(index[order], np.arange(rows + 1))
    return begins, products[order], position[order]


def kernel_of(array):
    """Return the module that multiplies rows where the array is."""
    if isinstance(array, np.ndarray):
        return cpu_kernel
    return cuda_kernel(cpu_kernel)
