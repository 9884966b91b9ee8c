"""Operations along one axis: the axis last and all others in one, and back."""

import operator

from pysig._core.array import namespace_of


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
        xp = namespace_of(array)
        array = xp.ascontiguousarray(xp.moveaxis(array, axis, -1))
    return array.reshape(-1, array.shape[-1]) if array.size else array.reshape(0, 1)


def from_rows(rows, shape, axis):
    """Return rows as an array of `shape`: the inverse of `to_rows`."""
    if axis == len(shape) - 1:
        return rows.reshape(shape)
    moved = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    xp = namespace_of(rows)
    return xp.ascontiguousarray(xp.moveaxis(rows.reshape(moved), -1, axis))
