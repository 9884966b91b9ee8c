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

/* The cells first ... end - 1, or a piece of the cell `first` from the part `low` to `high` of it,
 * with the cut that comes next, or else where it will be: below another one, or the first. */
typedef struct {
    uint64_t node, first, end;
    double low, high;
    ptrdiff_t cut, above;
    int side; /* 1 if it is the right part of another one */
    brownian_place place;
} brownian_range;

static int brownian_is_cell(const brownian_range *range) {
    return range->end - range->first == 1;
}

static int brownian_is_before(brownian_point a, brownian_point b) {
    return a.cell < b.cell || (a.cell == b.cell && a.part < b.part);
}

static brownian_point brownian_point_at(uint64_t cell, double part) {
    const brownian_point point = {part < 1 ? cell : cell + 1, part < 1 ? part : 0};
    return point;
}

static brownian_point brownian_start(const brownian_range *range) {
    return brownian_point_at(range->first, range->low);
}

static brownian_point brownian_end(const brownian_range *range) {
    return brownian_point_at(range->end - 1, range->high);
}

static void brownian_look_up_cuts(const brownian_tree *tree, brownian_range *range) {
    range->above = -1;
    range->cut =
        tree->exact && brownian_is_cell(range) ? brownian_first_cut(&tree->cuts, range->first) : -1;
}

static brownian_range brownian_range_of(const brownian_tree *tree, const brownian_cells *cells,
                                        brownian_place place) {
    brownian_range range = {cells->node, cells->first, cells->end, 0, 1, -1, -1, 0, place};
    brownian_look_up_cuts(tree, &range);
    return range;
}

static brownian_place brownian_root(const brownian_tree *tree) {
    const brownian_place place = {tree->root, 0};
    return place;
}

static double brownian_range_length(const brownian_tree *tree, const brownian_range *range) {
    const double cells =
        brownian_is_cell(range) ? range->high - range->low : (double)(range->end - range->first);
    return brownian_length(tree, cells);
}

/* Where a range is split next: in the middle; a cell, where it was cut, or else at `target`. */
static brownian_point brownian_split_point(brownian_planner *planner, brownian_range *range,
                                           brownian_point target) {
    brownian_tree *tree = planner->tree;
    if (!brownian_is_cell(range)) {
        const brownian_point middle = {range->first + (range->end - range->first) / 2, 0};
        return middle;
    }
    if (!tree->exact) return target;
    if (range->cut < 0)
        range->cut = brownian_cut_at(&tree->cuts, (double)target.cell + target.part, range->above,
                                     range->side);
    if (range->cut < 0) {
        planner->program->failed = 1;
        return target;
    }
    const double time = tree->cuts.cuts[range->cut].time;
    const brownian_point point = {range->first, time - (double)range->first};
    return point;
}

static brownian_range brownian_part(const brownian_planner *planner, const brownian_range *range,
                                    brownian_point split, int right, brownian_place place) {
    const brownian_tree *tree = planner->tree;
    brownian_range part = *range;
    part.place = place;
    part.side = right;
    if (!brownian_is_cell(range)) {
        part.node = 2 * range->node + (uint64_t)right;
        *(right ? &part.first : &part.end) = split.cell;
        brownian_look_up_cuts(tree, &part);
        return part;
    }
    *(right ? &part.low : &part.high) = split.part;
    part.above = range->cut;
    if (range->cut >= 0) {
        const brownian_cut *cut = &tree->cuts.cuts[range->cut];
        part.cut = right ? cut->right : cut->left;
    }
    return part;
}

typedef struct {
    brownian_place left, right;
} brownian_parts;

static brownian_parts brownian_entry_parts(const brownian_tree *tree, const brownian_entry *entry) {
    const brownian_parts parts = {{entry->memory, 0},
                                  {entry->memory + brownian_array_bytes(tree), 0}};
    return parts;
}

/* The random numbers of a cut of an exact tree are its own. */
static threefry_block brownian_cut_key(const brownian_tree *tree, uint64_t node, double part) {
    threefry_block name;
    memcpy(&name.word[0], &node, sizeof node);
    memcpy(&name.word[2], &part, sizeof part);
    return brownian_other_key(tree->key, name);
}

