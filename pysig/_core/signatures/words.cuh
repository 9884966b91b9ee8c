// Words, rows of them, and threads: what all kernels on tensors use. Letters are counted from the
// first one, which is the most significant digit of a word's index among the words of its length;
// a row has the words of length 1, then those of length 2, and so on.

typedef long long integer;

static __device__ integer thread_index() {
    return (integer)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ integer power(integer channels, int length) {
    integer result = 1;
    for (int i = 0; i < length; ++i) result *= channels;
    return result;
}

// How many words are shorter than `length`, without the empty one: where those of `length` begin.
static __device__ integer shorter_words(integer channels, int length) {
    integer count = 0, words = 1;
    for (int i = 1; i < length; ++i) count += words *= channels;
    return count;
}

// The length of the word at `position` of a row; makes `position` its index among those.
static __device__ int find_length(integer &position, integer channels) {
    int length = 1;
    for (integer words = channels; position >= words; words *= channels, ++length)
        position -= words;
    return length;
}

// The coefficient of the word at `position` in left (x) right.
template <typename real>
static __device__ real product_word(const real *left, const real *right, integer position,
                                    integer channels) {
    integer prefix = position, suffix = 0, rest = 1;
    const int length = find_length(prefix, channels);
    const integer whole = prefix;
    real sum = left[position] + right[position];
    for (int i = length - 1; i >= 1; --i) { // i letters on the left, the others on the right
        suffix += prefix % channels * rest;
        prefix /= channels;
        rest *= channels;
        sum += left[shorter_words(channels, i) + whole / rest] *
               right[shorter_words(channels, length - i) + suffix];
    }
    return sum;
}
