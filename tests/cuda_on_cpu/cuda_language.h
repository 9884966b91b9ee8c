// What CUDA has and C++ has not, for kernels that g++ compiles.
//
// A kernel's source is compiled with this in front of it. Python has replaced its declarations of
// shared memory and written functions that launch its kernels (source.py); the scheduler runs them.
// What CUDA has no overload for has none here either, as far as that is easy to have.
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>
#include <utility>

#include "scheduler.h"

#define __CUDACC__
#define __CUDACC_RTC__
#define __CUDA_ARCH__ 900

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(size) __attribute__((aligned(size)))

// Constant to a kernel: each thread finds its own values when it begins, and keeps them.
extern const uint3 threadIdx, blockIdx;
extern const dim3 blockDim, gridDim;
constexpr int warpSize = 32;

#define CUDA_ON_CPU_CHECK(condition, message) \
    ((condition) ? (void)0 : cuda_on_cpu::fail(__LINE__, message))
#undef assert
#define assert(condition) CUDA_ON_CPU_CHECK(condition, "assertion failed: " #condition)
#define __builtin_assume(condition) CUDA_ON_CPU_CHECK(condition, "assumed, but false: " #condition)
#define __trap() cuda_on_cpu::fail(__LINE__, "trap")

// ---------------------------------------------------------------------------- barriers and fences

#define __syncthreads() ((void)CUDA_ON_CPU_BLOCK(barrier, 0))
#define __syncthreads_count(predicate) CUDA_ON_CPU_BLOCK(count, predicate)
#define __syncthreads_and(predicate) CUDA_ON_CPU_BLOCK(all, predicate)
#define __syncthreads_or(predicate) CUDA_ON_CPU_BLOCK(any, predicate)
#define CUDA_ON_CPU_BLOCK(operation, predicate) \
    cuda_on_cpu::wait_for_block(cuda_on_cpu::BlockOperation::operation, (predicate) != 0, __LINE__)

inline void __threadfence() {
    cuda_on_cpu::fence();
}
inline void __threadfence_block() {
    cuda_on_cpu::fence();
}
inline void __threadfence_system() {
    cuda_on_cpu::fence();
}

// ---------------------------------------------------------------------------- operations of a warp

namespace cuda_on_cpu {

// Shuffles exist for numbers of 4 and 8 bytes; smaller ones become int, as in any arithmetic.
template <typename Value>
auto shuffle(WarpOperation operation, int line, unsigned mask, Value value, int operand,
             int width = 32) {
    auto number = +value;
    static_assert(sizeof number == 4 || sizeof number == 8, "no shuffle for this type");
    Offer offer = {mask, 0, sizeof number, operand, width};
    memcpy(&offer.bits, &number, sizeof number);
    const unsigned long long bits = wait_for_warp(operation, offer, line);
    memcpy(&number, &bits, sizeof number);
    return number;
}

inline void sync_warp(int line, unsigned mask = ~0u) {
    wait_for_warp(WarpOperation::barrier, {mask, 0, 0, 0, 32}, line);
}

inline unsigned ballot(int line, unsigned mask, int predicate) {
    const Offer offer = {mask, predicate != 0, 1, 0, 32};
    return static_cast<unsigned>(wait_for_warp(WarpOperation::ballot, offer, line));
}

template <typename Value> unsigned match(int line, unsigned mask, Value value) {
    static_assert(sizeof value == 4 || sizeof value == 8, "no match for this type");
    Offer offer = {mask, 0, sizeof value, 0, 32};
    memcpy(&offer.bits, &value, sizeof value);
    return static_cast<unsigned>(wait_for_warp(WarpOperation::match, offer, line));
}

} // namespace cuda_on_cpu

#define CUDA_ON_CPU_SHUFFLE(operation, ...) \
    cuda_on_cpu::shuffle(cuda_on_cpu::WarpOperation::operation, __LINE__, __VA_ARGS__)
