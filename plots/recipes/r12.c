/* SPDX-License-Identifier: GPL-3.0-or-later */
/* R12: everything that is watched in one run, panel above panel, with alarms. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plots/drawing.h"
#include "plots/recipes/experiment.h"
#include "sim/strip.h"

enum { PANELS = 9, SERIES_MAX = 5 };

#define POSITIVE                                                                                   \
    {                                                                                              \
        SG_COLOUR_SAPO, SG_SOLID, SG_NO_MARKER, 0                                                  \
    }
#define NEGATIVE                                                                                   \
    {                                                                                              \
        SG_COLOUR_RED, SG_SHORT_DASH, SG_NO_MARKER, 0                                              \
    }
#define PLAIN                                                                                      \
    {                                                                                              \
        SG_COLOUR_BLACK, SG_SOLID, SG_NO_MARKER, 0                                                 \
    }

static const struct {
    const char *label;
    bool log;
    struct {
        const char *column, *title;
        sg_pen pen;
    } series[SERIES_MAX];
} panels[PANELS] = {
    {"Reward", false, {{"reward", "", PLAIN}}},
    {"Entropy", false, {{"entropy", "", PLAIN}}},
    {"KL", true, {{"kl_old_new", "", PLAIN}}},
    {"Gradient", true, {{"grad_norm", "", PLAIN}}},
    {"EUR", false, {{"eur_pos", "A > 0", POSITIVE}, {"eur_neg", "A < 0", NEGATIVE}}},
    {"Ratio",
     true,
     {{"ratio_max_pos", "A > 0", POSITIVE},
      {"ratio_max_neg", "A < 0", NEGATIVE},
      {"ratio_mean_pos", "mean ratio, A > 0", {0x56B4E9, SG_SOLID, SG_NO_MARKER, 0.8}},
      {"ratio_mean_neg", "mean ratio, A < 0", {0xE9A77A, SG_SOLID, SG_NO_MARKER, 0.8}},
      {"ratio_mean", "mean ratio", {SG_COLOUR_GREY, SG_SOLID, SG_NO_MARKER, 1.4}}}},
    {"Var, D",
     true,
     {{"sequence_variance", "Var_{i}", {0xCC78BC, SG_SOLID, SG_NO_MARKER, 0}},
      {"sequence_deviation", "D_{i}", {0xCA9161, SG_LONG_DASH, SG_NO_MARKER, 0}},
      {"sequence_deviation_true", "D_{i} with w(r)", {0x949494, SG_SOLID, SG_NO_MARKER, 0}}}},
    {"A < 0 share", false, {{"negative_share", "", PLAIN}}},
    {"ESS", false, {{"ess", "", PLAIN}}},
};

static bool is_known(const sg_table *series, const char *name)
{
    size_t column = (size_t)sg_table_find(series, name);
    for (size_t row = 0; row < sg_table_rows(series); row++)
        if (isfinite(sg_table_get_real(series, column, row)))
            return true;
    return false;
}

/* The mean over both signs is for logs that do not tell them apart. */
static bool is_drawn(const sg_table *series, const char *name)
{
    return strcmp(name, "ratio_mean") != 0 || !is_known(series, "ratio_mean_pos");
}

/* Range over the finite values of a panel's series; false when there is none. */
static bool find_range(const sg_table *series, size_t p, double *low, double *high)
{
    *low = INFINITY, *high = -INFINITY;
    for (size_t i = 0; i < SERIES_MAX && panels[p].series[i].column != NULL; i++) {
        size_t column = (size_t)sg_table_find(series, panels[p].series[i].column);
        if (!is_drawn(series, panels[p].series[i].column))
            continue;
        for (size_t row = 0; row < sg_table_rows(series); row++) {
            double value = sg_table_get_real(series, column, row);
            if (!isfinite(value) || (panels[p].log && value <= 0))
                continue;
            *low = fmin(*low, value);
            *high = fmax(*high, value);
        }
    }
    if (!(*low <= *high))
        return false;
    if (panels[p].log) {
        *high = pow(10, floor(log10(*high)) + 1);
        *low = fmax(pow(10, floor(log10(*low))), *high * 1e-12);
    } else {
        double margin = *high > *low ? 0.08 * (*high - *low) : 0.1;
        *low = *low >= 0 ? 0 : *low - margin;
        *high += margin;
    }
    return true;
}

