/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef ROWS_TWIN_H
#define ROWS_TWIN_H

#include "backend/backend.h"

/* The textbook: one softmax row with stored logits, dense gradients and sums in long double. Shares
 * nothing with the kernels but the structures it fills. */
typedef struct rows_twin {
    size_t vocabulary, head;
    double *z, *m, *v;
} rows_twin;

rows_twin *rows_twin_new(size_t vocabulary, size_t head);
void rows_twin_free(rows_twin *twin);
void rows_twin_probabilities(const rows_twin *twin, long double *pi);
double rows_twin_log_prob(const rows_twin *twin, int32_t token);
int32_t rows_twin_draw(const rows_twin *twin, double uniform);
void rows_twin_update(rows_twin *twin, const sg_optimizer *optimizer, uint64_t time, size_t n,
                      const int32_t *tokens, const double *pushes, sg_row_change *change);
void rows_twin_observe(const rows_twin *twin, sg_row_observation *observation);

#endif
