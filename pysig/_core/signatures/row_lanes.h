/* Between rows of numbers in memory and vectors of lanes, one row to a lane.  NULL: there is no such
 * row, and its lane is zero.
 */

/* Transposes `count` numbers of each lane: to[i][lane l] = from(l)[i] - less(l)[i], or from(l)[i]
 * where there is no `less`.  The last vectors may overlap. */
ALWAYS_INLINE void NAME(gather_lanes)(VEC *to, ptrdiff_t count, const REAL *const from[LANES],
                                      const REAL *const less[LANES]) {
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        if (i + LANES > count) i = count - LANES;
        VEC row[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) {
            row[l] = NAME(load)(from[l] + i);
            if (less) row[l] -= NAME(load)(less[l] + i);
        }
        NAME(transpose)(row);
        for (ptrdiff_t l = 0; l < LANES; l++) to[i + l] = row[l];
    }
}

/* to[l][i] = from[i][lane l] for i < count. */
static void NAME(write_lanes)(const VEC *from, ptrdiff_t count, REAL *const to[LANES]) {
    REAL *place[LANES]; /* what is stored could otherwise be addresses in `to` */
    for (ptrdiff_t l = 0; l < LANES; l++) place[l] = to[l];
    for (ptrdiff_t i = 0; count >= LANES && i < count; i += LANES) {
        if (i + LANES > count) i = count - LANES;
        VEC row[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) row[l] = from[i + l];
        NAME(transpose)(row);
        for (ptrdiff_t l = 0; l < LANES; l++)
            if (place[l]) NAME(store)(place[l] + i, row[l]);
    }
    for (ptrdiff_t l = 0; l < LANES && count < LANES; l++)
        for (ptrdiff_t i = 0; to[l] && i < count; i++)
            to[l][i] = ((const REAL *)from)[i * LANES + l];
}

static void NAME(read_lanes)(VEC *to, ptrdiff_t count, REAL *const from[LANES]) {
    int full = count >= LANES;
    for (ptrdiff_t l = 0; l < LANES; l++) full = full && from[l];
    if (full) {
        NAME(gather_lanes)(to, count, (const REAL *const *)from, NULL);
        return;
    }
    for (ptrdiff_t l = 0; l < LANES; l++)
        for (ptrdiff_t i = 0; i < count; i++)
            ((REAL *)to)[i * LANES + l] = from[l] ? from[l][i] : 0;
}
