// The signature and its gradient on a GPU.
//
// A word of DEPTH letters is a prefix of DEPTH - 2 letters, a row letter and a column letter. In the
// forward kernel a thread has the words of one prefix, TILE rows and TILE columns, and walks along
// the path with them: the coefficients of the prefix's own prefixes, of the TILE words one letter
// longer than it, and of the TILE x TILE words of full depth stay in registers. Threads with a
// common prefix compute its coefficients each for itself, so that none waits for another. The state
// S becomes S (x) exp(z) by Horner's rule: with U_0 = 1,
//     U_i = U_(i-1) z[w_i] / (n - i + 1) + S[w_1 ... w_i],      new S[w_1 ... w_n] = U_n,
// where the "intermediates" U_i depend on n, the length of the word.
//
// The gradient goes through the steps of a path from the last to the first. With H the adjoint of
// the state after a step, and its contractions with the step's increment z
//     P_0 = H,     P_j[u] = sum over c of P_(j-1)[u c] z[c] / j,
// the adjoint before the step and the gradient of the increment are
//     new H[u] = sum over j of P_j[u],
//     dz[c] = sum over u and j of U_|u| P_j[u c] / (j + 1),     U of words of length |u| + 1 + j,
// (Kidger and Lyons, arXiv:2001.00706, transposed by hand). P_j[u] needs the letters after u only,
// so that the words of one length do all steps of a block, before those that are a letter shorter:
// one launch for each length, and no thread waits for another within one. Level DEPTH is different:
// its adjoint is constant (but for `stream`), stays in registers, and leaves only P_1 behind.
//
// A task is a piece of a path: the whole path, or one of several where there are few paths, which
// signature_product joins by Chen's identity. All arrays are in C order. The first letter of a word
// is the most significant digit of its index among the words of its length; lengths follow one
// another, shortest first.

#include "signatures/words.cuh"

// ------------------------------------------------------------------------------------- the pieces

struct Task {
    integer path, piece, first, last; // the steps from first up to, not including, last
    bool ends_path;
};

// Steps block * block_size up to (block + 1) * block_size of a piece; steps: of each path, or null.
static __device__ Task find_task(integer index, const integer *steps, integer longest,
                                 integer pieces, integer block, integer block_size) {
    Task task;
    task.path = index / pieces;
    task.piece = index % pieces;
    const integer all = steps ? steps[task.path] : longest;
    const integer begin = all * task.piece / pieces, end = all * (task.piece + 1) / pieces;
    task.first = min(begin + block * block_size, end);
    task.last = min(task.first + block_size, end);
    task.ends_path = task.piece == pieces - 1 && task.last == end;
    return task;
}

// -------------------------------------------------------------------------------------- the words

// Loops over the letters of a word are unrolled, so that its coefficients stay in registers. There
// are too few of these for very long words, and the compiler would take minutes.
template <int LENGTH> struct Unrolled {
    static constexpr int STEPS = LENGTH > 16 ? 1 : 16;
};

// A word with at most LENGTH letters, and the coefficients of its prefixes.
template <typename real, int LENGTH> struct Prefix {
    static constexpr int SIZE = LENGTH > 0 ? LENGTH : 1;
    static constexpr int UNROLL = Unrolled<LENGTH>::STEPS;
    int letter[SIZE];
    integer position[SIZE]; // of the prefix that ends with this letter
    bool first[SIZE];       // whether the letters after this one are all 0
    real state[SIZE], increment[SIZE];

    __device__ void find(integer word, integer channels) {
        integer rest = 1;
#pragma unroll UNROLL
        for (int i = LENGTH - 1; i >= 0; --i) {
            letter[i] = (int)(word / rest % channels);
            position[i] = shorter_words(channels, i + 1) + word / rest;
            first[i] = word % rest == 0;
            rest *= channels;
        }
    }

    __device__ void read(const real *row) {
#pragma unroll UNROLL
        for (int i = 0; i < LENGTH; ++i) state[i] = row ? row[position[i]] : real(0);
    }

    __device__ void read_increment(const real *increments) {
#pragma unroll UNROLL
        for (int i = 0; i < LENGTH; ++i) increment[i] = increments[letter[i]];
    }

    // The intermediate after `count` letters of words with `length` letters.
    __device__ real intermediate(int length, int count) const {
        real value = 1;
#pragma unroll UNROLL
        for (int i = 0; i < count; ++i)
            value = value * (increment[i] * (real(1) / real(length - i))) + state[i];
        return value;
    }

    __device__ void multiply() {
#pragma unroll UNROLL
        for (int length = LENGTH; length >= 1; --length)
            state[length - 1] += intermediate(length, length - 1) * increment[length - 1];
    }
};

