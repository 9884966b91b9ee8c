/* The product of two rows.
 *
 * Lanes are neighbouring words.  The words of a level that differ in their last letters only, a run,
 * fill a vector or several; what a long second factor gives to a run is one number times a vector.
 * A second factor so short that several of its copies fit one vector is copied to each place where
 * it may stand there, with zeros around it.
 *
 * What is read past the end of a level has no effect, and what is written there is either padding or
 * written again later: products go through the levels in order.
 */

/* Letters of a run: as many as fit a vector, at least one. */
#define RUN_LETTERS(d) \
    ((d) * (d) * (d) * (d) <= LANES ? 4 : (d) * (d) * (d) <= LANES ? 3 : (d) * (d) <= LANES ? 2 : 1)
#define RUN_WORDS(d)                               \
    (RUN_LETTERS(d) == 4   ? (d) * (d) * (d) * (d) \
     : RUN_LETTERS(d) == 3 ? (d) * (d) * (d)       \
     : RUN_LETTERS(d) == 2 ? (d) * (d)             \
                           : (d))
/* A group has one vector, with a run, or with two runs of the same prefix; or a run longer than a
 * vector, in two. */
#define GROUP_WORDS(d) ((d) % 2 == 0 && 2 * RUN_WORDS(d) <= LANES ? 2 * RUN_WORDS(d) : RUN_WORDS(d))
#define GROUP_VECTORS(d) ((d) > LANES ? 2 : 1)
/* Groups that are computed at once: all with the same prefix, if there are registers for them. */
#define GROUPS(d)                            \
    (GROUP_VECTORS(d) == 2 && (d) == 8   ? 4 \
     : GROUP_VECTORS(d) == 2 && (d) == 6 ? 3 \
                                         : (d) * RUN_WORDS(d) / GROUP_WORDS(d))
/* Where vector q of them begins. */
#define VECTOR_WORD(d, q) ((q) / GROUP_VECTORS(d) * GROUP_WORDS(d) + (q) % GROUP_VECTORS(d) * LANES)
/* Prefixes of which the groups are computed at once, with different last letters: all, if there are
 * registers for them. */
#define PREFIXES(d) (GROUP_VECTORS(d) == 1 && (d) * GROUPS(d) <= 12 ? (d) : 1)

/* Rows that a later product will read.  They are asked for piece by piece between the arithmetic:
 * the memory is slower, and should never wait for it. */
typedef struct {
    const REAL *row[PRODUCT_FACTORS];
    int rows;
} NAME(later);

static const NAME(later) NAME(nothing) = {.rows = 0};

/* Not a function of its own, GCC takes it for one without effect. */
ALWAYS_INLINE void NAME(ask_for)(const NAME(later) *later, ptrdiff_t first, ptrdiff_t words) {
    for (int r = 0; r < later->rows; r++)
        for (ptrdiff_t w = 0; w < words; w += 64 / REAL_BYTES)
            __builtin_prefetch(later->row[r] + first + w, 0, 3);
}

/* Goes through the words of one level in steps: for the prefixes of each length, the first factor's
 * coefficient, and where the second factor's of the rest of the word stands. */
typedef struct {
    ptrdiff_t prefixes; /* of length 1 ... prefixes */
    struct {
        const REAL *head, *tail, *begin, *end;
    } cut[PRODUCT_LEVELS];
} NAME(row_cuts);

/* The longest prefix is `rest` letters shorter than the words, which have k. */
static void NAME(begin_row_cuts)(NAME(row_cuts) *cuts, const product_layout *layout, const REAL *a,
                                 const REAL *b, ptrdiff_t k, ptrdiff_t rest) {
    cuts->prefixes = k - rest;
    for (ptrdiff_t i = 1; i <= k - rest; i++) {
        cuts->cut[i].head = a + layout->begin[i];
        cuts->cut[i].tail = cuts->cut[i].begin = b + layout->begin[k - i];
        cuts->cut[i].end = cuts->cut[i].begin + layout->power[k - i];
    }
}

ALWAYS_INLINE void NAME(next_row_cuts)(NAME(row_cuts) *cuts, ptrdiff_t words) {
    for (ptrdiff_t i = 1; i <= cuts->prefixes; i++) {
        cuts->cut[i].tail += words;
        if (cuts->cut[i].tail != cuts->cut[i].end) continue;
        cuts->cut[i].tail = cuts->cut[i].begin;
        cuts->cut[i].head++;
    }
}

/* A level of words that are no longer than a run: with k and d known, all numbers are in registers. */
ALWAYS_INLINE void NAME(multiply_short_level)(const product_layout *layout, REAL *product,
                                              const REAL *a, const REAL *b, const ptrdiff_t k,
                                              const ptrdiff_t d) {
    const ptrdiff_t *begin = layout->begin, power[5] = {1, d, d * d, d * d * d, d * d * d * d};
    REAL words[2 * LANES];
    for (ptrdiff_t w = 0; w < power[k]; w++) words[w] = a[begin[k] + w] + b[begin[k] + w];
    for (ptrdiff_t i = 1; i < k; i++)
        for (ptrdiff_t w = 0; w < power[i]; w++)
            for (ptrdiff_t v = 0; v < power[k - i]; v++)
                words[w * power[k - i] + v] += a[begin[i] + w] * b[begin[k - i] + v];
    memcpy(product + begin[k], words, (size_t)power[k] * sizeof(REAL));
}

