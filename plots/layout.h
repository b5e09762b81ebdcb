/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LAYOUT_H
#define SG_LAYOUT_H

#include "plots/figure.h"

/* Where everything of a figure goes, in points (1/72 inch) from the bottom left corner. gnuplot is
 * told every margin, so that panels line up and all formats look the same. */

/* The rows of its table that a layer draws. Start with row = 0; false when there is no further one.
 */
bool sg_layer_next(const sg_layer *layer, size_t *row);

/* Does it draw any row? */
bool sg_layer_has_rows(const sg_layer *layer);

/* Value of a column at a row; NaN for a name that the table lacks (see sg_layer_check). */
double sg_layer_value(const sg_layer *layer, const char *column, size_t row);

/* SG_EARGUMENT when a column that the mark needs is missing. */
sg_status sg_layer_check(const sg_layer *layer, sg_error *error);

/* An axis with its range and ticks decided. */
typedef struct sg_scale {
    double low, high, step;
    bool log;
} sg_scale;

/* The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `rough` > 0. */
double sg_round_step(double rough);

/* The next round step at which labels above each other stay apart; `room` in units of their font. By hand: steps of 0.5 over a
 * span of 5 in a room of 10 lines are 1 line apart, which is too close; the next is 1, 2 lines. */
double sg_apart(double step, double span, double room);

enum { SG_LEGEND_MAX = 64 };

typedef struct sg_layout {
    double font; /* points */
    double width, height;
    double plot_width, plot_height;   /* of every panel's frame */
    double left[SG_PANELS_MAX];       /* of the frames of column i */
    double bottom[SG_PANELS_MAX];     /* of the frames of row i */
    double label_room[SG_PANELS_MAX]; /* of column i: from the frame to the middle of the y label */
    sg_scale x[SG_PANELS_MAX], y[SG_PANELS_MAX]; /* of every panel */
    size_t x_every
        [SG_PANELS_MAX]; /* panel p labels each x_every[p]-th of its x ticks, so that they stay apart */
    size_t y_every[SG_PANELS_MAX]; /* the same of y */
    /* Legend: entries fill a grid row by row. */
    size_t entry_count, legend_columns, legend_rows;
    const sg_layer *entries[SG_LEGEND_MAX];
    double entry_left[SG_LEGEND_MAX];     /* of column i, from the left of the box */
    double legend_font;                   /* points; a little smaller when that saves a row */
    double legend_sample, legend_between; /* points: of a sample, between entries */
    double legend_left, legend_bottom, legend_width, legend_height;
} sg_layout;

/* Lengths of the legend, in units of its font size. */
#define SG_LEGEND_GAP 0.5
#define SG_LEGEND_LINE 1.45
#define SG_LEGEND_PAD 0.45

/* Size of tick labels and of notes, in units of the font size. */
#define SG_TICK_FONT 0.92
#define SG_NOTE_FONT 0.88

void sg_layout_init(sg_layout *layout, const sg_figure *figure, const sg_paper *paper);

#endif
