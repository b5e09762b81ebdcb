/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "sim/collapse.h"

static const char *const inputs[] = {"step",      "J",          "entropy", "tail_entropy_share",
                                     "tail_mass", "logit_range"};
static const char *const keys[] = {"objective", "params", "seed"};
static const char *const outputs[] = {
    "survival",          "censored", "collapse", "divergence",  "entropy_collapse",
    "entropy_explosion", "stall",    "drawdown", "collapse_30", "collapse_70",
    "J_first",           "J_last",   "J_best",   "J_mean",
};
enum {
    INPUTS = sizeof inputs / sizeof *inputs,
    OUTPUTS = sizeof outputs / sizeof *outputs,
    KEYS = sizeof keys / sizeof *keys,
};

/* First row after the run that starts at `first`. */
static size_t run_end(const sg_table *table, const size_t key[KEYS], size_t first)
{
    size_t end = first + 1;
    while (end < sg_table_rows(table) &&
           strcmp(sg_table_get_text(table, key[0], end), sg_table_get_text(table, key[0], first)) ==
               0 &&
           strcmp(sg_table_get_text(table, key[1], end), sg_table_get_text(table, key[1], first)) ==
               0 &&
           sg_table_get_number(table, key[2], end) == sg_table_get_number(table, key[2], first))
        end++;
    return end;
}

static double collapse_at(const sg_series *series, sg_fate_rule rule, double drop)
{
    rule.drop = drop;
    return sg_fate_of(series, rule).collapse;
}

static void summarize(const sg_series *series, sg_fate_rule rule, double value[OUTPUTS])
{
    sg_fate fate = sg_fate_of(series, rule);
    const double *J = series->J;
    size_t n = series->n;
    double sum = 0, best = -INFINITY, last = NAN;
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(J[i]))
            continue;
        sum += J[i];
        best = fmax(best, J[i]);
        last = J[i];
        count++;
    }
    const double values[OUTPUTS] = {fate.survival,
                                    fate.censored,
                                    fate.collapse,
                                    fate.divergence,
                                    fate.entropy_collapse,
                                    fate.entropy_explosion,
                                    fate.stall,
                                    fate.drawdown,
                                    collapse_at(series, rule, 0.3),
                                    collapse_at(series, rule, 0.7),
                                    J[0],
                                    last,
                                    count > 0 ? best : NAN,
                                    count > 0 ? sum / (double)count : NAN};
    memcpy(value, values, sizeof values);
}

static sg_status add_row(sg_table *fates, const sg_table *simulated, const size_t key[KEYS],
                         size_t first, const double value[OUTPUTS], sg_error *error)
{
    size_t row = sg_table_rows(fates);
    sg_status status = sg_table_add_rows(fates, 1, error);
    for (size_t c = 0; c < 2 && status == SG_OK; c++)
        status =
            sg_table_set_text(fates, c, row, sg_table_get_text(simulated, key[c], first), error);
    if (status != SG_OK)
        return status;
    sg_table_set_integer(fates, 2, row, (int64_t)sg_table_get_number(simulated, key[2], first));
    for (size_t c = 0; c < OUTPUTS; c++)
        sg_table_set_real(fates, KEYS + c, row, value[c]);
    return SG_OK;
}

static sg_status find(const sg_table *table, const char *name, size_t *column, sg_error *error)
{
    ptrdiff_t found = sg_table_find(table, name);
    if (found < 0)
        return sg_fail(error, SG_EDATA,
                       "this table has no column \"%s\"; give one that softgate simulate wrote",
                       name);
    *column = (size_t)found;
    return SG_OK;
}

static sg_status add_columns(sg_table *fates, sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t c = 0; c < KEYS && status == SG_OK; c++)
        status =
            sg_table_add_column(fates, keys[c], c < 2 ? SG_COLUMN_TEXT : SG_COLUMN_INTEGER, error);
    for (size_t c = 0; c < OUTPUTS && status == SG_OK; c++)
        status = sg_table_add_column(fates, outputs[c], SG_COLUMN_REAL, error);
    return status;
}

/* The input columns as numbers, [INPUTS][rows]; the caller frees them. */
static sg_status read_columns(const sg_table *simulated, double **cells, sg_error *error)
{
    size_t rows = sg_table_rows(simulated);
    sg_status status = SG_OK;
    *cells = malloc((INPUTS * rows + 1) * sizeof **cells);
    if (*cells == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table of %zu rows", rows);
    for (size_t c = 0; c < INPUTS && status == SG_OK; c++) {
        size_t column = 0;
        status = find(simulated, inputs[c], &column, error);
        for (size_t i = 0; i < rows && status == SG_OK; i++)
            (*cells)[c * rows + i] = sg_table_get_number(simulated, column, i);
    }
    return status;
}

static sg_status fill(const sg_table *simulated, sg_fate_rule rule, const double *cells,
                      sg_table *fates, sg_error *error)
{
    size_t key[KEYS], rows = sg_table_rows(simulated);
    sg_status status = add_columns(fates, error);
    for (size_t c = 0; c < KEYS && status == SG_OK; c++)
        status = find(simulated, keys[c], &key[c], error);
    for (size_t first = 0, end; first < rows && status == SG_OK; first = end) {
        end = run_end(simulated, key, first);
        const double *at[INPUTS];
        for (size_t c = 0; c < INPUTS; c++)
            at[c] = cells + c * rows + first;
        sg_series series = {end - first, at[0], at[1], at[2], at[3], at[4], at[5]};
        double value[OUTPUTS];
        summarize(&series, rule, value);
        status = add_row(fates, simulated, key, first, value, error);
    }
    return status;
}

sg_status sg_fate_table(const sg_table *simulated, double optimum, double drop, sg_table **fates,
                        sg_error *error)
{
    *fates = NULL;
    const char *steps = sg_table_meta(simulated, "run.steps");
    sg_fate_rule rule = {.optimum = optimum, .drop = drop};
    if (steps == NULL || !sg_parse_real(steps, &rule.horizon))
        return sg_fail(error, SG_EDATA,
                       "this table does not say its run.steps; give one that softgate simulate "
                       "wrote, with its metadata");
    sg_table *table = sg_table_alloc();
    if (table == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    double *cells = NULL;
    sg_status status = read_columns(simulated, &cells, error);
    if (status == SG_OK)
        status = fill(simulated, rule, cells, table, error);
    free(cells);
    if (status == SG_OK)
        *fates = table;
    else
        sg_table_free(table);
    return status;
}
