"""The signature of the latest points of a stream: points come at one end and go at the other.

A queue made of two stacks: the points that came last have one signature, to which each new point is
multiplied; for those before them, the signatures of all suffixes are kept, so that dropping the
first point is to forget a row. When there are no more rows, those of the points that came last are
computed in one pass. So each point takes part in two steps, and in one product for each time the
signature is asked for. Nothing is divided out, so that errors do not grow with time.
"""

import copy

import numpy as np

from pysig._core.array import integer, namespace, namespace_of, real_array
from pysig.signatures import pieces
from pysig.signatures import signature as whole
from pysig.signatures.product import device_of, multiply

__all__ = ["SignatureStream"]


class SignatureStream:
    """
    The signature of a path of which points come, and old ones may go.

    Parameters
    ----------
    path : array_like, shape (..., count, channels)
        The first points, at least one: of one path, or of many along any leading axes.
    depth : int
        Length of the longest words, from 1 to 64.
    scalar_term : bool
        Put the coefficient of the empty word, 1, in front of signatures.

    Raises
    ------
    ValueError
        If a shape does not fit, or a size is out of range.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    Path : any intervals of a path that only grows.
    signature_windows : all windows of a path that is known.

    Notes
    -----
    A point costs, from coming to going, two steps of a signature; asking for the signature costs a
    product. Memory: one signature for each point that was there when the queue was last turned
    round, which is when `pop` has used up the points of the time before. The gradient is that of
    the points there are, and costs as much as if they had come at once.

    Examples
    --------
    The signatures of the latest 20 points:

    >>> import numpy as np
    >>> import pysig
    >>> points = np.random.default_rng(0).normal(size=(100, 3)).cumsum(axis=0)
    >>> stream = pysig.SignatureStream(points[:20], depth=3)
    >>> for point in points[20:]:
    ...     stream.push(point)
    ...     stream.pop()
    ...     latest = stream.signature()
    >>> len(stream)
    20
    >>> np.allclose(latest, pysig.signature(points[-20:], 3))
    True
    """

    def __init__(self, path, depth, *, scalar_term=False):
        checked = whole.check(path, depth, False, None, None, False, scalar_term, None)
        points = checked.path
        self.depth = checked.depth
        self.scalar_term = checked.scalar_term
        self._lead = points.shape[:-2]
        self._batch = int(np.prod(self._lead, dtype=np.intp))
        points = points.reshape(self._batch, *points.shape[-2:])
        words = whole.count_words(points.shape[-1], self.depth)
        with device_of(points):
            xp = namespace_of(points)
            # The path is `_front` increments, of which `_suffixes` has the signatures, the shortest
            # suffix first, and `_front_points` the last so many points but one; then `_points`,
            # each part beginning with the last point of the one before it, with the signature
            # `_back`.
            self._front = 0
            self._front_points = xp.empty((self._batch, 0, points.shape[-1]), points.dtype)
            self._suffixes = xp.empty((self._batch, 0, words), points.dtype)
            self._points = [points + 0]
            self._back = whole.signature(points, self.depth)
        self._back_length = points.shape[1] - 1

    def __len__(self):
        """Return how many points there are."""
        return self._front + self._back_length + 1

    def __copy__(self):
        """Return a copy that shares nothing: both may get points afterwards."""
        return copy.deepcopy(self)

    def __repr__(self):
        """Return the shape of the points, and the options."""
        shape = (*self._lead, len(self), self._points[-1].shape[-1])
        return f"SignatureStream(shape={shape}, depth={self.depth}, dtype={self._back.dtype})"

    def push(self, points):
        """
        Put one point or several at the end.

        Parameters
        ----------
        points : array_like, shape (..., channels) or (..., count, channels)
            A point of each path, or `count` of them, of the type and the leading axes of the first
            ones.

        Raises
        ------
        ValueError
            If the shape does not fit.
        TypeError
            If the type is not that of the first points.
        """
        last = self._points[-1][:, -1:]
        namespace(points=points, path=last)
        points = real_array(points, "points", last.dtype)
        if points.shape == (*self._lead, last.shape[-1]):
            points = points[..., None, :]
        count = points.shape[-2] if points.ndim >= 2 else 0
        if points.shape != (*self._lead, count, last.shape[-1]):
            raise ValueError(
                "points must have the shape (..., channels) or (..., count, channels) with the "
                f"leading axes {self._lead} and {last.shape[-1]} channels, not {points.shape}"
            )
        if not count:
            return
        with device_of(last):
            points = points.reshape(self._batch, count, last.shape[-1])
            part = namespace_of(last).concatenate((last, points), axis=1)
            self._back = whole.signature(part, self.depth, initial=self._back)
        self._points.append(part)
        self._back_length += count

    def pop(self, count=1):
        """
        Forget points at the beginning.

        Parameters
        ----------
        count : int
            How many, from 0 to all but one.

        Raises
        ------
        ValueError
            If there would be no point left.
        TypeError
            If `count` is not an integer.
        """
        count = integer(count, "count", 0, len(self) - 1)
        if count <= self._front:
            self._front -= count
            return
        with device_of(self._back):
            self._turn_round(count - self._front)

    def signature(self):
        """
        Return the signature of the points there are.

        Returns
        -------
        ndarray, shape (..., signature_channels)
        """
        back = self._back[:, None]
        with device_of(back):
            xp = namespace_of(back)
            words = back.shape[-1]
            result = xp.empty((self._batch, 1, words + self.scalar_term), back.dtype)
            row = np.array([self._front - 1])
            sizes = self._points[-1].shape[-1], self.depth
            multiply(result, (self._suffixes, back), (row, None), *sizes, self.scalar_term)
            return result.reshape(*self._lead, result.shape[-1])

    def signature_forward(self):
        """
        Compute the signature of the points there are, and what its gradient needs.

        Returns
        -------
        signature : ndarray
            As `signature` returns it.
        residuals : SignatureResiduals
            For `signature_backward`. It has a copy of the points, so that the stream may go on.

        Examples
        --------
        >>> import pysig
        >>> stream = pysig.SignatureStream([[0.0], [1.0], [3.0]], depth=2)
        >>> stream.pop()
        >>> value, residuals = stream.signature_forward()
        >>> value
        array([2., 2.])
        >>> stream.push([9.0])
        >>> stream.signature_backward(residuals, [0.0, 1.0])
        array([[-2.],
               [ 2.]])
        """
        front = self._front_points[:, self._front_points.shape[1] - self._front :]
        with device_of(front):
            points = namespace_of(front).concatenate((front, self._back_points()), axis=1)
            points = points.reshape(*self._lead, *points.shape[1:])
            arguments = False, None, None, False, self.scalar_term, None
            return self.signature(), whole.check(points, self.depth, *arguments)

    @staticmethod
    def signature_backward(residuals, grad):
        """
        Compute the gradient of `signature`: the vector-Jacobian product.

        Parameters
        ----------
        residuals : SignatureResiduals
            As `signature_forward` returned it.
        grad : array_like
            Gradient with respect to the signature, of its shape and type.

        Returns
        -------
        ndarray, shape (..., count, channels)
            The gradient with respect to the points there were, the oldest first.

        Raises
        ------
        ValueError
            If `grad` has not the shape of the signature.
        TypeError
            If `grad` has not the type of the signature, or `residuals` is something else.

        Examples
        --------
        See `signature_forward`.
        """
        return whole.signature_backward(residuals, grad).path

    def _back_points(self):
        """Return the points after the front, the first of which is its last."""
        parts = [self._points[0], *(part[:, 1:] for part in self._points[1:])]
        return namespace_of(self._back).concatenate(parts, axis=1)

    def _turn_round(self, count):
        """Forget the front and `count` increments after it; make all others the front."""
        xp = namespace_of(self._back)
        points = self._back_points()[:, count:]
        self._front = points.shape[1] - 1
        self._front_points = xp.ascontiguousarray(points[:, :-1])
        self._suffixes = pieces.suffix_signatures(points, max(self._front, 1), self.depth)
        self._points = [xp.ascontiguousarray(points[:, -1:])]
        self._back = xp.zeros_like(self._back)
        self._back_length = 0
