/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/sealed_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "io/sink.h"

static const char magic[16] = "softgate sealed";
static const uint32_t order = 0x01020304;

typedef struct header {
    char magic[16];
    uint32_t order, format;
    uint64_t size;
    uint32_t reserved;
    uint32_t crc; /* of what stands before it */
} header;
_Static_assert(sizeof(header) == SG_SEALED_HEADER, "the header has no gaps");

static uint32_t crc_of(uint32_t crc, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    while (size > 0) { /* zlib counts in 32 bits */
        uInt now = size > 1u << 30 ? 1u << 30 : (uInt)size;
        crc = (uint32_t)crc32(crc, at, now);
        at += now;
        size -= now;
    }
    return crc;
}

sg_status sg_sealed_open(sg_sealed_writer *writer, const char *path, uint64_t size, sg_error *error)
{
    header head = {.order = order, .format = SG_SEALED_FORMAT, .size = size};
    memcpy(head.magic, magic, sizeof magic);
    head.crc = crc_of(0, &head, offsetof(header, crc));
    *writer = (sg_sealed_writer){0};
    sg_status status = sg_atomic_open(&writer->file, path, error);
    if (status == SG_OK)
        sg_sealed_put(writer, &head, sizeof head);
    return status;
}

void sg_sealed_put(sg_sealed_writer *writer, const void *bytes, size_t size)
{
    writer->crc = crc_of(writer->crc, bytes, size);
    if (size > 0) /* the stream remembers a failure */
        (void)!fwrite(bytes, 1, size, writer->file.stream);
}

sg_status sg_sealed_commit(sg_sealed_writer *writer, sg_error *error)
{
    uint32_t crc = writer->crc;
    (void)!fwrite(&crc, sizeof crc, 1, writer->file.stream);
    return sg_atomic_commit(&writer->file, error);
}

static sg_status damaged(const char *path, const char *how, sg_error *error)
{
    return sg_fail(error, SG_EDATA,
                   "%.200s %s; it is of no use any more, so delete it and start again", path, how);
}

static sg_status check_header(const header *head, const char *path, sg_error *error)
{
    if (memcmp(head->magic, magic, sizeof magic) != 0)
        return sg_fail(error, SG_EDATA,
                       "%.200s was not written by softgate as a checkpoint; check the name", path);
    if (head->order != order && head->order == __builtin_bswap32(order))
        return sg_fail(error, SG_EDATA,
                       "%.200s is from a machine with another byte order; continue there", path);
    if (head->crc != crc_of(0, head, offsetof(header, crc)))
        return damaged(path, "is damaged in its header", error);
    if (head->format != SG_SEALED_FORMAT)
        return sg_fail(error, SG_EDATA,
                       "%.200s has version %u of the format and this softgate reads version %d; "
                       "continue with the softgate that wrote it, or start again",
                       path, head->format, SG_SEALED_FORMAT);
    return SG_OK;
}

static sg_status read_content(FILE *stream, const char *path, void **bytes, size_t *size,
                              sg_error *error)
{
    header head;
    struct stat entry;
    uint32_t crc;
    if (fstat(fileno(stream), &entry) != 0)
        return sg_io_fail(error, "read", path, errno);
    if (S_ISDIR(entry.st_mode))
        return sg_io_fail(error, "read", path, EISDIR);
    if (fread(&head, 1, sizeof head, stream) != sizeof head)
        return damaged(path, "is cut off or empty", error);
    sg_status status = check_header(&head, path, error);
    if (status != SG_OK)
        return status;
    uint64_t whole = head.size + sizeof head + sizeof crc;
    if (whole < head.size || (uint64_t)entry.st_size != whole)
        return damaged(path, (uint64_t)entry.st_size < whole ? "is cut off" : "is too long", error);
    char *content = malloc((size_t)head.size + 1);
    if (content == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s: %.3g GiB", path,
                       (double)head.size / 0x1p30);
    if (fread(content, 1, (size_t)head.size, stream) != head.size ||
        fread(&crc, sizeof crc, 1, stream) != 1)
        status = damaged(path, "cannot be read to its end", error);
    else if (crc != crc_of(crc_of(0, &head, sizeof head), content, (size_t)head.size))
        status = damaged(path, "is damaged: its checksum is wrong", error);
    if (status != SG_OK) {
        free(content);
        return status;
    }
    content[head.size] = '\0';
    *bytes = content;
    *size = (size_t)head.size;
    return SG_OK;
}

sg_status sg_sealed_read(const char *path, void **bytes, size_t *size, sg_error *error)
{
    *bytes = NULL;
    *size = 0;
    FILE *stream = fopen(path, "rb");
    if (stream == NULL)
        return sg_io_fail(error, "read", path, errno);
    sg_status status = read_content(stream, path, bytes, size, error);
    fclose(stream);
    return status;
}
