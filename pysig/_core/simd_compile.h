/* Compiles the header that SIMD_TEMPLATE names for each instruction set, in float and double. */

#define SIMD_PRAGMA(text) _Pragma(#text)
#if defined(PYSIG_EMULATE_SIMD)
#define SIMD_BEGIN(instructions)
#define SIMD_END
#elif defined(__clang__)
#define SIMD_BEGIN(instructions) \
    SIMD_PRAGMA(clang attribute push(__attribute__((target(instructions))), apply_to = function))
#define SIMD_END SIMD_PRAGMA(clang attribute pop)
#else
#define SIMD_BEGIN(instructions) SIMD_PRAGMA(GCC push_options) SIMD_PRAGMA(GCC target(instructions))
#define SIMD_END SIMD_PRAGMA(GCC pop_options)
#endif

#define SIMD_LEVEL_NAME baseline
#define VECTOR_BYTES 16
#if defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif
#include "simd_compile_reals.h"
#undef SIMD_LEVEL_NAME
#undef VECTOR_BYTES
#undef REGISTERS

#if SIMD_WIDE
SIMD_BEGIN("avx2,fma")
#define SIMD_LEVEL_NAME avx2
#define VECTOR_BYTES 32
#define REGISTERS 16
#include "simd_compile_reals.h"
#undef SIMD_LEVEL_NAME
#undef VECTOR_BYTES
#undef REGISTERS
SIMD_END

SIMD_BEGIN("avx2,fma,avx512f,avx512dq,avx512vl,avx512bw")
#define SIMD_LEVEL_NAME avx512
#define VECTOR_BYTES 64
#define REGISTERS 32
#include "simd_compile_reals.h"
#undef SIMD_LEVEL_NAME
#undef VECTOR_BYTES
#undef REGISTERS
SIMD_END
#endif

#undef SIMD_PRAGMA
#undef SIMD_BEGIN
#undef SIMD_END