#define __shfl_sync(...) CUDA_ON_CPU_SHUFFLE(shuffle, __VA_ARGS__)
#define __shfl_up_sync(...) CUDA_ON_CPU_SHUFFLE(shuffle_up, __VA_ARGS__)
#define __shfl_down_sync(...) CUDA_ON_CPU_SHUFFLE(shuffle_down, __VA_ARGS__)
#define __shfl_xor_sync(...) CUDA_ON_CPU_SHUFFLE(shuffle_xor, __VA_ARGS__)
#define __syncwarp(...) cuda_on_cpu::sync_warp(__LINE__ __VA_OPT__(, ) __VA_ARGS__)
#define __ballot_sync(mask, predicate) cuda_on_cpu::ballot(__LINE__, mask, (predicate) != 0)
#define __any_sync(mask, predicate) (cuda_on_cpu::ballot(__LINE__, mask, (predicate) != 0) != 0)
#define __all_sync(mask, predicate) (cuda_on_cpu::ballot(__LINE__, mask, (predicate) == 0) == 0)
#define __match_any_sync(mask, value) cuda_on_cpu::match(__LINE__, mask, value)

// Threads run one at a time, so that none but this one is active: the least that a GPU may answer.
inline unsigned __activemask() {
    return cuda_on_cpu::lane_mask();
}

// ----------------------------------------------------------------------------------------- atomics