// The words of a prefix, TILE row letters and TILE column letters. At depth 1 there are columns only.
template <typename real, int DEPTH, int TILE> struct Words {
    static constexpr int LETTERS = DEPTH > 2 ? DEPTH - 2 : 0, ROWS = DEPTH > 1 ? TILE : 1;
    Prefix<real, LETTERS> prefix;
    integer row_word, row_position, rows, first_row, first_column, columns;
    real row[ROWS], row_increment[ROWS], column_increment[TILE];

    // tile: among those of a prefix, one beside the other, the column varying fastest.
    __device__ void find(integer prefix_word, integer tile_row, integer tile_column,
                         integer channels) {
        prefix.find(prefix_word, channels);
        first_row = tile_row * TILE;
        first_column = tile_column * TILE;
        rows = DEPTH > 1 ? min(channels - first_row, (integer)TILE) : 1;
        columns = min(channels - first_column, (integer)TILE);
        row_word = DEPTH > 1 ? prefix_word * channels + first_row : 0;
        row_position = shorter_words(channels, DEPTH - 1) + row_word;
    }

    __device__ void read_rows(const real *state) {
        prefix.read(state);
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
            row[r] = DEPTH > 1 && state && r < rows ? state[row_position + r] : real(0);
    }

    __device__ void read_increment(const real *increments) {
        prefix.read_increment(increments);
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
            row_increment[r] = DEPTH > 1 && r < rows ? increments[first_row + r] : real(0);
#pragma unroll
        for (int c = 0; c < TILE; ++c)
            column_increment[c] = c < columns ? increments[first_column + c] : real(0);
    }

    // The intermediates of the words of full depth but for their last letter.
    __device__ void row_intermediates(real *value) const {
        if (DEPTH == 1) {
            value[0] = 1;
            return;
        }
        const real before = prefix.intermediate(DEPTH, LETTERS);
#pragma unroll
        for (int r = 0; r < ROWS; ++r) value[r] = before * (row_increment[r] * real(0.5)) + row[r];
    }

    __device__ void multiply_rows() {
        if (DEPTH > 1) {
            const real before = prefix.intermediate(DEPTH - 1, LETTERS);
#pragma unroll
            for (int r = 0; r < ROWS; ++r) row[r] += before * row_increment[r];
        }
        prefix.multiply();
    }
};

// The coefficients (or their adjoints) of full depth; those outside of the tile are zero.
template <typename real, int ROWS, int TILE> struct Top {
    real value[ROWS][TILE];

    // first: the coefficient of row 0 and column 0; null for zeros.
    template <typename W>
    __device__ void read(const W &words, const real *first, integer channels) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int c = 0; c < TILE; ++c)
                value[r][c] = first && r < words.rows && c < words.columns ? first[r * channels + c]
                                                                           : real(0);
    }

    template <typename W> __device__ void add(const W &words, const real *first, integer channels) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int c = 0; c < TILE; ++c)
                if (r < words.rows && c < words.columns) value[r][c] += first[r * channels + c];
    }

    template <typename W>
    __device__ void write(const W &words, real *first, integer channels) const {
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int c = 0; c < TILE; ++c)
                if (r < words.rows && c < words.columns) first[r * channels + c] = value[r][c];
    }
};

