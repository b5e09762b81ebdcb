/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_HEAD_KERNELS_H
#define SG_HEAD_KERNELS_H

#include <stddef.h>

#include "backend/backend.h"
#include "backend/head_math.h"

/* Vector kernels on one row of a tile of logits. Rows are padded to a multiple of SG_HEAD_PAD with
 * logits -inf, whose probability is 0. Sums run in fixed lanes: the same bits on every instruction
 * set. */
typedef struct sg_head_sums {
    double mass, plogp; /* sum pi, sum pi log pi */
    double squares;     /* sum pi^2 */
    double max, min;    /* of the logits */
    double underflowed; /* tokens of probability 0 in this precision */
} sg_head_sums;

typedef struct sg_head_kernels {
    /* z = sharpness (z + bias), then the padding. bias may be NULL. */
    void (*finish)(size_t n, void *z, const void *bias, double sharpness);
    /* log sum exp(z). */
    double (*log_mass)(size_t n, const void *z);
    /* z = factor exp(z - log_norm). */
    void (*weigh)(size_t n, void *z, double factor, double log_norm);
    /* sum[v] += z[v]. */
    void (*add)(size_t n, const void *z, void *sum);
    /* Adds to *sums. */
    void (*look)(size_t n, const void *z, double log_norm, sg_head_sums *sums);
    /* Adds KL(a || b), KL(b || a) and the total variation to sums[0..2]. */
    void (*compare)(size_t n, const void *a, double log_norm_a, const void *b, double log_norm_b,
                    double sums[3]);
    /* First token whose cumulated probability within the row exceeds `share` of the row's. */
    size_t (*find)(size_t n, const void *z, double share);
} sg_head_kernels;

#endif
