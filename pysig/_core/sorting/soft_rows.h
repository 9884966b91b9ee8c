/* One row: from the sorted entries to its blocks, and to the result. */

/* Puts exp((s - last) / strength) in place of s, if none of them underflows. */
static int NAME(soft_exponentials)(REAL *sorted, ptrdiff_t n, double strength) {
    const double last = (double)sorted[n - 1], inverse = 1 / strength;
    if (!(((double)sorted[0] - last) * inverse > (REAL_BYTES == 8 ? -600 : -80))) return 0;
    for (ptrdiff_t i = 0; i < n; i++)
        sorted[i] = (REAL)soft_exp_negative(((double)sorted[i] - last) * inverse);
    return 1;
}

/* Pools a sorted row; infinite entries, which only ranks may have, are blocks of their own. */
static ptrdiff_t NAME(soft_make_blocks)(const soft_problem *problem, int kind, const REAL *sorted,
                                        soft_block *stack) {
    const ptrdiff_t n = problem->n;
    const double strength = problem->strength;
    ptrdiff_t begin = 0, end = n, blocks = 0;
    while (begin < n && sorted[begin] < -REAL_MAX) begin++;
    while (end > begin && sorted[end - 1] > REAL_MAX) end--;
    if (begin > 1) stack[blocks++] = (soft_block){0, 0, (int)begin};
    switch (kind) { /* constants, so that each call becomes a loop of its own */
        case SOFT_SORT_L2:
            blocks += NAME(soft_pool)(SOFT_SORT_L2, sorted, begin, end, strength, stack + blocks);
            break;
        case SOFT_RANK_L2:
            blocks += NAME(soft_pool)(SOFT_RANK_L2, sorted, begin, end, strength, stack + blocks);
            break;
        case SOFT_SORT_KL:
            blocks += NAME(soft_pool)(SOFT_SORT_KL, sorted, begin, end, strength, stack + blocks);
            break;
        case SOFT_RANK_KL:
            blocks += NAME(soft_pool)(SOFT_RANK_KL, sorted, begin, end, strength, stack + blocks);
            break;
        default:
            blocks += NAME(soft_pool)(SOFT_RANK_EXP, sorted, begin, end, strength, stack + blocks);
    }
    if (n - end > 1) stack[blocks++] = (soft_block){0, (int)end, (int)(n - end)};
    return blocks;
}

/* The entries of one block of a soft sort. */
static void NAME(soft_sort_block)(const soft_problem *problem, const soft_block *block,
                                  const REAL *sorted, REAL *value, REAL *weights) {
    const double first = (double)sorted[block->start], inverse = 1 / problem->strength;
    const int m = block->length, is_kl = problem->kind == SOFT_SORT_KL;
    double base = first + block->sum / m - inverse * (0.5 * (m - 1));
    sorted += block->start, value += block->start;
    if (is_kl) {
        double sum = 0;
        if (weights) {
            weights += block->start;
            for (int i = 0; i < m; i++)
                weights[i] = (REAL)soft_exp_negative(first - (double)sorted[i]);
            for (int i = 0; i < m; i++) sum += (double)weights[i];
            for (int i = 0; i < m; i++) weights[i] = (REAL)((double)weights[i] / sum);
        }
        base = first - log(block->sum / soft_geometric(m, inverse));
    }
    for (int i = 0; i < m; i++) value[i] = (REAL)(problem->sign * (base + i * inverse));
}

/* A row of soft sort from its sorted entries, which may stand in `value`. */
static void NAME(soft_write_sort)(const soft_problem *problem, const soft_block *blocks,
                                  ptrdiff_t count, const REAL *sorted, REAL *value, uint8_t *starts,
                                  REAL *weights) {
    const ptrdiff_t n = problem->n;
    if (starts) memset(starts, 1, (size_t)n);
    if (weights)
        for (ptrdiff_t i = 0; i < n; i++) weights[i] = 1;
    ptrdiff_t position = 0;
    for (ptrdiff_t k = 0; k <= count; k++) {
        const ptrdiff_t next = k < count ? blocks[k].start : n;
        if (problem->sign < 0)
            for (; position < next; position++) value[position] = -sorted[position];
        else if (value != sorted)
            memcpy(value + position, sorted + position, (size_t)(next - position) * sizeof *value);
        if (k == count) break;
        NAME(soft_sort_block)(problem, &blocks[k], sorted, value, weights);
        if (starts) memset(starts + next + 1, 0, (size_t)blocks[k].length - 1);
        position = next + blocks[k].length;
    }
}

