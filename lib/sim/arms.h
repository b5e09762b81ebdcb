/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ARMS_H
#define SG_ARMS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"
#include "core/table.h"

/* The rows of a table of runs by arm, that is by (objective, params), in the order in which arms
 * first appear. Their rows need not be together. */

enum { SG_ARMS_MAX = 64 };

typedef struct sg_arms {
    const sg_table *table;
    size_t objective, params; /* columns */
    size_t count;
    size_t first[SG_ARMS_MAX]; /* a row of each arm */
} sg_arms;

/* SG_EDATA when a column is missing or there are too many arms. */
sg_status sg_arms_collect(sg_arms *arms, const sg_table *table, sg_error *error);

bool sg_arms_same(const sg_arms *arms, size_t row, size_t other); /* are two rows of one arm? */
bool sg_arms_has(const sg_arms *arms, size_t arm, size_t row);

/* Valid as long as the table. `params` may be "". */
const char *sg_arms_objective(const sg_arms *arms, size_t arm);
const char *sg_arms_params(const sg_arms *arms, size_t arm);

/* A table with the columns objective and params, then the named reals; and a row of it that belongs
 * to an arm, the last one. */
sg_status sg_arms_start_table(sg_table **table, const char *const *reals, size_t count,
                              sg_error *error);
sg_status sg_arms_append_row(sg_table *table, const sg_arms *arms, size_t arm, sg_error *error);

/* A column that must be there. SG_EDATA with its name. */
sg_status sg_arms_find_column(const sg_table *table, const char *name, size_t *column,
                              sg_error *error);

/* A cell of text; "" in a column of another type, as a file has it whose parameters are all
 * empty. */
const char *sg_arms_text(const sg_table *table, size_t column, size_t row);

#endif