namespace cuda_on_cpu {

// An exchange in a loop, which ThreadSanitizer knows to be atomic.
template <typename Value, typename Function> Value update(Value *address, Function function) {
    Value old, next;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    do {
        next = function(old);
    } while (!__atomic_compare_exchange(address, &old, &next, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
    return old;
}

} // namespace cuda_on_cpu

#define CUDA_ON_CPU_ATOMIC(name, type, expression)                                         \
    inline type name(type *address, type value) {                                          \
        return cuda_on_cpu::update(address, [=](type old) -> type { return expression; }); \
    }
#define CUDA_ON_CPU_ATOMICS(type)                                                           \
    CUDA_ON_CPU_ATOMIC(atomicExch, type, ((void)old, value))                                \
    CUDA_ON_CPU_ATOMIC(atomicMin, type, old < value ? old : value)                          \
    CUDA_ON_CPU_ATOMIC(atomicMax, type, old > value ? old : value)                          \
    CUDA_ON_CPU_ATOMIC(atomicAnd, type, old &value)                                         \
    CUDA_ON_CPU_ATOMIC(atomicOr, type, old | value)                                         \
    CUDA_ON_CPU_ATOMIC(atomicXor, type, old ^ value)                                        \
    inline type atomicCAS(type *address, type compare, type value) {                        \
        return cuda_on_cpu::update(address,                                                 \
                                   [=](type old) { return old == compare ? value : old; }); \
    }
CUDA_ON_CPU_ATOMICS(int)
CUDA_ON_CPU_ATOMICS(unsigned)
CUDA_ON_CPU_ATOMICS(unsigned long long)
CUDA_ON_CPU_ATOMIC(atomicMin, long long, old < value ? old : value)
CUDA_ON_CPU_ATOMIC(atomicMax, long long, old > value ? old : value)
CUDA_ON_CPU_ATOMIC(atomicExch, float, ((void)old, value))
CUDA_ON_CPU_ATOMIC(atomicAdd, int, old + value)
CUDA_ON_CPU_ATOMIC(atomicAdd, unsigned, old + value)
CUDA_ON_CPU_ATOMIC(atomicAdd, unsigned long long, old + value)
CUDA_ON_CPU_ATOMIC(atomicAdd, float, old + value)
CUDA_ON_CPU_ATOMIC(atomicAdd, double, old + value)
CUDA_ON_CPU_ATOMIC(atomicSub, int, old - value)
CUDA_ON_CPU_ATOMIC(atomicSub, unsigned, old - value)
CUDA_ON_CPU_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
CUDA_ON_CPU_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

// ------------------------------------------------------------------------------------- mathematics

// Of two floating-point numbers the one that is not NaN.
#define CUDA_ON_CPU_EXTREMES(result, first, second)           \
    inline result min(first a, second b) {                    \
        return (result)a < (result)b ? (result)a : (result)b; \
    }                                                         \
    inline result max(first a, second b) {                    \
        return (result)a > (result)b ? (result)a : (result)b; \
    }
#define CUDA_ON_CPU_INTEGER_EXTREMES(type)                            \
    CUDA_ON_CPU_EXTREMES(type, type, type)                            \
    CUDA_ON_CPU_EXTREMES(unsigned type, unsigned type, unsigned type) \
    CUDA_ON_CPU_EXTREMES(unsigned type, type, unsigned type)          \
    CUDA_ON_CPU_EXTREMES(unsigned type, unsigned type, type)
CUDA_ON_CPU_INTEGER_EXTREMES(int)
CUDA_ON_CPU_INTEGER_EXTREMES(long)
CUDA_ON_CPU_INTEGER_EXTREMES(long long)
#define CUDA_ON_CPU_REAL_EXTREMES(result, first, second) \
    inline result min(first a, second b) {               \
        return fmin((result)a, (result)b);               \
    }                                                    \
    inline result max(first a, second b) {               \
        return fmax((result)a, (result)b);               \
    }
CUDA_ON_CPU_REAL_EXTREMES(float, float, float)
CUDA_ON_CPU_REAL_EXTREMES(double, double, double)
CUDA_ON_CPU_REAL_EXTREMES(double, float, double)
CUDA_ON_CPU_REAL_EXTREMES(double, double, float)

constexpr double CUDA_ON_CPU_PI = 3.141592653589793;
inline double rsqrt(double x) {
    return 1 / sqrt(x);
}
inline float rsqrtf(float x) {
    return 1 / sqrtf(x);
}
inline float rsqrt(float x) {
    return rsqrtf(x);
}
inline double sinpi(double x) {
    return sin(CUDA_ON_CPU_PI * fmod(x, 2));
}
inline double cospi(double x) {
    return cos(CUDA_ON_CPU_PI * fmod(x, 2));
}
inline float sinpif(float x) {
    return (float)sinpi((double)x);
}
inline float sinpi(float x) {
    return sinpif(x);
}
inline float cospif(float x) {
    return (float)cospi((double)x);
}
inline float cospi(float x) {
    return cospif(x);
}
inline void sincospi(double x, double *sine, double *cosine) {
    *sine = sinpi(x);
    *cosine = cospi(x);
}
inline void sincospif(float x, float *sine, float *cosine) {
    *sine = sinpif(x);
    *cosine = cospif(x);
}
inline void sincos(float x, float *sine, float *cosine) {
    sincosf(x, sine, cosine);
}
inline double normcdf(double x) {
    return erfc(-x / sqrt(2.)) / 2;
}
inline float normcdff(float x) {
    return (float)normcdf((double)x);
}
inline float normcdf(float x) {
    return normcdff(x);
}

// Operations that are never fused with others, and the fast ones.
#define CUDA_ON_CPU_ROUNDED(suffix, type, fused)         \
    inline type __##suffix##add_rn(type a, type b) {     \
        return a + b;                                    \
    }                                                    \
    inline type __##suffix##sub_rn(type a, type b) {     \
        return a - b;                                    \
    }                                                    \
    inline type __##suffix##mul_rn(type a, type b) {     \
        return a * b;                                    \
    }                                                    \
    inline type __##suffix##div_rn(type a, type b) {     \
        return a / b;                                    \
    }                                                    \
    inline type __##fused##_rn(type a, type b, type c) { \
        return fused(a, b, c);                           \
    }
CUDA_ON_CPU_ROUNDED(d, double, fma)
CUDA_ON_CPU_ROUNDED(f, float, fmaf)
inline float __expf(float x) {
    return expf(x);
}
inline float __logf(float x) {
    return logf(x);
}
inline float __sinf(float x) {
    return sinf(x);
}
inline float __cosf(float x) {
    return cosf(x);
}
inline float __fdividef(float a, float b) {
    return a / b;
}

// ------------------------------------------------------------------------------------ bits, memory

inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
    return __builtin_popcountll(x);
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
    return __builtin_ffsll(x);
}
inline int __clz(int x) {
    return x ? __builtin_clz((unsigned)x) : 32;
}
inline int __clzll(long long x) {
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)((unsigned long long)a * b >> 32);
}
inline int __mulhi(int a, int b) {
    return (int)((long long)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#define CUDA_ON_CPU_BITS(name, to, from)          \
    inline to name(from x) {                      \
        to result;                                \
        static_assert(sizeof result == sizeof x); \
        memcpy(&result, &x, sizeof x);            \
        return result;                            \
    }
CUDA_ON_CPU_BITS(__int_as_float, float, int)
CUDA_ON_CPU_BITS(__uint_as_float, float, unsigned)
CUDA_ON_CPU_BITS(__float_as_int, int, float)
CUDA_ON_CPU_BITS(__float_as_uint, unsigned, float)
CUDA_ON_CPU_BITS(__longlong_as_double, double, long long)
CUDA_ON_CPU_BITS(__double_as_longlong, long long, double)

#define CUDA_ON_CPU_LOAD(name)                                   \
    template <typename Value> Value name(const Value *address) { \
        return *address;                                         \
    }
CUDA_ON_CPU_LOAD(__ldg)
CUDA_ON_CPU_LOAD(__ldcg)
CUDA_ON_CPU_LOAD(__ldca)
CUDA_ON_CPU_LOAD(__ldcs)
template <typename Value> void __stcs(Value *address, Value value) {
    *address = value;
}
template <typename Value> void __stcg(Value *address, Value value) {
    *address = value;
}

#define CUDA_ON_CPU_VECTORS(type, prefix, align2, align4)               \
    struct __align__(align2) prefix##2 {                                \
        type x, y;                                                      \
    };                                                                  \
    struct __align__(align4) prefix##4 {                                \
        type x, y, z, w;                                                \
    };                                                                  \
    inline prefix##2 make_##prefix##2(type x, type y) {                 \
        return {x, y};                                                  \
    }                                                                   \
    inline prefix##4 make_##prefix##4(type x, type y, type z, type w) { \
        return {x, y, z, w};                                            \
    }
CUDA_ON_CPU_VECTORS(int, int, 8, 16)
CUDA_ON_CPU_VECTORS(unsigned, uint, 8, 16)
CUDA_ON_CPU_VECTORS(float, float, 8, 16)
CUDA_ON_CPU_VECTORS(double, double, 16, 16)
CUDA_ON_CPU_VECTORS(long long, longlong, 16, 16)
CUDA_ON_CPU_VECTORS(unsigned long long, ulonglong, 16, 16)

// -------------------------------------------------------------------------------- launching kernels

namespace cuda_on_cpu {

// A parameter of a kernel in words: "out" and "in" are arrays, the former of elements that are not
// const; then the type of the number, as NumPy writes it. "out f8", "in i4", "scalar i8".
template <typename Parameter> int describe_parameter(char *text) {
    using Element = std::remove_pointer_t<Parameter>;
    using Number = std::remove_const_t<Element>;
    static_assert(std::is_arithmetic_v<Number>, "parameters are numbers and pointers to numbers");
    const char *kind = !std::is_pointer_v<Parameter> ? "scalar"
                       : std::is_const_v<Element>    ? "in"
                                                     : "out";
    const char type = std::is_same_v<Number, bool>       ? 'b'
                      : std::is_floating_point_v<Number> ? 'f'
                      : std::is_signed_v<Number>         ? 'i'
                                                         : 'u';
    return sprintf(text, "%s %c%d\n", kind, type, (int)sizeof(Number));
}

// A line for each parameter.
template <typename... Parameters> const char *describe(void (*)(Parameters...)) {
    static char text[sizeof...(Parameters) * 16 + 1];
    char *end = text;
    ((end += describe_parameter<std::remove_const_t<Parameters>>(end)), ...);
    return text;
}

template <typename... Parameters, size_t... numbers>
const char *run(void (*kernel)(Parameters...), const Launch *launch, void **values,
                std::index_sequence<numbers...>) {
    auto call = [=] {
        kernel(*static_cast<std::remove_const_t<Parameters> *>(values[numbers])...);
    };
    return cuda_on_cpu_run(
        launch, [](void *closure) { (*static_cast<decltype(call) *>(closure))(); }, &call);
}

template <typename... Parameters>
const char *run(void (*kernel)(Parameters...), const Launch *launch, void **values) {
    return run(kernel, launch, values, std::index_sequence_for<Parameters...>());
}

} // namespace cuda_on_cpu
