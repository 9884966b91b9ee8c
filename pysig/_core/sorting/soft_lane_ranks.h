/* Ranks, "kl", of short rows: as many at a time as a vector has doubles, one in each lane.
 *
 * The exponentials alone are sorted, without a permutation.  All lanes pool their rows in step:
 * position by position, a block is pooled with the one before it as long as some lane has to.  Then
 * each row compares its entries with the largest of each block. */

#define KEY_LANES (VECTOR_BYTES / 8)
#define WIDE SIMD_CONCATENATE(vector, double, SIMD_LEVEL_NAME)
#define WIDE_MASK SIMD_CONCATENATE(mask, double, SIMD_LEVEL_NAME)
#define LOAD_WIDE SIMD_CONCATENATE(load, double, SIMD_LEVEL_NAME)
#define STORE_WIDE SIMD_CONCATENATE(store, double, SIMD_LEVEL_NAME)

/* Exponents up to this size are taken relative to the first entry of the row. */
#define SOFT_LARGEST_EXPONENT 300.0

/* Columns: position by position, with a number for each lane. */
typedef struct {
    double rows[KEY_LANES * SOFT_STRIP]; /* the exponentials, [lane][stride] */
    double s[SOFT_STRIP * KEY_LANES];    /* sorted columns */
    /* Of the block that ends at each position: the sum, and where it begins. */
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

/* Exponentials of rows of the same length, `stride` apart. */
static void NAME(soft_fill_lanes)(const soft_problem *problem, ptrdiff_t first, int count,
                                  ptrdiff_t stride, double *rows) {
    const ptrdiff_t n = problem->n;
    const double scale = problem->sign / problem->strength, most = 2 * SOFT_LARGEST_EXPONENT;
    for (int lane = 0; lane < count; lane++) {
        const REAL *x = (const REAL *)problem->x + (first + lane) * n;
        double *row = rows + lane * stride;
        const double origin = (double)x[0];
        for (ptrdiff_t i = 0; i < n; i++) row[i] = ((double)x[i] - origin) * scale;
        for (ptrdiff_t i = n; i < stride; i++) row[i] = 0;
    }
    for (ptrdiff_t i = 0; i < count * stride; i++)
        rows[i] = soft_exp(rows[i] < most ? rows[i] : most); /* NaN becomes large, too */
    for (ptrdiff_t i = count * stride; i < KEY_LANES * stride; i++) rows[i] = 1;
}

/* Sorts the columns, unless all lanes are in order. */
static void NAME(soft_sort_columns)(double *s, ptrdiff_t n) {
    WIDE_MASK wrong = {0};
    for (ptrdiff_t i = 0; i + 1 < n; i++)
        wrong |= (WIDE_MASK)(LOAD_WIDE(s + i * KEY_LANES) > LOAD_WIDE(s + (i + 1) * KEY_LANES));
    if (NAME(any)(wrong)) SIMD_CONCATENATE(sort_lanes, double, SIMD_LEVEL_NAME)(s, n);
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

/* Pools the sorted columns. */
static void NAME(soft_pool_columns)(NAME(soft_lanes) *lanes, ptrdiff_t n) {
    const WIDE zero = {0};
    NAME(soft_lane_block) top = {zero, zero, zero}, below = top;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double position = (double)(i + 1);
        NAME(soft_lane_block) last = {LOAD_WIDE(lanes->s + i * KEY_LANES), zero + position,
                                      zero + (position - 1)};
        /* Mostly it is one more block that is pooled, or none. */
        WIDE_MASK pooled = NAME(soft_lanes_to_pool)(&top, &last);
        NAME(soft_pool_lanes)(pooled, &top, &last);
        NAME(soft_lane_block) before = {NAME(choose)(pooled, below.sum, top.sum),
                                        NAME(choose)(pooled, below.positions, top.positions),
                                        NAME(choose)(pooled, below.begin, top.begin)};
        while (NAME(any)(pooled = NAME(soft_lanes_to_pool)(&before, &last))) {
            NAME(soft_pool_lanes)(pooled, &before, &last);
            before = NAME(soft_lane_before)(lanes, last.begin);
        }
        STORE_WIDE(lanes->sum + i * KEY_LANES, last.sum);
        const WIDE_MASK begin = __builtin_convertvector(last.begin, WIDE_MASK);
        memcpy(lanes->begin + i * KEY_LANES, &begin, sizeof begin);
        top = last, below = before;
    }
}

/* The blocks of each lane from the end of the row on, in columns: the largest exponential of each, and
 * what its ranks are computed from, product and sum. */
typedef struct {
    double largest[SOFT_STRIP * KEY_LANES], share[SOFT_STRIP * KEY_LANES];
    double alone[SOFT_STRIP * KEY_LANES];
    int64_t count[KEY_LANES];
} NAME(soft_lane_blocks);

static void NAME(soft_collect_blocks)(const NAME(soft_lanes) *lanes, int n,
                                      NAME(soft_lane_blocks) *blocks) {
    const WIDE zero = {0};
    const WIDE_MASK none = {0};
    WIDE_MASK end = none + n, begin = none, count = none;
    for (int k = 0; NAME(any)(end); k++, end = begin) {
        WIDE sum, largest;
        for (int lane = 0; lane < KEY_LANES; lane++) {
            const int64_t place = (end[lane] > 0 ? end[lane] - 1 : 0) * KEY_LANES + lane;
            sum[lane] = lanes->sum[place];
            begin[lane] = lanes->begin[place];
            largest[lane] = lanes->s[place];
        }
        const WIDE first = __builtin_convertvector(begin, WIDE);
        const WIDE length = __builtin_convertvector(end, WIDE) - first;
        const WIDE positions = (first + 0.5 * (length + 1.0)) * length;
        const WIDE_MASK is_alone = (WIDE_MASK)(length == 1.0);
        STORE_WIDE(blocks->largest + k * KEY_LANES, largest);
        STORE_WIDE(blocks->share + k * KEY_LANES, NAME(choose)(is_alone, zero, positions / sum));
        STORE_WIDE(blocks->alone + k * KEY_LANES, NAME(choose)(is_alone, positions, zero));
        count -= (WIDE_MASK)(end > none);
    }
    memcpy(blocks->count, &count, sizeof count);
}

/* Writes the ranks of one row, and the numbers of its entries' blocks. */
static void NAME(soft_write_lane)(const NAME(soft_lane_blocks) *blocks, int lane, const double *row,
                                  int n, REAL *value, int32_t *number) {
    const WIDE zero = {0};
    const double *share = blocks->share + lane, *alone = blocks->alone + lane;
    const int32_t count = (int32_t)blocks->count[lane];
    int64_t after[SOFT_STRIP]; /* KEY_LANES times the number of blocks after that of each entry */
    for (int i = 0; i < n; i += KEY_LANES) {
        const WIDE e = LOAD_WIDE(row + i);
        WIDE_MASK places = {0};
        for (int k = 1; k < count; k++)
            places -= (WIDE_MASK)(e <= zero + blocks->largest[k * KEY_LANES + lane]);
        places *= KEY_LANES;
        memcpy(after + i, &places, sizeof places);
    }
    for (int i = 0; i < n; i++) value[i] = (REAL)(share[after[i]] * row[i] + alone[after[i]]);
    for (int i = 0; number && i < n; i++) number[i] = count - 1 - (int32_t)after[i] / KEY_LANES;
}

/* Ranks of rows from `first` on, at most as many as there are lanes.  Returns a bit for each row that
 * could not be done: it has an exponent that is too large, or an entry that is no number. */
static unsigned NAME(soft_rank_lanes)(const soft_problem *problem, ptrdiff_t first, int count) {
    const ptrdiff_t n = problem->n, stride = (n + KEY_LANES - 1) / KEY_LANES * KEY_LANES;
    const double largest = soft_exp(SOFT_LARGEST_EXPONENT);
    NAME(soft_lanes) lanes;
    NAME(soft_lane_blocks) blocks;
    unsigned left = 0;
    NAME(soft_fill_lanes)(problem, first, count, stride, lanes.rows);
    SIMD_CONCATENATE(rows_to_lanes, double, SIMD_LEVEL_NAME)(lanes.rows, stride, lanes.s);
    NAME(soft_sort_columns)(lanes.s, n);
    NAME(soft_pool_columns)(&lanes, n);
    NAME(soft_collect_blocks)(&lanes, (int)n, &blocks);
    for (int lane = 0; lane < count; lane++) {
        const double low = lanes.s[lane], high = lanes.s[(n - 1) * KEY_LANES + lane];
        if (!(low * largest > 1 && high < largest)) {
            left |= 1u << lane;
            continue;
        }
        const ptrdiff_t offset = (first + lane) * n;
        NAME(soft_write_lane)(&blocks, lane, lanes.rows + lane * stride, (int)n,
                              (REAL *)problem->value + offset,
                              problem->blocks ? problem->blocks + offset : NULL);
    }
    return left;
}
