// Pools the rows of isotonic problems: parts of rows by themselves, then two and two.
//
// Arrays are [rows][n]. `starts` has, for each part, the first entries of its blocks from the part's
// first place on, `counts` how many there are, in the place of the part's first chunk; both hold
// positions in the row, in the order in which entries are read. `a` and `b` are the prefix sums of
// pool.cuh, inclusive, from the beginning of each part; `b` is null where it is not kept. `widths`
// and `shifts`, two planes of [rows][chunks], are the distance of a part's last entry from its
// first, and that of the first entries of two parts that are merged, shortened as in pool.cuh; null
// where nothing is shortened.

#include "sorting/pool.cuh"

// One thread for each chunk of a row.
template <typename real, int KIND>
__global__ void pool_chunks(int *starts, int *counts, double *a, double *b, double *widths,
                            const real *s, const real *w, integer rows, integer n, integer chunk,
                            integer chunks, integer backwards, double strength) {
    const integer thread = thread_index();
    if (thread >= rows * chunks) return;
    Row<real, KIND> row;
    row.find(s, w, thread / chunks, n, backwards, strength, a, b, rows * n);
    row.first = thread % chunks * chunk;
    row.middle = row.last = min(row.first + chunk, n);
    int *stack = starts + thread / chunks * n + row.first;
    integer count = 0;
    Wide sum_a = wide(0), sum_b = wide(0), x = wide(0);
    for (integer i = row.first; i < row.last; ++i) {
        if (row.IS_SHORTENED && i > row.first) x = add<false>(x, row.gap(i));
        sum_a = add<Scaled<KIND>::A>(sum_a, row.term_a(i, x));
        row.sums_a.put(i, sum_a);
        if (row.keeps_b()) {
            sum_b = add<Scaled<KIND>::B>(sum_b, row.term_b(i));
            row.sums_b.put(i, sum_b);
        }
        Part last = row.part(i, i + 1);
        for (; count; --count) {
            const integer begin = stack[count - 1];
            if (!row.violates(row.part(begin, last.begin), last)) break;
            last = row.part(begin, i + 1);
        }
        stack[count++] = (int)last.begin;
    }
    counts[thread] = (int)count;
    if (row.IS_SHORTENED) Prefix<false>{widths, rows * chunks}.put(thread, x);
}

// The first number from 0 on for which `holds`, or `count`; it holds for all that follow. A warp
// tests 32 at a time: first the lowest, which it mostly is one of, then with equal distances.
template <typename Predicate> static __device__ integer first_that(integer count, Predicate holds) {
    const integer lane = threadIdx.x % 32;
    integer low = 0, high = count, step = 1;
    while (low < high) {
        const integer candidate = low + lane * step;
        const unsigned found = __ballot_sync(0xffffffffu, candidate < high && holds(candidate));
        const integer lanes = min((high - low + step - 1) / step, (integer)32);
        const integer hit = found ? __ffs((int)found) - 1 : lanes;
        const integer next_low = hit ? low + (hit - 1) * step + 1 : low;
        if (found) high = low + hit * step;
        low = next_low;
        step = max((high - low + 31) / 32, (integer)1);
    }
    return low;
}

// The parts of a row that become one, both with `width` chunks (the right one may have fewer, or be
// none).
struct Pair {
    integer row, left, right, first, middle, last; // chunks in the arrays, positions

    __device__ void find(integer number, integer pairs, integer n, integer chunk, integer chunks,
                         integer width) {
        row = number / pairs;
        const integer at = number % pairs * 2 * width;
        left = row * chunks + at;
        right = left + width;
        first = at * chunk;
        middle = min(first + width * chunk, n);
        last = min(middle + width * chunk, n);
    }
};