static void brownian_plan_split(brownian_planner *planner, const brownian_range *range,
                                brownian_parts parts, brownian_point split) {
    const brownian_tree *tree = planner->tree;
    brownian_operation *operation = brownian_append(planner->program, BROWNIAN_SPLIT);
    const int is_cell = brownian_is_cell(range);
    const double left = brownian_length(tree, is_cell ? split.part - range->low
                                                      : (double)(split.cell - range->first));
    const double right = brownian_length(tree, is_cell ? range->high - split.part
                                                       : (double)(range->end - split.cell));
    operation->key =
        is_cell && tree->exact ? brownian_cut_key(tree, range->node, split.part) : tree->key;
    operation->node = range->node;
    operation->whole = range->place;
    operation->left = parts.left;
    operation->right = parts.right;
    operation->bridge = tree->components == 1 ? bridge_w(left, right) : bridge_wh(left, right);
}

/* Computes the parts of a range, which are kept if there is room. */
static brownian_parts brownian_new_parts(brownian_planner *planner, const brownian_range *range,
                                         brownian_point split) {
    brownian_tree *tree = planner->tree;
    const double part = brownian_is_cell(range) ? split.part : 0;
    const brownian_entry *entry = brownian_keep(tree, range->node, part);
    brownian_parts parts;
    if (entry) {
        parts = brownian_entry_parts(tree, entry);
    } else {
        parts.left = brownian_slot(planner->program->slots++);
        parts.right = brownian_slot(planner->program->slots++);
    }
    brownian_plan_split(planner, range, parts, split);
    return parts;
}

/* The parts of a range: those that are kept, or else new ones. */
static brownian_parts brownian_parts_of(brownian_planner *planner, const brownian_range *range,
                                        brownian_point split) {
    const brownian_tree *tree = planner->tree;
    const double part = brownian_is_cell(range) ? split.part : 0;
    const brownian_entry *entry = brownian_find(planner->tree, range->node, part);
    return entry ? brownian_entry_parts(tree, entry) : brownian_new_parts(planner, range, split);
}

/* Room for so many ranges, or NULL. */
static brownian_range *brownian_ranges(brownian_planner *planner, ptrdiff_t count) {
    brownian_tree *tree = planner->tree;
    if (count > tree->later_capacity) {
        const ptrdiff_t capacity = 2 * count + BROWNIAN_DEEPEST;
        void *larger = realloc(tree->later, (size_t)capacity * sizeof(brownian_range));
        if (larger == NULL) {
            planner->program->failed = 1;
            return NULL;
        }
        tree->later = larger;
        tree->later_capacity = capacity;
    }
    return (brownian_range *)tree->later;
}

/* ---- the smallest range that holds both points ---- */

static uint64_t brownian_middle(const brownian_cells *cells) {
    return cells->first + (cells->end - cells->first) / 2;
}

static int brownian_is_within(const brownian_cells *cells, brownian_point from, brownian_point to) {
    const brownian_point end = {cells->end, 0};
    return from.cell >= cells->first && !brownian_is_before(end, to);
}

/* Makes the path lead to the smallest range of cells that holds both points.  It begins with where
 * the last query was, which is close where queries follow each other. */
static void brownian_find_path(brownian_tree *tree, brownian_point from, brownian_point to) {
    brownian_cells *last = &tree->path[tree->depth];
    while (!brownian_is_within(last, from, to)) last--;
    while (last->end - last->first > 1) {
        const brownian_point middle = {brownian_middle(last), 0};
        const int right = from.cell >= middle.cell;
        if (!right && brownian_is_before(middle, to)) break;
        const brownian_cells half = {2 * last->node + (uint64_t)right,
                                     right ? middle.cell : last->first,
                                     right ? last->end : middle.cell};
        *++last = half;
    }
    tree->depth = last - tree->path;
}

static brownian_place brownian_half(brownian_parts parts, int right) {
    return right ? parts.right : parts.left;
}

/* The values on the last range of the path, from the closest one above whose halves are kept. */
static brownian_place brownian_plan_path(brownian_planner *planner) {
    brownian_tree *tree = planner->tree;
    const brownian_cells *path = tree->path;
    brownian_place place = brownian_root(tree);
    ptrdiff_t known;
    for (known = tree->depth; known > 0; known--) {
        const brownian_entry *entry = brownian_find(tree, path[known - 1].node, 0);
        if (!entry) continue;
        place = brownian_half(brownian_entry_parts(tree, entry), path[known].node & 1);
        break;
    }
    for (; known < tree->depth; known++) {
        const brownian_range range = brownian_range_of(tree, &path[known], place);
        const brownian_point middle = {brownian_middle(&path[known]), 0};
        place =
            brownian_half(brownian_new_parts(planner, &range, middle), path[known + 1].node & 1);
    }
    return place;
}

