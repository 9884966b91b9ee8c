/* One program, chunk after chunk, for one type and instruction set. */

#define CHUNK (BROWNIAN_CHUNK_BYTES / REAL_BYTES)
#if REAL_BYTES == 8
#define ROOT sqrt
#else
#define ROOT sqrtf
#endif
#define SLOT(place)                                                   \
    ((place)->array ? (REAL *)(void *)((place)->array + chunk_offset) \
                    : (REAL *)(void *)(scratch + (place)->slot * slot_bytes))

/* The normal numbers of one chunk. */
ALWAYS_INLINE void NAME(brownian_normals)(threefry_block key, uint64_t node, uint64_t chunk,
                                          threefry_word purpose, REAL *values) {
    const uint64_t first = chunk * BROWNIAN_BLOCKS;
    const threefry_word low = (threefry_word)first;
    const threefry_word high = (threefry_word)(first >> 32) | purpose << BROWNIAN_PURPOSE_SHIFT;
    for (int q = 0; q < BROWNIAN_BLOCKS; q++) {
        const threefry_block counter = {
            {(threefry_word)node, (threefry_word)(node >> 32), low + (threefry_word)q, high}};
        REAL block[CHUNK / BROWNIAN_BLOCKS];
#if REAL_BYTES == 8
        normals_of_block_double(threefry(key, counter), block);
#else
        normals_of_block_float(threefry(key, counter), block);
#endif
        for (int i = 0; i < CHUNK / BROWNIAN_BLOCKS; i++)
            values[i * BROWNIAN_BLOCKS + q] = block[i];
    }
}

static void NAME(brownian_split)(const bridge *b, int components, const REAL *x, const REAL *whole,
                                 REAL *left, REAL *right) {
    const REAL whole_w = (REAL)b->whole_w, noise = (REAL)b->noise;
    if (components == 1) {
        for (int i = 0; i < CHUNK; i++) {
            const REAL w = whole[i], part = whole_w * w + noise * x[i];
            left[i] = part;
            right[i] = w - part;
        }
        return;
    }
    const REAL whole_h = (REAL)b->whole_h, left_h = (REAL)b->left_h, right_h = (REAL)b->right_h;
    const REAL left_1 = (REAL)b->left_1, left_2 = (REAL)b->left_2;
    const REAL right_1 = (REAL)b->right_1, right_2 = (REAL)b->right_2;
    for (int i = 0; i < CHUNK; i++) {
        const REAL w = whole[i], h = whole[CHUNK + i], x1 = x[i], x2 = x[CHUNK + i];
        const REAL part = whole_w * w + whole_h * h + noise * x1;
        left[i] = part;
        right[i] = w - part;
        left[CHUNK + i] = left_h * h - left_1 * x1 + left_2 * x2;
        right[CHUNK + i] = right_h * h - right_1 * x1 - right_2 * x2;
    }
}

static void NAME(brownian_add)(const brownian_operation *operation, int components,
                               const REAL *part, REAL *sum) {
    if (operation->first) {
        for (int i = 0; i < components * CHUNK; i++) sum[i] = part[i];
        return;
    }
    const REAL first_h = (REAL)operation->join.first_h, second_h = (REAL)operation->join.second_h;
    for (int i = 0; components == 2 && i < CHUNK; i++)
        sum[CHUNK + i] =
            second_h * (part[CHUNK + i] + sum[i] / 2) + first_h * (sum[CHUNK + i] - part[i] / 2);
    for (int i = 0; i < CHUNK; i++) sum[i] += part[i];
}

static void NAME(brownian_rest)(const bridge_rest *rest, int components, const REAL *whole,
                                const REAL *first, REAL *sum) {
    const REAL whole_h = (REAL)rest->whole_h, first_h = (REAL)rest->first_h;
    const REAL whole_w = (REAL)rest->whole_w, first_w = (REAL)rest->first_w;
    for (int i = 0; i < CHUNK; i++) sum[i] = whole[i] - first[i];
    for (int i = 0; components == 2 && i < CHUNK; i++)
        sum[CHUNK + i] = whole_h * whole[CHUNK + i] - first_h * first[CHUNK + i] +
                         whole_w * whole[i] - first_w * first[i];
}