// One warp for each pair: which blocks are pooled. The merged part has the first keeps[pair.left]
// blocks of the left, the last of which has become longer, and those of the right after the first
// skips[pair.left].
template <typename real, int KIND>
__global__ void pool_search(int *counts, int *keeps, int *skips, double *widths, double *shifts,
                            const int *starts, double *a, double *b, const real *s, const real *w,
                            integer rows, integer n, integer chunk, integer chunks, integer pairs,
                            integer width, integer backwards, double strength) {
    const integer number = thread_index() / 32;
    if (number >= rows * pairs) return;
    Pair pair;
    pair.find(number, pairs, n, chunk, chunks, width);
    const bool is_first_lane = threadIdx.x % 32 == 0;
    const int left = counts[pair.left], right = pair.middle < pair.last ? counts[pair.right] : 0;
    integer kept = left, skipped = 0;
    if (right) {
        Row<real, KIND> row;
        row.find(s, w, pair.row, n, backwards, strength, a, b, rows * n);
        row.first = pair.first, row.middle = pair.middle, row.last = pair.last;
        row.total_a = row.sums_a.get(pair.middle - 1);
        if (row.keeps_b()) row.total_b = row.sums_b.get(pair.middle - 1);
        const Prefix<false> all_widths = {widths, rows * chunks};
        Wide width_left = wide(0), width_right = wide(0);
        if (row.IS_SHORTENED) {
            width_left = all_widths.get(pair.left), width_right = all_widths.get(pair.right);
            row.shift = add<false>(width_left, row.gap(pair.middle));
        }
        const int *left_starts = starts + pair.row * n + pair.first;
        const int *right_starts = starts + pair.row * n + pair.middle;
        const auto end_of_left = [&](integer block) {
            return block + 1 < left ? (integer)left_starts[block + 1] : pair.middle;
        };
        const auto right_block = [&](integer block) {
            return row.part(right_starts[block],
                            block + 1 < right ? (integer)right_starts[block + 1] : pair.last);
        };
        const auto left_block = [&](integer block) {
            return row.part(left_starts[block], end_of_left(block));
        };
        // How many of the right blocks have values of at most that of x.
        const auto count_right = [&](const Part &x) {
            integer low = 0, high = right;
            for (integer step = 1; low < right; step *= 2) {
                const integer test = min(low + step, (integer)right) - 1;
                if (!row.violates(x, right_block(test))) {
                    high = test;
                    break;
                }
                low = test + 1;
            }
            while (low < high) {
                const integer test = (low + high) / 2;
                if (row.violates(x, right_block(test)))
                    low = test + 1;
                else
                    high = test;
            }
            return low;
        };
        // Whether F(value of the left block) > 0; the last block is `from_end` 0.
        const auto is_kept = [&](integer from_end) {
            const integer block = left - 1 - from_end;
            const Part x = left_block(block);
            const integer pooled = count_right(x);
            if (pooled == 0) return true;
            const integer end = pooled < right ? (integer)right_starts[pooled] : pair.last;
            return !row.violates(x, row.part(x.end, end));
        };
        if (row.violates(left_block(left - 1), right_block(0))) {
            const integer absorbed =
                1 + first_that(left - 1, [&](integer from_end) { return is_kept(from_end + 1); });
            kept = left - absorbed + 1;
            const integer begin = left_starts[kept - 1];
            skipped = 1 + first_that(right - 1, [&](integer block) {
                          return !row.violates(row.part(begin, right_starts[block + 1]),
                                               right_block(block + 1));
                      });
        }
        if (is_first_lane && row.IS_SHORTENED) {
            all_widths.put(pair.left, add<false>(row.shift, width_right));
            Prefix<false>{shifts, rows * chunks}.put(pair.left, row.shift);
        }
    }
    __syncwarp();
    if (!is_first_lane) return;
    keeps[pair.left] = (int)kept;
    skips[pair.left] = (int)skipped;
    counts[pair.left] = (int)(kept + right - skipped);
}

// One thread for each entry: moves the blocks to where those of the merged parts are, and the prefix
// sums of the right parts to what they are in the merged ones.
template <typename real, int KIND>
__global__ void pool_move(int *new_starts, double *a, double *b, const int *starts,
                          const int *counts, const int *keeps, const int *skips, double *shifts,
                          integer rows, integer n, integer chunk, integer chunks, integer pairs,
                          integer width) {
    const integer thread = thread_index();
    if (thread >= rows * n) return;
    const integer i = thread % n, number = thread / n * pairs + i / (2 * width * chunk);
    Pair pair;
    pair.find(number, pairs, n, chunk, chunks, width);
    const integer place = i - pair.first, kept = keeps[pair.left];
    if (place < kept)
        new_starts[thread] = starts[thread];
    else if (place < counts[pair.left])
        new_starts[thread] = starts[pair.row * n + pair.middle + skips[pair.left] + (place - kept)];
    if (i < pair.middle) return;
    const Prefix<Scaled<KIND>::A> sums_a = {a, rows * n};
    const integer before = pair.row * n + pair.middle - 1;
    Wide sum = sums_a.get(thread);
    if (KIND == RANK_L2 || KIND == PROJECT_L2) {
        const Wide shift = Prefix<false>{shifts, rows * chunks}.get(pair.left);
        sum = add<false>(sum, multiply(shift, (double)(i - pair.middle + 1)));
    }
    sums_a.put(thread, add<Scaled<KIND>::A>(sums_a.get(before), sum));
    if (!b) return;
    const Prefix<Scaled<KIND>::B> sums_b = {b, rows * n};
    sums_b.put(thread, add<Scaled<KIND>::B>(sums_b.get(before), sums_b.get(thread)));
}
