/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ADVANTAGE_H
#define SG_ADVANTAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

/* Advantages of responses from their outcome rewards, within groups of responses to one prompt. With n
 * responses in a group, mean and std (n - 1) of their rewards R:
 *   grpo                   (R - mean) / (std + eps)                                   2402.03300
 *   grpo-batch             (R - mean) / (std of the whole batch + eps)                TRL scale_rewards=batch
 *   dr-grpo                R - mean                                                   2503.20783
 *   rloo                   n / (n - 1) (R - mean)                                     2402.14740
 *   opo                    R - sum(length R) / sum(length)                            2505.23585
 *   gpg                    (B / number of non-zero rewards) (R - mean)                2504.02546
 *   grpo-passk             best: (max - second) / (std + eps); others 0               verl
 *   reinforce++            R, whitened over the batch's tokens (undiscounted)         2501.03262
 *   reinforce++-baseline   R - mean, whitened over the batch's tokens                 2501.03262
 *   remax                  R - reward of the greedy response                          2310.10505
 *   asymre                 R - (mean + value_shift)                                   2506.20520
 * Whitening weighs each response by its length: (x - m) / sqrt(v + 1e-8), v with n - 1.
 * By hand, R = (1, 0, 0, 1, 1), eps 1e-6: std 0.5477226; grpo 0.7302954 / -1.0954431; dr-grpo 0.4 / -0.6;
 * rloo 0.5 / -0.75; opo with lengths 10, 20, 30, 40, 50: 0.3333333 / -0.6666667. */
#define SG_ADVANTAGE_LIST(X)                                                                 \
    X(SG_ADVANTAGE_GRPO, "grpo")                                                             \
    X(SG_ADVANTAGE_GRPO_BATCH, "grpo-batch")                                                 \
    X(SG_ADVANTAGE_DR_GRPO, "dr-grpo")                                                       \
    X(SG_ADVANTAGE_RLOO, "rloo")                                                             \
    X(SG_ADVANTAGE_OPO, "opo")                                                               \
    X(SG_ADVANTAGE_GPG, "gpg")                                                               \
    X(SG_ADVANTAGE_GRPO_PASSK, "grpo-passk")                                                 \
    X(SG_ADVANTAGE_REINFORCE_PP, "reinforce++")                                              \
    X(SG_ADVANTAGE_REINFORCE_PP_BASELINE, "reinforce++-baseline")                            \
    X(SG_ADVANTAGE_REMAX, "remax")                                                           \
    X(SG_ADVANTAGE_ASYMRE, "asymre")

typedef enum sg_advantage_kind {
#define SG_ADVANTAGE_ENUM(id, name) id,
    SG_ADVANTAGE_LIST(SG_ADVANTAGE_ENUM)
#undef SG_ADVANTAGE_ENUM
} sg_advantage_kind;

const char *sg_advantage_name(sg_advantage_kind kind);
bool sg_advantage_from_name(const char *name, sg_advantage_kind *kind);

typedef struct sg_advantage_options {
    double eps;         /* added to a standard deviation; verl 1e-6, TRL 1e-4; >= 0 */
    double value_shift; /* asymre; negative values favour positive samples */
    bool singleton_zero; /* a group of one response gets 0 instead of its raw reward */
} sg_advantage_options;

/* Responses of a batch. group: any ids; equal ids are one group, wherever they stand. length (live tokens, > 0) is needed
 * by opo and reinforce++*, greedy (reward of the greedy response of the prompt) by remax; NULL otherwise. */
typedef struct sg_rewards {
    size_t n;
    const double *reward;
    const int64_t *group;
    const double *length;
    const double *greedy;
} sg_rewards;

typedef struct sg_advantage_report {
    size_t groups, singletons;
    size_t zero_variance; /* groups of more than one response that all have the same reward: A = 0 */
} sg_advantage_report;

/* advantage: n cells. In groups whose rewards are equal the centred estimators give exactly 0. report may be NULL.
 * SG_EARGUMENT when a needed array is missing or a reward is not finite, SG_EDATA for grpo-passk with a group of one. */
sg_status sg_advantage_estimate(sg_advantage_kind kind, const sg_rewards *rewards,
                                const sg_advantage_options *options, double *advantage,
                                sg_advantage_report *report, sg_error *error);

#endif
