/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/task.h"

#include <math.h>
#include <stdlib.h>

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

sg_status sg_task_init(sg_task *task, const sg_config *config, const double *logits,
                       sg_error *error)
{
    *task = (sg_task){
        .prompts = (size_t)config->task.prompts,
        .length = (size_t)config->task.length,
        .size = (size_t)config->task.correct_size,
        .reward = (sg_reward_kind)config->task.reward,
        .false_positive = config->task.false_positive,
        .false_negative = config->task.false_negative,
    };
    task->correct = calloc(task->prompts * task->size, sizeof *task->correct);
    if (task->correct == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the correct sets of %zu prompts",
                       task->prompts);
    for (size_t p = 0; p < task->prompts; p++) {
        double place = task->prompts > 1 ? 2.0 * (double)p / (double)(task->prompts - 1) - 1 : 0;
        double target = config->task.correct_mass * pow(config->task.difficulty_spread, place);
        size_t first = nearest_set(logits, (size_t)config->policy.head, task->size, target);
        for (size_t k = 0; k < task->size; k++)
            task->correct[p * task->size + k] = (int32_t)(first + k);
    }
    return SG_OK;
}

void sg_task_clear(sg_task *task)
{
    free(task->correct);
    task->correct = NULL;
}

bool sg_task_is_right(const sg_task *task, size_t prompt, int32_t token)
{
    const int32_t *set = task->correct + prompt * task->size;
    return token >= set[0] && token <= set[task->size - 1];
}

/* What the verifier says about something that is right or not. */
static bool verdict(const sg_task *task, bool right, sg_address at)
{
    double rate = right ? task->false_negative : task->false_positive;
    return rate > 0 && sg_rng_uniform(at) < rate ? !right : right;
}

int64_t sg_task_score(const sg_task *task, uint64_t seed, size_t rollout, size_t prompt,
                      size_t sample, const int32_t *tokens, size_t stride)
{
    sg_address at = {.seed = seed,
                     .stream = SG_STREAM_VERIFIER,
                     .step = (uint32_t)rollout,
                     .prompt = (uint32_t)prompt,
                     .sample = (uint32_t)sample};
    int64_t right = 0;
    for (size_t t = 0; t < task->length; t++) {
        bool token_right = sg_task_is_right(task, prompt, tokens[t * stride]);
        at.token = (uint32_t)t;
        right += task->reward == SG_REWARD_FRACTION ? verdict(task, token_right, at) : token_right;
    }
    if (task->reward == SG_REWARD_FRACTION)
        return right;
    at.token = 0;
    return verdict(task, right == (int64_t)task->length, at);
}

int64_t sg_task_unit(const sg_task *task)
{
    return task->reward == SG_REWARD_FRACTION ? (int64_t)task->length : 1;
}

double sg_task_expected_reward(const sg_task *task, const sg_rows *rows)
{
    double total = 0;
    for (size_t p = 0; p < task->prompts; p++) {
        double product = 1, sum = 0;
        for (size_t t = 0; t < task->length; t++) {
            double mass = sg_rows_mass(rows, p * task->length + t, task->correct + p * task->size,
                                       task->size);
            product *= mass;
            sum += mass;
        }
        total += task->reward == SG_REWARD_FRACTION ? sum / (double)task->length : product;
    }
    return total / (double)task->prompts;
}
