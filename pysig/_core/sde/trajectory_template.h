/* Steps of some rows, for one type and instruction set: trajectory.h. */

#include "sde/layers_template.h"
#include "sde/updates_template.h"

/* out: an operation of x; derivative: that of an activation, or NULL. */
static void NAME(trajectory_operation)(const field_operation *operation, double t, ptrdiff_t rows,
                                       const REAL *restrict x, REAL *restrict out,
                                       REAL *restrict derivative) {
    const ptrdiff_t inputs = operation->inputs, outputs = operation->outputs;
    const REAL *numbers = operation->numbers, no_bias = (REAL)-0.0;
    if (operation->kind == FIELD_LAYER) {
        layer one = operation->one;
        one.t = t;
        NAME(layers_forward)(&one, rows, x, out, derivative);
    } else if (operation->kind == FIELD_ACTIVATION) {
        NAME(activations_run)(operation->one.kind, 1, 0, rows * inputs, x, &no_bias, out,
                              derivative);
    } else if (operation->kind == FIELD_CONSTANT) {
        for (ptrdiff_t row = 0; row < rows; row++)
            memcpy(out + row * outputs, numbers, (size_t)outputs * sizeof(REAL));
    } else if (operation->size == 1) {
        const REAL factor = numbers[0];
        for (ptrdiff_t i = 0; i < rows * outputs; i++) out[i] = factor * x[i];
    } else {
        for (ptrdiff_t row = 0; row < rows; row++)
            for (ptrdiff_t i = 0; i < outputs; i++)
                out[row * outputs + i] = numbers[i] * x[row * outputs + i];
    }
}

/* The gradient of x, and of the parameters, which is added to theirs; `memory` is that of layers. */
static void NAME(trajectory_operation_back)(const field_operation *operation, double t,
                                            ptrdiff_t rows, const REAL *restrict x,
                                            const REAL *restrict derivative,
                                            const REAL *restrict grad, REAL *restrict out,
                                            REAL *restrict memory, REAL *restrict parameters) {
    const ptrdiff_t inputs = operation->inputs, outputs = operation->outputs;
    const ptrdiff_t size = operation->size, count = rows * outputs;
    const REAL *numbers = operation->numbers;
    if (operation->kind == FIELD_LAYER) {
        layer one = operation->one;
        one.t = t;
        NAME(layers_backward)(&one, rows, x, one.kind == LAYERS_NO_ACTIVATION ? NULL : derivative,
                              grad, memory, parameters, out);
    } else if (operation->kind == FIELD_ACTIVATION) {
        for (ptrdiff_t i = 0; i < count; i++) out[i] = grad[i] * derivative[i];
    } else if (operation->kind == FIELD_CONSTANT) {
        memset(out, 0, (size_t)(rows * inputs) * sizeof(REAL));
        for (ptrdiff_t row = 0; row < rows; row++)
            NAME(vectors_add)(outputs, 1, grad + row * outputs, parameters);
    } else if (size == 1) {
        parameters[0] += NAME(vectors_dot)(count, grad, x);
        for (ptrdiff_t i = 0; i < count; i++) out[i] = numbers[0] * grad[i];
    } else {
        for (ptrdiff_t row = 0; row < rows; row++) {
            NAME(vectors_add_product)(size, grad + row * size, x + row * size, parameters);
            for (ptrdiff_t i = 0; i < size; i++)
                out[row * size + i] = numbers[i] * grad[row * size + i];
        }
    }
}

/* The value of a field at x.  Without residuals (NULL), arrays between its operations are in both
 * halves of `memory`. */
static void NAME(trajectory_evaluate)(const field_program *field, double t, ptrdiff_t rows,
                                      ptrdiff_t widest, const REAL *x, REAL *out, REAL *memory,
                                      REAL *residuals) {
    const ptrdiff_t inputs = field->count ? field->operation[0].inputs : widest;
    if (!field->count) memcpy(out, x, (size_t)(rows * inputs) * sizeof(REAL));
    if (residuals && field->count) {
        memcpy(residuals, x, (size_t)(rows * inputs) * sizeof(REAL));
        x = residuals;
    }
    for (int i = 0; i < field->count; i++) {
        const field_operation *operation = &field->operation[i];
        REAL *to = memory + (i & 1) * rows * widest, *derivative = NULL;
        if (residuals) {
            derivative = residuals + rows * (operation->kept + operation->inputs);
            if (i < field->count - 1) to = residuals + rows * operation[1].kept;
        }
        if (i == field->count - 1) to = out;
        NAME(trajectory_operation)(operation, t, rows, x, to, derivative);
        x = to;
    }
}

