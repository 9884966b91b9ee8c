"""Adapters to PyTorch: what works on its tensors, with no mathematics of its own.

Needs the extra "torch": ``pip install 'pysig[torch]'``.
"""

import copy
from typing import NamedTuple

import numpy as np

from pysig._core.array import is_cupy, real_array
from pysig.sde import brownian, fields

try:
    import torch
except ImportError:
    raise ImportError("pysig.wrap.torch needs PyTorch: pip install 'pysig[torch]'") from None

__all__ = ["BrownianInterval", "Field", "FieldResiduals"]

LEVY_AREAS = {"none": None, "space-time": "space-time", "davie": "davie", "foster": "foster"}


class BrownianInterval:
    """
    `pysig.BrownianInterval` with the interface of torchsde.BrownianInterval.

    Solvers written for torchsde's take it as their `bm`.

    Parameters
    ----------
    t0, t1 : float or scalar tensor
        Beginning and end of the time.
    size : tuple of int
        Shape of the process, as a rule (batch, channels).
    dtype : torch.dtype, optional
        torch.float32 or torch.float64; by default torch's default.
    device : torch.device or str, optional
        Where increments are moved to; they are computed on the CPU.
    entropy : int, optional
        The seed.
    dt : float, optional
        Length of the steps that will be asked for: the tolerance, unless `tol` is given.
    tol : float
        Tolerance; 0 for none. Without `dt`, that of `pysig.BrownianInterval`.
    cache_size : int, optional
        How many pieces are kept; by default that of `pysig.BrownianInterval`.
    levy_area_approximation : {"none", "space-time", "davie", "foster"}
        What increments can come with.
    W, H : tensor, optional
        Increment over the whole time, and its space-time Lévy area, if they are given.

    Raises
    ------
    ValueError
        If a value is out of range or of the wrong shape.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> import pysig.wrap.torch  # doctest: +SKIP
    >>> bm = pysig.wrap.torch.BrownianInterval(0.0, 1.0, size=(4, 2), entropy=7)  # doctest: +SKIP
    >>> bm(0.25, 0.5).shape  # doctest: +SKIP
    torch.Size([4, 2])
    """

    def __init__(
        self,
        t0=0.0,
        t1=1.0,
        size=None,
        dtype=None,
        device=None,
        entropy=None,
        dt=None,
        tol=0.0,
        cache_size=None,
        levy_area_approximation="none",
        W=None,
        H=None,
    ):
        if levy_area_approximation not in LEVY_AREAS:
            raise ValueError(
                f"levy_area_approximation must be one of {tuple(LEVY_AREAS)}, "
                f"not {levy_area_approximation!r}"
            )
        if size is None:
            if W is None:
                raise ValueError("size must be given where W is not")
            size = W.shape
        given = W if W is not None else torch.empty((), dtype=dtype, device=device)
        self.dtype, self.device = dtype or given.dtype, torch.device(device or given.device)
        self.shape = torch.Size(size)
        self.levy_area_approximation = levy_area_approximation
        self.interval = brownian.BrownianInterval(
            float(t0),
            float(t1),
            tuple(self.shape),
            seed=entropy,
            dtype=np.dtype(str(self.dtype).removeprefix("torch.")),
            levy_area=LEVY_AREAS[levy_area_approximation],
            tolerance=tol or dt,
            cache_size=cache_size,
            W=host_array(W),
            H=host_array(H),
        )

    def size(self):
        """Return the shape of the process."""
        return self.shape

    def __call__(self, ta, tb=None, return_U=False, return_A=False):
        """
        Return the increment from `ta` to `tb`, or from t0 to `ta`.

        Parameters
        ----------
        ta, tb : float or scalar tensor
            Times; `tb` may be the earlier one.
        return_U : bool
            Give the integral of the path minus its first value over the interval, too, which needs
            a Lévy area of any kind.
        return_A : bool
            Give the Lévy area, too.

        Returns
        -------
        W, (W, U), (W, A) or (W, U, A) : tensors
        """
        if tb is None:
            ta, tb = self.interval.t0, ta
        if return_U and self.levy_area_approximation == "none":
            raise ValueError("return_U needs a levy_area_approximation, which is 'none'")
        if return_A and self.levy_area_approximation not in ("davie", "foster"):
            raise ValueError(
                "return_A needs the levy_area_approximation 'davie' or 'foster', not "
                f"{self.levy_area_approximation!r}"
            )
        start, end = time_of(ta), time_of(tb)
        increment = self.interval(start, end)
        if not isinstance(increment, tuple):
            return self.tensor(increment)
        w, h, *area = increment
        result = [self.tensor(w)]
        if return_U:
            result.append(self.tensor((float(end) - float(start)) * (w / 2 + h)))
        if return_A:
            result.append(self.tensor(area[0]))
        return tuple(result) if len(result) > 1 else result[0]

    def tensor(self, values):
        """Return a NumPy array as a tensor on the device."""
        return torch.from_numpy(np.asarray(values, self.interval.dtype)).to(self.device)


