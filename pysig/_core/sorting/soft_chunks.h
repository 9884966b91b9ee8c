/* Long rows in chunks, which several threads may work on at the same time.
 *
 * Chunks depend on the length of the row alone, and everything is computed chunk by chunk also by
 * one thread, so that results do not depend on the number of threads. */

#ifndef PYSIG_SOFT_CHUNKS_H
#define PYSIG_SOFT_CHUNKS_H

static inline ptrdiff_t soft_chunks(ptrdiff_t n) {
    return (n + SOFT_CHUNK - 1) / SOFT_CHUNK;
}

static inline soft_range soft_chunk(ptrdiff_t n, ptrdiff_t chunk) {
    const ptrdiff_t begin = chunk * SOFT_CHUNK;
    return (soft_range){begin, begin + SOFT_CHUNK < n ? begin + SOFT_CHUNK : n};
}

ALWAYS_INLINE void soft_run_tasks(const soft_workspace *workspace, soft_task *task, void *context,
                                  ptrdiff_t count) {
    if (count == 1)
        task(context, 0);
    else if (workspace->threads > 1)
        workspace->run(task, context, count, workspace->threads);
    else
        for (ptrdiff_t i = 0; i < count; i++) task(context, i);
}

/* Does a task for each chunk of a row of n entries. */
ALWAYS_INLINE void soft_run(const soft_workspace *workspace, soft_task *task, void *context,
                            ptrdiff_t n) {
    soft_run_tasks(workspace, task, context, soft_chunks(n));
}

/* Sums over entries that belong to one of `count` groups, in any order: long rows have a table of
 * sums for each of several parts, where these tables are small. */
static inline ptrdiff_t soft_choose_tables(ptrdiff_t n, ptrdiff_t count) {
    enum { TABLES = 8 };
    return soft_chunks(n) >= TABLES && TABLES * count <= n / 8 ? TABLES : 1;
}

static inline soft_range soft_tables_part(ptrdiff_t n, ptrdiff_t table, ptrdiff_t tables) {
    const ptrdiff_t chunks = soft_chunks(n), last = chunks * (table + 1) / tables;
    return (soft_range){soft_chunk(n, chunks * table / tables).begin,
                        last < chunks ? soft_chunk(n, last).begin : n};
}

/* A flag that tasks may raise at the same time. */
static inline void soft_raise(int *flag) {
    __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
}

static inline int soft_is_raised(const int *flag) {
    return __atomic_load_n(flag, __ATOMIC_RELAXED);
}
#endif
