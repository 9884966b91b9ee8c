/* The finite differences on one block of the grid, and their adjoint.
 *
 * A strip is a few fine rows of the block; it is swept from left to right, its cells in each column
 * from top to bottom, with the state of all rows in registers.  The processor finds out that a row
 * may be ahead of the one below.  For k' of a cell, from k to the left, above, and on the diagonal
 * between them, the equation is
 *     k' = left + up - diagonal + a (left + up) + b diagonal,    a = t (t + sqrt 3),    b = t^2.
 * What is carried along a row is its slope, left - diagonal:
 *     slope' = slope + a (diagonal + up + slope) + b diagonal,    k' = up + slope'.
 * So the roundings of what is large, k, do not add up along the rows.  Backwards, a cell with the
 * gradient g of its k' hands a g to the left and upwards, and b g along the diagonal; and again the
 * slope is carried, which is g less the g of the cell below.
 */

#define STRIP 4

/* A strip of `rows` fine rows, 2^share of them with the same t.  t: [rows >> share][stride];
 * columns: coarse ones, of `repeat` fine ones each (1 unless `refined`).  above: from the corner
 * of the strip on, of which `corner` is the value.  below: what comes next to it on the right,
 * for the lowest row, or with `keep` for all rows, `keep` apart.  slopes: [rows], on the left; become
 * those on the right.  Returns the corner of the next strip. */
ALWAYS_INLINE VEC NAME(sweep_strip)(int rows, int share, int refined, const VEC *t,
                                    ptrdiff_t stride, ptrdiff_t columns, ptrdiff_t repeat,
                                    const VEC *above, VEC corner, VEC *below, ptrdiff_t keep,
                                    VEC *slopes) {
    VEC value[STRIP], slope[STRIP], a[STRIP], b[STRIP];
    for (int r = 0; r < rows; r++) {
        slope[r] = slopes[r];
        value[r] = (r ? value[r - 1] : corner) + slope[r];
    }
    const VEC next = value[rows - 1];
    for (ptrdiff_t j = 0; j < columns; j++) {
        for (int i = 0; i < rows >> share; i++) {
            const VEC step = t[i * stride + j];
            a[i] = step * (step + ROOT_3);
            b[i] = step * step;
        }
        for (ptrdiff_t f = 0; f < (refined ? repeat : 1); f++) {
            VEC up = *++above, diagonal = corner;
            corner = up;
            for (int r = 0; r < rows; r++) {
                const VEC beside = (diagonal + up) + slope[r];
                slope[r] = (slope[r] + b[r >> share] * diagonal) + a[r >> share] * beside;
                diagonal = value[r];
                up = value[r] = up + slope[r];
                if (keep) below[r * keep] = up;
            }
            if (!keep) *below = up;
            below++;
        }
    }
    for (int r = 0; r < rows; r++) slopes[r] = slope[r];
    return next;
}

/* One step of a skewed strip: the rows from `first` up to `end`, each a column behind the row above
 * it.  t: of row 0.  up: what the next row has had above it; becomes the same of the next step. */
ALWAYS_INLINE void NAME(skewed_step)(int first, int end, const VEC *t, ptrdiff_t stride, VEC above,
                                     VEC *below, ptrdiff_t keep, VEC *value, VEC *slope,
                                     VEC *diagonal) {
    VEC up[STRIP];
    for (int r = first; r < end; r++) up[r] = r ? value[r - 1] : above;
    for (int r = first; r < end; r++) {
        const VEC step = t[r * (stride - 1)];
        const VEC a = step * (step + ROOT_3), b = step * step;
        const VEC beside = (diagonal[r] + up[r]) + slope[r];
        slope[r] = (slope[r] + b * diagonal[r]) + a * beside;
        diagonal[r] = up[r];
        value[r] = up[r] + slope[r];
        if (keep)
            below[r * (keep - 1)] = value[r];
        else if (r == STRIP - 1)
            below[-r] = value[r];
    }
}

