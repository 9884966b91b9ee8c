/* Depth 2 for as many channels as fill the lanes: products of matrices, one path at a time.
 *
 * Let u_t be the increments of a path from x_0 to x_T, m_t the way from x_0 to the middle of step t,
 * and r_t the way from there to x_T.  Then
 *
 *     S_1 = x_T - x_0,     S_2 = sum_t m_t (x) u_t.
 *
 * With the gradients g_1 and g_2 of the two levels, that of the increment u_t is
 *
 *     g_1 + g_2^T m_t + g_2 r_t,
 *
 * and that of a point the difference between the increments that end and begin in it,
 *
 *     (g_2 - g_2^T) (x_{p+1} - x_{p-1}) / 2.
 *
 * The same holds for the first and the last point, if these stand for the points that are missing
 * before and after them, but for the constants -(g_1 + g_2 S_1) and g_1 + g_2^T S_1.  So nothing is
 * carried from step to step, and nothing larger than the way of the path is subtracted.
 *
 * The inverse has -S_1 and the transpose of S_2.  The logarithm has S_1 and the antisymmetric part of
 * S_2, which is the sum with the way from (x_0 + x_T) / 2 in place of m_t.
 */

/* Columns are vectors of letters; if they do not come out even, the last begins earlier, and has letters
 * of the one before. */
static ptrdiff_t NAME(first_letter_of)(ptrdiff_t channels, ptrdiff_t vector) {
    const ptrdiff_t last = channels - LANES;
    return vector * LANES < last ? vector * LANES : last;
}

/* to(row, column) = sum over k of left(k, row) right(k, column). */
typedef struct {
    const REAL *left;
    ptrdiff_t left_step, left_row; /* from one k, one row to the next */
    const VEC *right;              /* [vector][k], with room for */
    ptrdiff_t capacity;            /* so many k */
    ptrdiff_t steps, rows, channels;
    REAL *to;
    ptrdiff_t to_row;
    int separate; /* vectors do not overlap in `to` */
    int add;      /* to what is there; separate */
    int upper;    /* above the diagonal only */
} NAME(matrix_product);

#define PRODUCT_ROWS (REGISTERS == 32 ? 8 : 6)

ALWAYS_INLINE void NAME(multiply_tile)(const NAME(matrix_product) *product, ptrdiff_t row,
                                       ptrdiff_t vector, const ptrdiff_t rows,
                                       const ptrdiff_t vectors) {
    const ptrdiff_t left_row = product->left_row, left_step = product->left_step;
    const ptrdiff_t steps = product->steps, capacity = product->capacity;
    const REAL *left = product->left + row * left_row;
    const VEC *right = product->right + vector * capacity;
    REAL *to[2];
    VEC sum[8][2];
    for (ptrdiff_t v = 0; v < vectors; v++) {
        to[v] = product->to + row * product->to_row +
                (product->separate ? (vector + v) * LANES
                                   : NAME(first_letter_of)(product->channels, vector + v));
        for (ptrdiff_t r = 0; r < rows; r++)
            sum[r][v] = product->add ? NAME(load)(to[v] + r * product->to_row) : (VEC){0};
    }
    for (ptrdiff_t k = 0; k < steps; k++, left += left_step) {
        VEC y[2];
        for (ptrdiff_t v = 0; v < vectors; v++) y[v] = NAME(in_register)(right[v * capacity + k]);
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t v = 0; v < vectors; v++) sum[r][v] += left[r * left_row] * y[v];
    }
    for (ptrdiff_t v = 0; v < vectors; v++)
        for (ptrdiff_t r = 0; r < rows; r++) NAME(store)(to[v] + r * product->to_row, sum[r][v]);
}

ALWAYS_INLINE void NAME(multiply_vectors)(const NAME(matrix_product) *product, ptrdiff_t vector,
                                          const ptrdiff_t vectors) {
    const ptrdiff_t end = NAME(first_letter_of)(product->channels, vector + vectors - 1) + LANES;
    const ptrdiff_t rows = product->upper && end < product->rows ? end : product->rows;
    ptrdiff_t row = 0;
    for (; row + PRODUCT_ROWS <= rows; row += PRODUCT_ROWS)
        NAME(multiply_tile)(product, row, vector, PRODUCT_ROWS, vectors);
    for (; row + 4 <= rows; row += 4) NAME(multiply_tile)(product, row, vector, 4, vectors);
    for (; row + 2 <= rows; row += 2) NAME(multiply_tile)(product, row, vector, 2, vectors);
    if (row < rows) NAME(multiply_tile)(product, row, vector, 1, vectors);
}

