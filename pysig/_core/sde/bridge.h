/* The Brownian bridge: what is known of a whole interval and fresh normal numbers give the same for
 * its two parts.  C and CUDA include this file.
 *
 * Of an interval of length h the increment W is known and, with space-time Levy area, H, such that
 * the integral of the path minus its first value is h (W / 2 + H).  Given W and H, the path before
 * and after is independent of what happens inside (Foster, Lyons and Oberhauser, "An optimal
 * polynomial approximation of Brownian motion", 2020).
 */
#ifndef PYSIG_BRIDGE_H
#define PYSIG_BRIDGE_H

#include "sde/threefry.h"

#ifndef __CUDACC_RTC__
#include <math.h>
#endif

/* W left = whole_w W + whole_h H + noise X1;  H left = left_h H - left_1 X1 + left_2 X2;
 * W right = W - W left;  H right = right_h H - right_1 X1 - right_2 X2.  Without H: X1 alone. */
typedef struct {
    double whole_w, whole_h, noise;
    double left_h, left_1, left_2, right_h, right_1, right_2;
} bridge;

/* The left part has the length `left`, the right one `right`. */
DEVICE bridge bridge_w(double left, double right) {
    const double h = left + right;
    bridge b = {left / h, 0, sqrt(left * right / h), 0, 0, 0, 0, 0, 0};
    return b;
}

DEVICE bridge bridge_wh(double left, double right) {
    const double h = left + right, cubes = left * left * left + right * right * right;
    const double v = 0.5 * sqrt(left * right / cubes);
    const double a = v * left * left / h, b = v * right * right / h, c = v * 0.57735026918962576;
    const double l = left / h, r = right / h;
    bridge result = {l, 6 * l * r, 2 * (a * left + b * right) / h, l * l, a, c * right, r * r,
                     b, c * left};
    return result;
}

/* Two neighbouring intervals as one: H = second_h (H2 + W1 / 2) + first_h (H1 - W2 / 2). */
typedef struct {
    double first_h, second_h;
} bridge_join;

DEVICE bridge_join bridge_join_lengths(double first, double second) {
    bridge_join join = {first / (first + second), second / (first + second)};
    return join;
}

/* The other way: of the whole, of length h, and its first part the second part, of length `second`. */
typedef struct {
    double whole_h, first_h, first_w, whole_w;
} bridge_rest;

/* From h (W / 2 + H) = first (W1 / 2 + H1) + second W1 + second (W2 / 2 + H2), W2 = W - W1:
 * H2 = whole_h H - first_h H1 + whole_w W - first_w W1. */
DEVICE bridge_rest bridge_rest_lengths(double h, double first) {
    const double second = h - first;
    bridge_rest rest = {h / second, first / second, 0.5 * h / second, 0.5 * first / second};
    return rest;
}
#endif
