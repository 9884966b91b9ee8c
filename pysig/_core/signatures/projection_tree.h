/* A tree of words, walked once per block of steps, down for the coefficients and up for gradients.
 *
 * One step multiplies the state S by exp(u).  Written by Horner's rule, the coefficient of a word
 * comes from those of the words it begins with,
 *
 *     Y_0[j] = 1,   Y_{i+1}[j](w c) = S_{i+1}(w c) + Y_i[j + 1](w) u(c) / (j + 1),
 *     new S_{i+1} = Y_{i+1}[0],
 *
 * where w has i letters and j goes to the height of the word, so that the work is one
 * multiply-add for each word of the tree and each letter that a longer word has more.  Y_i[j] is
 * kept divided by j.  With H the gradient with respect to the state after a step, the adjoints P of
 * the intermediates Y and the gradient of the step are
 *
 *     P_i[0] = H_i,     P_i[j](w) = sum_c P_{i+1}[j - 1](w c) u(c) / j,
 *     dL/du(c) = sum over i, j, w of P_{i+1}[j](w c) Y_i[j + 1](w) / (j + 1),
 *     H_i before the step = sum_j P_i[j].
 *
 * The recursion in time is in the S, which are sums over the steps before.  Where the lanes are
 * consecutive pieces of a path, those are summed for each piece first, so that every piece begins
 * with what the pieces before it have added.
 */

/* The coefficients' numbers that belong to a lane.  row: of its first step in the block, NULL where
 * the lane has no step in it. */
typedef struct {
    REAL *row;
    ptrdiff_t steps;
} NAME(stream_lane);

typedef struct {
    const projection_problem *problem;
    ptrdiff_t vectors;  /* steps of each lane in the current block */
    ptrdiff_t capacity; /* room for so many in every block-long array */
    int by_time;
    const VEC *letters; /* [step][letter]: u */
    VEC *state;         /* [node]; of words without longer ones parts of it, one in each lane, if
                         * the lanes are pieces of one path */
    VEC *gradient;      /* [step][letter]: dL/du, added to */
    VEC *adjoint;       /* [node]: H, the same in all lanes that are pieces of one path */
    VEC *rows;          /* [step]: with stream, one coefficient after every step */
    NAME(stream_lane) lanes[LANES];
} NAME(walk);

/* 1 / j: a division in an inner loop would be most of its time. */
static const REAL NAME(reciprocal)[] = {
    0,       1,       1. / 2,  1. / 3,  1. / 4,  1. / 5,  1. / 6,  1. / 7,  1. / 8,  1. / 9,
    1. / 10, 1. / 11, 1. / 12, 1. / 13, 1. / 14, 1. / 15, 1. / 16, 1. / 17, 1. / 18, 1. / 19,
    1. / 20, 1. / 21, 1. / 22, 1. / 23, 1. / 24, 1. / 25, 1. / 26, 1. / 27, 1. / 28, 1. / 29,
    1. / 30, 1. / 31, 1. / 32, 1. / 33, 1. / 34, 1. / 35, 1. / 36, 1. / 37, 1. / 38, 1. / 39,
    1. / 40, 1. / 41, 1. / 42, 1. / 43, 1. / 44, 1. / 45, 1. / 46, 1. / 47, 1. / 48, 1. / 49,
    1. / 50, 1. / 51, 1. / 52, 1. / 53, 1. / 54, 1. / 55, 1. / 56, 1. / 57, 1. / 58, 1. / 59,
    1. / 60, 1. / 61, 1. / 62, 1. / 63, 1. / 64,
};

/* value in each lane, and all that the lanes before it (or behind it) have added. */
ALWAYS_INLINE VEC NAME(sum_before)(VEC value, VEC added) {
    for (ptrdiff_t l = 1; l < LANES; l++) value[l] = value[l - 1] + added[l - 1];
    return value;
}

ALWAYS_INLINE VEC NAME(sum_behind)(VEC value, VEC added) {
    for (ptrdiff_t l = LANES - 2; l >= 0; l--) value[l] = value[l + 1] + added[l + 1];
    return value;
}

/* With stream, the coefficient of a word at every step of the block, to or from the caller's rows. */
static void NAME(write_rows)(const NAME(walk) *walk, ptrdiff_t column) {
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const NAME(stream_lane) lane = walk->lanes[l];
        for (ptrdiff_t t = 0; t < lane.steps; t++)
            lane.row[t * walk->problem->columns + column] = walk->rows[t][l];
    }
}

static void NAME(read_rows)(const NAME(walk) *walk, ptrdiff_t column) {
    memset(walk->rows, 0, (size_t)walk->vectors * sizeof(VEC));
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const NAME(stream_lane) lane = walk->lanes[l];
        for (ptrdiff_t t = 0; t < lane.steps; t++)
            walk->rows[t][l] = lane.row[t * walk->problem->columns + column];
    }
}

