/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_WRITER_H
#define SG_WRITER_H

#include "plots/layout.h"
#include "plots/quote.h"

/* The parts of a script and what they share; only script*.c include this. */

typedef struct sg_writer {
    sg_text *script;
    const sg_figure *figure;
    const sg_paper *paper;
    sg_layout layout;
    sg_picture_format format;
    sg_markup_dialect dialect;
    double unit;   /* terminal font units per point */
    double marker; /* terminal point size that gives a marker of 1 point */
} sg_writer;

/* script_marks.c: pens, layers, colour maps, notes. */
const char *sg_dash_text(sg_dash dash);
double sg_pen_width(const sg_writer *w, sg_pen pen);
void sg_write_line_style(sg_writer *w, sg_pen pen);
void sg_write_marker_style(sg_writer *w, sg_pen pen);
void sg_write_stroke(sg_writer *w, sg_pen pen);
void sg_write_layer_colour(sg_writer *w, const sg_layer *layer);
void sg_write_layer(sg_writer *w, const sg_layer *layer, size_t p, size_t index);
void sg_write_palette(sg_writer *w, size_t p);
void sg_write_note(sg_writer *w, const sg_note *note, size_t p);

/* script_axes.c: frame, axes, titles. */
/* A label as a string literal. LaTeX is told its size here; other terminals take it from the font that follows. */
void sg_write_label(sg_writer *w, const char *markup, double points);
/* The same for the numbers of an axis (or "cb"): `format` is gnuplot's, "%g" for example. */
void sg_write_number_format(sg_writer *w, const char *axis, const char *format, double points);
void sg_write_frame(sg_writer *w, double left, double bottom, double width, double height);
void sg_write_axes(sg_writer *w, size_t p);
void sg_write_titles(sg_writer *w, size_t p);
/* A centred label; its font shrinks when the text is longer than `room` points. */
void sg_write_centred(sg_writer *w, const char *markup, double x, double y, double room,
                      bool upright);

/* script_legend.c */
void sg_write_legend(sg_writer *w);

#endif
