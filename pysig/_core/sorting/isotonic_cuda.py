"""Isotonic regression and projections on a GPU: pooling, and launches of isotonic.cu.

The functions take the arguments of those in isotonic.pyx, as CuPy arrays on the current device; but
z and w of a projection are sorted here, and rows that are not valid become NaN. A null pointer is
0.
"""

import functools

import cupy

from pysig._core import cuda
from pysig._core.sorting import pool_cuda as pooling
from pysig._core.sorting import soft_cuda
from pysig._core.sorting.pool_cuda import null_or, row_slice

STEM = "sorting/isotonic"


@functools.cache
def kernel(name, *parameters):
    """Return a kernel for these parameters of its template."""
    return cuda.kernels(STEM, f"isotonic_{name}<{', '.join(map(str, parameters))}>")[0]


def isotonic(value, starts, y, weights, is_kl, is_decreasing):
    """Write the isotonic regression of y, and where blocks begin."""
    is_valid = cupy.isfinite(y).all(axis=-1)
    if weights is not None:
        is_valid &= (cupy.isfinite(weights) & (weights > 0)).all(axis=-1)
    kind = pooling.FIT_KL if is_kl else pooling.FIT_L2
    problem = pooling.Problem(kind, y, null_or(weights), is_decreasing)
    for rows in problem.slices():
        write_fit(problem.part(rows), value[rows], row_slice(starts, rows), is_valid[rows])


def write_fit(problem, value, starts, is_valid):
    """Write the values of a regression, and where blocks begin."""
    blocks = pooling.pool(problem)
    rows, n = problem.s.shape
    kernel("write", problem.real, problem.kind)(
        rows * n,
        value,
        starts,
        problem.s,
        problem.w,
        is_valid,
        blocks.starts,
        blocks.counts,
        blocks.a,
        blocks.b,
        rows,
        n,
        problem.chunks,
        int(problem.backwards),
    )


def block_sums(segments, numbers, order=None):
    """Return the sums over blocks of an array, to be read in an order."""
    pyramid = pooling.empty_pyramid(*numbers.shape)
    kernel("terms", cuda.REAL[numbers.dtype.name])(
        numbers.size, pyramid, numbers, null_or(order), *numbers.shape
    )
    return segments.sums(pyramid)


def isotonic_backward(y_gradient, weights_gradient, grad, value, starts, y, weights, is_kl):
    """Write the gradients for `grad`, the gradient with respect to what `isotonic` writes."""
    segments = pooling.segments_of_starts(starts)
    kernel("gradient", cuda.REAL[y.dtype.name], "true" if is_kl else "false")(
        y.size,
        y_gradient,
        null_or(weights_gradient),
        value,
        starts,
        y,
        null_or(weights),
        block_sums(segments, grad),
        0 if weights is None else block_sums(segments, weights),
        segments.number,
        segments.begins,
        *y.shape,
    )


def project(value, z_order, w_order, starts, z_share, w_share, z, w, is_kl):
    """Write the projection of z onto the permutahedron of w, and what the gradient needs."""
    is_valid = cupy.isfinite(z).all(axis=-1)
    is_valid &= is_valid_corner(w, is_kl)
    sorted_z, sorted_w = cupy.empty_like(z), cupy.empty_like(w)
    soft_cuda.sort(sorted_z, z_order, z)
    soft_cuda.sort(sorted_w, w_order, w)
    kind = pooling.PROJECT_KL if is_kl else pooling.PROJECT_L2
    problem = pooling.Problem(kind, sorted_z, sorted_w)
    for rows in problem.slices():
        outputs = (row_slice(array, rows) for array in (value, starts, z_share, w_share))
        write_projection(problem.part(rows), outputs, z_order[rows], is_valid[rows])


def is_valid_corner(w, is_kl):
    """Return whether each row has finite entries only; for "kl" some may be minus infinity."""
    if not is_kl:
        return cupy.isfinite(w).all(axis=-1)
    return (w < cupy.inf).all(axis=-1) & cupy.isfinite(w).any(axis=-1)


def write_projection(problem, outputs, order, is_valid):
    """Write a projection, where blocks begin, and shares."""
    blocks = pooling.pool(problem)
    rows, n = problem.s.shape
    kernel("write_projection", problem.real, problem.kind)(
        rows * n,
        *outputs,
        problem.s,
        problem.w,
        order,
        is_valid,
        blocks.starts,
        blocks.counts,
        blocks.a,
        blocks.b,
        rows,
        n,
        problem.chunks,
    )


def project_backward(z_gradient, w_gradient, grad, z_order, w_order, starts, z_share, w_share):
    """Write the gradients for `grad`, the gradient with respect to what `project` writes."""
    segments = pooling.segments_of_starts(starts)
    kernel("projection_gradient", cuda.REAL[grad.dtype.name])(
        grad.size,
        z_gradient,
        w_gradient,
        grad,
        z_order,
        w_order,
        starts,
        null_or(z_share),
        null_or(w_share),
        block_sums(segments, grad, z_order),
        segments.number,
        segments.begins,
        *grad.shape,
    )
