"""Operations along one axis: the axis last and all others in one, and back."""

import operator

from pysig._core.array import device_of, namespace_of


def axis_number(axis, ndim, name="x"):
    """Return `axis` as an index from 0, with NumPy's meaning of negative numbers."""
    try:
        number = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, not {type(axis).__name__}") from None
    if ndim == 0:
        raise ValueError(f"{name} must have at least one axis, but is a single number")
    if not -ndim <= number < ndim:
        raise ValueError(f"axis must be between {-ndim} and {ndim - 1}, not {number}")
    return number % ndim


def to_rows(array, axis):
    """Return `array` as (rows, n) in C order, where n is the length of the axis."""
    if axis != array.ndim - 1:
        with device_of(array):
            xp = namespace_of(array)
            array = xp.ascontiguousarray(xp.moveaxis(array, axis, -1))
    if not array.size:
        return array.reshape(0, 1)
    return array if array.ndim == 2 else array.reshape(-1, array.shape[-1])


def from_rows(rows, shape, axis):
    """Return rows as an array of `shape`: the inverse of `to_rows`."""
    if axis == len(shape) - 1:
        return reshaped(rows, shape)
    moved = moved_shape(shape, axis)
    with device_of(rows):
        xp = namespace_of(rows)
        return xp.ascontiguousarray(xp.moveaxis(rows.reshape(moved), -1, axis))


def moved_shape(shape, axis):
    """Return a shape with the axis last."""
    if axis == len(shape) - 1:
        return shape
    return (*shape[:axis], *shape[axis + 1 :], shape[axis])


def reshaped(array, shape):
    """Return `array` in a shape, and itself if it has it: calls of a few microseconds feel it."""
    return array if array.shape == shape else array.reshape(shape)
