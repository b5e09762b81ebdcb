/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TASK_H
#define SG_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "sim/config.h"

/* Which answers are right. A response to prompt p is `length` tokens, one at each of the states
 * p*length + t; a token is right when it is in the correct set of its prompt: `correct_size`
 * neighbours first .. first + size - 1 of the head, chosen once, from the starting distribution, so
 * that their probability comes nearest to the prompt's target (in a tie the more likely set).
 * Targets run geometrically from correct_mass / spread to correct_mass * spread.
 *
 * By hand: head 0.396, 0.238, 0.143, 0.0855, 0.0513, ... and target 0.1 with one right token:
 * token 3. */
typedef struct sg_task {
    size_t prompts, length, size;
    int32_t *correct; /* [prompts][size], ascending */
    sg_reward_kind reward;
    double false_positive, false_negative;
} sg_task;

/* logits: those of the prior, log probabilities. SG_ENOMEM. */
sg_status sg_task_init(sg_task *task, const sg_config *config, const double *logits,
                       sg_error *error);
void sg_task_clear(sg_task *task);

bool sg_task_is_right(const sg_task *task, size_t prompt, int32_t token);

/* Reward of a response in units of 1 / sg_task_unit, as the verifier gives it: an integer. token[t]
 * is at tokens[t * stride]. Its errors are drawn from the address (seed; VERIFIER, rollout, prompt,
 * sample, t). */
int64_t sg_task_score(const sg_task *task, uint64_t seed, size_t rollout, size_t prompt,
                      size_t sample, const int32_t *tokens, size_t stride);
int64_t sg_task_unit(const sg_task *task); /* 1, or `length` when the reward is a share */

/* Exact expected reward of the policy in `rows` under a verifier that makes no errors. */
double sg_task_expected_reward(const sg_task *task, const sg_rows *rows);

#endif