ALWAYS_INLINE VEC NAME(sweep_skewed)(const VEC *t, ptrdiff_t stride, ptrdiff_t columns,
                                     const VEC *above, VEC corner, VEC *below, ptrdiff_t keep,
                                     VEC *slopes) {
    VEC value[STRIP], slope[STRIP], diagonal[STRIP];
    for (int r = 0; r < STRIP; r++) {
        slope[r] = slopes[r];
        diagonal[r] = r ? value[r - 1] : corner;
        value[r] = diagonal[r] + slope[r];
    }
    const VEC next = value[STRIP - 1];
    for (int s = 0; s < STRIP - 1; s++)
        NAME(skewed_step)(0, s + 1, t + s, stride, above[s + 1], below + s, keep, value, slope,
                          diagonal);
    for (ptrdiff_t s = STRIP - 1; s < columns; s++)
        NAME(skewed_step)(0, STRIP, t + s, stride, above[s + 1], below + s, keep, value, slope,
                          diagonal);
    for (int s = 0; s < STRIP - 1; s++)
        NAME(skewed_step)(s + 1, STRIP, t + columns + s, stride, corner, below + columns + s, keep,
                          value, slope, diagonal);
    for (int r = 0; r < STRIP; r++) slopes[r] = slope[r];
    return next;
}

/* The adjoint, carried from block to block: what the cells of the row below, or of the column to
 * the right, hand on. */
typedef struct {
    VEC *below, *below_a, *below_b; /* [fine columns + 1]: g, a g and b g */
    VEC *slope, *right_a, *right_b; /* [rows of a block]: g less that below, a g and b g */
} NAME(adjoint);

/* The adjoint of a strip, from right to left and from bottom to top.  k: where the strip's corner is
 * in the kept block, `width` apart from row to row.  from: of the block, in its first column and of
 * the strip's first row; `corner` is b g of the cell below and to the right of the strip.
 * t_gradient: like t; added to if `refined`. */
ALWAYS_INLINE void NAME(unsweep_strip)(int rows, int share, int refined, const VEC *t,
                                       VEC *t_gradient, ptrdiff_t stride, ptrdiff_t columns,
                                       ptrdiff_t repeat, const VEC *k, ptrdiff_t width,
                                       const NAME(adjoint) *from, VEC corner) {
    VEC slope[STRIP], right_a[STRIP], right_b[STRIP], a[STRIP], b[STRIP];
    for (int r = 0; r < rows; r++) {
        slope[r] = from->slope[r];
        right_a[r] = from->right_a[r];
        right_b[r] = from->right_b[r];
    }
    for (ptrdiff_t j = columns - 1; j >= 0; j--) {
        VEC sums[STRIP], totals[STRIP];
        for (int i = 0; i < rows >> share; i++) {
            const VEC step = t[i * stride + j];
            a[i] = step * (step + ROOT_3);
            b[i] = step * step;
            sums[i] = totals[i] = (VEC){0};
        }
        for (ptrdiff_t f = repeat - 1; f >= 0; f--) {
            const ptrdiff_t column = refined ? j * repeat + f : j;
            VEC g = from->below[column], below_a = from->below_a[column], below_b = corner;
            corner = from->below_b[column];
            for (int r = rows - 1; r >= 0; r--) {
                const VEC *const cell = k + r * width + column;
                const VEC sum = cell[width] + cell[1], total = sum + cell[0];
                const int i = r >> share;
                slope[r] += (below_a + right_a[r]) + below_b;
                g += slope[r];
                below_a = right_a[r] = a[i] * g;
                below_b = right_b[r];
                right_b[r] = b[i] * g;
                if (refined) {
                    sums[i] += g * sum;
                    totals[i] += g * total;
                } else {
                    const VEC step = t[i * stride + j];
                    t_gradient[i * stride + j] = g * (ROOT_3 * sum + (step + step) * total);
                }
            }
            from->below[column] = g;
            from->below_a[column] = below_a;
            from->below_b[column] = right_b[0];
        }
        for (int i = 0; refined && i < rows >> share; i++) {
            const VEC step = t[i * stride + j];
            t_gradient[i * stride + j] += ROOT_3 * sums[i] + (step + step) * totals[i];
        }
    }
    for (int r = 0; r < rows; r++) {
        from->slope[r] = slope[r];
        from->right_a[r] = right_a[r];
        from->right_b[r] = right_b[r];
    }
}

