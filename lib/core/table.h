/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TABLE_H
#define SG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* The one currency of softgate: every producer returns a table, every writer and every figure
 * takes one. Named columns of one length, each of one type, and metadata (key, value) in the
 * order in which they were set. Columns and rows count from 0.
 *
 * A table is not locked: one thread writes, or many read. */
typedef enum sg_column_type {
    SG_COLUMN_REAL,    /* double; NaN and infinities are legal values */
    SG_COLUMN_INTEGER, /* int64_t */
    SG_COLUMN_TEXT,    /* UTF-8 string, owned by the table */
} sg_column_type;

typedef struct sg_table sg_table;

sg_table *sg_table_alloc(void); /* NULL when out of memory */
void sg_table_free(sg_table *table);

size_t sg_table_rows(const sg_table *table);
size_t sg_table_columns(const sg_table *table);

/* Appends a column; existing rows get 0, NaN for reals, "" for text. A name must not be empty or
 * taken. Returns SG_EARGUMENT or SG_ENOMEM. */
sg_status sg_table_add_column(sg_table *table, const char *name, sg_column_type type,
                              sg_error *error);

/* Position of a column, or -1 when there is none of that name. */
ptrdiff_t sg_table_find(const sg_table *table, const char *name);
const char *sg_table_column_name(const sg_table *table, size_t column);
sg_column_type sg_table_column_type(const sg_table *table, size_t column);

/* Appends `count` rows of default cells (see sg_table_add_column). Amortised O(1) a cell. */
sg_status sg_table_add_rows(sg_table *table, size_t count, sg_error *error);

/* Cells. The column must have the type that the name says; that is checked by an assertion only. */
void sg_table_set_real(sg_table *table, size_t column, size_t row, double value);
void sg_table_set_integer(sg_table *table, size_t column, size_t row, int64_t value);
sg_status sg_table_set_text(sg_table *table, size_t column, size_t row, const char *value,
                            sg_error *error);
double sg_table_get_real(const sg_table *table, size_t column, size_t row);
int64_t sg_table_get_integer(const sg_table *table, size_t column, size_t row);
const char *sg_table_get_text(const sg_table *table, size_t column, size_t row);

/* A cell as a number whatever its type: integers are converted, text gives NaN. */
double sg_table_get_number(const sg_table *table, size_t column, size_t row);

/* Whole columns as arrays of sg_table_rows() cells, valid until rows or columns are added. */
double *sg_table_real(sg_table *table, size_t column);
int64_t *sg_table_integer(sg_table *table, size_t column);
const double *sg_table_const_real(const sg_table *table, size_t column);
const int64_t *sg_table_const_integer(const sg_table *table, size_t column);

/* Metadata. Setting a key again replaces its value in place. `sg_table_meta` returns NULL when the
 * key is absent; the pair at `index` is read with sg_table_meta_at (false past the end). */
sg_status sg_table_set_meta(sg_table *table, const char *key, const char *value, sg_error *error);
const char *sg_table_meta(const sg_table *table, const char *key);
bool sg_table_meta_at(const sg_table *table, size_t index, const char **key, const char **value);

#endif
