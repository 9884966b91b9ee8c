/* Vector-Jacobian products of one row.  Every block has a Jacobian of its own. */

/* --- sort: the blocks are known in sorted order ---
 *
 * Each needs a sum over the block.  Blocks inside a chunk are done at once; of those that reach into
 * other chunks, there are first the sums of the pieces, then the gradients. */

typedef struct {
    const soft_problem *problem;
    ptrdiff_t row;
    int kind;
    soft_part *parts;
} NAME(soft_backward);

/* Where the next block begins, or `end`. */
static ptrdiff_t NAME(soft_next_start)(const uint8_t *starts, ptrdiff_t i, ptrdiff_t end) {
    const uint8_t *next = i < end ? memchr(starts + i, 1, (size_t)(end - i)) : NULL;
    return next ? next - starts : end;
}

/* The sum of the gradients over a piece of a block. */
ALWAYS_INLINE double NAME(soft_piece_sum)(const soft_problem *problem, ptrdiff_t row,
                                          soft_range piece) {
    const REAL *grad = (const REAL *)problem->grad + row * problem->n;
    return NAME(soft_sum)(grad + piece.begin, piece.end - piece.begin, 0);
}

/* The gradient of a piece of a block of several entries, of which the sum is known. */
ALWAYS_INLINE void NAME(soft_piece_gradient)(const soft_problem *problem, ptrdiff_t row, int kind,
                                             soft_range piece, const soft_block *block) {
    const ptrdiff_t offset = row * problem->n;
    const int32_t *order = problem->order + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    if (kind == SOFT_SORT_KL) {
        const REAL *weights = (const REAL *)problem->weights + offset;
        for (ptrdiff_t i = piece.begin; i < piece.end; i++)
            result[order[i]] = (REAL)(block->sum * (double)weights[i]);
    } else {
        const REAL mean = (REAL)(block->sum / block->length);
        for (ptrdiff_t i = piece.begin; i < piece.end; i++) result[order[i]] = mean;
    }
}

/* The blocks inside a chunk, and the sums of the pieces at its two ends. */
ALWAYS_INLINE void NAME(soft_inner_gradients)(const NAME(soft_backward) *job, int kind,
                                              ptrdiff_t chunk) {
    const soft_problem *problem = job->problem;
    const ptrdiff_t n = problem->n, offset = job->row * n;
    const soft_range range = soft_chunk(n, chunk);
    const uint8_t *starts = problem->starts + offset;
    const int32_t *order = problem->order + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    soft_part *part = &job->parts[chunk];
    ptrdiff_t i = range.begin ? NAME(soft_next_start)(starts, range.begin, range.end) : 0;
    part->head = (soft_range){range.begin, i};
    part->tail = (soft_range){range.end, range.end};
    part->head_sum = part->tail_sum = 0;
    part->head_block = part->tail_block = (soft_block){0, 0, 1};
    if (i > range.begin) part->head_sum = NAME(soft_piece_sum)(problem, job->row, part->head);
    while (i < range.end) {
        /* Entries that are alone. */
        for (uint64_t next; i + 8 < range.end; i += 8) {
            memcpy(&next, starts + i + 1, sizeof next);
            if (next != 0x0101010101010101) break;
            for (ptrdiff_t j = i; j < i + 8; j++) result[order[j]] = grad[j];
        }
        ptrdiff_t end = i + 1;
        if (end == n || starts[end]) {
            result[order[i]] = grad[i];
            i = end;
            continue;
        }
        end = NAME(soft_next_start)(starts, end, range.end);
        const soft_range piece = {i, end};
        const double sum = NAME(soft_piece_sum)(problem, job->row, piece);
        if (end == range.end && end < n && !starts[end]) {
            part->tail = piece, part->tail_sum = sum;
        } else {
            const soft_block block = {sum, (int)i, (int)(end - i)};
            NAME(soft_piece_gradient)(problem, job->row, kind, piece, &block);
        }
        i = end;
    }
}

