/* The adjoint of signature_tree.h, again one subtree and one block of steps at a time.
 *
 * With H the gradient with respect to the state after a step, the adjoints of the intermediates
 * Y_i[j] / j and the gradients of the step are
 *
 *     P_i[0] = H_i,     P_i[j](w) = sum_c P_{i+1}[j - 1](w c) u(c) / j,
 *     dL/du(c) = sum over i, j, w of P_{i+1}[j](w c) Y_i[j + 1](w) / (j + 1),
 *     H_i before the step = sum_j P_i[j].
 *
 * Going down the tree Y is computed again, forwards in time, from the state at the block's
 * beginning; coming back up, P is formed backwards in time.  The gradient with respect to the
 * longest words is the same at every step, so it stays in registers.
 */

typedef struct {
    NAME(tree) forward;
    NAME(vector) **adjoint;  /* [i][word]: H_i, for the lengths i that the tree has */
    NAME(vector) *gradient;  /* [step][letter]: dL/du, added to */
} NAME(backward_tree);

/* Where the sum of P over the children of a word is put together: from `sum` unless the sum
 * begins here, into `target`.  The last children's target is the word's own Y. */
typedef struct {
    const NAME(vector) *sum;
    NAME(vector) *target;
} NAME(ascent);

/* Adds the part of the children first, ..., first + count - 1 to P[1 ... chains] of their parent.
 * children: their P[1 ... chains - 1]. parent: Y[1 ... chains]. */
ALWAYS_INLINE void NAME(ascend_letters)(const NAME(backward_tree) *tree, ptrdiff_t chains,
                                        const VEC *children, const VEC *parent, NAME(ascent) to,
                                        VEC *adjoint, ptrdiff_t first, const ptrdiff_t count) {
    const ptrdiff_t capacity = tree->forward.capacity, channels = tree->forward.channels;
    VEC h[4];
    for (ptrdiff_t c = 0; c < count; c++) h[c] = adjoint[c];
    for (ptrdiff_t t = tree->forward.steps - 1; t >= 0; t--) {
        const VEC *u = tree->forward.letters + t * channels + first;
        VEC *gradient = tree->gradient + t * channels + first;
        VEC du[4], change[4];
        VEC y = parent[t], p = to.sum ? to.sum[t] : (VEC){0};
        for (ptrdiff_t c = 0; c < count; c++) {
            p += h[c] * u[c];
            du[c] = gradient[c] + h[c] * y;
            change[c] = (VEC){0};
        }
        to.target[t] = p;
        for (ptrdiff_t j = 1; j < chains; j++) {
            const ptrdiff_t row = j * capacity + t;
            u += capacity * channels;
            y = parent[row] * (REAL)(1.0 / (double)(j + 1));
            p = to.sum ? to.sum[row] : (VEC){0};
            for (ptrdiff_t c = 0; c < count; c++) {
                VEC below = children[(c * (chains - 1) - 1) * capacity + row];
                p += below * u[c];
                du[c] += below * y;
                change[c] += below;
            }
            to.target[row] = p;
        }
        for (ptrdiff_t c = 0; c < count; c++) {
            gradient[c] = du[c];
            h[c] += change[c];
        }
    }
    for (ptrdiff_t c = 0; c < count; c++) adjoint[c] = h[c];
}

/* For `words` words of length depth - 1: P[1] from the longest words below, into `product`, and
 * their part of the gradient. */
