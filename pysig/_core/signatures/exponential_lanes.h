/* The products of exponential_algebra.h for rows side by side: every number is a vector of lanes.
 *
 * The letters that end a word are taken together, up to four, and their sums stay in registers.
 */

/* Where the beginning of length k, and what follows it, of a growing word stand among the words of
 * their lengths. */
typedef struct {
    ptrdiff_t head[64], tail[64];
} NAME(cuts);

/* Moves from one word of length `length` to the next. */
ALWAYS_INLINE void NAME(next_cuts)(const tensor_shape *shape, NAME(cuts) *cuts, ptrdiff_t length) {
    for (ptrdiff_t k = 1; k <= length; k++)
        if (++cuts->tail[k] == shape->power[length - k]) {
            cuts->tail[k] = 0;
            cuts->head[k]++;
        }
}

/* The words of length `length` that end with the letters first ... first + count - 1. */
ALWAYS_INLINE void NAME(multiply_letters)(const tensor_shape *shape, VEC *level, const VEC *last,
                                          const VEC *x, const VEC *b, const NAME(cuts) *cuts,
                                          ptrdiff_t length, ptrdiff_t first, REAL scale,
                                          const ptrdiff_t count) {
    VEC sum[4];
    for (ptrdiff_t c = 0; c < count; c++) sum[c] = last[first + c];
    for (ptrdiff_t k = 1; k < length; k++) {
        const VEC head = NAME(in_register)(x[shape->offset[k] + cuts->head[k]]);
        const VEC *tail = b + shape->offset[length - k] + cuts->tail[k] * shape->channels + first;
        for (ptrdiff_t c = 0; c < count; c++) sum[c] += head * tail[c];
    }
    for (ptrdiff_t c = 0; c < count; c++) level[first + c] = sum[c] * scale;
}

/* All words of one length; with constants in place of `length` and `channels`, the loops over the
 * letters and over the cuts are unrolled. */
ALWAYS_INLINE void NAME(multiply_words)(const tensor_shape *shape, VEC *result, const VEC *x,
                                        const VEC *b, REAL scale, const ptrdiff_t length,
                                        const ptrdiff_t channels) {
    const ptrdiff_t words = shape->power[length - 1];
    VEC *level = result + shape->offset[length];
    const VEC *last = x + shape->offset[length];
    NAME(cuts) cuts;
    for (ptrdiff_t k = 1; k < length; k++) cuts.head[k] = cuts.tail[k] = 0;
    for (ptrdiff_t w = 0; w < words; w++, level += channels, last += channels) {
        ptrdiff_t c = 0;
        for (; c + 4 <= channels; c += 4)
            NAME(multiply_letters)(shape, level, last, x, b, &cuts, length, c, scale, 4);
        switch (channels - c) {
            case 1:
                NAME(multiply_letters)(shape, level, last, x, b, &cuts, length, c, scale, 1);
                break;
            case 2:
                NAME(multiply_letters)(shape, level, last, x, b, &cuts, length, c, scale, 2);
                break;
            case 3:
                NAME(multiply_letters)(shape, level, last, x, b, &cuts, length, c, scale, 3);
                break;
        }
        NAME(next_cuts)(shape, &cuts, length - 1);
    }
}

ALWAYS_INLINE void NAME(multiply_length)(const tensor_shape *shape, VEC *result, const VEC *x,
                                         const VEC *b, REAL scale, ptrdiff_t length,
                                         const ptrdiff_t channels) {
    switch (length) {
        case 1: NAME(multiply_words)(shape, result, x, b, scale, 1, channels); break;
        case 2: NAME(multiply_words)(shape, result, x, b, scale, 2, channels); break;
        case 3: NAME(multiply_words)(shape, result, x, b, scale, 3, channels); break;
        default: NAME(multiply_words)(shape, result, x, b, scale, length, channels);
    }
}

static void NAME(multiply_level_lanes)(const tensor_shape *shape, VEC *result, const VEC *x,
                                       const VEC *b, ptrdiff_t length, REAL scale) {
    switch (shape->channels) {
        case 2: NAME(multiply_length)(shape, result, x, b, scale, length, 2); break;
        case 3: NAME(multiply_length)(shape, result, x, b, scale, length, 3); break;
        case 4: NAME(multiply_length)(shape, result, x, b, scale, length, 4); break;
        default: NAME(multiply_length)(shape, result, x, b, scale, length, shape->channels);
    }
}

