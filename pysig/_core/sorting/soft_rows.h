/* One row: from the sorted entries to its blocks, and to the result.  Chunk by chunk, in passes that
 * write nothing that others of the same pass read. */

typedef struct {
    const soft_problem *problem;
    const soft_workspace *workspace;
    ptrdiff_t row;
    int kind; /* of pooling */
    const int32_t *order;
    REAL *sorted;
    soft_block *blocks;
    ptrdiff_t count;
    double last; /* rank, kl: the largest entry, to which exponentials are relative */
} NAME(soft_row);

/* The part of a block that lies in a range. */
static soft_range NAME(soft_piece)(const soft_block *block, soft_range range) {
    const ptrdiff_t begin = block->start, end = begin + block->length;
    return (soft_range){begin > range.begin ? begin : range.begin,
                        end < range.end ? end : range.end};
}

/* Notes which blocks each chunk has. */
static void NAME(soft_divide_blocks)(const NAME(soft_row) *row) {
    const ptrdiff_t chunks = soft_chunks(row->problem->n);
    ptrdiff_t block = 0, skipped = 0;
    for (ptrdiff_t chunk = 0; chunk < chunks; chunk++) {
        const ptrdiff_t begin = chunk * SOFT_CHUNK;
        for (; block < row->count && row->blocks[block].start + row->blocks[block].length <= begin;
             block++)
            skipped += row->blocks[block].length - 1;
        row->workspace->parts[chunk].block = block;
        row->workspace->parts[chunk].skipped = skipped;
    }
}

/* A strip of the row in segments: each is a block, or entries that are alone. */
typedef struct {
    soft_range range;
    int count;
    const soft_block *block[SOFT_SEGMENTS]; /* NULL: entries that are alone */
    uint8_t number[SOFT_SEGMENTED];         /* the segment of each entry */
    uint8_t is_first[SOFT_SEGMENTED];       /* whether a segment begins */
} NAME(soft_segments);

/* Divides the entries from `begin` to `end` without branches for each entry.  next: the first block
 * that ends after `begin`, becomes that for `end`.  Returns whether there are blocks. */
static int NAME(soft_divide_strip)(const NAME(soft_row) *row, ptrdiff_t begin, ptrdiff_t end,
                                   ptrdiff_t *next, NAME(soft_segments) *segments) {
    const soft_block *block = row->blocks + *next, *last = row->blocks + row->count;
    const int length = (int)(end - begin);
    uint8_t steps[SOFT_SEGMENTED + 1];
    segments->range = (soft_range){begin, end};
    segments->block[0] = NULL;
    segments->count = 0;
    if (block == last || block->start >= end) return 0;
    memset(steps, 0, sizeof steps);
    for (; block < last && block->start < end; block++) {
        const int start = (int)(block->start - begin), stop = start + block->length;
        if (start >= 0) {
            steps[start]++;
            segments->count++;
        }
        segments->block[segments->count] = block;
        if (stop > length) break;
        steps[stop]++;
        segments->block[++segments->count] = NULL;
    }
    *next = block - row->blocks;
    uint8_t number = 0;
    for (int i = 0; i < length; i++) {
        number += steps[i];
        segments->number[i] = number;
        segments->is_first[i] = steps[i] != 0;
    }
    return 1;
}

/* --- sort --- */

/* The first entry of a block, until the value of that entry takes its place. */
static double NAME(soft_first)(const NAME(soft_row) *row, const soft_block *block) {
    return (double)row->sorted[block->start];
}

/* Starts and weights, which only the gradient needs. */
static void NAME(soft_write_starts)(void *context, ptrdiff_t chunk) {
    const NAME(soft_row) *row = context;
    const soft_problem *problem = row->problem;
    const soft_range range = soft_chunk(problem->n, chunk);
    const ptrdiff_t offset = row->row * problem->n;
    uint8_t *starts = problem->starts + offset;
    REAL *weights = problem->weights ? (REAL *)problem->weights + offset : NULL;
    memset(starts + range.begin, 1, (size_t)(range.end - range.begin));
    for (ptrdiff_t i = range.begin; weights && i < range.end; i++) weights[i] = 1;
    for (ptrdiff_t k = row->workspace->parts[chunk].block;
         k < row->count && row->blocks[k].start < range.end; k++) {
        const soft_block *block = &row->blocks[k];
        const soft_range piece = NAME(soft_piece)(block, range);
        const ptrdiff_t next = block->start >= piece.begin ? block->start + 1 : piece.begin;
        memset(starts + next, 0, (size_t)(piece.end - next));
        if (!weights) continue;
        const double first = NAME(soft_first)(row, block), scale = 1 / block->sum;
        for (ptrdiff_t i = piece.begin; i < piece.end; i++)
            weights[i] = (REAL)(scale * soft_exp(first - (double)row->sorted[i]));
    }
}

