/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>
#include <zip.h>

#include "io/formats.h"
#include "io/npy.h"
#include "io/unfold.h"

struct reader {
    sg_table *table;
    zip_t *archive;
    const char *path;
    sg_text name; /* of the array at hand, with the path, for messages */
    sg_text bytes;
    size_t arrays; /* columns read so far */
    /* Of the first array [responses, tokens], whose name is `widest`; width 0 when all arrays are columns. */
    size_t height, width;
    sg_text widest;
};

/* The entry, `most` bytes of it. Its claimed size is not believed: memory grows with what really arrives. */
static sg_status read_entry(struct reader *reader, zip_uint64_t index, size_t most, sg_error *error)
{
    sg_text_clear(&reader->bytes);
    zip_file_t *file = zip_fopen_index(reader->archive, index, 0);
    if (file == NULL)
        return sg_fail(error, SG_EDATA, "%.300s cannot be opened: %s; write the file again",
                       reader->name.data, zip_strerror(reader->archive));
    char block[1 << 14];
    zip_int64_t count = 0;
    while (reader->bytes.length < most && (count = zip_fread(file, block, sizeof block)) > 0)
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

/* The cell for a row of the table. Of a table [responses, tokens] a response's number goes to all its tokens. */
static const char *cell_of(const struct reader *reader, const sg_npy *npy, size_t row)
{
    size_t response = reader->width > 0 ? row / reader->width : row, cell = response;
    if (reader->width > 0 && npy->dimensions == 2 && npy->shape[1] == reader->width)
        cell = npy->fortran ? row % reader->width * reader->height + response : row;
    return reader->bytes.data + npy->offset + cell * npy->item_size;
}

static sg_status fill_text(struct reader *reader, const sg_npy *npy, size_t column, sg_error *error)
{
    sg_text text = {0};
    sg_status status = SG_OK;
    for (size_t row = 0; row < sg_table_rows(reader->table) && status == SG_OK; row++) {
        const char *cell = cell_of(reader, npy, row);
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
    for (size_t row = 0; row < sg_table_rows(reader->table); row++) {
        const char *cell = cell_of(reader, npy, row);
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

/* Columns have one length. Beside an array [responses, tokens], others are of its shape or have a
 * number for each response, as n or n x 1 cells. */
static sg_status check_shape(const struct reader *reader, const sg_npy *npy, sg_error *error)
{
    if (npy->dimensions == 0 || npy->dimensions > 2)
        return sg_fail(error, SG_EDATA,
                       "%.300s has %zu dimensions; a column has one, or two as "
                       "[responses, tokens]",
                       reader->name.data, npy->dimensions);
    bool flat = npy->dimensions == 1 || npy->shape[1] == 1;
    if (!flat && npy->shape[1] == 0)
        return sg_fail(error, SG_EDATA, "%.300s has the shape %zu x 0; it holds no token",
                       reader->name.data, (size_t)npy->shape[0]);
    if (reader->width > 0) {
        if (npy->shape[0] == reader->height && (flat || npy->shape[1] == reader->width))
            return SG_OK;
        return sg_fail(
            error, SG_EDATA,
            "%.300s has the shape %zu x %zu where \"%.60s\" has %zu x %zu; save only arrays "
            "of one shape [responses, tokens] or with one number a response",
            reader->name.data, (size_t)npy->shape[0],
            npy->dimensions == 1 ? (size_t)1 : (size_t)npy->shape[1], reader->widest.data,
            reader->height, reader->width);
    }
    if (reader->arrays > 0 && npy->shape[0] != sg_table_rows(reader->table))
        return sg_fail(error, SG_EDATA,
                       "%.300s has %zu rows where \"%.60s\" has %zu; all arrays need one length",
                       reader->name.data, (size_t)npy->shape[0],
                       sg_table_column_name(reader->table, 0), sg_table_rows(reader->table));
    return SG_OK;
}

static sg_status read_column(struct reader *reader, const char *name, const sg_npy *npy,
                             sg_error *error)
{
    sg_status status = check_shape(reader, npy, error);
    if (status == SG_OK && reader->arrays == 0)
        status = sg_table_add_rows(
            reader->table,
            reader->width > 0 ? reader->height * reader->width : (size_t)npy->shape[0], error);
    if (status != SG_OK)
        return status;
    sg_column_type type = is_text(npy)       ? SG_COLUMN_TEXT
                          : npy->kind == 'f' ? SG_COLUMN_REAL
                                             : SG_COLUMN_INTEGER;
    size_t column = reader->arrays++;
    if (sg_table_find(reader->table, name) >= 0)
        return sg_fail(error, SG_EDATA, "%.300s occurs twice; give each array its own name",
                       reader->name.data);
    status = sg_table_add_column(reader->table, name, type, error);
    if (status == SG_OK)
        status = type == SG_COLUMN_TEXT ? fill_text(reader, npy, column, error)
                                        : fill_numbers(reader, npy, column, error);
    return status;
}

static bool is_metadata(const char *name, const sg_npy *npy)
{
    return strcmp(name, "metadata") == 0 && is_text(npy) && npy->dimensions == 2 &&
           npy->shape[1] == 2;
}

/* The entry's name without ".npy", and for messages with the path. */
static sg_status name_array(struct reader *reader, zip_uint64_t index, sg_text *name,
                            sg_error *error)
{
    const char *file_name = zip_get_name(reader->archive, index, ZIP_FL_ENC_GUESS);
    size_t length = file_name != NULL ? strlen(file_name) : 0;
    if (length <= 4 || strcmp(file_name + length - 4, ".npy") != 0)
        return sg_fail(error, SG_EDATA,
                       "%.150s is a zip file but no npz file: it holds \"%.80s\"; save arrays with "
                       "numpy.savez",
                       reader->path, file_name != NULL ? file_name : "");
    sg_text_clear(name);
    sg_text_append_bytes(name, file_name, length - 4);
    sg_text_clear(&reader->name);
    sg_text_printf(&reader->name, "%.150s: array \"%.80s\"", reader->path,
                   name->data != NULL ? name->data : "");
    return name->failed || reader->name.failed
               ? sg_fail(error, SG_ENOMEM, "not enough memory to read %.150s", reader->path)
               : SG_OK;
}

static sg_status read_npy(struct reader *reader, zip_uint64_t index, sg_npy *npy, sg_error *error)
{
    sg_status status = read_entry(reader, index, SIZE_MAX, error);
    if (status != SG_OK)
        return status;
    return sg_npy_read_header(npy, reader->bytes.data != NULL ? reader->bytes.data : "",
                              reader->bytes.length, reader->name.data, error);
}

/* First pass, over the headers: is there an array [responses, tokens]? It sets the number of rows, so it
 * must be complete. */
static sg_status find_width(struct reader *reader, zip_uint64_t index, sg_text *name,
                            sg_error *error)
{
    sg_npy npy;
    sg_status status = name_array(reader, index, name, error);
    if (status == SG_OK)
        status = read_entry(reader, index, SG_NPY_HEADER_MOST, error);
    if (status != SG_OK || reader->bytes.data == NULL ||
        !sg_npy_peek(&npy, reader->bytes.data, reader->bytes.length) || npy.dimensions != 2 ||
        npy.shape[1] < 2 || is_metadata(name->data, &npy))
        return status;
    status = read_npy(reader, index, &npy, error);
    if (status != SG_OK)
        return status;
    reader->height = (size_t)npy.shape[0];
    reader->width = (size_t)npy.shape[1];
    sg_text_append(&reader->widest, name->data);
    return reader->widest.failed
               ? sg_fail(error, SG_ENOMEM, "not enough memory to read %.150s", reader->path)
               : SG_OK;
}

static sg_status read_array(struct reader *reader, zip_uint64_t index, sg_text *name,
                            sg_error *error)
{
    sg_npy npy;
    sg_status status = name_array(reader, index, name, error);
    if (status == SG_OK)
        status = read_npy(reader, index, &npy, error);
    if (status != SG_OK)
        return status;
    return is_metadata(name->data, &npy) ? read_metadata(reader, &npy, error)
                                         : read_column(reader, name->data, &npy, error);
}

/* Both passes, then the numbers of the responses and of the tokens in them. */
static sg_status read_arrays(struct reader *reader, sg_error *error)
{
    zip_uint64_t count = (zip_uint64_t)zip_get_num_entries(reader->archive, 0);
    sg_text name = {0};
    sg_status status = SG_OK;
    for (zip_uint64_t i = 0; i < count && status == SG_OK && reader->width == 0; i++)
        status = find_width(reader, i, &name, error);
    for (zip_uint64_t i = 0; i < count && status == SG_OK; i++)
        status = read_array(reader, i, &name, error);
    sg_text_free(&name);
    if (status == SG_OK && reader->arrays == 0)
        return sg_fail(error, SG_EDATA, "%.150s holds no array; save columns with numpy.savez",
                       reader->path);
    sg_unfolding unfolding;
    if (status == SG_OK && reader->width > 0)
        status = sg_unfolding_add(&unfolding, reader->table, error);
    for (size_t i = 0; status == SG_OK && i < reader->height && reader->width > 0; i++)
        sg_unfolding_number(&unfolding, reader->table, i, i * reader->width, reader->width);
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
    sg_status status = read_arrays(&reader, error);
    sg_text_free(&reader.name);
    sg_text_free(&reader.bytes);
    sg_text_free(&reader.widest);
    zip_error_fini(&reason);
    zip_discard(archive);
    return status;
}
