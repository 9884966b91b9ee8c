// Products of rows of words, which indices choose, and their adjoint, on a GPU.
//
// A table has rows of words, one behind the other, `stride` numbers from one to the next; `rows` of
// them for each member of the batch. Product r takes row index[r] of a table, the factor 1 if that is
// negative, or row r where there are no indices. One thread computes one number.

#include "signatures/words.cuh"

template <typename real> struct Table {
    const real *numbers;
    const integer *index;
    integer rows, stride;

    // The row of product r, or null for the factor 1.
    __device__ const real *find(integer member, integer r) const {
        const integer row = index ? index[r] : r;
        return row < 0 ? nullptr : numbers + (member * rows + row) * stride;
    }
};

// result = left (x) right.
template <typename real>
__global__ void product_multiply(real *__restrict__ result, const real *left,
                                 const integer *left_index, const real *right,
                                 const integer *right_index, integer batch, integer rows,
                                 integer words, integer channels, integer stride, integer left_rows,
                                 integer left_stride, integer right_rows, integer right_stride) {
    const integer thread = thread_index(), word = thread % words, number = thread / words;
    if (thread >= batch * rows * words) return;
    const Table<real> lefts = {left, left_index, left_rows, left_stride};
    const Table<real> rights = {right, right_index, right_rows, right_stride};
    const real *first = lefts.find(number / rows, number % rows);
    const real *second = rights.find(number / rows, number % rows);
    real value = first ? first[word] : second ? second[word] : real(0);
    if (first && second) value = product_word(first, second, word, channels);
    result[number * stride + word] = value;
}

// result(v) = grad(v) + sum over w of left(w) grad(w v): the gradient in the right factor.
template <typename real>
__global__ void product_contract_left(real *__restrict__ result, const real *grad, const real *left,
                                      const integer *left_index, integer batch, integer rows,
                                      integer words, integer channels, integer depth,
                                      integer grad_stride, integer left_rows, integer left_stride) {
    const integer thread = thread_index(), word = thread % words, number = thread / words;
    if (thread >= batch * rows * words) return;
    const Table<real> lefts = {left, left_index, left_rows, left_stride};
    const real *first = lefts.find(number / rows, number % rows);
    grad += number * grad_stride;
    real sum = grad[word];
    if (first) {
        integer place = word, heads = 1;
        const int length = find_length(place, channels);
        const integer step = power(channels, length);
        for (int i = 1; i <= depth - length; ++i) {
            heads *= channels;
            const real *longer = grad + shorter_words(channels, i + length) + place;
            for (integer head = 0; head < heads; ++head) sum += *first++ * longer[head * step];
        }
    }
    result[thread] = sum;
}

// result(w) = grad(w) + sum over v of grad(w v) right(v): the gradient in the left factor.
template <typename real>
__global__ void product_contract_right(real *__restrict__ result, const real *grad,
                                       const real *right, const integer *right_index, integer batch,
                                       integer rows, integer words, integer channels, integer depth,
                                       integer grad_stride, integer right_rows,
                                       integer right_stride) {
    const integer thread = thread_index(), word = thread % words, number = thread / words;
    if (thread >= batch * rows * words) return;
    const Table<real> rights = {right, right_index, right_rows, right_stride};
    const real *second = rights.find(number / rows, number % rows);
    grad += number * grad_stride;
    real sum = grad[word];
    if (second) {
        integer place = word, tails = 1;
        const int length = find_length(place, channels);
        for (int i = 1; i <= depth - length; ++i) {
            tails *= channels;
            const real *longer = grad + shorter_words(channels, length + i) + place * tails;
            for (integer tail = 0; tail < tails; ++tail) sum += longer[tail] * *second++;
        }
    }
    result[thread] = sum;
}

// gradient[row] (+)= sum over e of parts[positions[e]][products[e]], begins[row] <= e < begins[row +
// 1]; without `begins`, parts[0][row]. parts: (positions, batch, rows, words).
template <typename real>
__global__ void product_sum(real *__restrict__ gradient, const real *parts, const integer *begins,
                            const integer *products, const integer *positions, integer batch,
                            integer table_rows, integer rows, integer words, integer stride,
                            integer add) {
    const integer thread = thread_index(), word = thread % words, number = thread / words;
    if (thread >= batch * table_rows * words) return;
    const integer member = number / table_rows, row = number % table_rows;
    const integer begin = begins ? begins[row] : row, end = begins ? begins[row + 1] : row + 1;
    real sum = 0;
    for (integer e = begin; e < end; ++e) {
        const integer position = begins ? positions[e] : 0, product = begins ? products[e] : e;
        sum += parts[((position * batch + member) * rows + product) * words + word];
    }
    real *place = gradient + number * stride + word;
    *place = add ? *place + sum : sum;
}
