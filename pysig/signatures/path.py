r"""Signatures of any intervals of a path, after a preparation that is linear in its length.

The path is cut into pieces of 32 increments. Kept are the signatures of the prefixes and suffixes
of each piece, and a disjoint sparse table over the pieces: for each power of two h, the pieces are
taken in groups of 2h, and kept are the signatures from each piece to the middle of its group, or
from there to it. Two numbers of pieces differ at some highest bit; so the pieces between any two
are the product of two rows of the level of that bit, and an interval is at most

    suffix of a piece ⊗ pieces up to a middle ⊗ pieces from there on ⊗ prefix of a piece.

An interval inside a piece is computed from its points. Unlike :math:`S(0, s)^{-1} \otimes S(0, t)`,
this divides nothing out, so that results are as accurate as if each was computed by itself, on
paths of any length.
"""

import copy
from typing import NamedTuple

import numpy as np

from pysig._core.array import (
    Array,
    broadcast,
    check_residuals,
    empty,
    integer_array,
    namespace,
    namespace_of,
    real_array,
    sum_to_shape,
)
from pysig._core.signatures import path as path_rows
from pysig.signatures import pieces
from pysig.signatures import signature as whole
from pysig.signatures.logsignature import signature_to_logsignature
from pysig.signatures.product import (
    check_grad,
    device_of,
    multiply,
    product_gradient,
    uses_of_rows,
)

__all__ = ["Path", "PathGradients", "PathResiduals"]

SIZE = 32  # increments of a piece
POINT_BYTES = 2**22  # of intervals inside pieces that are computed at a time


class PathResiduals(NamedTuple):
    """What `Path.signature_backward` needs: the points and tables of the path, and the query."""

    points: Array  # (batch, capacity, channels)
    prefixes: Array  # (batch, capacity, words)
    suffixes: Array  # (batch, capacity, words)
    products: Array  # (batch, levels, capacity, words)
    start: np.ndarray  # the first increments, and those after the last ones
    end: np.ndarray
    lead: tuple[int, ...]
    length: int  # points that count
    depth: int
    scalar_term: bool
    basepoint: tuple[int, ...] | bool | None  # the shape of the array given; or True, or None


class PathGradients(NamedTuple):
    """The gradients of `Path.signature`; None for a basepoint that was not given as an array."""

    path: Array
    basepoint: Array  # or None


