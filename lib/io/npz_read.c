/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <zip.h>

#include "io/formats.h"
#include "io/npy.h"

struct reader {
    sg_table *table;
    zip_t *archive;
    const char *path;
    sg_text name; /* of the array at hand, with the path, for messages */
    sg_text bytes;
    size_t arrays; /* columns read so far */
};

/* The whole entry. Its claimed size is not believed: memory grows with what really arrives. */
static sg_status read_entry(struct reader *reader, zip_uint64_t index, sg_error *error)
{
    sg_text_clear(&reader->bytes);
    zip_file_t *file = zip_fopen_index(reader->archive, index, 0);
    if (file == NULL)
        return sg_fail(error, SG_EDATA, "%.300s cannot be opened: %s; write the file again",
                       reader->name.data, zip_strerror(reader->archive));
    char block[1 << 14];
    zip_int64_t count;
    while ((count = zip_fread(file, block, sizeof block)) > 0)
        sg_text_append_bytes(&reader->bytes, block, (size_t)count);
    sg_status status = SG_OK;
    if (reader->bytes.failed)
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %.300s", reader->name.data);
    else if (count < 0)
        status = sg_fail(error, SG_EDATA, "%.300s is damaged: %s; write the file again",
                         reader->name.data, zip_file_strerror(file));
    zip_fclose(file);
    return status;
}

static bool is_text(const sg_npy *npy)
{
    return npy->kind == 'U' || npy->kind == 'S';
}

static sg_status fail_nul(const struct reader *reader, uint64_t row, sg_error *error)
{
    return sg_fail(error, SG_EDATA, "%.300s holds a NUL character in row %llu; remove it",
                   reader->name.data, (unsigned long long)row);
}

static sg_status read_metadata(struct reader *reader, const sg_npy *npy, sg_error *error)
{
    const char *cells = reader->bytes.data + npy->offset;
    uint64_t pairs = npy->shape[0];
    sg_text key = {0}, value = {0};
    sg_status status = SG_OK;
    for (uint64_t i = 0; i < pairs && status == SG_OK; i++) {
        sg_text_clear(&key);
        sg_text_clear(&value);
        uint64_t key_at = npy->fortran ? i : 2 * i, value_at = npy->fortran ? pairs + i : 2 * i + 1;
        if (!sg_npy_append_text(npy, cells + key_at * npy->item_size, &key) ||
            !sg_npy_append_text(npy, cells + value_at * npy->item_size, &value))
            status = fail_nul(reader, i, error);
        else if (key.failed || value.failed)
            status = sg_fail(error, SG_ENOMEM, "not enough memory for %.300s", reader->name.data);
        else if (key.length > 0)
            status = sg_table_set_meta(reader->table, key.data, value.data, error);
    }
    sg_text_free(&key);
    sg_text_free(&value);
    return status;
}

static sg_status fill_text(struct reader *reader, const sg_npy *npy, size_t column, sg_error *error)
{
    const char *cell = reader->bytes.data + npy->offset;
    sg_text text = {0};
    sg_status status = SG_OK;
    for (size_t row = 0; row < npy->shape[0] && status == SG_OK; row++, cell += npy->item_size) {
        sg_text_clear(&text);
        if (!sg_npy_append_text(npy, cell, &text))
            status = fail_nul(reader, row, error);
        else if (text.failed)
            status = sg_fail(error, SG_ENOMEM, "not enough memory for %.300s", reader->name.data);
        else
            status = sg_table_set_text(reader->table, column, row, text.data, error);
    }
    sg_text_free(&text);
    return status;
}

static sg_status fill_numbers(struct reader *reader, const sg_npy *npy, size_t column,
                              sg_error *error)
{
    const char *cell = reader->bytes.data + npy->offset;
    for (size_t row = 0; row < npy->shape[0]; row++, cell += npy->item_size) {
        int64_t integer;
        if (npy->kind == 'f')
            sg_table_set_real(reader->table, column, row, sg_npy_real(npy, cell));
        else if (sg_npy_integer(npy, cell, &integer))
            sg_table_set_integer(reader->table, column, row, integer);
        else
            return sg_fail(error, SG_EDATA,
                           "%.300s holds a number above 2^63 - 1 in row %zu; convert it with "
                           ".astype(\"f8\")",
                           reader->name.data, row);
    }
    return SG_OK;
}

