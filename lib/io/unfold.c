/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "io/unfold.h"

static sg_status add(sg_table *table, const char *name, ptrdiff_t *column, sg_error *error)
{
    *column = -1;
    if (sg_table_find(table, name) >= 0)
        return SG_OK;
    *column = (ptrdiff_t)sg_table_columns(table);
    return sg_table_add_column(table, name, SG_COLUMN_INTEGER, error);
}

sg_status sg_unfolding_add(sg_unfolding *unfolding, sg_table *table, sg_error *error)
{
    sg_status status = add(table, "sequence", &unfolding->sequence, error);
    return status == SG_OK ? add(table, "position", &unfolding->position, error) : status;
}

void sg_unfolding_number(const sg_unfolding *unfolding, sg_table *table, size_t response,
                         size_t first, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (unfolding->sequence >= 0)
            sg_table_set_integer(table, (size_t)unfolding->sequence, first + i, (int64_t)response);
        if (unfolding->position >= 0)
            sg_table_set_integer(table, (size_t)unfolding->position, first + i, (int64_t)i);
    }
}
