"""Adapters to PyTorch: what works on its tensors, with no mathematics of its own.

Needs the extra "torch": ``pip install 'pysig[torch]'``.
"""

import numpy as np

from pysig.sde import brownian

try:
    import torch
except ImportError:
    raise ImportError("pysig.wrap.torch needs PyTorch: pip install 'pysig[torch]'") from None

__all__ = ["BrownianInterval"]

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
            dtype=str(self.dtype).removeprefix("torch."),
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
