r"""Steps as long as an estimate of their error allows.

A step is accepted if the root mean square of :math:`e_i / (a + r \max(|y_i|, |y'_i|))` is at most
1, where e is the difference of the method from Euler's, y and y' the states before and after, a and
r the absolute and the relative tolerance. A proportional-integral controller sets the next step,
as in Söderlind, "Digital filters in adaptive time-stepping", ACM Transactions on Mathematical
Software 29, 2003. A rejected step is tried again, shorter, along the same Brownian path, so that
what was seen of it is not forgotten. For noise that is not commutative, the solution may still be
biased, since the rejected times are not visited (Gaines and Lyons, "Variable step size control in
the numerical solution of stochastic differential equations", SIAM Journal on Applied
Mathematics 57, 1997).

Whether a step is accepted decides what comes next: this waits for the device of CuPy arrays.
"""

import math

import numpy as np

SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 5.0
INTEGRAL, PROPORTIONAL = 0.3, 0.4
SMALLEST_NORM = 1e-4  # what is far below the tolerance must not make the next step short


class Controller:
    """The length of the next step, given the errors of the last ones."""

    def __init__(self, rtol, atol, order, length):
        self.rtol, self.atol, self.order, self.length = rtol, atol, order, length
        self.last_norm = 1.0

    def end_of_step(self, t, target):
        """Return where the next step ends, so that none before the target is very short."""
        rest = target - t
        if rest <= self.length * (1 + 1e-9):
            return target
        return t + min(self.length, rest / 2)

    def norm(self, xp, error, before, after):
        """Return the size of an error, where 1 is what is tolerated."""
        scale = xp.maximum(abs(before), abs(after))
        scale *= self.rtol
        scale += self.atol
        error /= scale
        return math.sqrt(float(xp.mean(error * error, dtype=np.float64)))

    def accepts(self, norm, length):
        """Whether a step of this length and error is accepted; sets the length of the next."""
        if not norm <= 1:
            factor = SAFETY * norm ** (-1 / self.order) if math.isfinite(norm) else 0.0
            self.length = length * max(factor, SMALLEST_FACTOR)
            return False
        norm = max(norm, SMALLEST_NORM)
        factor = SAFETY * norm ** -((INTEGRAL + PROPORTIONAL) / self.order)
        factor *= self.last_norm ** (PROPORTIONAL / self.order)
        self.last_norm = norm
        next_length = length * min(max(factor, SMALLEST_FACTOR), LARGEST_FACTOR)
        # A step that only an output time has made short says nothing against longer ones.
        self.length = max(next_length, self.length) if length < self.length else next_length
        return True


@np.errstate(over="ignore", invalid="ignore")  # a step that is far too long is rejected
def march(problem, controller, stored, advance):
    """
    Choose steps from one output time to the next.

    Returns
    -------
    ys, state
        The solution at the output times, and the last state.
    times, outputs : ndarray
        The ends of the steps, and where the output times are in them.
    """
    xp, method, system, noise = problem.xp, problem.method, problem.system, problem.noise
    t, *targets = problem.ts.tolist()
    ys = xp.empty((len(problem.ts), *problem.y0.shape), problem.y0.dtype)
    ys[0] = problem.y0
    times, outputs = [t], [0]
    end = t
    try:
        state = method.start(system, t, problem.y0)
        for row, target in enumerate(targets, start=1):
            while t < target:
                end = controller.end_of_step(t, target)
                w = noise.increment(t, end)
                after, error = method.step_with_error(system, t, end, state, w)
                norm = controller.norm(xp, error, state[0], after[0])
                if controller.accepts(norm, end - t):
                    if stored is not None:
                        stored.add(len(times) - 1, state)
                    if advance is not None:
                        advance(end - t)
                    state, t = after, end
                    times.append(t)
                else:
                    check_length(controller.length, t, norm)
            ys[row] = state[0]
            outputs.append(len(times) - 1)
    except Exception as error:
        error.add_note(f"in step {len(times) - 1}, from t = {t!r} to {end!r}")
        raise
    return ys, state, np.array(times), np.array(outputs)


def check_length(length, t, norm):
    """Raise if steps have become so short that time stands still."""
    if length > 16 * math.ulp(t) and length > 1e-300:
        return
    if math.isfinite(norm):
        raise ValueError(f"rtol and atol are too small: no step from t = {t!r} is accepted")
    raise FloatingPointError(f"the solution is not finite after t = {t!r}, however short the step")
