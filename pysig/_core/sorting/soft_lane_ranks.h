/* Ranks, "kl", of short rows: as many at a time as a vector has doubles, one in each lane.
 *
 * All lanes pool their rows in step: position by position, a block is pooled with the one before it as
 * long as some lane has to.  Two groups of lanes take turns, as each step waits for the one before. */

#define KEY_LANES (VECTOR_BYTES / 8)
#define WIDE SIMD_CONCATENATE(vector, double, SIMD_LEVEL_NAME)
#define WIDE_MASK SIMD_CONCATENATE(mask, double, SIMD_LEVEL_NAME)
#define LOAD_WIDE SIMD_CONCATENATE(load, double, SIMD_LEVEL_NAME)
#define STORE_WIDE SIMD_CONCATENATE(store, double, SIMD_LEVEL_NAME)

/* Exponents up to this size are taken relative to the first entry of the row. */
#define SOFT_LARGEST_EXPONENT 300.0

/* Groups of rows, one in each lane, that are pooled at a time. */
#define SOFT_GROUPS 2

/* Columns: position by position of the sorted rows, with a number for each lane. */
typedef struct {
    double s[SOFT_STRIP * KEY_LANES]; /* entries / strength, then their exponentials, then ranks */
    int64_t order[SOFT_STRIP * KEY_LANES]; /* where each entry stands in its row */
    /* Of the block that ends at each position: the sum, and where it begins; then the number of the
     * block of each entry. */
    double sum[SOFT_STRIP * KEY_LANES];
    int64_t begin[SOFT_STRIP * KEY_LANES];
} NAME(soft_lanes);

/* A block of each lane; positions: their sum, counted from 1. */
typedef struct {
    WIDE sum, positions, begin;
} NAME(soft_lane_block);

typedef int8_t NAME(bytes) __attribute__((vector_size(KEY_LANES)));

ALWAYS_INLINE WIDE NAME(choose)(WIDE_MASK mask, WIDE a, WIDE b) {
    return (WIDE)(((WIDE_MASK)a & mask) | ((WIDE_MASK)b & ~mask));
}

ALWAYS_INLINE int NAME(any)(WIDE_MASK mask) {
    const NAME(bytes) bytes = __builtin_convertvector(mask, NAME(bytes));
    uint64_t bits = 0;
    memcpy(&bits, &bytes, sizeof bytes);
    return bits != 0;
}

/* Sorts the columns with the permutation, unless all lanes are in order. */
static void NAME(soft_sort_columns)(NAME(soft_lanes) *lanes, ptrdiff_t n) {
    const double *s = lanes->s;
    WIDE_MASK wrong = {0};
    for (ptrdiff_t i = 0; i < n; i++)
        for (int lane = 0; lane < KEY_LANES; lane++) lanes->order[i * KEY_LANES + lane] = i;
    for (ptrdiff_t i = 0; i + 1 < n; i++)
        wrong |= (WIDE_MASK)(LOAD_WIDE(s + i * KEY_LANES) > LOAD_WIDE(s + (i + 1) * KEY_LANES));
    if (NAME(any)(wrong))
        SIMD_CONCATENATE(sort_network, double, SIMD_LEVEL_NAME)(lanes->s, lanes->order, n);
}

/* Entries / strength, relative to the first of the row; what is no number becomes large. */
ALWAYS_INLINE void NAME(soft_fill_exponents)(const soft_problem *problem, ptrdiff_t number,
                                             double *row) {
    const ptrdiff_t n = problem->n;
    const REAL *x = (const REAL *)problem->x + number * n;
    const double origin = (double)x[0], scale = problem->sign / problem->strength;
    const double most = 2 * SOFT_LARGEST_EXPONENT;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double exponent = ((double)x[i] - origin) * scale;
        row[i] = exponent < most ? exponent : most;
    }
}

/* Sorts one row into all lanes, by counting how many entries are before each, which is less work than
 * the network. */
static void NAME(soft_sort_alone)(const double *row, int n, NAME(soft_lanes) *lanes) {
    const WIDE zero = {0};
    int wrong = 0;
    for (int i = 0; i + 1 < n; i++) wrong |= row[i] > row[i + 1];
    for (int i = 0; i < n; i++) {
        const double value = row[i];
        int64_t before = wrong ? 0 : i;
        for (int j = 0; wrong && j < i; j++) before += row[j] <= value;
        for (int j = i + 1; wrong && j < n; j++) before += row[j] < value;
        STORE_WIDE(lanes->s + before * KEY_LANES, zero + value);
        lanes->order[before * KEY_LANES] = i;
    }
}

