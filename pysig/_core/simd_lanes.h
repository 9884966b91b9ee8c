/* One vector of lanes, and the transposition between LANES rows of memory and LANES vectors.
 * Included by simd_compile_reals.h once for every combination of type and instruction set. */

/* EXCHANGE_LOW_s, EXCHANGE_HIGH_s: of two rows whose numbers differ in the bit s, the blocks of s
 * columns in which that bit is off, and those in which it is on. */
#if VECTOR_BYTES / REAL_BYTES == 2
#define LANES 2
#define EXCHANGE_LOW_1 0, 2
#define EXCHANGE_HIGH_1 1, 3
#elif VECTOR_BYTES / REAL_BYTES == 4
#define LANES 4
#define EXCHANGE_LOW_1 0, 4, 2, 6
#define EXCHANGE_HIGH_1 1, 5, 3, 7
#define EXCHANGE_LOW_2 0, 1, 4, 5
#define EXCHANGE_HIGH_2 2, 3, 6, 7
#elif VECTOR_BYTES / REAL_BYTES == 8
#define LANES 8
#define EXCHANGE_LOW_1 0, 8, 2, 10, 4, 12, 6, 14
#define EXCHANGE_HIGH_1 1, 9, 3, 11, 5, 13, 7, 15
#define EXCHANGE_LOW_2 0, 1, 8, 9, 4, 5, 12, 13
#define EXCHANGE_HIGH_2 2, 3, 10, 11, 6, 7, 14, 15
#define EXCHANGE_LOW_4 0, 1, 2, 3, 8, 9, 10, 11
#define EXCHANGE_HIGH_4 4, 5, 6, 7, 12, 13, 14, 15
#else
#define LANES 16
#define EXCHANGE_LOW_1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define EXCHANGE_HIGH_1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define EXCHANGE_LOW_2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define EXCHANGE_HIGH_2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define EXCHANGE_LOW_4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define EXCHANGE_HIGH_4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define EXCHANGE_LOW_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define EXCHANGE_HIGH_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#endif

typedef REAL NAME(vector) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL NAME(unaligned)
    __attribute__((vector_size(VECTOR_BYTES), aligned(REAL_BYTES), may_alias));
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

/* The same value, in a register.  Where one number serves several operations, GCC otherwise makes it
 * a memory operand of each, and the loads, not the arithmetic, become the limit. */
ALWAYS_INLINE NAME(vector) NAME(in_register)(NAME(vector) value) {
#if defined(PYSIG_EMULATE_SIMD)
    /* No register is as long as the vector. */
#elif defined(__x86_64__)
    __asm__("" : "+v"(value));
#elif defined(__aarch64__)
    __asm__("" : "+w"(value));
#endif
    return value;
}

/* Exchanges, between the rows i and i + s for each i without the bit s, the blocks of s columns
 * that stand on the wrong side of the diagonal. */
#define EXCHANGE(rows, s)                                                         \
    for (int i = 0; i < LANES; i++)                                               \
        if (!(i & s)) {                                                           \
            NAME(vector) low = rows[i], high = rows[i + s];                       \
            rows[i] = SIMD_SHUFFLE(NAME(mask), low, high, EXCHANGE_LOW_##s);      \
            rows[i + s] = SIMD_SHUFFLE(NAME(mask), low, high, EXCHANGE_HIGH_##s); \
        }

/* rows[i][j] becomes rows[j][i]. */
ALWAYS_INLINE void NAME(transpose)(NAME(vector) rows[LANES]) {
    EXCHANGE(rows, 1);
#if LANES >= 4
    EXCHANGE(rows, 2);
#endif
#if LANES >= 8
    EXCHANGE(rows, 4);
#endif
#if LANES >= 16
    EXCHANGE(rows, 8);
#endif
}

/* The sums of the rows: the transposition and the addition of its rows in one. */
#define ADD_EXCHANGED(rows, s)                                                   \
    for (int i = 0; i < LANES; i += 2 * s)                                       \
    rows[i] = SIMD_SHUFFLE(NAME(mask), rows[i], rows[i + s], EXCHANGE_LOW_##s) + \
              SIMD_SHUFFLE(NAME(mask), rows[i], rows[i + s], EXCHANGE_HIGH_##s)

ALWAYS_INLINE NAME(vector) NAME(sums_of_rows)(NAME(vector) rows[LANES]) {
    ADD_EXCHANGED(rows, 1);
#if LANES >= 4
    ADD_EXCHANGED(rows, 2);
#endif
#if LANES >= 8
    ADD_EXCHANGED(rows, 4);
#endif
#if LANES >= 16
    ADD_EXCHANGED(rows, 8);
#endif
    return rows[0];
}

#undef ADD_EXCHANGED
#undef EXCHANGE
#undef EXCHANGE_LOW_1
#undef EXCHANGE_HIGH_1
#undef EXCHANGE_LOW_2
#undef EXCHANGE_HIGH_2
#undef EXCHANGE_LOW_4
#undef EXCHANGE_HIGH_4
#undef EXCHANGE_LOW_8
#undef EXCHANGE_HIGH_8
