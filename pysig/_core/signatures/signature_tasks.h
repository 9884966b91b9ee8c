/* One task of the plan: a group of lanes through all of its steps, in blocks.
 *
 * Backward: the states at the beginnings of blocks are kept, of all blocks where that is little,
 * else of every so many (about the square root of their number), from which those between are
 * computed again.  Where a path is cut into pieces, the pass that finds what each of them begins
 * with keeps the states, if they are few.  So the gradient is exact on any path: nothing is
 * divided out of the signature.
 */

/* Memory of one task, carved from one allocation. */
typedef struct {
    NAME(backward_tree) tree; /* tree.forward serves the forward pass */
    NAME(root) root;          /* lanes of words only */
    NAME(lane) lanes[LANES];
    ptrdiff_t present; /* with SIGNATURE_LYNDON: the first step of the block that has been read */
    VEC ***states, ***adjoints; /* [block of lanes][length][word]; one block when lanes are paths */
    ptrdiff_t blocks;           /* blocks of lanes in this task */
    ptrdiff_t state_words;      /* vectors of one block of lanes that a checkpoint keeps */
    VEC *parents;               /* [block][j - 1][step]: Y[j] where the trees begin */
    VEC **incoming_levels;      /* stream, backward: the gradient of one row */
    /* The logarithm, its gradient, and what exponential_algebra.h needs to find them. */
    VEC *logarithm, *stages, *stage_gradients;
    const int32_t *
        *least;         /* [length]: of the tables for the Lyndon words, below the lanes' words */
    VEC *next_gradient; /* [letter]: of the increment after the current block; lanes are paths */
    VEC *scratch;
    char *coarse, *fine; /* checkpoints */
    ptrdiff_t fine_slots, checkpoint_bytes, root_bytes;
} NAME(workspace);

static void *NAME(carve)(char **next, size_t bytes) {
    char *here = *next;
    *next += (bytes + SIMD_ALIGNMENT - 1) / SIMD_ALIGNMENT * SIMD_ALIGNMENT;
    return here;
}

#define CARVE(type, count) ((type *)NAME(carve)(&next, sizeof(type) * (size_t)(count)))

/* levels[1 ... last] behind each other, d, d^2, ... numbers of `size` bytes each.  Pointers are
 * written only if there is memory behind them. */
static void **NAME(carve_levels)(char **cursor, ptrdiff_t channels, ptrdiff_t last, size_t size,
                                 int real) {
    char *next = *cursor;
    void **levels = CARVE(void *, last + 2);
    char *numbers = (char *)NAME(carve)(&next, size * (size_t)signature_words(channels, 1, last));
    ptrdiff_t words = channels;
    for (ptrdiff_t i = 1; real && i <= last; i++, words *= channels) {
        levels[i] = numbers;
        numbers += size * (size_t)words;
    }
    *cursor = next;
    return levels;
}

static ptrdiff_t NAME(scratch_vectors)(ptrdiff_t depth, ptrdiff_t channels, ptrdiff_t capacity) {
    ptrdiff_t together = channels < 4 ? channels : 4, vectors = 16 * capacity;
    for (ptrdiff_t chains = 3; chains <= depth; chains++)
        vectors += (chains + together * (chains - 1)) * capacity;
    return vectors;
}

static void NAME(carve_root)(const signature_problem *problem, const signature_plan *plan,
                             int backward, char **cursor, int real, NAME(workspace) *work) {
    char *next = *cursor;
    const ptrdiff_t channels = problem->channels, prefix = plan->prefix, depth = problem->depth;
    const ptrdiff_t capacity = plan->capacity;
    NAME(root) root = {
        .depth = depth, .channels = channels, .prefix = prefix, .capacity = capacity};
    root.state = (REAL **)NAME(carve_levels)(&next, channels, prefix, sizeof(REAL), real);
    root.steps_letters = CARVE(REAL, capacity * channels);
    root.middle = CARVE(REAL *, prefix);
    ptrdiff_t words = 1;
    for (ptrdiff_t i = 0; i < prefix; i++, words *= channels) {
        REAL *middle = CARVE(REAL, capacity * (depth - i) * words);
        if (real) root.middle[i] = middle;
        for (ptrdiff_t n = 0; real && i == 0 && n < capacity * depth; n++)
            middle[n] = (REAL)1 / (REAL)(n % depth + 1);
    }
    if (backward) {
        root.adjoint = (REAL **)NAME(carve_levels)(&next, channels, prefix, sizeof(REAL), real);
        root.gradient = CARVE(REAL, capacity * channels);
        root.product = CARVE(REAL *, prefix + 1);
        words = 1;
        for (ptrdiff_t i = 0; i <= prefix; i++, words *= channels) {
            REAL *product = CARVE(REAL, (depth - i + 1) * words);
            if (real) root.product[i] = product;
        }
    }
    root.lanes = work->parents;
    work->root = root;
    work->root_bytes = (ptrdiff_t)sizeof(REAL) * signature_words(channels, 1, prefix);
    *cursor = next;
}

static void NAME(carve_checkpoints)(const signature_problem *problem, const signature_plan *plan,
                                    char **cursor, NAME(workspace) *work) {
    char *next = *cursor;
    const ptrdiff_t blocks = signature_blocks(problem, plan);
    work->checkpoint_bytes =
        work->blocks * work->state_words * (ptrdiff_t)sizeof(VEC) +
        (work->root_bytes + SIMD_ALIGNMENT - 1) / SIMD_ALIGNMENT * SIMD_ALIGNMENT;
    ptrdiff_t slots = ((ptrdiff_t)1 << 20) / (work->checkpoint_bytes + 1);
    ptrdiff_t root = (ptrdiff_t)ceil(sqrt((double)blocks));
    if (slots > blocks) slots = blocks;
    if (slots < root) slots = root;
    if (slots < 1) slots = 1;
    if (plan->checkpoints) slots = plan->interval;
    work->fine_slots = slots;
    work->fine = CARVE(char, slots * work->checkpoint_bytes);
    const ptrdiff_t segments = plan->checkpoints ? 0 : signature_ceil_divide(blocks, slots) + 1;
    work->coarse = CARVE(char, segments * work->checkpoint_bytes);
    *cursor = next;
}

/* Y[j] of the empty word, divided by j, where lanes are paths. */
static void NAME(fill_parents)(const NAME(tree) *tree, VEC *parents) {
    for (ptrdiff_t j = 1; j <= tree->depth; j++)
        for (ptrdiff_t t = 0; t < tree->capacity; t++)
            parents[(j - 1) * tree->capacity + t] = (VEC){0} + (REAL)1 / (REAL)j;
}

