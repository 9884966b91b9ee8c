/* From intervals to programs.
 *
 * The whole and what comes of it by halving are ranges of cells; if their number is odd the left
 * half is the smaller one.  Ranges have numbers: the whole is 1, the halves of n are 2n and 2n + 1. */

static brownian_operation *brownian_append(brownian_program *program, int kind) {
    static brownian_operation nowhere;
    if (program->count == program->capacity) {
        const ptrdiff_t capacity = program->capacity ? 2 * program->capacity : 128;
        void *larger = realloc(program->operations, (size_t)capacity * sizeof *program->operations);
        if (larger == NULL) {
            program->failed = 1;
            return &nowhere;
        }
        program->operations = (brownian_operation *)larger;
        program->capacity = capacity;
    }
    brownian_operation *operation = &program->operations[program->count++];
    memset(operation, 0, sizeof *operation);
    operation->kind = kind;
    return operation;
}

static brownian_place brownian_slot(ptrdiff_t slot) {
    const brownian_place place = {NULL, slot};
    return place;
}

/* So many cells are how long. */
static inline double brownian_length(const brownian_tree *tree, double cells) {
    return tree->length * (cells / (double)tree->cells);
}

/* ---- the sum that is built up ---- */

typedef struct {
    brownian_tree *tree;
    brownian_program *program;
    double length; /* of what is in the sum */
    int empty;
} brownian_planner;

static void brownian_plan_add(brownian_planner *planner, brownian_place whole, double length) {
    brownian_operation *operation = brownian_append(planner->program, BROWNIAN_ADD);
    operation->whole = whole;
    operation->first = planner->empty;
    if (!planner->empty) operation->join = bridge_join_lengths(planner->length, length);
    planner->length = planner->empty ? length : planner->length + length;
    planner->empty = 0;
}

static void brownian_plan_row(brownian_planner *planner, ptrdiff_t row, double sign) {
    brownian_operation *operation = brownian_append(planner->program, BROWNIAN_ROW);
    operation->row = row;
    operation->sign = sign;
    planner->empty = 1;
}

/* ---- ranges of cells, and their parts ---- */

typedef struct {
    uint64_t node, first, end; /* the cells first ... end - 1 */
    brownian_place place;
} brownian_range;

static brownian_range brownian_whole(const brownian_tree *tree) {
    const brownian_range whole = {1, 0, tree->cells, {tree->root, 0}};
    return whole;
}

static double brownian_range_length(const brownian_tree *tree, const brownian_range *range) {
    return brownian_length(tree, (double)(range->end - range->first));
}

static uint64_t brownian_middle(const brownian_range *range) {
    return range->first + (range->end - range->first) / 2;
}

static brownian_range brownian_half(const brownian_range *range, int right, brownian_place place) {
    const uint64_t middle = brownian_middle(range);
    const brownian_range half = {2 * range->node + (uint64_t)right, right ? middle : range->first,
                                 right ? range->end : middle, place};
    return half;
}

/* How far the middle is in a range, from 0 to 1. */
static double brownian_middle_part(const brownian_range *range) {
    return (double)(brownian_middle(range) - range->first) / (double)(range->end - range->first);
}

static int brownian_is_cell(const brownian_range *range) {
    return range->end - range->first == 1;
}

typedef struct {
    brownian_place left, right;
} brownian_parts;

static brownian_parts brownian_entry_parts(const brownian_tree *tree, const brownian_entry *entry) {
    const brownian_parts parts = {{entry->memory, 0},
                                  {entry->memory + brownian_array_bytes(tree), 0}};
    return parts;
}

static void brownian_plan_split(brownian_planner *planner, const brownian_range *range,
                                brownian_parts parts, double part) {
    brownian_operation *operation = brownian_append(planner->program, BROWNIAN_SPLIT);
    const double length = brownian_range_length(planner->tree, range);
    const double left = length * part, right = length * (1 - part);
    operation->node = range->node;
    operation->whole = range->place;
    operation->left = parts.left;
    operation->right = parts.right;
    operation->bridge =
        planner->tree->components == 1 ? bridge_w(left, right) : bridge_wh(left, right);
}

/* The parts of a range: those that are kept, or else new ones, which are kept if there is room. */
static brownian_parts brownian_parts_of(brownian_planner *planner, const brownian_range *range,
                                        double part) {
    brownian_tree *tree = planner->tree;
    const brownian_entry *entry = brownian_find(tree, range->node, part);
    if (entry) return brownian_entry_parts(tree, entry);
    brownian_parts parts;
    entry = brownian_keep(tree, range->node, part);
    if (entry) {
        parts = brownian_entry_parts(tree, entry);
    } else {
        parts.left = brownian_slot(planner->program->slots++);
        parts.right = brownian_slot(planner->program->slots++);
    }
    brownian_plan_split(planner, range, parts, part);
    return parts;
}

