/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/strip.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "sim/collapse.h"

static const sg_alarm_rule rules[] = {
    {"reward", "reward lost half of its gain", SG_ALARM_BELOW_PEAK, 0.5},
    {"entropy", "entropy below 2 % of its start", SG_ALARM_BELOW_START, 0.02},
    {"entropy", "entropy above twice its start", SG_ALARM_ABOVE_START, 2},
    {"kl_old_new", "KL above 10 times its median", SG_ALARM_ABOVE_MEDIAN, 10},
    {"grad_norm", "gradient above 10 times its median", SG_ALARM_ABOVE_MEDIAN, 10},
    {"eur_pos", "EUR below 0.5 at A > 0", SG_ALARM_BELOW, 0.5},
    {"eur_neg", "EUR below 0.5 at A < 0", SG_ALARM_BELOW, 0.5},
    {"ratio_max_pos", "ratio above 10 at A > 0", SG_ALARM_ABOVE, 10},
    {"ratio_max_neg", "ratio above 10 at A < 0", SG_ALARM_ABOVE, 10},
    {"sequence_variance", "Var above 0.02", SG_ALARM_ABOVE, 0.02},
    {"negative_share", "A < 0 above 90 % of the mass", SG_ALARM_ABOVE, 0.9},
    {"ess", "ESS below 0.5", SG_ALARM_BELOW, 0.5},
};
enum { RULES = sizeof rules / sizeof *rules, MEDIAN_AFTER = 20 };

const sg_alarm_rule *sg_alarm_rule_at(size_t index)
{
    return index < RULES ? &rules[index] : NULL;
}

/* ---- which run ---- */

static bool same_run(const sg_table *table, const ptrdiff_t key[3], size_t a, size_t b)
{
    for (int i = 0; i < 3; i++) {
        if (key[i] < 0)
            continue;
        size_t column = (size_t)key[i];
        if (sg_table_column_type(table, column) == SG_COLUMN_TEXT
                ? strcmp(sg_table_get_text(table, column, a),
                         sg_table_get_text(table, column, b)) != 0
                : sg_table_get_number(table, column, a) != sg_table_get_number(table, column, b))
            return false;
    }
    return true;
}

/* Number of the run that fails first; 0 when none does or it cannot be told. */
static size_t first_to_fail(const sg_table *runs)
{
    sg_table *fates;
    sg_error ignored; /* a table that does not tell fates is not wrong */
    if (sg_fate_table(runs, 1, 0.5, &fates, &ignored) != SG_OK)
        return 0;
    size_t survival = (size_t)sg_table_find(fates, "survival"), chosen = 0;
    size_t censored = (size_t)sg_table_find(fates, "censored");
    double earliest = INFINITY;
    for (size_t row = 0; row < sg_table_rows(fates); row++) {
        double step = sg_table_get_number(fates, survival, row);
        if (sg_table_get_number(fates, censored, row) == 0 && step < earliest) {
            earliest = step;
            chosen = row;
        }
    }
    sg_table_free(fates);
    return chosen;
}

sg_status sg_strip_choose(const sg_table *runs, size_t *first, size_t *count, sg_error *error)
{
    size_t rows = sg_table_rows(runs), wanted = 0;
    const ptrdiff_t key[] = {sg_table_find(runs, "objective"), sg_table_find(runs, "params"),
                             sg_table_find(runs, "seed")};
    if (sg_table_find(runs, "step") < 0)
        return sg_fail(error, SG_EDATA,
                       "the table has no column \"step\", against which its series can be drawn");
    if (rows == 0)
        return sg_fail(error, SG_EDATA, "the table of runs is empty");
    if (key[0] >= 0 && key[1] >= 0 && key[2] >= 0)
        wanted = first_to_fail(runs);
    *first = 0;
    for (size_t run = 0;; run++) {
        size_t end = *first + 1;
        while (end < rows && same_run(runs, key, *first, end))
            end++;
        *count = end - *first;
        if (run == wanted || end == rows)
            return SG_OK;
        *first = end;
    }
}

/* ---- series ---- */

static const char *const names[] = {"step",
                                    "reward",
                                    "entropy",
                                    "kl_old_new",
                                    "grad_norm",
                                    "eur_pos",
                                    "eur_neg",
                                    "ratio_mean",
                                    "ratio_mean_pos",
                                    "ratio_mean_neg",
                                    "ratio_max_pos",
                                    "ratio_max_neg",
                                    "sequence_variance",
                                    "sequence_deviation",
                                    "sequence_deviation_true",
                                    "negative_share",
                                    "ess"};
enum { NAMES = sizeof names / sizeof *names };

static double value_of(const sg_table *table, const char *name, size_t row)
{
    ptrdiff_t column = sg_table_find(table, name);
    return column >= 0 ? sg_table_get_number(table, (size_t)column, row) : NAN;
}

static double series_value(const sg_table *runs, const char *name, size_t row)
{
    if (strcmp(name, "negative_share") != 0)
        return value_of(runs, name, row);
    double positive = value_of(runs, "gate_mass_pos", row);
    double negative = value_of(runs, "gate_mass_neg", row);
    return isnan(positive + negative) ? value_of(runs, "coefficient_share_neg", row)
                                      : negative / (positive + negative);
}