/* The first step of a rule's first band; NaN when it never held. */
static double first_step(const sg_table *alarms, const char *rule)
{
    for (size_t row = 0; row < sg_table_rows(alarms); row++)
        if (strcmp(sg_table_get_text(alarms, 1, row), rule) == 0)
            return ceil(sg_table_get_real(alarms, 2, row));
    return NAN;
}

static bool in_panel(const sg_alarm_rule *rule, size_t p)
{
    for (size_t i = 0; i < SERIES_MAX && panels[p].series[i].column != NULL; i++)
        if (strcmp(rule->series, panels[p].series[i].column) == 0)
            return true;
    return false;
}

static void add_alarms(sg_panel *panel, const sg_table *alarms, size_t p)
{
    char names[SG_LABEL_SIZE] = "";
    size_t length = 0;
    const sg_alarm_rule *rule;
    for (size_t r = 0; (rule = sg_alarm_rule_at(r)) != NULL; r++) {
        double step = first_step(alarms, rule->name);
        if (!in_panel(rule, p) || isnan(step))
            continue;
        sg_panel_add_layer(panel, (sg_layer){.mark = SG_MARK_BLOCK,
                                             .table = alarms,
                                             .where = {{"rule", rule->name}},
                                             .low = "low",
                                             .high = "high",
                                             .y = "top",
                                             .pen = {SG_COLOUR_GSPO, SG_SOLID, SG_NO_MARKER, 0},
                                             .opacity = 0.3,
                                             .title = "alarm"});
        int used = snprintf(names + length, sizeof names - length, "%s%s: from step %g",
                            length > 0 ? "; " : "", rule->name, step);
        length += used > 0 && (size_t)used < sizeof names - length ? (size_t)used : 0;
    }
    sg_note note = {.kind = SG_NOTE_TEXT,
                    .x = 1,
                    .y = 1.1,
                    .relative = true,
                    .align = SG_ALIGN_RIGHT,
                    .colour = 0x8A5A00};
    snprintf(note.text, sizeof note.text, "%.*s", (int)length, names);
    sg_panel_add_note(panel, note);
    snprintf(panel->title, sizeof panel->title, " "); /* room for the names */
}

/* At most four ticks, on whole decades. */
static void decades(sg_axis *axis)
{
    int low = (int)lround(log10(axis->low)), high = (int)lround(log10(axis->high));
    int step = (high - low + 2) / 3;
    for (int power = high; power >= low; power -= step) {
        char label[32];
        snprintf(label, sizeof label, "10^{%s%d}", power < 0 ? "−" : "", abs(power));
        sg_axis_add_tick(axis, pow(10, power), label);
    }
}

static void describe_panel(sg_panel *panel, const sg_table *series, const sg_table *alarms,
                           size_t p)
{
    double low, high;
    size_t rows = sg_table_rows(series);
    double first = sg_table_get_real(series, 0, 0), last = sg_table_get_real(series, 0, rows - 1);
    panel->x = (sg_axis){.low = first - 0.5, .high = last + 0.5, .bare = p + 1 < PANELS};
    snprintf(panel->x.label, sizeof panel->x.label, "%s", p + 1 < PANELS ? "" : "Gradient Steps");
    panel->y.log = panels[p].log;
    snprintf(panel->y.label, sizeof panel->y.label, "%s", panels[p].label);
    if (!find_range(series, p, &low, &high)) {
        sg_panel_leave_empty(panel, "not in this table");
        return;
    }
    panel->y.low = low;
    panel->y.high = high;
    if (panel->y.log) {
        decades(&panel->y);
    } else {
        double rough = (high - low) / 2.5, power = pow(10, floor(log10(rough)));
        panel->y.step = power * (rough / power < 2 ? 1 : rough / power < 5 ? 2 : 5);
    }
    add_alarms(panel, alarms, p);
    for (size_t i = 0; i < SERIES_MAX && panels[p].series[i].column != NULL; i++) {
        if (!is_drawn(series, panels[p].series[i].column))
            continue;
        sg_layer layer = {.mark = SG_MARK_LINE,
                          .table = series,
                          .x = "step",
                          .y = panels[p].series[i].column,
                          .pen = panels[p].series[i].pen};
        snprintf(layer.title, sizeof layer.title, "%s", panels[p].series[i].title);
        sg_panel_add_layer(panel, layer);
    }
}

