/* Power series in the truncated tensor algebra, and their adjoints.
 *
 * With c_1 = 1, the series c_1 x + c_2 x^2 + ... of a tensor x without scalar term is x (x) B_1 by
 * Horner's rule, where
 *
 *     B_n = 1 + (c_{n+1} / c_n) x (x) B_{n+1}
 *
 * is needed up to the length depth - n.  Included with ELEM and TENSOR(stem) for single rows and for
 * rows side by side in lanes.  A tensor is an array of its words, without the scalar term, which is 0
 * in x, and 1 in B_n.  Where the result is wanted at the Lyndon words only, or the gradient is that
 * of these, the longest level takes about depth times less.
 */

/* In place: from coefficients of Lyndon words to those of their brackets. */
static void TENSOR(solve_brackets)(const sparse_rows *matrix, ELEM *x) {
    for (ptrdiff_t i = 0; i < matrix->rows; i++)
        for (ptrdiff_t e = matrix->starts[i]; e < matrix->starts[i + 1]; e++)
            x[i] -= x[matrix->columns[e]] * (REAL)matrix->values[e];
}

static void TENSOR(solve_brackets_backward)(const sparse_rows *matrix, ELEM *grad) {
    for (ptrdiff_t i = matrix->rows - 1; i >= 0; i--)
        for (ptrdiff_t e = matrix->starts[i]; e < matrix->starts[i + 1]; e++)
            grad[matrix->columns[e]] -= grad[i] * (REAL)matrix->values[e];
}

/* x (x) b at `count` words that differ in the last letter. */
ALWAYS_INLINE void TENSOR(multiply_at_group)(const ptrdiff_t *group, const ELEM *x, const ELEM *b,
                                             ELEM *result, ptrdiff_t length, const ptrdiff_t first,
                                             const ptrdiff_t count) {
    const ELEM *last = x + group[1] + first;
    ELEM sum[4];
    for (ptrdiff_t c = 0; c < count; c++) sum[c] = last[c];
    for (ptrdiff_t k = 1; k < length; k++) {
        const ELEM head = x[group[2 * k]], *tail = b + group[2 * k + 1] + first;
        for (ptrdiff_t c = 0; c < count; c++) sum[c] += head * tail[c];
    }
    for (ptrdiff_t c = 0; c < count; c++) result[first + c] = sum[c];
}

/* x (x) b at the Lyndon words, where b has the scalar term 1. */
static void TENSOR(multiply_at_lyndon_words)(const tensor_shape *shape, const lyndon_basis *basis,
                                             const ELEM *x, const ELEM *b, ELEM *result) {
    const ptrdiff_t *group = basis->groups;
    for (ptrdiff_t c = 0; c < shape->channels; c++) *result++ = x[c];
    for (ptrdiff_t length = 2; length <= shape->depth; length++)
        for (ptrdiff_t g = 0; g < basis->group_counts[length - 2]; g++, group += 2 * length) {
            ptrdiff_t c = 0;
            for (; c + 4 <= group[0]; c += 4)
                TENSOR(multiply_at_group)(group, x, b, result, length, c, 4);
            switch (group[0] - c) {
                case 1: TENSOR(multiply_at_group)(group, x, b, result, length, c, 1); break;
                case 2: TENSOR(multiply_at_group)(group, x, b, result, length, c, 2); break;
                case 3: TENSOR(multiply_at_group)(group, x, b, result, length, c, 3); break;
            }
            result += group[0];
        }
}

static void TENSOR(multiply_at_lyndon_words_backward)(const tensor_shape *shape,
                                                      const lyndon_basis *basis, const ELEM *grad,
                                                      const ELEM *x, const ELEM *b,
                                                      ELEM *x_gradient, ELEM *b_gradient) {
    const ptrdiff_t *group = basis->groups;
    for (ptrdiff_t c = 0; c < shape->channels; c++) x_gradient[c] += *grad++;
    for (ptrdiff_t length = 2; length <= shape->depth; length++)
        for (ptrdiff_t g = 0; g < basis->group_counts[length - 2]; g++, group += 2 * length) {
            const ptrdiff_t count = group[0];
            for (ptrdiff_t c = 0; c < count; c++) x_gradient[group[1] + c] += grad[c];
            for (ptrdiff_t k = 1; k < length; k++) {
                const ELEM head = x[group[2 * k]], *tail = b + group[2 * k + 1];
                ELEM *tail_gradient = b_gradient + group[2 * k + 1], dot = {0};
                for (ptrdiff_t c = 0; c < count; c++) {
                    dot += grad[c] * tail[c];
                    tail_gradient[c] += grad[c] * head;
                }
                x_gradient[group[2 * k]] += dot;
            }
            grad += count;
        }
}

