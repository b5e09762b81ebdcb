/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_PRIOR_H
#define SG_PRIOR_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

/* The distribution from which a toy policy starts: a head of a fixed shape and a tail of a fixed
 * mass.
 *
 * Raising the vocabulary V with random initial logits also raises the mass and the entropy of the
 * tail, and then an effect "of V" is an effect of the tail. So V is varied here with the head's
 * shape and the tail's mass held fixed: tokens 0..K-1 are the head, in order of falling
 * probability, and K..V-1 the tail, total mass m.
 *
 *   head, geometric  (1-m) q^k (1-q)/(1-q^K)         head, zipf  (1-m) (k+1)^-s / sum
 *   tail, uniform    m / (V-K)                       tail, zipf  m (j+1)^-s / sum, j = 0..V-K-1
 *
 * Head first and tail last: the inverse CDF of one uniform draws the same head token at every V.
 * By hand: K = 20, q = 0.6, m = 0.01 give pi_0 = 0.396014; at V = 1000 C = 0.245043 and H
 * = 1.79017. */
typedef enum sg_head_shape { SG_HEAD_GEOMETRIC, SG_HEAD_ZIPF } sg_head_shape;
typedef enum sg_tail_shape { SG_TAIL_UNIFORM, SG_TAIL_ZIPF } sg_tail_shape;

typedef struct sg_prior {
    size_t vocabulary; /* V >= 2 */
    size_t head;       /* K in 1..V */
    sg_head_shape head_shape;
    double head_ratio;    /* q in (0, 1]: geometric */
    double head_exponent; /* s >= 0: zipf */
    double tail_mass;     /* m in (0, 1); 0 exactly when K = V */
    sg_tail_shape tail_shape;
    double tail_exponent; /* s >= 0: zipf */
} sg_prior;

/* SG_EARGUMENT names the field that is out of range. */
sg_status sg_prior_check(const sg_prior *prior, sg_error *error);

/* log pi of each of the V tokens, in nats; finite for a prior that passed the check. */
void sg_prior_logits(const sg_prior *prior, double *logits);

/* What a prior looks like, from sums over all tokens in fp64. */
typedef struct sg_prior_summary {
    size_t vocabulary;
    double tail_mass;    /* m */
    double collision;    /* C = sum pi^2 */
    double head_entropy; /* of the renormalised head, nats */
    double entropy;      /* H, nats */
} sg_prior_summary;

/* logits: those of sg_prior_logits. */
sg_prior_summary sg_prior_summarize(const sg_prior *prior, const double *logits);

/* Are these cells a sweep of V and of nothing else? SG_EARGUMENT when two of them differ by more
 * than 1 % in m or by more than 0.01 nat in the head's entropy, unless that is allowed (and then to
 * be said in the output). */
sg_status sg_prior_check_sweep(const sg_prior_summary *cells, size_t count, bool allow_confounded,
                               sg_error *error);

#endif
