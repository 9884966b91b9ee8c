/* Soft sort and soft rank of rows, and their gradients, on the CPU.
 *
 * Layers, from the inside out:
 *     soft_chunks.h           long rows in chunks, for several threads
 *     soft_exp.h              exp, as a loop that compilers make vectors of
 *     soft_sums.h             sums
 *     blocks.h                which blocks of neighbours are pooled
 *     soft_strips.h           pooling of a short part of a sorted row
 *     soft_pool.h             pooling of a sorted row
 *     soft_lanes.h            sorting of short rows, one in each lane
 *     soft_keys.h             sorting of entries together with their indices
 *     soft_bins.h             ranks, l2, without sorting, where neighbours lie close together
 *     soft_rows.h             one row from the sorted entries to the result
 *     soft_backward.h         the gradients of one row
 *     soft_tasks.h            one row, but for its sorting
 *     soft_lane_ranks.h       ranks, kl, of several short rows
 *     soft_short.h            short rows
 *     soft_buckets.h          one row, sorted by several threads
 *     soft.h (this file)      what all compilations share
 *     soft.pyx                a loop over rows, with threads; long rows are sorted by NumPy
 *
 * A row is multiplied by -1 for descending order, then everything is done in ascending order.
 */
#ifndef PYSIG_SOFT_H
#define PYSIG_SOFT_H

#include <float.h>
#include <math.h>
#include <stddef.h>

#include "simd.h"

enum { SOFT_SORT_L2, SOFT_RANK_L2, SOFT_SORT_KL, SOFT_RANK_KL, SOFT_SORT_HARD };
enum { SOFT_OK, SOFT_NAN, SOFT_INFINITE };

/* All arrays are [batch][n] in C order.  Those that only the gradient needs are NULL where it is
 * not asked for. */
typedef struct {
    ptrdiff_t batch, n;
    int kind; /* of blocks.h, or SOFT_SORT_HARD */
    int sign; /* -1: descending order */
    int is_double, level;
    double strength;
    const void *x;
    void *value;
    int32_t *order;            /* sort: the permutation that sorts */
    uint8_t *starts;           /* sort: 1 where a block begins */
    void *weights;             /* sort, kl: the share of each entry in the sum of its block */
    int32_t *blocks;           /* rank: the number of each entry's block, in the order of x */
    const void *grad;          /* backward: the gradient of value */
    void *x_gradient;          /* backward */
    double *strength_gradient; /* backward: [batch], or NULL */
} soft_problem;

enum {
    SOFT_CHUNK = 32768, /* entries of a long row that one thread works on at a time; even */
    SOFT_STRIP = 256,   /* entries that are pooled at a time */
    SOFT_TOGETHER = 4,  /* short rows, or parts of long ones, whose gradients are summed in turns */
    /* Entries whose results are written at a time, and segments that they may have. */
    SOFT_SEGMENTED = 128,
    SOFT_SEGMENTS = SOFT_SEGMENTED + 2
};

typedef struct {
    ptrdiff_t begin, end;
} soft_range;

/* Neighbours in a sorted row that are pooled. */
typedef struct {
    double sum; /* what of: blocks.h */
    int start;  /* position of the first entry */
    int length; /* at least 2 where it is stored */
} soft_block;

/* Two sums that are taken together. */
typedef double soft_pair __attribute__((vector_size(16)));

/* What passes over a long row leave for each of its chunks. */
typedef struct {
    ptrdiff_t count;   /* of the chunk's blocks */
    ptrdiff_t block;   /* the first block that ends in the chunk or later */
    ptrdiff_t skipped; /* entries of the blocks before that, but for one of each */
    /* Blocks that reach into other chunks, at the beginning and at the end. */
    soft_range head, tail;
    double head_sum, tail_sum;
    double least, largest, sum; /* of the entries */
    soft_block head_block, tail_block;
} soft_part;

typedef void soft_task(void *context, ptrdiff_t number);

