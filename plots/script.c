/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Turns a figure into one gnuplot script: a head that sets up the terminal, the data of every layer
 * in a datablock, one plot per panel with all margins given, and the legend as a last small plot.
 */
#include <math.h>

#include "plots/writer.h"

/* ---- terminal ----
 * Calibrated so that widths, dashes, fonts and markers mean points everywhere (gnuplot 5.4):
 * pdfcairo draws lines at half (cairolatex: a quarter of) their width and text at 4/3 of its size;
 * dash numbers are 0.275 (pdf), 0.25 (png), 0.5 (svg) widths. */
static void write_terminal(sg_writer *w, const char *name)
{
    double width = w->layout.width, height = w->layout.height, font = w->layout.font;
    sg_text *s = w->script;
    switch (w->format) {
    case SG_PICTURE_PDF:
        sg_text_printf(
            s,
            "set terminal pdfcairo enhanced color size %.4fin,%.4fin font '%s,%g' fontscale 0.75 "
            "linewidth 2 dashlength 3.6364 rounded\n",
            width / 72, height / 72, sg_theme_font, font);
        w->marker = 1 / 6.0;
        break;
    case SG_PICTURE_SVG:
        w->unit = 4 / 3.0;
        sg_text_printf(s,
                       "set terminal svg enhanced standalone size %.0f,%.0f font '%s,%.2f' "
                       "linewidth %.4f dashlength 2 rounded background rgb 'white'\n",
                       width * w->unit, height * w->unit, sg_theme_font, font * w->unit, w->unit);
        w->marker = w->unit / (0.75 * font * w->unit);
        break;
    case SG_PICTURE_PNG:
        w->unit = 300 / 72.0;
        sg_text_printf(
            s,
            "set terminal pngcairo enhanced truecolor size %.0f,%.0f font '%s,%g' fontscale %.4f "
            "linewidth %.4f pointscale %.4f dashlength 4 rounded background rgb 'white'\n",
            width * w->unit, height * w->unit, sg_theme_font, font, 300 / 96.0, w->unit, w->unit);
        w->unit = 1; /* fonts are scaled by fontscale already */
        w->marker = 1 / 6.75;
        break;
    case SG_PICTURE_TEX:
        sg_text_printf(s,
                       "set terminal cairolatex pdf input header '\\fontsize{%g}{%g}\\selectfont' "
                       "colortext size %.4fin,%.4fin font ',%g' linewidth 4 dashlength 3.6364 "
                       "rounded\n",
                       font, 1.2 * font, width / 72, height / 72, font);
        w->marker = 1 / 6.0;
        break;
    case SG_PICTURE_FORMAT_COUNT:
        break;
    }
    sg_text output = {0};
    sg_gnuplot_output_name(&output, name, w->format);
    sg_text_printf(s, "set output '%s'\n", output.data != NULL ? output.data : "");
    s->failed = s->failed || output.failed;
    sg_text_free(&output);
}

static void write_head(sg_writer *w, const char *name)
{
    sg_text_printf(w->script,
                   "# Figure %s of softgate. Draw it again with: gnuplot -d %s.gp\n"
                   "set encoding utf8\n",
                   name, name);
    write_terminal(w, name);
}

/* ---- data ---- */

static void write_cell(sg_text *s, double value, const char *after)
{
    char buffer[32];
    sg_text_append(s, isfinite(value) ? sg_format_real(value, buffer) : "NaN");
    sg_text_append(s, after);
}

