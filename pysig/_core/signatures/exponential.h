/* Exponentials and logarithms in the truncated tensor algebra, and their gradients, on the CPU.
 *
 * Layers, from the inside out:
 *     exponential_lanes.h, exponential_rows.h   products of two tensors, one length of words at a
 *                                  time: for rows side by side in lanes, and for a single row
 *     exponential_algebra.h        power series of either of them, and Lyndon words
 *     exponential_tasks.h          one task, of either of them
 *     exponential.h (this file)    what all compilations share: the problem, and its tasks
 *     exponential.pyx              a loop over the tasks, with threads
 */
#ifndef PYSIG_EXPONENTIAL_H
#define PYSIG_EXPONENTIAL_H

#include "signatures/lyndon.h"
#include "simd.h"

typedef struct {
    tensor_shape shape;
    const lyndon_basis *basis; /* of the result of a logarithm, of the argument of an exponential */
    ptrdiff_t rows, lanes;     /* lanes: rows of one task */
    const void *argument;
    void *result; /* backward: its gradient, which is read only */
    void *argument_gradient;
    ptrdiff_t argument_words, argument_stride, result_words, result_stride;
} exponential_problem;

/* Numbers of working memory for each lane. */
static ptrdiff_t exponential_numbers(const exponential_problem *problem, int backward) {
    const tensor_shape *shape = &problem->shape;
    const ptrdiff_t words = shape->offset[shape->depth + 1], lower = shape->offset[shape->depth];
    return 3 * problem->argument_words + problem->result_words + 2 * words + 2 * lower +
           (backward ? tensor_stage_words(shape) : 2 * lower);
}

/* Rows go side by side while their working memory fits the second-level cache, and lanes are not
 * empty for the most part. */
static void exponential_choose_lanes(exponential_problem *problem, int level, ptrdiff_t real_bytes,
                                     int backward) {
    const ptrdiff_t lanes = ((ptrdiff_t)16 << level) / real_bytes;
    const double bytes = (double)exponential_numbers(problem, backward) * (double)(16 << level);
    problem->lanes = problem->rows * 2 < lanes || bytes > 1 << 20 ? 1 : lanes;
}

#define SIMD_TEMPLATE "signatures/exponential_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

static void exponential_tasks(const exponential_problem *problem, int is_double, int level,
                              int backward, ptrdiff_t first, ptrdiff_t last, char *memory) {
    SIMD_CALL(exponential_tasks, is_double, level, problem, backward, first, last, memory);
}

#endif
