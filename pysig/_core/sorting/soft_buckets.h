/* One long row, sorted by several threads: its keys are put into buckets, all keys of a bucket being
 * less than those of the next, and each bucket is sorted by itself.  As no two keys are equal, the
 * result is that of sorting them at once. */

/* The bucket of each of 64 keys: how many splitters are less. */
ALWAYS_INLINE void NAME(soft_find_buckets)(const double keys[64], const double *splitters,
                                           int64_t buckets[64]) {
    for (int i = 0; i < 64; i++) buckets[i] = 0;
    for (int j = 0; j < SOFT_BUCKETS - 1; j++) {
        const double splitter = splitters[j];
        for (int i = 0; i < 64; i++) buckets[i] += splitter < keys[i];
    }
}

/* Splitters that divide a sample of the row evenly. */
static void NAME(soft_choose_splitters)(const soft_problem *problem, ptrdiff_t row,
                                        double *splitters) {
    enum { EACH = 64, SAMPLE = SOFT_BUCKETS * EACH };
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    const uint64_t mask = soft_index_mask(problem->n), sign_bit = (uint64_t)1 << 63;
    uint64_t sample[SAMPLE];
    for (int j = 0; j < SAMPLE; j++) {
        const ptrdiff_t i = problem->n / SAMPLE * j;
        double key;
        NAME(soft_make_keys)(x, i, i + 1, problem->sign, mask, &key);
        sample[j] = soft_ordinal(key);
    }
    soft_sort_integers(sample, SAMPLE);
    for (int j = 1; j < SOFT_BUCKETS; j++) {
        const uint64_t bits = sample[j * EACH];
        splitters[j - 1] = soft_from_bits(bits & sign_bit ? bits & ~sign_bit : ~bits);
    }
}

/* Counts how many of the entries first ... end go to each bucket; returns whether there is NaN. */
static int NAME(soft_count_buckets)(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                                    ptrdiff_t end, const double *splitters, ptrdiff_t *counts) {
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    const uint64_t mask = soft_index_mask(problem->n);
    double keys[64] = {0};
    int64_t buckets[64];
    int nan = 0;
    for (int j = 0; j < SOFT_BUCKETS; j++) counts[j] = 0;
    for (ptrdiff_t i = first; i < end; i += 64) {
        const ptrdiff_t count = end - i < 64 ? end - i : 64;
        nan |= NAME(soft_make_keys)(x, i, i + count, problem->sign, mask, keys);
        NAME(soft_find_buckets)(keys, splitters, buckets);
        for (ptrdiff_t j = 0; j < count; j++) counts[buckets[j]]++;
    }
    return nan;
}

/* Puts the entries into the buckets, of which the next places are given: keys, or, where keys is
 * NULL, values. */
static void NAME(soft_fill_buckets)(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                                    ptrdiff_t end, const double *splitters, ptrdiff_t *places,
                                    double *all_keys) {
    const REAL *x = (const REAL *)problem->x + row * problem->n, sign = problem->sign;
    REAL *value = (REAL *)problem->value + row * problem->n;
    const uint64_t mask = soft_index_mask(problem->n);
    double keys[64] = {0};
    int64_t buckets[64];
    for (ptrdiff_t i = first; i < end; i += 64) {
        const ptrdiff_t count = end - i < 64 ? end - i : 64;
        NAME(soft_make_keys)(x, i, i + count, problem->sign, mask, keys);
        NAME(soft_find_buckets)(keys, splitters, buckets);
        for (ptrdiff_t j = 0; j < count; j++) {
            const ptrdiff_t place = places[buckets[j]]++;
            if (all_keys)
                all_keys[place] = keys[j];
            else
                value[place] = sign * x[i + j];
        }
    }
}
