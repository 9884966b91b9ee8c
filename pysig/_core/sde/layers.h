/* Layers of perceptrons, x -> activation(W x + b), for some rows, and their gradients.
 *
 * Rows of weights are packed, so that their products with states take whole vectors: PADDED is the
 * number of channels, or the least multiple of LAYERS_PAD above it.
 *
 *     packed       [inputs][PADDED outputs], the transposed W; then b, then the column of W that
 *                  is for the time, each [PADDED outputs]
 *     packed_back  [outputs][PADDED inputs], W
 *     sums         the gradients: [outputs][PADDED inputs] of W; then of b, then of the column for
 *                  the time, each [PADDED outputs]
 *
 * Layers, from the inside out:
 *     products_template.h   products of matrices, in tiles
 *     layers_template.h     some rows, for one type and instruction set
 *     layers.h              the one for this type and processor
 *     layers.pyx            blocks of rows, threads
 */
#ifndef PYSIG_LAYERS_H
#define PYSIG_LAYERS_H

#include <stddef.h>

enum { LAYERS_NO_ACTIVATION = -1, LAYERS_PAD = 16 };

typedef struct {
    int kind; /* of the activation, or LAYERS_NO_ACTIVATION */
    ptrdiff_t inputs, outputs;
    int has_time;
    double t;
    const void *packed, *packed_back; /* NULL: not needed */
} layer;

static inline ptrdiff_t layers_padded(ptrdiff_t channels) {
    return (channels + LAYERS_PAD - 1) / LAYERS_PAD * LAYERS_PAD;
}

/* Numbers of the arrays above. */
static inline ptrdiff_t layers_packed_size(const layer *one) {
    return (one->inputs + 2) * layers_padded(one->outputs);
}

static inline ptrdiff_t layers_packed_back_size(const layer *one) {
    return one->outputs * layers_padded(one->inputs);
}

static inline ptrdiff_t layers_sums_size(const layer *one) {
    return layers_packed_back_size(one) + 2 * layers_padded(one->outputs);
}

/* Numbers of working memory for the gradients of so many rows. */
static inline ptrdiff_t layers_memory(const layer *one, ptrdiff_t rows) {
    return layers_padded(one->outputs) + LAYERS_PAD * layers_padded(one->inputs) +
           rows * one->outputs;
}

/* trajectory.h compiles this template together with others. */
#ifndef SIMD_TOGETHER
#define SIMD_TOGETHER
#include "sde/activations.h"

#define SIMD_TEMPLATE "sde/layers_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* weight: [outputs][inputs], or with one column more, the first, for the time; bias: [outputs] or
 * NULL. */
static void layers_pack(int is_double, int level, const layer *one, const void *weight,
                        const void *bias, void *packed) {
    SIMD_CALL(layers_pack, is_double, level, one, weight, bias, packed);
}

static void layers_pack_back(int is_double, int level, const layer *one, const void *weight,
                             void *packed_back) {
    SIMD_CALL(layers_pack_back, is_double, level, one, weight, packed_back);
}

/* value: [rows][outputs], of x: [rows][inputs]; derivative: that of the activation, or NULL. */
static void layers_forward(int is_double, int level, const layer *one, ptrdiff_t rows,
                           const void *x, void *value, void *derivative) {
    SIMD_CALL(layers_forward, is_double, level, one, rows, x, value, derivative);
}

/* The gradient of x; those of weight and bias are added to sums. */
static void layers_backward(int is_double, int level, const layer *one, ptrdiff_t rows,
                            const void *x, const void *derivative, const void *grad, void *memory,
                            void *sums, void *grad_x) {
    SIMD_CALL(layers_backward, is_double, level, one, rows, x, derivative, grad, memory, sums,
              grad_x);
}

/* The gradients of weight and bias from `count` sums, one after the other. */
static void layers_add(int is_double, int level, const layer *one, ptrdiff_t count, void *sums,
                       void *grad_weight, void *grad_bias) {
    SIMD_CALL(layers_add, is_double, level, one, count, sums, grad_weight, grad_bias);
}
#endif
#endif
