/* The gradient at depth 2 for fewer channels than lanes: that of signature_depth_two.h, with a path,
 * or a piece of one, in each lane.
 *
 * The half way between the neighbours of a point is (u_{p-1} + u_p) / 2, where increments that a path
 * does not have are 0.  The rows of a lane are those of the points in which its increments begin and,
 * if it has the path's end, of that.
 */

/* Of all lanes; fewer letters than lanes. */
typedef struct {
    VEC previous[LANES];           /* the increment before the next one */
    VEC turn[LANES * LANES];       /* [letter][letter]: g_2^T - g_2 */
    VEC first[LANES], last[LANES]; /* the constants */
    int begins[LANES],
        ends[LANES]; /* whether the lane has the first and the last point of a path */
} NAME(two_lanes);

/* S_1 of the paths, the increment before each lane, and which points it has. */
static void NAME(read_two_lanes)(const signature_problem *problem, const signature_plan *plan,
                                 ptrdiff_t task, VEC *way, NAME(two_lanes) *two) {
    const ptrdiff_t channels = problem->channels, pieces = plan->pieces;
    const REAL sign = problem->inverse ? -1 : 1;
    for (ptrdiff_t c = 0; c < channels; c++) way[c] = two->previous[c] = (VEC){0};
    for (ptrdiff_t l = 0; l < LANES; l++) {
        ptrdiff_t piece, number = NAME(lane_path)(problem, plan, task * LANES + l, &piece);
        two->begins[l] = two->ends[l] = 0;
        if (number < 0) continue;
        const ptrdiff_t steps = signature_steps(problem, number);
        const ptrdiff_t first = signature_piece_start(steps, piece, pieces);
        const NAME(lane) path = NAME(find_lane)(problem, number, 0, steps);
        const REAL *end = NAME(find_point)(&path, steps, channels);
        two->begins[l] = first == 0 && signature_piece_start(steps, piece + 1, pieces) > 0;
        two->ends[l] = piece == pieces - 1;
        for (ptrdiff_t c = 0; c < channels; c++) way[c][l] = sign * (end[c] - path.origin[c]);
        if (first == 0) continue;
        const REAL *after = NAME(find_point)(&path, first, channels);
        const REAL *before = NAME(find_point)(&path, first - 1, channels);
        for (ptrdiff_t c = 0; c < channels; c++)
            two->previous[c][l] = sign * (after[c] - before[c]);
    }
}

/* What the gradients of the points are made of.  The adjoints become those before the path. */
static void NAME(prepare_two_lanes)(const signature_problem *problem, const signature_plan *plan,
                                    ptrdiff_t task, NAME(workspace) *work, NAME(two_lanes) *two) {
    const ptrdiff_t channels = problem->channels;
    NAME(rows)
    rows = NAME(find_rows)(problem, plan, task, 0, problem->initial, problem->initial_stride, 0);
    VEC way[LANES], kept[LANES], sums[2][LANES];
    VEC *first = work->adjoints[0][1], *second = work->adjoints[0][2];
    NAME(read_two_lanes)(problem, plan, task, way, two);
    for (ptrdiff_t c = 0; c < channels; c++) kept[c] = sums[0][c] = sums[1][c] = (VEC){0};
    if (problem->initial) NAME(read_lanes)(kept, channels, rows.row);
#if SIGNATURE_LYNDON
    if (problem->logarithm) {
        for (ptrdiff_t c = 0; c < channels; c++) work->states[0][1][c] = way[c] + kept[c];
        NAME(load_logarithm_adjoint)(problem, plan, task, work);
    }
#endif
    if (!(SIGNATURE_LYNDON && problem->logarithm)) {
        rows = NAME(find_rows)(problem, plan, task, 0, problem->signature, problem->path_stride, 0);
        NAME(read_state)(work->adjoints[0], &rows, 2);
    }
    for (ptrdiff_t c = 0; c < channels; c++) two->first[c] = two->last[c] = first[c];
    for (ptrdiff_t i = 0; i < channels; i++)
        for (ptrdiff_t c = 0; c < channels; c++) {
            const VEC g = second[i * channels + c];
            two->turn[i * channels + c] = second[c * channels + i] - g;
            sums[0][i] += g * way[c];
            sums[1][c] += g * way[i];
            two->first[c] += g * kept[i];
        }
    for (ptrdiff_t c = 0; c < channels; c++) {
        two->last[c] = two->first[c] + sums[1][c];
        two->first[c] += sums[0][c];
        first[c] += sums[0][c];
        for (ptrdiff_t l = 0; l < LANES; l++)
            if (!two->begins[l]) two->first[c][l] = 0;
    }
}

