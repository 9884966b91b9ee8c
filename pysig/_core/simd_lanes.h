/* One vector of lanes, and the transposition between LANES rows of memory and LANES vectors.
 * Included by simd_compile_reals.h once for every combination of type and instruction set. */

#if VECTOR_BYTES / REAL_BYTES == 2
#define LANES 2
#define INTERLEAVE_LOW 0, 2
#define INTERLEAVE_HIGH 1, 3
#elif VECTOR_BYTES / REAL_BYTES == 4
#define LANES 4
#define INTERLEAVE_LOW 0, 4, 1, 5
#define INTERLEAVE_HIGH 2, 6, 3, 7
#elif VECTOR_BYTES / REAL_BYTES == 8
#define LANES 8
#define INTERLEAVE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define INTERLEAVE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define LANES 16
#define INTERLEAVE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define INTERLEAVE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL NAME(unaligned) __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BYTES), may_alias));
#if REAL_BYTES == 8
typedef int64_t NAME(mask) __attribute__((vector_size(VECTOR_BYTES)));
#else
typedef int32_t NAME(mask) __attribute__((vector_size(VECTOR_BYTES)));
#endif

ALWAYS_INLINE NAME(vector) NAME(load)(const REAL *from) {
    return *(const NAME(unaligned) *)from;
}

ALWAYS_INLINE void NAME(store)(REAL *to, NAME(vector) value) {
    *(NAME(unaligned) *)to = value;
}

/* rows[i][j] becomes rows[j][i]. Interleaving the first half of the rows with the second half
 * log2(LANES) times is a transposition. */
ALWAYS_INLINE void NAME(transpose)(NAME(vector) rows[LANES]) {
    NAME(vector) interleaved[LANES];
#pragma GCC unroll 4
    for (int round = 1; round < LANES; round *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES / 2; i++) {
            interleaved[2 * i] = SIMD_SHUFFLE(NAME(mask), rows[i], rows[i + LANES / 2], INTERLEAVE_LOW);
            interleaved[2 * i + 1] =
                SIMD_SHUFFLE(NAME(mask), rows[i], rows[i + LANES / 2], INTERLEAVE_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = interleaved[i];
    }
}

#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
