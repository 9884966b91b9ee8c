/* Pooling adjacent violators: which neighbours of a sorted row share one block.
 *
 * The row s is in ascending order.  Four problems differ in when two adjacent blocks, a and after
 * it b, are pooled.  With M the mean, m the number of entries, and h = 1 / strength:
 *     sort, l2    M_b - M_a >= h (m_a + m_b) / 2
 *     rank, l2    M_b - M_a <= strength (m_a + m_b) / 2
 *     sort, kl    R_a / L_a <= R_b / L_b,  where L is the sum of exp(-s), and R that of exp(-h i)
 *                 over the positions i, a geometric series
 *     rank, kl    E_a / W_a >= E_b / W_b,  where E is the sum of exp(h s), and W that of the
 *                 positions, counted from 1
 * Sums are relative to the first entry of their block, lest large numbers that differ little are
 * subtracted from each other, and lest exponentials overflow.  A block of one entry is not stored: at most n / 2 blocks are, and a row in which nothing is pooled costs a comparison for
 * each entry.
 *
 * Needed from outside: REAL, NAME(stem), <math.h>, <stddef.h>, and DEVICE, which stands before each
 * function.  Plain C that is C++, too.
 */
#ifndef PYSIG_BLOCKS_H
#define PYSIG_BLOCKS_H

enum { SOFT_SORT_L2, SOFT_RANK_L2, SOFT_SORT_KL, SOFT_RANK_KL };

typedef struct {
    double sum; /* l2: of s - first; sort, kl: of exp(first - s); rank, kl: of exp(h (s - first)) */
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
    const double gap = (double)s[i + 1] - (double)s[i];
    if (kind == SOFT_RANK_L2) return gap <= strength;
    if (kind != SOFT_RANK_KL) return gap >= inverse;
    /* 1 / (i + 2) < log((i + 2) / (i + 1)) < 1 / (i + 1) */
    const double scaled = gap * inverse, position = (double)(i + 1);
    if (scaled * (position + 1) <= 1) return 1;
    return scaled * position <= 1 && exp(scaled) * position <= position + 1;
}

/* Whether the block b is pooled with a, which ends where b begins. */
DEVICE int NAME(soft_violates)(int kind, const REAL *s, const soft_block *a, const soft_block *b,
                               double strength, double inverse) {
    const double m_a = (double)a->length, m_b = (double)b->length;
    const double gap = (double)s[b->start] - (double)s[a->start];
    if (kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2) {
        const double difference = b->sum * m_a - a->sum * m_b + gap * (m_a * m_b);
        const double limit = 0.5 * (m_a + m_b) * (m_a * m_b);
        return kind == SOFT_SORT_L2 ? difference >= inverse * limit
                                    : difference <= strength * limit;
    }
    if (kind == SOFT_RANK_KL)
        return a->sum * soft_positions(b) >=
               b->sum * exp(gap * inverse) * soft_positions(a);
    return soft_geometric(m_a, inverse) * b->sum * exp(m_a * inverse - gap) <=
           soft_geometric(m_b, inverse) * a->sum;
}

/* What the entry at i adds to the sum of the block that begins at start. */
DEVICE double NAME(soft_term)(int kind, const REAL *s, ptrdiff_t start, ptrdiff_t i,
                              double inverse) {
    const double gap = (double)s[i] - (double)s[start];
    if (kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2) return gap;
    return exp(kind == SOFT_RANK_KL ? gap * inverse : -gap);
}

/* Pools the entries from `begin` to `end`; the blocks go to `stack`, their number is returned. */
DEVICE ptrdiff_t NAME(soft_pool)(int kind, const REAL *s, ptrdiff_t begin, ptrdiff_t end,
                                 double strength, soft_block *stack) {
    const double inverse = 1 / strength;
    const int is_l2 = kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2;
    const double single_sum = is_l2 ? 0 : 1;
    ptrdiff_t blocks = 0, i = begin;
    while (i < end) {
        soft_block last = {single_sum, (int)i, 1};
        /* Neighbours that are all pooled need no sums to find out. */
        for (; i + 1 < end && NAME(soft_pair)(kind, s, i, strength, inverse); i++)
            last.sum += NAME(soft_term)(kind, s, last.start, i + 1, inverse);
        i++;
        last.length = (int)i - last.start;
        while (last.start > begin) {
            const soft_block single = {single_sum, last.start - 1, 1};
            const int is_stored =
                blocks && stack[blocks - 1].start + stack[blocks - 1].length == last.start;
            if (!is_stored && last.length == 1) break; /* the pair was looked at above */
            const soft_block *before = is_stored ? &stack[blocks - 1] : &single;
            if (!NAME(soft_violates)(kind, s, before, &last, strength, inverse)) break;
            const double gap = NAME(soft_term)(kind, s, before->start, last.start, inverse);
            last.sum = before->sum + (is_l2 ? last.sum + gap * last.length : last.sum * gap);
            last.start = before->start;
            last.length += before->length;
            blocks -= is_stored;
        }
        if (last.length > 1) stack[blocks++] = last;
    }
    return blocks;
}
