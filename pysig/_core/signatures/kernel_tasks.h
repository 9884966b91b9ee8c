/* One task: the pairs of a group of lanes, or of several groups, through all blocks of the grid. */

typedef struct {
    NAME(letters) letters; /* of the whole paths */
    VEC *y, *x;            /* [length][width] */
    REAL *shared_x;        /* [x_length][width] */
    REAL scale;            /* of t: of the letters of x, or of second differences */
    VEC *top;              /* [fine columns + 1]: a row of the grid */
    VEC *left;             /* [rows + 1]: a block's corner, and the slopes of its rows */
    VEC *t, *nodes;
    /* Backward only. */
    VEC *edge_rows;    /* [blocks down][fine columns + 1] */
    VEC *edge_columns; /* [blocks down][blocks across][rows + 1] */
    VEC *k;            /* [rows + 1][columns + 1]: a block */
    VEC *t_gradient;
    VEC *weights; /* of letters; before, derivatives of the static kernel */
    NAME(adjoint) adjoint;
    VEC *x_gradient, *y_gradient;
} NAME(kernel_memory);

/* The y, and the x, of each lane; lanes past the end repeat the last. */
typedef struct {
    ptrdiff_t count, x[LANES], y[LANES];
    ptrdiff_t entry[LANES];    /* of value and grad */
    ptrdiff_t mirrored[LANES]; /* the entry that is the same, or -1 */
    int shared;
} NAME(pairs);

static void *NAME(carve_kernel)(char **next, size_t bytes) {
    char *here = *next;
    *next += (bytes + SIMD_ALIGNMENT - 1) / SIMD_ALIGNMENT * SIMD_ALIGNMENT;
    return here;
}

#define CARVE(type, count) ((type *)NAME(carve_kernel)(&next, sizeof(type) * (size_t)(count)))

/* Lays the workspace out from `base`; returns its size. */
static size_t NAME(carve_kernel_workspace)(const kernel_problem *problem, const kernel_plan *plan,
                                           char *base, NAME(kernel_memory) *work) {
    char *next = base;
    const int linear = problem->static_kernel == KERNEL_LINEAR;
    const ptrdiff_t width = problem->channels + !linear;
    const ptrdiff_t rows = kernel_fine_rows(problem), columns = kernel_fine_columns(problem);
    const ptrdiff_t down = kernel_ceil_divide(rows, plan->rows);
    const ptrdiff_t across = kernel_ceil_divide(columns, plan->columns);
    const ptrdiff_t cells = plan->coarse_rows * plan->coarse_columns;
    const ptrdiff_t nodes = linear ? 0 : (plan->coarse_rows + 1) * (plan->coarse_columns + 1);
    memset(work, 0, sizeof *work);
    work->scale = (REAL)ldexp(sqrt(1.0 / 12), -problem->x_order - problem->y_order);
    work->letters.width = width;
    work->letters.channels = problem->channels;
    work->y = CARVE(VEC, problem->y_length * width);
    work->x = CARVE(VEC, problem->pairing == KERNEL_PAIRS ? problem->x_length * width : 0);
    work->shared_x = CARVE(REAL, problem->x_length * width);
    work->top = CARVE(VEC, columns + 1);
    work->left = CARVE(VEC, plan->rows + 1);
    work->t = CARVE(VEC, cells);
    work->nodes = CARVE(VEC, nodes);
    if (!problem->grad) return (size_t)(next - base);
    work->edge_rows = CARVE(VEC, down * (columns + 1));
    work->edge_columns = CARVE(VEC, down * across * (plan->rows + 1));
    work->k = CARVE(VEC, (plan->rows + 1) * (plan->columns + 1));
    work->t_gradient = CARVE(VEC, cells);
    work->weights = CARVE(VEC, nodes);
    work->adjoint.below = CARVE(VEC, columns + 1);
    work->adjoint.below_a = CARVE(VEC, columns + 1);
    work->adjoint.below_b = CARVE(VEC, columns + 1);
    work->adjoint.slope = CARVE(VEC, plan->rows);
    work->adjoint.right_a = CARVE(VEC, plan->rows);
    work->adjoint.right_b = CARVE(VEC, plan->rows);
    work->x_gradient = CARVE(VEC, problem->x_length * width);
    work->y_gradient = CARVE(VEC, problem->y_length * width);
    return (size_t)(next - base);
}

#undef CARVE

static size_t NAME(kernel_workspace)(const kernel_problem *problem, const kernel_plan *plan) {
    NAME(kernel_memory) work;
    return NAME(carve_kernel_workspace)(problem, plan, NULL, &work);
}

