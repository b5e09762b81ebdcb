/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R10: the same methods at rising staleness, after Figure 3 and Table 2 of the VESPO paper (arXiv
 * 2602.10693). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stats.h"
#include "plots/drawing.h"
#include "plots/layout.h"
#include "plots/recipes/arm.h"
#include "plots/recipes/experiment.h"
#include "sim/collapse.h"
#include "sim/training_summary.h"

enum { ARMS_MAX = 6, LEVELS = 5, QUANTILES = 3, TEXTS = 3 };

static const int64_t levels[LEVELS] = {4, 8, 16, 32, 64};
static const double quantiles[QUANTILES] = {0.1, 0.5, 0.9};

typedef struct staleness {
    sg_table *curves, *survival; /* owned by the drawing */
    size_t arm_count, level_count;
    int64_t shown[LEVELS];
    const char *label[LEVELS]; /* owned by the table of survival, one row an arm and level */
    sg_arm arms[SG_ARMS_DRAWN];
    double horizon;
    size_t runs, failed;
} staleness;

/* ---- tables ---- */

static const char *const curve_columns[] = {"minibatches", "step",   "runs",
                                            "reward_low",  "reward", "reward_high"};
static const char *const survival_columns[] = {
    "minibatches", "seeds",        "failed",          "failed_30",     "failed_70",
    "survival",    "survival_low", "survival_median", "survival_high", "J_last"};
enum {
    CURVE_COLUMNS = sizeof curve_columns / sizeof *curve_columns,
    SURVIVAL_COLUMNS = sizeof survival_columns / sizeof *survival_columns,
};

static sg_status start_table(sg_drawing *drawing, const char *suffix, const char *const *names,
                             size_t count, sg_table **table, sg_error *error)
{
    static const char *const texts[] = {"objective", "params", "label"};
    sg_status status = sg_drawing_add_table(drawing, suffix, table, error);
    for (size_t c = 0; c < TEXTS + count && status == SG_OK; c++)
        status = sg_table_add_column(*table, c < TEXTS ? texts[c] : names[c - TEXTS],
                                     c < TEXTS ? SG_COLUMN_TEXT : SG_COLUMN_REAL, error);
    return status;
}

static const char *text_of(const sg_table *table, const char *name, size_t row)
{
    ptrdiff_t column = sg_table_find(table, name);
    return column >= 0 && sg_table_column_type(table, (size_t)column) == SG_COLUMN_TEXT
               ? sg_table_get_text(table, (size_t)column, row)
               : "";
}

static double number_of(const sg_table *table, const char *name, size_t row)
{
    ptrdiff_t column = sg_table_find(table, name);
    return column >= 0 ? sg_table_get_number(table, (size_t)column, row) : NAN;
}

/* values[0] is the number of minibatches. */
static sg_status append(sg_table *table, const char *objective, const char *params,
                        const double *values, size_t count, sg_error *error)
{
    size_t row = sg_table_rows(table);
    char label[32];
    snprintf(label, sizeof label, "N = %g", values[0]);
    sg_status status = sg_table_add_rows(table, 1, error);
    if (status == SG_OK)
        status = sg_table_set_text(table, 0, row, objective, error);
    if (status == SG_OK)
        status = sg_table_set_text(table, 1, row, params, error);
    if (status == SG_OK)
        status = sg_table_set_text(table, 2, row, label, error);
    for (size_t c = 0; c < count && status == SG_OK; c++)
        sg_table_set_real(table, TEXTS + c, row, values[c]);
    return status;
}

static sg_status add_curves(staleness *s, const sg_table *runs, const sg_table *fates,
                            int64_t level, sg_error *error)
{
    const sg_summary_column reward = {"reward", false, true};
    sg_table *summary;
    sg_status status = sg_training_summary(runs, fates, &reward, 1, 0, 0.8, &summary, error);
    for (size_t row = 0; status == SG_OK && row < sg_table_rows(summary); row++) {
        double values[CURVE_COLUMNS] = {(double)level};
        for (size_t c = 1; c < CURVE_COLUMNS; c++)
            values[c] = number_of(summary, curve_columns[c], row);
        s->horizon = fmax(s->horizon, values[1]);
        status = append(s->curves, text_of(summary, "objective", row),
                        text_of(summary, "params", row), values, CURVE_COLUMNS, error);
    }
    sg_table_free(summary);
    return status;
}

/* Runs of rows [first, end) that fail when `collapse` is the column of collapses. */
static double failures(const sg_table *fates, const char *collapse, size_t first, size_t end)
{
    double count = 0;
    for (size_t row = first; row < end; row++)
        count += isfinite(number_of(fates, collapse, row)) ||
                 isfinite(number_of(fates, "divergence", row));
    return count;
}

