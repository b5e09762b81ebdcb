/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/utf8.h"
#include "io/formats.h"

/* User text must not reach the terminal as a command: control characters become '?'. */
static void append_visible(sg_text *text, const char *string)
{
    while (*string != '\0') {
        uint32_t code;
        size_t length = sg_utf8_decode(string, &code);
        bool control = code < 0x20 || (code >= 0x7f && code < 0xa0) ||
                       (code == SG_UTF8_REPLACEMENT && length == 1);
        if (control)
            sg_text_append(text, "?");
        else
            sg_text_append_bytes(text, string, length);
        string += length;
    }
}

static void append_cell(sg_text *text, const sg_table *table, size_t column, size_t row)
{
    switch (sg_table_column_type(table, column)) {
    case SG_COLUMN_REAL: {
        double value = sg_table_get_real(table, column, row);
        char number[32];
        if (isfinite(value))
            snprintf(number, sizeof number, "%.6g", value);
        else
            sg_format_real(value, number);
        sg_text_append(text, number);
        break;
    }
    case SG_COLUMN_INTEGER:
        sg_text_printf(text, "%" PRId64, sg_table_get_integer(table, column, row));
        break;
    case SG_COLUMN_TEXT:
        append_visible(text, sg_table_get_text(table, column, row));
        break;
    }
}

static void append_blanks(sg_text *text, size_t count)
{
    static const char blanks[] = "                                ";
    for (; count >= sizeof blanks; count -= sizeof blanks - 1)
        sg_text_append(text, blanks);
    sg_text_append_bytes(text, blanks, count);
}

/* Text stands left, numbers right; no blanks at the end of a line. */
static void append_padded(sg_text *text, const sg_text *cell, size_t width, bool left, bool last)
{
    size_t blanks = width - sg_utf8_length(cell->data);
    if (!left)
        append_blanks(text, blanks);
    sg_text_append_bytes(text, cell->data, cell->length);
    if (left && !last)
        append_blanks(text, blanks);
    while (last && text->length > 0 && text->data[text->length - 1] == ' ')
        text->length--;
    sg_text_append(text, last ? "\n" : "  ");
}

/* The text of a column's cell, or of its name for the row SIZE_MAX. */
static bool render(sg_text *cell, const sg_table *table, size_t column, size_t row)
{
    sg_text_clear(cell);
    sg_text_append(cell, "");
    if (row == SIZE_MAX)
        append_visible(cell, sg_table_column_name(table, column));
    else
        append_cell(cell, table, column, row);
    return !cell->failed;
}

void sg_terminal_write(const sg_table *table, sg_sink *sink)
{
    size_t rows = sg_table_rows(table), columns = sg_table_columns(table);
    size_t *widths = calloc(columns + 1, sizeof *widths);
    sg_text cell = {0};
    bool good = widths != NULL;
    /* SIZE_MAX + 1 is 0: the header, then the rows. Once to measure, once to write. */
    for (size_t row = SIZE_MAX; good && row + 1 <= rows; row++) {
        for (size_t column = 0; good && column < columns; column++) {
            good = render(&cell, table, column, row);
            size_t width = good ? sg_utf8_length(cell.data) : 0;
            widths[column] = width > widths[column] ? width : widths[column];
        }
    }
    for (size_t row = SIZE_MAX; good && row + 1 <= rows; row++) {
        for (size_t column = 0; good && column < columns; column++) {
            good = render(&cell, table, column, row);
            if (good)
                append_padded(&sink->text, &cell, widths[column],
                              sg_table_column_type(table, column) == SG_COLUMN_TEXT,
                              column + 1 == columns);
        }
        sg_sink_drain(sink);
    }
    sink->text.failed |= !good;
    sg_text_free(&cell);
    free(widths);
}
