/* Sorting with the permutation: each entry and its index become one double, a "key", and keys are
 * sorted as numbers.
 *
 * The index stands in the last bits.  A float32 leaves 29 bits of a double free, so its key is
 * exact.  Of a float64 the bits below are cut off, and entries that differ there only are put in
 * order afterwards.  Keys of equal entries are in the order of their indices, so that the sort is
 * stable.  Infinities become the largest finite number, as with an index they would be NaN. */

#ifndef PYSIG_SOFT_KEYS_H
#define PYSIG_SOFT_KEYS_H

/* Whether a row is in order already. */
enum { SOFT_UNSORTED, SOFT_ASCENDING, SOFT_DESCENDING };

/* A number whose order is that of doubles; equal for the two zeros. */
static inline uint64_t soft_ordinal(double value) {
    const uint64_t bits = soft_bits(value + 0.0);
    return bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
}

/* Ones in the bits of a key that hold the index.  It is counted from 1, and there is a number above
 * the last one, so that no key becomes a zero: the two zeros compare as equal. */
static uint64_t soft_index_mask(ptrdiff_t n) {
    uint64_t mask = 0;
    while (mask < (uint64_t)n + 1) mask = 2 * mask + 1;
    return mask;
}

/* Sorts by heaps: slow, but in place and never slower. */
static void soft_sort_integers(uint64_t *a, ptrdiff_t n) {
    for (ptrdiff_t top = n / 2 - 1, size = n; size > 1;) {
        uint64_t value;
        ptrdiff_t i;
        if (top >= 0) {
            value = a[i = top--];
        } else {
            value = a[--size];
            a[size] = a[0];
            i = 0;
        }
        for (ptrdiff_t child; (child = 2 * i + 1) < size; i = child) {
            if (child + 1 < size && a[child + 1] > a[child]) child++;
            if (a[child] <= value) break;
            a[i] = a[child];
        }
        a[i] = value;
    }
}
#endif

typedef struct {
    const REAL *x;
    ptrdiff_t n;
    int falls; /* whether x is to be checked for falling */
    int is_wrong;
} NAME(soft_order_check);

/* Whether the neighbours from `begin` on, up to that of the entry at `end`, are in order. */
static int NAME(soft_is_ordered)(const REAL *x, ptrdiff_t begin, ptrdiff_t end, int falls) {
    int wrong = 0;
    if (falls)
        for (ptrdiff_t i = begin; i < end; i++) wrong |= !(x[i] >= x[i + 1]);
    else
        for (ptrdiff_t i = begin; i < end; i++) wrong |= !(x[i] <= x[i + 1]);
    return !wrong;
}

static void NAME(soft_check_order)(void *context, ptrdiff_t chunk) {
    NAME(soft_order_check) *check = context;
    const soft_range range = soft_chunk(check->n - 1, chunk);
    for (ptrdiff_t i = range.begin; i < range.end && !soft_is_raised(&check->is_wrong); i += 256) {
        const ptrdiff_t end = i + 256 < range.end ? i + 256 : range.end;
        if (!NAME(soft_is_ordered)(check->x, i, end, check->falls)) soft_raise(&check->is_wrong);
    }
}

/* How sign * x is ordered, equal neighbours allowed.  Where it is, there is no NaN, for n >= 2. */
static int NAME(soft_order)(const REAL *x, ptrdiff_t n, int sign, const soft_workspace *workspace) {
    const int falls = sign > 0 ? x[n - 1] < x[0] : x[n - 1] <= x[0];
    const ptrdiff_t few = n - 1 < 256 ? n - 1 : 256;
    if (!NAME(soft_is_ordered)(x, 0, few, falls)) return SOFT_UNSORTED;
    if (n - 1 > few) {
        NAME(soft_order_check) check = {x, n, falls, 0};
        soft_run(workspace, NAME(soft_check_order), &check, n - 1);
        if (check.is_wrong) return SOFT_UNSORTED;
    }
    return falls == (sign < 0) ? SOFT_ASCENDING : SOFT_DESCENDING;
}

/* Where, among the entries before `end` of a row that is monotonic read backwards, from last on,
 * those equal to that at `end` begin. */
