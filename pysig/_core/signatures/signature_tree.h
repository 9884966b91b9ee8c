/* The tree of words, walked once per block of steps.
 *
 * One step multiplies the state S by exp(u).  Written by Horner's rule, the coefficient of a word
 * comes from those of its prefixes,
 *
 *     Y_0[j] = 1,   Y_{i+1}[j](w c) = S_{i+1}(w c) + Y_i[j + 1](w) u(c) / (j + 1),
 *     new S_{i+1} = Y_{i+1}[0],
 *
 * where Y_i[j] is the i-th intermediate of level i + j.  A word needs nothing but its prefixes,
 * so that the subtree below a word can be carried through a whole block of steps before the next
 * one is begun: the coefficients of S stay in registers while the time runs, the intermediates of
 * a block stay in the first-level cache, and the longest levels, where nearly all of the work is,
 * are never written but at the end of the block.  Y_i[j] is kept divided by j.
 *
 * Every number is a vector of lanes, see signature.h.
 *
 * Where only Lyndon words of the largest length are wanted, what is below a word that no Lyndon word
 * of that length begins with is a tree whose words are shorter by one letter: its Y[j] do not depend
 * on the depth.
 */

typedef struct {
    ptrdiff_t depth;    /* length of the longest words of the tree */
    ptrdiff_t channels; /* letters */
    ptrdiff_t capacity; /* room for so many steps in every block-long array */
    ptrdiff_t steps;    /* steps of the current block */
    VEC *letters;       /* [step][letter]: u */
    VEC **state;        /* [i][word]: S_i, for the lengths i that the tree has */
    /* NULL: all words are wanted.  Else, for the words of each length that the tree has, the least
     * letter after them in a word that a Lyndon word may begin with; `channels`: there is none. */
    const int32_t *const *least;
    ptrdiff_t first_root, roots; /* lanes of words: those before the words of the tree */
} NAME(tree);

/* The least letter that is wanted after a word, in any lane. */
static ptrdiff_t NAME(least_letter)(const NAME(tree) *tree, ptrdiff_t length, ptrdiff_t word) {
    if (!SIGNATURE_LYNDON || tree->least == NULL) return 0;
    const int32_t *letters = tree->least[length] + word;
    if (tree->roots == 0) return *letters;
    const ptrdiff_t words = signature_power(tree->channels, length);
    ptrdiff_t least = tree->channels;
    for (ptrdiff_t l = 0; l < tree->roots; l++) {
        ptrdiff_t letter = letters[(tree->first_root + l) * words];
        if (letter < least) least = letter;
    }
    return least;
}

/* The first letter of the Lyndon words that are one letter longer than the `words` words from
 * `word` on. */
static ptrdiff_t NAME(first_letter)(const NAME(tree) *tree, ptrdiff_t length, ptrdiff_t word,
                                    ptrdiff_t words) {
    ptrdiff_t first = tree->channels;
    if (!SIGNATURE_LYNDON || tree->least == NULL || (length == 0 && tree->roots == 0)) return 0;
    for (ptrdiff_t q = 0; q < words; q++) {
        ptrdiff_t letter = NAME(least_letter)(tree, length, word + q) + 1;
        if (letter < first) first = letter;
    }
    return first;
}

/* The tree without the longest words. */
ALWAYS_INLINE NAME(tree) NAME(shorter_tree)(const NAME(tree) *tree) {
    NAME(tree) shorter = *tree;
    shorter.depth--;
    shorter.least = NULL;
    return shorter;
}

