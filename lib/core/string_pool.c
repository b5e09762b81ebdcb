/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/string_pool.h"

#include <stdlib.h>
#include <string.h>

struct sg_string_block {
    struct sg_string_block *next;
    size_t used, size;
    char bytes[];
};

enum { BLOCK_SIZE = 1 << 16 };

/* FNV-1a, 64 bits folded to 32. */
static uint32_t hash_of(const char *string, size_t length)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)string[i]) * 1099511628211u;
    return (uint32_t)(hash ^ hash >> 32);
}

/* The slot that holds the string, or the empty slot where it belongs. */
static size_t slot_of(const sg_string_pool *pool, const char *string, size_t length, uint32_t hash)
{
    size_t mask = pool->slot_count - 1, slot = hash & mask;
    for (; pool->slots[slot] != 0; slot = (slot + 1) & mask) {
        uint32_t index = pool->slots[slot] - 1;
        const char *stored = pool->strings[index];
        if (pool->hashes[index] == hash && strncmp(stored, string, length) == 0 &&
            stored[length] == '\0')
            break;
    }
    return slot;
}

static bool grow_slots(sg_string_pool *pool)
{
    size_t count = pool->slot_count == 0 ? 16 : 2 * pool->slot_count;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return false;
    for (uint32_t index = 0; index < pool->count; index++) {
        size_t slot = pool->hashes[index] & (count - 1);
        while (slots[slot] != 0)
            slot = (slot + 1) & (count - 1);
        slots[slot] = index + 1;
    }
    free(pool->slots);
    pool->slots = slots;
    pool->slot_count = count;
    return true;
}

static bool grow_index(sg_string_pool *pool)
{
    if (pool->capacity > UINT32_MAX / 2)
        return false;
    uint32_t capacity = pool->capacity == 0 ? 8 : 2 * pool->capacity;
    char **strings = realloc(pool->strings, capacity * sizeof *strings);
    if (strings == NULL)
        return false;
    pool->strings = strings;
    uint32_t *hashes = realloc(pool->hashes, capacity * sizeof *hashes);
    if (hashes == NULL)
        return false;
    pool->hashes = hashes;
    pool->capacity = capacity;
    return true;
}

static char *store(sg_string_pool *pool, const char *string, size_t length)
{
    struct sg_string_block *block = pool->blocks;
    if (block == NULL || block->size - block->used <= length) {
        size_t size = length < BLOCK_SIZE ? BLOCK_SIZE : length + 1;
        if (size > SIZE_MAX - sizeof *block)
            return NULL;
        block = malloc(sizeof *block + size);
        if (block == NULL)
            return NULL;
        *block = (struct sg_string_block){.next = pool->blocks, .size = size};
        pool->blocks = block;
    }
    char *copy = block->bytes + block->used;
    memcpy(copy, string, length);
    copy[length] = '\0';
    block->used += length + 1;
    return copy;
}

bool sg_string_pool_add(sg_string_pool *pool, const char *string, size_t length, uint32_t *index)
{
    if (2 * (size_t)pool->count >= pool->slot_count && !grow_slots(pool))
        return false;
    uint32_t hash = hash_of(string, length);
    size_t slot = slot_of(pool, string, length, hash);
    if (pool->slots[slot] == 0) {
        if (pool->count == pool->capacity && !grow_index(pool))
            return false;
        char *copy = store(pool, string, length);
        if (copy == NULL)
            return false;
        pool->strings[pool->count] = copy;
        pool->hashes[pool->count] = hash;
        pool->slots[slot] = ++pool->count;
    }
    *index = pool->slots[slot] - 1;
    return true;
}

bool sg_string_pool_find(const sg_string_pool *pool, const char *string, uint32_t *index)
{
    if (pool->slot_count == 0)
        return false;
    size_t length = strlen(string);
    uint32_t found = pool->slots[slot_of(pool, string, length, hash_of(string, length))];
    if (found != 0)
        *index = found - 1;
    return found != 0;
}

void sg_string_pool_free(sg_string_pool *pool)
{
    while (pool->blocks != NULL) {
        struct sg_string_block *next = pool->blocks->next;
        free(pool->blocks);
        pool->blocks = next;
    }
    free(pool->strings);
    free(pool->hashes);
    free(pool->slots);
    *pool = (sg_string_pool){0};
}
