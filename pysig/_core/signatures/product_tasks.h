/* Between the rows of the caller's tables and those in working memory. */

/* The row of a table that product r of a member of the batch takes; NULL: none, it takes 1. */
ALWAYS_INLINE const REAL *NAME(find_row)(const product_table *table, ptrdiff_t member,
                                         ptrdiff_t r) {
    const ptrdiff_t row = table->index ? table->index[r] : r;
    if (row < 0) return NULL;
    return (const REAL *)table->numbers + (member * table->rows + row) * table->stride;
}

/* Asks for what a later product will read.  Not inline, GCC takes it for a function without effect. */
ALWAYS_INLINE void NAME(prefetch_product)(const product_problem *problem,
                                          const product_layout *layout, ptrdiff_t number) {
    const ptrdiff_t member = number / problem->rows, r = number % problem->rows;
    for (int f = 0; f < problem->factors; f++) {
        const char *row = (const char *)NAME(find_row)(&problem->factor[f], member, r);
        if (!row) continue;
        for (ptrdiff_t byte = 0; byte < layout->words * REAL_BYTES; byte += 64)
            __builtin_prefetch(row + byte, 0, 2);
    }
}

/* Whether `multiply` stays within the rows: the levels end with vectors. */
static int NAME(fits_vectors)(ptrdiff_t channels) {
    return channels > 1 && (channels % LANES == 0 || LANES % channels == 0);
}

/* The row for `multiply`: itself, or a copy, if what is read past its end may not exist. */
static const REAL *NAME(readable_row)(const product_problem *problem, const product_layout *layout,
                                      const product_table *table, const REAL *row, REAL *copy) {
    const REAL *end = (const REAL *)table->numbers +
                      (problem->batch * table->rows - 1) * table->stride + layout->words;
    if (row + layout->words + LANES <= end || NAME(fits_vectors)(layout->channels)) return row;
    memcpy(copy, row, (size_t)layout->words * sizeof(REAL));
    return copy;
}

static void NAME(multiply_rows)(const product_problem *problem, const product_layout *layout,
                                ptrdiff_t number, REAL *workspace) {
    const ptrdiff_t member = number / problem->rows, r = number % problem->rows;
    REAL *result = (REAL *)problem->product.numbers + number * problem->product.stride;
    const product_table *table[PRODUCT_FACTORS];
    const REAL *row[PRODUCT_FACTORS], *product;
    int found = 0;
    for (int f = 0; f < problem->factors; f++) {
        table[found] = &problem->factor[f];
        row[found] = NAME(find_row)(table[found], member, r);
        found += row[found] != NULL;
    }
    if (found < 2) {
        for (ptrdiff_t w = 0; w < layout->words; w++) result[w] = found ? row[0][w] : 0;
        return;
    }
    product = NAME(readable_row)(problem, layout, table[0], row[0], workspace);
    for (int f = 1; f < found; f++) {
        const REAL *factor =
            NAME(readable_row)(problem, layout, table[f], row[f], workspace + layout->size);
        REAL *to = workspace + (2 + f % 2) * layout->size;
        if (f == found - 1 && NAME(fits_vectors)(layout->channels)) to = result;
        NAME(multiply)(layout, to, product, factor);
        product = to;
    }
    if (product != result) memcpy(result, product, (size_t)layout->words * sizeof(REAL));
}

/* Adds to `sum` the gradient of product `r` in its factor `position`. */
static void NAME(add_gradient)(const product_problem *problem, const product_layout *layout,
                               ptrdiff_t member, ptrdiff_t r, ptrdiff_t position, REAL *sum) {
    REAL *grad = sum + layout->size, *other = grad + layout->size, *factor = other + layout->size;
    NAME(read_row)(layout, grad, NAME(find_row)(&problem->product, member, r));
    for (int turn = 0; turn < problem->factors; turn++) {
        /* Those before the position from the first on, those after it from the last on. */
        ptrdiff_t f = turn < position ? turn : problem->factors - 1 - (turn - position);
        if (f == position) continue;
        const REAL *row = NAME(find_row)(&problem->factor[f], member, r);
        if (!row) continue;
        NAME(read_row)(layout, factor, row);
        if (f < position)
            NAME(contract_left)(layout, other, grad, factor);
        else
            NAME(contract_right)(layout, other, grad, factor);
        REAL *swap = grad;
        grad = other;
        other = swap;
    }
    for (ptrdiff_t i = 0; i < layout->size; i += LANES)
        *(VEC *)(sum + i) += *(const VEC *)(grad + i);
}

static void NAME(gradient_row)(const product_problem *problem, const product_layout *layout,
                               ptrdiff_t number, REAL *workspace) {
    const ptrdiff_t member = number / problem->gradient.rows, row = number % problem->gradient.rows;
    const ptrdiff_t begin = problem->begins ? problem->begins[row] : row;
    const ptrdiff_t end = problem->begins ? problem->begins[row + 1] : row + 1;
    REAL *gradient = (REAL *)problem->gradient.numbers + number * problem->gradient.stride;
    if (begin == end && problem->add) return;
    memset(workspace, 0, (size_t)layout->size * sizeof(REAL));
    for (ptrdiff_t e = begin; e < end; e++)
        NAME(add_gradient)(problem, layout, member, problem->begins ? problem->products[e] : e,
                           problem->begins ? problem->positions[e] : problem->position, workspace);
    NAME(write_row)(layout, gradient, workspace, problem->add);
}

static void NAME(product_tasks)(int kind, const product_problem *problem, ptrdiff_t first,
                                ptrdiff_t last, void *workspace) {
    product_layout layout;
    product_make_layout(&layout, problem->channels, problem->depth, LANES);
    for (ptrdiff_t number = first; number < last; number++) {
        if (kind == PRODUCT_BACKWARD) {
            NAME(gradient_row)(problem, &layout, number, workspace);
            continue;
        }
        if (number + 2 < last) NAME(prefetch_product)(problem, &layout, number + 2);
        NAME(multiply_rows)(problem, &layout, number, workspace);
    }
}
