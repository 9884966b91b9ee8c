/* Between the rows of the caller's tables and those in working memory. */

/* The row of a table that product r of a member of the batch takes; NULL: none, it takes 1. */
ALWAYS_INLINE const REAL *NAME(find_row)(const product_table *table, ptrdiff_t member,
                                         ptrdiff_t r) {
    const ptrdiff_t row = table->index ? table->index[r] : r;
    if (row < 0) return NULL;
    return (const REAL *)table->numbers + (member * table->rows + row) * table->stride;
}

/* A product's factors but those that are 1. */
typedef struct {
    const product_table *table[PRODUCT_FACTORS];
    const REAL *row[PRODUCT_FACTORS];
    int count;
} NAME(factors);

ALWAYS_INLINE void NAME(find_factors)(const product_problem *problem, ptrdiff_t number,
                                      NAME(factors) *factors) {
    const ptrdiff_t member = number / problem->rows, r = number % problem->rows;
    factors->count = 0;
    for (int f = 0; f < problem->factors; f++) {
        factors->table[factors->count] = &problem->factor[f];
        factors->row[factors->count] = NAME(find_row)(&problem->factor[f], member, r);
        factors->count += factors->row[factors->count] != NULL;
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

/* Takes the rows `begin` ... `end` - 1 of a product, as far as there are so many. */
ALWAYS_INLINE NAME(later) NAME(some_rows)(const NAME(factors) *factors, int begin, int end) {
    NAME(later) later = {{NULL}, 0};
    for (int f = begin; f < end && f < factors->count; f++)
        later.row[later.rows++] = factors->row[f];
    return later;
}

/* Writes the product of rows, and meanwhile asks for the factors of the next one. */
static void NAME(multiply_rows)(const product_problem *problem, const product_layout *layout,
                                REAL *result, const NAME(factors) *factors,
                                const NAME(factors) *next, REAL *workspace) {
    if (factors->count < 2) {
        const NAME(later) later = NAME(some_rows)(next, 0, PRODUCT_FACTORS);
        NAME(ask_for)(&later, 0, layout->words);
        for (ptrdiff_t w = 0; w < layout->words; w++)
            result[w] = factors->count ? factors->row[0][w] : 0;
        return;
    }
    const REAL *product =
        NAME(readable_row)(problem, layout, factors->table[0], factors->row[0], workspace);
    for (int f = 1; f < factors->count; f++) {
        const REAL *factor = NAME(readable_row)(problem, layout, factors->table[f], factors->row[f],
                                                workspace + layout->size);
        REAL *to = workspace + (2 + f % 2) * layout->size;
        const int is_last = f == factors->count - 1;
        const NAME(later) later =
            NAME(some_rows)(next, f > 1 ? f : 0, is_last ? PRODUCT_FACTORS : f + 1);
        if (is_last && NAME(fits_vectors)(layout->channels)) to = result;
        NAME(multiply)(layout, to, product, factor, &later);
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
    if (kind == PRODUCT_BACKWARD) {
        for (ptrdiff_t number = first; number < last; number++)
            NAME(gradient_row)(problem, &layout, number, workspace);
        return;
    }
    NAME(factors) factors[4]; /* those of the last four products, the later two asked for */
    for (ptrdiff_t number = first; number < last && number < first + 2; number++)
        NAME(find_factors)(problem, number, &factors[number % 4]);
    for (ptrdiff_t number = first; number < last; number++) {
        NAME(factors) *later = &factors[(number + 2) % 4];
        later->count = 0;
        if (number + 2 < last) NAME(find_factors)(problem, number + 2, later);
        REAL *result = (REAL *)problem->product.numbers + number * problem->product.stride;
        NAME(multiply_rows)(problem, &layout, result, &factors[number % 4], later, workspace);
    }
}