/* The smallest range that holds both points, of which none is inside another cut of it. */
static brownian_range brownian_plan_common(brownian_planner *planner, brownian_point from,
                                           brownian_point to) {
    brownian_tree *tree = planner->tree;
    brownian_find_path(tree, from, to);
    brownian_range range = brownian_range_of(tree, &tree->path[tree->depth], brownian_root(tree));
    brownian_range *above = NULL;
    ptrdiff_t depth = 0, known;
    while (range.cut >= 0) {
        const brownian_point split = brownian_split_point(planner, &range, from);
        const int right = !brownian_is_before(from, split);
        if (!right && brownian_is_before(split, to)) break;
        above = brownian_ranges(planner, depth + 1);
        if (above == NULL) return range;
        above[depth++] = range;
        range = brownian_part(planner, &range, split, right, range.place);
    }
    /* from the closest cut above whose parts are kept; `side` tells which part came of it */
    for (known = depth; known > 0; known--) {
        brownian_range *child = known < depth ? &above[known] : &range;
        const double part = brownian_split_point(planner, &above[known - 1], from).part;
        const brownian_entry *entry = brownian_find(tree, range.node, part);
        if (!entry) continue;
        child->place = brownian_half(brownian_entry_parts(tree, entry), child->side);
        break;
    }
    if (!known) (depth ? &above[0] : &range)->place = brownian_plan_path(planner);
    for (; known < depth; known++) {
        const brownian_point split = brownian_split_point(planner, &above[known], from);
        brownian_range *child = known + 1 < depth ? &above[known + 1] : &range;
        child->place =
            brownian_half(brownian_new_parts(planner, &above[known], split), child->side);
    }
    return range;
}

/* Adds what is in a range after the point `from`, which is in it. */
static void brownian_plan_suffix(brownian_planner *planner, brownian_range range,
                                 brownian_point from) {
    const brownian_tree *tree = planner->tree;
    brownian_range *later = NULL;
    ptrdiff_t count = 0;
    while (brownian_is_before(brownian_start(&range), from) && !planner->program->failed) {
        const brownian_point split = brownian_split_point(planner, &range, from);
        const brownian_parts parts = brownian_parts_of(planner, &range, split);
        const int right = !brownian_is_before(from, split);
        if (!right) {
            later = brownian_ranges(planner, count + 1);
            if (later == NULL) return;
            later[count++] = brownian_part(planner, &range, split, 1, parts.right);
        }
        range = brownian_part(planner, &range, split, right, right ? parts.right : parts.left);
    }
    brownian_plan_add(planner, range.place, brownian_range_length(tree, &range));
    while (count-- > 0)
        brownian_plan_add(planner, later[count].place, brownian_range_length(tree, &later[count]));
}

/* Adds what is in a range before the point `to`, which is in it or ends it, but does not begin it. */
static void brownian_plan_prefix(brownian_planner *planner, brownian_range range,
                                 brownian_point to) {
    const brownian_tree *tree = planner->tree;
    while (brownian_is_before(to, brownian_end(&range)) && !planner->program->failed) {
        const brownian_point split = brownian_split_point(planner, &range, to);
        const brownian_parts parts = brownian_parts_of(planner, &range, split);
        const int right = brownian_is_before(split, to);
        if (right) {
            const brownian_range left = brownian_part(planner, &range, split, 0, parts.left);
            brownian_plan_add(planner, left.place, brownian_range_length(tree, &left));
        }
        range = brownian_part(planner, &range, split, right, right ? parts.right : parts.left);
    }
    brownian_plan_add(planner, range.place, brownian_range_length(tree, &range));
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

/* What is between two points inside one range. */
static void brownian_plan_between(brownian_planner *planner, brownian_range range,
                                  brownian_point from, brownian_point to) {
    if (brownian_is_cell(&range) && !planner->tree->exact) {
        const brownian_place before = brownian_parts_of(planner, &range, from).left;
        const brownian_place until = brownian_parts_of(planner, &range, to).left;
        brownian_plan_rest(planner, until, before, from.part, to.part);
        return;
    }
    const brownian_point split = brownian_split_point(planner, &range, from);
    const brownian_parts parts = brownian_parts_of(planner, &range, split);
    if (brownian_is_before(from, split))
        brownian_plan_suffix(planner, brownian_part(planner, &range, split, 0, parts.left), from);
    brownian_plan_prefix(planner, brownian_part(planner, &range, split, 1, parts.right), to);
}

/* The interval from one point to a later one, as row 0. */
static void brownian_plan_interval(brownian_tree *tree, brownian_program *program,
                                   brownian_point from, brownian_point to, double sign) {
    brownian_planner planner = {tree, program, 0, 1};
    program->count = program->slots = 0;
    program->failed = 0;
    tree->query++;
    const brownian_range range = brownian_plan_common(&planner, from, to);
    if (!brownian_is_before(brownian_start(&range), from))
        brownian_plan_prefix(&planner, range, to);
    else if (!brownian_is_before(to, brownian_end(&range)))
        brownian_plan_suffix(&planner, range, from);
    else
        brownian_plan_between(&planner, range, from, to);
    brownian_plan_row(&planner, 0, sign);
}

/* ---- all intervals of a grid; not for exact trees ---- */

typedef struct {
    brownian_planner planner;
    const brownian_point *points;
    ptrdiff_t count, next; /* the point to come */
} brownian_grid;

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
    const brownian_tree *tree = planner->tree;
    brownian_parts before = {{NULL, 0}, {NULL, 0}}, parts;
    double from = 0;
    while (grid->next < grid->count && grid->points[grid->next].cell == range->first) {
        const brownian_point here = grid->points[grid->next];
        parts.left = brownian_slot(slots + 2 * (grid->next & 1));
        parts.right = brownian_slot(slots + 2 * (grid->next & 1) + 1);
        brownian_plan_split(planner, range, parts, here);
        if (brownian_grid_inside(grid)) {
            if (from > 0)
                brownian_plan_rest(planner, parts.left, before.left, from, here.part);
            else
                brownian_plan_add(planner, parts.left, brownian_length(tree, here.part));
        }
        from = here.part;
        before = parts;
        brownian_grid_arrive(grid, here);
    }
    if (brownian_grid_inside(grid))
        brownian_plan_add(planner, before.right, brownian_length(tree, 1 - from));
}