// ----------------------------------------------------------------------------------- the increments

// basepoint: a point before each path, or null; basepoint_stride: from one path's to the next one's.
template <typename real>
__global__ void signature_increments(real *__restrict__ increments, const real *__restrict__ path,
                                     const real *__restrict__ basepoint, integer basepoint_stride,
                                     integer paths, integer length, integer channels) {
    const integer longest = length - !basepoint, index = thread_index();
    if (index >= paths * longest * channels) return;
    const integer channel = index % channels, step = index / channels % longest;
    const integer row = index / channels / longest;
    const real *after = path + (row * length + step + !basepoint) * channels + channel;
    const real before =
        basepoint && step == 0 ? basepoint[row * basepoint_stride + channel] : after[-channels];
    increments[index] = *after - before;
}

// ------------------------------------------------------------------------------------------ forward

enum { AT_END, AFTER_STEP, BEFORE_STEP }; // which states are written

// All coefficients that a thread has.
template <typename real, int DEPTH, int TILE> struct State {
    Words<real, DEPTH, TILE> words;
    Top<real, Words<real, DEPTH, TILE>::ROWS, TILE> top;
    static constexpr int UNROLL = Unrolled<DEPTH>::STEPS;
    integer top_position, channels;

    __device__ void find(integer index, integer size) {
        const integer tiles = (size + TILE - 1) / TILE, tile_rows = DEPTH > 1 ? tiles : 1;
        channels = size;
        words.find(index / tiles / tile_rows, index / tiles % tile_rows, index % tiles, channels);
        top_position =
            shorter_words(channels, DEPTH) + words.row_word * channels + words.first_column;
    }

    __device__ void read(const real *row) {
        words.read_rows(row);
        top.read(words, row ? row + top_position : nullptr, channels);
    }

    __device__ void multiply(const real *increments) {
        real intermediate[Words<real, DEPTH, TILE>::ROWS];
        words.read_increment(increments);
        words.row_intermediates(intermediate);
#pragma unroll
        for (int r = 0; r < words.ROWS; ++r)
#pragma unroll
            for (int c = 0; c < TILE; ++c)
                top.value[r][c] += intermediate[r] * words.column_increment[c];
        words.multiply_rows();
    }

    // Each coefficient is written by one of the threads that hold it.
    __device__ void write(real *row) const {
        top.write(words, row + top_position, channels);
        if (DEPTH == 1 || words.first_column != 0) return;
#pragma unroll
        for (int r = 0; r < words.ROWS; ++r)
            if (r < words.rows) row[words.row_position + r] = words.row[r];
        if (words.first_row != 0) return;
#pragma unroll UNROLL
        for (int i = 0; i < words.LETTERS; ++i)
            if (words.prefix.first[i]) row[words.prefix.position[i]] = words.prefix.state[i];
    }
};

// signature: row r of a task at path * path_stride + piece * piece_stride + r * row_stride.
//     AT_END: one row, the state after the last step of the block.
//     AFTER_STEP: row r is the state after step r of the path; a path's last one is repeated up to
//     row `rows`.
//     BEFORE_STEP: the state before every `every`-th step of the block, row 0 before its first one.
// initial: the state before the first step, at path * initial_path_stride + piece *
// initial_piece_stride, or null for the unit; without a piece stride, only of a path's first piece.
template <typename real, int DEPTH, int TILE>
__global__ void
signature_forward(real *signature, const real *increments, const real *initial,
                  const integer *steps, integer paths, integer longest, integer channels,
                  integer pieces, integer block, integer block_size, integer initial_path_stride,
                  integer initial_piece_stride, integer path_stride, integer piece_stride,
                  integer row_stride, integer rows, integer every, integer when) {
    const integer tiles = (channels + TILE - 1) / TILE;
    const integer threads = DEPTH > 1 ? power(channels, DEPTH - 2) * tiles * tiles : tiles;
    const integer index = thread_index();
    if (index >= paths * pieces * threads) return;
    const Task task = find_task(index / threads, steps, longest, pieces, block, block_size);
    const bool begins = initial && (task.piece == 0 || initial_piece_stride);
    State<real, DEPTH, TILE> state;
    state.find(index % threads, channels);
    state.read(begins
                   ? initial + task.path * initial_path_stride + task.piece * initial_piece_stride
                   : nullptr);
    signature += task.path * path_stride + task.piece * piece_stride;
    increments += task.path * longest * channels;
    for (integer step = task.first; step < task.last; ++step) {
        if (when == BEFORE_STEP && (step - task.first) % every == 0)
            state.write(signature + (step - task.first) / every * row_stride);
        state.multiply(increments + step * channels);
        if (when == AFTER_STEP) state.write(signature + step * row_stride);
    }
    if (when == AT_END) state.write(signature);
    if (when == AFTER_STEP && task.ends_path)
        for (integer row = task.last; row < rows; ++row) state.write(signature + row * row_stride);
}

