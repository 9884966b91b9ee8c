/* One task, of one row or of rows side by side: a tensor's exponential or logarithm, where either
 * the argument of the exponential or the result of the logarithm may be given for Lyndon words.
 */

typedef struct {
    ELEM *argument, *solved, *x, *result, *stages;
    ELEM *gradients, *x_gradient, *argument_gradient; /* backward */
} TENSOR(exponential_memory);

static TENSOR(exponential_memory) TENSOR(carve)(const exponential_problem *problem, char *memory) {
    const ptrdiff_t words = problem->shape.offset[problem->shape.depth + 1];
    const ptrdiff_t lower = problem->shape.offset[problem->shape.depth];
    TENSOR(exponential_memory) work;
    ELEM *next = (ELEM *)memory;
    work.argument = next;
    work.solved = next += problem->argument_words;
    work.x = next += problem->argument_words;
    work.result = next += words;
    work.gradients = next += problem->result_words;
    work.x_gradient = next += 2 * lower;
    work.argument_gradient = next += words;
    work.stages = next + problem->argument_words;
    return work;
}

/* y = the entries of the matrix's rows, times x. */
static void TENSOR(multiply_sparse)(const sparse_rows *matrix, const ELEM *x, ELEM *y) {
    for (ptrdiff_t i = 0; i < matrix->rows; i++) {
        ELEM sum = {0};
        for (ptrdiff_t e = matrix->starts[i]; e < matrix->starts[i + 1]; e++)
            sum += x[matrix->columns[e]] * (REAL)matrix->values[e];
        y[i] = sum;
    }
}

/* x += the transposed matrix times y. */
static void TENSOR(add_transposed)(const sparse_rows *matrix, const ELEM *y, ELEM *x) {
    for (ptrdiff_t i = 0; i < matrix->rows; i++)
        for (ptrdiff_t e = matrix->starts[i]; e < matrix->starts[i + 1]; e++)
            x[matrix->columns[e]] += y[i] * (REAL)matrix->values[e];
}

/* The tensor that the argument's coefficients stand for. */
static const ELEM *TENSOR(expand_argument)(const exponential_problem *problem, const ELEM *argument,
                                           const TENSOR(exponential_memory) * work) {
    const lyndon_basis *basis = problem->basis;
    if (basis == NULL || problem->shape.logarithm) return argument;
    if (!basis->brackets) {
        memcpy(work->solved, argument, (size_t)basis->words * sizeof(ELEM));
        TENSOR(solve_brackets)(&basis->system, work->solved);
        argument = work->solved;
    }
    TENSOR(multiply_sparse)(&basis->expansion, argument, work->x);
    return work->x;
}

static void TENSOR(evaluate)(const exponential_problem *problem, const ELEM *argument, ELEM *result,
                             const TENSOR(exponential_memory) * work) {
    const lyndon_basis *basis = problem->shape.logarithm ? problem->basis : NULL;
    const ELEM *x = TENSOR(expand_argument)(problem, argument, work);
    TENSOR(evaluate_series)(&problem->shape, basis, x, work->stages, result);
}

/* The gradient of the result stands in work->result. */
static void TENSOR(evaluate_backward)(const exponential_problem *problem, const ELEM *argument,
                                      ELEM *argument_gradient,
                                      const TENSOR(exponential_memory) * work) {
    const lyndon_basis *basis = problem->basis;
    const int expands = basis && !problem->shape.logarithm;
    const ELEM *x = TENSOR(expand_argument)(problem, argument, work);
    ELEM *x_gradient = expands ? work->x_gradient : argument_gradient;
    TENSOR(evaluate_series_backward)(&problem->shape, expands ? NULL : basis, work->result, x,
                                     work->stages, work->gradients, x_gradient);
    if (!expands) return;
    TENSOR(clear)(argument_gradient, basis->words);
    TENSOR(add_transposed)(&basis->expansion, x_gradient, argument_gradient);
    if (!basis->brackets) TENSOR(solve_brackets_backward)(&basis->system, argument_gradient);
}
