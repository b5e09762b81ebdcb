/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SIMULATE_H
#define SG_SIMULATE_H

#include <signal.h>
#include <stdbool.h>

#include "core/status.h"
#include "core/table.h"
#include "sim/config.h"

/* Train a policy under every objective of the configuration and every seed.
 *
 * One rollout: for each prompt draw a group of responses, score them, centre the rewards to
 * advantages; then `epochs` passes over them in `minibatches` parts, one gradient step each. The
 * policy moves between the parts, so the ratio pi_new/pi_old leaves 1 from the second part on: that
 * is where the objectives differ.
 *
 * All arms of a seed use the same random numbers. The table depends on configuration and seed
 * alone, not on the number of threads or the instruction set. */

/* The columns of the table: name, type, unit, meaning. One row per observed gradient step and run,
 * runs ordered by objective, then seed. The columns of a policy describe the one that enters the
 * step; those of a change, what the step did to it. Means over states weigh a state by how often
 * the responses visit it; those of a table visit all states of their prompt. */
#define SG_SIMULATE_COLUMNS(TEXT, INTEGER, REAL)                                                   \
    TEXT(objective, "", "name of the objective")                                                   \
    TEXT(params, "", "its parameters, key=value")                                                  \
    INTEGER(seed, "", "seed of the run")                                                           \
    INTEGER(rollout, "", "number of the rollout, from 1")                                          \
    INTEGER(step, "", "number of the gradient step, from 1")                                       \
    REAL(reward, "", "mean reward of the current rollout, as the verifier gave it")                \
    REAL(J, "", "exact expected share of right responses under the clean verifier")                \
    REAL(log_correct, "nat",                                                                       \
         "mean over prompts of the log of their J: log pi of the right responses; nan unless "     \
         "exact")                                                                                  \
    REAL(entropy, "nat", "entropy of the policy, mean over states")                                \
    REAL(head_entropy, "nat", "entropy of the renormalised head, mean over states")                \
    REAL(tail_mass, "", "probability of the tail tokens, mean over states")                        \
    REAL(tail_mass_max, "", "probability of the tail tokens, largest over states")                 \
    REAL(tail_entropy_share, "",                                                                   \
         "part of the entropy that the tail contributes, mean over states")                        \
    REAL(collision, "", "sum of squared probabilities, mean over states")                          \
    REAL(max_prob, "", "probability of the likeliest token, mean over states")                     \
    REAL(logit_range, "nat", "largest minus smallest logit, largest over states")                  \
    REAL(underflowed, "", "tokens whose probability has become 0, sum over states")                \
    REAL(ratio_min, "", "smallest ratio pi_new/pi_old over the tokens of the minibatch")           \
    REAL(ratio_mean, "", "mean ratio")                                                             \
    REAL(ratio_max, "", "largest ratio")                                                           \
    REAL(ratio_max_pos, "", "largest ratio of tokens with a positive advantage")                   \
    REAL(ratio_max_neg, "", "largest ratio of tokens with a negative advantage")                   \
    REAL(ratio_q01, "", "1 % quantile of the ratio")                                               \
    REAL(ratio_q50, "", "median ratio")                                                            \
    REAL(ratio_q99, "", "99 % quantile of the ratio")                                              \
    REAL(ratio_min_pos, "", "smallest ratio of tokens with a positive advantage")                  \
    REAL(ratio_mean_pos, "", "mean ratio of tokens with a positive advantage")                     \
    REAL(ratio_q01_pos, "", "1 % quantile of the ratios with a positive advantage")                \
    REAL(ratio_q50_pos, "", "median of the ratios with a positive advantage")                      \
    REAL(ratio_q99_pos, "", "99 % quantile of the ratios with a positive advantage")               \
    REAL(ratio_min_neg, "", "smallest ratio of tokens with a negative advantage")                  \
    REAL(ratio_mean_neg, "", "mean ratio of tokens with a negative advantage")                     \
    REAL(ratio_q01_neg, "", "1 % quantile of the ratios with a negative advantage")                \
    REAL(ratio_q50_neg, "", "median of the ratios with a negative advantage")                      \
    REAL(ratio_q99_neg, "", "99 % quantile of the ratios with a negative advantage")               \
    REAL(ratio_beyond_2, "", "share of tokens whose ratio is above 2 or below 1/2")                \
    REAL(ratio_beyond_3_neg, "", "share of tokens with a negative advantage and a ratio above 3")  \
    REAL(ess, "", "effective sample size of the ratios as a fraction: 1 / mean((r / mean r)^2)")   \
    REAL(chi2, "", "chi-squared distance: mean of (r - 1)^2")                                      \
    REAL(kl_rollout, "nat",                                                                        \
         "KL(rollout policy || entering policy) by the k3 estimator on the minibatch")             \
    REAL(effective_update_ratio, "", "mean gate weight w over the tokens of the minibatch")        \
    REAL(eur_pos, "", "mean gate weight over tokens with a positive advantage")                    \
    REAL(eur_neg, "", "mean gate weight over tokens with a negative advantage")                    \
    REAL(clipped_fraction, "", "share of tokens with an advantage that get no gradient")           \
    REAL(clipped_fraction_pos, "", "the same among tokens with a positive advantage")              \
    REAL(clipped_fraction_neg, "", "the same among tokens with a negative advantage")              \
    REAL(clipped_above, "",                                                                        \
         "share of tokens with an advantage that get no gradient and whose ratio, as the gate "    \
         "sees it, is above 1")                                                                    \
    REAL(clipped_below, "", "the same below 1")                                                    \
    REAL(low_ratio_share_neg, "",                                                                  \
         "share of ratios below 0.8 among tokens with a negative advantage")                       \
    REAL(low_ratio_weight_neg, "", "mean gate weight of these tokens; nan when there is none")     \
    REAL(gate_mass_pos, "", "sum of a c |A| over tokens with a positive advantage")                \
    REAL(gate_mass_neg, "", "sum of a c |A| over tokens with a negative advantage")                \
    REAL(diffuse_push, "",                                                                         \
         "B = sum of a c A at a state before projection, mean; unsampled logits feel -B pi")       \
    REAL(diffuse_share, "", "B / sum of |a c A| at a state, mean over states")                     \
    REAL(diffuse_push_sum, "", "sum of all a c A of the minibatch, before projection")             \
    REAL(diffuse_push_position, "", "largest size of that sum at one position of the responses")   \
    REAL(upward_push, "", "total upward gradient on unsampled tokens, mean over states")           \
    REAL(max_unsampled_push, "nat", "largest rise of an unsampled logit, largest over states")     \
    REAL(grad_norm, "", "2-norm of the gradient over all logits")                                  \
    REAL(delta_norm, "nat", "2-norm of the change of all logits")                                  \
    REAL(kl_old_new, "nat", "exact KL(policy before || after the step), mean over states")         \
    REAL(kl_new_old, "nat", "exact KL(policy after || before the step), mean over states")         \
    REAL(tv, "",                                                                                   \
         "total variation between the policies before and after the step, mean over states; nan, " \
         "as all up to tail_above_eps, without run.detail")                                        \
    REAL(grad_head_share, "", "part of the squared gradient norm that is in the head")             \
    REAL(upward_push_norm, "",                                                                     \
         "2-norm of the upward gradient on unsampled tokens, mean over states")                    \
    REAL(upward_push_max, "", "largest of its entries")                                            \
    REAL(unsampled_reach, "",                                                                      \
         "largest rise of an unsampled logit of a state, mean, over the mean largest move of a "   \
         "sampled one")                                                                            \
    REAL(pushed_tokens, "",                                                                        \
         "unsampled tokens whose logit rises by more than 1 % of the largest move of a sampled "   \
         "one, mean over states")                                                                  \
    REAL(mean_drift, "nat",                                                                        \
         "mean change of all logits of a state, mean over states; 0 for plain gradients")          \
    REAL(tail_step, "",                                                                            \
         "size of the mean change of the tail logits over the learning rate, mean over states")    \
    REAL(entropy_change, "nat", "what the step did to the entropy, mean over visited states")      \
    REAL(entropy_change_law, "nat", "its first order under plain gradients: -Cov(log pi, lr g)")   \
    REAL(entropy_sign, "", "share of visits to states where the two have the same sign")           \
    REAL(tail_change, "", "what the step did to the tail mass, mean over visited states")          \
    REAL(tail_change_law, "", "its first order under plain gradients: Cov(1 in tail, lr g)")       \
    REAL(tail_sign, "", "share of visits to states where the two have the same sign")              \
    REAL(mean_square_head, "",                                                                     \
         "median over the head of the bias-corrected mean squared gradient of adam, mean over "    \
         "states")                                                                                 \
    REAL(mean_square_tail, "", "the same over the tail")                                           \
    REAL(tail_above_eps, "", "share of tail logits whose root of it exceeds eps of adam")          \
    REAL(zero_std_groups, "",                                                                      \
         "share of groups of the current rollout whose rewards are all equal")                     \
    REAL(length, "", "mean number of tokens of the responses of the current rollout")              \
    REAL(length_right, "", "of those that the clean verifier gives the full reward")               \
    REAL(length_wrong, "", "of the others")                                                        \
    REAL(tail_mass_root, "", "probability of the tail tokens at the first position")               \
    REAL(tail_mass_right, "", "the same at prefixes that can still win; nan when not known")       \
    REAL(tail_mass_losers, "", "the same at prefixes that cannot; nan when not known")             \
    REAL(losers_share, "", "share of tokens at prefixes that cannot win any more")                 \
    REAL(learning_rate, "", "learning rate of the step")                                           \
    REAL(clip_factor, "", "what clip_norm multiplied the gradient by")                             \
    REAL(kl_ref, "nat", "KL(policy || its start) by the k3 estimator on the minibatch")            \
    REAL(sequence_variance, "", "Var_i of the log-ratios in a response, mean over responses")      \
    REAL(sequence_variance_max, "", "largest Var_i")                                               \
    REAL(sequence_deviation, "",                                                                   \
         "D_i: mean gate of a response against the gate of its mean, log form; mean")              \
    REAL(sequence_deviation_max, "", "largest D_i")                                                \
    REAL(sequence_bound, "", "tau^2/4 Var_i, which D_i cannot exceed; mean")                       \
    REAL(sequence_deviation_true, "",                                                              \
         "D_i with the gate w(r) that is used, to which the bound does not apply; mean")           \
    REAL(sequence_deviation_true_max, "", "largest D_i with w(r)")                                 \
    REAL(sequence_above_bound, "",                                                                 \
         "share of responses whose D_i with w(r) is above tau^2/4 Var_i")                          \
    REAL(log_likelihood_pos, "nat",                                                                \
         "log-likelihood of a response with a positive advantage before the step, mean")           \
    REAL(log_likelihood_pos_after, "nat", "the same after the step")                               \
    REAL(log_likelihood_neg, "nat",                                                                \
         "log-likelihood of a response with a negative advantage before the step, mean")           \
    REAL(log_likelihood_neg_after, "nat", "the same after the step")                               \
    REAL(mismatch_kl, "nat",                                                                       \
         "KL(sampler || trainer's policy at the rollout) by the k3 estimator on the minibatch")    \
    REAL(mismatch_max, "nat", "largest difference of the two log-probabilities of a token")        \
    REAL(mismatch_ess, "", "effective sample size of their ratios as a fraction")                  \
    REAL(mismatch_chi2, "", "mean of (their ratio - 1)^2")                                         \
    REAL(mismatch_weight, "", "mean mismatch weight min(ratio, cap); 1 when there is none")        \
    REAL(match_factor, "", "what control.match multiplied the step or the negative pushes by")     \
    REAL(match_idle, "", "steps so far that were not taken as the reference took none")            \
    REAL(greedy, "", "share of prompts that greedy answers get right; nan unless evaluated")       \
    REAL(mean16, "", "share of right answers among 16 samples of each prompt")                     \
    REAL(hard, "", "the same for the quarter of the prompts that was hardest at the start")        \
    REAL(score, "", "mean of the scores of the task's families, which follow")                     \
    REAL(score_correct_set, "",                                                                    \
         "mean16 of the prompts of the family correct-set; nan when there are none")               \
    REAL(score_path, "", "mean16 of the prompts of the family path")                               \
    REAL(score_modular_sum, "", "mean16 of the prompts of the family modular-sum")                 \
    REAL(score_copy, "", "mean16 of the prompts of the family copy")                               \
    REAL(score_reverse, "", "mean16 of the prompts of the family reverse")                         \
    REAL(diffuse_push_features, "",                                                                \
         "2-norm of the sum of B h over states, h the features of a net's output layer W h")       \
    REAL(grad_output_share, "", "part of the squared gradient norm that is in the output layer")   \
    REAL(mean_row_drift, "", "2-norm of the mean change of W's rows; 0 for plain gradients")       \
    REAL(row_norm_head, "", "mean 2-norm of W's rows of head tokens")                              \
    REAL(row_norm_tail, "", "the same of tail tokens")                                             \
    REAL(flip_rate, "",                                                                            \
         "router flips: share of tokens and blocks that would use other experts than in pi_old")   \
    REAL(flip_rate_token, "", "share of tokens with such a block")                                 \
    REAL(flip_rate_sampler, "",                                                                    \
         "share of tokens and blocks of the rollout where sampler and trainer chose otherwise")    \
    REAL(log_ratio_flip, "nat", "mean |log ratio| of tokens with a flip; nan when there is none")  \
    REAL(log_ratio_no_flip, "nat", "the same of tokens without a flip")                            \
    REAL(gate_entropy, "nat", "entropy of the gates, mean over tokens and blocks")                 \
    REAL(J_routing_gap, "",                                                                        \
         "J less J with replayed routes where the rollout went; nan without a replay")

