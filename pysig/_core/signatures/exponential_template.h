/* Everything of exponential.h that is compiled for each type and instruction set. */
#define VEC NAME(vector)
#include "signatures/row_lanes.h"
#include "signatures/exponential_lanes.h"
#include "signatures/exponential_rows.h"

#define ELEM REAL
#define TENSOR(stem) NAME(stem##_row)
#include "signatures/exponential_algebra.h"
#include "signatures/exponential_tasks.h"
#undef ELEM
#undef TENSOR

#define ELEM VEC
#define TENSOR(stem) NAME(stem##_lanes)
#include "signatures/exponential_algebra.h"
#include "signatures/exponential_tasks.h"
#undef ELEM
#undef TENSOR

static void NAME(exponential_tasks)(const exponential_problem *problem, int backward,
                                    ptrdiff_t first, ptrdiff_t last, char *memory) {
    if (problem->lanes == 1) {
        for (ptrdiff_t row = first; row < last; row++) {
            NAME(exponential_memory_row) work = NAME(carve_row)(problem, memory);
            const REAL *argument = (const REAL *)problem->argument + row * problem->argument_stride;
            REAL *result = (REAL *)problem->result + row * problem->result_stride;
            if (!backward) {
                NAME(evaluate_row)(problem, argument, result, &work);
                continue;
            }
            memcpy(work.result, result, (size_t)problem->result_words * sizeof(REAL));
            NAME(evaluate_backward_row)(
                problem, argument,
                (REAL *)problem->argument_gradient + row * problem->argument_stride, &work);
        }
        return;
    }
    for (ptrdiff_t task = first; task < last; task++) {
        NAME(exponential_memory_lanes) work = NAME(carve_lanes)(problem, memory);
        REAL *argument[LANES], *result[LANES], *gradient[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) {
            const ptrdiff_t row = task * LANES + l;
            const int there = row < problem->rows;
            argument[l] = there ? (REAL *)problem->argument + row * problem->argument_stride : NULL;
            result[l] = there ? (REAL *)problem->result + row * problem->result_stride : NULL;
            gradient[l] = there && backward
                              ? (REAL *)problem->argument_gradient + row * problem->argument_stride
                              : NULL;
        }
        NAME(read_lanes)(work.argument, problem->argument_words, argument);
        if (!backward) {
            NAME(evaluate_lanes)(problem, work.argument, work.result, &work);
            NAME(write_lanes)(work.result, problem->result_words, result);
            continue;
        }
        NAME(read_lanes)(work.result, problem->result_words, result);
        NAME(evaluate_backward_lanes)(problem, work.argument, work.argument_gradient, &work);
        NAME(write_lanes)(work.argument_gradient, problem->argument_words, gradient);
    }
}
#undef VEC
