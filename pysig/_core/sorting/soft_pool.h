/* Pooling of a sorted row, chunk by chunk: the blocks of several entries, in ascending order.
 *
 * Pooling adjacent violators gives the same blocks in whatever order neighbours are pooled.  So each
 * chunk is pooled by itself, and in it each strip, and where they meet, blocks are pooled until none
 * violates. */

/* Pools the entries from `begin` to `end`, one after the other; the blocks go to `stack`, their
 * number is returned. */
ALWAYS_INLINE ptrdiff_t NAME(soft_pool)(int kind, const REAL *s, ptrdiff_t begin, ptrdiff_t end,
                                        double strength, soft_block *stack) {
    const double inverse = 1 / strength;
    ptrdiff_t blocks = 0, i = begin;
    while (i < end) {
        soft_block last = {NAME(soft_single)(kind, s, i), (int)i, 1};
        /* Neighbours that are all pooled need no sums to find out. */
        for (; i + 1 < end && NAME(soft_pair)(kind, s, i, strength, inverse); i++) {
            const soft_block next = {NAME(soft_single)(kind, s, i + 1), (int)i + 1, 1};
            NAME(soft_add_block)(kind, s, &last, &next, inverse);
        }
        i++;
        while (last.start > begin) {
            soft_block before = {0, last.start - 1, 1};
            const int is_stored =
                blocks && stack[blocks - 1].start + stack[blocks - 1].length == last.start;
            if (is_stored)
                before = stack[blocks - 1];
            else if (last.length == 1)
                break; /* the pair was looked at above */
            else
                before.sum = NAME(soft_single)(kind, s, before.start);
            if (!NAME(soft_violates)(kind, s, &before, &last, strength, inverse)) break;
            NAME(soft_add_block)(kind, s, &before, &last, inverse);
            last = before;
            blocks -= is_stored;
        }
        if (last.length > 1) stack[blocks++] = last;
    }
    return blocks;
}

/* "kl" is done so only where exponentials would underflow. */
static ptrdiff_t NAME(soft_pool_slowly)(int kind, const REAL *s, ptrdiff_t begin, ptrdiff_t end,
                                        double strength, soft_block *stack) {
    return NAME(soft_pool)(kind, s, begin, end, strength, stack);
}

#include "sorting/soft_strips.h"

/* The block that ends at `end`: the last of the stack, or a single entry; 1 if it is stored. */
static int NAME(soft_block_before)(int kind, const REAL *s, ptrdiff_t end, const soft_block *stack,
                                   ptrdiff_t count, soft_block *block) {
    const soft_block *last = stack + count - 1;
    if (count && last->start + last->length == end) {
        *block = *last;
        return 1;
    }
    *block = (soft_block){NAME(soft_single)(kind, s, end - 1), (int)end - 1, 1};
    return 0;
}

/* The block that begins at `start`: the first of the stack, or a single entry. */
static int NAME(soft_block_after)(int kind, const REAL *s, ptrdiff_t start, const soft_block *stack,
                                  ptrdiff_t count, soft_block *block) {
    if (count && stack->start == start) {
        *block = *stack;
        return 1;
    }
    *block = (soft_block){NAME(soft_single)(kind, s, start), (int)start, 1};
    return 0;
}

/* Joins the blocks of begin ... middle, of which there are `blocks` in the stack, with those of
 * middle ... end, and returns how many there are then. */
static ptrdiff_t NAME(soft_join)(int kind, const REAL *s, soft_range range, ptrdiff_t middle,
                                 double strength, soft_block *stack, ptrdiff_t blocks,
                                 const soft_block *right, ptrdiff_t count) {
    const double inverse = 1 / strength;
    soft_block last, next;
    int is_stored = NAME(soft_block_before)(kind, s, middle, stack, blocks, &last);
    int is_next_stored = NAME(soft_block_after)(kind, s, middle, right, count, &next);
    const int is_pair = last.length == 1 && next.length == 1;
    if (is_pair ? NAME(soft_pair)(kind, s, middle - 1, strength, inverse)
                : NAME(soft_violates)(kind, s, &last, &next, strength, inverse)) {
        blocks -= is_stored;
        for (int is_pooled = 1; is_pooled;) {
            right += is_next_stored, count -= is_next_stored;
            NAME(soft_add_block)(kind, s, &last, &next, inverse);
            while (last.start > range.begin) {
                soft_block before;
                is_stored = NAME(soft_block_before)(kind, s, last.start, stack, blocks, &before);
                if (!NAME(soft_violates)(kind, s, &before, &last, strength, inverse)) break;
                NAME(soft_add_block)(kind, s, &before, &last, inverse);
                last = before;
                blocks -= is_stored;
            }
            if (last.start + last.length == range.end) break;
            is_next_stored =
                NAME(soft_block_after)(kind, s, last.start + last.length, right, count, &next);
            is_pooled = NAME(soft_violates)(kind, s, &last, &next, strength, inverse);
        }
        stack[blocks++] = last;
    }
    memmove(stack + blocks, right, (size_t)count * sizeof *right);
    return blocks + count;
}