typedef struct sg_column_info {
    const char *name, *unit, *meaning;
    sg_column_type type;
} sg_column_info;

/* The list above as data; NULL past the end. */
const sg_column_info *sg_simulate_column(size_t index);

typedef struct sg_simulate_callbacks {
    /* Share of the work that is done, in [0, 1], never falling. Called from any thread, one at a
     * time. May be NULL. */
    void (*progress)(void *context, double fraction);
    void *context;
    /* Set it to stop (a signal handler may). Runs that had finished are kept. May be NULL. */
    const volatile sig_atomic_t *cancel;
} sg_simulate_callbacks;

/* So that a killed simulation need not begin again: now and then everything that is needed to go on
 * is written to a file, which is replaced only by a complete one. The finished table is the same,
 * byte for byte, as without an interruption, whatever the number of threads was or is. */
typedef struct sg_checkpoint_options {
    const char *path;
    double every;        /* seconds between two states of a run; 0: every gradient step */
    bool resume;         /* go on from the file, which must exist; else it must not */
    const char *version; /* of the program; another one's file is refused */
} sg_checkpoint_options;

/* callbacks may be NULL. On SG_OK, on SG_EINTERRUPTED and on SG_ETOOL, when a device was lost, *table is
 * a new table (then with the finished runs only); otherwise NULL. A run whose numbers stop being finite ends with the row in
 * which that is seen; the table's metadata `ended_early` counts such runs. The metadata also holds
 * every key of the configuration and the prior's summary. */
sg_status sg_simulate(const sg_config *config, const sg_simulate_callbacks *callbacks,
                      sg_table **table, sg_error *error);

/* The same with a checkpoint, which may be NULL. On success and after an interruption the file holds
 * all that was done; removing it, once the table is safe, is up to the caller. Also: SG_EIO when it
 * cannot be written or, to resume, read; SG_EDATA when it is damaged or of another version,
 * SG_EARGUMENT when it is of another experiment (the sentence says which key differs) or in the
 * way. */
sg_status sg_simulate_checkpointed(const sg_config *config, const sg_simulate_callbacks *callbacks,
                                   const sg_checkpoint_options *checkpoint, sg_table **table,
                                   sg_error *error);

/* sg_simulate_checkpointed, and how far the tokens of responses are from one common ratio, streamed over every
 * minibatch of every gradient step: *statistics is a new table with the rows of
 * sg_dispersion_append for each arm, over all of its runs, when *table is one. Independent of the
 * number of threads. */
sg_status sg_simulate_measured(const sg_config *config, const sg_simulate_callbacks *callbacks,
                               const sg_checkpoint_options *checkpoint, sg_table **table,
                               sg_table **statistics, sg_error *error);

#endif
