/* Everything of signature.h that is compiled for each type and instruction set, from the inside out. */
#define VEC NAME(vector)
#include "signatures/row_lanes.h"
#if SIGNATURE_LYNDON
#include "signatures/exponential_lanes.h"
#define ELEM VEC
#define TENSOR(stem) NAME(stem##_lanes)
#include "signatures/exponential_algebra.h"
#undef ELEM
#undef TENSOR
#endif
#include "signatures/signature_tree.h"
#include "signatures/signature_tree_backward.h"
#include "signatures/product_rows.h"
#include "signatures/product_rows_backward.h"
#include "signatures/signature_lanes.h"
#include "signatures/signature_root.h"
#include "signatures/signature_tasks.h"
#include "signatures/signature_depth_two.h"
#include "signatures/signature_depth_two_paths.h"
#undef VEC
