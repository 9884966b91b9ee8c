/* Pooling of a strip of a sorted row, "kl", without branches that depend on the entries.
 *
 * In each round all adjacent blocks are compared, and runs of neighbours that are to be pooled become
 * one block each: they would be pooled one after the other, too.  A few rounds leave nothing to do,
 * and where they do not, the rest is pooled with a stack.  Sums are those of exponentials relative to
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

/* Pools what the rounds have left, one block after the other. */
static void NAME(soft_merge_rest)(int kind, const soft_workspace *workspace, soft_strip *strip) {
    const int blocks = strip->blocks;
    const int32_t end = strip->start[blocks];
    soft_strip pair;
    int count = 0;
    pair.blocks = 2, pair.position = strip->position;
    for (int k = 0; k < blocks; k++) {
        pair.sum[1] = strip->sum[k];
        pair.start[1] = strip->start[k], pair.start[2] = strip->start[k + 1];
        for (; count; count--) {
            pair.sum[0] = strip->sum[count - 1];
            pair.start[0] = strip->start[count - 1];
            if (!NAME(soft_compare)(kind, workspace, &pair)) break;
            pair.sum[1] += pair.sum[0];
            pair.start[1] = pair.start[0];
        }
        strip->sum[count] = pair.sum[1];
        strip->start[count++] = pair.start[1];
    }
    strip->blocks = count;
    strip->start[count] = end;
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

/* How many neighbours are pooled: 0, all (2), or some (1). */
ALWAYS_INLINE int NAME(soft_count_pairs)(int kind, const REAL *s, ptrdiff_t begin, int count,
                                         double inverse) {
    const double position = (double)begin;
    int64_t any = 0, all = -1;
    s += begin;
    for (int i = 0; i + 1 < count; i++) {
        const double low = (double)s[i], high = (double)s[i + 1];
        const int64_t is_pooled = kind == SOFT_RANK_EXP
                                      ? low * (position + (i + 2)) >= high * (position + (i + 1))
                                      : high - low >= inverse;
        any |= is_pooled;
        all &= is_pooled;
    }
    return !any ? 0 : all ? 2 : 1;
}

/* Pools at most SOFT_STRIP entries; the blocks of several go to `stack`, their number is returned. */
ALWAYS_INLINE ptrdiff_t NAME(soft_pool_strip)(int kind, const REAL *s, ptrdiff_t begin,
                                              ptrdiff_t end, double inverse,
                                              const soft_workspace *workspace, soft_block *stack) {
    soft_strip strip;
    const int length = (int)(end - begin);
    const int pairs = NAME(soft_count_pairs)(kind, s, begin, length, inverse);
    if (!pairs) return 0;
    if (kind == SOFT_SORT_L2) return NAME(soft_pool)(kind, s, begin, end, 1 / inverse, stack);
    if (pairs == 2 && kind == SOFT_RANK_EXP) {
        *stack = (soft_block){NAME(soft_sum)(s + begin, length, 0), (int)begin, length};
        return 1;
    }
    /* Exponentials relative to the first entry must not underflow. */
    if (kind == SOFT_SORT_KL &&
        !((double)s[end - 1] - (double)s[begin] < 600 && inverse * length < 600))
        return NAME(soft_pool_slowly)(kind, s, begin, end, 1 / inverse, stack);
    strip.position = (double)begin;
    for (int i = 0; i < length; i++) {
        const double value = (double)s[begin + i];
        strip.sum[i] = kind == SOFT_SORT_KL ? soft_exp((double)s[begin] - value) : value;
    }
    if (kind == SOFT_SORT_KL) memcpy(strip.entry, strip.sum, (size_t)length * sizeof *strip.sum);
    strip.blocks = length;
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
