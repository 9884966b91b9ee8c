/* Soft ranks, l2, without sorting.
 *
 * Neighbours at most `strength` apart share a block.  So if entries are put into bins of less than
 * half that width, all entries of adjacent bins that are not empty share a block: they are a
 * "cluster", of which only the sum and the number of entries matter, and what is left is to pool
 * clusters.  It takes a few passes over the row, and no permutation.  Rows for which there would be
 * more bins than entries are sorted instead. */

#ifndef PYSIG_SOFT_BINS_H
#define PYSIG_SOFT_BINS_H

typedef struct {
    double sum;     /* of |x - origin|; at last the mean */
    int32_t length; /* number of entries */
    int32_t mark;   /* of a block: its last cluster; at last the number of entries before it */
} soft_cluster;
#endif

ALWAYS_INLINE NAME(vector) NAME(smaller)(NAME(vector) a, NAME(vector) b) {
    const NAME(mask) is_less = (NAME(mask))(a < b);
    return (NAME(vector))(((NAME(mask))a & is_less) | ((NAME(mask))b & ~is_less));
}

/* The least and the largest entry; returns whether all entries are finite. */
static int NAME(soft_range)(const REAL *x, ptrdiff_t n, REAL *least, REAL *largest) {
    *least = *largest = x[0];
    if (n < LANES) {
        REAL rest = 0;
        for (ptrdiff_t i = 0; i < n; i++) {
            *least = x[i] < *least ? x[i] : *least;
            *largest = x[i] > *largest ? x[i] : *largest;
            rest += x[i] * 0;
        }
        return rest == 0;
    }
    /* The last vectors overlap; high has the negative entries. */
    NAME(vector) low[2], high[2], rest[2] = {{0}};
    low[0] = low[1] = NAME(load)(x);
    high[0] = high[1] = -low[0];
    for (ptrdiff_t i = 0; i < n; i += 2 * LANES)
        for (int j = 0; j < 2; j++) {
            const ptrdiff_t place = i + j * LANES;
            const NAME(vector) value = NAME(load)(x + (place + LANES <= n ? place : n - LANES));
            low[j] = NAME(smaller)(value, low[j]);
            high[j] = NAME(smaller)(-value, high[j]);
            rest[j] += value * 0;
        }
    low[0] = NAME(smaller)(low[0], low[1]);
    high[0] = NAME(smaller)(high[0], high[1]);
    rest[0] += rest[1];
    REAL sum = 0;
    for (int j = 0; j < LANES; j++) {
        *least = low[0][j] < *least ? low[0][j] : *least;
        *largest = -high[0][j] > *largest ? -high[0][j] : *largest;
        sum += rest[0][j];
    }
    return sum == 0;
}

/* What the passes over one row share. */
typedef struct {
    const REAL *x;
    ptrdiff_t n;
    int sign;
    double strength, origin; /* where bins begin: the least entry of sign * x */
    REAL *value;
    int32_t *blocks; /* or NULL */
    const soft_workspace *workspace;
    double mean;           /* one block: of x - origin */
    int32_t *bin;          /* of each entry; at last its block */
    uint8_t *is_taken;     /* of each bin */
    soft_cluster *cluster; /* [tables][clusters] */
    ptrdiff_t clusters, tables;
} NAME(soft_binning);

static void NAME(soft_find_range)(void *context, ptrdiff_t chunk) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    soft_part *part = &row->workspace->parts[chunk];
    REAL least, largest;
    part->count = NAME(soft_range)(row->x + range.begin, range.end - range.begin, &least, &largest);
    part->head_sum = (double)least, part->tail_sum = (double)largest;
}

static void NAME(soft_sum_entries)(void *context, ptrdiff_t chunk) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    row->workspace->parts[chunk].head_sum =
        NAME(soft_sum)(row->x + range.begin, range.end - range.begin, row->origin);
}

static void NAME(soft_write_one_block)(void *context, ptrdiff_t chunk) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    const double scale = row->sign / row->strength, centre = 0.5 * ((double)row->n + 1);
    const double origin = row->origin, mean = row->mean;
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        row->value[i] = (REAL)(((double)row->x[i] - origin - mean) * scale + centre);
    if (row->blocks)
        memset(row->blocks + range.begin, 0,
               (size_t)(range.end - range.begin) * sizeof *row->blocks);
}

/* All entries in one block. */
static void NAME(soft_rank_one_block)(NAME(soft_binning) *row) {
    soft_run(row->workspace, NAME(soft_sum_entries), row, row->n);
    double sum = 0;
    for (ptrdiff_t chunk = 0; chunk < soft_chunks(row->n); chunk++)
        sum += row->workspace->parts[chunk].head_sum;
    row->mean = sum / (double)row->n;
    soft_run(row->workspace, NAME(soft_write_one_block), row, row->n);
}

/* Pools clusters in ascending order, in place; returns the number of blocks. */
static ptrdiff_t NAME(soft_pool_clusters)(soft_cluster *stack, ptrdiff_t clusters,
                                          double strength) {
    ptrdiff_t blocks = 0;
    for (ptrdiff_t i = 0; i < clusters; i++) {
        soft_cluster last = stack[i];
        last.mark = (int32_t)i;
        for (; blocks; blocks--) {
            const soft_cluster *before = &stack[blocks - 1];
            const double m_a = (double)before->length, m_b = (double)last.length;
            const double difference = last.sum * m_a - before->sum * m_b;
            if (difference > strength * (0.5 * (m_a + m_b) * (m_a * m_b))) break;
            last.sum += before->sum;
            last.length += before->length;
        }
        stack[blocks++] = last;
    }
    return blocks;
}

