"""Signatures of windows of a path, and their gradient.

The path is cut into pieces as long as a window. Every window is then a suffix of one piece and a
prefix of the next, so that two passes over the path and one product for each window are enough,
however long the windows are.
"""

from typing import NamedTuple

import numpy as np

from pysig._core.array import Array, check_residuals, empty, integer, namespace_of
from pysig.signatures import pieces
from pysig.signatures import signature as whole
from pysig.signatures.product import (
    check_grad,
    device_of,
    multiply,
    product_gradient,
    uses_of_rows,
)

__all__ = [
    "SignatureWindowsResiduals",
    "signature_windows",
    "signature_windows_backward",
    "signature_windows_forward",
]

# Tables of suffixes and prefixes of about so many bytes are made at a time, but of no fewer pieces.
TABLE_BYTES = 2**22
FEWEST_PIECES = 16
# Windows that overlap less than so many times are computed one by one.
FEW_OVERLAPS = 8


class SignatureWindowsResiduals(NamedTuple):
    """What `signature_windows_backward` needs: the arguments of `signature_windows_forward`."""

    path: Array
    depth: int
    length: int | None
    stride: int
    inverse: bool
    scalar_term: bool
    lengths: np.ndarray | None  # if given, the path has been held at its ends


def signature_windows(
    path, depth, *, length, stride=1, inverse=False, scalar_term=False, lengths=None
):
    """
    Compute the signatures of sliding or expanding windows of paths.

    Parameters
    ----------
    path : array_like, shape (..., points, channels)
        Points of one path, or of many along any leading axes.
    depth : int
        Length of the longest words, from 1 to 64.
    length : int or None
        Points of a window, from 1 to all: a window of n points has n - 1 increments, so that each
        result is ``signature(path[..., i * stride : i * stride + length, :], depth)``. None for
        expanding windows, which all begin at the first point: window i has (i + 1) * stride
        increments, and with a stride of 1 the results are those of ``signature(..., stream=True)``.
    stride : int
        Points from the beginning (with expanding windows, from the end) of one window to that of
        the next, at least 1.
    inverse : bool
        Give the inverse elements, the signatures of the windows run through backwards.
    scalar_term : bool
        Put the coefficient of the empty word, 1, in front.
    lengths : array_like of int, shape (...), optional
        How many points of each path count, from 1 to `points`; broadcast to the leading axes of
        `path`. A path stays where it ends: expanding windows repeat the last signature, and sliding
        ones that reach beyond the end have the signature of what is left, at last the unit. The
        points after the end may be NaN.

    Returns
    -------
    ndarray, shape (..., windows, signature_channels)
        (points - length) // stride + 1 windows; (points - 1) // stride expanding ones. Points after
        the last whole window are not used. With `lengths`, the first (lengths - length) // stride +
        1 windows of a path are whole.

    Raises
    ------
    ValueError
        If a size is out of range, or the result would be larger than any memory.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    signature_windows_forward, signature_windows_backward : the same with gradients.
    Path : signatures of any intervals.

    Notes
    -----
    Sliding windows take, for each increment of the path, two steps of a signature, and one product
    for each window. Those that overlap less than eight times are computed one by one. Memory:
    beside the result, some MiB, or room for 32 times the signatures of one window's prefixes, if
    that is more; with expanding windows, for the signatures of all prefixes of the path. With
    `lengths`, the path is copied.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> path = np.random.default_rng(0).normal(size=(1000, 3)).cumsum(axis=0)
    >>> windows = pysig.signature_windows(path, 3, length=50, stride=10)
    >>> windows.shape
    (96, 39)
    >>> np.allclose(windows[7], pysig.signature(path[70:120], 3))
    True
    """
    return evaluate(check(path, depth, length, stride, inverse, scalar_term, lengths))


def signature_windows_forward(
    path, depth, *, length, stride=1, inverse=False, scalar_term=False, lengths=None
):
    """
    Compute the signatures of windows, and what their gradient needs.

    The parameters are those of `signature_windows`.

    Returns
    -------
    signatures : ndarray
        As `signature_windows` returns them.
    residuals : SignatureWindowsResiduals
        For `signature_windows_backward`. It refers to the array given, which must not change
        meanwhile.

    Examples
    --------
    >>> import pysig
    >>> path = [[0.0], [1.0], [3.0], [6.0]]
    >>> value, residuals = pysig.signature_windows_forward(path, 1, length=3)
    >>> value
    array([[3.],
           [5.]])
    >>> pysig.signature_windows_backward(residuals, [[1], [10]])
    array([[ -1.],
           [-10.],
           [  1.],
           [ 10.]])
    """
    residuals = check(path, depth, length, stride, inverse, scalar_term, lengths)
    return evaluate(residuals), residuals