/* What a thread works in: room for one long row, or for a few short ones. */
typedef struct {
    double *keys;     /* [n], later the blocks */
    int32_t *order;   /* [n] */
    void *sorted;     /* [n] */
    int32_t *bins;    /* [n] */
    double *columns;  /* short rows: as many as keys */
    soft_part *parts; /* one for each chunk */
    /* sort, kl: the sum of exp(-i / strength) for i < m, and exp(-m / strength) */
    double geometric[SOFT_STRIP + 1], decay[SOFT_STRIP + 1];
    /* Where several threads work on one row: how many, and a function that does the tasks 0 ...
     * count - 1 with them. */
    int threads;
    void (*run)(soft_task *task, void *context, ptrdiff_t count, int threads);
} soft_workspace;

/* A long row is sorted in so many parts, where there are threads for it. */
#define SOFT_BUCKETS 8

#include "sorting/soft_chunks.h"

static inline uint64_t soft_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double soft_from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#define SIMD_TEMPLATE "sorting/soft_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* Fills the tables of a workspace. */
static void soft_fill_tables(const soft_problem *problem, soft_workspace *workspace) {
    if (problem->kind == SOFT_SORT_KL)
        SIMD_CALL(soft_fill_tables, problem->is_double, problem->level, problem, workspace);
}

static int soft_short_rows(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                           const soft_workspace *workspace) {
    return SIMD_CALL(soft_short_rows, problem->is_double, problem->level, problem, first, last,
                     workspace);
}

/* For the next five: keys: [n], for this row; NULL: the row of `value` is to be sorted itself. */

static int soft_prepare_row(const soft_problem *problem, ptrdiff_t row, double *keys,
                            const soft_workspace *workspace) {
    if (keys)
        return SIMD_CALL(soft_prepare_row, problem->is_double, problem->level, problem, row, keys,
                         workspace);
    return SIMD_CALL(soft_prepare_values, problem->is_double, problem->level, problem, row,
                     workspace);
}

static int soft_finish_row(const soft_problem *problem, ptrdiff_t row, double *keys,
                           const soft_workspace *workspace) {
    if (keys)
        return SIMD_CALL(soft_finish_keys, problem->is_double, problem->level, problem, row, keys,
                         workspace);
    return SIMD_CALL(soft_finish_values, problem->is_double, problem->level, problem, row,
                     workspace);
}

/* As soft_prepare_row, but the keys, or the values, are not made. */
static int soft_try_row(const soft_problem *problem, ptrdiff_t row, const double *keys,
                        const soft_workspace *workspace) {
    if (keys)
        return SIMD_CALL(soft_try_row, problem->is_double, problem->level, problem, row, workspace);
    return SIMD_CALL(soft_try_values, problem->is_double, problem->level, problem, row, workspace);
}

static void soft_fill_buckets(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                              ptrdiff_t end, const double *splitters, const ptrdiff_t *places,
                              double *keys) {
    SIMD_CALL(soft_fill_buckets, problem->is_double, problem->level, problem, row, first, end,
              splitters, places, keys);
}

/* As soft_finish_row, after soft_take_part for all parts of the row. */
static int soft_finish_taken(const soft_problem *problem, ptrdiff_t row, double *keys,
                             const soft_workspace *workspace) {
    if (keys)
        return SIMD_CALL(soft_finish_taken, problem->is_double, problem->level, problem, row, keys,
                         workspace);
    return SIMD_CALL(soft_finish_values, problem->is_double, problem->level, problem, row,
                     workspace);
}

static void soft_choose_splitters(const soft_problem *problem, ptrdiff_t row, double *splitters) {
    SIMD_CALL(soft_choose_splitters, problem->is_double, problem->level, problem, row, splitters);
}

static int soft_count_buckets(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                              ptrdiff_t end, const double *splitters, ptrdiff_t *counts) {
    return SIMD_CALL(soft_count_buckets, problem->is_double, problem->level, problem, row, first,
                     end, splitters, counts);
}

static void soft_take_part(const soft_problem *problem, ptrdiff_t row, ptrdiff_t first,
                           ptrdiff_t end, const double *keys, const soft_workspace *workspace) {
    SIMD_CALL(soft_take_part, problem->is_double, problem->level, problem, row, first, end, keys,
              workspace);
}

static void soft_backward_rows(const soft_problem *problem, ptrdiff_t first, ptrdiff_t last,
                               const soft_workspace *workspace) {
    SIMD_CALL(soft_backward_rows, problem->is_double, problem->level, problem, first, last,
              workspace);
}
#endif
