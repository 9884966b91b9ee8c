r"""Brownian motion that can be asked for its increment over any interval.

The path is a function of the seed alone. It is never stored: time is divided into cells as long as
the tolerance, and the whole is halved again and again, down to the cells. What the halves are
follows from the whole by a Brownian bridge, with normal numbers that depend on the seed and the
place only. Any increment is the sum of a few such pieces (Kidger, Foster, Li and Lyons, "Efficient
and Accurate Gradients for Neural SDEs", NeurIPS 2021, arXiv:2105.13493). The random words
are those of Threefry-4x32-20 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
as 1, 2, 3", SC 2011).

With :math:`B` the path, over an interval from s to t of length h,

.. math::
    W = B_t - B_s, \quad
    H = \frac1h \int_s^t \Bigl(B_r - B_s - \frac{r - s}{h} W\Bigr) dr, \quad
    A_{ij} = \frac12 \int_s^t (B^i_r - B^i_s) dB^j_r - (B^j_r - B^j_s) dB^i_r.

H, the space-time Lévy area, is normal with variance h / 12 and independent of W. Of A, the Lévy
area, no exact simulation is known that is fast; given W and H, it is replaced by
:math:`A = H W^\top - W H^\top + b` with b skew-symmetric and normal, of the exact conditional
variance h² / 20 + (h / 5) (Hᵢ² + Hⱼ²), "foster", or of its mean h² / 12, "davie" (Foster, Lyons and
Oberhauser, "An optimal polynomial approximation of Brownian motion", SIAM Journal on Numerical
Analysis 58, 2020).
"""

import itertools
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import (
    FLOAT32,
    FLOAT64,
    Array,
    boolean,
    broadcast,
    check_broadcast,
    integer,
    is_cupy,
    namespace,
    real_array,
)
from pysig._core.sde.brownian import BrownianTree

__all__ = [
    "BrownianInterval",
    "LevyAreaIncrement",
    "SpaceTimeIncrement",
    "brownian_path",
]

LEVY_AREAS = (None, "space-time", "davie", "foster")
CHUNK_BYTES = 256  # the kernel's, of one component
CACHE_BYTES = 24 << 20  # what processors have as their last cache, about
DEFAULT_CELLS = 1 << 20
MOST_CELLS = 1 << 52


class SpaceTimeIncrement(NamedTuple):
    """The increment of a Brownian motion, and its space-time Lévy area."""

    W: Array
    H: Array


class LevyAreaIncrement(NamedTuple):
    """The increment of a Brownian motion, its space-time Lévy area, and its Lévy area."""

    W: Array
    H: Array
    A: Array