/* Lays the workspace out from `base`; returns its size. With base == NULL only that. */
static size_t NAME(carve_workspace)(const signature_problem *problem, const signature_plan *plan,
                                    int backward, char *base, NAME(workspace) *work) {
    char *next = base;
    const int real = base != NULL;
    const ptrdiff_t channels = problem->channels, capacity = plan->capacity;
    const ptrdiff_t depth = problem->depth - plan->prefix; /* of the tree */
    memset(work, 0, sizeof *work);
    work->blocks = 1;
    if (plan->prefix) {
        ptrdiff_t all = signature_ceil_divide(signature_power(channels, plan->prefix), LANES);
        work->blocks = signature_ceil_divide(all, plan->splits);
    }
    work->state_words = signature_words(channels, 1, depth - 1);
    NAME(tree) *tree = &work->tree.forward;
    *tree = (NAME(tree)){.depth = depth, .channels = channels, .capacity = capacity};
    tree->letters = CARVE(VEC, capacity * channels);
    work->parents = CARVE(VEC, work->blocks * depth * capacity);
    if (real && !plan->prefix) NAME(fill_parents)(tree, work->parents);
    work->scratch = CARVE(VEC, NAME(scratch_vectors)(depth, channels, capacity));
    work->states = CARVE(VEC **, work->blocks);
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        VEC **state = (VEC **)NAME(carve_levels)(&next, channels, backward ? depth - 1 : depth,
                                                 sizeof(VEC), real);
        if (real) work->states[k] = state;
    }
    if (backward) {
        work->next_gradient = CARVE(VEC, channels);
        work->tree.gradient = CARVE(VEC, (capacity + 1) * channels);
        if (real) work->tree.gradient += channels; /* room for that of the first point */
        work->tree.whole = plan->prefix == 0;
        work->adjoints = CARVE(VEC **, work->blocks);
        for (ptrdiff_t k = 0; k < work->blocks; k++) {
            VEC **adjoint = (VEC **)NAME(carve_levels)(&next, channels, depth, sizeof(VEC), real);
            if (real) work->adjoints[k] = adjoint;
        }
        if (problem->stream)
            work->incoming_levels =
                (VEC **)NAME(carve_levels)(&next, channels, depth, sizeof(VEC), real);
    }
    if (SIGNATURE_LYNDON && problem->lyndon) {
        work->least = CARVE(const int32_t *, depth);
        for (ptrdiff_t i = 0; real && i < depth; i++)
            work->least[i] =
                problem->lyndon->least + signature_words(channels, 0, plan->prefix + i - 1);
        tree->least = real ? work->least : NULL;
    }
    if (SIGNATURE_LYNDON && problem->logarithm) {
        const ptrdiff_t lower = signature_words(channels, 1, depth - 1);
        work->logarithm = CARVE(VEC, signature_result_words(problem));
        work->stages = CARVE(VEC, backward ? tensor_stage_words(problem->logarithm) : 2 * lower);
        if (backward) work->stage_gradients = CARVE(VEC, 2 * lower);
    }
    if (plan->prefix) NAME(carve_root)(problem, plan, backward, &next, real, work);
    if (backward && !plan->depth_two) NAME(carve_checkpoints)(problem, plan, &next, work);
    return (size_t)(next - base);
}

/* What the tasks need that multiply the signatures of pieces, and find the adjoints between them. */
typedef struct {
    product_layout layout;
    REAL *before, *after;                    /* rows with room for what `multiply` may touch */
    REAL *piece, *adjoint, *earlier_adjoint; /* rows of working memory */
} NAME(joining);

/* Lays it out from `base`; returns the bytes. */
static size_t NAME(carve_joining)(const signature_problem *problem, char *base,
                                  NAME(joining) *joining) {
    char *next = base;
    product_make_layout(&joining->layout, problem->channels, problem->depth, LANES);
    joining->before = CARVE(REAL, joining->layout.words + LANES);
    joining->after = CARVE(REAL, joining->layout.words + LANES);
    joining->piece = CARVE(REAL, joining->layout.size);
    joining->adjoint = CARVE(REAL, joining->layout.size);
    joining->earlier_adjoint = CARVE(REAL, joining->layout.size);
    return (size_t)(next - base);
}

static size_t NAME(join_workspace)(const signature_problem *problem) {
    NAME(joining) joining;
    return NAME(carve_joining)(problem, NULL, &joining);
}

static void NAME(swap)(REAL **a, REAL **b) {
    REAL *kept = *a;
    *a = *b;
    *b = kept;
}

static size_t NAME(signature_workspace)(const signature_problem *problem,
                                        const signature_plan *plan, int backward) {
    NAME(workspace) work;
    const size_t rows = plan->pieces > 1 ? NAME(join_workspace)(problem) : 0;
    const size_t bytes = NAME(carve_workspace)(problem, plan, backward, NULL, &work);
    return bytes < rows ? rows : bytes;
}

#undef CARVE

/* ---- which lanes, which rows ---- */

/* The steps first ... last - 1 of one path. */
static NAME(lane) NAME(find_lane)(const signature_problem *problem, ptrdiff_t path, ptrdiff_t first,
                                  ptrdiff_t last) {
    const ptrdiff_t channels = problem->channels;
    const REAL *points = (const REAL *)problem->path + path * problem->length * channels;
    NAME(lane) lane = {.steps = last - first};
    if (problem->basepoint) {
        lane.origin = (const REAL *)problem->basepoint + path * problem->basepoint_stride;
    } else {
        lane.origin = points;
        points += channels;
    }
    lane.points = points + first * channels;
    if (first) lane.origin = lane.points - channels;
    if (problem->path_gradient)
        lane.gradient = (REAL *)problem->path_gradient +
                        (path * problem->length + first + (problem->basepoint == NULL)) * channels;
    return lane;
}

/* The path and the piece of lane `lane` when lanes are (pieces of) paths; path -1: no such lane. */
static ptrdiff_t NAME(lane_path)(const signature_problem *problem, const signature_plan *plan,
                                 ptrdiff_t lane, ptrdiff_t *piece) {
    ptrdiff_t path = signature_divide(lane, plan->pieces);
    *piece = lane - path * plan->pieces;
    if (path >= problem->batch) return -1;
    return problem->order ? problem->order[path] : path;
}

