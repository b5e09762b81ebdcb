/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_LIGHT_UPDATE_H
#define SG_CPU_LIGHT_UPDATE_H

#include "backend/cpu/light.h"

/* One SGD update of a row; projected: without its diffuse part. slots: room for n. change may be NULL. False without memory; the row is
 * then as it was, or rebased. */
bool sg_light_row_update(sg_light_row *row, const sg_light_rows *rows, double lr, bool projected,
                         size_t n, const int32_t *tokens, const double *pushes, int32_t *slots,
                         sg_row_change *change);

/* |S1|/r + |S2|/r^2 + |S3|/r^3 + |S4|/r^4: at most 1 while the series are used. */
double sg_light_series_use(const double *s);

#endif
