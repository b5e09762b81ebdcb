/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R1b: the half that Figure 1 of the paper leaves out, A < 0. */
#include <stdio.h>

#include "plots/drawing.h"

static const struct {
    const char *label, *spec;
    sg_pen pen;
} curves[] = {
    {"Hard Clipping (ε=1.0)", "grpo:eps_low=0", {0xFFDB9B, SG_SOLID, SG_NO_MARKER, 3.2}},
    {"Hard Clipping (ε=0.2)", "grpo:eps_low=0.2", {0xFFA500, SG_SOLID, SG_NO_MARKER, 1.5}},
    {"Unclipped", "unclipped", {0x000000, SG_DASHED, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=0.95)", "sapo:tau_neg=0.95", {0x56B4E9, SG_DASH_DOT, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=1.0)", "sapo:tau_neg=1", {0x008000, SG_SOLID, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=1.05)", "sapo:tau_neg=1.05", {SG_COLOUR_RED, SG_LONG_DASH, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=2.0)", "sapo:tau_neg=2", {0x0000FF, SG_SOLID, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=3.0)", "sapo:tau_neg=3", {0x800080, SG_SOLID, SG_NO_MARKER, 0}},
};

enum { CURVES = sizeof curves / sizeof *curves, NEVER_CLIPS = 0 };

/* The contribution of the token to the objective, f A, as a column of its own. */
static sg_status add_products(sg_table *table, sg_error *error)
{
    sg_status status = sg_table_add_column(table, "objective_value", SG_COLUMN_REAL, error);
    if (status != SG_OK)
        return status;
    size_t advantage = (size_t)sg_table_find(table, "advantage");
    size_t surrogate = (size_t)sg_table_find(table, "surrogate");
    size_t product = (size_t)sg_table_find(table, "objective_value");
    for (size_t row = 0; row < sg_table_rows(table); row++)
        sg_table_set_real(table, product, row,
                          sg_table_get_real(table, advantage, row) *
                              sg_table_get_real(table, surrogate, row));
    return SG_OK;
}

static void describe(sg_figure *figure, const sg_table *table)
{
    static const char *const columns[] = {"surrogate", "objective_value", "weight"};
    static const char *const labels[] = {"Surrogate f", "Objective f A at A = −1", "w_{i,t}(θ)"};
    static const double limits[][3] = {{-0.25, 5.25, 1}, {-5.25, 0.25, 1}, {-0.05, 1.05, 0.2}};
    figure->legend = SG_LEGEND_ABOVE;
    figure->aspect = 0.9;
    for (size_t p = 0; p < 3; p++) {
        sg_panel *panel = sg_figure_panel(figure, 0, p);
        panel->x = (sg_axis){.label = "r_{i,t}(θ)", .low = -0.25, .high = 5.25, .step = 1};
        panel->y = (sg_axis){.low = limits[p][0], .high = limits[p][1], .step = limits[p][2]};
        snprintf(panel->y.label, sizeof panel->y.label, "%s", labels[p]);
        for (size_t i = 0; i < CURVES; i++) {
            sg_layer layer = {.mark = SG_MARK_LINE,
                              .table = table,
                              .where = {{"label", curves[i].label}},
                              .x = "ratio",
                              .y = columns[p],
                              .pen = curves[i].pen};
            snprintf(layer.title, sizeof layer.title, "%s", curves[i].label);
            sg_panel_add_layer(panel, layer);
        }
    }
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    const sg_curve_grid grid = {NULL, 0, 5, 1001, false};
    sg_table *table;
    sg_status status = sg_drawing_start(drawing, 1, 3, &table, error);
    if (status == SG_OK)
        status = sg_curves_init(table, false, error);
    for (size_t i = 0; i < CURVES && status == SG_OK; i++) {
        sg_objective objective;
        status = sg_objective_parse(&objective, curves[i].spec, error);
        if (i == NEVER_CLIPS)
            objective.parameter.eps_low = 1; /* outside the valid range: clips at r < 0 only */
        if (status == SG_OK)
            status = sg_curves_add(table, curves[i].label, &objective, -1, grid, error);
    }
    if (status == SG_OK)
        status = add_products(table, error);
    if (status == SG_OK)
        describe(drawing->figure, table);
    return status;
}

const sg_recipe sg_recipe_r1b = {
    .name = "R1b",
    .title = "Negative advantages: the half that Figure 1 of the SAPO paper leaves out",
    .caption = "For A < 0: the factor f, the objective f A at A = -1, and the gate w. A hard clip "
               "with eps = 1 "
               "never acts for r >= 0, so eps = 0.2 is drawn too. Reader: for negative advantages "
               "the hard clip "
               "acts on the low side and leaves large r unbounded; SAPO is symmetric in r - 1, so "
               "it damps large "
               "r but keeps at least 77 % weight (tau 1.05) where GRPO gives none.",
    .build = build,
};