static void NAME(find_lanes)(const signature_problem *problem, const signature_plan *plan,
                             ptrdiff_t task, NAME(workspace) *work) {
    work->present = -1;
    if (plan->prefix) {
        /* Lanes without a word stay zero, and add nothing to sums over the lanes. */
        memset(work->parents, 0,
               (size_t)(work->blocks * work->tree.forward.depth * plan->capacity) * sizeof(VEC));
        ptrdiff_t path = task / plan->splits;
        work->lanes[0] = NAME(find_lane)(problem, path, 0, signature_steps(problem, path));
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t piece, path = NAME(lane_path)(problem, plan, task * LANES + l, &piece);
        work->lanes[l] = (NAME(lane)){0};
        if (path < 0) continue;
        ptrdiff_t steps = signature_steps(problem, path);
        work->lanes[l] =
            NAME(find_lane)(problem, path, signature_piece_start(steps, piece, plan->pieces),
                            signature_piece_start(steps, piece + 1, plan->pieces));
    }
}

/* The lanes' rows in an array with one row of words per path (per piece, if by_piece). */
static NAME(rows)
    NAME(find_rows)(const signature_problem *problem, const signature_plan *plan, ptrdiff_t task,
                    ptrdiff_t block, const void *array, ptrdiff_t stride, int by_piece) {
    NAME(rows) rows = {.channels = problem->channels, .prefix = plan->prefix};
    rows.reversed = problem->inverse && !by_piece && problem->channels > 1;
    if (plan->prefix) {
        const ptrdiff_t words = signature_power(problem->channels, plan->prefix);
        const ptrdiff_t path = task / plan->splits;
        rows.first_word = block * LANES;
        for (ptrdiff_t l = 0; l < LANES; l++)
            rows.row[l] = rows.first_word + l < words ? (REAL *)array + path * stride : NULL;
        return rows;
    }
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t piece, path = NAME(lane_path)(problem, plan, task * LANES + l, &piece);
        ptrdiff_t row = by_piece ? path * plan->pieces + piece : path;
        rows.row[l] = path < 0 ? NULL : (REAL *)array + row * stride;
    }
    return rows;
}

/* Blocks of lanes first ... of a task whose lanes are words. */
static void NAME(find_blocks)(const signature_problem *problem, const signature_plan *plan,
                              ptrdiff_t task, NAME(workspace) *work) {
    if (!plan->prefix) return;
    ptrdiff_t all = signature_ceil_divide(signature_power(problem->channels, plan->prefix), LANES);
    ptrdiff_t split = task % plan->splits;
    work->root.first_block = all * split / plan->splits;
    work->blocks = all * (split + 1) / plan->splits - work->root.first_block;
    work->root.blocks = work->blocks;
}

/* ---- levels up to the length of the lanes' words, in plain numbers ---- */

static void NAME(copy_root)(const NAME(root) *root, REAL **levels, REAL *row, int reversed,
                            int write) {
    for (ptrdiff_t i = 1, words = root->channels; i <= root->prefix; i++, words *= root->channels) {
        for (ptrdiff_t w = 0; w < words; w++) {
            ptrdiff_t place = reversed ? NAME(reverse_word)(w, root->channels, i) : w;
            if (write)
                row[place] = levels[i][w];
            else
                levels[i][w] = row ? row[place] : 0;
        }
        row = row ? row + words : NULL;
    }
}

/* ---- moving through the steps ---- */

static ptrdiff_t NAME(task_steps)(const signature_plan *plan, const NAME(workspace) *work) {
    ptrdiff_t steps = work->lanes[0].steps;
    for (ptrdiff_t l = 1; l < LANES && !plan->prefix; l++)
        if (work->lanes[l].steps > steps) steps = work->lanes[l].steps;
    return steps;
}

/* Reads the increments of a block that begins with step `start`. */
static void NAME(begin_block)(const signature_problem *problem, const signature_plan *plan,
                              NAME(workspace) *work, ptrdiff_t start, ptrdiff_t end) {
    NAME(tree) *tree = &work->tree.forward;
    if (SIGNATURE_LYNDON && work->present == start) return; /* the last one comes again, backward */
    work->present = start;
    tree->steps = end - start < plan->block ? end - start : plan->block;
    if (!plan->prefix) {
        NAME(read_differences)(tree, work->lanes, start, problem->inverse);
    } else {
        NAME(read_shared_differences)(tree, work->lanes, start, problem->inverse);
        work->root.steps = tree->steps;
        for (ptrdiff_t i = 0; i < tree->steps * tree->channels; i++)
            work->root.steps_letters[i] = tree->letters[i][0];
    }
}

/* The words before those of the tree in one block of lanes. */
static void NAME(find_roots)(const signature_plan *plan, const NAME(workspace) *work,
                             ptrdiff_t block, NAME(tree) *tree) {
    if (!plan->prefix) return;
    const ptrdiff_t words = signature_power(tree->channels, plan->prefix);
    tree->first_root = (work->root.first_block + block) * LANES;
    tree->roots = words - tree->first_root < LANES ? words - tree->first_root : LANES;
}

/* Moves the states through the current block. shorten: leave the longest words out. */
static void NAME(advance)(const signature_plan *plan, NAME(workspace) *work, ptrdiff_t shorten) {
    NAME(tree) tree = work->tree.forward;
    const ptrdiff_t stride = tree.depth * tree.capacity;
    if (plan->prefix) NAME(root_descend)(&work->root);
    tree.depth -= shorten;
    if (tree.depth < 1) return;
    if (shorten) tree.least = NULL;
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        tree.state = work->states[k];
        NAME(find_roots)(plan, work, k, &tree);
        NAME(descend)(&tree, 0, 0, work->parents + k * stride, work->scratch);
    }
}

/* ---- forward ---- */

static void NAME(load_states)(const signature_problem *problem, const signature_plan *plan,
                              ptrdiff_t task, NAME(workspace) *work, ptrdiff_t last,
                              const void *array, ptrdiff_t stride, int by_piece) {
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        if (array == NULL) {
            if (last > 0)
                memset(work->states[k][1], 0,
                       (size_t)signature_words(problem->channels, 1, last) * sizeof(VEC));
            continue;
        }
        NAME(rows) rows = NAME(find_rows)(problem, plan, task, work->root.first_block + k, array,
                                          stride, by_piece);
        NAME(read_state)(work->states[k], &rows, last);
    }
    if (!plan->prefix) return;
    REAL *row = array ? (REAL *)array + task / plan->splits * stride : NULL;
    NAME(copy_root)(&work->root, work->root.state, row, problem->inverse, 0);
}

