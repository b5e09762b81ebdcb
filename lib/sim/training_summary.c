/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/training_summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/stats.h"
#include "sim/collapse.h"

enum { ARMS_MAX = 64, COLUMNS_MAX = 32, FIXED_COLUMNS = 4 };

/* The rows of a table by arm. */
typedef struct arms {
    const sg_table *table;
    size_t objective, params; /* columns */
    size_t count;
    size_t first[ARMS_MAX]; /* a row of each arm */
} arms;

static sg_status find(const sg_table *table, const char *name, size_t *column, sg_error *error)
{
    ptrdiff_t found = sg_table_find(table, name);
    if (found < 0)
        return sg_fail(error, SG_EDATA,
                       "the table of runs has no column \"%s\"; it must be one that 'softgate "
                       "simulate' wrote",
                       name);
    *column = (size_t)found;
    return SG_OK;
}

static const char *text_at(const sg_table *table, size_t column, size_t row)
{
    return sg_table_column_type(table, column) == SG_COLUMN_TEXT
               ? sg_table_get_text(table, column, row)
               : ""; /* a column of parameters that are all empty */
}

static bool in_arm(const arms *a, size_t arm, size_t row)
{
    size_t first = a->first[arm];
    return strcmp(text_at(a->table, a->objective, first), text_at(a->table, a->objective, row)) ==
               0 &&
           strcmp(text_at(a->table, a->params, first), text_at(a->table, a->params, row)) == 0;
}

static sg_status collect_arms(arms *a, const sg_table *table, sg_error *error)
{
    *a = (arms){.table = table};
    sg_status status = find(table, "objective", &a->objective, error);
    if (status == SG_OK)
        status = find(table, "params", &a->params, error);
    size_t last = 0;
    for (size_t row = 0; row < sg_table_rows(table) && status == SG_OK; row++) {
        if (a->count > 0 && in_arm(a, last, row))
            continue;
        for (last = 0; last < a->count && !in_arm(a, last, row); last++)
            ;
        if (last < a->count)
            continue;
        if (a->count == ARMS_MAX)
            return sg_fail(error, SG_EDATA, "the table of runs has more than %d arms", ARMS_MAX);
        a->first[a->count++] = row;
    }
    return status;
}

/* Appends a row that starts with the arm's names. */
static sg_status append_row(sg_table *out, const arms *a, size_t arm, sg_error *error)
{
    sg_status status = sg_table_add_rows(out, 1, error);
    size_t row = sg_table_rows(out) - 1;
    if (status == SG_OK)
        status =
            sg_table_set_text(out, 0, row, text_at(a->table, a->objective, a->first[arm]), error);
    if (status == SG_OK)
        status = sg_table_set_text(out, 1, row, text_at(a->table, a->params, a->first[arm]), error);
    return status;
}

static sg_status start_table(sg_table **out, sg_error *error)
{
    *out = sg_table_alloc();
    if (*out == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    sg_status status = sg_table_add_column(*out, "objective", SG_COLUMN_TEXT, error);
    if (status == SG_OK)
        status = sg_table_add_column(*out, "params", SG_COLUMN_TEXT, error);
    if (status == SG_OK)
        status = sg_table_add_column(*out, "step", SG_COLUMN_INTEGER, error);
    return status;
}

/* ---- medians and bands ---- */

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

/* Rows of one arm in the order of the steps. */
typedef struct arm_rows {
    row_step *rows;
    size_t count;
} arm_rows;

typedef struct summarizer {
    const arms *a;
    const sg_summary_column *columns;
    size_t index[COLUMNS_MAX], count, seed;
    double levels[3];
    arm_rows arm, baseline;
    double *values; /* of one column at one step */
    sg_table *out;
} summarizer;

static void sort_arm(arm_rows *sorted, const arms *a, size_t arm, size_t step_column)
{
    sorted->count = 0;
    for (size_t row = 0; row < sg_table_rows(a->table); row++) {
        if (in_arm(a, arm, row))
            sorted->rows[sorted->count++] =
                (row_step){row, sg_table_get_number(a->table, step_column, row)};
    }
    qsort(sorted->rows, sorted->count, sizeof *sorted->rows, by_step);
}

/* The baseline's value for the seed of `row` at a step, NaN when it has none. */
static double baseline_value(const summarizer *s, size_t column, double step, size_t row)
{
    size_t low = 0, high = s->baseline.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->baseline.rows[middle].step < step)
            low = middle + 1;
        else
            high = middle;
    }
    double seed = sg_table_get_number(s->a->table, s->seed, row);
    for (; low < s->baseline.count && s->baseline.rows[low].step == step; low++) {
        size_t other = s->baseline.rows[low].row;
        if (sg_table_get_number(s->a->table, s->seed, other) == seed)
            return sg_table_get_number(s->a->table, column, other);
    }
    return NAN;
}