static void NAME(brownian_write)(const brownian_tree *tree, ptrdiff_t chunk, REAL sign,
                                 const REAL *sum, REAL *w, REAL *h) {
    const ptrdiff_t left = tree->size - chunk * CHUNK, count = left < CHUNK ? left : CHUNK;
    w += chunk * CHUNK;
    if (count == CHUNK)
        for (int i = 0; i < CHUNK; i++) w[i] = sign * sum[i];
    else
        for (ptrdiff_t i = 0; i < count; i++) w[i] = sign * sum[i];
    if (tree->components == 1) return;
    h += chunk * CHUNK;
    for (ptrdiff_t i = 0; i < count; i++) h[i] = sum[CHUNK + i];
}

static void NAME(brownian_run)(const brownian_tree *tree, const brownian_program *program,
                               ptrdiff_t first, ptrdiff_t last, char *scratch, void *w, void *h) {
    const int components = tree->components;
    const ptrdiff_t slot_bytes = brownian_slot_bytes(tree);
    for (ptrdiff_t chunk = first; chunk < last; chunk++) {
        const ptrdiff_t chunk_offset = chunk * slot_bytes;
        REAL sum[2 * CHUNK] __attribute__((aligned(SIMD_ALIGNMENT))) = {0};
        REAL x[2 * CHUNK] __attribute__((aligned(SIMD_ALIGNMENT)));
        for (ptrdiff_t n = 0; n < program->count; n++) {
            const brownian_operation *operation = &program->operations[n];
            if (operation->kind <= BROWNIAN_SPLIT)
                for (int i = 0; i < components; i++)
                    NAME(brownian_normals)(operation->key, operation->node, (uint64_t)chunk,
                                           (threefry_word)i, x + i * CHUNK);
            REAL *left = SLOT(&operation->left);
            switch (operation->kind) {
                case BROWNIAN_ROOT:
                    for (int i = 0; i < CHUNK; i++) left[i] = (REAL)operation->bridge.noise * x[i];
                    for (int i = 0; components == 2 && i < CHUNK; i++)
                        left[CHUNK + i] = (REAL)operation->bridge.left_2 * x[CHUNK + i];
                    break;
                case BROWNIAN_SPLIT:
                    NAME(brownian_split)(&operation->bridge, components, x, SLOT(&operation->whole),
                                         left, SLOT(&operation->right));
                    break;
                case BROWNIAN_ADD:
                    NAME(brownian_add)(operation, components, SLOT(&operation->whole), sum);
                    break;
                case BROWNIAN_REST:
                    NAME(brownian_rest)(&operation->rest, components, SLOT(&operation->whole), left,
                                        sum);
                    break;
                case BROWNIAN_ROW:
                    NAME(brownian_write)(tree, chunk, (REAL)operation->sign, sum,
                                         (REAL *)w + operation->row * tree->size,
                                         (REAL *)h + operation->row * tree->size);
            }
        }
    }
}

/* Areas of the rows first ... last - 1: A = H W' - W H' + noise, skew-symmetric.  w, h: [row][m];
 * area: [row][m][m].  foster: the variance of the noise depends on H. */
static void NAME(brownian_area)(threefry_block key, double length, int foster, ptrdiff_t m,
                                ptrdiff_t first, ptrdiff_t last, const void *all_w,
                                const void *all_h, void *areas) {
    const ptrdiff_t pairs = m * (m - 1) / 2;
    const REAL constant = (REAL)(length * length / 20), factor = (REAL)(length / 5);
    const REAL davie = (REAL)(length / sqrt(12));
    REAL x[CHUNK] __attribute__((aligned(SIMD_ALIGNMENT)));
    ptrdiff_t next = first * pairs, position = CHUNK;
    if (next % CHUNK) {
        NAME(brownian_normals)(key, 0, (uint64_t)(next / CHUNK), BROWNIAN_FOR_AREA, x);
        position = next % CHUNK;
    }
    for (ptrdiff_t row = first; row < last; row++) {
        const REAL *w = (const REAL *)all_w + row * m, *h = (const REAL *)all_h + row * m;
        REAL *area = (REAL *)areas + row * m * m;
        for (ptrdiff_t i = 0; i < m; i++) {
            area[i * m + i] = 0;
            for (ptrdiff_t j = i + 1; j < m; j++, position++, next++) {
                if (position == CHUNK) {
                    NAME(brownian_normals)(key, 0, (uint64_t)(next / CHUNK), BROWNIAN_FOR_AREA, x);
                    position = 0;
                }
                const REAL variance = constant + factor * (h[i] * h[i] + h[j] * h[j]);
                const REAL deviation = foster ? ROOT(variance) : davie;
                const REAL value = h[i] * w[j] - w[i] * h[j] + deviation * x[position];
                area[i * m + j] = value;
                area[j * m + i] = -value;
            }
        }
    }
}
#undef CHUNK
#undef ROOT
#undef SLOT
