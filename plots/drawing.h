/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_DRAWING_H
#define SG_DRAWING_H

#include "core/rng.h"
#include "plots/figure.h"
#include "plots/recipes.h"

/* What a recipe fills in: tables and the figure that shows them. Everything is freed by the caller
 * of the recipe. */

enum { SG_DRAWING_TABLES_MAX = 4 };

struct sg_drawing {
    uint64_t seed; /* in: to be used for random numbers, 0 = the recipe's own; out: what was used */
    const sg_figure_options *options; /* in: what training figures draw from */
    sg_figure *figure;
    size_t table_count;
    sg_table *tables[SG_DRAWING_TABLES_MAX];
    const char *suffixes[SG_DRAWING_TABLES_MAX]; /* "" for the first; NAME-SUFFIX.csv for others */
    char remark[4096]; /* appended to the caption; what only the data know, such as the number of
                         seeds */
};

sg_status sg_drawing_set_layout(sg_drawing *drawing, size_t rows, size_t columns, sg_error *error);

/* The layout, and the first table, empty; owned by the drawing. */
sg_status sg_drawing_start(sg_drawing *drawing, size_t rows, size_t columns, sg_table **table,
                           sg_error *error);

/* Adds an empty table with a suffix; owned by the drawing. */
sg_status sg_drawing_add_table(sg_drawing *drawing, const char *suffix, sg_table **table,
                               sg_error *error);

/* Adopts a table. */
sg_status sg_drawing_take_table(sg_drawing *drawing, const char *suffix, sg_table *table,
                                sg_error *error);

/* ---- gate curves: rows of `figure data` in the layout of `softgate curve`, with a label in front
 * ---- */

typedef struct sg_curve_grid {
    const char *name; /* cell of the column "grid"; NULL: the table has no such column */
    double low, high;
    size_t points;
    bool log_ratio;
} sg_curve_grid;

/* Columns label, [grid,] objective, params, advantage, ratio, log_ratio, surrogate, weight,
 * coefficient. */
sg_status sg_curves_init(sg_table *table, bool with_grid, sg_error *error);

/* Appends the curve of an objective. Where the gate jumps, the edge appears twice, with the values
 * on its two sides, so that a line through the rows has a vertical edge. */
sg_status sg_curves_add(sg_table *table, const char *label, const sg_objective *objective,
                        double advantage, sg_curve_grid grid, sg_error *error);

/* Appends one point, at a log-ratio. For tables without the column "grid". */
sg_status sg_curves_add_point(sg_table *table, const char *label, const sg_objective *objective,
                              double advantage, double log_ratio, sg_error *error);

/* As sg_curves_add, from a specification such as "sapo:tau_pos=1". */
sg_status sg_curves_add_spec(sg_table *table, const char *label, const char *spec, double advantage,
                             sg_curve_grid grid, sg_error *error);

#endif