class Path:
    """
    A path prepared for queries: signatures of any of its intervals at a constant cost.

    Parameters
    ----------
    path : array_like, shape (..., length, channels)
        Points of one path, or of many along any leading axes.
    depth : int
        Length of the longest words, from 1 to 64.
    basepoint : None, True or array_like, shape (..., channels)
        A point to put before each path: the origin if True. It is the point with the number 0 then.
        An array is broadcast to the leading axes of `path`.
    scalar_term : bool
        Put the coefficient of the empty word, 1, in front of each signature.

    Raises
    ------
    ValueError
        If a shape does not fit, or a size is out of range.
    TypeError
        If an argument has the wrong type, or NumPy and CuPy arrays are mixed.

    See Also
    --------
    signature_windows : windows of one length.

    Notes
    -----
    The preparation takes two steps of a signature for each increment, and log₂(length / 32) / 32
    products; a query, up to three products, or up to 31 steps if it is inside a piece of 32
    increments. Memory: 2 + log₂(length / 32) / 32 signatures for each point.

    No inverse is taken: each result is as accurate as if it was computed by itself (docs/path.md).

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> points = np.random.default_rng(0).normal(size=(1000, 3)).cumsum(axis=0)
    >>> path = pysig.Path(points, depth=3)
    >>> np.allclose(path.signature(100, 300), pysig.signature(points[100:300], 3))
    True
    >>> path.signature(start=[0, 100, -50], end=[10, 300, None]).shape
    (3, 39)
    """

    def __init__(self, path, depth, basepoint=None, scalar_term=False):
        checked = whole.check(path, depth, False, basepoint, None, False, scalar_term, None)
        points, basepoint = checked.path, checked.basepoint
        self.depth = checked.depth
        self.scalar_term = checked.scalar_term
        self.channels = points.shape[-1]
        self._lead = points.shape[:-2]
        self._basepoint = basepoint
        if basepoint is not None and basepoint is not True:
            self._basepoint = basepoint.shape
        xp = namespace_of(points)
        self._batch = int(np.prod(self._lead, dtype=np.intp))
        points = points.reshape(self._batch, *points.shape[-2:])
        with device_of(points):
            if basepoint is True:
                first = xp.zeros((self._batch, 1, self.channels), points.dtype)
            elif basepoint is not None:
                first = broadcast(basepoint, (*self._lead, self.channels))
                first = first.reshape(self._batch, 1, self.channels)
            if basepoint is not None:
                points = xp.concatenate((first, points), axis=1)
            words = whole.count_words(self.channels, self.depth)
            rows = (self._batch, 0, words)
            self._points = points[:, :0]
            self._prefixes = self._suffixes = xp.empty(rows, points.dtype)
            self._products = xp.empty((self._batch, 0, 0, words), points.dtype)
            self._length = 0
            self._append(points)

    def __len__(self):
        """Return how many points the path has, a basepoint included."""
        return self._length

    def __copy__(self):
        """Return a copy that shares nothing: both may be updated afterwards."""
        return copy.deepcopy(self)

    def __repr__(self):
        """Return the shape of the points, and the options."""
        shape = (*self._lead, len(self), self.channels)
        return f"Path(shape={shape}, depth={self.depth}, dtype={self._points.dtype})"

    def update(self, more):
        """
        Put more points at the end of the path.

        What has been computed is kept; the room for it is doubled when it is full, so that a path
        of which the points come one by one costs no more than a constant factor.

        Parameters
        ----------
        more : array_like, shape (..., count, channels)
            The points, of the type and the leading axes of the path.

        Raises
        ------
        ValueError
            If the shape does not fit.
        TypeError
            If the type is not that of the path.

        Examples
        --------
        >>> import pysig
        >>> path = pysig.Path([[0.0], [1.0]], depth=1)
        >>> path.update([[5.0], [7.0]])
        >>> len(path), path.signature()
        (4, array([7.]))
        """
        namespace(path=self._points, more=more)
        more = real_array(more, "more", self._points.dtype)
        shape = (*self._lead, more.shape[-2] if more.ndim >= 2 else 0, self.channels)
        if more.shape != shape:
            raise ValueError(
                "more must have the shape (..., count, channels) with the leading axes "
                f"{self._lead} and {self.channels} channels, not {more.shape}"
            )
        with device_of(self._points):
            self._append(more.reshape(self._batch, *more.shape[-2:]))

    def signature(self, start=None, end=None):
        """
        Compute the signature of intervals of the path.

        Parameters
        ----------
        start, end : int, None, or array_like of int
            The points ``path[..., start:end, :]``, as in slicing: negative numbers count from the
            end, and numbers past an end of the path stand for that end. Arrays are broadcast
            against each other; in a list, None stands for an end, too. They stay on the host.

        Returns
        -------
        ndarray, shape (..., signature_channels) or (..., queries, signature_channels)
            The axes of the queries, if there are any, come after those of the path. The signature
            of a single point is the unit.

        Raises
        ------
        ValueError
            If an interval has no points, or `start` and `end` do not broadcast.
        TypeError
            If they are not integers.

        Notes
        -----
        Memory: beside the result, some 100 bytes for each query.

        Examples
        --------
        >>> import pysig
        >>> path = pysig.Path([[0.0], [1.0], [5.0], [7.0]], depth=1)
        >>> path.signature(1)
        array([6.])
        >>> path.signature([0, 1, 2], -1)
        array([[5.],
               [4.],
               [0.]])
        """
        return evaluate(self._query(start, end))

    def signature_forward(self, start=None, end=None):
        """
        Compute the signature of intervals of the path, and what the gradient needs.

        The parameters are those of `signature`.

        Returns
        -------
        signature : ndarray
            As `signature` returns it.
        residuals : PathResiduals
            For `signature_backward`. It refers to the tables of the path, which later calls of
            `update` extend but do not change.

        Examples
        --------
        >>> import pysig
        >>> path = pysig.Path([[0.0], [1.0], [5.0], [7.0]], depth=1)
        >>> value, residuals = path.signature_forward([0, 1], 3)
        >>> path.signature_backward(residuals, [[1], [10]]).path
        array([[ -1.],
               [-10.],
               [ 11.],
               [  0.]])
        """
        residuals = self._query(start, end)
        return evaluate(residuals), residuals

    @staticmethod
    def signature_backward(residuals, grad):
        """
        Compute the gradients of `signature`: the vector-Jacobian product.

        Parameters
        ----------
        residuals : PathResiduals
            As `signature_forward` returned it.
        grad : array_like
            Gradient with respect to the signatures, of their shape and type.

        Returns
        -------
        PathGradients
            path : ndarray, shape (..., length, channels), for the points there were, without the
            basepoint. basepoint : ndarray of the shape given, or None if no array was given.

        Raises
        ------
        ValueError
            If `grad` has not the shape of the signatures.
        TypeError
            If `grad` has not the type of the signatures, or `residuals` is something else.

        Notes
        -----
        For a single interval, as `pysig.signature_backward` for its points. For several, the
        adjoints of all rows of the tables are computed: the cost is that of two gradients of the
        whole path with ``stream=True``, and up to six halves of a product's gradient for each
        query. Memory: as much as the tables.

        Examples
        --------
        See `signature_forward`.
        """
        check_residuals(residuals, PathResiduals)
        grad = check_grad(grad, result_shape(residuals), residuals.points, "signatures")
        with device_of(grad):
            gradient = path_gradient(residuals, grad)
            based = residuals.basepoint is not None
            path = namespace_of(grad).ascontiguousarray(gradient[:, int(based) :])
            path = path.reshape(*residuals.lead, *path.shape[1:])
            if not based or residuals.basepoint is True:
                return PathGradients(path, None)
            basepoint = gradient[:, 0].reshape(*residuals.lead, gradient.shape[-1])
            return PathGradients(path, sum_to_shape(basepoint, residuals.basepoint))

    def logsignature(self, start=None, end=None, *, mode="words"):
        """
        Compute the logsignature of intervals of the path.

        Parameters
        ----------
        start, end : int, None, or array_like of int
            As for `signature`.
        mode : str
            As for `pysig.logsignature`.

        Returns
        -------
        ndarray, shape (..., logsignature_channels) or (..., queries, logsignature_channels)
            The axes of the queries come after those of the path.

        Raises
        ------
        ValueError
            If an interval has no points, or the mode is unknown.
        TypeError
            If `start` or `end` are not integers.
        """
        return signature_to_logsignature(
            self.signature(start, end),
            self.channels,
            self.depth,
            mode=mode,
            scalar_term=self.scalar_term,
        )

    def _query(self, start, end):
        """Return the residuals of a query; start and end are checked."""
        start = positions(start, "start", 0, self._length)
        end = positions(end, "end", self._length, self._length)
        if start.ndim or end.ndim:
            start, end = broadcast_positions(start, end)
        if not (start < end).all():
            first = np.argmax((start >= end).ravel())
            raise ValueError(
                "start must be before end in each interval, but there is an interval without "
                f"points: from {start.ravel()[first]} to {end.ravel()[first]}"
            )
        return PathResiduals(
            self._points,
            self._prefixes,
            self._suffixes,
            self._products,
            start,
            end - 1,
            self._lead,
            self._length,
            self.depth,
            self.scalar_term,
            self._basepoint,
        )

    def _append(self, more):
        """Extend the points and the tables."""
        before = max(self._length - 1, 0)  # increments
        length = self._length + more.shape[1]
        self._points = with_room(self._points, length, self._length)
        self._points[:, self._length : length] = more
        self._length = length
        increments = max(length - 1, 0)
        self._prefixes = with_room(self._prefixes, increments, before)
        self._append_prefixes(before, increments)
        old, new = before // SIZE, increments // SIZE
        if new == old:
            return
        self._suffixes = with_room(self._suffixes, new * SIZE, old * SIZE)
        points = self._points[:, old * SIZE : new * SIZE + 1]
        self._suffixes[:, old * SIZE : new * SIZE] = pieces.suffix_signatures(
            points, SIZE, self.depth
        )
        self._append_products(old, new)

    def _append_prefixes(self, before, after):
        """Compute prefixes up to the end of the piece begun, of whole pieces, and of the rest."""
        first = min(-(-before // SIZE) * SIZE, after)
        second = max(first, after // SIZE * SIZE)
        for begin, end in ((before, first), (second, after)):
            if begin == end:
                continue
            initial = self._prefixes[:, begin - 1] if begin % SIZE else None
            self._prefixes[:, begin:end] = whole.signature(
                self._points[:, begin : end + 1], self.depth, stream=True, initial=initial
            )
        if first < second:
            self._prefixes[:, first:second] = pieces.prefix_signatures(
                self._points[:, first : second + 1], SIZE, self.depth
            )

    def _append_products(self, old, new):
        """Extend the disjoint sparse table from `old` to `new` pieces."""
        xp, table = namespace_of(self._products), self._products
        if max(1, (new - 1).bit_length()) > table.shape[1] or new > table.shape[2]:
            capacity = new if not table.shape[2] else max(new, 2 * table.shape[2])
            levels = max(1, (capacity - 1).bit_length())
            shape = (self._batch, levels, capacity, table.shape[3])
            self._products = xp.empty(shape, table.dtype)
            self._products[:, : table.shape[1], :old] = table[:, :, :old]
            table = self._products
        table[:, 0, old:new] = self._prefixes[:, (old + 1) * SIZE - 1 : new * SIZE : SIZE]
        rows = rows_of_levels(table)
        capacity = table.shape[2]
        for level in range(1, (new - 1).bit_length()):
            numbers = np.flatnonzero(new_in_level(level, old, new))
            if not numbers.size:
                continue
            indices = factors_in_level(level, numbers, capacity)
            product = xp.empty((self._batch, len(numbers), table.shape[3]), table.dtype)
            multiply(product, (rows, rows), indices, self.channels, self.depth, False)
            table[:, level, xp.asarray(numbers)] = product


def rows_of_levels(table):
    """Return a disjoint sparse table (batch, levels, pieces, words) as (batch, rows, words)."""
    batch, levels, capacity, words = table.shape
    return table.reshape(batch, levels * capacity, words)


def with_room(array, rows, used):
    """Return the array, or a larger one with its first `used` rows, that has room for `rows`."""
    if rows <= array.shape[1]:
        return array
    room = rows if not used else max(rows, 2 * array.shape[1])
    larger = namespace_of(array).empty((len(array), room, *array.shape[2:]), array.dtype)
    larger[:, :used] = array[:, :used]
    return larger


# -------------------------------------------------------------------------------------- intervals


def positions(value, name, default, length):
    """Return `start` or `end` as an array of intp from 0 to `length`, as in slicing."""
    if value is None:
        value = default
    elif isinstance(value, list | tuple):
        value = [default if item is None else item for item in value]
    array = integer_array(value, name, "integers or None")
    if not array.ndim:
        number = int(array)
        return np.array(max(number + length, 0) if number < 0 else min(number, length), np.intp)
    array = np.minimum(array, length).astype(np.intp, copy=False)
    if array.min(initial=0) < 0:
        array = np.where(array < 0, np.maximum(array + length, 0), array)
    return array


def broadcast_positions(start, end):
    """Return both, broadcast against each other."""
    try:
        return np.broadcast_arrays(start, end)
    except ValueError:
        raise ValueError(
            "start and end must broadcast against each other, but have the shapes "
            f"{start.shape} and {end.shape}"
        ) from None


class Rows(NamedTuple):
    """Which rows of the tables the intervals are products of, and those inside of pieces."""

    indices: tuple[np.ndarray, ...]  # suffixes, products, products, prefixes; -1 for none
    inside: np.ndarray  # numbers of the intervals that are computed from their points


def find_rows(residuals):
    """Return what each interval is composed of."""
    start, end = np.ascontiguousarray(residuals.start), np.ascontiguousarray(residuals.end)
    indices = np.empty((4, start.size), np.intp)
    inside = np.empty(start.size, np.intp)
    capacity = residuals.products.shape[2]
    count = path_rows.find_rows(indices, inside, start, end, SIZE, capacity)
    return Rows(tuple(indices), inside[:count])


def highest_bit(numbers):
    """Return the place of the highest bit of each number."""
    return np.frexp(numbers.astype(np.float64))[1] - 1


def new_in_level(level, old, new):
    """
    Return which rows of a level there are with `new` pieces but not with `old`.

    A row on the left of a middle is computed when there is a piece on the right of it.
    """
    numbers = np.arange(new)
    group = numbers >> level
    right = (group & 1 == 1) & (numbers >= old)
    middle = (group | 1) << level
    return right | ((group & 1 == 0) & (middle >= old) & (middle < new))


def factors_in_level(level, numbers, capacity):
    """Return the rows, of lower levels, that the rows `numbers` of a level are products of."""
    group = numbers >> level
    right = group & 1 == 1
    begin = np.where(right, group << level, numbers)
    end = np.where(right, numbers, ((group + 1) << level) - 1)
    lower = np.where(begin < end, highest_bit(begin ^ end), 0) * capacity
    return lower + begin, np.where(begin < end, lower + end, -1)


# --------------------------------------------------------------------------------------- evaluation


def result_shape(residuals):
    """Return the shape of the signatures."""
    words = residuals.prefixes.shape[-1] + residuals.scalar_term
    return (*residuals.lead, *residuals.start.shape, words)


def tables_of(residuals):
    """Return the tables of the four factors."""
    products = residuals.products
    rows = rows_of_levels(products)
    return residuals.suffixes, rows, rows, residuals.prefixes


def evaluate(residuals):
    """Return the signatures."""
    points, scalar_term = residuals.points, residuals.scalar_term
    with device_of(points):
        xp = namespace_of(points)
        result = empty(xp, result_shape(residuals), points.dtype, "the signatures")
        if not result.size:
            return result
        rows = find_rows(residuals)
        words = residuals.prefixes.shape[-1] + scalar_term
        flat = result.reshape(len(points), residuals.start.size, words)
        sizes = points.shape[-1], residuals.depth
        multiply(flat, tables_of(residuals), rows.indices, *sizes, scalar_term)
        for part in inside_parts(residuals, rows):
            of_points, lengths = inside_points(residuals, part)
            flat[:, xp.asarray(part), int(scalar_term) :] = whole.signature(
                of_points, residuals.depth, lengths=lengths
            )
        return result


def inside_parts(residuals, rows):
    """Yield numbers of intervals inside pieces, of which the points take about POINT_BYTES."""
    points = residuals.points
    of_one = len(points) * points.shape[-1] * points.itemsize * (SIZE + 1)
    at_once = max(1, POINT_BYTES // max(1, of_one))
    for first in range(0, len(rows.inside), at_once):
        yield rows.inside[first : first + at_once]


def inside_points(residuals, part):
    """Return points of intervals, (batch, intervals, points, channels), and the lengths to use."""
    start, end = residuals.start.ravel()[part], residuals.end.ravel()[part]
    if len(part) == 1:
        return residuals.points[:, None, start[0] : end[0] + 1], None
    lengths = end - start + 1
    numbers = np.minimum(start[:, None] + np.arange(lengths.max()), residuals.length - 1)
    return residuals.points[:, namespace_of(residuals.points).asarray(numbers)], lengths


# ----------------------------------------------------------------------------------------- gradient


def path_gradient(residuals, grad):
    """Return the gradient of all points, (batch, length, channels)."""
    points = residuals.points[:, : residuals.length]
    xp = namespace_of(points)
    gradient = xp.zeros(points.shape, points.dtype)
    if not grad.size:
        return gradient
    if residuals.start.ndim == 0:
        interval = slice(int(residuals.start), int(residuals.end) + 1)
        gradient[:, interval] = interval_gradient(residuals, points[:, interval], grad)
        return gradient
    grad = grad.reshape(len(points), residuals.start.size, grad.shape[-1])
    rows = find_rows(residuals)
    of_suffixes, of_products, of_prefixes = table_gradients(residuals, rows, grad)
    count = (residuals.length - 1) // SIZE * SIZE
    begun = points[:, : count + 1]
    if count:
        gradient[:, : count + 1] += pieces.suffix_gradient(
            begun, SIZE, residuals.depth, of_suffixes
        )
        of_prefixes[:, SIZE - 1 : count : SIZE] += of_products
        gradient[:, : count + 1] += pieces.prefix_gradient(
            begun, SIZE, residuals.depth, of_prefixes[:, :count]
        )
    if count < residuals.length - 1:
        gradient[:, count:] += pieces.prefix_gradient(
            points[:, count:], residuals.length - 1 - count, residuals.depth, of_prefixes[:, count:]
        )
    for part in inside_parts(residuals, rows):
        add_inside_gradient(residuals, part, grad, gradient)
    return gradient


def interval_gradient(residuals, points, grad):
    """Return the gradient of the points of a single interval."""
    arguments = whole.check(
        points, residuals.depth, False, None, None, False, residuals.scalar_term, None
    )
    return whole.signature_backward(arguments, grad.reshape(len(points), grad.shape[-1])).path


def table_gradients(residuals, rows, grad):
    """Return the gradients of the rows of suffixes, of the pieces, and of prefixes."""
    xp = namespace_of(grad)
    tables = tables_of(residuals)
    sizes = residuals.points.shape[-1], residuals.depth, False
    gradients = []
    for table, places in ((tables[0], (0,)), (tables[1], (1, 2)), (tables[3], (3,))):
        uses = uses_of_rows([rows.indices[i] for i in places], table.shape[1], places)
        gradients.append(xp.empty_like(table))
        product_gradient(gradients[-1], grad, tables, rows.indices, *sizes, uses)
    of_suffixes, of_products, of_prefixes = gradients
    increments = residuals.length - 1
    count = increments // SIZE
    return (
        of_suffixes[:, : count * SIZE],
        gradient_of_pieces(residuals, tables[1], of_products, count),
        of_prefixes[:, :increments],
    )


def gradient_of_pieces(residuals, table, gradient, count):
    """Return the gradient of the pieces' signatures, from that of the disjoint sparse table."""
    levels, capacity = residuals.products.shape[1:3]
    sizes = residuals.points.shape[-1], residuals.depth, False
    for level in range((count - 1).bit_length() - 1, 0, -1):
        numbers = np.flatnonzero(new_in_level(level, 0, count))
        indices = factors_in_level(level, numbers, capacity)
        begin = level * capacity
        xp = namespace_of(gradient)
        grad = xp.ascontiguousarray(gradient[:, begin + xp.asarray(numbers)])
        uses = uses_of_rows(indices, levels * capacity, (0, 1))
        product_gradient(gradient, grad, (table, table), indices, *sizes, uses, add=True)
    return gradient[:, :count]


def add_inside_gradient(residuals, part, grad, gradient):
    """Add the gradient of intervals inside pieces to that of the points."""
    xp = namespace_of(grad)
    points, lengths = inside_points(residuals, part)
    arguments = whole.check(points, residuals.depth, False, None, None, False, False, lengths)
    words = residuals.prefixes.shape[-1]
    grad = xp.ascontiguousarray(grad[:, xp.asarray(part), -words:])
    of_points = whole.signature_backward(arguments, grad).path
    # Intervals that begin with the same point are added up first, as rows of one level.
    batch, intervals, width, channels = of_points.shape
    starts, row = np.unique(residuals.start.ravel()[part], return_inverse=True)
    sums = xp.empty((batch, len(starts), width * channels), grad.dtype)
    of_points = of_points.reshape(batch, intervals, width * channels)
    uses = uses_of_rows([row.ravel()], len(starts), (0,))
    product_gradient(sums, of_points, (sums,), (None,), width * channels, 1, False, uses)
    sums = sums.reshape(batch, len(starts), width, channels)
    padded = xp.zeros((batch, gradient.shape[1] + width, channels), grad.dtype)
    for i in range(width):
        padded[:, xp.asarray(starts + i)] += sums[:, :, i]
    gradient += padded[:, : gradient.shape[1]]
