/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_JSON_H
#define SG_JSON_H

#include "core/text.h"

/* Pieces of JSON (RFC 8259) for those who write an object by hand. */

/* The string in double quotes; control characters escaped, malformed UTF-8 as U+FFFD. */
void sg_json_append_string(sg_text *text, const char *string);

/* The number with a point or an exponent, so that readers take it for a real; `null` when it is not
 * finite, because JSON has no NaN. */
void sg_json_append_real(sg_text *text, double value);

#endif