/* The gradient of x, given that of the value. */
static void NAME(trajectory_pull_back)(const field_program *field, double t, ptrdiff_t rows,
                                       ptrdiff_t widest, const REAL *residuals, const REAL *grad,
                                       REAL *out, REAL *memory, REAL *parameters) {
    if (!field->count) memcpy(out, grad, (size_t)(rows * widest) * sizeof(REAL));
    for (int i = field->count - 1; i >= 0; i--) {
        const field_operation *operation = &field->operation[i];
        const REAL *x = residuals + rows * operation->kept;
        REAL *to = i ? memory + (i & 1) * rows * widest : out;
        NAME(trajectory_operation_back)(operation, t, rows, x, x + rows * operation->inputs, grad,
                                        to, memory + 2 * rows * widest,
                                        parameters + operation->parameter);
        grad = to;
    }
}

/* What changes from step to step, for some rows. */
typedef struct {
    ptrdiff_t rows;
    double start, end, later; /* the last one is the length of the step after this one */
    const void *w, *area, *later_w;
    REAL *slot[TRAJECTORY_SLOTS], *memory, *residuals[2][2], *parameters;
} NAME(trajectory_step);

static void NAME(trajectory_update)(const trajectory *t, const instruction *one,
                                    const NAME(trajectory_step) *step) {
    const double h = step->end - step->start;
    update_sizes sizes = {step->rows, t->channels, t->m};
    update_terms terms;
    if (t->is_diagonal) {
        sizes.rows = step->rows * t->channels;
        sizes.channels = 1;
    }
    terms.arrays = one->arrays;
    terms.products = one->products;
    for (int i = 0; i < one->arrays; i++) {
        const double *weight = one->weight[i];
        terms.weight[i] = weight[0] + weight[1] * h + weight[2] * step->later;
        terms.array[i] = step->slot[one->array[i]];
    }
    for (int i = 0; i < one->products; i++) {
        update_product *product = &terms.product[i];
        product->array = step->slot[one->product[i]];
        product->w = one->is_later[i] ? step->later_w : step->w;
        product->area = step->area;
        product->of_noise =
            update_polynomial_of(&one->combination[i], one->is_later[i] ? step->later : h);
    }
    if (one->kind == TRAJECTORY_UPDATE)
        NAME(updates_sum)(&sizes, &terms, 0, sizes.rows, step->slot[one->out]);
    else
        NAME(updates_outer)(&sizes, &terms, 0, sizes.rows, step->slot[one->out]);
}

static void NAME(trajectory_make_step)(const trajectory *t, NAME(trajectory_step) *step) {
    for (int i = 0; i < t->instructions; i++) {
        const instruction *one = &t->step[i];
        if (one->kind == TRAJECTORY_UPDATE || one->kind == TRAJECTORY_OUTER) {
            NAME(trajectory_update)(t, one, step);
            continue;
        }
        const field_program *field = &t->field[one->field];
        const REAL *point = step->slot[one->point];
        REAL *out = step->slot[one->out];
        REAL *residuals = one->residuals < 0 ? NULL : step->residuals[one->residuals][one->field];
        double time = step->start + one->time * (step->end - step->start);
        if (one->time == 1) time = step->end;
        if (one->kind == TRAJECTORY_EVALUATE)
            NAME(trajectory_evaluate)(field, time, step->rows, t->widest, point, out, step->memory,
                                      residuals);
        else
            NAME(trajectory_pull_back)(field, time, step->rows, t->widest, residuals, point, out,
                                       step->memory, step->parameters);
    }
    for (int i = 0; i < t->states; i++) {
        REAL *before = step->slot[i];
        step->slot[i] = step->slot[t->after[i]];
        step->slot[t->after[i]] = before;
    }
}

