/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/quote.h"

#include <string.h>

/* Reads one code point and returns its length in bytes, or 0 for invalid UTF-8 (overlong forms,
 * surrogates, non-characters that XML forbids, values beyond U+10FFFF). */
static size_t read_code_point(const char *string, uint32_t *code)
{
    const unsigned char *s = (const unsigned char *)string;
    if (s[0] < 0x80) {
        *code = s[0];
        return 1;
    }
    size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
    if (length == 0 || s[0] > 0xf4)
        return 0;
    uint32_t value = s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3f);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff) ||
        (value & 0xfffe) == 0xfffe)
        return 0;
    *code = value;
    return length;
}

static bool is_harmless(uint32_t code)
{
    return code >= 0x80 || code == ' ' || (code >= '0' && code <= '9') ||
           (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
}

void sg_gnuplot_quote(sg_text *script, const char *string)
{
    bool octal = strchr(string, '\'') != NULL;
    bool after_octal = false; /* gnuplot reads as many digits as it finds */
    sg_text_append(script, octal ? "\"" : "'");
    while (*string != '\0') {
        uint32_t code = 0;
        size_t length = read_code_point(string, &code);
        bool escape = octal && (!is_harmless(code) || (after_octal && code >= '0' && code <= '9'));
        after_octal = false;
        if (length == 0) {
            sg_text_append(script, "?");
            length = 1;
        } else if (code < 0x20 || code == 0x7f) {
            sg_text_append(script, " ");
        } else if (escape) {
            sg_text_printf(script, "\\%03o", (unsigned)code);
            after_octal = true;
        } else {
            sg_text_append_bytes(script, string, length);
        }
        string += length;
    }
    sg_text_append(script, octal ? "\"" : "'");
}

/* Length of the sub- or superscript that starts at `s` ("_{...}" or "^{...}"), or 0 when none does.
 */
static size_t script_length(const char *s)
{
    if ((s[0] != '_' && s[0] != '^') || s[1] != '{')
        return 0;
    size_t inside = strcspn(s + 2, "{}");
    return s[2 + inside] == '}' && inside > 0 ? inside + 3 : 0;
}

typedef struct latex_sign {
    uint32_t code;
    const char *latex;
} latex_sign;

static const latex_sign latex_signs[] = {
    {'\\', "\\textbackslash{}"},
    {'~', "\\textasciitilde{}"},
    {'^', "\\textasciicircum{}"},
    {'{', "\\{"},
    {'}', "\\}"},
    {'_', "\\_"},
    {'&', "\\&"},
    {'%', "\\%"},
    {'#', "\\#"},
    {'$', "\\$"},
    {'|', "\\ensuremath{|}"},
    {'<', "\\ensuremath{<}"},
    {'>', "\\ensuremath{>}"},
    {0xb0, "\\ensuremath{^\\circ}"},
    {0xb1, "\\ensuremath{\\pm}"},
    {0xb2, "\\ensuremath{^2}"},
    {0xb7, "\\ensuremath{\\cdot}"},
    {0xd7, "\\ensuremath{\\times}"},
    {0x394, "\\ensuremath{\\Delta}"},
    {0x3b1, "\\ensuremath{\\alpha}"},
    {0x3b2, "\\ensuremath{\\beta}"},
    {0x3b3, "\\ensuremath{\\gamma}"},
    {0x3b5, "\\ensuremath{\\varepsilon}"},
    {0x3b8, "\\ensuremath{\\theta}"},
    {0x3bb, "\\ensuremath{\\lambda}"},
    {0x3bc, "\\ensuremath{\\mu}"},
    {0x3c0, "\\ensuremath{\\pi}"},
    {0x3c3, "\\ensuremath{\\sigma}"},
    {0x3c4, "\\ensuremath{\\tau}"},
    {0x3c6, "\\ensuremath{\\varphi}"},
    {0x2013, "--"},
    {0x2016, "\\ensuremath{\\|}"},
    {0x2026, "\\ldots{}"},
    {0x2032, "\\ensuremath{'}"},
    {0x2192, "\\ensuremath{\\rightarrow}"},
    {0x2208, "\\ensuremath{\\in}"},
    {0x2212, "\\ensuremath{-}"},
    {0x221e, "\\ensuremath{\\infty}"},
    {0x2264, "\\ensuremath{\\le}"},
    {0x2265, "\\ensuremath{\\ge}"},
};

static const char *latex_for(uint32_t code)
{
    for (size_t i = 0; i < sizeof latex_signs / sizeof *latex_signs; i++) {
        if (latex_signs[i].code == code)
            return latex_signs[i].latex;
    }
    return NULL;
}

static void translate_character(sg_text *out, const char *s, size_t length, uint32_t code,
                                sg_markup_dialect dialect)
{
    if (dialect == SG_MARKUP_LATEX) {
        const char *latex = latex_for(code);
        if (latex != NULL)
            sg_text_append(out, latex);
        else
            sg_text_append_bytes(out, s, length);
        return;
    }
    if (code < 0x80 && strchr("_^{}@&~\\", (int)code) != NULL)
        sg_text_append(out, "\\");
    sg_text_append_bytes(out, s, length);
}

static void translate_plain(sg_text *out, const char *s, size_t count, sg_markup_dialect dialect)
{
    const char *end = s + count;
    while (s < end) {
        uint32_t code = 0;
        size_t length = read_code_point(s, &code);
        if (length == 0 || s + length > end) {
            sg_text_append(out, "?");
            length = 1;
        } else if (code < 0x20 || code == 0x7f) {
            sg_text_append(out, " ");
        } else {
            translate_character(out, s, length, code, dialect);
        }
        s += length;
    }
}

void sg_markup_translate(sg_text *out, const char *markup, sg_markup_dialect dialect)
{
    while (*markup != '\0') {
        size_t length = script_length(markup);
        if (length == 0) {
            size_t plain = 1;
            while (markup[plain] != '\0' && script_length(markup + plain) == 0)
                plain++;
            translate_plain(out, markup, plain, dialect);
            markup += plain;
            continue;
        }
        bool latex = dialect == SG_MARKUP_LATEX;
        sg_text_append(out, latex ? "\\ensuremath{" : "");
        sg_text_append_bytes(out, markup, 1);
        sg_text_append(out, latex ? "{\\mathrm{" : "{");
        translate_plain(out, markup + 2, length - 3, dialect);
        sg_text_append(out, latex ? "}}}" : "}");
        markup += length;
    }
}

void sg_markup_quote(sg_text *script, const char *markup, sg_markup_dialect dialect)
{
    sg_text translated = {0};
    sg_markup_translate(&translated, markup, dialect);
    sg_gnuplot_quote(script, translated.data != NULL ? translated.data : "");
    if (translated.failed)
        script->failed = true;
    sg_text_free(&translated);
}

/* Advance widths of DejaVu Sans 2.37 for U+0020..U+007E, in thousandths of the font size. */
static const unsigned short ascii_width[] = {
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361,  318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635,  611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352,  635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,  525, 636, 337, 636, 838};

static double character_width(uint32_t code)
{
    if (code >= 0x20 && code < 0x7f)
        return ascii_width[code - 0x20] / 1000.0;
    if (code == 0x2212 || code == 0xd7 || (code >= 0x2190 && code < 0x2300))
        return 0.838;
    return 0.612; /* Greek letters are 0.54 to 0.66 */
}

double sg_markup_width(const char *markup)
{
    double width = 0;
    const char *script_end = NULL;
    while (*markup != '\0') {
        size_t script = script_end == NULL ? script_length(markup) : 0;
        if (script > 0) {
            script_end = markup + script - 1;
            markup += 2;
            continue;
        }
        if (markup == script_end) {
            script_end = NULL;
            markup++;
            continue;
        }
        uint32_t code = 0;
        size_t length = read_code_point(markup, &code);
        width += (length == 0 ? 0.531 : character_width(code)) * (script_end != NULL ? 0.8 : 1.0);
        markup += length == 0 ? 1 : length;
    }
    return width;
}
