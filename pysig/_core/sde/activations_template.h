/* Activations of a range of numbers, and sums of their gradients, for one type and instruction set. */

#include "sde/vectors_template.h"

#if REAL_BYTES == 8
#define ACTIVATION activation_double
#else
#define ACTIVATION activation_float
#endif

/* A chunk of `count` numbers.  All arithmetic is done on a whole chunk: loops of a constant length
 * over arrays of their own need no remainder, and it does not matter that value may be x. */
ALWAYS_INLINE void NAME(activations_chunk)(int kind, ptrdiff_t count, const REAL *x,
                                           const REAL *bias, REAL *value, REAL *derivative) {
    REAL sum[ACTIVATIONS_CHUNK], result[ACTIVATIONS_CHUNK], slope[ACTIVATIONS_CHUNK];
    if (count == ACTIVATIONS_CHUNK) {
        for (int i = 0; i < ACTIVATIONS_CHUNK; i++) sum[i] = x[i] + bias[i];
    } else {
        for (int i = 0; i < ACTIVATIONS_CHUNK; i++) sum[i] = i < count ? x[i] + bias[i] : 0;
    }
    for (int i = 0; i < ACTIVATIONS_CHUNK; i++) result[i] = ACTIVATION(kind, sum[i], &slope[i]);
    if (count == ACTIVATIONS_CHUNK) {
        memcpy(value, result, sizeof result);
        if (derivative) memcpy(derivative, slope, sizeof slope);
    } else {
        memcpy(value, result, (size_t)count * sizeof(REAL));
        if (derivative) memcpy(derivative, slope, (size_t)count * sizeof(REAL));
    }
}

ALWAYS_INLINE void NAME(activations_narrow)(int kind, int keep, ptrdiff_t columns, ptrdiff_t first,
                                            ptrdiff_t last, const REAL *x, const REAL *bias,
                                            REAL *value, REAL *derivative) {
    /* what a chunk adds, wherever in a row it begins */
    REAL repeated[ACTIVATIONS_NARROW + ACTIVATIONS_CHUNK];
    for (ptrdiff_t i = 0; i < columns; i++) repeated[i] = bias[i];
    for (ptrdiff_t i = 0; i < ACTIVATIONS_CHUNK; i++) repeated[columns + i] = repeated[i];
    const ptrdiff_t step = ACTIVATIONS_CHUNK % columns;
    ptrdiff_t column = first % columns;
    for (ptrdiff_t i = first; i < last; i += ACTIVATIONS_CHUNK) {
        const ptrdiff_t count = last - i < ACTIVATIONS_CHUNK ? last - i : ACTIVATIONS_CHUNK;
        NAME(activations_chunk)(kind, count, x + i, repeated + column, value + i,
                                keep ? derivative + i : NULL);
        column += step;
        if (column >= columns) column -= columns;
    }
}

ALWAYS_INLINE void NAME(activations_wide)(int kind, int keep, ptrdiff_t columns, ptrdiff_t first,
                                          ptrdiff_t last, const REAL *x, const REAL *bias,
                                          REAL *value, REAL *derivative) {
    ptrdiff_t column = first % columns, count;
    for (ptrdiff_t i = first; i < last; i += count) {
        count = last - i < ACTIVATIONS_CHUNK ? last - i : ACTIVATIONS_CHUNK;
        if (count > columns - column) count = columns - column;
        NAME(activations_chunk)(kind, count, x + i, bias + column, value + i,
                                keep ? derivative + i : NULL);
        column = column + count < columns ? column + count : 0;
    }
}

#define RUN(kind, keep)                                                                           \
    (columns <= ACTIVATIONS_NARROW                                                                \
         ? NAME(activations_narrow)(kind, keep, columns, first, last, x, bias, value, derivative) \
         : NAME(activations_wide)(kind, keep, columns, first, last, x, bias, value, derivative))
#define CASE(kind) \
    case kind: derivative ? RUN(kind, 1) : RUN(kind, 0); break;