static void NAME(trajectory_load)(const trajectory *t, const trajectory_call *call, ptrdiff_t first,
                                  ptrdiff_t rows, REAL *memory, NAME(trajectory_step) *step) {
    step->rows = rows;
    step->later = 0;
    step->later_w = NULL;
    step->parameters = NULL;
    for (int i = 0; i < t->slots; i++, memory += rows * t->widest) step->slot[i] = memory;
    for (int i = 0; i < 4; i++) {
        step->residuals[i / 2][i % 2] = memory;
        memory += rows * t->field[i % 2].kept;
    }
    step->memory = memory;
    for (int i = 0; i < t->states; i++)
        if (call->state[i])
            memcpy(step->slot[i], (const REAL *)call->state[i] + first * call->numbers[i],
                   (size_t)(rows * call->numbers[i]) * sizeof(REAL));
}

static void NAME(trajectory_store)(const trajectory *t, const trajectory_call *call,
                                   ptrdiff_t first, const NAME(trajectory_step) *step) {
    for (int i = 0; i < t->states; i++)
        if (call->state[i])
            memcpy((REAL *)call->state[i] + first * call->numbers[i], step->slot[i],
                   (size_t)(step->rows * call->numbers[i]) * sizeof(REAL));
}

/* Sets the times and the noise of step k. */
static void NAME(trajectory_go_to)(const trajectory *t, const trajectory_call *call, ptrdiff_t k,
                                   ptrdiff_t first, NAME(trajectory_step) *step) {
    const ptrdiff_t offset = (k * t->rows + first) * t->noise;
    step->start = call->times[k];
    step->end = call->times[k + 1];
    step->w = call->w ? (const REAL *)call->w + offset : NULL;
    step->area = call->area ? (const REAL *)call->area + offset : NULL;
}

static void NAME(trajectory_run)(const trajectory *t, const trajectory_call *call, ptrdiff_t first,
                                 ptrdiff_t last, void *memory) {
    const ptrdiff_t rows = last - first, size = rows * t->channels;
    NAME(trajectory_step) step;
    NAME(trajectory_load)(t, call, first, rows, memory, &step);
    ptrdiff_t output = 0;
    for (ptrdiff_t k = 0; k < call->steps; k++) {
        NAME(trajectory_go_to)(t, call, k, first, &step);
        NAME(trajectory_make_step)(t, &step);
        if (output < call->output_count && call->outputs[output] == k + 1) {
            const ptrdiff_t place = (output * t->rows + first) * t->channels;
            memcpy((REAL *)call->ys + place, step.slot[0], (size_t)size * sizeof(REAL));
            output++;
        }
    }
    NAME(trajectory_store)(t, call, first, &step);
}

static void NAME(trajectory_run_back)(const trajectory *t, const trajectory_call *call,
                                      ptrdiff_t first, ptrdiff_t last, void *memory,
                                      void *parameters) {
    const ptrdiff_t rows = last - first;
    NAME(trajectory_step) step;
    NAME(trajectory_load)(t, call, first, rows, memory, &step);
    step.parameters = parameters;
    for (int field = 0; field < 2; field++)
        NAME(trajectory_evaluate)(&t->field[field], call->times[call->steps], rows, t->widest,
                                  step.slot[TRAJECTORY_Z], step.slot[TRAJECTORY_F + field],
                                  step.memory, step.residuals[0][field]);
    ptrdiff_t output = call->output_count - 1;
    for (ptrdiff_t k = call->steps - 1; k >= 0; k--) {
        if (output >= 0 && call->outputs[output] == k + 1) {
            const ptrdiff_t place = (output * t->rows + first) * t->channels;
            NAME(vectors_add)(rows * t->channels, 1, (const REAL *)call->ys + place,
                              step.slot[TRAJECTORY_GRADIENT]);
            output--;
        }
        NAME(trajectory_go_to)(t, call, k + 1, first, &step);
        step.later = step.end - step.start;
        step.later_w = step.w;
        NAME(trajectory_go_to)(t, call, k, first, &step);
        NAME(trajectory_make_step)(t, &step);
        for (int field = 0; field < 2; field++) {
            REAL *before = step.residuals[0][field];
            step.residuals[0][field] = step.residuals[1][field];
            step.residuals[1][field] = before;
        }
    }
    NAME(trajectory_store)(t, call, first, &step);
}