// ------------------------------------------------------------------------------------- the products

// For each piece k of a path, result[k] = left[k - distance] (x) left[k] (k >= distance, else
// left[k]); with reverse, result[k] = left[k] (x) left[k + distance] (where there is such a piece).
template <typename real>
__global__ void signature_product(real *__restrict__ result, const real *__restrict__ factors,
                                  integer paths, integer pieces, integer words, integer channels,
                                  integer distance, integer reverse) {
    const integer index = thread_index();
    if (index >= paths * pieces * words) return;
    const integer piece = index / words % pieces, word = index % words;
    const integer other = reverse ? piece + distance : piece - distance;
    if (other < 0 || other >= pieces) {
        result[index] = factors[index];
        return;
    }
    const real *here = factors + (index - word), *there = here + (other - piece) * words;
    const real *left = reverse ? here : there, *right = reverse ? there : here;
    result[index] = product_word(left, right, word, channels);
}

// The adjoint of multiplying by the pieces from the right, for all at once: with those of `distance`
// pieces later, result[k][u] = adjoint[k][u] + sum over v of adjoint[k + distance][u v] S[k][v].
// There is one adjoint more than there are pieces: the last is that of the end of the path.
template <typename real>
__global__ void signature_product_adjoint(real *__restrict__ result,
                                          const real *__restrict__ adjoint,
                                          const real *__restrict__ factors, integer paths,
                                          integer pieces, integer words, integer factor_words,
                                          integer channels, integer depth, integer distance) {
    const integer index = thread_index();
    if (index >= paths * (pieces + 1) * words) return;
    const integer word = index % words, piece = index / words % (pieces + 1);
    const integer path = index / words / (pieces + 1);
    real sum = adjoint[index];
    if (piece + distance <= pieces) {
        const real *later = adjoint + (index - word) + distance * words;
        const real *factor = factors + (path * pieces + piece) * factor_words;
        integer prefix = word, count = 1;
        const int length = find_length(prefix, channels);
        sum += later[word];
        for (int i = 1; i <= depth - length; ++i) {
            count *= channels;
            const real *long_words = later + shorter_words(channels, length + i) + prefix * count;
            for (integer rest = 0; rest < count; ++rest) sum += long_words[rest] * *factor++;
        }
    }
    result[index] = sum;
}

// The inverse element: the words backwards, the sign of those of odd length changed.
template <typename real>
__global__ void signature_antipode(real *__restrict__ result, const real *__restrict__ signature,
                                   integer rows, integer words, integer channels,
                                   integer result_stride, integer stride) {
    const integer index = thread_index();
    if (index >= rows * words) return;
    const integer row = index / words, word = index % words;
    integer rest = word, backwards = 0;
    const int length = find_length(rest, channels);
    for (int i = 0; i < length; ++i) {
        backwards = backwards * channels + rest % channels;
        rest /= channels;
    }
    const real value = signature[row * stride + shorter_words(channels, length) + backwards];
    result[row * result_stride + word] = length % 2 ? -value : value;
}

// ----------------------------------------------------------------------------------------- backward

