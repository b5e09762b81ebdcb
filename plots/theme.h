/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_THEME_H
#define SG_THEME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objective/objective.h"

/* How figures look: one pen per method in all figures, and the sizes of the places where figures
 * end up. */

/* Dash patterns, drawn in multiples of the line's width. */
typedef enum sg_dash {
    SG_SOLID,
    SG_DASHED,
    SG_DOTTED,
    SG_DASH_DOT,
    SG_LONG_DASH,
    SG_SHORT_DASH,
    SG_DASH_DOT_DOT,
    SG_DASH_COUNT
} sg_dash;

/* Markers; every one is also told apart without colour. */
typedef enum sg_marker {
    SG_NO_MARKER,
    SG_CIRCLE,
    SG_SQUARE,
    SG_TRIANGLE,
    SG_DIAMOND,
    SG_TRIANGLE_DOWN,
    SG_PENTAGON,
    SG_OPEN_CIRCLE,
    SG_OPEN_SQUARE,
    SG_CROSS,
} sg_marker;

typedef struct sg_pen {
    uint32_t colour; /* 0xRRGGBB */
    sg_dash dash;
    sg_marker marker;
    double width; /* times the theme's line width; 0 = 1 */
} sg_pen;

/* Colours of the methods (the "colorblind" list of seaborn, its yellow darkened, in the project's order) and a few fixed
 * ones. */
enum {
    SG_COLOUR_SAPO = 0x0173B2,
    SG_COLOUR_GSPO = 0xDE8F05,
    SG_COLOUR_GRPO = 0x029E73,
    SG_COLOUR_RED = 0xD55E00,
    SG_COLOUR_BLACK = 0x000000,
    SG_COLOUR_GREY = 0x808080, /* references and remarks */
};

/* The pen of a gate at a level: always the same, whatever the figure. The hard clip is GRPO's at
 * token level and GSPO's at sequence level. */
sg_pen sg_theme_pen(sg_gate_kind gate, sg_level level);

/* Where a figure goes. The names are those of --paper; "screen" is the default. */
typedef struct sg_paper {
    const char *name;
    double width;       /* inches, across the text */
    double column;      /* inches, of one of two columns; 0: the text has one */
    double font_size;   /* points */
    double line_width;  /* points, of curves */
    double frame_width; /* points, of axes and ticks */
} sg_paper;

size_t sg_paper_count(void);
const sg_paper *sg_paper_at(size_t index);
const sg_paper *sg_paper_find(const char *name); /* NULL when unknown */

/* The font of all figures: it has Greek, and is what matplotlib uses too (Debian:
 * fonts-dejavu-core). */
extern const char sg_theme_font[];

#endif
