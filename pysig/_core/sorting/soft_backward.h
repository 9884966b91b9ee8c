/* Vector-Jacobian products of one row.  Every block has a Jacobian of its own. */

/* --- gradients whose blocks are known in sorted order: sort, and rank, kl ---
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

/* The sum over a piece of a block: of the gradients, rank: times the ranks. */
ALWAYS_INLINE double NAME(soft_piece_sum)(const soft_problem *problem, ptrdiff_t row, int kind,
                                          soft_range piece) {
    const ptrdiff_t offset = row * problem->n, length = piece.end - piece.begin;
    const REAL *grad = (const REAL *)problem->grad + offset;
    if (kind != SOFT_RANK_KL) return NAME(soft_sum)(grad + piece.begin, length, 0);
    const int32_t *order = problem->order + offset + piece.begin;
    const REAL *ranks = (const REAL *)problem->value + offset;
    double sums[4] = {0};
    ptrdiff_t i = 0;
    for (; i + 4 <= length; i += 4)
        for (int j = 0; j < 4; j++)
            sums[j] += (double)ranks[order[i + j]] * (double)grad[order[i + j]];
    for (int j = 0; i + j < length; j++)
        sums[j] += (double)ranks[order[i + j]] * (double)grad[order[i + j]];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/* The gradient of a piece of a block of several entries, of which the sum is known; rank: the mean of
 * the gradients, weighted by the ranks. */
ALWAYS_INLINE void NAME(soft_piece_gradient)(const soft_problem *problem, ptrdiff_t row, int kind,
                                             soft_range piece, const soft_block *block) {
    const ptrdiff_t offset = row * problem->n;
    const int32_t *order = problem->order + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    if (kind == SOFT_RANK_KL) {
        const REAL mean = (REAL)(block->sum / soft_positions(block));
        for (ptrdiff_t i = piece.begin; i < piece.end; i++) result[order[i]] = mean;
    } else if (kind == SOFT_SORT_KL) {
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
    if (i > range.begin) part->head_sum = NAME(soft_piece_sum)(problem, job->row, kind, part->head);
    while (i < range.end) {
        /* Entries that are alone. */
        for (uint64_t next; i + 8 < range.end; i += 8) {
            memcpy(&next, starts + i + 1, sizeof next);
            if (next != 0x0101010101010101) break;
            for (ptrdiff_t j = i; j < i + 8; j++)
                result[order[j]] = grad[kind == SOFT_RANK_KL ? order[j] : j];
        }
        ptrdiff_t end = i + 1;
        if (end == n || starts[end]) {
            result[order[i]] = grad[kind == SOFT_RANK_KL ? order[i] : i];
            i = end;
            continue;
        }
        end = NAME(soft_next_start)(starts, end, range.end);
        const soft_range piece = {i, end};
        const double sum = NAME(soft_piece_sum)(problem, job->row, kind, piece);
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
#define SOFT_EACH_KIND(function)                                                \
    static void NAME(function##_task)(void *context, ptrdiff_t chunk) {         \
        const NAME(soft_backward) *job = context;                               \
        switch (job->kind) {                                                    \
            case SOFT_SORT_L2: NAME(function)(job, SOFT_SORT_L2, chunk); break; \
            case SOFT_SORT_KL: NAME(function)(job, SOFT_SORT_KL, chunk); break; \
            default: NAME(function)(job, SOFT_RANK_KL, chunk);                  \
        }                                                                       \
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

/* The ranks' gradients from the means: r (grad - mean) / strength.  That of an entry alone is 0, as
 * its own gradient is the mean. */
static void NAME(soft_scale_differences)(void *context, ptrdiff_t chunk) {
    const NAME(soft_backward) *job = context;
    const soft_problem *problem = job->problem;
    const ptrdiff_t offset = job->row * problem->n;
    const soft_range range = soft_chunk(problem->n, chunk);
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    const double scale = problem->sign / problem->strength;
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        result[i] = (REAL)((double)ranks[i] * ((double)grad[i] - (double)result[i]) * scale);
}

/* Ranks, kl, of a short row, without branches for each entry. */
static void NAME(soft_short_backward)(const soft_problem *problem, ptrdiff_t row) {
    const int n = (int)problem->n;
    const ptrdiff_t offset = row * n;
    const uint8_t *starts = problem->starts + offset;
    const int32_t *order = problem->order + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    const double scale = problem->sign / problem->strength;
    double sums[SOFT_STRIP + 1], positions[SOFT_STRIP + 1], sum = 0, total = 0;
    int block = -1;
    for (int i = 0; i < n; i++) {
        const double r = (double)ranks[order[i]], g = (double)grad[order[i]];
        const double is_inside = 1 - starts[i];
        sum = sum * is_inside + r * g;
        total = total * is_inside + (i + 1);
        block += starts[i];
        sums[block] = sum;
        positions[block] = total;
    }
    for (int k = 0; k <= block; k++) sums[k] /= positions[k];
    block = -1;
    for (int i = 0; i < n; i++) {
        const double r = (double)ranks[order[i]], g = (double)grad[order[i]];
        block += starts[i];
        const double gradient = r * (g - sums[block]) * scale;
        const int is_alone = starts[i] & (i + 1 == n || starts[i + 1]);
        result[order[i]] = is_alone ? 0 : (REAL)gradient;
    }
}

static void NAME(soft_sorted_backward)(const soft_problem *problem, ptrdiff_t row,
                                       const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    NAME(soft_backward) job = {problem, row, problem->kind, workspace->parts};
    if (problem->kind == SOFT_RANK_KL && n <= SOFT_STRIP) {
        NAME(soft_short_backward)(problem, row);
        return;
    }
    soft_run(workspace, NAME(soft_inner_gradients_task), &job, n);
    if (soft_chunks(n) > 1) {
        NAME(soft_join_pieces)(workspace->parts, soft_chunks(n));
        soft_run(workspace, NAME(soft_outer_gradients_task), &job, n);
    }
    if (problem->kind == SOFT_RANK_KL) soft_run(workspace, NAME(soft_scale_differences), &job, n);
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

/* --- rank, l2: the blocks are known in the order of the entries --- */

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

static void NAME(soft_sum_chunk)(void *context, ptrdiff_t chunk) {
    const NAME(soft_means) *job = context;
    const soft_range range = soft_chunk(job->problem->n, chunk);
    const REAL *grad = (const REAL *)job->problem->grad + job->row * job->problem->n;
    job->parts[chunk].head_sum = NAME(soft_sum)(grad + range.begin, range.end - range.begin, 0);
}

static void NAME(soft_fill_table)(void *context, ptrdiff_t table) {
    const NAME(soft_means) *job = context;
    const ptrdiff_t n = job->problem->n;
    const soft_range range = soft_tables_part(n, table, job->tables);
    const int32_t *blocks = job->problem->blocks + job->row * n;
    const REAL *grad = (const REAL *)job->problem->grad + job->row * n;
    double *sums = job->sums + table * job->count;
    int32_t *lengths = job->lengths + table * job->count;
    memset(sums, 0, (size_t)job->count * sizeof *sums);
    memset(lengths, 0, (size_t)job->count * sizeof *lengths);
    for (ptrdiff_t i = range.begin; i < range.end; i++) {
        sums[blocks[i]] += (double)grad[i];
        lengths[blocks[i]]++;
    }
}

/* (grad - its mean over the block) / strength */
static void NAME(soft_subtract_means)(void *context, ptrdiff_t chunk) {
    const NAME(soft_means) *job = context;
    const soft_problem *problem = job->problem;
    const ptrdiff_t offset = job->row * problem->n;
    const soft_range range = soft_chunk(problem->n, chunk);
    const int32_t *blocks = problem->blocks + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    REAL *result = (REAL *)problem->x_gradient + offset;
    const double scale = problem->sign / problem->strength, *means = job->sums, mean = means[0];
    if (job->count == 1)
        for (ptrdiff_t i = range.begin; i < range.end; i++)
            result[i] = (REAL)(((double)grad[i] - mean) * scale);
    else
        for (ptrdiff_t i = range.begin; i < range.end; i++)
            result[i] = (REAL)(((double)grad[i] - means[blocks[i]]) * scale);
}

static void NAME(soft_rank_backward_l2)(const soft_problem *problem, ptrdiff_t row,
                                        const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, chunks = soft_chunks(n);
    soft_part *parts = workspace->parts;
    NAME(soft_means) job = {problem, row, parts, workspace->keys, workspace->order, 1, 1};
    soft_run(workspace, NAME(soft_find_count), &job, n);
    for (ptrdiff_t chunk = 0; chunk < chunks; chunk++)
        job.count = parts[chunk].count > job.count ? parts[chunk].count : job.count;
    double *sums = job.sums;
    if (job.count == 1) {
        soft_run(workspace, NAME(soft_sum_chunk), &job, n);
        sums[0] = 0;
        for (ptrdiff_t chunk = 0; chunk < chunks; chunk++) sums[0] += parts[chunk].head_sum;
        sums[0] /= (double)n;
    } else {
        job.tables = soft_choose_tables(n, job.count);
        soft_run_tasks(workspace, NAME(soft_fill_table), &job, job.tables);
        for (ptrdiff_t k = 0; k < job.count; k++) {
            for (ptrdiff_t table = 1; table < job.tables; table++) {
                sums[k] += sums[table * job.count + k];
                job.lengths[k] += job.lengths[table * job.count + k];
            }
            sums[k] /= job.lengths[k];
        }
    }
    soft_run(workspace, NAME(soft_subtract_means), &job, n);
}

/* The derivative of soft ranks with respect to the strength, times grad: the sum of
 * - grad (r - c) / strength, where c is the centre of the block, the mean of its ranks. */
static double NAME(soft_rank_strength_l2)(const soft_problem *problem, ptrdiff_t row,
                                          const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const int32_t *blocks = problem->blocks + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    int32_t *lengths = workspace->order, count = 0;
    double *centres = workspace->keys, total = 0;
    for (ptrdiff_t i = 0; i < n; i++) count = blocks[i] >= count ? blocks[i] + 1 : count;
    memset(lengths, 0, (size_t)count * sizeof *lengths);
    for (ptrdiff_t i = 0; i < n; i++) lengths[blocks[i]]++;
    soft_block block = {0, 0, 0};
    for (int32_t k = 0; k < count; k++) {
        block.start += block.length;
        block.length = lengths[k];
        centres[k] = soft_positions(&block) / block.length;
    }
    for (ptrdiff_t i = 0; i < n; i++)
        if (lengths[blocks[i]] > 1)
            total += (double)grad[i] * ((double)ranks[i] - centres[blocks[i]]);
    return -total / problem->strength;
}

/* The same for "kl": - grad r (log r - mean of log r, weighted by r) / strength. */
static double NAME(soft_rank_strength_kl)(const soft_problem *problem, ptrdiff_t row) {
    const ptrdiff_t n = problem->n, offset = row * n;
    const uint8_t *starts = problem->starts + offset;
    const int32_t *order = problem->order + offset;
    const REAL *grad = (const REAL *)problem->grad + offset;
    const REAL *ranks = (const REAL *)problem->value + offset;
    double total = 0;
    for (ptrdiff_t i = 0, end; i < n; i = end) {
        end = NAME(soft_next_start)(starts, i + 1, n);
        if (end == i + 1) continue;
        const soft_block block = {0, (int)i, (int)(end - i)};
        double mean = 0;
        for (ptrdiff_t j = i; j < end; j++)
            mean += (double)ranks[order[j]] * log((double)ranks[order[j]]);
        mean /= soft_positions(&block);
        for (ptrdiff_t j = i; j < end; j++) {
            const double r = (double)ranks[order[j]];
            total += (double)grad[order[j]] * r * (log(r) - mean);
        }
    }
    return -total / problem->strength;
}
