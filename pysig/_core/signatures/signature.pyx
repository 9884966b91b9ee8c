"""The signature and its gradient on the CPU: loops over the tasks of signature.h, with threads.

The arrays arrive checked: C-contiguous, of one floating-point type, of the shapes that the sizes
say. Rows of words leave room for a leading scalar where `scalar_term` is set; it is not touched.
"""

include "signature.pxi"


def simd_level():
    """The instruction set in use: "baseline", "avx2" or "avx512"."""
    return next(name for name, level in SIMD_LEVELS.items() if level == LEVEL)


def forward(signature, path, basepoint, initial, steps, order, sizes, options):
    """
    Write the signatures of the paths into `signature`.

    signature: (batch, words), with stream (batch, rows, words). path: (batch, length, channels).
    basepoint: (channels) or (batch, channels), or None. initial: (words) or (batch, words), or
    None. steps, order: (batch) of intp, or None when all paths have `longest` increments. sizes:
    batch, length, channels, depth, longest. options: stream, inverse, scalar_term.
    """
    write_signatures(Tables(sizes, None, False), signature, path, basepoint, initial, steps, order,
                     sizes, options)


def backward(grad, path_gradient, basepoint_gradient, initial_gradient, path, basepoint, initial,
             steps, order, sizes, options):
    """
    Write the gradients for `grad`, the gradient with respect to what `forward` writes.

    path_gradient: (batch, length, channels). basepoint_gradient: (batch, channels), or None.
    initial_gradient: (batch, words), or None. The others are those of `forward`.
    """
    write_gradients(Tables(sizes, None, False), grad, path_gradient, basepoint_gradient,
                    initial_gradient, path, basepoint, initial, steps, order, sizes, options)
