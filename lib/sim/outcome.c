/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/outcome.h"

#include <math.h>
#include <stdlib.h>

#include "core/stats.h"
#include "sim/arms.h"

static const char *const names[] = {
    "runs",        "failed",     "failed_low",   "failed_high",
    "J_last",      "J_last_low", "J_last_high",  "J_last_worst",
    "J_last_cvar", "drawdown",   "pairs",        "gain",
    "gain_low",    "gain_high",  "failed_alone", "baseline_failed_alone",
    "failed_p",    "failed_30",  "failed_70"};
enum {
    RUNS,
    FAILED,
    FAILED_LOW,
    FAILED_HIGH,
    LAST,
    LAST_LOW,
    LAST_HIGH,
    LAST_WORST,
    LAST_CVAR,
    DRAWDOWN,
    PAIRS,
    GAIN,
    GAIN_LOW,
    GAIN_HIGH,
    ALONE,
    BASELINE_ALONE,
    FAILED_P,
    FAILED_30,
    FAILED_70,
    COLUMNS,
    FIRST_REAL = 2, /* after the names of the arm */
};

static const sg_bootstrap how = {.seed = 1, .resamples = 10000, .level = 0.95};

/* The runs of one arm. */
typedef struct members {
    double *seed, *last, *drawdown;
    bool *failed;
    size_t count;
} members;

static void members_free(members *m)
{
    free(m->seed);
    free(m->last);
    free(m->drawdown);
    free(m->failed);
}

static sg_status members_alloc(members *m, size_t rows, sg_error *error)
{
    m->seed = calloc(rows + 1, sizeof *m->seed);
    m->last = calloc(rows + 1, sizeof *m->last);
    m->drawdown = calloc(rows + 1, sizeof *m->drawdown);
    m->failed = calloc(rows + 1, sizeof *m->failed);
    return m->seed != NULL && m->last != NULL && m->drawdown != NULL && m->failed != NULL
               ? SG_OK
               : sg_fail(error, SG_ENOMEM, "not enough memory for %zu runs", rows);
}

static double cell(const sg_table *table, const char *name, size_t row)
{
    ptrdiff_t column = sg_table_find(table, name);
    return column >= 0 ? sg_table_get_number(table, (size_t)column, row) : NAN;
}

static void members_collect(members *m, const sg_arms *arms, size_t arm)
{
    m->count = 0;
    for (size_t row = 0; row < sg_table_rows(arms->table); row++) {
        if (!sg_arms_has(arms, arm, row))
            continue;
        m->seed[m->count] = cell(arms->table, "seed", row);
        bool diverged = isfinite(cell(arms->table, "divergence", row));
        m->last[m->count] = diverged ? 0 : cell(arms->table, "J_last", row);
        m->drawdown[m->count] = cell(arms->table, "drawdown", row);
        m->failed[m->count++] = cell(arms->table, "censored", row) == 0;
    }
}

static sg_status describe_ends(const members *m, double *value, sg_error *error)
{
    sg_interval last = {NAN, NAN, NAN, 0};
    sg_status status = sg_stats_cvar(m->last, m->count, 0.1, &value[LAST_CVAR], NULL, error);
    value[DRAWDOWN] = 0;
    for (size_t i = 0; i < m->count; i++) {
        value[FAILED] += m->failed[i];
        value[LAST_WORST] = fmin(value[LAST_WORST], m->last[i]);
        value[DRAWDOWN] = fmax(value[DRAWDOWN], m->drawdown[i]);
    }
    value[RUNS] = (double)m->count;
    sg_stats_wilson((uint64_t)value[FAILED], m->count, how.level, &value[FAILED_LOW],
                    &value[FAILED_HIGH]);
    if (status == SG_OK && !isnan(value[LAST_WORST]))
        status = sg_stats_iqm_interval(&how, m->last, m->count, &last, error);
    value[LAST] = last.estimate;
    value[LAST_LOW] = last.low;
    value[LAST_HIGH] = last.high;
    return status;
}