// The sum of the gradients of the rows that repeat a path's last state: (paths, words).
template <typename real>
__global__ void signature_repeated_rows(real *__restrict__ result, const real *__restrict__ grad,
                                        const integer *__restrict__ steps, integer paths,
                                        integer longest, integer words) {
    const integer index = thread_index();
    if (index >= paths * words) return;
    const integer path = index / words, word = index % words;
    real sum = 0;
    for (integer row = steps ? steps[path] : longest; row < longest; ++row)
        sum += grad[(path * longest + row) * words + word];
    result[index] = sum;
}

// The sum over the `width` threads of a group (a power of two, at most a warp), in its first thread.
template <typename real> static __device__ real group_sum(real value, int width) {
    const int group = (int)(threadIdx.x & 31) / width;
    const unsigned mask = (0xffffffffu >> (32 - width)) << (group * width);
    for (int distance = width / 2; distance > 0; distance /= 2)
        value += __shfl_down_sync(mask, value, distance, width);
    return value;
}

// Level DEPTH for a block of steps, backwards. A group of `width` threads has the same columns.
// top: its adjoint, at path * top_path_stride + piece * top_piece_stride.
// grad: with stream, gradients of the rows, which join the adjoint after their steps; else null.
// contraction: (task, step of the block, column tile, words of DEPTH - 1): each tile's part of P_1.
// letter_gradient: (task, step of the block, slot, channels): each group's part of dz.
// states: (task, step of the block, words): the states before the steps, up to level DEPTH - 1.
template <typename real, int DEPTH, int TILE>
__global__ void
signature_top_backward(real *__restrict__ top, real *__restrict__ contraction,
                       real *__restrict__ letter_gradient, const real *__restrict__ grad,
                       const real *__restrict__ states, const real *__restrict__ increments,
                       const integer *__restrict__ steps, integer paths, integer longest,
                       integer channels, integer pieces, integer block, integer block_size,
                       integer width, integer slots, integer top_path_stride,
                       integer top_piece_stride, integer path_stride, integer row_stride) {
    typedef Words<real, DEPTH, TILE> TileWords;
    const integer tiles = (channels + TILE - 1) / TILE, tile_rows = DEPTH > 1 ? tiles : 1;
    const integer threads = power(channels, TileWords::LETTERS) * tile_rows; // of one column tile
    const integer groups = (threads + width - 1) / width;
    const integer group = thread_index() / width, slot = group % groups;
    const integer lane = thread_index() % width, tile_column = group / groups % tiles;
    const integer task_index = group / groups / tiles;
    if (task_index >= paths * pieces) return;
    // A thread too many goes along with the others of its group, with an adjoint of zeros.
    const bool active = slot * width + lane < threads;
    const integer item = active ? slot * width + lane : 0;
    const Task task = find_task(task_index, steps, longest, pieces, block, block_size);
    const integer row_words = power(channels, DEPTH - 1);
    const integer state_words = shorter_words(channels, DEPTH);

    TileWords words;
    words.find(item / tile_rows, item % tile_rows, tile_column, channels);
    const integer position = words.row_word * channels + words.first_column;
    Top<real, TileWords::ROWS, TILE> adjoint;
    top += task.path * top_path_stride + task.piece * top_piece_stride + position;
    adjoint.read(words, active ? top : nullptr, channels);
    increments += task.path * longest * channels;
    const integer row = task_index * block_size;
    for (integer step = task.last - 1; step >= task.first; --step) {
        const integer local = row + step - task.first;
        if (grad && active)
            adjoint.add(words,
                        grad + task.path * path_stride + step * row_stride + state_words + position,
                        channels);
        words.read_rows(states + local * state_words);
        words.read_increment(increments + step * channels);
        real intermediate[TileWords::ROWS];
        words.row_intermediates(intermediate);
        real *parts = contraction + (local * tiles + tile_column) * row_words + words.row_word;
#pragma unroll
        for (int r = 0; r < TileWords::ROWS; ++r) {
            real sum = 0;
#pragma unroll
            for (int c = 0; c < TILE; ++c) sum += adjoint.value[r][c] * words.column_increment[c];
            if (DEPTH > 1 && active && r < words.rows) parts[r] = sum;
        }
#pragma unroll
        for (int c = 0; c < TILE; ++c) {
            real gradient = 0;
#pragma unroll
            for (int r = 0; r < TileWords::ROWS; ++r)
                gradient += intermediate[r] * adjoint.value[r][c];
            gradient = group_sum(gradient, (int)width);
            if (lane == 0 && c < words.columns)
                letter_gradient[(local * slots + slot) * channels + words.first_column + c] =
                    gradient;
        }
    }
    if (grad && active) adjoint.write(words, top, channels);
}