static void NAME(multiply_matrices)(const NAME(matrix_product) *product) {
    const ptrdiff_t vectors = signature_ceil_divide(product->channels, LANES);
    ptrdiff_t vector = 0;
    for (; vector + 2 <= vectors; vector += 2) NAME(multiply_vectors)(product, vector, 2);
    if (vector < vectors) NAME(multiply_vectors)(product, vector, 1);
}

/* Memory of one task, carved from one allocation.  A tensor is its two levels behind each other. */
typedef struct {
    ptrdiff_t channels, vectors;
    REAL *left;                   /* [step][letter] */
    VEC *right;                   /* [vector][step]; backward: [vector][letter] */
    REAL *sums;                   /* [letter][vector]: S_2; forward */
    REAL *matrix;                 /* [letter][letter]: L_2; backward: g_2 of its gradient */
    REAL *way;                    /* [letter]: x_T - x_0 */
    REAL *middle;                 /* [letter]: what is subtracted from m_t */
    REAL *first, *last;           /* [letter]: g_2 S_1 and g_2^T S_1; backward */
    REAL *kept_first, *kept_last; /* [letter]: the same with `initial` in place of S_1 */
    REAL *point;                  /* [letter]: the gradient of a basepoint */
} NAME(depth_two);

static size_t NAME(carve_depth_two)(const signature_problem *problem, const signature_plan *plan,
                                    int backward, char *base, NAME(depth_two) *work) {
    char *next = base;
    const ptrdiff_t channels = problem->channels, capacity = plan->capacity;
    const ptrdiff_t vectors = signature_ceil_divide(channels, LANES);
    const size_t row = sizeof(REAL) * (size_t)channels, padded = sizeof(VEC) * (size_t)vectors;
    work->channels = channels;
    work->vectors = vectors;
    work->left = NAME(carve)(&next, row * (size_t)capacity);
    work->right = NAME(carve)(&next, padded * (size_t)(backward ? channels : capacity));
    work->sums = NAME(carve)(&next, backward ? 0 : padded * (size_t)channels);
    work->matrix = NAME(carve)(&next, problem->logarithm ? row * (size_t)channels : 0);
    REAL **rows[] = {&work->way,        &work->middle,    &work->first, &work->last,
                     &work->kept_first, &work->kept_last, &work->point};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = NAME(carve)(&next, row);
    return (size_t)(next - base);
}

static size_t NAME(depth_two_workspace)(const signature_problem *problem,
                                        const signature_plan *plan, int backward) {
    NAME(depth_two) work;
    const size_t rows = NAME(join_workspace)(problem);
    const size_t bytes = NAME(carve_depth_two)(problem, plan, backward, NULL, &work);
    return bytes < rows ? rows : bytes;
}

static const REAL *NAME(find_point)(const NAME(lane) *lane, ptrdiff_t point, ptrdiff_t channels) {
    return point ? lane->points + (point - 1) * channels : lane->origin;
}

static const REAL *NAME(find_initial)(const signature_problem *problem, ptrdiff_t path) {
    if (problem->initial == NULL) return NULL;
    return (const REAL *)problem->initial + path * problem->initial_stride;
}

/* ---- forward ---- */

/* m_t, less the middle, and u_t of `steps` steps from `start` on: m_t to the left, u_t to the right,
 * or the other way round. */
ALWAYS_INLINE void NAME(read_steps)(const signature_plan *plan, const NAME(lane) *lane,
                                    ptrdiff_t start, ptrdiff_t steps, const int swap,
                                    const NAME(depth_two) *work) {
    const ptrdiff_t channels = work->channels;
    for (ptrdiff_t v = 0; v < work->vectors; v++) {
        const ptrdiff_t column = NAME(first_letter_of)(channels, v);
        const REAL *after = lane->points + start * channels + column;
        const VEC origin = NAME(load)(lane->origin + column);
        const VEC middle = NAME(load)(work->middle + column);
        VEC x = NAME(load)(NAME(find_point)(lane, start, channels) + column);
        REAL *left = work->left + column;
        VEC *right = work->right + v * plan->capacity;
        for (ptrdiff_t t = 0; t < steps; t++) {
            const VEC next = NAME(load)(after + t * channels), u = next - x;
            const VEC m = (x - origin) + (u * (REAL)0.5 - middle);
            NAME(store)(left + t * channels, swap ? u : m);
            right[t] = swap ? m : u;
            x = next;
        }
    }
}

