r"""Controlled differential equations: :math:`dy = F(t, y) \, dX` along a given path X.

The path is piecewise linear between the points given; the solvers are those of `solve`, with the
increments of X in the place of noise.
"""

from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import FLOAT64, Array, namespace, real_array
from pysig.sde import solve
from pysig.sde.steps import check_positive, check_ts

__all__ = [
    "CdeintGradients",
    "cdeint",
    "cdeint_backward",
    "cdeint_forward",
]

METHODS = ("reversible_heun", "heun", "midpoint", "euler")


class CdeintGradients(NamedTuple):
    """Gradients with respect to the arguments of `cdeint`."""

    y0: Array
    field_parameters: Any
    path: Array


class LinearPath:
    """A piecewise linear path, asked for its increments like a Brownian motion."""

    def __init__(self, points, times):
        self.points, self.times = points, times  # the axis of the points is the first one

    def __call__(self, start, end):
        """Return the increment between two times."""
        return self.increments(np.array([start, end]))[0]

    def increments(self, times):
        """Return the increments between neighbouring times."""
        xp = namespace(points=self.points)
        index, fraction = self.locate(times)
        weights = xp.asarray(fraction, dtype=self.points.dtype)
        weights = weights.reshape(-1, *(1,) * (self.points.ndim - 1))
        index = xp.asarray(index)
        positions = self.points[index] * (1 - weights)
        positions += self.points[index + 1] * weights
        return positions[1:] - positions[:-1]

    def locate(self, times):
        """Return after which points times are, and how far on the way to the next."""
        index = np.searchsorted(self.times, times, side="right") - 1
        index = np.clip(index, 0, len(self.times) - 2)
        start, end = self.times[index], self.times[index + 1]
        return index, (times - start) / (end - start)

    def gradient(self, times, grad_increments):
        """Return the gradient with respect to the points; the axis of the points is the first."""
        xp = namespace(points=self.points)
        grad = xp.zeros_like(self.points)
        index, fraction = self.locate(times)
        for k, part in enumerate(grad_increments):
            for end, sign in ((k + 1, 1.0), (k, -1.0)):
                i, weight = int(index[end]), float(fraction[end])
                grad[i] += part * (sign * (1 - weight))
                grad[i + 1] += part * (sign * weight)
        return grad


def cdeint(
    field,
    y0,
    path,
    *,
    times=None,
    ts=None,
    dt=None,
    method="reversible_heun",
    check_finite=None,
    progress=False,
):
    """
    Solve a differential equation that is driven by a path.

    Parameters
    ----------
    field : callable, or object with a method `forward`
        F: ``field(t, y)``, or ``field.forward(t, y)[0]``, returns a new array of the shape
        (..., d, c), of the type of `y0`.
    y0 : array_like, shape (..., d)
        The value at ts[0].
    path : array_like, shape (..., points, c)
        Points of the path, with the batch axes and the type of `y0`; integers are converted.
        Between them it is linear.
    times : array_like, shape (points,), optional
        The strictly rising times of the points; by default 0, 1, 2, ...
    ts : array_like, shape (outputs,), optional
        Strictly rising times within those of the points: where the solution is wanted; by default
        the times of all points.
    dt : float, optional
        The longest step. Steps end at all output times and points; without `dt`, nowhere else.
    method : {"reversible_heun", "heun", "midpoint", "euler"}
        As for `sdeint`. The first three are of order 2 in the length of steps.
    check_finite, progress
        As for `sdeint`.

    Returns
    -------
    ys : ndarray, shape (outputs, ..., d)
        The solution at the times `ts`, beginning with `y0`.

    Raises
    ------
    ValueError
        If a value is out of range or of the wrong shape.
    TypeError
        If an argument or what the field returns has the wrong type.
    FloatingPointError
        If the field or the solution is not finite.

    See Also
    --------
    sdeint : equations driven by noise.
    signature : what linear equations depend on.

    Notes
    -----
    Memory beside the result: one copy of the path, and what `sdeint` needs.

    Examples
    --------
    The area between a path and its chord, :math:`dy = x_1 dx_2` with :math:`dx = dX`:

    >>> import numpy as np
    >>> import pysig
    >>> def field(t, y):  # y = (x_1, the integral)
    ...     return np.array([[1.0, 0.0], [0.0, y[0]]])
    >>> path = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> pysig.cdeint(field, np.zeros(2), path, method="heun")[-1]
    array([0., 1.])
    """
    problem = make_problem(field, y0, path, times, ts, dt, method)
    return problem.solve(check_finite, progress)[0]


