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

/* Which answers are right. A response is `length` tokens; with an end token it is as many others
 * and then that one.
 *
 *   correct-set  every token is in the correct set of its prompt: `correct_size` neighbours
 *                first .. first + size - 1 of the head, chosen from the starting distribution so
 *                that their probability comes nearest to the prompt's target (in a tie the more
 *                likely set). Targets run geometrically from correct_mass / spread to
 *                correct_mass * spread. With correct_place tail it is the first `correct_size`
 *                tokens behind the head instead.
 *   path         one token decides, the others are any head tokens: the one at position
 *                d = round(shared_prefix (length - 1)), from 0, must be in the prompt's correct
 *                set. A wrong path shares d of its length - 1 prefixes with right ones.
 *   modular-sum  head tokens whose sum is the prompt's target modulo `classes`
 *   copy         the prompt, a text of `length` tokens out of the first `classes`
 *   reverse      the same from its end
 *   mixed        prompt p is of the family families[p modulo their number], each as above
 *
 * A tail token fails a response, except under correct-set in a table, where it is just not right.
 *
 * The end token is the head token whose probability at the start is nearest to 1 / (1 + overrun):
 * an answer that goes on where it should have stopped then goes on by `overrun` tokens in the mean,
 * cut off after length + 1 + overrun_max tokens. It is right at one place only, after `length`
 * others, and never one of them: correct sets, texts and sums are made of the rest of the head, its
 * tokens numbered without it.
 *
 * The reward is 1 for a right answer. With the reward `fraction` it is the share of right tokens,
 * or in modular-sum 1 - |sum - target| / floor(classes / 2), the distance taken around the circle.
 *
 * By hand: head 0.396, 0.238, 0.143, 0.0855, 0.0513, ... and target 0.1 with one right token:
 * token 3. An overrun of 3 wants 0.25: token 1 ends. */
typedef struct sg_task {
    size_t prompts; /* for training; prompts .. prompts + heldout - 1 are held out */
    size_t heldout;
    uint8_t *family;     /* [prompts + heldout]: sg_task_kind of a prompt */
    bool has[SG_TASKS];  /* kinds that occur */
    uint32_t *evaluated; /* [evaluated_count]: prompts that scores are about, ascending. Of each
                            family the held-out ones, or where there are none those of training */
    size_t evaluated_count;
    size_t length, room; /* tokens that are judged, and most tokens of a response */
    int32_t end;         /* -1: there is none */
    size_t size;
    int32_t head, classes;
    int32_t *correct;   /* correct-set, path: [prompts][size], ascending */
    int32_t *answer;    /* the others: [prompts + heldout][length], a text, or first the target */
    int32_t *free_head; /* path: 0 .. head-1 */
    size_t decisive;    /* path: the position that decides */
    sg_reward_kind reward;
    bool tail_fails;
    double false_positive, false_negative;
} sg_task;

/* logits: those of the prior, log probabilities. The prompts are those of task.seed, the same for
 * every run. SG_ENOMEM; SG_EARGUMENT when there are not so many different prompts, or no correct
 * set beside the end token. */
sg_status sg_task_init(sg_task *task, const sg_config *config, const double *logits,
                       sg_error *error);
void sg_task_clear(sg_task *task);

/* The end token, or -1, and the most tokens of a response. */
int32_t sg_task_end(const sg_config *config, const double *logits);
size_t sg_task_room(const sg_config *config);

/* Do prompts of this kind say what to do in symbols that others share? Only then can held-out ones
 * be answered. */
bool sg_task_generalises(sg_task_kind kind);

static inline sg_task_kind sg_task_family(const sg_task *task, size_t prompt)
{
    return (sg_task_kind)task->family[prompt];
}

/* correct-set, path: is it in the prompt's correct set? */
bool sg_task_is_right(const sg_task *task, size_t prompt, int32_t token);

/* All tasks but modular-sum: the right tokens of a position, neighbours, ascending. The end token
 * may stand among those of a position where all are right; it is not. */
const int32_t *sg_task_right_tokens(const sg_task *task, size_t prompt, size_t position,
                                    size_t *count);

/* Class of a head token in modular-sum. */
int32_t sg_task_class(const sg_task *task, int32_t token);

/* Reward of a response in units of 1 / sg_task_unit, as the verifier gives it: an integer. With the
 * reward `fraction` the verifier errs in each unit by itself. Its errors are drawn from the address
 * (seed; VERIFIER, rollout, prompt, sample, unit). tokens: [room]. */
int64_t sg_task_score(const sg_task *task, uint64_t seed, size_t rollout, size_t prompt,
                      size_t sample, const int32_t *tokens);
/* 1; with the reward `fraction` `length`, or in modular-sum max(1, floor(classes / 2)). */
int64_t sg_task_unit(const sg_task *task, size_t prompt);

/* The most prefixes of one length, over all training prompts, after which there is more to say and
 * a reward is still possible; at most as many as this. By hand: copy has one for each prompt,
 * modular-sum head^(length - 1), or head^length where answers end. */
double sg_task_prefixes(const sg_task *task);

/* The reward without errors of the verifier, in [0, 1]. */
double sg_task_clean_score(const sg_task *task, size_t prompt, const int32_t *tokens);

/* The same for exact sums over all responses. */
sg_reward sg_task_reward(const sg_task *task);

/* A right answer and its number of tokens: the tokens that the task leaves open follow the starting
 * distribution (its probabilities of the head, or of all that may be right, in `head`), drawn with the address (at; token t). */
size_t sg_task_right_answer(const sg_task *task, const double *head, sg_address at, size_t prompt,
                            int32_t *tokens);

/* What a policy that reads its prompt is shown: symbols in 0 .. sg_task_prompt_symbols - 1. Symbol
 * i in 0 .. length - 1 is one of the text, the target, or the number of the prompt. Mixed: first
 * the family, then these, then blanks; texts and targets share their symbols. */
size_t sg_task_prompt_length(const sg_task *task);
size_t sg_task_prompt_symbols(const sg_task *task);
int32_t sg_task_prompt_token(const sg_task *task, size_t prompt, size_t i);

#endif
