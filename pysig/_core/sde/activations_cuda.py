"""Activations on a GPU: launches of activations.cu.

The functions have the arguments of those in activations.pyx, for CuPy arrays on the current device.
"""

import cupy

from pysig._core import cuda

STEM = "sde/activations"


def forward(is_double, kind, x, bias, value, derivative):
    """Write the activations of x + bias into value, which may be x, and derivative (or None)."""
    real = "double" if is_double else "float"
    (kernel,) = cuda.kernels(STEM, f"activations_forward<{real}, {kind}>")
    kernel(x.size, value, 0 if derivative is None else derivative, x, bias, x.size, bias.size)


def backward(is_double, grad, derivative, out, sums):
    """Write grad times derivative into out, and its sums over rows into sums."""
    cupy.multiply(grad, derivative, out=out)
    cupy.sum(out.reshape(out.size // max(sums.size, 1), sums.size), axis=0, out=sums)
