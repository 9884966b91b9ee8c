/* Vector-Jacobian products of one row.  Every block has a Jacobian of its own. */

/* Soft sort: the gradient of each entry is its share of the block's sum of gradients. */
static void NAME(soft_sort_backward)(const soft_problem *problem, ptrdiff_t row) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const int32_t *order = problem->order + offset;
    const uint8_t *starts = problem->starts + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *weights = problem->weights ? (const REAL *)problem->weights + offset : NULL;
    REAL *result = (REAL *)problem->x_gradient + offset;
    for (ptrdiff_t i = 0; i < n;) {
        ptrdiff_t end = i + 1;
        if (end == n || starts[end]) {
            result[order[i]] = grad[i];
            i = end;
            continue;
        }
        const uint8_t *next = memchr(starts + end, 1, (size_t)(n - end));
        end = next ? next - starts : n;
        const double sum = NAME(soft_sum)(grad + i, end - i, 0), mean = sum / (double)(end - i);
        if (weights)
            for (; i < end; i++) result[order[i]] = (REAL)(sum * (double)weights[i]);
        else
            for (; i < end; i++) result[order[i]] = (REAL)mean;
    }
}

/* The derivative of the values of a soft sort with respect to the strength, times grad. */
static double NAME(soft_sort_strength)(const soft_problem *problem, ptrdiff_t row) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const uint8_t *starts = problem->starts + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const double inverse = 1 / problem->strength;
    double total = 0;
    for (ptrdiff_t i = 0, end; i < n; i = end) {
        const uint8_t *next = i + 1 < n ? memchr(starts + i + 1, 1, (size_t)(n - i - 1)) : NULL;
        end = next ? next - starts : n;
        if (end == i + 1) continue;
        const double m = (double)(end - i);
        double centre = 0.5 * (m - 1), sum = 0;
        if (problem->kind == SOFT_SORT_KL) centre = soft_geometric_mean(m, inverse);
        for (ptrdiff_t j = i; j < end; j++) sum += (double)grad[j] * ((double)(j - i) - centre);
        total += sum;
    }
    return -problem->sign * total * inverse * inverse;
}

/* The tables of soft_rank_backward, of which `sums` and `lengths` have n entries. */
static int32_t NAME(soft_count_blocks)(const int32_t *blocks, ptrdiff_t n) {
    int32_t largest = 0;
    for (ptrdiff_t i = 0; i < n; i++) largest = blocks[i] > largest ? blocks[i] : largest;
    return largest + 1;
}

/* Soft rank, l2: (grad - its mean over the block) / strength. */
static void NAME(soft_rank_backward_l2)(const soft_problem *problem, ptrdiff_t row,
                                        const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const int32_t *blocks = problem->blocks + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    const double scale = problem->sign / problem->strength;
    const int32_t count = NAME(soft_count_blocks)(blocks, n);
    if (count == 1) {
        const double mean = NAME(soft_sum)(grad, n, 0) / (double)n;
        for (ptrdiff_t i = 0; i < n; i++) result[i] = (REAL)(((double)grad[i] - mean) * scale);
        return;
    }
    double *sums = workspace->keys;
    int32_t *lengths = workspace->order;
    memset(sums, 0, (size_t)count * sizeof *sums);
    memset(lengths, 0, (size_t)count * sizeof *lengths);
    for (ptrdiff_t i = 0; i < n; i++) {
        sums[blocks[i]] += (double)grad[i];
        lengths[blocks[i]]++;
    }
    for (int32_t k = 0; k < count; k++) sums[k] /= lengths[k];
    for (ptrdiff_t i = 0; i < n; i++)
        result[i] = (REAL)(((double)grad[i] - sums[blocks[i]]) * scale);
}

/* Soft rank, kl: r (grad - sum of r grad / sum of r) / strength, with the ranks r of the block. */
static void NAME(soft_rank_backward_kl)(const soft_problem *problem, ptrdiff_t row,
                                        const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const int32_t *blocks = problem->blocks + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    const double scale = problem->sign / problem->strength;
    const int32_t count = NAME(soft_count_blocks)(blocks, n);
    double *means = workspace->keys;
    int32_t *lengths = workspace->order;
    memset(means, 0, (size_t)count * sizeof *means);
    memset(lengths, 0, (size_t)count * sizeof *lengths);
    for (ptrdiff_t i = 0; i < n; i++) {
        means[blocks[i]] += (double)ranks[i] * (double)grad[i];
        lengths[blocks[i]]++;
    }
    soft_block block = {0, 0, 0};
    for (int32_t k = 0; k < count; k++) {
        block.start += block.length;
        block.length = lengths[k];
        means[k] /= soft_positions(&block);
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        const double difference = (double)grad[i] - means[blocks[i]];
        result[i] = (REAL)(lengths[blocks[i]] == 1 ? 0 : (double)ranks[i] * difference * scale);
    }
}

/* The derivative of soft ranks with respect to the strength, times grad; of their blocks is known
 * how many entries there are.  With s = strength, and c the centre of a block,
 *     l2: - (r - c) / s;   kl: - r (log r - mean of log r, weighted by r) / s.  */
static double NAME(soft_rank_strength)(const soft_problem *problem, ptrdiff_t row,
                                       const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const int32_t *blocks = problem->blocks + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    const int is_kl = problem->kind == SOFT_RANK_KL;
    const int32_t count = NAME(soft_count_blocks)(blocks, n);
    double *centres = workspace->keys, total = 0;
    int32_t *lengths = workspace->order;
    memset(centres, 0, (size_t)count * sizeof *centres);
    memset(lengths, 0, (size_t)count * sizeof *lengths);
    for (ptrdiff_t i = 0; i < n; i++) {
        if (is_kl) centres[blocks[i]] += (double)ranks[i] * log((double)ranks[i]);
        lengths[blocks[i]]++;
    }
    soft_block block = {0, 0, 0};
    for (int32_t k = 0; k < count; k++) {
        block.start += block.length;
        block.length = lengths[k];
        const double positions = soft_positions(&block);
        centres[k] = is_kl ? centres[k] / positions : positions / block.length;
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        const double r = (double)ranks[i], centre = centres[blocks[i]];
        if (lengths[blocks[i]] > 1)
            total += (double)grad[i] * (is_kl ? r * (log(r) - centre) : r - centre);
    }
    return -total / problem->strength;
}
