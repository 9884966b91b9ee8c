/* Threefry-4x32-20: 128 random bits for each counter of 128 bits, under a key of 128 bits.
 *
 * Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Only
 * additions, rotations and exclusive-ors of 32-bit words: compilers make vectors of a loop around
 * it. C and CUDA include this file.
 */
#ifndef PYSIG_THREEFRY_H
#define PYSIG_THREEFRY_H

#ifndef DEVICE
#define DEVICE static inline __attribute__((always_inline))
#endif

typedef unsigned int threefry_word; /* 32 bits, wherever this is compiled */

typedef struct {
    threefry_word word[4];
} threefry_block;

#define THREEFRY_ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define THREEFRY_MIX(a, b, n) ((a) += (b), (b) = THREEFRY_ROTATE(b, n) ^ (a))
#define THREEFRY_EVEN(m, n) (THREEFRY_MIX(x0, x1, m), THREEFRY_MIX(x2, x3, n))
#define THREEFRY_ODD(m, n) (THREEFRY_MIX(x0, x3, m), THREEFRY_MIX(x2, x1, n))
#define THREEFRY_ROUNDS_1 \
    (THREEFRY_EVEN(10, 26), THREEFRY_ODD(11, 21), THREEFRY_EVEN(13, 27), THREEFRY_ODD(23, 5))
#define THREEFRY_ROUNDS_2 \
    (THREEFRY_EVEN(6, 20), THREEFRY_ODD(17, 11), THREEFRY_EVEN(25, 10), THREEFRY_ODD(18, 20))
#define THREEFRY_ADD_KEY(a, b, c, d, n) (x0 += a, x1 += b, x2 += c, x3 += (d) + (n))

DEVICE threefry_block threefry(threefry_block key, threefry_block counter) {
    const threefry_word k0 = key.word[0], k1 = key.word[1], k2 = key.word[2], k3 = key.word[3];
    const threefry_word k4 = 0x1BD11BDAu ^ k0 ^ k1 ^ k2 ^ k3;
    threefry_word x0 = counter.word[0] + k0, x1 = counter.word[1] + k1;
    threefry_word x2 = counter.word[2] + k2, x3 = counter.word[3] + k3;
    THREEFRY_ROUNDS_1;
    THREEFRY_ADD_KEY(k1, k2, k3, k4, 1u);
    THREEFRY_ROUNDS_2;
    THREEFRY_ADD_KEY(k2, k3, k4, k0, 2u);
    THREEFRY_ROUNDS_1;
    THREEFRY_ADD_KEY(k3, k4, k0, k1, 3u);
    THREEFRY_ROUNDS_2;
    THREEFRY_ADD_KEY(k4, k0, k1, k2, 4u);
    THREEFRY_ROUNDS_1;
    THREEFRY_ADD_KEY(k0, k1, k2, k3, 5u);
    threefry_block result = {{x0, x1, x2, x3}};
    return result;
}
#endif
