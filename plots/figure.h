/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_FIGURE_H
#define SG_FIGURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/table.h"
#include "core/text.h"
#include "plots/gnuplot.h"
#include "plots/theme.h"

/* A figure described as data: rows x columns of panels; a panel has axes, layers that name columns
 * of tables, and notes. Nothing here is drawn: sg_figure_script turns a description into one
 * self-contained gnuplot script.
 *
 * All labels are markup (see quote.h): UTF-8 with x_{sub} and x^{super}. Every struct is plain
 * data; zero means "the usual". Tables are borrowed and must outlive the figure. */

enum {
    SG_PANELS_MAX = 12,
    SG_LAYERS_MAX = 52,
    SG_NOTES_MAX = 24,
    SG_TICKS_MAX = 12,
    SG_WHERE_MAX = 3,
    SG_LABEL_SIZE = 96,
};

typedef struct sg_tick {
    double at;
    char label[40]; /* "" draws the tick without a label */
} sg_tick;

typedef struct sg_axis {
    char label[SG_LABEL_SIZE];
    double low, high; /* both 0: from the data, with a small margin */
    double step;      /* between ticks of a linear axis; 0: a round number */
    bool log;         /* base 10 */
    bool bare;        /* ticks without labels, for inner panels of a shared axis */
    size_t tick_count;
    sg_tick ticks[SG_TICKS_MAX]; /* replace the automatic ones when there are any */
} sg_axis;

typedef enum sg_mark {
    SG_MARK_LINE,   /* y against x, with the pen's marker where `every` > 0 */
    SG_MARK_POINTS, /* markers only */
    SG_MARK_STEPS,  /* y holds until the next x */
    SG_MARK_BAND,   /* filled between `low` and `high`, pale, under the lines */
    SG_MARK_BAR,    /* horizontal bar from the axis to x at height y */
    SG_MARK_BLOCK, /* upright bar from the bottom of the panel to y, between `low` and `high` on x */
    SG_MARK_IMAGE, /* colour z on the grid of x and y, which must be regular */
} sg_mark;

/* Only rows whose cell in `column` equals `value` (text, or a number written as text). */
typedef struct sg_where {
    const char *column;
    const char *value;
} sg_where;

typedef struct sg_layer {
    sg_mark mark;
    const sg_table *table;
    sg_where where[SG_WHERE_MAX];
    const char *x, *y;      /* columns */
    const char *low, *high; /* columns of a band or of blocks */
    const char *z;          /* column of an image */
    sg_pen pen;
    char title[SG_LABEL_SIZE]; /* in the legend, once per figure; "" = not there */
    size_t every;              /* a marker on every n-th point */
    double opacity;            /* of points and blocks, in (0, 1]; 0 = 1 */
    bool sparse; /* rows without a value are passed over instead of leaving a gap in the line */
} sg_layer;

typedef enum sg_note_kind {
    SG_NOTE_TEXT,     /* text at (x, y) */
    SG_NOTE_ARROW,    /* arrow from (x, y) to (x2, y2); text, if any, at its start */
    SG_NOTE_VERTICAL, /* thin line across the panel at x */
    SG_NOTE_HORIZONTAL,
    SG_NOTE_SEGMENT, /* thin line from (x, y) to (x2, y2) */
    SG_NOTE_POINT,   /* small open circle at (x, y) */
} sg_note_kind;

typedef enum sg_align { SG_ALIGN_LEFT, SG_ALIGN_CENTRE, SG_ALIGN_RIGHT } sg_align;

typedef struct sg_note {
    sg_note_kind kind;
    double x, y, x2, y2;
    bool relative; /* coordinates are fractions of the panel */
    bool spare;    /* left out of panels that are too narrow for remarks beside curves */
    sg_align align;
    uint32_t colour;
    sg_dash dash;
    char text[SG_LABEL_SIZE];
} sg_note;

typedef enum sg_palette { SG_PALETTE_VIRIDIS, SG_PALETTE_DIVERGING } sg_palette;

typedef struct sg_panel {
    char title[SG_LABEL_SIZE];
    sg_axis x, y;
    char
        top_label[SG_LABEL_SIZE]; /* a second name of the x axis, drawn above with the same ticks */
    size_t layer_count, note_count;
    sg_layer layers[SG_LAYERS_MAX];
    sg_note notes[SG_NOTES_MAX];
    sg_palette palette; /* images: colours, their range, and the label of the colour bar */
    double z_low, z_high, z_step;
    char z_label[SG_LABEL_SIZE];
    bool blank; /* neither frame nor ticks: a place for notes */
    bool open;  /* only the left and bottom sides of the frame */
    bool no_grid;
    bool hidden; /* an empty cell of the layout */
} sg_panel;

typedef enum sg_legend { SG_LEGEND_NONE, SG_LEGEND_ABOVE, SG_LEGEND_BELOW } sg_legend;

typedef struct sg_figure {
    size_t rows, columns;
    double aspect; /* height of a panel over its width; 0 = 0.75 */
    double width;  /* share of the paper's width; 0 = 1 */
    sg_legend legend;
    sg_panel panels[SG_PANELS_MAX]; /* row by row */
} sg_figure;

/* Zeroed figure of the given layout; NULL when out of memory. Free with sg_figure_free. */
sg_figure *sg_figure_alloc(size_t rows, size_t columns);
void sg_figure_free(sg_figure *figure);

/* At most so many panels beside each other. A few rows become columns; else what is too much goes into rows below, in the same
 * order. Every panel gets the labels and the title that it shared with its row and column. A figure that would not have room
 * for the rows stays. */
void sg_figure_refold(sg_figure *figure, size_t columns);

sg_panel *sg_figure_panel(sg_figure *figure, size_t row, size_t column);

/* Append a copy; full panels ignore more, which sg_figure_script reports. Return what was appended,
 * or NULL. */
sg_layer *sg_panel_add_layer(sg_panel *panel, sg_layer layer);
sg_note *sg_panel_add_note(sg_panel *panel, sg_note note);
/* Instead of layers: axes without numbers and a word on why there is nothing. */
void sg_panel_leave_empty(sg_panel *panel, const char *why);
void sg_axis_add_tick(sg_axis *axis, double at, const char *label);

/* The script that draws the figure to sg_gnuplot_output_name(name, format), with all data inside.
 * SG_EARGUMENT when a layer names a column that its table lacks or when a panel is over-full;
 * SG_ENOMEM. */
sg_status sg_figure_script(const sg_figure *figure, const char *name, const sg_paper *paper,
                           sg_picture_format format, sg_text *script, sg_error *error);

#endif
