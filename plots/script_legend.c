/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/writer.h"

static bool is_filled(const sg_layer *layer)
{
    return layer->mark == SG_MARK_BAR || layer->mark == SG_MARK_BLOCK;
}

/* The sample of entry i: its data, and its part of the plot command. */
static void write_sample_data(sg_writer *w, size_t i, double x, double y)
{
    sg_text *s = w->script;
    double sample = w->layout.legend_sample;
    sg_text_printf(s, "$k%zu << END_OF_DATA\n", i + 1);
    if (is_filled(w->layout.entries[i]))
        sg_text_printf(s, "%.3f %.3f %.3f %.3f\n", x + sample / 2, y, sample / 4,
                       0.32 * w->layout.legend_font);
    else
        sg_text_printf(s, "%.3f %.3f\n%.3f %.3f\n%.3f %.3f\n", x, y, x + sample / 2, y, x + sample,
                       y);
    sg_text_append(s, "END_OF_DATA\n");
}

static void write_sample(sg_writer *w, size_t i)
{
    sg_text *s = w->script;
    const sg_layer *layer = w->layout.entries[i];
    sg_text_append(s, i > 0 ? ", \\\n  " : "");
    if (is_filled(layer)) {
        sg_text_printf(s, "$k%zu using 1:2:3:4 with boxxyerror fill solid noborder", i + 1);
        sg_write_layer_colour(w, layer);
        sg_text_append(s, " notitle");
        return;
    }
    if (layer->mark != SG_MARK_POINTS) {
        sg_text_printf(s, "$k%zu using 1:2 with lines", i + 1);
        sg_write_line_style(w, layer->pen);
        sg_text_append(s, " notitle");
    }
    if (layer->mark == SG_MARK_POINTS || layer->every > 0) {
        sg_text_printf(s, "%s$k%zu every 1::1::1 using 1:2 with points lc rgb '#%06x'",
                       layer->mark != SG_MARK_POINTS ? ", " : "", i + 1,
                       (unsigned)layer->pen.colour);
        sg_write_marker_style(w, layer->pen);
        sg_write_stroke(w, layer->pen);
        sg_text_append(s, " notitle");
    }
}

void sg_write_legend(sg_writer *w)
{
    const sg_layout *at = &w->layout;
    sg_text *s = w->script;
    if (at->entry_count == 0)
        return;
    sg_text_append(s, "\n# legend, in points\n");
    sg_write_frame(w, at->legend_left, at->legend_bottom, at->legend_width, at->legend_height);
    sg_text_printf(s,
                   "set xrange [0:%.3f]\nset yrange [0:%.3f]\nunset tics\n"
                   "set border 15 lw %g lc rgb '#b0b0b0'\n",
                   at->legend_width, at->legend_height, w->paper->frame_width);
    for (size_t i = 0; i < at->entry_count; i++) {
        double x = at->entry_left[i % at->legend_columns];
        double row = (double)(i / at->legend_columns);
        double y =
            at->legend_height - (SG_LEGEND_PAD + (row + 0.5) * SG_LEGEND_LINE) * at->legend_font;
        write_sample_data(w, i, x, y);
        sg_text_append(s, "set label ");
        sg_write_label(w, at->entries[i]->title, at->legend_font);
        sg_text_printf(s, " at first %.3f,%.3f left font ',%.2f'\n",
                       x + at->legend_sample + SG_LEGEND_GAP * at->legend_font, y,
                       at->legend_font * w->unit);
    }
    sg_text_append(s, "plot ");
    for (size_t i = 0; i < at->entry_count; i++)
        write_sample(w, i);
    sg_text_append(s, "\n");
}
