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
 * The sum of a block is that of s - first (l2), exp(first - s) (sort, kl), exp(h (s - first)) (rank,
 * kl), or s (rank, exp).  Where it is relative to the first entry of the block, large numbers that
 * differ little are not subtracted from each other, and exponentials do not overflow: neighbours that
 * are pooled are near.  A block of one entry is not stored: at most n / 2 blocks are, and a row in
 * which nothing is pooled costs a comparison for each entry. */
#ifndef PYSIG_BLOCKS_H
#define PYSIG_BLOCKS_H

/* Besides the kinds of problems. */
enum { SOFT_RANK_EXP = SOFT_SORT_HARD + 1 };

/* 1 + q + ... + q^(m - 1), where q = exp(-h). */
static inline double soft_geometric(double m, double h) {
    return m == 1 ? 1 : expm1(-m * h) / expm1(-h);
}

/* The mean of 0, ..., m - 1 with the weights q^0, ..., q^(m - 1). */
static inline double soft_geometric_mean(double m, double h) {
    if (m * h < 1e-3) return (m - 1) / 2 - (m * m - 1) * h / 12;
    return 1 / expm1(h) - m / expm1(m * h);
}

/* The sum of the positions of a block, counted from 1. */
static inline double soft_positions(const soft_block *block) {
    return ((double)block->start + 0.5 * ((double)block->length + 1)) * (double)block->length;
}
#endif

/* Whether the entries at i and i + 1, each a block of its own, are pooled. */
static inline int NAME(soft_pair)(int kind, const REAL *s, ptrdiff_t i, double strength,
                                  double inverse) {
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
static inline int NAME(soft_violates)(int kind, const REAL *s, const soft_block *a,
                                      const soft_block *b, double strength, double inverse) {
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
static inline double NAME(soft_single)(int kind, const REAL *s, ptrdiff_t i) {
    if (kind == SOFT_RANK_EXP) return (double)s[i];
    return kind == SOFT_SORT_L2 || kind == SOFT_RANK_L2 ? 0 : 1;
}

/* Adds the block b to a, which ends where b begins. */
static inline void NAME(soft_add_block)(int kind, const REAL *s, soft_block *a, const soft_block *b,
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
