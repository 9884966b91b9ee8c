/* The products of exponential_algebra.h for one row: vectors hold numbers that lie next to each
 * other. */

static void NAME(add_multiple)(REAL *sum, REAL factor, const REAL *numbers, ptrdiff_t count) {
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES)
        NAME(store)(sum + i, NAME(load)(sum + i) + factor * NAME(load)(numbers + i));
    for (; i < count; i++) sum[i] += factor * numbers[i];
}

/* Returns the dot product of `numbers` and `others`, and adds factor * numbers to `sum`. */
static REAL NAME(dot_and_add)(const REAL *numbers, const REAL *others, REAL *sum, REAL factor,
                              ptrdiff_t count) {
    VEC dots = {0};
    REAL dot = 0;
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        VEC values = NAME(load)(numbers + i);
        dots += values * NAME(load)(others + i);
        NAME(store)(sum + i, NAME(load)(sum + i) + factor * values);
    }
    for (; i < count; i++) {
        dot += numbers[i] * others[i];
        sum[i] += factor * numbers[i];
    }
    for (ptrdiff_t l = 0; l < LANES; l++) dot += dots[l];
    return dot;
}

static void NAME(multiply_level_row)(const tensor_shape *shape, REAL *result, const REAL *x,
                                     const REAL *b, ptrdiff_t length, REAL scale) {
    REAL *level = result + shape->offset[length];
    const ptrdiff_t count = shape->power[length];
    memcpy(level, x + shape->offset[length], (size_t)count * sizeof(REAL));
    for (ptrdiff_t k = 1; k < length; k++) {
        const ptrdiff_t rest = shape->power[length - k];
        const REAL *head = x + shape->offset[k], *tail = b + shape->offset[length - k];
        for (ptrdiff_t w = 0; w < shape->power[k]; w++)
            NAME(add_multiple)(level + w * rest, head[w], tail, rest);
    }
    for (ptrdiff_t i = 0; scale != 1 && i < count; i++) level[i] *= scale;
}

static void NAME(multiply_level_backward_row)(const tensor_shape *shape, const REAL *grad,
                                              const REAL *x, const REAL *b, REAL *x_gradient,
                                              REAL *b_gradient, ptrdiff_t length, REAL scale) {
    const REAL *level = grad + shape->offset[length];
    NAME(add_multiple)(x_gradient + shape->offset[length], scale, level, shape->power[length]);
    for (ptrdiff_t k = 1; k < length; k++) {
        const ptrdiff_t rest = shape->power[length - k];
        const REAL *head = x + shape->offset[k], *tail = b + shape->offset[length - k];
        REAL *head_gradient = x_gradient + shape->offset[k];
        REAL *tail_gradient = b_gradient + shape->offset[length - k];
        for (ptrdiff_t w = 0; w < shape->power[k]; w++)
            head_gradient[w] += scale * NAME(dot_and_add)(level + w * rest, tail, tail_gradient,
                                                          scale * head[w], rest);
    }
}
