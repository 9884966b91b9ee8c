"""Soft sort and soft rank on a GPU: sorting by CuPy, pooling, and launches of soft.cu.

The functions take the arguments of those in soft.pyx, as CuPy arrays on the current device. A null
pointer is 0.
"""

import functools

import cupy

from pysig._core import cuda
from pysig._core.sorting import pool_cuda as pooling
from pysig._core.sorting.pool_cuda import null_or, row_slice

STEM = "sorting/soft"
KINDS = {
    ("sort", "l2"): pooling.SORT_L2,
    ("rank", "l2"): pooling.RANK_L2,
    ("sort", "kl"): pooling.SORT_KL,
    ("rank", "kl"): pooling.RANK_KL,
}
OF_GRAD, OF_RANKS_TIMES_GRAD, OF_RANKS_TIMES_LOG = range(3)  # as in soft.cu
FINITE, NAN, INFINITE = range(3)  # of soft.pyx; here, NaN in the result tells


@functools.cache
def kernel(name, *parameters):
    """Return a kernel for these parameters of its template."""
    return cuda.kernels(STEM, f"soft_{name}<{', '.join(map(str, parameters))}>")[0]


def sort(value, order, x, sign=1):
    """Write the sorted rows of sign * x, and the permutations; NaN comes last."""
    permutation = cupy.argsort(x if sign > 0 else -x, axis=-1, kind="stable")
    take = kernel("take", cuda.REAL[x.dtype.name])
    take(x.size, value, order, x, permutation, *x.shape, sign)


def forward(value, order, starts, weights, blocks, x, kind, sign, strength):
    """Write values or ranks, and what the gradient needs; `order` for the ranks, too, if given."""
    if order is None and kind[0] == "sort":
        sorted_x = cupy.sort(x if sign > 0 else -x, axis=-1)
    else:
        sorted_x = cupy.empty_like(x)
        order = cupy.empty(x.shape, "int32") if order is None else order
        sort(sorted_x, order, x, sign)
    backwards = kind == ("sort", "kl")
    problem = pooling.Problem(KINDS[kind], sorted_x, 0, backwards, strength)
    for rows in problem.slices():
        if kind[0] == "rank":
            outputs = (row_slice(array, rows) for array in (value, blocks))
            write_ranks(problem.part(rows), outputs, row_slice(order, rows))
        else:
            outputs = (row_slice(array, rows) for array in (value, starts, weights))
            write_values(problem.part(rows), outputs, sign)
    return FINITE


def write_values(problem, outputs, sign):
    """Write the values of a soft sort, the starts of blocks, and weights."""
    blocks = pooling.pool(problem)
    rows, n = problem.s.shape
    kernel("write_sort", problem.real, problem.kind)(
        rows * n,
        *outputs,
        problem.s,
        blocks.starts,
        blocks.counts,
        blocks.a,
        rows,
        n,
        problem.chunks,
        int(problem.backwards),
        problem.strength,
        sign,
    )


def write_ranks(problem, outputs, order):
    """Write soft ranks, and the numbers of the entries' blocks."""
    blocks = pooling.pool(problem)
    rows, n = problem.s.shape
    kernel("write_rank", problem.real, problem.kind)(
        rows * n,
        *outputs,
        problem.s,
        order,
        blocks.starts,
        blocks.counts,
        blocks.a,
        rows,
        n,
        problem.chunks,
        problem.strength,
    )


def backward(
    x_gradient,
    strength_gradient,
    grad,
    value,
    order,
    starts,
    weights,
    blocks,
    kind,
    sign,
    strength,
):
    """Write the gradients; order is needed for the ranks, too. strength_gradient: (rows)."""
    terms = None if strength_gradient is None else cupy.empty(grad.shape, "float64")
    options = (*grad.shape, sign, strength)
    if kind[0] == "sort":
        sort_gradient(x_gradient, terms, grad, order, starts, weights, options)
    else:
        rank_gradient(x_gradient, terms, grad, value, order, blocks, kind[1] == "kl", options)
    if terms is not None and strength_gradient is not None:
        strength_gradient[...] = terms.sum(axis=-1)


def block_sums(segments, term, grad, ranks, order):
    """Return the sums over blocks of one of the terms."""
    pyramid = pooling.empty_pyramid(*grad.shape)
    kernel("terms", cuda.REAL[grad.dtype.name], term)(
        grad.size, pyramid, grad, null_or(ranks), null_or(order), *grad.shape
    )
    return segments.sums(pyramid)


def sort_gradient(x_gradient, strengths, grad, order, starts, weights, options):
    """Write the gradient of a soft sort, and the terms of that of the strength."""
    segments = pooling.segments_of_starts(starts)
    kernel("sort_gradient", cuda.REAL[grad.dtype.name])(
        grad.size,
        x_gradient,
        null_or(strengths),
        grad,
        order,
        starts,
        null_or(weights),
        block_sums(segments, OF_GRAD, grad, None, None),
        segments.number,
        segments.begins,
        *options,
    )


def rank_gradient(x_gradient, strengths, grad, ranks, order, blocks, is_kl, options):
    """Write the gradient of a soft rank, and the terms of that of the strength."""
    segments = pooling.segments_of_blocks(blocks, order)
    term = OF_RANKS_TIMES_GRAD if is_kl else OF_GRAD
    log_sums = 0
    if is_kl and strengths is not None:
        log_sums = block_sums(segments, OF_RANKS_TIMES_LOG, grad, ranks, order)
    kernel("rank_gradient", cuda.REAL[grad.dtype.name], "true" if is_kl else "false")(
        grad.size,
        x_gradient,
        null_or(strengths),
        grad,
        ranks,
        order,
        block_sums(segments, term, grad, ranks, order),
        log_sums,
        segments.number,
        segments.begins,
        *options,
    )
