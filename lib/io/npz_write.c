/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "core/utf8.h"
#include "io/formats.h"
#include "io/npy.h"

/* What an entry points to must live until the archive is closed. */
struct entry {
    sg_text header;
    uint32_t *text; /* cells of a text array, or NULL */
};

enum { DOS_DATE_1980 = 1 << 5 | 1 }; /* equal tables give equal files */

/* A text array stores every cell at the width of the longest. Beyond this the format is a mistake.
 */
static const uint64_t text_limit = (uint64_t)1 << 32;

static const char metadata_name[] = "metadata";

static sg_status no_memory(const char *name, sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "not enough memory to write the array \"%.80s\"", name);
}

static sg_status add_entry(zip_t *archive, const char *name, struct entry *entry, const void *cells,
                           size_t bytes, sg_error *error)
{
    if (entry->header.failed)
        return no_memory(name, error);
    zip_buffer_fragment_t fragments[] = {
        {(zip_uint8_t *)entry->header.data, entry->header.length},
        {(zip_uint8_t *)(uintptr_t)cells, bytes},
    };
    sg_text file_name = {0};
    sg_text_printf(&file_name, "%s.npy", name);
    zip_source_t *source = zip_source_buffer_fragment(archive, fragments, bytes > 0 ? 2 : 1, 0);
    zip_int64_t index = -1;
    if (source != NULL && !file_name.failed)
        index = zip_file_add(archive, file_name.data, source, ZIP_FL_ENC_UTF_8);
    sg_text_free(&file_name);
    if (index < 0) {
        zip_source_free(source);
        return sg_fail(error, SG_EDATA,
                       "cannot store the column \"%.80s\" in an npz file: %s; rename it", name,
                       zip_strerror(archive));
    }
    zip_uint64_t at = (zip_uint64_t)index;
    /* Padded text shrinks by much, numbers hardly. */
    zip_set_file_compression(archive, at, entry->text != NULL ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
    zip_file_set_dostime(archive, at, 0, DOS_DATE_1980, 0);
    return SG_OK;
}

/* An array of rows x width strings; width 0 gives one dimension. */
static sg_status add_text(zip_t *archive, const char *name, struct entry *entry,
                          const char *const *strings, size_t rows, size_t width, sg_error *error)
{
    size_t count = width > 0 ? rows * width : rows, longest = 1;
    for (size_t i = 0; i < count; i++) {
        size_t length = sg_utf8_length(strings[i]);
        longest = length > longest ? length : longest;
    }
    if (count > text_limit / 4 / longest)
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "the column \"%.80s\" has a cell of %zu characters, and npz would store all %zu "
            "cells at that width; write csv or json instead",
            name, longest, count);
    entry->text = calloc(count * longest + 1, sizeof *entry->text);
    if (entry->text == NULL)
        return no_memory(name, error);
    for (size_t i = 0; i < count; i++) {
        uint32_t *cell = entry->text + i * longest;
        for (const char *at = strings[i]; *at != '\0'; cell++)
            at += sg_utf8_decode(at, cell);
    }
    char type[32];
    snprintf(type, sizeof type, "U%zu", longest);
    sg_npy_append_header(&entry->header, type, rows, width);
    return add_entry(archive, name, entry, entry->text, count * longest * 4, error);
}

static sg_status add_text_column(zip_t *archive, const sg_table *table, size_t column,
                                 struct entry *entry, sg_error *error)
{
    const char *name = sg_table_column_name(table, column);
    size_t rows = sg_table_rows(table);
    const char **strings = calloc(rows + 1, sizeof *strings);
    if (strings == NULL)
        return no_memory(name, error);
    for (size_t row = 0; row < rows; row++)
        strings[row] = sg_table_get_text(table, column, row);
    sg_status status = add_text(archive, name, entry, strings, rows, 0, error);
    free(strings);
    return status;
}