/* Y[1 ... height] of a word from Y[1 ... height + 1] of the word without its last letter, and its
 * state behind the block; with `keep` also that after every step. */
ALWAYS_INLINE void NAME(descend_chain)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent,
                                       VEC *own, const ptrdiff_t height, const int keep) {
    const ptrdiff_t channels = walk->problem->channels, capacity = walk->capacity;
    const VEC *u = walk->letters + walk->problem->letter[node];
    VEC s = walk->state[node];
    if (walk->by_time) {
        VEC added = (VEC){0};
        for (ptrdiff_t t = 0; t < walk->vectors; t++) added += parent[t] * u[t * channels];
        s = NAME(sum_before)(s, added);
    }
    for (ptrdiff_t t = 0; t < walk->vectors; t++) {
        const VEC letter = NAME(in_register)(u[t * channels]);
        for (ptrdiff_t j = 1; j <= height; j++)
            own[(j - 1) * capacity + t] =
                (s + parent[j * capacity + t] * letter) * NAME(reciprocal)[j];
        s += parent[t] * letter;
        if (keep) walk->rows[t] = s;
    }
    walk->state[node] = walk->by_time ? s[LANES - 1] + (VEC){0} : s;
}

static void NAME(descend_word)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent,
                               VEC *own) {
    switch (walk->problem->height[node]) {
        case 0: NAME(descend_chain)(walk, node, parent, own, 0, 0); break;
        case 1: NAME(descend_chain)(walk, node, parent, own, 1, 0); break;
        case 2: NAME(descend_chain)(walk, node, parent, own, 2, 0); break;
        case 3: NAME(descend_chain)(walk, node, parent, own, 3, 0); break;
        default: NAME(descend_chain)(walk, node, parent, own, walk->problem->height[node], 0);
    }
}

/* Words without longer ones, and without stream, are sums that nobody needs before the end. */
ALWAYS_INLINE void NAME(add_leaves)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent,
                                    const ptrdiff_t count) {
    const ptrdiff_t channels = walk->problem->channels, *letter = walk->problem->letter + node;
    const VEC *u[4];
    VEC sum[4];
    for (ptrdiff_t q = 0; q < count; q++) {
        sum[q] = walk->state[node + q];
        u[q] = walk->letters + letter[q];
    }
    for (ptrdiff_t t = 0; t < walk->vectors; t++) {
        const VEC y = NAME(in_register)(parent[t]);
        for (ptrdiff_t q = 0; q < count; q++) sum[q] += y * u[q][t * channels];
    }
    for (ptrdiff_t q = 0; q < count; q++) walk->state[node + q] = sum[q];
}

/* How many words from `node` on, at most four, have none below them. */
static ptrdiff_t NAME(count_leaves)(const projection_problem *problem, ptrdiff_t node,
                                    ptrdiff_t end) {
    ptrdiff_t count = 0;
    while (count < 4 && node + count < end && problem->height[node + count] == 0) count++;
    return count;
}

/* Carries all words below `node` through the block.  parent: its Y[1 ... height].  leaves: whether
 * the words without longer ones are wanted, too. */
static void NAME(descend_below)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent,
                                VEC *scratch, int leaves) {
    const projection_problem *problem = walk->problem;
    const ptrdiff_t end = problem->end[node];
    for (ptrdiff_t child = node + 1; child < end;) {
        const ptrdiff_t count = walk->rows ? 0 : NAME(count_leaves)(problem, child, end);
        switch (leaves ? count : 0) {
            case 1: NAME(add_leaves)(walk, child, parent, 1); break;
            case 2: NAME(add_leaves)(walk, child, parent, 2); break;
            case 3: NAME(add_leaves)(walk, child, parent, 3); break;
            case 4: NAME(add_leaves)(walk, child, parent, 4); break;
        }
        if (count) {
            child += count;
            continue;
        }
        const ptrdiff_t column = problem->column[child];
        if (walk->rows && column >= 0) {
            NAME(descend_chain)(walk, child, parent, scratch, problem->height[child], 1);
            NAME(write_rows)(walk, column);
        } else {
            NAME(descend_word)(walk, child, parent, scratch);
        }
        NAME(descend_below)(walk, child, scratch, scratch + problem->height[child] * walk->capacity,
                            leaves);
        child = problem->end[child];
    }
}

/* From P of a word to that of the word without its last letter (unless that is the empty one), to
 * the gradient of the letter, and to H before the block. */
