/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/table_io.h"

#include <errno.h>
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
    sg_status status = SG_OK, finished;
    switch (format) {
    case SG_FORMAT_CSV:
        sg_csv_write(table, &sink);
        break;
    case SG_FORMAT_JSON:
        sg_json_write(table, &sink);
        break;
    case SG_FORMAT_TABLE:
        sg_terminal_write(table, &sink);
        break;
    case SG_FORMAT_NPZ:
        status = sg_npz_write(table, &sink, error);
        break;
    }
    finished = sg_sink_finish(&sink, status == SG_OK ? error : NULL);
    return status == SG_OK ? finished : status;
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
    if (strcmp(path, "-") == 0)
        return sg_fail(error, SG_EARGUMENT, "\"-\" is no name for a file; choose another");
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

static sg_status read_content(sg_text *content, const char *path, sg_error *error)
{
    bool standard_input = strcmp(path, "-") == 0;
    FILE *stream = standard_input ? stdin : fopen(path, "rb");
    if (stream == NULL)
        return sg_io_fail(error, "read", path, errno);
    char block[1 << 16];
    size_t count;
    errno = 0;
    sg_text_append(content, "");
    while ((count = fread(block, 1, sizeof block, stream)) > 0 && !content->failed)
        sg_text_append_bytes(content, block, count);
    int reason = ferror(stream) ? (errno != 0 ? errno : EIO) : 0;
    if (!standard_input)
        fclose(stream);
    if (reason != 0)
        return sg_io_fail(error, "read", standard_input ? "standard input" : path, reason);
    if (content->failed)
        return sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s", path);
    return SG_OK;
}

/* Files of other formats are told by how they start, with a way out. */
static const struct {
    const char *start, *format, *remedy;
} foreign[] = {
    {"\x1f\x8b", "compressed by gzip", "unpack it with gunzip"},
    {"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it with unzstd"},
    {"PAR1", "a Parquet file",
     "convert it with pandas: read_parquet(...).to_csv(..., index=False)"},
    {"ARROW1", "an Arrow file",
     "convert it with pandas: read_feather(...).to_csv(..., index=False)"},
    {"\x89HDF", "an HDF5 file", "convert it with numpy.savez or pandas to_csv(..., index=False)"},
    {"\x93NUMPY", "a single NumPy array",
     "save all columns by name: numpy.savez(file, mask=..., ...)"},
    {"\x80\x02", "a Python pickle", "save its arrays with numpy.savez"},
    {"\x80\x03", "a Python pickle", "save its arrays with numpy.savez"},
    {"\x80\x04", "a Python pickle", "save its arrays with numpy.savez"},
    {"\x80\x05", "a Python pickle", "save its arrays with numpy.savez"},
    {"[{", "a JSON array",
     "write one object a line: pandas to_json(..., orient=\"records\", lines=True)"},
};

static sg_status refuse_foreign(const char *path, const sg_text *content, sg_error *error)
{
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (strncmp(content->data, foreign[i].start, strlen(foreign[i].start)) == 0)
            return sg_fail(error, SG_EDATA, "%.200s is %s; %s", path, foreign[i].format,
                           foreign[i].remedy);
    }
    return SG_OK;
}

/* NUL bytes would end cells early. They are the mark of another encoding or of another format. */
static sg_status refuse_nul(const char *path, const sg_text *content, sg_error *error)
{
    const char *nul = memchr(content->data, '\0', content->length);
    if (nul == NULL)
        return SG_OK;
    size_t line = 1, place = 1, column = 1;
    for (const char *c = content->data; c < nul; c++) {
        line += *c == '\n';
        place = *c == '\n' ? 1 : place + 1;
        column = *c == '\n' ? 1 : column + (*c == ',');
    }
    return sg_fail(error, SG_EDATA,
                   "%.200s:%zu: a NUL byte at character %zu (column %zu); the file is not text in "
                   "UTF-8, convert it to UTF-8 CSV",
                   path, line, place, column);
}

static sg_status read_by_content(sg_table *table, const char *path, sg_text *content,
                                 sg_error *error)
{
    const char *data = content->data;
    if (strncmp(data, "PK\3\4", 4) == 0 || strncmp(data, "PK\5\6", 4) == 0)
        return sg_npz_read(table, path, content, error);
    sg_status status = refuse_foreign(path, content, error);
    if (status == SG_OK)
        status = refuse_nul(path, content, error);
    if (status != SG_OK)
        return status;
    const char *mark = strncmp(data, "\xef\xbb\xbf", 3) == 0 ? data + 3 : data;
    if (mark[strspn(mark, " \t\r\n")] == '{')
        return sg_jsonl_read(table, path, content, error);
    return sg_csv_read(table, path, content, error);
}

sg_status sg_table_read(sg_table **table, const char *path, sg_error *error)
{
    sg_text content = {0};
    sg_table *result = NULL;
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    sg_status status = read_content(&content, path, error);
    if (status == SG_OK) {
        result = sg_table_alloc();
        status = result != NULL
                     ? read_by_content(result, name, &content, error)
                     : sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s", name);
    }
    sg_text_free(&content);
    if (status != SG_OK) {
        sg_table_free(result);
        return status;
    }
    *table = result;
    return SG_OK;
}
