/* The coefficients of chosen words in the signatures of batches of paths, and their gradient.
 *
 * Layers, from the inside out:
 *     projection_tree.h           the mathematics: a tree of words, a block of steps at a time
 *     projection_tasks.h          one task: all steps of a group of lanes, with the caller's arrays
 *     projection.h (this file)    what all compilations share: the problem, the plan
 *     projection.pyx              a loop over the tasks, with threads
 *
 * The tree has the chosen words and the words they begin with.  Nodes are in preorder, the empty
 * word first, and of the children of a node those without children of their own come first.
 *
 * A lane goes through `vectors` steps of a block: either lanes are paths, or they are consecutive
 * pieces of one path, which are as many at the same time.
 */
#ifndef PYSIG_PROJECTION_H
#define PYSIG_PROJECTION_H

#include <stddef.h>

#include "simd.h"

typedef struct {
    ptrdiff_t batch, steps, channels, nodes, columns;
    const ptrdiff_t *letter; /* [nodes]: the last one of each word */
    const ptrdiff_t *height; /* [nodes]: letters that the longest word below has more */
    const ptrdiff_t *end;    /* [nodes]: the node behind all that are below this one */
    const ptrdiff_t *column; /* [nodes]: where the coefficient belongs; -1: it was not chosen */
    int stream;
    const void *increments; /* [batch][steps][channels] */
    void *coefficients;     /* [batch][columns], with stream [batch][steps][columns];
                             * forward: result, backward: its gradient */
    void *gradient;         /* backward: [batch][steps][channels] */
} projection_problem;

/* It depends on the sizes only, never on the number of threads, and so does the result. */
typedef struct {
    int level;          /* instruction set */
    int by_time;        /* lanes are pieces of one path */
    ptrdiff_t vectors;  /* of a block, at most */
    ptrdiff_t capacity; /* room for them; odd, lest arrays lie a power of two apart */
    ptrdiff_t blocks;   /* along time */
    ptrdiff_t fine;     /* backward: states at the beginnings of so many blocks are kept at once */
    ptrdiff_t tasks;
} projection_plan;

static ptrdiff_t projection_ceil_divide(ptrdiff_t a, ptrdiff_t b) {
    return (a + b - 1) / b;
}

static void projection_make_plan(const projection_problem *problem, projection_plan *plan,
                                 int level, ptrdiff_t real_bytes) {
    const ptrdiff_t vector_bytes = (ptrdiff_t)16 << level, lanes = vector_bytes / real_bytes;
    const ptrdiff_t groups = projection_ceil_divide(problem->batch, lanes);
    const ptrdiff_t pieces = projection_ceil_divide(problem->steps, lanes);
    plan->level = level;
    /* Pieces cost a third more, but few paths would leave lanes, or threads, without work. */
    plan->by_time =
        (double)problem->batch * (double)pieces * 1.3 < (double)groups * (double)problem->steps ||
        (groups <= 4 && pieces >= 8);
    plan->tasks = plan->by_time ? problem->batch : groups;
    /* A block's letters take a part of the first-level cache. */
    const ptrdiff_t length = plan->by_time ? pieces : problem->steps;
    ptrdiff_t most = 8192 / (problem->channels * vector_bytes);
    most = most < 8 ? 8 : most > 32 ? 32 : most;
    plan->blocks = projection_ceil_divide(length, most);
    plan->vectors = plan->blocks ? projection_ceil_divide(length, plan->blocks) : 0;
    plan->blocks = plan->vectors ? projection_ceil_divide(length, plan->vectors) : 0;
    plan->capacity = plan->vectors | 1;
    plan->fine = plan->blocks ? plan->blocks : 1;
    if ((double)plan->blocks * (double)problem->nodes * (double)vector_bytes > 1 << 21) {
        plan->fine = 1;
        while (plan->fine * plan->fine < plan->blocks) plan->fine++;
    }
}

/* Room for Y (or P) of one word of each length at every step of a block. */
static ptrdiff_t projection_chains(const projection_problem *problem) {
    return problem->height[0] * (problem->height[0] + 1) / 2;
}

/* Vectors that a task needs. */
static ptrdiff_t projection_workspace(const projection_problem *problem,
                                      const projection_plan *plan, int backward) {
    const ptrdiff_t block = plan->capacity * (projection_chains(problem) + 1 + problem->channels);
    ptrdiff_t vectors = block + problem->nodes;
    if (backward) {
        const ptrdiff_t segments = projection_ceil_divide(plan->blocks, plan->fine);
        vectors += block + (1 + plan->fine + segments) * problem->nodes;
    }
    return vectors;
}

#define SIMD_TEMPLATE "signatures/projection_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* The tasks first ... last - 1, forward or backward. */
static void projection_tasks(const projection_problem *problem, const projection_plan *plan,
                             int backward, int is_double, ptrdiff_t first, ptrdiff_t last,
                             void *workspace) {
    SIMD_CALL(projection_tasks, is_double, plan->level, problem, plan, backward, first, last,
              workspace);
}

#endif