/* The ranks of one block, in place of its sorted entries. */
static void NAME(soft_rank_block)(int kind, double strength, const soft_block *block,
                                  REAL *sorted) {
    const double inverse = 1 / strength, centre = block->start + 0.5 * (block->length + 1);
    const int m = block->length;
    sorted += block->start;
    const double first = (double)sorted[0], last = (double)sorted[m - 1], mean = block->sum / m;
    double sum = block->sum;
    if (first < -REAL_MAX || first > REAL_MAX) {
        for (int i = 0; i < m; i++) sorted[i] = (REAL)centre;
        return;
    }
    if (kind == SOFT_RANK_L2) {
        for (int i = 0; i < m; i++)
            sorted[i] = (REAL)(((double)sorted[i] - first - mean) * inverse + centre);
        return;
    }
    if (kind == SOFT_RANK_KL) {
        for (int i = 0; i < m; i++)
            sorted[i] = (REAL)soft_exp_negative(((double)sorted[i] - last) * inverse);
        sum = NAME(soft_sum)(sorted, m, 0);
    }
    const double share = soft_positions(block) / sum;
    for (int i = 0; i < m; i++) sorted[i] = (REAL)(share * (double)sorted[i]);
}

/* A row of soft ranks from its sorted entries, which are overwritten. */
static void NAME(soft_write_rank)(const soft_problem *problem, int kind, const soft_block *blocks,
                                  ptrdiff_t count, const int32_t *order, REAL *sorted, REAL *value,
                                  int32_t *number) {
    const ptrdiff_t n = problem->n;
    ptrdiff_t position = 0;
    int32_t block = 0;
    for (ptrdiff_t k = 0; k <= count; k++) {
        const ptrdiff_t next = k < count ? blocks[k].start : n;
        for (; position < next; position++, block++) {
            value[order[position]] = (REAL)(position + 1);
            if (number) number[order[position]] = block;
        }
        if (k == count) break;
        NAME(soft_rank_block)(kind, problem->strength, &blocks[k], sorted);
        for (; position < next + blocks[k].length; position++) {
            value[order[position]] = sorted[position];
            if (number) number[order[position]] = block;
        }
        block++;
    }
}

/* A row that stands sorted in `sorted`, with the permutation in `order`.  The blocks use `keys`. */
static int NAME(soft_finish_row)(const soft_problem *problem, ptrdiff_t row, const int32_t *order,
                                 REAL *sorted, double *keys) {
    const ptrdiff_t n = problem->n, offset = row * n;
    soft_block *blocks = (soft_block *)(void *)keys;
    REAL *value = (REAL *)problem->value + offset;
    const int is_rank = problem->kind == SOFT_RANK_L2 || problem->kind == SOFT_RANK_KL;
    if (problem->kind == SOFT_SORT_HARD) return SOFT_OK;
    if (!is_rank && !(sorted[0] >= -REAL_MAX && sorted[n - 1] <= REAL_MAX)) return SOFT_INFINITE;
    int kind = problem->kind;
    if (kind == SOFT_RANK_KL && NAME(soft_exponentials)(sorted, n, problem->strength))
        kind = SOFT_RANK_EXP;
    const ptrdiff_t count = NAME(soft_make_blocks)(problem, kind, sorted, blocks);
    if (is_rank) {
        int32_t *number = problem->blocks ? problem->blocks + offset : NULL;
        NAME(soft_write_rank)(problem, kind, blocks, count, order, sorted, value, number);
    } else {
        uint8_t *starts = problem->starts ? problem->starts + offset : NULL;
        REAL *weights = problem->weights ? (REAL *)problem->weights + offset : NULL;
        NAME(soft_write_sort)(problem, blocks, count, sorted, value, starts, weights);
    }
    return SOFT_OK;
}
