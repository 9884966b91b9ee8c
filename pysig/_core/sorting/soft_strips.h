/* Pooling of a strip of a sorted row, "kl", without branches that depend on the entries.
 *
 * In each round all adjacent blocks are compared, and runs of neighbours that are to be pooled become
 * one block each: they would be pooled one after the other, too.  A few rounds leave nothing to do,
 * and where they do not, the rest is pooled with a stack.  A strip in which few neighbours are pooled
 * is done from those on.  Sums are those of exponentials relative to
 * one entry of the strip; a and b are what else a comparison needs:
 *     sort, kl     the sums of exp(-h i) and exp(-h m), over the m positions i of the block, from 0
 *     rank, exp    the sum of the positions, counted from 1 in the row, and the first, from 0 */

#ifndef PYSIG_SOFT_STRIPS_H
#define PYSIG_SOFT_STRIPS_H

enum { SOFT_ROUNDS = 10 };

typedef struct {
    double sum[SOFT_STRIP], a[SOFT_STRIP], b[SOFT_STRIP];
    double pooled[SOFT_STRIP]; /* 1 where a block is pooled with the one before it, or 0 */
    double entry[SOFT_STRIP];  /* what the sums are of, if it is needed later */
    double position;           /* how many entries are before the first */
    int32_t start[SOFT_STRIP + 1];
    int blocks;
} soft_strip;
#endif

/* Compares all blocks with those before them; returns whether any are to be pooled. */
ALWAYS_INLINE int NAME(soft_compare)(int kind, const soft_workspace *workspace, soft_strip *strip) {
    double *a = strip->a, *b = strip->b, *pooled = strip->pooled;
    const double *sum = strip->sum;
    const int32_t *start = strip->start;
    const double position = strip->position;
    int64_t any = 0; /* as wide as the numbers compared, so that vectors have both */
    for (int k = 0; k < strip->blocks; k++) {
        const int length = start[k + 1] - start[k];
        const double m = (double)length;
        b[k] = kind == SOFT_SORT_KL ? workspace->decay[length] : position + start[k];
        a[k] = kind == SOFT_SORT_KL ? workspace->geometric[length] : (b[k] + 0.5 * (m + 1)) * m;
    }
    pooled[0] = 0;
    for (int k = 1; k < strip->blocks; k++) {
        int64_t is_pooled = kind == SOFT_SORT_KL ? a[k - 1] * sum[k] <= b[k - 1] * a[k] * sum[k - 1]
                                                 : sum[k - 1] * a[k] >= sum[k] * a[k - 1];
        pooled[k] = is_pooled ? 1.0 : 0.0;
        any |= is_pooled;
    }
    return any != 0;
}

/* Makes one block of each run. */
ALWAYS_INLINE void NAME(soft_merge_runs)(soft_strip *strip) {
    const int32_t end = strip->start[strip->blocks];
    double sum = 0;
    int32_t first = 0;
    int last = -1;
    for (int k = 0; k < strip->blocks; k++) {
        const double pooled = strip->pooled[k];
        const int32_t start = strip->start[k];
        const int32_t is_new =
            1 - (int32_t)(soft_bits(pooled) >> 61); /* 1.0 has 0x3ff at the top */
        first += (start - first) & -is_new;
        sum = sum * pooled + strip->sum[k];
        last += is_new;
        strip->sum[last] = sum;
        strip->start[last] = first;
    }
    strip->blocks = last + 1;
    strip->start[last + 1] = end;
}

/* Whether the block b, which ends at `end`, is pooled with a, which is before it. */
ALWAYS_INLINE int NAME(soft_strip_violates)(int kind, const soft_workspace *workspace,
                                            double position, const soft_block *a,
                                            const soft_block *b) {
    const int m_a = a->length, m_b = b->length;
    if (kind == SOFT_SORT_KL)
        return workspace->geometric[m_a] * b->sum <=
               workspace->decay[m_a] * workspace->geometric[m_b] * a->sum;
    const double first = position + a->start;
    return a->sum * ((first + m_a + 0.5 * (m_b + 1)) * m_b) >=
           b->sum * ((first + 0.5 * (m_a + 1)) * m_a);
}

