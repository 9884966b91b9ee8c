/* Activation functions and their derivatives: straight code without calls, so that compilers make
 * vectors of a loop around it.  C and CUDA include this file.
 *
 * All of them come from e^-|x|, which neither overflows nor cancels.  The polynomials interpolate at
 * Chebyshev's points; their errors are below a tenth of a unit in the last place.
 */
#ifndef PYSIG_ACTIVATION_FUNCTIONS_H
#define PYSIG_ACTIVATION_FUNCTIONS_H

#ifndef DEVICE
#define DEVICE static inline __attribute__((always_inline))
#endif

#ifndef __CUDACC_RTC__
#include <string.h>
#endif

/* In the order of pysig/_core/sde/activations.pyx and pysig/sde/activations.py. */
enum {
    ACTIVATION_LIPSWISH,
    ACTIVATION_SIGMOID,
    ACTIVATION_SILU,
    ACTIVATION_SOFTPLUS,
    ACTIVATION_TANH,
};

/* e^-x and e^-x - 1, both with small relative errors, for 0 <= x <= 110; a result below the normal
 * numbers is rounded like any other. */
DEVICE void activation_exp_float(float x, float *value, float *minus_one) {
    const float shift = 0x1.8p23f;
    const float rounded = shift - x * 1.44269504f, k = rounded - shift;
    /* log 2 in two parts, of which the first times k is exact */
    const float r = (-x - k * 0x1.62e4p-1f) - k * 1.42860677e-06f;
    float p = 0.000198909911f;
    p = p * r + 0.00139336498f;
    p = p * r + 0.00833331048f;
    p = p * r + 0.0416664667f;
    p = p * r + 0.166666672f;
    p = p * r + 0.5f;
    const float q = r + r * r * p;
    /* 2^(k + 64) is a normal number, 2^k need not be one */
    unsigned int bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + 127 + 64) << 23;
    float scaled;
    memcpy(&scaled, &bits, sizeof scaled);
    const float power = scaled * 0x1p-64f;
    *value = (scaled + scaled * q) * 0x1p-64f;
    *minus_one = power * q + (power - 1.0f);
}

/* The same for 0 <= x <= 760. */
DEVICE void activation_exp_double(double x, double *value, double *minus_one) {
    const double shift = 0x1.8p52;
    const double rounded = shift - x * 0x1.71547652b82fep0, k = rounded - shift;
    const double r = (-x - k * 0x1.62e42fefa38p-1) - k * 0x1.ef35793c7673p-45;
    double p = 2.0914686968086876e-09;
    p = p * r + 2.5105217004720745e-08;
    p = p * r + 2.75572736431103e-07;
    p = p * r + 2.7557255400206422e-06;
    p = p * r + 2.4801587325547743e-05;
    p = p * r + 0.00019841269874820627;
    p = p * r + 0.0013888888888883748;
    p = p * r + 0.008333333333326136;
    p = p * r + 0.04166666666666667;
    p = p * r + 0.1666666666666667;
    p = p * r + 0.5;
    const double q = r + r * r * p;
    unsigned long long bits;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + 1023 + 128) << 52;
    double scaled;
    memcpy(&scaled, &bits, sizeof scaled);
    const double power = scaled * 0x1p-128;
    *value = (scaled + scaled * q) * 0x1p-128;
    *minus_one = power * q + (power - 1.0);
}

/* log(1 + x) for 0 <= x <= 1, as 2 artanh(x / (2 + x)). */
DEVICE float activation_log1p_float(float x) {
    const float w = x / (2.0f + x), u = w * w;
    float p = 0.11612165f;
    p = p * u + 0.108532876f;
    p = p * u + 0.142961785f;
    p = p * u + 0.199998528f;
    p = p * u + 0.333333343f;
    return 2.0f * (w + w * u * p);
}

DEVICE double activation_log1p_double(double x) {
    const double w = x / (2.0 + x), u = w * w;
    double p = 0.07815288900461426;
    p = p * u + 0.03746071897775383;
    p = p * u + 0.05422589197440007;
    p = p * u + 0.05867139530651599;
    p = p * u + 0.06667589315724629;
    p = p * u + 0.07692271982430275;
    p = p * u + 0.09090909948981357;
    p = p * u + 0.11111111099118386;
    p = p * u + 0.1428571428580005;
    p = p * u + 0.19999999999999762;
    p = p * u + 0.3333333333333333;
    return 2.0 * (w + w * u * p);
}

#define REAL float
#define OF_REAL(stem) stem##_float
#define LARGEST 110.0f
#include "sde/activation_kinds.h"
#undef REAL
#undef OF_REAL
#undef LARGEST

#define REAL double
#define OF_REAL(stem) stem##_double
#define LARGEST 760.0
#include "sde/activation_kinds.h"
#undef REAL
#undef OF_REAL
#undef LARGEST
#endif
