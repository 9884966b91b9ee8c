/* Short rows, from beginning to end.  Those that need it are sorted together, one in each lane; and
 * ranks, kl, are pooled together, as many rows as there is room for in a strip. */

#define SHORT_ROWS SIMD_CONCATENATE(sort_short_rows, double, SIMD_LEVEL_NAME)
#define ONE_ROW SIMD_CONCATENATE(sort_one_row, double, SIMD_LEVEL_NAME)
#define KEY_LANES (VECTOR_BYTES / 8)

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

/* Rows of one strip. */
typedef struct {
    const soft_problem *problem;
    const soft_workspace *workspace;
    ptrdiff_t first;                /* number of the first row */
    int rows;                       /* of the group */
    int32_t *order[SOFT_STRIP];     /* of each */
    const REAL *sorted[SOFT_STRIP]; /* of each */
} NAME(soft_group);

/* Sorts the rows that wait, whose keys are there. */
static void NAME(soft_sort_waiting)(const NAME(soft_group) *group, const int *waiting, int count) {
    const soft_problem *problem = group->problem;
    const ptrdiff_t n = problem->n, stride = NAME(soft_stride)(n);
    double *keys = group->workspace->keys + stride + KEY_LANES;
    NAME(soft_sort_keys)(keys, count, n, group->workspace);
    for (int i = 0; i < count; i++) {
        const REAL *x = (const REAL *)problem->x + (group->first + waiting[i]) * n;
        NAME(soft_take_row)(x, n, problem->sign, keys + i * stride, group->order[waiting[i]],
                            (REAL *)group->sorted[waiting[i]], group->workspace);
    }
}

/* Sorts the rows of a group; returns SOFT_NAN or SOFT_OK. */
static int NAME(soft_sort_group)(const NAME(soft_group) *group) {
    const soft_problem *problem = group->problem;
    const ptrdiff_t n = problem->n, stride = NAME(soft_stride)(n);
    const uint64_t mask = soft_index_mask(n);
    double *keys = group->workspace->keys + stride + KEY_LANES;
    int waiting[KEY_LANES], count = 0;
    for (int row = 0; row < group->rows; row++) {
        const REAL *x = (const REAL *)problem->x + (group->first + row) * n;
        const int known = NAME(soft_order)(x, n, problem->sign, group->workspace);
        if (n == 1 && x[0] != x[0]) return SOFT_NAN;
        if (known != SOFT_UNSORTED) {
            NAME(soft_ordered) ordered = {
                x, n, problem->sign, known, group->order[row], (REAL *)group->sorted[row]};
            NAME(soft_copy_ordered)(&ordered, 0);
            continue;
        }
        if (NAME(soft_make_keys)(x, 0, n, problem->sign, mask, keys + count * stride))
            return SOFT_NAN;
        waiting[count++] = row;
        if (count < KEY_LANES) continue;
        NAME(soft_sort_waiting)(group, waiting, count);
        count = 0;
    }
    if (count) NAME(soft_sort_waiting)(group, waiting, count);
    return SOFT_OK;
}

/* Writes the ranks of a strip: its rows are those of the group with these numbers. */
static void NAME(soft_write_strip)(const NAME(soft_group) *group, const int *numbers, int rows,
                                   soft_strip *strip) {
    const soft_problem *problem = group->problem;
    const int n = (int)problem->n;
    uint8_t is_first[SOFT_STRIP] = {0};
    double share[SOFT_STRIP];
    for (int k = 0; k < strip->blocks; k++) {
        const int is_alone = strip->start[k + 1] - strip->start[k] == 1;
        share[k] = is_alone ? 0 : strip->a[k] / strip->sum[k];
        is_first[strip->start[k]] = 1;
    }
    for (int i = 0, k = -1; i < rows * n; i++) {
        k += is_first[i];
        strip->sum[i] = share[k];
    }
    for (int i = 0; i < rows * n; i++) {
        const double alone = strip->place[i] + 1, product = strip->sum[i] * strip->entry[i];
        strip->sum[i] = strip->sum[i] == 0 ? alone : product;
    }
    for (int row = 0; row < rows; row++) {
        const ptrdiff_t offset = (group->first + numbers[row]) * n;
        const int32_t *order = group->order[numbers[row]];
        const double *ranks = strip->sum + row * n;
        REAL *value = (REAL *)problem->value + offset;
        for (int i = 0; i < n; i++) value[order[i]] = (REAL)ranks[i];
        if (problem->starts) memcpy(problem->starts + offset, is_first + row * n, (size_t)n);
    }
}

/* Ranks from the sorted rows of a group. */
static void NAME(soft_finish_group)(const NAME(soft_group) *group) {
    const soft_problem *problem = group->problem;
    const int n = (int)problem->n;
    const double inverse = 1 / problem->strength;
    int numbers[SOFT_STRIP], rows = 0;
    soft_strip strip;
    for (int row = 0; row < group->rows; row++) {
        const REAL *sorted = group->sorted[row];
        const double last = (double)sorted[n - 1];
        if (!(((double)sorted[0] - last) * inverse > -600)) {
            NAME(soft_finish_row)(problem, group->first + row, group->order[row], (REAL *)sorted,
                                  group->workspace->keys, group->workspace);
            continue;
        }
        double *entry = strip.entry + rows * n, *sum = strip.sum + rows * n;
        for (int i = 0; i < n; i++)
            sum[i] = entry[i] = soft_exp(((double)sorted[i] - last) * inverse);
        for (int i = 0; i < n; i++) strip.place[rows * n + i] = i;
        numbers[rows++] = row;
    }
    if (!rows) return;
    strip.blocks = rows * n;
    NAME(soft_pool_filled)(SOFT_RANK_ROWS, group->workspace, &strip);
    NAME(soft_write_strip)(group, numbers, rows, &strip);
}

/* Ranks, kl, of the rows from first to last. */
static int NAME(soft_rank_groups)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                  const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, most = SOFT_STRIP / n;
    NAME(soft_group) group = {.problem = problem, .workspace = workspace};
    for (ptrdiff_t row = first; row < last; row += most) {
        group.first = row;
        group.rows = (int)(last - row < most ? last - row : most);
        for (int i = 0; i < group.rows; i++) {
            group.order[i] =
                problem->order ? problem->order + (row + i) * n : workspace->order + i * n;
            group.sorted[i] = (REAL *)workspace->sorted + i * n;
        }
        const int status = NAME(soft_sort_group)(&group);
        if (status > SOFT_OK) return status;
        NAME(soft_finish_group)(&group);
    }
    return SOFT_OK;
}

/* Short rows, from first to last. */
static int NAME(soft_short_rows)(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                                 const soft_workspace *workspace) {
    const ptrdiff_t n = problem->n, stride = NAME(soft_stride)(n);
    if (problem->kind == SOFT_RANK_KL)
        return NAME(soft_rank_groups)(problem, first, last, workspace);
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
