/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_UNFOLD_H
#define SG_UNFOLD_H

#include "core/table.h"

/* Trainers keep responses as rows and their tokens as columns or lists; a table has a row a token. A reader that
 * unfolds adds the columns "sequence" (the number of the response) and "position" (that of the token in it), both
 * from 0, unless the file has columns of these names: -1 then. */
typedef struct sg_unfolding {
    ptrdiff_t sequence, position;
} sg_unfolding;

/* SG_ENOMEM when a column cannot be added. */
sg_status sg_unfolding_add(sg_unfolding *unfolding, sg_table *table, sg_error *error);

/* Numbers the `length` tokens of a response, whose rows start at `first`. */
void sg_unfolding_number(const sg_unfolding *unfolding, sg_table *table, size_t response,
                         size_t first, size_t length);

#endif
