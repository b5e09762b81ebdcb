/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plots/quote.h"

/* ---- rows of a layer ---- */

static bool cell_equals(const sg_table *table, ptrdiff_t column, size_t row, const char *value)
{
    if (sg_table_column_type(table, (size_t)column) == SG_COLUMN_TEXT)
        return strcmp(sg_table_get_text(table, (size_t)column, row), value) == 0;
    double number;
    return sg_parse_real(value, &number) &&
           sg_table_get_number(table, (size_t)column, row) == number;
}

/* Has a row of a sparse layer nothing to show? */
static bool is_void(const sg_layer *layer, size_t row)
{
    const char *shown = layer->mark == SG_MARK_BAND ? layer->low : layer->y;
    return layer->sparse && shown != NULL && isnan(sg_layer_value(layer, shown, row));
}

bool sg_layer_next(const sg_layer *layer, size_t *row)
{
    for (; *row < sg_table_rows(layer->table); ++*row) {
        bool fits = true;
        for (size_t i = 0; i < SG_WHERE_MAX && fits && layer->where[i].column != NULL; i++) {
            ptrdiff_t column = sg_table_find(layer->table, layer->where[i].column);
            fits = column >= 0 && cell_equals(layer->table, column, *row, layer->where[i].value);
        }
        if (fits && !is_void(layer, *row))
            return true;
    }
    return false;
}

bool sg_layer_has_rows(const sg_layer *layer)
{
    size_t row = 0;
    return sg_layer_next(layer, &row);
}

double sg_layer_value(const sg_layer *layer, const char *column, size_t row)
{
    ptrdiff_t index = sg_table_find(layer->table, column);
    return index >= 0 ? sg_table_get_number(layer->table, (size_t)index, row) : NAN;
}

sg_status sg_layer_check(const sg_layer *layer, sg_error *error)
{
    bool band = layer->mark == SG_MARK_BAND, block = layer->mark == SG_MARK_BLOCK;
    const char *needed[8];
    size_t count = 0;
    if (!block)
        needed[count++] = layer->x;
    if (band || block) {
        needed[count++] = layer->low;
        needed[count++] = layer->high;
    }
    if (!band)
        needed[count++] = layer->y;
    if (layer->mark == SG_MARK_IMAGE)
        needed[count++] = layer->z;
    for (size_t i = 0; i < SG_WHERE_MAX && layer->where[i].column != NULL; i++)
        needed[count++] = layer->where[i].column;
    for (size_t i = 0; i < count; i++) {
        if (needed[i] == NULL || sg_table_find(layer->table, needed[i]) < 0)
            return sg_fail(error, SG_EARGUMENT, "the figure's table has no column \"%s\"",
                           needed[i] != NULL ? needed[i] : "(not named)");
    }
    return SG_OK;
}

/* ---- scales ---- */

double sg_round_step(double rough)
{
    static const double steps[] = {1, 2, 2.5, 5, 10};
    double power = pow(10, floor(log10(rough)));
    size_t i = 0;
    while (i < 4 && steps[i] * power < rough * (1 - 1e-9))
        i++;
    return steps[i] * power;
}

