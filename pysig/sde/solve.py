r"""Solvers for stochastic differential equations, and exact gradients of what they compute.

The equation is

.. math:: dy = f(t, y) \, dt + g(t, y) \, dW,

in the sense of Itô or of Stratonovich, as the method has it:

===================== ============ ===================================== ======================
method                sense        order: additive, commutative, general evaluations a step
===================== ============ ===================================== ======================
reversible_heun       Stratonovich 1, 1, 1/2                             f, g
heun, midpoint        Stratonovich 1, 1, 1/2                             2 f, 2 g
euler_heun            Stratonovich 1, 1, 1/2                             f, 2 g
euler                 Itô          1, 1/2, 1/2                           f, g
milstein              Itô          1, 1, refused                         f, 2 g (additive: f, g)
srk                   Itô          3/2, 3/2, refused                     2 f, 4 g (additive: 2 g)
asynchronous_leapfrog none: ODEs   2, or with damping 1                  f
===================== ============ ===================================== ======================

The orders are strong ones. Noise is commutative if it is scalar, or if it is diagonal and each
component of g depends on its own component of y only. Where g does not depend on y, both senses
are the same.

The gradients are those of the numbers computed (discretise, then optimise). reversible_heun and
asynchronous_leapfrog without damping undo their steps on the way back, so that no state is stored.
They are stable for imaginary eigenvalues only: strong decay over many long steps makes them blow
up. Of the other methods, some states are stored, and the steps between two of them repeated on the
way back.

The parts: steps.py lays the steps and fetches their noise, system.py evaluates the fields,
reversible_heun.py, leapfrog.py and runge_kutta.py know one step and its gradient each, adaptive.py
chooses steps, trajectory.py has whole steps in compiled code where it can. Here are the loops over
the steps, and what is checked before.
"""

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np

from pysig._core.array import Array, boolean, device_of, integer, namespace, real_array
from pysig._core.progress import Progress
from pysig.sde import adaptive, runge_kutta, trajectory
from pysig.sde.leapfrog import AsynchronousLeapfrog
from pysig.sde.reversible_heun import ReversibleHeun
from pysig.sde.runge_kutta import RungeKutta
from pysig.sde.steps import Noise, check_positive, check_ts, fixed_steps
from pysig.sde.system import NOISES, System, check_finite_array, check_noise

__all__ = [
    "SdeintGradients",
    "SdeintResiduals",
    "sdeint",
    "sdeint_backward",
    "sdeint_forward",
]

RUNGE_KUTTA = {
    "heun": RungeKutta(runge_kutta.HEUN),
    "midpoint": RungeKutta(runge_kutta.MIDPOINT),
    "euler_heun": RungeKutta(runge_kutta.EULER_HEUN),
    "euler": RungeKutta(runge_kutta.EULER),
    "milstein": RungeKutta(runge_kutta.MILSTEIN),
    "srk": RungeKutta(runge_kutta.SRI),
}
ADDITIVE = {"milstein": RUNGE_KUTTA["euler"], "srk": RungeKutta(runge_kutta.SRA)}
METHODS = ("reversible_heun", "asynchronous_leapfrog", *RUNGE_KUTTA)


class SdeintResiduals(NamedTuple):
    """What `sdeint_backward` needs: states, the ends of the steps, and the equation."""

    states: tuple  # the last one, or, if steps are not undone, stored ones; each a tuple of arrays
    times: Array  # the ends of the steps
    outputs: Array  # where the output times are in them
    drift: Any
    diffusion: Any
    brownian: Any
    method: str
    noise: str
    damping: float
    steps_between: int  # two stored states


class SdeintGradients(NamedTuple):
    """Gradients with respect to the arguments of `sdeint`."""

    y0: Array
    drift_parameters: Any
    diffusion_parameters: Any
    noise: Any


