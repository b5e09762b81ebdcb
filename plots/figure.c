/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/figure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sg_figure *sg_figure_alloc(size_t rows, size_t columns)
{
    if (rows == 0 || columns == 0 || rows * columns > SG_PANELS_MAX)
        return NULL;
    sg_figure *figure = calloc(1, sizeof *figure);
    if (figure != NULL) {
        figure->rows = rows;
        figure->columns = columns;
    }
    return figure;
}

void sg_figure_free(sg_figure *figure)
{
    free(figure);
}

/* What a panel takes from the first of its row and from the ends of its column, so that it can stand elsewhere. */
static void make_independent(sg_figure *figure, size_t p)
{
    sg_panel *panel = &figure->panels[p];
    size_t column = p % figure->columns;
    const sg_panel *first = panel - column, *top = &figure->panels[column],
                   *bottom = top + (figure->rows - 1) * figure->columns;
    if (panel->hidden || panel->blank)
        return;
    if (panel->y.label[0] == '\0')
        memcpy(panel->y.label, first->y.label, sizeof panel->y.label);
    if (panel->x.label[0] == '\0')
        memcpy(panel->x.label, bottom->x.label, sizeof panel->x.label);
    if (panel->title[0] == '\0')
        memcpy(panel->title, top->title, sizeof panel->title);
    panel->x.bare = panel->y.bare = false;
}

/* Rows become columns. Without memory for a copy it stays. */
static void transpose(sg_figure *figure)
{
    sg_figure *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return;
    *copy = *figure;
    figure->rows = copy->columns;
    figure->columns = copy->rows;
    for (size_t p = 0; p < figure->rows * figure->columns; p++)
        figure->panels[p] = copy->panels[p % figure->columns * copy->columns + p / figure->columns];
    free(copy);
}

void sg_figure_refold(sg_figure *figure, size_t columns)
{
    size_t count = figure->rows * figure->columns;
    if (columns >= figure->columns || columns == 0)
        return;
    size_t rows = (count + columns - 1) / columns;
    if (rows * columns > SG_PANELS_MAX)
        return;
    for (size_t p = 0; p < count; p++)
        make_independent(figure, p);
    if (figure->rows > 1 && figure->rows <= columns) {
        transpose(figure);
        return;
    }
    for (size_t p = count; p < rows * columns; p++)
        figure->panels[p].hidden = true;
    figure->rows = rows;
    figure->columns = columns;
}

sg_panel *sg_figure_panel(sg_figure *figure, size_t row, size_t column)
{
    return &figure->panels[row * figure->columns + column];
}

/* The counts go on beyond the arrays, so that sg_figure_script can tell how many there should have
 * been. */
sg_layer *sg_panel_add_layer(sg_panel *panel, sg_layer layer)
{
    if (panel->layer_count++ >= SG_LAYERS_MAX)
        return NULL;
    panel->layers[panel->layer_count - 1] = layer;
    return &panel->layers[panel->layer_count - 1];
}

sg_note *sg_panel_add_note(sg_panel *panel, sg_note note)
{
    if (panel->note_count++ >= SG_NOTES_MAX)
        return NULL;
    panel->notes[panel->note_count - 1] = note;
    return &panel->notes[panel->note_count - 1];
}

void sg_panel_leave_empty(sg_panel *panel, const char *why)
{
    sg_note note = {.kind = SG_NOTE_TEXT,
                    .x = 0.5,
                    .y = 0.5,
                    .relative = true,
                    .align = SG_ALIGN_CENTRE,
                    .colour = SG_COLOUR_GREY};
    snprintf(note.text, sizeof note.text, "%s", why);
    panel->layer_count = 0;
    panel->y.log = false;
    panel->y.low = 0, panel->y.high = 1;
    panel->y.tick_count = 0;
    sg_axis_add_tick(&panel->y, 0.5, "");
    sg_panel_add_note(panel, note);
}

void sg_axis_add_tick(sg_axis *axis, double at, const char *label)
{
    if (axis->tick_count >= SG_TICKS_MAX)
        return;
    sg_tick *tick = &axis->ticks[axis->tick_count++];
    tick->at = at;
    snprintf(tick->label, sizeof tick->label, "%s", label);
}