/* Where the block is whose first fine cell is in `row` and `column`. */
static NAME(block) NAME(find_block)(const kernel_problem *problem, const kernel_plan *plan,
                                    ptrdiff_t row, ptrdiff_t column) {
    const int x_order = problem->x_order, y_order = problem->y_order;
    NAME(block) block = {.row = row, .column = column, .x_order = x_order, .y_order = y_order};
    block.rows = kernel_minimum(plan->rows, kernel_fine_rows(problem) - row);
    block.columns = kernel_minimum(plan->columns, kernel_fine_columns(problem) - column);
    block.coarse_row = row >> x_order;
    block.coarse_column = column >> y_order;
    block.coarse_rows = kernel_ceil_divide(block.rows, (ptrdiff_t)1 << x_order);
    block.coarse_columns = kernel_ceil_divide(block.columns, (ptrdiff_t)1 << y_order);
    block.repeat = block.columns / block.coarse_columns;
    block.stride = plan->coarse_columns;
    return block;
}

static NAME(letters)
    NAME(block_letters)(const NAME(kernel_memory) *work, const NAME(block) *block) {
    NAME(letters) letters = work->letters;
    letters.x = NAME(letter_address)(letters.x, block->coarse_row * letters.width, letters.shared);
    letters.y += block->coarse_column * letters.width;
    return letters;
}

static void NAME(block_steps)(const kernel_problem *problem, const NAME(kernel_memory) *work,
                              const NAME(block) *block) {
    const NAME(letters) letters = NAME(block_letters)(work, block);
    NAME(static_block)(problem, &letters, block->coarse_rows, block->coarse_columns, work->scale,
                       work->t, block->stride, work->nodes, work->weights);
}

static void NAME(fill)(VEC *to, ptrdiff_t count, REAL value) {
    for (ptrdiff_t i = 0; i < count; i++) to[i] = value - (VEC){0};
}

/* The kernels of all lanes; `keep`: the edges of all blocks, too. */
static VEC NAME(solve)(const kernel_problem *problem, const kernel_plan *plan,
                       const NAME(kernel_memory) *work, int keep) {
    const ptrdiff_t rows = kernel_fine_rows(problem), columns = kernel_fine_columns(problem);
    VEC *edge_row = work->edge_rows, *edge_column = work->edge_columns;
    NAME(fill)(work->top, columns + 1, 1);
    for (ptrdiff_t row = 0; row < rows; row += plan->rows) {
        NAME(fill)(work->left, 1, 1);
        NAME(fill)(work->left + 1, plan->rows, 0);
        if (keep) memcpy(edge_row, work->top, sizeof(VEC) * (size_t)(columns + 1));
        edge_row += columns + 1;
        for (ptrdiff_t column = 0; column < columns; column += plan->columns) {
            const NAME(block) block = NAME(find_block)(problem, plan, row, column);
            if (keep) memcpy(edge_column, work->left, sizeof(VEC) * (size_t)(plan->rows + 1));
            edge_column += plan->rows + 1;
            NAME(block_steps)(problem, work, &block);
            NAME(sweep_block)(&block, work->t, work->top + column, 0, work->left);
        }
    }
    return work->top[columns];
}

/* One block backwards; corner: b g of the cell below and to the right of it. */
static void NAME(solve_block_backward)(const kernel_problem *problem, const kernel_plan *plan,
                                       const NAME(kernel_memory) *work, const NAME(block) *block,
                                       VEC corner) {
    const ptrdiff_t down = block->row / plan->rows, width = plan->columns + 1;
    const ptrdiff_t columns = kernel_fine_columns(problem);
    const ptrdiff_t across = kernel_ceil_divide(columns, plan->columns);
    const VEC *edge_row = work->edge_rows + down * (columns + 1) + block->column;
    const VEC *edge_column =
        work->edge_columns + (down * across + block->column / plan->columns) * (plan->rows + 1);
    memcpy(work->k, edge_row, sizeof(VEC) * (size_t)(block->columns + 1));
    memcpy(work->left, edge_column, sizeof(VEC) * (size_t)(block->rows + 1));
    for (ptrdiff_t r = 1; r <= block->rows; r++)
        work->k[r * width] = work->k[(r - 1) * width] + work->left[r];
    NAME(block_steps)(problem, work, block);
    NAME(sweep_block)(block, work->t, work->k, width, work->left);
    NAME(adjoint) adjoint = work->adjoint;
    adjoint.below += block->column;
    adjoint.below_a += block->column;
    adjoint.below_b += block->column;
    NAME(unsweep_block)(block, work->t, work->t_gradient, work->k, width, &adjoint, corner);
    const NAME(letters) letters = NAME(block_letters)(work, block);
    NAME(static_block_backward)(problem, &letters, block->coarse_rows, block->coarse_columns,
                                work->scale, work->t_gradient, block->stride, work->weights,
                                work->x_gradient + block->coarse_row * letters.width,
                                work->y_gradient + block->coarse_column * letters.width);
}

