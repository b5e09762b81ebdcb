/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON by hand: json-c writes bare NaN, which strict readers refuse. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/utf8.h"
#include "io/formats.h"
#include "io/json.h"

void sg_json_append_string(sg_text *text, const char *string)
{
    static const char letters[] = "\b\f\n\r\t\"\\", escapes[] = "bfnrt\"\\";
    sg_text_append(text, "\"");
    const char *plain = string; /* start of what needs no escape */
    while (*string != '\0') {
        uint32_t code;
        size_t length = sg_utf8_decode(string, &code);
        const char *letter = code < 0x80 ? strchr(letters, (int)code) : NULL;
        bool broken = code == SG_UTF8_REPLACEMENT && length == 1;
        if (letter != NULL || code < 0x20 || broken) {
            sg_text_append_bytes(text, plain, (size_t)(string - plain));
            if (letter != NULL)
                sg_text_printf(text, "\\%c", escapes[letter - letters]);
            else
                sg_text_printf(text, "\\u%04" PRIx32, code);
            plain = string + length;
        }
        string += length;
    }
    sg_text_append(text, plain);
    sg_text_append(text, "\"");
}

void sg_json_append_real(sg_text *text, double value)
{
    char number[32];
    if (!isfinite(value)) {
        sg_text_append(text, "null");
        return;
    }
    sg_text_append(text, sg_format_real(value, number));
    if (strpbrk(number, ".e") == NULL) /* so that readers see a real, and keep the sign of -0 */
        sg_text_append(text, ".0");
}

static void append_cell(sg_text *text, const sg_table *table, size_t column, size_t row)
{
    switch (sg_table_column_type(table, column)) {
    case SG_COLUMN_REAL:
        sg_json_append_real(text, sg_table_get_real(table, column, row));
        break;
    case SG_COLUMN_INTEGER:
        sg_text_printf(text, "%" PRId64, sg_table_get_integer(table, column, row));
        break;
    case SG_COLUMN_TEXT:
        sg_json_append_string(text, sg_table_get_text(table, column, row));
        break;
    }
}

static void write_rows(const sg_table *table, sg_sink *sink)
{
    sg_text *text = &sink->text;
    size_t rows = sg_table_rows(table), columns = sg_table_columns(table);
    for (size_t row = 0; row < rows; row++) {
        sg_text_append(text, row > 0 ? ",\n{" : "\n{");
        for (size_t column = 0; column < columns; column++) {
            sg_text_append(text, column > 0 ? ", " : "");
            sg_json_append_string(text, sg_table_column_name(table, column));
            sg_text_append(text, ": ");
            append_cell(text, table, column, row);
        }
        sg_text_append(text, "}");
        sg_sink_drain(sink);
    }
}

static void write_nonfinite(const sg_table *table, sg_sink *sink)
{
    const char *separator = "\n";
    char number[32];
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        for (size_t column = 0; column < sg_table_columns(table); column++) {
            if (sg_table_column_type(table, column) != SG_COLUMN_REAL)
                continue;
            double value = sg_table_get_real(table, column, row);
            if (isfinite(value))
                continue;
            sg_text_printf(&sink->text, "%s[%zu, ", separator, row);
            sg_json_append_string(&sink->text, sg_table_column_name(table, column));
            sg_text_printf(&sink->text, ", \"%s\"]", sg_format_real(value, number));
            separator = ",\n";
        }
        sg_sink_drain(sink);
    }
}

void sg_json_write(const sg_table *table, sg_sink *sink)
{
    sg_text *text = &sink->text;
    const char *key, *value;
    sg_text_append(text, "{\"metadata\": {");
    for (size_t i = 0; sg_table_meta_at(table, i, &key, &value); i++) {
        sg_text_append(text, i > 0 ? ", " : "");
        sg_json_append_string(text, key);
        sg_text_append(text, ": ");
        sg_json_append_string(text, value);
    }
    sg_text_append(text, "},\n\"columns\": [");
    for (size_t column = 0; column < sg_table_columns(table); column++) {
        sg_text_append(text, column > 0 ? ", " : "");
        sg_json_append_string(text, sg_table_column_name(table, column));
    }
    sg_text_append(text, "],\n\"rows\": [");
    write_rows(table, sink);
    sg_text_append(text, "],\n\"nonfinite\": [");
    write_nonfinite(table, sink);
    sg_text_append(text, "]}\n");
}
