/* One row: it is prepared here, sorted by the caller, and finished here. */

static void NAME(soft_fill_tables)(const soft_problem *problem, soft_workspace *workspace) {
    const int length = problem->n < SOFT_STRIP ? (int)problem->n : SOFT_STRIP;
    double *geometric = workspace->geometric, *decay = workspace->decay;
    const double inverse = 1 / problem->strength;
    geometric[0] = 0;
    for (int m = 0; m <= length; m++) decay[m] = soft_exp(-m * inverse);
    for (int m = 0; m < length; m++) geometric[m + 1] = geometric[m] + decay[m];
}

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

typedef struct {
    const REAL *x;
    ptrdiff_t n;
    int sign, known;
    int32_t *order; /* or NULL */
    REAL *sorted;
} NAME(soft_ordered);

static void NAME(soft_copy_ordered)(void *context, ptrdiff_t chunk) {
    const NAME(soft_ordered) *row = context;
    const ptrdiff_t n = row->n;
    const soft_range range = soft_chunk(n, chunk);
    const REAL sign = row->sign, *x = row->x;
    if (row->known == SOFT_ASCENDING) {
        for (ptrdiff_t i = range.begin; i < range.end; i++) row->sorted[i] = sign * x[i];
        for (ptrdiff_t i = range.begin; row->order && i < range.end; i++)
            row->order[i] = (int32_t)i;
    } else {
        for (ptrdiff_t i = range.begin; i < range.end; i++) row->sorted[i] = sign * x[n - 1 - i];
        if (row->order) NAME(soft_reverse)(x, n, range, row->order);
    }
}

/* A row that is in order already. */
static int NAME(soft_finish_ordered)(const soft_problem *problem, ptrdiff_t row, int known,
                                     int32_t *order, const soft_workspace *workspace) {
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    REAL *sorted = NAME(soft_sorted_row)(problem, row, workspace);
    NAME(soft_ordered) ordered = {x, problem->n, problem->sign, known, order, sorted};
    soft_run(workspace, NAME(soft_copy_ordered), &ordered, problem->n);
    return NAME(soft_finish_row)(problem, row, order, sorted, workspace->keys, workspace);
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

/* Puts in order what the keys have left unsorted; they are overwritten. */
static void NAME(soft_refine_row)(const REAL *x, ptrdiff_t n, int sign, double *keys,
                                  int32_t *order, REAL *sorted, const soft_workspace *workspace) {
#if REAL_BYTES == 8
    NAME(soft_order_check) check = {sorted, n, 0, 0};
    if (n > 1) soft_run(workspace, NAME(soft_check_sorted), &check, n - 1);
    if (check.is_wrong) NAME(soft_refine)(n, x, sign, soft_index_mask(n), keys, order, sorted);
#else
    (void)x, (void)n, (void)sign, (void)keys, (void)order, (void)sorted, (void)workspace;
#endif
}

/* A row whose entries have been taken from the keys, which are overwritten. */
static int NAME(soft_finish_taken)(const soft_problem *problem, ptrdiff_t row, double *keys,
                                   const soft_workspace *workspace) {
    int32_t *order = NAME(soft_order_row)(problem, row, workspace);
    REAL *sorted = NAME(soft_sorted_row)(problem, row, workspace);
    const REAL *x = (const REAL *)problem->x + row * problem->n;
    NAME(soft_refine_row)(x, problem->n, problem->sign, keys, order, sorted, workspace);
    return NAME(soft_finish_row)(problem, row, order, sorted, keys, workspace);
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
    const int is_rank_l2 = problem->kind == SOFT_RANK_L2;
    NAME(soft_binning) binning;
    if (is_rank_l2) {
        binning = NAME(soft_look_at)(problem, row, workspace);
        if (NAME(soft_rank_one_block)(&binning)) return SOFT_OK;
    }
    const int known = NAME(soft_order)(x, n, problem->sign, workspace);
    /* Bins need no permutation; but short rows in order are faster without. */
    if (is_rank_l2 && (known == SOFT_UNSORTED || n > 64) && NAME(soft_rank_bins)(&binning))
        return SOFT_OK;
    if (known == SOFT_UNSORTED) return -1;
    int32_t *order = NAME(soft_order_row)(problem, row, workspace);
    return NAME(soft_finish_ordered)(problem, row, known, order, workspace);
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
    const REAL *x = (const REAL *)problem->x + row * n;
    const int known = NAME(soft_order)(x, n, problem->sign, workspace);
    if (known == SOFT_UNSORTED) return -1;
    return NAME(soft_finish_ordered)(problem, row, known, NULL, workspace);
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
    return NAME(soft_finish_row)(problem, row, NULL, value, workspace->keys, workspace);
}

static void NAME(soft_backward_rows)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                     const soft_workspace *workspace) {
    double *strength = problem->strength_gradient;
    const int is_rank = problem->kind == SOFT_RANK_L2 || problem->kind == SOFT_RANK_KL;
    if (is_rank) NAME(soft_ranks_backward)(problem, first, last, workspace);
    for (ptrdiff_t row = first; row < last; row++) {
        if (!is_rank) NAME(soft_sort_backward)(problem, row, workspace);
        if (strength)
            strength[row] = is_rank ? NAME(soft_rank_strength)(problem, row, workspace)
                                    : NAME(soft_sort_strength)(problem, row);
    }
}