/* The entries of one part of the row, added to its table of clusters. */
static void NAME(soft_fill_clusters)(void *context, ptrdiff_t table) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_tables_part(row->n, table, row->tables);
    const int32_t *number = row->workspace->bins;
    soft_cluster *cluster = row->cluster + table * row->clusters;
    int32_t *bin = row->bin;
    memset(cluster, 0, (size_t)row->clusters * sizeof *cluster);
    for (ptrdiff_t i = range.begin; i < range.end; i++) {
        bin[i] = number[bin[i]];
        cluster[bin[i]].sum += row->sign * ((double)row->x[i] - row->origin);
        cluster[bin[i]].length++;
    }
}

static void NAME(soft_write_clusters)(void *context, ptrdiff_t chunk) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    const int32_t *number = row->workspace->bins;
    const double scale = 1 / row->strength;
    int32_t *bin = row->bin;
    for (ptrdiff_t i = range.begin; i < range.end; i++) {
        bin[i] = number[bin[i]];
        const soft_cluster *block = &row->cluster[bin[i]];
        const double centre = block->mark + 0.5 * (block->length + 1.0);
        const double difference = row->sign * ((double)row->x[i] - row->origin) - block->sum;
        row->value[i] = (REAL)(difference * scale + centre);
    }
}

/* Ranks from the cluster of each bin. */
static void NAME(soft_rank_clusters)(NAME(soft_binning) *row) {
    soft_cluster *cluster = row->cluster;
    int32_t *number = row->workspace->bins;
    const ptrdiff_t clusters = row->clusters;
    row->tables = soft_choose_tables(row->n, clusters);
    soft_run_tasks(row->workspace, NAME(soft_fill_clusters), row, row->tables);
    for (ptrdiff_t c = 0; c < clusters; c++)
        for (ptrdiff_t table = 1; table < row->tables; table++) {
            cluster[c].sum += cluster[table * clusters + c].sum;
            cluster[c].length += cluster[table * clusters + c].length;
        }
    const ptrdiff_t blocks = NAME(soft_pool_clusters)(cluster, clusters, row->strength);
    for (int32_t block = 0, c = 0, start = 0; block < blocks; block++) {
        for (; c <= cluster[block].mark; c++) number[c] = block;
        cluster[block].sum /= cluster[block].length;
        cluster[block].mark = start;
        start += cluster[block].length;
    }
    soft_run(row->workspace, NAME(soft_write_clusters), row, row->n);
}

static void NAME(soft_find_bins)(void *context, ptrdiff_t chunk) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    const double scale = row->sign / (0.499 * row->strength), origin = row->origin;
    const REAL *x = row->x;
    int32_t *bin = row->bin;
    uint8_t *is_taken = row->is_taken;
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        bin[i] = (int32_t)(((double)x[i] - origin) * scale);
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        __atomic_store_n(&is_taken[bin[i]], 1, __ATOMIC_RELAXED);
}

/* Numbers the clusters: bins[b] becomes the cluster of the bin b; returns how many there are. */
static ptrdiff_t NAME(soft_number_clusters)(const uint8_t *is_taken, ptrdiff_t count,
                                            int32_t *bins) {
    int32_t clusters = -1;
    for (ptrdiff_t b = 0, gap = 1; b < count; b++) {
        clusters += is_taken[b] && gap;
        gap = !is_taken[b];
        bins[b] = clusters;
    }
    return clusters + 1;
}

/* Returns 0, having done nothing, if the row has to be sorted. */
static int NAME(soft_rank_bins)(const REAL *x, ptrdiff_t n, int sign, double strength, REAL *value,
                                int32_t *blocks, const soft_workspace *workspace) {
    const soft_part *parts = workspace->parts;
    NAME(soft_binning) row = {x, n, sign, strength, 0, value, blocks, workspace};
    soft_run(workspace, NAME(soft_find_range), &row, n);
    double least = parts[0].head_sum, largest = parts[0].tail_sum;
    for (ptrdiff_t chunk = 0; chunk < soft_chunks(n); chunk++) {
        if (!parts[chunk].count) return 0;
        least = parts[chunk].head_sum < least ? parts[chunk].head_sum : least;
        largest = parts[chunk].tail_sum > largest ? parts[chunk].tail_sum : largest;
    }
    const double range = largest - least, bins_needed = range / (0.499 * strength) + 1;
    row.origin = sign > 0 ? least : largest;
    if (range <= strength) {
        NAME(soft_rank_one_block)(&row);
        return 1;
    }
    if (!(bins_needed + 1 <= (double)n)) return 0;
    const ptrdiff_t count = (ptrdiff_t)bins_needed + 1; /* one more, lest rounding step outside */
    row.is_taken = (uint8_t *)workspace->keys;
    row.cluster = (soft_cluster *)(void *)workspace->keys;
    row.bin = blocks ? blocks : workspace->order;
    memset(row.is_taken, 0, (size_t)count);
    soft_run(workspace, NAME(soft_find_bins), &row, n);
    row.clusters = NAME(soft_number_clusters)(row.is_taken, count, workspace->bins);
    if (row.clusters == 1)
        NAME(soft_rank_one_block)(&row);
    else
        NAME(soft_rank_clusters)(&row);
    return 1;
}
