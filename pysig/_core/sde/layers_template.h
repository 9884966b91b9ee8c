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

/* sums += grad^T x.  Vectors of x go beyond its rows: that is into the next ones, but for the last
 * rows, which are copied. */
static void NAME(layers_add_weights)(const layer *one, ptrdiff_t rows, const REAL *x,
                                     const REAL *grad, REAL *copy, REAL *sums) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs, padded = layers_padded(inputs);
    const ptrdiff_t beyond = (inputs + LANES - 1) / LANES * LANES - inputs;
    const ptrdiff_t needed = (beyond + inputs - 1) / inputs, last = needed < rows ? needed : rows;
    const ptrdiff_t first = rows - last;
    NAME(product) product = {
        .rows = outputs,
        .columns = inputs,
        .count = first,
        .a = grad,
        .a_stride = outputs,
        .b = x,
        .b_stride = inputs,
        .out = sums,
        .out_stride = padded,
    };
    if (first) NAME(products_add)(&product);
    if (!last) return;
    NAME(layers_pad)(last, inputs, inputs, x + first * inputs, copy);
    product.count = last;
    product.a = grad + first * outputs;
    product.b = copy;
    product.b_stride = padded;
    NAME(products_add)(&product);
}

static inline void NAME(layers_backward)(const layer *one, ptrdiff_t rows, const void *x,
                                         const void *slopes, const void *gradients, void *memory,
                                         void *totals, void *grad_x) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs;
    const ptrdiff_t padded_in = layers_padded(inputs), padded = layers_padded(outputs);
    REAL *column_sums = memory, *copy = column_sums + padded,
         *scaled = copy + LAYERS_PAD * padded_in;
    REAL *sums = totals, *bias_sums = sums + outputs * padded_in;
    const REAL *grad = slopes ? scaled : gradients;
    NAME(activations_gradient)(outputs, 0, rows, gradients, slopes, scaled, column_sums);
    NAME(vectors_add)(outputs, 1, column_sums, bias_sums);
    if (one->has_time) NAME(vectors_add)(outputs, (REAL)one->t, column_sums, bias_sums + padded);
    NAME(layers_add_weights)(one, rows, x, grad, copy, sums);
    const NAME(product) product = {
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
    NAME(products_write)(&product);
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
