/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "core/stats.h"
#include "sim/arms.h"
#include "sim/collapse.h"
#include "sim/training_summary.h"

static const char *const curve_columns[] = {"survival", "low", "high", "at_risk", "events"};
static const char *const alive_columns[] = {"alive", "low", "high", "at_risk", "events"};
enum { COLUMNS = sizeof alive_columns / sizeof *alive_columns };

static sg_status append_curve(sg_table *out, const sg_arms *a, size_t arm, const sg_table *curve,
                              sg_error *error)
{
    size_t time = (size_t)sg_table_find(curve, "time");
    sg_status status = SG_OK;
    for (size_t i = 0; i < sg_table_rows(curve) && status == SG_OK; i++) {
        status = sg_arms_append_row(out, a, arm, error);
        size_t row = sg_table_rows(out) - 1;
        if (status == SG_OK)
            sg_table_set_integer(out, 2, row, (int64_t)sg_table_get_number(curve, time, i));
        for (size_t c = 0; c < COLUMNS && status == SG_OK; c++) {
            ptrdiff_t from = sg_table_find(curve, curve_columns[c]);
            sg_table_set_real(out, 3 + c, row, sg_table_get_number(curve, (size_t)from, i));
        }
    }
    return status;
}

static sg_status arm_survival(sg_table *out, const sg_arms *a, size_t arm, double *times,
                              bool *censored, sg_error *error)
{
    size_t survival = (size_t)sg_table_find(a->table, "survival");
    size_t flag = (size_t)sg_table_find(a->table, "censored"), count = 0;
    for (size_t row = 0; row < sg_table_rows(a->table); row++) {
        if (!sg_arms_has(a, arm, row))
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

static sg_status start_table(sg_table **out, sg_error *error)
{
    sg_status status = sg_arms_start_table(out, NULL, 0, error);
    if (status == SG_OK)
        status = sg_table_add_column(*out, "step", SG_COLUMN_INTEGER, error);
    for (size_t c = 0; c < COLUMNS && status == SG_OK; c++)
        status = sg_table_add_column(*out, alive_columns[c], SG_COLUMN_REAL, error);
    return status;
}

sg_status sg_training_survival(const sg_table *fates, sg_table **survival, sg_error *error)
{
    *survival = NULL;
    sg_table *out = NULL;
    sg_arms a;
    size_t count = sg_table_rows(fates);
    sg_status status = sg_arms_collect(&a, fates, error);
    if (status == SG_OK)
        status = start_table(&out, error);
    double *times = malloc((count + 1) * sizeof *times);
    bool *censored = malloc((count + 1) * sizeof *censored);
    if (status == SG_OK && (times == NULL || censored == NULL))
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu runs", count);
    for (size_t arm = 0; status == SG_OK && arm < a.count; arm++)
        status = arm_survival(out, &a, arm, times, censored, error);
    free(times);
    free(censored);
    if (status == SG_OK)
        *survival = out;
    else
        sg_table_free(out);
    return status;
}
