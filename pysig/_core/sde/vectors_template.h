/* Rows of numbers, for one type and instruction set. */

/* The sum of a b. */
ALWAYS_INLINE REAL NAME(vectors_dot)(ptrdiff_t count, const REAL *a, const REAL *b) {
    NAME(vector) sums = {0};
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) sums += NAME(load)(a + i) * NAME(load)(b + i);
    REAL sum = 0;
    for (; i < count; i++) sum += a[i] * b[i];
    for (int lane = 0; lane < LANES; lane++) sum += sums[lane];
    return sum;
}

/* sums += factor * x */
ALWAYS_INLINE void NAME(vectors_add)(ptrdiff_t count, REAL factor, const REAL *restrict x,
                                     REAL *restrict sums) {
    for (ptrdiff_t i = 0; i < count; i++) sums[i] += factor * x[i];
}

/* sums += a * b */
ALWAYS_INLINE void NAME(vectors_add_product)(ptrdiff_t count, const REAL *restrict a,
                                             const REAL *restrict b, REAL *restrict sums) {
    for (ptrdiff_t i = 0; i < count; i++) sums[i] += a[i] * b[i];
}

/* sums += matrix * x, and matrix += u x^T, for rows of a constant number of neighbours. */
ALWAYS_INLINE void NAME(vectors_add_narrow_matrix)(ptrdiff_t rows, const int count,
                                                   const REAL *restrict matrix,
                                                   const REAL *restrict x, REAL *restrict sums) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        REAL sum = matrix[row * count] * x[0];
        for (int i = 1; i < count; i++) sum += matrix[row * count + i] * x[i];
        sums[row] += sum;
    }
}

ALWAYS_INLINE void NAME(vectors_add_narrow_outer)(ptrdiff_t rows, const int count,
                                                  const REAL *restrict u, const REAL *restrict x,
                                                  REAL *restrict matrix) {
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int i = 0; i < count; i++) matrix[row * count + i] += u[row] * x[i];
}

/* sums += matrix * x, for a matrix of `rows` rows of `count` numbers, `stride` apart. */
ALWAYS_INLINE void NAME(vectors_add_matrix)(ptrdiff_t rows, ptrdiff_t count, ptrdiff_t stride,
                                            const REAL *restrict matrix, const REAL *restrict x,
                                            REAL *restrict sums) {
    ptrdiff_t row = 0;
    if (stride == count) {
        switch (count) {
            case 2: NAME(vectors_add_narrow_matrix)(rows, 2, matrix, x, sums); return;
            case 3: NAME(vectors_add_narrow_matrix)(rows, 3, matrix, x, sums); return;
            case 4: NAME(vectors_add_narrow_matrix)(rows, 4, matrix, x, sums); return;
#if LANES > 8
            case 8: NAME(vectors_add_narrow_matrix)(rows, 8, matrix, x, sums); return;
#endif
        }
    }
    /* Most rows are short: LANES of them are added up together. */
    for (; count >= LANES && row + LANES <= rows; row += LANES) {
        const REAL *block = matrix + row * stride;
        NAME(vector) parts[LANES];
        for (int j = 0; j < LANES; j++) parts[j] = NAME(load)(block + j * stride) * NAME(load)(x);
        ptrdiff_t i = LANES;
        for (; i + LANES <= count; i += LANES)
            for (int j = 0; j < LANES; j++)
                parts[j] += NAME(load)(block + j * stride + i) * NAME(load)(x + i);
        NAME(store)(sums + row, NAME(load)(sums + row) + NAME(sums_of_rows)(parts));
        for (; i < count; i++)
            for (int j = 0; j < LANES; j++) sums[row + j] += block[j * stride + i] * x[i];
    }
    for (; row + 4 <= rows; row += 4) {
        const REAL *block = matrix + row * stride;
        REAL a = 0, b = 0, c = 0, d = 0;
        for (ptrdiff_t i = 0; i < count; i++) {
            a += block[i] * x[i];
            b += block[i + stride] * x[i];
            c += block[i + 2 * stride] * x[i];
            d += block[i + 3 * stride] * x[i];
        }
        sums[row] += a;
        sums[row + 1] += b;
        sums[row + 2] += c;
        sums[row + 3] += d;
    }
    for (; row < rows; row++) sums[row] += NAME(vectors_dot)(count, matrix + row * stride, x);
}

/* sums += x * matrix, of the same kind. */
ALWAYS_INLINE void NAME(vectors_add_transposed)(ptrdiff_t rows, ptrdiff_t count, ptrdiff_t stride,
                                                const REAL *restrict matrix, const REAL *restrict x,
                                                REAL *restrict sums) {
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        NAME(vector) even = {0}, odd = {0};
        ptrdiff_t row = 0;
        for (; row + 2 <= rows; row += 2) {
            even += x[row] * NAME(load)(matrix + row * stride + i);
            odd += x[row + 1] * NAME(load)(matrix + (row + 1) * stride + i);
        }
        if (row < rows) even += x[row] * NAME(load)(matrix + row * stride + i);
        NAME(store)(sums + i, NAME(load)(sums + i) + (even + odd));
    }
    for (; i < count; i++) {
        REAL even = 0, odd = 0;
        ptrdiff_t row = 0;
        for (; row + 2 <= rows; row += 2) {
            even += x[row] * matrix[row * stride + i];
            odd += x[row + 1] * matrix[(row + 1) * stride + i];
        }
        if (row < rows) even += x[row] * matrix[row * stride + i];
        sums[i] += even + odd;
    }
}

/* matrix += u x^T */
ALWAYS_INLINE void NAME(vectors_add_outer)(ptrdiff_t rows, ptrdiff_t count, ptrdiff_t stride,
                                           const REAL *restrict u, const REAL *restrict x,
                                           REAL *restrict matrix) {
    if (stride == count) {
        switch (count) {
            case 2: NAME(vectors_add_narrow_outer)(rows, 2, u, x, matrix); return;
            case 3: NAME(vectors_add_narrow_outer)(rows, 3, u, x, matrix); return;
            case 4: NAME(vectors_add_narrow_outer)(rows, 4, u, x, matrix); return;
#if LANES > 8
            case 8: NAME(vectors_add_narrow_outer)(rows, 8, u, x, matrix); return;
#endif
        }
    }
    for (ptrdiff_t row = 0; row < rows; row++)
        NAME(vectors_add)(count, u[row], x, matrix + row * stride);
}
