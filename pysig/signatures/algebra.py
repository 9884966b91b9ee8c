r"""Operations on signatures: inverses, rescaled channels, one more segment.

Signatures are tensors of the truncated tensor algebra, levels 1 to `depth` behind each other, and
every operation here works level by level on arrays with any leading axes. Those whose name begins
with ``signature_`` are for signatures of paths and what is made of them by products (group-like
elements); `tensor_inverse` is for any tensor, such as a mean of signatures.

For a group-like S the inverse has the coefficients :math:`(-1)^k S^{(i_k, \dots, i_1)}` (the
antipode); for another :math:`1 + x` it is the series :math:`1 - x + x \otimes x - \dots`, which
ends with the truncation.
"""

from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    boolean,
    broadcast,
    check_residuals,
    device_of,
    empty,
    grad_array,
    integer,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig.signatures.signature import (
    LARGEST_DEPTH,
    SignatureResiduals,
    count_words,
    evaluate,
    signature_backward,
)

__all__ = [
    "SignatureInverseResiduals",
    "SignatureJoinGradients",
    "SignatureJoinResiduals",
    "SignatureScaleGradients",
    "SignatureScaleResiduals",
    "TensorInverseResiduals",
    "signature_inverse",
    "signature_inverse_backward",
    "signature_inverse_forward",
    "signature_join",
    "signature_join_backward",
    "signature_join_forward",
    "signature_scale",
    "signature_scale_backward",
    "signature_scale_forward",
    "tensor_inverse",
    "tensor_inverse_backward",
    "tensor_inverse_forward",
]


class SignatureInverseResiduals(NamedTuple):
    """What `signature_inverse_backward` needs: the map is linear, and no array is kept."""

    shape: tuple[int, ...]
    dtype: np.dtype
    channels: int
    depth: int
    scalar_term: bool


class TensorInverseResiduals(NamedTuple):
    """What `tensor_inverse_backward` needs."""

    inverse: Array
    channels: int
    depth: int
    scalar_term: bool


class SignatureScaleResiduals(NamedTuple):
    """What `signature_scale_backward` needs."""

    signature: Array
    scales: Array
    depth: int
    scalar_term: bool


class SignatureScaleGradients(NamedTuple):
    """The gradients of `signature_scale`."""

    signature: Array
    scales: Array


class SignatureJoinResiduals(NamedTuple):
    """What `signature_join_backward` needs."""

    step: SignatureResiduals  # of the segment as a path that continues from the signature
    segment_shape: tuple[int, ...]
    front: bool


class SignatureJoinGradients(NamedTuple):
    """The gradients of `signature_join`."""

    signature: Array
    segment: Array


# ---------------------------------------------------------------------------------------- inverses


def signature_inverse(signature, channels, depth, *, scalar_term=False):
    r"""
    Compute the inverses of signatures: those of the paths run through backwards.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures of paths, or products of such. float32 and float64 keep their type; integers and
        bools become float64.
    channels : int
        Dimension of the space that the paths are in.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front; it is kept.

    Returns
    -------
    ndarray of the shape of `signature`
        The coefficient of :math:`(i_1, \dots, i_k)` is :math:`(-1)^k` times that of
        :math:`(i_k, \dots, i_1)`: nothing is rounded.

    Raises
    ------
    ValueError
        If `signature` has not the last axis that `channels`, `depth` and `scalar_term` ask for.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    signature_inverse_forward, signature_inverse_backward : the same with gradients.
    tensor_inverse : for tensors that are not signatures of paths, such as their means.

    Notes
    -----
    This is the antipode of the tensor algebra (Reutenauer, "Free Lie Algebras", 1993, section
    1.3). It is its own inverse, and so is its gradient. Memory: the result.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    >>> pysig.signature_inverse(pysig.signature(path, 2), channels=2, depth=2)
    array([-1. , -2. ,  0.5,  0. ,  2. ,  2. ])
    >>> pysig.signature(path[::-1], 2)
    array([-1. , -2. ,  0.5,  0. ,  2. ,  2. ])
    """
    return signature_inverse_forward(signature, channels, depth, scalar_term=scalar_term)[0]


