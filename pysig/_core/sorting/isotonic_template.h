/* One row, for the type REAL. */

/* --- isotonic regression --- */

/* y and weights are read forwards or, for a decreasing regression, backwards. */
typedef struct {
    const REAL *y, *weights; /* the first entries; weights may be NULL */
    ptrdiff_t step, n;
    int is_kl;
} NAME(isotonic_input);

DEVICE isotonic_block NAME(isotonic_single)(const NAME(isotonic_input) *input, ptrdiff_t i) {
    const double weight = input->weights ? (double)input->weights[i * input->step] : 1;
    const double y = (double)input->y[i * input->step];
    return (isotonic_block){y, input->is_kl ? weight : 0, weight, (int)i, 1};
}

/* Whether the value of b, which begins where a ends, is not larger than that of a. */
DEVICE int NAME(isotonic_violates)(int is_kl, const isotonic_block *a, const isotonic_block *b) {
    const double gap = b->reference - a->reference;
    const double mean_a = a->sum / a->weight, mean_b = b->sum / b->weight;
    return gap <= (is_kl ? log(mean_a / mean_b) : mean_a - mean_b);
}

/* Adds b to a. */
DEVICE void NAME(isotonic_add)(int is_kl, isotonic_block *a, const isotonic_block *b) {
    const double gap = b->reference - a->reference;
    if (!is_kl) {
        a->sum += b->sum + gap * b->weight;
    } else if (gap <= 0) {
        a->sum += b->sum * exp(gap);
    } else {
        a->sum = a->sum * exp(-gap) + b->sum;
        a->reference = b->reference;
    }
    a->weight += b->weight;
    a->length += b->length;
}

/* Pools a row; returns how many blocks of several entries there are. */
DEVICE ptrdiff_t NAME(isotonic_pool)(const NAME(isotonic_input) *input, isotonic_block *stack) {
    ptrdiff_t blocks = 0;
    for (ptrdiff_t i = 0; i < input->n;) {
        isotonic_block last = NAME(isotonic_single)(input, i++);
        /* Entries that fall, one after the other, are in one block. */
        for (; i < input->n && input->y[i * input->step] <= input->y[(i - 1) * input->step]; i++) {
            const isotonic_block next = NAME(isotonic_single)(input, i);
            NAME(isotonic_add)(input->is_kl, &last, &next);
        }
        while (last.start > 0) {
            const int is_stored =
                blocks && stack[blocks - 1].start + stack[blocks - 1].length == last.start;
            if (!is_stored && last.length == 1) break; /* the two were compared above */
            isotonic_block before =
                is_stored ? stack[blocks - 1] : NAME(isotonic_single)(input, last.start - 1);
            if (!NAME(isotonic_violates)(input->is_kl, &before, &last)) break;
            NAME(isotonic_add)(input->is_kl, &before, &last);
            last = before;
            blocks -= is_stored;
        }
        if (last.length > 1) stack[blocks++] = last;
    }
    return blocks;
}

static void NAME(isotonic_row)(const isotonic_problem *problem, ptrdiff_t row,
                               isotonic_block *stack) {
    const ptrdiff_t n = problem->n, first = row * n + (problem->is_decreasing ? n - 1 : 0);
    const ptrdiff_t step = problem->is_decreasing ? -1 : 1;
    const REAL *weights = (const REAL *)problem->weights;
    const NAME(isotonic_input) input = {(const REAL *)problem->y + first,
                                        weights ? weights + first : NULL, step, n, problem->is_kl};
    const ptrdiff_t blocks = NAME(isotonic_pool)(&input, stack);
    REAL *value = (REAL *)problem->value + row * n;
    memcpy(value, (const REAL *)problem->y + row * n, (size_t)n * sizeof *value);
    for (ptrdiff_t i = 0; problem->starts && i < n; i++) problem->starts[row * n + i] = 1;
    for (ptrdiff_t k = 0; k < blocks; k++) {
        const double mean = stack[k].sum / stack[k].weight;
        const double result = stack[k].reference + (problem->is_kl ? log(mean) : mean);
        const ptrdiff_t begin = step > 0 ? stack[k].start : n - stack[k].start - stack[k].length;
        for (int i = 0; i < stack[k].length; i++) value[begin + i] = (REAL)result;
        for (int i = 1; problem->starts && i < stack[k].length; i++)
            problem->starts[row * n + begin + i] = 0;
    }
}

