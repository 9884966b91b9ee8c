// The signature kernel and its gradient on a GPU.
//
// The equation is that of kernel.h; a, b, and the slope that is carried along a row are those of
// kernel_sweep.h. A warp has a pair of paths, and each of its lanes a fine row of the grid: 32 rows
// make a band, which is swept from left to right, every lane one column behind the one before it.
// So what a lane needs from above is what its neighbour had one step before, and a shuffle away; only
// the first lane reads the last row of the band above, and only the last lane writes one. Backwards
// the bands are swept from the last to the first, and from right to left, after each has been swept
// again from the row above it, which was kept.
//
// What belongs to a row and a column of a band is kept at the step at which the lane comes there,
// (column + lane) * 32 + lane, so that a warp reads and writes 32 neighbours.
//
// Paths come as letters: increments for the linear kernel, points for the others. The kernels of a
// band's cells depend on 32 letters of x, or 33 where they are points, and all of y; their gradients
// are added to those of the band below, by the same warp: results do not depend on other pairs.

typedef long long integer;

#define EVERY_LANE 0xffffffffu

static __device__ integer thread_index() {
    return (integer)blockIdx.x * blockDim.x + threadIdx.x;
}

template <typename Real> static __device__ Real exponential(Real x) {
    return sizeof(Real) == 4 ? (Real)expf((float)x) : (Real)exp((double)x);
}

template <typename Real> static __device__ Real root_3() {
    return (Real)1.7320508075688772935;
}

// A pair of paths.
template <typename Real, bool POINTS> struct Pair {
    const Real *x, *y; // letters
    integer rows, columns, fine_rows, fine_columns, channels;
    int x_order, y_order;
    Real scale, inverse_scale;

    __device__ Pair(const Real *all_x, const Real *all_y, const integer *x_index,
                    const integer *y_index, integer pair, integer x_steps, integer y_steps,
                    integer path_channels, integer first_order, integer second_order,
                    double inverse)
        : rows(x_steps), columns(y_steps), fine_rows(x_steps << first_order),
          fine_columns(y_steps << second_order), channels(path_channels), x_order((int)first_order),
          y_order((int)second_order), inverse_scale((Real)inverse) {
        x = all_x + x_index[pair] * (rows + POINTS) * channels;
        y = all_y + y_index[pair] * (columns + POINTS) * channels;
        scale = (Real)(0.28867513459481288225 / (double)((integer)1 << (x_order + y_order)));
    }

    // The product of two letters, or the static kernel of two points.
    __device__ Real node(integer i, integer j) const {
        const Real *one = x + i * channels, *other = y + j * channels;
        Real sum = 0;
        for (integer c = 0; c < channels; ++c) {
            const Real difference = POINTS ? one[c] - other[c] : (Real)0;
            sum += POINTS ? difference * difference : one[c] * other[c];
        }
        return POINTS ? exponential(-inverse_scale * sum) : sum;
    }

    // Minus twice the derivative of the static kernel by the squared distance.
    __device__ Real slope(integer i, integer j) const {
        return 2 * inverse_scale * node(i, j);
    }
};

// What drives the equation in the coarse cells of a row, from left to right.
template <typename Real, bool POINTS> struct Driver {
    const Pair<Real, POINTS> &pair;
    integer row, column;
    Real above, below, t;

    __device__ Driver(const Pair<Real, POINTS> &of_pair, integer fine_row)
        : pair(of_pair), row(fine_row >> of_pair.x_order), column(-1), above(0), below(0), t(0) {
    }

    // Whether the fine column begins a coarse one; then t is new.
    __device__ bool advance(integer fine_column) {
        const integer next = fine_column >> pair.y_order;
        if (next == column) return false;
        if (!POINTS) {
            t = pair.scale * pair.node(row, next);
        } else {
            if (column < 0) {
                above = pair.node(row, 0);
                below = pair.node(row + 1, 0);
            }
            const Real new_above = pair.node(row, next + 1),
                       new_below = pair.node(row + 1, next + 1);
            t = pair.scale * ((new_below - new_above) - (below - above));
            above = new_above;
            below = new_below;
        }
        column = next;
        return true;
    }
};