def sdeint(
    drift,
    diffusion,
    y0,
    ts,
    brownian,
    *,
    dt,
    method="reversible_heun",
    noise="diagonal",
    rtol=None,
    atol=None,
    damping=1.0,
    check_finite=None,
    progress=False,
):
    """
    Solve a stochastic differential equation.

    Parameters
    ----------
    drift, diffusion : callable, object with a method `forward`, or None
        The fields f and g: ``drift(t, y)``, or ``drift.forward(t, y)[0]``, with a float and an
        array of the shape (..., d), returns a new array of the type of `y0`. Its shape is that of
        y, but for g and additive or general noise it is (..., d, m). None: zero.
    y0 : array_like, shape (..., d)
        The value at ts[0].
    ts : array_like, shape (outputs,)
        Strictly rising times, at least two: where the solution is wanted.
    brownian : BrownianInterval, or a callable (start, end) -> W or (W, H)
        The noise, of the type of `y0`. Its shape is that of y for diagonal noise, (..., 1) for
        scalar noise, and (..., m) for additive and general noise. None if `diffusion` is.
    dt : float
        The longest step. Each interval between output times is divided into as few equal steps as
        are no longer. With `rtol` and `atol`, the first step that is tried.
    method : str
        One of those listed above.
    noise : {"diagonal", "scalar", "additive", "general"}
        How g meets the noise: g W component by component; the one W of each y with all of its
        components; the matrix g times W, where g does not depend on y; and where it does.
    rtol, atol : float, optional
        Relative and absolute tolerance: if they are given, each step is as long as its estimated
        error allows (reversible_heun, heun, midpoint and asynchronous_leapfrog). A
        BrownianInterval must have ``exact=True`` or ``tolerance=0``. This waits for the device of a
        CuPy array in every step.
    damping : float
        η of asynchronous_leapfrog, above 1/2 and at most 1: 1 damps nothing.
    check_finite : bool, optional
        Whether a result with NaN or infinities raises an exception that says where they came
        up. By default, with NumPy: looking waits for the device of a CuPy array.
    progress : bool
        Whether to show a progress bar, on a terminal.

    Returns
    -------
    ys : ndarray, shape (outputs, ..., d)
        The solution at the times `ts`, beginning with `y0`.

    Raises
    ------
    ValueError
        If a value is out of range, a shape does not fit, or method and noise do not match.
    TypeError
        If an argument or what a field returns has the wrong type.
    FloatingPointError
        If a field or the solution is not finite.

    See Also
    --------
    sdeint_forward, sdeint_backward : the same with gradients.
    BrownianInterval : the noise.

    Notes
    -----
    Exceptions from a step, those of the fields included, get a note that says which step it was.
    Memory beside the result: a few states, some noise, at most 1.5 MiB unless that of one step is
    more, and some 50 bytes a step. With fields of `pysig.sde.fields` many steps are done in one
    call of compiled code.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> brownian = pysig.BrownianInterval(0, 1, (3, 1), seed=0)
    >>> y0 = np.ones((3, 1))
    >>> ys = pysig.sdeint(
    ...     lambda t, y: -0.5 * y, lambda t, y: 0.1 * y, y0, [0, 0.5, 1], brownian, dt=0.01
    ... )
    >>> ys.shape
    (3, 3, 1)
    >>> np.allclose(ys[-1], np.exp(-0.5 + 0.1 * brownian(0, 1)), atol=1e-3)
    True
    """
    problem = Problem(drift, diffusion, y0, ts, brownian, dt, method, noise, damping)
    problem.set_tolerances(rtol, atol)
    return problem.solve(check_finite, progress)[0]


