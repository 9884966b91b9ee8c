/* Compiles the header that SIMD_TEMPLATE names for each instruction set, in float and double. */

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

#if SIMD_X86

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define SIMD_LEVEL_NAME avx2
#define VECTOR_BYTES 32
#define REGISTERS 16
#include "simd_compile_reals.h"
#undef SIMD_LEVEL_NAME
#undef VECTOR_BYTES
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma,prefer-vector-width=512")
#endif
#define SIMD_LEVEL_NAME avx512
#define VECTOR_BYTES 64
#define REGISTERS 32
#include "simd_compile_reals.h"
#undef SIMD_LEVEL_NAME
#undef VECTOR_BYTES
#undef REGISTERS
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif
