/* The adjoint of signature_tree.h, again one subtree and one block of steps at a time.
 *
 * With H the gradient with respect to the state after a step, the adjoints P of the intermediates
 * Y and the gradient of the step are
 *
 *     P_i[0] = H_i,     P_i[j](w) = sum_c P_{i+1}[j - 1](w c) u(c) / j,
 *     dL/du(c) = sum over i, j, w of P_{i+1}[j](w c) Y_i[j + 1](w) / (j + 1),
 *     H_i before the step = sum_j P_i[j].
 *
 * Going down the tree Y is computed again, forwards in time, from the state at the block's
 * beginning; coming back up, P is formed backwards in time.
 */

typedef struct {
    NAME(tree) forward;
    VEC **adjoint; /* [i][word]: H_i, for the lengths i that the tree has */
    VEC *gradient; /* [step][letter]: dL/du, added to */
    int whole;     /* the tree begins with the empty word, whose P nobody needs */
} NAME(backward_tree);

/* Where the sum of P over the children of a word is put together: from `sum` unless the sum
 * begins here, into `target`, unless it is not needed.  The last children's target is the word's
 * own Y. */
typedef struct {
    const VEC *sum;
    VEC *target;
} NAME(ascent);

/* Adds the part of the children first, ..., first + count - 1 to P[1 ... chains] of their parent.
 * children: their P[1 ... chains - 1].  parent: Y[1 ... chains]. */
ALWAYS_INLINE void NAME(ascend_letters)(const NAME(backward_tree) *tree, ptrdiff_t chains,
                                        const VEC *children, const VEC *parent, NAME(ascent) to,
                                        VEC *adjoint, ptrdiff_t first, const ptrdiff_t count) {
    const ptrdiff_t capacity = tree->forward.capacity, channels = tree->forward.channels;
    VEC h[4];
    for (ptrdiff_t c = 0; c < count; c++) h[c] = adjoint[c];
    for (ptrdiff_t t = tree->forward.steps - 1; t >= 0; t--) {
        const VEC *letters = tree->forward.letters + t * channels + first;
        VEC *gradient = tree->gradient + t * channels + first;
        VEC u[4], du[4];
        VEC y = parent[t], p = to.sum ? to.sum[t] : (VEC){0};
        for (ptrdiff_t c = 0; c < count; c++) {
            u[c] = letters[c];
            p += h[c] * u[c];
            du[c] = gradient[c] + h[c] * y;
        }
        if (to.target) to.target[t] = p;
        for (ptrdiff_t j = 1; j < chains; j++) {
            const ptrdiff_t row = j * capacity + t;
            y = parent[row];
            p = (VEC){0};
            for (ptrdiff_t c = 0; c < count; c++) {
                VEC below = NAME(in_register)(children[(c * (chains - 1) - 1) * capacity + row]);
                p += below * u[c];
                du[c] += below * y;
                h[c] += below;
            }
            p *= NAME(inverse)[j + 1];
            if (to.target) to.target[row] = to.sum ? to.sum[row] + p : p;
        }
        for (ptrdiff_t c = 0; c < count; c++) gradient[c] = du[c];
    }
    for (ptrdiff_t c = 0; c < count; c++) adjoint[c] = h[c];
}

/* ascend_letters for a number of children known only at run time, at most four. */
ALWAYS_INLINE void NAME(ascend_count)(const NAME(backward_tree) *tree, ptrdiff_t chains,
                                      const VEC *children, const VEC *parent, NAME(ascent) to,
                                      VEC *adjoint, ptrdiff_t first, ptrdiff_t count) {
    switch (count) {
        case 1: NAME(ascend_letters)(tree, chains, children, parent, to, adjoint, first, 1); break;
        case 2: NAME(ascend_letters)(tree, chains, children, parent, to, adjoint, first, 2); break;
        case 3: NAME(ascend_letters)(tree, chains, children, parent, to, adjoint, first, 3); break;
        default: NAME(ascend_letters)(tree, chains, children, parent, to, adjoint, first, 4);
    }
}

