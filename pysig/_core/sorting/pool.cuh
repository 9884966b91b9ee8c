// Pooling adjacent violators on a GPU: what a block is, and when two are pooled.
//
// A row is cut into chunks, and one thread pools each. Then neighbouring parts are merged, two and
// two, until a part is the whole row (pool.cu). The blocks of a part have increasing values, so that
// a merge pools some last blocks of the left part with some first ones of the right, and which ones
// is found by bisection: let F(v) be the sum of weight (value - v) over the left blocks with values
// of at least v, and the right blocks with values of at most v. F decreases; at its root are the
// value of the new block, and which blocks it has. The sum of any blocks is a difference of prefix
// sums. Those of each part are its own, and those of the right part are moved when it is merged: the
// values of a part increase, hence nothing in it is far larger than its last blocks.
//
// Entries are read forwards or backwards, such that the value of a block has to increase:
//     sort, l2      centre of the positions / strength - M s           M: mean over the block
//     rank, l2      M s - strength centre of the positions
//     sort, kl      sum of exp(-position / strength) / sum of exp(-s)                   backwards
//     rank, kl      sum of exp(s / strength) / sum of positions
//     fit, l2       sum of weight y / sum of weights                   backwards, if decreasing
//     fit, kl       sum of weight exp(y) / sum of weights                               the same
//     project, l2   M z - M w
//     project, kl   sum of exp(z) / sum of exp(w)
// where s, z and w are sorted. Numerator and denominator are the sums A and B below; B is not kept
// where it follows from the positions.
//
// Where values differ by far more than pooled entries can (rank and project, l2), gaps between
// neighbours are shortened in the sums, lest an outlier takes their accuracy away.

#include "sorting/wide.cuh"

typedef long long integer;

enum { SORT_L2, RANK_L2, SORT_KL, RANK_KL, FIT_L2, FIT_KL, PROJECT_L2, PROJECT_KL };

