/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R13: gates of one centre and different tails, in the layout of Figure 1 of arXiv 2602.19345. */
#include <stdio.h>

#include "curve/landmarks.h"
#include "plots/drawing.h"

static const struct {
    const char *label,
        *spec; /* the temperature (or its inverse) is appended when the spec ends in '=' */
    sg_gate_kind gate;
} gates[] = {
    {"hard clip 0.2", "grpo:eps_low=0.2,eps_high=0.2", SG_GATE_HARD},
    {"erf", "gate-erf:tau_pos=", SG_GATE_ERF},
    {"arctan", "gate-arctan:tau_pos=", SG_GATE_ARCTAN},
    {"softsign", "gate-softsign:tau_pos=", SG_GATE_SOFTSIGN},
    {"Gaussian in ln r, σ = 1/τ", "gipo:sigma=", SG_GATE_GIPO},
    {"sigmoid", "sapo:tau_pos=", SG_GATE_SAPO},
};

enum { GATES = sizeof gates / sizeof *gates, COLUMNS = 3 };

static const double temperatures[COLUMNS] = {1, 5, 10};
static const char *const temperature_names[COLUMNS] = {"1", "5", "10"};
static const char shifted_label[] = "sigmoid, shifted to f(1) = 1";

static sg_status parse_gate(sg_objective *objective, size_t g, double tau, sg_error *error)
{
    char spec[96];
    if (gates[g].gate == SG_GATE_HARD)
        return sg_objective_parse(objective, gates[g].spec, error);
    snprintf(spec, sizeof spec, "%s%g", gates[g].spec,
             gates[g].gate == SG_GATE_GIPO ? 1 / tau : tau);
    return sg_objective_parse(objective, spec, error);
}

/* The curves of one temperature; the column "tau" tells them apart. */
static sg_status add_column(sg_table *table, double tau, sg_curve_grid grid, sg_error *error)
{
    size_t first = sg_table_rows(table), shifted = first;
    sg_objective objective;
    sg_status status = SG_OK;
    for (size_t g = 0; g < GATES && status == SG_OK; g++) {
        status = parse_gate(&objective, g, tau, error);
        if (status == SG_OK)
            status = sg_curves_add(table, gates[g].label, &objective, 1, grid, error);
    }
    shifted = sg_table_rows(table);
    if (status == SG_OK) /* the sigmoid again: `objective` still is the last gate */
        status = sg_curves_add(table, shifted_label, &objective, 1, grid, error);
    if (status != SG_OK)
        return status;
    size_t surrogate = (size_t)sg_table_find(table, "surrogate");
    size_t tau_column = (size_t)sg_table_find(table, "tau");
    double shift = 1 - sg_gate_at_ratio(&objective, 1, 1).surrogate;
    for (size_t row = first; row < sg_table_rows(table); row++)
        sg_table_set_real(table, tau_column, row, tau);
    for (size_t row = shifted; row < sg_table_rows(table); row++)
        sg_table_set_real(table, surrogate, row, sg_table_get_real(table, surrogate, row) + shift);
    return SG_OK;
}

static sg_status fill(sg_table *table, sg_curve_grid grid, sg_error *error)
{
    sg_status status = sg_curves_init(table, false, error);
    if (status == SG_OK)
        status = sg_table_add_column(table, "tau", SG_COLUMN_REAL, error);
    for (size_t c = 0; c < COLUMNS && status == SG_OK; c++)
        status = add_column(table, temperatures[c], grid, error);
    return status;
}

static void add_curves(sg_panel *panel, const sg_table *table, size_t column, const char *y,
                       bool with_shifted)
{
    for (size_t g = 0; g < (size_t)(with_shifted ? GATES + 1 : GATES); g++) {
        bool shifted = g == GATES;
        sg_layer layer = {.mark = SG_MARK_LINE,
                          .table = table,
                          .where = {{"label", shifted ? shifted_label : gates[g].label},
                                    {"tau", temperature_names[column]}},
                          .x = "ratio",
                          .y = y,
                          .pen =
                              sg_theme_pen(shifted ? SG_GATE_SAPO : gates[g].gate, SG_LEVEL_TOKEN)};
        if (shifted)
            layer.pen.dash = SG_SHORT_DASH;
        snprintf(layer.title, sizeof layer.title, "%s", shifted ? shifted_label : gates[g].label);
        sg_panel_add_layer(panel, layer);
    }
}

