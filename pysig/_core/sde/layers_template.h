/* Some rows of a layer, for one type and instruction set: layers.h. */

#include "sde/activations_template.h"
#include "sde/products_template.h"

/* LANES x LANES numbers of a matrix, transposed. */
ALWAYS_INLINE void NAME(layers_transpose)(const REAL *from, ptrdiff_t from_stride, REAL *to,
                                          ptrdiff_t to_stride) {
    NAME(vector) rows[LANES];
    for (int i = 0; i < LANES; i++) rows[i] = NAME(load)(from + i * from_stride);
    NAME(transpose)(rows);
    for (int i = 0; i < LANES; i++) NAME(store)(to + i * to_stride, rows[i]);
}

static void NAME(layers_pack)(const layer *one, const void *weights, const void *biases,
                              void *packed) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs;
    const ptrdiff_t stride = inputs + one->has_time, padded = layers_padded(outputs);
    const REAL *weight = (const REAL *)weights + one->has_time, *times = weights, *bias = biases;
    const ptrdiff_t whole_inputs = inputs / LANES * LANES, whole = outputs / LANES * LANES;
    REAL *to = packed, *last = to + inputs * padded;
    if (padded > outputs) memset(to, 0, (size_t)(inputs * padded) * sizeof(REAL));
    memset(last, 0, (size_t)(2 * padded) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < outputs; i++) {
        const ptrdiff_t first = i < whole ? whole_inputs : 0;
        if (i % LANES == 0)
            for (ptrdiff_t j = 0; j < first; j += LANES)
                NAME(layers_transpose)(weight + i * stride + j, stride, to + j * padded + i,
                                       padded);
        for (ptrdiff_t j = first; j < inputs; j++) to[j * padded + i] = weight[i * stride + j];
        if (bias) last[i] = bias[i];
        if (one->has_time) last[padded + i] = times[i * stride];
    }
}

/* Rows of `columns` numbers become rows of as many as their least multiple of LAYERS_PAD. */
static void NAME(layers_pad)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t stride,
                             const REAL *restrict from, REAL *restrict to) {
    const ptrdiff_t padded = layers_padded(columns);
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (ptrdiff_t i = 0; i < columns; i++) to[i] = from[i];
        for (ptrdiff_t i = columns; i < padded; i++) to[i] = 0;
        from += stride;
        to += padded;
    }
}

static void NAME(layers_pack_back)(const layer *one, const void *weight, void *packed_back) {
    NAME(layers_pad)(one->outputs, one->inputs, one->inputs + one->has_time,
                     (const REAL *)weight + one->has_time, packed_back);
}

static void NAME(layers_forward)(const layer *one, ptrdiff_t rows, const void *x, void *value,
                                 void *slopes) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs, padded = layers_padded(outputs);
    const REAL no_bias = (REAL)-0.0, *packed = one->packed, *bias = packed + inputs * padded;
    const NAME(product) product = {
        .rows = rows,
        .columns = outputs,
        .count = inputs,
        .a = x,
        .a_stride = inputs,
        .b = packed,
        .b_stride = padded,
        .bias = bias,
        .times = one->has_time ? bias + padded : NULL,
        .t = (REAL)one->t,
        .out = value,
        .out_stride = outputs,
    };
    NAME(products_write)(&product);
    if (one->kind != LAYERS_NO_ACTIVATION)
        NAME(activations_run)(one->kind, 1, 0, rows * outputs, value, &no_bias, value, slopes);
}

/* out = sums over the rows */
static void NAME(layers_sum_rows)(ptrdiff_t rows, ptrdiff_t columns, const REAL *restrict x,
                                  REAL *restrict out) {
    memset(out, 0, (size_t)columns * sizeof(REAL));
    for (ptrdiff_t row = 0; row < rows; row++)
        NAME(vectors_add)(columns, 1, x + row * columns, out);
}

static inline void NAME(layers_backward)(const layer *one, ptrdiff_t rows, const void *from,
                                         const void *slopes, const void *gradients, void *memory,
                                         void *totals, void *grad_x) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs;
    const ptrdiff_t padded_in = layers_padded(inputs), padded = layers_padded(outputs);
    REAL *column_sums = memory, *scratch = column_sums + padded, *wide_x = scratch + rows * padded;
    REAL *sums = totals, *bias_sums = sums + outputs * padded_in;
    const REAL *x = from, *grad = gradients;
    if (slopes) {
        NAME(activations_gradient)(outputs, 0, rows, gradients, slopes, scratch, column_sums);
        grad = scratch;
    } else {
        NAME(layers_sum_rows)(rows, outputs, grad, column_sums);
    }
    NAME(vectors_add)(outputs, 1, column_sums, bias_sums);
    if (one->has_time) NAME(vectors_add)(outputs, (REAL)one->t, column_sums, bias_sums + padded);
    if (inputs % LANES) {
        NAME(layers_pad)(rows, inputs, inputs, x, wide_x);
        x = wide_x;
    }
    const NAME(product) of_x = {
        .rows = rows,
        .columns = inputs,
        .count = outputs,
        .a = grad,
        .a_stride = outputs,
        .b = one->packed_back,
        .b_stride = padded_in,
        .out = grad_x,
        .out_stride = inputs,
    };
    const NAME(product) of_weight = {
        .rows = outputs,
        .columns = inputs,
        .count = rows,
        .a = grad,
        .a_stride = outputs,
        .b = x,
        .b_stride = inputs % LANES ? padded_in : inputs,
        .out = sums,
        .out_stride = padded_in,
    };
    NAME(products_write)(&of_x);
    NAME(products_add)(&of_weight);
}

static inline void NAME(layers_add)(const layer *one, ptrdiff_t count, void *totals,
                                    void *grad_weights, void *grad_biases) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs, size = layers_sums_size(one);
    const ptrdiff_t padded_in = layers_padded(inputs), padded = layers_padded(outputs);
    REAL *sums = totals, *grad_weight = grad_weights, *grad_bias = grad_biases;
    const REAL *of_bias = sums + outputs * padded_in, *of_time = of_bias + padded;
    for (ptrdiff_t i = 1; i < count; i++) NAME(vectors_add)(size, 1, sums + i * size, sums);
    for (ptrdiff_t i = 0; i < outputs; i++) {
        if (one->has_time) *grad_weight++ = of_time[i];
        memcpy(grad_weight, sums + i * padded_in, (size_t)inputs * sizeof(REAL));
        grad_weight += inputs;
        grad_bias[i] = of_bias[i];
    }
}
