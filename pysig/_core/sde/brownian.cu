// Brownian motion that can be asked for any interval, on a GPU: what brownian.h does on the CPU.
//
// Nothing is kept: a thread makes the normal numbers of one block of random words, 4 floats or 2
// doubles, and goes down from the whole of the time to both ends of its interval. The part before the
// middle of the smallest range that holds both is found from its end backwards, the part after it
// from its beginning forwards, so that a thread needs what it has found and one range, no more.

#define DEVICE __device__ __forceinline__
typedef long long integer;
typedef unsigned long long word64;

#include "sde/bridge.h"
#include "sde/normals.h"

// As in brownian.h.
#define BLOCKS 16
#define PURPOSE_SHIFT 24
#define FOR_AREA 2

template <typename real> struct Block;

template <> struct Block<float> {
    static const int SIZE = 4;
    DEVICE static void normals(threefry_block block, float *x) {
        normals_of_block_float(block, x);
    }
};

template <> struct Block<double> {
    static const int SIZE = 2;
    DEVICE static void normals(threefry_block block, double *x) {
        normals_of_block_double(block, x);
    }
};

// The values of one block on one interval; H is left alone where there is none.
template <typename real> struct Values {
    real w[Block<real>::SIZE], h[Block<real>::SIZE];
};

// Where in the batch a block is: its numbers are BLOCKS apart.
template <typename real> DEVICE integer element(integer block, int i) {
    return block / BLOCKS * BLOCKS * Block<real>::SIZE + i * BLOCKS + block % BLOCKS;
}