/* The gradients of the pieces at the ends of a chunk. */
ALWAYS_INLINE void NAME(soft_outer_gradients)(const NAME(soft_backward) *job, int kind,
                                              ptrdiff_t chunk) {
    const soft_part *part = &job->parts[chunk];
    NAME(soft_piece_gradient)(job->problem, job->row, kind, part->head, &part->head_block);
    NAME(soft_piece_gradient)(job->problem, job->row, kind, part->tail, &part->tail_block);
}

/* Constants, so that each kind becomes loops of its own. */
#define SOFT_EACH_KIND(function)                                        \
    static void NAME(function##_task)(void *context, ptrdiff_t chunk) { \
        const NAME(soft_backward) *job = context;                       \
        if (job->kind == SOFT_SORT_KL)                                  \
            NAME(function)(job, SOFT_SORT_KL, chunk);                   \
        else                                                            \
            NAME(function)(job, SOFT_SORT_L2, chunk);                   \
    }
SOFT_EACH_KIND(soft_inner_gradients)
SOFT_EACH_KIND(soft_outer_gradients)
#undef SOFT_EACH_KIND

/* Adds up the pieces of the blocks that reach into several chunks. */
static void NAME(soft_join_pieces)(soft_part *parts, ptrdiff_t chunks) {
    for (ptrdiff_t first = 0, last; first < chunks; first = last) {
        soft_block block = {parts[first].tail_sum, (int)parts[first].tail.begin,
                            (int)(parts[first].tail.end - parts[first].tail.begin)};
        last = first + 1;
        if (!block.length) continue;
        for (ptrdiff_t end = parts[first].tail.end; last < chunks; last++) {
            const soft_range head = parts[last].head;
            if (head.begin != end || head.end == head.begin) break;
            block.sum += parts[last].head_sum;
            block.length += (int)(head.end - head.begin);
            end = head.end;
        }
        parts[first].tail_block = block;
        for (ptrdiff_t chunk = first + 1; chunk < last; chunk++) parts[chunk].head_block = block;
        /* The last of these chunks may begin another block. */
        if (last > first + 1) last--;
    }
}

/* A short row: all entries as if they were alone, then those that are not. */
ALWAYS_INLINE void NAME(soft_short_sort_backward)(const soft_problem *problem, ptrdiff_t row,
                                                  int kind) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const uint8_t *starts = problem->starts + offset;
    const int32_t *order = problem->order + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    for (ptrdiff_t i = 0; i < n; i++) result[order[i]] = grad[i];
    for (ptrdiff_t i = 0; i < n;) {
        const uint8_t *second = memchr(starts + i, 0, (size_t)(n - i));
        if (!second) return;
        const ptrdiff_t begin = second - starts - 1;
        i = NAME(soft_next_start)(starts, begin + 2, n);
        const soft_range piece = {begin, i};
        const soft_block block = {NAME(soft_piece_sum)(problem, row, piece), (int)begin,
                                  (int)(i - begin)};
        NAME(soft_piece_gradient)(problem, row, kind, piece, &block);
    }
}

static void NAME(soft_sort_backward)(const soft_problem *problem, ptrdiff_t row,
                                     const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    if (n <= SOFT_STRIP && problem->kind == SOFT_SORT_KL) {
        NAME(soft_short_sort_backward)(problem, row, SOFT_SORT_KL);
        return;
    }
    if (n <= SOFT_STRIP) {
        NAME(soft_short_sort_backward)(problem, row, SOFT_SORT_L2);
        return;
    }
    NAME(soft_backward) job = {problem, row, problem->kind, workspace->parts};
    soft_run(workspace, NAME(soft_inner_gradients_task), &job, n);
    if (soft_chunks(n) > 1) {
        NAME(soft_join_pieces)(workspace->parts, soft_chunks(n));
        soft_run(workspace, NAME(soft_outer_gradients_task), &job, n);
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
        end = NAME(soft_next_start)(starts, i + 1, n);
        if (end == i + 1) continue;
        const double m = (double)(end - i);
        double centre = 0.5 * (m - 1), sum = 0;
        if (problem->kind == SOFT_SORT_KL) centre = soft_geometric_mean(m, inverse);
        for (ptrdiff_t j = i; j < end; j++) sum += (double)grad[j] * ((double)(j - i) - centre);
        total += sum;
    }
    return -problem->sign * total * inverse * inverse;
}