ALWAYS_INLINE void NAME(multiply_letters_backward)(const tensor_shape *shape, const VEC *level,
                                                   const VEC *x, const VEC *b, VEC *x_gradient,
                                                   VEC *b_gradient, VEC *last,
                                                   const NAME(cuts) *cuts, ptrdiff_t length,
                                                   ptrdiff_t first, REAL scale,
                                                   const ptrdiff_t count) {
    VEC g[4];
    for (ptrdiff_t c = 0; c < count; c++) {
        g[c] = level[first + c] * scale;
        last[first + c] += g[c];
    }
    for (ptrdiff_t k = 1; k < length; k++) {
        const ptrdiff_t head = shape->offset[k] + cuts->head[k];
        const ptrdiff_t tail = shape->offset[length - k] + cuts->tail[k] * shape->channels + first;
        VEC dot = {0};
        for (ptrdiff_t c = 0; c < count; c++) {
            dot += g[c] * b[tail + c];
            b_gradient[tail + c] += g[c] * x[head];
        }
        x_gradient[head] += dot;
    }
}

ALWAYS_INLINE void NAME(multiply_words_backward)(const tensor_shape *shape, const VEC *grad,
                                                 const VEC *x, const VEC *b, VEC *x_gradient,
                                                 VEC *b_gradient, REAL scale,
                                                 const ptrdiff_t length, const ptrdiff_t channels) {
    const ptrdiff_t words = shape->power[length - 1];
    const VEC *level = grad + shape->offset[length];
    VEC *last = x_gradient + shape->offset[length];
    NAME(cuts) cuts;
    for (ptrdiff_t k = 1; k < length; k++) cuts.head[k] = cuts.tail[k] = 0;
    for (ptrdiff_t w = 0; w < words; w++, level += channels, last += channels) {
        ptrdiff_t c = 0;
        for (; c + 4 <= channels; c += 4)
            NAME(multiply_letters_backward)(shape, level, x, b, x_gradient, b_gradient, last, &cuts,
                                            length, c, scale, 4);
        switch (channels - c) {
            case 1:
                NAME(multiply_letters_backward)(shape, level, x, b, x_gradient, b_gradient, last,
                                                &cuts, length, c, scale, 1);
                break;
            case 2:
                NAME(multiply_letters_backward)(shape, level, x, b, x_gradient, b_gradient, last,
                                                &cuts, length, c, scale, 2);
                break;
            case 3:
                NAME(multiply_letters_backward)(shape, level, x, b, x_gradient, b_gradient, last,
                                                &cuts, length, c, scale, 3);
                break;
        }
        NAME(next_cuts)(shape, &cuts, length - 1);
    }
}

ALWAYS_INLINE void NAME(multiply_length_backward)(const tensor_shape *shape, const VEC *grad,
                                                  const VEC *x, const VEC *b, VEC *x_gradient,
                                                  VEC *b_gradient, REAL scale, ptrdiff_t length,
                                                  const ptrdiff_t channels) {
    switch (length) {
        case 1:
            NAME(multiply_words_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, 1,
                                          channels);
            break;
        case 2:
            NAME(multiply_words_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, 2,
                                          channels);
            break;
        case 3:
            NAME(multiply_words_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, 3,
                                          channels);
            break;
        default:
            NAME(multiply_words_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, length,
                                          channels);
    }
}

static void NAME(multiply_level_backward_lanes)(const tensor_shape *shape, const VEC *grad,
                                                const VEC *x, const VEC *b, VEC *x_gradient,
                                                VEC *b_gradient, ptrdiff_t length, REAL scale) {
    switch (shape->channels) {
        case 2:
            NAME(multiply_length_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, length,
                                           2);
            break;
        case 3:
            NAME(multiply_length_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, length,
                                           3);
            break;
        case 4:
            NAME(multiply_length_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, length,
                                           4);
            break;
        default:
            NAME(multiply_length_backward)(shape, grad, x, b, x_gradient, b_gradient, scale, length,
                                           shape->channels);
    }
}
