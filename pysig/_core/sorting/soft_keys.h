/* Sorting with the permutation: each entry and its index become one double, a "key", and keys are
 * sorted as numbers.
 *
 * The index stands in the last bits.  A float32 leaves 29 bits of a double free, so its key is
 * exact.  Of a float64 the bits below are cut off, and entries that differ there only are put in
 * order afterwards.  Keys of equal entries are in the order of their indices, so that the sort is
 * stable.  Infinities become the largest finite number, as with an index they would be NaN. */

#ifndef PYSIG_SOFT_KEYS_H
#define PYSIG_SOFT_KEYS_H

static inline uint64_t soft_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double soft_from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

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

/* SOFT_ASCENDING if sign * x is, SOFT_DESCENDING if it falls strictly.  Neither has NaN, for
 * n >= 2. */
static int NAME(soft_order)(const REAL *x, ptrdiff_t n, int sign) {
    int order = SOFT_ASCENDING;
    if (n > 1 && (sign > 0 ? x[1] < x[0] : x[1] > x[0])) order = SOFT_DESCENDING;
    const int falls = (order == SOFT_DESCENDING) == (sign > 0);
    const int strictly = order == SOFT_DESCENDING;
    for (ptrdiff_t i = 0; i + 1 < n; i += 256) {
        const ptrdiff_t end = i + 256 < n - 1 ? i + 256 : n - 1;
        int wrong = 0;
        if (strictly)
            for (ptrdiff_t j = i; j < end; j++)
                wrong |= falls ? !(x[j] > x[j + 1]) : !(x[j] < x[j + 1]);
        else
            for (ptrdiff_t j = i; j < end; j++)
                wrong |= falls ? !(x[j] >= x[j + 1]) : !(x[j] <= x[j + 1]);
        if (wrong) return SOFT_UNSORTED;
    }
    return order;
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
#endif
