/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_QUOTE_H
#define SG_QUOTE_H

#include "core/text.h"

/* How text gets into a gnuplot script. gnuplot runs shell commands from backticks in double quotes,
 * a newline inside any string starts a new command, and a doubled quote at the start of a
 * single-quoted string ends it (seen in 5.4, whatever its manual says), so every string goes
 * through sg_gnuplot_quote.
 *
 * Markup is the text of labels: plain UTF-8 in which only x_{sub} and x^{super} are special (one
 * level, no braces inside). A script needs it in the dialect of its terminal. */

typedef enum sg_markup_dialect {
    SG_MARKUP_ENHANCED, /* gnuplot's enhanced text: everything but sub- and superscripts is escaped
                         */
    SG_MARKUP_LATEX,    /* LaTeX: specials escaped, Greek and signs in maths mode */
} sg_markup_dialect;

/* Appends a gnuplot string literal that stands for `string`: in single quotes, where nothing is
 * expanded; a string that holds a single quote itself goes in double quotes with everything but
 * letters, digits and blanks written in octal. Control characters become blanks and invalid UTF-8
 * becomes '?'; all else is unchanged. By hand: it's `a` -> "it\047s \140a\140". */
void sg_gnuplot_quote(sg_text *script, const char *string);

/* Appends the markup translated to a dialect, not quoted. By hand: "r_{i} 5%" is "r_{i} 5%" in
 * enhanced text and "r\ensuremath{_{\mathrm{i}}} 5\%" in LaTeX; "tau_pos" is "tau\_pos" in both. */
void sg_markup_translate(sg_text *out, const char *markup, sg_markup_dialect dialect);

/* Both in one: a literal for a label. */
void sg_markup_quote(sg_text *script, const char *markup, sg_markup_dialect dialect);

/* Width of the markup in units of the font size, from the advance widths of DejaVu Sans; scripts
 * count 0.8. By hand: "00" is 1.272. */
double sg_markup_width(const char *markup);

#endif