static void NAME(ascend_chains)(const NAME(backward_tree) *tree, ptrdiff_t chains,
                                const VEC *children, const VEC *parent, NAME(ascent) to,
                                VEC *adjoint, ptrdiff_t first, ptrdiff_t count) {
    const NAME(ascent) fresh = {NULL, to.target}, none = {NULL, NULL};
    if (to.target == NULL)
        NAME(ascend_count)(tree, chains, children, parent, none, adjoint, first, count);
    else if (chains == 3 && to.sum == NULL)
        NAME(ascend_count)(tree, 3, children, parent, fresh, adjoint, first, count);
    else if (to.sum == NULL)
        NAME(ascend_count)(tree, chains, children, parent, fresh, adjoint, first, count);
    else
        NAME(ascend_count)(tree, chains, children, parent, to, adjoint, first, count);
}

/* The last two levels below one word, for few channels: first Y of the children, forwards in time,
 * then P and the gradients, backwards.  top: H of the longest words, which no step changes; it is
 * zero below the children before `first`. */
ALWAYS_INLINE void NAME(ascend_top)(const NAME(backward_tree) *tree, VEC *block, VEC *state,
                                    VEC *adjoint, const VEC *top, VEC *scratch,
                                    const ptrdiff_t first, const ptrdiff_t channels) {
    const ptrdiff_t capacity = tree->forward.capacity;
    NAME(descend_letters)(&tree->forward, 2, block, state, scratch, 0, channels);
    const int held = REGISTERS == 32 && channels <= 3; /* `top` has room in registers */
    VEC h[5], all[3][3];
    for (ptrdiff_t q = 0; q < channels; q++) h[q] = adjoint[q];
    for (ptrdiff_t q = first; held && q < channels; q++)
        for (ptrdiff_t c = 0; c < channels; c++) all[q][c] = top[q * channels + c];
    for (ptrdiff_t t = tree->forward.steps - 1; t >= 0; t--) {
        const VEC *u = tree->forward.letters + t * channels;
        VEC *gradient = tree->gradient + t * channels;
        VEC y1 = NAME(in_register)(block[t]), y2 = block[capacity + t];
        VEC p1 = (VEC){0}, p2 = (VEC){0}, du[5];
        for (ptrdiff_t c = 0; c < channels; c++) {
            du[c] = gradient[c] + h[c] * y1;
            p1 += h[c] * u[c];
        }
        for (ptrdiff_t q = first; q < channels; q++) {
            VEC y = scratch[q * capacity + t], p = (VEC){0};
            for (ptrdiff_t c = 0; c < channels; c++) {
                VEC g = held ? all[q][c] : NAME(in_register)(top[q * channels + c]);
                p += g * u[c];
                du[c] += g * y;
            }
            p2 += p * u[q];
            du[q] += p * y2;
            h[q] += p;
        }
        for (ptrdiff_t c = 0; c < channels; c++) gradient[c] = du[c];
        block[t] = p1;
        block[capacity + t] = p2 * (REAL)0.5;
    }
    for (ptrdiff_t q = 0; q < channels; q++) adjoint[q] = h[q];
}

/* For `words` words of length depth - 1: P[1] from the longest words below, into `product`, and
 * their part of the gradient; letters first, ..., first + count - 1.  add: to what is there. */
ALWAYS_INLINE void NAME(contract_top)(const NAME(backward_tree) *tree, const VEC *word,
                                      const VEC *top, VEC *product, ptrdiff_t first, int add,
                                      const ptrdiff_t words, const ptrdiff_t count) {
    const ptrdiff_t capacity = tree->forward.capacity, channels = tree->forward.channels;
    VEC g[4][4];
    for (ptrdiff_t q = 0; q < words; q++)
        for (ptrdiff_t c = 0; c < count; c++) g[q][c] = top[q * channels + first + c];
    for (ptrdiff_t t = 0; t < tree->forward.steps; t++) {
        const VEC *u = tree->forward.letters + t * channels + first;
        VEC *gradient = tree->gradient + t * channels + first;
        VEC p[4];
        for (ptrdiff_t q = 0; q < words; q++) p[q] = add ? product[q * capacity + t] : (VEC){0};
        for (ptrdiff_t c = 0; c < count; c++) {
            VEC du = gradient[c];
            for (ptrdiff_t q = 0; q < words; q++) {
                p[q] += g[q][c] * u[c];
                du += g[q][c] * word[q * capacity + t];
            }
            gradient[c] = du;
        }
        for (ptrdiff_t q = 0; q < words; q++) product[q * capacity + t] = p[q];
    }
}