def sdeint_forward(
    drift,
    diffusion,
    y0,
    ts,
    brownian,
    *,
    dt,
    method="reversible_heun",
    noise="diagonal",
    rtol=None,
    atol=None,
    damping=1.0,
    check_finite=None,
    progress=False,
    checkpoints=None,
):
    """
    Solve a stochastic differential equation, and keep what its gradient needs.

    The parameters are those of `sdeint`, and one more. Fields must have a method ``forward(t, y)``
    that returns the value and residuals, and ``backward(residuals, grad)``, which returns the
    gradients with respect to y (None: there is none) and the parameters: an array, a tuple, list or
    dict of arrays, also nested, or None.

    Parameters
    ----------
    checkpoints : int, optional
        How many states are stored, at most, if the method cannot undo its steps; by default, the
        square root of the number of steps.

    Returns
    -------
    ys : ndarray
        As `sdeint` returns it.
    residuals : SdeintResiduals
        For `sdeint_backward`. It refers to `y0`, the fields and the noise, which must not change
        meanwhile.

    Notes
    -----
    Memory of the residuals: two states for the reversible methods, whatever the number of steps,
    and eight bytes a step.

    Examples
    --------
    >>> import numpy as np
    >>> import pysig
    >>> class Growth:
    ...     def __init__(self, rate):
    ...         self.rate = rate
    ...     def forward(self, t, y):
    ...         return self.rate * y, y
    ...     def backward(self, y, grad):
    ...         return self.rate * grad, (grad * y).sum()
    >>> brownian = pysig.BrownianInterval(0, 1, 1, seed=0)
    >>> ys, residuals = pysig.sdeint_forward(
    ...     Growth(-0.5), Growth(0.1), [1.0], [0, 1], brownian, dt=0.01
    ... )
    >>> gradients = pysig.sdeint_backward(residuals, np.array([[0.0], [1.0]]))
    >>> np.allclose(gradients.y0, ys[1])
    True
    >>> np.allclose(gradients.drift_parameters, ys[1], atol=1e-3)
    True
    """
    check_pairs(drift=drift, diffusion=diffusion)
    problem = Problem(drift, diffusion, y0, ts, brownian, dt, method, noise, damping)
    problem.set_tolerances(rtol, atol)
    return problem.solve_forward(check_finite, progress, checkpoints)


def sdeint_backward(residuals, grad_ys, *, noise_gradient=False):
    """
    Compute the gradients of a solution.

    Parameters
    ----------
    residuals : SdeintResiduals
        From `sdeint_forward`.
    grad_ys : array_like, shape (outputs, ..., d)
        Gradient with respect to the solution.
    noise_gradient : bool
        Whether to compute the gradient with respect to the noise, too.

    Returns
    -------
    SdeintGradients
        `y0`, of its shape; `drift_parameters` and `diffusion_parameters`, as the fields give them,
        added up; and `noise`, None or an array of the shape (steps, ...): the gradient with respect
        to the increments over the steps that end at ``residuals.times[1:]``, for srk a pair of
        those with respect to W and to H.

    Raises
    ------
    ValueError
        If `grad_ys` has the wrong shape.
    TypeError
        If `grad_ys` has the wrong type.

    Notes
    -----
    The fields are evaluated as often as on the way there, and twice as often where states had to be
    stored. Memory: a few states; where states are stored, the residuals of the fields in
    all steps between two of them.

    Examples
    --------
    The gradient of geometric Brownian motion with respect to its noise:

    >>> import numpy as np
    >>> import pysig
    >>> class Level:
    ...     def forward(self, t, y):
    ...         return 0.1 * y, None
    ...     def backward(self, residuals, grad):
    ...         return 0.1 * grad, None
    >>> brownian = pysig.BrownianInterval(0, 1, 1, seed=0)
    >>> ys, residuals = pysig.sdeint_forward(None, Level(), [1.0], [0, 1], brownian, dt=0.01)
    >>> gradients = pysig.sdeint_backward(residuals, [[0.0], [1.0]], noise_gradient=True)
    >>> gradients.noise.shape
    (100, 1)
    >>> np.allclose(gradients.noise, 0.1 * ys[1], rtol=0.05)
    True
    """
    r = residuals
    y0 = r.states[0][0]
    xp = namespace(y0=y0, grad_ys=grad_ys)
    grad_ys = real_array(grad_ys, "grad_ys", y0.dtype)
    if grad_ys.shape != (len(r.outputs), *y0.shape):
        raise ValueError(
            f"grad_ys must have the shape of ys, {(len(r.outputs), *y0.shape)}, not {grad_ys.shape}"
        )
    noise_gradient = boolean(noise_gradient, "noise_gradient")
    if noise_gradient and r.diffusion is None:
        raise ValueError("noise_gradient must be False without a diffusion")
    method = make_method(r.method, r.noise, r.damping)
    first, noise = first_increment(r.brownian, r.times, method.needs_area)
    shape = () if first is None else (first[0] if isinstance(first, tuple) else first).shape
    system = System(xp, r.drift, r.diffusion, r.noise, y0, shape)
    gradients = NoiseGradients(xp, first, len(r.times) - 1) if noise_gradient else None
    run = backward_reversibly if method.is_reversible else backward_from_stored_states
    with device_of(y0):
        grad_y0 = run(method, system, noise, residuals, grad_ys, gradients)
    return SdeintGradients(
        grad_y0,
        system.drift.parameters.value,
        system.diffusion.parameters.value,
        gradients and gradients.result(),
    )