/* One output row from rows[from..to-1], which share a step. */
static sg_status summarize_step(summarizer *s, size_t arm, size_t from, size_t to, sg_error *error)
{
    const row_step *rows = s->arm.rows;
    sg_status status = append_row(s->out, s->a, arm, error);
    if (status != SG_OK)
        return status;
    size_t out_row = sg_table_rows(s->out) - 1;
    sg_table_set_integer(s->out, 2, out_row, (int64_t)rows[from].step);
    sg_table_set_integer(s->out, 3, out_row, (int64_t)(to - from));
    for (size_t c = 0; c < s->count && status == SG_OK; c++) {
        double quantiles[3];
        for (size_t i = from; i < to; i++) {
            double value = sg_table_get_number(s->a->table, s->index[c], rows[i].row);
            if (s->columns[c].gain)
                value -= baseline_value(s, s->index[c], rows[i].step, rows[i].row);
            s->values[i - from] = value;
        }
        status =
            sg_stats_quantiles(s->values, NULL, to - from, s->levels, quantiles, 3, NULL, error);
        for (size_t q = 0; q < 3 && status == SG_OK; q++)
            sg_table_set_real(s->out, FIXED_COLUMNS + 3 * c + q, out_row, quantiles[q]);
    }
    return status;
}

static sg_status summarize_arm(summarizer *s, size_t arm, size_t step_column, sg_error *error)
{
    sort_arm(&s->arm, s->a, arm, step_column);
    sg_status status = SG_OK;
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
    sg_status status = sg_table_add_column(out, "runs", SG_COLUMN_INTEGER, error);
    for (size_t c = 0; c < 3 * count && status == SG_OK; c++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", columns[c / 3].name,
                 columns[c / 3].gain ? "_gain" : "", suffixes[c % 3]);
        status = sg_table_add_column(out, name, SG_COLUMN_REAL, error);
    }
    return status;
}

/* Columns found, output table made, memory there. */
static sg_status prepare(summarizer *s, size_t *step_column, sg_error *error)
{
    const sg_table *runs = s->a->table;
    size_t rows = sg_table_rows(runs) + 1;
    sg_status status = find(runs, "step", step_column, error);
    if (status == SG_OK)
        status = find(runs, "seed", &s->seed, error);
    for (size_t c = 0; c < s->count && status == SG_OK; c++)
        status = find(runs, s->columns[c].name, &s->index[c], error);
    if (status == SG_OK)
        status = start_table(&s->out, error);
    if (status == SG_OK)
        status = add_columns(s->out, s->columns, s->count, error);
    s->arm.rows = malloc(rows * sizeof *s->arm.rows);
    s->baseline.rows = malloc(rows * sizeof *s->baseline.rows);
    s->values = malloc(rows * sizeof *s->values);
    if (status == SG_OK && (s->arm.rows == NULL || s->baseline.rows == NULL || s->values == NULL))
        status = sg_fail(error, SG_ENOMEM, "not enough memory to summarize %zu rows", rows);
    return status;
}