static void extend(double value, bool log, double *low, double *high)
{
    if (!isfinite(value) || (log && value <= 0))
        return;
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

static void extend_by_layer(const sg_layer *layer, bool vertical, bool log, double *low,
                            double *high)
{
    bool band = layer->mark == SG_MARK_BAND, block = layer->mark == SG_MARK_BLOCK;
    for (size_t row = 0; sg_layer_next(layer, &row); row++) {
        if (!vertical && !block) {
            extend(sg_layer_value(layer, layer->x, row), log, low, high);
        } else if (vertical ? band : block) {
            extend(sg_layer_value(layer, layer->low, row), log, low, high);
            extend(sg_layer_value(layer, layer->high, row), log, low, high);
        } else {
            extend(sg_layer_value(layer, layer->y, row), log, low, high);
        }
    }
}

static sg_scale resolve(const sg_panel *panel, const sg_axis *axis, bool vertical)
{
    sg_scale scale = {axis->low, axis->high, axis->step, axis->log};
    if (scale.low == 0 && scale.high == 0) {
        double low = INFINITY, high = -INFINITY;
        for (size_t i = 0; i < panel->layer_count; i++)
            extend_by_layer(&panel->layers[i], vertical, axis->log, &low, &high);
        if (!(low <= high))
            low = axis->log ? 0.1 : 0, high = 1;
        if (axis->log) {
            scale.low = low == high ? low / 2 : low;
            scale.high = low == high ? high * 2 : high;
        } else {
            double span = high > low ? high - low : fmax(fabs(high), 1e-3);
            double margin = vertical ? 0.05 * span : 0;
            scale.low = low - margin;
            scale.high = (high > low ? high : low + span) + margin;
        }
    }
    if (scale.step == 0 && !axis->log)
        scale.step = sg_round_step((scale.high - scale.low) / (vertical ? 4.5 : 5.5));
    return scale;
}

/* Width of the widest tick label, in units of the font size. */
static double tick_width(const sg_axis *axis, sg_scale scale)
{
    if (axis->bare)
        return 0;
    double widest = 0;
    for (size_t i = 0; i < axis->tick_count; i++)
        widest = fmax(widest, sg_markup_width(axis->ticks[i].label));
    if (axis->tick_count > 0)
        return widest;
    if (axis->log)
        return fmax(sg_markup_width("10^{−1}"), scale.low < 1e-9 ? sg_markup_width("10^{−12}") : 0);
    for (double at = ceil(scale.low / scale.step - 1e-9) * scale.step;
         at <= scale.high + 1e-9 * scale.step; at += scale.step) {
        char label[40];
        snprintf(label, sizeof label, "%g", fabs(at) < 1e-9 * scale.step ? 0 : at);
        double width =
            sg_markup_width(label) + (label[0] == '-' ? 0.48 : 0); /* typographic minus */
        widest = fmax(widest, width);
    }
    return widest;
}

#define LABEL_GAP 0.4 /* between tick labels, in units of their font size */

/* Where a value stands on its axis, 0 to 1. */
static double share_of(sg_scale scale, double value)
{
    return scale.log ? log(value / scale.low) / log(scale.high / scale.low)
                     : (value - scale.low) / (scale.high - scale.low);
}

#define LINE 1.15 /* between tick labels above each other */

/* Would the labels of each `every`-th tick run together? */
static bool labels_collide(const sg_axis *axis, sg_scale scale, size_t every, double room,
                           bool upright)
{
    for (size_t i = every; i < axis->tick_count; i += every) {
        const sg_tick *tick = &axis->ticks[i], *before = &axis->ticks[i - every];
        double gap = fabs(share_of(scale, tick->at) - share_of(scale, before->at));
        double half = (sg_markup_width(tick->label) + sg_markup_width(before->label)) / 2;
        if (gap * room < (upright ? LINE : half + LABEL_GAP))
            return true;
    }
    return false;
}

/* How many explicit ticks it takes from one label to the next; names are never left out. */
static size_t label_every(const sg_axis *axis, sg_scale scale, double room, bool upright)
{
    size_t every = 1;
    double number;
    for (size_t i = 0; i < axis->tick_count; i++) {
        if (!sg_parse_real(axis->ticks[i].label, &number))
            return 1;
    }
    while (labels_collide(axis, scale, every, room, upright))
        every++;
    return every;
}

/* Keeps the labels of the x axes apart; `room` is the width of a panel in units of their font. */
static void spread_ticks(sg_layout *layout, const sg_figure *figure, double room)
{
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        const sg_axis *axis = &figure->panels[p].x;
        sg_scale *x = &layout->x[p];
        layout->x_every[p] = label_every(axis, *x, room, false);
        while (axis->tick_count == 0 && !axis->log && x->step < x->high - x->low &&
               x->step / (x->high - x->low) * room < tick_width(axis, *x) + LABEL_GAP)
            x->step = sg_round_step(1.01 * x->step);
    }
}

double sg_apart(double step, double span, double room)
{
    while (step > 0 && step < span && step / span * room < LINE)
        step = sg_round_step(1.01 * step);
    return step;
}

/* Keeps the labels of the y axes apart; `room` is the height of a panel in units of their font. */
static void spread_upwards(sg_layout *layout, const sg_figure *figure, double room)
{
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        const sg_axis *axis = &figure->panels[p].y;
        sg_scale *y = &layout->y[p];
        layout->y_every[p] = label_every(axis, *y, room, true);
        if (axis->tick_count == 0 && !axis->log && !axis->bare)
            y->step = sg_apart(y->step, y->high - y->low, room);
    }
}

/* ---- legend ---- */

static void collect_entries(sg_layout *layout, const sg_figure *figure)
{
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        const sg_panel *panel = &figure->panels[p];
        for (size_t s = 0; s < panel->layer_count; s++) {
            const sg_layer *layer = &panel->layers[s];
            bool known = layer->title[0] == '\0' || layout->entry_count == SG_LEGEND_MAX;
            for (size_t e = 0; e < layout->entry_count && !known; e++)
                known = strcmp(layout->entries[e]->title, layer->title) == 0;
            if (!known)
                layout->entries[layout->entry_count++] = layer;
        }
    }
}

/* Left edges of `columns` columns; returns the width of the box. */
static double place_columns(sg_layout *layout, size_t columns)
{
    double font = layout->legend_font, x = 2 * SG_LEGEND_PAD * font;
    for (size_t c = 0; c < columns; c++) {
        double widest = 0;
        for (size_t e = c; e < layout->entry_count; e += columns)
            widest = fmax(widest, sg_markup_width(layout->entries[e]->title));
        layout->entry_left[c] = x;
        x += layout->legend_sample + (SG_LEGEND_GAP + widest) * font;
        x += c + 1 < columns ? layout->legend_between : 0;
    }
    return x + 2 * SG_LEGEND_PAD * font;
}

static void set_legend_font(sg_layout *layout, double font, double sample, double between)
{
    layout->legend_font = font;
    layout->legend_sample = sample * font;
    layout->legend_between = between * font;
}

