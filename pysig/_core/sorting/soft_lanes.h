/* Sorting short rows: a network of comparators, with one row in each lane of a vector. */

/* low <= high afterwards, in every lane.  Compilers make branches of a loop with comparisons.  order:
 * NULL, or numbers that go with those of low and high. */
ALWAYS_INLINE void NAME(sort_pair)(REAL *low, REAL *high, int64_t *low_order, int64_t *high_order) {
    const NAME(vector) a = NAME(load)(low), b = NAME(load)(high);
    const NAME(mask) is_less = (NAME(mask))(a < b), a_bits = (NAME(mask))a, b_bits = (NAME(mask))b;
    NAME(store)(low, (NAME(vector))((a_bits & is_less) | (b_bits & ~is_less)));
    NAME(store)(high, (NAME(vector))((b_bits & is_less) | (a_bits & ~is_less)));
    if (!low_order) return;
    NAME(mask) a_order, b_order;
    memcpy(&a_order, low_order, sizeof a_order);
    memcpy(&b_order, high_order, sizeof b_order);
    const NAME(mask) first = (a_order & is_less) | (b_order & ~is_less);
    const NAME(mask) second = (b_order & is_less) | (a_order & ~is_less);
    memcpy(low_order, &first, sizeof first);
    memcpy(high_order, &second, sizeof second);
}

/* Sorts each lane of rows[n][LANES] by Batcher's odd-even merge sort ("Sorting networks and their
 * applications", 1968), for any n.  order: NULL, or what goes with the entries, [n][LANES]. */
ALWAYS_INLINE void NAME(sort_network)(REAL *rows, int64_t *order, ptrdiff_t n) {
    for (ptrdiff_t p = 1; p < n; p *= 2)
        for (ptrdiff_t k = p; k >= 1; k /= 2)
            for (ptrdiff_t j = k % p; j + k < n; j += 2 * k) {
                if (k < p && (j + k) % (2 * p) == 0) continue;
                const ptrdiff_t count = n - j - k < k ? n - j - k : k;
                REAL *low = rows + j * LANES, *high = low + k * LANES;
                int64_t *low_order = order ? order + j * LANES : NULL;
                int64_t *high_order = order ? low_order + k * LANES : NULL;
                for (ptrdiff_t i = 0; i < count * LANES; i += LANES)
                    NAME(sort_pair)(low + i, high + i, order ? low_order + i : NULL,
                                    order ? high_order + i : NULL);
            }
}

/* rows[LANES][stride] to columns[n][LANES], and back; stride is a multiple of LANES, and both have
 * room for it. */
static void NAME(rows_to_lanes)(const REAL *rows, ptrdiff_t stride, REAL *columns) {
    NAME(vector) block[LANES];
    for (ptrdiff_t i = 0; i < stride; i += LANES) {
        for (int lane = 0; lane < LANES; lane++) block[lane] = NAME(load)(rows + lane * stride + i);
        NAME(transpose)(block);
        for (int j = 0; j < LANES; j++) NAME(store)(columns + (i + j) * LANES, block[j]);
    }
}

static void NAME(lanes_to_rows)(const REAL *columns, ptrdiff_t stride, REAL *rows) {
    NAME(vector) block[LANES];
    for (ptrdiff_t i = 0; i < stride; i += LANES) {
        for (int j = 0; j < LANES; j++) block[j] = NAME(load)(columns + (i + j) * LANES);
        NAME(transpose)(block);
        for (int lane = 0; lane < LANES; lane++) NAME(store)(rows + lane * stride + i, block[lane]);
    }
}

/* Sorts LANES rows of n numbers each, `stride` apart.  columns: room for as many numbers. */
static void NAME(sort_short_rows)(REAL *rows, ptrdiff_t n, ptrdiff_t stride, REAL *columns) {
    NAME(rows_to_lanes)(rows, stride, columns);
    NAME(sort_network)(columns, NULL, n);
    NAME(lanes_to_rows)(columns, stride, rows);
}

/* Sorts one row of different numbers, by counting for each how many are less: for short rows that are
 * alone it is less work than the network.  room: for as many numbers. */
static void NAME(sort_one_row)(REAL *row, ptrdiff_t n, REAL *room) {
    const int count = (int)n;
    for (int i = 0; i < count; i++) {
        const REAL value = row[i];
        int64_t less = 0;
        for (int j = 0; j < count; j++) less += row[j] < value;
        room[less] = value;
    }
    memcpy(row, room, (size_t)n * sizeof *row);
}
