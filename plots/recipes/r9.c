/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R9: how the gradient of one sample spreads over the vocabulary. */
#include <math.h>
#include <stdio.h>

#include "curve/diffusion.h"
#include "plots/drawing.h"

enum { SIZES = 17, PROBABILITIES = 3, PANELS = 4 };

static const struct {
    double pi;
    const char *name;
    uint32_t colour;
} sampled[PROBABILITIES] = {
    {0.1, "0.1", SG_COLOUR_SAPO}, {0.6, "0.6", SG_COLOUR_GSPO}, {0.9, "0.9", SG_COLOUR_GRPO}};

/* Where only the size counts, the sign of A is chosen that makes the push positive. */
static const struct {
    sg_axis y;
    const char *column, *advantage;
} panels[PANELS] = {
    {{.label = "|dz_{y}|", .low = 0, .high = 1.05, .step = 0.2}, "push_sampled", "1"},
    {{.label = "Total push on the others", .low = -1.3, .high = 1.3, .step = 0.5},
     "push_unsampled_total",
     "-1"},
    {{.label = "Largest push on another", .low = 1e-7, .high = 1, .log = true},
     "push_unsampled_max",
     "-1"},
    {{.label = "L2 norm of the gradient", .low = 0, .high = 1.05, .step = 0.2}, "norm", "-1"},
};

static void add_curves(sg_panel *panel, const sg_table *table, const char *column,
                       const char *advantage, bool main)
{
    for (size_t k = 0; k < 2 * PROBABILITIES; k++) {
        bool zipf = k >= PROBABILITIES;
        size_t p = k % PROBABILITIES;
        sg_layer layer = {.mark = SG_MARK_LINE,
                          .table = table,
                          .where = {{"tail", zipf ? "zipf" : "uniform"},
                                    {"pi_sampled", sampled[p].name},
                                    {"advantage", advantage}},
                          .x = "vocabulary",
                          .y = column,
                          .pen = {sampled[p].colour, zipf ? SG_DASHED : SG_SOLID,
                                  zipf ? SG_OPEN_SQUARE : SG_CIRCLE, main ? 0 : 0.5},
                          .every = main ? 4 : 0};
        if (main)
            snprintf(layer.title, sizeof layer.title, "π_{y} = %s, %s tail", sampled[p].name,
                     zipf ? "Zipf" : "uniform");
        sg_panel_add_layer(panel, layer);
    }
}

static void add_text(sg_panel *panel, double y, const char *text)
{
    sg_note note = {.kind = SG_NOTE_TEXT, .x = 130, .y = y, .colour = 0x505050};
    snprintf(note.text, sizeof note.text, "%s", text);
    sg_panel_add_note(panel, note);
}

static void describe(sg_figure *figure, const sg_table *table)
{
    figure->legend = SG_LEGEND_ABOVE;
    figure->aspect = 0.6;
    for (size_t i = 0; i < PANELS; i++) {
        sg_panel *panel = sg_figure_panel(figure, i / 2, i % 2);
        panel->x = (sg_axis){.low = 100, .high = 1e6, .log = true, .bare = i < 2};
        if (i >= 2)
            snprintf(panel->x.label, sizeof panel->x.label, "Vocabulary size V");
        panel->y = panels[i].y;
        add_curves(panel, table, panels[i].column, panels[i].advantage, true);
    }
    sg_panel *total = sg_figure_panel(figure, 0, 1);
    add_curves(total, table, "push_unsampled_total", "1", false);
    sg_panel_add_note(total, (sg_note){.kind = SG_NOTE_HORIZONTAL, .colour = SG_COLOUR_GREY});
    add_text(total, 1.12, "A = −1: the others rise");
    add_text(total, -1.12, "A = +1: the others fall");
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    static const double advantages[] = {1, -1};
    size_t sizes[SIZES];
    double pi[PROBABILITIES];
    for (size_t i = 0; i < SIZES; i++)
        sizes[i] = (size_t)lround(pow(10, 2 + (double)i / 4));
    for (size_t i = 0; i < PROBABILITIES; i++)
        pi[i] = sampled[i].pi;
    sg_table *table;
    sg_status status = sg_drawing_start(drawing, 2, 2, &table, error);
    if (status == SG_OK)
        status = sg_diffusion_sweep(table, sizes, SIZES, pi, PROBABILITIES, advantages, 2, error);
    if (status == SG_OK)
        describe(drawing->figure, table);
    return status;
}

const sg_recipe sg_recipe_r9 = {
    .name = "R9",
    .title = "Logit diffusion: where one sample's gradient goes",
    .caption = "One sample y of probability pi_y with coefficient c = 1: the push on its own "
               "logit, the total and the "
               "largest push on the other V - 1 logits, and the norm of the whole gradient, for a "
               "uniform and a Zipf tail. "
               "Sizes do not depend on the sign of A; the upper right panel shows both signs (A = "
               "+1 thin). Reader: a "
               "negative update lifts every other token in proportion to its probability. With a "
               "flat tail it is "
               "diffuse noise, with a peaked one it feeds the runner-up; vocabulary size alone "
               "does not decide.",
    .build = build,
};
