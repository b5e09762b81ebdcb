/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R7: clip fractions, after Figure 2 of the GSPO paper (arXiv 2507.18071). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "objective/replay.h"
#include "plots/drawing.h"
#include "sim/synthetic.h"

/* From top to bottom. The published values are read from the paper; ours come from one synthetic
 * batch. */
static const struct {
    const char *label, *spec;
    double published; /* 0: compute */
    sg_pen pen;
} bars[] = {
    {"GSPO, published",
     "gspo:eps_low=3e-4,eps_high=4e-4",
     0.15,
     {0xD62728, SG_SOLID, SG_NO_MARKER, 0}},
    {"GRPO, published",
     "grpo:eps_low=0.2,eps_high=0.27",
     0.0013,
     {0x1F77B4, SG_SOLID, SG_NO_MARKER, 0}},
    {"GSPO 3e-4/4e-4",
     "gspo:eps_low=3e-4,eps_high=4e-4",
     0,
     {SG_COLOUR_GSPO, SG_SOLID, SG_NO_MARKER, 0}},
    {"GRPO 0.2/0.27",
     "grpo:eps_low=0.2,eps_high=0.27",
     0,
     {SG_COLOUR_GRPO, SG_SOLID, SG_NO_MARKER, 0}},
    {"SAPO 1.0/1.05",
     "sapo:tau_pos=1,tau_neg=1.05",
     0,
     {SG_COLOUR_SAPO, SG_SOLID, SG_NO_MARKER, 0}},
};

enum { BARS = sizeof bars / sizeof *bars, TEXT_COLUMNS = 4 };

static const char *const columns[] = {"label",    "source",           "objective",         "params",
                                      "position", "clipped_fraction", "log_ratio_variance"};

/* Mean over responses of the variance of the log-ratio: how far off-policy the batch is. */
static double mean_variance(const sg_replay_summary *summary)
{
    return 2 * summary->kl_k2 - summary->kl_k1 * summary->kl_k1;
}

static sg_status add_bar(sg_table *table, const sg_batch *batch, size_t i, sg_error *error)
{
    sg_objective objective;
    char params[256];
    sg_replay_summary summary = {0};
    const sg_replay_options options = {.natural_aggregate = true};
    sg_status status = sg_objective_parse(&objective, bars[i].spec, error);
    if (status == SG_OK)
        status = sg_replay(batch, &objective, &options, NULL, &summary, error);
    if (status == SG_OK)
        status = sg_table_add_rows(table, 1, error);
    if (status != SG_OK)
        return status;
    bool published = bars[i].published > 0;
    sg_objective_parameters(&objective, params, sizeof params);
    size_t row = sg_table_rows(table) - 1;
    const char *const texts[] = {bars[i].label, published ? "arXiv:2507.18071" : "simulation",
                                 objective.method->name, params};
    for (size_t c = 0; c < TEXT_COLUMNS && status == SG_OK; c++)
        status = sg_table_set_text(table, c, row, texts[c], error);
    sg_table_set_real(table, 4, row, (double)(BARS - i));
    sg_table_set_real(table, 5, row,
                      published ? bars[i].published : 1 - summary.effective_update_ratio);
    sg_table_set_real(table, 6, row, published ? NAN : mean_variance(&summary));
    return status;
}

static sg_status fill(sg_table *table, const sg_batch *batch, sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t c = 0; c < 7 && status == SG_OK; c++)
        status = sg_table_add_column(table, columns[c],
                                     c < TEXT_COLUMNS ? SG_COLUMN_TEXT : SG_COLUMN_REAL, error);
    for (size_t i = 0; i < BARS && status == SG_OK; i++)
        status = add_bar(table, batch, i, error);
    return status;
}

static void describe(sg_panel *panel, const sg_table *table, bool log_axis)
{
    panel->x = (sg_axis){.label = "Mean fraction of clipped tokens (SAPO: 1 − mean weight)",
                         .low = log_axis ? 1e-5 : 0,
                         .high = log_axis ? 1 : 0.17,
                         .step = 0.02,
                         .log = log_axis};
    panel->y = (sg_axis){.low = 0.4, .high = BARS + 0.6};
    panel->open = true;
    for (size_t i = 0; i < BARS; i++) {
        double value = sg_table_get_real(table, 5, i), position = sg_table_get_real(table, 4, i);
        sg_axis_add_tick(&panel->y, position, bars[i].label);
        sg_panel_add_layer(panel, (sg_layer){.mark = SG_MARK_BAR,
                                             .table = table,
                                             .where = {{"label", bars[i].label}},
                                             .x = "clipped_fraction",
                                             .y = "position",
                                             .pen = bars[i].pen});
        sg_note note = {.kind = SG_NOTE_TEXT,
                        .x = log_axis ? value * 1.15 : value + 0.002,
                        .y = position,
                        .colour = 0x303030};
        snprintf(note.text, sizeof note.text, "%.2g", value);
        sg_panel_add_note(panel, note);
    }
}

static sg_status build(sg_drawing *drawing, bool log_axis, sg_error *error)
{
    sg_synthetic_config config = sg_synthetic_default();
    if (drawing->seed != 0)
        config.seed = drawing->seed;
    drawing->seed = config.seed;
    sg_table *table;
    sg_batch *batch = NULL;
    sg_status status = sg_drawing_start(drawing, 1, 1, &table, error);
    if (status == SG_OK)
        status = sg_synthetic_batch(&batch, &config, error);
    if (status == SG_OK)
        status = fill(table, batch, error);
    if (status == SG_OK) {
        describe(sg_figure_panel(drawing->figure, 0, 0), table, log_axis);
        drawing->figure->aspect = 0.42;
        drawing->figure->width = 0.75;
        snprintf(drawing->remark, sizeof drawing->remark,
                 "Simulation: one synthetic batch of %zu responses of %zu tokens, mean variance of "
                 "the log-ratio %.2g, a size that brings GSPO's share near the published one; only "
                 "the contrast between the bars is a result.",
                 config.responses, config.tokens, sg_table_get_real(table, 6, BARS - 1));
    }
    sg_batch_free(batch);
    return status;
}

static sg_status build_linear(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, false, error);
}

static sg_status build_log(sg_drawing *drawing, sg_error *error)
{
    return build(drawing, true, error);
}

#define CAPTION                                                                                    \
    "Mean fraction of clipped tokens: published by the GSPO paper (arXiv 2507.18071, Figure 2), "  \
    "and of the same clips on a synthetic batch, where SAPO counts as 1 - EUR, one minus the mean " \
    "weight. Reader: a sequence clip discards two orders of magnitude more tokens than a token "   \
    "clip and can still train well, so clip fraction alone is not a health measure."

const sg_recipe sg_recipe_r7 = {
    .name = "R7",
    .title = "Clip fractions",
    .caption = CAPTION,
    .build = build_linear,
};

const sg_recipe sg_recipe_r7_log = {
    .name = "R7-log",
    .title = "Clip fractions on a logarithmic axis",
    .caption = CAPTION,
    .build = build_log,
};
