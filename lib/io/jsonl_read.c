/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One JSON object a line. The lines are parsed twice, to find the columns and to fill them, so that
 * never more than one of them is held as objects. json-c also reads Python's NaN and Infinity. */
#include <json-c/json.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/string_pool.h"
#include "io/formats.h"
#include "io/unfold.h"

struct column {
    sg_column_type type;
    size_t values; /* rows in which it is present and not null */
};

struct reader {
    const char *path;
    sg_table *table;
    sg_string_pool names;
    struct column *columns;
    size_t capacity;
    struct json_tokener *tokener;
    size_t line, row, objects;
    bool unfolds; /* somewhere a list has a number for each token */
    sg_unfolding unfolding;
};

/* Parses the line at `at`, of `length` bytes. NULL with an error when it is no object. */
static struct json_object *parse_line(struct reader *reader, const char *at, size_t length,
                                      sg_error *error)
{
    const char *why = "it is longer than 2 GiB";
    size_t place = 1;
    struct json_object *object = NULL;
    if (length < INT32_MAX) {
        json_tokener_reset(reader->tokener);
        object = json_tokener_parse_ex(reader->tokener, at, (int)length);
        enum json_tokener_error failure = json_tokener_get_error(reader->tokener);
        place = json_tokener_get_parse_end(reader->tokener);
        why = failure == json_tokener_continue ? "the object is not complete"
                                               : json_tokener_error_desc(failure);
        while (object != NULL && place < length && strchr(" \t\r", at[place]) != NULL)
            place++;
        if (object != NULL && place == length && json_object_is_type(object, json_type_object))
            return object;
        if (object != NULL)
            why = "there is more than one object";
    }
    json_object_put(object);
    sg_fail(error, SG_EDATA, "%.200s:%zu: character %zu: %s; write one JSON object a line",
            reader->path, reader->line, place + 1, why);
    return NULL;
}

static sg_column_type type_of(struct json_object *value)
{
    switch (json_object_get_type(value)) {
    case json_type_boolean:
        return SG_COLUMN_INTEGER;
    case json_type_int: /* json-c holds integers up to 2^64 - 1 */
        return json_object_get_int64(value) == INT64_MAX &&
                       json_object_get_uint64(value) > (uint64_t)INT64_MAX
                   ? SG_COLUMN_REAL
                   : SG_COLUMN_INTEGER;
    case json_type_double:
        return SG_COLUMN_REAL;
    case json_type_null:
    case json_type_object:
    case json_type_array:
    case json_type_string:
        break;
    }
    return SG_COLUMN_TEXT;
}

static sg_status no_memory(const struct reader *reader, sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "not enough memory to read %.200s", reader->path);
}

/* A list of numbers is unfolded, a row for each; any other value is one cell. An empty list is, too, so that
 * no object is lost. */
static bool is_list(struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) == 0)
        return false;
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        struct json_object *item = json_object_array_get_idx(value, i);
        if (item != NULL && type_of(item) == SG_COLUMN_TEXT)
            return false;
    }
    return true;
}

static sg_column_type wider(sg_column_type a, sg_column_type b)
{
    return a == SG_COLUMN_TEXT || b == SG_COLUMN_TEXT   ? SG_COLUMN_TEXT
           : a == SG_COLUMN_REAL || b == SG_COLUMN_REAL ? SG_COLUMN_REAL
                                                        : SG_COLUMN_INTEGER;
}

/* A value in `rows` rows, or a list of as many: its type, and how many of its cells are not null. */
static sg_column_type survey(struct json_object *value, size_t rows, size_t *present)
{
    *present = value == NULL ? 0 : rows;
    if (value == NULL || !is_list(value))
        return value == NULL ? SG_COLUMN_INTEGER : type_of(value);
    sg_column_type type = SG_COLUMN_INTEGER;
    for (size_t i = 0; i < rows; i++) {
        struct json_object *item = json_object_array_get_idx(value, i);
        if (item != NULL)
            type = wider(type, type_of(item));
        else
            --*present;
    }
    return type;
}

/* Rows of an object: one, or as many as its lists are long, which have one length. */
static sg_status count_rows(struct reader *reader, struct json_object *object, size_t *rows,
                            sg_error *error)
{
    const char *longest = NULL;
    *rows = 1;
    json_object_object_foreach(object, key, value)
    {
        if (!is_list(value))
            continue;
        size_t length = json_object_array_length(value);
        if (longest != NULL && length != *rows)
            return sg_fail(
                error, SG_EDATA,
                "%.200s:%zu: \"%.60s\" lists %zu number%s where \"%.60s\" lists %zu; keep "
                "lists with a number for each token only",
                reader->path, reader->line, key, length, length == 1 ? "" : "s", longest, *rows);
        longest = key;
        *rows = length;
        reader->unfolds = true;
    }
    return SG_OK;
}

