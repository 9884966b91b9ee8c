/* Activations with bias, and their gradients, on the CPU.
 *
 * Layers, from the inside out:
 *     activation_functions.h   exponential and logarithm of one number
 *     activation_kinds.h       an activation function of one number, and its derivative
 *     activations_template.h   a range of an array, for one type and instruction set
 *     layers_template.h        a small layer
 *     activations.h            the one for this type and processor
 *     activations.pyx          threads
 */
#ifndef PYSIG_ACTIVATIONS_H
#define PYSIG_ACTIVATIONS_H

#include "sde/activation_functions.h"
#include "sde/layers.h"
#include "simd.h"

/* Rows of up to NARROW numbers are computed without regard to where they begin and end. */
enum { ACTIVATIONS_CHUNK = 32, ACTIVATIONS_NARROW = 256, ACTIVATIONS_STRIP = 512 };

/* trajectory.h compiles this template together with others. */
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

/* value: [rows][outputs], of x: [rows][inputs]; derivative: that of the activation, or NULL. */
static void layers_forward(int is_double, int level, const layer *one, const void *x, void *value,
                           void *derivative) {
    SIMD_CALL(layers_forward, is_double, level, one, x, value, derivative);
}

/* The gradients with respect to weight, bias and x; scratch: [rows][outputs], if there is a
 * derivative. */
static void layers_backward(int is_double, int level, const layer *one, const void *x,
                            const void *derivative, const void *grad, void *scratch,
                            void *grad_weight, void *grad_bias, void *grad_x) {
    SIMD_CALL(layers_backward, is_double, level, one, x, derivative, grad, scratch, grad_weight,
              grad_bias, grad_x);
}
#endif
#endif
