/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SEALED_FILE_H
#define SG_SEALED_FILE_H

#include <stdint.h>

#include "io/atomic_file.h"

/* A file of bytes that proves itself whole: a header with a magic, the version of the format and
 * the size, then the content and the CRC-32 of both. It replaces an older file of its name only
 * when it is complete and synced. Numbers are in the machine's own byte order, which the header
 * tells; a file of the other order is refused. */
enum { SG_SEALED_HEADER = 40, SG_SEALED_FORMAT = 1 };

typedef struct sg_sealed_writer {
    sg_atomic_file file;
    uint32_t crc;
} sg_sealed_writer;

/* `size` is the number of bytes that will be put. SG_EIO as sg_atomic_open. */
sg_status sg_sealed_open(sg_sealed_writer *writer, const char *path, uint64_t size,
                         sg_error *error);
/* A failure is remembered and reported by sg_sealed_commit, which must follow. */
void sg_sealed_put(sg_sealed_writer *writer, const void *bytes, size_t size);
sg_status sg_sealed_commit(sg_sealed_writer *writer, sg_error *error);

/* The content in new memory, with a spare byte of 0 behind it. SG_EIO when the file cannot be read,
 * SG_EDATA when it is no such file, of another format version, or not what was written. */
sg_status sg_sealed_read(const char *path, void **bytes, size_t *size, sg_error *error);

#endif