/* 1 / j: a division in an inner loop would be most of its time. */
static const REAL NAME(inverse)[] = {
    0,       1,       1. / 2,  1. / 3,  1. / 4,  1. / 5,  1. / 6,  1. / 7,  1. / 8,  1. / 9,
    1. / 10, 1. / 11, 1. / 12, 1. / 13, 1. / 14, 1. / 15, 1. / 16, 1. / 17, 1. / 18, 1. / 19,
    1. / 20, 1. / 21, 1. / 22, 1. / 23, 1. / 24, 1. / 25, 1. / 26, 1. / 27, 1. / 28, 1. / 29,
    1. / 30, 1. / 31, 1. / 32, 1. / 33, 1. / 34, 1. / 35, 1. / 36, 1. / 37, 1. / 38, 1. / 39,
    1. / 40, 1. / 41, 1. / 42, 1. / 43, 1. / 44, 1. / 45, 1. / 46, 1. / 47, 1. / 48, 1. / 49,
    1. / 50, 1. / 51, 1. / 52, 1. / 53, 1. / 54, 1. / 55, 1. / 56, 1. / 57, 1. / 58, 1. / 59,
    1. / 60, 1. / 61, 1. / 62, 1. / 63, 1. / 64,
};

/* Y_{i+1}[1 ... chains - 1] of the children first, ..., first + count - 1 of one word, behind each
 * other, from Y_i[1 ... chains] of the word; S_{i+1} moves to the block's end. */
ALWAYS_INLINE void NAME(descend_letters)(const NAME(tree) *tree, ptrdiff_t chains,
                                         const VEC *parent, VEC *state, VEC *children,
                                         ptrdiff_t first, const ptrdiff_t count) {
    const ptrdiff_t capacity = tree->capacity, steps = tree->steps, channels = tree->channels;
    const ptrdiff_t stride = (chains - 1) * capacity;
    const VEC *letters = tree->letters + first;
    VEC s[8], u[8];
    for (ptrdiff_t c = 0; c < count; c++) s[c] = state[c];
    for (ptrdiff_t t = 0; t < steps; t++, letters += channels) {
        for (ptrdiff_t c = 0; c < count; c++) u[c] = letters[c];
        VEC y = parent[capacity + t];
        for (ptrdiff_t c = 0; c < count; c++) children[c * stride + t] = s[c] + y * u[c];
        for (ptrdiff_t j = 2; j < chains; j++) {
            y = parent[j * capacity + t];
            VEC *child = children + (j - 1) * capacity + t;
            for (ptrdiff_t c = 0; c < count; c++)
                child[c * stride] = (s[c] + y * u[c]) * NAME(inverse)[j];
        }
        for (ptrdiff_t c = 0; c < count; c++) s[c] += parent[t] * u[c];
    }
    for (ptrdiff_t c = 0; c < count; c++) state[c] = s[c];
}

/* descend_letters for a number of children known only at run time, at most four. */
ALWAYS_INLINE void NAME(descend_count)(const NAME(tree) *tree, ptrdiff_t chains, const VEC *parent,
                                       VEC *state, VEC *children, ptrdiff_t first,
                                       ptrdiff_t count) {
    switch (count) {
        case 1: NAME(descend_letters)(tree, chains, parent, state, children, first, 1); break;
        case 2: NAME(descend_letters)(tree, chains, parent, state, children, first, 2); break;
        case 3: NAME(descend_letters)(tree, chains, parent, state, children, first, 3); break;
        default: NAME(descend_letters)(tree, chains, parent, state, children, first, 4);
    }
}

/* Most words with grandchildren's children have chains == 3, so that it has a compilation of its own. */
static void NAME(descend_chains)(const NAME(tree) *tree, ptrdiff_t chains, const VEC *parent,
                                 VEC *state, VEC *children, ptrdiff_t first, ptrdiff_t count) {
    if (chains == 3)
        NAME(descend_count)(tree, 3, parent, state, children, first, count);
    else
        NAME(descend_count)(tree, chains, parent, state, children, first, count);
}

/* The last two levels below one word of length depth - 2 in one go: for `words` children, and all
 * of their `channels` children each. */