/* The sorted columns of some rows, as exponentials. */
static void NAME(soft_fill_lanes)(const soft_problem *problem, ptrdiff_t first, int count,
                                  NAME(soft_lanes) *lanes) {
    const ptrdiff_t n = problem->n, stride = (n + KEY_LANES - 1) / KEY_LANES * KEY_LANES;
    double *rows = lanes->sum;
    if (count == 1) {
        NAME(soft_fill_exponents)(problem, first, rows);
        NAME(soft_sort_alone)(rows, (int)n, lanes);
    } else {
        /* Lanes that are left over do the last row again. */
        for (int lane = 0; lane < KEY_LANES; lane++)
            NAME(soft_fill_exponents)(problem, first + (lane < count ? lane : count - 1),
                                      rows + lane * stride);
        SIMD_CONCATENATE(rows_to_lanes, double, SIMD_LEVEL_NAME)(rows, stride, lanes->s);
        NAME(soft_sort_columns)(lanes, n);
    }
    for (ptrdiff_t i = 0; i < n * KEY_LANES; i++) lanes->s[i] = soft_exp(lanes->s[i]);
}

/* The block before the one that begins there, in the lanes that have one. */
static NAME(soft_lane_block) NAME(soft_lane_before)(const NAME(soft_lanes) *lanes, WIDE begin) {
    const WIDE_MASK end = __builtin_convertvector(begin, WIDE_MASK) - 1;
    NAME(soft_lane_block) before;
    for (int lane = 0; lane < KEY_LANES; lane++) {
        const int64_t place = (end[lane] > 0 ? end[lane] : 0) * KEY_LANES + lane;
        before.sum[lane] = lanes->sum[place];
        before.begin[lane] = (double)lanes->begin[place];
    }
    const WIDE length = begin - before.begin;
    before.positions = (before.begin + 0.5 * (length + 1.0)) * length;
    return before;
}

/* The lanes in which a block is to be pooled with the one before it. */
ALWAYS_INLINE WIDE_MASK NAME(soft_lanes_to_pool)(const NAME(soft_lane_block) *before,
                                                 const NAME(soft_lane_block) *last) {
    const WIDE zero = {0};
    return (WIDE_MASK)(before->sum * last->positions >= last->sum * before->positions) &
           (WIDE_MASK)(last->begin > zero);
}

/* Adds to a block the one before it, in some lanes. */
ALWAYS_INLINE void NAME(soft_pool_lanes)(WIDE_MASK pooled, const NAME(soft_lane_block) *before,
                                         NAME(soft_lane_block) *last) {
    const WIDE zero = {0};
    last->sum += NAME(choose)(pooled, before->sum, zero);
    last->positions += NAME(choose)(pooled, before->positions, zero);
    last->begin = NAME(choose)(pooled, before->begin, last->begin);
}

/* Pools the sorted columns of each group. */
ALWAYS_INLINE void NAME(soft_pool_groups)(NAME(soft_lanes) *lanes, int groups, ptrdiff_t n) {
    const WIDE zero = {0};
    NAME(soft_lane_block) top[SOFT_GROUPS], below[SOFT_GROUPS], last[SOFT_GROUPS];
    NAME(soft_lane_block) before[SOFT_GROUPS];
    WIDE_MASK pooled[SOFT_GROUPS], any = {0};
    for (int g = 0; g < groups; g++) top[g] = below[g] = (NAME(soft_lane_block)){zero, zero, zero};
    for (ptrdiff_t i = 0; i < n; i++) {
        const double position = (double)(i + 1);
        for (int g = 0; g < groups; g++) {
            last[g] = (NAME(soft_lane_block)){LOAD_WIDE(lanes[g].s + i * KEY_LANES),
                                              zero + position, zero + (position - 1)};
            /* Mostly it is one more block that is pooled, or none. */
            pooled[g] = NAME(soft_lanes_to_pool)(&top[g], &last[g]);
            NAME(soft_pool_lanes)(pooled[g], &top[g], &last[g]);
            before[g].sum = NAME(choose)(pooled[g], below[g].sum, top[g].sum);
            before[g].positions = NAME(choose)(pooled[g], below[g].positions, top[g].positions);
            before[g].begin = NAME(choose)(pooled[g], below[g].begin, top[g].begin);
            pooled[g] = NAME(soft_lanes_to_pool)(&before[g], &last[g]);
            any = g ? any | pooled[g] : pooled[g];
        }
        while (NAME(any)(any))
            for (int g = 0; g < groups; g++) {
                NAME(soft_pool_lanes)(pooled[g], &before[g], &last[g]);
                before[g] = NAME(soft_lane_before)(&lanes[g], last[g].begin);
                pooled[g] = NAME(soft_lanes_to_pool)(&before[g], &last[g]);
                any = g ? any | pooled[g] : pooled[g];
            }
        for (int g = 0; g < groups; g++) {
            STORE_WIDE(lanes[g].sum + i * KEY_LANES, last[g].sum);
            const WIDE_MASK begin = __builtin_convertvector(last[g].begin, WIDE_MASK);
            memcpy(lanes[g].begin + i * KEY_LANES, &begin, sizeof begin);
            top[g] = last[g], below[g] = before[g];
        }
    }
}

