// Isotonic regression and projections on a GPU: what goes after the pooling, and the gradients.
//
// The formulae are those of isotonic_template.h. Arrays are [rows][n]; one thread for each entry.
// Rows that are not valid become NaN, since nothing can be raised here without waiting; the first of
// their `starts` is false, by which the gradient knows.

#include "sorting/pool.cuh"
#include "sorting/segments.cuh"

// value, starts (or null), of a regression; weights and b are null if all weights are 1.
template <typename real, int KIND>
__global__ void isotonic_write(real *value, bool *starts, const real *y, const real *weights,
                               const bool *is_valid, const int *block_starts, const int *counts,
                               double *a, double *b, integer rows, integer n, integer chunks,
                               integer backwards) {
    Pooled<real, KIND> pooled;
    if (!pooled.find(y, weights, block_starts, counts, a, b, rows, n, chunks, backwards, 1)) return;
    const Part part = pooled.part;
    const integer at = pooled.offset();
    const Wide weight = pooled.row.second_sum(part);
    double result = (double)y[at];
    if (!pooled.is_alone())
        result = KIND == FIT_KL ? log(part.a.hi / weight.hi) + part.a.exponent * LOG_2
                                : ratio(part.a, weight);
    value[at] = is_valid[pooled.number] ? (real)result : (real)nan("");
    if (starts) starts[at] = pooled.starts_block() && (is_valid[pooled.number] || at % n);
}

// Of a projection, z and w sorted; the values go to where the entries of z came from. z_share and
// w_share are for "kl", and may be null, as starts may.
template <typename real, int KIND>
__global__ void isotonic_write_projection(real *value, bool *starts, real *z_share, real *w_share,
                                          const real *z, const real *w, const int *order,
                                          const bool *is_valid, const int *block_starts,
                                          const int *counts, double *a, double *b, integer rows,
                                          integer n, integer chunks) {
    Pooled<real, KIND> pooled;
    if (!pooled.find(z, w, block_starts, counts, a, b, rows, n, chunks, 0, 1)) return;
    const Part part = pooled.part;
    const Row<real, KIND> &row = pooled.row;
    const integer at = pooled.offset(), to = pooled.number * n + order[at];
    const double own = row.entry(pooled.i), m = part.length();
    double result = row.second(pooled.i), share_of_z = 1, share_of_w = 1;
    if (!pooled.is_alone()) {
        if (KIND == PROJECT_L2) {
            const Wide first = row.part(part.begin, part.begin + 1).a;
            const Wide sum = subtract<false>(part.a, multiply(first, m));
            result = (own - row.entry(part.begin)) - sum.hi / m + row.second(part.begin);
        } else {
            result =
                own + (log(part.b.hi / part.a.hi) + (part.b.exponent - part.a.exponent) * LOG_2);
            const Wide of_z = row.exponential_of(own), of_w = row.second_exponential(pooled.i);
            share_of_z = of_z.hi / part.a.hi * power_of_two(of_z.exponent - part.a.exponent);
            share_of_w = of_w.hi == 0
                             ? 0
                             : of_w.hi / part.b.hi * power_of_two(of_w.exponent - part.b.exponent);
        }
    }
    value[to] = is_valid[pooled.number] ? (real)result : (real)nan("");
    if (starts) starts[at] = pooled.starts_block() && (is_valid[pooled.number] || at % n);
    if (z_share) z_share[at] = (real)share_of_z, w_share[at] = (real)share_of_w;
}

// ---------------------------------------------------------------------------------- the gradients

// The terms of the sums over blocks, in sorted order if there is one.
template <typename real>
__global__ void isotonic_terms(double *terms, const real *grad, const int *order, integer rows,
                               integer n) {
    const integer at = thread_index();
    if (at < rows * n) terms[at] = (double)grad[order ? at / n * n + order[at] : at];
}

// sums: of grad; weight_sums: of the weights, or null, as are weights and their gradient.
template <typename real, bool IS_KL>
__global__ void
isotonic_gradient(real *y_gradient, real *weights_gradient, const real *value, const bool *starts,
                  const real *y, const real *weights, const double *sums, const double *weight_sums,
                  const integer *number, const integer *begins, integer rows, integer n) {
    Segment segment;
    if (!segment.find(number, begins, rows * n)) return;
    const integer at = segment.at;
    const bool is_alone = segment.end - segment.begin == 1;
    const double not_valid = starts[at / n * n] ? 0 : nan("");
    const double weight = weights ? weight_sums[segment.block] : segment.length();
    const double mean = sums[segment.block] / weight + not_valid;
    const double distance = is_alone ? 0 : (double)y[at] - (double)value[at];
    const double own = weights ? (double)weights[at] : 1;
    const double share = is_alone ? sums[segment.block] + not_valid : mean * own;
    y_gradient[at] = (real)(share * (IS_KL ? exp(distance) : 1));
    if (weights_gradient)
        weights_gradient[at] = (real)(mean * (IS_KL ? expm1(distance) : distance));
}

// sums: of grad, which is in the order of z. The shares are null for "l2".
template <typename real>
__global__ void isotonic_projection_gradient(real *z_gradient, real *w_gradient, const real *grad,
                                             const int *z_order, const int *w_order,
                                             const bool *starts, const real *z_share,
                                             const real *w_share, const double *sums,
                                             const integer *number, const integer *begins,
                                             integer rows, integer n) {
    Segment segment;
    if (!segment.find(number, begins, rows * n)) return;
    const integer at = segment.at, row = at / n * n;
    const double sum = sums[segment.block] + (starts[row] ? 0 : nan(""));
    const double equal = 1 / segment.length();
    const double of_z = z_share ? (double)z_share[at] : equal;
    const double of_w = w_share ? (double)w_share[at] : equal;
    const integer to = row + z_order[at];
    z_gradient[to] = (real)((double)grad[to] - sum * of_z);
    w_gradient[row + w_order[at]] = (real)(sum * of_w);
}
