/* exp(x) for x <= 0 on vectors of lanes, to about one unit in the last place; 0 where the result
 * would be subnormal.  NaN stays NaN. */

#if REAL_BYTES == 8
#define EXP_LOWEST (-708.0)
#define EXP_SHIFT 0x1.8p52
#define EXP_BIAS 1023
#define EXP_FRACTION_BITS 52
/* log 2 in two parts, of which the first times an exponent is exact */
#define EXP_LOG_2_HIGH 0x1.62e42fefa38p-1
#define EXP_LOG_2_LOW 0x1.ef35793c7673p-45
#else
#define EXP_LOWEST (-87.0f)
#define EXP_SHIFT 0x1.8p23f
#define EXP_BIAS 127
#define EXP_FRACTION_BITS 23
#define EXP_LOG_2_HIGH 0x1.62ep-1f
#define EXP_LOG_2_LOW 0x1.0bfbe8p-15f
#endif

ALWAYS_INLINE VEC NAME(exp_negative)(VEC x) {
    const NAME(mask) is_low = (NAME(mask))(x < EXP_LOWEST);
    const VEC lowest = EXP_LOWEST - (VEC){0};
    x = (VEC)(((NAME(mask))lowest & is_low) | ((NAME(mask))x & ~is_low));
    const VEC shifted = x * (REAL)0x1.71547652b82fep0 + EXP_SHIFT;
    const VEC exponent = shifted - EXP_SHIFT;
    const VEC r = (x - exponent * EXP_LOG_2_HIGH) - exponent * EXP_LOG_2_LOW;
    const VEC r2 = r * r, r4 = r2 * r2;
    /* p of exp(r) = 1 + r + r^2 p by Taylor's series, where |r| <= log(2) / 2; in pairs of terms,
     * for the sake of short chains of operations */
    const VEC p0 = r * (REAL)(1.0 / 6) + (REAL)0.5;
    const VEC p1 = r * (REAL)(1.0 / 120) + (REAL)(1.0 / 24);
#if REAL_BYTES == 8
    const VEC p2 = r * (1.0 / 5040) + 1.0 / 720;
    const VEC p3 = r * (1.0 / 362880) + 1.0 / 40320;
    const VEC p4 = r * (1.0 / 39916800) + 1.0 / 3628800;
    const VEC p5 = r * (1.0 / 6227020800) + 1.0 / 479001600;
    const VEC p = (p0 + r2 * p1) + r4 * ((p2 + r2 * p3) + r4 * (p4 + r2 * p5));
#else
    const VEC p = (p0 + r2 * p1) + r4 * (r * (1.0f / 5040) + 1.0f / 720);
#endif
    const VEC power = (VEC)(((NAME(mask))shifted + EXP_BIAS) << EXP_FRACTION_BITS);
    const VEC value = power + power * (r + r2 * p);
    return (VEC)((NAME(mask))value & ~is_low);
}

#undef EXP_LOWEST
#undef EXP_SHIFT
#undef EXP_BIAS
#undef EXP_FRACTION_BITS
#undef EXP_LOG_2_HIGH
#undef EXP_LOG_2_LOW