/* Pools the entries from `begin` to `end`, strip by strip. */
ALWAYS_INLINE ptrdiff_t NAME(soft_pool_strips)(int kind, const REAL *s, soft_range range,
                                               double strength, const soft_workspace *workspace,
                                               soft_block *stack) {
    soft_block strip[SOFT_STRIP / 2 + 1];
    ptrdiff_t blocks = 0;
    for (ptrdiff_t begin = range.begin; begin < range.end; begin += SOFT_STRIP) {
        const ptrdiff_t end = begin + SOFT_STRIP < range.end ? begin + SOFT_STRIP : range.end;
        const ptrdiff_t count =
            NAME(soft_pool_strip)(kind, s, begin, end, 1 / strength, workspace, strip);
        if (begin > range.begin) {
            blocks = NAME(soft_join)(kind, s, (soft_range){range.begin, end}, begin, strength,
                                     stack, blocks, strip, count);
        } else {
            memcpy(stack, strip, (size_t)count * sizeof *strip);
            blocks = count;
        }
    }
    return blocks;
}

typedef struct {
    int kind;
    const REAL *s;
    soft_range range; /* the entries that are finite */
    double strength;
    const soft_workspace *workspace;
    soft_block *stack; /* the blocks of a chunk begin at the place of half its first entry */
} NAME(soft_pooling);

static soft_range NAME(soft_pooled_part)(const NAME(soft_pooling) *pooling, ptrdiff_t chunk) {
    const soft_range all = pooling->range;
    soft_range part = soft_chunk(all.end, chunk);
    part.begin = part.begin > all.begin ? part.begin : all.begin;
    part.end = part.end > part.begin ? part.end : part.begin;
    return part;
}

static void NAME(soft_pool_chunk)(void *context, ptrdiff_t chunk) {
    const NAME(soft_pooling) *pooling = context;
    const soft_range part = NAME(soft_pooled_part)(pooling, chunk);
    soft_block *stack = pooling->stack + part.begin / 2;
    const REAL *s = pooling->s;
    const double strength = pooling->strength;
    ptrdiff_t count = 0;
    switch (pooling->kind) { /* constants, so that each call becomes a loop of its own */
#define SOFT_STRIPS(kind) NAME(soft_pool_strips)(kind, s, part, strength, pooling->workspace, stack)
        case SOFT_RANK_L2:
            count = NAME(soft_pool)(SOFT_RANK_L2, s, part.begin, part.end, strength, stack);
            break;
        case SOFT_RANK_KL:
            count = NAME(soft_pool_slowly)(SOFT_RANK_KL, s, part.begin, part.end, strength, stack);
            break;
        case SOFT_SORT_L2: count = SOFT_STRIPS(SOFT_SORT_L2); break;
        case SOFT_SORT_KL: count = SOFT_STRIPS(SOFT_SORT_KL); break;
        default: count = SOFT_STRIPS(SOFT_RANK_EXP);
#undef SOFT_STRIPS
#undef SOFT_POOL
    }
    pooling->workspace->parts[chunk].count = count;
}

/* Pools a sorted row; infinite entries, which only ranks may have, are blocks of their own. */
static ptrdiff_t NAME(soft_make_blocks)(int kind, const REAL *s, ptrdiff_t n, double strength,
                                        soft_block *stack, const soft_workspace *workspace) {
    soft_range range = {0, n};
    while (range.begin < n && s[range.begin] < -REAL_MAX) range.begin++;
    while (range.end > range.begin && s[range.end - 1] > REAL_MAX) range.end--;
    NAME(soft_pooling) pooling = {kind, s, range, strength, workspace, stack};
    soft_run(workspace, NAME(soft_pool_chunk), &pooling, range.end);
    ptrdiff_t blocks = 0;
    if (range.begin > 1) stack[blocks++] = (soft_block){0, 0, (int)range.begin};
    for (ptrdiff_t chunk = 0; chunk < soft_chunks(range.end); chunk++) {
        const soft_range part = NAME(soft_pooled_part)(&pooling, chunk);
        const ptrdiff_t count = workspace->parts[chunk].count;
        const soft_block *right = stack + part.begin / 2;
        if (part.begin == range.begin) {
            memmove(stack + blocks, right, (size_t)count * sizeof *right);
            blocks += count;
        } else {
            blocks = NAME(soft_join)(kind, s, (soft_range){range.begin, part.end}, part.begin,
                                     strength, stack, blocks, right, count);
        }
    }
    if (n - range.end > 1) stack[blocks++] = (soft_block){0, (int)range.end, (int)(n - range.end)};
    return blocks;
}