static void write_data(sg_text *s, const sg_layer *layer, size_t panel, size_t index)
{
    bool band = layer->mark == SG_MARK_BAND, image = layer->mark == SG_MARK_IMAGE;
    bool block = layer->mark == SG_MARK_BLOCK;
    sg_text_printf(s, "$p%zus%zu << END_OF_DATA\n", panel + 1, index + 1);
    for (size_t row = 0; sg_layer_next(layer, &row); row++) {
        if (block) {
            write_cell(s, sg_layer_value(layer, layer->low, row), " ");
            write_cell(s, sg_layer_value(layer, layer->high, row), " ");
        } else {
            write_cell(s, sg_layer_value(layer, layer->x, row), " ");
        }
        if (band) {
            write_cell(s, sg_layer_value(layer, layer->low, row), " ");
            write_cell(s, sg_layer_value(layer, layer->high, row), "\n");
            continue;
        }
        write_cell(s, sg_layer_value(layer, layer->y, row), image ? " " : "\n");
        if (image)
            write_cell(s, sg_layer_value(layer, layer->z, row), "\n");
    }
    sg_text_append(s, "END_OF_DATA\n");
}

static void write_panel(sg_writer *w, size_t p)
{
    const sg_panel *panel = &w->figure->panels[p];
    sg_text *s = w->script;
    sg_text_printf(s, "\n# panel %zu\n", p + 1);
    sg_write_frame(w, w->layout.left[p % w->figure->columns],
                   w->layout.bottom[p / w->figure->columns], w->layout.plot_width,
                   w->layout.plot_height);
    sg_write_axes(w, p);
    sg_write_titles(w, p);
    for (size_t i = 0; i < panel->note_count; i++)
        sg_write_note(w, &panel->notes[i], p);
    bool image = panel->layer_count > 0 && panel->layers[0].mark == SG_MARK_IMAGE;
    if (image)
        sg_write_palette(w, p);
    sg_text_append(s, "plot ");
    size_t drawn = 0;
    for (size_t pass = 0; pass < 2; pass++) { /* bands lie under all lines */
        for (size_t i = 0; i < panel->layer_count; i++) {
            if ((panel->layers[i].mark == SG_MARK_BAND) != (pass == 0) ||
                !sg_layer_has_rows(&panel->layers[i]))
                continue;
            sg_text_append(s, drawn++ > 0 ? ", \\\n  " : "");
            sg_write_layer(w, &panel->layers[i], p, i);
        }
    }
    sg_text_append(s, drawn > 0 ? "\n" : "NaN notitle\n");
}

static sg_status check_figure(const sg_figure *figure, sg_error *error)
{
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        const sg_panel *panel = &figure->panels[p];
        if (panel->layer_count > SG_LAYERS_MAX || panel->note_count > SG_NOTES_MAX)
            return sg_fail(error, SG_EARGUMENT,
                           "panel %zu has %zu layer and %zu notes; a panel holds %d and %d", p + 1,
                           panel->layer_count, panel->note_count, SG_LAYERS_MAX, SG_NOTES_MAX);
        for (size_t i = 0; i < panel->layer_count; i++) {
            sg_status status = sg_layer_check(&panel->layers[i], error);
            if (status != SG_OK)
                return status;
        }
    }
    return SG_OK;
}

sg_status sg_figure_script(const sg_figure *figure, const char *name, const sg_paper *paper,
                           sg_picture_format format, sg_text *script, sg_error *error)
{
    sg_status status = check_figure(figure, error);
    if (status != SG_OK)
        return status;
    sg_writer w = {.script = script, .figure = figure, .paper = paper, .format = format, .unit = 1};
    w.dialect = format == SG_PICTURE_TEX ? SG_MARKUP_LATEX : SG_MARKUP_ENHANCED;
    sg_layout_init(&w.layout, figure, paper);
    write_head(&w, name);
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        const sg_panel *panel = &figure->panels[p];
        for (size_t i = 0; i < panel->layer_count; i++) {
            if (sg_layer_has_rows(&panel->layers[i]))
                write_data(script, &panel->layers[i], p, i);
        }
    }
    sg_text_append(script, "set multiplot\n");
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        if (!figure->panels[p].hidden)
            write_panel(&w, p);
    }
    sg_write_legend(&w);
    sg_text_append(script, "\nunset multiplot\nunset output\n");
    return script->failed
               ? sg_fail(error, SG_ENOMEM, "not enough memory for the script of figure %s", name)
               : SG_OK;
}