static __device__ integer thread_index() {
    return (integer)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ bool is_infinite(double x) {
    return fabs(x) > 1.7976931348623157e308;
}

// 1 + q + ... + q^(m - 1), where q = exp(-h).
static __device__ double geometric(double m, double h) {
    return m == 1 ? 1 : expm1(-m * h) / expm1(-h);
}

// Prefix sums, in planes of `size` numbers: hi, lo and, if scaled, the exponent.
template <bool SCALED> struct Prefix {
    double *numbers;
    integer size;

    __device__ Wide get(integer i) const {
        return wide(numbers[i], numbers[size + i], SCALED ? numbers[2 * size + i] : 0);
    }

    __device__ void put(integer i, Wide x) const {
        numbers[i] = x.hi;
        numbers[size + i] = x.lo;
        if (SCALED) numbers[2 * size + i] = x.exponent;
    }
};

template <int KIND> struct Scaled {
    static constexpr bool A =
        KIND == SORT_KL || KIND == RANK_KL || KIND == FIT_KL || KIND == PROJECT_KL;
    static constexpr bool B = KIND == PROJECT_KL;
};

// The sums of the entries from `begin` up to, not including, `end`.
struct Part {
    integer begin, end;
    Wide a, b;

    __device__ double length() const {
        return (double)(end - begin);
    }

    // The sum of the positions, counted from 1.
    __device__ double positions() const {
        return 0.5 * (double)(begin + end + 1) * length();
    }
};

// One row, its prefix sums, and two parts of it, of which the right one may be empty.
template <typename real, int KIND> struct Row {
    static constexpr bool A = Scaled<KIND>::A, B = Scaled<KIND>::B;
    static constexpr bool IS_SHORTENED = KIND == RANK_L2 || KIND == PROJECT_L2;
    const real *s, *w; // sorted entries, or y; w: sorted w, or weights; or null
    integer n;
    bool backwards;
    double strength, inverse;
    double scale; // rank, kl: the inverse, unless exponents would be infinite
    Prefix<A> sums_a;
    Prefix<B> sums_b; // its numbers are null where B follows from the positions
    integer first, middle, last;
    Wide total_a, total_b; // of the left part
    Wide shift;            // what to add to the entries of the right part

    // row: which one of those in the arrays.
    __device__ void find(const real *all_s, const real *all_w, integer row, integer length,
                         bool is_backwards, double given_strength, double *a, double *b,
                         integer size) {
        n = length;
        s = all_s + row * n;
        w = all_w ? all_w + row * n : nullptr;
        backwards = is_backwards;
        strength = given_strength;
        inverse = 1 / given_strength;
        sums_a = {a + row * n, size};
        sums_b = {b ? b + row * n : nullptr, size};
        first = 0, middle = last = n;
        total_a = total_b = shift = wide(0);
        scale = inverse;
        if (KIND == RANK_KL && inverse > 0x1p400) scale = min(inverse, 0x1p1000 / largest());
    }

    __device__ integer index(integer i) const {
        return backwards ? n - 1 - i : i;
    }

    __device__ double entry(integer i) const {
        return (double)s[index(i)];
    }

    __device__ double second(integer i) const {
        return (double)w[index(i)];
    }

    // The largest finite number of a sorted row, in absolute value.
    __device__ double largest() const {
        integer begin = 0, end = n;
        for (integer high = n; begin < high;) {
            const integer i = (begin + high) / 2;
            if (is_infinite(s[i]) && s[i] < 0)
                begin = i + 1;
            else
                high = i;
        }
        for (integer low = begin; low < end;) {
            const integer i = (low + end) / 2;
            if (is_infinite(s[i]) && s[i] > 0)
                end = i;
            else
                low = i + 1;
        }
        if (begin >= end) return 1;
        return max(max(fabs((double)s[begin]), fabs((double)s[end - 1])), 1e-300);
    }

    __device__ Wide exponential_of(double x) const {
        if (KIND == SORT_KL) return exponential(wide(-x));
        return exponential(KIND == RANK_KL ? exact_product(x, scale) : wide(x));
    }

    __device__ Wide second_exponential(integer i) const {
        return exponential(wide(second(i)));
    }

    // More than the distance of neighbours that can be pooled. The entries of w count for their size,
    // too, lest distances are lost beside them.
    __device__ double largest_gap() const {
        if (KIND == RANK_L2) return min(strength * (double)n, 1e290);
        const double low = (double)w[0], high = (double)w[n - 1];
        return 2 * (high - low) + max(fabs(low), fabs(high)) + 1e-300;
    }

    // From an entry to the next one, at i, shortened.
    __device__ Wide gap(integer i) const {
        const double most = largest_gap();
        if (!(entry(i) - entry(i - 1) < most)) return wide(most);
        return exact_sum(entry(i), -entry(i - 1));
    }

    // What the entry at i adds to A; x: the shortened entry.
    __device__ Wide term_a(integer i, Wide x) const {
        const double y = entry(i);
        if (KIND == RANK_L2) return x;
        if (KIND == PROJECT_L2) return add<false>(x, wide(-second(i)));
        if (KIND == SORT_L2) return wide(y);
        if (KIND == FIT_L2) return w ? exact_product(second(i), y) : wide(y);
        const Wide power = exponential_of(y);
        return KIND == FIT_KL && w ? multiply(power, second(i)) : power;
    }

    __device__ Wide term_b(integer i) const {
        return B ? second_exponential(i) : wide(second(i));
    }

    __device__ bool keeps_b() const {
        return sums_b.numbers;
    }

    template <bool SCALED>
    __device__ Wide sum(Prefix<SCALED> sums, Wide total, integer begin, integer end,
                        bool is_shifted) const {
        const integer origin = begin < middle ? first : middle;
        const Wide before = begin == origin ? wide(0) : sums.get(begin - 1);
        Wide right = wide(0);
        if (end > middle) {
            right = sums.get(end - 1);
            if (IS_SHORTENED && is_shifted)
                right = add<false>(right, multiply(shift, (double)(end - max(begin, middle))));
        }
        if (begin >= middle) return subtract<SCALED>(right, before);
        if (end > middle) return add<SCALED>(subtract<SCALED>(total, before), right);
        return subtract<SCALED>(sums.get(end - 1), before);
    }

    __device__ Part part(integer begin, integer end) const {
        Part result = {begin, end, wide(0), wide(0)};
        result.a = sum(sums_a, total_a, begin, end, true);
        if (keeps_b()) result.b = sum(sums_b, total_b, begin, end, false);
        return result;
    }

    __device__ Wide second_sum(const Part &x) const {
        if (keeps_b()) return x.b;
        return wide(KIND == RANK_KL ? x.positions() : x.length());
    }

    // The value of x, which is before y, is at least that of y: the two are pooled.
    __device__ bool violates(const Part &x, const Part &y) const {
        if (KIND == RANK_L2 || KIND == RANK_KL)
            if (is_infinite(s[x.begin]) || is_infinite(s[x.end - 1]) || is_infinite(s[y.begin]) ||
                is_infinite(s[y.end - 1]))
                return s[x.begin] == s[y.end - 1];
        if (KIND == SORT_KL) return violates_sort(x, y);
        Wide of_x = multiply(x.a, second_sum(y)), of_y = multiply(y.a, second_sum(x));
        if (A) {
            const double scale = power_of_two(-fabs(of_x.exponent - of_y.exponent));
            const double scale_x = of_x.exponent < of_y.exponent ? scale : 1;
            const double scale_y = of_y.exponent < of_x.exponent ? scale : 1;
            if (of_x.hi != 0 && of_y.hi != 0) {
                of_x = wide(of_x.hi * scale_x, of_x.lo * scale_x);
                of_y = wide(of_y.hi * scale_y, of_y.lo * scale_y);
            }
        }
        const Wide difference = subtract<false>(of_y, of_x);
        // Equal values are pooled, also if the last of 106 bits are not right.
        if (KIND != SORT_L2 && KIND != RANK_L2)
            return difference.hi <= 0x1p-96 * max(fabs(of_x.hi), fabs(of_y.hi));
        double limit = 0.5 * (double)((y.begin - x.begin) + (y.end - x.end));
        limit *= x.length() * y.length();
        if (KIND == SORT_L2) return difference.hi - inverse * limit + difference.lo >= 0;
        return difference.hi - strength * limit + difference.lo <= 0;
    }

    // Backwards, the entries of x are larger than those of y, and their positions, too.
    __device__ bool violates_sort(const Part &x, const Part &y) const {
        const double distance = (double)(y.end - x.end) * inverse;
        if (x.length() == 1 && y.length() == 1) return entry(x.begin) - entry(y.begin) >= distance;
        const double exponent = (y.a.exponent - x.a.exponent) * LOG_2 - distance;
        return geometric(x.length(), inverse) * y.a.hi * exp(exponent) >=
               geometric(y.length(), inverse) * x.a.hi;
    }
};

// The block of an entry, among those that begin at `starts`, in ascending order.
static __device__ integer find_block(const int *starts, integer count, integer i) {
    integer low = 0, high = count;
    while (high - low > 1) {
        const integer block = (low + high) / 2;
        if (starts[block] <= i)
            low = block;
        else
            high = block;
    }
    return low;
}

// One entry of a pooled row, and its block; the arguments are those of pool.cu.
template <typename real, int KIND> struct Pooled {
    Row<real, KIND> row;
    integer number, i, block; // the row, the entry in the order it is read, its block
    Part part;

    // False for a thread that is past the end.
    __device__ bool find(const real *s, const real *w, const int *starts, const int *counts,
                         double *a, double *b, integer rows, integer n, integer chunks,
                         integer backwards, double strength) {
        const integer thread = thread_index();
        if (thread >= rows * n) return false;
        number = thread / n;
        row.find(s, w, number, n, backwards, strength, a, b, rows * n);
        i = row.index(thread % n);
        const integer count = counts[number * chunks];
        block = find_block(starts + number * n, count, i);
        const integer begin = starts[number * n + block];
        part = row.part(begin, block + 1 < count ? starts[number * n + block + 1] : n);
        return true;
    }

    // In the order of the arrays.
    __device__ integer offset() const {
        return number * row.n + row.index(i);
    }

    __device__ bool is_alone() const {
        return part.end - part.begin == 1;
    }

    // Whether a block begins here, in the order of the arrays.
    __device__ bool starts_block() const {
        return row.backwards ? i == part.end - 1 : i == part.begin;
    }
};