def signature_windows_backward(residuals, grad):
    """
    Compute the gradient of `signature_windows`: the vector-Jacobian product.

    Parameters
    ----------
    residuals : SignatureWindowsResiduals
        As `signature_windows_forward` returned it.
    grad : array_like
        Gradient with respect to the signatures, of their shape and type.

    Returns
    -------
    ndarray, shape (..., points, channels)
        The gradient of `path`. Zero for points that `lengths` leaves out.

    Raises
    ------
    ValueError
        If `grad` has not the shape of the signatures.
    TypeError
        If `grad` has not the type of the signatures, or `residuals` is something else.

    Notes
    -----
    Memory: as for `signature_windows`, twice.

    Examples
    --------
    See `signature_windows_forward`.
    """
    check_residuals(residuals, SignatureWindowsResiduals)
    path = residuals.path
    shape = result_shape(residuals)
    grad = check_grad(grad, shape, path, "signatures")
    with device_of(path):
        gradient = path_gradient(residuals, grad)
        if residuals.lengths is None:
            return gradient
        return held_gradient(gradient, residuals.lengths)


def check(path, depth, length, stride, inverse, scalar_term, lengths):
    """Check all arguments, and return them with arrays converted."""
    residuals = whole.check(path, depth, False, None, None, inverse, scalar_term, lengths)
    path, lengths = residuals.path, residuals.lengths
    stride = integer(stride, "stride", 1, np.iinfo(np.intp).max)
    if length is not None:
        length = integer(length, "length", 1, path.shape[-2])
    if lengths is not None:
        lengths = np.broadcast_to(lengths, path.shape[:-2])
        with device_of(path):
            path = held(path, lengths)
    return SignatureWindowsResiduals(
        path, residuals.depth, length, stride, residuals.inverse, residuals.scalar_term, lengths
    )


def ends(xp, lengths, points):
    """Return a mask of the points that count, (..., points, 1), and the last one, (..., 1, 1)."""
    lengths = xp.asarray(lengths)[..., None, None]
    return xp.arange(points)[:, None] < lengths, lengths - 1


def held(path, lengths):
    """Return the path with what is behind the ends replaced by the last point that counts."""
    xp = namespace_of(path)
    before, last = ends(xp, lengths, path.shape[-2])
    return xp.where(before, path, xp.take_along_axis(path, last, axis=-2))


def held_gradient(gradient, lengths):
    """Return the gradient of the path for that of what `held` returns."""
    xp = namespace_of(gradient)
    before, last = ends(xp, lengths, gradient.shape[-2])
    behind = xp.where(before, 0, gradient).sum(axis=-2, keepdims=True)
    is_last = xp.arange(gradient.shape[-2])[:, None] == last
    return xp.where(before, gradient, 0) + xp.where(is_last, behind, 0)


def result_shape(residuals):
    """Return the shape of the signatures."""
    path, depth, length, stride, _, scalar_term, _ = residuals
    *batch, points, channels = path.shape
    if length is None:
        windows = (points - 1) // stride
    else:
        windows = (points - length) // stride + 1
    return (*batch, windows, whole.count_words(channels, depth) + scalar_term)


def evaluate(residuals):
    """Return the signatures."""
    path = residuals.path
    with device_of(path):
        if residuals.length is None:
            return expanding(residuals)
        if not residuals.inverse:
            return sliding(residuals)
        return namespace_of(path).ascontiguousarray(sliding(backwards(residuals))[..., ::-1, :])


def path_gradient(residuals, grad):
    """Return the gradient of the path; `grad` has been checked."""
    path = residuals.path
    if residuals.length is None:
        return expanding_gradient(residuals, grad)
    if not residuals.inverse:
        return sliding_gradient(residuals, grad)
    gradient = namespace_of(path).zeros(path.shape, path.dtype)
    reversed_path = backwards(residuals)
    reversed_grad = namespace_of(path).ascontiguousarray(grad[..., ::-1, :])
    used = gradient[..., : reversed_path.path.shape[-2], :]
    used[...] = sliding_gradient(reversed_path, reversed_grad)[..., ::-1, :]
    return gradient


