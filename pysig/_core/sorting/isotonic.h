/* Isotonic regression of a row with weights, and the projection onto a permutahedron.
 *
 * Both pool adjacent violators from left to right, on a stack of blocks; a block of one entry is not
 * stored, so that n / 2 blocks are the most.  Sums are relative to an entry of the block, lest large
 * numbers that differ little are subtracted from each other, and lest exponentials overflow.
 * isotonic_template.h has what depends on the type; isotonic.pyx loops over rows, with threads.
 */
#ifndef PYSIG_ISOTONIC_H
#define PYSIG_ISOTONIC_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DEVICE static inline

/* A block of an isotonic regression.
 *     l2    sum = sum of weight * (y - reference), the reference being the first entry
 *     kl    sum = sum of weight * exp(y - reference), the reference being the largest entry */
typedef struct {
    double reference, sum, weight;
    int start, length;
} isotonic_block;

/* A block of a projection: of z and of w, both in ascending order.
 *     l2    sums of z - first and of w - first
 *     kl    sums of exp(z - last) and of exp(w - last) */
typedef struct {
    double z, w;
    int start, length;
} projection_block;

/* All arrays are [batch][n] in C order; NULL where they are not asked for. */
typedef struct {
    ptrdiff_t batch, n;
    int is_kl, is_double;
    int is_decreasing;   /* isotonic regression */
    const void *y;       /* of a projection: z in ascending order */
    const void *weights; /* isotonic regression: or NULL, all 1; of a projection: w, ascending */
    void *value;         /* of a projection: in the order of z sorted */
    uint8_t *starts;
    void *y_share, *w_share; /* projection, kl: shares of z and w in the sums of their blocks */
    const void *grad;
    void *y_gradient, *w_gradient;
} isotonic_problem;

/* exp(a - b), also where both are the same infinity. */
DEVICE double isotonic_ratio(double a, double b) {
    return a == b ? 1 : exp(a - b);
}

#define ISOTONIC_NAME_(stem, real) stem##_##real
#define ISOTONIC_NAME(stem, real) ISOTONIC_NAME_(stem, real)
#define NAME(stem) ISOTONIC_NAME(stem, REAL)
#define REAL double
#include "sorting/isotonic_template.h"
#undef REAL
#define REAL float
#include "sorting/isotonic_template.h"
#undef REAL
#undef NAME

#define ISOTONIC_CALL(function, problem, ...)                       \
    ((problem)->is_double ? function##_double(problem, __VA_ARGS__) \
                          : function##_float(problem, __VA_ARGS__))

/* stack: n / 2 + 1 blocks of the kind. */
static void isotonic_row(const isotonic_problem *problem, ptrdiff_t row, void *stack) {
    ISOTONIC_CALL(isotonic_row, problem, row, (isotonic_block *)stack);
}

static void isotonic_row_backward(const isotonic_problem *problem, ptrdiff_t row) {
    ISOTONIC_CALL(isotonic_row_backward, problem, row);
}

static void projection_row(const isotonic_problem *problem, ptrdiff_t row, void *stack) {
    ISOTONIC_CALL(projection_row, problem, row, (projection_block *)stack);
}

static void projection_row_backward(const isotonic_problem *problem, ptrdiff_t row) {
    ISOTONIC_CALL(projection_row_backward, problem, row);
}
#endif
