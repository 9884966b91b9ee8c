/* What the values of a field are multiplied by: a polynomial of an increment W of a Brownian motion
 * plus a multiple of its space-time area H.  C and CUDA include this file. */
#ifndef PYSIG_UPDATE_NOISE_H
#define PYSIG_UPDATE_NOISE_H

#ifndef DEVICE
#define DEVICE static inline __attribute__((always_inline))
#endif

typedef struct {
    double power[4]; /* of W */
    double area;
} update_polynomial;

#ifndef __CUDACC_RTC__
#include <math.h>

/* Weights of W; area, I_10 / h = W / 2 + H; square, I_11 / sqrt h = (W^2 - h) / (2 sqrt h); cube,
 * I_111 / h = (W^3 - 3 h W) / (6 h); and root, sqrt h: the iterated integrals are those of Ito. */
typedef struct {
    double w, area, square, cube, root;
} update_combination;

static inline update_polynomial update_polynomial_of(const update_combination *c, double h) {
    const double root = sqrt(h);
    const update_polynomial p = {{root * (c->root - c->square / 2),
                                  c->w + c->area / 2 - c->cube / 2, c->square / (2 * root),
                                  c->cube / (6 * h)},
                                 c->area};
    return p;
}
#endif

#define UPDATE_NOISE(real)                                                                 \
    DEVICE real update_noise_##real(const update_polynomial *p, real w, real area) {       \
        return (real)p->power[0] +                                                         \
               w * ((real)p->power[1] + w * ((real)p->power[2] + w * (real)p->power[3])) + \
               (real)p->area * area;                                                       \
    }

UPDATE_NOISE(float)
UPDATE_NOISE(double)
#undef UPDATE_NOISE
#endif