/* A column of panels for each temperature, and the curves up to the ratio `high`. */
static sg_status start(sg_drawing *drawing, size_t rows, double high, sg_table **table,
                       sg_error *error)
{
    const sg_curve_grid grid = {NULL, 0, high, 1001, false};
    sg_status status = sg_drawing_start(drawing, rows, COLUMNS, table, error);
    if (status == SG_OK)
        status = fill(*table, grid, error);
    if (status == SG_OK)
        drawing->figure->legend = SG_LEGEND_ABOVE;
    return status;
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    static const double tops[COLUMNS] = {4.2, 1.5, 1.5};
    sg_table *table;
    sg_status status = start(drawing, 2, 5, &table, error);
    if (status != SG_OK)
        return status;
    drawing->figure->aspect = 0.8;
    for (size_t c = 0; c < COLUMNS; c++) {
        sg_panel *value = sg_figure_panel(drawing->figure, 0, c);
        sg_panel *weight = sg_figure_panel(drawing->figure, 1, c);
        snprintf(value->title, sizeof value->title, "τ = %s", temperature_names[c]);
        value->x = (sg_axis){.low = 0, .high = 5, .step = 1, .bare = true};
        weight->x = (sg_axis){.label = "r", .low = 0, .high = 5, .step = 1};
        value->y = (sg_axis){.low = -0.05 * tops[c], .high = tops[c], .step = c == 0 ? 1 : 0.5};
        weight->y = (sg_axis){.low = -0.05, .high = 1.05, .step = 0.2, .bare = c > 0};
        if (c == 0) {
            snprintf(value->y.label, sizeof value->y.label, "Surrogate f");
            snprintf(weight->y.label, sizeof weight->y.label, "Weight w = f'");
        }
        add_curves(value, table, c, "surrogate", true);
        add_curves(weight, table, c, "weight", false);
    }
    return SG_OK;
}

static sg_status build_tails(sg_drawing *drawing, sg_error *error)
{
    sg_table *table;
    sg_status status = start(drawing, 1, 20, &table, error);
    if (status != SG_OK)
        return status;
    drawing->figure->aspect = 0.95;
    for (size_t c = 0; c < COLUMNS; c++) {
        sg_panel *panel = sg_figure_panel(drawing->figure, 0, c);
        snprintf(panel->title, sizeof panel->title, "τ = %s", temperature_names[c]);
        panel->x = (sg_axis){.label = "r", .low = 0, .high = 20, .step = 5};
        panel->y = (sg_axis){.low = 1e-12, .high = 2, .log = true, .bare = c > 0};
        if (c == 0)
            snprintf(panel->y.label, sizeof panel->y.label, "Weight w = f'");
        add_curves(panel, table, c, "weight", false);
    }
    return SG_OK;
}

#define READER                                                                                     \
    "Reader: same centre, different tails: exponential (sigmoid), Gaussian (erf), 1/r^2 "          \
    "(arctan), 1/r^3 "                                                                             \
    "(softsign). Heavier tails keep more stale tokens: more exploration, less stability. "         \
    "Published scores for "                                                                        \
    "sigmoid, erf, arctan, softsign (arXiv 2602.19345): GSM8K 82.2, 82.7, 82.3, 82.8; MATH500 "    \
    "57.8, 56.2, 55.8, "                                                                           \
    "57.2 (GRPO 58.6); AIME 8.3, 10.0, 5.0, 5.0: no clear winner."

const sg_recipe sg_recipe_r13 = {
    .name = "R13",
    .title = "Soft gates with different tails",
    .caption = "Top: the surrogate f; bottom: the weight w, for A > 0 and tau 1, 5, 10. The "
               "sigmoid gate (SAPO) is drawn "
               "as it is and shifted to pass through (1, 1), since the others do; the Gaussian in "
               "ln r uses sigma = "
               "1/tau, our mapping. " READER,
    .build = build,
};

const sg_recipe sg_recipe_r13b = {
    .name = "R13b",
    .title = "Tails of the soft gates on a logarithmic axis",
    .caption = "The weight w for A > 0 and tau 1, 5, 10 out to r = 20. " READER,
    .build = build_tails,
};
