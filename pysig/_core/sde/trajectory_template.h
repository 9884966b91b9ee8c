/* Steps of some rows, for one type and instruction set: trajectory.h. */

#include "sde/activations_template.h"
#include "sde/updates_template.h"

static void NAME(trajectory_operation)(const field_operation *operation, double t, ptrdiff_t rows,
                                       const REAL *restrict x, REAL *restrict out) {
    const ptrdiff_t inputs = operation->inputs, outputs = operation->outputs;
    const REAL *numbers = operation->numbers, no_bias = (REAL)-0.0;
    if (operation->kind == FIELD_LAYER) {
        layer one = operation->one;
        one.rows = rows;
        one.t = t;
        NAME(layers_forward)(&one, x, out, NULL);
    } else if (operation->kind == FIELD_ACTIVATION) {
        NAME(activations_run)(operation->one.kind, 1, 0, rows * inputs, x, &no_bias, out, NULL);
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

/* The value of a field; between its operations, arrays are in both halves of `memory`. */
static void NAME(trajectory_evaluate)(const field_program *field, double t, ptrdiff_t rows,
                                      ptrdiff_t widest, const REAL *x, REAL *out, REAL *memory) {
    if (!field->count) memcpy(out, x, (size_t)(rows * widest) * sizeof(REAL));
    for (int i = 0; i < field->count; i++) {
        REAL *to = i == field->count - 1 ? out : memory + (i & 1) * rows * widest;
        NAME(trajectory_operation)(&field->operation[i], t, rows, x, to);
        x = to;
    }
}

static void NAME(trajectory_update)(const trajectory *t, const instruction *step, double h,
                                    ptrdiff_t rows, REAL *const *slot, const void *w,
                                    const void *area) {
    update_sizes sizes = {rows, t->channels, t->m};
    update_terms terms;
    if (t->is_diagonal) {
        sizes.rows = rows * t->channels;
        sizes.channels = 1;
    }
    terms.arrays = step->arrays;
    terms.products = step->products;
    for (int i = 0; i < step->arrays; i++) {
        terms.weight[i] = step->weight[i] + step->weight_of_h[i] * h;
        terms.array[i] = slot[step->array[i]];
    }
    for (int i = 0; i < step->products; i++) {
        update_product *product = &terms.product[i];
        product->array = slot[step->product[i]];
        product->w = w;
        product->area = area;
        product->of_noise = update_polynomial_of(&step->combination[i], h);
    }
    NAME(updates_sum)(&sizes, &terms, 0, sizes.rows, slot[step->out]);
}

static void NAME(trajectory_run)(const trajectory *t, const trajectory_call *call, ptrdiff_t first,
                                 ptrdiff_t last, void *memory) {
    const ptrdiff_t rows = last - first, noise = t->noise;
    REAL *slot[TRAJECTORY_SLOTS], *scratch = (REAL *)memory + t->slots * rows * t->widest;
    for (int i = 0; i < t->slots; i++) slot[i] = (REAL *)memory + i * rows * t->widest;
    for (int i = 0; i < t->states; i++)
        memcpy(slot[i], call->state[i] + first * call->numbers[i] * (ptrdiff_t)sizeof(REAL),
               (size_t)(rows * call->numbers[i]) * sizeof(REAL));
    ptrdiff_t output = 0;
    for (ptrdiff_t k = 0; k < call->steps; k++) {
        const double start = call->times[k], end = call->times[k + 1], h = end - start;
        const ptrdiff_t offset = (k * t->rows + first) * noise;
        const REAL *w = call->w ? (const REAL *)call->w + offset : NULL;
        const REAL *area = call->area ? (const REAL *)call->area + offset : NULL;
        for (int i = 0; i < t->instructions; i++) {
            const instruction *step = &t->step[i];
            if (step->kind == TRAJECTORY_UPDATE) {
                NAME(trajectory_update)(t, step, h, rows, slot, w, area);
                continue;
            }
            const field_program *field = step->kind == TRAJECTORY_DRIFT ? &t->drift : &t->value;
            const double time = step->time == 1 ? end : start + step->time * h;
            NAME(trajectory_evaluate)(field, time, rows, t->widest, slot[step->point],
                                      slot[step->out], scratch);
        }
        for (int i = 0; i < t->states; i++) {
            REAL *before = slot[i];
            slot[i] = slot[t->after[i]];
            slot[t->after[i]] = before;
        }
        if (output < call->output_count && call->outputs[output] == k + 1) {
            const ptrdiff_t place = (output * t->rows + first) * t->channels;
            memcpy((REAL *)call->ys + place, slot[0], (size_t)(rows * t->channels) * sizeof(REAL));
            output++;
        }
    }
    for (int i = 0; i < t->states; i++)
        memcpy(call->state[i] + first * call->numbers[i] * (ptrdiff_t)sizeof(REAL), slot[i],
               (size_t)(rows * call->numbers[i]) * sizeof(REAL));
}
