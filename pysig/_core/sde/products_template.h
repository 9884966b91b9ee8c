/* Products of matrices, for one type and instruction set:
 *
 *     write   out[i][j] = start[j] + sum over k of a[i][k] b[k][j]
 *     add     out[i][j] += sum over k of a[k][i] b[k][j]
 *
 * A tile of a few rows and one or two vectors of columns is summed up in registers.  For each k it
 * takes a number for each of its rows, and whole vectors of b: rows of b, and of an out that is
 * added to, have a multiple of LANES numbers, of which those beyond `columns` do not matter.
 */

#if REGISTERS >= 32
#define TALL 8
#else
#define TALL 4
#endif
#define WIDE 2

typedef struct {
    ptrdiff_t rows, columns, count;
    const REAL *a, *b;
    ptrdiff_t a_stride, b_stride, out_stride; /* between rows in memory */
    const REAL *bias, *times;                 /* start = bias + t times; NULL: zeros */
    REAL t, *out;
} NAME(product);

/* The first `count` numbers of a vector, fewer than LANES. */
ALWAYS_INLINE void NAME(products_store_part)(REAL *to, NAME(vector) value, ptrdiff_t count) {
    REAL numbers[LANES];
    ptrdiff_t i = 0;
    NAME(store)(numbers, value);
    for (int part = LANES / 2; part; part /= 2) {
        if (!(count & part)) continue;
        memcpy(to + i, numbers + i, (size_t)part * sizeof(REAL));
        i += part;
    }
}

ALWAYS_INLINE NAME(vector) NAME(products_start)(const NAME(product) *p, ptrdiff_t column) {
    NAME(vector) start = {0};
    if (p->bias) start = NAME(load)(p->bias + column);
    if (p->times) start += p->t * NAME(load)(p->times + column);
    return start;
}

/* One tile; height, width (in vectors) and adds are constants. */
ALWAYS_INLINE void NAME(products_tile)(const int height, const int width, const int adds,
                                       const NAME(product) *p, ptrdiff_t row, ptrdiff_t column) {
    NAME(vector) sums[TALL][WIDE], right[WIDE];
    const ptrdiff_t between = adds ? 1 : p->a_stride, step = adds ? p->a_stride : 1;
    const ptrdiff_t b_stride = p->b_stride, out_stride = p->out_stride;
    const REAL *a = p->a + row * between, *b = p->b + column;
    REAL *out = p->out + row * out_stride + column;
    for (int j = 0; j < width; j++) {
        const NAME(vector) start = NAME(products_start)(p, column + j * LANES);
        for (int i = 0; i < height; i++) sums[i][j] = start;
    }
    for (ptrdiff_t k = 0; k < p->count; k++) {
        for (int j = 0; j < width; j++) right[j] = NAME(in_register)(NAME(load)(b + j * LANES));
        for (int i = 0; i < height; i++) {
            const NAME(vector) left = NAME(in_register)(a[i * between] - (NAME(vector)){0});
            for (int j = 0; j < width; j++) sums[i][j] += left * right[j];
        }
        a += step;
        b += b_stride;
    }
    for (int j = 0; j < width; j++) {
        const ptrdiff_t left = p->columns - column - j * LANES;
        for (int i = 0; i < height; i++) {
            REAL *to = out + i * out_stride + j * LANES;
            if (adds)
                NAME(store)(to, NAME(load)(to) + sums[i][j]);
            else if (left >= LANES)
                NAME(store)(to, sums[i][j]);
            else
                NAME(products_store_part)(to, sums[i][j], left);
        }
    }
}

/* All rows of one or two vectors of columns. */
ALWAYS_INLINE void NAME(products_columns)(const int width, const int adds, const NAME(product) *p,
                                          ptrdiff_t column) {
    ptrdiff_t row = 0;
    for (; row + TALL <= p->rows; row += TALL)
        NAME(products_tile)(TALL, width, adds, p, row, column);
    if (TALL > 4 && (p->rows & 4)) {
        NAME(products_tile)(4, width, adds, p, row, column);
        row += 4;
    }
    if (p->rows & 2) {
        NAME(products_tile)(2, width, adds, p, row, column);
        row += 2;
    }
    if (p->rows & 1) NAME(products_tile)(1, width, adds, p, row, column);
}

ALWAYS_INLINE void NAME(products_run)(const int adds, const NAME(product) *p) {
    ptrdiff_t column = 0;
    for (; column + LANES < p->columns; column += WIDE * LANES)
        NAME(products_columns)(WIDE, adds, p, column);
    if (column < p->columns) NAME(products_columns)(1, adds, p, column);
}

/* out: [rows][columns], is written. */
static void NAME(products_write)(const NAME(product) *p) {
    NAME(products_run)(0, p);
}

/* out: [rows][columns and more], is added to. */
static void NAME(products_add)(const NAME(product) *p) {
    NAME(products_run)(1, p);
}

#undef TALL
#undef WIDE
