/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_NET_BYTES_H
#define SG_NET_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* The head of an array that is stored as bytes. `shape` tells configurations apart, `hash` finds
 * corruption. Numbers are in the machine's own byte order. */
typedef struct sg_store_header {
    char magic[24];
    uint64_t shape, size, extra, hash;
} sg_store_header;

/* FNV-1a on words of 8 bytes, continued from `hash`. */
#define SG_STORE_SEED UINT64_C(0xcbf29ce484222325)
uint64_t sg_store_hash(uint64_t hash, const void *bytes, size_t size);

/* Check the header of stored bytes; *content is what follows it, `expected` bytes. SG_EDATA. */
sg_status sg_store_open(const void *bytes, size_t size, const char *magic, uint64_t shape,
                        size_t expected, sg_store_header *header, const void **content,
                        const char *what, sg_error *error);

#endif