/* The numbers first ... last - 1 of rows of `columns`; derivative: NULL if it is not wanted. */
static void NAME(activations_run)(int kind, ptrdiff_t columns, ptrdiff_t first, ptrdiff_t last,
                                  const void *from, const void *biases, void *to, void *slopes) {
    const REAL *x = from, *bias = biases;
    REAL *value = to, *derivative = slopes;
    switch (kind) {
        CASE(ACTIVATION_LIPSWISH)
        CASE(ACTIVATION_SIGMOID)
        CASE(ACTIVATION_SILU)
        CASE(ACTIVATION_SOFTPLUS)
        CASE(ACTIVATION_TANH)
    }
}

#undef CASE
#undef RUN
#undef ACTIVATION

/* `rows` rows of `count` numbers, `stride` apart: out = grad * derivative, which is added to sums;
 * without a derivative (NULL), grad is. */
ALWAYS_INLINE void NAME(activations_strip)(ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t count,
                                           const REAL *restrict grad,
                                           const REAL *restrict derivative, REAL *restrict out,
                                           REAL *restrict sums) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        const ptrdiff_t begin = row * stride;
        if (!derivative) {
            for (ptrdiff_t i = 0; i < count; i++) sums[i] += grad[begin + i];
            continue;
        }
        for (ptrdiff_t i = 0; i < count; i++) {
            const REAL product = grad[begin + i] * derivative[begin + i];
            out[begin + i] = product;
            sums[i] += product;
        }
    }
}

/* The rows first ... last - 1; sums: [columns], which this sets.  Without a derivative (NULL), the
 * sums are those of grad, and out is not written. */
static void NAME(activations_gradient)(ptrdiff_t columns, ptrdiff_t first, ptrdiff_t last,
                                       const void *gradients, const void *slopes, void *products,
                                       void *totals) {
    const REAL *grad = gradients, *derivative = slopes;
    REAL *out = products, *sums = totals;
    REAL strip[ACTIVATIONS_STRIP];
    /* several narrow rows are one long row, whose sums are added up at the end */
    ptrdiff_t repeats = columns < ACTIVATIONS_STRIP ? ACTIVATIONS_STRIP / columns : 1;
    if (repeats > (last - first) / 4) repeats = last - first < 8 ? 1 : (last - first) / 4;
    const ptrdiff_t stride = columns * repeats, rows = (last - first) / repeats;
    for (ptrdiff_t i = 0; i < columns; i++) sums[i] = 0;
    for (ptrdiff_t begins = 0; begins < stride; begins += ACTIVATIONS_STRIP) {
        const ptrdiff_t left = stride - begins, place = first * columns + begins;
        const ptrdiff_t count = left < ACTIVATIONS_STRIP ? left : ACTIVATIONS_STRIP;
        for (ptrdiff_t i = 0; i < count; i++) strip[i] = 0;
        NAME(activations_strip)(rows, stride, count, grad + place,
                                slopes ? derivative + place : NULL, slopes ? out + place : NULL,
                                strip);
        for (ptrdiff_t i = 0, column = begins; i < count; i++) {
            sums[column] += strip[i];
            column = column + 1 < columns ? column + 1 : 0;
        }
    }
    for (ptrdiff_t row = first + rows * repeats; row < last; row++) {
        const ptrdiff_t place = row * columns;
        NAME(activations_strip)(1, columns, columns, grad + place,
                                slopes ? derivative + place : NULL, slopes ? out + place : NULL,
                                sums);
    }
}

/* totals: [columns], the sums of parts: [count][columns]. */
static inline void NAME(activations_add)(ptrdiff_t count, ptrdiff_t columns, const void *parts,
                                         void *totals) {
    const REAL *part = parts;
    REAL *total = totals;
    memcpy(total, part, (size_t)columns * sizeof(REAL));
    for (ptrdiff_t row = 1; row < count; row++)
        for (ptrdiff_t i = 0; i < columns; i++) total[i] += part[row * columns + i];
}
