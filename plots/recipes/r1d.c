/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R1d: one temperature sets width, floor and amplification together. */
#include <math.h>
#include <stdio.h>

#include "curve/landmarks.h"
#include "plots/drawing.h"

static const struct {
    const char *label, *spec;
    sg_pen pen;
} sweep[] = {
    {"τ = 0.5", "sapo:tau_pos=0.5", {0x9E9AC8, SG_LONG_DASH, SG_NO_MARKER, 0}},
    {"τ = 1", "sapo:tau_pos=1", {SG_COLOUR_SAPO, SG_SOLID, SG_NO_MARKER, 1.5}},
    {"τ = 2", "sapo:tau_pos=2", {0x56B4E9, SG_DASHED, SG_NO_MARKER, 0}},
    {"τ = 3", "sapo:tau_pos=3", {SG_COLOUR_GRPO, SG_SOLID, SG_NO_MARKER, 0}},
    {"τ = 5", "sapo:tau_pos=5", {0xCA9161, SG_DASH_DOT, SG_NO_MARKER, 0}},
    {"τ = 10", "sapo:tau_pos=10", {SG_COLOUR_RED, SG_SOLID, SG_NO_MARKER, 0}},
    {"τ = 12", "sapo:tau_pos=12", {0x7F0000, SG_SHORT_DASH, SG_NO_MARKER, 0}},
};

enum { SWEEP = sizeof sweep / sizeof *sweep, TEMPERATURES = 161, SUMMARY_COLUMNS = 5 };

static const char *const summary_columns[SUMMARY_COLUMNS] = {
    "tau", "half_width", "floor", "max_coefficient", "max_coefficient_ratio"};

static sg_status fill_curves(sg_table *table, sg_error *error)
{
    const sg_curve_grid grid = {NULL, 0, 5, 1001, false};
    sg_status status = sg_curves_init(table, false, error);
    for (size_t i = 0; i < SWEEP && status == SG_OK; i++)
        status = sg_curves_add_spec(table, sweep[i].label, sweep[i].spec, 1, grid, error);
    return status;
}

static sg_status landmarks_of(sg_landmarks *at, double tau, sg_error *error)
{
    sg_objective sapo;
    sg_status status = sg_objective_parse(&sapo, "sapo", error);
    if (status != SG_OK)
        return status;
    sapo.parameter.tau_pos = tau;
    return sg_landmarks_find(at, &sapo, 1, 1e4, error);
}

static sg_status fill_summary(sg_table *table, sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t c = 0; c < SUMMARY_COLUMNS && status == SG_OK; c++)
        status = sg_table_add_column(table, summary_columns[c], SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = sg_table_add_rows(table, TEMPERATURES, error);
    for (size_t i = 0; i < TEMPERATURES && status == SG_OK; i++) {
        sg_landmarks at;
        double tau = 0.5 * pow(40, (double)i / (TEMPERATURES - 1));
        status = landmarks_of(&at, tau, error);
        if (status != SG_OK)
            break;
        const double values[] = {tau, at.half_width, at.floor, at.peak, at.peak_ratio};
        for (size_t c = 0; c < SUMMARY_COLUMNS; c++)
            sg_table_set_real(table, c, i, values[c]);
    }
    return status;
}

static void describe_curves(sg_panel *panel, const sg_table *table, const char *column)
{
    panel->x = (sg_axis){.label = "r", .low = 0, .high = 5, .step = 1};
    for (size_t i = 0; i < SWEEP; i++) {
        sg_layer layer = {.mark = SG_MARK_LINE,
                          .table = table,
                          .where = {{"label", sweep[i].label}},
                          .x = "ratio",
                          .y = column,
                          .pen = sweep[i].pen};
        snprintf(layer.title, sizeof layer.title, "%s", sweep[i].label);
        sg_panel_add_layer(panel, layer);
    }
}