/* The gradients of the points in which `steps` increments begin, without constants. */
ALWAYS_INLINE void NAME(turn_letters)(NAME(two_lanes) *two, const VEC *letters, VEC *gradient,
                                      ptrdiff_t steps, const ptrdiff_t channels) {
    for (ptrdiff_t t = 0; t < steps; t++, letters += channels, gradient += channels) {
        VEC v[LANES], g[LANES];
        for (ptrdiff_t c = 0; c < channels; c++) {
            v[c] = (two->previous[c] + letters[c]) * (REAL)0.5;
            two->previous[c] = letters[c];
            g[c] = (VEC){0};
        }
        for (ptrdiff_t i = 0; i < channels; i++)
            for (ptrdiff_t c = i + 1; c < channels; c++) {
                const VEC turn = two->turn[i * channels + c];
                g[c] += v[i] * turn;
                g[i] -= v[c] * turn;
            }
        for (ptrdiff_t c = 0; c < channels; c++) gradient[c] = g[c];
    }
}

static void NAME(turn_any)(NAME(two_lanes) *two, const VEC *letters, VEC *gradient, ptrdiff_t steps,
                           ptrdiff_t channels) {
    switch (channels) {
        case 1: NAME(turn_letters)(two, letters, gradient, steps, 1); break;
#if LANES >= 4
        case 2: NAME(turn_letters)(two, letters, gradient, steps, 2); break;
        case 3: NAME(turn_letters)(two, letters, gradient, steps, 3); break;
#endif
#if LANES >= 8
        case 4: NAME(turn_letters)(two, letters, gradient, steps, 4); break;
        case 5: NAME(turn_letters)(two, letters, gradient, steps, 5); break;
#endif
        default: NAME(turn_letters)(two, letters, gradient, steps, channels);
    }
}

/* The rows of the current block in `gradient`, and after the last increment one more.  Returns how
 * many. */
static ptrdiff_t NAME(turn_block)(const signature_problem *problem, const NAME(workspace) *work,
                                  NAME(two_lanes) *two, VEC *gradient, ptrdiff_t start,
                                  ptrdiff_t steps) {
    const ptrdiff_t channels = problem->channels;
    ptrdiff_t count = work->tree.forward.steps;
    VEC *letters = work->tree.forward.letters;
    NAME(turn_any)(two, letters, gradient, count, channels);
    if (start + count == steps) {
        VEC *end = gradient + count++ * channels;
        for (ptrdiff_t c = 0; c < channels; c++) letters[c] = (VEC){0};
        NAME(turn_any)(two, letters, end, 1, channels);
        for (ptrdiff_t l = 0; l < LANES; l++)
            for (ptrdiff_t c = 0; two->ends[l] && work->lanes[l].steps == steps && c < channels;
                 c++)
                end[c][l] += two->last[c][l];
    }
    for (ptrdiff_t c = 0; start == 0 && c < channels; c++) gradient[c] -= two->first[c];
    for (ptrdiff_t i = 0; problem->inverse && i < count * channels; i++) gradient[i] = -gradient[i];
    return count;
}

/* Where the gradient of a basepoint goes, if anywhere. */
static REAL *NAME(basepoint_row)(const signature_problem *problem, ptrdiff_t path) {
    if (problem->basepoint_gradient == NULL) return NULL;
    return (REAL *)problem->basepoint_gradient + path * problem->channels;
}