// Everything about the process that is the same for all threads.
template <typename real, bool WITH_H> struct Process {
    threefry_block key;
    double length;
    integer cells;

    DEVICE Process(integer key_low, integer key_high, double length, integer cells)
        : length(length), cells(cells) {
        key = {{(threefry_word)key_low, (threefry_word)(key_low >> 32), (threefry_word)key_high,
                (threefry_word)(key_high >> 32)}};
    }

    DEVICE void normals(word64 node, integer block, threefry_word purpose, real *x) const {
        const threefry_block counter = {
            {(threefry_word)node, (threefry_word)(node >> 32), (threefry_word)block,
             (threefry_word)((word64)block >> 32) | purpose << PURPOSE_SHIFT}};
        Block<real>::normals(threefry(key, counter), x);
    }

    DEVICE double time(double count) const {
        return length * (count / (double)cells);
    }

    DEVICE void root(integer block, Values<real> &whole) const {
        normals(0, block, 0, whole.w);
        if (WITH_H) normals(0, block, 1, whole.h);
        const real of_w = (real)sqrt(length), of_h = (real)sqrt(length / 12);
        for (int i = 0; i < Block<real>::SIZE; i++) {
            whole.w[i] *= of_w;
            if (WITH_H) whole.h[i] *= of_h;
        }
    }

    // The two parts of a range of so many cells, of which `part` of the length is the left one's.
    DEVICE void split(word64 node, integer block, double count, double part,
                      const Values<real> &whole, Values<real> &left, Values<real> &right) const {
        const double first = time(count) * part, second = time(count) * (1 - part);
        const bridge b = WITH_H ? bridge_wh(first, second) : bridge_w(first, second);
        real x1[Block<real>::SIZE], x2[Block<real>::SIZE];
        normals(node, block, 0, x1);
        if (WITH_H) normals(node, block, 1, x2);
        for (int i = 0; i < Block<real>::SIZE; i++) {
            const real w = whole.w[i];
            if (!WITH_H) {
                left.w[i] = (real)b.whole_w * w + (real)b.noise * x1[i];
                right.w[i] = w - left.w[i];
                continue;
            }
            const real h = whole.h[i];
            left.w[i] = (real)b.whole_w * w + (real)b.whole_h * h + (real)b.noise * x1[i];
            right.w[i] = w - left.w[i];
            left.h[i] = (real)b.left_h * h - (real)b.left_1 * x1[i] + (real)b.left_2 * x2[i];
            right.h[i] = (real)b.right_h * h - (real)b.right_1 * x1[i] - (real)b.right_2 * x2[i];
        }
    }

    // What is found so far, and how long it is.
    struct Sum {
        Values<real> values;
        double length;
    };

    // sum <- first and second, one after the other.
    DEVICE void join(const Values<real> &first, double first_length, const Values<real> &second,
                     double second_length, Sum &sum) const {
        const bridge_join join = bridge_join_lengths(first_length, second_length);
        for (int i = 0; i < Block<real>::SIZE; i++) {
            if (WITH_H)
                sum.values.h[i] = (real)join.second_h * (second.h[i] + first.w[i] / 2) +
                                  (real)join.first_h * (first.h[i] - second.w[i] / 2);
            sum.values.w[i] = first.w[i] + second.w[i];
        }
        sum.length = first_length + second_length;
    }

    DEVICE void append(Sum &sum, const Values<real> &part, double part_length) const {
        if (sum.length > 0)
            join(Values<real>(sum.values), sum.length, part, part_length, sum);
        else
            sum = {part, part_length};
    }

    DEVICE void prepend(Sum &sum, const Values<real> &part, double part_length) const {
        if (sum.length > 0)
            join(part, part_length, Values<real>(sum.values), sum.length, sum);
        else
            sum = {part, part_length};
    }

    // A range of cells and its values.
    struct Range {
        word64 node;
        integer first, end;
        Values<real> values;

        DEVICE integer middle() const {
            return first + (end - first) / 2;
        }
        DEVICE bool is_cell() const {
            return end - first == 1;
        }
    };

    DEVICE Range half(const Range &range, bool right, const Values<real> &values) const {
        Range half = {2 * range.node + right, range.first, range.end, values};
        (right ? half.first : half.end) = range.middle();
        return half;
    }

    DEVICE void halve(const Range &range, integer block, Range &left, Range &right) const {
        const double count = (double)(range.end - range.first);
        const double part = (double)(range.middle() - range.first) / count;
        left = half(range, false, range.values);
        right = half(range, true, range.values);
        split(range.node, block, count, part, range.values, left.values, right.values);
    }

    // A cell up to a point in it, or after it.
    DEVICE void cut(Range &cell, integer block, double part, bool after) const {
        Values<real> left, right;
        split(cell.node, block, 1, part, cell.values, left, right);
        cell.values = after ? right : left;
    }

    // Puts what is in a range after a point before the sum.
    DEVICE void suffix(Range range, integer block, integer cell, double part, Sum &sum) const {
        while (cell > range.first || part > 0) {
            if (range.is_cell()) {
                cut(range, block, part, true);
                prepend(sum, range.values, time(1 - part));
                return;
            }
            Range left, right;
            halve(range, block, left, right);
            const bool later = cell >= right.first;
            if (!later) prepend(sum, right.values, time((double)(right.end - right.first)));
            range = later ? right : left;
        }
        prepend(sum, range.values, time((double)(range.end - range.first)));
    }

    // Puts what is in a range before a point, which does not begin it, after the sum.
    DEVICE void prefix(Range range, integer block, integer cell, double part, Sum &sum) const {
        while (cell < range.end) {
            if (range.is_cell()) {
                cut(range, block, part, false);
                append(sum, range.values, time(part));
                return;
            }
            Range left, right;
            halve(range, block, left, right);
            const bool later = cell > right.first || (cell == right.first && part > 0);
            if (later) append(sum, left.values, time((double)(left.end - left.first)));
            range = later ? right : left;
        }
        append(sum, range.values, time((double)(range.end - range.first)));
    }

    // What is between two points of one cell.
    DEVICE void inside(const Range &cell, integer block, double from, double to, Sum &sum) const {
        Range before = cell, until = cell;
        cut(before, block, from, false);
        cut(until, block, to, false);
        const bridge_rest rest = bridge_rest_lengths(time(to), time(from));
        for (int i = 0; i < Block<real>::SIZE; i++) {
            sum.values.w[i] = until.values.w[i] - before.values.w[i];
            if (WITH_H)
                sum.values.h[i] = (real)rest.whole_h * until.values.h[i] -
                                  (real)rest.first_h * before.values.h[i] +
                                  (real)rest.whole_w * until.values.w[i] -
                                  (real)rest.first_w * before.values.w[i];
        }
    }

    DEVICE void interval(Range range, integer block, double start, double end, Sum &sum) const {
        const integer from = (integer)floor(start), to = (integer)floor(end);
        const double from_part = start - floor(start), to_part = end - floor(end);
        const integer last = to_part > 0 ? to : to - 1;
        sum.length = 0;
        Range left, right;
        while (!range.is_cell() && !(from == range.first && from_part == 0) &&
               !(to == range.end && to_part == 0)) {
            halve(range, block, left, right);
            const bool later = from >= right.first;
            if (later != (last >= right.first)) {
                suffix(left, block, from, from_part, sum);
                prefix(right, block, to, to_part, sum);
                return;
            }
            range = later ? right : left;
        }
        if (from == range.first && from_part == 0)
            prefix(range, block, to, to_part, sum);
        else if (to == range.end && to_part == 0)
            suffix(range, block, from, from_part, sum);
        else
            inside(range, block, from_part, to_part, sum);
    }
};

