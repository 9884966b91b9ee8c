/* Updates of the states of a solver, and their gradients, on the CPU.
 *
 * A state has the shape [rows][channels]; a field that meets the noise, g, has [rows][channels][m],
 * and the noise has [rows][m].  Scalar noise is the case m = 1; diagonal noise is the case m = 1,
 * channels = 1, where every number is a row.  There are three operations, of which the last two are
 * the gradients of the products in the first:
 *
 *     sum     sum of weight x + sum of g v     [rows][channels]
 *     outer   sum of u v^T                     [rows][channels][m]
 *     inner   sum of v (g^T u)                 [rows][m]
 *
 * The vectors v: [rows][m] are computed where they are used, from the increment W of a Brownian
 * motion and its space-time area H: update_noise.h.
 *
 * Layers, from the inside out:
 *     update_noise.h       one number of v, for C and CUDA
 *     vectors_template.h   a row of numbers
 *     updates_template.h   a range of rows, for one type and instruction set
 *     updates.h            the one for this type and processor
 *     updates.pyx          threads, and what solvers call
 */
#ifndef PYSIG_UPDATES_H
#define PYSIG_UPDATES_H

#include "sde/update_noise.h"
#include "simd.h"

enum { UPDATES_CHUNK = 256, UPDATES_MOST = 16 };

typedef struct {
    ptrdiff_t rows, channels, m;
} update_sizes;

typedef struct {
    const void *array; /* g or, for outer, u */
    const void *other; /* u, for inner */
    const void *w, *area;
    update_polynomial of_noise;
} update_product;

typedef struct {
    int arrays, products;
    double weight[UPDATES_MOST];
    const void *array[UPDATES_MOST];
    update_product product[UPDATES_MOST];
} update_terms;

/* trajectory.h compiles this template together with others. */
#ifndef SIMD_TOGETHER
#define SIMD_TEMPLATE "sde/updates_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

typedef void (*update_function)(int is_double, int level, const update_sizes *sizes,
                                const update_terms *terms, ptrdiff_t first, ptrdiff_t last,
                                void *result);

/* Of the rows first ... last - 1; the result is no operand. */
static void updates_sum(int is_double, int level, const update_sizes *sizes,
                        const update_terms *terms, ptrdiff_t first, ptrdiff_t last, void *result) {
    SIMD_CALL(updates_sum, is_double, level, sizes, terms, first, last, result);
}

static void updates_outer(int is_double, int level, const update_sizes *sizes,
                          const update_terms *terms, ptrdiff_t first, ptrdiff_t last,
                          void *result) {
    SIMD_CALL(updates_outer, is_double, level, sizes, terms, first, last, result);
}

static void updates_inner(int is_double, int level, const update_sizes *sizes,
                          const update_terms *terms, ptrdiff_t first, ptrdiff_t last,
                          void *result) {
    SIMD_CALL(updates_inner, is_double, level, sizes, terms, first, last, result);
}
#endif
#endif
