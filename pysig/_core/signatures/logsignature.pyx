"""What the logsignature needs of the signature on the CPU: fewer of its words, or its logarithm.

The arrays arrive checked, as for signature.pyx. A basis is described in exponential.pyx.
"""

cdef extern from *:
    """
    #define SIGNATURE_LYNDON 1
    """

include "signature.pxi"


def takes_paths_whole(sizes, bint stream, Py_ssize_t item):
    """Whether every lane is a path, so that its logarithm can be taken in the lanes."""
    cdef signature_problem problem
    cdef signature_plan plan
    cdef tensor_shape shape
    problem.logarithm = &shape
    problem.path_gradient = NULL
    problem.batch, problem.length, problem.channels, problem.depth, problem.longest = sizes
    problem.stream = stream
    signature_make_plan(&problem, &plan, LEVEL, item)
    return plan.prefix == 0 and plan.pieces == 1


def forward(
    result, path, basepoint, initial, steps, order, sizes, options, basis, bint logarithm,
):
    """
    Write the signatures of the paths, or their logarithms, into `result`.

    Of the longest words, only the Lyndon words get their coefficients, if there is a basis.
    logarithm: write the logarithms, in coordinates of the basis, or of all words if it is None;
    where `takes_paths_whole`. The others are those of signature.pyx; not with inverse.
    """
    write_signatures(Tables(sizes, basis, logarithm), result, path, basepoint, initial, steps,
                     order, sizes, options, None)


def backward(
    grad, path_gradient, basepoint_gradient, initial_gradient, path, basepoint, initial, steps,
    order, sizes, options, basis, bint logarithm,
):
    """
    Write the gradients for `grad`, the gradient with respect to what `forward` writes.

    With a basis, of the signature's longest words only the Lyndon words may have a gradient that is
    not 0. logarithm: not with stream. The others are those of signature.pyx and of `forward`.
    """
    write_gradients(Tables(sizes, basis, logarithm), grad, path_gradient, basepoint_gradient,
                    initial_gradient, path, basepoint, initial, steps, order, sizes, options, None)
