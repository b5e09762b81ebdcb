/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CLI_JSON_LINE_H
#define SG_CLI_JSON_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/text.h"

/* One JSON object on one line. Strict readers refuse NaN, so a number that is not finite is null
 * and stands under "nonfinite": {"ess": null, "nonfinite": {"ess": "nan"}}. Start with {0}. */
typedef struct json_line {
    sg_text members, nonfinite;
} json_line;

void json_line_text(json_line *line, const char *name, const char *value);
void json_line_integer(json_line *line, const char *name, size_t value);
void json_line_bool(json_line *line, const char *name, bool value);
void json_line_real(json_line *line, const char *name, double value);

/* To standard output, with `end` after the object; frees the line. */
void json_line_print(json_line *line, const char *end);

#endif