/* Where the block that begins at i ends. */
DEVICE ptrdiff_t NAME(isotonic_end)(const uint8_t *starts, ptrdiff_t i, ptrdiff_t n) {
    const uint8_t *next = i + 1 < n ? memchr(starts + i + 1, 1, (size_t)(n - i - 1)) : NULL;
    return next ? next - starts : n;
}

/* With G the sum of the gradients of a block, W that of its weights, v its value:
 *     l2    of y: G weight / W                of the weight: G (y - v) / W
 *     kl    of y: G weight exp(y - v) / W     of the weight: G (exp(y - v) - 1) / W */
static void NAME(isotonic_row_backward)(const isotonic_problem *problem, ptrdiff_t row) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const REAL *y = (const REAL *)problem->y + offset;
    const REAL *value = (const REAL *)problem->value + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *weights = problem->weights ? (const REAL *)problem->weights + offset : NULL;
    REAL *of_y = (REAL *)problem->y_gradient + offset;
    REAL *of_weights = problem->w_gradient ? (REAL *)problem->w_gradient + offset : NULL;
    for (ptrdiff_t i = 0, end; i < n; i = end) {
        double sum = 0, weight = 0;
        end = NAME(isotonic_end)(problem->starts + offset, i, n);
        for (ptrdiff_t j = i; j < end; j++) sum += (double)grad[j];
        for (ptrdiff_t j = i; j < end; j++) weight += weights ? (double)weights[j] : 1;
        const int is_single = end == i + 1;
        for (ptrdiff_t j = i; j < end; j++) {
            const double distance = is_single ? 0 : (double)y[j] - (double)value[j];
            const double share = (weights ? (double)weights[j] : 1) / weight;
            of_y[j] = (REAL)(sum * share * (problem->is_kl ? exp(distance) : 1));
            if (!of_weights) continue;
            of_weights[j] = (REAL)(sum / weight * (problem->is_kl ? expm1(distance) : distance));
        }
    }
}

/* --- projection onto a permutahedron --- */

/* Whether the value of b is not larger than that of a, which ends where b begins. */
DEVICE int NAME(projection_violates)(const isotonic_problem *problem, const REAL *z, const REAL *w,
                                     const projection_block *a, const projection_block *b) {
    if (problem->is_kl) {
        const ptrdiff_t end_a = a->start + a->length - 1, end_b = b->start + b->length - 1;
        if (w[end_b] < -DBL_MAX) return 1; /* both are infinite */
        const double w_gap = (double)w[end_b] - (double)w[end_a];
        return ((double)z[end_b] - (double)z[end_a]) - w_gap <= log((a->z * b->w) / (a->w * b->z));
    }
    const double gap =
        ((double)z[b->start] - (double)z[a->start]) - ((double)w[b->start] - (double)w[a->start]);
    return gap <= (a->z - a->w) / a->length - (b->z - b->w) / b->length;
}

/* Adds b to a. */
DEVICE void NAME(projection_add)(const isotonic_problem *problem, const REAL *z, const REAL *w,
                                 projection_block *a, const projection_block *b) {
    if (problem->is_kl) {
        const ptrdiff_t end_a = a->start + a->length - 1, end_b = b->start + b->length - 1;
        a->z = a->z * isotonic_ratio((double)z[end_a], (double)z[end_b]) + b->z;
        a->w = a->w * isotonic_ratio((double)w[end_a], (double)w[end_b]) + b->w;
    } else {
        a->z += b->z + ((double)z[b->start] - (double)z[a->start]) * b->length;
        a->w += b->w + ((double)w[b->start] - (double)w[a->start]) * b->length;
    }
    a->length += b->length;
}