ALWAYS_INLINE void NAME(ascend_chain)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent,
                                      VEC *sum, const VEC *own, const ptrdiff_t height,
                                      const int rows) {
    const ptrdiff_t channels = walk->problem->channels, capacity = walk->capacity;
    const VEC *u = walk->letters + walk->problem->letter[node];
    VEC *gradient = walk->gradient + walk->problem->letter[node];
    VEC h = walk->adjoint[node];
    if (walk->by_time) {
        VEC added = (VEC){0};
        for (ptrdiff_t t = 0; t < walk->vectors; t++) {
            if (rows) added += walk->rows[t];
            for (ptrdiff_t j = 0; j < height; j++) added += own[j * capacity + t];
        }
        h = NAME(sum_behind)(h, added);
    }
    for (ptrdiff_t t = walk->vectors - 1; t >= 0; t--) {
        const VEC letter = NAME(in_register)(u[t * channels]);
        if (rows) h += walk->rows[t];
        VEC du = gradient[t * channels] + h * parent[t];
        if (sum) sum[t] += h * letter;
        for (ptrdiff_t j = 1; j <= height; j++) {
            const VEC p = own[(j - 1) * capacity + t];
            du += p * parent[j * capacity + t];
            if (sum) sum[j * capacity + t] += p * letter * NAME(reciprocal)[j + 1];
            h += p;
        }
        gradient[t * channels] = du;
    }
    walk->adjoint[node] = walk->by_time ? h[0] + (VEC){0} : h;
}

static void NAME(ascend_word)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent, VEC *sum,
                              const VEC *own) {
    const ptrdiff_t height = walk->problem->height[node], column = walk->problem->column[node];
    if (walk->rows && column >= 0) {
        NAME(read_rows)(walk, column);
        NAME(ascend_chain)(walk, node, parent, sum, own, height, 1);
        return;
    }
    if (sum == NULL) {
        NAME(ascend_chain)(walk, node, parent, NULL, own, height, 0);
        return;
    }
    switch (height) {
        case 1: NAME(ascend_chain)(walk, node, parent, sum, own, 1, 0); break;
        case 2: NAME(ascend_chain)(walk, node, parent, sum, own, 2, 0); break;
        case 3: NAME(ascend_chain)(walk, node, parent, sum, own, 3, 0); break;
        default: NAME(ascend_chain)(walk, node, parent, sum, own, height, 0);
    }
}

/* The gradient with respect to words without longer ones does not change along the path. */
ALWAYS_INLINE void NAME(ascend_leaves)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent,
                                       VEC *sum, const ptrdiff_t count) {
    const ptrdiff_t channels = walk->problem->channels, *letter = walk->problem->letter + node;
    VEC h[4];
    for (ptrdiff_t q = 0; q < count; q++) h[q] = walk->adjoint[node + q];
    for (ptrdiff_t t = 0; t < walk->vectors; t++) {
        const VEC y = NAME(in_register)(parent[t]);
        const VEC *u = walk->letters + t * channels;
        VEC *gradient = walk->gradient + t * channels, p = (VEC){0};
        for (ptrdiff_t q = 0; q < count; q++) {
            p += h[q] * u[letter[q]];
            gradient[letter[q]] += h[q] * y;
        }
        if (sum) sum[t] += p;
    }
}

/* Takes all words below `node` through the block, down and back up.  parent: its Y[1 ... height];
 * sum: P of the same, added to, or NULL.  The states are those before the block. */
static void NAME(ascend_below)(const NAME(walk) *walk, ptrdiff_t node, const VEC *parent, VEC *sum,
                               VEC *scratch) {
    const projection_problem *problem = walk->problem;
    const ptrdiff_t end = problem->end[node];
    for (ptrdiff_t child = node + 1; child < end;) {
        const ptrdiff_t count = walk->rows ? 0 : NAME(count_leaves)(problem, child, end);
        switch (count) {
            case 1: NAME(ascend_leaves)(walk, child, parent, sum, 1); break;
            case 2: NAME(ascend_leaves)(walk, child, parent, sum, 2); break;
            case 3: NAME(ascend_leaves)(walk, child, parent, sum, 3); break;
            case 4: NAME(ascend_leaves)(walk, child, parent, sum, 4); break;
        }
        if (count) {
            child += count;
            continue;
        }
        const ptrdiff_t size = problem->height[child] * walk->capacity;
        VEC *own = scratch + size;
        if (size) {
            NAME(descend_word)(walk, child, parent, scratch);
            memset(own, 0, (size_t)size * sizeof(VEC));
            NAME(ascend_below)(walk, child, scratch, own, own + size);
        }
        NAME(ascend_word)(walk, child, parent, sum, own);
        child = problem->end[child];
    }
}