sg_status sg_training_summary(const sg_table *runs, const sg_summary_column *columns, size_t count,
                              size_t baseline, double band, sg_table **summary, sg_error *error)
{
    *summary = NULL;
    arms a;
    sg_status status = collect_arms(&a, runs, error);
    if (status != SG_OK)
        return status;
    if (!(band > 0 && band < 1) || count > COLUMNS_MAX || (a.count > 0 && baseline >= a.count))
        return sg_fail(
            error, SG_EARGUMENT,
            "a training summary needs a band between 0 and 1, at most %d columns, and a baseline "
            "among the %zu arms",
            COLUMNS_MAX, a.count);
    size_t step_column = 0;
    summarizer s = {.a = &a,
                    .columns = columns,
                    .count = count,
                    .levels = {(1 - band) / 2, 0.5, (1 + band) / 2}};
    status = prepare(&s, &step_column, error);
    if (status == SG_OK && a.count > 0)
        sort_arm(&s.baseline, &a, baseline, step_column);
    for (size_t arm = 0; arm < a.count && status == SG_OK; arm++)
        status = summarize_arm(&s, arm, step_column, error);
    free(s.arm.rows);
    free(s.baseline.rows);
    free(s.values);
    if (status == SG_OK)
        *summary = s.out;
    else
        sg_table_free(s.out);
    return status;
}

/* ---- survival ---- */

static const char *const curve_columns[] = {"survival", "low", "high", "at_risk", "events"};
static const char *const alive_columns[] = {"alive", "low", "high", "at_risk", "events"};

static sg_status append_curve(sg_table *out, const arms *a, size_t arm, const sg_table *curve,
                              sg_error *error)
{
    size_t time = (size_t)sg_table_find(curve, "time");
    sg_status status = SG_OK;
    for (size_t i = 0; i < sg_table_rows(curve) && status == SG_OK; i++) {
        status = append_row(out, a, arm, error);
        size_t row = sg_table_rows(out) - 1;
        sg_table_set_integer(out, 2, row, (int64_t)sg_table_get_number(curve, time, i));
        for (size_t c = 0; c < 5 && status == SG_OK; c++) {
            ptrdiff_t from = sg_table_find(curve, curve_columns[c]);
            sg_table_set_real(out, 3 + c, row, sg_table_get_number(curve, (size_t)from, i));
        }
    }
    return status;
}

static sg_status arm_survival(sg_table *out, const arms *a, size_t arm, double *times,
                              bool *censored, sg_error *error)
{
    size_t survival = (size_t)sg_table_find(a->table, "survival");
    size_t flag = (size_t)sg_table_find(a->table, "censored"), count = 0;
    for (size_t row = 0; row < sg_table_rows(a->table); row++) {
        if (!in_arm(a, arm, row))
            continue;
        times[count] = sg_table_get_number(a->table, survival, row);
        censored[count++] = sg_table_get_number(a->table, flag, row) != 0;
    }
    sg_table *curve = NULL;
    sg_status status = sg_stats_survival(times, censored, count, 0.95, &curve, NULL, error);
    if (status == SG_OK)
        status = append_curve(out, a, arm, curve, error);
    sg_table_free(curve);
    return status;
}

sg_status sg_training_survival(const sg_table *runs, sg_table **survival, sg_error *error)
{
    *survival = NULL;
    sg_table *fates = NULL, *out = NULL;
    arms a = {0};
    sg_status status = sg_fate_table(runs, 1, 0.5, &fates, error);
    if (status == SG_OK)
        status = collect_arms(&a, fates, error);
    if (status == SG_OK)
        status = start_table(&out, error);
    for (size_t c = 0; c < 5 && status == SG_OK; c++)
        status = sg_table_add_column(out, alive_columns[c], SG_COLUMN_REAL, error);
    size_t count = fates != NULL ? sg_table_rows(fates) : 0;
    double *times = malloc((count + 1) * sizeof *times);
    bool *censored = malloc((count + 1) * sizeof *censored);
    if (status == SG_OK && (times == NULL || censored == NULL))
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu runs", count);
    for (size_t arm = 0; arm < a.count && status == SG_OK; arm++)
        status = arm_survival(out, &a, arm, times, censored, error);
    free(times);
    free(censored);
    sg_table_free(fates);
    if (status == SG_OK)
        *survival = out;
    else
        sg_table_free(out);
    return status;
}
