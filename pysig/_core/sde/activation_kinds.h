/* The activation functions for one type; included by activation_functions.h, where REAL, OF_REAL and
 * LARGEST, the largest argument of its exponential, are. */

/* The value at x, of a kind that is known when this is compiled, and the derivative. */
DEVICE REAL OF_REAL(activation)(int kind, REAL x, REAL *derivative) {
    const REAL one = 1, size = (x < 0 ? -x : x) * (REAL)(kind == ACTIVATION_TANH ? 2 : 1);
    /* beyond it e^-size is 0, and what is infinite would be multiplied by that; NaN stays NaN */
    const REAL bounded = size > LARGEST ? LARGEST : size;
    REAL e, minus_one;
    OF_REAL(activation_exp)(bounded, &e, &minus_one);
    const REAL s = one / (2 + minus_one); /* 1 / (1 + e) */
    if (kind == ACTIVATION_TANH) {
        *derivative = 4 * (e * s) * s;
        return x < 0 ? minus_one * s : 0 - minus_one * s;
    }
    const REAL small = e * s, sigmoid = x < 0 ? small : s;
    if (kind == ACTIVATION_SIGMOID) {
        *derivative = small * s;
        return sigmoid;
    }
    if (kind == ACTIVATION_SOFTPLUS) {
        *derivative = sigmoid;
        return (x > 0 ? x : 0) + OF_REAL(activation_log1p)(e);
    }
    const REAL factor = kind == ACTIVATION_LIPSWISH ? (REAL)0.909 : one;
    const REAL finite = x < 0 ? -bounded : bounded;
    *derivative = factor * (sigmoid + finite * (small * s));
    return factor * ((x < 0 ? finite : x) * sigmoid);
}
