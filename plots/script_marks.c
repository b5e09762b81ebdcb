/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "plots/writer.h"

/* ---- pens ---- */

const char *sg_dash_text(sg_dash dash)
{
    switch (dash) {
    case SG_DASHED:
        return "(5,3)";
    case SG_DOTTED:
        return "(1,2)";
    case SG_DASH_DOT:
        return "(7,2.5,1.2,2.5)";
    case SG_LONG_DASH:
        return "(10,3)";
    case SG_SHORT_DASH:
        return "(3,1.8)";
    case SG_DASH_DOT_DOT:
        return "(7,2,1.2,2,1.2,2)";
    case SG_SOLID:
    case SG_DASH_COUNT:
        break;
    }
    return "solid";
}

static int marker_type(sg_marker marker)
{
    static const int types[] = {0, 7, 5, 9, 13, 11, 15, 6, 4, 2};
    return types[marker];
}

double sg_pen_width(const sg_writer *w, sg_pen pen)
{
    return w->paper->line_width * (pen.width > 0 ? pen.width : 1);
}

void sg_write_line_style(sg_writer *w, sg_pen pen)
{
    sg_text_printf(w->script, " lc rgb '#%06x' lw %g dt %s", (unsigned)pen.colour,
                   sg_pen_width(w, pen), sg_dash_text(pen.dash));
}

void sg_write_marker_style(sg_writer *w, sg_pen pen)
{
    double points = sg_pen_width(w, pen) * 1.6 + 1.8;
    sg_text_printf(w->script, " pt %d ps %.3f", marker_type(pen.marker), points * w->marker);
}

/* How thick the strokes of a marker are that has no filled area. */
void sg_write_stroke(sg_writer *w, sg_pen pen)
{
    if (pen.marker == SG_CROSS || pen.marker == SG_OPEN_CIRCLE || pen.marker == SG_OPEN_SQUARE)
        sg_text_printf(w->script, " lw %g", w->paper->line_width);
}

/* ---- notes ---- */

/* Narrower panels, in units of the font size, do without spare notes. */
#define SPARE_WIDTH 15.0

/* In figures of one column of a page long notes are a little smaller, so that they need not move. */
static double note_font(const sg_writer *w, const sg_note *note, size_t p)
{
    double font = SG_NOTE_FONT * w->layout.font, least = 0.75;
    double width = sg_markup_width(note->text) * font, room = 0.8 * w->layout.plot_width;
    bool narrow = w->layout.width < 4 * 72 && !w->figure->panels[p].blank;
    return narrow && width > room ? font * fmax(least, room / width) : font;
}

/* How far a note's text would stick out of its panel on the right, in points; 0 when it fits. */
static double overhang(const sg_writer *w, const sg_note *note, size_t p)
{
    static const double before[] = {0, 0.5,
                                    1}; /* share of the text left of its anchor, by alignment */
    sg_scale x = w->layout.x[p];
    double share = note->relative ? note->x
                   : x.log        ? log(note->x / x.low) / log(x.high / x.low)
                                  : (note->x - x.low) / (x.high - x.low);
    double width = sg_markup_width(note->text) * note_font(w, note, p);
    double end = share * w->layout.plot_width + (1 - before[note->align]) * width;
    return fmax(0, end - (w->layout.plot_width - 0.3 * w->layout.font));
}

void sg_write_note(sg_writer *w, const sg_note *note, size_t p)
{
    sg_text *s = w->script;
    const char *frame = note->relative ? "graph" : "first";
    static const char *const align[] = {"left", "center", "right"};
    double thin = w->paper->frame_width * 1.4;
    if (note->spare && w->layout.plot_width < SPARE_WIDTH * w->layout.font)
        return;
    switch (note->kind) {
    case SG_NOTE_VERTICAL:
        sg_text_printf(s, "set arrow from first %.12g, graph 0 to first %.12g, graph 1 nohead",
                       note->x, note->x);
        break;
    case SG_NOTE_HORIZONTAL:
        sg_text_printf(s, "set arrow from graph 0, first %.12g to graph 1, first %.12g nohead",
                       note->y, note->y);
        break;
    case SG_NOTE_SEGMENT:
        sg_text_printf(s, "set arrow from %s %.12g,%.12g to %s %.12g,%.12g nohead", frame, note->x,
                       note->y, frame, note->x2, note->y2);
        break;
    case SG_NOTE_ARROW:
        sg_text_printf(
            s, "set arrow from %s %.12g,%.12g to %s %.12g,%.12g head filled size screen %.5f,20",
            frame, note->x, note->y, frame, note->x2, note->y2,
            0.7 * w->layout.font / w->layout.width);
        break;
    case SG_NOTE_POINT:
        sg_text_printf(
            s, "set label '' at %s %.12g,%.12g point pt 6 ps %.3f lw %g lc rgb '#%06x' front\n",
            frame, note->x, note->y, 0.55 * w->layout.font * w->marker, w->paper->line_width * 0.8,
            (unsigned)note->colour);
        break;
    case SG_NOTE_TEXT:
        break;
    }
    if (note->kind != SG_NOTE_TEXT && note->kind != SG_NOTE_POINT)
        sg_text_printf(s, " lw %g lc rgb '#%06x' dt %s %s\n", thin, (unsigned)note->colour,
                       sg_dash_text(note->dash), note->kind == SG_NOTE_ARROW ? "front" : "back");
    if (note->text[0] == '\0')
        return;
    sg_text_append(s, "set label ");
    sg_write_label(w, note->text, note_font(w, note, p));
    /* The text of an arrow stands clear of its shaft. */
    double clear = note->kind != SG_NOTE_ARROW ? 0 : note->y2 < note->y ? 0.6 : -0.6;
    sg_text_printf(
        s,
        " at %s %.12g,%.12g %s offset screen %.6f, screen %.6f font ',%.2f' tc rgb '#%06x' front\n",
        frame, note->x, note->y, align[note->align], -overhang(w, note, p) / w->layout.width,
        clear * w->layout.font / w->layout.height, note_font(w, note, p) * w->unit,
        (unsigned)note->colour);
}

