/* Updates of a range of rows, for one type and instruction set: updates.h. */

#ifndef SIMD_TOGETHER
#include "sde/vectors_template.h"
#endif

#if REAL_BYTES == 8
#define UPDATE_NOISE update_noise_double
#else
#define UPDATE_NOISE update_noise_float
#endif

static inline int NAME(updates_is_linear)(const update_polynomial *p) {
    return p->power[0] == 0 && p->power[2] == 0 && p->power[3] == 0 && p->area == 0;
}

/* `count` numbers of the vector v of a product, from number `first` on. */
ALWAYS_INLINE void NAME(updates_vector)(const update_product *product, ptrdiff_t first,
                                        ptrdiff_t count, REAL *restrict v) {
    const update_polynomial p = product->of_noise;
    const REAL *w = (const REAL *)product->w + first;
    if (NAME(updates_is_linear)(&p)) {
        const REAL weight = (REAL)p.power[1];
        for (ptrdiff_t i = 0; i < count; i++) v[i] = weight * w[i];
    } else if (p.area == 0) {
        for (ptrdiff_t i = 0; i < count; i++) v[i] = UPDATE_NOISE(&p, w[i], 0);
    } else {
        const REAL *area = (const REAL *)product->area + first;
        for (ptrdiff_t i = 0; i < count; i++) v[i] = UPDATE_NOISE(&p, w[i], area[i]);
    }
}

/* sums += x v, of `count` numbers from number `first` on. */
ALWAYS_INLINE void NAME(updates_add_diagonal)(const update_product *product, ptrdiff_t first,
                                              ptrdiff_t count, const REAL *restrict x,
                                              REAL *restrict sums) {
    REAL v[UPDATES_CHUNK];
    if (NAME(updates_is_linear)(&product->of_noise)) {
        const REAL *w = (const REAL *)product->w + first;
        const REAL weight = (REAL)product->of_noise.power[1];
        for (ptrdiff_t i = 0; i < count; i++) sums[i] += x[i] * (weight * w[i]);
    } else {
        NAME(updates_vector)(product, first, count, v);
        NAME(vectors_add_product)(count, x, v, sums);
    }
}

/* out = the sum of weight x, of `count` numbers from number `first` on. */
ALWAYS_INLINE void NAME(updates_weighted)(const update_terms *terms, ptrdiff_t first,
                                          ptrdiff_t count, REAL *restrict out) {
    const REAL *x = (const REAL *)terms->array[0] + first;
    const REAL weight = (REAL)terms->weight[0];
    if (terms->arrays == 0) {
        memset(out, 0, (size_t)count * sizeof(REAL));
    } else if (terms->arrays == 1) {
        for (ptrdiff_t i = 0; i < count; i++) out[i] = weight * x[i];
    } else {
        const REAL *y = (const REAL *)terms->array[1] + first, other = (REAL)terms->weight[1];
        for (ptrdiff_t i = 0; i < count; i++) out[i] = weight * x[i] + other * y[i];
    }
    for (int k = 2; k < terms->arrays; k++)
        NAME(vectors_add)(count, (REAL)terms->weight[k], (const REAL *)terms->array[k] + first,
                          out);
}

/* out += g v, for `rows` rows from number `first` on. */
ALWAYS_INLINE void NAME(updates_add_product)(const update_sizes *sizes,
                                             const update_product *product, ptrdiff_t first,
                                             ptrdiff_t rows, REAL *restrict out) {
    const ptrdiff_t channels = sizes->channels, m = sizes->m;
    const REAL *g = (const REAL *)product->array + first * channels * m;
    REAL v[UPDATES_CHUNK];
    if (channels == 1 && m == 1) {
        NAME(updates_add_diagonal)(product, first, rows, g, out);
        return;
    }
    for (ptrdiff_t row = first; row < first + rows; row++) {
        for (ptrdiff_t begin = 0; begin < m; begin += UPDATES_CHUNK) {
            const ptrdiff_t count = m - begin < UPDATES_CHUNK ? m - begin : UPDATES_CHUNK;
            NAME(updates_vector)(product, row * m + begin, count, v);
            if (m == 1) {
                NAME(vectors_add)(channels, v[0], g, out);
                break;
            }
            NAME(vectors_add_matrix)(channels, count, m, g + begin, v, out);
        }
        g += channels * m;
        out += channels;
    }
}

