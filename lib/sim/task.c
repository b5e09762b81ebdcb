/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"

/* First token of the set of `size` neighbours in the head whose probability is nearest to target.
 */
static size_t nearest_set(const double *logits, size_t head, size_t size, double target)
{
    size_t best = 0;
    double least = HUGE_VAL;
    for (size_t first = 0; first + size <= head; first++) {
        double mass = 0;
        for (size_t k = 0; k < size; k++)
            mass += exp(logits[first + k]);
        double distance = fabs(mass - target);
        if (distance < least) {
            least = distance;
            best = first;
        }
    }
    return best;
}

static sg_status choose_sets(sg_task *task, const sg_config *config, const double *logits,
                             sg_error *error)
{
    task->correct = calloc(task->prompts * task->size, sizeof *task->correct);
    task->free_head = calloc((size_t)task->head, sizeof *task->free_head);
    if (task->correct == NULL || task->free_head == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the correct sets of %zu prompts",
                       task->prompts);
    for (size_t p = 0; p < task->prompts; p++) {
        double place = task->prompts > 1 ? 2.0 * (double)p / (double)(task->prompts - 1) - 1 : 0;
        double target = config->task.correct_mass * pow(config->task.difficulty_spread, place);
        size_t first = nearest_set(logits, (size_t)config->policy.head, task->size, target);
        for (size_t k = 0; k < task->size; k++)
            task->correct[p * task->size + k] = (int32_t)(first + k);
    }
    for (int32_t k = 0; k < task->head; k++)
        task->free_head[k] = k;
    task->decisive = (size_t)rint(config->task.shared_prefix * ((double)task->length - 1));
    return SG_OK;
}

static bool is_repeated(const int32_t *texts, size_t count, size_t length)
{
    for (size_t q = 0; q < count; q++)
        if (memcmp(texts + q * length, texts + count * length, length * sizeof *texts) == 0)
            return true;
    return false;
}