/* Row i of S_2. */
static void NAME(copy_sums)(const NAME(depth_two) *work, ptrdiff_t i, REAL *row) {
    const REAL *sums = work->sums + i * work->vectors * LANES;
    for (ptrdiff_t v = 0; v < work->vectors; v++)
        NAME(store)(row + NAME(first_letter_of)(work->channels, v), NAME(load)(sums + v * LANES));
}

/* Level 2, in `row`, of the signature of a path or a piece of one. */
static void NAME(write_level_two)(const signature_problem *problem, const NAME(depth_two) *work,
                                  const REAL *initial, REAL *row) {
    const ptrdiff_t channels = problem->channels;
    const REAL *first = problem->inverse ? work->way : initial;
    const REAL *second = problem->inverse ? initial : work->way;
    for (ptrdiff_t i = 0; i < channels; i++, row += channels) {
        NAME(copy_sums)(work, i, row);
        if (initial == NULL) continue;
        const REAL *kept = initial + channels + i * channels;
        const REAL x = problem->inverse ? -first[i] : first[i];
        for (ptrdiff_t c = 0; c < channels; c++) row[c] += kept[c] + x * second[c];
    }
}

#if SIGNATURE_LYNDON
/* The same of the logarithm, of which the part above the diagonal is known. */
static void NAME(write_logarithm_level_two)(const signature_problem *problem,
                                            const NAME(depth_two) *work, const REAL *initial,
                                            REAL *row) {
    const ptrdiff_t channels = problem->channels;
    const REAL half = (REAL)0.5, *way = work->way;
    REAL *matrix = work->matrix;
    for (ptrdiff_t i = 0; i < channels; i++) {
        NAME(copy_sums)(work, i, matrix + i * channels);
        for (ptrdiff_t c = 0; c < i; c++) matrix[i * channels + c] = 0 - matrix[c * channels + i];
        matrix[i * channels + i] = 0;
    }
    for (ptrdiff_t i = 0; i < channels; i++) {
        const ptrdiff_t first = problem->lyndon ? i + 1 : 0;
        for (ptrdiff_t c = first; initial && c < channels; c++)
            matrix[i * channels + c] +=
                initial[channels + i * channels + c] +
                half * (initial[i] * (way[c] - initial[c]) - way[i] * initial[c]);
        memcpy(row, matrix + i * channels + first, sizeof(REAL) * (size_t)(channels - first));
        row += channels - first;
    }
}
#endif

static void NAME(depth_two_forward)(const signature_problem *problem, const signature_plan *plan,
                                    ptrdiff_t task, NAME(depth_two) *work) {
    const ptrdiff_t channels = problem->channels, pieces = plan->pieces;
    const ptrdiff_t path = task / pieces, piece = task % pieces,
                    steps = signature_steps(problem, path);
    const NAME(lane) lane =
        NAME(find_lane)(problem, path, signature_piece_start(steps, piece, pieces),
                        signature_piece_start(steps, piece + 1, pieces));
    const int logarithm = SIGNATURE_LYNDON && problem->logarithm;
    const int swap = problem->inverse && pieces == 1; /* join_task reverses the words of pieces */
    const REAL *end = NAME(find_point)(&lane, lane.steps, channels);
    const REAL *initial = pieces == 1 ? NAME(find_initial)(problem, path) : NULL;
    REAL *row = pieces == 1 ? (REAL *)problem->signature + path * problem->path_stride
                            : (REAL *)plan->partial + task * signature_words(channels, 1, 2);
    for (ptrdiff_t c = 0; c < channels; c++) {
        work->way[c] = end[c] - lane.origin[c];
        work->middle[c] = logarithm ? work->way[c] * (REAL)0.5 : 0;
        row[c] = (problem->inverse ? 0 - work->way[c] : work->way[c]) + (initial ? initial[c] : 0);
    }
    NAME(matrix_product)
    product = {.left = work->left,
               .left_step = channels,
               .left_row = 1,
               .right = work->right,
               .capacity = plan->capacity,
               .rows = channels,
               .channels = channels,
               .to = work->sums,
               .to_row = work->vectors * LANES,
               .separate = 1,
               .upper = logarithm};
    for (ptrdiff_t start = 0; start == 0 || start < lane.steps; start += plan->block) {
        const ptrdiff_t left = lane.steps - start;
        product.steps = left < plan->block ? left : plan->block;
        product.add = start > 0;
        if (swap)
            NAME(read_steps)(plan, &lane, start, product.steps, 1, work);
        else
            NAME(read_steps)(plan, &lane, start, product.steps, 0, work);
        NAME(multiply_matrices)(&product);
    }
#if SIGNATURE_LYNDON
    if (logarithm) {
        NAME(write_logarithm_level_two)(problem, work, initial, row + channels);
        return;
    }
#endif
    NAME(write_level_two)(problem, work, initial, row + channels);
}

