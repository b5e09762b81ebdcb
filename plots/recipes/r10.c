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
    const char *objective[ARMS_MAX], *params[ARMS_MAX];
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

static sg_status add_curves(staleness *s, const sg_table *runs, int64_t level, sg_error *error)
{
    const sg_summary_column reward = {"reward", false};
    sg_table *summary;
    sg_status status = sg_training_summary(runs, &reward, 1, 0, 0.8, &summary, error);
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

static sg_status add_survival(staleness *s, const sg_table *runs, int64_t level, sg_error *error)
{
    sg_table *fates;
    sg_status status = sg_fate_table(runs, 1, 0.5, &fates, error);
    if (status != SG_OK)
        return status;
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
    sg_table_free(fates);
    return status;
}

static sg_status add_level(staleness *s, const sg_table *runs, int64_t level, sg_error *error)
{
    sg_status status = add_curves(s, runs, level, error);
    if (status == SG_OK)
        status = add_survival(s, runs, level, error);
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

static sg_status find_arms(staleness *s, sg_error *error)
{
    for (size_t row = 0; row < sg_table_rows(s->survival); row++) {
        const char *objective = sg_table_get_text(s->survival, 0, row);
        const char *params = sg_table_get_text(s->survival, 1, row);
        bool known = false;
        for (size_t i = 0; i < s->arm_count && !known; i++)
            known = strcmp(s->objective[i], objective) == 0 && strcmp(s->params[i], params) == 0;
        if (known)
            continue;
        if (s->arm_count == ARMS_MAX)
            return sg_fail(error, SG_EARGUMENT, "figure R10 shows at most %d arms", ARMS_MAX);
        s->objective[s->arm_count] = objective;
        s->params[s->arm_count++] = params;
    }
    for (size_t i = 0; i < s->level_count; i++)
        for (size_t row = 0; row < sg_table_rows(s->survival); row++)
            if (sg_table_get_real(s->survival, TEXTS, row) == (double)s->shown[i])
                s->label[i] = sg_table_get_text(s->survival, 2, row);
    return s->arm_count > 0 ? SG_OK : sg_fail(error, SG_EDATA, "the table of runs is empty");
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

static void describe_curves(sg_panel *panel, const staleness *s, size_t arm, uint32_t colour)
{
    panel->x = (sg_axis){.low = 0, .high = s->horizon, .step = s->horizon > 300 ? 200 : 0};
    panel->y = (sg_axis){.low = 0, .high = 1.05, .step = 0.2, .bare = arm > 0};
    snprintf(panel->x.label, sizeof panel->x.label, "Gradient Steps");
    snprintf(panel->y.label, sizeof panel->y.label, "%s", arm == 0 ? "Training Reward" : "");
    for (size_t i = 0; i < s->level_count; i++) {
        double dark = s->level_count > 1 ? (double)i / (double)(s->level_count - 1) : 1;
        sg_layer layer = {.mark = SG_MARK_LINE,
                          .table = s->curves,
                          .where = {{"objective", s->objective[arm]},
                                    {"params", s->params[arm]},
                                    {"label", s->label[i]}},
                          .x = "step",
                          .y = "reward",
                          .pen = {shade(colour, dark), SG_SOLID, SG_NO_MARKER, 0}};
        snprintf(layer.title, sizeof layer.title, "%s", s->label[i]);
        sg_panel_add_layer(panel, layer);
    }
}

static void describe_survival(sg_panel *panel, const staleness *s, size_t arm, uint32_t colour)
{
    panel->x = (sg_axis){.low = 3.2, .high = 80, .log = true};
    snprintf(panel->x.label, sizeof panel->x.label, "Updates N");
    for (size_t i = 0; i < LEVELS; i++) {
        char label[32];
        snprintf(label, sizeof label, "%lld", (long long)levels[i]);
        sg_axis_add_tick(&panel->x, (double)levels[i], label);
    }
    panel->y = (sg_axis){
        .low = 0, .high = 1.42 * s->horizon, .step = s->horizon > 300 ? 200 : 0, .bare = arm > 0};
    snprintf(panel->y.label, sizeof panel->y.label, "%s", arm == 0 ? "Survival Step" : "");
    sg_layer layer = {.mark = SG_MARK_BAND,
                      .table = s->survival,
                      .where = {{"objective", s->objective[arm]}, {"params", s->params[arm]}},
                      .x = "minibatches",
                      .low = "survival_low",
                      .high = "survival_high",
                      .y = "survival",
                      .pen = {colour, SG_SOLID, SG_CIRCLE, 0},
                      .every = 1};
    sg_panel_add_layer(panel, layer);
    layer.mark = SG_MARK_LINE;
    sg_panel_add_layer(panel, layer);
    double seeds = 0;
    for (size_t row = 0; sg_layer_next(&layer, &row); row++) {
        sg_note note = {.kind = SG_NOTE_TEXT,
                        .x = sg_layer_value(&layer, "minibatches", row),
                        .y = 1.13 * s->horizon,
                        .align = SG_ALIGN_CENTRE,
                        .colour = 0x404040};
        snprintf(note.text, sizeof note.text, "%g", sg_layer_value(&layer, "failed", row));
        seeds = sg_layer_value(&layer, "seeds", row);
        sg_panel_add_note(panel, note);
    }
    sg_note head = {
        .kind = SG_NOTE_TEXT, .x = 0.04, .y = 0.93, .relative = true, .colour = 0x404040};
    snprintf(head.text, sizeof head.text, "failed of %g:", seeds);
    sg_panel_add_note(panel, head);
}

static sg_status describe(sg_drawing *drawing, const staleness *s, sg_error *error)
{
    sg_status status = sg_drawing_set_layout(drawing, 2, s->arm_count, error);
    char ends[128] = "";
    size_t length = 0;
    for (size_t arm = 0; arm < s->arm_count && status == SG_OK; arm++) {
        char spec[512], label[SG_LABEL_SIZE];
        sg_objective parsed;
        snprintf(spec, sizeof spec, "%s%s%s", s->objective[arm],
                 s->params[arm][0] != '\0' ? ":" : "", s->params[arm]);
        status = sg_objective_parse(&parsed, spec, error);
        if (status != SG_OK)
            return status;
        uint32_t colour = sg_theme_pen(parsed.gate, parsed.level).colour;
        sg_panel *top = sg_figure_panel(drawing->figure, 0, arm);
        sg_objective_label(&parsed, label, sizeof label);
        snprintf(top->title, sizeof top->title, "%s", label);
        describe_curves(top, s, arm, colour);
        describe_survival(sg_figure_panel(drawing->figure, 1, arm), s, arm, colour);
        sg_layer layer = {.table = s->survival,
                          .where = {{"objective", s->objective[arm]}, {"params", s->params[arm]}}};
        double from = NAN, to = NAN;
        for (size_t row = 0; sg_layer_next(&layer, &row); row++) {
            to = sg_layer_value(&layer, "J_last", row);
            from = isnan(from) ? to : from;
        }
        int used = snprintf(ends + length, sizeof ends - length, "%s%s %.2f to %.2f",
                            length > 0 ? ", " : "", s->objective[arm], from, to);
        length += used > 0 && (size_t)used < sizeof ends - length ? (size_t)used : 0;
    }
    if (status != SG_OK)
        return status;
    drawing->figure->legend = SG_LEGEND_BELOW;
    drawing->figure->aspect = 0.85;
    snprintf(drawing->remark, sizeof drawing->remark,
             "Simulation: %zu seeds; %zu of %zu runs failed; median J at the end, N = %lld to "
             "%lld: %.*s.",
             s->runs / s->arm_count / s->level_count, s->failed, s->runs, (long long)s->shown[0],
             (long long)s->shown[s->level_count - 1], (int)length, ends);
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
        status = find_arms(&s, error);
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
    .title = "Staleness sweep, toy counterpart",
    .caption =
        "Training with N = 4, 8, 16, 32 and 64 gradient steps on every rollout, light to dark: "
        "median reward over seeds; below, the mean survival step (first collapse or divergence, "
        "at most the horizon) with its 10-90 % band, and above it how many of the seeds failed. "
        "Reader: the VESPO paper (arXiv 2602.10693), by the authors of a competing method, "
        "reports averages for these N of 65.2, 51.7, 50.5, 20.9, 16.5 for SAPO and 70.0, 70.0, "
        "67.3, 64.5, 61.8 for VESPO; at N = 4 59.9 for GSPO and 54.0 for GRPO. A run here has the "
        "same number of gradient steps for all N, so a larger N also means fewer rollouts.",
    .training = true,
    .build = build,
};
