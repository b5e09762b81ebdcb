/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/table.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/string_pool.h"

struct column {
    sg_column_type type;
    union {
        void *cells;
        double *real;
        int64_t *integer;
        uint32_t *text; /* index into the pool `texts`, whose string 0 is "" */
    };
};

struct sg_table {
    sg_string_pool names; /* the index of a name is the position of its column */
    struct column *columns;
    size_t column_capacity;
    size_t rows, row_capacity;
    sg_string_pool texts;
    sg_string_pool keys; /* metadata; the index of a key is the position of its value */
    char **values;
    size_t value_capacity;
};

static size_t cell_size(sg_column_type type)
{
    return type == SG_COLUMN_TEXT ? sizeof(uint32_t) : sizeof(double);
}

sg_table *sg_table_alloc(void)
{
    sg_table *table = calloc(1, sizeof *table);
    uint32_t empty;
    if (table != NULL && !sg_string_pool_add(&table->texts, "", 0, &empty)) {
        sg_table_free(table);
        return NULL;
    }
    return table;
}

void sg_table_free(sg_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->names.count; i++)
        free(table->columns[i].cells);
    for (size_t i = 0; i < table->keys.count; i++)
        free(table->values[i]);
    free(table->columns);
    free(table->values);
    sg_string_pool_free(&table->names);
    sg_string_pool_free(&table->texts);
    sg_string_pool_free(&table->keys);
    free(table);
}

size_t sg_table_rows(const sg_table *table)
{
    return table->rows;
}

size_t sg_table_columns(const sg_table *table)
{
    return table->names.count;
}

static void set_defaults(struct column *column, size_t first, size_t end)
{
    for (size_t row = first; row < end; row++) {
        if (column->type == SG_COLUMN_REAL)
            column->real[row] = NAN;
        else if (column->type == SG_COLUMN_INTEGER)
            column->integer[row] = 0;
        else
            column->text[row] = 0;
    }
}

/* Doubles the number of elements that an array can hold. */
static bool grow(void **array, size_t *capacity, size_t element_size)
{
    size_t larger = *capacity == 0 ? 8 : 2 * *capacity;
    void *moved = larger > SIZE_MAX / element_size ? NULL : realloc(*array, larger * element_size);
    if (moved == NULL)
        return false;
    *array = moved;
    *capacity = larger;
    return true;
}

sg_status sg_table_add_column(sg_table *table, const char *name, sg_column_type type,
                              sg_error *error)
{
    assert(type == SG_COLUMN_REAL || type == SG_COLUMN_INTEGER || type == SG_COLUMN_TEXT);
    if (name[0] == '\0')
        return sg_fail(error, SG_EARGUMENT, "a column needs a name that is not empty");
    uint32_t index;
    if (sg_string_pool_find(&table->names, name, &index))
        return sg_fail(error, SG_EARGUMENT,
                       "the table has a column \"%.80s\" already; choose another name", name);
    struct column column = {.type = type};
    void *columns = table->columns;
    if (table->names.count == table->column_capacity &&
        !grow(&columns, &table->column_capacity, sizeof column))
        goto no_memory;
    table->columns = columns;
    if (table->row_capacity > 0) {
        column.cells = malloc(table->row_capacity * cell_size(type));
        if (column.cells == NULL)
            goto no_memory;
    }
    if (!sg_string_pool_add(&table->names, name, strlen(name), &index)) {
        free(column.cells);
        goto no_memory;
    }
    set_defaults(&column, 0, table->rows);
    table->columns[index] = column;
    return SG_OK;
no_memory:
    return sg_fail(error, SG_ENOMEM, "not enough memory for the column \"%.80s\" of %zu rows", name,
                   table->rows);
}

ptrdiff_t sg_table_find(const sg_table *table, const char *name)
{
    uint32_t index;
    return sg_string_pool_find(&table->names, name, &index) ? (ptrdiff_t)index : -1;
}

const char *sg_table_column_name(const sg_table *table, size_t column)
{
    assert(column < table->names.count);
    return table->names.strings[column];
}

sg_column_type sg_table_column_type(const sg_table *table, size_t column)
{
    assert(column < table->names.count);
    return table->columns[column].type;
}

/* Columns that were enlarged before one of them failed are larger than they need to be. */
static bool reserve_rows(sg_table *table, size_t rows)
{
    if (rows <= table->row_capacity)
        return true;
    size_t capacity = table->row_capacity < 8 ? 8 : table->row_capacity;
    while (capacity < rows)
        capacity = capacity > SIZE_MAX / 2 ? rows : 2 * capacity;
    if (capacity > SIZE_MAX / sizeof(double))
        return false;
    for (size_t i = 0; i < table->names.count; i++) {
        struct column *column = &table->columns[i];
        void *cells = realloc(column->cells, capacity * cell_size(column->type));
        if (cells == NULL)
            return false;
        column->cells = cells;
    }
    table->row_capacity = capacity;
    return true;
}

