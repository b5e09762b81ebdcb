/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CURVE_H
#define SG_CURVE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "core/table.h"
#include "objective/objective.h"

/* A grid of ratios, even in the ratio or in its logarithm. A ratio grid starts at 0 or above. */
typedef struct sg_grid {
    double low, high;
    size_t points; /* >= 1; points == 1 gives low alone */
    bool log_ratio;
} sg_grid;

/* Parse "LO:HI:N" (for example "0:5:1001"). SG_EARGUMENT says what is wrong. */
sg_status sg_grid_parse(sg_grid *grid, const char *text, bool log_ratio, sg_error *error);

/* Surrogate, weight and coefficient of every objective on the grid for every advantage: one row per point, with the columns
 * objective, params, advantage, ratio, log_ratio, surrogate, weight, coefficient. The ratio is the objective's own (token
 * ratio, sequence ratio s, or product W). logp_old is the log-probability of the token under the old policy, which only
 * dppo-tv looks at. Rows are ordered by objective, advantage, ratio. */
sg_status sg_curve(sg_table **table, const sg_objective *objectives, size_t count,
                   const double *advantages, size_t advantage_count, sg_grid grid, double logp_old,
                   sg_error *error);

#endif
