/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R1c: the effective coefficient c = r w of all ratio methods, by sign of the advantage. */
#include <math.h>
#include <stdio.h>

#include "curve/landmarks.h"
#include "plots/drawing.h"

/* Wide pale lines first: for A < 0 many of these curves lie on each other. */
static const struct {
    const char *label, *spec;
    double width;
} curves[] = {
    {"ASPO C = 3", "aspo:cap=3", 3.5},
    {"CISPO [0, 5]", "cispo", 2.4},
    {"CE-GPPO (0.75, 1)", "ce-gppo:beta_low=0.75,beta_high=1", 1.6},
    {"GRPO 0.2/0.2", "grpo:eps_low=0.2,eps_high=0.2", 1.2},
    {"GRPO 0.2/0.27", "grpo:eps_low=0.2,eps_high=0.27", 1.2},
    {"Unclipped", "unclipped", 0.7},
    {"GIPO σ = 1", "gipo:sigma=1", 1},
    {"erf gate τ = 1", "gate-erf:tau_pos=1,tau_neg=1", 1.3},
    {"arctan gate τ = 1", "gate-arctan:tau_pos=1,tau_neg=1", 1},
    {"softsign gate τ = 1", "gate-softsign:tau_pos=1,tau_neg=1", 1},
    {"VESPO (in W)", "vespo", 1},
    {"SAPO 1.0/1.05", "sapo:tau_pos=1,tau_neg=1.05", 1.7},
};

enum { CURVES = sizeof curves / sizeof *curves, WIDER_GRPO = 4 };

static const char sapo_spec[] = "sapo:tau_pos=1,tau_neg=1.05";

static sg_status add_curves(sg_panel *panel, const sg_table *table, const char *grid,
                            const char *advantage, sg_error *error)
{
    for (size_t i = 0; i < CURVES; i++) {
        sg_objective objective;
        sg_status status = sg_objective_parse(&objective, curves[i].spec, error);
        if (status != SG_OK)
            return status;
        sg_layer layer = {
            .mark = SG_MARK_LINE,
            .table = table,
            .where = {{"label", curves[i].label}, {"grid", grid}, {"advantage", advantage}},
            .x = grid,
            .y = "coefficient",
            .pen = sg_theme_pen(objective.gate, SG_LEVEL_TOKEN)};
        if (i == WIDER_GRPO)
            layer.pen.dash = SG_DOTTED;
        layer.pen.width = curves[i].width;
        snprintf(layer.title, sizeof layer.title, "%s", curves[i].label);
        sg_panel_add_layer(panel, layer);
    }
    return SG_OK;
}

/* The peak of SAPO's coefficient and the place where it is 1 again. */
static sg_status mark_sapo(sg_panel *panel, double advantage, bool log_ratio, sg_error *error)
{
    sg_objective sapo;
    sg_landmarks at;
    sg_status status = sg_objective_parse(&sapo, sapo_spec, error);
    if (status == SG_OK)
        status = sg_landmarks_find(&at, &sapo, advantage, 100, error);
    if (status != SG_OK)
        return status;
    sg_note point = {.kind = SG_NOTE_POINT, .colour = SG_COLOUR_SAPO};
    point.x = log_ratio ? log(at.peak_ratio) : at.peak_ratio;
    point.y = at.peak;
    sg_panel_add_note(panel, point);
    sg_note unit = {.kind = SG_NOTE_POINT, .colour = SG_COLOUR_SAPO, .y = 1};
    unit.x = log_ratio ? log(at.unit_ratio) : at.unit_ratio;
    sg_panel_add_note(panel, unit);
    if (log_ratio)
        return SG_OK;
    sg_note text = {.kind = SG_NOTE_ARROW, .spare = true, .colour = SG_COLOUR_SAPO};
    text.x = 2.75, text.y = 2.45, text.x2 = point.x + 0.08, text.y2 = point.y + 0.1;
    snprintf(text.text, sizeof text.text, "max %.2f at r = %.2f", at.peak, at.peak_ratio);
    sg_panel_add_note(panel, text);
    text.x = 3.3, text.y = 1.78, text.x2 = unit.x + 0.02, text.y2 = 1.12;
    snprintf(text.text, sizeof text.text, "1 again at r = %.2f", at.unit_ratio);
    sg_panel_add_note(panel, text);
    return SG_OK;
}

static sg_status describe_panel(sg_panel *panel, const sg_table *table, bool log_ratio,
                                bool negative, sg_error *error)
{
    panel->y = (sg_axis){.low = -0.15, .high = 5, .step = 1};
    snprintf(panel->y.label, sizeof panel->y.label, "%s", negative ? "" : "Coefficient c = r w");
    if (log_ratio) {
        panel->x = (sg_axis){.label = "ln r", .low = -4, .high = 4, .step = 1};
    } else {
        panel->x = (sg_axis){.label = "r", .low = 0, .high = 5, .step = 1};
        snprintf(panel->title, sizeof panel->title, "%s", negative ? "A < 0" : "A > 0");
        snprintf(panel->top_label, sizeof panel->top_label, "W (VESPO)");
    }
    sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_HORIZONTAL, .y = 1, .colour = 0xb0b0b0});
    if (log_ratio)
        sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_TEXT,
                                           .x = 0.735,
                                           .y = 0.92,
                                           .relative = true,
                                           .spare = true,
                                           .colour = SG_COLOUR_GREY,
                                           .text = "to e^{4} = 54.6"});
    if (log_ratio)
        sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_ARROW,
                                           .x = 0.717,
                                           .y = 0.87,
                                           .x2 = 0.717,
                                           .y2 = 0.99,
                                           .relative = true,
                                           .spare = true,
                                           .colour = SG_COLOUR_GREY});
    sg_status status =
        add_curves(panel, table, log_ratio ? "log_ratio" : "ratio", negative ? "-1" : "1", error);
    return status == SG_OK ? mark_sapo(panel, negative ? -1 : 1, log_ratio, error) : status;
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    static const sg_curve_grid grids[] = {{"ratio", 0, 5, 501, false},
                                          {"log_ratio", -4, 4, 401, true}};
    sg_table *table;
    sg_status status = sg_drawing_start(drawing, 2, 2, &table, error);
    if (status == SG_OK)
        status = sg_curves_init(table, true, error);
    for (size_t i = 0; i < 4 * CURVES && status == SG_OK; i++)
        status = sg_curves_add_spec(table, curves[i / 4].label, curves[i / 4].spec,
                                    i / 2 % 2 == 0 ? 1 : -1, grids[i % 2], error);
    for (size_t p = 0; p < 4 && status == SG_OK; p++)
        status = describe_panel(sg_figure_panel(drawing->figure, p / 2, p % 2), table, p / 2 == 1,
                                p % 2 == 1, error);
    drawing->figure->legend = SG_LEGEND_ABOVE;
    drawing->figure->aspect = 0.7;
    return status;
}

const sg_recipe sg_recipe_r1c = {
    .name = "R1c",
    .title = "Effective coefficient of the ratio methods",
    .caption = "The coefficient c = r w, which multiplies A grad log pi, for A > 0 (left) and A < "
               "0 (right), on a "
               "linear and on a logarithmic ratio axis. The axis ends at 5; arrows mark curves "
               "that go on. VESPO's "
               "ratio is that of the whole sequence, W, on the upper axis. Circles: the maximum of "
               "SAPO and the "
               "ratio at which its coefficient is 1 again. Reader: c, not w, multiplies A grad log "
               "pi. With default "
               "temperatures SAPO gives tokens with r from 1 to about 3.4 more weight than "
               "on-policy ones.",
    .build = build,
};