sg_status sg_table_add_rows(sg_table *table, size_t count, sg_error *error)
{
    if (count > SIZE_MAX - table->rows || !reserve_rows(table, table->rows + count))
        return sg_fail(error, SG_ENOMEM,
                       "not enough memory to add %zu rows to a table of %zu rows and %zu columns",
                       count, table->rows, (size_t)table->names.count);
    for (size_t i = 0; i < table->names.count; i++)
        set_defaults(&table->columns[i], table->rows, table->rows + count);
    table->rows += count;
    return SG_OK;
}

static struct column *column_of(const sg_table *table, size_t column, sg_column_type type)
{
    assert(column < table->names.count && table->columns[column].type == type);
    (void)type;
    return &table->columns[column];
}

void sg_table_set_real(sg_table *table, size_t column, size_t row, double value)
{
    assert(row < table->rows);
    column_of(table, column, SG_COLUMN_REAL)->real[row] = value;
}

void sg_table_set_integer(sg_table *table, size_t column, size_t row, int64_t value)
{
    assert(row < table->rows);
    column_of(table, column, SG_COLUMN_INTEGER)->integer[row] = value;
}

sg_status sg_table_set_text(sg_table *table, size_t column, size_t row, const char *value,
                            sg_error *error)
{
    assert(row < table->rows);
    uint32_t *cell = &column_of(table, column, SG_COLUMN_TEXT)->text[row];
    if (!sg_string_pool_add(&table->texts, value, strlen(value), cell))
        return sg_fail(error, SG_ENOMEM, "not enough memory for a cell of the column \"%.80s\"",
                       sg_table_column_name(table, column));
    return SG_OK;
}

double sg_table_get_real(const sg_table *table, size_t column, size_t row)
{
    assert(row < table->rows);
    return column_of(table, column, SG_COLUMN_REAL)->real[row];
}

int64_t sg_table_get_integer(const sg_table *table, size_t column, size_t row)
{
    assert(row < table->rows);
    return column_of(table, column, SG_COLUMN_INTEGER)->integer[row];
}

const char *sg_table_get_text(const sg_table *table, size_t column, size_t row)
{
    assert(row < table->rows);
    return table->texts.strings[column_of(table, column, SG_COLUMN_TEXT)->text[row]];
}

double sg_table_get_number(const sg_table *table, size_t column, size_t row)
{
    switch (sg_table_column_type(table, column)) {
    case SG_COLUMN_REAL:
        return sg_table_get_real(table, column, row);
    case SG_COLUMN_INTEGER:
        return (double)sg_table_get_integer(table, column, row);
    case SG_COLUMN_TEXT:
        break;
    }
    return NAN;
}

double *sg_table_real(sg_table *table, size_t column)
{
    return column_of(table, column, SG_COLUMN_REAL)->real;
}

int64_t *sg_table_integer(sg_table *table, size_t column)
{
    return column_of(table, column, SG_COLUMN_INTEGER)->integer;
}

const double *sg_table_const_real(const sg_table *table, size_t column)
{
    return column_of(table, column, SG_COLUMN_REAL)->real;
}

const int64_t *sg_table_const_integer(const sg_table *table, size_t column)
{
    return column_of(table, column, SG_COLUMN_INTEGER)->integer;
}

sg_status sg_table_set_meta(sg_table *table, const char *key, const char *value, sg_error *error)
{
    if (key[0] == '\0')
        return sg_fail(error, SG_EARGUMENT, "metadata needs a key that is not empty");
    void *values = table->values;
    char *copy = strdup(value);
    uint32_t index, known = table->keys.count;
    if (copy == NULL)
        goto no_memory;
    if (known == table->value_capacity && !grow(&values, &table->value_capacity, sizeof copy))
        goto no_memory;
    table->values = values;
    if (!sg_string_pool_add(&table->keys, key, strlen(key), &index))
        goto no_memory;
    if (index < known)
        free(table->values[index]);
    table->values[index] = copy;
    return SG_OK;
no_memory:
    free(copy);
    return sg_fail(error, SG_ENOMEM, "not enough memory for the metadata \"%.80s\"", key);
}

const char *sg_table_meta(const sg_table *table, const char *key)
{
    uint32_t index;
    return sg_string_pool_find(&table->keys, key, &index) ? table->values[index] : NULL;
}

bool sg_table_meta_at(const sg_table *table, size_t index, const char **key, const char **value)
{
    if (index >= table->keys.count)
        return false;
    *key = table->keys.strings[index];
    *value = table->values[index];
    return true;
}