#if SIGNATURE_LYNDON
/* Writes the logarithms of the states. */
static void NAME(store_logarithm)(const signature_problem *problem, const signature_plan *plan,
                                  ptrdiff_t task, NAME(workspace) *work, ptrdiff_t row) {
    NAME(rows) rows = NAME(find_rows)(problem, plan, task, 0,
                                      (REAL *)problem->signature + row * problem->row_stride,
                                      problem->path_stride, 0);
    NAME(evaluate_series_lanes)(problem->logarithm, problem->lyndon, work->states[0][1],
                                work->stages, work->logarithm);
    NAME(write_lanes)(work->logarithm, signature_result_words(problem), rows.row);
}
#endif

static void NAME(store_states)(const signature_problem *problem, const signature_plan *plan,
                               ptrdiff_t task, NAME(workspace) *work, ptrdiff_t row) {
#if SIGNATURE_LYNDON
    if (problem->logarithm) {
        NAME(store_logarithm)(problem, plan, task, work, row);
        return;
    }
#endif
    const int by_piece = plan->pieces > 1;
    REAL *array = by_piece ? plan->partial : (REAL *)problem->signature + row * problem->row_stride;
    const ptrdiff_t stride = by_piece ? plan->partial_words : problem->path_stride;
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        NAME(rows) rows = NAME(find_rows)(problem, plan, task, work->root.first_block + k, array,
                                          stride, by_piece);
        NAME(write_state)(work->states[k], &rows, work->tree.forward.depth);
    }
    if (plan->prefix && task % plan->splits == 0)
        NAME(copy_root)(&work->root, work->root.state, array + task / plan->splits * stride,
                        problem->inverse, 1);
}

/* Asks for a block's points, and the rows of their gradient, where all points do not fit the
 * second-level cache: the lanes are too many places at once for the hardware to see them coming.
 * Inlined, because GCC drops calls of functions that do nothing but prefetch. */
ALWAYS_INLINE void NAME(prefetch_block)(const signature_problem *problem,
                                        const signature_plan *plan, const NAME(workspace) *work,
                                        ptrdiff_t start) {
    const ptrdiff_t numbers = problem->batch * problem->length * problem->channels;
    const ptrdiff_t first = start * problem->channels, count = plan->block * problem->channels;
    if (numbers < 1 << 17 || plan->prefix || start < 0) return;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const NAME(lane) *lane = &work->lanes[l];
        const ptrdiff_t end = lane->steps * problem->channels;
        for (ptrdiff_t i = first; i < first + count && i < end; i += 64 / REAL_BYTES) {
            __builtin_prefetch(lane->points + i, 0, 2);
            if (lane->gradient) __builtin_prefetch(lane->gradient + i, 0, 2);
        }
    }
}

/* Where the state at the beginning of a segment, plan->interval blocks, is kept. */
static char *NAME(find_checkpoint)(const signature_problem *problem, const signature_plan *plan,
                                   ptrdiff_t task, ptrdiff_t segment) {
    const ptrdiff_t state = task * signature_segments(problem, plan) + segment;
    return (char *)plan->checkpoints + state * plan->state_words * (ptrdiff_t)sizeof(VEC);
}

static void NAME(forward_task)(const signature_problem *problem, const signature_plan *plan,
                               ptrdiff_t task, NAME(workspace) *work) {
    NAME(find_blocks)(problem, plan, task, work);
    NAME(find_lanes)(problem, plan, task, work);
    const void *initial = plan->pieces == 1 ? problem->initial : NULL;
    NAME(load_states)(problem, plan, task, work, work->tree.forward.depth, initial,
                      problem->initial_stride, 0);
    const ptrdiff_t steps = NAME(task_steps)(plan, work);
    const ptrdiff_t segment = plan->interval * plan->block;
    for (ptrdiff_t start = 0; start < steps; start += plan->block) {
        if (plan->checkpoints && start % segment == 0)
            memcpy(NAME(find_checkpoint)(problem, plan, task, start / segment), work->states[0][1],
                   (size_t)plan->state_words * sizeof(VEC));
        NAME(begin_block)(problem, plan, work, start, steps);
        NAME(advance)(plan, work, 0);
        if (problem->stream) NAME(store_states)(problem, plan, task, work, start);
    }
    for (ptrdiff_t row = problem->stream ? steps : 0; row < problem->rows; row++)
        NAME(store_states)(problem, plan, task, work, row);
}

/* ---- pieces of a path ---- */

/* Between the caller's order of letters and the order of time. */
static void NAME(copy_row)(REAL *to, const REAL *from, ptrdiff_t channels, ptrdiff_t last,
                           int reversed) {
    for (ptrdiff_t k = 1, words = channels; k <= last; k++, words *= channels) {
        if (reversed)
            for (ptrdiff_t w = 0; w < words; w++) to[w] = from[NAME(reverse_word)(w, channels, k)];
        else
            memcpy(to, from, (size_t)words * sizeof(REAL));
        to += words;
        from += words;
    }
}

/* The signature of path `path` from those of its pieces. */
static void NAME(join_task)(const signature_problem *problem, const signature_plan *plan,
                            ptrdiff_t path, void *memory) {
    const ptrdiff_t channels = problem->channels, depth = problem->depth;
    NAME(joining) joining;
    NAME(carve_joining)(problem, memory, &joining);
    const ptrdiff_t words = joining.layout.words;
    const REAL *piece = (const REAL *)plan->partial + path * plan->pieces * words;
    ptrdiff_t next = 0;
    if (problem->initial)
        NAME(copy_row)(joining.after,
                       (const REAL *)problem->initial + path * problem->initial_stride, channels,
                       depth, problem->inverse);
    else
        memcpy(joining.after, piece + words * next++, (size_t)words * sizeof(REAL));
    for (; next < plan->pieces; next++) {
        NAME(swap)(&joining.before, &joining.after);
        NAME(multiply)(&joining.layout, joining.after, joining.before, piece + next * words,
                       &NAME(nothing));
    }
    NAME(copy_row)((REAL *)problem->signature + path * problem->path_stride, joining.after,
                   channels, depth, problem->inverse);
}

