/* Which ranges are kept: those used last.  An entry has both parts of a range.  Entries are found by
 * the range and the place of the split, and form a list from the newest to the oldest. */

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
    brownian_unlink(cache, index);
    brownian_make_newest(cache, index);
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

/* An entry for a range that has none: a new one, or the oldest.  NULL if the query that is being
 * planned uses all of them itself, or there is no memory. */
static brownian_entry *brownian_keep(brownian_tree *tree, uint64_t node, double part) {
    brownian_cache *cache = &tree->cache;
    ptrdiff_t index;
    if (cache->used < cache->capacity) {
        char *memory =
            (char *)aligned_alloc(SIMD_ALIGNMENT, (size_t)(2 * brownian_array_bytes(tree)));
        if (memory == NULL) return NULL;
        index = cache->used++;
        cache->entries[index].memory = memory;
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
    brownian_make_newest(cache, index);
    return entry;
}

/* Makes an empty cache.  Returns 0 if there is no memory. */
static int brownian_make_cache(brownian_cache *cache, ptrdiff_t capacity) {
    memset(cache, 0, sizeof *cache);
    cache->newest = cache->oldest = -1;
    for (cache->bucket_count = 16; cache->bucket_count < 2 * capacity;) cache->bucket_count *= 2;
    cache->entries = (brownian_entry *)calloc((size_t)capacity + 1, sizeof *cache->entries);
    cache->buckets = (ptrdiff_t *)malloc((size_t)cache->bucket_count * sizeof *cache->buckets);
    if (cache->entries == NULL || cache->buckets == NULL) return 0;
    for (ptrdiff_t i = 0; i < cache->bucket_count; i++) cache->buckets[i] = -1;
    cache->capacity = capacity;
    return 1;
}

/* Forgets everything: what was to be computed has not been. */
static void brownian_empty_cache(brownian_cache *cache) {
    while (cache->newest >= 0) brownian_forget(cache, cache->newest);
    for (ptrdiff_t i = 0; i < cache->used; i++) free(cache->entries[i].memory);
    cache->used = 0;
}

static void brownian_free_cache(brownian_cache *cache) {
    for (ptrdiff_t i = 0; i < cache->used; i++) free(cache->entries[i].memory);
    free(cache->entries);
    free(cache->buckets);
}