/* ascend_top for any number of channels, in three passes: H of the longest words stays in
 * registers, four letters at a time; it is zero for the letters before `letter`. */
ALWAYS_INLINE void NAME(ascend_top_words)(const NAME(backward_tree) *tree, const VEC *parent,
                                          NAME(ascent) to, VEC *state, VEC *adjoint, const VEC *top,
                                          VEC *scratch, ptrdiff_t first, ptrdiff_t letter,
                                          const ptrdiff_t words) {
    const ptrdiff_t channels = tree->forward.channels;
    const size_t bytes = (size_t)(words * tree->forward.capacity) * sizeof(VEC);
    VEC *product = scratch + words * tree->forward.capacity;
    NAME(descend_letters)(&tree->forward, 2, parent, state, scratch, first, words);
    if (SIGNATURE_LYNDON && letter >= channels) memset(product, 0, bytes);
    ptrdiff_t c = letter;
    for (; c + 4 <= channels; c += 4)
        NAME(contract_top)(tree, scratch, top, product, c, c > letter, words, 4);
    switch (channels - c) {
        case 3: NAME(contract_top)(tree, scratch, top, product, c, c > letter, words, 3); break;
        case 2: NAME(contract_top)(tree, scratch, top, product, c, c > letter, words, 2); break;
        case 1: NAME(contract_top)(tree, scratch, top, product, c, c > letter, words, 1); break;
    }
    NAME(ascend_letters)(tree, 2, product, parent, to, adjoint, first, words);
}

#define ASCEND_WIDE_WORDS (REGISTERS == 32 ? 4 : 3)

static void NAME(ascend_top_wide)(const NAME(backward_tree) *tree, ptrdiff_t length,
                                  ptrdiff_t child, VEC *block, VEC *state, VEC *adjoint,
                                  const VEC *longest, VEC *scratch) {
    const ptrdiff_t channels = tree->forward.channels;
    VEC *sum = scratch;
    scratch += 2 * tree->forward.capacity;
    for (ptrdiff_t first = 0, count; first < channels; first += count) {
        count = channels - first < ASCEND_WIDE_WORDS ? channels - first : ASCEND_WIDE_WORDS;
        NAME(ascent) to = {first ? sum : NULL, first + count < channels ? sum : block};
        const VEC *top = longest + first * channels;
        const ptrdiff_t letter = NAME(first_letter)(&tree->forward, length, child + first, count);
        switch (count) {
            case 1:
                NAME(ascend_top_words)(tree, block, to, state + first, adjoint + first, top,
                                       scratch, first, letter, 1);
                break;
            case 2:
                NAME(ascend_top_words)(tree, block, to, state + first, adjoint + first, top,
                                       scratch, first, letter, 2);
                break;
            case 3:
                NAME(ascend_top_words)(tree, block, to, state + first, adjoint + first, top,
                                       scratch, first, letter, 3);
                break;
            default:
                NAME(ascend_top_words)(tree, block, to, state + first, adjoint + first, top,
                                       scratch, first, letter, 4);
        }
    }
}

#define ASCEND_TOP_FROM(channels, first)                                              \
    case (channels) * 8 + (first):                                                    \
        NAME(ascend_top)(tree, block, state, adjoint, top, scratch, first, channels); \
        break;

/* child: the first of the word's children, which have this length; least: the first of those that
 * have longer words below them. */