/* First pass: a new key is a new column, a wider value widens its type. */
static sg_status note_value(struct reader *reader, const char *key, struct json_object *value,
                            size_t rows, sg_error *error)
{
    uint32_t index, known = reader->names.count;
    if (key[0] == '\0')
        return sg_fail(error, SG_EDATA,
                       "%.200s:%zu: a value has the empty key \"\"; give it a name", reader->path,
                       reader->line);
    if (!sg_string_pool_add(&reader->names, key, strlen(key), &index))
        return no_memory(reader, error);
    if (index == reader->capacity) {
        size_t capacity = index == 0 ? 16 : 2 * (size_t)index;
        struct column *columns = realloc(reader->columns, capacity * sizeof *columns);
        if (columns == NULL)
            return no_memory(reader, error);
        reader->columns = columns;
        reader->capacity = capacity;
    }
    struct column *column = &reader->columns[index];
    if (index == known)
        *column = (struct column){.type = SG_COLUMN_INTEGER};
    size_t present;
    column->type = wider(column->type, survey(value, rows, &present));
    column->values += present;
    return SG_OK;
}

/* Second pass. What is nested stands in its cell as JSON; an absent or null number is NaN. */
static sg_status fill_cell(struct reader *reader, const char *key, struct json_object *value,
                           size_t column, size_t row, sg_error *error)
{
    if (value == NULL)
        return SG_OK;
    switch (sg_table_column_type(reader->table, column)) {
    case SG_COLUMN_REAL:
        sg_table_set_real(reader->table, column, row, json_object_get_double(value));
        return SG_OK;
    case SG_COLUMN_INTEGER:
        sg_table_set_integer(reader->table, column, row, json_object_get_int64(value));
        return SG_OK;
    case SG_COLUMN_TEXT:
        break;
    }
    bool string = json_object_is_type(value, json_type_string);
    const char *text = string ? json_object_get_string(value)
                              : json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN);
    if (text == NULL)
        return no_memory(reader, error);
    if (string && strlen(text) != (size_t)json_object_get_string_len(value))
        return sg_fail(error, SG_EDATA,
                       "%.200s:%zu: the text of \"%.80s\" holds a NUL character; remove it",
                       reader->path, reader->line, key);
    return sg_table_set_text(reader->table, column, row, text, error);
}

static sg_status fill_value(struct reader *reader, const char *key, struct json_object *value,
                            size_t rows, sg_error *error)
{
    size_t column = (size_t)sg_table_find(reader->table, key);
    bool list = is_list(value);
    sg_status status = SG_OK;
    for (size_t i = 0; i < rows && status == SG_OK; i++)
        status = fill_cell(reader, key, list ? json_object_array_get_idx(value, i) : value, column,
                           reader->row + i, error);
    return status;
}

static sg_status read_object(struct reader *reader, struct json_object *object, bool fill,
                             sg_error *error)
{
    size_t rows;
    sg_status status = count_rows(reader, object, &rows, error);
    json_object_object_foreach(object, key, value)
    {
        if (status == SG_OK)
            status = fill ? fill_value(reader, key, value, rows, error)
                          : note_value(reader, key, value, rows, error);
    }
    if (status == SG_OK && fill && reader->unfolds)
        sg_unfolding_number(&reader->unfolding, reader->table, reader->objects, reader->row, rows);
    reader->row += rows;
    reader->objects++;
    return status;
}

static sg_status read_lines(struct reader *reader, const char *at, bool fill, sg_error *error)
{
    sg_status status = SG_OK;
    reader->row = reader->objects = 0;
    for (reader->line = 1; *at != '\0' && status == SG_OK; reader->line++) {
        size_t length = strcspn(at, "\n");
        if (strspn(at, " \t\r") < length) {
            struct json_object *object = parse_line(reader, at, length, error);
            if (object == NULL)
                return SG_EDATA;
            status = read_object(reader, object, fill, error);
            json_object_put(object);
        }
        at += length + (at[length] == '\n');
    }
    return status;
}

static sg_status add_columns(struct reader *reader, sg_error *error)
{
    size_t rows = reader->row;
    sg_status status = sg_table_add_rows(reader->table, rows, error);
    for (uint32_t i = 0; i < reader->names.count && status == SG_OK; i++) {
        struct column *column = &reader->columns[i];
        bool gaps = column->type == SG_COLUMN_INTEGER && column->values < rows;
        status = sg_table_add_column(reader->table, reader->names.strings[i],
                                     gaps ? SG_COLUMN_REAL : column->type, error);
    }
    if (status == SG_OK && reader->unfolds)
        status = sg_unfolding_add(&reader->unfolding, reader->table, error);
    return status;
}

sg_status sg_jsonl_read(sg_table *table, const char *path, const sg_text *content, sg_error *error)
{
    struct reader reader = {.path = path, .table = table, .tokener = json_tokener_new()};
    if (reader.tokener == NULL)
        return no_memory(&reader, error);
    const char *start = content->data;
    if (strncmp(start, "\xef\xbb\xbf", 3) == 0) /* byte order mark */
        start += 3;
    sg_status status = read_lines(&reader, start, false, error);
    if (status == SG_OK)
        status = add_columns(&reader, error);
    if (status == SG_OK)
        status = read_lines(&reader, start, true, error);
    json_tokener_free(reader.tokener);
    sg_string_pool_free(&reader.names);
    free(reader.columns);
    return status;
}
