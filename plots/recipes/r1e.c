/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R1e: SAPO, VESPO and the hard clip on the axis of VESPO's paper (arXiv 2602.10693). */
#include <math.h>
#include <stdio.h>

#include "curve/landmarks.h"
#include "plots/drawing.h"

static const struct {
    const char *label, *spec;
    sg_pen pen;
} curves[] = {
    {"SAPO 1.0/1.05", "sapo:tau_pos=1,tau_neg=1.05", {0xFF8C00, SG_SOLID, SG_NO_MARKER, 1.3}},
    {"VESPO (2,3)/(3,2)", "vespo", {0xD62728, SG_DASH_DOT, SG_NO_MARKER, 1.3}},
    {"Hard clip 0.2", "grpo:eps_low=0.2,eps_high=0.2", {0x1F77B4, SG_LONG_DASH, SG_NO_MARKER, 1.3}},
    {"y = W", "unclipped", {0x808080, SG_SHORT_DASH, SG_NO_MARKER, 0}},
};

enum { CURVES = sizeof curves / sizeof *curves, VESPO = 1, IDENTITY = 3 };

/* Divides VESPO's surrogate and coefficient by the largest coefficient, so that phi has maximum 1.
 * The factor is a column, so that the table says what was done. */
static sg_status scale_vespo(sg_table *table, bool scaled, sg_error *error)
{
    sg_status status = sg_table_add_column(table, "scale", SG_COLUMN_REAL, error);
    sg_objective vespo;
    if (status == SG_OK)
        status = sg_objective_parse(&vespo, curves[VESPO].spec, error);
    sg_landmarks at[2];
    for (int sign = 0; sign < 2 && status == SG_OK; sign++)
        status = sg_landmarks_find(&at[sign], &vespo, sign == 0 ? 1 : -1, 20, error);
    if (status != SG_OK)
        return status;
    size_t scale = (size_t)sg_table_find(table, "scale");
    size_t objective = (size_t)sg_table_find(table, "objective");
    size_t advantage = (size_t)sg_table_find(table, "advantage");
    static const char *const scaled_columns[] = {"surrogate", "weight", "coefficient"};
    for (size_t row = 0; row < sg_table_rows(table); row++) {
        bool is_vespo = sg_table_get_text(table, objective, row)[0] == 'v';
        double peak = at[sg_table_get_real(table, advantage, row) < 0].peak;
        double factor = scaled && is_vespo ? 1 / peak : 1;
        sg_table_set_real(table, scale, row, factor);
        for (size_t c = 0; c < 3; c++) {
            size_t column = (size_t)sg_table_find(table, scaled_columns[c]);
            sg_table_set_real(table, column, row, factor * sg_table_get_real(table, column, row));
        }
    }
    return SG_OK;
}

static void describe_panel(sg_panel *panel, const sg_table *table, bool coefficient, bool negative)
{
    panel->x = (sg_axis){.low = 0, .high = 3, .step = 0.5, .bare = !coefficient};
    panel->y = (sg_axis){
        .low = 0, .high = coefficient ? 3 : 4, .step = coefficient ? 0.5 : 1, .bare = negative};
    if (coefficient)
        snprintf(panel->x.label, sizeof panel->x.label, "W");
    else
        snprintf(panel->title, sizeof panel->title, "%s", negative ? "A < 0" : "A > 0");
    if (!negative)
        snprintf(panel->y.label, sizeof panel->y.label, "%s", coefficient ? "W f'(W)" : "f(W)");
    sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_VERTICAL, .x = 1, .colour = 0xa0a0a0});
    for (size_t i = 0; i < CURVES; i++) {
        if (i == IDENTITY && !coefficient)
            continue;
        sg_layer layer = {
            .mark = SG_MARK_LINE,
            .table = table,
            .where = {{"label", curves[i].label}, {"advantage", negative ? "-1" : "1"}},
            .x = "ratio",
            .y = coefficient ? "coefficient" : "surrogate",
            .pen = curves[i].pen};
        snprintf(layer.title, sizeof layer.title, "%s", curves[i].label);
        sg_panel_add_layer(panel, layer);
    }
}

static sg_status build(sg_drawing *drawing, bool scaled, sg_error *error)
{
    const sg_curve_grid grid = {NULL, 0, 3, 601, false};
    sg_table *table;
    sg_status status = sg_drawing_start(drawing, 2, 2, &table, error);
    if (status == SG_OK)
        status = sg_curves_init(table, false, error);
    for (size_t i = 0; i < 2 * CURVES && status == SG_OK; i++)
        status = sg_curves_add_spec(table, curves[i / 2].label, curves[i / 2].spec,
                                    i % 2 == 0 ? 1 : -1, grid, error);
    if (status == SG_OK)
        status = scale_vespo(table, scaled, error);
    if (status != SG_OK)
        return status;
    for (size_t p = 0; p < 4; p++)
        describe_panel(sg_figure_panel(drawing->figure, p / 2, p % 2), table, p / 2 == 1,
                       p % 2 == 1);
    drawing->figure->legend = SG_LEGEND_ABOVE;
    drawing->figure->aspect = 0.62;
    return SG_OK;
}

static sg_status build_unit(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, false, error);
}

static sg_status build_scaled(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, true, error);
}

#define CAPTION                                                                                    \
    "Top: the (implicit) surrogate f(W); bottom: W f'(W), the coefficient; left A > 0, right A < " \
    "0. "

#define READER                                                                                     \
    " Reader: VESPO suppresses W < 1 for negative advantages, SAPO does not; the two published "   \
    "scalings "                                                                                    \
    "look different only by a constant."

const sg_recipe sg_recipe_r1e = {
    .name = "R1e",
    .title = "SAPO, VESPO and the hard clip on one axis",
    .caption = CAPTION "VESPO's weight phi is scaled to phi(1) = 1." READER,
    .build = build_unit,
};

const sg_recipe sg_recipe_r1e_max = {
    .name = "R1e-max",
    .title = "SAPO, VESPO and the hard clip on one axis, VESPO scaled to maximum 1",
    .caption = CAPTION
    "VESPO's weight phi is scaled to maximum 1, so that phi(1) = 0.8277 for A > 0 and 0.8054 "
    "for A < 0." READER,
    .build = build_scaled,
};