/* Where the halves of a range are that goes beyond the grid, if there is memory: neighbouring grids need
 * them, too.  `is_new`: they are not there yet. */
static char *brownian_grid_keep(brownian_tree *tree, const brownian_range *range, int *is_new) {
    const int level = 63 - __builtin_clzll(range->node);
    brownian_kept *kept = &tree->kept[2 * level + (range->node & 1)];
    const ptrdiff_t bytes = 2 * brownian_array_bytes(tree);
    *is_new = kept->node != range->node;
    if (!kept->memory && tree->kept_bytes + bytes <= BROWNIAN_MOST_KEPT) {
        kept->memory = (char *)aligned_alloc(SIMD_ALIGNMENT, (size_t)bytes);
        tree->kept_bytes += bytes;
    }
    if (kept->memory) kept->node = range->node;
    return kept->memory;
}

/* The halves of a range.  A right half keeps its slot for as long as it waits; it is done with before
 * the next range of the same length is split, which may take the memory of what is kept. */
static brownian_parts brownian_grid_halves(brownian_grid *grid, const brownian_range *range,
                                           brownian_point middle, ptrdiff_t waiting) {
    brownian_tree *tree = grid->planner.tree;
    const brownian_point start = {range->first, 0}, end = {range->end, 0};
    brownian_parts halves = {brownian_slot(2 * waiting), brownian_slot(2 * waiting + 1)};
    if (tree->cache.capacity && (brownian_is_before(start, grid->points[0]) ||
                                 brownian_is_before(grid->points[grid->count - 1], end))) {
        int is_new;
        char *memory = brownian_grid_keep(tree, range, &is_new);
        if (memory) {
            halves.left.array = memory;
            halves.right.array = memory + brownian_array_bytes(tree);
            if (!is_new) return halves;
        }
    }
    brownian_plan_split(&grid->planner, range, halves, middle);
    return halves;
}

/* The ranges in the order of time: those that the grid cuts are split. */
static void brownian_plan_grid(brownian_tree *tree, brownian_program *program,
                               const brownian_point *points, ptrdiff_t count) {
    brownian_grid grid = {{tree, program, 0, 1}, points, count, 0};
    brownian_range later[BROWNIAN_DEEPEST + 1];
    brownian_range range = brownian_range_of(tree, &tree->path[0], brownian_root(tree));
    const brownian_point start = {0, 0};
    int waiting = 0;
    program->count = program->failed = 0;
    program->slots = 2 * (BROWNIAN_DEEPEST + 3);
    brownian_grid_arrive(&grid, start);
    while (grid.next < count && !program->failed) {
        const brownian_point end = {range.end, 0};
        if (brownian_is_before(points[grid.next], end) && !brownian_is_cell(&range)) {
            const brownian_point middle =
                brownian_split_point(&grid.planner, &range, points[grid.next]);
            const brownian_parts halves = brownian_grid_halves(&grid, &range, middle, waiting);
            later[waiting++] = brownian_part(&grid.planner, &range, middle, 1, halves.right);
            range = brownian_part(&grid.planner, &range, middle, 0, halves.left);
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
