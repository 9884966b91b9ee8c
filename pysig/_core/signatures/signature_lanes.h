/* Between the lanes of the tree and the caller's arrays, where every lane is a row of its own or,
 * when the lanes are words, a part of each level of one row.
 *
 * The tree has the letters of a word in the order in which the steps come.  For the inverse that is
 * the opposite of the caller's order, and words are reversed on the way in and out.
 */

/* The steps of one lane: the point before the first step, the points after each step, and where
 * their gradients go, if any. */
typedef struct {
    const REAL *origin, *points;
    REAL *gradient;
    ptrdiff_t steps;
} NAME(lane);

/* The rows that the lanes are read from or written to.  NULL: there is no such lane. */
typedef struct {
    REAL *row[LANES];
    ptrdiff_t channels;
    ptrdiff_t prefix, first_word; /* lane l is the word first_word + l of length prefix */
    int reversed;
} NAME(rows);

/* letters[step][letter] of the steps start, ..., start + tree->steps - 1 of all lanes; zero after
 * the end of a lane. */
static void NAME(read_differences)(const NAME(tree) *tree, const NAME(lane) lanes[LANES],
                                   ptrdiff_t start, int negative) {
    const ptrdiff_t channels = tree->channels, count = tree->steps * channels;
    REAL *letters = (REAL *)tree->letters;
    const REAL *after[LANES], *before[LANES];
    ptrdiff_t valid[LANES], whole = 1, done = 0;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t left = lanes[l].steps - start;
        left = left < 0 ? 0 : left > tree->steps ? tree->steps : left;
        valid[l] = left * channels;
        whole = whole && left == tree->steps;
        if (!left) continue;
        after[l] = lanes[l].points + start * channels;
        before[l] = start ? after[l] - channels : lanes[l].origin;
        if (before[l] != after[l] - channels) done = channels; /* a basepoint stands elsewhere */
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        for (ptrdiff_t i = 0; i < done; i++)
            letters[i * LANES + l] = valid[l] ? after[l][i] - before[l][i] : 0;
    if (whole && count - done >= LANES) {
        for (ptrdiff_t l = 0; l < LANES; l++) {
            after[l] += done;
            before[l] = after[l] - channels;
        }
        NAME(gather_lanes)(tree->letters + done, count - done, after, before);
    } else {
        for (ptrdiff_t l = 0; l < LANES; l++) {
            ptrdiff_t i = done;
            for (; i < valid[l]; i++) letters[i * LANES + l] = after[l][i] - after[l][i - channels];
            for (; i < count; i++) letters[i * LANES + l] = 0;
        }
    }
    if (negative)
        for (ptrdiff_t i = 0; i < count; i++) tree->letters[i] = -tree->letters[i];
}

/* The same when all lanes go through the same steps. */
static void NAME(read_shared_differences)(const NAME(tree) *tree, const NAME(lane) *lane,
                                          ptrdiff_t start, int negative) {
    const ptrdiff_t channels = tree->channels;
    const REAL sign = negative ? -1 : 1;
    for (ptrdiff_t t = 0; t < tree->steps; t++) {
        const REAL *after = lane->points + (start + t) * channels;
        const REAL *before = start + t ? after - channels : lane->origin;
        for (ptrdiff_t c = 0; c < channels; c++) {
            REAL u = start + t < lane->steps ? sign * (after[c] - before[c]) : 0;
            tree->letters[t * channels + c] = u + (VEC){0};
        }
    }
}

/* Counts through words in C order and keeps the position of the reversed word. */
typedef struct {
    ptrdiff_t letter[64], value, channels, highest;
} NAME(reversal);

static NAME(reversal) NAME(begin_reversal)(ptrdiff_t channels, ptrdiff_t length) {
    NAME(reversal) word = {{0}, 0, channels, signature_power(channels, length) / channels};
    return word;
}

static void NAME(next_reversal)(NAME(reversal) *word) {
    ptrdiff_t place = word->highest;
    for (ptrdiff_t i = 0; place; i++, place /= word->channels) {
        if (++word->letter[i] < word->channels) {
            word->value += place;
            return;
        }
        word->letter[i] = 0;
        word->value -= (word->channels - 1) * place;
    }
}

static ptrdiff_t NAME(reverse_word)(ptrdiff_t word, ptrdiff_t channels, ptrdiff_t length) {
    ptrdiff_t reversed = 0;
    for (; length > 0; length--, word /= channels) reversed = reversed * channels + word % channels;
    return reversed;
}

/* Where each lane's words of length prefix + length begin. */
static void NAME(find_level)(const NAME(rows) *rows, ptrdiff_t length, REAL *level[LANES]) {
    const ptrdiff_t channels = rows->channels, prefix = rows->prefix;
    const ptrdiff_t offset = signature_words(channels, 1, prefix + length - 1);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t word = prefix ? rows->first_word + l : 0;
        level[l] = rows->row[l] == NULL
                       ? NULL
                       : rows->row[l] + offset +
                             (rows->reversed ? NAME(reverse_word)(word, channels, prefix)
                                             : word * signature_power(channels, length));
    }
}

/* The words of length prefix + length of all lanes, to or from the caller's rows. */
static void NAME(write_level)(const VEC *words, const NAME(rows) *rows, ptrdiff_t length) {
    const ptrdiff_t count = signature_power(rows->channels, length);
    REAL *level[LANES];
    NAME(find_level)(rows, length, level);
    if (!rows->reversed) {
        NAME(write_lanes)(words, count, level);
        return;
    }
    const ptrdiff_t stride = signature_power(rows->channels, rows->prefix);
    NAME(reversal) word = NAME(begin_reversal)(rows->channels, length);
    for (ptrdiff_t i = 0; i < count; i++, NAME(next_reversal)(&word))
        for (ptrdiff_t l = 0; l < LANES; l++)
            if (level[l]) level[l][word.value * stride] = words[i][l];
}

static void NAME(read_level)(VEC *words, const NAME(rows) *rows, ptrdiff_t length) {
    const ptrdiff_t count = signature_power(rows->channels, length);
    REAL *level[LANES];
    NAME(find_level)(rows, length, level);
    if (!rows->reversed) {
        NAME(read_lanes)(words, count, level);
        return;
    }
    const ptrdiff_t stride = signature_power(rows->channels, rows->prefix);
    NAME(reversal) word = NAME(begin_reversal)(rows->channels, length);
    for (ptrdiff_t i = 0; i < count; i++, NAME(next_reversal)(&word))
        for (ptrdiff_t l = 0; l < LANES; l++)
            words[i][l] = level[l] ? level[l][word.value * stride] : 0;
}

/* All words that the tree has, up to the length `last`. The levels of paths lie behind each other. */
static void NAME(write_state)(VEC *const *state, const NAME(rows) *rows, ptrdiff_t last) {
    if (last > 0 && !rows->prefix && !rows->reversed)
        NAME(write_lanes)(state[1], signature_words(rows->channels, 1, last), rows->row);
    else
        for (ptrdiff_t i = 1; i <= last; i++) NAME(write_level)(state[i], rows, i);
}

static void NAME(read_state)(VEC *const *state, const NAME(rows) *rows, ptrdiff_t last) {
    if (last > 0 && !rows->prefix && !rows->reversed)
        NAME(read_lanes)(state[1], signature_words(rows->channels, 1, last), rows->row);
    else
        for (ptrdiff_t i = 1; i <= last; i++) NAME(read_level)(state[i], rows, i);
}
