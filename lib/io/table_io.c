/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/table_io.h"

#include <string.h>

#include "io/atomic_file.h"
#include "io/formats.h"

bool sg_format_from_name(const char *name, sg_format *format)
{
    static const char *const names[] = {"csv", "json", "npz", "table"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *format = (sg_format)i;
            return true;
        }
    }
    return false;
}

static sg_status write_to(const sg_table *table, sg_format format, FILE *stream, const char *name,
                          sg_error *error)
{
    sg_sink sink = {.stream = stream, .name = name};
    switch (format) {
    case SG_FORMAT_CSV:
        sg_csv_write(table, &sink);
        break;
    default:
        return sg_fail(error, SG_EUNSUPPORTED, "only csv can be written for now");
    }
    return sg_sink_finish(&sink, error);
}

sg_status sg_table_write_stream(const sg_table *table, sg_format format, FILE *stream,
                                sg_error *error)
{
    if (format == SG_FORMAT_NPZ)
        return sg_fail(error, SG_EARGUMENT,
                       "npz is a binary format and is not written to a stream; name a file");
    return write_to(table, format, stream, "the output", error);
}

sg_status sg_table_write(const sg_table *table, sg_format format, const char *path, sg_error *error)
{
    sg_atomic_file file;
    sg_status status = sg_atomic_open(&file, path, error);
    if (status != SG_OK)
        return status;
    status = write_to(table, format, file.stream, path, error);
    if (status != SG_OK) {
        sg_atomic_discard(&file);
        return status;
    }
    return sg_atomic_commit(&file, error);
}