def signature_inverse_forward(signature, channels, depth, *, scalar_term=False):
    """
    Compute the inverses of signatures, and what the gradient needs.

    The parameters are those of `signature_inverse`.

    Returns
    -------
    inverse : ndarray
        As `signature_inverse` returns it.
    residuals : SignatureInverseResiduals
        For `signature_inverse_backward`.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.signature_inverse_forward([1.0, 2, 3, 4, 5, 6], 2, 2)
    >>> pysig.signature_inverse_backward(residuals, [-1.0, -2, 0, 1, 2, 0])
    array([1., 2., 0., 2., 1., 0.])
    """
    checked = check_tensor(signature, channels, depth, scalar_term)
    tensor = checked[0]
    residuals = SignatureInverseResiduals(tensor.shape, tensor.dtype, *checked[1:])
    with device_of(tensor):
        return antipode(*checked), residuals


def signature_inverse_backward(residuals, grad):
    """
    Compute the gradient of `signature_inverse`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureInverseResiduals
        As `signature_inverse_forward` returned it.
    grad : array_like
        Gradient with respect to the inverse, of its shape and type.

    Returns
    -------
    ndarray of the shape of the signature

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Examples
    --------
    See `signature_inverse_forward`.
    """
    check_residuals(residuals, SignatureInverseResiduals)
    shape, dtype, *options = residuals
    grad = grad_array(grad, shape, dtype)
    with device_of(grad):
        return antipode(grad, *options)


