/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_STRING_POOL_H
#define SG_STRING_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Distinct strings, each stored once and numbered 0, 1, 2 ... in the order of arrival. A column
 * that repeats "sapo" a million times holds a million small numbers and one string. Strings stay
 * where they are until the pool is freed. Zero-initialise it ({0}). Not locked. */
typedef struct sg_string_pool {
    char **strings; /* by index */
    uint32_t *hashes;
    uint32_t count, capacity;
    uint32_t *slots; /* open addressing: index + 1, or 0 when empty; a power of two of them */
    size_t slot_count;
    struct sg_string_block *blocks; /* memory of the strings */
} sg_string_pool;

/* Index of the string of `length` bytes (no NUL among them), added if it is new. Amortised
 * O(length). False when out of memory or after 2^31 strings; the pool is then unchanged. */
bool sg_string_pool_add(sg_string_pool *pool, const char *string, size_t length, uint32_t *index);

/* Index of a string that is already there; false when it is not. */
bool sg_string_pool_find(const sg_string_pool *pool, const char *string, uint32_t *index);

void sg_string_pool_free(sg_string_pool *pool);

#endif