// Sweeps the band that begins at a fine row. top: the row above it, from the first column on; bottom:
// the last row of the band, which may be the same memory. With KEEP, k and t of all cells are kept.
template <typename Real, bool POINTS, bool KEEP>
static __device__ void sweep(const Pair<Real, POINTS> &pair, integer first, const Real *top,
                             Real *bottom, Real *k, Real *steps) {
    const integer lane = threadIdx.x % 32, row = first + lane;
    const bool is_last = lane == 31 || row == pair.fine_rows - 1;
    Driver<Real, POINTS> driver(pair, row);
    Real slope = 0, diagonal = 1, value = 1;
    for (integer step = 0; step < pair.fine_columns + 31; ++step) {
        const integer column = step - lane;
        Real up = __shfl_up_sync(EVERY_LANE, value, 1);
        if (row >= pair.fine_rows || column < 0 || column >= pair.fine_columns) continue;
        if (lane == 0) up = top[column + 1];
        if (driver.advance(column) && KEEP) steps[(driver.column + lane) * 32 + lane] = driver.t;
        const Real a = driver.t * (driver.t + root_3<Real>()), b = driver.t * driver.t;
        slope = (slope + b * diagonal) + a * ((diagonal + up) + slope);
        value = up + slope;
        diagonal = up;
        if (KEEP) k[step * 32 + lane] = value;
        if (is_last && bottom) bottom[column + 1] = value;
    }
    __syncwarp();
}

// What the cells of the row below a band hand on: g, a g and b g, for each fine column.
template <typename Real> struct Below {
    Real *g, *a, *b;
};

// The adjoint of a band; grad: of the last k of all. steps: t of the cells, becomes its gradient, of
// each fine row and coarse column.
template <typename Real, bool POINTS>
static __device__ void unsweep(const Pair<Real, POINTS> &pair, integer first, Real grad,
                               const Real *top, const Real *k, Real *steps,
                               const Below<Real> &below) {
    const integer lane = threadIdx.x % 32, row = first + lane;
    const bool is_last = lane == 31 || row == pair.fine_rows - 1;
    const integer repeat = (integer)1 << pair.y_order;
    Real g = 0, right_a = 0, right_b = 0, below_b = 0, t = 0, sums = 0, totals = 0;
    Real slope = row == pair.fine_rows - 1 ? grad : (Real)0;
    for (integer step = pair.fine_columns + 30; step >= 0; --step) {
        const integer column = step - lane;
        Real from_g = __shfl_down_sync(EVERY_LANE, g, 1);
        Real from_a = __shfl_down_sync(EVERY_LANE, right_a, 1);
        Real from_b = __shfl_down_sync(EVERY_LANE, right_b, 1);
        if (row >= pair.fine_rows || column < 0 || column >= pair.fine_columns) continue;
        if (is_last) {
            from_g = below.g[column];
            from_a = below.a[column];
            from_b = below.b[column];
        }
        Real *const at = steps + ((column >> pair.y_order) + lane) * 32 + lane;
        if (column % repeat == repeat - 1) {
            t = *at;
            sums = totals = 0;
        }
        slope += (from_a + right_a) + below_b;
        g = from_g + slope;
        below_b = from_b;
        right_a = t * (t + root_3<Real>()) * g;
        right_b = t * t * g;
        const Real left = column ? k[(step - 1) * 32 + lane] : (Real)1;
        const Real up = lane ? k[(step - 1) * 32 + lane - 1] : top[column + 1];
        const Real diagonal = !column ? (Real)1
                              : lane  ? k[(step - 2) * 32 + lane - 1]
                                      : top[column];
        sums += g * (left + up);
        totals += g * ((left + up) + diagonal);
        if (column % repeat == 0) *at = root_3<Real>() * sums + 2 * t * totals;
        if (lane == 0) {
            below.g[column] = g;
            below.a[column] = right_a;
            below.b[column] = right_b;
        }
    }
    __syncwarp();
}

// The letters that the cells of a band depend on, and the weights by which their gradients are sums.
template <typename Real, bool POINTS> struct Band {
    const Pair<Real, POINTS> &pair;
    integer first, rows;   // fine
    integer letter, count; // of x
    integer width;         // letters of y
    const Real *steps;     // the gradients of t, as unsweep leaves them
    Real *weights;         // [count][width]

    __device__ Band(const Pair<Real, POINTS> &of_pair, integer first_row, const Real *gradients,
                    Real *room)
        : pair(of_pair), first(first_row), rows(min((integer)32, of_pair.fine_rows - first_row)),
          letter(first_row >> of_pair.x_order),
          count(((first_row + rows - 1) >> of_pair.x_order) - letter + 1 + POINTS),
          width(of_pair.columns + POINTS), steps(gradients), weights(room) {
    }

    // The gradient of t of a coarse cell, as far as it is in the band; 0 for what is no cell.
    __device__ Real cell(integer i, integer j) const {
        if (i < 0 || j < 0 || j >= pair.columns) return 0;
        const integer begin = ((letter + i) << pair.x_order) - first;
        const integer end = min(rows, begin + ((integer)1 << pair.x_order));
        Real sum = 0;
        for (integer row = max((integer)0, begin); row < end; ++row)
            sum += steps[(j + row) * 32 + row];
        return sum;
    }

    __device__ void find_weights() const {
        for (integer at = threadIdx.x % 32; at < count * width; at += 32) {
            const integer i = at / width, j = at % width;
            if (POINTS) {
                const Real difference =
                    (cell(i, j) - cell(i - 1, j)) - (cell(i, j - 1) - cell(i - 1, j - 1));
                weights[at] = pair.scale * pair.slope(letter + i, j) * difference;
            } else {
                weights[at] = pair.scale * cell(i, j);
            }
        }
        __syncwarp();
    }

    __device__ void add_gradients(Real *x_gradient, Real *y_gradient) const {
        const Real *x = pair.x + letter * pair.channels, *y = pair.y;
        const integer channels = pair.channels, lane = threadIdx.x % 32;
        for (integer at = lane; at < count * channels; at += 32) {
            const integer i = at / channels, c = at % channels;
            const Real origin = POINTS ? x[at] : (Real)0;
            Real sum = 0;
            for (integer j = 0; j < width; ++j)
                sum += weights[i * width + j] * (y[j * channels + c] - origin);
            x_gradient[letter * channels + at] += sum;
        }
        for (integer at = lane; at < width * channels; at += 32) {
            const integer j = at / channels, c = at % channels;
            const Real origin = POINTS ? y[at] : (Real)0;
            Real sum = 0;
            for (integer i = 0; i < count; ++i)
                sum += weights[i * width + j] * (x[i * channels + c] - origin);
            y_gradient[at] += sum;
        }
        __syncwarp();
    }
};

