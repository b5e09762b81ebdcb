/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SIM_TWIN_H
#define SIM_TWIN_H

#include <stddef.h>
#include <stdint.h>

/* An independent implementation of the training loop, as plainly as it can be written: fp64 arrays,
 * log-softmax, direct formulas, a cumulative sum for sampling. It shares nothing with the library
 * but the addresses of the random numbers. */
enum { TWIN_SAPO, TWIN_GRPO, TWIN_GSPO, TWIN_CISPO, TWIN_GMPO, TWIN_REINFORCE, TWIN_SAPO_SEQUENCE };
enum { TWIN_SGD, TWIN_MOMENTUM, TWIN_ADAM, TWIN_ADAMW, TWIN_COUPLED_ADAM };
enum { TWIN_GROUP_STD, TWIN_LEAVE_ONE_OUT };

typedef struct twin_case {
    const char *spec; /* of the same objective in the library */
    int objective;
    double a, b; /* its two parameters */
    int optimizer;
    double lr;
    int vocabulary, head, prompts, length, group, minibatches, epochs, steps;
    int advantage;
    int token_sum; /* aggregate by token-sum instead of a mean */
    int fraction;  /* reward: share of right tokens */
} twin_case;

/* clang-format off */
#define TWIN_LIST(X) \
    X(reward) X(J) X(entropy) X(head_entropy) X(tail_mass) X(tail_mass_max) \
    X(tail_entropy_share) X(collision) X(max_prob) X(logit_range) X(ratio_min) X(ratio_mean) \
    X(ratio_max) X(ratio_max_pos) X(ratio_max_neg) X(ratio_q01) X(ratio_q50) X(ratio_q99) \
    X(ess) X(kl_rollout) X(effective_update_ratio) X(eur_pos) X(eur_neg) X(clipped_fraction) \
    X(gate_mass_pos) X(gate_mass_neg) X(diffuse_push) X(diffuse_share) X(upward_push) \
    X(max_unsampled_push) X(grad_norm) X(delta_norm) X(kl_old_new) X(kl_new_old) \
    X(zero_std_groups) X(log_correct) X(ratio_min_pos) X(ratio_mean_pos) X(ratio_q01_pos) \
    X(ratio_q50_pos) X(ratio_q99_pos) X(ratio_min_neg) X(ratio_mean_neg) X(ratio_q01_neg) \
    X(ratio_q50_neg) X(ratio_q99_neg) X(ratio_beyond_2) X(ratio_beyond_3_neg) X(chi2) \
    X(clipped_fraction_pos) X(clipped_fraction_neg) X(clipped_above) X(clipped_below) \
    X(low_ratio_share_neg) X(low_ratio_weight_neg) X(diffuse_push_sum) X(diffuse_push_position) \
    X(sequence_variance) X(sequence_variance_max) X(sequence_deviation) \
    X(sequence_deviation_max) X(sequence_bound) X(sequence_deviation_true) \
    X(sequence_deviation_true_max) X(sequence_above_bound) X(log_likelihood_pos) \
    X(log_likelihood_pos_after) X(log_likelihood_neg) X(log_likelihood_neg_after) \
    X(tv) X(grad_head_share) X(upward_push_norm) X(upward_push_max) X(unsampled_reach) \
    X(pushed_tokens) X(mean_drift) X(tail_step) X(entropy_change) X(entropy_change_law) \
    X(entropy_sign) X(tail_change) X(tail_change_law) X(tail_sign) X(mean_square_head) \
    X(mean_square_tail) X(tail_above_eps)
/* clang-format on */

typedef struct twin_row {
#define TWIN_FIELD(name) double name;
    TWIN_LIST(TWIN_FIELD)
#undef TWIN_FIELD
} twin_row;

extern const double twin_tail_mass, twin_head_ratio, twin_correct_mass;

/* rows: [steps] */
void twin_train(const twin_case *c, uint64_t seed, twin_row *rows);

#endif