class Problem:
    """Checked arguments, and the loop over the steps."""

    def __init__(self, drift, diffusion, y0, ts, brownian, dt, method, noise, damping, knots=()):
        self.xp = namespace(y0=y0)
        self.y0 = real_array(y0, "y0")
        if self.y0.ndim == 0:
            raise ValueError("y0 must have the shape (..., d), not ()")
        self.ts = check_ts(ts)
        self.dt = check_positive(dt, "dt")
        self.arguments = (drift, diffusion, brownian, method, noise, check_damping(damping, method))
        check_fields(drift, diffusion, brownian, method, noise)
        check_range(self.ts, brownian)
        self.method = make_method(method, noise, damping)
        grid = np.union1d(self.ts, knots)  # knots are times where steps end, too
        self.times, ends = fixed_steps(grid, self.dt)
        self.outputs = ends[np.searchsorted(grid, self.ts)]
        self.controller: adaptive.Controller | None = None
        first, self.noise = first_increment(brownian, self.times, self.method.needs_area)
        shape = ()
        if first is not None:
            if self.method.needs_area and not isinstance(first, tuple):
                raise ValueError(f"{method} needs a brownian with levy_area='space-time'")
            check_noise(noise, self.y0, first)
            shape = (first[0] if isinstance(first, tuple) else first).shape
        self.system = System(self.xp, drift, diffusion, noise, self.y0, shape)

    def set_tolerances(self, rtol, atol):
        """Let the steps be chosen by their errors, if tolerances are given."""
        if rtol is None and atol is None:
            return
        if rtol is None or atol is None:
            raise ValueError("rtol and atol must both be given, or neither")
        rtol, atol = check_positive(rtol, "rtol"), check_positive(atol, "atol")
        _, diffusion, brownian, name, *_ = self.arguments
        if getattr(self.method, "difference", True) is None:
            raise ValueError(f"rtol and atol must be None for {name}, which estimates no error")
        if not getattr(brownian, "exact", True) and getattr(brownian, "tolerance", 0) > 0:
            raise ValueError("brownian must have exact=True or tolerance=0 with rtol and atol")
        order = 2 if diffusion is None else 1
        self.controller = adaptive.Controller(rtol, atol, order, self.dt)

    def solve(self, check_finite, progress, stored=None):
        """Return the solution and the last state."""
        check_finite = boolean(
            self.xp is np if check_finite is None else check_finite, "check_finite"
        )
        steps = self.controller is None
        total = len(self.times) - 1 if steps else self.ts[-1] - self.ts[0]
        units = "steps" if steps else "time"
        with device_of(self.y0), bar(boolean(progress, "progress"), units, total) as advance:
            if steps:
                ys, state = self.march(stored, advance)
            else:
                ys, state, self.times, self.outputs = adaptive.march(
                    self, self.controller, stored, advance
                )
        if check_finite and not bool(self.xp.isfinite(ys).all()):
            self.find_first_not_finite()
        return ys, state

    def solve_forward(self, check_finite, progress, checkpoints):
        """Return the solution and the residuals."""
        stored = StoredStates(self, checkpoints)
        ys, state = self.solve(check_finite, progress, stored)
        drift, diffusion, brownian, method, noise, damping = self.arguments
        residuals = SdeintResiduals(
            tuple(stored.states) if stored.is_needed else (tuple(state[:2]),),
            self.times,
            self.outputs,
            drift,
            diffusion,
            brownian,
            method,
            noise,
            damping,
            stored.between,
        )
        return ys, residuals

    def march(self, stored, advance):
        """Go through all steps; return the solution at the output times and the last state."""
        method, system, times = self.method, self.system, self.times.tolist()
        outputs = iter(self.outputs.tolist()[1:])
        ys = self.xp.empty((len(self.outputs), *self.y0.shape), self.y0.dtype)
        ys[0] = self.y0
        output, row, k = next(outputs), 1, 0
        try:
            state = method.start(system, times[0], self.y0)
            compiled = trajectory.make_trajectory(self, state)
            if compiled is not None:
                return trajectory.march(self, compiled, state, stored, advance)
            increments = self.noise.forwards(0, len(times) - 1)
            for k in range(len(times) - 1):
                w = next(increments)
                if stored is not None:
                    stored.add(k, state)
                state = method.step(system, times[k], times[k + 1], state, w)
                if k + 1 == output:
                    ys[row] = state[0]
                    row, output = row + 1, next(outputs, None)
                if advance is not None:
                    advance(1)
        except Exception as error:
            error.add_note(step_note(k, times))
            raise
        return ys, state

    @np.errstate(all="ignore")
    def find_first_not_finite(self):
        """Go through the steps again, up to where NaN or infinity comes up, and raise."""
        method, system, times = self.method, self.system, self.times.tolist()
        system.drift.checks_finite = system.diffusion.checks_finite = True
        y, k = self.y0, 0
        try:
            check_finite_array(y, "y0", times[0])
            state = method.start(system, times[0], y)
            increments = self.noise.forwards(0, len(times) - 1)
            for k in range(len(times) - 1):
                w = next(increments)
                state = method.step(system, times[k], times[k + 1], state, w)
                check_finite_array(state[0], "the solution", times[k + 1])
            raise FloatingPointError("not finite, but finite when the steps were repeated")
        except Exception as error:
            error.add_note(step_note(k, times))
            raise


