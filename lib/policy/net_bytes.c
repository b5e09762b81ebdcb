/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/net_bytes.h"

#include <string.h>

uint64_t sg_store_hash(uint64_t hash, const void *bytes, size_t size)
{
    const char *at = bytes;
    for (; size > 0; at += 8) {
        uint64_t word = 0;
        size_t n = size < 8 ? size : 8;
        memcpy(&word, at, n);
        hash = (hash ^ word) * UINT64_C(0x100000001b3);
        hash ^= hash >> 32; /* the product alone never carries high bits down */
        size -= n;
    }
    return hash;
}

sg_status sg_store_open(const void *bytes, size_t size, const char *magic, uint64_t shape,
                        size_t expected, sg_store_header *header, const void **content,
                        const char *what, sg_error *error)
{
    if (size < sizeof *header)
        return sg_fail(error, SG_EDATA, "the stored %s are cut off after %zu bytes", what, size);
    memcpy(header, bytes, sizeof *header);
    *content = (const char *)bytes + sizeof *header;
    if (strncmp(header->magic, magic, sizeof header->magic) != 0)
        return sg_fail(error, SG_EDATA, "these bytes are not the stored %s of this version", what);
    if (header->shape != shape)
        return sg_fail(error, SG_EDATA,
                       "the stored %s belong to another configuration: their shapes differ", what);
    if (header->size != expected || size - sizeof *header != expected)
        return sg_fail(error, SG_EDATA, "the stored %s are %zu bytes long instead of %zu", what,
                       size - sizeof *header, expected);
    if (sg_store_hash(SG_STORE_SEED, *content, header->size) != header->hash)
        return sg_fail(error, SG_EDATA, "the stored %s are corrupt: their checksum is wrong", what);
    return SG_OK;
}
