/* Static kernels: what drives the equation, on a block of coarse cells, and its gradient.
 *
 * Paths come as "letters", rows of `width` numbers: increments for the linear kernel, for the others
 * points and a 1 behind each, with which sums of weights are sums over letters, too.  x is the same
 * for all lanes where it is `shared`: then it is made of REALs, else of VECs.
 *
 * A static kernel that depends on the distance of two points takes a value and a derivative
 * in NAME(distance_kernel), nothing else.
 */

#define TILE_ROWS 4
#define TILE_COLUMNS (REGISTERS / 8)

typedef struct {
    const void *x; /* the block's first letter */
    const VEC *y;
    ptrdiff_t width, channels;
    int shared;
} NAME(letters);

ALWAYS_INLINE VEC NAME(letter)(const void *letters, ptrdiff_t i, int shared) {
    return shared ? ((const REAL *)letters)[i] - (VEC){0} : ((const VEC *)letters)[i];
}

static const void *NAME(letter_address)(const void *letters, ptrdiff_t i, int shared) {
    return shared ? (const void *)((const REAL *)letters + i)
                  : (const void *)((const VEC *)letters + i);
}

/* Products, or squared distances, of a few letters of x and y. */
ALWAYS_INLINE void NAME(pair_tile)(int rows, int columns, int shared, int distance, const void *x,
                                   const VEC *y, ptrdiff_t width, ptrdiff_t channels, VEC *to,
                                   ptrdiff_t stride) {
    VEC sums[TILE_ROWS][TILE_COLUMNS], other[TILE_COLUMNS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) sums[i][j] = (VEC){0};
    for (ptrdiff_t c = 0; c < channels; c++) {
        for (int j = 0; j < columns; j++) other[j] = NAME(in_register)(y[j * width + c]);
        for (int i = 0; i < rows; i++) {
            const VEC one = NAME(in_register)(NAME(letter)(x, i * width + c, shared));
            for (int j = 0; j < columns; j++) {
                const VEC difference = one - other[j];
                sums[i][j] += distance ? difference * difference : one * other[j];
            }
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) to[i * stride + j] = sums[i][j];
}

ALWAYS_INLINE void NAME(pair_letters)(int shared, int distance, const NAME(letters) *letters,
                                      ptrdiff_t rows, ptrdiff_t columns, VEC *to,
                                      ptrdiff_t stride) {
    const ptrdiff_t width = letters->width, channels = letters->channels;
    for (ptrdiff_t i = 0, next; i < rows; i = next) {
        const void *x = NAME(letter_address)(letters->x, i * width, shared);
        next = i + TILE_ROWS <= rows ? i + TILE_ROWS : i + 1;
        ptrdiff_t j = 0;
        for (; next - i > 1 && j + TILE_COLUMNS <= columns; j += TILE_COLUMNS)
            NAME(pair_tile)(TILE_ROWS, TILE_COLUMNS, shared, distance, x, letters->y + j * width,
                            width, channels, to + i * stride + j, stride);
        for (; next - i > 1 && j < columns; j++)
            NAME(pair_tile)(TILE_ROWS, 1, shared, distance, x, letters->y + j * width, width,
                            channels, to + i * stride + j, stride);
        for (; j + TILE_COLUMNS <= columns; j += TILE_COLUMNS)
            NAME(pair_tile)(1, TILE_COLUMNS, shared, distance, x, letters->y + j * width, width,
                            channels, to + i * stride + j, stride);
        for (; j < columns; j++)
            NAME(pair_tile)(1, 1, shared, distance, x, letters->y + j * width, width, channels,
                            to + i * stride + j, stride);
    }
}

/* to[i][c] += sum over j of weights[i][j] letters[j][c], for a few i and c. */
ALWAYS_INLINE void NAME(weigh_tile)(int rows, int columns, int shared, const VEC *weights,
                                    ptrdiff_t stride, ptrdiff_t step, ptrdiff_t count,
                                    const void *letters, ptrdiff_t width, VEC *to) {
    VEC sums[TILE_ROWS][TILE_COLUMNS], letter[TILE_COLUMNS];
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < columns; c++) sums[i][c] = to[i * width + c];
    for (ptrdiff_t j = 0; j < count; j++) {
        for (int c = 0; c < columns; c++)
            letter[c] = NAME(in_register)(NAME(letter)(letters, j * width + c, shared));
        for (int i = 0; i < rows; i++) {
            const VEC weight = NAME(in_register)(weights[i * stride + j * step]);
            for (int c = 0; c < columns; c++) sums[i][c] += weight * letter[c];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < columns; c++) to[i * width + c] = sums[i][c];
}

/* The same for all i < rows and all c < width; weights[i][j] stands at i * stride + j * step. */
ALWAYS_INLINE void NAME(weigh_letters)(int shared, const VEC *weights, ptrdiff_t stride,
                                       ptrdiff_t step, ptrdiff_t rows, ptrdiff_t count,
                                       const void *letters, ptrdiff_t width, VEC *to) {
    for (ptrdiff_t i = 0, next; i < rows; i = next) {
        next = i + TILE_ROWS <= rows ? i + TILE_ROWS : i + 1;
        const VEC *row = weights + i * stride;
        ptrdiff_t c = 0;
        for (; next - i > 1 && c + TILE_COLUMNS <= width; c += TILE_COLUMNS)
            NAME(weigh_tile)(TILE_ROWS, TILE_COLUMNS, shared, row, stride, step, count,
                             NAME(letter_address)(letters, c, shared), width, to + i * width + c);
        for (; next - i > 1 && c < width; c++)
            NAME(weigh_tile)(TILE_ROWS, 1, shared, row, stride, step, count,
                             NAME(letter_address)(letters, c, shared), width, to + i * width + c);
        for (; c < width; c++)
            NAME(weigh_tile)(1, 1, shared, row, stride, step, count,
                             NAME(letter_address)(letters, c, shared), width, to + i * width + c);
    }
}

/* A static kernel, and minus twice its derivative, by the squared distance of two points. */
ALWAYS_INLINE void NAME(distance_kernel)(const kernel_problem *problem, VEC distance, VEC *value,
                                         VEC *derivative) {
    const REAL inverse_scale = (REAL)problem->inverse_scale;
    /* KERNEL_RBF */
    *value = NAME(exp_negative)(-inverse_scale * distance);
    *derivative = 2 * inverse_scale * *value;
}

/* The t of a block.  t: [rows][stride]; nodes, derivatives: [rows + 1][stride + 1], of which the
 * linear kernel makes no use, nor forward of the derivatives (NULL); scale: of a second
 * difference. */
static void NAME(static_block)(const kernel_problem *problem, const NAME(letters) *letters,
                               ptrdiff_t rows, ptrdiff_t columns, REAL scale, VEC *t,
                               ptrdiff_t stride, VEC *nodes, VEC *derivatives) {
    const ptrdiff_t node_stride = stride + 1;
    if (problem->static_kernel == KERNEL_LINEAR) {
        if (letters->shared)
            NAME(pair_letters)(1, 0, letters, rows, columns, t, stride);
        else
            NAME(pair_letters)(0, 0, letters, rows, columns, t, stride);
        return;
    }
    if (letters->shared)
        NAME(pair_letters)(1, 1, letters, rows + 1, columns + 1, nodes, node_stride);
    else
        NAME(pair_letters)(0, 1, letters, rows + 1, columns + 1, nodes, node_stride);
    for (ptrdiff_t i = 0; i <= rows; i++) {
        VEC *const row = nodes + i * node_stride;
        for (ptrdiff_t j = 0; j <= columns; j++) {
            VEC derivative;
            NAME(distance_kernel)(problem, row[j], row + j, &derivative);
            if (derivatives) derivatives[i * node_stride + j] = derivative;
        }
        for (ptrdiff_t j = 0; i && j < columns; j++) {
            const VEC *const corner = row + j - node_stride;
            t[(i - 1) * stride + j] = scale * ((row[j + 1] - row[j]) - (corner[1] - corner[0]));
        }
    }
}

/* From the gradient of t to that of the block's letters, x scaled already if the kernel is linear.
 * weights: the derivatives, which are overwritten. */
static void NAME(static_block_backward)(const kernel_problem *problem, const NAME(letters) *letters,
                                        ptrdiff_t rows, ptrdiff_t columns, REAL scale,
                                        const VEC *t_gradient, ptrdiff_t stride, VEC *weights,
                                        VEC *x_gradient, VEC *y_gradient) {
    const ptrdiff_t width = letters->width;
    ptrdiff_t weight_stride = stride;
    const VEC *weight = t_gradient;
    if (problem->static_kernel != KERNEL_LINEAR) {
        weight_stride = stride + 1;
        for (ptrdiff_t i = 0; i <= rows; i++) {
            const VEC *const row = t_gradient + i * stride;
            VEC *const node = weights + i * weight_stride;
            VEC before = (VEC){0};
            for (ptrdiff_t j = 0; j <= columns; j++) {
                VEC difference = (VEC){0};
                if (i < rows && j < columns) difference += row[j];
                if (i && j < columns) difference -= row[j - stride];
                node[j] = scale * node[j] * (difference - before);
                before = difference;
            }
        }
        weight = weights;
        rows++;
        columns++;
    }
    NAME(weigh_letters)(0, weight, weight_stride, 1, rows, columns, letters->y, width, x_gradient);
    if (letters->shared)
        NAME(weigh_letters)(1, weight, 1, weight_stride, columns, rows, letters->x, width,
                            y_gradient);
    else
        NAME(weigh_letters)(0, weight, 1, weight_stride, columns, rows, letters->x, width,
                            y_gradient);
}

#undef TILE_ROWS
#undef TILE_COLUMNS
