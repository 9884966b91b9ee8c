/* The signature of batches of paths, and its gradient, on the CPU.
 *
 * Layers, from the inside out:
 *     signature_tree.h, signature_tree_backward.h   the mathematics, on vectors of lanes
 *     exponential_algebra.h      the logarithm of what the lanes have become, for the logsignature
 *     signature_root.h           the levels below the tree, when lanes are words
 *     product_rows.h, product_rows_backward.h   the product of the signatures of two pieces
 *     signature_lanes.h          between the lanes and the arrays of the caller
 *     signature_tasks.h          one task: a group of lanes through all of its steps
 *     signature_depth_two.h      the same for depth 2 and many channels, without a tree
 *     signature_depth_two_paths.h   and, backward, for few
 *     signature.h (this file)    what all compilations share: the problem, the plan, the choice
 *                                of the instruction set
 *     signature.pyx              a loop over the tasks, with threads
 *
 * A lane is either a path, or a piece of a path (joined by Chen's identity afterwards), or, where
 * one signature is large, one of the words of a fixed length at the beginning of all longer words.
 * The mathematics is the same for all three.  At depth 2, lanes are letters where there are enough.
 */
#ifndef PYSIG_SIGNATURE_H
#define PYSIG_SIGNATURE_H

#include <math.h>
#include <stddef.h>

#include "signatures/lyndon.h"
#include "signatures/product_layout.h"
#include "simd.h"

/* Whether `lyndon` and `logarithm` of the problem are looked at: a compilation of its own, so that
 * signatures do not pay for it. */
#ifndef SIGNATURE_LYNDON
#define SIGNATURE_LYNDON 0
#endif

/* Arrays are C-contiguous; strides count numbers.  A stride of 0 repeats one row for all paths. */
typedef struct {
    ptrdiff_t batch, length, channels, depth;
    const void *path;      /* [batch][length][channels] */
    const void *basepoint; /* [batch or 1][channels], or NULL */
    ptrdiff_t basepoint_stride;
    const void *initial; /* [batch or 1][words], or NULL */
    ptrdiff_t initial_stride;
    ptrdiff_t longest;      /* increments of the longest path */
    const ptrdiff_t *steps; /* [batch]: increments of each path; NULL: all have `longest` */
    const ptrdiff_t *order; /* [batch]: paths of like length next to each other, or NULL */
    int stream, inverse;
    /* Of the longest words, compute no more than the Lyndon words, if this is not NULL; only then the
     * others have no gradient, either. */
    const lyndon_basis *lyndon;
    /* What is written, or has the gradient, is not the signature but its logarithm, in coordinates
     * of `lyndon`; only if all lanes are whole paths, not reversed, and backward without stream. */
    const tensor_shape *logarithm;
    void *signature;          /* rows of words; forward: result, backward: its gradient */
    ptrdiff_t row_stride;     /* from one row to the next; with stream a path has several */
    ptrdiff_t path_stride;    /* from one path's first row to the next one's */
    ptrdiff_t rows;           /* rows of one path */
    void *path_gradient;      /* [batch][length][channels] */
    void *basepoint_gradient; /* [batch][channels], or NULL */
    void *initial_gradient;   /* [batch][words], or NULL */
} signature_problem;

/* How depth 2 is computed: in the tree; with letters in the lanes, a task being a path or a piece of
 * one; or, the gradient, with paths in the lanes. */
enum { DEPTH_TWO_TREE, DEPTH_TWO_LETTERS, DEPTH_TWO_PATHS };

/* How a problem is cut into tasks; it depends on the sizes only, never on the number of threads,
 * and so does the result. */
typedef struct {
    int level;          /* instruction set */
    int depth_two;      /* one of DEPTH_TWO_... */
    ptrdiff_t prefix;   /* lanes are words of this length; 0: lanes are (pieces of) paths */
    ptrdiff_t pieces;   /* of one path, along time */
    ptrdiff_t splits;   /* of one path's lanes of words, over tasks */
    ptrdiff_t block;    /* steps that go through the tree at once */
    ptrdiff_t capacity; /* room for them; odd, lest arrays lie a power of two apart */
    ptrdiff_t tasks;
    ptrdiff_t interval;    /* blocks from one kept state to the next; 0: none are kept */
    ptrdiff_t state_words; /* words shorter than the longest: what the gradient needs of a state */
    ptrdiff_t partial_words;
    void *partial;       /* [batch * pieces][partial_words]: signatures of the pieces */
    void *start, *end;   /* backward: state before (then gradient of the first increment of),
                          * and adjoint after each piece */
    void *checkpoints;   /* [task][segment][state_words] vectors: states before every `interval`-th
                          * block, relative to their piece's start; need not be aligned, or be there */
    void *step_gradient; /* backward, splits > 1: [batch][splits][longest][channels] */
} signature_plan;