/* Against the baseline, seed by seed. */
static sg_status compare(const members *m, const members *baseline, double *value, sg_error *error)
{
    sg_interval gain = {NAN, NAN, NAN, 0};
    uint64_t alone = 0, baseline_alone = 0;
    size_t pairs = 0, finite = 0;
    double *difference = malloc((m->count + 1) * sizeof *difference);
    if (difference == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu runs", m->count);
    for (size_t i = 0; i < m->count; i++) {
        size_t k = 0;
        while (k < baseline->count && baseline->seed[k] != m->seed[i])
            k++;
        if (k == baseline->count)
            continue;
        difference[pairs] = m->last[i] - baseline->last[k];
        finite += !isnan(difference[pairs++]);
        alone += m->failed[i] && !baseline->failed[k];
        baseline_alone += baseline->failed[k] && !m->failed[i];
    }
    sg_status status =
        finite > 0 ? sg_stats_mean_interval(&how, difference, pairs, &gain, error) : SG_OK;
    free(difference);
    value[PAIRS] = (double)pairs;
    value[GAIN] = gain.estimate;
    value[GAIN_LOW] = gain.low;
    value[GAIN_HIGH] = gain.high;
    value[ALONE] = (double)alone;
    value[BASELINE_ALONE] = (double)baseline_alone;
    value[FAILED_P] = sg_stats_mcnemar(alone, baseline_alone);
    return status;
}

/* Failures of an arm when `collapse` is the column of collapses. */
static double failures(const sg_arms *arms, size_t arm, const char *collapse)
{
    double count = 0;
    for (size_t row = 0; row < sg_table_rows(arms->table); row++)
        count += sg_arms_has(arms, arm, row) && (isfinite(cell(arms->table, collapse, row)) ||
                                                 isfinite(cell(arms->table, "divergence", row)));
    return count;
}

static sg_status add_arm(sg_table *out, const sg_arms *arms, size_t arm, members *m,
                         const members *baseline, sg_error *error)
{
    double value[COLUMNS];
    for (size_t c = 0; c < COLUMNS; c++)
        value[c] = c == FAILED ? 0 : NAN;
    members_collect(m, arms, arm);
    sg_status status = describe_ends(m, value, error);
    if (status == SG_OK && baseline != NULL)
        status = compare(m, baseline, value, error);
    value[FAILED_30] = failures(arms, arm, "collapse_30");
    value[FAILED_70] = failures(arms, arm, "collapse_70");
    if (status == SG_OK)
        status = sg_arms_append_row(out, arms, arm, error);
    for (size_t c = 0; c < COLUMNS && status == SG_OK; c++)
        sg_table_set_real(out, FIRST_REAL + c, sg_table_rows(out) - 1, value[c]);
    return status;
}

sg_status sg_training_outcome(const sg_table *fates, size_t baseline, sg_table **outcome,
                              sg_error *error)
{
    *outcome = NULL;
    sg_arms arms;
    sg_table *out = NULL;
    members first = {.count = 0}, m = {.count = 0};
    sg_status status = sg_arms_collect(&arms, fates, error);
    if (status == SG_OK && arms.count > 0 && baseline >= arms.count)
        status = sg_fail(error, SG_EARGUMENT, "arm %zu cannot be the baseline: there are %zu",
                         baseline + 1, arms.count);
    if (status == SG_OK)
        status = sg_arms_start_table(&out, names, COLUMNS, error);
    if (status == SG_OK)
        status = members_alloc(&first, sg_table_rows(fates), error);
    if (status == SG_OK)
        status = members_alloc(&m, sg_table_rows(fates), error);
    if (status == SG_OK && arms.count > 0)
        members_collect(&first, &arms, baseline);
    for (size_t arm = 0; status == SG_OK && arm < arms.count; arm++)
        status = add_arm(out, &arms, arm, &m, arm == baseline ? NULL : &first, error);
    members_free(&first);
    members_free(&m);
    if (status == SG_OK)
        *outcome = out;
    else
        sg_table_free(out);
    return status;
}
