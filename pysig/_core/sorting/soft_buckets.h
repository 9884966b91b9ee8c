/* One long row, sorted by several threads: its entries are put into buckets, all entries of a bucket
 * being less than those of the next, and each bucket is sorted by itself. */

static void NAME(soft_copy_splitters)(const double *from, REAL *splitters) {
    for (int j = 0; j < SOFT_BUCKETS - 1; j++) splitters[j] = (REAL)from[j];
}

/* Splitters that divide a sample of the row evenly. */
static void NAME(soft_choose_splitters)(const soft_problem *problem, ptrdiff_t row,
                                        double *splitters) {
    enum { EACH = 64, SAMPLE = SOFT_BUCKETS * EACH };
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    const uint64_t sign_bit = (uint64_t)1 << 63;
    uint64_t sample[SAMPLE];
    for (int j = 0; j < SAMPLE; j++)
        sample[j] = soft_ordinal((double)(problem->sign * x[problem->n / SAMPLE * j]));
    soft_sort_integers(sample, SAMPLE);
    for (int j = 1; j < SOFT_BUCKETS; j++) {
        const uint64_t bits = sample[j * EACH];
        splitters[j - 1] = soft_from_bits(bits & sign_bit ? bits & ~sign_bit : ~bits);
    }
}

/* Counts how many of the entries first ... end go to each bucket; returns whether there is NaN. */
static int NAME(soft_count_buckets)(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                                    ptrdiff_t end, const double *all_splitters, ptrdiff_t *counts) {
    const REAL *x = (const REAL *)problem->x + row * problem->n, sign = problem->sign;
    REAL splitters[SOFT_BUCKETS - 1];
    ptrdiff_t larger[SOFT_BUCKETS + 1] = {end - first};
    int nan = 0;
    NAME(soft_copy_splitters)(all_splitters, splitters);
    for (ptrdiff_t i = first; i < end; i += 1024) {
        const ptrdiff_t stop = i + 1024 < end ? i + 1024 : end;
        for (ptrdiff_t j = i; j < stop; j++) nan |= x[j] != x[j];
        for (int k = 0; k < SOFT_BUCKETS - 1; k++) {
            const REAL splitter = splitters[k];
            int count = 0;
            for (ptrdiff_t j = i; j < stop; j++) count += sign * x[j] > splitter;
            larger[k + 1] += count;
        }
    }
    for (int k = 0; k < SOFT_BUCKETS; k++) counts[k] = larger[k] - larger[k + 1];
    return nan;
}

/* Puts the entries into the buckets, of which the next places are given: keys, or, where keys is
 * NULL, values. */
static void NAME(soft_fill_buckets)(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                                    ptrdiff_t end, const double *all_splitters,
                                    const ptrdiff_t *places, double *all_keys) {
    enum { STRIP = 64 };
    const REAL *x = (const REAL *)problem->x + row * problem->n, sign = problem->sign;
    REAL *value = (REAL *)problem->value + row * problem->n;
    const uint64_t mask = soft_index_mask(problem->n);
    REAL splitters[SOFT_BUCKETS - 1], entries[STRIP];
    double keys[STRIP];
    int32_t buckets[STRIP];
    ptrdiff_t next[SOFT_BUCKETS]; /* other threads write what stands next to `places` */
    memcpy(next, places, sizeof next);
    NAME(soft_copy_splitters)(all_splitters, splitters);
    for (ptrdiff_t i = first; i < end; i += STRIP) {
        const int count = end - i < STRIP ? (int)(end - i) : STRIP;
        for (int j = 0; j < count; j++) {
            const REAL entry = sign * x[i + j];
            int32_t bucket = 0;
            for (int k = 0; k < SOFT_BUCKETS - 1; k++) bucket += entry > splitters[k];
            entries[j] = entry;
            buckets[j] = bucket;
        }
        if (all_keys) {
            NAME(soft_make_keys)(x, i, i + count, problem->sign, mask, keys);
            for (int j = 0; j < count; j++) all_keys[next[buckets[j]]++] = keys[j];
        } else {
            for (int j = 0; j < count; j++) value[next[buckets[j]]++] = entries[j];
        }
    }
}
