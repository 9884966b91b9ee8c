/* Several rows.  Short ones are done from beginning to end; a long one is prepared here, sorted by
 * the caller, and finished here. */

#define SHORT_ROWS SIMD_CONCATENATE(sort_short_rows, double, SIMD_LEVEL_NAME)
#define KEY_LANES (VECTOR_BYTES / 8)

/* Where the permutation of a row goes. */
static int32_t *NAME(soft_order_row)(const soft_problem *problem, ptrdiff_t row,
                                     const soft_workspace *workspace) {
    return problem->order ? problem->order + row * problem->n : workspace->order;
}

/* Where a row's sorted entries go: a soft sort overwrites them with its values. */
static REAL *NAME(soft_sorted_row)(const soft_problem *problem, ptrdiff_t row,
                                   const soft_workspace *workspace) {
    if (problem->kind == SOFT_RANK_L2 || problem->kind == SOFT_RANK_KL)
        return (REAL *)workspace->sorted;
    return (REAL *)problem->value + row * problem->n;
}

/* A row that is in order already. */
static int NAME(soft_finish_ordered)(const soft_problem *problem, ptrdiff_t row, int known,
                                     const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    const REAL *x = (const REAL *)problem->x + row * n;
    int32_t *order = NAME(soft_order_row)(problem, row, workspace);
    REAL *sorted = NAME(soft_sorted_row)(problem, row, workspace);
    const REAL sign = problem->sign;
    if (known == SOFT_ASCENDING) {
        for (ptrdiff_t i = 0; i < n; i++) order[i] = (int32_t)i;
        for (ptrdiff_t i = 0; i < n; i++) sorted[i] = sign * x[i];
    } else {
        for (ptrdiff_t i = 0; i < n; i++) order[i] = (int32_t)(n - 1 - i);
        for (ptrdiff_t i = 0; i < n; i++) sorted[i] = sign * x[n - 1 - i];
    }
    return NAME(soft_finish_row)(problem, row, order, sorted, workspace->keys);
}

/* Entries first ... end of a row that stands in sorted keys: the permutation and the entries. */
static void NAME(soft_take_part)(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                                 ptrdiff_t end, const double *keys,
                                 const soft_workspace *workspace) {
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    NAME(soft_take_keys)(keys + first, end - first, x, problem->sign, soft_index_mask(problem->n),
                         NAME(soft_order_row)(problem, row, workspace) + first,
                         NAME(soft_sorted_row)(problem, row, workspace) + first);
}

/* A row whose entries have been taken from the keys, which are overwritten. */
static int NAME(soft_finish_taken)(const soft_problem *problem, ptrdiff_t row, double *keys,
                                   const soft_workspace *workspace) {
    int32_t *order = NAME(soft_order_row)(problem, row, workspace);
    REAL *sorted = NAME(soft_sorted_row)(problem, row, workspace);
#if REAL_BYTES == 8
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    NAME(soft_refine)(problem->n, x, problem->sign, soft_index_mask(problem->n), keys, order,
                      sorted);
#endif
    return NAME(soft_finish_row)(problem, row, order, sorted, keys);
}

/* A row that stands in sorted keys. */
static int NAME(soft_finish_keys)(const soft_problem *problem, ptrdiff_t row, double *keys,
                                  const soft_workspace *workspace) {
    NAME(soft_take_part)(problem, row, 0, problem->n, keys, workspace);
    return NAME(soft_finish_taken)(problem, row, keys, workspace);
}

/* Does what needs no sorting.  Returns a status, or -1 if the row has to be sorted. */
static int NAME(soft_try_row)(const soft_problem *problem, ptrdiff_t row,
                              const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    const REAL *x = (const REAL *)problem->x + row * n;
    if (n == 1 && x[0] != x[0]) return SOFT_NAN;
    const int known = NAME(soft_order)(x, n, problem->sign);
    /* Bins are faster but for the shortest rows, as they need no permutation. */
    if (problem->kind == SOFT_RANK_L2 && (known == SOFT_UNSORTED || n > 64)) {
        REAL *value = (REAL *)problem->value + row * n;
        int32_t *blocks = problem->blocks ? problem->blocks + row * n : NULL;
        if (NAME(soft_rank_bins)(x, n, problem->sign, problem->strength, value, blocks, workspace))
            return SOFT_OK;
    }
    if (known == SOFT_UNSORTED) return -1;
    return NAME(soft_finish_ordered)(problem, row, known, workspace);
}