static sg_status describe_summary(sg_panel *panel, const sg_table *table, sg_error *error)
{
    static const struct {
        const char *label;
        double x, y;
        sg_align align;
        sg_pen pen;
    } lines[] = {
        {"half width", 0.7, 3.0, SG_ALIGN_LEFT, {SG_COLOUR_SAPO, SG_SOLID, SG_NO_MARKER, 1.3}},
        {"max c", 4.5, 1.22, SG_ALIGN_LEFT, {SG_COLOUR_RED, SG_DASHED, SG_NO_MARKER, 1.3}},
        {"w(0)", 1.05, 0.55, SG_ALIGN_RIGHT, {SG_COLOUR_GRPO, SG_DASH_DOT, SG_NO_MARKER, 1.3}},
    };
    static const char *const columns[] = {"half_width", "max_coefficient", "floor"};
    static const double ticks[] = {0.5, 1, 2, 5, 10, 20};
    panel->x = (sg_axis){.label = "Temperature τ", .low = 0.5, .high = 20, .log = true};
    for (size_t i = 0; i < 6; i++) {
        char label[16];
        snprintf(label, sizeof label, "%g", ticks[i]);
        sg_axis_add_tick(&panel->x, ticks[i], label);
    }
    panel->y = (sg_axis){.low = 0, .high = 3.6, .step = 0.5};
    for (size_t i = 0; i < 3; i++) {
        sg_panel_add_layer(panel, (sg_layer){.mark = SG_MARK_LINE,
                                             .table = table,
                                             .x = "tau",
                                             .y = columns[i],
                                             .pen = lines[i].pen});
        sg_note note = {.kind = SG_NOTE_TEXT,
                        .x = lines[i].x,
                        .y = lines[i].y,
                        .align = lines[i].align,
                        .colour = lines[i].pen.colour};
        snprintf(note.text, sizeof note.text, "%s", lines[i].label);
        sg_panel_add_note(panel, note);
    }
    double low = 1, high = 20; /* the temperature that leaves w(0) = 0.1, by bisection */
    for (int i = 0; i < 50; i++) {
        sg_landmarks at;
        double middle = (low + high) / 2;
        sg_status status = landmarks_of(&at, middle, error);
        if (status != SG_OK)
            return status;
        if (at.floor > 0.1)
            low = middle;
        else
            high = middle;
    }
    sg_note mark = {.kind = SG_NOTE_ARROW,
                    .x = 4.6,
                    .y = 0.6,
                    .x2 = low * 1.02,
                    .y2 = 0.14,
                    .colour = SG_COLOUR_GRPO};
    snprintf(mark.text, sizeof mark.text, "0.1 at %.2f", low);
    sg_panel_add_note(panel, mark);
    return SG_OK;
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    sg_table *curves, *summary;
    sg_status status = sg_drawing_start(drawing, 1, 3, &curves, error);
    if (status == SG_OK)
        status = sg_drawing_add_table(drawing, "temperature", &summary, error);
    if (status == SG_OK)
        status = fill_curves(curves, error);
    if (status == SG_OK)
        status = fill_summary(summary, error);
    if (status != SG_OK)
        return status;
    sg_figure *figure = drawing->figure;
    figure->legend = SG_LEGEND_ABOVE;
    figure->aspect = 0.95;
    sg_panel *weight = sg_figure_panel(figure, 0, 0), *coefficient = sg_figure_panel(figure, 0, 1);
    weight->y = (sg_axis){.label = "Weight w", .low = -0.03, .high = 1.05, .step = 0.2};
    coefficient->y =
        (sg_axis){.label = "Coefficient c = r w", .low = -0.08, .high = 2.6, .step = 0.5};
    describe_curves(weight, curves, "weight");
    describe_curves(coefficient, curves, "coefficient");
    return describe_summary(sg_figure_panel(figure, 0, 2), summary, error);
}

const sg_recipe sg_recipe_r1d = {
    .name = "R1d",
    .title = "Temperature sweep of the SAPO gate",
    .caption = "Gate w and coefficient c for temperatures 0.5 to 12, and against the temperature: "
               "the half width "
               "(1.7627/tau), the weight that is left at r = 0 (sech^2(tau/2)), and the largest "
               "coefficient. "
               "Reader: one knob sets width, floor and amplification together; a floor of 0.1 "
               "needs tau = 3.64, "
               "far from 1.05.",
    .build = build,
};
