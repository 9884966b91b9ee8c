/* Pooling adjacent violators: which neighbours of a sorted row share one block.
 *
 * The row s is in ascending order.  The problems differ in when two adjacent blocks, a and after it
 * b, are pooled.  With M the mean, m the number of entries, and h = 1 / strength:
 *     sort, l2    M_b - M_a >= h (m_a + m_b) / 2
 *     rank, l2    M_b - M_a <= strength (m_a + m_b) / 2
 *     sort, kl    R_a / L_a <= R_b / L_b,  where L is the sum of exp(-s), and R that of exp(-h i)
 *                 over the positions i, a geometric series
 *     rank, kl    E_a / W_a >= E_b / W_b,  where E is the sum of exp(h s), and W that of the
 *                 positions, counted from 1
 *     rank, exp   the same, where exp(h s) is given instead of s: no more exponentials are needed,
 *                 but they may overflow
 * Sums are relative to the first entry of their block (but for the last problem), lest large numbers
 * that differ little are subtracted from each other, and lest exponentials overflow.  A block of one
 * entry is not stored: at most n / 2 blocks are, and a row in which nothing is pooled costs a
 * comparison for each entry.
 *
 * Needed from outside: REAL, NAME(stem), <math.h>, <stddef.h>, and DEVICE, which stands before each
 * function.  Plain C that is C++, too.
 */
#ifndef PYSIG_BLOCKS_H
#define PYSIG_BLOCKS_H

enum { SOFT_SORT_L2, SOFT_RANK_L2, SOFT_SORT_KL, SOFT_RANK_KL, SOFT_RANK_EXP };

typedef struct {
    double sum; /* l2: of s - first; sort, kl: of exp(first - s);
                   rank, kl: of exp(h (s - first)); rank, exp: of s */
    int start;  /* position of the first entry */
    int length; /* at least 2 where it is stored */
} soft_block;

/* 1 + q + ... + q^(m - 1), where q = exp(-h). */
DEVICE double soft_geometric(double m, double h) {
    return m == 1 ? 1 : expm1(-m * h) / expm1(-h);
}

/* The mean of 0, ..., m - 1 with the weights q^0, ..., q^(m - 1). */
DEVICE double soft_geometric_mean(double m, double h) {
    if (m * h < 1e-3) return (m - 1) / 2 - (m * m - 1) * h / 12;
    return 1 / expm1(h) - m / expm1(m * h);
}

/* The sum of the positions of a block, counted from 1. */
DEVICE double soft_positions(const soft_block *block) {
    return ((double)block->start + 0.5 * ((double)block->length + 1)) * (double)block->length;
}
#endif

/* Whether the entries at i and i + 1, each a block of its own, are pooled. */
DEVICE int NAME(soft_pair)(int kind, const REAL *s, ptrdiff_t i, double strength, double inverse) {
    const double low = (double)s[i], high = (double)s[i + 1], gap = high - low;
    const double position = (double)(i + 1);
    if (kind == SOFT_RANK_L2) return gap <= strength;
    if (kind == SOFT_RANK_EXP) return low * (position + 1) >= high * position;
    if (kind != SOFT_RANK_KL) return gap >= inverse;
    /* 1 / (position + 1) < log((position + 1) / position) < 1 / position */
    if (gap * inverse * (position + 1) <= 1) return 1;
    return gap * inverse * position <= 1 && exp(gap * inverse) * position <= position + 1;
}

/* Whether the block b is pooled with a, which ends where b begins. */
DEVICE int NAME(soft_violates)(int kind, const REAL *s, const soft_block *a, const soft_block *b,
                               double strength, double inverse) {
    if (kind == SOFT_RANK_EXP) return a->sum * soft_positions(b) >= b->sum * soft_positions(a);
    const double m_a = (double)a->length, m_b = (double)b->length;
    const double gap = (double)s[b->start] - (double)s[a->start];
    if (kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2) {
        const double difference = b->sum * m_a - a->sum * m_b + gap * (m_a * m_b);
        const double limit = 0.5 * (m_a + m_b) * (m_a * m_b);
        return kind == SOFT_SORT_L2 ? difference >= inverse * limit
                                    : difference <= strength * limit;
    }
    if (kind == SOFT_RANK_KL)
        return a->sum * soft_positions(b) >= b->sum * exp(gap * inverse) * soft_positions(a);
    return soft_geometric(m_a, inverse) * b->sum * exp(m_a * inverse - gap) <=
           soft_geometric(m_b, inverse) * a->sum;
}

/* The sum of a block that has one entry, the one at i. */
DEVICE double NAME(soft_single)(int kind, const REAL *s, ptrdiff_t i) {
    if (kind == SOFT_RANK_EXP) return (double)s[i];
    return kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2 ? 0 : 1;
}

/* Adds the block b to a, which ends where b begins. */
DEVICE void NAME(soft_add_block)(int kind, const REAL *s, soft_block *a, const soft_block *b,
                                 double inverse) {
    const double gap = (double)s[b->start] - (double)s[a->start];
    if (kind == SOFT_RANK_EXP)
        a->sum += b->sum;
    else if (kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2)
        a->sum += b->sum + gap * b->length;
    else
        a->sum += b->sum * exp(kind == SOFT_RANK_KL ? gap * inverse : -gap);
    a->length += b->length;
}

/* Where, from i on, the first two neighbours are pooled; or an earlier place before which none
 * are.  Strips of comparisons become vectors. */
DEVICE ptrdiff_t NAME(soft_skip)(const REAL *s, ptrdiff_t i, ptrdiff_t end, double inverse) {
    for (; i + 64 < end; i += 64) {
        int pooled = 0;
        for (ptrdiff_t j = i; j < i + 64; j++) pooled |= (double)s[j + 1] - (double)s[j] >= inverse;
        if (pooled) break;
    }
    return i;
}

/* Pools the entries from `begin` to `end`; the blocks go to `stack`, their number is returned. */
DEVICE ptrdiff_t NAME(soft_pool)(int kind, const REAL *s, ptrdiff_t begin, ptrdiff_t end,
                                 double strength, soft_block *stack) {
    const double inverse = 1 / strength;
    const int is_sort = kind == SOFT_SORT_L2 || kind == SOFT_SORT_KL;
    ptrdiff_t blocks = 0, i = begin;
    while (i < end) {
        const int is_apart = !blocks || stack[blocks - 1].start + stack[blocks - 1].length < i;
        if (is_sort && is_apart && i % 64 == 0) i = NAME(soft_skip)(s, i, end, inverse);
        soft_block last = {NAME(soft_single)(kind, s, i), (int)i, 1};
        /* Neighbours that are all pooled need no sums to find out. */
        for (; i + 1 < end && NAME(soft_pair)(kind, s, i, strength, inverse); i++) {
            const soft_block next = {NAME(soft_single)(kind, s, i + 1), (int)i + 1, 1};
            NAME(soft_add_block)(kind, s, &last, &next, inverse);
        }
        i++;
        while (last.start > begin) {
            soft_block before = {0, last.start - 1, 1};
            const int is_stored =
                blocks && stack[blocks - 1].start + stack[blocks - 1].length == last.start;
            if (is_stored)
                before = stack[blocks - 1];
            else if (last.length == 1)
                break; /* the pair was looked at above */
            else
                before.sum = NAME(soft_single)(kind, s, before.start);
            if (!NAME(soft_violates)(kind, s, &before, &last, strength, inverse)) break;
            NAME(soft_add_block)(kind, s, &before, &last, inverse);
            last = before;
            blocks -= is_stored;
        }
        if (last.length > 1) stack[blocks++] = last;
    }
    return blocks;
}