def antipode(tensor, channels, depth, scalar_term):
    """Return the coefficients of the reversed words, with a sign for each letter."""
    xp = namespace_of(tensor)
    result = empty(xp, tensor.shape, tensor.dtype, "the inverse")
    batch_shape = tensor.shape[:-1]
    if scalar_term:
        result[..., 0] = tensor[..., 0]
    pairs = zip(
        levels(result, channels, depth, scalar_term),
        levels(tensor, channels, depth, scalar_term),
        strict=True,
    )
    for k, (level, source) in enumerate(pairs, 1):
        if k > 1 and channels > 1:
            letters = source.reshape(tensor.size // tensor.shape[-1], *(channels,) * k)
            source = letters.transpose(0, *range(k, 0, -1)).reshape(*batch_shape, channels**k)
        # Not xp.negative: in NumPy 2.4 it reads wrong numbers where both arrays have strides.
        xp.multiply(source, -1 if k % 2 else 1, out=level)
    return result


def tensor_inverse(tensor, channels, depth, *, scalar_term=False):
    r"""
    Compute inverses in the truncated tensor algebra.

    Parameters
    ----------
    tensor : array_like, shape (..., signature_channels)
        Levels 1 to `depth` of tensors 1 + x, such as signatures or means of signatures. float32 and
        float64 keep their type; integers and bools become float64.
    channels : int
        Number of letters.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front. It is taken to be 1.

    Returns
    -------
    ndarray of the shape of `tensor`
        The y with :math:`(1 + x) \otimes y = y \otimes (1 + x) = 1`.

    Raises
    ------
    ValueError
        If `tensor` has not the last axis that `channels`, `depth` and `scalar_term` ask for.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    tensor_inverse_forward, tensor_inverse_backward : the same with gradients.
    signature_inverse : for signatures of paths; faster, and exact.

    Notes
    -----
    The levels are :math:`y_k = -\sum_{i=1}^{k} x_i \otimes y_{k-i}`. This costs as much as one
    product of tensors. Memory: beside the result, one level of it.

    Examples
    --------
    >>> import pysig
    >>> pysig.tensor_inverse([1.0, 2.0, 0.0, 0.0, 0.0, 0.0], channels=2, depth=2)
    array([-1., -2.,  1.,  2.,  2.,  4.])
    """
    return tensor_inverse_forward(tensor, channels, depth, scalar_term=scalar_term)[0]


def tensor_inverse_forward(tensor, channels, depth, *, scalar_term=False):
    """
    Compute inverses in the truncated tensor algebra, and what the gradient needs.

    The parameters are those of `tensor_inverse`.

    Returns
    -------
    inverse : ndarray
        As `tensor_inverse` returns it.
    residuals : TensorInverseResiduals
        For `tensor_inverse_backward`. It refers to `inverse`, which must not change meanwhile.

    Examples
    --------
    >>> import pysig
    >>> value, residuals = pysig.tensor_inverse_forward([3.0, 2.0], channels=1, depth=2)
    >>> value
    array([-3.,  7.])
    >>> pysig.tensor_inverse_backward(residuals, [0.0, 1.0])
    array([ 6., -1.])
    """
    checked = check_tensor(tensor, channels, depth, scalar_term, "tensor")
    with device_of(checked[0]):
        inverse = inverse_series(*checked)
    return inverse, TensorInverseResiduals(inverse, *checked[1:])


def tensor_inverse_backward(residuals, grad):
    r"""
    Compute the gradient of `tensor_inverse`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : TensorInverseResiduals
        As `tensor_inverse_forward` returned it.
    grad : array_like
        Gradient with respect to the inverse, of its shape and type.

    Returns
    -------
    ndarray of the shape of the tensor
        Zero for a scalar term.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Notes
    -----
    The derivative of y = x⁻¹ along v is -y ⊗ v ⊗ y. Memory: twice the result.

    Examples
    --------
    See `tensor_inverse_forward`.
    """
    check_residuals(residuals, TensorInverseResiduals)
    inverse, *options = residuals
    namespace(inverse=inverse, grad=grad)
    grad = grad_array(grad, inverse.shape, inverse.dtype)
    with device_of(grad):
        return inverse_gradient(inverse, grad, *options)


def inverse_gradient(inverse, grad, channels, depth, scalar_term):
    """Return the gradient of `inverse_series`."""
    xp, options = namespace_of(grad), (channels, depth, scalar_term)
    result = xp.zeros(grad.shape, grad.dtype)
    factors = levels(inverse, *options)
    from_right = [level.copy() for level in levels(grad, *options)]
    for j, target in enumerate(levels(result, *options), 1):
        for k in range(1, depth - j + 1):  # the last k letters belong to the right factor
            pairing = matrices(from_right[j + k - 1], channels**j, channels**k)
            from_right[j - 1] += contract_last(xp, pairing, factors[k - 1])
        target -= from_right[j - 1]
    for j, target in enumerate(levels(result, *options), 1):
        for i in range(1, depth - j + 1):  # and the first i ones to the left factor
            pairing = matrices(from_right[i + j - 1], channels**i, channels**j)
            target -= contract_first(xp, factors[i - 1], pairing)
    return result


def inverse_series(tensor, channels, depth, scalar_term):
    """Return the inverse of a tensor that begins with 1."""
    xp = namespace_of(tensor)
    result = empty(xp, tensor.shape, tensor.dtype, "the inverse")
    if scalar_term:
        result[..., 0] = 1
    factors = levels(tensor, channels, depth, scalar_term)
    inverse = levels(result, channels, depth, scalar_term)
    for k, target in enumerate(inverse, 1):
        xp.multiply(factors[k - 1], -1, out=target)
        for i in range(1, k):
            product = matrices(target, channels**i, channels ** (k - i))
            product -= factors[i - 1][..., :, None] * inverse[k - i - 1][..., None, :]
    return result


# ------------------------------------------------------------------------------- rescaled channels


def signature_scale(signature, scales, depth, *, scalar_term=False):
    r"""
    Compute the signatures of paths whose channels are multiplied by numbers, from the signatures.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures, or any tensors. float32 and float64 keep their type; integers and bools become
        float64.
    scales : array_like, shape (..., channels)
        A number for each channel. The leading axes of both are broadcast.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front; it is kept.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        Each coefficient is multiplied by the scales of all letters of its word.

    Raises
    ------
    ValueError
        If `signature` has not the last axis that the number of scales, `depth` and `scalar_term`
        ask for, or leading axes do not fit.
    TypeError
        If an argument has the wrong type; `scales` must have that of `signature`.

    See Also
    --------
    signature_scale_forward, signature_scale_backward : the same with gradients.

    Notes
    -----
    Memory: beside the result, the products of scales for words of less than `depth` letters.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    >>> pysig.signature_scale(pysig.signature(path, 2), [3.0, -1.0], depth=2)
    array([ 3. , -2. ,  4.5, -6. , -0. ,  2. ])
    """
    return signature_scale_forward(signature, scales, depth, scalar_term=scalar_term)[0]


def signature_scale_forward(signature, scales, depth, *, scalar_term=False):
    """
    Compute the signatures of paths with rescaled channels, and what the gradient needs.

    The parameters are those of `signature_scale`.

    Returns
    -------
    scaled : ndarray
        As `signature_scale` returns it.
    residuals : SignatureScaleResiduals
        For `signature_scale_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> signature = [2.0, 3.0, 2.0, 3.0, 3.0, 4.5]
    >>> value, residuals = pysig.signature_scale_forward(signature, [3.0, -1.0], 2)
    >>> gradients = pysig.signature_scale_backward(residuals, [1.0, -2.0, 0.0, -1.0, 0.0, 3.0])
    >>> gradients.scales
    array([  5., -42.])
    """
    residuals = check_scale(signature, scales, depth, scalar_term)
    with device_of(residuals.signature):
        return scaled(residuals), residuals


def signature_scale_backward(residuals, grad):
    """
    Compute the gradients of `signature_scale`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureScaleResiduals
        As `signature_scale_forward` returned it.
    grad : array_like
        Gradient with respect to the rescaled signature, of its shape and type.

    Returns
    -------
    SignatureScaleGradients
        signature : ndarray of the shape given.
        scales : ndarray of the shape given.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Notes
    -----
    Memory: two arrays of the size of the result.

    Examples
    --------
    See `signature_scale_forward`.
    """
    check_residuals(residuals, SignatureScaleResiduals)
    signature, scales = residuals[:2]
    namespace(signature=signature, grad=grad)
    shape = (*broadcast_batches(signature, scales, "signature", "scales"), signature.shape[-1])
    grad = grad_array(grad, shape, signature.dtype)
    with device_of(grad):
        gradients = scale_gradients(residuals, grad)
        return SignatureScaleGradients(
            sum_to_shape(gradients[0], signature.shape), sum_to_shape(gradients[1], scales.shape)
        )


def scale_gradients(residuals, grad):
    """Return the gradients, with the leading axes that both inputs have together."""
    signature, scales, depth, scalar_term = residuals
    xp, channels = namespace_of(grad), scales.shape[-1]
    signature_gradient = empty(xp, grad.shape, grad.dtype, "the gradient")
    if scalar_term:
        signature_gradient[..., 0] = grad[..., 0]
    values, grads, targets = (
        levels(tensor, channels, depth, scalar_term)
        for tensor in (signature, grad, signature_gradient)
    )
    products = multiply_scales(xp, grads, scales, targets)
    scales_gradient = xp.zeros((*grad.shape[:-1], channels), grad.dtype)
    carried = grads[-1] * values[-1]
    for k in range(depth - 1, 0, -1):  # the first letter is split off
        pairing = matrices(carried, channels, channels**k)
        scales_gradient += contract_last(xp, pairing, products[k - 1])
        carried = contract_first(xp, scales, pairing) + grads[k - 1] * values[k - 1]
    return signature_gradient, scales_gradient + carried


def check_scale(signature, scales, depth, scalar_term):
    """Check the arguments of `signature_scale`, and return them with arrays converted."""
    namespace(signature=signature, scales=scales)
    signature = real_array(signature, "signature")
    scales = real_array(scales, "scales", signature.dtype)
    if scales.ndim == 0 or scales.shape[-1] == 0:
        raise ValueError(f"scales must have the shape (..., channels), not {scales.shape}")
    checked = check_tensor(signature, scales.shape[-1], depth, scalar_term)
    broadcast_batches(signature, scales, "signature", "scales")
    return SignatureScaleResiduals(signature, scales, *checked[2:])


def scaled(residuals):
    """Return the rescaled signatures."""
    signature, scales, depth, scalar_term = residuals
    xp, channels = namespace_of(signature), scales.shape[-1]
    batch_shape = broadcast_batches(signature, scales, "signature", "scales")
    shape = (*batch_shape, signature.shape[-1])
    result = empty(xp, shape, signature.dtype, "the rescaled signature")
    if scalar_term:
        result[..., 0] = signature[..., 0]
    sources, targets = (
        levels(tensor, channels, depth, scalar_term) for tensor in (signature, result)
    )
    multiply_scales(xp, sources, scales, targets)
    return result


def multiply_scales(xp, sources, scales, targets):
    """Write levels, times the scales of all letters of each word, into others.

    Returns these products of scales, for all levels but the last.
    """
    channels, products = scales.shape[-1], []
    for k, (source, target) in enumerate(zip(sources, targets, strict=True)):
        if k == 0:
            product = scales
        elif k < len(sources) - 1:
            product = scales[..., :, None] * products[-1][..., None, :]
            product = product.reshape(*scales.shape[:-1], channels ** (k + 1))
        else:  # the products of the longest words are the largest array, and used once
            rows = matrices(target, channels, channels**k)
            xp.multiply(matrices(source, channels, channels**k), scales[..., :, None], out=rows)
            rows *= products[-1][..., None, :]
            break
        xp.multiply(source, product, out=target)
        products.append(product)
    return products


# -------------------------------------------------------------------------------- one more segment


def signature_join(signature, segment, depth, *, front=False, scalar_term=False):
    r"""
    Compute the signatures of paths that go on by one straight segment, from the signatures.

    Parameters
    ----------
    signature : array_like, shape (..., signature_channels)
        Signatures, or any tensors whose scalar term is 1. float32 and float64 keep their type;
        integers and bools become float64.
    segment : array_like, shape (..., channels)
        The increment over the segment: its end minus its beginning. The leading axes of both are
        broadcast.
    depth : int
        Length of the longest words, from 1 to 64.
    front : bool
        Put the segment before the path instead of after it.
    scalar_term : bool
        Whether the coefficient of the empty word stands in front. It is taken to be 1.

    Returns
    -------
    ndarray, shape (..., signature_channels)
        :math:`S \otimes \exp(z)` for the segment z, with `front` :math:`\exp(z) \otimes S`.

    Raises
    ------
    ValueError
        If `signature` has not the last axis that the length of the segment, `depth` and
        `scalar_term` ask for, or leading axes do not fit.
    TypeError
        If an argument has the wrong type; `segment` must have that of `signature`.

    See Also
    --------
    signature_join_forward, signature_join_backward : the same with gradients.
    signature : with `initial`, for more segments than one.

    Notes
    -----
    Memory: the result.

    Examples
    --------
    >>> import pysig
    >>> right = pysig.signature([[0.0, 0.0], [1.0, 0.0]], depth=2)
    >>> pysig.signature_join(right, [0.0, 2.0], depth=2)
    array([1. , 2. , 0.5, 2. , 0. , 2. ])
    >>> pysig.signature_join(right, [0.0, 2.0], depth=2, front=True)
    array([1. , 2. , 0.5, 0. , 2. , 2. ])
    """
    return evaluate(check_join(signature, segment, depth, front, scalar_term).step)


def signature_join_forward(signature, segment, depth, *, front=False, scalar_term=False):
    """
    Compute the signatures of paths that go on by one segment, and what the gradient needs.

    The parameters are those of `signature_join`.

    Returns
    -------
    joined : ndarray
        As `signature_join` returns it.
    residuals : SignatureJoinResiduals
        For `signature_join_backward`. It refers to the arrays given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> right = pysig.signature([[0.0, 0.0], [1.0, 0.0]], depth=2)
    >>> value, residuals = pysig.signature_join_forward(right, [0.0, 2.0], depth=2)
    >>> gradients = pysig.signature_join_backward(residuals, [0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    >>> gradients.signature
    array([2., 0., 0., 1., 0., 0.])
    >>> gradients.segment
    array([1., 1.])
    """
    residuals = check_join(signature, segment, depth, front, scalar_term)
    return evaluate(residuals.step), residuals


def signature_join_backward(residuals, grad):
    """
    Compute the gradients of `signature_join`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureJoinResiduals
        As `signature_join_forward` returned it.
    grad : array_like
        Gradient with respect to the joined signature, of its shape and type.

    Returns
    -------
    SignatureJoinGradients
        signature : ndarray of the shape given. Zero for a scalar term.
        segment : ndarray of the shape given.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the result.
    TypeError
        If `grad` has not the type of the result, or `residuals` is something else.

    Notes
    -----
    Memory: the results, with the leading axes that both inputs have together.

    Examples
    --------
    See `signature_join_forward`.
    """
    check_residuals(residuals, SignatureJoinResiduals)
    gradients = signature_backward(residuals.step, grad)
    with device_of(gradients.path):
        segment_gradient = sum_to_shape(gradients.path[..., 0, :], residuals.segment_shape)
        if residuals.front:
            segment_gradient = -segment_gradient
    return SignatureJoinGradients(gradients.initial, segment_gradient)


def check_join(signature, segment, depth, front, scalar_term):
    """Check the arguments of `signature_join`; the segment becomes a point after the origin."""
    namespace(signature=signature, segment=segment)
    signature = real_array(signature, "signature")
    segment = real_array(segment, "segment", signature.dtype)
    if segment.ndim == 0 or segment.shape[-1] == 0:
        raise ValueError(f"segment must have the shape (..., channels), not {segment.shape}")
    _, channels, depth, scalar_term = check_tensor(signature, segment.shape[-1], depth, scalar_term)
    front = boolean(front, "front")
    shape = (*broadcast_batches(signature, segment, "signature", "segment"), channels)
    with device_of(segment):
        # The inverse of a path is multiplied from the left: that of the segment run backwards.
        path = broadcast(-segment if front else segment, shape)[..., None, :]
    step = SignatureResiduals(path, True, signature, None, depth, False, front, scalar_term)
    return SignatureJoinResiduals(step, segment.shape, front)


# --------------------------------------------------------------------------------- levels, checks


def levels(tensor, channels, depth, scalar_term):
    """Return the levels 1 to depth as views."""
    result, start = [], int(scalar_term)
    for k in range(1, depth + 1):
        result.append(tensor[..., start : start + channels**k])
        start += channels**k
    return result


def matrices(level, rows, columns):
    """Return the words of a level as a matrix: their first letters, and their last ones."""
    return level.reshape(*level.shape[:-1], rows, columns)


def contract_last(xp, matrix, vector):
    """Return the sums over the last letters."""
    return xp.matmul(matrix, vector[..., :, None])[..., 0]


def contract_first(xp, vector, matrix):
    """Return the sums over the first letters."""
    return xp.matmul(vector[..., None, :], matrix)[..., 0, :]


def check_tensor(tensor, channels, depth, scalar_term, name="signature"):
    """Check a tensor and its sizes; return it as an array, channels, depth, scalar_term."""
    tensor = real_array(tensor, name)
    depth = integer(depth, "depth", 1, LARGEST_DEPTH)
    channels = integer(channels, "channels", 1, 2**62)
    scalar_term = boolean(scalar_term, "scalar_term")
    words = count_words(channels, depth) + scalar_term
    if tensor.ndim == 0 or tensor.shape[-1] != words:
        raise ValueError(
            f"{name} must have the last axis {words}, for {channels} channels, depth {depth} and "
            f"scalar_term={scalar_term}, but has the shape {tensor.shape}"
        )
    return tensor, channels, depth, scalar_term


def broadcast_batches(first, second, first_name, second_name):
    """Return the leading axes that two arrays have together, all but the last ones."""
    if first.shape[:-1] == second.shape[:-1]:
        return first.shape[:-1]
    try:
        return np.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    except ValueError:
        raise ValueError(
            f"the leading axes of {first_name}, {first.shape[:-1]}, and of {second_name}, "
            f"{second.shape[:-1]}, cannot be broadcast together"
        ) from None
