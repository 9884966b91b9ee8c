/* What the kernels need to know about tensors and Lyndon words; lyndon.py makes the tables. */
#ifndef PYSIG_LYNDON_H
#define PYSIG_LYNDON_H

#include <stddef.h>
#include <stdint.h>

/* Tensors up to the length `depth`; without the scalar term, they have offset[depth + 1] words. */
typedef struct {
    ptrdiff_t channels, depth;
    int logarithm;        /* else the exponential */
    ptrdiff_t power[66];  /* words of a length */
    ptrdiff_t offset[67]; /* where the words of a length begin; offset[1] = 0 */
} tensor_shape;

/* A sparse matrix: the entries of row i are starts[i] ... starts[i + 1] - 1. */
typedef struct {
    ptrdiff_t rows;
    const ptrdiff_t *starts, *columns;
    const double *values;
} sparse_rows;

/* Coefficients for the Lyndon words, in place of all words. */
typedef struct {
    int brackets;                  /* of their brackets; else of the words themselves */
    ptrdiff_t words;               /* how many Lyndon words there are */
    const ptrdiff_t *group_counts; /* [length - 2] */
    const ptrdiff_t *groups;       /* of words that differ in the last letter, see lyndon.py */
    const int32_t *least;          /* [word]: the least letter after it, see lyndon.py */
    sparse_rows system;            /* below the diagonal: Lyndon words from brackets */
    sparse_rows expansion;         /* all words from brackets */
} lyndon_basis;

static inline tensor_shape tensor_make_shape(ptrdiff_t channels, ptrdiff_t depth, int logarithm) {
    tensor_shape shape = {.channels = channels, .depth = depth, .logarithm = logarithm};
    shape.power[0] = 1;
    shape.offset[1] = 0;
    for (ptrdiff_t k = 1; k <= depth; k++) {
        shape.power[k] = shape.power[k - 1] * channels;
        shape.offset[k + 1] = shape.offset[k] + shape.power[k];
    }
    return shape;
}

/* c_{n+1} / c_n of the series. */
static inline double tensor_ratio(const tensor_shape *shape, ptrdiff_t n) {
    return shape->logarithm ? -(double)n / (double)(n + 1) : 1.0 / (double)(n + 1);
}

/* Words of B_1, B_2, ... together, see exponential_algebra.h. */
static inline ptrdiff_t tensor_stage_words(const tensor_shape *shape) {
    ptrdiff_t words = 0;
    for (ptrdiff_t n = 1; n < shape->depth; n++) words += shape->offset[shape->depth - n + 1];
    return words;
}

#endif
