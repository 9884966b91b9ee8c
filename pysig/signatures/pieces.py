"""Signatures of all prefixes and suffixes of pieces of paths: what intervals are composed of.

A path is cut into pieces of the same number of increments. Then an interval that reaches from one
piece into the next is a suffix of the one and a prefix of the other, and its signature is the
product of theirs. Nothing is divided out, so no digits are lost, however long the path is.

Paths have the shape (batch, points, channels) here. Neighbouring pieces share a point.
"""

from pysig._core.array import namespace_of
from pysig.signatures.signature import check, signature, signature_backward


def prefix_signatures(path, size, depth):
    """
    Return the signatures of the prefixes of pieces with `size` increments.

    They have the shape (batch, increments, words): each is of the increments from the beginning of
    its piece to its own. The number of increments is a multiple of `size`.
    """
    points, basepoint = prefix_points(path, size)
    prefixes = signature(points, depth, stream=True, basepoint=basepoint)
    return prefixes.reshape(len(path), path.shape[1] - 1, prefixes.shape[-1])


def suffix_signatures(path, size, depth):
    """
    Return the signatures of the suffixes of pieces with `size` increments.

    They have the shape (batch, increments, words). In each piece the shortest suffix comes first:
    that of the increment with the number i within its piece is in row size - 1 - i of the piece
    (see `suffix_row`).
    """
    points, basepoint = suffix_points(path, size)
    suffixes = signature(points, depth, stream=True, basepoint=basepoint, inverse=True)
    return suffixes.reshape(len(path), path.shape[1] - 1, suffixes.shape[-1])


def suffix_row(increment, size):
    """Return where the signature of the suffix that begins with an increment stands."""
    return increment + size - 1 - 2 * (increment % size)


def prefix_gradient(path, size, depth, grad):
    """Return the gradient of `prefix_signatures` in the path."""
    points, basepoint = prefix_points(path, size)
    residuals = check(points, depth, True, basepoint, None, False, False, None)
    gradients = signature_backward(residuals, grad.reshape(*points.shape[:3], grad.shape[-1]))
    result = namespace_of(path).zeros_like(path)
    result[:, 1:] = gradients.path.reshape(result[:, 1:].shape)
    result[:, :-1:size] += gradients.basepoint
    return result


def suffix_gradient(path, size, depth, grad):
    """Return the gradient of `suffix_signatures` in the path."""
    points, basepoint = suffix_points(path, size)
    residuals = check(points, depth, True, basepoint, None, True, False, None)
    gradients = signature_backward(residuals, grad.reshape(*points.shape[:3], grad.shape[-1]))
    result = namespace_of(path).zeros_like(path)
    result[:, :-1] = gradients.path[:, :, ::-1].reshape(result[:, :-1].shape)
    result[:, size::size] += gradients.basepoint
    return result


def prefix_points(path, size):
    """Return the points of the pieces, (batch, pieces, size, channels), and those before them."""
    batch, points, channels = path.shape
    xp = namespace_of(path)
    basepoint = xp.ascontiguousarray(path[:, :-1:size])
    return path[:, 1:].reshape(batch, (points - 1) // size, size, channels), basepoint


def suffix_points(path, size):
    """Return the points of the pieces backwards, and those after them."""
    batch, points, channels = path.shape
    xp = namespace_of(path)
    pieces = path[:, :-1].reshape(batch, (points - 1) // size, size, channels)
    return xp.ascontiguousarray(pieces[:, :, ::-1]), xp.ascontiguousarray(path[:, size::size])
