/* Standard normal numbers from random words, by the transform of Box and Muller: straight code
 * without calls but sqrt, so that compilers make vectors of a loop around it. C and CUDA include
 * this file.
 *
 * The polynomials interpolate at Chebyshev's points; their errors are below one unit in the last
 * place.  The largest number that can come out is 6.66 in float and 8.57 in double.
 */
#ifndef PYSIG_NORMALS_H
#define PYSIG_NORMALS_H

#include "sde/threefry.h"

#ifndef __CUDACC_RTC__
#include <math.h>
#include <string.h>
#endif

typedef unsigned long long normals_word; /* 64 bits */

DEVICE float normals_float(threefry_word bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

DEVICE threefry_word normals_float_bits(float value) {
    threefry_word bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

DEVICE double normals_double(normals_word bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

DEVICE normals_word normals_double_bits(double value) {
    normals_word bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* sqrt(-2 log(u)), u = (x >> 1) 2^-31 + 2^-32 in (0, 1]. */
DEVICE float normals_radius_float(threefry_word x) {
    const float u = (float)(int)(x >> 1) * 0x1p-31f + 0x1p-32f;
    /* u = m 2^e, m from sqrt(1/2) to sqrt(2) */
    const threefry_word bits = normals_float_bits(u);
    const int e = (int)(bits - 0x3f3504f3u) >> 23;
    const float f = normals_float(bits - ((threefry_word)e << 23)) - 1.0f;
    float p = -0.07902744f;
    p = p * f + 0.1262232f;
    p = p * f - 0.12998184f;
    p = p * f + 0.14214495f;
    p = p * f - 0.16641281f;
    p = p * f + 0.20001045f;
    p = p * f - 0.25000306f;
    p = p * f + 0.33333331f;
    const float logarithm = (float)e * 0.693147181f + (f + (f * f) * (p * f - 0.5f));
    const float square = -2.0f * logarithm;
    return sqrtf(square > 0.0f ? square : 0.0f); /* u may have been rounded to 1 */
}

/* The same for u = k 2^-52 + 2^-53, k the 52 high bits of x. */
DEVICE double normals_radius_double(normals_word x) {
    const double u = normals_double(x >> 12 | 0x3ff0000000000000u) - (1.0 - 0x1p-53);
    const normals_word bits = normals_double_bits(u);
    const int e = ((int)(threefry_word)(bits >> 32) - 0x3fe6a09e) >> 20;
    const double m = normals_double(bits - ((normals_word)(long long)e << 52)), f = m - 1.0;
    const double s = f / (m + 1.0), w = s * s;
    double p = 0.14616449685043406;
    p = p * w + 0.15331721600556042;
    p = p * w + 0.18182889125261723;
    p = p * w + 0.2222221113479508;
    p = p * w + 0.28571428625975487;
    p = p * w + 0.399999999998995;
    p = p * w + 0.666666666666667;
    const double logarithm = (double)e * 0.6931471805599453 + (s + s + s * w * p);
    return sqrt(-2.0 * logarithm);
}

/* sin and cos of the angle of y / 2^32 turns. */
DEVICE void normals_angle_float(threefry_word y, float *sine, float *cosine) {
    /* the nearest quarter turn, and what is left, within an eighth */
    const threefry_word quarter = (y + 0x20000000u) >> 30;
    const float z = (float)(int)(y - (quarter << 30)) * (1.57079633f * 0x1p-30f), w = z * z;
    const float s = z + z * w * ((-0.00019587891f * w + 0.0083327483f) * w - 0.16666665f);
    const float c =
        1.0f + w * (((2.4547942e-5f * w - 0.0013888303f) * w + 0.041666665f) * w - 0.5f);
    const float first = quarter & 1 ? c : s, second = quarter & 1 ? s : c;
    *sine = normals_float(normals_float_bits(first) ^ (quarter & 2) << 30);
    *cosine = normals_float(normals_float_bits(second) ^ ((quarter + 1) & 2) << 30);
}

/* The same, of the high 52 bits of y / 2^64 turns. */
DEVICE void normals_angle_double(normals_word y, double *sine, double *cosine) {
    const normals_word quarter = (y + 0x2000000000000000u) >> 62;
    /* the rest is -1/8 ... 1/8 turns: 50 bits of it go into a number from 1 to 2 */
    const normals_word rest = y - (quarter << 62) + 0x2000000000000000u;
    const double turns = normals_double(rest >> 10 | 0x3ff0000000000000u) - 1.5;
    const double z = turns * 1.5707963267948966, w = z * z;
    double s = 1.5918129294866608e-10;
    s = s * w - 2.5051131845003624e-08;
    s = s * w + 2.755731610255244e-06;
    s = s * w - 0.00019841269836758574;
    s = s * w + 0.008333333333330948;
    s = s * w - 0.16666666666666666;
    s = z + z * w * s;
    double c = -1.1382632425521717e-11;
    c = c * w + 2.08761462684032e-09;
    c = c * w - 2.7557317271729793e-07;
    c = c * w + 2.480158729876569e-05;
    c = c * w - 0.0013888888888887398;
    c = c * w + 0.041666666666666664;
    c = 1.0 + w * (c * w - 0.5);
    const double first = quarter & 1 ? c : s, second = quarter & 1 ? s : c;
    *sine = normals_double(normals_double_bits(first) ^ (quarter & 2) << 62);
    *cosine = normals_double(normals_double_bits(second) ^ ((quarter + 1) & 2) << 62);
}

/* Four normal numbers of one block of random words ... */
DEVICE void normals_of_block_float(threefry_block block, float values[4]) {
    for (int i = 0; i < 4; i += 2) {
        const float radius = normals_radius_float(block.word[i]);
        float sine, cosine;
        normals_angle_float(block.word[i + 1], &sine, &cosine);
        values[i] = radius * cosine;
        values[i + 1] = radius * sine;
    }
}

/* ... or two. */
DEVICE void normals_of_block_double(threefry_block block, double values[2]) {
    const normals_word first = (normals_word)block.word[0] << 32 | block.word[1];
    const normals_word second = (normals_word)block.word[2] << 32 | block.word[3];
    const double radius = normals_radius_double(first);
    double sine, cosine;
    normals_angle_double(second, &sine, &cosine);
    values[0] = radius * cosine;
    values[1] = radius * sine;
}
#endif