// The same where a single tile has all letters: then a thread has all that follows a prefix, and
// takes the words of DEPTH - 1 letters and the prefix itself along.
// shorter: the adjoint of the words up to level DEPTH - 1 at least, with strides.
// contraction: (task, step of the block, j from 0 to 2, words of DEPTH - 2): P_j of the prefixes.
template <typename real, int DEPTH, int TILE>
__global__ void
signature_tile_backward(real *top, real *shorter, real *contraction, real *letter_gradient,
                        const real *grad, const real *states, const real *increments,
                        const integer *steps, integer paths, integer longest, integer channels,
                        integer pieces, integer block, integer block_size, integer width,
                        integer slots, integer top_path_stride, integer top_piece_stride,
                        integer shorter_path_stride, integer shorter_piece_stride,
                        integer path_stride, integer row_stride) {
    typedef Words<real, DEPTH, TILE> TileWords;
    constexpr int LETTERS = TileWords::LETTERS;
    const integer prefixes = power(channels, LETTERS), groups = (prefixes + width - 1) / width;
    const integer group = thread_index() / width, slot = group % groups;
    const integer lane = thread_index() % width, task_index = group / groups;
    if (task_index >= paths * pieces) return;
    const bool active = slot * width + lane < prefixes;
    const integer prefix = active ? slot * width + lane : 0;
    const Task task = find_task(task_index, steps, longest, pieces, block, block_size);
    const integer state_words = shorter_words(channels, DEPTH);

    TileWords words;
    words.find(prefix, 0, 0, channels);
    const integer top_position = words.row_word * channels;
    const integer prefix_position = shorter_words(channels, LETTERS) + prefix;
    Top<real, TILE, TILE> adjoint;
    real row_adjoint[TILE], prefix_adjoint = 0;
    top += task.path * top_path_stride + task.piece * top_piece_stride + top_position;
    shorter += task.path * shorter_path_stride + task.piece * shorter_piece_stride;
    adjoint.read(words, active ? top : nullptr, channels);
#pragma unroll
    for (int r = 0; r < TILE; ++r)
        row_adjoint[r] = active && r < words.rows ? shorter[words.row_position + r] : real(0);
    if (LETTERS > 0) prefix_adjoint = shorter[prefix_position];
    increments += task.path * longest * channels;
    const integer row = task_index * block_size;
    for (integer step = task.last - 1; step >= task.first; --step) {
        const integer local = row + step - task.first;
        if (grad && active) {
            const real *later = grad + task.path * path_stride + step * row_stride;
            adjoint.add(words, later + state_words + top_position, channels);
#pragma unroll
            for (int r = 0; r < TILE; ++r)
                if (r < words.rows) row_adjoint[r] += later[words.row_position + r];
            if (LETTERS > 0) prefix_adjoint += later[prefix_position];
        }
        words.read_rows(states + local * state_words);
        words.read_increment(increments + step * channels);
        real intermediate[TILE], once = 0, twice = 0, gradient[TILE];
        words.row_intermediates(intermediate);
        // Of the prefix, for words of DEPTH - 1 and of DEPTH letters.
        const real before = words.prefix.intermediate(DEPTH - 1, LETTERS);
        const real long_before = words.prefix.intermediate(DEPTH, LETTERS) * real(0.5);
#pragma unroll
        for (int c = 0; c < TILE; ++c) gradient[c] = 0;
#pragma unroll
        for (int r = 0; r < TILE; ++r) {
            real sum = 0;
#pragma unroll
            for (int c = 0; c < TILE; ++c) {
                sum += adjoint.value[r][c] * words.column_increment[c];
                gradient[c] += intermediate[r] * adjoint.value[r][c];
            }
            gradient[r] += before * row_adjoint[r] + long_before * sum;
            once += row_adjoint[r] * words.row_increment[r];
            twice += sum * words.row_increment[r];
            row_adjoint[r] += sum;
        }
        twice *= real(0.5);
        if (LETTERS > 0 && active) {
            real *contracted = contraction + local * 3 * prefixes + prefix;
            contracted[0] = prefix_adjoint;
            contracted[prefixes] = once;
            contracted[2 * prefixes] = twice;
        }
        prefix_adjoint += once + twice;
#pragma unroll
        for (int c = 0; c < TILE; ++c) {
            const real sum = group_sum(gradient[c], (int)width);
            if (lane == 0 && c < words.columns)
                letter_gradient[(local * slots + slot) * channels + c] = sum;
        }
    }
    if (!active) return;
    if (grad) adjoint.write(words, top, channels);
#pragma unroll
    for (int r = 0; r < TILE; ++r)
        if (r < words.rows) shorter[words.row_position + r] = row_adjoint[r];
    if (LETTERS > 0) shorter[prefix_position] = prefix_adjoint;
}