/* Number of words of length first ... last: d^first + ... + d^last. */
static ptrdiff_t signature_words(ptrdiff_t channels, ptrdiff_t first, ptrdiff_t last) {
    ptrdiff_t power = 1, words = 0;
    for (ptrdiff_t k = 0; k <= last; k++, power *= channels)
        if (k >= first) words += power;
    return words;
}

static ptrdiff_t signature_power(ptrdiff_t channels, ptrdiff_t exponent) {
    ptrdiff_t power = 1;
    while (exponent-- > 0) power *= channels;
    return power;
}

/* Numbers in one row of the result. */
static ptrdiff_t signature_result_words(const signature_problem *problem) {
    if (problem->logarithm && problem->lyndon) return problem->lyndon->words;
    return signature_words(problem->channels, 1, problem->depth);
}

/* Multiply-adds of one step by Horner's rule, for the words longer than `prefix`, to `last`. */
static double signature_step_cost(const signature_problem *problem, ptrdiff_t prefix,
                                  ptrdiff_t last) {
    double cost = 0, words = 1;
    for (ptrdiff_t i = prefix + 1; i <= last; i++) {
        words *= (double)problem->channels;
        cost += words * (double)(problem->depth - i + 1);
    }
    return cost;
}

static double signature_join_cost(const signature_problem *problem) {
    double cost = 0, words = 1;
    for (ptrdiff_t k = 1; k <= problem->depth; k++) {
        words *= (double)problem->channels;
        cost += words * (double)k;
    }
    return cost;
}

static ptrdiff_t signature_steps(const signature_problem *problem, ptrdiff_t path) {
    return problem->steps ? problem->steps[path] : problem->longest;
}

/* a / b for b that is mostly 1.  With `b == 1` as the condition GCC divides all the same. */
static ptrdiff_t signature_divide(ptrdiff_t a, ptrdiff_t b) {
    return b > 1 ? a / b : a;
}

/* The first step of one of the equal pieces of a path; that of piece `pieces` is the path's end. */
static ptrdiff_t signature_piece_start(ptrdiff_t steps, ptrdiff_t piece, ptrdiff_t pieces) {
    return signature_divide(steps * piece, pieces);
}

static ptrdiff_t signature_ceil_divide(ptrdiff_t a, ptrdiff_t b) {
    return (a + b - 1) / b;
}

/* Into how many pieces along time each path is cut, where there are few paths, so that there are
 * lanes and tasks enough.  The products that join the pieces, one after the other, may cost an eighth
 * of the vector operations; more, if lanes would be empty otherwise and the work is too little for
 * several threads.  The pieces' signatures may have 2^20 numbers. */
static ptrdiff_t signature_choose_pieces(const signature_problem *problem, ptrdiff_t lanes) {
    const double step = signature_step_cost(problem, 0, problem->depth);
    const double work = step * (double)problem->longest, join = 2 * signature_join_cost(problem);
    const ptrdiff_t room = (1 << 20) / signature_words(problem->channels, 1, problem->depth);
    if (problem->stream || problem->depth == 1 || problem->batch == 0) return 1;
    if (problem->batch >= 4 * lanes) return 1;
    const ptrdiff_t most =
        problem->longest / 4 < room / problem->batch ? problem->longest / 4 : room / problem->batch;
    for (ptrdiff_t groups = 16; groups >= 1; groups /= 2) {
        const ptrdiff_t pieces = signature_ceil_divide(groups * lanes, problem->batch);
        if (pieces > 1 && pieces <= most && (double)(pieces - 1) * join * 8 * (double)lanes <= work)
            return pieces;
    }
    const ptrdiff_t pieces = lanes / problem->batch;
    if (pieces > 1 && pieces <= most && (double)(pieces - 1) * join <= 0.4 * work &&
        work * (double)problem->batch < 1 << 24)
        return pieces;
    return 1;
}

/* Vector operations for one step of one path when the lanes are words of length `prefix`. */
static double signature_words_cost(const signature_problem *problem, ptrdiff_t prefix,
                                   ptrdiff_t lanes) {
    ptrdiff_t blocks = signature_ceil_divide(signature_power(problem->channels, prefix), lanes);
    double root = 2 * signature_step_cost(problem, 0, prefix);
    return root + (double)blocks * signature_step_cost(problem, prefix, problem->depth);
}

/* Whether logarithms are worth more than lanes that are full: other lanes than whole paths would
 * take a kernel of their own for them, which for little work costs more than it saves. */