ALWAYS_INLINE void NAME(descend_top)(const NAME(tree) *tree, const VEC *parent, VEC *middle,
                                     VEC *top, ptrdiff_t first, const ptrdiff_t words,
                                     const ptrdiff_t channels) {
    const ptrdiff_t capacity = tree->capacity, steps = tree->steps;
    const VEC *u = tree->letters;
    VEC s[4], sum[4][8];
    for (ptrdiff_t q = 0; q < words; q++) {
        s[q] = middle[q];
        for (ptrdiff_t c = 0; c < channels; c++) sum[q][c] = top[q * channels + c];
    }
    for (ptrdiff_t t = 0; t < steps; t++, u += channels) {
        VEC y1 = parent[t], y2 = parent[capacity + t];
        if (channels <= words) { /* the letters stay in registers */
            for (ptrdiff_t q = 0; q < words; q++) {
                VEC y = s[q] + y2 * u[first + q];
                s[q] += y1 * u[first + q];
                for (ptrdiff_t c = 0; c < channels; c++) sum[q][c] += y * u[c];
            }
        } else { /* Y of the children does */
            VEC y[4];
            y2 = NAME(in_register)(y2);
            for (ptrdiff_t q = 0; q < words; q++) y[q] = s[q] + y2 * u[first + q];
            y1 = NAME(in_register)(y1);
            for (ptrdiff_t q = 0; q < words; q++) s[q] += y1 * u[first + q];
            for (ptrdiff_t c = 0; c < channels; c++) {
                VEC letter = NAME(in_register)(u[c]);
                for (ptrdiff_t q = 0; q < words; q++) sum[q][c] += y[q] * letter;
            }
        }
    }
    for (ptrdiff_t q = 0; q < words; q++) {
        middle[q] = s[q];
        for (ptrdiff_t c = 0; c < channels; c++) top[q * channels + c] = sum[q][c];
    }
}

/* How many children of a word descend_top takes at once, so that their sums fit the registers. */
#define TOP_WORDS_FIT(channels) ((REGISTERS - 4) / ((channels) + 1))
#define TOP_WORDS(channels) \
    (TOP_WORDS_FIT(channels) < 1 ? 1 : TOP_WORDS_FIT(channels) > 4 ? 4 : TOP_WORDS_FIT(channels))

ALWAYS_INLINE void NAME(descend_top_all)(const NAME(tree) *tree, const VEC *parent, VEC *middle,
                                         VEC *top, ptrdiff_t first, const ptrdiff_t channels) {
    const ptrdiff_t together = TOP_WORDS(channels) < channels ? TOP_WORDS(channels) : channels;
    for (; first + together <= channels; first += together)
        NAME(descend_top)(tree, parent, middle + first, top + first * channels, first, together,
                          channels);
    middle += first;
    top += first * channels;
    switch (channels - first) {
        case 3: NAME(descend_top)(tree, parent, middle, top, first, 3, channels); break;
        case 2: NAME(descend_top)(tree, parent, middle, top, first, 2, channels); break;
        case 1: NAME(descend_top)(tree, parent, middle, top, first, 1, channels); break;
    }
}

/* sums[q][c] += sum over the steps of word[q] u(c): the longest level below `words` words. */
ALWAYS_INLINE void NAME(accumulate_top)(const NAME(tree) *tree, const VEC *word, VEC *top,
                                        ptrdiff_t first, const ptrdiff_t words,
                                        const ptrdiff_t count) {
    const ptrdiff_t capacity = tree->capacity, channels = tree->channels, steps = tree->steps;
    const VEC *u = tree->letters + first;
    VEC sum[6][4];
    for (ptrdiff_t q = 0; q < words; q++)
        for (ptrdiff_t c = 0; c < count; c++) sum[q][c] = top[q * channels + first + c];
    for (ptrdiff_t t = 0; t < steps; t++, u += channels)
        for (ptrdiff_t q = 0; q < words; q++)
            for (ptrdiff_t c = 0; c < count; c++) sum[q][c] += word[q * capacity + t] * u[c];
    for (ptrdiff_t q = 0; q < words; q++)
        for (ptrdiff_t c = 0; c < count; c++) top[q * channels + first + c] = sum[q][c];
}

/* The same for the letters first, ..., end - 1. */
ALWAYS_INLINE void NAME(accumulate_top_words)(const NAME(tree) *tree, const VEC *word, VEC *top,
                                              ptrdiff_t first, ptrdiff_t end,
                                              const ptrdiff_t words) {
    for (; first + 4 <= end; first += 4) NAME(accumulate_top)(tree, word, top, first, words, 4);
    switch (end - first) {
        case 3: NAME(accumulate_top)(tree, word, top, first, words, 3); break;
        case 2: NAME(accumulate_top)(tree, word, top, first, words, 2); break;
        case 1: NAME(accumulate_top)(tree, word, top, first, words, 1); break;
    }
}

