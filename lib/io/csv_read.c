/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CSV in two passes over the file in memory. The first removes quotes and separators in place: what
 * remains is the cells one after another, each terminated, row by row, because a cell never needs
 * more bytes than it had in the file. It also finds errors and the types of the columns. The second
 * walks over these cells and fills the table. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/string_pool.h"
#include "io/formats.h"

struct reader {
    const char *path;
    sg_table *table;
    char *at; /* what is not read yet; ends with a terminator at `end` */
    char *end;
    char *packed_end;     /* where the next cell goes, never beyond `at` */
    size_t line;          /* of `at`, from 1 */
    sg_string_pool names; /* of the columns, in order */
    size_t columns, rows;
    sg_column_type *types;
};

/* Steps over one line end: LF, CR LF or CR. */
static void skip_line_end(struct reader *reader)
{
    if (reader->at[0] == '\r' && reader->at[1] == '\n')
        reader->at++;
    reader->at++;
    reader->line++;
}

/* Name of a column for messages, or "" in the header. */
static const char *name_of(const struct reader *reader, size_t column)
{
    return column < reader->names.count ? reader->names.strings[column] : "";
}

/* Copies the inside of a quoted cell to packed_end. `at` is behind the opening quote. */
static sg_status read_quoted(struct reader *reader, size_t column, sg_error *error)
{
    size_t first_line = reader->line;
    for (;;) {
        char *start = reader->at;
        char *quote = memchr(start, '"', (size_t)(reader->end - start));
        if (quote == NULL)
            return sg_fail(error, SG_EDATA,
                           "%.200s:%zu: the quote that opens column %zu \"%.40s\" is never closed; "
                           "close it, or double it if it belongs to the text",
                           reader->path, first_line, column + 1, name_of(reader, column));
        bool doubled = quote[1] == '"';
        size_t length = (size_t)(quote - start) + doubled;
        for (char *c = start; c < quote; c++) {
            if (*c == '\n' || (*c == '\r' && c[1] != '\n'))
                reader->line++;
        }
        memmove(reader->packed_end, start, length);
        reader->packed_end += length;
        reader->at = quote + 1 + doubled;
        if (!doubled)
            break;
    }
    if (strchr(",\r\n", *reader->at) == NULL) /* the terminator counts as found */
        return sg_fail(
            error, SG_EDATA,
            "%.200s:%zu: text follows the closing quote of column %zu \"%.40s\"; put the "
            "whole cell into quotes and double those inside",
            reader->path, reader->line, column + 1, name_of(reader, column));
    return SG_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void read_plain(struct reader *reader, bool trim)
{
    char *start = reader->at;
    size_t length = strcspn(start, ",\r\n");
    reader->at += length;
    if (trim) {
        for (; length > 0 && is_blank(*start); length--)
            start++;
        while (length > 0 && is_blank(start[length - 1]))
            length--;
    }
    memmove(reader->packed_end, start, length);
    reader->packed_end += length;
}

/* Packs the cells of one line (more lines when quoted cells span them) and counts them. */
static sg_status read_record(struct reader *reader, bool trim, size_t *count, sg_error *error)
{
    bool more = true;
    for (*count = 0; more; ++*count) {
        if (*reader->at == '"') {
            reader->at++;
            sg_status status = read_quoted(reader, *count, error);
            if (status != SG_OK)
                return status;
        } else {
            read_plain(reader, trim);
        }
        more = *reader->at == ',';
        if (more)
            reader->at++;
        else if (reader->at < reader->end)
            skip_line_end(reader);
        *reader->packed_end++ = '\0';
    }
    return SG_OK;
}

/* "# key: value" becomes metadata; other comments are skipped. */
static sg_status read_comment(struct reader *reader, bool metadata, sg_error *error)
{
    char *start = reader->at, *end = start + strcspn(start, "\r\n");
    reader->at = end;
    bool last = end == reader->end;
    if (!last)
        skip_line_end(reader);
    *end = '\0';
    while (*start == '#' || is_blank(*start))
        start++;
    char *colon = strstr(start, ": ");
    if (colon == NULL && end > start && end[-1] == ':')
        colon = end - 1;
    if (!metadata || colon == NULL || colon == start)
        return SG_OK;
    *colon = '\0';
    char *value = colon + 1;
    while (is_blank(*value))
        value++;
    return sg_table_set_meta(reader->table, start, value, error);
}

/* Steps over blank lines and comments; false at the end of the file. */
static bool find_record(struct reader *reader, bool metadata, sg_status *status, sg_error *error)
{
    *status = SG_OK;
    while (reader->at < reader->end && *status == SG_OK) {
        if (*reader->at == '#')
            *status = read_comment(reader, metadata, error);
        else if (*reader->at == '\r' || *reader->at == '\n')
            skip_line_end(reader);
        else
            return true;
    }
    return false;
}

static sg_status read_header(struct reader *reader, sg_error *error)
{
    sg_status status;
    if (!find_record(reader, true, &status, error))
        return status != SG_OK
                   ? status
                   : sg_fail(error, SG_EDATA,
                             "%.200s has no line with the names of the columns; write one "
                             "before the data",
                             reader->path);
    size_t line = reader->line, numbers = 0;
    const char *name = reader->packed_end;
    status = read_record(reader, true, &reader->columns, error);
    for (size_t i = 0; i < reader->columns && status == SG_OK; i++, name += strlen(name) + 1) {
        double number;
        uint32_t index;
        numbers += sg_parse_real(name, &number);
        if (name[0] == '\0')
            return sg_fail(error, SG_EDATA, "%.200s:%zu: column %zu has no name; give it one%s",
                           reader->path, line, i + 1,
                           i == 0 ? ", or leave it out (pandas: to_csv(..., index=False))" : "");
        if (reader->columns == 1 && strpbrk(name, "\t;") != NULL)
            return sg_fail(error, SG_EDATA,
                           "%.200s:%zu: the columns are separated by %s; separate them by commas",
                           reader->path, line, strchr(name, '\t') ? "tabs" : "semicolons");
        if (!sg_string_pool_add(&reader->names, name, strlen(name), &index))
            return sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s", reader->path);
        if (index < i)
            return sg_fail(
                error, SG_EDATA,
                "%.200s:%zu: columns %zu and %zu have the same name \"%.40s\"; rename one",
                reader->path, line, (size_t)index + 1, i + 1, name);
    }
    if (status == SG_OK && numbers == reader->columns)
        status =
            sg_fail(error, SG_EDATA,
                    "%.200s:%zu: numbers stand where the names of the columns should be; write a "
                    "line of names before the data",
                    reader->path, line);
    return status;
}

static bool is_integer(const char *cell)
{
    int64_t value;
    bool minus_zero = cell[0] == '-' && cell[1 + strspn(cell + 1, "0")] == '\0';
    return strpbrk(cell, "eE") == NULL && !minus_zero && sg_parse_integer(cell, &value);
}

static bool is_missing(const char *cell)
{
    while (is_blank(*cell))
        cell++;
    return *cell == '\0';
}

static bool has_type(const char *cell, sg_column_type type)
{
    double value;
    switch (type) {
    case SG_COLUMN_INTEGER:
        return is_integer(cell);
    case SG_COLUMN_REAL:
        return sg_parse_real(cell, &value) || is_missing(cell);
    case SG_COLUMN_TEXT:
        break;
    }
    return true;
}

/* The narrowest type, from `type` on, that holds the cell too. */
static sg_column_type widen(sg_column_type type, const char *cell)
{
    if (type == SG_COLUMN_INTEGER && !has_type(cell, type))
        type = SG_COLUMN_REAL;
    if (type == SG_COLUMN_REAL && !has_type(cell, type))
        type = SG_COLUMN_TEXT;
    return type;
}

static sg_status read_rows(struct reader *reader, sg_error *error)
{
    sg_status status;
    while (find_record(reader, false, &status, error)) {
        size_t line = reader->line, count;
        const char *cell = reader->packed_end;
        status = read_record(reader, false, &count, error);
        if (status != SG_OK)
            return status;
        if (count < reader->columns)
            return sg_fail(
                error, SG_EDATA,
                "%.200s:%zu: the row ends after %zu of %zu cells, before column \"%.40s\"; "
                "add what is missing",
                reader->path, line, count, reader->columns, name_of(reader, count));
        if (count > reader->columns)
            return sg_fail(
                error, SG_EDATA,
                "%.200s:%zu: the row has %zu cells, but the last column is %zu \"%.40s\"; "
                "put a cell that holds a comma into quotes",
                reader->path, line, count, reader->columns, name_of(reader, reader->columns - 1));
        for (size_t i = 0; i < count; i++, cell += strlen(cell) + 1)
            reader->types[i] = widen(reader->types[i], cell);
        reader->rows++;
    }
    return status;
}

static sg_status fill_cell(struct reader *reader, size_t column, size_t row, const char *cell,
                           sg_error *error)
{
    double real;
    int64_t integer;
    switch (reader->types[column]) {
    case SG_COLUMN_REAL:
        if (sg_parse_real(cell, &real)) /* else it is empty and stays NaN */
            sg_table_set_real(reader->table, column, row, real);
        break;
    case SG_COLUMN_INTEGER:
        if (sg_parse_integer(cell, &integer))
            sg_table_set_integer(reader->table, column, row, integer);
        break;
    case SG_COLUMN_TEXT:
        return sg_table_set_text(reader->table, column, row, cell, error);
    }
    return SG_OK;
}

static sg_status fill_table(struct reader *reader, const char *cell, sg_error *error)
{
    sg_status status = sg_table_add_rows(reader->table, reader->rows, error);
    for (size_t i = 0; i < reader->columns && status == SG_OK; i++) {
        if (reader->rows == 0)
            reader->types[i] = SG_COLUMN_REAL;
        status =
            sg_table_add_column(reader->table, reader->names.strings[i], reader->types[i], error);
    }
    for (size_t row = 0; row < reader->rows; row++) {
        for (size_t i = 0; i < reader->columns && status == SG_OK; i++) {
            status = fill_cell(reader, i, row, cell, error);
            cell += strlen(cell) + 1;
        }
    }
    return status;
}

sg_status sg_csv_read(sg_table *table, const char *path, sg_text *content, sg_error *error)
{
    struct reader reader = {.path = path, .table = table, .line = 1};
    reader.at = content->data;
    reader.end = content->data + content->length;
    if (strncmp(reader.at, "\xef\xbb\xbf", 3) == 0) /* byte order mark */
        reader.at += 3;
    reader.packed_end = reader.at;
    sg_status status = read_header(&reader, error);
    const char *cells = reader.packed_end;
    if (status == SG_OK) {
        reader.types = calloc(reader.columns, sizeof *reader.types);
        for (size_t i = 0; i < reader.columns && reader.types != NULL; i++)
            reader.types[i] = SG_COLUMN_INTEGER;
        status = reader.types != NULL
                     ? read_rows(&reader, error)
                     : sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s", path);
    }
    if (status == SG_OK)
        status = fill_table(&reader, cells, error);
    sg_string_pool_free(&reader.names);
    free(reader.types);
    return status;
}
