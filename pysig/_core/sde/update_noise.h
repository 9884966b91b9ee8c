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