#define WIDE_WORDS (REGISTERS == 32 ? 6 : 3)

/* The last two levels below one word for any number of channels; its children from `first` on. */
static void NAME(descend_top_wide)(const NAME(tree) *tree, ptrdiff_t length, ptrdiff_t child,
                                   const VEC *parent, VEC *scratch, ptrdiff_t first) {
    const ptrdiff_t channels = tree->channels;
    VEC *middle = tree->state[length] + child, *top = tree->state[length + 1] + child * channels;
    for (; first + WIDE_WORDS <= channels; first += WIDE_WORDS) {
        NAME(descend_letters)(tree, 2, parent, middle + first, scratch, first, WIDE_WORDS);
        NAME(accumulate_top_words)(tree, scratch, top + first * channels,
                                   NAME(first_letter)(tree, length, child + first, WIDE_WORDS),
                                   channels, WIDE_WORDS);
    }
    for (; first + 2 <= channels; first += 2) {
        NAME(descend_letters)(tree, 2, parent, middle + first, scratch, first, 2);
        NAME(accumulate_top_words)(tree, scratch, top + first * channels,
                                   NAME(first_letter)(tree, length, child + first, 2), channels, 2);
    }
    if (first < channels) {
        NAME(descend_letters)(tree, 2, parent, middle + first, scratch, first, 1);
        NAME(accumulate_top_words)(tree, scratch, top + first * channels,
                                   NAME(first_letter)(tree, length, child + first, 1), channels, 1);
    }
}

/* Carries everything below one word of length `length` through the block.  parent: Y[1 ...
 * depth - length] of the word at every step.  scratch: room for the same of its descendants. */
static void NAME(descend)(const NAME(tree) *tree, ptrdiff_t length, ptrdiff_t word,
                          const VEC *parent, VEC *scratch) {
    const ptrdiff_t channels = tree->channels, chains = tree->depth - length;
    const ptrdiff_t child = word * channels;
    const ptrdiff_t least = NAME(least_letter)(tree, length, word);
    VEC *state = tree->state[length + 1] + child;
    if (SIGNATURE_LYNDON && least == channels) {
        NAME(tree) shorter = NAME(shorter_tree)(tree);
        if (shorter.depth > length) NAME(descend)(&shorter, length, word, parent, scratch);
        return;
    }
    if (chains == 1) {
        NAME(accumulate_top_words)(tree, parent, state, NAME(first_letter)(tree, length, word, 1),
                                   channels, 1);
        return;
    }
    if (chains == 2) {
        VEC *top = tree->state[length + 2] + child * channels;
        if (SIGNATURE_LYNDON && least) NAME(accumulate_top_words)(tree, parent, state, 0, least, 1);
        switch (channels) {
            case 1: NAME(descend_top_all)(tree, parent, state, top, least, 1); return;
            case 2: NAME(descend_top_all)(tree, parent, state, top, least, 2); return;
            case 3: NAME(descend_top_all)(tree, parent, state, top, least, 3); return;
            case 4: NAME(descend_top_all)(tree, parent, state, top, least, 4); return;
            case 5: NAME(descend_top_all)(tree, parent, state, top, least, 5); return;
            default:
                NAME(descend_top_wide)(tree, length + 1, child, parent, scratch, least);
                return;
        }
    }
    const ptrdiff_t stride = (chains - 1) * tree->capacity;
    for (ptrdiff_t first = 0; first < channels; first += 4) {
        ptrdiff_t count = channels - first < 4 ? channels - first : 4;
        NAME(descend_chains)(tree, chains, parent, state + first, scratch, first, count);
        for (ptrdiff_t c = 0; c < count; c++)
            NAME(descend)(tree, length + 1, child + first + c, scratch + c * stride,
                          scratch + count * stride);
    }
}