/* --- rank: the blocks are known in the order of the entries ---
 *
 * l2: (grad - M) / strength, where M is the mean of the gradients over the block;
 * kl: r (grad - M) / strength, where M is their mean with the weights r, the ranks.
 * The gradient of an entry alone is 0: it is its own mean. */

typedef struct {
    const soft_problem *problem;
    ptrdiff_t row;
    soft_part *parts;
    double *sums;     /* [tables][count]; at last the means */
    int32_t *lengths; /* [tables][count] */
    ptrdiff_t count, tables;
} NAME(soft_means);

static void NAME(soft_find_count)(void *context, ptrdiff_t chunk) {
    const NAME(soft_means) *job = context;
    const int32_t *blocks = job->problem->blocks + job->row * job->problem->n;
    const soft_range range = soft_chunk(job->problem->n, chunk);
    int32_t largest = 0;
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        largest = blocks[i] > largest ? blocks[i] : largest;
    job->parts[chunk].count = largest + 1;
}

/* The sum of products, as soft_sum. */
static double NAME(soft_sum_products)(const REAL *x, const REAL *y, ptrdiff_t n) {
    enum { SUMS = 8 };
    double sums[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int j = 0; j < SUMS; j++) sums[j] += (double)x[i + j] * (double)y[i + j];
    for (int j = 0; i + j < n; j++) sums[j] += (double)x[i + j] * (double)y[i + j];
    for (int j = 1; j < SUMS; j++) sums[0] += sums[j];
    return sums[0];
}

static void NAME(soft_sum_chunk)(void *context, ptrdiff_t chunk) {
    const NAME(soft_means) *job = context;
    const soft_problem *problem = job->problem;
    const soft_range range = soft_chunk(problem->n, chunk);
    const ptrdiff_t begin = job->row * problem->n + range.begin, length = range.end - range.begin;
    const REAL *grad = (const REAL *)problem->grad + begin;
    const REAL *ranks = (const REAL *)problem->value + begin;
    job->parts[chunk].head_sum = problem->kind == SOFT_RANK_KL
                                     ? NAME(soft_sum_products)(grad, ranks, length)
                                     : NAME(soft_sum)(grad, length, 0);
}

/* Adds an entry to the table of sums. */
ALWAYS_INLINE void NAME(soft_add_entry)(const NAME(soft_means) *job, ptrdiff_t table, ptrdiff_t i,
                                        int is_kl) {
    const soft_problem *problem = job->problem;
    const ptrdiff_t place = job->row * problem->n + i;
    const ptrdiff_t k = table * job->count + problem->blocks[place];
    const double grad = (double)((const REAL *)problem->grad)[place];
    job->sums[k] += is_kl ? grad * (double)((const REAL *)problem->value)[place] : grad;
    job->lengths[k]++;
}

/* Entries far from each other take turns: neighbours often share a block, and wait for each other. */
ALWAYS_INLINE void NAME(soft_add_entries)(const NAME(soft_means) *job, ptrdiff_t table,
                                          soft_range range, int is_kl) {
    const ptrdiff_t part = (range.end - range.begin) / SOFT_TOGETHER;
    for (ptrdiff_t i = range.begin; i < range.begin + part; i++)
        for (int j = 0; j < SOFT_TOGETHER; j++)
            NAME(soft_add_entry)(job, table, i + j * part, is_kl);
    for (ptrdiff_t i = range.begin + SOFT_TOGETHER * part; i < range.end; i++)
        NAME(soft_add_entry)(job, table, i, is_kl);
}

static void NAME(soft_fill_table)(void *context, ptrdiff_t table) {
    const NAME(soft_means) *job = context;
    const soft_range range = soft_tables_part(job->problem->n, table, job->tables);
    const ptrdiff_t offset = table * job->count;
    memset(job->sums + offset, 0, (size_t)job->count * sizeof *job->sums);
    memset(job->lengths + offset, 0, (size_t)job->count * sizeof *job->lengths);
    if (job->problem->kind == SOFT_RANK_KL)
        NAME(soft_add_entries)(job, table, range, 1);
    else
        NAME(soft_add_entries)(job, table, range, 0);
}

