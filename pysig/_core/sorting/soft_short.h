/* Short rows, from beginning to end.  Those that need it are sorted together, one in each lane. */

#define SHORT_ROWS SIMD_CONCATENATE(sort_short_rows, double, SIMD_LEVEL_NAME)
#define ONE_ROW SIMD_CONCATENATE(sort_one_row, double, SIMD_LEVEL_NAME)

/* How far apart the keys of short rows are. */
static ptrdiff_t NAME(soft_stride)(ptrdiff_t n) {
    return (n + KEY_LANES - 1) / KEY_LANES * KEY_LANES;
}

/* Sorts the keys of some rows, at most as many as there are lanes. */
static void NAME(soft_sort_keys)(double *keys, int rows, ptrdiff_t n,
                                 const soft_workspace *workspace) {
    if (rows == 1)
        ONE_ROW(keys, n, workspace->columns);
    else
        SHORT_ROWS(keys, n, NAME(soft_stride)(n), workspace->columns);
}

/* Short rows, from first to last, by their permutations. */
static int NAME(soft_order_short_rows)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                       const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, stride = NAME(soft_stride)(n);
    double *keys = workspace->keys + stride + KEY_LANES;
    ptrdiff_t rows[KEY_LANES];
    int waiting = 0, status;
    for (ptrdiff_t row = first; row < last || waiting;) {
        if (row < last) {
            status = NAME(soft_prepare_row)(problem, row, keys + waiting * stride, workspace);
            if (status > SOFT_OK) return status;
            if (status < 0) rows[waiting++] = row;
            row++;
        }
        if (!waiting || (row < last && waiting < KEY_LANES)) continue;
        NAME(soft_sort_keys)(keys, waiting, n, workspace);
        for (int i = 0; i < waiting; i++) {
            status = NAME(soft_finish_keys)(problem, rows[i], keys + i * stride, workspace);
            if (status > SOFT_OK) return status;
        }
        waiting = 0;
    }
    return SOFT_OK;
}

/* Short rows, from first to last. */
static int NAME(soft_short_rows)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                 const soft_workspace *workspace) {
    if (problem->kind != SOFT_RANK_KL)
        return NAME(soft_order_short_rows)(problem, first, last, workspace);
    const int together = SOFT_GROUPS * KEY_LANES;
    for (ptrdiff_t row = first; row < last; row += together) {
        const int count = last - row < together ? (int)(last - row) : together;
        const unsigned left = NAME(soft_rank_lanes)(problem, row, count);
        for (int i = 0; i < count; i++)
            if (left >> i & 1) {
                const int status =
                    NAME(soft_order_short_rows)(problem, row + i, row + i + 1, workspace);
                if (status > SOFT_OK) return status;
            }
    }
    return SOFT_OK;
}
