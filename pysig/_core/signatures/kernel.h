/* The signature kernel of pairs of paths, and its gradient, on the CPU.
 *
 * Layers, from the inside out:
 *     kernel_exp.h            exp, on vectors of lanes
 *     kernel_static.h         static kernels: what drives the equation, on a block of its grid
 *     kernel_sweep.h          the finite differences, and their adjoint, on a block of the grid
 *     kernel_lanes.h          between the lanes and the arrays of the caller
 *     kernel_tasks.h          one pair of paths in each lane, block after block through the grid
 *     kernel.h (this file)    what all compilations share: the problem, the plan, the choice of the
 *                             instruction set
 *     kernel.pyx              a loop over the tasks, with threads
 *
 * For increments u_i of x and v_j of y, the kernel is k[m][n], where k[0][j] = k[i][0] = 1 and
 *     k[i+1][j+1] = (k[i+1][j] + k[i][j+1]) (1 + p/2 + p^2/12) - k[i][j] (1 - p^2/12)
 * with p = <u_i, v_j>, or what a static kernel gives instead.  Here p = sqrt(12) t.  With dyadic
 * orders a and b, each increment of x counts as 2^a equal ones and each of y as 2^b: p is divided
 * by 2^(a+b), and the same for all "fine" cells of a "coarse" one.
 *
 * A lane is a pair of paths.  Only a row of the grid and a column of a block are ever kept forward.
 * The gradient needs the grid backwards: its first pass keeps the edges of the blocks, its second
 * computes each block again.
 */
#ifndef PYSIG_KERNEL_H
#define PYSIG_KERNEL_H

#include <math.h>
#include <stddef.h>

#include "simd.h"

enum { KERNEL_LINEAR, KERNEL_RBF };

/* Which paths are paired: those that two lists of indices say; all x with all y; or, where x and y
 * are the same, all with all, each pair once. */
enum { KERNEL_PAIRS, KERNEL_GRAM, KERNEL_SYMMETRIC };

/* Arrays are C-contiguous. */
typedef struct {
    ptrdiff_t x_count, y_count, x_length, y_length, channels;
    int x_order, y_order; /* dyadic */
    int static_kernel;
    double inverse_scale; /* KERNEL_RBF: 1 / sigma */
    const void *x;        /* [x_count][x_length][channels] */
    const void *y;        /* [y_count][y_length][channels] */
    int pairing;
    ptrdiff_t pairs; /* KERNEL_PAIRS, with the next two, [pairs] each */
    const ptrdiff_t *x_index, *y_index;
    ptrdiff_t x_stride, y_stride; /* else: of `value` and `grad` */
    void *value;                  /* [pairs], or one for each x and y */
    const void *grad;             /* backward: the gradient of value */
    void *x_gradient; /* [pairs][x_length][channels], or [slots][x_count][x_length][channels] */
    void *y_gradient; /* [pairs][y_length][channels], or [y_count][y_length][channels] */
} kernel_problem;

/* How a problem is cut into tasks; it depends on the sizes only, never on the number of threads,
 * and so does the result. */
typedef struct {
    int level;                             /* instruction set */
    ptrdiff_t rows, columns;               /* of a block, in fine cells: powers of two */
    ptrdiff_t coarse_rows, coarse_columns; /* what a block needs of the coarse cells */
    ptrdiff_t groups;                      /* of lanes: several y, or several pairs */
    ptrdiff_t chunk, chunks;               /* forward: of x, that go through a group together */
    ptrdiff_t slots;                       /* backward: sums over groups, of the gradient of x */
    ptrdiff_t forward_tasks, backward_tasks;
} kernel_plan;

static ptrdiff_t kernel_ceil_divide(ptrdiff_t a, ptrdiff_t b) {
    return (a + b - 1) / b;
}

static ptrdiff_t kernel_fine_rows(const kernel_problem *problem) {
    return (problem->x_length - 1) << problem->x_order;
}

static ptrdiff_t kernel_fine_columns(const kernel_problem *problem) {
    return (problem->y_length - 1) << problem->y_order;
}

/* Blocks fit the cache.  The gradient keeps their edges, some (rows columns)^(3/4) numbers for each
 * lane, so that they grow with the paths. */
static ptrdiff_t kernel_block(const kernel_problem *problem, ptrdiff_t cells, ptrdiff_t smallest) {
    ptrdiff_t block = smallest;
    while (problem->grad && block * block * 2 < cells) block *= 2;
    return block;
}

static ptrdiff_t kernel_minimum(ptrdiff_t a, ptrdiff_t b) {
    return a < b ? a : b;
}

static void kernel_make_plan(const kernel_problem *problem, kernel_plan *plan, int level,
                             ptrdiff_t real_bytes) {
    const ptrdiff_t lanes = ((ptrdiff_t)16 << level) / real_bytes;
    plan->level = level;
    plan->rows = kernel_block(problem, kernel_fine_rows(problem), 16);
    plan->columns = kernel_block(problem, kernel_fine_columns(problem), problem->grad ? 16 : 32);
    plan->coarse_rows = plan->rows >> problem->x_order;
    plan->coarse_columns = plan->columns >> problem->y_order;
    if (!plan->coarse_rows) plan->coarse_rows = 1;
    if (!plan->coarse_columns) plan->coarse_columns = 1;
    if (problem->pairing == KERNEL_PAIRS) {
        plan->groups = kernel_ceil_divide(problem->pairs, lanes);
        plan->chunk = plan->chunks = 1;
        plan->slots = plan->groups;
    } else {
        plan->groups = kernel_ceil_divide(problem->y_count, lanes);
        plan->chunk = 8;
        plan->chunks = kernel_ceil_divide(problem->x_count, plan->chunk);
        plan->slots = kernel_minimum(plan->groups, 16);
    }
    plan->forward_tasks = plan->groups * plan->chunks;
    plan->backward_tasks = plan->slots;
}

#define SIMD_TEMPLATE "signatures/kernel_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* Bytes that a task needs. */
static size_t kernel_workspace(const kernel_problem *problem, const kernel_plan *plan,
                               int is_double) {
    return SIMD_CALL(kernel_workspace, is_double, plan->level, problem, plan);
}

static void kernel_tasks(const kernel_problem *problem, const kernel_plan *plan, int is_double,
                         ptrdiff_t first, ptrdiff_t last, void *workspace) {
    SIMD_CALL(kernel_tasks, is_double, plan->level, problem, plan, first, last, workspace);
}

#endif