/* ---- backward ---- */

#if SIGNATURE_LYNDON
/* g_2 of the logarithm, in a matrix. */
static const REAL *NAME(read_logarithm_gradient)(const signature_problem *problem, const REAL *grad,
                                                 const NAME(depth_two) *work) {
    const ptrdiff_t channels = problem->channels;
    if (problem->lyndon == NULL) return grad;
    for (ptrdiff_t i = 0; i < channels; i++) {
        const ptrdiff_t count = channels - i - 1;
        REAL *row = work->matrix + i * channels;
        memset(row, 0, sizeof(REAL) * (size_t)(i + 1));
        memcpy(row + i + 1, grad, sizeof(REAL) * (size_t)count);
        grad += count;
    }
    return work->matrix;
}
#endif

/* To the right: the transpose of g_2, less g_2.  And the products of g_2 and vectors. */
static void NAME(read_gradient)(const REAL *matrix, const REAL *initial,
                                const NAME(depth_two) *work) {
    const ptrdiff_t channels = work->channels;
    for (ptrdiff_t v = 0; v < work->vectors; v++) {
        const ptrdiff_t column = NAME(first_letter_of)(channels, v);
        VEC *right = work->right + v * channels;
        VEC first = {0}, last = {0}, kept_first = {0}, kept_last = {0};
        const REAL *rows[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) rows[l] = matrix + (column + l) * channels;
        NAME(gather_lanes)(right, channels, rows, NULL);
        for (ptrdiff_t i = 0; i < channels; i++) {
            const VEC row = NAME(load)(matrix + i * channels + column), transposed = right[i];
            first += work->way[i] * transposed;
            last += work->way[i] * row;
            if (initial) {
                kept_first += initial[i] * transposed;
                kept_last += initial[i] * row;
            }
            right[i] = transposed - row;
        }
        NAME(store)(work->first + column, first);
        NAME(store)(work->last + column, last);
        NAME(store)(work->kept_first + column, kept_first);
        NAME(store)(work->kept_last + column, kept_last);
    }
}

/* (x_{p+1} - x_{p-1}) / 2 of `count` points from `start` on, to the left. */
static void NAME(read_points)(const signature_problem *problem, const NAME(lane) *lane,
                              ptrdiff_t start, ptrdiff_t count, const NAME(depth_two) *work) {
    const ptrdiff_t channels = work->channels;
    const REAL half = problem->inverse ? (REAL)-0.5 : (REAL)0.5;
    for (ptrdiff_t v = 0; v < work->vectors; v++) {
        const ptrdiff_t column = NAME(first_letter_of)(channels, v);
        const REAL *before = NAME(find_point)(lane, start ? start - 1 : 0, channels);
        VEC previous = NAME(load)(before + column);
        VEC x = NAME(load)(NAME(find_point)(lane, start, channels) + column);
        REAL *left = work->left + column;
        for (ptrdiff_t p = start; p < start + count; p++, left += channels) {
            const ptrdiff_t after = p < lane->steps ? p + 1 : p;
            const VEC next = NAME(load)(NAME(find_point)(lane, after, channels) + column);
            NAME(store)(left, (next - previous) * half);
            previous = x;
            x = next;
        }
    }
}

/* The gradients of the points start, ..., end - 1, but for constants, to rows from `to` on. */
static void NAME(write_points)(const signature_problem *problem, const signature_plan *plan,
                               const NAME(lane) *lane, ptrdiff_t start, ptrdiff_t end, REAL *to,
                               const NAME(depth_two) *work) {
    const ptrdiff_t channels = work->channels;
    NAME(matrix_product)
    product = {.left = work->left,
               .left_step = 1,
               .left_row = channels,
               .right = work->right,
               .capacity = channels,
               .steps = channels,
               .channels = channels,
               .to_row = channels};
    for (; start < end; start += product.rows) {
        product.rows = end - start < plan->block ? end - start : plan->block;
        product.to = to;
        NAME(read_points)(problem, lane, start, product.rows, work);
        NAME(multiply_matrices)(&product);
        to += product.rows * channels;
    }
}

