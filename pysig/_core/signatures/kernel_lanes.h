/* Between the lanes and the caller's arrays of points. */

/* to[i][lane l] = from[l][i] for i < count. */
static void NAME(gather_points)(const REAL *const from[LANES], ptrdiff_t count, VEC *to) {
    for (ptrdiff_t i = 0; count >= LANES && i < count; i += LANES) {
        if (i + LANES > count) i = count - LANES;
        VEC row[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) row[l] = NAME(load)(from[l] + i);
        NAME(transpose)(row);
        for (ptrdiff_t l = 0; l < LANES; l++) to[i + l] = row[l];
    }
    for (ptrdiff_t i = 0; count < LANES && i < count; i++)
        for (ptrdiff_t l = 0; l < LANES; l++) to[i][l] = from[l][i];
}

/* to[l][i] = from[i][lane l] for i < count; NULL: there is no such lane. */
static void NAME(scatter_points)(const VEC *from, ptrdiff_t count, REAL *const to[LANES]) {
    for (ptrdiff_t i = 0; count >= LANES && i < count; i += LANES) {
        if (i + LANES > count) i = count - LANES;
        VEC row[LANES];
        for (ptrdiff_t l = 0; l < LANES; l++) row[l] = from[i + l];
        NAME(transpose)(row);
        for (ptrdiff_t l = 0; l < LANES; l++)
            if (to[l]) NAME(store)(to[l] + i, row[l]);
    }
    for (ptrdiff_t l = 0; l < LANES && count < LANES; l++)
        for (ptrdiff_t i = 0; to[l] && i < count; i++) to[l][i] = from[i][l];
}

/* to[i] += the sum of all lanes of from[i]. */
static void NAME(add_lanes)(const VEC *from, ptrdiff_t count, REAL *to) {
    for (ptrdiff_t i = 0; i < count; i++) {
        REAL sum = 0;
        for (ptrdiff_t l = 0; l < LANES; l++) sum += from[i][l];
        to[i] += sum;
    }
}

/* Points to letters in place: there is room for `length` letters. */
static void NAME(points_to_letters)(VEC *points, ptrdiff_t length, ptrdiff_t channels, int linear,
                                    REAL scale) {
    const ptrdiff_t count = (length - 1) * channels;
    if (linear) {
        for (ptrdiff_t i = 0; i < count; i++)
            points[i] = scale * (points[i + channels] - points[i]);
        return;
    }
    for (ptrdiff_t i = length - 1; i >= 0; i--) {
        VEC *const letter = points + i * (channels + 1), *const point = points + i * channels;
        for (ptrdiff_t c = channels - 1; c >= 0; c--) letter[c] = point[c];
        letter[channels] = 1 - (VEC){0};
    }
}

/* The same for a path that is the same in all lanes. */
static void NAME(points_to_shared_letters)(const REAL *points, ptrdiff_t length, ptrdiff_t channels,
                                           int linear, REAL scale, REAL *letters) {
    const ptrdiff_t count = (length - 1) * channels;
    if (linear) {
        for (ptrdiff_t i = 0; i < count; i++)
            letters[i] = scale * (points[i + channels] - points[i]);
        return;
    }
    for (ptrdiff_t i = 0; i < length; i++, letters += channels + 1) {
        for (ptrdiff_t c = 0; c < channels; c++) letters[c] = points[i * channels + c];
        letters[channels] = 1;
    }
}

/* The gradient of letters to that of points, in place; letters: of the path itself. */
static void NAME(letters_to_points)(VEC *gradient, const void *letters, int shared,
                                    ptrdiff_t length, ptrdiff_t channels, int linear, REAL scale) {
    const ptrdiff_t count = (length - 1) * channels;
    if (linear) {
        for (ptrdiff_t i = length * channels - 1; i >= 0; i--) {
            const VEC before = i >= channels ? gradient[i - channels] : (VEC){0};
            const VEC after = i < count ? gradient[i] : (VEC){0};
            gradient[i] = scale * (before - after);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < length; i++) {
        const VEC *const from = gradient + i * (channels + 1);
        const VEC weight = from[channels];
        for (ptrdiff_t c = 0; c < channels; c++) {
            const VEC point = NAME(letter)(letters, i * (channels + 1) + c, shared);
            gradient[i * channels + c] = from[c] - weight * point;
        }
    }
}
