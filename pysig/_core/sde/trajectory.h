/* Whole steps of a solver on the CPU, for fields that are made of a few operations, and the steps back
 * of the reversible Heun method, with the gradients.
 *
 * A step is a list of instructions: updates (updates.h), and evaluations of drift and diffusion.  It
 * is what trajectory.py has noted while a method of pysig/sde made a step.  Instructions work on
 * slots, each with one array of some rows of the batch, so that all of them stay in the cache while
 * these rows go through many steps.
 *
 * Layers, from the inside out:
 *     updates_template.h     updates
 *     layers_template.h, activations_template.h   layers of perceptrons: layers.h
 *     trajectory_template.h  steps of some rows, for one type and instruction set
 *     trajectory.h           the one for this type and processor
 *     trajectory.pyx         memory and threads
 */
#ifndef PYSIG_TRAJECTORY_H
#define PYSIG_TRAJECTORY_H

#define SIMD_TOGETHER
#include "sde/activations.h"
#include "sde/layers.h"
#include "sde/updates.h"

enum { FIELD_SCALE, FIELD_CONSTANT, FIELD_ACTIVATION, FIELD_LAYER };
enum { TRAJECTORY_UPDATE, TRAJECTORY_OUTER, TRAJECTORY_EVALUATE, TRAJECTORY_PULL_BACK };
enum {
    TRAJECTORY_Z = 1,
    TRAJECTORY_F,
    TRAJECTORY_G,
    TRAJECTORY_GRADIENT
}; /* slots, on the way back */
enum { TRAJECTORY_MOST = 8, TRAJECTORY_SLOTS = 32 };

/* One operation of a field, from `inputs` numbers of a row to `outputs`. */
typedef struct {
    int kind;
    ptrdiff_t inputs, outputs;
    const void *numbers; /* the factor or the constant, of `size` numbers */
    ptrdiff_t size;
    layer one;           /* a layer; of an activation, its kind */
    ptrdiff_t kept;      /* where the residuals begin, in numbers of a row: input, and derivative
                            if there is an activation */
    ptrdiff_t parameter; /* where the sums of the gradients of its parameters begin */
} field_operation;

typedef struct {
    int count;
    field_operation *operation;
    ptrdiff_t kept; /* numbers of a row in all residuals */
} field_program;

typedef struct {
    int kind, out;
    /* an evaluation, or its gradient: the field, 0 or 1, the point or the gradient of the value, and
     * which residuals are written or read: none (-1), those of the state (0) or others (1) */
    int field, point, residuals;
    double time; /* from the beginning of the step, in steps */
    /* an update; the weight of an array is that of 1, h, and the length of the step after this one,
     * whose noise some products are with */
    int arrays, products;
    int array[TRAJECTORY_MOST], product[TRAJECTORY_MOST], is_later[TRAJECTORY_MOST];
    double weight[TRAJECTORY_MOST][3];
    update_combination combination[TRAJECTORY_MOST];
} instruction;

typedef struct {
    ptrdiff_t rows, channels, noise; /* rows of the batch, numbers of a row in a state, and in W */
    ptrdiff_t m;                     /* for matrices, or 1 */
    int is_diagonal;
    field_program field[2]; /* drift and diffusion */
    int instructions, slots, states;
    instruction *step;
    int *after; /* in which slots the state is after a step; before it, in the first ones */
    ptrdiff_t widest;
    ptrdiff_t parameters; /* numbers in the sums of the gradients of all parameters */
} trajectory;

/* What one call does: steps between times, with w, area: [steps][rows][noise], or NULL.  On the way
 * back there are one time and one increment more, of the step after them. */
typedef struct {
    ptrdiff_t steps;
    const double *times;
    const char *w, *area;
    char **state;             /* [states], in and out: [rows][numbers] */
    const ptrdiff_t *numbers; /* of a row of each */
    const ptrdiff_t *outputs; /* the steps, rising, after which the first state is written ... */
    ptrdiff_t output_count;
    char *ys; /* ... to here: [output_count][rows][channels]; on the way back, gradients */
} trajectory_call;

#define SIMD_TEMPLATE "sde/trajectory_template.h"
#include "simd_compile.h"
#undef SIMD_TEMPLATE

/* What layers.h says of the weights of a layer. */
static void trajectory_pack(int is_double, int level, const layer *one, const void *weight,
                            const void *bias, void *packed, void *packed_back) {
    SIMD_CALL(layers_pack, is_double, level, one, weight, bias, packed);
    SIMD_CALL(layers_pack_back, is_double, level, one, weight, packed_back);
}

/* Numbers of working memory for so many rows. */
static ptrdiff_t trajectory_memory(const trajectory *t, ptrdiff_t rows) {
    ptrdiff_t of_layers = 0, kept = 0;
    for (int i = 0; i < 2; i++) {
        const field_program *field = &t->field[i];
        kept += 2 * field->kept;
        for (int j = 0; j < field->count; j++) {
            const ptrdiff_t size = layers_memory(&field->operation[j].one, rows);
            if (field->operation[j].kind == FIELD_LAYER && size > of_layers) of_layers = size;
        }
    }
    return rows * ((t->slots + 2) * t->widest + kept) + of_layers;
}

/* The rows first ... last - 1. */
static void trajectory_run(int is_double, int level, const trajectory *t,
                           const trajectory_call *call, ptrdiff_t first, ptrdiff_t last,
                           void *memory) {
    SIMD_CALL(trajectory_run, is_double, level, t, call, first, last, memory);
}

/* The same rows on the way back; parameters: the sums of gradients, which this adds to. */
static void trajectory_run_back(int is_double, int level, const trajectory *t,
                                const trajectory_call *call, ptrdiff_t first, ptrdiff_t last,
                                void *memory, void *parameters) {
    SIMD_CALL(trajectory_run_back, is_double, level, t, call, first, last, memory, parameters);
}
#endif
