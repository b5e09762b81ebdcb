/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/json_line.h"

#include <math.h>
#include <stdio.h>

static void append_string(sg_text *text, const char *value)
{
    sg_text_append(text, "\"");
    for (const char *c = value; *c; c++) {
        if (*c == '"' || *c == '\\')
            sg_text_printf(text, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            sg_text_printf(text, "\\u%04x", (unsigned)*c);
        else
            sg_text_append_bytes(text, c, 1);
    }
    sg_text_append(text, "\"");
}

static void append_name(sg_text *text, const char *name)
{
    sg_text_append(text, text->length ? ", " : "");
    append_string(text, name);
    sg_text_append(text, ": ");
}

void json_line_text(json_line *line, const char *name, const char *value)
{
    append_name(&line->members, name);
    append_string(&line->members, value);
}

void json_line_integer(json_line *line, const char *name, size_t value)
{
    append_name(&line->members, name);
    sg_text_printf(&line->members, "%zu", value);
}

void json_line_bool(json_line *line, const char *name, bool value)
{
    append_name(&line->members, name);
    sg_text_append(&line->members, value ? "true" : "false");
}

void json_line_real(json_line *line, const char *name, double value)
{
    char number[32];
    sg_format_real(value, number);
    append_name(&line->members, name);
    sg_text_append(&line->members, isfinite(value) ? number : "null");
    if (isfinite(value))
        return;
    append_name(&line->nonfinite, name);
    append_string(&line->nonfinite, number);
}

void json_line_print(json_line *line, const char *end)
{
    if (line->nonfinite.length)
        sg_text_printf(&line->members, ", \"nonfinite\": {%s}", line->nonfinite.data);
    printf("{%s}%s\n", line->members.data ? line->members.data : "", end);
    sg_text_free(&line->members);
    sg_text_free(&line->nonfinite);
}