/* The same, and if the row has to be sorted its keys are made. */
static int NAME(soft_prepare_row)(const soft_problem *problem, ptrdiff_t row, double *keys,
                                  const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    const REAL *x = (const REAL *)problem->x + row * n;
    const int status = NAME(soft_try_row)(problem, row, workspace);
    if (status >= 0) return status;
    const uint64_t mask = soft_index_mask(n);
    return NAME(soft_make_keys)(x, 0, n, problem->sign, mask, keys) ? SOFT_NAN : -1;
}

/* The same for the values of a soft sort alone: not keys, but the row of values has to be sorted. */
static int NAME(soft_try_values)(const soft_problem *problem, ptrdiff_t row,
                                 const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    const REAL *x = (const REAL *)problem->x + row * n, sign = problem->sign;
    REAL *value = (REAL *)problem->value + row * n;
    const int known = NAME(soft_order)(x, n, problem->sign);
    if (known == SOFT_UNSORTED) return -1;
    if (known == SOFT_DESCENDING)
        for (ptrdiff_t i = 0; i < n; i++) value[i] = sign * x[n - 1 - i];
    else if (sign < 0)
        for (ptrdiff_t i = 0; i < n; i++) value[i] = -x[i];
    else
        memcpy(value, x, (size_t)n * sizeof *x);
    return NAME(soft_finish_row)(problem, row, NULL, value, workspace->keys);
}

static int NAME(soft_prepare_values)(const soft_problem *problem, ptrdiff_t row,
                                     const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n;
    const REAL *x = (const REAL *)problem->x + row * n, sign = problem->sign;
    REAL *value = (REAL *)problem->value + row * n;
    const int status = NAME(soft_try_values)(problem, row, workspace);
    if (status >= 0) return status;
    int nan = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        nan |= x[i] != x[i];
        value[i] = sign * x[i];
    }
    return nan ? SOFT_NAN : -1;
}

/* After the row has been sorted. */
static int NAME(soft_finish_values)(const soft_problem *problem, ptrdiff_t row,
                                    const soft_workspace *workspace) {
    REAL *value = (REAL *)problem->value + row * problem->n;
    return NAME(soft_finish_row)(problem, row, NULL, value, workspace->keys);
}

/* Short rows, from first to last. */
static int NAME(soft_short_rows)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                 const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, stride = (n + KEY_LANES - 1) / KEY_LANES * KEY_LANES;
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
        SHORT_ROWS(keys, n, stride, workspace->columns);
        for (int i = 0; i < waiting; i++) {
            status = NAME(soft_finish_keys)(problem, rows[i], keys + i * stride, workspace);
            if (status > SOFT_OK) return status;
        }
        waiting = 0;
    }
    return SOFT_OK;
}

static void NAME(soft_backward_rows)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                     const soft_workspace *workspace) {
    double *strength = problem->strength_gradient;
    for (ptrdiff_t row = first; row < last; row++) {
        if (problem->kind == SOFT_SORT_L2 || problem->kind == SOFT_SORT_KL) {
            NAME(soft_sort_backward)(problem, row);
            if (strength) strength[row] = NAME(soft_sort_strength)(problem, row);
            continue;
        }
        if (problem->kind == SOFT_RANK_L2)
            NAME(soft_rank_backward_l2)(problem, row, workspace);
        else
            NAME(soft_rank_backward_kl)(problem, row, workspace);
        if (strength) strength[row] = NAME(soft_rank_strength)(problem, row, workspace);
    }
}