/* The state before each piece of a path. */
static void NAME(chain_states)(const signature_problem *problem, const signature_plan *plan,
                               ptrdiff_t path, NAME(joining) *joining) {
    const ptrdiff_t channels = problem->channels, lower = plan->state_words;
    const REAL *piece = (const REAL *)plan->partial + path * plan->pieces * plan->partial_words;
    REAL *start = (REAL *)plan->start + path * plan->pieces * lower;
    product_layout shorter;
    product_make_layout(&shorter, channels, problem->depth - 1, LANES);
    memset(joining->after, 0, (size_t)lower * sizeof(REAL));
    if (problem->initial)
        NAME(copy_row)(joining->after,
                       (const REAL *)problem->initial + path * problem->initial_stride, channels,
                       problem->depth - 1, problem->inverse);
    memcpy(start, joining->after, (size_t)lower * sizeof(REAL));
    for (ptrdiff_t j = 1; j < plan->pieces; j++) {
        NAME(swap)(&joining->before, &joining->after);
        NAME(multiply)(&shorter, joining->after, joining->before,
                       piece + (j - 1) * plan->partial_words, &NAME(nothing));
        memcpy(start + j * lower, joining->after, (size_t)lower * sizeof(REAL));
    }
}

/* The adjoint after each piece of a path, and before the first one. */
static void NAME(chain_adjoints)(const signature_problem *problem, const signature_plan *plan,
                                 ptrdiff_t path, NAME(joining) *joining) {
    const ptrdiff_t channels = problem->channels, depth = problem->depth;
    const ptrdiff_t words = joining->layout.words;
    const REAL *piece = (const REAL *)plan->partial + path * plan->pieces * plan->partial_words;
    REAL *end = (REAL *)plan->end + path * plan->pieces * words;
    product_layout shorter;
    product_make_layout(&shorter, channels, depth - 1, LANES);
    NAME(copy_row)(joining->before, (const REAL *)problem->signature + path * problem->path_stride,
                   channels, depth, problem->inverse);
    NAME(read_row)(&joining->layout, joining->adjoint, joining->before);
    /* Its padding is multiplied by zero, and must not be NaN. */
    memset(joining->earlier_adjoint, 0, (size_t)joining->layout.size * sizeof(REAL));
    for (ptrdiff_t j = plan->pieces - 1; j >= 0; j--) {
        NAME(write_row)(&joining->layout, end + j * words, joining->adjoint, 0);
        if (j == 0 && problem->initial_gradient == NULL) return;
        NAME(read_row)(&shorter, joining->piece, piece + j * plan->partial_words);
        NAME(contract_right)(&joining->layout, joining->earlier_adjoint, joining->adjoint,
                             joining->piece);
        NAME(swap)(&joining->adjoint, &joining->earlier_adjoint);
    }
    NAME(write_row)(&joining->layout, joining->before, joining->adjoint, 0);
    NAME(copy_row)((REAL *)problem->initial_gradient + path * words, joining->before, channels,
                   depth, problem->inverse);
}

/* What the backward tasks of the pieces of one path begin from. */
static void NAME(chain_task)(const signature_problem *problem, const signature_plan *plan,
                             ptrdiff_t path, void *memory) {
    NAME(joining) joining;
    NAME(carve_joining)(problem, memory, &joining);
    NAME(chain_states)(problem, plan, path, &joining);
    NAME(chain_adjoints)(problem, plan, path, &joining);
}

/* ---- backward ---- */

#if SIGNATURE_LYNDON
/* The adjoint of the states at the end, which the paths have now, from that of their logarithms. */
static void NAME(load_logarithm_adjoint)(const signature_problem *problem,
                                         const signature_plan *plan, ptrdiff_t task,
                                         NAME(workspace) *work) {
    NAME(rows) rows =
        NAME(find_rows)(problem, plan, task, 0, problem->signature, problem->path_stride, 0);
    NAME(read_lanes)(work->logarithm, signature_result_words(problem), rows.row);
    NAME(evaluate_series_backward_lanes)(problem->logarithm, problem->lyndon, work->logarithm,
                                         work->states[0][1], work->stages, work->stage_gradients,
                                         work->adjoints[0][1]);
}
#endif

static void NAME(load_adjoints)(const signature_problem *problem, const signature_plan *plan,
                                ptrdiff_t task, NAME(workspace) *work) {
    if (SIGNATURE_LYNDON && problem->logarithm) return; /* they depend on the states at the end */
    const int by_piece = plan->pieces > 1;
    const ptrdiff_t stride =
        by_piece ? signature_words(problem->channels, 1, problem->depth) : problem->path_stride;
    void *array = by_piece ? plan->end : problem->signature;
    const ptrdiff_t depth = work->tree.forward.depth;
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        if (problem->stream) {
            memset(work->adjoints[k][1], 0,
                   (size_t)signature_words(problem->channels, 1, depth) * sizeof(VEC));
            continue;
        }
        NAME(rows) rows = NAME(find_rows)(problem, plan, task, work->root.first_block + k, array,
                                          stride, by_piece);
        NAME(read_state)(work->adjoints[k], &rows, depth);
    }
    if (!plan->prefix) return;
    /* The levels below the trees act linearly, so that of several tasks only one has them. */
    REAL *row = (REAL *)array + task / plan->splits * stride;
    NAME(copy_root)(&work->root, work->root.adjoint,
                    problem->stream || task % plan->splits ? NULL : row, problem->inverse, 0);
}

/* stream: adds the gradient of row `row` to the adjoints. */
static void NAME(add_row)(const signature_problem *problem, const signature_plan *plan,
                          ptrdiff_t task, NAME(workspace) *work, ptrdiff_t row) {
    REAL *array = (REAL *)problem->signature + row * problem->row_stride;
    const ptrdiff_t depth = work->tree.forward.depth;
    const ptrdiff_t words = signature_words(problem->channels, 1, depth);
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        NAME(rows) rows = NAME(find_rows)(problem, plan, task, work->root.first_block + k, array,
                                          problem->path_stride, 0);
        NAME(read_state)(work->incoming_levels, &rows, depth);
        for (ptrdiff_t i = 0; i < words; i++)
            work->adjoints[k][1][i] += work->incoming_levels[1][i];
    }
    if (!plan->prefix || task % plan->splits) return;
    array += task / plan->splits * problem->path_stride;
    for (ptrdiff_t i = 1, n = problem->channels; i <= plan->prefix;
         array += n, i++, n *= problem->channels)
        for (ptrdiff_t w = 0; w < n; w++)
            work->root.adjoint[i][w] +=
                array[problem->inverse ? NAME(reverse_word)(w, problem->channels, i) : w];
}