/* Puts the value of the first entry in place of a block's sum. */
static void NAME(soft_solve_blocks)(void *context, ptrdiff_t chunk) {
    const NAME(soft_row) *row = context;
    const soft_range range = soft_chunk(row->problem->n, chunk);
    const double inverse = 1 / row->problem->strength;
    for (ptrdiff_t k = row->workspace->parts[chunk].block;
         k < row->count && row->blocks[k].start < range.end; k++) {
        soft_block *block = &row->blocks[k];
        if (block->start < range.begin) continue;
        const double first = NAME(soft_first)(row, block), m = (double)block->length;
        if (row->kind == SOFT_SORT_KL) {
            const double geometric = block->length <= SOFT_STRIP
                                         ? row->workspace->geometric[block->length]
                                         : soft_geometric(m, inverse);
            block->sum = first - log(block->sum / geometric);
        } else {
            block->sum = first + block->sum / m - inverse * (0.5 * (m - 1));
        }
    }
}

static void NAME(soft_write_values)(void *context, ptrdiff_t chunk) {
    const NAME(soft_row) *row = context;
    const soft_problem *problem = row->problem;
    const soft_range range = soft_chunk(problem->n, chunk);
    const double inverse = 1 / problem->strength;
    const REAL *sorted = row->sorted;
    REAL *value = (REAL *)problem->value + row->row * problem->n;
    ptrdiff_t i = range.begin;
    for (ptrdiff_t k = row->workspace->parts[chunk].block; i < range.end; k++) {
        const int is_last = k >= row->count || row->blocks[k].start >= range.end;
        const ptrdiff_t next = is_last ? range.end : row->blocks[k].start;
        if (problem->sign < 0)
            for (; i < next; i++) value[i] = -sorted[i];
        else if (value != sorted && i < next)
            memcpy(value + i, sorted + i, (size_t)(next - i) * sizeof *value);
        if (is_last) break;
        const soft_range piece = NAME(soft_piece)(&row->blocks[k], range);
        const double base = row->blocks[k].sum;
        for (i = piece.begin; i < piece.end; i++)
            value[i] = (REAL)(problem->sign * (base + (double)(i - next) * inverse));
    }
}

/* A soft sort from the sorted entries, which may stand in its place. */
static void NAME(soft_write_sort)(NAME(soft_row) *row) {
    const ptrdiff_t n = row->problem->n;
    if (row->problem->starts) soft_run(row->workspace, NAME(soft_write_starts), row, n);
    if (row->count) soft_run(row->workspace, NAME(soft_solve_blocks), row, n);
    if (row->count || row->problem->sign < 0)
        soft_run(row->workspace, NAME(soft_write_values), row, n);
}

/* --- rank --- */

/* Puts exp((s - last) / strength) in place of s. */
static void NAME(soft_exponentials)(void *context, ptrdiff_t chunk) {
    const NAME(soft_row) *row = context;
    const soft_range range = soft_chunk(row->problem->n, chunk);
    const double last = row->last, inverse = 1 / row->problem->strength;
    REAL *sorted = row->sorted;
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        sorted[i] = (REAL)soft_exp(((double)sorted[i] - last) * inverse);
}

/* The ranks of a piece of a block, whose exponentials are not there. */
static void NAME(soft_rank_piece)(const NAME(soft_row) *row, const soft_block *block,
                                  soft_range piece, REAL *value) {
    enum { STRIP_LENGTH = 64 };
    const double inverse = 1 / row->problem->strength, positions = soft_positions(block);
    const double centre = block->start + 0.5 * (block->length + 1.0);
    const double first = (double)row->sorted[block->start], mean = block->sum / block->length;
    const double share = positions / block->sum;
    const int is_infinite = (first < -REAL_MAX || first > REAL_MAX);
    for (ptrdiff_t i = piece.begin; i < piece.end; i += STRIP_LENGTH) {
        const int count = piece.end - i < STRIP_LENGTH ? (int)(piece.end - i) : STRIP_LENGTH;
        const int32_t *order = row->order + i;
        const REAL *s = row->sorted + i;
        REAL ranks[STRIP_LENGTH];
        if (is_infinite)
            for (int j = 0; j < count; j++) ranks[j] = (REAL)centre;
        else if (row->kind == SOFT_RANK_L2)
            for (int j = 0; j < count; j++)
                ranks[j] = (REAL)(((double)s[j] - first - mean) * inverse + centre);
        else
            for (int j = 0; j < count; j++)
                ranks[j] = (REAL)(share * soft_exp(((double)s[j] - first) * inverse));
        for (int j = 0; j < count; j++) value[order[j]] = ranks[j];
    }
}

/* The number of the last block that begins before a chunk; -1 if there is none. */
static int32_t NAME(soft_last_number)(const NAME(soft_row) *row, ptrdiff_t chunk) {
    const soft_part *part = &row->workspace->parts[chunk];
    const ptrdiff_t begin = chunk * SOFT_CHUNK;
    if (part->block < row->count && row->blocks[part->block].start < begin)
        return (int32_t)(row->blocks[part->block].start - part->skipped);
    return (int32_t)(begin - part->skipped - 1);
}

