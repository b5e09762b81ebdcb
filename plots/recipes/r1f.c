/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R1f: what every method does with an update, over ratio and advantage. */
#include <stdio.h>

#include "plots/drawing.h"

static const struct {
    const char *label, *spec, *axis;
} methods[] = {
    {"GRPO 0.2/0.2", "grpo:eps_low=0.2,eps_high=0.2", "ln r"},
    {"DAPO 0.2/0.28", "dapo:eps_low=0.2,eps_high=0.28", "ln r"},
    {"SAPO 1.0/1.05", "sapo:tau_pos=1,tau_neg=1.05", "ln r"},
    {"GSPO 3e-4/4e-4", "gspo:eps_low=3e-4,eps_high=4e-4", "ln s"},
};

enum { METHODS = sizeof methods / sizeof *methods, ADVANTAGES = 40 };

/* Advantages -1.95, -1.85, ..., 1.95: cell centres, so that A = 0 itself, where nothing happens, is
 * not drawn. */
static sg_status fill(sg_table *table, sg_curve_grid grid, sg_error *error)
{
    sg_status status = sg_curves_init(table, false, error);
    if (status == SG_OK)
        status = sg_table_add_column(table, "update", SG_COLUMN_REAL, error);
    for (size_t m = 0; m < METHODS && status == SG_OK; m++) {
        sg_objective objective;
        status = sg_objective_parse(&objective, methods[m].spec, error);
        for (size_t a = 0; a < ADVANTAGES && status == SG_OK; a++) {
            double advantage = 0.1 * (double)a - 1.95;
            for (size_t i = 0; i < grid.points && status == SG_OK; i++) {
                /* One point at a time: a map has no vertical edges to draw. */
                double share = (double)i / (double)(grid.points - 1);
                double at = grid.low * (1 - share) + grid.high * share;
                status =
                    sg_curves_add_point(table, methods[m].label, &objective, advantage, at, error);
            }
        }
    }
    if (status != SG_OK)
        return status;
    size_t advantage = (size_t)sg_table_find(table, "advantage");
    size_t coefficient = (size_t)sg_table_find(table, "coefficient");
    size_t update = (size_t)sg_table_find(table, "update");
    for (size_t row = 0; row < sg_table_rows(table); row++)
        sg_table_set_real(table, update, row,
                          sg_table_get_real(table, advantage, row) *
                              sg_table_get_real(table, coefficient, row));
    return SG_OK;
}

static void describe_panel(sg_panel *panel, const sg_table *table, size_t m, bool update,
                           double limit, double step)
{
    panel->x = (sg_axis){.low = -limit, .high = limit, .step = step, .bare = m + 2 < METHODS};
    snprintf(panel->x.label, sizeof panel->x.label, "%s", m + 2 >= METHODS ? methods[m].axis : "");
    panel->y = (sg_axis){.low = -2, .high = 2, .step = 1, .bare = update};
    if (!update)
        snprintf(panel->y.label, sizeof panel->y.label, "A");
    snprintf(panel->title, sizeof panel->title, "%s: %s", methods[m].label, update ? "c A" : "w");
    panel->no_grid = true;
    panel->palette = update ? SG_PALETTE_DIVERGING : SG_PALETTE_VIRIDIS;
    panel->z_low = update ? -3 : 0;
    panel->z_high = update ? 3 : 1;
    panel->z_step = update ? 1 : 0.2;
    sg_panel_add_layer(panel, (sg_layer){.mark = SG_MARK_IMAGE,
                                         .table = table,
                                         .where = {{"label", methods[m].label}},
                                         .x = "log_ratio",
                                         .y = "advantage",
                                         .z = update ? "update" : "weight"});
}

static sg_status build(sg_drawing *drawing, double limit, double step, sg_error *error)
{
    const sg_curve_grid grid = {NULL, -limit, limit, 121, true};
    sg_table *table;
    sg_status status = sg_drawing_start(drawing, METHODS, 2, &table, error);
    if (status == SG_OK)
        status = fill(table, grid, error);
    if (status != SG_OK)
        return status;
    for (size_t m = 0; m < METHODS; m++) {
        describe_panel(sg_figure_panel(drawing->figure, m, 0), table, m, false, limit, step);
        describe_panel(sg_figure_panel(drawing->figure, m, 1), table, m, true, limit, step);
    }
    drawing->figure->aspect = 0.42;
    return SG_OK;
}

static sg_status build_near(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, 0.6, 0.2, error);
}

static sg_status build_wide(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, 4, 1, error);
}

#define CAPTION                                                                                    \
    "Left: the weight w; right: c A, which multiplies grad log pi (colours end at +-3), over the " \
    "log-ratio and the "                                                                           \
    "advantage. For GSPO the ratio is that of the sequence, s. Reader: the four quadrants (sign "  \
    "of A, side of "                                                                               \
    "r) show at a glance which updates a method cuts: the hard clip cuts two, SAPO fades all "     \
    "four."

const sg_recipe sg_recipe_r1f = {
    .name = "R1f",
    .title = "Which updates a method cuts",
    .caption = CAPTION,
    .build = build_near,
};

const sg_recipe sg_recipe_r1f_wide = {
    .name = "R1f-wide",
    .title = "Which updates a method cuts, far from the old policy",
    .caption = CAPTION,
    .build = build_wide,
};