static sg_status read_column(struct reader *reader, const char *name, const sg_npy *npy,
                             sg_error *error)
{
    if (npy->dimensions != 1)
        return sg_fail(
            error, SG_EDATA,
            "%.300s has %zu dimensions where a column has one; use .ravel() or .tolist()",
            reader->name.data, npy->dimensions);
    size_t rows = (size_t)npy->shape[0];
    sg_status status = SG_OK;
    if (reader->arrays == 0)
        status = sg_table_add_rows(reader->table, rows, error);
    else if (rows != sg_table_rows(reader->table))
        return sg_fail(error, SG_EDATA,
                       "%.300s has %zu rows where \"%.60s\" has %zu; all arrays need one length",
                       reader->name.data, rows, sg_table_column_name(reader->table, 0),
                       sg_table_rows(reader->table));
    sg_column_type type = is_text(npy)       ? SG_COLUMN_TEXT
                          : npy->kind == 'f' ? SG_COLUMN_REAL
                                             : SG_COLUMN_INTEGER;
    size_t column = reader->arrays++;
    if (status == SG_OK && sg_table_find(reader->table, name) >= 0)
        return sg_fail(error, SG_EDATA, "%.300s occurs twice; give each array its own name",
                       reader->name.data);
    if (status == SG_OK)
        status = sg_table_add_column(reader->table, name, type, error);
    if (status == SG_OK)
        status = type == SG_COLUMN_TEXT ? fill_text(reader, npy, column, error)
                                        : fill_numbers(reader, npy, column, error);
    return status;
}

static sg_status read_array(struct reader *reader, zip_uint64_t index, sg_error *error)
{
    const char *file_name = zip_get_name(reader->archive, index, ZIP_FL_ENC_GUESS);
    size_t length = file_name != NULL ? strlen(file_name) : 0;
    if (length <= 4 || strcmp(file_name + length - 4, ".npy") != 0)
        return sg_fail(error, SG_EDATA,
                       "%.150s is a zip file but no npz file: it holds \"%.80s\"; save arrays with "
                       "numpy.savez",
                       reader->path, file_name != NULL ? file_name : "");
    sg_text name = {0};
    sg_text_append_bytes(&name, file_name, length - 4);
    sg_text_clear(&reader->name);
    sg_text_printf(&reader->name, "%.150s: array \"%.80s\"", reader->path,
                   name.data != NULL ? name.data : "");
    sg_npy npy;
    sg_status status;
    if (name.failed || reader->name.failed)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to read %.150s", reader->path);
    else
        status = read_entry(reader, index, error);
    if (status == SG_OK)
        status = sg_npy_read_header(&npy, reader->bytes.data != NULL ? reader->bytes.data : "",
                                    reader->bytes.length, reader->name.data, error);
    if (status == SG_OK) {
        bool metadata = strcmp(name.data, "metadata") == 0 && is_text(&npy) &&
                        npy.dimensions == 2 && npy.shape[1] == 2;
        status = metadata ? read_metadata(reader, &npy, error)
                          : read_column(reader, name.data, &npy, error);
    }
    sg_text_free(&name);
    return status;
}

sg_status sg_npz_read(sg_table *table, const char *path, const sg_text *content, sg_error *error)
{
    zip_error_t reason;
    zip_error_init(&reason);
    zip_source_t *source = zip_source_buffer_create(content->data, content->length, 0, &reason);
    zip_t *archive = source != NULL ? zip_open_from_source(source, ZIP_RDONLY, &reason) : NULL;
    if (archive == NULL) {
        sg_fail(error, SG_EDATA, "%.150s is a damaged zip file: %s; write it again", path,
                zip_error_strerror(&reason));
        zip_source_free(source);
        zip_error_fini(&reason);
        return SG_EDATA;
    }
    struct reader reader = {.table = table, .archive = archive, .path = path};
    zip_int64_t count = zip_get_num_entries(archive, 0);
    sg_status status = SG_OK;
    for (zip_int64_t i = 0; i < count && status == SG_OK; i++)
        status = read_array(&reader, (zip_uint64_t)i, error);
    if (status == SG_OK && reader.arrays == 0)
        status =
            sg_fail(error, SG_EDATA, "%.150s holds no array; save columns with numpy.savez", path);
    sg_text_free(&reader.name);
    sg_text_free(&reader.bytes);
    zip_error_fini(&reason);
    zip_discard(archive);
    return status;
}
