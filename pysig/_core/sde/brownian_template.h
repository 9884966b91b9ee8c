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

/* The first normal numbers of one chunk: some from each block of random words. */
ALWAYS_INLINE void NAME(brownian_normals)(threefry_block key, uint64_t node, uint64_t chunk,
                                          threefry_word purpose, const int numbers, REAL *values) {
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
        for (int i = 0; i < numbers / BROWNIAN_BLOCKS; i++)
            values[i * BROWNIAN_BLOCKS + q] = block[i];
    }
}

/* The normal numbers that an operation needs: a small process has the first number of each block. */
static void NAME(brownian_normals_of)(const brownian_operation *operation, ptrdiff_t size,
                                      uint64_t chunk, threefry_word purpose, REAL *values) {
    if (size <= BROWNIAN_BLOCKS)
        NAME(brownian_normals)(operation->key, operation->node, chunk, purpose, BROWNIAN_BLOCKS,
                               values);
    else
        NAME(brownian_normals)(operation->key, operation->node, chunk, purpose, CHUNK, values);
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
        REAL x[2 * CHUNK] __attribute__((aligned(SIMD_ALIGNMENT))) = {0};
        for (ptrdiff_t n = 0; n < program->count; n++) {
            const brownian_operation *operation = &program->operations[n];
            if (operation->kind <= BROWNIAN_SPLIT)
                for (int i = 0; i < components; i++)
                    NAME(brownian_normals_of)(operation, tree->size, (uint64_t)chunk,
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

/* ---- Levy areas: A = H W' - W H' + noise, skew-symmetric ---- */

#define SMALL BROWNIAN_SMALL

/* Normal numbers in order.  There is room to read LANES rows of them where the last rows are fewer. */
typedef struct {
    threefry_block key;
    uint64_t chunk; /* the one to come */
    ptrdiff_t position, filled;
    REAL values[LANES * SMALL * (SMALL - 1) / 2 + CHUNK + LANES];
} NAME(brownian_stream);

/* Where the next `count` numbers are: so many as LANES rows have between SMALL components at most. */
ALWAYS_INLINE const REAL *NAME(brownian_next)(NAME(brownian_stream) *stream, ptrdiff_t count) {
    const ptrdiff_t left = stream->filled - stream->position;
    if (left < count) {
        memmove(stream->values, stream->values + stream->position, (size_t)left * sizeof(REAL));
        stream->position = 0;
        for (stream->filled = left; stream->filled < count; stream->filled += CHUNK)
            NAME(brownian_normals)(stream->key, 0, stream->chunk++, BROWNIAN_FOR_AREA, CHUNK,
                                   stream->values + stream->filled);
    }
    stream->position += count;
    return stream->values + stream->position - count;
}

/* How the noise depends on H. */
typedef struct {
    int foster;
    REAL constant, factor, davie, sign;
} NAME(brownian_noise);

ALWAYS_INLINE REAL NAME(brownian_deviation)(const NAME(brownian_noise) *noise, const int foster,
                                            REAL h1, REAL h2) {
    if (!foster) return noise->davie;
    return noise->sign * ROOT(noise->constant + noise->factor * (h1 * h1 + h2 * h2));
}

/* The columns of LANES rows as vectors.  Reads, and writes, up to a vector more. */
ALWAYS_INLINE void NAME(brownian_columns)(const REAL *rows, ptrdiff_t columns, REAL *to) {
    for (ptrdiff_t column = 0; column < columns; column += LANES) {
        NAME(vector) block[LANES];
        for (int row = 0; row < LANES; row++)
            block[row] = NAME(load)(rows + row * columns + column);
        NAME(transpose)(block);
        for (int k = 0; k < LANES; k++) NAME(store)(to + (column + k) * LANES, block[k]);
    }
}

/* The other way, for the first `count` rows. */
ALWAYS_INLINE void NAME(brownian_rows)(const REAL *from, ptrdiff_t columns, ptrdiff_t count,
                                       REAL *rows) {
    for (ptrdiff_t column = 0; column < columns; column += LANES) {
        NAME(vector) block[LANES];
        const ptrdiff_t left = columns - column;
        for (int k = 0; k < LANES; k++) block[k] = NAME(load)(from + (column + k) * LANES);
        NAME(transpose)(block);
        for (ptrdiff_t row = 0; row < count; row++)
            if (left >= LANES)
                NAME(store)(rows + row * columns + column, block[row]);
            else
                memcpy(rows + row * columns + column, &block[row], (size_t)left * sizeof(REAL));
    }
}

/* So many rows, LANES or fewer, of up to SMALL components: a number of each row in one vector. */
ALWAYS_INLINE void NAME(brownian_area_of_rows)(NAME(brownian_stream) *stream,
                                               const NAME(brownian_noise) *noise, const int foster,
                                               ptrdiff_t m, ptrdiff_t count, const REAL *w,
                                               const REAL *h, REAL *area) {
    enum { VECTORS = SMALL + LANES };
    REAL rows[SMALL * LANES + LANES] = {0}, all[(SMALL * SMALL + LANES) * LANES];
    REAL w_of[VECTORS * LANES], h_of[VECTORS * LANES], x_of[(SMALL * SMALL / 2 + LANES) * LANES];
    memcpy(rows, w, (size_t)(count * m) * sizeof(REAL));
    NAME(brownian_columns)(rows, m, w_of);
    memcpy(rows, h, (size_t)(count * m) * sizeof(REAL));
    NAME(brownian_columns)(rows, m, h_of);
    const ptrdiff_t pairs = m * (m - 1) / 2;
    NAME(brownian_columns)(NAME(brownian_next)(stream, count * pairs), pairs, x_of);
    const REAL *x = x_of;
    for (ptrdiff_t i = 0; i < m; i++) {
        const REAL *wi = w_of + i * LANES, *hi = h_of + i * LANES;
        for (int k = 0; k < LANES; k++) all[(i * m + i) * LANES + k] = 0;
        for (ptrdiff_t j = i + 1; j < m; j++, x += LANES) {
            const REAL *wj = w_of + j * LANES, *hj = h_of + j * LANES;
            REAL *above = all + (i * m + j) * LANES, *below = all + (j * m + i) * LANES;
            for (int k = 0; k < LANES; k++) {
                const REAL deviation = NAME(brownian_deviation)(noise, foster, hi[k], hj[k]);
                const REAL value = hi[k] * wj[k] - wi[k] * hj[k] + deviation * x[k];
                above[k] = value;
                below[k] = -value;
            }
        }
    }
    NAME(brownian_rows)(all, m * m, count, area);
}

/* One row of any number of components. */
ALWAYS_INLINE void NAME(brownian_area_of_row)(NAME(brownian_stream) *stream,
                                              const NAME(brownian_noise) *noise, ptrdiff_t m,
                                              const REAL *w, const REAL *h, REAL *area) {
    for (ptrdiff_t i = 0; i < m; i++) {
        area[i * m + i] = 0;
        for (ptrdiff_t j = i + 1; j < m; j++) {
            const REAL x = *NAME(brownian_next)(stream, 1);
            const REAL deviation = NAME(brownian_deviation)(noise, noise->foster, h[i], h[j]);
            const REAL value = h[i] * w[j] - w[i] * h[j] + deviation * x;
            area[i * m + j] = value;
            area[j * m + i] = -value;
        }
    }
}

/* The rows first ... last - 1.  w, h: [row][m]; area: [row][m][m]. */
static void NAME(brownian_area)(threefry_block key, double length, double sign, int foster,
                                ptrdiff_t m, ptrdiff_t first, ptrdiff_t last, const void *all_w,
                                const void *all_h, void *areas) {
    const NAME(brownian_noise) noise = {foster, (REAL)(length * length / 20), (REAL)(length / 5),
                                        (REAL)(sign * length / sqrt(12)), (REAL)sign};
    const ptrdiff_t begin = first * (m * (m - 1) / 2), step = m > SMALL ? 1 : LANES;
    NAME(brownian_stream) stream = {key, (uint64_t)(begin / CHUNK), 0, 0, {0}};
    if (begin % CHUNK) NAME(brownian_next)(&stream, begin % CHUNK);
    for (ptrdiff_t row = first; row < last; row += step) {
        const ptrdiff_t count = last - row < step ? last - row : step;
        const REAL *w = (const REAL *)all_w + row * m, *h = (const REAL *)all_h + row * m;
        REAL *area = (REAL *)areas + row * m * m;
        if (m > SMALL)
            NAME(brownian_area_of_row)(&stream, &noise, m, w, h, area);
        else if (foster)
            NAME(brownian_area_of_rows)(&stream, &noise, 1, m, count, w, h, area);
        else
            NAME(brownian_area_of_rows)(&stream, &noise, 0, m, count, w, h, area);
    }
}
#undef SMALL
#undef CHUNK
#undef ROOT
#undef SLOT