// Words of LEVEL letters, 1 <= LEVEL < DEPTH, for a block of steps, backwards.
// adjoint: of the words up to level DEPTH - 1 at least, with strides like top's. grad, states, letter_gradient: as above; this
// level's slots begin at first_slot.
// contraction: (task, step of the block, j from 0 to DEPTH - LEVEL, words of LEVEL): P_j, for the
// level below and for the increments of the empty word. longer: that of the level above, (..., j
// from 0 to DEPTH - LEVEL - 1, words of LEVEL + 1); for LEVEL = DEPTH - 1 what signature_top_backward
// leaves, with `tiles` parts.
template <typename real, int DEPTH, int LEVEL>
__global__ void signature_level_backward(
    real *__restrict__ adjoint, real *__restrict__ contraction, real *__restrict__ letter_gradient,
    const real *__restrict__ longer, const real *__restrict__ grad, const real *__restrict__ states,
    const real *__restrict__ increments, const integer *__restrict__ steps, integer paths,
    integer longest, integer channels, integer pieces, integer block, integer block_size,
    integer width, integer slots, integer first_slot, integer tiles, integer adjoint_path_stride,
    integer adjoint_piece_stride, integer path_stride, integer row_stride) {
    constexpr int ABOVE = DEPTH - LEVEL, UNROLL = Unrolled<DEPTH>::STEPS;
    const integer words = power(channels, LEVEL), groups = (words + width - 1) / width;
    const integer group = thread_index() / width, slot = group % groups;
    const integer lane = thread_index() % width, task_index = group / groups;
    if (task_index >= paths * pieces) return;
    const bool active = slot * width + lane < words;
    const integer word = active ? slot * width + lane : 0;
    const Task task = find_task(task_index, steps, longest, pieces, block, block_size);
    const integer state_words = shorter_words(channels, DEPTH);
    const integer position = shorter_words(channels, LEVEL) + word;

    Prefix<real, LEVEL> prefix;
    prefix.find(word, channels);
    adjoint += task.path * adjoint_path_stride + task.piece * adjoint_piece_stride + position;
    real after = *adjoint;
    increments += task.path * longest * channels;
    const integer row = task_index * block_size;
    for (integer step = task.last - 1; step >= task.first; --step) {
        const integer local = row + step - task.first;
        const real *increment = increments + step * channels;
        if (grad) after += grad[task.path * path_stride + step * row_stride + position];
        real contracted[ABOVE + 1] = {after};
        if (ABOVE == 1) {
            for (integer tile = 0; tile < tiles; ++tile)
                contracted[1] += longer[(local * tiles + tile) * words + word];
        } else {
            real intermediate[ABOVE];
            prefix.read(states + local * state_words);
            prefix.read_increment(increment);
#pragma unroll UNROLL
            for (int j = 0; j < ABOVE; ++j)
                intermediate[j] =
                    active ? prefix.intermediate(LEVEL + 1 + j, LEVEL) * (real(1) / real(j + 1))
                           : real(0);
            for (integer c = 0; c < channels; ++c) {
                real gradient = 0;
#pragma unroll UNROLL
                for (int j = 0; j < ABOVE; ++j) {
                    const real value = longer[((local * ABOVE + j) * words + word) * channels + c];
                    contracted[j + 1] += value * increment[c];
                    gradient += intermediate[j] * value;
                }
                gradient = group_sum(gradient, (int)width);
                if (lane == 0)
                    letter_gradient[(local * slots + first_slot + slot) * channels + c] = gradient;
            }
#pragma unroll UNROLL
            for (int j = 2; j <= ABOVE; ++j) contracted[j] *= real(1) / real(j);
        }
        if (!active) continue;
#pragma unroll UNROLL
        for (int j = 0; j <= ABOVE; ++j)
            contraction[(local * (ABOVE + 1) + j) * words + word] = contracted[j];
#pragma unroll UNROLL
        for (int j = 1; j <= ABOVE; ++j) after += contracted[j];
    }
    if (active) *adjoint = after;
}

