/* Vectors of "lanes", for kernels that are written once and compiled for several instruction sets.
 *
 * A kernel template is a header that uses
 *     REAL          float or double
 *     LANES         how many REALs one vector register holds
 *     REGISTERS     how many vector registers there are
 *     NAME(stem)    stem with a suffix that is unique to this compilation
 * and SIMD_TEMPLATE names that header. Including simd_compile.h compiles it for float and double,
 * for each instruction set that this compiler can produce; simd_detected_level() says at run
 * time which of them the processor has. Only GCC's and Clang's vector extensions are used, no intrinsics.
 */
#ifndef PYSIG_SIMD_H
#define PYSIG_SIMD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if !defined(__GNUC__)
#error "pysig needs GCC or Clang: it uses their vector extensions"
#endif

/* With PYSIG_EMULATE_SIMD all levels are compiled to the instructions of the build itself, which
 * is slow, but lets any processor run the code of the widest vectors, to check it. */
#if defined(__x86_64__) || defined(PYSIG_EMULATE_SIMD)
#define SIMD_WIDE 1
#else
#define SIMD_WIDE 0
#endif

enum { SIMD_BASELINE = 0, SIMD_AVX2 = 1, SIMD_AVX512 = 2 };

#define SIMD_ALIGNMENT 64
#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define SIMD_CONCATENATE_(stem, real, level) stem##_##real##_##level
#define SIMD_CONCATENATE(stem, real, level) SIMD_CONCATENATE_(stem, real, level)
#define NAME(stem) SIMD_CONCATENATE(stem, REAL, SIMD_LEVEL_NAME)

/* Calls what NAME(function) is for a type and a level, of all that simd_compile.h has compiled. */
#if SIMD_WIDE
#define SIMD_CALL(function, is_double, level, ...)                                   \
    ((level) == SIMD_AVX512 ? ((is_double) ? function##_double_avx512(__VA_ARGS__)   \
                                           : function##_float_avx512(__VA_ARGS__))   \
     : (level) == SIMD_AVX2 ? ((is_double) ? function##_double_avx2(__VA_ARGS__)     \
                                           : function##_float_avx2(__VA_ARGS__))     \
                            : ((is_double) ? function##_double_baseline(__VA_ARGS__) \
                                           : function##_float_baseline(__VA_ARGS__)))
#else
#define SIMD_CALL(function, is_double, level, ...) \
    ((is_double) ? function##_double_baseline(__VA_ARGS__) : function##_float_baseline(__VA_ARGS__))
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define SIMD_SHUFFLE(mask_type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SIMD_SHUFFLE(mask_type, a, b, ...) __builtin_shuffle(a, b, (mask_type){__VA_ARGS__})
#endif

/* The widest instruction set that both this build and the processor have. */
static inline int simd_detected_level(void) {
#if defined(PYSIG_EMULATE_SIMD)
    return SIMD_AVX512;
#elif SIMD_WIDE
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return SIMD_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SIMD_AVX2;
#endif
    return SIMD_BASELINE;
}

#endif
