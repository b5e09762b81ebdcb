/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/arms.h"

#include <string.h>

sg_status sg_arms_find_column(const sg_table *table, const char *name, size_t *column,
                              sg_error *error)
{
    ptrdiff_t found = sg_table_find(table, name);
    if (found < 0)
        return sg_fail(error, SG_EDATA,
                       "the table of runs has no column \"%s\"; it must be one that 'softgate "
                       "simulate' wrote, or have the columns objective, params, seed, step and "
                       "reward",
                       name);
    *column = (size_t)found;
    return SG_OK;
}

const char *sg_arms_text(const sg_table *table, size_t column, size_t row)
{
    return sg_table_column_type(table, column) == SG_COLUMN_TEXT
               ? sg_table_get_text(table, column, row)
               : "";
}

const char *sg_arms_objective(const sg_arms *arms, size_t arm)
{
    return sg_arms_text(arms->table, arms->objective, arms->first[arm]);
}

const char *sg_arms_params(const sg_arms *arms, size_t arm)
{
    return sg_arms_text(arms->table, arms->params, arms->first[arm]);
}

bool sg_arms_same(const sg_arms *arms, size_t row, size_t other)
{
    const sg_table *table = arms->table;
    return strcmp(sg_arms_text(table, arms->objective, row),
                  sg_arms_text(table, arms->objective, other)) == 0 &&
           strcmp(sg_arms_text(table, arms->params, row),
                  sg_arms_text(table, arms->params, other)) == 0;
}

bool sg_arms_has(const sg_arms *arms, size_t arm, size_t row)
{
    return sg_arms_same(arms, arms->first[arm], row);
}

sg_status sg_arms_collect(sg_arms *arms, const sg_table *table, sg_error *error)
{
    *arms = (sg_arms){.table = table};
    sg_status status = sg_arms_find_column(table, "objective", &arms->objective, error);
    if (status == SG_OK)
        status = sg_arms_find_column(table, "params", &arms->params, error);
    size_t last = 0;
    for (size_t row = 0; row < sg_table_rows(table) && status == SG_OK; row++) {
        if (arms->count > 0 && sg_arms_has(arms, last, row))
            continue;
        for (last = 0; last < arms->count && !sg_arms_has(arms, last, row); last++)
            ;
        if (last < arms->count)
            continue;
        if (arms->count == SG_ARMS_MAX)
            return sg_fail(error, SG_EDATA, "the table of runs has more than %d arms", SG_ARMS_MAX);
        arms->first[arms->count++] = row;
    }
    return status;
}

sg_status sg_arms_start_table(sg_table **table, const char *const *reals, size_t count,
                              sg_error *error)
{
    *table = sg_table_alloc();
    if (*table == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a table");
    sg_status status = sg_table_add_column(*table, "objective", SG_COLUMN_TEXT, error);
    if (status == SG_OK)
        status = sg_table_add_column(*table, "params", SG_COLUMN_TEXT, error);
    for (size_t i = 0; i < count && status == SG_OK; i++)
        status = sg_table_add_column(*table, reals[i], SG_COLUMN_REAL, error);
    return status;
}

sg_status sg_arms_append_row(sg_table *table, const sg_arms *arms, size_t arm, sg_error *error)
{
    size_t row = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, 1, error);
    if (status == SG_OK)
        status = sg_table_set_text(table, 0, row, sg_arms_objective(arms, arm), error);
    return status == SG_OK ? sg_table_set_text(table, 1, row, sg_arms_params(arms, arm), error)
                           : status;
}