/* The vectors of a group with the n numbers of `tail` at one of `places` places, zero elsewhere. */
ALWAYS_INLINE void NAME(spread_tail)(const REAL *tail, VEC *spread, const ptrdiff_t n,
                                     const ptrdiff_t places, const ptrdiff_t vectors) {
    for (ptrdiff_t place = 0; place < places; place++) {
        REAL lanes[2 * LANES] = {0};
        for (ptrdiff_t v = 0; v < n; v++) lanes[place * n + v] = tail[v];
        for (ptrdiff_t q = 0; q < vectors; q++)
            spread[place * vectors + q] = NAME(load)(lanes + q * LANES);
    }
}

/* Adds what the second factor's words of one length give to the groups. */
ALWAYS_INLINE void NAME(add_spread)(VEC *sum, const REAL *head, const VEC *spread,
                                    const ptrdiff_t groups, const ptrdiff_t places,
                                    const ptrdiff_t vectors) {
    for (ptrdiff_t place = 0; place < places; place++)
        for (ptrdiff_t g = 0; g < groups; g++)
            for (ptrdiff_t q = 0; q < vectors; q++)
                sum[g * vectors + q] += head[g * places + place] * spread[place * vectors + q];
}

/* A level of words longer than a run; `prefixes` as PREFIXES. */
ALWAYS_INLINE void NAME(multiply_level)(const product_layout *layout, REAL *product, const REAL *a,
                                        const REAL *b, VEC *const *spread, const NAME(later) *later,
                                        ptrdiff_t k, const ptrdiff_t d, const ptrdiff_t prefixes) {
    const ptrdiff_t letters = RUN_LETTERS(d), size = GROUP_WORDS(d), vectors = GROUP_VECTORS(d);
    const ptrdiff_t of_prefix = GROUPS(d), groups = prefixes * of_prefix, words = groups * size;
    const ptrdiff_t *begin = layout->begin, last = layout->power[k];
    const REAL *head1 = a + begin[k - 1], *head2 = letters >= 2 ? a + begin[k - 2] : NULL,
               *head3 = letters >= 3 ? a + begin[k - 3] : NULL,
               *head4 = letters >= 4 ? a + begin[k - 4] : NULL;
    const REAL *prefix = a + begin[k - letters - 1], *rest = b + begin[letters + 1];
    NAME(row_cuts) cuts;
    NAME(begin_row_cuts)(&cuts, layout, a, b, k, letters + (prefixes > 1 ? 2 : 1));
    a += begin[k], b += begin[k], product += begin[k];
    for (ptrdiff_t w = 0; w < last; w += words) {
        VEC sum[16];
        for (ptrdiff_t q = 0; q < groups * vectors; q++)
            sum[q] = NAME(load)(a + w + VECTOR_WORD(d, q)) + NAME(load)(b + w + VECTOR_WORD(d, q));
        for (ptrdiff_t i = 1; i <= cuts.prefixes; i++) {
            const VEC head = *cuts.cut[i].head + (VEC){0};
            const REAL *tail = cuts.cut[i].tail;
            for (ptrdiff_t q = 0; q < groups * vectors; q++)
                sum[q] += head * NAME(load)(tail + VECTOR_WORD(d, q));
        }
        for (ptrdiff_t p = 0; prefixes > 1 && p < prefixes; p++, prefix++)
            for (ptrdiff_t q = 0; q < of_prefix; q++)
                sum[p * of_prefix + q] += *prefix * NAME(load)(rest + VECTOR_WORD(d, q));
        NAME(add_spread)(sum, head1 + w / d, spread[1], groups, size / d, vectors);
        if (letters >= 2)
            NAME(add_spread)(sum, head2 + w / (d * d), spread[2], groups, size / (d * d), 1);
        if (letters >= 3)
            NAME(add_spread)(sum, head3 + w / (d * d * d), spread[3], groups, size / (d * d * d),
                             1);
        if (letters >= 4)
            NAME(add_spread)(sum, head4 + w / (d * d * d * d), spread[4], groups, 1, 1);
        for (ptrdiff_t q = 0; q < groups * vectors; q++)
            NAME(store)(product + w + VECTOR_WORD(d, q), sum[q]);
        NAME(ask_for)(later, begin[k] + w, words);
        NAME(next_row_cuts)(&cuts, words);
    }
}

