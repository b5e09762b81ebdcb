/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEXT_H
#define SG_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Text that grows. Zero-initialise it ({0}); free it with sg_text_free. `data` is always
 * terminated once something was appended, and NULL before. An allocation that fails sets
 * `failed` and turns later appends into no-ops, so a writer checks once, at the end. */
typedef struct sg_text {
    char *data;
    size_t length;
    size_t capacity;
    bool failed;
} sg_text;

void sg_text_append(sg_text *text, const char *string);
void sg_text_append_bytes(sg_text *text, const void *bytes, size_t count);
void sg_text_printf(sg_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sg_text_clear(sg_text *text); /* keeps the memory */
void sg_text_free(sg_text *text);

/* Shortest of %.15g, %.16g, %.17g that reads back as the same double; "nan", "inf", "-inf".
 * Always with a decimal point, whatever the locale. Buffer of at least 32 bytes. Returns it. */
char *sg_format_real(double value, char buffer[32]);

/* Strict parsers: the whole string must be one number (blanks around it are allowed).
 * Real: decimal or exponent form, correctly rounded (a magnitude beyond the range of a double gives
 * an infinity, so ask isfinite() where that matters), or "nan", "inf", "infinity" in any case and
 * with any sign. Integer: optional sign and decimal digits, or an exponent form that is exactly an
 * integer ("1e3", "1.5e1"); no octal, no hex.
 * Return false (and leave *value alone) for anything else, including overflow of the integer. */
bool sg_parse_real(const char *string, double *value);
bool sg_parse_integer(const char *string, int64_t *value);

/* The candidate nearest to `name` in edit distance (case and '-' / '_' do not count), or NULL when
 * none is near enough to be a likely typo (distance above max(2, length/3), or no letter in common).
 * A swap of two neighbours is one edit; of equals the first wins. `names` ends in NULL. */
const char *sg_nearest_name(const char *name, const char *const *names);

#endif