/* Pools what the rounds have left, one block after the other. */
static void NAME(soft_merge_rest)(int kind, const soft_workspace *workspace, soft_strip *strip) {
    const int blocks = strip->blocks;
    const int32_t end = strip->start[blocks];
    int count = 0;
    for (int k = 0; k < blocks; k++) {
        soft_block last = {strip->sum[k], strip->start[k], strip->start[k + 1] - strip->start[k]};
        for (; count; count--) {
            const int32_t start = strip->start[count - 1];
            const soft_block before = {strip->sum[count - 1], start, last.start - start};
            if (!NAME(soft_strip_violates)(kind, workspace, strip->position, &before, &last)) break;
            last = (soft_block){before.sum + last.sum, start, before.length + last.length};
        }
        strip->sum[count] = last.sum;
        strip->start[count++] = last.start;
    }
    strip->blocks = count;
    strip->start[count] = end;
}

/* A strip in which few neighbours are pooled. */
typedef struct {
    const REAL *s;
    const double *sum;      /* kl: of each entry */
    const uint8_t *is_pair; /* 1 for the first of two neighbours that are pooled */
    double position, inverse;
    int length;
    const soft_workspace *workspace;
} NAME(soft_sparse_strip);

ALWAYS_INLINE soft_block NAME(soft_alone)(int kind, const NAME(soft_sparse_strip) *strip, int i) {
    return (soft_block){kind == SOFT_SORT_L2 ? 0 : strip->sum[i], i, 1};
}

/* Whether b is to be pooled with a, which is before it. */
ALWAYS_INLINE int NAME(soft_sparse_violates)(int kind, const NAME(soft_sparse_strip) *strip,
                                             const soft_block *a, const soft_block *b) {
    if (kind == SOFT_SORT_L2)
        return NAME(soft_violates)(kind, strip->s, a, b, 1 / strip->inverse, strip->inverse);
    return NAME(soft_strip_violates)(kind, strip->workspace, strip->position, a, b);
}

ALWAYS_INLINE void NAME(soft_sparse_add)(int kind, const NAME(soft_sparse_strip) *strip,
                                         soft_block *a, const soft_block *b) {
    if (kind == SOFT_SORT_L2) {
        NAME(soft_add_block)(kind, strip->s, a, b, strip->inverse);
        return;
    }
    a->sum += b->sum, a->length += b->length;
}

/* Pools from each pair of neighbours on, to both sides; the blocks go to `stack`, their number is
 * returned. */
ALWAYS_INLINE int NAME(soft_pool_pairs)(int kind, const NAME(soft_sparse_strip) *strip,
                                        soft_block *stack) {
    const uint8_t *is_pair = strip->is_pair;
    const int length = strip->length;
    int count = 0;
    for (int i = 0; i + 1 < length;) {
        const uint8_t *pair = memchr(is_pair + i, 1, (size_t)(length - 1 - i));
        if (!pair) break;
        i = (int)(pair - is_pair);
        soft_block block = NAME(soft_alone)(kind, strip, i), before;
        for (;;) {
            for (i = block.start + block.length; i < length; i++) {
                const soft_block next = NAME(soft_alone)(kind, strip, i);
                const int is_pooled =
                    is_pair[i - 1] || NAME(soft_sparse_violates)(kind, strip, &block, &next);
                if (!is_pooled) break;
                NAME(soft_sparse_add)(kind, strip, &block, &next);
            }
            if (!block.start) break;
            const soft_block *last = stack + count - 1;
            const int is_stored = count && last->start + last->length == block.start;
            before = is_stored ? *last : NAME(soft_alone)(kind, strip, block.start - 1);
            if (!NAME(soft_sparse_violates)(kind, strip, &before, &block)) break;
            NAME(soft_sparse_add)(kind, strip, &before, &block);
            block = before;
            count -= is_stored;
        }
        stack[count++] = block;
    }
    return count;
}

/* Pools a strip of single entries, of which the sums and places are there. */
ALWAYS_INLINE void NAME(soft_pool_filled)(int kind, const soft_workspace *workspace,
                                          soft_strip *strip) {
    for (int i = 0; i <= strip->blocks; i++) strip->start[i] = i;
    for (int round = 0; NAME(soft_compare)(kind, workspace, strip); round++) {
        if (round == SOFT_ROUNDS) {
            NAME(soft_merge_rest)(kind, workspace, strip);
            continue; /* nothing is left, but a and b are to be computed */
        }
        NAME(soft_merge_runs)(strip);
    }
}

