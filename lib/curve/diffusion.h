/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_DIFFUSION_H
#define SG_DIFFUSION_H

#include <stddef.h>

#include "core/status.h"
#include "core/table.h"

/* Where the gradient of one sampled token goes. With pi = softmax(z), sampled token y and k = c A,
 *     d[k lp(y)] / dz_y = k (1 - pi_y),        d[k lp(y)] / dz_v = -k pi_v  for v != y,
 * so the pushes on unsampled tokens sum to -k (1 - pi_y), and for k < 0 all of them rise in
 * proportion to pi_v (arXiv 2511.20347, section 4). */

/* How the probability 1 - pi_y is spread over the V - 1 other tokens. */
typedef enum sg_spread {
    SG_SPREAD_EVEN,
    SG_SPREAD_ZIPF, /* in proportion to 1/rank */
} sg_spread;

typedef struct sg_diffusion {
    double push_sampled;         /* on y */
    double push_unsampled_total; /* sum over the others, signed */
    double push_unsampled_max;   /* the largest in size among the others, signed */
    double norm;                 /* 2-norm of the whole logit gradient */
} sg_diffusion;

/* One sample. vocabulary >= 2, 0 < pi_sampled < 1, k any number; sums are exact, O(vocabulary) for
 * Zipf. By hand: pi_y = 0.6, k = -1: -0.4 on y and +0.4 on the others in total. SG_EARGUMENT
 * otherwise. */
sg_status sg_diffusion_of(sg_diffusion *diffusion, size_t vocabulary, double pi_sampled,
                          sg_spread spread, double k, sg_error *error);

/* A sweep with k = A (r = 1, where every objective has c = 1): columns tail, pi_sampled, advantage,
 * vocabulary, push_sampled, push_unsampled_total, push_unsampled_max, norm. */
sg_status sg_diffusion_sweep(sg_table *table, const size_t *vocabularies, size_t vocabulary_count,
                             const double *pi_sampled, size_t pi_count, const double *advantages,
                             size_t advantage_count, sg_error *error);

#endif
