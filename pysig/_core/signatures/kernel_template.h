/* Everything of kernel.h that is compiled for each type and instruction set, from the inside out. */
#define VEC NAME(vector)
#define ROOT_3 ((REAL)1.7320508075688772935)
#include "signatures/kernel_exp.h"
#include "signatures/kernel_static.h"
#include "signatures/kernel_sweep.h"
#include "signatures/kernel_lanes.h"
#include "signatures/kernel_tasks.h"
#undef VEC
#undef ROOT_3
