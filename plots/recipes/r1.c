/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R1: Figure 1 of the SAPO paper (arXiv 2511.20347), same panels, curves, colours and limits. */
#include <stdio.h>

#include "plots/drawing.h"

static const struct {
    const char *label, *spec;
    sg_pen pen;
} curves[] = {
    {"Unclipped", "unclipped", {0x000000, SG_DASHED, SG_NO_MARKER, 0}},
    {"Hard Clipping (ε=1.0)", "grpo:eps_low=0,eps_high=1", {0xFFA500, SG_SOLID, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=1.0)", "sapo:tau_pos=1", {0x008000, SG_SOLID, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=2.0)", "sapo:tau_pos=2", {0x0000FF, SG_SOLID, SG_NO_MARKER, 0}},
    {"Soft Gate (τ=3.0)", "sapo:tau_pos=3", {0x800080, SG_SOLID, SG_NO_MARKER, 0}},
};

enum { CURVES = sizeof curves / sizeof *curves };

static void describe(sg_figure *figure, const sg_table *table)
{
    figure->legend = SG_LEGEND_ABOVE;
    figure->aspect = 0.68;
    sg_panel *value = sg_figure_panel(figure, 0, 0), *weight = sg_figure_panel(figure, 0, 1);
    value->x = (sg_axis){.label = "r_{i,t}(θ)", .low = -0.25, .high = 5.25, .step = 1};
    value->y = (sg_axis){.label = "Objective Value", .low = -0.25, .high = 5.25, .step = 1};
    weight->x = value->x;
    weight->y = (sg_axis){.label = "w_{i,t}(θ)", .low = -0.05, .high = 1.05, .step = 0.2};
    for (size_t i = 0; i < CURVES; i++) {
        sg_layer layer = {.mark = SG_MARK_LINE,
                          .table = table,
                          .where = {{"label", curves[i].label}},
                          .x = "ratio",
                          .pen = curves[i].pen};
        snprintf(layer.title, sizeof layer.title, "%s", curves[i].label);
        if (i == 1)
            layer.pen.width = 1.5;
        layer.y = "surrogate";
        sg_panel_add_layer(value, layer);
        layer.y = "weight";
        sg_panel_add_layer(weight, layer);
    }
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    const sg_curve_grid grid = {NULL, 0, 5, 1001, false};
    sg_table *table;
    sg_status status = sg_drawing_start(drawing, 1, 2, &table, error);
    if (status == SG_OK)
        status = sg_curves_init(table, false, error);
    for (size_t i = 0; i < CURVES && status == SG_OK; i++)
        status = sg_curves_add_spec(table, curves[i].label, curves[i].spec, 1, grid, error);
    if (status == SG_OK)
        describe(drawing->figure, table);
    return status;
}

const sg_recipe sg_recipe_r1 = {
    .name = "R1",
    .title = "Surrogate and gate of SAPO against the hard clip",
    .caption = "Left: the factor of a positive advantage in the objective, as it is (no shift); "
               "right: its "
               "derivative by the ratio, the gate. Counterpart of Figure 1 of the SAPO paper "
               "(arXiv 2511.20347). "
               "Temperatures 1 to 3 and eps = 1 are for display, not training values. Reader: the "
               "soft gate is "
               "smooth and has weight 1 at r = 1 for every temperature; a larger tau is a narrower "
               "trust region. "
               "The heights of f differ by 2/tau and mean nothing; compare w.",
    .build = build,
};
