/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/text.h"
#include "sim/arms.h"
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
           strcmp(sg_arms_text(table, key[0], end), sg_arms_text(table, key[0], first)) == 0 &&
           strcmp(sg_arms_text(table, key[1], end), sg_arms_text(table, key[1], first)) == 0 &&
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
        status = sg_table_set_text(fates, c, row, sg_arms_text(simulated, key[c], first), error);
    if (status != SG_OK)
        return status;
    sg_table_set_integer(fates, 2, row, (int64_t)sg_table_get_number(simulated, key[2], first));
    for (size_t c = 0; c < OUTPUTS; c++)
        sg_table_set_real(fates, KEYS + c, row, value[c]);
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

/* The input columns as numbers. */
typedef struct input {
    double *cells; /* [INPUTS][rows] */
    bool measured[INPUTS];
} input;

/* `measured` says whether the table has the column and a number in it. A log without the exact
 * score is judged by its reward. */
static void read_column(const sg_table *runs, const char *name, double *cells, bool *measured)
{
    ptrdiff_t column = sg_table_find(runs, name);
    if (column < 0 && strcmp(name, "J") == 0)
        column = sg_table_find(runs, "reward");
    for (size_t i = 0; column >= 0 && i < sg_table_rows(runs); i++) {
        cells[i] = sg_table_get_number(runs, (size_t)column, i);
        *measured = *measured || !isnan(cells[i]);
    }
}

static sg_status read_columns(const sg_table *runs, input *in, sg_error *error)
{
    size_t rows = sg_table_rows(runs), column;
    in->cells = malloc((INPUTS * rows + 1) * sizeof *in->cells);
    if (in->cells == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table of %zu rows", rows);
    sg_status status = sg_arms_find_column(runs, "step", &column, error);
    if (status == SG_OK && sg_table_find(runs, "J") < 0)
        status = sg_arms_find_column(runs, "reward", &column, error);
    for (size_t c = 0; c < INPUTS && status == SG_OK; c++)
        read_column(runs, inputs[c], in->cells + c * rows, &in->measured[c]);
    return status;
}

/* The steps that a run was meant to take: as the metadata say, or as far as any run went. */
static double horizon_of(const sg_table *runs, const double *steps)
{
    const char *told = sg_table_meta(runs, "run.steps");
    double horizon = 0;
    if (told != NULL && sg_parse_real(told, &horizon))
        return horizon;
    for (size_t row = 0; row < sg_table_rows(runs); row++)
        horizon = fmax(horizon, steps[row]);
    return horizon;
}

static sg_status fill(const sg_table *runs, sg_fate_rule rule, const input *in, sg_table *fates,
                      sg_error *error)
{
    size_t key[KEYS], rows = sg_table_rows(runs);
    sg_status status = add_columns(fates, error);
    for (size_t c = 0; c < KEYS && status == SG_OK; c++)
        status = sg_arms_find_column(runs, keys[c], &key[c], error);
    rule.horizon = horizon_of(runs, in->cells);
    for (size_t first = 0, end; first < rows && status == SG_OK; first = end) {
        end = run_end(runs, key, first);
        const double *at[INPUTS];
        for (size_t c = 0; c < INPUTS; c++)
            at[c] = c < 2 || in->measured[c] ? in->cells + c * rows + first : NULL;
        sg_series series = {end - first, at[0], at[1], at[2], at[3], at[4], at[5]};
        double value[OUTPUTS];
        summarize(&series, rule, value);
        status = add_row(fates, runs, key, first, value, error);
    }
    return status;
}

sg_status sg_fate_table(const sg_table *runs, double optimum, double drop, sg_table **fates,
                        sg_error *error)
{
    *fates = NULL;
    sg_fate_rule rule = {.optimum = optimum, .drop = drop};
    sg_table *table = sg_table_alloc();
    if (table == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    input in = {.cells = NULL};
    sg_status status = read_columns(runs, &in, error);
    if (status == SG_OK)
        status = fill(runs, rule, &in, table, error);
    free(in.cells);
    if (status == SG_OK)
        *fates = table;
    else
        sg_table_free(table);
    return status;
}
