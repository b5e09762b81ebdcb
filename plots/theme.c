/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/theme.h"

#include <string.h>

const char sg_theme_font[] = "DejaVu Sans";

sg_pen sg_theme_pen(sg_gate_kind gate, sg_level level)
{
    switch (gate) {
    case SG_GATE_UNCLIPPED:
        return (sg_pen){SG_COLOUR_BLACK, SG_DASHED, SG_NO_MARKER, 0};
    case SG_GATE_REINFORCE:
        return (sg_pen){SG_COLOUR_BLACK, SG_DOTTED, SG_NO_MARKER, 0};
    case SG_GATE_SAPO:
        return (sg_pen){SG_COLOUR_SAPO, SG_SOLID, SG_CIRCLE, 0};
    case SG_GATE_HARD:
        if (level == SG_LEVEL_TOKEN)
            return (sg_pen){SG_COLOUR_GRPO, SG_LONG_DASH, SG_TRIANGLE, 0};
        return (sg_pen){SG_COLOUR_GSPO, SG_SHORT_DASH, SG_SQUARE, 0};
    case SG_GATE_VESPO:
        return (sg_pen){SG_COLOUR_RED, SG_DASH_DOT, SG_DIAMOND, 0};
    case SG_GATE_CISPO:
        return (sg_pen){0xCC78BC, SG_LONG_DASH, SG_TRIANGLE_DOWN, 0};
    case SG_GATE_CE_GPPO:
        return (sg_pen){0xCA9161, SG_DASH_DOT_DOT, SG_PENTAGON, 0};
    case SG_GATE_ASPO:
        return (sg_pen){0xFBAFE4, SG_SOLID, SG_OPEN_CIRCLE, 0};
    case SG_GATE_GIPO:
        return (sg_pen){0x949494, SG_SHORT_DASH, SG_OPEN_SQUARE, 0};
    case SG_GATE_ERF:
        return (sg_pen){0xB8A600, SG_SOLID, SG_SQUARE, 0};
    case SG_GATE_ARCTAN:
        return (sg_pen){0x56B4E9, SG_DASHED, SG_CIRCLE, 0};
    /* The list ends here; the rest takes dark colours that differ from it in lightness as well. */
    case SG_GATE_SOFTSIGN:
        return (sg_pen){0x5D3A9B, SG_DASH_DOT, SG_TRIANGLE, 0};
    case SG_GATE_SPO:
        return (sg_pen){0x7F3C00, SG_LONG_DASH, SG_DIAMOND, 0};
    case SG_GATE_TOPR:
        return (sg_pen){0x4D4D4D, SG_DASH_DOT, SG_TRIANGLE_DOWN, 0};
    case SG_GATE_DPPO_TV:
        return (sg_pen){0x00496B, SG_DASH_DOT_DOT, SG_OPEN_CIRCLE, 0};
    case SG_GATE_DPPO_KL:
        return (sg_pen){0x00496B, SG_DASHED, SG_CIRCLE, 0};
    case SG_GATE_GMPO:
        return (sg_pen){0x8A1C4A, SG_DOTTED, SG_PENTAGON, 0};
    }
    return (sg_pen){SG_COLOUR_GREY, SG_SOLID, SG_NO_MARKER, 0};
}

/* name, width, column, font, curves, frame. Widths: of the text block where a paper has one column (NeurIPS, ICLR), across both columns
 * otherwise; never wider than what the official style leaves (ACL 16 cm, columns of
 * 7.7 cm; IEEEtran 43 pc, 21 pc; Nature 183 mm, 89 mm). */
static const sg_paper papers[] = {
    {"screen", 8.0, 0, 9.0, 1.4, 0.6},   {"neurips", 5.5, 0, 8.0, 1.0, 0.5},
    {"icml", 6.75, 3.25, 8.0, 1.0, 0.5}, {"iclr", 5.5, 0, 8.0, 1.0, 0.5},
    {"acl", 6.29, 3.03, 8.0, 1.0, 0.5},  {"ieee", 7.13, 3.48, 8.0, 1.0, 0.5},
    {"nature", 7.2, 3.5, 7.0, 1.0, 0.5}, {"slide", 10.0, 0, 14.0, 2.2, 0.9},
};

size_t sg_paper_count(void)
{
    return sizeof papers / sizeof *papers;
}

const sg_paper *sg_paper_at(size_t index)
{
    return &papers[index];
}

const sg_paper *sg_paper_find(const char *name)
{
    for (size_t i = 0; i < sg_paper_count(); i++) {
        if (strcmp(papers[i].name, name) == 0)
            return &papers[i];
    }
    return NULL;
}
