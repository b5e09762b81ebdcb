/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Maximum likelihood on right answers, until the policy succeeds as often as a cold-start model
 * should. */
#include <math.h>
#include <stdlib.h>

#include "sim/run.h"

enum { ESTIMATE_EVERY = 8 };

typedef struct lesson {
    sg_responses responses;
    uint32_t *prompt, *lengths;
    int32_t *tokens;
    double *pushes, *head;
} lesson;

static void lesson_clear(lesson *l)
{
    free(l->prompt);
    free(l->lengths);
    free(l->tokens);
    free(l->pushes);
    free(l->head);
}

static sg_status lesson_init(lesson *l, const sg_run *run, const double *prior_logits,
                             sg_error *error)
{
    size_t group = (size_t)run->config->start.group, count = run->prompts * group;
    size_t tokens = count * run->length, head = (size_t)run->config->policy.head;
    if (run->config->task.correct_place != 0)
        head += run->task->size;
    *l = (lesson){.prompt = calloc(count, sizeof *l->prompt),
                  .lengths = calloc(count, sizeof *l->lengths),
                  .tokens = calloc(tokens, sizeof *l->tokens),
                  .pushes = calloc(tokens, sizeof *l->pushes),
                  .head = calloc(head, sizeof *l->head)};
    if (!l->prompt || !l->lengths || !l->tokens || !l->pushes || !l->head)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %zu right answers", count);
    l->responses = (sg_responses){count, run->length, l->prompt, NULL, l->lengths, l->tokens};
    for (size_t i = 0; i < count; i++)
        l->prompt[i] = (uint32_t)(i / group);
    size_t said = count * (run->task->length + (run->task->end >= 0));
    for (size_t i = 0; i < tokens; i++)
        l->pushes[i] = 1 / (double)said; /* the mean log-likelihood of a token */
    for (size_t k = 0; k < head; k++)
        l->head[k] = exp(prior_logits[k]);
    return SG_OK;
}

static sg_status learn(sg_run *run, lesson *l, size_t step, sg_error *error)
{
    const sg_config *config = run->config;
    for (size_t i = 0; i < l->responses.count; i++) {
        sg_address at = {.seed = run->seed,
                         .stream = SG_STREAM_WARM_START,
                         .step = (uint32_t)step,
                         .prompt = l->prompt[i],
                         .sample = (uint32_t)(i % (size_t)config->start.group)};
        l->lengths[i] = (uint32_t)sg_task_right_answer(run->task, l->head, at, l->prompt[i],
                                                       l->tokens + i * run->length);
    }
    sg_policy_step how = {.optimizer = {.kind = (sg_optimizer_kind)config->optimizer.kind,
                                        .lr = config->start.lr,
                                        .beta1 = config->optimizer.beta1,
                                        .beta2 = config->optimizer.beta2,
                                        .eps = config->optimizer.eps,
                                        .weight_decay = config->optimizer.weight_decay},
                          .time = step};
    return run->policy->methods->update(run->policy, &how, &l->responses, l->pushes, NULL, error);
}

sg_status sg_run_warm_start(sg_run *run, const double *prior_logits, sg_error *error)
{
    double wanted = run->config->start.success, success = 0;
    size_t most = (size_t)run->config->start.steps;
    lesson l;
    if (wanted == 0)
        return SG_OK;
    sg_status status = lesson_init(&l, run, prior_logits, error);
    for (size_t step = 1; status == SG_OK; step++) {
        /* an estimate costs more than some steps */
        if (run->policy->exact_reward || (step - 1) % ESTIMATE_EVERY == 0 || step > most)
            status = sg_run_expected_reward(run, &success, error);
        if (status != SG_OK || success >= wanted || step > most || isnan(success))
            break;
        status = learn(run, &l, step, error);
        run->start_steps = step;
    }
    lesson_clear(&l);
    run->policy->methods->forget(run->policy);
    if (status == SG_OK && !(success >= wanted))
        return sg_fail(
            error, SG_EARGUMENT,
            "the warm start of seed %llu came to a success rate of %.3g in %zu steps, not "
            "to start.success %g; raise start.steps or start.lr, or lower "
            "start.success",
            (unsigned long long)run->seed, success, most, wanted);
    return status;
}