/* The product for up to eight channels. */
ALWAYS_INLINE void NAME(multiply_few)(const product_layout *layout, REAL *product, const REAL *a,
                                      const REAL *b, const NAME(later) *later, const ptrdiff_t d) {
    VEC room[16], *const spread[5] = {NULL, room, room + 8, room + 12, room + 14};
    const ptrdiff_t letters = RUN_LETTERS(d), size = GROUP_WORDS(d), *begin = layout->begin;
    NAME(multiply_short_level)(layout, product, a, b, 1, d);
    if (letters >= 2 && layout->depth >= 2) NAME(multiply_short_level)(layout, product, a, b, 2, d);
    if (letters >= 3 && layout->depth >= 3) NAME(multiply_short_level)(layout, product, a, b, 3, d);
    if (letters >= 4 && layout->depth >= 4) NAME(multiply_short_level)(layout, product, a, b, 4, d);
    NAME(ask_for)(later, 0, layout->depth > letters ? begin[letters + 1] : layout->words);
    if (layout->depth <= letters) return;
    NAME(spread_tail)(b + begin[1], spread[1], d, size / d, GROUP_VECTORS(d));
    if (letters >= 2) NAME(spread_tail)(b + begin[2], spread[2], d * d, size / (d * d), 1);
    if (letters >= 3) NAME(spread_tail)(b + begin[3], spread[3], d * d * d, size / (d * d * d), 1);
    if (letters >= 4) NAME(spread_tail)(b + begin[4], spread[4], d * d * d * d, 1, 1);
    NAME(multiply_level)(layout, product, a, b, spread, later, letters + 1, d, 1);
    for (ptrdiff_t k = letters + 2; k <= layout->depth; k++)
        NAME(multiply_level)(layout, product, a, b, spread, later, k, d, PREFIXES(d));
}

/* `vectors` vectors of one level, `first` words after the place where the cuts are. */
ALWAYS_INLINE void NAME(multiply_run)(const NAME(row_cuts) *cuts, REAL *product, const REAL *a,
                                      const REAL *b, ptrdiff_t first, const ptrdiff_t vectors) {
    VEC sum[4];
    for (ptrdiff_t q = 0; q < vectors; q++)
        sum[q] = NAME(load)(a + first + q * LANES) + NAME(load)(b + first + q * LANES);
    for (ptrdiff_t i = 1; i <= cuts->prefixes; i++) {
        const VEC head = *cuts->cut[i].head + (VEC){0};
        const REAL *tail = cuts->cut[i].tail + first;
        for (ptrdiff_t q = 0; q < vectors; q++) sum[q] += head * NAME(load)(tail + q * LANES);
    }
    for (ptrdiff_t q = 0; q < vectors; q++) NAME(store)(product + first + q * LANES, sum[q]);
}

/* The product for any number of channels. */
static void NAME(multiply_many)(const product_layout *layout, REAL *product, const REAL *a,
                                const REAL *b, const NAME(later) *later) {
    const ptrdiff_t d = layout->channels;
    for (ptrdiff_t k = 1; k <= layout->depth; k++) {
        NAME(row_cuts) cuts;
        NAME(begin_row_cuts)(&cuts, layout, a, b, k, 1);
        const ptrdiff_t begin = layout->begin[k], end = begin + layout->power[k];
        for (ptrdiff_t run = begin; run < end; run += d, NAME(next_row_cuts)(&cuts, d)) {
            ptrdiff_t first = 0;
            NAME(ask_for)(later, run, d);
            for (; first + 2 * LANES < d; first += 3 * LANES)
                NAME(multiply_run)(&cuts, product + run, a + run, b + run, first, 3);
            if (first + LANES < d)
                NAME(multiply_run)(&cuts, product + run, a + run, b + run, first, 2);
            else if (first < d)
                NAME(multiply_run)(&cuts, product + run, a + run, b + run, first, 1);
        }
    }
}

/* product <- a (x) b; three different rows, the levels of each one behind the other.  At the end of
 * each, up to LANES numbers more are read or written, but for numbers of channels that divide LANES.
 * Meanwhile the rows of `later` are asked for. */
static void NAME(multiply)(const product_layout *layout, REAL *product, const REAL *a,
                           const REAL *b, const NAME(later) *later) {
    switch (layout->channels <= 2 * LANES ? layout->channels : 0) {
        case 2: NAME(multiply_few)(layout, product, a, b, later, 2); return;
        case 3: NAME(multiply_few)(layout, product, a, b, later, 3); return;
        case 4: NAME(multiply_few)(layout, product, a, b, later, 4); return;
#if LANES >= 4
        case 5: NAME(multiply_few)(layout, product, a, b, later, 5); return;
        case 6: NAME(multiply_few)(layout, product, a, b, later, 6); return;
        case 7: NAME(multiply_few)(layout, product, a, b, later, 7); return;
        case 8: NAME(multiply_few)(layout, product, a, b, later, 8); return;
#endif
        default: NAME(multiply_many)(layout, product, a, b, later);
    }
}

#undef RUN_LETTERS
#undef RUN_WORDS
#undef GROUP_WORDS
#undef GROUP_VECTORS
#undef GROUPS
#undef VECTOR_WORD
#undef PREFIXES