static void NAME(keep)(NAME(workspace) *work, char *slot, int restore) {
    const size_t bytes = (size_t)work->state_words * sizeof(VEC);
    if (bytes)
        for (ptrdiff_t k = 0; k < work->blocks; k++, slot += bytes) {
            if (restore)
                memcpy(work->states[k][1], slot, bytes);
            else
                memcpy(slot, work->states[k][1], bytes);
        }
    if (!work->root_bytes) return;
    if (restore)
        memcpy(work->root.state[1], slot, (size_t)work->root_bytes);
    else
        memcpy(slot, work->root.state[1], (size_t)work->root_bytes);
}

/* Lanes of words: the gradient of the current block's increments goes to the rows of the path's
 * gradient that the increments end in; finish_words makes it the gradient of the points. */
static void NAME(write_step_gradient)(const signature_problem *problem, const signature_plan *plan,
                                      ptrdiff_t task, const NAME(workspace) *work,
                                      ptrdiff_t start) {
    const ptrdiff_t channels = problem->channels, count = work->tree.forward.steps * channels;
    const REAL sign = problem->inverse ? -1 : 1;
    REAL *row = plan->splits > 1
                    ? (REAL *)plan->step_gradient + (task * problem->longest + start) * channels
                    : work->lanes[0].gradient + start * channels;
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL sum = work->root.gradient[i];
        for (ptrdiff_t l = 0; l < LANES; l++) sum += work->tree.gradient[i][l];
        row[i] = sign * sum;
    }
}

/* From the gradient of the current block's increments to that of the points in which they end: a
 * point is in two increments.  That of the first increment waits for the block before. */
static void NAME(subtract_next)(const signature_problem *problem, NAME(workspace) *work) {
    const ptrdiff_t channels = problem->channels, count = work->tree.forward.steps * channels;
    VEC *gradient = work->tree.gradient, *next = work->next_gradient;
    for (ptrdiff_t i = 0; problem->inverse && i < count; i++) gradient[i] = -gradient[i];
    for (ptrdiff_t c = 0; c < channels; c++) gradient[c - channels] = (VEC){0} - gradient[c];
    for (ptrdiff_t i = 0; i < count - channels; i++) gradient[i] -= gradient[i + channels];
    for (ptrdiff_t c = 0; c < channels; c++) {
        gradient[count - channels + c] -= next[c];
        next[c] = (VEC){0} - gradient[c - channels];
    }
}

/* Lanes of paths: writes the gradient of the points in which the current block's increments end,
 * and of a path's first point. */
static void NAME(write_point_gradient)(const signature_problem *problem, const signature_plan *plan,
                                       NAME(workspace) *work, ptrdiff_t start) {
    const ptrdiff_t channels = problem->channels, steps = work->tree.forward.steps;
    const ptrdiff_t count = steps * channels;
    const ptrdiff_t head =
        start == 0 && plan->pieces == 1 && problem->basepoint == NULL ? channels : 0;
    REAL *gradient = (REAL *)work->tree.gradient, *row[LANES];
    ptrdiff_t valid[LANES], whole = 1;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t left = work->lanes[l].steps - start;
        left = left < 0 ? 0 : left > steps ? steps : left;
        valid[l] = left * channels;
        whole = whole && left == steps;
        row[l] = work->lanes[l].gradient;
        if (row[l]) row[l] += start * channels - head;
        for (ptrdiff_t i = valid[l]; i < count; i++) gradient[i * LANES + l] = 0;
    }
    NAME(subtract_next)(problem, work);
    gradient -= head * LANES;
    if (whole) {
        NAME(write_lanes)((const VEC *)gradient, head + count, row);
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        for (ptrdiff_t i = 0; row[l] && i < head + valid[l]; i++)
            row[l][i] = gradient[i * LANES + l];
}

static void NAME(retreat)(const signature_problem *problem, const signature_plan *plan,
                          ptrdiff_t task, NAME(workspace) *work, ptrdiff_t start) {
    const NAME(tree) *tree = &work->tree.forward;
    const ptrdiff_t stride = tree->depth * tree->capacity;
    memset(work->tree.gradient, 0, (size_t)(tree->steps * tree->channels) * sizeof(VEC));
    if (plan->prefix) NAME(root_descend)(&work->root);
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        work->tree.forward.state = work->states[k];
        work->tree.adjoint = work->adjoints[k];
        NAME(find_roots)(plan, work, k, &work->tree.forward);
        NAME(ascend)(&work->tree, 0, 0, work->parents + k * stride, work->scratch);
    }
    if (plan->prefix) {
        NAME(root_ascend)(&work->root);
        NAME(write_step_gradient)(problem, plan, task, work, start);
        return;
    }
    if (tree->depth < 3) NAME(fill_parents)(tree, work->parents);
    NAME(write_point_gradient)(problem, plan, work, start);
}

/* Blocks first ... last - 1, from the state before them. */
static void NAME(retreat_segment)(const signature_problem *problem, const signature_plan *plan,
                                  ptrdiff_t task, NAME(workspace) *work, ptrdiff_t first,
                                  ptrdiff_t last, ptrdiff_t steps) {
    for (ptrdiff_t block = first; block < last - 1; block++) {
        NAME(keep)(work, work->fine + (block - first) * work->checkpoint_bytes, 0);
        NAME(begin_block)(problem, plan, work, block * plan->block, steps);
        NAME(advance)(plan, work, 1);
    }
    for (ptrdiff_t block = last - 1; block >= first; block--) {
        if (block < last - 1)
            NAME(keep)(work, work->fine + (block - first) * work->checkpoint_bytes, 1);
        NAME(begin_block)(problem, plan, work, block * plan->block, steps);
        NAME(prefetch_block)(problem, plan, work, (block - 1) * plan->block);
        if (problem->stream) NAME(add_row)(problem, plan, task, work, block);
        NAME(retreat)(problem, plan, task, work, block * plan->block);
    }
}

/* All segments, from their kept states. */
static void NAME(retreat_kept)(const signature_problem *problem, const signature_plan *plan,
                               ptrdiff_t task, NAME(workspace) *work, ptrdiff_t steps) {
    const ptrdiff_t blocks = signature_ceil_divide(steps, plan->block), interval = plan->interval;
    for (ptrdiff_t segment = signature_ceil_divide(blocks, interval) - 1; segment >= 0; segment--) {
        const ptrdiff_t first = segment * interval, last = first + interval;
        NAME(keep)(work, NAME(find_checkpoint)(problem, plan, task, segment), 1);
        NAME(retreat_segment)(problem, plan, task, work, first, last < blocks ? last : blocks,
                              steps);
    }
}