/* Adds to the gradients of the letters; grad: of the kernels of all lanes. */
static void NAME(solve_backward)(const kernel_problem *problem, const kernel_plan *plan,
                                 const NAME(kernel_memory) *work, VEC grad) {
    const ptrdiff_t rows = kernel_fine_rows(problem), columns = kernel_fine_columns(problem);
    if (!rows || !columns) return;
    NAME(solve)(problem, plan, work, 1);
    const NAME(adjoint) *adjoint = &work->adjoint;
    NAME(fill)(adjoint->below, columns + 1, 0);
    NAME(fill)(adjoint->below_a, columns + 1, 0);
    NAME(fill)(adjoint->below_b, columns + 1, 0);
    for (ptrdiff_t row = (rows - 1) / plan->rows * plan->rows; row >= 0; row -= plan->rows) {
        VEC corner = {0};
        NAME(fill)(adjoint->slope, plan->rows, 0);
        NAME(fill)(adjoint->right_a, plan->rows, 0);
        NAME(fill)(adjoint->right_b, plan->rows, 0);
        if (row + plan->rows >= rows) adjoint->slope[rows - 1 - row] = grad;
        for (ptrdiff_t column = (columns - 1) / plan->columns * plan->columns; column >= 0;
             column -= plan->columns) {
            const NAME(block) block = NAME(find_block)(problem, plan, row, column);
            const VEC next = adjoint->below_b[column];
            NAME(solve_block_backward)(problem, plan, work, &block, corner);
            corner = next;
        }
    }
}

/* ------------------------------------------------------------------------- from pairs to lanes */

static NAME(pairs) NAME(find_pairs)(const kernel_problem *problem, ptrdiff_t group, ptrdiff_t x) {
    NAME(pairs) pairs = {.shared = 1};
    const int listed = problem->pairing == KERNEL_PAIRS;
    const ptrdiff_t all = listed ? problem->pairs : problem->y_count;
    pairs.count = kernel_minimum(LANES, all - group * LANES);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const ptrdiff_t i = group * LANES + kernel_minimum(l, pairs.count - 1);
        pairs.x[l] = listed ? problem->x_index[i] : x;
        pairs.y[l] = listed ? problem->y_index[i] : i;
        pairs.entry[l] = listed ? i : x * problem->x_stride + i * problem->y_stride;
        pairs.mirrored[l] = problem->pairing == KERNEL_SYMMETRIC && i > x
                                ? i * problem->x_stride + x * problem->y_stride
                                : -1;
        pairs.shared = pairs.shared && pairs.x[l] == pairs.x[0];
    }
    return pairs;
}

static void NAME(read_y)(const kernel_problem *problem, const NAME(pairs) *pairs,
                         NAME(kernel_memory) *work) {
    const ptrdiff_t count = problem->y_length * problem->channels;
    const REAL *from[LANES];
    for (ptrdiff_t l = 0; l < LANES; l++) from[l] = (const REAL *)problem->y + pairs->y[l] * count;
    NAME(gather_points)(from, count, work->y);
    NAME(points_to_letters)(work->y, problem->y_length, problem->channels,
                            problem->static_kernel == KERNEL_LINEAR, 1);
    work->letters.y = work->y;
}

static void NAME(read_x)(const kernel_problem *problem, const NAME(pairs) *pairs,
                         NAME(kernel_memory) *work) {
    const ptrdiff_t count = problem->x_length * problem->channels;
    const int linear = problem->static_kernel == KERNEL_LINEAR;
    work->letters.shared = pairs->shared;
    if (pairs->shared) {
        const REAL *points = (const REAL *)problem->x + pairs->x[0] * count;
        NAME(points_to_shared_letters)(points, problem->x_length, problem->channels, linear,
                                       work->scale, work->shared_x);
        work->letters.x = work->shared_x;
        return;
    }
    const REAL *from[LANES];
    for (ptrdiff_t l = 0; l < LANES; l++) from[l] = (const REAL *)problem->x + pairs->x[l] * count;
    NAME(gather_points)(from, count, work->x);
    NAME(points_to_letters)(work->x, problem->x_length, problem->channels, linear, work->scale);
    work->letters.x = work->x;
}

/* How many x there are for a group of lanes: where each pair is done once, those up to the last of
 * the group. */
static ptrdiff_t NAME(last_x)(const kernel_problem *problem, ptrdiff_t group) {
    if (problem->pairing == KERNEL_PAIRS) return 1;
    if (problem->pairing == KERNEL_GRAM) return problem->x_count;
    return kernel_minimum(problem->x_count, (group + 1) * LANES);
}