static void NAME(ascend_top_any)(const NAME(backward_tree) *tree, ptrdiff_t length, ptrdiff_t child,
                                 VEC *block, VEC *scratch, ptrdiff_t least) {
    const ptrdiff_t channels = tree->forward.channels;
    VEC *state = tree->forward.state[length] + child, *adjoint = tree->adjoint[length] + child;
    const VEC *top = tree->adjoint[length + 1] + child * channels;
    switch (channels > 5 ? 0 : channels * 8 + least) {
        ASCEND_TOP_FROM(1, 0)
        ASCEND_TOP_FROM(2, 0)
        ASCEND_TOP_FROM(3, 0)
        ASCEND_TOP_FROM(4, 0)
        ASCEND_TOP_FROM(5, 0)
        case 0:
            NAME(ascend_top_wide)(tree, length, child, block, state, adjoint, top, scratch);
            break;
#if SIGNATURE_LYNDON
            ASCEND_TOP_FROM(2, 1)
            ASCEND_TOP_FROM(3, 1)
            ASCEND_TOP_FROM(3, 2)
            ASCEND_TOP_FROM(4, 1)
            ASCEND_TOP_FROM(4, 2)
            ASCEND_TOP_FROM(4, 3)
            ASCEND_TOP_FROM(5, 1)
            ASCEND_TOP_FROM(5, 2)
            ASCEND_TOP_FROM(5, 3)
            ASCEND_TOP_FROM(5, 4)
#endif
    }
}

#undef ASCEND_TOP_FROM

/* The longest words below one word, when the tree begins right below them. */
static void NAME(ascend_last)(const NAME(backward_tree) *tree, VEC *block, const VEC *top) {
    const ptrdiff_t channels = tree->forward.channels;
    for (ptrdiff_t t = 0; t < tree->forward.steps; t++) {
        VEC p = (VEC){0};
        for (ptrdiff_t c = 0; c < channels; c++) {
            p += top[c] * tree->forward.letters[t * channels + c];
            tree->gradient[t * channels + c] += top[c] * block[t];
        }
        block[t] = p;
    }
}

/* Takes everything below one word of length `length` through the block: down, and back up.
 * block: Y[1 ... depth - length] of the word at every step, replaced by P of the same; that of the
 * empty word stays if it has at least three numbers a step. */
static void NAME(ascend)(const NAME(backward_tree) *tree, ptrdiff_t length, ptrdiff_t word,
                         VEC *block, VEC *scratch) {
    const NAME(tree) *forward = &tree->forward;
    const ptrdiff_t channels = forward->channels, chains = forward->depth - length;
    const ptrdiff_t child = word * channels;
    VEC *adjoint = tree->adjoint[length + 1] + child;
    const ptrdiff_t least = NAME(least_letter)(forward, length, word);
    if (SIGNATURE_LYNDON && least == channels) {
        NAME(backward_tree) shorter = *tree;
        shorter.forward = NAME(shorter_tree)(forward);
        if (chains > 1) NAME(ascend)(&shorter, length, word, block, scratch);
        memset(block + (chains - 1) * forward->capacity, 0, (size_t)forward->steps * sizeof(VEC));
        return;
    }
    if (chains == 1) {
        NAME(ascend_last)(tree, block, adjoint);
        return;
    }
    if (chains == 2) {
        NAME(ascend_top_any)(tree, length + 1, child, block, scratch, least);
        return;
    }
    VEC *state = forward->state[length + 1] + child;
    VEC *sum = scratch;
    scratch += chains * forward->capacity;
    const ptrdiff_t stride = (chains - 1) * forward->capacity;
    for (ptrdiff_t first = 0, count; first < channels; first += count) {
        count = channels - first < 4 ? channels - first : 4;
        NAME(ascent) to = {first ? sum : NULL, first + count < channels ? sum : block};
        if (tree->whole && length == 0) to = (NAME(ascent)){NULL, NULL};
        NAME(descend_chains)(forward, chains, block, state + first, scratch, first, count);
        for (ptrdiff_t c = 0; c < count; c++)
            NAME(ascend)(tree, length + 1, child + first + c, scratch + c * stride,
                         scratch + count * stride);
        NAME(ascend_chains)(tree, chains, scratch, block, to, adjoint + first, first, count);
    }
}