ALWAYS_INLINE void NAME(ascend_top)(const NAME(backward_tree) *tree, const VEC *word, const VEC *top,
                                    VEC *product, ptrdiff_t first, const ptrdiff_t words,
                                    const ptrdiff_t count) {
    const ptrdiff_t capacity = tree->forward.capacity, channels = tree->forward.channels;
    VEC g[6][8];
    for (ptrdiff_t q = 0; q < words; q++)
        for (ptrdiff_t c = 0; c < count; c++) g[q][c] = top[q * channels + first + c];
    for (ptrdiff_t t = 0; t < tree->forward.steps; t++) {
        const VEC *u = tree->forward.letters + t * channels + first;
        VEC *gradient = tree->gradient + t * channels + first;
        VEC p[6];
        for (ptrdiff_t q = 0; q < words; q++) p[q] = first ? product[q * capacity + t] : (VEC){0};
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

/* The same for all letters. */
ALWAYS_INLINE void NAME(ascend_top_words)(const NAME(backward_tree) *tree, const VEC *word,
                                          const VEC *top, VEC *product, const ptrdiff_t words) {
    const ptrdiff_t channels = tree->forward.channels;
    ptrdiff_t first = 0;
    for (; first + 4 <= channels; first += 4)
        NAME(ascend_top)(tree, word, top, product, first, words, 4);
    switch (channels - first) {
        case 3: NAME(ascend_top)(tree, word, top, product, first, words, 3); break;
        case 2: NAME(ascend_top)(tree, word, top, product, first, words, 2); break;
        case 1: NAME(ascend_top)(tree, word, top, product, first, words, 1); break;
    }
}

/* The last two levels below one word, for `words` of its children: ascend_top and ascend_letters. */
ALWAYS_INLINE void NAME(ascend_pair)(const NAME(backward_tree) *tree, const VEC *parent, NAME(ascent) to,
                                     VEC *state, VEC *adjoint, const VEC *top, VEC *scratch,
                                     ptrdiff_t first, const ptrdiff_t words) {
    const ptrdiff_t channels = tree->forward.channels;
    VEC *product = scratch + words * tree->forward.capacity;
    NAME(descend_letters)(&tree->forward, 2, parent, state, scratch, first, words, channels);
    NAME(ascend_top_words)(tree, scratch, top, product, words);
    NAME(ascend_letters)(tree, 2, product, parent, to, adjoint, first, words);
}

#define PAIR_WORDS (REGISTERS == 32 ? 4 : 3)

/* Takes everything below one word of length `length` through the block: down, and back up.
 * block: Y[1 ... depth - length] of the word at every step, replaced by P of the same. */
static void NAME(ascend)(const NAME(backward_tree) *tree, ptrdiff_t length, ptrdiff_t word, VEC *block,
                         VEC *scratch) {
    const NAME(tree) *forward = &tree->forward;
    const ptrdiff_t channels = forward->channels, chains = forward->depth - length;
    const ptrdiff_t child = word * channels;
    VEC *adjoint = tree->adjoint[length + 1] + child;
    if (chains == 1) {
        NAME(ascend_top_words)(tree, block, adjoint, scratch, 1);
        memcpy(block, scratch, (size_t)forward->steps * sizeof(VEC));
        return;
    }
    VEC *state = forward->state[length + 1] + child;
    VEC *sum = scratch;
    scratch += chains * forward->capacity;
    const ptrdiff_t together = chains == 2 ? PAIR_WORDS : 4;
    const ptrdiff_t stride = (chains - 1) * forward->capacity;
    for (ptrdiff_t first = 0, count; first < channels; first += count) {
        count = channels - first < together ? channels - first : together;
        NAME(ascent) to = {first ? sum : NULL, first + count < channels ? sum : block};
        if (chains == 2) {
            const VEC *top = tree->adjoint[length + 2] + (child + first) * channels;
            switch (count) {
                case 1: NAME(ascend_pair)(tree, block, to, state + first, adjoint + first, top, scratch, first, 1); break;
                case 2: NAME(ascend_pair)(tree, block, to, state + first, adjoint + first, top, scratch, first, 2); break;
                case 3: NAME(ascend_pair)(tree, block, to, state + first, adjoint + first, top, scratch, first, 3); break;
                default: NAME(ascend_pair)(tree, block, to, state + first, adjoint + first, top, scratch, first, 4); break;
            }
            continue;
        }
        NAME(descend_count)(forward, chains, block, state + first, scratch, first, count);
        for (ptrdiff_t c = 0; c < count; c++)
            NAME(ascend)(tree, length + 1, child + first + c, scratch + c * stride, scratch + count * stride);
        switch (count) {
            case 1: NAME(ascend_letters)(tree, chains, scratch, block, to, adjoint + first, first, 1); break;
            case 2: NAME(ascend_letters)(tree, chains, scratch, block, to, adjoint + first, first, 2); break;
            case 3: NAME(ascend_letters)(tree, chains, scratch, block, to, adjoint + first, first, 3); break;
            default: NAME(ascend_letters)(tree, chains, scratch, block, to, adjoint + first, first, 4);
        }
    }
}
