/* One layer, for one type and instruction set. */

static void NAME(layers_forward)(const layer *one, const void *from, void *to, void *slopes) {
    const ptrdiff_t inputs = one->inputs, outputs = one->outputs, times = one->stride - inputs;
    const REAL *x = from, *bias = one->bias;
    const REAL t = (REAL)one->t;
    REAL *value = to;
    for (ptrdiff_t row = 0; row < one->rows; row++) {
        const REAL *weight = one->weight;
        for (ptrdiff_t i = 0; i < outputs; i++) {
            const REAL sum = NAME(vectors_dot)(inputs, weight + times, x);
            value[i] = times ? sum + t * weight[0] : sum;
            if (one->kind == LAYERS_NO_ACTIVATION) value[i] += bias[i];
            weight += one->stride;
        }
        x += inputs;
        value += outputs;
    }
    if (one->kind != LAYERS_NO_ACTIVATION)
        NAME(activations_run)(one->kind, outputs, 0, one->rows * outputs, to, bias, to, slopes);
}

static inline void NAME(layers_backward)(const layer *one, const void *from, const void *slopes,
                                         const void *gradients, void *scratch, void *grad_weights,
                                         void *grad_biases, void *grad_from) {
    const ptrdiff_t rows = one->rows, inputs = one->inputs, outputs = one->outputs;
    const ptrdiff_t stride = one->stride, times = stride - inputs;
    const REAL *x = from, *grad = gradients, *weight = one->weight;
    REAL *grad_weight = grad_weights, *grad_bias = grad_biases, *grad_x = grad_from;
    if (slopes) {
        NAME(activations_gradient)(outputs, 0, rows, gradients, slopes, scratch, grad_biases);
        grad = scratch;
    } else {
        for (ptrdiff_t i = 0; i < outputs; i++) grad_bias[i] = 0;
        for (ptrdiff_t row = 0; row < rows; row++)
            for (ptrdiff_t i = 0; i < outputs; i++) grad_bias[i] += grad[row * outputs + i];
    }
    memset(grad_weight, 0, (size_t)(outputs * stride) * sizeof(REAL));
    memset(grad_x, 0, (size_t)(rows * inputs) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < outputs; i++) {
        if (times) grad_weight[i * stride] = (REAL)one->t * grad_bias[i];
        for (ptrdiff_t row = 0; row < rows; row++) {
            const REAL factor = grad[row * outputs + i];
            NAME(vectors_add)(inputs, factor, x + row * inputs, grad_weight + i * stride + times);
            NAME(vectors_add)(inputs, factor, weight + i * stride + times, grad_x + row * inputs);
        }
    }
}
