/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/training_summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stats.h"
#include "sim/arms.h"

enum { COLUMNS_MAX = 32, FIXED_COLUMNS = 4 };

/* ---- the runs of an arm ---- */

/* A row and its step, for sorting. */
typedef struct row_step {
    size_t row;
    double step;
} row_step;

static int by_step(const void *left, const void *right)
{
    const row_step *a = left, *b = right;
    if (a->step != b->step)
        return a->step < b->step ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

/* A run that diverges. */
typedef struct fallen {
    double seed, step;
} fallen;

/* Rows of one arm in the order of the steps, without those of a policy that is none any more. */
typedef struct arm_rows {
    row_step *rows;
    size_t count;
    fallen *fallen;
    size_t fallen_count;
} arm_rows;

typedef struct summarizer {
    const sg_arms *a;
    const sg_table *fates; /* may be NULL */
    const sg_summary_column *columns;
    size_t index[COLUMNS_MAX], count, seed, step;
    double levels[3];
    arm_rows arm, baseline;
    double *values; /* of one column at one step */
    sg_table *out;
} summarizer;

static sg_status collect_fallen(arm_rows *to, const summarizer *s, size_t arm, sg_error *error)
{
    sg_arms of_fates;
    size_t seed = 0, divergence = 0;
    to->fallen_count = 0;
    if (s->fates == NULL)
        return SG_OK;
    sg_status status = sg_arms_collect(&of_fates, s->fates, error);
    if (status == SG_OK)
        status = sg_arms_find_column(s->fates, "seed", &seed, error);
    if (status == SG_OK)
        status = sg_arms_find_column(s->fates, "divergence", &divergence, error);
    for (size_t row = 0; status == SG_OK && row < sg_table_rows(s->fates); row++) {
        const char *objective = sg_arms_text(s->fates, of_fates.objective, row);
        const char *params = sg_arms_text(s->fates, of_fates.params, row);
        double step = sg_table_get_number(s->fates, divergence, row);
        if (isfinite(step) && strcmp(objective, sg_arms_objective(s->a, arm)) == 0 &&
            strcmp(params, sg_arms_params(s->a, arm)) == 0)
            to->fallen[to->fallen_count++] =
                (fallen){sg_table_get_number(s->fates, seed, row), step};
    }
    return status;
}

static bool has_fallen(const arm_rows *arm, double seed, double step)
{
    for (size_t i = 0; i < arm->fallen_count; i++) {
        if (arm->fallen[i].seed == seed)
            return arm->fallen[i].step <= step;
    }
    return false;
}

static sg_status sort_arm(arm_rows *sorted, const summarizer *s, size_t arm, sg_error *error)
{
    sg_status status = collect_fallen(sorted, s, arm, error);
    sorted->count = 0;
    for (size_t row = 0; status == SG_OK && row < sg_table_rows(s->a->table); row++) {
        double step = sg_table_get_number(s->a->table, s->step, row);
        double seed = sg_table_get_number(s->a->table, s->seed, row);
        if (sg_arms_has(s->a, arm, row) && !has_fallen(sorted, seed, step))
            sorted->rows[sorted->count++] = (row_step){row, step};
    }
    qsort(sorted->rows, sorted->count, sizeof *sorted->rows, by_step);
    return status;
}

/* The baseline's value for a seed at a step, NaN when it has none. */
static double baseline_value(const summarizer *s, size_t c, double step, double seed)
{
    size_t low = 0, high = s->baseline.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->baseline.rows[middle].step < step)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < s->baseline.count && s->baseline.rows[low].step == step; low++) {
        size_t other = s->baseline.rows[low].row;
        if (sg_table_get_number(s->a->table, s->seed, other) == seed)
            return sg_table_get_number(s->a->table, s->index[c], other);
    }
    return s->columns[c].score && has_fallen(&s->baseline, seed, step) ? 0 : NAN;
}

/* ---- medians and bands ---- */

/* Fills s->values with column c at the step that rows[from..to-1] share; returns how many. */
static size_t gather(summarizer *s, size_t c, size_t from, size_t to)
{
    const row_step *rows = s->arm.rows;
    double step = rows[from].step;
    bool gain = s->columns[c].gain, any = false;
    size_t count = 0;
    for (size_t i = from; i < to; i++) {
        double value = sg_table_get_number(s->a->table, s->index[c], rows[i].row);
        double seed = sg_table_get_number(s->a->table, s->seed, rows[i].row);
        any = any || !isnan(value);
        s->values[count++] = gain ? value - baseline_value(s, c, step, seed) : value;
    }
    /* Where nothing was measured of the living, nothing is known of the fallen. */
    for (size_t i = 0; any && s->columns[c].score && i < s->arm.fallen_count; i++) {
        if (s->arm.fallen[i].step <= step)
            s->values[count++] = gain ? -baseline_value(s, c, step, s->arm.fallen[i].seed) : 0;
    }
    return count;
}