def time_of(time):
    """Return a time as a number that knows its precision."""
    if isinstance(time, torch.Tensor):
        return time.detach().cpu().numpy()[()]
    return time


def host_array(tensor):
    """Return a tensor as a NumPy array, or None."""
    return None if tensor is None else tensor.detach().cpu().numpy()


class FieldResiduals(NamedTuple):
    """What `Field.backward` needs: state and value, with PyTorch's graph between them."""

    y: torch.Tensor
    value: torch.Tensor


class Field(fields.Field):
    """
    A module f(t, y) as a vector field of pysig: NumPy arrays in, NumPy arrays out.

    Parameters
    ----------
    module : torch.nn.Module
        It is called with a scalar tensor and a tensor, of the type of the state and on the device
        of the parameters. Drawing random numbers in it would make values irreproducible.

    Attributes
    ----------
    parameters : tuple of array
        Those of the module that require gradients, in the module's order. They are views where
        they are on the CPU: optimisers of PyTorch change them.
    is_weight : tuple of bool
        For each parameter, whether it is the weight of a torch.nn.Linear.

    Raises
    ------
    TypeError
        If `module` is none.

    See Also
    --------
    pysig.sde.fields

    Examples
    --------
    >>> import torch, pysig.wrap.torch  # doctest: +SKIP
    >>> class Drift(torch.nn.Linear):  # doctest: +SKIP
    ...     def forward(self, t, y):
    ...         return super().forward(y).tanh()
    >>> field = pysig.wrap.torch.Field(Drift(3, 3))  # doctest: +SKIP
    >>> value, residuals = field.forward(0.0, numpy.zeros((5, 3), "float32"))  # doctest: +SKIP
    >>> grad_y, (grad_weight, grad_bias) = field.backward(residuals, value)  # doctest: +SKIP
    """

    def __init__(self, module):
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"module must be a torch.nn.Module, not {type(module).__name__}")
        self.module = module

    @property
    def parameters(self):
        """The parameters that require gradients."""
        return tuple(host_array(parameter) for parameter in self._trainable())

    @property
    def is_weight(self):
        """For each parameter, whether it is the weight of a torch.nn.Linear."""
        modules = self.module.modules()
        weights = {id(module.weight) for module in modules if isinstance(module, torch.nn.Linear)}
        return tuple(id(parameter) in weights for parameter in self._trainable())

    def _trainable(self):
        return [parameter for parameter in self.module.parameters() if parameter.requires_grad]

    def with_parameters(self, parameters):
        """Return a field of a copy of the module; see `pysig.sde.fields.Field.with_parameters`."""
        arrays = fields.checked_parameters(parameters, self.parameters)
        field = Field(copy.deepcopy(self.module))
        for parameter, array in zip(field._trainable(), arrays, strict=True):
            parameter.data = torch.tensor(array, device=parameter.device)
        return field

    def __call__(self, t, y):
        """Return the value at time `t` and state `y`."""
        with torch.no_grad():
            return own_array(self.module(*self._arguments(t, y)))

    def forward(self, t, y):
        """Return the value at time `t` and state `y`, and the residuals."""
        t, y = self._arguments(t, y)
        with torch.enable_grad():
            value = self.module(t, y.requires_grad_())
        return own_array(value), FieldResiduals(y, value)

    def _arguments(self, t, y):
        device = next((parameter.device for parameter in self.module.parameters()), None)
        y = shared_tensor(y, "y").to(device)
        return torch.tensor(fields.checked_time(t), dtype=y.dtype, device=device), y

    def backward(self, residuals, grad):
        """Return the gradients with respect to y, and the parameters."""
        y, value = residuals
        inputs = [y, *self._trainable()]
        grad = shared_tensor(grad, "grad")
        if grad.shape != value.shape or grad.dtype != value.dtype:
            raise ValueError(
                f"grad must be {value.dtype} of the shape {tuple(value.shape)} of the value, not "
                f"{grad.dtype} of {tuple(grad.shape)}"
            )
        gradients = [None] * len(inputs)
        if value.requires_grad:
            gradients = torch.autograd.grad(
                value, inputs, grad.to(value.device), retain_graph=True, allow_unused=True
            )
        grad_y, *grad_parameters = (
            own_array(torch.zeros_like(x) if g is None else g)
            for x, g in zip(inputs, gradients, strict=True)
        )
        return grad_y, tuple(grad_parameters)


def shared_tensor(array, name):
    """Return a NumPy array as a tensor that has the same memory, where it can be written to."""
    if is_cupy(array):
        raise TypeError(f"{name} must be a NumPy array, not CuPy's")
    array = real_array(array, name)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def own_array(tensor):
    """Return a copy of a tensor as an array: the graph may need what is in the tensor."""
    return np.array(host_array(tensor), order="C")