class StoredStates:
    """States between the steps, at equal numbers of steps, unless steps can be undone."""

    def __init__(self, problem, number):
        if number is not None:
            number = integer(number, "checkpoints", 1, 1 << 40)
        self.is_needed = not problem.method.is_reversible
        self.states, self.number, self.between = [], number, 1
        if problem.controller is None:
            steps = len(problem.times) - 1
            self.between = math.ceil(steps / (number or math.ceil(math.sqrt(steps))))

    def add(self, k, state):
        """Store the state before step k, if it is one of those.

        If there are too many, which happens if the number of steps is not known before, every
        second one is dropped.
        """
        if not self.is_needed or k % self.between:
            return
        self.states.append(tuple(state))
        if len(self.states) > (self.number or 2 * self.between):
            self.states = self.states[::2]
            self.between *= 2


class NoiseGradients:
    """The gradients with respect to the increments of all steps."""

    def __init__(self, xp, increment, steps):
        self.is_pair = isinstance(increment, tuple)
        parts = increment if self.is_pair else (increment,)
        self.parts = tuple(xp.empty((steps, *part.shape), part.dtype) for part in parts)

    def store(self, k, grad):
        """Store those of a step."""
        for part, value in zip(self.parts, grad if self.is_pair else (grad,), strict=True):
            part[k] = value

    def result(self):
        """Return an array, or a pair."""
        return self.parts if self.is_pair else self.parts[0]


def backward_reversibly(method, system, noise, residuals, grad_ys, gradients):
    """Undo all steps from the last state; return the gradient with respect to y0."""
    times, outputs = residuals.times.tolist(), residuals.outputs.tolist()
    last, row = len(times) - 1, len(outputs) - 1
    k = last
    try:
        if gradients is None and isinstance(method, ReversibleHeun):
            grad_y0 = trajectory.march_back(method, system, noise, residuals, grad_ys)
            if grad_y0 is not None:
                return grad_ys[0] + grad_y0
        adjoint = method.start_backward(system, times[last], residuals.states[0])
        increments = noise.backwards(0, last)
        for k in range(last - 1, -1, -1):
            w = next(increments)
            if outputs[row] == k + 1:
                adjoint = method.add_gradient(system, adjoint, grad_ys[row])
                row -= 1
            adjoint, grad_w = method.step_backward(
                system, times[k], times[k + 1], adjoint, w, gradients is not None
            )
            if gradients is not None:
                gradients.store(k, grad_w)
        return grad_ys[0] + method.finish_backward(system, times[0], adjoint)
    except Exception as error:
        error.add_note(step_note(min(k, last - 1), times))
        raise


