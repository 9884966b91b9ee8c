// Soft sorting and ranking on a GPU: what goes before and after the pooling, and the gradients.
//
// The formulae are those of soft_rows.h and soft_backward.h. Arrays are [rows][n]; one thread for
// each entry. Rows with NaN (and for the sort, infinite) entries become NaN, since nothing can be
// raised here without waiting; the first of their `starts` is false, by which the gradient knows.

#include "sorting/pool.cuh"
#include "sorting/segments.cuh"

// The entries in the order of the permutation.
template <typename real>
__global__ void soft_take(real *sorted, int *order, const real *x, const integer *permutation,
                          integer rows, integer n, integer sign) {
    const integer at = thread_index();
    if (at >= rows * n) return;
    order[at] = (int)permutation[at];
    const real value = x[at / n * n + permutation[at]];
    sorted[at] = sign < 0 ? -value : value;
}

// starts, and for "kl" weights, may be null.
template <typename real, int KIND>
__global__ void soft_write_sort(real *value, bool *starts, real *weights, const real *s,
                                const int *block_starts, const int *counts, double *a, integer rows,
                                integer n, integer chunks, integer backwards, double strength,
                                integer sign) {
    Pooled<real, KIND> pooled;
    if (!pooled.find(s, nullptr, block_starts, counts, a, nullptr, rows, n, chunks, backwards,
                     strength))
        return;
    const Part part = pooled.part;
    const integer at = pooled.offset(), row = pooled.number * n;
    const double own = (double)s[at];
    const bool is_valid =
        !is_infinite(s[row]) && fabs((double)s[row + n - 1]) <= 1.7976931348623157e308;
    double result = own, weight = 1;
    if (!pooled.is_alone()) {
        const double m = part.length(), inverse = 1 / strength;
        const integer begin = KIND == SORT_KL ? n - part.end : part.begin;
        const double place = (double)(at - row - begin);
        if (KIND == SORT_L2) {
            const double first = (double)s[row + begin];
            const Wide sum = subtract<false>(part.a, exact_product(first, m));
            result = first + sum.hi / m - inverse * (0.5 * (m - 1)) + place * inverse;
        } else {
            result = log(geometric(m, inverse)) - logarithm(part.a) + place * inverse;
            const Wide power = exponential(wide(-own));
            weight = power.hi / part.a.hi * power_of_two(power.exponent - part.a.exponent);
        }
    }
    value[at] = is_valid ? (real)((double)sign * result) : (real)nan("");
    if (starts) starts[at] = pooled.starts_block() && (is_valid || at > row);
    if (weights) weights[at] = (real)weight;
}

// blocks may be null. The results go to where the entries came from.
template <typename real, int KIND>
__global__ void soft_write_rank(real *value, int *blocks, const real *s, const int *order,
                                const int *block_starts, const int *counts, double *a, integer rows,
                                integer n, integer chunks, double strength) {
    Pooled<real, KIND> pooled;
    if (!pooled.find(s, nullptr, block_starts, counts, a, nullptr, rows, n, chunks, 0, strength))
        return;
    const Part part = pooled.part;
    const Row<real, KIND> &row = pooled.row;
    const integer at = pooled.offset(), to = pooled.number * n + order[at];
    const double own = (double)row.s[pooled.i], first = (double)row.s[part.begin];
    const double m = part.length(), centre = (double)part.begin + 0.5 * (m + 1);
    double result = centre;
    if (!pooled.is_alone() && !is_infinite(first)) {
        if (KIND == RANK_L2) {
            const Wide first_term = row.part(part.begin, part.begin + 1).a;
            const Wide sum = subtract<false>(part.a, multiply(first_term, m));
            result = (own - first - sum.hi / m) * row.inverse + centre;
        } else {
            const Wide power = row.exponential_of(own);
            result = part.positions() * (power.hi / part.a.hi) *
                     power_of_two(power.exponent - part.a.exponent);
        }
    }
    const double last = (double)row.s[n - 1];
    value[to] = last == last ? (real)result : (real)nan("");
    if (blocks) blocks[to] = (int)pooled.block;
}

// ---------------------------------------------------------------------------------- the gradients

// The terms of the sums over blocks, in sorted order: grad; times ranks; ranks times their logarithm.
enum { OF_GRAD, OF_RANKS_TIMES_GRAD, OF_RANKS_TIMES_LOG };

template <typename real, int TERM>
__global__ void soft_terms(double *terms, const real *grad, const real *ranks, const int *order,
                           integer rows, integer n) {
    const integer at = thread_index();
    if (at >= rows * n) return;
    const integer from = order ? at / n * n + order[at] : at;
    double term = TERM == OF_RANKS_TIMES_LOG ? log((double)ranks[from]) : (double)grad[from];
    if (TERM != OF_GRAD) term *= (double)ranks[from];
    terms[at] = term;
}

// weights: for "kl", else null. strengths: the terms of the gradient of the strength, or null.
template <typename real>
__global__ void soft_sort_gradient(real *x_gradient, double *strengths, const real *grad,
                                   const int *order, const bool *starts, const real *weights,
                                   const double *sums, const integer *number, const integer *begins,
                                   integer rows, integer n, integer sign, double strength) {
    Segment segment;
    if (!segment.find(number, begins, rows * n)) return;
    const integer at = segment.at, row = at / n * n;
    const double m = segment.length(), own = (double)grad[at];
    const bool is_alone = segment.end - segment.begin == 1;
    const double sum = is_alone ? own : sums[segment.block];
    double result = weights ? sum * (is_alone ? 1 : (double)weights[at]) : sum / m;
    const double not_valid = starts[row] ? 0 : nan("");
    x_gradient[row + order[at]] = (real)(result + not_valid);
    if (!strengths) return;
    const double inverse = 1 / strength, h = m * inverse;
    double centre = 0.5 * (m - 1);
    if (weights)
        centre = h < 1e-3 ? centre - (m * m - 1) * inverse / 12 : 1 / expm1(inverse) - m / expm1(h);
    const double place = (double)(at - segment.begin) - centre;
    strengths[at] = (is_alone ? 0 : -(double)sign * own * place * inverse * inverse) + not_valid;
}

// sums: of grad, for "kl" of ranks times grad; log_sums: of ranks times their logarithm, for "kl".
template <typename real, bool IS_KL>
__global__ void soft_rank_gradient(real *x_gradient, double *strengths, const real *grad,
                                   const real *ranks, const int *order, const double *sums,
                                   const double *log_sums, const integer *number,
                                   const integer *begins, integer rows, integer n, integer sign,
                                   double strength) {
    Segment segment;
    if (!segment.find(number, begins, rows * n)) return;
    const integer row = segment.at / n * n, at = row + order[segment.at];
    const double m = segment.length(), own = (double)grad[at], rank = (double)ranks[at];
    const bool is_alone = segment.end - segment.begin == 1;
    const double positions = ((double)(segment.begin - row) + 0.5 * (m + 1)) * m;
    const double mean = sums[segment.block] / (IS_KL ? positions : m);
    const double not_valid = rank == rank ? 0 : rank;
    double result = is_alone ? 0 : own - mean;
    if (IS_KL) result *= rank;
    x_gradient[at] = (real)(result * (double)sign / strength + not_valid);
    if (!strengths) return;
    double distance = rank - positions / m;
    if (IS_KL) distance = rank * (log(rank) - log_sums[segment.block] / positions);
    strengths[at] = (is_alone ? 0 : -own * distance / strength) + not_valid;
}