/* How high the band of an alarm is drawn: to the top of its panel. */
static sg_status add_tops(sg_table *alarms, const sg_table *series, sg_error *error)
{
    sg_status status = sg_table_add_column(alarms, "top", SG_COLUMN_REAL, error);
    for (size_t row = 0; row < sg_table_rows(alarms) && status == SG_OK; row++) {
        const sg_alarm_rule rule = {.series = sg_table_get_text(alarms, 0, row)};
        double low, high = NAN;
        for (size_t p = 0; p < PANELS; p++)
            if (in_panel(&rule, p))
                find_range(series, p, &low, &high);
        sg_table_set_real(alarms, 4, row, high);
    }
    return status;
}

static void remark(sg_drawing *drawing, const sg_table *runs, size_t row, const sg_table *alarms)
{
    ptrdiff_t objective = sg_table_find(runs, "objective"), params = sg_table_find(runs, "params");
    ptrdiff_t seed = sg_table_find(runs, "seed");
    const char *earliest = "none";
    double step = INFINITY;
    const sg_alarm_rule *rule;
    for (size_t r = 0; (rule = sg_alarm_rule_at(r)) != NULL; r++) {
        double at = first_step(alarms, rule->name);
        if (at < step) {
            step = at;
            earliest = rule->name;
        }
    }
    char at[48] = "", run[112] = "A log of one run";
    if (isfinite(step))
        snprintf(at, sizeof at, ", from step %g", step);
    if (objective >= 0 && params >= 0 && seed >= 0)
        snprintf(run, sizeof run, "Simulation: one run, %.20s %.50s, seed %g",
                 sg_table_get_text(runs, (size_t)objective, row),
                 sg_table_column_type(runs, (size_t)params) == SG_COLUMN_TEXT
                     ? sg_table_get_text(runs, (size_t)params, row)
                     : "",
                 sg_table_get_number(runs, (size_t)seed, row));
    snprintf(drawing->remark, sizeof drawing->remark, "%s. First alarm: %s%s.", run, earliest, at);
}

static sg_status draw(sg_drawing *drawing, const sg_table *runs, sg_error *error)
{
    size_t first, count;
    sg_table *series = NULL, *alarms = NULL;
    sg_status status = sg_strip_choose(runs, &first, &count, error);
    if (status == SG_OK)
        status = sg_strip_series(runs, first, count, &series, error);
    if (status == SG_OK)
        status = sg_drawing_take_table(drawing, "", series, error);
    if (status == SG_OK)
        status = sg_experiment_copy_meta(series, runs, error);
    if (status == SG_OK)
        status = sg_strip_alarms(series, &alarms, error);
    if (status == SG_OK)
        status = sg_drawing_take_table(drawing, "alarms", alarms, error);
    if (status == SG_OK)
        status = add_tops(alarms, series, error);
    if (status != SG_OK)
        return status;
    for (size_t p = 0; p < PANELS; p++)
        describe_panel(&drawing->figure->panels[p], series, alarms, p);
    drawing->figure->aspect = 0.13;
    drawing->figure->legend = SG_LEGEND_BELOW;
    remark(drawing, runs, first, alarms);
    drawing->seed = 0; /* the seeds are those of the experiment, in the tables' metadata */
    return SG_OK;
}

static sg_status build(sg_drawing *drawing, sg_error *error)
{
    const sg_figure_options none = {0};
    const sg_figure_options *options = drawing->options != NULL ? drawing->options : &none;
    sg_table *own = NULL;
    sg_config config;
    sg_status status = sg_drawing_set_layout(drawing, PANELS, 1, error);
    if (status == SG_OK && options->runs == NULL)
        status = sg_experiment_read(options, "R12", &config, error);
    if (status == SG_OK && options->runs == NULL)
        status = sg_experiment_run(options, &config, NULL, &own, error);
    if (status == SG_OK)
        status = draw(drawing, options->runs != NULL ? options->runs : own, error);
    sg_table_free(own);
    return status;
}

const sg_recipe sg_recipe_r12 = {
    .name = "R12",
    .title = "Diagnostics of one run",
    .caption =
        "One run step by step: reward, entropy, KL(old || new) of the step, norm of the gradient, "
        "mean gate weight (EUR) and largest and mean ratio by the sign of A, variance of the "
        "log-ratios of a response and its D, in the log form and with the gate w(r) that is used, "
        "share of the coefficient mass that A < 0 contributes, and "
        "effective sample size. Shaded: where an alarm rule holds, with its name; the rules are "
        "the same for all runs. Of several runs the one that fails first is drawn, or the first "
        "when none fails; a series that the table lacks leaves its panel empty. Reader: which "
        "signal moves first before a collapse.",
    .training = true,
    .build = build,
};