def backward_from_stored_states(method, system, noise, residuals, grad_ys, gradients):
    """Repeat the steps from each stored state, from the last on; return the gradient of y0."""
    times, outputs = residuals.times.tolist(), residuals.outputs.tolist()
    between, end, row = residuals.steps_between, len(times) - 1, len(outputs) - 1
    grads, k = None, 0
    try:
        for number in range(len(residuals.states) - 1, -1, -1):
            state, tapes = residuals.states[number], []
            increments = noise.forwards(number * between, end)
            for k in range(number * between, end):
                w = next(increments)
                state, tape = method.step_forward(system, times[k], times[k + 1], state, w)
                tapes.append(tape)
            if grads is None:
                grads = (None,) * len(state)
            for k in range(end - 1, number * between - 1, -1):
                if outputs[row] == k + 1:
                    grads = (system.combine((1, grads[0]), (1, grad_ys[row])), *grads[1:])
                    row -= 1
                tape = tapes.pop()
                grads, grad_w = method.pull_back(system, tape, grads, gradients is not None)
                if gradients is not None:
                    gradients.store(k, grad_w)
            end = number * between
        y0 = residuals.states[0][0]
        return grad_ys[0] + method.finish_pull_back(system, times[0], y0, grads)
    except Exception as error:
        error.add_note(step_note(k, times))
        raise


def first_increment(brownian, times, needs_area):
    """Return the increment over the first step, and the object that fetches all of them."""
    if brownian is None:
        return None, Noise(None, times, needs_area)
    first = Noise(brownian, times, needs_area).increment(float(times[0]), float(times[1]))
    return first, Noise(brownian, times, needs_area, first)


def make_method(method, noise, damping):
    """Return the object that knows one step of a method."""
    if method == "reversible_heun":
        return ReversibleHeun()
    if method == "asynchronous_leapfrog":
        return AsynchronousLeapfrog(float(damping))
    if noise == "additive" and method in ADDITIVE:
        return ADDITIVE[method]
    return RUNGE_KUTTA[method]


def check_fields(drift, diffusion, brownian, method, noise):
    """Raise unless the fields, the noise and the method go together."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, not {method!r}")
    if noise not in NOISES:
        raise ValueError(f"noise must be one of {NOISES}, not {noise!r}")
    for name, field in (("drift", drift), ("diffusion", diffusion)):
        if field is not None and not (callable(field) or hasattr(field, "forward")):
            raise TypeError(f"{name} must be callable or have a method forward, or be None")
    if drift is None and diffusion is None:
        raise ValueError("drift and diffusion must not both be None")
    if (diffusion is None) != (brownian is None):
        raise ValueError("diffusion and brownian must both be given, or both be None")
    if brownian is not None and not callable(brownian):
        raise TypeError(f"brownian must be callable, not {type(brownian).__name__}")
    if method == "asynchronous_leapfrog" and diffusion is not None:
        raise ValueError("asynchronous_leapfrog is for ODEs: diffusion must be None")
    if method in ADDITIVE and noise == "general":
        raise ValueError(
            f"{method} needs diagonal, scalar or additive noise, not general: it would need the "
            "iterated integrals of all pairs of components"
        )


def check_range(ts, brownian):
    """Raise ValueError if the output times leave the time that the noise knows of."""
    t0, t1 = getattr(brownian, "t0", -math.inf), getattr(brownian, "t1", math.inf)
    slack = 1e-12 * (ts[-1] - ts[0])  # of rounding errors, brownian itself knows what it forgives
    if ts[0] < t0 - slack or ts[-1] > t1 + slack:
        raise ValueError(f"ts must be from {t0} to {t1}, as brownian is, not {ts[0]} to {ts[-1]}")


def check_pairs(**fields):
    """Raise unless the fields have what a gradient needs."""
    for name, field in fields.items():
        if field is not None and not (hasattr(field, "forward") and hasattr(field, "backward")):
            raise TypeError(f"{name} must have methods forward and backward for a gradient")


def check_damping(damping, method):
    """Return the damping as a float."""
    damping = check_positive(damping, "damping")
    if not 0.5 < damping <= 1:
        raise ValueError(f"damping must be above 1/2 and at most 1, not {damping}")
    if damping != 1 and method != "asynchronous_leapfrog":
        raise ValueError(f"damping must be 1 for {method}, not {damping}")
    return damping


def step_note(k, times):
    """Return what is added to exceptions."""
    return f"in step {k} of {len(times) - 1}, from t = {times[k]!r} to {times[k + 1]!r}"


@contextlib.contextmanager
def bar(is_shown, units, total):
    """Give the function that moves a progress bar on, or None."""
    if not is_shown:
        yield None
        return
    with Progress("sdeint", units, total) as advance:
        yield advance
