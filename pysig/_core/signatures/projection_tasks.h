/* One task of projection.h: a group of lanes through all of their steps.
 *
 * Backward, the states are kept at the beginnings of segments, then, one segment after the other
 * and the last one first, at the beginnings of its blocks. */

/* The lanes' rows of increments (and of their gradient) in the current block; steps of each. */
typedef struct {
    const REAL *from[LANES];
    REAL *to[LANES];
    ptrdiff_t steps[LANES];
    int whole; /* all lanes have all steps of the block */
} NAME(block);

typedef struct {
    NAME(walk) walk;
    VEC *letters; /* what the walk reads */
    VEC *root;    /* Y[1 ... height] of the empty word: 1 / j at every step */
    VEC *scratch; /* of the same of the words below, and of P */
    VEC *rows;    /* room for walk.rows */
    VEC *fine, *coarse;
} NAME(task_memory);

static void NAME(carve)(const projection_problem *problem, const projection_plan *plan,
                        int backward, VEC *memory, NAME(task_memory) *task) {
    const ptrdiff_t capacity = plan->capacity, chains = projection_chains(problem);
    const ptrdiff_t height = problem->height[0];
    task->letters = memory;
    task->rows = task->letters + problem->channels * capacity;
    task->root = task->rows + capacity;
    task->scratch = task->root + height * capacity;
    memory = task->root + (backward ? 2 : 1) * chains * capacity;
    NAME(walk) walk = {.problem = problem,
                       .capacity = capacity,
                       .by_time = plan->by_time,
                       .letters = task->letters,
                       .state = memory};
    memory += problem->nodes;
    if (backward) {
        walk.adjoint = memory;
        walk.gradient = memory + problem->nodes;
        task->fine = walk.gradient + problem->channels * capacity;
        task->coarse = task->fine + plan->fine * problem->nodes;
    }
    task->walk = walk;
    for (ptrdiff_t j = 0; j < height; j++)
        for (ptrdiff_t t = 0; t < capacity; t++)
            task->root[j * capacity + t] = NAME(reciprocal)[j + 1] + (VEC){0};
}

/* Finds the lanes' steps in one block, and reads their increments; zero behind the end. */
static void NAME(begin_block)(const projection_problem *problem, const projection_plan *plan,
                              ptrdiff_t number, ptrdiff_t block, NAME(task_memory) *task,
                              NAME(block) *lanes) {
    const ptrdiff_t channels = problem->channels;
    const ptrdiff_t start = block * plan->vectors * (plan->by_time ? LANES : 1);
    ptrdiff_t vectors = problem->steps - start;
    if (plan->by_time) vectors = projection_ceil_divide(vectors, LANES);
    if (vectors > plan->vectors) vectors = plan->vectors;
    task->walk.vectors = vectors;
    lanes->whole = 1;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const ptrdiff_t path = plan->by_time ? number : number * LANES + l;
        const ptrdiff_t first = start + (plan->by_time ? l * vectors : 0);
        ptrdiff_t steps = problem->steps - first;
        if (path >= problem->batch || steps < 0) steps = 0;
        if (steps > vectors) steps = vectors;
        const ptrdiff_t row = steps ? path * problem->steps + first : 0;
        lanes->steps[l] = steps;
        lanes->from[l] = (const REAL *)problem->increments + row * channels;
        lanes->to[l] = problem->gradient ? (REAL *)problem->gradient + row * channels : NULL;
        lanes->whole = lanes->whole && steps == vectors;
        if (problem->stream) {
            task->walk.lanes[l].row = (REAL *)problem->coefficients + row * problem->columns;
            task->walk.lanes[l].steps = steps;
        }
    }
    const ptrdiff_t count = vectors * channels;
    VEC *letters = task->letters;
    if (lanes->whole && count >= LANES) {
        for (ptrdiff_t i = 0; i < count; i += LANES) {
            if (i + LANES > count) i = count - LANES; /* the last vectors may overlap */
            VEC row[LANES];
            for (ptrdiff_t l = 0; l < LANES; l++) row[l] = NAME(load)(lanes->from[l] + i);
            NAME(transpose)(row);
            for (ptrdiff_t l = 0; l < LANES; l++) letters[i + l] = row[l];
        }
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        for (ptrdiff_t i = 0; i < count; i++)
            ((REAL *)letters)[i * LANES + l] =
                i < lanes->steps[l] * channels ? lanes->from[l][i] : 0;
}