def cdeint_forward(
    field,
    y0,
    path,
    *,
    times=None,
    ts=None,
    dt=None,
    method="reversible_heun",
    check_finite=None,
    progress=False,
    checkpoints=None,
):
    """
    Solve a differential equation that is driven by a path, and keep what its gradient needs.

    The parameters are those of `cdeint`, and `checkpoints`, that of `sdeint_forward`. The field
    must have methods ``forward`` and ``backward`` as there.

    Returns
    -------
    ys : ndarray
        As `cdeint` returns it.
    residuals : SdeintResiduals
        For `cdeint_backward`; what belongs to the noise is that of the path.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> class Product:
    ...     def forward(self, t, y):
    ...         return y[..., None], None
    ...     def backward(self, residuals, grad):
    ...         return grad[..., 0], None
    >>> path = np.linspace(0, 1, 101)[:, None]
    >>> ys, residuals = pysig.cdeint_forward(Product(), [1.0], path)
    >>> np.allclose(ys[-1], np.e, rtol=1e-4)
    True
    >>> grad_ys = np.zeros_like(ys)
    >>> grad_ys[-1] = 1
    >>> grad_path = pysig.cdeint_backward(residuals, grad_ys).path
    >>> np.allclose(grad_path[-1] - grad_path[0], 2 * np.e, rtol=1e-2)
    True
    """
    solve.check_pairs(field=field)
    problem = make_problem(field, y0, path, times, ts, dt, method)
    return problem.solve_forward(check_finite, progress, checkpoints)


def cdeint_backward(residuals, grad_ys):
    """
    Compute the gradients of the solution of a controlled equation.

    Parameters
    ----------
    residuals : SdeintResiduals
        From `cdeint_forward`.
    grad_ys : array_like, shape (outputs, ..., d)
        Gradient with respect to the solution.

    Returns
    -------
    CdeintGradients
        `y0` and `path`, of their shapes, and `field_parameters`, as the field gives them, added
        up.

    Raises
    ------
    ValueError
        If `grad_ys` has the wrong shape.
    TypeError
        If `grad_ys` has the wrong type.

    Examples
    --------
    If the field is constant, y is its product with the path:

    >>> import numpy as np
    >>> import pysig
    >>> class Constant:
    ...     def forward(self, t, y):
    ...         return np.array([[2.0, 5.0]]), None
    ...     def backward(self, residuals, grad):
    ...         return None, grad
    >>> path = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    >>> ys, residuals = pysig.cdeint_forward(Constant(), [0.0], path)
    >>> ys[:, 0]
    array([ 0.,  2., 17.])
    >>> gradients = pysig.cdeint_backward(residuals, [[0.0], [0.0], [1.0]])
    >>> gradients.path[-1], gradients.field_parameters
    (array([2., 5.]), array([[1., 3.]]))
    """
    gradients = solve.sdeint_backward(residuals, grad_ys, noise_gradient=True)
    driver = residuals.brownian
    xp = namespace(points=driver.points)
    grad_path = driver.gradient(residuals.times, gradients.noise)
    grad_path = xp.ascontiguousarray(xp.moveaxis(grad_path, 0, -2))
    return CdeintGradients(gradients.y0, gradients.diffusion_parameters, grad_path)


def make_problem(field, y0, path, times, ts, dt, method):
    """Return the checked problem, with steps that end at the points of the path, too."""
    xp = namespace(y0=y0, path=path)
    y0 = real_array(y0, "y0")
    path = real_array(path, "path", y0.dtype)
    if path.ndim != y0.ndim + 1 or path.shape[:-2] != y0.shape[:-1] or path.shape[-2] < 2:
        raise ValueError(
            "path must have the shape (..., points, c), with 2 points or more and the batch axes "
            f"of y0, which has the shape {y0.shape}, not {path.shape}"
        )
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, not {method!r}")
    times = np.arange(path.shape[-2], dtype=FLOAT64) if times is None else check_ts(times, "times")
    if len(times) != path.shape[-2]:
        raise ValueError(f"times must have the shape ({path.shape[-2]},), not {times.shape}")
    ts = times if ts is None else check_ts(ts)
    if ts[0] < times[0] or ts[-1] > times[-1]:
        raise ValueError(f"ts must be from {times[0]} to {times[-1]}, as the points are")
    dt = ts[-1] - ts[0] if dt is None else check_positive(dt, "dt")
    driver = LinearPath(xp.ascontiguousarray(xp.moveaxis(path, -2, 0)), times)
    knots = times[(times > ts[0]) & (times < ts[-1])]
    return solve.Problem(None, field, y0, ts, driver, dt, method, "general", 1.0, knots)