// The gradients of the increments of a block: the parts of all slots, and those of words of a single
// letter, whose intermediates are 1. contraction: that of level 1, (task, step, depth, channels), or
// null where the words of a single letter are among those of the tiles.
template <typename real>
__global__ void signature_increment_gradient(real *__restrict__ increment_gradient,
                                             const real *__restrict__ letter_gradient,
                                             const real *__restrict__ contraction,
                                             const integer *__restrict__ steps, integer paths,
                                             integer longest, integer channels, integer depth,
                                             integer pieces, integer block, integer block_size,
                                             integer slots) {
    const integer index = thread_index();
    if (index >= paths * pieces * block_size * channels) return;
    const integer channel = index % channels, local = index / channels;
    const Task task = find_task(local / block_size, steps, longest, pieces, block, block_size);
    const integer step = task.first + local % block_size;
    if (step >= task.last) return;
    real sum = 0;
    for (integer slot = 0; slot < slots; ++slot)
        sum += letter_gradient[(local * slots + slot) * channels + channel];
    if (contraction) {
        for (integer j = 0; j < depth; ++j)
            sum += contraction[(local * depth + j) * channels + channel] / real(j + 1);
    }
    increment_gradient[(task.path * longest + step) * channels + channel] = sum;
}

// The gradients of the points from those of the increments: the adjoint of signature_increments.
template <typename real>
__global__ void
signature_point_gradient(real *__restrict__ path_gradient, real *__restrict__ basepoint_gradient,
                         const real *__restrict__ increment_gradient,
                         const integer *__restrict__ steps, integer paths, integer length,
                         integer longest, integer channels, integer has_basepoint) {
    const integer index = thread_index();
    if (index >= paths * length * channels) return;
    const integer channel = index % channels, point = index / channels % length;
    const integer path = index / channels / length;
    const integer count = steps ? steps[path] : longest;
    const integer leaving = point + has_basepoint, arriving = leaving - 1;
    increment_gradient += path * longest * channels + channel;
    real gradient = 0;
    if (arriving >= 0 && arriving < count) gradient += increment_gradient[arriving * channels];
    if (leaving < count) gradient -= increment_gradient[leaving * channels];
    path_gradient[index] = gradient;
    if (basepoint_gradient && point == 0)
        basepoint_gradient[path * channels + channel] = count > 0 ? -increment_gradient[0] : 0;
}
