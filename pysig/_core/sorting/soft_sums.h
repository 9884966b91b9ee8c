/* Sums, as a loop that compilers make vectors of. */

/* The sum of x - origin. */
static double NAME(soft_sum)(const REAL *x, ptrdiff_t n, double origin) {
    enum { SUMS = 8 };
    double sums[SUMS] = {0};
    ptrdiff_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int j = 0; j < SUMS; j++) sums[j] += (double)x[i + j] - origin;
    for (int j = 0; i + j < n; j++) sums[j] += (double)x[i + j] - origin;
    for (int j = 1; j < SUMS; j++) sums[0] += sums[j];
    return sums[0];
}
