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

#define STRIP 8

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

/* The sum of x - origin. */
static double NAME(soft_sum)(const REAL *x, ptrdiff_t n, double origin) {
    double sums[STRIP] = {0};
    ptrdiff_t i = 0;
    for (; i + STRIP <= n; i += STRIP)
        for (int j = 0; j < STRIP; j++) sums[j] += (double)x[i + j] - origin;
    for (int j = 0; i + j < n; j++) sums[j] += (double)x[i + j] - origin;
    for (int j = 1; j < STRIP; j++) sums[0] += sums[j];
    return sums[0];
}

/* All entries in one block. */
static void NAME(soft_rank_one_block)(const REAL *x, ptrdiff_t n, int sign, double strength,
                                      double origin, REAL *value, int32_t *blocks) {
    const double mean = NAME(soft_sum)(x, n, origin) / (double)n;
    const double scale = sign / strength, centre = 0.5 * ((double)n + 1);
    for (ptrdiff_t i = 0; i < n; i++)
        value[i] = (REAL)(((double)x[i] - origin - mean) * scale + centre);
    if (blocks) memset(blocks, 0, (size_t)n * sizeof *blocks);
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

/* Ranks from the cluster of each bin; bin: the bin of each entry, becomes its block. */
static void NAME(soft_rank_clusters)(const REAL *x, ptrdiff_t n, int sign, double strength,
                                     double origin, int32_t *bin, ptrdiff_t clusters, REAL *value,
                                     const soft_workspace *workspace) {
    soft_cluster *cluster = (soft_cluster *)(void *)workspace->keys;
    int32_t *number = workspace->bins;
    memset(cluster, 0, (size_t)clusters * sizeof *cluster);
    for (ptrdiff_t i = 0; i < n; i++) {
        bin[i] = number[bin[i]];
        cluster[bin[i]].sum += sign * ((double)x[i] - origin);
        cluster[bin[i]].length++;
    }
    const ptrdiff_t blocks = NAME(soft_pool_clusters)(cluster, clusters, strength);
    for (int32_t block = 0, c = 0, start = 0; block < blocks; block++) {
        for (; c <= cluster[block].mark; c++) number[c] = block;
        cluster[block].sum /= cluster[block].length;
        cluster[block].mark = start;
        start += cluster[block].length;
    }
    const double scale = 1 / strength;
    for (ptrdiff_t i = 0; i < n; i++) {
        bin[i] = number[bin[i]];
        const soft_cluster *block = &cluster[bin[i]];
        const double centre = block->mark + 0.5 * (block->length + 1.0);
        const double difference = sign * ((double)x[i] - origin) - block->sum;
        value[i] = (REAL)(difference * scale + centre);
    }
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

/* Returns 0, having done nothing, if the row has to be sorted.  origin is where bins begin, the
 * least entry of sign * x. */
static int NAME(soft_rank_bins)(const REAL *x, ptrdiff_t n, int sign, double strength, REAL *value,
                                int32_t *blocks, const soft_workspace *workspace) {
    REAL least, largest;
    if (!NAME(soft_range)(x, n, &least, &largest)) return 0;
    const double origin = sign > 0 ? least : largest, range = (double)largest - (double)least;
    if (range <= strength) {
        NAME(soft_rank_one_block)(x, n, sign, strength, origin, value, blocks);
        return 1;
    }
    const double scale = sign / (0.499 * strength), bins_needed = range / (0.499 * strength) + 1;
    if (!(bins_needed + 1 <= (double)n)) return 0;
    const ptrdiff_t count = (ptrdiff_t)bins_needed + 1; /* one more, lest rounding step outside */
    uint8_t *is_taken = (uint8_t *)workspace->keys;
    int32_t *bin = blocks ? blocks : workspace->order;
    memset(is_taken, 0, (size_t)count);
    for (ptrdiff_t i = 0; i < n; i++) bin[i] = (int32_t)(((double)x[i] - origin) * scale);
    for (ptrdiff_t i = 0; i < n; i++) is_taken[bin[i]] = 1;
    const ptrdiff_t clusters = NAME(soft_number_clusters)(is_taken, count, workspace->bins);
    if (clusters == 1)
        NAME(soft_rank_one_block)(x, n, sign, strength, origin, value, blocks);
    else
        NAME(soft_rank_clusters)(x, n, sign, strength, origin, bin, clusters, value, workspace);
    return 1;
}
#undef STRIP
