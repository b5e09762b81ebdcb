/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "plots/drawing.h"

#include <math.h>

#include "curve/landmarks.h"

sg_status sg_drawing_set_layout(sg_drawing *drawing, size_t rows, size_t columns, sg_error *error)
{
    drawing->figure = sg_figure_alloc(rows, columns);
    return drawing->figure != NULL ? SG_OK
                                   : sg_fail(error, SG_ENOMEM, "not enough memory for a figure");
}

sg_status sg_drawing_take_table(sg_drawing *drawing, const char *suffix, sg_table *table,
                                sg_error *error)
{
    if (drawing->table_count == SG_DRAWING_TABLES_MAX) {
        sg_table_free(table);
        return sg_fail(error, SG_EINTERNAL, "a figure has more than %d tables",
                       SG_DRAWING_TABLES_MAX);
    }
    drawing->tables[drawing->table_count] = table;
    drawing->suffixes[drawing->table_count++] = suffix;
    return SG_OK;
}

sg_status sg_drawing_add_table(sg_drawing *drawing, const char *suffix, sg_table **table,
                               sg_error *error)
{
    *table = sg_table_alloc();
    if (*table == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    return sg_drawing_take_table(drawing, suffix, *table, error);
}

sg_status sg_drawing_start(sg_drawing *drawing, size_t rows, size_t columns, sg_table **table,
                           sg_error *error)
{
    sg_status status = sg_drawing_set_layout(drawing, rows, columns, error);
    return status == SG_OK ? sg_drawing_add_table(drawing, "", table, error) : status;
}

sg_status sg_curves_init(sg_table *table, bool with_grid, sg_error *error)
{
    static const char *const texts[] = {"label", "grid", "objective", "params"};
    static const char *const reals[] = {"advantage", "ratio",  "log_ratio",
                                        "surrogate", "weight", "coefficient"};
    sg_status status = SG_OK;
    for (size_t i = 0; i < 4 && status == SG_OK; i++) {
        if (i != 1 || with_grid)
            status = sg_table_add_column(table, texts[i], SG_COLUMN_TEXT, error);
    }
    for (size_t i = 0; i < 6 && status == SG_OK; i++)
        status = sg_table_add_column(table, reals[i], SG_COLUMN_REAL, error);
    return status;
}

/* Ratios at which the gate jumps (or has a corner that deserves a point of its own). */
static size_t find_edges(const sg_objective *objective, double advantage, double edges[2])
{
    const sg_gate_parameters *p = &objective->parameter;
    bool positive = advantage > 0;
    switch (objective->gate) {
    case SG_GATE_HARD:
        edges[0] = positive ? 1 + p->eps_high : 1 - p->eps_low;
        edges[1] = fmin(p->dual_clip, p->delta);
        return !positive && isfinite(edges[1]) ? 2 : 1;
    case SG_GATE_ASPO:
    case SG_GATE_CE_GPPO:
        edges[0] = positive ? 1 + p->eps_high : 1 - p->eps_low;
        return 1;
    default:
        return 0;
    }
}

static sg_status append(sg_table *table, const char *label, const char *grid_name,
                        const sg_objective *objective, double advantage, double ratio,
                        double log_ratio, sg_gate_value value, sg_error *error)
{
    char params[256];
    sg_objective_parameters(objective, params, sizeof params);
    sg_status status = sg_table_add_rows(table, 1, error);
    size_t row = sg_table_rows(table) - 1, column = 0;
    const char *const texts[] = {label, grid_name, objective->method->name, params};
    const double reals[] = {advantage,       ratio,        log_ratio,
                            value.surrogate, value.weight, value.coefficient};
    for (size_t i = 0; i < 4 && status == SG_OK; i++) {
        if (texts[i] != NULL)
            status = sg_table_set_text(table, column++, row, texts[i], error);
    }
    for (size_t i = 0; i < 6 && status == SG_OK; i++)
        sg_table_set_real(table, column++, row, reals[i]);
    return status;
}

/* One row: `shown` is the ratio that is written, `at` the ratio that is evaluated. */
static sg_status add_row(sg_table *table, const char *label, const char *grid_name,
                         const sg_objective *objective, double advantage, double shown, double at,
                         sg_error *error)
{
    return append(table, label, grid_name, objective, advantage, shown, log(shown),
                  sg_gate_at_ratio(objective, at, advantage), error);
}

sg_status sg_curves_add_point(sg_table *table, const char *label, const sg_objective *objective,
                              double advantage, double log_ratio, sg_error *error)
{
    sg_gate_value value = sg_objective_eval(objective, log_ratio, advantage, 0);
    return append(table, label, NULL, objective, advantage, exp(log_ratio), log_ratio, value,
                  error);
}

static double grid_ratio(sg_curve_grid grid, size_t i)
{
    double share = (double)i / (double)(grid.points - 1);
    double at = grid.low * (1 - share) + grid.high * share;
    return grid.log_ratio ? exp(at) : at;
}

sg_status sg_curves_add(sg_table *table, const char *label, const sg_objective *objective,
                        double advantage, sg_curve_grid grid, sg_error *error)
{
    double edges[2];
    size_t count = find_edges(objective, advantage, edges);
    sg_status status = SG_OK;
    double previous = -1;
    for (size_t i = 0; i < grid.points && status == SG_OK; i++) {
        double ratio = grid_ratio(grid, i);
        for (size_t e = 0; e < count && status == SG_OK; e++) {
            if (edges[e] <= previous || edges[e] > ratio || edges[e] <= 0)
                continue;
            status = add_row(table, label, grid.name, objective, advantage, edges[e],
                             nextafter(edges[e], 0), error);
            if (status == SG_OK)
                status = add_row(table, label, grid.name, objective, advantage, edges[e],
                                 nextafter(edges[e], INFINITY), error);
            previous = edges[e];
        }
        if (status == SG_OK && ratio != previous)
            status = add_row(table, label, grid.name, objective, advantage, ratio, ratio, error);
        previous = ratio;
    }
    return status;
}

sg_status sg_curves_add_spec(sg_table *table, const char *label, const char *spec, double advantage,
                             sg_curve_grid grid, sg_error *error)
{
    sg_objective objective;
    sg_status status = sg_objective_parse(&objective, spec, error);
    return status == SG_OK ? sg_curves_add(table, label, &objective, advantage, grid, error)
                           : status;
}