def backwards(residuals):
    """Return the arguments for the same windows of the path run through backwards."""
    path = residuals.path
    used = (result_shape(residuals)[-2] - 1) * residuals.stride + residuals.length
    path = namespace_of(path).ascontiguousarray(path[..., :used, :][..., ::-1, :])
    return residuals._replace(path=path, inverse=False)


# -------------------------------------------------------------------------------- sliding windows


def sliding(residuals):
    """Return the signatures of sliding windows."""
    path, shape = residuals.path, result_shape(residuals)
    result = empty(namespace_of(path), shape, path.dtype, "the signatures")
    if residuals.scalar_term:
        result[..., 0] = 1
    if result.size:
        rows = result.reshape(-1, *shape[-2:])
        sparse = is_sparse(residuals)
        for part in (separate_parts if sparse else tabled_parts)(residuals):
            (write_separate if sparse else write_tabled)(residuals, part, rows)
    return result


def sliding_gradient(residuals, grad):
    """Return the gradient of the path for that of sliding windows."""
    path = residuals.path
    gradient = namespace_of(path).zeros(path.shape, path.dtype)
    if grad.size:
        rows = (gradient.reshape(-1, *path.shape[-2:]), grad.reshape(-1, *grad.shape[-2:]))
        parts = separate_parts if is_sparse(residuals) else tabled_parts
        add = add_separate_gradient if is_sparse(residuals) else add_tabled_gradient
        for part in parts(residuals):
            add(residuals, part, *rows)
    return gradient


# ------------------------------------------------------------------------------ expanding windows


def whole_residuals(residuals):
    """Return the residuals of the signatures of all prefixes."""
    path, depth, _, _, inverse, scalar_term, _ = residuals
    return whole.check(path, depth, True, None, None, inverse, scalar_term, None)


def expanding(residuals):
    """Return the signatures of expanding windows."""
    prefixes = whole.evaluate(whole_residuals(residuals))
    stride = residuals.stride
    if stride == 1:
        return prefixes
    return namespace_of(prefixes).ascontiguousarray(prefixes[..., stride - 1 :: stride, :])


def expanding_gradient(residuals, grad):
    """Return the gradient of the path for that of expanding windows."""
    prefixes = whole_residuals(residuals)
    stride = residuals.stride
    all_rows = namespace_of(grad).zeros(whole.result_shape(prefixes), grad.dtype)
    all_rows[..., stride - 1 :: stride, :] = grad
    return whole.signature_backward(prefixes, all_rows).path


# ------------------------------------------------------------------------------- windows one by one


def is_sparse(residuals):
    """Whether windows overlap so little that each is computed by itself."""
    return residuals.length - 1 <= FEW_OVERLAPS * residuals.stride


class SeparatePart(NamedTuple):
    """Some windows of some paths, and the points of them: (windows, length)."""

    members: slice
    windows: slice
    points: Array