static void NAME(updates_sum)(const update_sizes *sizes, const update_terms *terms, ptrdiff_t first,
                              ptrdiff_t last, void *result) {
    const ptrdiff_t channels = sizes->channels;
    const ptrdiff_t group = channels < UPDATES_CHUNK ? UPDATES_CHUNK / channels : 1;
    for (ptrdiff_t row = first; row < last; row += group) {
        const ptrdiff_t rows = last - row < group ? last - row : group;
        REAL *out = (REAL *)result + row * channels;
        NAME(updates_weighted)(terms, row * channels, rows * channels, out);
        for (int k = 0; k < terms->products; k++)
            NAME(updates_add_product)(sizes, &terms->product[k], row, rows, out);
    }
}

static inline void NAME(updates_outer)(const update_sizes *sizes, const update_terms *terms,
                                       ptrdiff_t first, ptrdiff_t last, void *result) {
    const ptrdiff_t channels = sizes->channels, m = sizes->m, size = channels * m;
    const ptrdiff_t group = size == 1 ? UPDATES_CHUNK : 1;
    REAL v[UPDATES_CHUNK];
    for (ptrdiff_t row = first; row < last; row += group) {
        const ptrdiff_t rows = last - row < group ? last - row : group;
        REAL *out = (REAL *)result + row * size;
        memset(out, 0, (size_t)(rows * size) * sizeof(REAL));
        for (int k = 0; k < terms->products; k++) {
            const update_product *product = &terms->product[k];
            const REAL *u = (const REAL *)product->array + row * channels;
            if (size == 1) {
                NAME(updates_add_diagonal)(product, row, rows, u, out);
                continue;
            }
            for (ptrdiff_t begin = 0; begin < m; begin += UPDATES_CHUNK) {
                const ptrdiff_t count = m - begin < UPDATES_CHUNK ? m - begin : UPDATES_CHUNK;
                NAME(updates_vector)(product, row * m + begin, count, v);
                if (m == 1) {
                    NAME(vectors_add)(channels, v[0], u, out);
                    break;
                }
                NAME(vectors_add_outer)(channels, count, m, u, v, out + begin);
            }
        }
    }
}

static inline void NAME(updates_inner)(const update_sizes *sizes, const update_terms *terms,
                                       ptrdiff_t first, ptrdiff_t last, void *result) {
    const ptrdiff_t channels = sizes->channels, m = sizes->m, size = channels * m;
    const ptrdiff_t group = size == 1 ? UPDATES_CHUNK : 1;
    REAL v[UPDATES_CHUNK], sums[UPDATES_CHUNK];
    for (ptrdiff_t row = first; row < last; row += group) {
        const ptrdiff_t rows = last - row < group ? last - row : group;
        REAL *out = (REAL *)result + row * m;
        memset(out, 0, (size_t)(rows * m) * sizeof(REAL));
        for (int k = 0; k < terms->products; k++) {
            const update_product *product = &terms->product[k];
            const REAL *g = (const REAL *)product->array + row * size;
            const REAL *u = (const REAL *)product->other + row * channels;
            if (size == 1) {
                NAME(updates_vector)(product, row, rows, v);
                for (ptrdiff_t i = 0; i < rows; i++) out[i] += v[i] * (g[i] * u[i]);
                continue;
            }
            for (ptrdiff_t begin = 0; begin < m; begin += UPDATES_CHUNK) {
                const ptrdiff_t count = m - begin < UPDATES_CHUNK ? m - begin : UPDATES_CHUNK;
                NAME(updates_vector)(product, row * m + begin, count, v);
                if (m == 1) {
                    out[0] += v[0] * NAME(vectors_dot)(channels, g, u);
                    break;
                }
                memset(sums, 0, (size_t)count * sizeof(REAL));
                NAME(vectors_add_transposed)(channels, count, m, g + begin, u, sums);
                NAME(vectors_add_product)(count, sums, v, out + begin);
            }
        }
    }
}
#undef UPDATE_NOISE
