/* The exact tree: where the cells were cut so far. */

static uint64_t brownian_cell_of(double time) {
    return (uint64_t)floor(time);
}

/* The place of a cell in the table: its own, or a free one. */
static ptrdiff_t brownian_find_cell(const brownian_cuts *cuts, uint64_t cell) {
    const uint64_t mask = (uint64_t)cuts->places - 1;
    uint64_t place = brownian_hash(cell, 0) & mask;
    while (cuts->first[place] >= 0 && brownian_cell_of(cuts->cuts[cuts->first[place]].time) != cell)
        place = (place + 1) & mask;
    return (ptrdiff_t)place;
}

/* The first cut of a cell, or -1. */
static ptrdiff_t brownian_first_cut(const brownian_cuts *cuts, uint64_t cell) {
    return cuts->places ? cuts->first[brownian_find_cell(cuts, cell)] : -1;
}

/* Makes room for one more cut.  Returns 0 if there is no memory. */
static int brownian_grow_cuts(brownian_cuts *cuts) {
    if (cuts->count < cuts->capacity) return 1;
    const ptrdiff_t capacity = cuts->capacity ? 2 * cuts->capacity : 64, old = cuts->places;
    brownian_cut *larger =
        (brownian_cut *)realloc(cuts->cuts, (size_t)capacity * sizeof *cuts->cuts);
    if (larger == NULL) return 0;
    cuts->cuts = larger;
    ptrdiff_t *first = (ptrdiff_t *)malloc((size_t)(2 * capacity) * sizeof *first);
    ptrdiff_t *before = cuts->first;
    if (first == NULL) return 0;
    cuts->first = first;
    cuts->places = 2 * capacity;
    cuts->capacity = capacity;
    for (ptrdiff_t i = 0; i < cuts->places; i++) first[i] = -1;
    for (ptrdiff_t i = 0; i < old; i++)
        if (before[i] >= 0)
            first[brownian_find_cell(cuts, brownian_cell_of(cuts->cuts[before[i]].time))] =
                before[i];
    free(before);
    return 1;
}

/* A new cut, below another one if that is not -1.  Returns its number, or -1 without memory. */
static ptrdiff_t brownian_cut_at(brownian_cuts *cuts, double time, ptrdiff_t above, int right) {
    if (!brownian_grow_cuts(cuts)) return -1;
    const ptrdiff_t index = cuts->count++;
    const brownian_cut cut = {time, -1, -1};
    cuts->cuts[index] = cut;
    if (above < 0)
        cuts->first[brownian_find_cell(cuts, brownian_cell_of(time))] = index;
    else if (right)
        cuts->cuts[above].right = index;
    else
        cuts->cuts[above].left = index;
    return index;
}

static void brownian_free_cuts(brownian_cuts *cuts) {
    free(cuts->cuts);
    free(cuts->first);
}