static int signature_keeps_paths_whole(const signature_problem *problem, ptrdiff_t lanes) {
    const double groups = (double)signature_ceil_divide(problem->batch, lanes);
    const double step = signature_step_cost(problem, 0, problem->depth);
    return SIGNATURE_LYNDON && problem->logarithm &&
           groups * step * (double)problem->longest < 1 << 15;
}

/* Whether letters are lanes.  Where the paths fill the lanes, they are the better ones forwards, if only
 * the Lyndon words are wanted, or if many letters would come twice to fill a vector. */
static int signature_has_depth_two(const signature_problem *problem, ptrdiff_t lanes) {
    if (problem->depth != 2 || problem->stream || problem->channels < lanes) return 0;
    const ptrdiff_t used = signature_ceil_divide(problem->channels, lanes) * lanes;
    const int paths_are_better = problem->logarithm || 5 * problem->channels < 4 * used;
    return problem->path_gradient || problem->batch < 4 * lanes || !paths_are_better;
}

static void signature_plan_depth_two(const signature_problem *problem, signature_plan *plan,
                                     ptrdiff_t real_bytes) {
    const ptrdiff_t pieces = signature_ceil_divide(16, problem->batch ? problem->batch : 1);
    const ptrdiff_t most = problem->longest / (4 * problem->channels);
    plan->depth_two = DEPTH_TWO_LETTERS;
    plan->splits = 1;
    plan->pieces = most < pieces ? most : pieces;
    if (plan->pieces < 1) plan->pieces = 1;
    plan->tasks = problem->batch * plan->pieces;
    /* A block of steps stays in the first-level cache, with half of its size to spare. */
    const ptrdiff_t steps = signature_ceil_divide(problem->longest, plan->pieces);
    ptrdiff_t block = (1 << 14) / (problem->channels * real_bytes);
    block = block < 32 ? 32 : block > 256 ? 256 : block;
    plan->block = steps ? signature_ceil_divide(steps, signature_ceil_divide(steps, block)) : 1;
    plan->capacity = plan->block;
}

/* Blocks of one task, at most. */
static ptrdiff_t signature_blocks(const signature_problem *problem, const signature_plan *plan) {
    return signature_ceil_divide(signature_ceil_divide(problem->longest, plan->pieces),
                                 plan->block);
}

/* Bytes of one state of each task. */
static double signature_state_bytes(const signature_plan *plan) {
    return (double)plan->tasks * (double)plan->state_words * (double)((size_t)16 << plan->level);
}

/* How many blocks lie between kept states, which may have 8 MiB; 0: more than the square root of
 * their number, so that it is better to keep none. */
static ptrdiff_t signature_choose_interval(const signature_problem *problem,
                                           const signature_plan *plan) {
    const double blocks = (double)signature_blocks(problem, plan);
    const double interval = fmax(1, ceil(blocks * signature_state_bytes(plan) / (1 << 23)));
    return interval > 1 && interval * interval > blocks ? 0 : (ptrdiff_t)interval;
}

static void signature_make_plan(const signature_problem *problem, signature_plan *plan, int level,
                                ptrdiff_t real_bytes) {
    const ptrdiff_t vector_bytes = (ptrdiff_t)16 << level, lanes = vector_bytes / real_bytes;
    const ptrdiff_t large = (ptrdiff_t)1 << 23;
    memset(plan, 0, sizeof *plan);
    plan->level = level;
    plan->state_words = signature_words(problem->channels, 1, problem->depth - 1);
    plan->partial_words = signature_words(problem->channels, 1, problem->depth);
    if (signature_has_depth_two(problem, lanes)) {
        signature_plan_depth_two(problem, plan, real_bytes);
        return;
    }
    const int whole = signature_keeps_paths_whole(problem, lanes);
    plan->pieces = whole ? 1 : signature_choose_pieces(problem, lanes);
    plan->splits = 1;

    const ptrdiff_t paths = problem->batch * plan->pieces;
    const ptrdiff_t words = signature_words(problem->channels, 1, problem->depth);
    double best = signature_step_cost(problem, 0, problem->depth) *
                  (double)signature_ceil_divide(paths, lanes) / (double)(paths ? paths : 1);
    if (words > large / vector_bytes) best *= 8;
    for (ptrdiff_t prefix = 1, roots = problem->channels;
         !whole && prefix < problem->depth && (prefix == 1 || roots <= 4096);
         prefix++, roots *= problem->channels) {
        double cost = signature_words_cost(problem, prefix, lanes);
        if (cost >= best) continue;
        best = cost;
        plan->prefix = prefix;
    }
    plan->tasks = signature_ceil_divide(paths, lanes);
    if (problem->depth == 2 && !problem->stream && problem->path_gradient) {
        plan->depth_two = DEPTH_TWO_PATHS;
        plan->prefix = 0;
    }
    if (plan->prefix) {
        ptrdiff_t blocks =
            signature_ceil_divide(signature_power(problem->channels, plan->prefix), lanes);
        double root = 2 * signature_step_cost(problem, 0, plan->prefix);
        ptrdiff_t most = (ptrdiff_t)fmin((double)blocks / 2, best / (16 * root));
        plan->splits = signature_ceil_divide(16, problem->batch ? problem->batch : 1);
        if (plan->splits > most) plan->splits = most;
        if (plan->splits < 1) plan->splits = 1;
        plan->pieces = 1;
        plan->tasks = problem->batch * plan->splits;
    }
    /* A block's letters stay in the first-level cache; blocks are of like length. */
    const ptrdiff_t steps = signature_ceil_divide(problem->longest, plan->pieces);
    const ptrdiff_t step_bytes = problem->channels * vector_bytes;
    ptrdiff_t most = 16384 / step_bytes;
    const ptrdiff_t longest = vector_bytes == 64 ? 24 : 32;
    most = most < 8 ? 8 : most > longest ? longest : most;
    if (problem->stream || step_bytes > large / 64) most = 1;
    plan->block = steps ? signature_ceil_divide(steps, signature_ceil_divide(steps, most)) : 1;
    plan->capacity = plan->block | 1;
    plan->interval = signature_choose_interval(problem, plan);
}