/* Texts or targets out of 0..classes-1. With held-out prompts all of them differ. */
static sg_status choose_answers(sg_task *task, const sg_config *config, sg_error *error)
{
    size_t count = task->prompts + task->heldout;
    size_t length = task->kind == SG_TASK_MODULAR_SUM ? 1 : task->length;
    task->answer = calloc(count * length, sizeof *task->answer);
    if (task->answer == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu prompts", count);
    for (size_t p = 0; p < count; p++) {
        sg_address at = {
            .seed = (uint64_t)config->task.seed, .stream = SG_STREAM_PROMPT, .prompt = (uint32_t)p};
        int tries = 1000;
        do {
            for (at.token = 0; at.token < length; at.token++)
                task->answer[p * length + at.token] =
                    (int32_t)(sg_rng_uniform(at) * (double)task->classes);
            at.sample++;
        } while (task->heldout > 0 && is_repeated(task->answer, p, length) && --tries > 0);
        if (tries == 0)
            return sg_fail(error, SG_EARGUMENT,
                           "task.heldout: %zu different prompts were not found among those of %zu "
                           "tokens out of %d; raise task.length or task.classes, or lower "
                           "task.prompts",
                           count, length, (int)task->classes);
    }
    return SG_OK;
}

sg_status sg_task_init(sg_task *task, const sg_config *config, const double *logits,
                       sg_error *error)
{
    *task = (sg_task){
        .kind = (sg_task_kind)config->task.kind,
        .prompts = (size_t)config->task.prompts,
        .heldout = (size_t)config->task.heldout,
        .length = (size_t)config->task.length,
        .size = (size_t)config->task.correct_size,
        .head = (int32_t)config->policy.head,
        .classes = (int32_t)config->task.classes,
        .reward = (sg_reward_kind)config->task.reward,
        .tail_fails =
            config->policy.kind != SG_POLICY_TABULAR || config->task.kind != SG_TASK_CORRECT_SET,
        .false_positive = config->task.false_positive,
        .false_negative = config->task.false_negative,
    };
    bool sets = task->kind == SG_TASK_CORRECT_SET || task->kind == SG_TASK_PATH;
    return sets ? choose_sets(task, config, logits, error) : choose_answers(task, config, error);
}

void sg_task_clear(sg_task *task)
{
    free(task->correct);
    free(task->answer);
    free(task->free_head);
    task->correct = task->answer = task->free_head = NULL;
}

bool sg_task_is_right(const sg_task *task, size_t prompt, int32_t token)
{
    const int32_t *set = task->correct + prompt * task->size;
    return token >= set[0] && token <= set[task->size - 1];
}

/* ---- the reward, token by token ---- */

const int32_t *sg_task_right_tokens(const sg_task *task, size_t prompt, size_t position,
                                    size_t *count)
{
    *count = 1;
    if (task->kind == SG_TASK_COPY)
        return task->answer + prompt * task->length + position;
    if (task->kind == SG_TASK_REVERSE)
        return task->answer + (prompt + 1) * task->length - 1 - position;
    if (task->kind == SG_TASK_PATH && position != task->decisive) {
        *count = (size_t)task->head;
        return task->free_head;
    }
    *count = task->size;
    return task->correct + prompt * task->size;
}

static const int32_t *right_tokens(const void *context, size_t prompt, size_t position,
                                   size_t *count)
{
    return sg_task_right_tokens(context, prompt, position, count);
}

static bool is_right(const sg_task *task, size_t prompt, size_t position, int32_t token)
{
    size_t count;
    const int32_t *set = sg_task_right_tokens(task, prompt, position, &count); /* neighbours */
    return token >= set[0] && token <= set[count - 1];
}

static int32_t next_all(const void *context, size_t prompt, size_t position, int32_t state,
                        int32_t token)
{
    return is_right(context, prompt, position, token) ? state : SG_REWARD_LOST;
}

static double value_all(const void *context, size_t prompt, int32_t state)
{
    (void)context, (void)prompt, (void)state;
    return 1;
}

/* The state is the number of right tokens. */
static int32_t next_share(const void *context, size_t prompt, size_t position, int32_t state,
                          int32_t token)
{
    const sg_task *task = context;
    if (task->tail_fails && token >= task->head)
        return SG_REWARD_LOST;
    return state + is_right(task, prompt, position, token);
}

static double value_share(const void *context, size_t prompt, int32_t state)
{
    (void)prompt;
    return (double)state / (double)((const sg_task *)context)->length;
}

/* The state is the sum so far. Head tokens stand for every class, so the target can be reached as
 * long as a token is left. */
static int32_t next_sum(const void *context, size_t prompt, size_t position, int32_t state,
                        int32_t token)
{
    const sg_task *task = context;
    if (token < 0 || token >= task->head)
        return SG_REWARD_LOST;
    int32_t sum = (state + token % task->classes) % task->classes;
    bool last = position + 1 == task->length;
    return last && sum != task->answer[prompt] ? SG_REWARD_LOST : sum;
}

sg_reward sg_task_reward(const sg_task *task)
{
    if (task->kind == SG_TASK_MODULAR_SUM)
        return (sg_reward){
            .context = task, .states = task->classes, .next = next_sum, .value = value_all};
    if (task->reward == SG_REWARD_FRACTION)
        return (sg_reward){.context = task,
                           .states = (int32_t)(task->length + 1),
                           .next = next_share,
                           .value = value_share,
                           .right = task->tail_fails ? NULL : right_tokens,
                           .share = true};
    return (sg_reward){
        .context = task, .states = 1, .next = next_all, .value = value_all, .right = right_tokens};
}

double sg_task_clean_score(const sg_task *task, size_t prompt, const int32_t *tokens)
{
    sg_reward reward = sg_task_reward(task);
    int32_t state = 0;
    for (size_t t = 0; t < task->length && state != SG_REWARD_LOST; t++)
        state = reward.next(task, prompt, t, state, tokens[t]);
    return state == SG_REWARD_LOST ? 0 : reward.value(task, prompt, state);
}

/* ---- the verifier ---- */

/* What the verifier says about something that is right or not. */
static bool verdict(const sg_task *task, bool right, sg_address at)
{
    double rate = right ? task->false_negative : task->false_positive;
    return rate > 0 && sg_rng_uniform(at) < rate ? !right : right;
}

int64_t sg_task_score(const sg_task *task, uint64_t seed, size_t rollout, size_t prompt,
                      size_t sample, const int32_t *tokens)
{
    sg_address at = {.seed = seed,
                     .stream = SG_STREAM_VERIFIER,
                     .step = (uint32_t)rollout,
                     .prompt = (uint32_t)prompt,
                     .sample = (uint32_t)sample};
    double clean = sg_task_clean_score(task, prompt, tokens);
    if (task->reward != SG_REWARD_FRACTION)
        return verdict(task, clean == 1, at);
    bool failed = false; /* by a tail token: then no token counts as right */
    for (size_t t = 0; t < task->length; t++)
        failed = failed || (task->tail_fails && tokens[t] >= task->head);
    int64_t right = 0;
    for (size_t t = 0; t < task->length; t++) {
        at.token = (uint32_t)t;
        right += verdict(task, !failed && is_right(task, prompt, t, tokens[t]), at);
    }
    return right;
}

int64_t sg_task_unit(const sg_task *task)
{
    return task->reward == SG_REWARD_FRACTION ? (int64_t)task->length : 1;
}