static void NAME(soft_subtract_means)(void *context, ptrdiff_t chunk) {
    const NAME(soft_means) *job = context;
    const soft_problem *problem = job->problem;
    const ptrdiff_t offset = job->row * problem->n;
    const soft_range range = soft_chunk(problem->n, chunk);
    const int32_t *blocks = problem->blocks + offset, *lengths = job->lengths;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    const double scale = problem->sign / problem->strength, *means = job->sums, mean = means[0];
    const int is_kl = problem->kind == SOFT_RANK_KL;
    if (job->count == 1 && is_kl)
        for (ptrdiff_t i = range.begin; i < range.end; i++)
            result[i] = (REAL)((double)ranks[i] * ((double)grad[i] - mean) * scale);
    else if (job->count == 1)
        for (ptrdiff_t i = range.begin; i < range.end; i++)
            result[i] = (REAL)(((double)grad[i] - mean) * scale);
    else if (is_kl)
        for (ptrdiff_t i = range.begin; i < range.end; i++) {
            const double difference = (double)grad[i] - means[blocks[i]];
            const double factor = lengths[blocks[i]] > 1 ? (double)ranks[i] * scale : 0;
            result[i] = (REAL)(difference * factor);
        }
    else
        for (ptrdiff_t i = range.begin; i < range.end; i++)
            result[i] = (REAL)(((double)grad[i] - means[blocks[i]]) * scale);
}

/* Adds up the tables, and divides by the sums of weights: numbers of entries, or ranks. */
static void NAME(soft_divide_sums)(const NAME(soft_means) *job) {
    const int is_kl = job->problem->kind == SOFT_RANK_KL;
    const ptrdiff_t count = job->count;
    double *sums = job->sums;
    int32_t *lengths = job->lengths;
    soft_block block = {0, 0, 0};
    for (ptrdiff_t k = 0; k < count; k++) {
        for (ptrdiff_t table = 1; table < job->tables; table++) {
            sums[k] += sums[table * count + k];
            lengths[k] += lengths[table * count + k];
        }
        block.start += block.length;
        block.length = lengths[k];
        sums[k] /= is_kl ? soft_positions(&block) : block.length;
    }
}

/* Short rows, one after the other in memory.  Sums that wait for each other are those of one row. */
ALWAYS_INLINE void NAME(soft_short_rank_backward)(const soft_problem *problem, ptrdiff_t first,
                                                  int rows, int is_kl) {
    const int n = (int)problem->n;
    const int32_t *blocks = problem->blocks + first * n;
    const REAL *grad = (const REAL *)problem->grad + first * n;
    const REAL *ranks = (const REAL *)problem->value + first * n;
    REAL *result = (REAL *)problem->x_gradient + first * n;
    const double scale = problem->sign / problem->strength;
    /* Of each block: the sums of the weighted gradients and of the weights. */
    soft_pair table[SOFT_TOGETHER][SOFT_STRIP];
    double sums[SOFT_TOGETHER * SOFT_STRIP], weights[SOFT_TOGETHER * SOFT_STRIP];
    for (int row = 0; row < rows; row++) memset(table[row], 0, (size_t)n * sizeof *table[row]);
    for (int i = 0; i < n; i++)
        for (int row = 0; row < rows; row++) {
            const int place = row * n + i;
            const double weight = is_kl ? (double)ranks[place] : 1;
            table[row][blocks[place]] += weight * (soft_pair){(double)grad[place], 1};
        }
    for (int row = 0; row < rows; row++)
        for (int place = row * n; place < (row + 1) * n; place++) {
            const soft_pair pair = table[row][blocks[place]];
            sums[place] = pair[0], weights[place] = pair[1];
        }
    for (int place = 0; place < rows * n; place++) {
        const double weight = is_kl ? (double)ranks[place] : 1;
        const double factor = weight < weights[place] ? scale * weight : 0;
        result[place] = (REAL)(((double)grad[place] - sums[place] / weights[place]) * factor);
    }
}

