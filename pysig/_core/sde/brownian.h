/* Brownian motion that can be asked for any interval, on the CPU.
 *
 * Time is divided into cells of equal length, within the tolerance.  The whole is halved again and
 * again, down to single cells; what the halves are follows from what the range of cells is, and
 * normal numbers that depend on the seed and the range only (bridge.h).  An interval is the sum of the
 * largest such ranges in it and, at each end, of a part of a cell, which is split once more there.
 * Two ends in one cell share the numbers of this split, or, in an exact tree, a cell is cut by one
 * end after the other, and each cut has numbers of its own.
 *
 * Layers, from the inside out:
 *     threefry.h            random words
 *     normals.h             normal numbers
 *     bridge.h              formulae of the Brownian bridge
 *     brownian_template.h   one operation of a program, for a chunk of the batch
 *     brownian_cache.h      which ranges are kept
 *     brownian_cuts.h       where the cells of an exact tree are cut
 *     brownian_program.h    from intervals to a program: a list of operations
 *     brownian.h (this file) what all of them share
 *     brownian.pyx          memory and threads
 *
 * All arrays of one process have room for whole chunks.  A program is run for each chunk from its
 * beginning to its end, so that what is not kept stays in the first-level cache.
 */
#ifndef PYSIG_BROWNIAN_H
#define PYSIG_BROWNIAN_H

#include <stddef.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "sde/bridge.h"
#include "sde/normals.h"
#include "simd.h"

/* A point of time: the cell that it is in, or begins, and how far it is in it, from 0 to 1. */
typedef struct {
    uint64_t cell;
    double part;
} brownian_point;

/* Where the values on one interval are: in an array of the whole batch, or else in a slot of the
 * scratch memory of a thread.  Both have the values of W, then those of H. */
typedef struct {
    char *array;
    ptrdiff_t slot;
} brownian_place;

enum {
    BROWNIAN_ROOT,  /* left: the whole of the time */
    BROWNIAN_SPLIT, /* whole to left and right */
    BROWNIAN_ADD,   /* whole to the sum */
    BROWNIAN_REST,  /* whole without left to the sum, which was empty */
    BROWNIAN_ROW,   /* the sum to a row of the result; the sum is empty then */
};

typedef struct {
    int kind;
    int first; /* ADD: nothing is in the sum yet */
    threefry_block key;
    uint64_t node;
    ptrdiff_t row;
    double sign; /* ROW: of W */
    brownian_place whole, left, right;
    bridge bridge;
    bridge_join join;
    bridge_rest rest;
} brownian_operation;

typedef struct {
    brownian_operation *operations;
    ptrdiff_t count, capacity, slots;
    int failed; /* out of memory */
} brownian_program;

/* Where a cell, or a part of one, was cut; then where its parts were, or -1. */
typedef struct {
    double time; /* in cells */
    ptrdiff_t left, right;
} brownian_cut;

/* The cuts of all cells, in the order in which they were made, and the first one of each cell in a
 * table of so many places, a power of two; free places are -1. */
typedef struct {
    brownian_cut *cuts;
    ptrdiff_t *first;
    ptrdiff_t count, capacity, places;
} brownian_cuts;

/* A range and its halves, or a cell and its parts, that are kept. */
typedef struct {
    uint64_t node;
    double part;
    char *memory; /* left, then right */
    ptrdiff_t newer, older, next;
    uint64_t last_used;
} brownian_entry;

/* Memory for some entries, behind this head, and the block before it. */
typedef struct brownian_memory {
    struct brownian_memory *before;
    char padding[SIMD_ALIGNMENT - sizeof(void *)];
} brownian_memory;

typedef struct {
    brownian_entry *entries;
    ptrdiff_t *buckets;
    ptrdiff_t capacity, used, listed, bucket_count, newest, oldest;
    brownian_memory *memory; /* the newest block */
    char *unused;            /* what is left of it */
    ptrdiff_t room;          /* entries that there is memory for, in all blocks */
} brownian_cache;

/* A chunk is what 16 blocks of random words make. */
enum { BROWNIAN_CHUNK_BYTES = 256, BROWNIAN_BLOCKS = 16, BROWNIAN_DEEPEST = 52 };

