/* The two halves of the adjoint of the product of two rows, in working memory, where each level has a
 * vector of padding behind it. */

static void NAME(read_row)(const product_layout *layout, REAL *to, const REAL *from) {
    for (ptrdiff_t k = 1; k <= layout->depth; k++) {
        REAL *level = to + layout->offset[k];
        const ptrdiff_t count = layout->power[k];
        ptrdiff_t w = 0;
        for (; w + LANES <= count; w += LANES) NAME(store)(level + w, NAME(load)(from + w));
        for (; w < count; w++) level[w] = from[w];
        NAME(store)(level + count, (VEC){0});
        from += count;
    }
}

static void NAME(write_row)(const product_layout *layout, REAL *to, const REAL *from, int add) {
    for (ptrdiff_t k = 1; k <= layout->depth; k++) {
        const REAL *level = from + layout->offset[k];
        const ptrdiff_t count = layout->power[k];
        ptrdiff_t w = 0;
        for (; w + LANES <= count; w += LANES) {
            VEC words = NAME(load)(level + w);
            NAME(store)(to + w, add ? words + NAME(load)(to + w) : words);
        }
        for (; w < count; w++) to[w] = add ? to[w] + level[w] : level[w];
        to += count;
    }
}

/* sum[q] += sum over the words w of length i of a(w) grad(w v), for the q-th LANES words v. */
ALWAYS_INLINE void NAME(contract_heads)(const REAL *a, const REAL *grad, ptrdiff_t heads,
                                        ptrdiff_t stride, VEC *sum, const ptrdiff_t vectors) {
    for (ptrdiff_t w = 0; w < heads; w++, grad += stride) {
        const VEC head = a[w] + (VEC){0};
        for (ptrdiff_t q = 0; q < vectors; q++) sum[q] += head * NAME(load)(grad + q * LANES);
    }
}

/* The same for one vector, in four sums: each would have to wait for itself. */
ALWAYS_INLINE void NAME(contract_short)(const REAL *a, const REAL *grad, ptrdiff_t heads,
                                        ptrdiff_t stride, VEC *sum) {
    VEC part[4] = {*sum, {0}, {0}, {0}};
    ptrdiff_t w = 0;
    for (; w + 4 <= heads; w += 4, grad += 4 * stride)
        for (ptrdiff_t q = 0; q < 4; q++) part[q] += a[w + q] * NAME(load)(grad + q * stride);
    for (; w < heads; w++, grad += stride) part[0] += a[w] * NAME(load)(grad);
    *sum = (part[0] + part[1]) + (part[2] + part[3]);
}

/* result(v) <- grad(v) + sum over w of a(w) grad(w v): the gradient of <grad, a (x) b> in b. */
static inline void NAME(contract_left)(const product_layout *layout, REAL *restrict result,
                                       const REAL *grad, const REAL *a) {
    const ptrdiff_t *offset = layout->offset;
    for (ptrdiff_t j = 1; j <= layout->depth; j++) {
        const ptrdiff_t n = layout->power[j], longest = layout->depth - j;
        ptrdiff_t v = 0;
        for (; v + 3 * LANES < n; v += 4 * LANES) {
            VEC sum[4];
            for (ptrdiff_t q = 0; q < 4; q++) sum[q] = NAME(load)(grad + offset[j] + v + q * LANES);
            for (ptrdiff_t i = 1; i <= longest; i++)
                NAME(contract_heads)(a + offset[i], grad + offset[i + j] + v, layout->power[i], n,
                                     sum, 4);
            for (ptrdiff_t q = 0; q < 4; q++)
                NAME(store)(result + offset[j] + v + q * LANES, sum[q]);
        }
        for (; v < n; v += LANES) {
            VEC sum = NAME(load)(grad + offset[j] + v);
            for (ptrdiff_t i = 1; i <= longest; i++)
                NAME(contract_short)(a + offset[i], grad + offset[i + j] + v, layout->power[i], n,
                                     &sum);
            NAME(store)(result + offset[j] + v, sum);
        }
    }
}

/* The sums over v of grad(w v) b(v) for the `lanes` words from w on, as the lanes of a vector; the
 * others repeat the last one. */
ALWAYS_INLINE VEC NAME(contract_tails)(const product_layout *layout, const REAL *grad,
                                       const REAL *b, ptrdiff_t i, ptrdiff_t w, ptrdiff_t lanes) {
    VEC sum[LANES];
    for (ptrdiff_t l = 0; l < LANES; l++) sum[l] = (VEC){0};
    for (ptrdiff_t j = 1; j <= layout->depth - i; j++) {
        const ptrdiff_t n = layout->power[j];
        const REAL *word = grad + layout->offset[i + j] + w * n, *row[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) row[l] = word + (l < lanes ? l : lanes - 1) * n;
        for (ptrdiff_t v = 0; v < n; v += LANES) {
            const VEC tail = NAME(load)(b + layout->offset[j] + v);
            for (ptrdiff_t l = 0; l < LANES; l++) sum[l] += NAME(load)(row[l] + v) * tail;
        }
    }
    NAME(transpose)(sum);
    VEC total = sum[0];
    for (ptrdiff_t l = 1; l < LANES; l++) total += sum[l];
    return total;
}

/* result(w) <- grad(w) + sum over v of grad(w v) b(v): the gradient of <grad, a (x) b> in a.  The
 * padding of b is zero. */
static void NAME(contract_right)(const product_layout *layout, REAL *restrict result,
                                 const REAL *grad, const REAL *b) {
    const ptrdiff_t longest = layout->offset[layout->depth];
    memcpy(result + longest, grad + longest, (size_t)(layout->size - longest) * sizeof(REAL));
    for (ptrdiff_t i = 1; i < layout->depth; i++) {
        const ptrdiff_t count = layout->power[i];
        const REAL *own = grad + layout->offset[i];
        REAL *words = result + layout->offset[i];
        ptrdiff_t w = 0;
        for (; w + LANES <= count; w += LANES)
            NAME(store)(words + w,
                        NAME(load)(own + w) + NAME(contract_tails)(layout, grad, b, i, w, LANES));
        if (w < count)
            NAME(store)(words + w, NAME(load)(own + w) +
                                       NAME(contract_tails)(layout, grad, b, i, w, count - w));
    }
}