static void NAME(write_gradient)(const NAME(task_memory) *task, const NAME(block) *lanes) {
    const ptrdiff_t channels = task->walk.problem->channels;
    const ptrdiff_t count = task->walk.vectors * channels;
    const VEC *gradient = task->walk.gradient;
    if (lanes->whole && count >= LANES) {
        for (ptrdiff_t i = 0; i < count; i += LANES) {
            if (i + LANES > count) i = count - LANES;
            VEC row[LANES];
            for (ptrdiff_t l = 0; l < LANES; l++) row[l] = gradient[i + l];
            NAME(transpose)(row);
            for (ptrdiff_t l = 0; l < LANES; l++) NAME(store)(lanes->to[l] + i, row[l]);
        }
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        for (ptrdiff_t i = 0; i < lanes->steps[l] * channels; i++)
            lanes->to[l][i] = ((const REAL *)gradient)[i * LANES + l];
}

/* The state before the first step. */
static void NAME(begin_state)(NAME(task_memory) *task) {
    memset(task->walk.state, 0, (size_t)task->walk.problem->nodes * sizeof(VEC));
    task->walk.state[0] = (REAL)1 + (VEC){0};
}

/* The chosen coefficients at the end of the paths. */
static void NAME(write_state)(const projection_problem *problem, const projection_plan *plan,
                              ptrdiff_t number, const VEC *state) {
    const ptrdiff_t first = plan->by_time ? number : number * LANES;
    const ptrdiff_t left = plan->by_time ? 1 : problem->batch - first;
    REAL *rows = (REAL *)problem->coefficients + first * problem->columns;
    for (ptrdiff_t node = 0; node < problem->nodes; node++) {
        const ptrdiff_t column = problem->column[node];
        if (column < 0) continue;
        if (plan->by_time) {
            const int parts = problem->height[node] == 0 && node;
            REAL sum = state[node][0];
            for (ptrdiff_t l = 1; parts && l < LANES; l++) sum += state[node][l];
            rows[column] = sum;
            continue;
        }
        for (ptrdiff_t l = 0; l < LANES && l < left; l++)
            rows[l * problem->columns + column] = state[node][l];
    }
}

/* H behind the last step: the gradient of what write_state writes, or zero. */
static void NAME(begin_adjoint)(const projection_problem *problem, const projection_plan *plan,
                                ptrdiff_t number, VEC *adjoint) {
    const ptrdiff_t first = plan->by_time ? number : number * LANES;
    const ptrdiff_t left = problem->batch - first;
    const REAL *rows = (const REAL *)problem->coefficients + first * problem->columns;
    memset(adjoint, 0, (size_t)problem->nodes * sizeof(VEC));
    for (ptrdiff_t node = 0; node < problem->nodes && !problem->stream; node++) {
        const ptrdiff_t column = problem->column[node];
        if (column < 0) continue;
        for (ptrdiff_t l = 0; l < LANES && (plan->by_time || l < left); l++)
            adjoint[node][l] = rows[plan->by_time ? column : l * problem->columns + column];
    }
}

static void NAME(forward_task)(const projection_problem *problem, const projection_plan *plan,
                               ptrdiff_t number, NAME(task_memory) *task) {
    NAME(block) lanes;
    task->walk.rows = problem->stream ? task->rows : NULL;
    NAME(begin_state)(task);
    for (ptrdiff_t block = 0; block < plan->blocks; block++) {
        NAME(begin_block)(problem, plan, number, block, task, &lanes);
        NAME(descend_below)(&task->walk, 0, task->root, task->scratch, 1);
    }
    if (!problem->stream) NAME(write_state)(problem, plan, number, task->walk.state);
}

/* The states of the words that have longer ones, behind one more block. */
static void NAME(advance)(const projection_problem *problem, const projection_plan *plan,
                          ptrdiff_t number, ptrdiff_t block, NAME(task_memory) *task) {
    NAME(block) lanes;
    task->walk.rows = NULL;
    NAME(begin_block)(problem, plan, number, block, task, &lanes);
    NAME(descend_below)(&task->walk, 0, task->root, task->scratch, 0);
}

/* The blocks first ... last - 1, of which the state before the first one is given. */
static void NAME(retreat)(const projection_problem *problem, const projection_plan *plan,
                          ptrdiff_t number, NAME(task_memory) *task, ptrdiff_t first,
                          ptrdiff_t last) {
    const size_t bytes = (size_t)problem->nodes * sizeof(VEC);
    NAME(block) lanes;
    for (ptrdiff_t block = first; block < last; block++) {
        memcpy(task->fine + (block - first) * problem->nodes, task->walk.state, bytes);
        if (block < last - 1) NAME(advance)(problem, plan, number, block, task);
    }
    task->walk.rows = problem->stream ? task->rows : NULL;
    for (ptrdiff_t block = last - 1; block >= first; block--) {
        memcpy(task->walk.state, task->fine + (block - first) * problem->nodes, bytes);
        NAME(begin_block)(problem, plan, number, block, task, &lanes);
        memset(task->walk.gradient, 0,
               (size_t)(task->walk.vectors * problem->channels) * sizeof(VEC));
        NAME(ascend_below)(&task->walk, 0, task->root, NULL, task->scratch);
        NAME(write_gradient)(task, &lanes);
    }
}

static void NAME(backward_task)(const projection_problem *problem, const projection_plan *plan,
                                ptrdiff_t number, NAME(task_memory) *task) {
    const size_t bytes = (size_t)problem->nodes * sizeof(VEC);
    const ptrdiff_t segments = projection_ceil_divide(plan->blocks, plan->fine);
    NAME(begin_state)(task);
    NAME(begin_adjoint)(problem, plan, number, task->walk.adjoint);
    for (ptrdiff_t segment = 0; segment < segments; segment++) {
        memcpy(task->coarse + segment * problem->nodes, task->walk.state, bytes);
        if (segment == segments - 1) break;
        for (ptrdiff_t i = 0; i < plan->fine; i++)
            NAME(advance)(problem, plan, number, segment * plan->fine + i, task);
    }
    for (ptrdiff_t segment = segments - 1; segment >= 0; segment--) {
        const ptrdiff_t first = segment * plan->fine, last = first + plan->fine;
        memcpy(task->walk.state, task->coarse + segment * problem->nodes, bytes);
        NAME(retreat)(problem, plan, number, task, first,
                      last < plan->blocks ? last : plan->blocks);
    }
}

static void NAME(projection_tasks)(const projection_problem *problem, const projection_plan *plan,
                                   int backward, ptrdiff_t first, ptrdiff_t last, void *memory) {
    NAME(task_memory) task;
    NAME(carve)(problem, plan, backward, memory, &task);
    for (ptrdiff_t number = first; number < last; number++)
        if (backward)
            NAME(backward_task)(problem, plan, number, &task);
        else
            NAME(forward_task)(problem, plan, number, &task);
}
