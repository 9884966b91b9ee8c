/* Everything of soft.h that is compiled for each type and instruction set, from the inside out. */
#if REAL_BYTES == 8
#define REAL_MAX DBL_MAX
#else
#define REAL_MAX FLT_MAX
#endif
#include "sorting/soft_exp.h"
#include "sorting/soft_sums.h"
#include "sorting/blocks.h"
#include "sorting/soft_pool.h"
#if REAL_BYTES == 8
#include "sorting/soft_lanes.h"
#endif
#include "sorting/soft_keys.h"
#include "sorting/soft_bins.h"
#include "sorting/soft_rows.h"
#include "sorting/soft_backward.h"
#include "sorting/soft_tasks.h"
#include "sorting/soft_lane_ranks.h"
#include "sorting/soft_short.h"
#include "sorting/soft_buckets.h"
#undef REAL_MAX
