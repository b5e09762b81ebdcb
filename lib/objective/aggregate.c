/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/aggregate.h"

#include <string.h>

static const char *const names[] = {
#define SG_AGGREGATE_NAME(id, name) [id] = name,
    SG_AGGREGATE_LIST(SG_AGGREGATE_NAME)
#undef SG_AGGREGATE_NAME
};

const char *sg_aggregate_name(sg_aggregate_mode mode)
{
    return names[mode];
}

bool sg_aggregate_from_name(const char *name, sg_aggregate_mode *mode)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *mode = (sg_aggregate_mode)i;
            return true;
        }
    }
    return false;
}

double sg_aggregate_factor(sg_aggregate_mode mode, sg_empty_rows empty, sg_aggregate_counts counts,
                           size_t row_tokens)
{
    double rows = (double)(empty == SG_EMPTY_COUNT ? counts.rows : counts.live_rows);
    if (counts.tokens == 0 || row_tokens == 0 || rows == 0)
        return 0;
    switch (mode) {
    case SG_TOKEN_MEAN:
        return 1 / (double)counts.tokens;
    case SG_TOKEN_SUM:
        return 1;
    case SG_SEQ_MEAN_TOKEN_MEAN:
        return 1 / (rows * (double)row_tokens);
    case SG_SEQ_MEAN_TOKEN_SUM:
        return 1 / rows;
    case SG_SEQ_MEAN_TOKEN_SUM_NORM:
        return 1 / (rows * counts.norm_length);
    }
    return 0;
}
