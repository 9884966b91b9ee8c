"""The signature and its gradient on the CPU: loops over the tasks of signature.h, with threads.

The arrays arrive checked: C-contiguous, of one floating-point type, of the shapes that the sizes
say. Rows of words leave room for a leading scalar where `scalar_term` is set; it is not touched.
"""

include "signature.pxi"


def simd_level():
    """The instruction set in use: "baseline", "avx2" or "avx512"."""
    return next(name for name, level in SIMD_LEVELS.items() if level == LEVEL)


def kept_size(sizes, options, Py_ssize_t item):
    """How many numbers, of `item` bytes, `forward` may keep for `backward`."""
    cdef signature_problem problem
    cdef signature_plan plan
    problem.batch, problem.length, problem.channels, problem.depth, problem.longest = sizes
    problem.stream = options[0]
    problem.logarithm = NULL
    problem.path_gradient = NULL
    signature_make_plan(&problem, &plan, LEVEL, item)
    return count_kept(&problem, &plan, item)


def forward(signature, path, basepoint, initial, steps, order, sizes, options, kept=None):
    """
    Write the signatures of the paths into `signature`.

    signature: (batch, words), with stream (batch, rows, words). path: (batch, length, channels).
    basepoint: (channels) or (batch, channels), or None. initial: (words) or (batch, words), or
    None. steps, order: (batch) of intp, or None when all paths have `longest` increments. sizes:
    batch, length, channels, depth, longest. options: stream, inverse, scalar_term. kept: None, or
    `kept_size` numbers, which are written.
    """
    write_signatures(Tables(sizes, None, False), signature, path, basepoint, initial, steps, order,
                     sizes, options, kept)


def backward(grad, path_gradient, basepoint_gradient, initial_gradient, path, basepoint, initial,
             steps, order, sizes, options, kept=None):
    """
    Write the gradients for `grad`, the gradient with respect to what `forward` writes.

    path_gradient: (batch, length, channels). basepoint_gradient: (batch, channels), or None.
    initial_gradient: (batch, words), or None. The others are those of `forward`.
    """
    write_gradients(Tables(sizes, None, False), grad, path_gradient, basepoint_gradient,
                    initial_gradient, path, basepoint, initial, steps, order, sizes, options, kept)