/* One row: a long one, or a short one that is one block. */
static void NAME(soft_rank_backward)(const soft_problem *problem, ptrdiff_t row,
                                     const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, chunks = soft_chunks(n);
    soft_part *parts = workspace->parts;
    NAME(soft_means) job = {problem, row, parts, workspace->keys, workspace->order, 1, 1};
    if (n > SOFT_STRIP) soft_run(workspace, NAME(soft_find_count), &job, n);
    for (ptrdiff_t chunk = 0; n > SOFT_STRIP && chunk < chunks; chunk++)
        job.count = parts[chunk].count > job.count ? parts[chunk].count : job.count;
    if (job.count == 1) {
        soft_run(workspace, NAME(soft_sum_chunk), &job, n);
        job.sums[0] = 0;
        for (ptrdiff_t chunk = 0; chunk < chunks; chunk++) job.sums[0] += parts[chunk].head_sum;
        job.lengths[0] = (int32_t)n;
    } else {
        job.tables = soft_choose_tables(n, job.count);
        soft_run_tasks(workspace, NAME(soft_fill_table), &job, job.tables);
    }
    NAME(soft_divide_sums)(&job);
    soft_run(workspace, NAME(soft_subtract_means), &job, n);
}

/* Whether all of some rows are one block each. */
static int NAME(soft_is_one_block)(const int32_t *blocks, ptrdiff_t count) {
    int32_t any = 0;
    for (ptrdiff_t i = 0; i < count; i++) any |= blocks[i];
    return !any;
}

/* The rows from first to last. */
static void NAME(soft_ranks_backward)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                      const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    for (ptrdiff_t row = first, rows; row < last; row += rows) {
        rows = n <= SOFT_STRIP && last - row >= SOFT_TOGETHER ? SOFT_TOGETHER : 1;
        if (n > SOFT_STRIP || NAME(soft_is_one_block)(problem->blocks + row * n, rows * n))
            for (ptrdiff_t each = row; each < row + rows; each++)
                NAME(soft_rank_backward)(problem, each, workspace);
        else if (problem->kind == SOFT_RANK_L2)
            NAME(soft_short_rank_backward)(problem, row, (int)rows, 0);
        else if (rows == 1)
            NAME(soft_short_rank_backward)(problem, row, 1, 1);
        else
            NAME(soft_short_rank_backward)(problem, row, SOFT_TOGETHER, 1);
    }
}

/* The derivative with respect to the strength, times grad: the sum of - grad f (t - T) / strength,
 *     l2: where t is the rank, T the mean of t over the block, and f = 1;
 *     kl: where t is the logarithm of the rank r, T its mean with the weights r, and f = r. */
static double NAME(soft_rank_strength)(const soft_problem *problem, ptrdiff_t row,
                                       const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const int32_t *blocks = problem->blocks + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    const int is_kl = problem->kind == SOFT_RANK_KL;
    int32_t *lengths = workspace->order, count = 0;
    double *means = workspace->keys, total = 0;
    for (ptrdiff_t i = 0; i < n; i++) count = blocks[i] >= count ? blocks[i] + 1 : count;
    memset(lengths, 0, (size_t)count * sizeof *lengths);
    memset(means, 0, (size_t)count * sizeof *means);
    for (ptrdiff_t i = 0; i < n; i++) lengths[blocks[i]]++;
    for (ptrdiff_t i = 0; is_kl && i < n; i++)
        means[blocks[i]] += (double)ranks[i] * log((double)ranks[i]);
    soft_block block = {0, 0, 0};
    for (int32_t k = 0; k < count; k++) {
        block.start += block.length;
        block.length = lengths[k];
        means[k] =
            is_kl ? means[k] / soft_positions(&block) : soft_positions(&block) / block.length;
    }
    for (ptrdiff_t i = 0; i < n; i++) {
        const double r = (double)ranks[i];
        if (lengths[blocks[i]] == 1) continue;
        total += (double)grad[i] * (is_kl ? r * (log(r) - means[blocks[i]]) : r - means[blocks[i]]);
    }
    return -total / problem->strength;
}