static brownian_parts brownian_halves_of(brownian_planner *planner, const brownian_range *range) {
    return brownian_parts_of(planner, range, brownian_middle_part(range));
}

/* The smallest range that holds both points. */
static brownian_range brownian_plan_common(brownian_planner *planner, uint64_t first,
                                           uint64_t last) {
    brownian_tree *tree = planner->tree;
    brownian_range above[BROWNIAN_DEEPEST + 1];
    brownian_range range = brownian_whole(tree);
    int depth = 0, known;
    while (!brownian_is_cell(&range)) {
        const int right = first >= brownian_middle(&range);
        if (right != (last >= brownian_middle(&range))) break;
        above[depth++] = range;
        range = brownian_half(&range, right, range.place);
    }
    /* from the closest range above whose halves are kept */
    for (known = depth; known > 0; known--) {
        const brownian_range *parent = &above[known - 1];
        const brownian_entry *entry =
            brownian_find(tree, parent->node, brownian_middle_part(parent));
        if (!entry) continue;
        const brownian_parts parts = brownian_entry_parts(tree, entry);
        brownian_range *child = known < depth ? &above[known] : &range;
        child->place = child->node & 1 ? parts.right : parts.left;
        break;
    }
    for (; known < depth; known++) {
        const brownian_parts parts = brownian_halves_of(planner, &above[known]);
        brownian_range *child = known + 1 < depth ? &above[known + 1] : &range;
        child->place = child->node & 1 ? parts.right : parts.left;
    }
    return range;
}

/* Adds what is in a range after the point `from`, which is in it. */
static void brownian_plan_suffix(brownian_planner *planner, brownian_range range,
                                 brownian_point from) {
    const brownian_tree *tree = planner->tree;
    brownian_range later[BROWNIAN_DEEPEST + 1];
    int count = 0;
    while (from.part > 0 || from.cell > range.first) {
        if (brownian_is_cell(&range)) break;
        const brownian_parts parts = brownian_halves_of(planner, &range);
        const int right = from.cell >= brownian_middle(&range);
        if (!right) later[count++] = brownian_half(&range, 1, parts.right);
        range = brownian_half(&range, right, right ? parts.right : parts.left);
    }
    double length = brownian_range_length(tree, &range);
    if (from.part > 0) {
        range.place = brownian_parts_of(planner, &range, from.part).right;
        length *= 1 - from.part;
    }
    brownian_plan_add(planner, range.place, length);
    while (count-- > 0)
        brownian_plan_add(planner, later[count].place, brownian_range_length(tree, &later[count]));
}

/* Adds what is in a range before the point `to`, which is in it or ends it, but does not begin it. */
static void brownian_plan_prefix(brownian_planner *planner, brownian_range range,
                                 brownian_point to) {
    const brownian_tree *tree = planner->tree;
    while (to.cell < range.end && !brownian_is_cell(&range)) {
        const uint64_t middle = brownian_middle(&range);
        const brownian_parts parts = brownian_halves_of(planner, &range);
        const int right = to.cell > middle || (to.cell == middle && to.part > 0);
        if (right) {
            const brownian_range left = brownian_half(&range, 0, parts.left);
            brownian_plan_add(planner, left.place, brownian_range_length(tree, &left));
        }
        range = brownian_half(&range, right, right ? parts.right : parts.left);
    }
    double length = brownian_range_length(tree, &range);
    if (to.cell < range.end && to.part > 0) {
        range.place = brownian_parts_of(planner, &range, to.part).left;
        length *= to.part;
    }
    brownian_plan_add(planner, range.place, length);
}

/* Adds what is between two points inside one cell: what is before the second one without what is
 * before the first one. */
static void brownian_plan_rest(brownian_planner *planner, brownian_place until,
                               brownian_place before, double from, double to) {
    const double length = brownian_length(planner->tree, 1);
    brownian_operation *operation = brownian_append(planner->program, BROWNIAN_REST);
    operation->whole = until;
    operation->left = before;
    operation->rest = bridge_rest_lengths(length * to, length * from);
    planner->empty = 0;
}