static ptrdiff_t NAME(soft_ties_begin)(const REAL *last, ptrdiff_t end) {
    ptrdiff_t low = 0, high = end;
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        if (last[-middle] == last[-end])
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Where those equal to that at `begin` end. */
static ptrdiff_t NAME(soft_ties_end)(const REAL *last, ptrdiff_t begin, ptrdiff_t n) {
    ptrdiff_t low = begin + 1, high = n;
    while (low < high) {
        const ptrdiff_t middle = (low + high) / 2;
        if (last[-middle] == last[-begin])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A part of the permutation that sorts a falling row: it is reversed, but for entries that are
 * equal. */
static void NAME(soft_reverse)(const REAL *x, ptrdiff_t n, soft_range range, int32_t *order) {
    const REAL *last = x + n - 1;
    ptrdiff_t i = range.begin;
    while (i < range.end) {
        /* Strips without ties become vectors. */
        for (int count; i < range.end; i += count) {
            count = range.end - i < 64 ? (int)(range.end - i) : 64;
            const int pairs = i + count < n ? count : count - 1;
            const int32_t first = (int32_t)(n - 1 - i);
            const REAL *strip = last - i - pairs;
            int ties = i > 0 && last[-i] == last[1 - i];
            for (int j = 0; j < pairs; j++) ties |= strip[j] == strip[j + 1];
            if (ties) break;
            for (int j = 0; j < count; j++) order[i + j] = first - j;
        }
        if (i == range.end) break;
        const int is_first = i == range.begin && i > 0 && last[-i] == last[1 - i];
        const ptrdiff_t begin = is_first ? NAME(soft_ties_begin)(last, i) : i;
        ptrdiff_t end = i + 1;
        while (end < range.end && last[-end] == last[-i]) end++;
        const ptrdiff_t stop = end;
        if (end == range.end && end < n && last[-end] == last[-i])
            end = NAME(soft_ties_end)(last, i, n);
        for (; i < stop; i++) order[i] = (int32_t)(n - end + (i - begin));
    }
}

/* Makes keys of sign * x, with the indices from `first`; returns whether there is NaN. */
static int NAME(soft_make_keys)(const REAL *x, ptrdiff_t first, ptrdiff_t end, int sign,
                                uint64_t mask, double *keys) {
    const double largest = DBL_MAX;
    int nan = 0;
    for (ptrdiff_t i = first; i < end; i++) {
        double value = (double)(sign * x[i]) + 0.0; /* no negative zero */
        nan |= value != value;
        value = value < largest ? value : largest;
        value = value > -largest ? value : -largest;
        const uint64_t bits = soft_bits(value);
        const uint64_t index = ((uint64_t)i + 1) ^ (0 - (bits >> 63));
        keys[i - first] = soft_from_bits((bits & ~mask) | (index & mask));
    }
    return nan;
}

/* The permutation and the sorted entries from sorted keys. */
static void NAME(soft_take_keys)(const double *keys, ptrdiff_t n, const REAL *x, int sign,
                                 uint64_t mask, int32_t *order, REAL *sorted) {
    for (ptrdiff_t i = 0; i < n; i++) {
        const uint64_t bits = soft_bits(keys[i]);
        order[i] = (int32_t)((bits ^ (0 - (bits >> 63))) & mask) - 1;
#if REAL_BYTES == 4
        sorted[i] = (REAL)soft_from_bits(bits & ~mask);
#endif
    }
#if REAL_BYTES == 8
    for (ptrdiff_t i = 0; i < n; i++) sorted[i] = sign * x[order[i]];
#else
    (void)x, (void)sign;
#endif
}

#if REAL_BYTES == 8
/* Puts the entries begin ... end, whose keys differ in the index only, in order. */
static void NAME(soft_refine_run)(ptrdiff_t begin, ptrdiff_t end, const REAL *x, int sign,
                                  uint64_t mask, double *keys, int32_t *order, REAL *sorted) {
    if (end - begin > 16) {
        /* What was cut off has as many bits as the index, at most 29. */
        uint64_t *low = (uint64_t *)(void *)(keys + begin);
        int bits = 0;
        while (mask >> bits) bits++;
        /* The two ends of the finite range may stand for infinity. */
        for (ptrdiff_t i = begin; i < end; i++) {
            const uint64_t cut = soft_ordinal(sorted[i]) & mask;
            const int infinite = !(fabs(sorted[i]) <= DBL_MAX);
            const uint64_t place = !infinite ? cut + 1 : sorted[i] > 0 ? mask + 2 : 0;
            low[i - begin] = place << bits | (uint64_t)order[i];
        }
        soft_sort_integers(low, end - begin);
        for (ptrdiff_t i = begin; i < end; i++) order[i] = (int32_t)(low[i - begin] & mask);
        for (ptrdiff_t i = begin; i < end; i++) sorted[i] = sign * x[order[i]];
        return;
    }
    for (ptrdiff_t i = begin + 1; i < end; i++) {
        const REAL value = sorted[i];
        const int32_t index = order[i];
        ptrdiff_t j = i;
        for (; j > begin && sorted[j - 1] > value; j--) {
            sorted[j] = sorted[j - 1];
            order[j] = order[j - 1];
        }
        sorted[j] = value;
        order[j] = index;
    }
}

/* Puts in order what the keys left unsorted.  The keys are overwritten. */
static void NAME(soft_refine)(ptrdiff_t n, const REAL *x, int sign, uint64_t mask, double *keys,
                              int32_t *order, REAL *sorted) {
    for (ptrdiff_t i = 0, done = 0; i + 1 < n;) {
        const ptrdiff_t strip = i + 64 < n - 1 ? i + 64 : n - 1;
        int wrong = 0;
        for (ptrdiff_t j = i; j < strip; j++) wrong |= sorted[j] > sorted[j + 1];
        if (!wrong) {
            i = strip;
            continue;
        }
        while (sorted[i] <= sorted[i + 1]) i++;
        const uint64_t prefix = soft_bits(keys[i]) & ~mask;
        ptrdiff_t begin = i, end = i + 2;
        while (begin > done && (soft_bits(keys[begin - 1]) & ~mask) == prefix) begin--;
        while (end < n && (soft_bits(keys[end]) & ~mask) == prefix) end++;
        NAME(soft_refine_run)(begin, end, x, sign, mask, keys, order, sorted);
        done = end;
        i = end - 1;
    }
}

/* A row for which soft_refine has nothing to do is the rule. */
static void NAME(soft_check_sorted)(void *context, ptrdiff_t chunk) {
    NAME(soft_order_check) *check = context;
    const soft_range range = soft_chunk(check->n - 1, chunk);
    if (!NAME(soft_is_ordered)(check->x, range.begin, range.end, 0)) soft_raise(&check->is_wrong);
}
#endif
