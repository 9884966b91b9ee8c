/* The levels below the tree, when its lanes are words of a fixed length `prefix`: signature_tree.h
 * and signature_tree_backward.h once more, in plain loops over single numbers.  They are a small
 * part of the work.
 */

typedef struct {
    ptrdiff_t depth, channels, prefix, capacity, steps;
    ptrdiff_t first_block, blocks; /* the lanes of this task: LANES words each */
    REAL **state;                  /* [i][word]: S_i, i = 1 ... prefix */
    REAL **adjoint;                /* [i][word]: H_i; backward only */
    REAL **middle;       /* [i][(step * (depth - i) + j - 1) * d^i + word]: Y_i[j], i < prefix */
    REAL **product;      /* [i][j * d^i + word]: P_i[j] of one step; backward only */
    REAL *steps_letters; /* [step][letter] */
    REAL *gradient;      /* [step][letter]; backward only */
    VEC *lanes;          /* [block][j - 1][step]: Y_prefix[j], then P_prefix[j] */
} NAME(root);

/* Where number j of a word of length prefix is for a step, or NULL if another task has it. */
ALWAYS_INLINE REAL *NAME(root_lane)(const NAME(root) *root, ptrdiff_t j, ptrdiff_t step,
                                    ptrdiff_t word) {
    ptrdiff_t block = word / LANES - root->first_block;
    if (block < 0 || block >= root->blocks) return NULL;
    ptrdiff_t vector = (block * (root->depth - root->prefix) + j - 1) * root->capacity + step;
    return (REAL *)(root->lanes + vector) + word % LANES;
}

/* Carries the words up to the length prefix through the block. */
static void NAME(root_descend)(const NAME(root) *root) {
    const ptrdiff_t channels = root->channels;
    for (ptrdiff_t t = 0; t < root->steps; t++) {
        const REAL *u = root->steps_letters + t * channels;
        ptrdiff_t words = 1;
        for (ptrdiff_t i = 0; i < root->prefix; i++, words *= channels) {
            const ptrdiff_t chains = root->depth - i, last = i + 1 == root->prefix;
            const REAL *parent = root->middle[i] + t * chains * words;
            for (ptrdiff_t w = 0; w < words; w++) {
                REAL *state = root->state[i + 1] + w * channels;
                for (ptrdiff_t j = 2; j <= chains; j++) {
                    const REAL y = parent[(j - 1) * words + w], inverse = (REAL)1 / (REAL)(j - 1);
                    if (last) {
                        for (ptrdiff_t c = 0; c < channels; c++) {
                            REAL *lane = NAME(root_lane)(root, j - 1, t, w * channels + c);
                            if (lane) *lane = (state[c] + y * u[c]) * inverse;
                        }
                        continue;
                    }
                    REAL *child =
                        root->middle[i + 1] + ((t * (chains - 1) + j - 2) * words + w) * channels;
                    for (ptrdiff_t c = 0; c < channels; c++)
                        child[c] = (state[c] + y * u[c]) * inverse;
                }
                for (ptrdiff_t c = 0; c < channels; c++) state[c] += parent[w] * u[c];
            }
        }
    }
}

/* One level of root_ascend at one step: P_{i+1} and Y_i to P_i and the gradient. */
static void NAME(root_ascend_level)(const NAME(root) *root, ptrdiff_t t, ptrdiff_t i,
                                    ptrdiff_t words) {
    const ptrdiff_t channels = root->channels, chains = root->depth - i;
    const REAL *u = root->steps_letters + t * channels;
    const REAL *parent = root->middle[i] + t * chains * words;
    REAL *gradient = root->gradient + t * channels;
    for (ptrdiff_t w = 0; w < words; w++) {
        REAL *h = root->adjoint[i + 1] + w * channels;
        for (ptrdiff_t c = 0; c < channels; c++) root->product[i + 1][w * channels + c] = h[c];
        for (ptrdiff_t j = 0; j < chains; j++) {
            const REAL *p = root->product[i + 1] + (j * words + w) * channels;
            const REAL y = parent[j * words + w];
            REAL sum = 0;
            for (ptrdiff_t c = 0; c < channels; c++) {
                sum += p[c] * u[c];
                gradient[c] += p[c] * y;
                if (j) h[c] += p[c];
            }
            root->product[i][(j + 1) * words + w] = sum / (REAL)(j + 1);
        }
    }
}

static void NAME(root_ascend)(const NAME(root) *root) {
    const ptrdiff_t prefix = root->prefix;
    const ptrdiff_t most = signature_power(root->channels, prefix);
    memset(root->gradient, 0, (size_t)(root->steps * root->channels) * sizeof(REAL));
    for (ptrdiff_t t = root->steps - 1; t >= 0; t--) {
        for (ptrdiff_t j = 1; j <= root->depth - prefix; j++)
            for (ptrdiff_t w = 0; w < most; w++) {
                const REAL *lane = NAME(root_lane)(root, j, t, w);
                root->product[prefix][j * most + w] = lane ? *lane : 0;
            }
        for (ptrdiff_t i = prefix - 1, words = most / root->channels; i >= 0;
             i--, words /= root->channels)
            NAME(root_ascend_level)(root, t, i, words);
    }
}