/* Where a block is, in fine and in coarse cells, and how many it has. */
typedef struct {
    ptrdiff_t row, column, rows, columns;
    ptrdiff_t coarse_row, coarse_column, coarse_rows, coarse_columns;
    int x_order, y_order;
    ptrdiff_t repeat; /* fine columns of a coarse one, as far as they are in the block */
    ptrdiff_t stride; /* of t */
} NAME(block);

#define SWEEP(rows, share, refined)                                                        \
    NAME(sweep_strip)(rows, share, refined, strip_t, block->stride, block->coarse_columns, \
                      block->repeat, above, corner, above + keep + 1, keep, left + 1 + r)

/* All strips of a block.  above: [columns + 1], from the block's corner on; left: [rows + 1], the
 * value at the corner, and the slopes of the rows.  left becomes what is on the right.  With
 * keep == 0, `above` becomes the lowest row but for its first number; else it is the first row of
 * the kept block, `keep` apart from the next. */
static void NAME(sweep_block)(const NAME(block) *block, const VEC *t, VEC *above, ptrdiff_t keep,
                              VEC *left) {
    const int refined = block->x_order || block->y_order;
    VEC corner = left[0];
    left[0] = above[block->columns];
    for (ptrdiff_t r = 0, rows; r < block->rows; r += rows) {
        const VEC *strip_t = t + (r >> block->x_order) * block->stride;
        rows = block->rows - r >= STRIP ? STRIP : 1;
        if (rows == 1 && refined)
            corner = SWEEP(1, 0, 1);
        else if (rows == 1)
            corner = SWEEP(1, 0, 0);
        else if (!refined && block->columns >= STRIP)
            corner = NAME(sweep_skewed)(strip_t, block->stride, block->columns, above, corner,
                                        above + keep + 1, keep, left + 1 + r);
        else if (!refined)
            corner = SWEEP(STRIP, 0, 0);
        else if (block->x_order == 0)
            corner = SWEEP(STRIP, 0, 1);
        else if (block->x_order == 1)
            corner = SWEEP(STRIP, 1, 1);
        else
            corner = SWEEP(STRIP, 2, 1);
        above += rows * keep;
    }
}

#undef SWEEP

#define UNSWEEP(rows, share, refined)                                                             \
    NAME(unsweep_strip)(rows, share, refined, strip_t, t_gradient + (strip_t - t), block->stride, \
                        block->coarse_columns, block->repeat, k + r * width, width, &strip,       \
                        corner)

/* The adjoint of sweep_block; adjoint: in the block's first column; corner: b g of the cell below
 * and to the right of the block. */
static void NAME(unsweep_block)(const NAME(block) *block, const VEC *t, VEC *t_gradient,
                                const VEC *k, ptrdiff_t width, const NAME(adjoint) *adjoint,
                                VEC corner) {
    const int refined = block->x_order || block->y_order;
    if (refined) memset(t_gradient, 0, sizeof *t * (size_t)(block->coarse_rows * block->stride));
    for (ptrdiff_t r = block->rows, rows; r > 0;) {
        rows = r % STRIP ? 1 : STRIP;
        r -= rows;
        const VEC *strip_t = t + (r >> block->x_order) * block->stride;
        const VEC next = adjoint->right_b[r];
        NAME(adjoint) strip = *adjoint;
        strip.slope += r;
        strip.right_a += r;
        strip.right_b += r;
        if (rows == 1 && refined)
            UNSWEEP(1, 0, 1);
        else if (rows == 1)
            UNSWEEP(1, 0, 0);
        else if (!refined)
            UNSWEEP(STRIP, 0, 0);
        else if (block->x_order == 0)
            UNSWEEP(STRIP, 0, 1);
        else if (block->x_order == 1)
            UNSWEEP(STRIP, 1, 1);
        else
            UNSWEEP(STRIP, 2, 1);
        corner = next;
    }
}

#undef UNSWEEP
#undef STRIP
