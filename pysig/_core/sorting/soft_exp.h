/* exp, as a loop without calls and branches. */

#ifndef PYSIG_SOFT_EXP_H
#define PYSIG_SOFT_EXP_H

/* exp(x) for x <= 700, to about one unit in the last place; 0 below -708. */
ALWAYS_INLINE double soft_exp(double x) {
    const double shift = 0x1.8p52;
    const double clamped = x > -709 ? x : -709;
    const double rounded = clamped * 0x1.71547652b82fep0 + shift;
    const double k = rounded - shift;
    /* log 2 in two parts, of which the first times k is exact */
    const double r = (clamped - k * 0x1.62e42fefa38p-1) - k * 0x1.ef35793c7673p-45;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    const double power = soft_from_bits((soft_bits(rounded) + 1023) << 52);
    const double value = power + power * (r + r * r * p);
    return x > -708 ? value : 0;
}
#endif
