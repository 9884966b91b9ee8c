/* Compiles the header that SIMD_TEMPLATE names in float and double, for one instruction set. */

#define REAL double
#define REAL_BYTES 8
#include "simd_lanes.h"
#include SIMD_TEMPLATE
#undef LANES
#undef REAL
#undef REAL_BYTES

#define REAL float
#define REAL_BYTES 4
#include "simd_lanes.h"
#include SIMD_TEMPLATE
#undef LANES
#undef REAL
#undef REAL_BYTES
