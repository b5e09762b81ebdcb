/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/recipes/training.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "plots/layout.h"
#include "plots/recipes/experiment.h"

enum { DOTS = 24, DOTS_NARROW = 12 }; /* on a line at most, so that they stay dots */

/* A column of the summary as the table owns it. */
static const char *column_of(const sg_training *t, size_t p, const char *suffix)
{
    char name[96];
    bool gain = t->layout->panels[p].kind == SG_TRAINING_GAIN;
    snprintf(name, sizeof name, "%s%s%s", t->column[p], gain ? "_gain" : "", suffix);
    return sg_table_column_name(t->summary, (size_t)sg_table_find(t->summary, name));
}

/* Every n-th point of an arm's line so that about `wanted` of them are marked. */
static size_t stride(const sg_layer *layer, size_t wanted)
{
    size_t points = 0;
    for (size_t row = 0; sg_layer_next(layer, &row); row++)
        points++;
    return wanted == 0 ? 0 : points > wanted ? (points + wanted - 1) / wanted : 1;
}

static void describe_lines(sg_panel *panel, const sg_training *t, size_t p, bool in_legend)
{
    const sg_training_panel *shown = &t->layout->panels[p];
    bool score = shown->kind == SG_TRAINING_SCORE;
    size_t dots = t->layout->columns > 2 ? DOTS_NARROW : DOTS;
    for (size_t i = 0; i < t->count; i++) { /* bands first: lines lie above all of them */
        sg_layer layer = sg_arm_layer(&t->arms[i], t->summary);
        layer.mark = SG_MARK_BAND;
        layer.low = column_of(t, p, "_low");
        layer.high = column_of(t, p, "_high");
        layer.sparse = score;
        sg_panel_add_layer(panel, layer);
        layer.mark = SG_MARK_LINE;
        layer.y = column_of(t, p, "");
        layer.every = stride(&layer, score ? dots : t->layout->markers);
        if (in_legend)
            snprintf(layer.title, sizeof layer.title, "%s", t->arms[i].label);
        sg_panel_add_layer(panel, layer);
    }
    if (shown->kind == SG_TRAINING_GAIN)
        sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_HORIZONTAL, .colour = SG_COLOUR_GREY});
}

static bool has_event(const sg_training *t, const char *event)
{
    const sg_layer all = {.table = t->events, .where = {{"event", event}}};
    return sg_layer_has_rows(&all);
}

/* Where single runs collapse and diverge, at their own values. */
static void mark_events(sg_panel *panel, const sg_training *t, size_t p, bool in_legend)
{
    static const struct {
        const char *event;
        sg_marker marker;
    } marks[] = {{"collapse", SG_CROSS}, {"divergence", SG_OPEN_CIRCLE}};
    for (size_t m = 0; m < 2; m++) {
        if (!has_event(t, marks[m].event))
            continue;
        for (size_t i = 0; i < t->count; i++) {
            sg_layer layer = sg_arm_layer(&t->arms[i], t->events);
            layer.mark = SG_MARK_POINTS;
            layer.where[2] = (sg_where){"event", marks[m].event};
            layer.y = t->column[p];
            layer.sparse = true;
            layer.pen.marker = marks[m].marker;
            layer.pen.width = 1;
            if (sg_layer_has_rows(&layer))
                sg_panel_add_layer(panel, layer);
        }
        /* The legend shows the mark of all arms in black, by a layer without rows. */
        sg_layer sample = {.mark = SG_MARK_POINTS,
                           .table = t->events,
                           .where = {{"event", ""}},
                           .x = "step",
                           .y = t->column[p],
                           .pen = {SG_COLOUR_BLACK, SG_SOLID, marks[m].marker, 1}};
        snprintf(sample.title, sizeof sample.title, "%s", marks[m].event);
        if (in_legend)
            sg_panel_add_layer(panel, sample);
    }
}

static void describe_alive(sg_panel *panel, const sg_training *t)
{
    panel->y.low = -0.03, panel->y.high = 1.03, panel->y.step = 0.2;
    for (size_t i = 0; i < t->count; i++) {
        sg_layer layer = sg_arm_layer(&t->arms[i], t->survival);
        layer.mark = SG_MARK_STEPS;
        layer.y = "alive";
        sg_panel_add_layer(panel, layer);
    }
}

