// Sums over blocks of a row, for gradients.
//
// A block may be an entry or a whole row. So the entries to be summed are the lowest floor of a
// pyramid, in which each number is the sum of 16 below it, and the sum of any block takes at most 30
// numbers from each floor. All sums are of double, always in the same order, and of the block's own
// entries only. `pyramid` has the floors one after the other, each [rows][numbers].
//
// `number` is, for each entry of all rows, the number of its block, counted from 1 on through all
// rows: the running sum of the marks where blocks begin. `begins` is where each begins, and has one
// more, the number of all entries.

typedef long long integer;

static constexpr integer FLOOR = 16;

static __device__ integer segment_thread() {
    return (integer)blockIdx.x * blockDim.x + threadIdx.x;
}

// The sum of the entries of a row from `begin` up to, not including, `end`.
static __device__ double pyramid_sum(const double *pyramid, integer rows, integer n, integer row,
                                     integer begin, integer end) {
    double sum = 0;
    for (integer numbers = n; begin < end; numbers = (numbers + FLOOR - 1) / FLOOR) {
        const double *floor = pyramid + row * numbers;
        for (; begin < end && begin % FLOOR; ++begin) sum += floor[begin];
        for (; begin < end && end % FLOOR; --end) sum += floor[end - 1];
        begin /= FLOOR, end /= FLOOR;
        pyramid += rows * numbers;
    }
    return sum;
}

// An entry's block; indices are among all entries.
struct Segment {
    integer at, block, begin, end;

    __device__ bool find(const integer *number, const integer *begins, integer size) {
        at = segment_thread();
        if (at >= size) return false;
        block = number[at] - 1;
        begin = begins[block], end = begins[block + 1];
        return true;
    }

    __device__ double length() const {
        return (double)(end - begin);
    }
};