/* The most columns that fit at the legend's font size. */
static size_t fitting_columns(sg_layout *layout)
{
    size_t columns = layout->entry_count;
    while (columns > 1 && place_columns(layout, columns) > layout->width - 0.6 * layout->font)
        columns--;
    return columns;
}

static void arrange_legend(sg_layout *layout)
{
    size_t count = layout->entry_count;
    if (count == 0)
        return;
    set_legend_font(layout, layout->font, 2.3, 1.3);
    size_t columns = fitting_columns(layout);
    if (columns < count) { /* would a slightly smaller font save a row? */
        set_legend_font(layout, 0.8 * layout->font, 1.9, 0.9);
        size_t small = fitting_columns(layout);
        if ((count + small - 1) / small < (count + columns - 1) / columns)
            columns = small;
        else
            set_legend_font(layout, layout->font, 2.3, 1.3);
    }
    size_t rows = (count + columns - 1) / columns;
    size_t even = (count + rows - 1) / rows;
    if (place_columns(layout, even) <= layout->width - 0.6 * layout->font)
        columns = even;
    layout->legend_width = place_columns(layout, columns);
    layout->legend_columns = columns;
    layout->legend_rows = (count + columns - 1) / columns;
    layout->legend_height =
        ((double)layout->legend_rows * SG_LEGEND_LINE + 2 * SG_LEGEND_PAD) * layout->legend_font;
    layout->legend_left = (layout->width - layout->legend_width) / 2;
}

/* ---- margins, in units of the font size ---- */

static double room_left(const sg_panel *panel, sg_scale y)
{
    if (panel->hidden || panel->blank)
        return 0;
    return 0.7 + tick_width(&panel->y, y) + (panel->y.label[0] != '\0' ? 1.7 : 0.2);
}

static double room_right(const sg_panel *panel, sg_scale x)
{
    bool image = panel->layer_count > 0 && panel->layers[0].mark == SG_MARK_IMAGE;
    if (image)
        return 3.7 + (panel->z_label[0] != '\0' ? 1.3 : 0);
    return fmax(0.9, 0.3 + 0.5 * tick_width(&panel->x, x)); /* half of the last label hangs over */
}

static double room_below(const sg_panel *panel)
{
    if (panel->hidden || panel->blank)
        return 0;
    return (panel->x.bare ? 0.4 : 1.5) + (panel->x.label[0] != '\0' ? 1.6 : 0.2);
}

static double room_above(const sg_panel *panel)
{
    return (panel->title[0] != '\0' ? 1.8 : 0.6) + (panel->top_label[0] != '\0' ? 2.6 : 0);
}

void sg_layout_init(sg_layout *layout, const sg_figure *figure, const sg_paper *paper)
{
    *layout = (sg_layout){.font = paper->font_size};
    double font = layout->font;
    layout->width = 72 * paper->width * (figure->width > 0 ? figure->width : 1);
    double left[SG_PANELS_MAX] = {0}, right[SG_PANELS_MAX] = {0};
    double above[SG_PANELS_MAX] = {0}, below[SG_PANELS_MAX] = {0};
    for (size_t p = 0; p < figure->rows * figure->columns; p++) {
        const sg_panel *panel = &figure->panels[p];
        size_t row = p / figure->columns, column = p % figure->columns;
        layout->x[p] = resolve(panel, &panel->x, false);
        layout->y[p] = resolve(panel, &panel->y, true);
        left[column] = fmax(left[column], font * room_left(panel, layout->y[p]));
        right[column] = fmax(right[column], font * room_right(panel, layout->x[p]));
        above[row] = fmax(above[row], font * room_above(panel));
        below[row] = fmax(below[row], font * room_below(panel));
        layout->label_room[column] = left[column] - 0.85 * font;
    }
    double margins = 0;
    for (size_t c = 0; c < figure->columns; c++)
        margins += left[c] + right[c];
    layout->plot_width = (layout->width - margins) / (double)figure->columns;
    layout->plot_height = layout->plot_width * (figure->aspect > 0 ? figure->aspect : 0.75);
    spread_ticks(layout, figure, layout->plot_width / (SG_TICK_FONT * font));
    spread_upwards(layout, figure, layout->plot_height / (SG_TICK_FONT * font));
    double x = 0;
    for (size_t c = 0; c < figure->columns; c++) {
        layout->left[c] = x + left[c];
        x += left[c] + layout->plot_width + right[c];
    }
    if (figure->legend != SG_LEGEND_NONE) {
        collect_entries(layout, figure);
        arrange_legend(layout);
    }
    double legend = layout->entry_count > 0 ? layout->legend_height + 0.5 * font : 0;
    double y = figure->legend == SG_LEGEND_BELOW ? legend : 0;
    layout->legend_bottom = 0.3 * font;
    for (size_t r = figure->rows; r-- > 0;) {
        layout->bottom[r] = y + below[r];
        y += below[r] + layout->plot_height + above[r];
    }
    if (figure->legend == SG_LEGEND_ABOVE) {
        layout->legend_bottom = y + 0.1 * font;
        y += legend;
    }
    layout->height = y;
}