/* The constants of the first and the last point, added to their gradients (either may be NULL), and
 * the gradient of the initial signature. */
static void NAME(add_constants)(const signature_problem *problem, const REAL *grad,
                                const REAL *matrix, REAL *first, REAL *last, REAL *initial,
                                const NAME(depth_two) *work) {
    const ptrdiff_t channels = work->channels;
    const int logarithm = SIGNATURE_LYNDON && problem->logarithm;
    for (ptrdiff_t c = 0; c < channels; c++) {
        REAL before = work->first[c], after = work->last[c], g = grad[c];
        const REAL kept = problem->inverse ? work->kept_first[c] : work->kept_last[c];
        if (logarithm) /* g_1 of the signature: its logarithm has -S_1 (x) S_1 / 2 in level 2 */
            g -= (before + after + work->kept_first[c] + work->kept_last[c]) * (REAL)0.5;
        if (initial) initial[c] = problem->inverse ? g - after : g + before;
        g = problem->inverse ? 0 - (g + kept) : g + kept;
        if (first) first[c] -= g + (problem->inverse ? after : before);
        if (last) last[c] += g + (problem->inverse ? before : after);
    }
    if (initial) memcpy(initial + channels, matrix, sizeof(REAL) * (size_t)(channels * channels));
}

static void NAME(depth_two_backward)(const signature_problem *problem, const signature_plan *plan,
                                     ptrdiff_t task, NAME(depth_two) *work) {
    const ptrdiff_t channels = problem->channels, pieces = plan->pieces;
    const ptrdiff_t path = task / pieces, piece = task % pieces;
    const ptrdiff_t steps = signature_steps(problem, path), shift = problem->basepoint != NULL;
    const NAME(lane) lane = NAME(find_lane)(problem, path, 0, steps);
    const REAL *end = NAME(find_point)(&lane, steps, channels);
    const REAL *initial = NAME(find_initial)(problem, path);
    const REAL *grad = (const REAL *)problem->signature + path * problem->path_stride;
    const REAL *matrix = grad + channels;
    REAL *rows = (REAL *)problem->path_gradient + path * problem->length * channels;
    REAL *first = NULL, *last = NULL, *kept = NULL;
#if SIGNATURE_LYNDON
    if (problem->logarithm) matrix = NAME(read_logarithm_gradient)(problem, matrix, work);
#endif
    for (ptrdiff_t c = 0; c < channels; c++) work->way[c] = end[c] - lane.origin[c];
    NAME(read_gradient)(matrix, initial, work);
    /* The points that have rows: without a basepoint, all. */
    const ptrdiff_t count = steps ? steps + 1 - shift : 0;
    const ptrdiff_t start = signature_piece_start(count, piece, pieces);
    const ptrdiff_t stop = signature_piece_start(count, piece + 1, pieces);
    NAME(write_points)(problem, plan, &lane, shift + start, shift + stop, rows + start * channels,
                       work);
    if (shift && piece == 0) {
        first = problem->basepoint_gradient ? (REAL *)problem->basepoint_gradient + path * channels
                                            : work->point;
        NAME(write_points)(problem, plan, &lane, 0, 1, first, work);
    }
    if (!shift && start == 0 && stop > 0) first = rows;
    if (start < stop && stop == count) last = rows + (count - 1) * channels;
    if (problem->initial_gradient && piece == 0)
        kept = (REAL *)problem->initial_gradient + path * signature_words(channels, 1, 2);
    NAME(add_constants)(problem, grad, matrix, first, last, kept, work);
    if (piece == pieces - 1)
        for (ptrdiff_t i = count * channels; i < problem->length * channels; i++) rows[i] = 0;
}

/* The tasks first ... last - 1 of one kind. */
static void NAME(depth_two_tasks)(int kind, const signature_problem *problem,
                                  const signature_plan *plan, ptrdiff_t first, ptrdiff_t last,
                                  void *memory) {
    NAME(depth_two) work;
    NAME(carve_depth_two)(problem, plan, kind == SIGNATURE_BACKWARD, memory, &work);
    for (ptrdiff_t task = first; task < last; task++)
        if (kind == SIGNATURE_BACKWARD)
            NAME(depth_two_backward)(problem, plan, task, &work);
        else
            NAME(depth_two_forward)(problem, plan, task, &work);
}
