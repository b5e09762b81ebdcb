/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/figure.h"

#include <stdio.h>
#include <stdlib.h>

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