/* Where B_n is kept: in one of two places in turn, or, to come back to it, each in its own. */
static ptrdiff_t TENSOR(stage_place)(const tensor_shape *shape, ptrdiff_t n, int keep) {
    const ptrdiff_t words = shape->offset[shape->depth];
    ptrdiff_t place = 0;
    if (!keep) return n % 2 ? 0 : words;
    for (ptrdiff_t m = 1; m < n; m++) place += shape->offset[shape->depth - m + 1];
    return place;
}

/* B_{depth - 1}, ..., B_1. */
static void TENSOR(make_stages)(const tensor_shape *shape, const ELEM *x, ELEM *stages, int keep) {
    for (ptrdiff_t n = shape->depth - 1; n >= 1; n--) {
        ELEM *stage = stages + TENSOR(stage_place)(shape, n, keep);
        const ELEM *next = stages + TENSOR(stage_place)(shape, n + 1, keep);
        const REAL ratio = tensor_ratio(shape, n);
        for (ptrdiff_t length = 1; length <= shape->depth - n; length++)
            TENSOR(multiply_level)(shape, stage, x, next, length, ratio);
    }
}

/* The series of x; stages: room for two tensors of depth - 1.  basis: of the result, or NULL. */
static void TENSOR(evaluate_series)(const tensor_shape *shape, const lyndon_basis *basis,
                                    const ELEM *x, ELEM *stages, ELEM *result) {
    TENSOR(make_stages)(shape, x, stages, 0);
    if (basis == NULL) {
        for (ptrdiff_t length = 1; length <= shape->depth; length++)
            TENSOR(multiply_level)(shape, result, x, stages, length, 1);
        return;
    }
    TENSOR(multiply_at_lyndon_words)(shape, basis, x, stages, result);
    if (basis->brackets) TENSOR(solve_brackets)(&basis->system, result);
}

static void TENSOR(clear)(ELEM *numbers, ptrdiff_t count) {
    if (count) memset(numbers, 0, (size_t)count * sizeof(ELEM));
}

/* The gradient in x, from that of the result, which is changed.  stages: room for
 * tensor_stage_words; gradients: for two tensors of depth - 1.  x needs no words of length depth. */
static void TENSOR(evaluate_series_backward)(const tensor_shape *shape, const lyndon_basis *basis,
                                             ELEM *grad, const ELEM *x, ELEM *stages,
                                             ELEM *gradients, ELEM *x_gradient) {
    const ptrdiff_t lower = shape->offset[shape->depth];
    TENSOR(make_stages)(shape, x, stages, 1);
    TENSOR(clear)(x_gradient, shape->offset[shape->depth + 1]);
    TENSOR(clear)(gradients, lower);
    if (basis) {
        if (basis->brackets) TENSOR(solve_brackets_backward)(&basis->system, grad);
        TENSOR(multiply_at_lyndon_words_backward)(shape, basis, grad, x, stages, x_gradient,
                                                  gradients);
    } else {
        for (ptrdiff_t length = 1; length <= shape->depth; length++)
            TENSOR(multiply_level_backward)(shape, grad, x, stages, x_gradient, gradients, length,
                                            1);
    }
    for (ptrdiff_t n = 1; n < shape->depth; n++) {
        ELEM *current = gradients + (n % 2 ? 0 : lower), *next = gradients + (n % 2 ? lower : 0);
        const ELEM *stage = stages + TENSOR(stage_place)(shape, n + 1, 1);
        TENSOR(clear)(next, shape->offset[shape->depth - n]);
        for (ptrdiff_t length = 1; length <= shape->depth - n; length++)
            TENSOR(multiply_level_backward)(shape, current, x, stage, x_gradient, next, length,
                                            tensor_ratio(shape, n));
    }
}