sg_status sg_strip_series(const sg_table *runs, size_t first, size_t count, sg_table **series,
                          sg_error *error)
{
    *series = NULL;
    sg_table *out = sg_table_alloc();
    sg_status status = out != NULL ? SG_OK : sg_fail(error, SG_ENOMEM, "not enough memory");
    for (size_t c = 0; c < NAMES && status == SG_OK; c++)
        status = sg_table_add_column(out, names[c], SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = sg_table_add_rows(out, count, error);
    if (status != SG_OK) {
        sg_table_free(out);
        return status;
    }
    for (size_t row = 0; row < count; row++)
        for (size_t c = 0; c < NAMES; c++)
            sg_table_set_real(out, c, row, series_value(runs, names[c], first + row));
    *series = out;
    return SG_OK;
}

/* ---- alarms ---- */

/* What a rule remembers of the rows before. */
typedef struct watch {
    double start, peak;
    double *sorted; /* finite values so far */
    size_t count;
} watch;

static double median(const watch *w)
{
    return (w->sorted[(w->count - 1) / 2] + w->sorted[w->count / 2]) / 2;
}

static void remember(watch *w, double value)
{
    if (!isfinite(value))
        return;
    if (w->count == 0)
        w->start = w->peak = value;
    w->peak = fmax(w->peak, value);
    size_t place = w->count++;
    for (; place > 0 && w->sorted[place - 1] > value; place--)
        w->sorted[place] = w->sorted[place - 1];
    w->sorted[place] = value;
}

static bool holds(const sg_alarm_rule *rule, const watch *w, double value)
{
    switch (rule->kind) {
    case SG_ALARM_ABOVE:
        return value > rule->limit;
    case SG_ALARM_BELOW:
        return value < rule->limit;
    case SG_ALARM_ABOVE_START:
        return w->count > 0 && value > rule->limit * w->start;
    case SG_ALARM_BELOW_START:
        return w->count > 0 && value < rule->limit * w->start;
    case SG_ALARM_ABOVE_MEDIAN:
        return w->count >= MEDIAN_AFTER && value > rule->limit * median(w);
    case SG_ALARM_BELOW_PEAK:
        return w->count > 0 && w->peak - w->start >= 0.1 &&
               value - w->start < rule->limit * (w->peak - w->start);
    }
    return false;
}

/* The middle between two neighbouring rows; half a step beyond the ends. */
static double edge(const sg_table *series, size_t row, size_t rows)
{
    if (row == 0 || row == rows)
        return sg_table_get_real(series, 0, row == 0 ? 0 : rows - 1) + (row == 0 ? -0.5 : 0.5);
    return (sg_table_get_real(series, 0, row - 1) + sg_table_get_real(series, 0, row)) / 2;
}

static sg_status append(sg_table *alarms, const sg_alarm_rule *rule, double low, double high,
                        sg_error *error)
{
    size_t row = sg_table_rows(alarms);
    sg_status status = sg_table_add_rows(alarms, 1, error);
    if (status == SG_OK)
        status = sg_table_set_text(alarms, 0, row, rule->series, error);
    if (status == SG_OK)
        status = sg_table_set_text(alarms, 1, row, rule->name, error);
    if (status != SG_OK)
        return status;
    sg_table_set_real(alarms, 2, row, low);
    sg_table_set_real(alarms, 3, row, high);
    return SG_OK;
}

static sg_status apply(const sg_alarm_rule *rule, const sg_table *series, double *memory,
                       sg_table *alarms, sg_error *error)
{
    size_t rows = sg_table_rows(series), column = (size_t)sg_table_find(series, rule->series);
    watch w = {.sorted = memory};
    sg_status status = SG_OK;
    bool on = false;
    size_t since = 0;
    for (size_t row = 0; row <= rows && status == SG_OK; row++) {
        double value = row < rows ? sg_table_get_real(series, column, row) : NAN;
        bool now = row < rows && holds(rule, &w, value);
        if (now && !on)
            since = row;
        if (on && !now)
            status =
                append(alarms, rule, edge(series, since, rows), edge(series, row, rows), error);
        on = now;
        remember(&w, value);
    }
    return status;
}

sg_status sg_strip_alarms(const sg_table *series, sg_table **alarms, sg_error *error)
{
    *alarms = NULL;
    sg_table *out = sg_table_alloc();
    double *memory = malloc((sg_table_rows(series) + 1) * sizeof *memory);
    sg_status status =
        out != NULL && memory != NULL ? SG_OK : sg_fail(error, SG_ENOMEM, "not enough memory");
    static const char *const columns[] = {"series", "rule", "low", "high"};
    for (size_t c = 0; c < 4 && status == SG_OK; c++)
        status =
            sg_table_add_column(out, columns[c], c < 2 ? SG_COLUMN_TEXT : SG_COLUMN_REAL, error);
    for (size_t i = 0; i < RULES && status == SG_OK; i++)
        status = apply(&rules[i], series, memory, out, error);
    free(memory);
    if (status == SG_OK)
        *alarms = out;
    else
        sg_table_free(out);
    return status;
}
