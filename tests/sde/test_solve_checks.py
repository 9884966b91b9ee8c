"""What solvers refuse, and what they say about fields that go wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pysig
from pysig._core.progress import Progress
from pysig.sde.solve import METHODS

Y0 = np.ones((2, 3))


def drift(t, y):
    return -y


def diffusion(t, y):
    return 0.1 * y


def brownian(shape=(2, 3), **options):
    return pysig.BrownianInterval(0, 1, shape, seed=1, **options)


def solve(
    f: Any = drift, g: Any = diffusion, y0: Any = Y0, ts: Any = (0, 0.5, 1), bm: Any = None,
    dt: Any = 0.1, **options: Any,
) -> Any:  # fmt: skip
    """Solve the example, in which something is replaced."""
    return pysig.sdeint(f, g, y0, ts, brownian() if bm is None else bm, dt=dt, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"y0": 1.0}, r"y0 must have the shape \(\.\.\., d\)"),
        ({"ts": [0]}, "ts must have the shape"),
        ({"ts": [0, 1, 0.5]}, "ts must rise strictly"),
        ({"ts": [0, np.nan]}, "ts must rise strictly"),
        ({"ts": [0, 1.5]}, r"ts must be from 0\.0 to 1\.0"),
        ({"ts": [-1e-9, 1.0]}, r"ts must be from 0\.0 to 1\.0"),
        ({"dt": 0}, "dt must be above 0"),
        ({"dt": np.inf}, "dt must be above 0 and finite"),
        ({"dt": 1e-30}, "dt = 1e-30 would need 1e"),
        ({"method": "rk4"}, "method must be one of"),
        ({"noise": "white"}, "noise must be one of"),
        ({"f": None, "g": None}, "must not both be None"),
        ({"g": None}, "diffusion and brownian must both be given"),
        ({"method": "asynchronous_leapfrog"}, "diffusion must be None"),
        ({"method": "srk"}, "levy_area='space-time'"),
        ({"method": "milstein", "noise": "general"}, "milstein needs diagonal"),
        ({"method": "srk", "noise": "general"}, "srk needs diagonal"),
        ({"damping": 0.5}, "damping must be above 1/2"),
        ({"damping": 0.9}, "damping must be 1 for reversible_heun"),
        ({"bm": brownian((3,))}, r"brownian must have the shape \(2, 3\) for diagonal noise"),
        ({"noise": "scalar"}, r"brownian must have the shape \(2, 1\) for scalar noise"),
        ({"noise": "general", "bm": brownian((3, 3))}, r"the shape \(2, m\) for general noise"),
        ({"noise": "general", "y0": np.ones(3), "bm": brownian(())}, r"the shape \(m,\)"),
        ({"noise": "general"}, r"diffusion at t = 0\.0 must return the shape \(2, 3, 3\)"),
        ({"f": lambda t, y: y[0]}, r"drift at t = 0\.0 must return the shape \(2, 3\)"),
    ],
)
def test_values(options, match):
    with pytest.raises(ValueError, match=match):
        solve(**options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"y0": Y0 * 1j}, "y0 must be float32"),
        ({"dt": "fast"}, "dt must be a number"),
        ({"f": 3}, "drift must be callable"),
        ({"bm": 3}, "brownian must be callable"),
        ({"bm": brownian(dtype=np.float32)}, "brownian must give float64"),
        ({"f": lambda t, y: [0.0]}, "drift at t = 0.0 must return a numpy.ndarray"),
        ({"f": lambda t, y: y.astype(np.float32)}, "not the shape .* and float32"),
        ({"progress": 1}, "progress must be True or False"),
    ],
)
def test_types(options, match):
    with pytest.raises(TypeError, match=match):
        solve(**options)


@pytest.mark.parametrize("method", METHODS)
def test_bad_fields_are_reported_with_time_and_step(method):
    """From a time on the field is wrong: the message says where."""
    options = {"g": None, "bm": False} if method == "asynchronous_leapfrog" else {}
    bm = brownian(levy_area="space-time" if method == "srk" else None)

    def run(f):
        noise = None if options else bm
        return pysig.sdeint(
            f, options.get("g", diffusion), Y0, [0, 1], noise, dt=0.1, method=method
        )

    def wrong_shape(t, y):
        return -y if t < 0.45 else y[0]

    def nan(t, y):
        return -y if t < 0.45 else np.where(np.arange(3) == 1, np.nan, y)

    def broken(t, y):
        return -y if t < 0.45 else 1 / 0

    for field, error, match in [
        (wrong_shape, ValueError, r"drift at t = 0\.[45].* must return the shape"),
        (nan, FloatingPointError, r"drift at t = 0\.[45].* is not finite in 2 of 6 entries"),
        (broken, ZeroDivisionError, "division by zero"),
    ]:
        with pytest.raises(error, match=match + r"(.|\n)*in step [45] of 10, from t = 0\.[45]"):
            run(field)


def test_noise_that_changes():
    """A plain function is asked for each increment: all have to be like the first."""
    for later in (np.zeros(3), np.zeros((2, 3), np.float32), [[0.0] * 3] * 2):
        with pytest.raises(ValueError, match=r"brownian must give what it gave first(.|\n)*step 5"):
            solve(bm=lambda start, end, later=later: np.zeros((2, 3)) if start < 0.45 else later)


def test_diffusion_is_named():
    with pytest.raises(FloatingPointError, match=r"diffusion at t = 0\.[56]"):
        solve(g=lambda t, y: y * (np.nan if t > 0.45 else 1))


def test_fields_that_are_not_functions():
    """A field that gives NaN once only: the steps are repeated in vain."""
    values = iter([1, 1, np.nan])
    with pytest.raises(FloatingPointError, match="finite when the steps were repeated"):
        solve(f=lambda t, y: y * next(values, 1))


def test_start_is_not_finite():
    y0 = Y0.copy()
    y0[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match=r"y0 at t = 0\.0 is not finite in 1 of 6"):
        solve(y0=y0)
    ys = solve(y0=y0, check_finite=False)
    assert np.isnan(ys).sum() == 3
    assert np.isnan(ys[:, 0, 0]).all()


def test_no_gradient_without_a_pair():
    with pytest.raises(TypeError, match="drift must have methods forward and backward"):
        pysig.sdeint_forward(drift, diffusion, Y0, [0, 1], brownian(), dt=0.1)


class Field:
    """A field with a backward pass that returns what it is told to."""

    def __init__(self, grad_y=None, parameters=None):
        self.grad_y, self.parameters, self.count = grad_y, parameters, 0

    def forward(self, t, y):
        return 0.1 * y, None

    def backward(self, residuals, grad):
        self.count += 1
        grad_y = grad if self.grad_y is None else self.grad_y
        return grad_y, self.parameters(self.count) if self.parameters else None


def backward(field, grad_ys=None, **options):
    """Return the gradients with one field replaced."""
    ys, residuals = pysig.sdeint_forward(field, Field(), Y0, [0, 1], brownian(), dt=0.1)
    return pysig.sdeint_backward(
        residuals, np.ones_like(ys) if grad_ys is None else grad_ys, **options
    )


def test_bad_backward():
    with pytest.raises(ValueError, match=r"drift.backward must return the shape \(2, 3\)"):
        backward(Field(np.ones(3)))
    with pytest.raises(ValueError, match="grad_ys must have the shape of ys"):
        backward(Field(), np.ones((3, 2, 3)))
    with pytest.raises(TypeError, match="noise_gradient must be True or False"):
        backward(Field(), noise_gradient=1)
    with pytest.raises(ValueError, match=r"always or never(.|\n)*in step"):
        backward(Field(parameters=lambda k: None if k == 3 else 1.0))


def test_structures_of_parameters():
    result = backward(
        Field(parameters=lambda k: {"a": (np.ones(2), [1.0, None]), "b": np.full((), k)})
    )
    total = result.drift_parameters
    assert total["b"] == 66
    assert total["a"][1] == [11.0, None]
    assert (total["a"][0] == 11).all()
    assert result.diffusion_parameters is None
    # A field may return the same array each time: it is not written to.
    constant = np.ones(2)
    assert (backward(Field(parameters=lambda k: constant)).drift_parameters == 11).all()
    assert (constant == 1).all()


def test_inputs_are_not_modified_and_may_be_read_only():
    y0 = np.asfortranarray(Y0.copy())
    y0.flags.writeable = False
    for method in METHODS:
        area = "space-time" if method == "srk" else None
        if method == "asynchronous_leapfrog":
            pysig.sdeint(lambda t, y: y, None, y0, [0, 1], None, dt=0.5, method=method)
            continue
        ys = pysig.sdeint(
            lambda t, y: y, lambda t, y: y, y0, [0, 1], brownian(levy_area=area), dt=0.5,
            method=method,
        )  # fmt: skip
        assert (y0 == 1).all()
        assert ys.flags.c_contiguous
    assert (solve(y0=np.ones((2, 3), int)) == solve()).all()


def test_empty_batch():
    class Growth:
        def forward(self, t, y):
            return y, None

        def backward(self, residuals, grad):
            return grad, None

    for method in ("reversible_heun", "heun"):
        ys, residuals = pysig.sdeint_forward(
            Growth(), Growth(), np.ones((0, 3)), [0, 1], brownian((0, 3)), dt=0.5, method=method
        )
        assert ys.shape == (2, 0, 3)
        assert pysig.sdeint_backward(residuals, ys).y0.shape == (0, 3)


@pytest.mark.parametrize("adaptive", [False, True])
def test_progress(adaptive, monkeypatch):
    """The bar gets to its end, in steps or, if their number is not known, in time."""
    shown = []

    class Bar(Progress):
        def __exit__(self, *_):
            shown.append((self.name, self.units, self.done, self.total))

    monkeypatch.setattr("pysig.sde.solve.Progress", Bar)
    options = {"rtol": 0.1, "atol": 0.1} if adaptive else {}
    ys = solve(bm=brownian(exact=True), progress=True, **options)
    ((name, units, done, total),) = shown
    assert (name, units) == ("sdeint", "time" if adaptive else "steps")
    assert done == pytest.approx(total)
    assert total == (1.0 if adaptive else 10)
    assert (ys == solve(bm=brownian(exact=True), **options)).all()