// 32 threads for each pair. row: [pairs][fine columns + 1].
template <typename Real, bool POINTS>
__global__ void kernel_forward(Real *value, Real *row, const Real *x, const Real *y,
                               const integer *x_index, const integer *y_index, integer pairs,
                               integer x_steps, integer y_steps, integer channels, integer x_order,
                               integer y_order, double inverse_scale) {
    const integer index = thread_index() / 32, lane = threadIdx.x % 32;
    if (index >= pairs) return;
    const Pair<Real, POINTS> pair(x, y, x_index, y_index, index, x_steps, y_steps, channels,
                                  x_order, y_order, inverse_scale);
    row += index * (pair.fine_columns + 1);
    for (integer j = lane; j <= pair.fine_columns; j += 32) row[j] = 1;
    __syncwarp();
    for (integer first = 0; first < pair.fine_rows; first += 32)
        sweep<Real, POINTS, false>(pair, first, row, row, nullptr, nullptr);
    if (lane == 0) value[index] = row[pair.fine_columns];
}

// 32 threads for each pair; the gradients are those of letters, and zero before. For each pair:
// rows: [bands][fine columns + 1]; below: [3][fine columns]; k: [fine columns + 31][32];
// steps: [y_steps + 31][32]; weights: [32 or 33][letters of y].
template <typename Real, bool POINTS>
__global__ void kernel_backward(Real *x_gradient, Real *y_gradient, Real *rows, Real *below,
                                Real *k, Real *steps, Real *weights, const Real *grad,
                                const Real *x, const Real *y, const integer *x_index,
                                const integer *y_index, integer pairs, integer x_steps,
                                integer y_steps, integer channels, integer x_order, integer y_order,
                                double inverse_scale) {
    const integer index = thread_index() / 32, lane = threadIdx.x % 32;
    if (index >= pairs) return;
    const Pair<Real, POINTS> pair(x, y, x_index, y_index, index, x_steps, y_steps, channels,
                                  x_order, y_order, inverse_scale);
    const integer columns = pair.fine_columns, bands = (pair.fine_rows + 31) / 32;
    x_gradient += index * (x_steps + POINTS) * channels;
    y_gradient += index * (y_steps + POINTS) * channels;
    rows += index * bands * (columns + 1);
    below += index * 3 * columns;
    k += index * (columns + 31) * 32;
    steps += index * (y_steps + 31) * 32;
    weights += index * (32 + POINTS) * (y_steps + POINTS);
    const Below<Real> handed = {below, below + columns, below + 2 * columns};
    for (integer j = lane; j <= columns; j += 32) rows[j] = 1;
    for (integer j = lane; j < 3 * columns; j += 32) below[j] = 0;
    for (integer band = 1; band < bands; ++band) rows[band * (columns + 1)] = 1;
    __syncwarp();
    for (integer band = 0; band + 1 < bands; ++band)
        sweep<Real, POINTS, false>(pair, band * 32, rows + band * (columns + 1),
                                   rows + (band + 1) * (columns + 1), nullptr, nullptr);
    for (integer band = bands - 1; band >= 0; --band) {
        const Real *const top = rows + band * (columns + 1);
        sweep<Real, POINTS, true>(pair, band * 32, top, nullptr, k, steps);
        unsweep(pair, band * 32, grad[index], top, k, steps, handed);
        const Band<Real, POINTS> letters(pair, band * 32, steps, weights);
        letters.find_weights();
        letters.add_gradients(x_gradient, y_gradient);
    }
}