class BrownianInterval:
    r"""
    Brownian motion on an interval of time, for increments over any part of it.

    An increment depends on the seed and its two ends only: not on what was asked before, on the
    cache or the number of threads. Every entry of the process is a Brownian motion of its own,
    which depends on the seed and the entry's place: a longer first axis begins with what a shorter
    one is.

    Parameters
    ----------
    t0, t1 : float
        Beginning and end of the time, t0 < t1.
    shape : int or tuple of int
        Shape of the process at one time; () is a single number.
    seed : None, int, sequence of int or numpy.random.SeedSequence
        Where the random numbers come from. None: from the operating system.
    dtype : {float64, float32}
        Type of all values.
    levy_area : {None, "space-time", "davie", "foster"}
        What increments come with: nothing, H, or H and A, which needs at least one axis: the last
        one counts the components between which areas are.
    tolerance : float, optional
        Length of time of the cells, rounded down to a part of the whole; by default
        2\ :sup:`-20` of it. The joint law of increments is exact as long as no cell has two ends of
        intervals strictly inside. Each halving costs time: for steps of equal length, the length of
        a step is best. 0: as fine as numbers of time are.
    cache_size : int, optional
        How many pieces are kept with their halves, which never changes a result; by default as
        many as fit 24 MiB, but 16 to 4096. Steps in order need few: 16, or 64 if they are much
        longer than the tolerance. For steps in any order it is best to keep all of them.
    W, H : array_like, broadcast to `shape`, optional
        The increment over the whole time, and its space-time Lévy area, if they are given:
        the process is a Brownian motion conditioned on them.
    covariance_factor : array_like, shape (m, k), optional
        L: the last axis, of length m, gets the covariance L Lᵀ. It is L times a Brownian motion
        of k components, which `W` and `H` speak of.
    exact : bool
        Cut cells where intervals end, one end after the other, so that the law is exact however
        many there are in a cell: for adaptive solvers, whose shortest step is not known. Then
        increments that end inside a cell depend on the ends in this cell that were asked for
        before, and the time of a query grows with their number. Each takes some 50 bytes for ever.
    additive_areas : bool
        Join the areas of an interval from those of its cells, so that they add up over intervals
        that end where cells do, as W and H do: for strong errors of solvers, multilevel methods,
        or steps that are halved. A comes nearer to its exact law, too. The time of a query grows
        with the number of cells in it.
    like : ndarray, optional
        An array of CuPy: increments are CuPy arrays on its device, and W, H and the factor must be,
        too. They equal those of NumPy to rounding. Nothing is kept; a query goes down to both of
        its ends anew, and does not wait for the device.

    Attributes
    ----------
    t0, t1, shape, dtype, levy_area, tolerance, cache_size, exact, additive_areas
        As given.

    Raises
    ------
    ValueError
        If a value is out of range or of the wrong shape.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    brownian_path : all increments of a grid in one call.

    Notes
    -----
    Objects can be pickled, which keeps the seed and not the path, and used by several threads,
    which take turns. Memory, however many queries there are: two arrays of the shape of the
    process for each piece kept, four with a Lévy area, and some hundred bytes.

    An increment and the increments of its parts agree to rounding: W adds up, and H by

    .. math:: h H = h_2 (H_2 + W_1 / 2) + h_1 (H_1 - W_2 / 2).

    A does so, by :math:`A = A_1 + A_2 + (W_1 W_2^\top - W_2 W_1^\top) / 2`, with `additive_areas`
    only, where intervals end between cells; otherwise that of each interval is drawn given its own
    W and H. From the whole to its parts, as for W and H, there is no way: no law is known, of areas
    given those of the whole, that could be drawn from.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> brownian = pysig.BrownianInterval(0.0, 1.0, (2,), seed=7)
    >>> whole = brownian(0.0, 1.0)
    >>> np.allclose(brownian(0.0, 0.3) + brownian(0.3, 1.0), whole)
    True
    >>> increment = pysig.BrownianInterval(0, 1, 3, seed=7, levy_area="foster")(0.25, 0.5)
    >>> increment.A.shape
    (3, 3)
    """

    def __init__(
        self,
        t0,
        t1,
        shape=(),
        *,
        seed=None,
        dtype: Any = FLOAT64,
        levy_area=None,
        tolerance=None,
        cache_size=None,
        W=None,
        H=None,
        covariance_factor=None,
        exact=False,
        additive_areas=False,
        like=None,
    ):
        namespace(like=like, W=W, H=H, covariance_factor=covariance_factor)
        arrays = (like, W, H, covariance_factor)
        self._device = next((a.device.id for a in arrays if a is not None and is_cupy(a)), None)
        self.t0, self.t1 = check_times(t0, t1)
        self.shape = check_shape(shape)
        self.dtype = check_dtype(dtype)
        self.levy_area = check_levy_area(levy_area, self.shape)
        self.tolerance, self._cells = check_tolerance(tolerance, self.t1 - self.t0)
        self._covariance_factor = factor = check_factor(covariance_factor, self.shape, self.dtype)
        self._noise_shape = self.shape if factor is None else (*self.shape[:-1], factor.shape[1])
        self._components = 1 if levy_area is None else 2
        self.cache_size = check_cache_size(cache_size, self._array_bytes())
        self.exact = boolean(exact, "exact")
        if self.exact and self._device is not None:
            raise ValueError("exact must be False for CuPy arrays, of which nothing is kept")
        self.additive_areas = boolean(additive_areas, "additive_areas")
        if self.additive_areas and levy_area not in ("davie", "foster"):
            raise ValueError(
                "additive_areas must be False without a levy_area of 'davie' or 'foster', not "
                f"{levy_area!r}"
            )
        self._key = random_key(seed)
        self._given = self._check_given(W, H)
        self._make_tree()

    def __call__(self, start, end=None) -> Any:
        """
        Return the increment from one time to another.

        Parameters
        ----------
        start, end : float
            Times from t0 to t1; rounding errors of a few units in the last place beyond them are
            forgiven. If `end` is before `start` the path is run through backwards: W and A change
            their signs. Without `end`, the increment from t0 to `start`.

        Returns
        -------
        W : ndarray, of the shape of the process
            If there is no Lévy area, or else
        SpaceTimeIncrement or LevyAreaIncrement
            W; H, of the same shape; and A, of shape (..., m, m).
        """
        if end is None:
            start, end = self.t0, start
        return self._compute(self._increment, start, end)

    def increments(self, times) -> Any:
        """
        Return the increments between neighbouring times of a grid, the same as one by one.

        Parameters
        ----------
        times : array_like, shape (points,)
            Strictly rising times from t0 to t1, at least two.

        Returns
        -------
        W : ndarray, shape (points - 1, ...)
            If there is no Lévy area, or else
        SpaceTimeIncrement or LevyAreaIncrement
            W, H and A with the same first axis.

        Notes
        -----
        Each chunk of the process walks through all the pieces that the grid cuts, once. Of these,
        those that go beyond the grid are kept for grids before and after, in up to 2 MiB, unless
        `cache_size` is 0. Memory beside: some
        200 bytes for each of them.
        """
        times = self._grid(times)
        return self._compute(self._increments, times)

    def __repr__(self):
        """Return what tells this process from others, but for the seed."""
        return (
            f"BrownianInterval({self.t0}, {self.t1}, {self.shape}, dtype={self.dtype}, "
            f"levy_area={self.levy_area!r}, tolerance={self.tolerance})"
        )

    def __getstate__(self):
        """Return everything but the tree, which follows from it."""
        state = self.__dict__.copy()
        del state["_tree"]
        state["_cuts"] = self._tree.cuts()
        return state

    def __setstate__(self, state):
        """Make the tree again, with the same cuts."""
        cuts = state.pop("_cuts")
        self.__dict__.update(state)
        self._make_tree()
        for time in cuts:
            self._tree.interval(math.floor(time), time, *self._empty(np)[:2])

    def _array_bytes(self):
        """Return the bytes of the values on one interval, with the padding of the kernel."""
        numbers = math.prod(self._noise_shape)
        chunks = -(-numbers * self.dtype.itemsize // CHUNK_BYTES)
        return chunks * CHUNK_BYTES * self._components

    def _compute(self, function, *arguments):
        """Call a function with the library of the arrays, and its device as the current one."""
        if self._device is None:
            return function(np, *arguments)
        import cupy  # pyright: ignore[reportMissingImports]

        with cupy.cuda.Device(self._device):
            return function(cupy, *arguments)

    def _make_tree(self):
        """Make the object that computes."""
        self._tree = self._compute(self._new_tree)

    def _new_tree(self, xp):
        """Return the compiled object, or that which launches CUDA kernels."""
        kind, options = BrownianTree, {"exact": self.exact}
        if xp is not np:
            from pysig._core.sde import brownian_cuda

            kind, options = brownian_cuda.BrownianTree, {}
        return kind(
            self.t0,
            self.t1,
            self._cells,
            math.prod(self._noise_shape),
            self.dtype == FLOAT64,
            self._components,
            self._key,
            self.cache_size,
            self._root(),
            **options,
        )

    def _check_given(self, W, H):
        """Return W and H broadcast to the shape of the process, or None."""
        if H is not None and self._components == 1:
            raise ValueError("H is given, but without levy_area there is none")
        if (W is None) != (H is None) and self._components == 2:
            raise ValueError("W and H must be given together where there is a Lévy area")
        given = []
        for name, value in (("W", W), ("H", H)):
            if value is None:
                continue
            array = real_array(value, name)
            check_broadcast(array, self._noise_shape, name, "the shape of the process")
            given.append(broadcast(array.astype(self.dtype), self._noise_shape))
        return given

    def _root(self):
        """Return W and H, if given, in the layout of the kernel."""
        if not self._given:
            return None
        if self._device is not None:
            return self._given
        chunk = CHUNK_BYTES // self.dtype.itemsize
        numbers = math.prod(self._noise_shape)
        root = np.zeros((len(self._given), -(-numbers // chunk) * chunk), self.dtype)
        for row, values in zip(root, self._given, strict=True):
            row[:numbers] = values.ravel()
        return np.ascontiguousarray(root.reshape(len(root), -1, chunk).swapaxes(0, 1))

    def _empty(self, xp, *rows):
        """Return arrays for W, H and A, None for those that are not asked for."""
        shape, kind = (*rows, *self._noise_shape), self.levy_area
        w = xp.empty(shape, self.dtype)
        h = None if kind is None else xp.empty(shape, self.dtype)
        with_area = kind in ("davie", "foster")
        return w, h, xp.empty((*shape, shape[-1]), self.dtype) if with_area else None

    def _increment(self, xp, start, end):
        """Return the increment between two times."""
        w, h, area = self._empty(xp)
        self._tree.increment(start, end, w, h)
        if area is not None:
            start, end = self._tree.cell(start, "start"), self._tree.cell(end, "end")
            self._write_areas(xp, start, end, w, h, area)
        return self._correlated(w, h, area)

    def _increments(self, xp, times):
        """Return the increments between neighbouring times in cells."""
        w, h, area = self._empty(xp, times.size - 1)
        self._tree.increments(times, w, h)
        if h is not None and area is not None:
            for start, end, *row in zip(times[:-1], times[1:], w, h, area, strict=True):
                self._write_areas(xp, start, end, *row)
        return self._correlated(w, h, area)

    def _grid(self, times):
        """Return the times of a grid in cells."""
        if is_cupy(times):
            raise TypeError("times must be on the host, where they are checked: use cupy.asnumpy")
        times = real_array(times, "times", FLOAT64)
        if times.ndim != 1 or times.size < 2:
            raise ValueError(
                f"times must have the shape (points,), with 2 or more, not {times.shape}"
            )
        cells = self._tree.grid(times, "times")
        if not np.all(cells[1:] > cells[:-1]):
            raise ValueError("times must rise strictly, by more than rounding errors")
        return cells

    def _write_areas(self, xp, start, end, w, h, area):
        """Write the Lévy areas between two times in cells, given W and H."""
        if not area.size:
            return
        if self.additive_areas and math.ceil(max(start, end)) - math.floor(min(start, end)) > 1:
            return self._join_areas(xp, start, end, area)
        m = self._noise_shape[-1]
        length = abs(end - start) / self._cells * (self.t1 - self.t0)
        rows = w.reshape(-1, m), h.reshape(-1, m), area.reshape(-1, m, m)
        self._tree.area(start, end, length, self.levy_area == "foster", *rows)

    def _join_areas(self, xp, start, end, area):
        """Write the Lévy areas between two times in cells, joined from those of the cells."""
        first, last = min(start, end), max(start, end)
        cuts = [first, *range(math.floor(first) + 1, math.ceil(last)), last]
        before = xp.zeros(self._noise_shape, self.dtype)
        w, h, part = self._empty(xp)
        area.fill(0)
        for ends in itertools.pairwise(cuts):
            self._tree.interval(*ends, w, h)
            self._write_areas(xp, *ends, w, h, part)
            product = before[..., :, None] * w[..., None, :]
            area += part + (product - product.swapaxes(-1, -2)) / 2
            before += w
        if end < start:
            area *= -1

    def _correlated(self, w, h, area):
        """Return an increment, with the covariance factor applied to its parts."""
        factor = self._covariance_factor
        if factor is not None:
            w = w @ factor.T
            h = None if h is None else h @ factor.T
            area = None if area is None else factor @ area @ factor.T
        if h is None:
            return w
        return SpaceTimeIncrement(w, h) if area is None else LevyAreaIncrement(w, h, area)


def brownian_path(
    ts, shape=(), *, seed=None, dtype: Any = FLOAT64, levy_area=None, tolerance=None, like=None
) -> Any:
    """
    Compute the increments of a Brownian motion between neighbouring times of a grid.

    They are those of ``BrownianInterval(ts[0], ts[-1], shape, ...)``, in one call, at about the
    cost of their random numbers.

    Parameters
    ----------
    ts : array_like, shape (points,)
        Strictly rising times, at least two.
    shape : int or tuple of int
        Shape of the process at one time.
    seed, dtype, levy_area, like
        As for `BrownianInterval`.
    tolerance : float, optional
        As for `BrownianInterval`, but by default the shortest distance of neighbouring times.

    Returns
    -------
    W : ndarray, shape (points - 1, ...)
        If there is no Lévy area, or else
    SpaceTimeIncrement or LevyAreaIncrement
        W, H and A with the same first axis.

    Raises
    ------
    ValueError
        If a value is out of range or of the wrong shape.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> ts = np.linspace(0, 1, 101)
    >>> increments = pysig.brownian_path(ts, (1000,), seed=0)
    >>> increments.shape
    (100, 1000)
    """
    ts = real_array(ts, "ts", FLOAT64)
    if ts.ndim != 1 or ts.size < 2:
        raise ValueError(f"ts must have the shape (points,), with 2 or more, not {ts.shape}")
    steps = np.diff(ts)
    if not np.all(steps > 0):
        raise ValueError("ts must rise strictly")
    interval = BrownianInterval(
        ts[0],
        ts[-1],
        shape,
        seed=seed,
        dtype=dtype,
        levy_area=levy_area,
        tolerance=float(steps.min()) if tolerance is None else tolerance,
        cache_size=0,
        like=like,
    )
    return interval.increments(ts)


def check_times(t0, t1):
    """Return both ends of the time as floats."""
    for value, name in ((t0, "t0"), (t1, "t1")):
        if not isinstance(value, (int, float, np.number)) or isinstance(value, complex):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    t0, t1 = float(t0), float(t1)
    if not (t0 < t1 and math.isfinite(t1 - t0)):
        raise ValueError(f"t0 must be before t1, and both finite, not {t0} and {t1}")
    return t0, t1


def check_shape(shape):
    """Return a shape as a tuple of ints."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    try:
        shape = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"shape must be an integer or a tuple of integers, not {shape!r}") from None
    if any(size < 0 for size in shape) or math.prod(shape) >= 1 << 40:
        raise ValueError(f"shape must have sizes from 0 on, fewer than 2**40 entries, not {shape}")
    return shape


def check_dtype(dtype):
    """Return float32 or float64 as a dtype."""
    dtype = np.dtype(dtype)
    if dtype not in (FLOAT32, FLOAT64):
        raise TypeError(f"dtype must be float32 or float64, not {dtype}")
    return dtype


def check_levy_area(levy_area, shape):
    """Return the name of a Lévy area."""
    if levy_area not in LEVY_AREAS:
        raise ValueError(f"levy_area must be one of {LEVY_AREAS}, not {levy_area!r}")
    if levy_area in ("davie", "foster") and not shape:
        raise ValueError(f"levy_area={levy_area!r} needs a shape with at least one axis, not ()")
    return levy_area


def check_tolerance(tolerance, length):
    """Return the tolerance, and the number of cells."""
    if tolerance is None:
        return length / DEFAULT_CELLS, DEFAULT_CELLS
    tolerance = float(tolerance)
    if not (tolerance >= 0 and math.isfinite(tolerance)):
        raise ValueError(f"tolerance must be 0 or more, and finite, not {tolerance}")
    if tolerance <= length / MOST_CELLS:
        return tolerance, MOST_CELLS
    # A quotient that is a whole number but for rounding is that number.
    return tolerance, max(math.ceil(length / tolerance * (1 - 1e-12)), 1)


def check_cache_size(cache_size, array_bytes):
    """Return how many cells are kept."""
    if cache_size is None:
        return min(max(CACHE_BYTES // max(2 * array_bytes, 1), 16), 4096)
    return integer(cache_size, "cache_size", 0, 1 << 40)


def check_factor(factor, shape, dtype):
    """Return the covariance factor as an array, or None."""
    if factor is None:
        return None
    factor = real_array(factor, "covariance_factor").astype(dtype)
    if not shape:
        raise ValueError("covariance_factor needs a shape with at least one axis, not ()")
    if factor.ndim != 2 or factor.shape[0] != shape[-1] or factor.shape[1] == 0:
        raise ValueError(
            f"covariance_factor must have the shape (m, k) with m = {shape[-1]}, the last axis of "
            f"shape, not {factor.shape}"
        )
    return factor


def random_key(seed):
    """Return the four words of 32 bits that a seed stands for."""
    if not isinstance(seed, np.random.SeedSequence):
        try:
            seed = np.random.SeedSequence(seed)
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"seed must be what numpy.random.SeedSequence takes: {error}"
            ) from None
    return tuple(int(word) for word in seed.generate_state(4))