/* Pieces: from the adjoint in the product of two states, left (x) right, to that in the right one, by
 * the beginnings of its words, up to length `depth`.  Then the left one may be forgotten. */
static void NAME(contract_beginnings)(VEC *adjoint, const VEC *left, ptrdiff_t channels,
                                      ptrdiff_t depth) {
    VEC *sum = adjoint;
    for (ptrdiff_t k = 1, count = channels; k < depth; sum += count, k++, count *= channels) {
        const VEC *first = left, *longer = sum + count;
        for (ptrdiff_t head = 1, words = channels; head <= depth - k; head++, words *= channels)
            for (ptrdiff_t w = 0; w < words; w++, longer += count) {
                const VEC factor = NAME(in_register)(*first++);
                for (ptrdiff_t v = 0; v < count; v++) sum[v] += factor * longer[v];
            }
    }
}

/* What stands before a piece enters its adjoint, and the state is relative to the piece's beginning. */
static void NAME(begin_at_piece)(const signature_problem *problem, const signature_plan *plan,
                                 ptrdiff_t task, NAME(workspace) *work) {
    const ptrdiff_t shorter = problem->depth - 1;
    NAME(load_states)(problem, plan, task, work, shorter, plan->start, plan->state_words, 1);
    NAME(contract_beginnings)(work->adjoints[0][1], work->states[0][1], problem->channels,
                              problem->depth);
    NAME(load_states)(problem, plan, task, work, shorter, NULL, 0, 1);
}

static void NAME(store_initial_gradient)(const signature_problem *problem,
                                         const signature_plan *plan, ptrdiff_t task,
                                         NAME(workspace) *work) {
    const ptrdiff_t words = signature_words(problem->channels, 1, problem->depth);
    if (problem->initial_gradient == NULL) return;
    for (ptrdiff_t k = 0; k < work->blocks; k++) {
        NAME(rows) rows = NAME(find_rows)(problem, plan, task, work->root.first_block + k,
                                          problem->initial_gradient, words, 0);
        for (ptrdiff_t l = 0; l < LANES && !plan->prefix; l++)
            if ((task * LANES + l) % plan->pieces) rows.row[l] = NULL;
        NAME(write_state)(work->adjoints[k], &rows, work->tree.forward.depth);
    }
    if (!plan->prefix) return;
    REAL *row = plan->splits > 1
                    ? (REAL *)plan->end + task * signature_words(problem->channels, 1, plan->prefix)
                    : (REAL *)problem->initial_gradient + task * words;
    NAME(copy_root)(&work->root, work->root.adjoint, row, problem->inverse, 1);
}

/* All segments, whose states are computed again first. */
static void NAME(retreat_forgotten)(const signature_problem *problem, const signature_plan *plan,
                                    ptrdiff_t task, NAME(workspace) *work, ptrdiff_t steps) {
    const ptrdiff_t blocks = signature_ceil_divide(steps, plan->block);
    const ptrdiff_t segments = signature_ceil_divide(blocks, work->fine_slots);
    if (problem->stream)
        for (ptrdiff_t row = steps; row < problem->rows; row++)
            NAME(add_row)(problem, plan, task, work, row);
    for (ptrdiff_t segment = 0; segment < segments; segment++) {
        NAME(keep)(work, work->coarse + segment * work->checkpoint_bytes, 0);
        if (segment == segments - 1 && !(SIGNATURE_LYNDON && problem->logarithm)) break;
        for (ptrdiff_t block = segment * work->fine_slots;
             block < (segment + 1) * work->fine_slots && block < blocks; block++) {
            NAME(begin_block)(problem, plan, work, block * plan->block, steps);
            NAME(advance)(plan, work, 1);
        }
    }
#if SIGNATURE_LYNDON
    if (problem->logarithm) NAME(load_logarithm_adjoint)(problem, plan, task, work);
#endif
    for (ptrdiff_t segment = segments - 1; segment >= 0; segment--) {
        ptrdiff_t first = segment * work->fine_slots, last = first + work->fine_slots;
        NAME(keep)(work, work->coarse + segment * work->checkpoint_bytes, 1);
        NAME(retreat_segment)(problem, plan, task, work, first, last < blocks ? last : blocks,
                              steps);
    }
}

static void NAME(backward_task)(const signature_problem *problem, const signature_plan *plan,
                                ptrdiff_t task, NAME(workspace) *work) {
    NAME(find_blocks)(problem, plan, task, work);
    NAME(find_lanes)(problem, plan, task, work);
    NAME(load_adjoints)(problem, plan, task, work);
    if (plan->pieces > 1)
        NAME(begin_at_piece)(problem, plan, task, work);
    else
        NAME(load_states)(problem, plan, task, work, work->tree.forward.depth - 1, problem->initial,
                          problem->initial_stride, 0);
    memset(work->next_gradient, 0, (size_t)problem->channels * sizeof(VEC));
    const ptrdiff_t steps = NAME(task_steps)(plan, work);
    if (plan->checkpoints)
        NAME(retreat_kept)(problem, plan, task, work, steps);
    else
        NAME(retreat_forgotten)(problem, plan, task, work, steps);
    /* That of pieces is found with the adjoints between them. */
    if (plan->pieces == 1) NAME(store_initial_gradient)(problem, plan, task, work);
}

/* ---- what is left to do for a path after its tasks ---- */

/* Lanes of words: from the gradients of the increments to those of the points and, where several
 * tasks had a part in them, of the initial signature.  The first increment's is subtracted from
 * `first`, if that is not NULL. */
static void NAME(finish_words)(const signature_problem *problem, const signature_plan *plan,
                               ptrdiff_t path, REAL *row, REAL *first) {
    const ptrdiff_t channels = problem->channels, steps = signature_steps(problem, path);
    const ptrdiff_t count = steps * channels;
    if (plan->splits > 1) {
        const REAL *parts =
            (const REAL *)plan->step_gradient + path * plan->splits * problem->longest * channels;
        for (ptrdiff_t i = 0; i < count; i++) {
            REAL sum = 0;
            for (ptrdiff_t s = 0; s < plan->splits; s++)
                sum += parts[s * problem->longest * channels + i];
            row[i] = sum;
        }
        if (problem->initial_gradient) {
            const ptrdiff_t lower = signature_words(channels, 1, plan->prefix);
            const REAL *ends = (const REAL *)plan->end + path * plan->splits * lower;
            REAL *initial = (REAL *)problem->initial_gradient +
                            path * signature_words(channels, 1, problem->depth);
            for (ptrdiff_t i = 0; i < lower; i++) {
                initial[i] = 0;
                for (ptrdiff_t s = 0; s < plan->splits; s++) initial[i] += ends[s * lower + i];
            }
        }
    }
    for (ptrdiff_t c = 0; first && steps && c < channels; c++) first[c] -= row[c];
    ptrdiff_t i = 0; /* forwards, so that a row is read before it is changed */
    for (; i + LANES + channels <= count; i += LANES)
        NAME(store)(row + i, NAME(load)(row + i) - NAME(load)(row + i + channels));
    for (; i + channels < count; i++) row[i] -= row[i + channels];
}

