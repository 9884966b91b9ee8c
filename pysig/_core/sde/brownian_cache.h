/* Which ranges are kept: the first ones of the tree for ever, in half of the room, and in the other half
 * those used last.  So ways far down, which pass by once, use the same memory again and again, and it
 * stays in the processor's caches.  An entry has both parts of a range.  Entries are found by the
 * range and the place of the split; those of the second half form a list from the newest to the
 * oldest. */

static inline uint64_t brownian_hash(uint64_t node, double part) {
    uint64_t bits;
    memcpy(&bits, &part, sizeof bits);
    uint64_t hash = node * 0x9e3779b97f4a7c15u ^ bits * 0xc2b2ae3d27d4eb4fu;
    return hash ^ hash >> 29;
}

static inline ptrdiff_t *brownian_bucket(brownian_cache *cache, uint64_t node, double part) {
    return &cache->buckets[brownian_hash(node, part) & (uint64_t)(cache->bucket_count - 1)];
}

static void brownian_unlink(brownian_cache *cache, ptrdiff_t index) {
    brownian_entry *entry = &cache->entries[index];
    if (entry->newer < 0)
        cache->newest = entry->older;
    else
        cache->entries[entry->newer].older = entry->older;
    if (entry->older < 0)
        cache->oldest = entry->newer;
    else
        cache->entries[entry->older].newer = entry->newer;
}

static void brownian_make_newest(brownian_cache *cache, ptrdiff_t index) {
    brownian_entry *entry = &cache->entries[index];
    entry->newer = -1;
    entry->older = cache->newest;
    if (cache->newest < 0)
        cache->oldest = index;
    else
        cache->entries[cache->newest].newer = index;
    cache->newest = index;
}

static int brownian_is_first(const brownian_cache *cache, uint64_t node, double part) {
    return part == 0 && node < (uint64_t)(cache->capacity / 2);
}

/* The entry of a range split at `part`, or NULL; it becomes the newest. */
static brownian_entry *brownian_find(brownian_tree *tree, uint64_t node, double part) {
    brownian_cache *cache = &tree->cache;
    if (!cache->capacity) return NULL;
    ptrdiff_t index = *brownian_bucket(cache, node, part);
    while (index >= 0) {
        brownian_entry *entry = &cache->entries[index];
        if (entry->node == node && entry->part == part) break;
        index = entry->next;
    }
    if (index < 0) return NULL;
    if (!brownian_is_first(cache, node, part)) {
        brownian_unlink(cache, index);
        brownian_make_newest(cache, index);
    }
    cache->entries[index].last_used = tree->query;
    return &cache->entries[index];
}

static void brownian_forget(brownian_cache *cache, ptrdiff_t index) {
    brownian_entry *entry = &cache->entries[index];
    ptrdiff_t *link = brownian_bucket(cache, entry->node, entry->part);
    while (*link != index) link = &cache->entries[*link].next;
    *link = entry->next;
    brownian_unlink(cache, index);
}

enum {
    BROWNIAN_FIRST_ENTRIES = 16,
    BROWNIAN_MOST_MEMORY = 1 << 25, /* of one block, unless one entry is larger */
    BROWNIAN_LARGE_PAGE = 1 << 21,
    BROWNIAN_MOST_KEPT = 1 << 21, /* for grids */
};

/* Takes memory for more entries, in general for as many as there are.  Returns 0 if there is none.
 * It is in large pages if possible: the system clears each page, one after the other, which takes
 * longer than the random numbers if pages are small. */
