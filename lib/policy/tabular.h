/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TABULAR_H
#define SG_TABULAR_H

#include "policy/policy.h"

/* The simplest policy: one row of logits for each prompt and position, so that the tokens of a
 * response are independent of each other. State prompt * length + position. Responses always have
 * `length` tokens. */
typedef struct sg_tabular_shape {
    size_t prompts, length;
    size_t vocabulary, head;
    sg_precision precision;
    sg_optimizer_kind optimizer;
    bool light; /* light rows: fp64, sgd only, at a cost that does not grow with the vocabulary */
    sg_backend_kind backend;
} sg_tabular_shape;

/* Memory in bytes, the arrays for `responses` responses included; a double, since it may exceed any
 * size_t. */
double sg_tabular_bytes(const sg_tabular_shape *shape, size_t responses);

/* Every row starts at `logits`, [vocabulary]. SG_EARGUMENT, SG_ENOMEM, SG_EDATA as the backend
 * says. */
sg_status sg_tabular_alloc(sg_policy **policy, const sg_tabular_shape *shape, const double *logits,
                           sg_error *error);

/* The dense table behind it; NULL for light rows. */
sg_rows *sg_tabular_rows(sg_policy *policy);

#endif
