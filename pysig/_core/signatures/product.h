/* Products of rows of words: Chen's identity, and its adjoint, on the CPU.
 *
 * A row is a signature (an element of the truncated tensor algebra whose scalar term is 1), level by
 * level.  The coefficient of a word of the product is the sum over all ways to cut the word in two,
 * of the first factor's coefficient of the first part times the second factor's of the second.
 *
 * Layers, from the inside out:
 *     product_layout.h           where the levels of a row stand
 *     product_rows.h, product_rows_backward.h   the mathematics, on rows in working memory
 *     product_tasks.h            reads the rows that indices choose, multiplies them, writes rows
 *     product.h (this file)      what all compilations share: the problem, the choice of the
 *                                instruction set
 *     product.pyx                a loop over the rows of the result, with threads
 */
#ifndef PYSIG_PRODUCT_H
#define PYSIG_PRODUCT_H

#include <math.h>
#include <stddef.h>

#include "signatures/product_layout.h"
#include "simd.h"

/* Rows of words, one behind the other; `stride` numbers from one row to the next. */
typedef struct {
    void *numbers; /* the first word of the first row; a scalar term may stand before it */
    ptrdiff_t stride;
    ptrdiff_t rows;         /* rows of one member of the batch */
    const ptrdiff_t *index; /* [problem->rows]: which row each product takes, none if negative;
                              * NULL: product r takes row r */
} product_table;

/* product r of member b of the batch = factor 0 (x) ... (x) factor (factors - 1). */
typedef struct {
    ptrdiff_t batch, rows, channels, depth;
    int factors, level;
    product_table factor[PRODUCT_FACTORS];
    product_table product; /* forward: the result; backward: its gradient */
    /* backward: the gradient of a table, of which row r has been factor positions[e] of product
     * products[e] for begins[r] <= e < begins[r + 1]; or, where begins is NULL, factor `position` of
     * product r. */
    product_table gradient;
    const ptrdiff_t *begins, *products, *positions;
    ptrdiff_t position;
    int add; /* to what the gradient has */
} product_problem;

/* Multiply-adds of one product, and the numbers that are read and written. */
static double product_cost(const product_problem *problem) {
    double cost = 0, words = 1;
    for (ptrdiff_t k = 1; k <= problem->depth; k++) {
        words *= (double)problem->channels;
        cost += words * (double)(k + 2);
    }
    return cost;
}

enum { PRODUCT_FORWARD, PRODUCT_BACKWARD };

#define SIMD_TEMPLATE "signatures/product_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* Bytes that a task of any kind needs. */
static size_t product_workspace(const product_problem *problem, int is_double) {
    product_layout layout;
    const ptrdiff_t real_bytes = is_double ? 8 : 4;
    product_make_layout(&layout, problem->channels, problem->depth,
                        ((ptrdiff_t)16 << problem->level) / real_bytes);
    return 4 * (size_t)(layout.size * real_bytes);
}

/* The products, or the rows of the gradient, number first ... last - 1 of all the batch's.
 * workspace: zeros, or what a task has left there. */
static void product_tasks(int kind, const product_problem *problem, int is_double, ptrdiff_t first,
                          ptrdiff_t last, void *workspace) {
    SIMD_CALL(product_tasks, is_double, problem->level, kind, problem, first, last, workspace);
}

#endif