/* The interval from one point to a later one, as row 0. */
static void brownian_plan_interval(brownian_tree *tree, brownian_program *program,
                                   brownian_point from, brownian_point to, double sign) {
    brownian_planner planner = {tree, program, 0, 1};
    program->count = program->slots = 0;
    program->failed = 0;
    tree->query++;
    const uint64_t last = to.part > 0 ? to.cell : to.cell - 1;
    const brownian_range range = brownian_plan_common(&planner, from.cell, last);
    if (from.part == 0 && from.cell == range.first) {
        brownian_plan_prefix(&planner, range, to);
    } else if (to.part == 0 && to.cell == range.end) {
        brownian_plan_suffix(&planner, range, from);
    } else if (brownian_is_cell(&range)) {
        const brownian_place before = brownian_parts_of(&planner, &range, from.part).left;
        const brownian_place until = brownian_parts_of(&planner, &range, to.part).left;
        brownian_plan_rest(&planner, until, before, from.part, to.part);
    } else {
        const brownian_parts parts = brownian_halves_of(&planner, &range);
        brownian_plan_suffix(&planner, brownian_half(&range, 0, parts.left), from);
        brownian_plan_prefix(&planner, brownian_half(&range, 1, parts.right), to);
    }
    brownian_plan_row(&planner, 0, sign);
}

/* ---- all intervals of a grid, without keeping anything ---- */

typedef struct {
    brownian_planner planner;
    const brownian_point *points;
    ptrdiff_t count, next; /* the point to come */
} brownian_grid;

static int brownian_is_before(brownian_point a, brownian_point b) {
    return a.cell < b.cell || (a.cell == b.cell && a.part < b.part);
}

/* Ends an interval where a range or a part of a cell ends at the point to come. */
static void brownian_grid_arrive(brownian_grid *grid, brownian_point here) {
    if (grid->next == grid->count || brownian_is_before(here, grid->points[grid->next])) return;
    if (grid->next) brownian_plan_row(&grid->planner, grid->next - 1, 1);
    grid->planner.empty = 1;
    grid->next++;
}

static int brownian_grid_inside(const brownian_grid *grid) {
    return grid->next > 0 && grid->next < grid->count;
}

/* The points inside a cell.  slots: four of its own. */
static void brownian_grid_cell(brownian_grid *grid, const brownian_range *range, ptrdiff_t slots) {
    brownian_planner *planner = &grid->planner;
    const double length = brownian_length(planner->tree, 1);
    brownian_parts before = {{NULL, 0}, {NULL, 0}}, parts;
    double from = 0;
    while (grid->next < grid->count && grid->points[grid->next].cell == range->first) {
        const brownian_point here = grid->points[grid->next];
        parts.left = brownian_slot(slots + 2 * (grid->next & 1));
        parts.right = brownian_slot(slots + 2 * (grid->next & 1) + 1);
        brownian_plan_split(planner, range, parts, here.part);
        if (brownian_grid_inside(grid)) {
            if (from > 0)
                brownian_plan_rest(planner, parts.left, before.left, from, here.part);
            else
                brownian_plan_add(planner, parts.left, length * here.part);
        }
        from = here.part;
        before = parts;
        brownian_grid_arrive(grid, here);
    }
    if (brownian_grid_inside(grid)) brownian_plan_add(planner, before.right, length * (1 - from));
}

/* The ranges in the order of time: those that the grid cuts are split. */
static void brownian_plan_grid(brownian_tree *tree, brownian_program *program,
                               const brownian_point *points, ptrdiff_t count) {
    brownian_grid grid = {{tree, program, 0, 1}, points, count, 0};
    brownian_range later[BROWNIAN_DEEPEST + 1], range = brownian_whole(tree);
    const brownian_point start = {0, 0};
    int waiting = 0;
    program->count = program->failed = 0;
    program->slots = 2 * (BROWNIAN_DEEPEST + 3);
    brownian_grid_arrive(&grid, start);
    while (grid.next < count && !program->failed) {
        const brownian_point end = {range.end, 0};
        if (brownian_is_before(points[grid.next], end) && !brownian_is_cell(&range)) {
            /* A right half keeps its slot for as long as it waits. */
            const brownian_parts halves = {brownian_slot(2 * waiting),
                                           brownian_slot(2 * waiting + 1)};
            brownian_plan_split(&grid.planner, &range, halves, brownian_middle_part(&range));
            later[waiting++] = brownian_half(&range, 1, halves.right);
            range = brownian_half(&range, 0, halves.left);
            continue;
        }
        if (brownian_is_before(points[grid.next], end))
            brownian_grid_cell(&grid, &range, 2 * (BROWNIAN_DEEPEST + 1));
        else if (brownian_grid_inside(&grid))
            brownian_plan_add(&grid.planner, range.place, brownian_range_length(tree, &range));
        brownian_grid_arrive(&grid, end);
        if (!waiting) break;
        range = later[--waiting];
    }
}