/* The cells first ... end - 1, one of the ranges that come of the whole by halving. */
typedef struct {
    uint64_t node, first, end;
} brownian_cells;

/* The halves of a range that went beyond a grid, left, then right. */
typedef struct {
    uint64_t node; /* 0: none */
    char *memory;
} brownian_kept;

typedef struct {
    double length;  /* of time */
    uint64_t cells; /* that it is divided into */
    int is_double;
    int components; /* 1: W; 2: W and H */
    int simd_level;
    ptrdiff_t size, chunks; /* numbers of a W; chunks of them */
    threefry_block key;
    char *root;
    uint64_t query; /* number of the query, which tells what it uses itself */
    brownian_cells path[BROWNIAN_DEEPEST + 1]; /* from the whole to what the last query was in */
    ptrdiff_t depth;                           /* number of its last range */
    brownian_cache cache;
    brownian_kept
        kept[2 * (BROWNIAN_DEEPEST + 1)]; /* two for each length, by their numbers' parity */
    ptrdiff_t kept_bytes;
    int exact;
    brownian_cuts cuts; /* if exact */
    void *later;        /* room for ranges */
    ptrdiff_t later_capacity;
} brownian_tree;

/* What the normal numbers of a block are for; above the high bits of its number in the counter. */
enum { BROWNIAN_FOR_W = 0, BROWNIAN_FOR_H = 1, BROWNIAN_FOR_AREA = 2 };
#define BROWNIAN_PURPOSE_SHIFT 24

/* Levy areas between so many components are computed for several rows at a time. */
#define BROWNIAN_SMALL 16

/* A key for what is not a range, that of the tree being for ranges. */
static threefry_block brownian_other_key(threefry_block key, threefry_block name) {
    const threefry_block all = {{~0u, ~0u, ~0u, ~0u}};
    return threefry(threefry(key, all), name);
}

static inline ptrdiff_t brownian_chunk(int is_double) {
    return BROWNIAN_CHUNK_BYTES / (is_double ? 8 : 4);
}

/* Bytes of the values on one interval, in an array and in scratch memory. */
static inline ptrdiff_t brownian_array_bytes(const brownian_tree *tree) {
    return tree->chunks * tree->components * BROWNIAN_CHUNK_BYTES;
}

static inline ptrdiff_t brownian_slot_bytes(const brownian_tree *tree) {
    return (ptrdiff_t)tree->components * BROWNIAN_CHUNK_BYTES;
}

#include "sde/brownian_cache.h"
#include "sde/brownian_cuts.h"
#include "sde/brownian_program.h"

/* Chunk after chunk of an array has the values of W, then those of H. */
#define SIMD_TEMPLATE "sde/brownian_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* The chunks first ... last - 1 of a program.  w, h: [row][size], h only with two components.
 * scratch: program->slots slots of this thread. */
static void brownian_run(const brownian_tree *tree, const brownian_program *program,
                         ptrdiff_t first, ptrdiff_t last, char *scratch, void *w, void *h) {
    SIMD_CALL(brownian_run, tree->is_double, tree->simd_level, tree, program, first, last, scratch,
              w, h);
}

/* The areas of some rows for increments over `length`, W multiplied by `sign`, as they are, too. */
static void brownian_area(int is_double, int simd_level, threefry_block key, double length,
                          double sign, int foster, ptrdiff_t m, ptrdiff_t first, ptrdiff_t last,
                          const void *w, const void *h, void *area) {
    SIMD_CALL(brownian_area, is_double, simd_level, key, length, sign, foster, m, first, last, w, h,
              area);
}

/* The key for the areas of one interval. */
static threefry_block brownian_area_key(threefry_block key, double from, double to) {
    threefry_block times;
    memcpy(&times.word[0], &from, sizeof from);
    memcpy(&times.word[2], &to, sizeof to);
    return brownian_other_key(key, times);
}

/* time: in cells */
static brownian_point brownian_locate(double time) {
    const double cell = floor(time);
    const brownian_point point = {(uint64_t)cell, time - cell};
    return point;
}
#endif