static void NAME(forward_task)(const kernel_problem *problem, const kernel_plan *plan,
                               ptrdiff_t task, NAME(kernel_memory) *work) {
    const ptrdiff_t group = task / plan->chunks, first = task % plan->chunks * plan->chunk;
    const ptrdiff_t last = kernel_minimum(first + plan->chunk, NAME(last_x)(problem, group));
    REAL *const value = (REAL *)problem->value;
    for (ptrdiff_t x = first; x < last; x++) {
        const NAME(pairs) pairs = NAME(find_pairs)(problem, group, x);
        if (x == first) NAME(read_y)(problem, &pairs, work);
        NAME(read_x)(problem, &pairs, work);
        const VEC result = NAME(solve)(problem, plan, work, 0);
        for (ptrdiff_t l = 0; l < pairs.count; l++) {
            if (problem->pairing == KERNEL_SYMMETRIC && pairs.y[l] < x) continue;
            value[pairs.entry[l]] = result[l];
            if (pairs.mirrored[l] >= 0) value[pairs.mirrored[l]] = result[l];
        }
    }
}

/* The gradient of the kernel in each lane; zero for lanes that do not count. */
static VEC NAME(read_grad)(const kernel_problem *problem, const NAME(pairs) *pairs, ptrdiff_t x) {
    const REAL *const grad = (const REAL *)problem->grad;
    VEC result = {0};
    for (ptrdiff_t l = 0; l < pairs->count; l++) {
        if (problem->pairing == KERNEL_SYMMETRIC && pairs->y[l] < x) continue;
        result[l] = grad[pairs->entry[l]];
        if (pairs->mirrored[l] >= 0) result[l] += grad[pairs->mirrored[l]];
    }
    return result;
}

static void NAME(write_x_gradient)(const kernel_problem *problem, const NAME(pairs) *pairs,
                                   ptrdiff_t slot, const NAME(kernel_memory) *work) {
    const ptrdiff_t count = problem->x_length * problem->channels;
    REAL *const gradient = (REAL *)problem->x_gradient, *to[LANES];
    NAME(letters_to_points)(work->x_gradient, work->letters.x, pairs->shared, problem->x_length,
                            problem->channels, problem->static_kernel == KERNEL_LINEAR,
                            work->scale);
    if (problem->pairing != KERNEL_PAIRS) {
        NAME(add_lanes)(work->x_gradient, count,
                        gradient + (slot * problem->x_count + pairs->x[0]) * count);
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        to[l] = l < pairs->count ? gradient + pairs->entry[l] * count : NULL;
    NAME(scatter_points)(work->x_gradient, count, to);
}

static void NAME(write_y_gradient)(const kernel_problem *problem, const NAME(pairs) *pairs,
                                   const NAME(kernel_memory) *work) {
    const ptrdiff_t count = problem->y_length * problem->channels;
    REAL *const gradient = (REAL *)problem->y_gradient, *to[LANES];
    NAME(letters_to_points)(work->y_gradient, work->y, 0, problem->y_length, problem->channels,
                            problem->static_kernel == KERNEL_LINEAR, 1);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const ptrdiff_t i = problem->pairing == KERNEL_PAIRS ? pairs->entry[l] : pairs->y[l];
        to[l] = l < pairs->count ? gradient + i * count : NULL;
    }
    NAME(scatter_points)(work->y_gradient, count, to);
}

/* Every so many groups, of which the gradients of x are added up in one slot. */
static void NAME(backward_task)(const kernel_problem *problem, const kernel_plan *plan,
                                ptrdiff_t slot, NAME(kernel_memory) *work) {
    const ptrdiff_t width = work->letters.width;
    for (ptrdiff_t i = slot; i < plan->groups; i += plan->slots) {
        const ptrdiff_t group =
            plan->groups - 1 - i; /* where each pair is done once, large first */
        NAME(pairs) pairs = NAME(find_pairs)(problem, group, 0);
        const ptrdiff_t last = NAME(last_x)(problem, group);
        NAME(fill)(work->y_gradient, problem->y_length * width, 0);
        NAME(read_y)(problem, &pairs, work);
        for (ptrdiff_t x = 0; x < last; x++) {
            pairs = NAME(find_pairs)(problem, group, x);
            NAME(read_x)(problem, &pairs, work);
            NAME(fill)(work->x_gradient, problem->x_length * width, 0);
            NAME(solve_backward)(problem, plan, work, NAME(read_grad)(problem, &pairs, x));
            NAME(write_x_gradient)(problem, &pairs, slot, work);
        }
        NAME(write_y_gradient)(problem, &pairs, work);
    }
}

static void NAME(kernel_tasks)(const kernel_problem *problem, const kernel_plan *plan,
                               ptrdiff_t first, ptrdiff_t last, void *memory) {
    NAME(kernel_memory) work;
    NAME(carve_kernel_workspace)(problem, plan, (char *)memory, &work);
    for (ptrdiff_t task = first; task < last; task++) {
        if (problem->grad)
            NAME(backward_task)(problem, plan, task, &work);
        else
            NAME(forward_task)(problem, plan, task, &work);
    }
}
