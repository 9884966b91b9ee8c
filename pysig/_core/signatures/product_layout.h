/* Where the levels of a row of words stand: in the caller's memory, and, for adjoints, in working memory,
 * where each level begins at a multiple of the vector length and has a vector of padding behind it. */
#ifndef PYSIG_PRODUCT_LAYOUT_H
#define PYSIG_PRODUCT_LAYOUT_H

#include <stddef.h>
#include <string.h>

enum { PRODUCT_LEVELS = 65, PRODUCT_FACTORS = 4 };

typedef struct {
    ptrdiff_t channels, depth, words;
    ptrdiff_t power[PRODUCT_LEVELS];  /* channels^k */
    ptrdiff_t begin[PRODUCT_LEVELS];  /* where level k begins for the caller */
    ptrdiff_t offset[PRODUCT_LEVELS]; /* where it begins in working memory */
    ptrdiff_t size;                   /* numbers of a row in working memory */
} product_layout;

static void product_make_layout(product_layout *layout, ptrdiff_t channels, ptrdiff_t depth,
                                ptrdiff_t lanes) {
    memset(layout, 0, sizeof *layout);
    layout->channels = channels;
    layout->depth = depth;
    layout->power[0] = 1;
    for (ptrdiff_t k = 1; k <= depth; k++) {
        layout->power[k] = layout->power[k - 1] * channels;
        layout->begin[k] = layout->words;
        layout->words += layout->power[k];
        layout->offset[k] = layout->size;
        layout->size += (layout->power[k] + lanes - 1) / lanes * lanes + lanes;
    }
}

#endif