/* Puts the ranks in place of the exponentials, and the numbers of their blocks in place of where those
 * begin. */
static void NAME(soft_rank_columns)(NAME(soft_lanes) *lanes, ptrdiff_t n) {
    WIDE_MASK begin = {0}, number = begin;
    WIDE share = {0};
    begin += n;
    for (ptrdiff_t i = n - 1; i >= 0; i--) {
        const WIDE s = LOAD_WIDE(lanes->s + i * KEY_LANES);
        const WIDE sum = LOAD_WIDE(lanes->sum + i * KEY_LANES);
        const WIDE_MASK is_last = (WIDE_MASK)(begin == i + 1);
        WIDE_MASK first;
        memcpy(&first, lanes->begin + i * KEY_LANES, sizeof first);
        const WIDE length = __builtin_convertvector(i + 1 - first, WIDE);
        const WIDE positions = ((double)(i + 1) - 0.5 * (length - 1.0)) * length;
        begin = (first & is_last) | (begin & ~is_last);
        share = NAME(choose)(is_last, positions / sum, share);
        const WIDE_MASK is_alone = is_last & (begin == i);
        STORE_WIDE(lanes->s + i * KEY_LANES, NAME(choose)(is_alone, positions, share * s));
        memcpy(lanes->begin + i * KEY_LANES, &begin, sizeof begin);
    }
    number -= 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        memcpy(&begin, lanes->begin + i * KEY_LANES, sizeof begin);
        number -= (WIDE_MASK)(begin == i);
        memcpy(lanes->begin + i * KEY_LANES, &number, sizeof number);
    }
}

/* Writes the ranks of one row, and the numbers of its entries' blocks. */
static void NAME(soft_write_lane)(const NAME(soft_lanes) *lanes, int lane, ptrdiff_t n, REAL *value,
                                  int32_t *number) {
    for (ptrdiff_t i = lane; i < n * KEY_LANES; i += KEY_LANES) {
        const int64_t place = lanes->order[i];
        value[place] = (REAL)lanes->s[i];
        if (number) number[place] = (int32_t)lanes->begin[i];
    }
}

/* Ranks of rows from `first` on, at most as many as the groups have lanes.  Returns a bit for each row
 * that could not be done: it has an exponent that is too large, or an entry that is no number. */
static unsigned NAME(soft_rank_lanes)(const soft_problem *problem, ptrdiff_t first, int count) {
    const ptrdiff_t n = problem->n;
    const double largest = soft_exp(SOFT_LARGEST_EXPONENT);
    NAME(soft_lanes) lanes[SOFT_GROUPS];
    unsigned left = 0;
    for (int row = 0; row < count; row += KEY_LANES)
        NAME(soft_fill_lanes)(problem, first + row, count - row, &lanes[row / KEY_LANES]);
    for (int row = 0; row < count; row++) {
        const double *s = lanes[row / KEY_LANES].s + row % KEY_LANES;
        if (!(s[0] * largest > 1 && s[(n - 1) * KEY_LANES] < largest)) left |= 1u << row;
    }
    if (count <= KEY_LANES)
        NAME(soft_pool_groups)(lanes, 1, n);
    else
        NAME(soft_pool_groups)(lanes, SOFT_GROUPS, n);
    for (int row = 0; row < count; row += KEY_LANES)
        NAME(soft_rank_columns)(&lanes[row / KEY_LANES], n);
    for (int row = 0; row < count; row++) {
        if (left >> row & 1) continue;
        const ptrdiff_t offset = (first + row) * n;
        NAME(soft_write_lane)(&lanes[row / KEY_LANES], row % KEY_LANES, n,
                              (REAL *)problem->value + offset,
                              problem->blocks ? problem->blocks + offset : NULL);
    }
    return left;
}
