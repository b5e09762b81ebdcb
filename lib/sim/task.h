/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TASK_H
#define SG_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/rng.h"
#include "core/status.h"
#include "policy/reward.h"
#include "sim/config.h"

/* Which answers are right. A response is `length` tokens.
 *
 *   correct-set  every token is in the correct set of its prompt: `correct_size` neighbours
 *                first .. first + size - 1 of the head, chosen from the starting distribution so
 * that their probability comes nearest to the prompt's target (in a tie the more likely set).
 * Targets run geometrically from correct_mass / spread to correct_mass * spread. path         one
 * token decides, the others are any head tokens: the one at position d = round(shared_prefix
 * (length - 1)), from 0, must be in the prompt's correct set. A wrong path shares d of its length -
 * 1 prefixes with right ones. modular-sum  head tokens whose sum is the prompt's target modulo
 * `classes` copy         the prompt, a text of `length` tokens out of the first `classes` reverse
 * the same from its end
 *
 * A tail token fails a response, except under correct-set in a table, where it is just not right.
 * A response that ends too early goes on with -1, which is never right.
 *
 * By hand: head 0.396, 0.238, 0.143, 0.0855, 0.0513, ... and target 0.1 with one right token:
 * token 3. */
typedef struct sg_task {
    sg_task_kind kind;
    size_t prompts; /* for training; prompts .. prompts + heldout - 1 are held out */
    size_t heldout;
    size_t length, size;
    int32_t head, classes;
    int32_t *correct;   /* correct-set, path: [prompts][size], ascending */
    int32_t *answer;    /* copy, reverse: [prompts + heldout][length]; modular-sum: targets */
    int32_t *free_head; /* path: 0 .. head-1 */
    size_t decisive;    /* path: the position that decides */
    sg_reward_kind reward;
    bool tail_fails;
    double false_positive, false_negative;
} sg_task;

/* logits: those of the prior, log probabilities. The prompts are those of task.seed, the same for
 * every run. SG_ENOMEM; SG_EARGUMENT when there are not so many different prompts. */
sg_status sg_task_init(sg_task *task, const sg_config *config, const double *logits,
                       sg_error *error);
void sg_task_clear(sg_task *task);

/* correct-set, path: is it in the prompt's correct set? */
bool sg_task_is_right(const sg_task *task, size_t prompt, int32_t token);

/* All tasks but modular-sum: the right tokens of a position, neighbours, ascending. */
const int32_t *sg_task_right_tokens(const sg_task *task, size_t prompt, size_t position,
                                    size_t *count);

/* Reward of a response of task->length tokens in units of 1 / sg_task_unit, as the verifier gives
 * it: an integer. Its errors are drawn from the address (seed; VERIFIER, rollout, prompt, sample,
 * t).
 */
int64_t sg_task_score(const sg_task *task, uint64_t seed, size_t rollout, size_t prompt,
                      size_t sample, const int32_t *tokens);
int64_t sg_task_unit(const sg_task *task); /* 1, or `length` when the reward is a share */

/* The reward without errors of the verifier, in [0, 1]. */
double sg_task_clean_score(const sg_task *task, size_t prompt, const int32_t *tokens);

/* The same for exact sums over all responses. */
sg_reward sg_task_reward(const sg_task *task);

/* A right answer: the tokens that the task leaves open follow the starting distribution (its
 * probabilities of the head in `head`), drawn with the address (at; token t). */
void sg_task_right_answer(const sg_task *task, const double *head, sg_address at, size_t prompt,
                          int32_t *tokens);

/* What a policy that reads its prompt is shown; token i in 0..length-1: the text, the target, or
 * the number of the prompt. */
size_t sg_task_prompt_length(const sg_task *task);
int32_t sg_task_prompt_token(const sg_task *task, size_t prompt, size_t i);

#endif