/* Rows [first, end) are the runs of one arm. */
static sg_status add_arm(staleness *s, const sg_table *fates, size_t first, size_t end,
                         int64_t level, sg_error *error)
{
    size_t count = end - first, failed = 0;
    double *steps = malloc(2 * count * sizeof *steps), *last = steps + count,
           spread[QUANTILES] = {0};
    if (steps == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu runs", count);
    for (size_t i = 0; i < count; i++) {
        steps[i] = number_of(fates, "survival", first + i);
        last[i] = number_of(fates, "J_last", first + i);
        failed += number_of(fates, "censored", first + i) == 0;
    }
    double median = NAN;
    sg_status status =
        sg_stats_quantiles(steps, NULL, count, quantiles, spread, QUANTILES, NULL, error);
    if (status == SG_OK)
        status = sg_stats_quantiles(last, NULL, count, &quantiles[1], &median, 1, NULL, error);
    const double values[SURVIVAL_COLUMNS] = {(double)level,
                                             (double)count,
                                             (double)failed,
                                             failures(fates, "collapse_30", first, end),
                                             failures(fates, "collapse_70", first, end),
                                             sg_stats_mean(steps, count, NULL),
                                             spread[0],
                                             spread[1],
                                             spread[2],
                                             median};
    free(steps);
    s->runs += count;
    s->failed += failed;
    return status == SG_OK
               ? append(s->survival, text_of(fates, "objective", first),
                        text_of(fates, "params", first), values, SURVIVAL_COLUMNS, error)
               : status;
}

static sg_status add_survival(staleness *s, const sg_table *fates, int64_t level, sg_error *error)
{
    sg_status status = SG_OK;
    size_t rows = sg_table_rows(fates);
    for (size_t first = 0, end; first < rows && status == SG_OK; first = end) {
        for (end = first + 1;
             end < rows &&
             strcmp(text_of(fates, "objective", end), text_of(fates, "objective", first)) == 0 &&
             strcmp(text_of(fates, "params", end), text_of(fates, "params", first)) == 0;
             end++)
            ;
        status = add_arm(s, fates, first, end, level, error);
    }
    return status;
}

static sg_status add_level(staleness *s, const sg_table *runs, int64_t level, sg_error *error)
{
    sg_table *fates;
    sg_status status = sg_fate_table(runs, 1, 0.5, &fates, error);
    if (status == SG_OK)
        status = add_curves(s, runs, fates, level, error);
    if (status == SG_OK)
        status = add_survival(s, fates, level, error);
    sg_table_free(fates);
    if (status == SG_OK && s->level_count == 0)
        status = sg_experiment_copy_meta(s->curves, runs, error);
    s->shown[s->level_count++] = level;
    return status;
}

/* ---- simulation ---- */

typedef struct progress {
    const sg_simulate_callbacks *outer;
    size_t done;
} progress;

static void on_progress(void *context, double fraction)
{
    const progress *part = context;
    if (part->outer->progress != NULL)
        part->outer->progress(part->outer->context, ((double)part->done + fraction) / LEVELS);
}

static sg_status simulate(staleness *s, const sg_figure_options *options, sg_error *error)
{
    sg_config config;
    static const sg_simulate_callbacks silent = {NULL, NULL, NULL};
    progress part = {.outer = options->callbacks != NULL ? options->callbacks : &silent};
    const sg_simulate_callbacks callbacks = {on_progress, &part, part.outer->cancel};
    sg_status status = sg_experiment_read(options, "R10", &config, error);
    for (size_t i = 0; i < LEVELS && status == SG_OK; i++) { /* now, not after the first hour */
        config.update.minibatches = levels[i];
        status = sg_config_check(&config, error);
    }
    for (; part.done < LEVELS && status == SG_OK; part.done++) {
        sg_table *runs = NULL;
        config.update.minibatches = levels[part.done];
        status = sg_experiment_run(options, &config, &callbacks, &runs, error);
        if (status == SG_OK)
            status = add_level(s, runs, levels[part.done], error);
        sg_table_free(runs);
    }
    return status;
}

/* ---- panels ---- */

static sg_status find_labels(staleness *s, sg_error *error)
{
    sg_status status = sg_arms_describe(s->arms, &s->arm_count, s->survival, error);
    if (status == SG_OK && s->arm_count > ARMS_MAX)
        status = sg_fail(error, SG_EARGUMENT,
                         "figure R10 shows at most %d arms and there are %zu; simulate fewer",
                         ARMS_MAX, s->arm_count);
    for (size_t i = 0; status == SG_OK && i < s->level_count; i++)
        for (size_t row = 0; row < sg_table_rows(s->survival); row++)
            if (sg_table_get_real(s->survival, TEXTS, row) == (double)s->shown[i])
                s->label[i] = sg_table_get_text(s->survival, 2, row);
    return status;
}

/* Light for a small N, dark for a large one: mixed with white, then with black. */
static uint32_t shade(uint32_t colour, double dark)
{
    uint32_t mixed = 0;
    for (int shift = 16; shift >= 0; shift -= 8) {
        double part = (double)(colour >> shift & 0xFF);
        double share = dark < 0.6 ? part + (255 - part) * (0.6 - dark) : part * (1.6 - dark);
        mixed |= (uint32_t)lround(fmin(share, 255)) << shift;
    }
    return mixed;
}

/* How dark the curve of level i is, 0 to 1. */
static double darkness(const staleness *s, size_t i)
{
    return s->level_count > 1 ? (double)i / (double)(s->level_count - 1) : 1;
}

static void describe_curves(sg_panel *panel, const staleness *s, size_t arm)
{
    panel->x = (sg_axis){.low = 0, .high = s->horizon, .step = sg_round_step(s->horizon / 3)};
    panel->y = (sg_axis){.low = 0, .high = 1.05, .step = 0.2, .bare = arm > 0};
    snprintf(panel->title, sizeof panel->title, "%s", s->arms[arm].label);
    snprintf(panel->x.label, sizeof panel->x.label, "Gradient Steps");
    snprintf(panel->y.label, sizeof panel->y.label, "%s", arm == 0 ? "Training Reward" : "");
    for (size_t i = 0; i < s->level_count; i++) {
        sg_layer layer = sg_arm_layer(&s->arms[arm], s->curves);
        layer.mark = SG_MARK_LINE;
        layer.where[2] = (sg_where){"label", s->label[i]};
        layer.y = "reward";
        layer.pen =
            (sg_pen){shade(s->arms[arm].pen.colour, darkness(s, i)), SG_SOLID, SG_NO_MARKER, 0};
        sg_panel_add_layer(panel, layer);
        /* The legend is of all methods: greys, by layers without rows. */
        layer.where[2].value = "";
        layer.pen.colour = shade(SG_COLOUR_GREY, darkness(s, i));
        snprintf(layer.title, sizeof layer.title, "%s", s->label[i]);
        if (arm == 0)
            sg_panel_add_layer(panel, layer);
    }
}

/* One line of the table below the curves. */
static void write_line(sg_panel *panel, double y, const char *const cells[3], uint32_t colour)
{
    static const double x[3] = {0.16, 0.56, 1};
    for (size_t c = 0; c < 3; c++) {
        sg_note note = {.kind = SG_NOTE_TEXT,
                        .x = x[c],
                        .y = y,
                        .relative = true,
                        .align = SG_ALIGN_RIGHT,
                        .colour = colour};
        snprintf(note.text, sizeof note.text, "%s", cells[c]);
        sg_panel_add_note(panel, note);
    }
}

/* Mean survival step and failures, one line for each N. */
static void describe_survival(sg_panel *panel, const staleness *s, size_t arm)
{
    static const char *const head[3] = {"N", "alive to", "failed"};
    panel->blank = true;
    write_line(panel, 0.86, head, 0x606060);
    sg_panel_add_note(panel, (sg_note){.kind = SG_NOTE_SEGMENT,
                                       .x = 0,
                                       .y = 0.78,
                                       .x2 = 1,
                                       .y2 = 0.78,
                                       .relative = true,
                                       .colour = 0xB0B0B0});
    const sg_layer layer = {
        .table = s->survival,
        .where = {{"objective", s->arms[arm].objective}, {"params", s->arms[arm].params}}};
    double y = 0.68;
    for (size_t row = 0; sg_layer_next(&layer, &row); row++, y -= 0.145) {
        char text[3][32];
        snprintf(text[0], sizeof text[0], "%g", sg_layer_value(&layer, "minibatches", row));
        snprintf(text[1], sizeof text[1], "%.0f", sg_layer_value(&layer, "survival", row));
        snprintf(text[2], sizeof text[2], "%g of %g", sg_layer_value(&layer, "failed", row),
                 sg_layer_value(&layer, "seeds", row));
        write_line(panel, y, (const char *const[3]){text[0], text[1], text[2]}, 0x202020);
    }
}

/* "SAPO 1/1.05 0.96 to 0.36": the end of the freshest setting and of the stalest. */
static void append_ends(sg_text *text, const staleness *s, size_t arm)
{
    const sg_layer layer = {
        .table = s->survival,
        .where = {{"objective", s->arms[arm].objective}, {"params", s->arms[arm].params}}};
    double from = NAN, to = NAN;
    for (size_t row = 0; sg_layer_next(&layer, &row); row++) {
        to = sg_layer_value(&layer, "J_last", row);
        from = isnan(from) ? to : from;
    }
    sg_text_printf(text, "%s %s %.2f to %.2f", arm > 0 ? "," : "", s->arms[arm].label, from, to);
}

static void remark(sg_drawing *drawing, const staleness *s)
{
    sg_text text = {0};
    size_t seeds = s->runs / s->arm_count / s->level_count;
    double low, high;
    const char *kind = sg_table_meta(s->curves, "policy.kind");
    const char *vocabulary = sg_table_meta(s->curves, "policy.vocabulary");
    sg_stats_wilson(s->failed, s->runs, 0.95, &low, &high);
    sg_text_printf(&text,
                   "Simulation, no language model: a toy policy (%s) with vocabulary %s; %zu seeds "
                   "an arm and N; lines: median. %zu of %zu runs failed [%.2g-%.2g %%].",
                   kind != NULL ? kind : "of unknown kind",
                   vocabulary != NULL ? vocabulary : "unknown", seeds, s->failed, s->runs,
                   100 * low, 100 * high);
    sg_text_printf(&text, " Median score at the end, N = %lld to %lld:", (long long)s->shown[0],
                   (long long)s->shown[s->level_count - 1]);
    for (size_t arm = 0; arm < s->arm_count; arm++)
        append_ends(&text, s, arm);
    sg_text_append(&text, s->failed == 0
                              ? ". It says nothing about which method fails first when stale, as "
                                "no run failed; what falls with N is what is learned in the same "
                                "number of steps."
                              : ". An order by failures holds as far as the counts in the table "
                                "differ by more than chance.");
    snprintf(drawing->remark, sizeof drawing->remark, "%s", text.data != NULL ? text.data : "");
    sg_text_free(&text);
}

static sg_status describe(sg_drawing *drawing, const staleness *s, sg_error *error)
{
    sg_status status = sg_drawing_set_layout(drawing, 2, s->arm_count, error);
    for (size_t arm = 0; arm < s->arm_count && status == SG_OK; arm++) {
        describe_curves(sg_figure_panel(drawing->figure, 0, arm), s, arm);
        describe_survival(sg_figure_panel(drawing->figure, 1, arm), s, arm);
    }
    if (status != SG_OK)
        return status;
    drawing->figure->legend = SG_LEGEND_BELOW;
    drawing->figure->aspect = 0.85;
    remark(drawing, s);
    return SG_OK;
}

static sg_status take_given(staleness *s, const sg_table *runs, sg_error *error)
{
    const char *level = sg_table_meta(runs, "update.minibatches");
    if (level == NULL || atoll(level) < 1)
        return sg_fail(error, SG_EDATA,
                       "the table of runs does not say update.minibatches; it must be one that "
                       "'softgate simulate' wrote");
    return add_level(s, runs, atoll(level), error);
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    const sg_figure_options none = {0};
    const sg_figure_options *options = drawing->options != NULL ? drawing->options : &none;
    staleness s = {.arm_count = 0};
    sg_status status = start_table(drawing, "", curve_columns, CURVE_COLUMNS, &s.curves, error);
    if (status == SG_OK)
        status = start_table(drawing, "survival", survival_columns, SURVIVAL_COLUMNS, &s.survival,
                             error);
    if (status == SG_OK)
        status = options->runs != NULL ? take_given(&s, options->runs, error)
                                       : simulate(&s, options, error);
    if (status == SG_OK)
        status = find_labels(&s, error);
    if (status == SG_OK && options->runs == NULL)
        status = sg_table_set_meta(s.curves, "update.minibatches", "4, 8, 16, 32, 64", error);
    if (status == SG_OK)
        status = sg_experiment_copy_meta(s.survival, s.curves, error);
    if (status == SG_OK)
        status = describe(drawing, &s, error);
    drawing->seed = 0; /* the seeds are those of the experiment, in the tables' metadata */
    return status;
}

const sg_recipe sg_recipe_r10 = {
    .name = "R10",
    .title = "Staleness sweep, after Figure 3 and Table 2 of the VESPO paper",
    .caption =
        "Training with N = 4, 8, 16, 32 and 64 gradient steps on every rollout, light to dark: "
        "median reward over seeds, a run that has diverged counting as 0; below, the mean step to "
        "which runs are alive (first collapse or divergence, at most the horizon) and how many of "
        "the seeds failed. "
        "Reader: the VESPO paper (arXiv 2602.10693), by the authors of a competing method, "
        "reports averages for these N of 65.2, 51.7, 50.5, 20.9, 16.5 for SAPO and 70.0, 70.0, "
        "67.3, 64.5, 61.8 for VESPO; at N = 4 59.9 for GSPO and 54.0 for GRPO. A run here has the "
        "same number of gradient steps for all N, so a larger N also means fewer rollouts.",
    .training = true,
    .build = build,
};