/* The gradients of the points that no increment has written, of the basepoint and, between the
 * pieces of a path, of the points in which one ends and another begins.  next: the gradients of
 * the pieces' first increments, [piece][letter] with these strides. */
static void NAME(finish_path)(const signature_problem *problem, const signature_plan *plan,
                              ptrdiff_t path, const REAL *next, ptrdiff_t piece_stride,
                              ptrdiff_t letter_stride) {
    const ptrdiff_t channels = problem->channels, steps = signature_steps(problem, path);
    const ptrdiff_t shift = problem->basepoint ? 0 : 1;
    REAL *points = (REAL *)problem->path_gradient + path * problem->length * channels;
    REAL *first = shift ? points
                  : problem->basepoint_gradient
                      ? (REAL *)problem->basepoint_gradient + path * channels
                      : NULL;
    const int separate = plan->prefix || plan->pieces > 1 || !shift || !steps;
    for (ptrdiff_t c = 0; separate && first && c < channels; c++) first[c] = 0;
    if (plan->prefix) NAME(finish_words)(problem, plan, path, points + shift * channels, first);
    for (ptrdiff_t piece = 0; separate && !plan->prefix && piece < plan->pieces; piece++) {
        const ptrdiff_t begin = signature_piece_start(steps, piece, plan->pieces);
        REAL *point = begin ? points + (begin + shift - 1) * channels : first;
        for (ptrdiff_t c = 0; point && c < channels; c++)
            point[c] -= next[piece * piece_stride + c * letter_stride];
    }
    for (ptrdiff_t i = (shift + steps) * channels; i < problem->length * channels; i++)
        points[i] = 0;
}

static void NAME(point_task)(const signature_problem *problem, const signature_plan *plan,
                             ptrdiff_t path) {
    const ptrdiff_t stride = signature_words(problem->channels, 1, problem->depth - 1);
    const REAL *next = plan->prefix ? NULL : (REAL *)plan->start + path * plan->pieces * stride;
    NAME(finish_path)(problem, plan, path, next, stride, 1);
}

/* The paths that one task has had to itself, while they are in the cache; where it had a piece of
 * a path, the gradient of its first increment takes the place of the state before it. */
static void NAME(finish_task)(const signature_problem *problem, const signature_plan *plan,
                              ptrdiff_t task, const NAME(workspace) *work) {
    const ptrdiff_t channels = problem->channels;
    if (plan->prefix) {
        if (plan->splits == 1) NAME(finish_path)(problem, plan, task, NULL, 0, 0);
        return;
    }
    const ptrdiff_t stride = signature_words(channels, 1, problem->depth - 1);
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t piece, path = NAME(lane_path)(problem, plan, task * LANES + l, &piece);
        const REAL *next = (const REAL *)work->next_gradient + l;
        if (path < 0) continue;
        if (plan->pieces == 1) {
            NAME(finish_path)(problem, plan, path, next, 0, LANES);
            continue;
        }
        REAL *kept = (REAL *)plan->start + (path * plan->pieces + piece) * stride;
        for (ptrdiff_t c = 0; c < channels; c++) kept[c] = next[c * LANES];
    }
}

/* Asks for the rows of a task's paths in an array, if they are so short that the hardware would not
 * see them coming. */
ALWAYS_INLINE void NAME(prefetch_rows)(const signature_problem *problem, ptrdiff_t task,
                                       const void *array, ptrdiff_t numbers) {
    const ptrdiff_t first = task * LANES, left = problem->batch - first;
    const ptrdiff_t bytes = (left < LANES ? left : LANES) * numbers * (ptrdiff_t)sizeof(REAL);
    const char *rows = (const char *)((const REAL *)array + first * numbers);
    if (bytes > 1 << 13) return;
    for (ptrdiff_t i = 0; i < bytes; i += 64) __builtin_prefetch(rows + i);
}

/* Backward: what this task will write, and the next one will read, comes while this one computes,
 * where the arrays do not fit the second-level cache.  Inlined, because GCC drops calls of functions
 * that do nothing but prefetch. */
ALWAYS_INLINE void NAME(prefetch_task)(const signature_problem *problem, const signature_plan *plan,
                                       ptrdiff_t task) {
    const ptrdiff_t numbers = problem->length * problem->channels;
    if (problem->batch * numbers < 1 << 17) return;
    if (plan->prefix || plan->pieces > 1 || problem->order) return;
    NAME(prefetch_rows)(problem, task, problem->path_gradient, numbers);
    NAME(prefetch_rows)(problem, task + 1, problem->path, numbers);
    NAME(prefetch_rows)(problem, task + 1, problem->signature, problem->path_stride);
}

/* The tasks first ... last - 1 of one kind. */
static void NAME(signature_tasks)(int kind, const signature_problem *problem,
                                  const signature_plan *plan, ptrdiff_t first, ptrdiff_t last,
                                  void *memory) {
    NAME(workspace) work;
    if (kind == SIGNATURE_FORWARD || kind == SIGNATURE_BACKWARD)
        NAME(carve_workspace)(problem, plan, kind == SIGNATURE_BACKWARD, memory, &work);
    for (ptrdiff_t task = first; task < last; task++) {
        switch (kind) {
            case SIGNATURE_FORWARD: NAME(forward_task)(problem, plan, task, &work); break;
            case SIGNATURE_JOIN: NAME(join_task)(problem, plan, task, memory); break;
            case SIGNATURE_CHAIN: NAME(chain_task)(problem, plan, task, memory); break;
            case SIGNATURE_BACKWARD:
                NAME(prefetch_task)(problem, plan, task);
                NAME(backward_task)(problem, plan, task, &work);
                NAME(finish_task)(problem, plan, task, &work);
                break;
            case SIGNATURE_POINTS: NAME(point_task)(problem, plan, task); break;
        }
    }
}