/* Kept states of one task, at most. */
static ptrdiff_t signature_segments(const signature_problem *problem, const signature_plan *plan) {
    return signature_ceil_divide(signature_blocks(problem, plan), plan->interval);
}

/* Bytes of plan->checkpoints; 0: none are kept. */
static size_t signature_checkpoint_bytes(const signature_problem *problem,
                                         const signature_plan *plan) {
    if (plan->interval == 0) return 0;
    return (size_t)signature_segments(problem, plan) * (size_t)signature_state_bytes(plan);
}

/* Bytes of plan->partial, with what may be read behind the last row. */
static size_t signature_partial_bytes(const signature_problem *problem, const signature_plan *plan,
                                      size_t real_bytes) {
    if (plan->pieces == 1) return 0;
    return (size_t)(problem->batch * plan->pieces * plan->partial_words) * real_bytes +
           SIMD_ALIGNMENT;
}

/* Bytes of what the forward pass may keep for the gradient: the checkpoints, and behind them the
 * signatures of the pieces.  0: nothing is kept, for it would be too much, or of no use. */
static size_t signature_kept_bytes(const signature_problem *problem, const signature_plan *plan,
                                   size_t real_bytes) {
    const size_t checkpoints = signature_checkpoint_bytes(problem, plan);
    const int one_block = plan->pieces == 1 && signature_blocks(problem, plan) <= 1;
    if (problem->depth < 3 || problem->stream || plan->prefix || one_block) return 0;
    return checkpoints ? checkpoints + signature_partial_bytes(problem, plan, real_bytes) : 0;
}

/* The kinds of tasks, in the order in which they are run; how many there are of each. */
enum {
    SIGNATURE_FORWARD, /* plan->tasks */
    SIGNATURE_JOIN,    /* a path each; pieces > 1, forward: puts the pieces together */
    SIGNATURE_CHAIN,   /* a path each; pieces > 1, backward: what each piece begins and ends with */
    SIGNATURE_BACKWARD, /* plan->tasks */
    SIGNATURE_POINTS    /* a path each; pieces or splits > 1, backward: increments to points */
};

#define SIMD_TEMPLATE "signatures/signature_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* Bytes that a task of any kind needs. */
static size_t signature_workspace(const signature_problem *problem, const signature_plan *plan,
                                  int is_double, int backward) {
    if (plan->depth_two == DEPTH_TWO_LETTERS)
        return SIMD_CALL(depth_two_workspace, is_double, plan->level, problem, plan, backward);
    return SIMD_CALL(signature_workspace, is_double, plan->level, problem, plan, backward);
}

static void signature_tasks(int kind, const signature_problem *problem, const signature_plan *plan,
                            int is_double, ptrdiff_t first, ptrdiff_t last, void *workspace) {
    if (plan->depth_two == DEPTH_TWO_LETTERS && kind != SIGNATURE_JOIN)
        SIMD_CALL(depth_two_tasks, is_double, plan->level, kind, problem, plan, first, last,
                  workspace);
    else if (plan->depth_two == DEPTH_TWO_PATHS)
        SIMD_CALL(depth_two_paths_tasks, is_double, plan->level, problem, plan, first, last,
                  workspace);
    else
        SIMD_CALL(signature_tasks, is_double, plan->level, kind, problem, plan, first, last,
                  workspace);
}

#endif
