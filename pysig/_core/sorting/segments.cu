// Which blocks there are, and their sums: what segments.cuh explains.

#include "sorting/segments.cuh"

// 1 where a block begins; the first entry of a row always does.
extern "C" __global__ void segment_marks(integer *marks, const bool *starts, integer rows,
                                         integer n) {
    const integer at = segment_thread();
    if (at < rows * n) marks[at] = starts[at] || at % n == 0;
}

// The same, from the numbers that the entries of a row have, to be read in the order of the ranks.
extern "C" __global__ void segment_marks_of_blocks(integer *marks, const int *blocks,
                                                   const int *order, integer rows, integer n) {
    const integer at = segment_thread();
    if (at >= rows * n) return;
    const int *row = blocks + at / n * n;
    marks[at] = at % n == 0 || row[order[at]] != row[order[at - 1]];
}

extern "C" __global__ void segment_begins(integer *begins, const integer *number, integer size) {
    const integer at = segment_thread();
    if (at >= size) return;
    if (at == 0 || number[at] != number[at - 1]) begins[number[at] - 1] = at;
    if (at == size - 1) begins[number[at]] = size;
}

// Fills a floor of the pyramid, of `numbers` in each row, from the one below it, of `below`.
extern "C" __global__ void segment_floor(double *floor, const double *lower, integer rows,
                                         integer numbers, integer below) {
    const integer at = segment_thread();
    if (at >= rows * numbers) return;
    const integer begin = at % numbers * FLOOR, end = min(begin + FLOOR, below);
    const double *row = lower + at / numbers * below;
    double sum = 0;
    for (integer i = begin; i < end; ++i) sum += row[i];
    floor[at] = sum;
}

// One thread for each entry; the first one of a block writes its sum.
extern "C" __global__ void segment_sums(double *sums, const integer *number, const integer *begins,
                                        const double *pyramid, integer rows, integer n) {
    Segment segment;
    if (!segment.find(number, begins, rows * n) || segment.at != segment.begin) return;
    const integer row = segment.begin / n;
    sums[segment.block] =
        pyramid_sum(pyramid, rows, n, row, segment.begin - row * n, segment.end - row * n);
}
