/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "plots/writer.h"

/* LaTeX sets text in the size of the document; what follows in the label gets `points`. */
static void latex_size(sg_text *out, double points)
{
    sg_text_printf(out, "\\fontsize{%.1f}{%.1f}\\selectfont ", points, 1.2 * points);
}

void sg_write_label(sg_writer *w, const char *markup, double points)
{
    sg_text label = {0};
    if (w->dialect == SG_MARKUP_LATEX && markup[0] != '\0')
        latex_size(&label, points);
    sg_markup_translate(&label, markup, w->dialect);
    sg_gnuplot_quote(w->script, label.data != NULL ? label.data : "");
    w->script->failed = w->script->failed || label.failed;
    sg_text_free(&label);
}

void sg_write_number_format(sg_writer *w, const char *axis, const char *format, double points)
{
    sg_text_printf(w->script, "set format %s '", axis);
    if (w->dialect == SG_MARKUP_LATEX) {
        latex_size(w->script, points);
        sg_text_printf(w->script, "$%s$'\n", format);
    } else {
        sg_text_printf(w->script, "%s'\n", format);
    }
}

void sg_write_frame(sg_writer *w, double left, double bottom, double width, double height)
{
    const sg_layout *at = &w->layout;
    sg_text_printf(w->script,
                   "reset\nset minussign\nunset key\nset clip two\n"
                   "set lmargin at screen %.6f\nset rmargin at screen %.6f\n"
                   "set bmargin at screen %.6f\nset tmargin at screen %.6f\n",
                   left / at->width, (left + width) / at->width, bottom / at->height,
                   (bottom + height) / at->height);
}

static void write_tick_label(sg_writer *w, const char *label)
{
    sg_text doubled = {0}; /* gnuplot treats tick labels as number formats */
    for (const char *c = label; *c != '\0'; c++)
        sg_text_append(&doubled, *c == '%' ? "%%" : (char[]){*c, '\0'});
    sg_write_label(w, doubled.data != NULL ? doubled.data : "", SG_TICK_FONT * w->layout.font);
    w->script->failed = w->script->failed || doubled.failed;
    sg_text_free(&doubled);
}

/* Of explicit ticks each `every`-th has a label. */
static void write_ticks(sg_writer *w, const char *which, const sg_axis *axis, sg_scale scale,
                        size_t every)
{
    sg_text *s = w->script;
    double font = SG_TICK_FONT * w->layout.font;
    sg_text_printf(s, "set %stics in nomirror scale 0.5,0.25 font ',%.2f'", which, font * w->unit);
    if (which[0] == 'y')
        sg_text_append(s, " offset 0.4,0");
    else
        sg_text_printf(s, " offset 0,%s", which[1] == '2' ? "-0.3" : "0.3");
    if (axis->tick_count > 0) {
        for (size_t i = 0; i < axis->tick_count; i++) {
            sg_text_append(s, i == 0 ? " (" : ", ");
            write_tick_label(w, axis->bare || i % every != 0 ? "" : axis->ticks[i].label);
            sg_text_printf(s, " %.12g", axis->ticks[i].at);
        }
        sg_text_append(s, ")");
    } else if (!scale.log) {
        sg_text_printf(s, " %.12g", scale.step);
    }
    sg_text_append(s, "\n");
    if (axis->tick_count > 0)
        return;
    if (axis->bare)
        sg_text_printf(s, "set format %s ''\n", which);
    else
        sg_write_number_format(w, which, scale.log ? "10^{%T}" : "%g", font);
    if (scale.log) {
        double decades = log10(scale.high / scale.low);
        sg_text_printf(s, "set %stics 1e%d\nset m%stics %d\n", which,
                       decades > 8     ? 3
                       : decades > 4.5 ? 2
                                       : 1,
                       which, decades > 4.5 ? 1 : 10);
    }
}

void sg_write_axes(sg_writer *w, size_t p)
{
    const sg_panel *panel = &w->figure->panels[p];
    const sg_layout *at = &w->layout;
    sg_text *s = w->script;
    sg_scale x = at->x[p], y = at->y[p];
    sg_text_printf(s, "set xrange [%.12g:%.12g]\nset yrange [%.12g:%.12g]\n", x.low, x.high, y.low,
                   y.high);
    if (panel->blank) {
        sg_text_append(s, "unset border\nunset tics\n");
        return;
    }
    if (x.log)
        sg_text_append(s, "set logscale x\n");
    if (y.log)
        sg_text_append(s, "set logscale y\n");
    write_ticks(w, "x", &panel->x, x, at->x_every[p]);
    write_ticks(w, "y", &panel->y, y, at->y_every[p]);
    if (panel->top_label[0] != '\0') {
        sg_text_printf(s, "set x2range [%.12g:%.12g]\n", x.low, x.high);
        write_ticks(w, "x2", &panel->x, x, at->x_every[p]);
    }
    sg_text_printf(s, "set border %d lw %g lc rgb '#404040'\n", panel->open ? 3 : 15,
                   w->paper->frame_width);
    bool bars = panel->layer_count > 0 && panel->layers[0].mark == SG_MARK_BAR;
    if (!panel->no_grid)
        sg_text_printf(s,
                       "set grid xtics %s back lt 1 lc rgb '#e3e3e3' lw %g dt solid, lt 1 lc rgb "
                       "'#e3e3e3' lw %g dt solid\n",
                       bars ? "noytics" : "ytics", w->paper->frame_width, w->paper->frame_width);
}

/* A centred label; its font shrinks when the text is longer than `room` points. */
void sg_write_centred(sg_writer *w, const char *markup, double x, double y, double room,
                      bool upright)
{
    sg_text *s = w->script;
    double width = sg_markup_width(markup) * w->layout.font;
    double shrink = width > room ? room / width : 1;
    if (markup[0] == '\0')
        return;
    sg_text_append(s, "set label ");
    sg_write_label(w, markup, shrink * w->layout.font);
    sg_text_printf(s, " at screen %.6f,%.6f center", x / w->layout.width, y / w->layout.height);
    if (upright)
        sg_text_append(s, " rotate by 90");
    if (shrink < 1)
        sg_text_printf(s, " font ',%.2f'", shrink * w->layout.font * w->unit);
    sg_text_append(s, "\n");
}

/* Title and axis labels, at places that the layout has kept free. */
void sg_write_titles(sg_writer *w, size_t p)
{
    const sg_panel *panel = &w->figure->panels[p];
    const sg_layout *at = &w->layout;
    double left = at->left[p % w->figure->columns], bottom = at->bottom[p / w->figure->columns];
    double middle = left + at->plot_width / 2, top = bottom + at->plot_height;
    double wide = at->plot_width + 2 * at->font, high = at->plot_height + 0.6 * at->font;
    bool double_axis = panel->top_label[0] != '\0';
    sg_write_centred(w, panel->x.label, middle, bottom - (panel->x.bare ? 1.0 : 2.2) * at->font,
                     wide, false);
    sg_write_centred(w, panel->y.label, left - at->label_room[p % w->figure->columns],
                     bottom + at->plot_height / 2, high, true);
    sg_write_centred(w, panel->top_label, middle, top + 2.1 * at->font, wide, false);
    sg_write_centred(w, panel->title, middle, top + (double_axis ? 3.6 : 0.9) * at->font, wide,
                     false);
}
