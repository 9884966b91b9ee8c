/* Everything of product.h that is compiled for each type and instruction set, from the inside out. */
#define VEC NAME(vector)
#include "signatures/product_rows.h"
#include "signatures/product_rows_backward.h"
#include "signatures/product_tasks.h"
#undef VEC