static sg_status add_column(zip_t *archive, const sg_table *table, size_t column,
                            struct entry *entry, sg_error *error)
{
    const char *name = sg_table_column_name(table, column);
    size_t rows = sg_table_rows(table);
    if (strcmp(name, metadata_name) == 0)
        return sg_fail(error, SG_EARGUMENT,
                       "an npz file keeps its metadata under the name \"%s\"; rename that column",
                       metadata_name);
    switch (sg_table_column_type(table, column)) {
    case SG_COLUMN_REAL:
        sg_npy_append_header(&entry->header, "f8", rows, 0);
        return add_entry(archive, name, entry, sg_table_const_real(table, column), rows * 8, error);
    case SG_COLUMN_INTEGER:
        sg_npy_append_header(&entry->header, "i8", rows, 0);
        return add_entry(archive, name, entry, sg_table_const_integer(table, column), rows * 8,
                         error);
    case SG_COLUMN_TEXT:
        break;
    }
    return add_text_column(archive, table, column, entry, error);
}

static sg_status add_metadata(zip_t *archive, const sg_table *table, size_t pairs,
                              struct entry *entry, sg_error *error)
{
    const char **strings = calloc(2 * pairs, sizeof *strings);
    if (strings == NULL)
        return no_memory(metadata_name, error);
    for (size_t i = 0; i < pairs; i++)
        sg_table_meta_at(table, i, &strings[2 * i], &strings[2 * i + 1]);
    sg_status status = add_text(archive, metadata_name, entry, strings, pairs, 2, error);
    free(strings);
    return status;
}

/* The archive is made in memory, so that all formats go to disk in the same way. */
static sg_status copy_archive(zip_source_t *memory, sg_sink *sink, sg_error *error)
{
    if (zip_source_open(memory) != 0)
        return sg_fail(error, SG_ENOMEM, "cannot make the npz archive: %s",
                       zip_error_strerror(zip_source_error(memory)));
    char block[1 << 14];
    zip_int64_t count;
    while ((count = zip_source_read(memory, block, sizeof block)) > 0) {
        sg_text_append_bytes(&sink->text, block, (size_t)count);
        sg_sink_drain(sink);
    }
    zip_source_close(memory);
    return count == 0 ? SG_OK : sg_fail(error, SG_EINTERNAL, "the npz archive cannot be read back");
}

static sg_status fill_archive(zip_t *archive, const sg_table *table, struct entry *entries,
                              sg_error *error)
{
    size_t columns = sg_table_columns(table), pairs = 0;
    const char *key, *value;
    while (sg_table_meta_at(table, pairs, &key, &value))
        pairs++;
    if (columns == 0 && pairs == 0)
        return sg_fail(error, SG_EARGUMENT, "a table without columns cannot be written as npz");
    for (size_t column = 0; column < columns; column++) {
        sg_status status = add_column(archive, table, column, &entries[column], error);
        if (status != SG_OK)
            return status;
    }
    return pairs > 0 ? add_metadata(archive, table, pairs, &entries[columns], error) : SG_OK;
}

sg_status sg_npz_write(const sg_table *table, sg_sink *sink, sg_error *error)
{
    size_t count = sg_table_columns(table) + 1;
    struct entry *entries = calloc(count, sizeof *entries);
    zip_source_t *memory = zip_source_buffer_create(NULL, 0, 0, NULL);
    zip_t *archive = memory != NULL ? zip_open_from_source(memory, ZIP_TRUNCATE, NULL) : NULL;
    sg_status status = SG_OK;
    if (entries == NULL || archive == NULL) {
        status = sg_fail(error, SG_ENOMEM, "not enough memory for an npz archive");
        zip_source_free(memory);
        memory = NULL;
        goto done;
    }
    zip_source_keep(memory);
    status = fill_archive(archive, table, entries, error);
    if (status == SG_OK && zip_close(archive) != 0)
        status =
            sg_fail(error, SG_ENOMEM, "cannot make the npz archive: %s", zip_strerror(archive));
    if (status == SG_OK)
        status = copy_archive(memory, sink, error);
    else
        zip_discard(archive);
done:
    zip_source_free(memory);
    for (size_t i = 0; entries != NULL && i < count; i++) {
        sg_text_free(&entries[i].header);
        free(entries[i].text);
    }
    free(entries);
    return status;
}
