// Sums that do not lose small blocks beside large ones: two doubles, and a power of two.
//
// The sum of a block is the difference of two prefix sums. Here, these have 106 bits. Sums of
// exponentials are scaled, besides: their exponents are kept apart, lest they overflow.

struct Wide {
    double hi, lo;   // |lo| is at most half a unit in the last place of hi
    double exponent; // times 2^exponent; 0 for sums that are not scaled
};

static __device__ Wide wide(double hi, double lo = 0, double exponent = 0) {
    return {hi, lo, exponent};
}

// The exact sum of two doubles, and where it is known that |a| >= |b|.
static __device__ Wide exact_sum(double a, double b) {
    const double sum = a + b, part = sum - a;
    return wide(sum, (a - (sum - part)) + (b - part));
}

static __device__ Wide exact_sum_ordered(double a, double b, double exponent) {
    const double sum = a + b;
    return wide(sum, b - (sum - a), exponent);
}

// The exact product. The compiler must not fuse it with what it is added to.
static __device__ Wide exact_product(double a, double b) {
    const double product = __dmul_rn(a, b);
    return wide(product, fma(a, b, -product));
}

// 2^exponent for a whole number, of which there may be no double.
static __device__ double power_of_two(double exponent) {
    return ldexp(1.0, (int)max(min(exponent, 1100.), -1100.));
}

static __device__ Wide negative(Wide x) {
    return {-x.hi, -x.lo, x.exponent};
}

static __device__ Wide add_aligned(Wide x, Wide y) {
    const Wide high = exact_sum(x.hi, y.hi), low = exact_sum(x.lo, y.lo);
    const Wide sum = exact_sum_ordered(high.hi, high.lo + low.hi, 0);
    return exact_sum_ordered(sum.hi, sum.lo + low.lo, x.exponent);
}

// x + y, which are scaled if SCALED.
template <bool SCALED> static __device__ Wide add(Wide x, Wide y) {
    if (SCALED) {
        if (y.hi == 0) return x;
        if (x.hi == 0) return y;
        const double exponent = max(x.exponent, y.exponent);
        const double scale = power_of_two(-fabs(x.exponent - y.exponent));
        const double scale_x = x.exponent < exponent ? scale : 1;
        const double scale_y = y.exponent < exponent ? scale : 1;
        x = {x.hi * scale_x, x.lo * scale_x, exponent};
        y = {y.hi * scale_y, y.lo * scale_y, exponent};
    }
    return add_aligned(x, y);
}

template <bool SCALED> static __device__ Wide subtract(Wide x, Wide y) {
    return add<SCALED>(x, negative(y));
}

static __device__ Wide multiply(Wide x, Wide y) {
    const Wide product = exact_product(x.hi, y.hi);
    const double rest = product.lo + (x.hi * y.lo + x.lo * y.hi);
    return exact_sum_ordered(product.hi, rest, x.exponent + y.exponent);
}

static __device__ Wide multiply(Wide x, double y) {
    const Wide product = exact_product(x.hi, y);
    return exact_sum_ordered(product.hi, product.lo + x.lo * y, x.exponent);
}

// x / y, without their exponents.
static __device__ double ratio(Wide x, Wide y) {
    const double quotient = x.hi / y.hi;
    const double rest = fma(-quotient, y.hi, x.hi) + (x.lo - quotient * y.lo);
    return quotient + rest / y.hi;
}

static constexpr double LOG_2 = 0.693147180559945309417232;

// exp(x). Of very large numbers, which differ by much more than 1 if at all, the exponent alone.
static __device__ Wide exponential(Wide x) {
    constexpr double LOG_2_REST = 2.319046813846299558e-17, LARGE = 1e18;
    if (x.hi < -1.7e308) return wide(0);
    if (!(fabs(x.hi) < LARGE)) return wide(1, 0, rint(x.hi / LOG_2));
    const double exponent = rint(x.hi / LOG_2);
    const Wide multiple = exact_product(exponent, LOG_2);
    const Wide high = exact_sum(x.hi, -multiple.hi);
    const double rest = (high.lo - multiple.lo) + (x.lo - exponent * LOG_2_REST);
    return wide(exp(high.hi + rest), 0, exponent);
}

// The logarithm of a positive sum.
static __device__ double logarithm(Wide x) {
    return log(x.hi) + x.exponent * LOG_2;
}
