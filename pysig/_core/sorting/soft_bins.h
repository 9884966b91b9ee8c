/* Soft ranks, l2, without sorting.
 *
 * Two parts of a sorted row share a block if their means are at most strength times half the number of
 * their entries apart.  So a row whose range is at most strength n / 2 is one block: it takes two
 * passes.  And neighbours at most `strength` apart share a block.  So if entries are put into bins of less than
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

/* The least and the largest entry, if all are numbers. */
static void NAME(soft_range)(const REAL *x, ptrdiff_t n, REAL *least, REAL *largest) {
    *least = *largest = x[0];
    if (n < LANES) {
        for (ptrdiff_t i = 0; i < n; i++) {
            *least = x[i] < *least ? x[i] : *least;
            *largest = x[i] > *largest ? x[i] : *largest;
        }
        return;
    }
    /* The last vectors overlap; high has the negative entries. */
    NAME(vector) low[2], high[2];
    low[0] = low[1] = NAME(load)(x);
    high[0] = high[1] = -low[0];
    for (ptrdiff_t i = 0; i < n; i += 2 * LANES)
        for (int j = 0; j < 2; j++) {
            const ptrdiff_t place = i + j * LANES;
            const NAME(vector) value = NAME(load)(x + (place + LANES <= n ? place : n - LANES));
            low[j] = NAME(smaller)(value, low[j]);
            high[j] = NAME(smaller)(-value, high[j]);
        }
    low[0] = NAME(smaller)(low[0], low[1]);
    high[0] = NAME(smaller)(high[0], high[1]);
    REAL ends[2][LANES];
    NAME(store)(ends[0], low[0]);
    NAME(store)(ends[1], high[0]);
    for (int half = LANES / 2; half; half /= 2)
        for (int k = 0; k < 2; k++)
            for (int j = 0; j < half; j++)
                ends[k][j] = ends[k][j + half] < ends[k][j] ? ends[k][j + half] : ends[k][j];
    *least = ends[0][0];
    *largest = -ends[1][0];
}

/* What the passes over one row share. */
typedef struct {
    const REAL *x;
    ptrdiff_t n;
    int sign;
    double strength;
    double first;  /* entry; sums of x are relative to it */
    double range;  /* of x; infinite if that is no number */
    double mean;   /* of x - first */
    double origin; /* where bins begin: the least entry of sign * x */
    REAL *value;
    int32_t *blocks; /* or NULL */
    const soft_workspace *workspace;
    int32_t *bin;          /* of each entry; at last its block */
    uint8_t *is_taken;     /* of each bin */
    soft_cluster *cluster; /* [tables][clusters] */
    ptrdiff_t clusters, tables;
} NAME(soft_binning);

/* The range of a part, and the sum of its entries relative to the first of the row. */
static void NAME(soft_find_range)(void *context, ptrdiff_t chunk) {
    enum { STRIP = 1024 }; /* which stays in the cache for the second time */
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    soft_part *part = &row->workspace->parts[chunk];
    part->least = part->largest = (double)row->x[range.begin];
    part->sum = 0;
    for (ptrdiff_t i = range.begin; i < range.end; i += STRIP) {
        const ptrdiff_t length = range.end - i < STRIP ? range.end - i : STRIP;
        REAL least, largest;
        NAME(soft_range)(row->x + i, length, &least, &largest);
        part->least = (double)least < part->least ? (double)least : part->least;
        part->largest = (double)largest > part->largest ? (double)largest : part->largest;
        part->sum += NAME(soft_sum)(row->x + i, length, row->first);
    }
}

static void NAME(soft_write_one_block)(void *context, ptrdiff_t chunk) {
    const NAME(soft_binning) *row = context;
    const soft_range range = soft_chunk(row->n, chunk);
    const double scale = row->sign / row->strength, centre = 0.5 * ((double)row->n + 1);
    const double first = row->first, mean = row->mean;
    for (ptrdiff_t i = range.begin; i < range.end; i++)
        row->value[i] = (REAL)(((double)row->x[i] - first - mean) * scale + centre);
    if (row->blocks)
        memset(row->blocks + range.begin, 0,
               (size_t)(range.end - range.begin) * sizeof *row->blocks);
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

/* What has to be known about a row to rank it without sorting. */
static NAME(soft_binning) NAME(soft_look_at)(const soft_problem *problem, ptrdiff_t number,
                                             const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, offset = number * n;
    const soft_part *parts = workspace->parts;
    NAME(soft_binning) row = {.x = (const REAL *)problem->x + offset,
                              .n = n,
                              .sign = problem->sign,
                              .strength = problem->strength,
                              .value = (REAL *)problem->value + offset,
                              .blocks = problem->blocks ? problem->blocks + offset : NULL,
                              .workspace = workspace};
    row.first = (double)row.x[0];
    soft_run(workspace, NAME(soft_find_range), &row, n);
    double least = parts[0].least, largest = parts[0].largest, sum = 0;
    for (ptrdiff_t chunk = 0; chunk < soft_chunks(n); chunk++) {
        least = parts[chunk].least < least ? parts[chunk].least : least;
        largest = parts[chunk].largest > largest ? parts[chunk].largest : largest;
        sum += parts[chunk].sum;
    }
    const int is_finite = fabs(sum) <= DBL_MAX; /* or there is an entry that is not */
    row.range = is_finite ? largest - least : INFINITY;
    row.mean = sum / (double)n;
    row.origin = problem->sign > 0 ? least : largest;
    return row;
}

/* Ranks the row if it is one block; returns whether it is. */
static int NAME(soft_rank_one_block)(NAME(soft_binning) *row) {
    if (!(row->range <= 0.5 * row->strength * (double)row->n)) return 0;
    soft_run(row->workspace, NAME(soft_write_one_block), row, row->n);
    return 1;
}

/* Returns 0, having done nothing, if the row has to be sorted. */
static int NAME(soft_rank_bins)(NAME(soft_binning) *row) {
    const soft_workspace *workspace = row->workspace;
    const double bins_needed = row->range / (0.499 * row->strength) + 1;
    if (!(bins_needed + 1 <= (double)row->n)) return 0;
    const ptrdiff_t count = (ptrdiff_t)bins_needed + 1; /* one more, lest rounding step outside */
    row->is_taken = (uint8_t *)workspace->keys;
    row->cluster = (soft_cluster *)(void *)workspace->keys;
    row->bin = row->blocks ? row->blocks : workspace->order;
    memset(row->is_taken, 0, (size_t)count);
    soft_run(workspace, NAME(soft_find_bins), row, row->n);
    row->clusters = NAME(soft_number_clusters)(row->is_taken, count, workspace->bins);
    NAME(soft_rank_clusters)(row);
    return 1;
}
