/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_RULE_H
#define SG_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "objective/batch.h"
#include "objective/kl.h"
#include "objective/objective.h"

/* Rules: what an objective adds to its gate because of the whole minibatch, or beside the advantage.
 *
 *   dro       every token pays beta d^2 / 2 (2405.19107 on tokens, as in verl): token loss -(A logp - beta d^2 / 2)
 *   kl-cov    the `share` of the tokens with the largest covariance pay beta |d| (2505.22617): -(r A - beta |d|)
 *   clip-cov  of the tokens whose covariance lies between cov_low and cov_high, and that the clip lets pass, `share`
 *             of the batch, drawn at random, get neither loss nor gradient (2505.22617)
 *   bapo      the clip's bounds start at 1 - eps_low and 1 + eps_high; while the positive share P / (P + N) of the
 *             clipped objective, P = sum of min(r, high) A over A > 0, N = sum of max(r, low) |A| over A < 0, is
 *             below target and low can still rise, high rises by high_step up to high_max, or else low by low_step
 *             up to low_max (2510.18927, equation 8 and algorithm 1)
 *
 * The covariance of a token is (A - mean A)(logp - mean logp), means over the batch's live tokens; at least one token is
 * chosen. d = logp - logp_old. A penalty does not scale with A: it pulls tokens of A = 0 too. Where A is not 0 it is part of
 * weight and coefficient (sg_objective_eval), c = c_gate - penalty' / A.
 * Choices of this library: equation 8 of bapo as a share, without its factor pi_old, as tokens are drawn from pi_old. The
 * authors' own code raises low before high and compares P / N. Both count a clipped negative token at the bound, so that a
 * rising low takes gradient from A < 0 but makes N larger.
 * By hand, bapo on r A = 2 x 1 and 0.5 x -1 with target 0.9: P = 1.2, N = 0.6, share 0.667; high rises to 3, P = 2, share
 * 0.769, then low to 0.9, N = 0.9, share 0.690, and that is all that they may. */
typedef struct sg_rule_choice {
    sg_objective objective; /* bapo: with its bounds as eps_low and eps_high */
    bool *chosen;           /* [tokens of the batch]; NULL when the rule chooses none */
    size_t count;           /* of them that are chosen */
} sg_rule_choice;

/* live: the n tokens that count, log_ratio their d, in the same order. The random choice of clip-cov is a function of seed,
 * step and the token's place in the batch. SG_ENOMEM. O(n log n), and O(n) for bapo's every move. */
sg_status sg_rule_choose(sg_rule_choice *choice, const sg_batch *batch,
                         const sg_objective *objective, const size_t *live, const double *log_ratio,
                         size_t n, uint64_t seed, uint32_t step, sg_error *error);
void sg_rule_choice_clear(sg_rule_choice *choice);

/* The gate of token i of the batch under the rule. */
sg_gate_value sg_rule_gate(const sg_rule_choice *choice, size_t i, sg_gate_point at,
                           double advantage);

/* What token i pays at the log-ratio d, and the derivative by it; zero where it pays nothing. */
sg_kl sg_rule_penalty(const sg_rule_choice *choice, size_t i, double d);

/* What a token pays when the rule lets it pay; see sg_objective_eval. */
sg_kl sg_objective_penalty(const sg_objective *objective, double d);

/* Does the rule charge a penalty at all? */
static inline bool sg_rule_charges(sg_batch_rule rule)
{
    return rule == SG_RULE_DRO || rule == SG_RULE_KL_COV;
}

#endif