DEVICE ptrdiff_t NAME(projection_pool)(const isotonic_problem *problem, const REAL *z,
                                       const REAL *w, projection_block *stack) {
    const double single = problem->is_kl;
    ptrdiff_t blocks = 0;
    for (ptrdiff_t i = 0; i < problem->n; i++) {
        projection_block last = {single, single, (int)i, 1};
        while (last.start > 0) {
            projection_block before = {single, single, last.start - 1, 1};
            const int is_stored =
                blocks && stack[blocks - 1].start + stack[blocks - 1].length == last.start;
            if (is_stored) before = stack[blocks - 1];
            if (!NAME(projection_violates)(problem, z, w, &before, &last)) break;
            NAME(projection_add)(problem, z, w, &before, &last);
            last = before;
            blocks -= is_stored;
        }
        if (last.length > 1) stack[blocks++] = last;
    }
    return blocks;
}

/* value_i = z_i - v of its block; an entry alone takes its w. */
static void NAME(projection_row)(const isotonic_problem *problem, ptrdiff_t row,
                                 projection_block *stack) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const REAL *z = (const REAL *)problem->y + offset, *w = (const REAL *)problem->weights + offset;
    REAL *value = (REAL *)problem->value + offset;
    REAL *z_share = problem->y_share ? (REAL *)problem->y_share + offset : NULL;
    REAL *w_share = problem->w_share ? (REAL *)problem->w_share + offset : NULL;
    const ptrdiff_t blocks = NAME(projection_pool)(problem, z, w, stack);
    memcpy(value, w, (size_t)n * sizeof *value);
    for (ptrdiff_t i = 0; problem->starts && i < n; i++) problem->starts[offset + i] = 1;
    if (z_share)
        for (ptrdiff_t i = 0; i < n; i++) z_share[i] = w_share[i] = 1;
    for (ptrdiff_t k = 0; k < blocks; k++) {
        const projection_block block = stack[k];
        const ptrdiff_t begin = block.start, end = begin + block.length;
        const ptrdiff_t origin = problem->is_kl ? end - 1 : begin;
        const double shift =
            problem->is_kl ? log(block.w / block.z) : (block.w - block.z) / block.length;
        for (ptrdiff_t i = begin; i < end; i++) {
            const double distance = (double)z[i] - (double)z[origin];
            value[i] = (REAL)(distance + shift + (double)w[origin]);
            if (!z_share) continue;
            z_share[i] = (REAL)(exp(distance) / block.z);
            w_share[i] = (REAL)(isotonic_ratio((double)w[i], (double)w[origin]) / block.w);
        }
        for (ptrdiff_t i = begin + 1; problem->starts && i < end; i++)
            problem->starts[offset + i] = 0;
    }
}

/* With G the sum of the gradients of a block of m: l2: of z: grad - G / m, of w: G / m; kl: of z:
 * grad - G share of z, of w: G share of w.  All in sorted order. */
static void NAME(projection_row_backward)(const isotonic_problem *problem, ptrdiff_t row) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *z_share = problem->y_share ? (const REAL *)problem->y_share + offset : NULL;
    const REAL *w_share = problem->w_share ? (const REAL *)problem->w_share + offset : NULL;
    REAL *of_z = (REAL *)problem->y_gradient + offset;
    REAL *of_w = (REAL *)problem->w_gradient + offset;
    for (ptrdiff_t i = 0, end; i < n; i = end) {
        double sum = 0;
        end = NAME(isotonic_end)(problem->starts + offset, i, n);
        for (ptrdiff_t j = i; j < end; j++) sum += (double)grad[j];
        const double equal = 1 / (double)(end - i);
        for (ptrdiff_t j = i; j < end; j++) {
            of_z[j] = (REAL)((double)grad[j] - sum * (z_share ? (double)z_share[j] : equal));
            of_w[j] = (REAL)(sum * (w_share ? (double)w_share[j] : equal));
        }
    }
}
