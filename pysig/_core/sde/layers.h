/* A layer of a perceptron for so few numbers that calling a library for the products of matrices
 * takes longer than computing them: layers_template.h.
 */
#ifndef PYSIG_LAYERS_H
#define PYSIG_LAYERS_H

#include <stddef.h>

enum { LAYERS_NO_ACTIVATION = -1 };

/* weight: [outputs][stride], where the first column is for the time if there is one more than
 * inputs; bias: [outputs]. */
typedef struct {
    int kind; /* of the activation, or LAYERS_NO_ACTIVATION */
    ptrdiff_t rows, inputs, outputs, stride;
    double t;
    const void *weight, *bias;
} layer;
#endif