// Rows of increments, from points[row] to points[row + 1], or from start to end where points is null;
// w, h: [rows][size], h null without H. root_w, root_h: [size], or null. Times are in cells.
template <typename real, bool WITH_H>
__global__ void brownian_increments(real *w, real *h, const real *root_w, const real *root_h,
                                    const double *points, double start, double end, double sign,
                                    integer rows, integer size, integer blocks, double length,
                                    integer cells, integer key_low, integer key_high) {
    const integer thread = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (thread >= rows * blocks) return;
    const integer row = thread / blocks, block = thread % blocks;
    const Process<real, WITH_H> process(key_low, key_high, length, cells);
    typename Process<real, WITH_H>::Range whole = {1, 0, cells, {}};
    if (!root_w) process.root(block, whole.values);
    for (int i = 0; root_w && i < Block<real>::SIZE; i++) {
        const integer at = element<real>(block, i);
        if (at >= size) continue;
        whole.values.w[i] = root_w[at];
        if (WITH_H) whole.values.h[i] = root_h[at];
    }
    typename Process<real, WITH_H>::Sum sum;
    process.interval(whole, block, points ? points[row] : start, points ? points[row + 1] : end,
                     sum);
    for (int i = 0; i < Block<real>::SIZE; i++) {
        const integer at = element<real>(block, i);
        if (at >= size) continue;
        w[row * size + at] = (real)sign * sum.values.w[i];
        if (WITH_H) h[row * size + at] = sum.values.h[i];
    }
}

// Areas, [rows][m][m], from w, multiplied by sign as they are, and h: [rows][m]; the key is that of
// the interval.
template <typename real>
__global__ void brownian_area(real *area, const real *w, const real *h, integer rows, integer m,
                              integer blocks, double length, double sign, integer foster,
                              integer key_low, integer key_high) {
    const integer block = (integer)blockIdx.x * blockDim.x + threadIdx.x;
    if (block >= blocks) return;
    const integer pairs = m * (m - 1) / 2;
    real x[Block<real>::SIZE];
    Process<real, false>(key_low, key_high, length, 1).normals(0, block, FOR_AREA, x);
    const real constant = (real)(length * length / 20), factor = (real)(length / 5);
    const real davie = (real)(length / sqrt(12.0));
    for (int k = 0; k < Block<real>::SIZE; k++) {
        const integer at = element<real>(block, k);
        if (at >= rows * pairs) continue;
        integer row = at / pairs, j = at % pairs, i = 0;
        for (; j >= m - 1 - i; i++) j -= m - 1 - i;
        j += i + 1;
        const real wi = w[row * m + i], wj = w[row * m + j], hi = h[row * m + i];
        const real hj = h[row * m + j];
        const real deviation = foster ? (real)sqrt(constant + factor * (hi * hi + hj * hj)) : davie;
        const real value = hi * wj - wi * hj + (real)sign * deviation * x[k];
        area[(row * m + i) * m + j] = value;
        area[(row * m + j) * m + i] = -value;
    }
}
