/* Everything of projection.h that is compiled for each type and instruction set. */
#define VEC NAME(vector)
#include "signatures/projection_tree.h"
#include "signatures/projection_tasks.h"
#undef VEC