/* Writes `count` rows from `start` on, as many of them as each lane has. */
static void NAME(write_two_lanes)(const signature_problem *problem, const signature_plan *plan,
                                  ptrdiff_t task, const NAME(workspace) *work,
                                  const NAME(two_lanes) *two, const VEC *gradient, ptrdiff_t start,
                                  ptrdiff_t count) {
    const ptrdiff_t channels = problem->channels;
    const int based = start == 0 && problem->basepoint;
    const ptrdiff_t head = based ? channels : 0;
    REAL *row[LANES];
    ptrdiff_t valid[LANES], whole = 1;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        const NAME(lane) *lane = &work->lanes[l];
        ptrdiff_t piece, path = NAME(lane_path)(problem, plan, task * LANES + l, &piece);
        ptrdiff_t left = lane->steps + two->ends[l] - start;
        left = left < 0 ? 0 : left > count ? count : left;
        valid[l] = left * channels;
        row[l] = path < 0 ? NULL : lane->gradient + (start - 1) * channels;
        whole = whole && left == count && (!based || two->begins[l]);
        if (!based || !two->begins[l]) continue;
        REAL *point = NAME(basepoint_row)(problem, path);
        for (ptrdiff_t c = 0; point && c < channels; c++) point[c] = gradient[c][l];
    }
    if (whole) {
        for (ptrdiff_t l = 0; l < LANES; l++) row[l] += head;
        NAME(write_lanes)(gradient + head, count * channels - head, row);
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        for (ptrdiff_t i = two->begins[l] ? head : 0; i < valid[l]; i++) row[l][i] = gradient[i][l];
}

/* The rows after the end of each path, and what is missing in the last point of those that end before
 * the longest. */
static void NAME(finish_two_lanes)(const signature_problem *problem, const signature_plan *plan,
                                   ptrdiff_t task, const NAME(workspace) *work,
                                   const NAME(two_lanes) *two, ptrdiff_t longest) {
    const ptrdiff_t channels = problem->channels, shift = problem->basepoint != NULL;
    const REAL sign = problem->inverse ? -1 : 1;
    for (ptrdiff_t l = 0; l < LANES; l++) {
        if (!two->ends[l]) continue;
        ptrdiff_t piece, path = NAME(lane_path)(problem, plan, task * LANES + l, &piece);
        const ptrdiff_t steps = signature_steps(problem, path);
        const ptrdiff_t count = steps ? steps + 1 - shift : 0;
        REAL *rows = (REAL *)problem->path_gradient + path * problem->length * channels;
        if (steps && work->lanes[l].steps < longest)
            for (ptrdiff_t c = 0; c < channels; c++)
                rows[(count - 1) * channels + c] += sign * two->last[c][l];
        for (ptrdiff_t i = count * channels; i < problem->length * channels; i++) rows[i] = 0;
    }
}

static void NAME(depth_two_paths_backward)(const signature_problem *problem,
                                           const signature_plan *plan, ptrdiff_t task,
                                           NAME(workspace) *work) {
    NAME(two_lanes) two;
    NAME(find_lanes)(problem, plan, task, work);
    NAME(prepare_two_lanes)(problem, plan, task, work, &two);
    const ptrdiff_t steps = NAME(task_steps)(plan, work);
    VEC *gradient = work->tree.gradient - problem->channels; /* room for one row more */
    for (ptrdiff_t start = 0; start == 0 || start < steps; start += plan->block) {
        NAME(begin_block)(problem, plan, work, start, steps);
        ptrdiff_t count = NAME(turn_block)(problem, work, &two, gradient, start, steps);
        NAME(write_two_lanes)(problem, plan, task, work, &two, gradient, start, count);
    }
    NAME(finish_two_lanes)(problem, plan, task, work, &two, steps);
    NAME(store_initial_gradient)(problem, plan, task, work);
}

/* The tasks first ... last - 1, backward. */
static void NAME(depth_two_paths_tasks)(const signature_problem *problem,
                                        const signature_plan *plan, ptrdiff_t first, ptrdiff_t last,
                                        void *memory) {
    NAME(workspace) work;
    NAME(carve_workspace)(problem, plan, 1, memory, &work);
    for (ptrdiff_t task = first; task < last; task++) {
        NAME(prefetch_task)(problem, plan, task);
        NAME(depth_two_paths_backward)(problem, plan, task, &work);
    }
}