static int brownian_take_memory(brownian_cache *cache, ptrdiff_t entry_bytes) {
    ptrdiff_t count = cache->room ? cache->room : BROWNIAN_FIRST_ENTRIES;
    if (count > BROWNIAN_MOST_MEMORY / entry_bytes) count = BROWNIAN_MOST_MEMORY / entry_bytes;
    if (count > cache->capacity - cache->room) count = cache->capacity - cache->room;
    if (count < 1) count = 1;
    size_t bytes = sizeof(brownian_memory) + (size_t)(count * entry_bytes);
    const int large = bytes >= BROWNIAN_LARGE_PAGE;
    const size_t alignment = large ? BROWNIAN_LARGE_PAGE : SIMD_ALIGNMENT;
    bytes = (bytes + alignment - 1) / alignment * alignment;
    brownian_memory *memory = (brownian_memory *)aligned_alloc(alignment, bytes);
    if (memory == NULL) return 0;
#if defined(MADV_HUGEPAGE)
    if (large) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    memory->before = cache->memory;
    cache->memory = memory;
    cache->unused = (char *)(memory + 1);
    cache->room += count;
    return 1;
}

static void brownian_free_memory(brownian_cache *cache) {
    while (cache->memory) {
        brownian_memory *before = cache->memory->before;
        free(cache->memory);
        cache->memory = before;
    }
    cache->room = 0;
}

/* An entry for a range that has none: a new one, or the oldest.  NULL if the query that is being
 * planned uses all of them itself, or there is no memory. */
static brownian_entry *brownian_keep(brownian_tree *tree, uint64_t node, double part) {
    brownian_cache *cache = &tree->cache;
    const int first = brownian_is_first(cache, node, part);
    ptrdiff_t index;
    if (first || cache->listed < cache->capacity - cache->capacity / 2) {
        const ptrdiff_t bytes = 2 * brownian_array_bytes(tree);
        if (cache->used == cache->room && !brownian_take_memory(cache, bytes)) return NULL;
        index = cache->used++;
        cache->listed += !first;
        cache->entries[index].memory = cache->unused;
        cache->unused += bytes;
    } else {
        index = cache->oldest;
        if (index < 0 || cache->entries[index].last_used == tree->query) return NULL;
        brownian_forget(cache, index);
    }
    brownian_entry *entry = &cache->entries[index];
    ptrdiff_t *bucket = brownian_bucket(cache, node, part);
    entry->node = node;
    entry->part = part;
    entry->last_used = tree->query;
    entry->next = *bucket;
    *bucket = index;
    if (!first) brownian_make_newest(cache, index);
    return entry;
}

static void brownian_empty_cache(brownian_cache *cache) {
    brownian_free_memory(cache);
    for (ptrdiff_t i = 0; i < cache->bucket_count; i++) cache->buckets[i] = -1;
    cache->newest = cache->oldest = -1;
    cache->used = cache->listed = 0;
}

/* Makes an empty cache.  Returns 0 if there is no memory. */
static int brownian_make_cache(brownian_cache *cache, ptrdiff_t capacity) {
    memset(cache, 0, sizeof *cache);
    for (cache->bucket_count = 16; cache->bucket_count < 2 * capacity;) cache->bucket_count *= 2;
    cache->entries = (brownian_entry *)calloc((size_t)capacity + 1, sizeof *cache->entries);
    cache->buckets = (ptrdiff_t *)malloc((size_t)cache->bucket_count * sizeof *cache->buckets);
    if (cache->entries == NULL || cache->buckets == NULL) return 0;
    cache->capacity = capacity;
    brownian_empty_cache(cache);
    return 1;
}

static void brownian_free_cache(brownian_cache *cache) {
    brownian_free_memory(cache);
    free(cache->entries);
    free(cache->buckets);
}

static void brownian_forget_grid(brownian_tree *tree) {
    for (int i = 0; i < 2 * (BROWNIAN_DEEPEST + 1); i++) {
        free(tree->kept[i].memory);
        tree->kept[i].memory = NULL;
        tree->kept[i].node = 0;
    }
    tree->kept_bytes = 0;
}

/* Forgets everything: what was to be computed has not been. */
static void brownian_forget_all(brownian_tree *tree) {
    brownian_empty_cache(&tree->cache);
    brownian_forget_grid(tree);
}