def separate_parts(residuals):
    """Yield windows whose points take about TABLE_BYTES."""
    path, _, length, stride, *_ = residuals
    xp = namespace_of(path)
    batch, windows = batch_size(path), result_shape(residuals)[-2]
    at_once = max(FEWEST_PIECES, TABLE_BYTES // (length * path.shape[-1] * path.itemsize))
    members = max(1, at_once // windows)
    for member in range(0, batch, members):
        for first in range(0, windows, at_once):
            last = min(first + at_once, windows)
            points = stride * np.arange(first, last)[:, None] + np.arange(length)
            chosen = slice(member, member + members), slice(first, last)
            yield SeparatePart(*chosen, xp.asarray(points))


def batch_size(path):
    """Return how many paths there are."""
    return path.size // (path.shape[-1] * path.shape[-2])


def members_of(residuals, part):
    """Return the paths of a part, (members, points, channels)."""
    path = residuals.path
    return path.reshape(-1, *path.shape[-2:])[part.members]


def write_separate(residuals, part, result):
    """Write the signatures of some windows."""
    points = members_of(residuals, part)[:, part.points]
    signatures = whole.signature(points, residuals.depth, scalar_term=residuals.scalar_term)
    result[part.members, part.windows] = signatures


def add_separate_gradient(residuals, part, gradient, grad):
    """Add the gradient of some windows to that of the path."""
    points = members_of(residuals, part)[:, part.points]
    _, depth, length, stride, _, scalar_term, _ = residuals
    arguments = whole.check(points, depth, False, None, None, False, scalar_term, None)
    grad = namespace_of(grad).ascontiguousarray(grad[part.members, part.windows])
    of_windows = whole.signature_backward(arguments, grad).path
    gradient = gradient[part.members]
    for first in range(0, length, stride):  # these points are of one window each
        last = min(first + stride, length)
        gradient[:, part.points[:, first:last]] += of_windows[:, :, first:last]


# ------------------------------------------------------------------------------ windows by tables


class TabledPart(NamedTuple):
    """Some windows of some paths, as products of rows of two tables."""

    members: slice
    windows: slice
    points: slice  # of the paths, from the beginning of a piece on
    padding: int  # how often the last of these points is repeated
    suffixes: int  # increments in the table of suffixes
    prefix_size: int  # increments of a piece in the table of prefixes, which begins a piece later
    rows: tuple[np.ndarray, np.ndarray]  # of the suffixes and of the prefixes


def tabled_parts(residuals):
    """Yield windows of which the tables take about TABLE_BYTES."""
    path, depth, length, stride, *_ = residuals
    size, windows = length - 1, result_shape(residuals)[-2]
    of_piece = 2 * size * whole.count_words(path.shape[-1], depth) * path.itemsize
    at_once = max(FEWEST_PIECES, TABLE_BYTES // of_piece)
    count = ((windows - 1) * stride) // size + 1  # pieces in which windows begin
    members = max(1, at_once // count)
    for member in range(0, batch_size(path), members):
        for first in range(0, count, at_once):
            yield tabled_part(
                residuals,
                slice(member, member + members),
                range(first, min(first + at_once, count)),
                windows,
            )


def tabled_part(residuals, members, chosen, windows):
    """Return what the windows are made of that begin in the pieces `chosen`."""
    path, _, length, stride, *_ = residuals
    size, begin = length - 1, chosen.start * (length - 1)
    windows = slice(-(-begin // stride), min(-(-chosen.stop * size // stride), windows))
    starts = stride * np.arange(windows.start, windows.stop) - begin
    places = starts % size  # within the piece; so many increments are in the next one
    prefix_size = size if len(chosen) > 1 else max(1, int(places.max(initial=0)))
    end = chosen.stop * size + prefix_size + 1
    padding = max(0, end - path.shape[-2])
    rows = (
        pieces.suffix_row(starts, size),
        np.where(places > 0, starts // size * prefix_size + places - 1, -1),
    )
    points = slice(begin, end - padding)
    return TabledPart(members, windows, points, padding, len(chosen) * size, prefix_size, rows)


def tables_of(residuals, part):
    """Return points for the suffixes, points for the prefixes, and both tables."""
    path = members_of(residuals, part)[:, part.points]
    xp = namespace_of(path)
    if part.padding:
        path = xp.concatenate((path, xp.repeat(path[:, -1:], part.padding, axis=1)), axis=1)
    size, depth = residuals.length - 1, residuals.depth
    first, second = path[:, : part.suffixes + 1], path[:, size:]
    tables = (
        pieces.suffix_signatures(first, size, depth),
        pieces.prefix_signatures(second, part.prefix_size, depth),
    )
    return first, second, tables


def write_tabled(residuals, part, result):
    """Write the signatures of some windows."""
    path, depth, *_, scalar_term, _ = residuals
    _, _, tables = tables_of(residuals, part)
    product = result[part.members, part.windows]
    if not product.flags.c_contiguous:
        product = namespace_of(path).empty_like(product)
    multiply(product, tables, part.rows, path.shape[-1], depth, scalar_term)
    result[part.members, part.windows] = product


def add_tabled_gradient(residuals, part, gradient, grad):
    """Add the gradient of some windows to that of the path."""
    path, depth, length, *_ = residuals
    first, second, tables = tables_of(residuals, part)
    xp = namespace_of(path)
    grad = xp.ascontiguousarray(grad[part.members, part.windows])
    of_tables = []
    for position, table in enumerate(tables):
        uses = uses_of_rows([part.rows[position]], table.shape[1], [position])
        of_tables.append(xp.empty_like(table))
        sizes = path.shape[-1], depth, False
        product_gradient(of_tables[-1], grad, tables, part.rows, *sizes, uses)
    total = xp.zeros((*second.shape[:1], length - 1 + second.shape[1], path.shape[-1]), path.dtype)
    total[:, : first.shape[1]] = pieces.suffix_gradient(first, length - 1, depth, of_tables[0])
    total[:, length - 1 :] += pieces.prefix_gradient(second, part.prefix_size, depth, of_tables[1])
    gradient[part.members, part.points] += total[:, : total.shape[1] - part.padding]
