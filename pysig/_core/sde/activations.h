/* Activations with bias, and their gradients, on the CPU.
 *
 * Layers, from the inside out:
 *     activation_functions.h   exponential and logarithm of one number
 *     activation_kinds.h       an activation function of one number, and its derivative
 *     activations_template.h   a range of an array, for one type and instruction set
 *     activations.h            the one for this type and processor
 *     activations.pyx          threads
 */
#ifndef PYSIG_ACTIVATIONS_H
#define PYSIG_ACTIVATIONS_H

#include "sde/activation_functions.h"
#include "simd.h"

/* Rows of up to NARROW numbers are computed without regard to where they begin and end. */
enum { ACTIVATIONS_CHUNK = 32, ACTIVATIONS_NARROW = 256, ACTIVATIONS_STRIP = 512 };

/* layers.h and trajectory.h compile this template together with others. */
#ifndef SIMD_TOGETHER
#define SIMD_TEMPLATE "sde/activations_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* The numbers first ... last - 1 of rows of `columns`; bias: [columns]; value may be x; derivative:
 * NULL if it is not wanted. */
static void activations_run(int is_double, int level, int kind, ptrdiff_t columns, ptrdiff_t first,
                            ptrdiff_t last, const void *x, const void *bias, void *value,
                            void *derivative) {
    SIMD_CALL(activations_run, is_double, level, kind, columns, first, last, x, bias, value,
              derivative);
}

/* Of the rows first ... last - 1: out = grad * derivative, and its sums over the rows. */
static void activations_gradient(int is_double, int level, ptrdiff_t columns, ptrdiff_t first,
                                 ptrdiff_t last, const void *grad, const void *derivative,
                                 void *out, void *sums) {
    SIMD_CALL(activations_gradient, is_double, level, columns, first, last, grad, derivative, out,
              sums);
}

static void activations_add(int is_double, int level, ptrdiff_t count, ptrdiff_t columns,
                            const void *parts, void *sums) {
    SIMD_CALL(activations_add, is_double, level, count, columns, parts, sums);
}
#endif
#endif
