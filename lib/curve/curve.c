/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "curve/curve.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

enum { PARTS = 3, PART_SIZE = 64, POINTS_MAX = 100000000 };

sg_status sg_grid_parse(sg_grid *grid, const char *text, bool log_ratio, sg_error *error)
{
    char parts[PARTS][PART_SIZE];
    const char *from = text;
    for (int i = 0; i < PARTS; i++) {
        size_t length = strcspn(from, ":");
        bool last = i == PARTS - 1;
        if (length >= PART_SIZE || (from[length] == ':') == last)
            return sg_fail(error, SG_EARGUMENT,
                           "grid \"%.60s\" is not of the form LO:HI:N, for example 0:5:1001", text);
        memcpy(parts[i], from, length);
        parts[i][length] = '\0';
        from += length + !last;
    }
    double low, high;
    int64_t points;
    if (!sg_parse_real(parts[0], &low) || !sg_parse_real(parts[1], &high) || !isfinite(low) ||
        !isfinite(high) || !sg_parse_integer(parts[2], &points))
        return sg_fail(error, SG_EARGUMENT,
                       "grid \"%.60s\": LO and HI must be numbers and N an integer, for example "
                       "0:5:1001",
                       text);
    if (points < 1 || points > POINTS_MAX || low > high || (!log_ratio && low < 0))
        return sg_fail(error, SG_EARGUMENT,
                       "grid \"%.60s\": needs LO <= HI%s and N from 1 to %d", text,
                       log_ratio ? "" : ", LO >= 0", POINTS_MAX);
    *grid = (sg_grid){low, high, (size_t)points, log_ratio};
    return SG_OK;
}

static double grid_at(sg_grid grid, size_t i)
{
    if (grid.points == 1)
        return grid.low;
    double share = (double)i / (double)(grid.points - 1);
    return grid.low * (1 - share) + grid.high * share;
}

/* A point given by its ratio keeps the ratio exactly, so that 0 and the clip edges are what they are. */
static sg_gate_point point_at(sg_grid grid, size_t i, double logp_old)
{
    double x = grid_at(grid, i);
    if (grid.log_ratio)
        return sg_gate_point_from_log(x, logp_old);
    return (sg_gate_point){log(x), x, x - 1, logp_old};
}

sg_status sg_curve(sg_table **table, const sg_objective *objectives, size_t count,
                   const double *advantages, size_t advantage_count, sg_grid grid, double logp_old,
                   sg_error *error)
{
    static const char *const reals[] = {"advantage", "ratio",  "log_ratio",
                                        "surrogate", "weight", "coefficient"};
    sg_table *t = sg_table_alloc();
    if (t == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    sg_status status = sg_table_add_column(t, "objective", SG_COLUMN_TEXT, error);
    if (status == SG_OK)
        status = sg_table_add_column(t, "params", SG_COLUMN_TEXT, error);
    for (size_t c = 0; c < sizeof reals / sizeof *reals && status == SG_OK; c++)
        status = sg_table_add_column(t, reals[c], SG_COLUMN_REAL, error);
    if (status == SG_OK)
        status = sg_table_add_rows(t, count * advantage_count * grid.points, error);
    size_t row = 0;
    for (size_t k = 0; k < count && status == SG_OK; k++) {
        const sg_objective *objective = &objectives[k];
        char params[512];
        sg_objective_parameters(objective, params, sizeof params);
        for (size_t a = 0; a < advantage_count; a++) {
            for (size_t i = 0; i < grid.points && status == SG_OK; i++, row++) {
                sg_gate_point at = point_at(grid, i, logp_old);
                sg_gate_value v = sg_objective_eval_at(objective, at, advantages[a]);
                const double values[] = {advantages[a], at.ratio, at.log_ratio,
                                         v.surrogate,   v.weight, v.coefficient};
                status = sg_table_set_text(t, 0, row, objective->method->name, error);
                if (status == SG_OK)
                    status = sg_table_set_text(t, 1, row, params, error);
                for (size_t c = 0; c < sizeof values / sizeof *values; c++)
                    sg_table_set_real(t, 2 + c, row, values[c]);
            }
        }
    }
    if (status != SG_OK) {
        sg_table_free(t);
        return status;
    }
    *table = t;
    return SG_OK;
}