/* Ranks whose exponentials are there, and the numbers of blocks if they are asked for. */
static void NAME(soft_write_shares)(void *context, ptrdiff_t chunk) {
    const NAME(soft_row) *row = context;
    const soft_problem *problem = row->problem;
    const soft_range range = soft_chunk(problem->n, chunk);
    const ptrdiff_t offset = row->row * problem->n;
    REAL *value = (REAL *)problem->value + offset;
    int32_t *numbers = problem->blocks ? problem->blocks + offset : NULL;
    int32_t number = NAME(soft_last_number)(row, chunk);
    ptrdiff_t next = row->workspace->parts[chunk].block;
    NAME(soft_segments) segments;
    double shares[SOFT_SEGMENTS], share[SOFT_SEGMENTED];
    for (ptrdiff_t begin = range.begin; begin < range.end; begin += SOFT_SEGMENTED) {
        const int left = (int)(range.end - begin);
        const int length = left < SOFT_SEGMENTED ? left : SOFT_SEGMENTED;
        const int32_t *order = row->order + begin;
        const REAL *s = row->sorted + begin;
        if (!NAME(soft_divide_strip)(row, begin, begin + length, &next, &segments)) {
            for (int i = 0; i < length; i++) value[order[i]] = (REAL)((double)begin + (i + 1));
            for (int i = 0; numbers && i < length; i++) numbers[order[i]] = ++number;
            continue;
        }
        for (int k = 0; k <= segments.count; k++) {
            const soft_block *block = segments.block[k];
            shares[k] = block ? soft_positions(block) / block->sum : 0;
        }
        for (int i = 0; i < length; i++) share[i] = shares[segments.number[i]];
        for (int i = 0; numbers && i < length; i++) {
            number += segments.is_first[i] | (share[i] == 0);
            numbers[order[i]] = number;
        }
        for (int i = 0; i < length; i++) {
            const double alone = (double)begin + (i + 1), product = share[i] * (double)s[i];
            share[i] = share[i] == 0 ? alone : product;
        }
        for (int i = 0; i < length; i++) value[order[i]] = (REAL)share[i];
    }
}

static void NAME(soft_write_ranks)(void *context, ptrdiff_t chunk) {
    const NAME(soft_row) *row = context;
    const soft_problem *problem = row->problem;
    const soft_range range = soft_chunk(problem->n, chunk);
    const soft_part *part = &row->workspace->parts[chunk];
    const int32_t *order = row->order;
    const ptrdiff_t offset = row->row * problem->n;
    REAL *value = (REAL *)problem->value + offset;
    int32_t *number = problem->blocks ? problem->blocks + offset : NULL;
    ptrdiff_t i = range.begin, skipped = part->skipped;
    for (ptrdiff_t k = part->block; i < range.end; k++) {
        const int is_last = k >= row->count || row->blocks[k].start >= range.end;
        const ptrdiff_t next = is_last ? range.end : row->blocks[k].start;
        for (; i < next; i++) {
            value[order[i]] = (REAL)(i + 1);
            if (number) number[order[i]] = (int32_t)(i - skipped);
        }
        if (is_last) break;
        const soft_range piece = NAME(soft_piece)(&row->blocks[k], range);
        NAME(soft_rank_piece)(row, &row->blocks[k], piece, value);
        for (; number && i < piece.end; i++) number[order[i]] = (int32_t)(next - skipped);
        skipped += row->blocks[k].length - 1;
        i = piece.end;
    }
}

static void NAME(soft_write_rank)(NAME(soft_row) *row) {
    const ptrdiff_t n = row->problem->n;
    if (row->kind == SOFT_RANK_EXP) {
        soft_run(row->workspace, NAME(soft_write_shares), row, n);
        return;
    }
    soft_run(row->workspace, NAME(soft_write_ranks), row, n);
}

/* --- both --- */

/* A row that stands sorted in `sorted`, with the permutation in `order`.  The blocks use `keys`. */
static int NAME(soft_finish_row)(const soft_problem *problem, ptrdiff_t number,
                                 const int32_t *order, REAL *sorted, double *keys,
                                 const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    const int is_rank = problem->kind == SOFT_RANK_L2 || problem->kind == SOFT_RANK_KL;
    const double first = (double)sorted[0], last = (double)sorted[n - 1];
    soft_block *blocks = (soft_block *)(void *)keys;
    NAME(soft_row) row = {problem, workspace, number, problem->kind, order,
                          sorted,  blocks,    0,      last};
    if (problem->kind == SOFT_SORT_HARD) return SOFT_OK;
    if (!is_rank && !(first >= -REAL_MAX && last <= REAL_MAX)) return SOFT_INFINITE;
    /* Unless some would underflow, all exponentials are computed at once. */
    if (problem->kind == SOFT_RANK_KL &&
        (first - last) / problem->strength > (REAL_BYTES == 8 ? -600 : -80)) {
        row.kind = SOFT_RANK_EXP;
        soft_run(workspace, NAME(soft_exponentials), &row, n);
    }
    row.count = NAME(soft_make_blocks)(row.kind, sorted, n, problem->strength, blocks, workspace);
    NAME(soft_divide_blocks)(&row);
    if (is_rank)
        NAME(soft_write_rank)(&row);
    else
        NAME(soft_write_sort)(&row);
    return SOFT_OK;
}