/* One output row from rows[from..to-1], which share a step. */
static sg_status summarize_step(summarizer *s, size_t arm, size_t from, size_t to, sg_error *error)
{
    sg_status status = sg_arms_append_row(s->out, s->a, arm, error);
    if (status != SG_OK)
        return status;
    size_t out_row = sg_table_rows(s->out) - 1;
    sg_table_set_integer(s->out, 2, out_row, (int64_t)s->arm.rows[from].step);
    sg_table_set_integer(s->out, 3, out_row, (int64_t)(to - from));
    for (size_t c = 0; c < s->count && status == SG_OK; c++) {
        double quantiles[3];
        size_t count = gather(s, c, from, to);
        status = sg_stats_quantiles(s->values, NULL, count, s->levels, quantiles, 3, NULL, error);
        for (size_t q = 0; q < 3 && status == SG_OK; q++)
            sg_table_set_real(s->out, FIXED_COLUMNS + 3 * c + q, out_row, quantiles[q]);
    }
    return status;
}

static sg_status summarize_arm(summarizer *s, size_t arm, sg_error *error)
{
    sg_status status = sort_arm(&s->arm, s, arm, error);
    for (size_t from = 0, to; from < s->arm.count && status == SG_OK; from = to) {
        for (to = from + 1; to < s->arm.count && s->arm.rows[to].step == s->arm.rows[from].step;
             to++)
            ;
        status = summarize_step(s, arm, from, to, error);
    }
    return status;
}

static sg_status add_columns(sg_table *out, const sg_summary_column *columns, size_t count,
                             sg_error *error)
{
    static const char *const suffixes[] = {"_low", "", "_high"};
    sg_status status = sg_table_add_column(out, "step", SG_COLUMN_INTEGER, error);
    if (status == SG_OK)
        status = sg_table_add_column(out, "runs", SG_COLUMN_INTEGER, error);
    for (size_t c = 0; c < 3 * count && status == SG_OK; c++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", columns[c / 3].name,
                 columns[c / 3].gain ? "_gain" : "", suffixes[c % 3]);
        status = sg_table_add_column(out, name, SG_COLUMN_REAL, error);
    }
    return status;
}

/* Columns found, output table made, memory there. */
static sg_status prepare(summarizer *s, sg_error *error)
{
    const sg_table *runs = s->a->table;
    size_t rows = sg_table_rows(runs) + 1;
    size_t fates = s->fates != NULL ? sg_table_rows(s->fates) + 1 : 1;
    sg_status status = sg_arms_find_column(runs, "step", &s->step, error);
    if (status == SG_OK)
        status = sg_arms_find_column(runs, "seed", &s->seed, error);
    for (size_t c = 0; c < s->count && status == SG_OK; c++)
        status = sg_arms_find_column(runs, s->columns[c].name, &s->index[c], error);
    if (status == SG_OK)
        status = sg_arms_start_table(&s->out, NULL, 0, error);
    if (status == SG_OK)
        status = add_columns(s->out, s->columns, s->count, error);
    s->arm.rows = malloc(rows * sizeof *s->arm.rows);
    s->arm.fallen = malloc(fates * sizeof *s->arm.fallen);
    s->baseline.rows = malloc(rows * sizeof *s->baseline.rows);
    s->baseline.fallen = malloc(fates * sizeof *s->baseline.fallen);
    s->values = malloc((rows + fates) * sizeof *s->values);
    if (status == SG_OK && (s->arm.rows == NULL || s->arm.fallen == NULL || s->values == NULL ||
                            s->baseline.rows == NULL || s->baseline.fallen == NULL))
        status = sg_fail(error, SG_ENOMEM, "not enough memory to summarize %zu rows", rows);
    return status;
}

sg_status sg_training_summary(const sg_table *runs, const sg_table *fates,
                              const sg_summary_column *columns, size_t count, size_t baseline,
                              double band, sg_table **summary, sg_error *error)
{
    *summary = NULL;
    sg_arms a;
    sg_status status = sg_arms_collect(&a, runs, error);
    if (status != SG_OK)
        return status;
    if (!(band > 0 && band < 1) || count > COLUMNS_MAX || (a.count > 0 && baseline >= a.count))
        return sg_fail(
            error, SG_EARGUMENT,
            "a training summary needs a band between 0 and 1, at most %d columns, and a baseline "
            "among the %zu arms",
            COLUMNS_MAX, a.count);
    summarizer s = {.a = &a,
                    .fates = fates,
                    .columns = columns,
                    .count = count,
                    .levels = {(1 - band) / 2, 0.5, (1 + band) / 2}};
    status = prepare(&s, error);
    if (status == SG_OK && a.count > 0)
        status = sort_arm(&s.baseline, &s, baseline, error);
    for (size_t arm = 0; arm < a.count && status == SG_OK; arm++)
        status = summarize_arm(&s, arm, error);
    free(s.arm.rows);
    free(s.arm.fallen);
    free(s.baseline.rows);
    free(s.baseline.fallen);
    free(s.values);
    if (status == SG_OK)
        *summary = s.out;
    else
        sg_table_free(s.out);
    return status;
}