/* Whether the neighbours at i and i + 1, of `position` + i entries before, are pooled.  As wide as the
 * numbers compared, so that vectors have both. */
ALWAYS_INLINE int64_t NAME(soft_is_pair)(int kind, const REAL *s, double position, int i,
                                         double inverse) {
    const double low = (double)s[i], high = (double)s[i + 1];
    if (kind == SOFT_RANK_EXP) return low * (position + (i + 2)) >= high * (position + (i + 1));
    return high - low >= inverse;
}

/* Notes the neighbours that are pooled: is_pair is 1 for the first of two.  Returns their number. */
ALWAYS_INLINE int NAME(soft_find_pairs)(int kind, const REAL *s, double position, int count,
                                        double inverse, uint8_t *is_pair) {
    int64_t any = 0, pairs = 0;
    if (kind == SOFT_RANK_EXP) {
        for (int i = 0; i + 1 < count; i++)
            any |= NAME(soft_is_pair)(kind, s, position, i, inverse);
    } else {
        /* In the type of the entries, and a little too often, because of rounding. */
        const REAL limit = (REAL)(inverse * (1 - 1e-6));
        int few = 0;
        for (int i = 0; i + 1 < count; i++) few |= s[i + 1] - s[i] >= limit;
        any = few;
    }
    if (!any) return 0;
    for (int i = 0; i + 1 < count; i++) {
        const int64_t is_pooled = NAME(soft_is_pair)(kind, s, position, i, inverse);
        is_pair[i] = (uint8_t)is_pooled;
        pairs += is_pooled;
    }
    return (int)pairs;
}

/* Pools at most SOFT_STRIP entries; the blocks of several go to `stack`, their number is returned. */
ALWAYS_INLINE ptrdiff_t NAME(soft_pool_strip)(int kind, const REAL *s, ptrdiff_t begin,
                                              ptrdiff_t end, double inverse,
                                              const soft_workspace *workspace, soft_block *stack) {
    soft_strip strip;
    uint8_t is_pair[SOFT_STRIP];
    const int length = (int)(end - begin);
    const int pairs =
        NAME(soft_find_pairs)(kind, s + begin, (double)begin, length, inverse, is_pair);
    if (!pairs) return 0;
    const int is_sparse = 8 * pairs < length;
    if (kind == SOFT_SORT_L2 && !is_sparse)
        return NAME(soft_pool)(kind, s, begin, end, 1 / inverse, stack);
    if (pairs == length - 1 && kind == SOFT_RANK_EXP) {
        *stack = (soft_block){NAME(soft_sum)(s + begin, length, 0), (int)begin, length};
        return 1;
    }
    /* Exponentials relative to the first entry must not underflow. */
    if (kind == SOFT_SORT_KL &&
        !((double)s[end - 1] - (double)s[begin] < 600 && inverse * length < 600))
        return NAME(soft_pool_slowly)(kind, s, begin, end, 1 / inverse, stack);
    strip.position = (double)begin;
    for (int i = 0; kind != SOFT_SORT_L2 && i < length; i++) {
        const double value = (double)s[begin + i];
        strip.sum[i] = kind == SOFT_SORT_KL ? soft_exp((double)s[begin] - value) : value;
    }
    strip.blocks = length;
    if (is_sparse) {
        const NAME(soft_sparse_strip) sparse = {s + begin, strip.sum, is_pair,  (double)begin,
                                                inverse,   length,    workspace};
        const int count = NAME(soft_pool_pairs)(kind, &sparse, stack);
        for (int k = 0; k < count; k++) {
            if (kind == SOFT_SORT_KL) stack[k].sum /= strip.sum[stack[k].start];
            stack[k].start += (int)begin;
        }
        return count;
    }
    if (kind == SOFT_SORT_KL) memcpy(strip.entry, strip.sum, (size_t)length * sizeof *strip.sum);
    NAME(soft_pool_filled)(kind, workspace, &strip);
    ptrdiff_t count = 0;
    for (int k = 0; k < strip.blocks; k++) {
        const int start = strip.start[k], m = strip.start[k + 1] - start;
        const double scale = kind == SOFT_SORT_KL ? 1 / strip.entry[start] : 1;
        stack[count] = (soft_block){strip.sum[k] * scale, (int)begin + start, m};
        count += m > 1;
    }
    return count;
}