static void explain_void(sg_panel *panel, const sg_training *t, size_t p)
{
    const char *const *columns = t->layout->panels[p].columns;
    const char *every = sg_table_meta(t->runs, "run.evaluate_every");
    char why[SG_LABEL_SIZE];
    bool there = false;
    for (size_t c = 0; c < SG_TRAINING_COLUMNS && columns[c] != NULL; c++)
        there = there || sg_table_find(t->runs, columns[c]) >= 0;
    if (!there)
        snprintf(why, sizeof why, "the runs have no column \"%s\"", columns[0]);
    else if (t->layout->panels[p].kind == SG_TRAINING_SCORE && every != NULL &&
             strcmp(every, "0") == 0)
        snprintf(why, sizeof why, "not evaluated: run.evaluate_every is 0");
    else
        snprintf(why, sizeof why, "\"%s\" is nan in every run", columns[0]);
    sg_panel_leave_empty(panel, why);
}

/* About eight ticks where there is room, else four: 0 to 1800 by 250, 0 to 500 by 100. */
static double tick_step(double horizon, size_t columns)
{
    return fmax(1, sg_round_step(horizon / (columns > 2 ? 4 : 8)));
}

/* The panel whose lines the legend shows: the first with dots, as they belong to the sample. */
static size_t legend_panel(const sg_training *t)
{
    size_t chosen = SG_TRAINING_PANELS;
    for (size_t p = SG_TRAINING_PANELS; p-- > 0;) {
        bool lines = t->column[p] != NULL;
        bool dots = lines && t->layout->panels[p].kind == SG_TRAINING_SCORE;
        bool chosen_dots =
            chosen < SG_TRAINING_PANELS && t->layout->panels[chosen].kind == SG_TRAINING_SCORE;
        if (dots || (lines && !chosen_dots))
            chosen = p;
    }
    return chosen;
}

void sg_training_panels(const sg_training *t, sg_figure *figure)
{
    const sg_training_layout *layout = t->layout;
    size_t in_legend = legend_panel(t);
    figure->legend = SG_LEGEND_BELOW;
    figure->aspect = layout->aspect;
    figure->width = layout->width;
    for (size_t p = 0; p < layout->rows * layout->columns; p++) {
        sg_panel *panel = &figure->panels[p];
        bool inner = p < (layout->rows - 1) * layout->columns;
        /* A little wider than the runs, so that the first and the last dot are whole. */
        panel->x = (sg_axis){.low = -0.02 * t->horizon, .high = 1.02 * t->horizon, .bare = inner};
        panel->x.step = tick_step(t->horizon, layout->columns);
        snprintf(panel->x.label, sizeof panel->x.label, "%s", inner ? "" : "Gradient Steps");
        snprintf(panel->y.label, sizeof panel->y.label, "%s", layout->panels[p].label);
        if (layout->panels[p].kind == SG_TRAINING_ALIVE) {
            describe_alive(panel, t);
            continue;
        }
        if (t->column[p] == NULL) {
            explain_void(panel, t, p);
            continue;
        }
        describe_lines(panel, t, p, p == in_legend);
        if (layout->panels[p].kind != SG_TRAINING_GAIN)
            mark_events(panel, t, p, p == in_legend);
    }
}

static sg_status obtain(sg_training *t, const sg_figure_options *options, sg_table **own,
                        sg_error *error)
{
    sg_config config;
    t->runs = options->runs;
    if (t->runs != NULL)
        return SG_OK;
    sg_status status = sg_experiment_read(options, t->layout->name, &config, error);
    if (status == SG_OK)
        status = sg_experiment_run(options, &config, NULL, own, error);
    t->runs = *own;
    return status;
}

sg_status sg_training_draw(sg_drawing *drawing, const sg_training_layout *layout, sg_error *error)
{
    const sg_figure_options none = {0};
    sg_training t = {.layout = layout};
    sg_table *own = NULL;
    sg_status status = sg_drawing_set_layout(drawing, layout->rows, layout->columns, error);
    if (status == SG_OK)
        status = obtain(&t, drawing->options != NULL ? drawing->options : &none, &own, error);
    if (status == SG_OK)
        status = sg_training_tables(&t, drawing, error);
    if (status == SG_OK)
        status = sg_arms_describe(t.arms, &t.count, t.summary, error);
    if (status == SG_OK) {
        sg_arms_tell_apart(t.arms, t.count);
        sg_arms_widen(t.arms, t.count);
        if (layout->dress != NULL)
            layout->dress(t.arms, t.count);
        sg_training_panels(&t, drawing->figure);
        sg_training_note(&t, drawing->remark, sizeof drawing->remark);
        drawing->seed = 0; /* the seeds are those of the experiment, in the tables' metadata */
    }
    sg_table_free(own);
    return status;
}