/* ---- layers ---- */

/* With its opacity in front, when it has one: gnuplot's alpha counts from opaque. */
void sg_write_layer_colour(sg_writer *w, const sg_layer *layer)
{
    unsigned colour = (unsigned)layer->pen.colour;
    if (layer->opacity > 0 && layer->opacity < 1)
        colour |= (unsigned)lround(255 * (1 - layer->opacity)) << 24;
    sg_text_printf(w->script, colour > 0xFFFFFF ? " lc rgb '#%08x'" : " lc rgb '#%06x'", colour);
}

void sg_write_layer(sg_writer *w, const sg_layer *layer, size_t p, size_t index)
{
    sg_text *s = w->script;
    sg_text_printf(s, "$p%zus%zu using ", p + 1, index + 1);
    switch (layer->mark) {
    case SG_MARK_LINE:
        sg_text_printf(s, "1:2 with %s", layer->every > 0 ? "linespoints" : "lines");
        sg_write_line_style(w, layer->pen);
        if (layer->every > 0) {
            sg_write_marker_style(w, layer->pen);
            sg_text_printf(s, " pi %zu", layer->every);
        }
        break;
    case SG_MARK_STEPS:
        sg_text_append(s, "1:2 with steps");
        sg_write_line_style(w, layer->pen);
        break;
    case SG_MARK_POINTS:
        sg_text_append(s, "1:2 with points");
        sg_write_layer_colour(w, layer);
        sg_write_marker_style(w, layer->pen);
        sg_write_stroke(w, layer->pen);
        break;
    case SG_MARK_BAND:
        sg_text_printf(s,
                       "1:2:3 with filledcurves fill transparent solid 0.2 noborder lc rgb '#%06x'",
                       (unsigned)layer->pen.colour);
        break;
    case SG_MARK_BAR:
        sg_text_printf(s,
                       "(%.12g):2:(%.12g):1:($2-0.32):($2+0.32) with boxxyerror fill solid "
                       "noborder lc rgb '#%06x'",
                       w->layout.x[p].low, w->layout.x[p].low, (unsigned)layer->pen.colour);
        break;
    case SG_MARK_BLOCK:
        sg_text_printf(s, "1:3:1:2:(%.12g):3 with boxxyerror fill solid noborder",
                       w->layout.y[p].low);
        sg_write_layer_colour(w, layer);
        break;
    case SG_MARK_IMAGE:
        sg_text_append(s, "1:2:3 with image");
        break;
    }
    sg_text_append(s, " notitle");
}

void sg_write_palette(sg_writer *w, size_t p)
{
    static const char viridis[] = "0 '#440154', 1 '#482878', 2 '#3e4989', 3 '#31688e', 4 "
                                  "'#26828e', 5 '#1f9e89', 6 '#35b779', "
                                  "7 '#6ece58', 8 '#b5de2b', 9 '#fde725'";
    static const char diverging[] = "0 '#053061', 1 '#2166ac', 2 '#4393c3', 3 '#92c5de', 4 "
                                    "'#d1e5f0', 5 '#f7f7f7', 6 '#fddbc7', "
                                    "7 '#f4a582', 8 '#d6604d', 9 '#b2182b', 10 '#67001f'";
    const sg_panel *panel = &w->figure->panels[p];
    const sg_layout *at = &w->layout;
    sg_text *s = w->script;
    double right = at->left[p % w->figure->columns] + at->plot_width;
    double bottom = at->bottom[p / w->figure->columns];
    sg_text_printf(s, "set palette defined (%s)\nset cbrange [%.12g:%.12g]\n",
                   panel->palette == SG_PALETTE_VIRIDIS ? viridis : diverging, panel->z_low,
                   panel->z_high);
    sg_text_printf(
        s,
        "set colorbox vertical user origin screen %.6f,%.6f size screen %.6f,%.6f border\n"
        "set cbtics in nomirror scale 0.4 %.12g offset -0.6,0 font ',%.2f'\n",
        (right + 0.5 * at->font) / at->width, bottom / at->height, 0.7 * at->font / at->width,
        at->plot_height / at->height,
        sg_apart(panel->z_step, panel->z_high - panel->z_low,
                 at->plot_height / (SG_TICK_FONT * at->font)),
        SG_TICK_FONT * at->font * w->unit);
    sg_write_number_format(w, "cb", "%g", SG_TICK_FONT * at->font);
    sg_write_centred(w, panel->z_label, right + 4.3 * at->font, bottom + at->plot_height / 2,
                     at->plot_height + 2 * at->font, true);
}
