/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <string.h>

#include "io/formats.h"

/* Quotes where RFC 4180 asks for it, and where a reader would otherwise lose something: after a '#'
 * (pandas cuts the line there), at outer blanks, at what could look like the start of another
 * format
 * ('{', a byte order mark, control characters), and in the empty cell of a one-column table, whose
 * line would look blank. */
static bool needs_quotes(const char *cell, bool alone)
{
    if (cell[0] == '\0')
        return alone;
    if (strchr(" {\xef", cell[0]) != NULL || cell[strlen(cell) - 1] == ' ')
        return true;
    for (; *cell != '\0'; cell++) {
        if ((unsigned char)*cell < 0x20 || *cell == ',' || *cell == '"' || *cell == '#')
            return true;
    }
    return false;
}

static void append_text(sg_text *text, const char *cell, bool alone)
{
    if (!needs_quotes(cell, alone)) {
        sg_text_append(text, cell);
        return;
    }
    sg_text_append(text, "\"");
    for (const char *quote; (quote = strchr(cell, '"')) != NULL; cell = quote + 1) {
        sg_text_append_bytes(text, cell, (size_t)(quote - cell));
        sg_text_append(text, "\"\"");
    }
    sg_text_append(text, cell);
    sg_text_append(text, "\"");
}

static void append_cell(sg_text *text, const sg_table *table, size_t column, size_t row)
{
    char number[32];
    switch (sg_table_column_type(table, column)) {
    case SG_COLUMN_REAL:
        sg_text_append(text, sg_format_real(sg_table_get_real(table, column, row), number));
        break;
    case SG_COLUMN_INTEGER:
        snprintf(number, sizeof number, "%" PRId64, sg_table_get_integer(table, column, row));
        sg_text_append(text, number);
        break;
    case SG_COLUMN_TEXT:
        append_text(text, sg_table_get_text(table, column, row), sg_table_columns(table) == 1);
        break;
    }
}

/* A metadata line ends at the newline: control characters become blanks. */
static void append_metadata(sg_text *text, const char *key, const char *value)
{
    size_t start = text->length;
    sg_text_printf(text, "# %s: %s", key, value);
    if (text->failed)
        return;
    for (char *c = text->data + start; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    }
    sg_text_append(text, "\n");
}

void sg_csv_write(const sg_table *table, sg_sink *sink)
{
    sg_text *text = &sink->text;
    const char *key, *value;
    for (size_t i = 0; sg_table_meta_at(table, i, &key, &value); i++)
        append_metadata(text, key, value);
    size_t rows = sg_table_rows(table), columns = sg_table_columns(table);
    if (columns == 0)
        return;
    for (size_t column = 0; column < columns; column++) {
        sg_text_append(text, column > 0 ? "," : "");
        append_text(text, sg_table_column_name(table, column), columns == 1);
    }
    sg_text_append(text, "\n");
    for (size_t row = 0; row < rows; row++) {
        for (size_t column = 0; column < columns; column++) {
            sg_text_append(text, column > 0 ? "," : "");
            append_cell(text, table, column, row);
        }
        sg_text_append(text, "\n");
        sg_sink_drain(sink);
    }
}
