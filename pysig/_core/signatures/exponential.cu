// Exponentials and logarithms of tensors on a GPU, and their gradients.
//
// The mathematics stands at the top of exponential_algebra.h: a power series of x is computed by
// products B -> 1 + ratio x (x) B, one launch each, in which a thread has one word of one row. The
// gradient walks back through them; there a warp has one word, and its lanes share the sum over all
// words that begin, or end, with this one. Rows are arrays of words without the scalar term, shortest
// first; the first letter of a word is the most significant digit of its index among the words of
// its length. No thread waits for another but those of a warp.

typedef long long integer;

static __device__ integer thread_index() {
    return (integer)blockIdx.x * blockDim.x + threadIdx.x;
}

// Words of one length: how many there are, and where they begin.
struct Level {
    integer count, first;
    int length;
};

static __device__ Level longer(Level level, integer channels) {
    return {level.count * channels, level.first + level.count, level.length + 1};
}

static __device__ Level shorter(Level level, integer channels) {
    const integer count = level.count / channels;
    return {count, level.first - count, level.length - 1};
}

static __device__ Level find_level(integer place, integer channels) {
    Level level = {channels, 0, 1};
    while (place - level.first >= level.count) level = longer(level, channels);
    return level;
}

// ratio x (x) b, where the scalar term of b is 1 and is not stored, up to some length; `places`: at
// these words only, or null. b has no words of the largest length, and is null where that is 1.
template <typename real>
__global__ void tensor_multiply(real *result, const real *x, const real *b, const integer *places,
                                integer rows, integer words, integer x_words, integer b_words,
                                integer channels, double ratio) {
    const integer thread = thread_index();
    if (thread >= rows * words) return;
    const integer row = thread / words, number = thread % words;
    const integer place = places ? places[number] : number;
    const real *x_row = x + row * x_words, *b_row = b + row * b_words;
    const Level level = find_level(place, channels);
    const integer word = place - level.first;
    real sum = x_row[place];
    Level head = {channels, 0, 1}, tail = level;
    for (int k = 1; k < level.length; ++k) {
        tail = shorter(tail, channels);
        sum += x_row[head.first + word / tail.count] * b_row[tail.first + word % tail.count];
        head = longer(head, channels);
    }
    result[thread] = (real)ratio * sum;
}

template <typename real> static __device__ real sum_of_warp(real sum) {
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    return sum;
}

// Adds to the gradient in x of tensor_multiply, up to some length, for its words `words`.
template <typename real>
__global__ void tensor_multiply_x_gradient(real *x_gradient, const real *grad, const real *b,
                                           integer rows, integer words, integer x_words,
                                           integer b_words, integer channels, double ratio) {
    const integer thread = thread_index(), item = thread / 32;
    if (item >= rows * words) return;
    const integer lane = thread % 32, row = item / words, place = item % words;
    const real *grad_row = grad + row * words, *b_row = b + row * b_words;
    Level level = find_level(place, channels), tail = {channels, 0, 1};
    const integer word = place - level.first;
    real sum = 0;
    for (level = longer(level, channels); level.first < words; level = longer(level, channels)) {
        const real *below = grad_row + level.first + word * tail.count;
        for (integer v = lane; v < tail.count; v += 32) sum += below[v] * b_row[tail.first + v];
        tail = longer(tail, channels);
    }
    sum = sum_of_warp(sum);
    if (lane == 0) x_gradient[row * x_words + place] += (real)ratio * (grad_row[place] + sum);
}

// The gradient in b of tensor_multiply, for its words `words`; b has `b_words`.
template <typename real>
__global__ void tensor_multiply_b_gradient(real *b_gradient, const real *grad, const real *x,
                                           integer rows, integer words, integer x_words,
                                           integer b_words, integer channels, double ratio) {
    const integer thread = thread_index(), item = thread / 32;
    if (item >= rows * b_words) return;
    const integer lane = thread % 32, row = item / b_words, place = item % b_words;
    const real *grad_row = grad + row * words, *x_row = x + row * x_words;
    const Level tail = find_level(place, channels);
    const integer word = place - tail.first;
    Level level = longer(tail, channels), head = {channels, 0, 1};
    real sum = 0;
    for (; level.first < words; level = longer(level, channels)) {
        const real *above = grad_row + level.first + word;
        for (integer w = lane; w < head.count; w += 32)
            sum += x_row[head.first + w] * above[w * tail.count];
        head = longer(head, channels);
    }
    sum = sum_of_warp(sum);
    if (lane == 0) b_gradient[item] = (real)ratio * sum;
}

// The rows of a sparse matrix times the columns that are the rows of x.
template <typename real>
__global__ void tensor_multiply_sparse(real *result, const real *x, const integer *starts,
                                       const integer *columns, const double *values, integer rows,
                                       integer words, integer x_words) {
    const integer thread = thread_index();
    if (thread >= rows * words) return;
    const integer row = thread / words, word = thread % words;
    real sum = 0;
    for (integer e = starts[word]; e < starts[word + 1]; ++e)
        sum += (real)values[e] * x[row * x_words + columns[e]];
    result[thread] = sum;
}

// In place: from coefficients of Lyndon words to those of their brackets. A thread has the words
// of one class: those with the same letters, in lexicographic order.
template <typename real>
__global__ void tensor_solve_brackets(real *x, const integer *starts, const integer *columns,
                                      const double *values, const integer *class_starts,
                                      const integer *members, integer rows, integer words,
                                      integer classes) {
    const integer thread = thread_index();
    if (thread >= rows * classes) return;
    real *row = x + thread / classes * words;
    const integer first = class_starts[thread % classes];
    const integer last = class_starts[thread % classes + 1];
    for (integer i = first; i < last; ++i) {
        const integer word = members[i];
        real sum = row[word];
        for (integer e = starts[word]; e < starts[word + 1]; ++e)
            sum -= (real)values[e] * row[columns[e]];
        row[word] = sum;
    }
}

// The same with the transposed matrix.
template <typename real>
__global__ void tensor_solve_brackets_backward(real *grad, const integer *starts,
                                               const integer *columns, const double *values,
                                               const integer *class_starts, const integer *members,
                                               integer rows, integer words, integer classes) {
    const integer thread = thread_index();
    if (thread >= rows * classes) return;
    real *row = grad + thread / classes * words;
    const integer first = class_starts[thread % classes];
    const integer last = class_starts[thread % classes + 1];
    for (integer i = last - 1; i >= first; --i) {
        const integer word = members[i];
        for (integer e = starts[word]; e < starts[word + 1]; ++e)
            row[columns[e]] -= (real)values[e] * row[word];
    }
}
