/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Scores that cost no gradient: greedy answers, means of 16 samples, and the hard prompts. The
 * prompts are the held-out ones where there are any, else those of training. */
#include <math.h>
#include <stdlib.h>

#include "sim/run.h"

enum { SAMPLES = 16 };

static size_t prompts_of(const sg_run *run)
{
    return run->task->heldout > 0 ? run->task->heldout : run->prompts;
}

size_t sg_evaluation_responses(const sg_config *config)
{
    int64_t prompts = config->task.heldout > 0 ? config->task.heldout : config->task.prompts;
    bool needed = config->run.evaluate_every > 0 || config->start.success > 0;
    return needed ? (size_t)prompts * SAMPLES : 0;
}

/* Mean clean score of each prompt's `samples` answers into score[prompts]; returns their mean. */
static sg_status score_all(sg_run *run, sg_sampler sampler, size_t samples, size_t step,
                           double *mean, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    size_t prompts = prompts_of(run), first = run->task->heldout > 0 ? run->prompts : 0;
    sg_policy_draw how = {.seed = run->seed,
                          .stream = SG_STREAM_EVALUATE,
                          .step = (uint32_t)step,
                          .sampler = sampler};
    for (size_t i = 0; i < prompts * samples; i++) {
        e->prompt[i] = (uint32_t)(first + i / samples);
        e->sample[i] = (uint32_t)(i % samples);
    }
    e->responses =
        (sg_responses){prompts * samples, run->length, e->prompt, e->sample, e->lengths, e->tokens};
    sg_status status =
        run->policy->methods->draw(run->policy, &how, &e->responses, e->log_prob, error);
    *mean = 0;
    for (size_t p = 0; p < prompts && status == SG_OK; p++) {
        double sum = 0;
        for (size_t i = p * samples; i < (p + 1) * samples; i++)
            sum += sg_task_clean_score(run->task, e->prompt[i], e->tokens + i * run->length);
        e->score[p] = sum / (double)samples;
        *mean += e->score[p];
    }
    *mean /= (double)prompts;
    return status;
}

typedef struct difficulty {
    double success;
    size_t prompt;
} difficulty;

static int hardest_first(const void *a, const void *b)
{
    const difficulty *x = a, *y = b;
    if (x->success != y->success)
        return x->success < y->success ? -1 : 1;
    return x->prompt < y->prompt ? -1 : x->prompt > y->prompt;
}

/* The quarter of the prompts (rounded up) with the lowest success rate at the start; exact where
 * the policy knows it, else of 16 samples. */
static sg_status choose_hard(sg_run *run, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    size_t prompts = prompts_of(run);
    double mean;
    difficulty *order = malloc(prompts * sizeof *order);
    if (order == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory to evaluate %zu prompts", prompts);
    sg_status status = sg_run_expected_reward(run, &mean, error);
    bool exact = run->task->heldout == 0 && !isnan(mean);
    if (status == SG_OK && !exact)
        status = score_all(run, SG_SAMPLER_PLAIN, SAMPLES, 0, &mean, error);
    for (size_t p = 0; p < prompts; p++)
        order[p] = (difficulty){exact ? run->expected[p] : e->score[p], p};
    qsort(order, prompts, sizeof *order, hardest_first);
    e->hard_count = (prompts + 3) / 4;
    for (size_t k = 0; k < e->hard_count; k++)
        e->hard[k] = order[k].prompt;
    free(order);
    return status;
}

sg_status sg_run_evaluate(sg_run *run, size_t step, sg_observables *o, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    sg_sampler greedy = {.temperature = 0, .top_p = 1};
    sg_status status = score_all(run, greedy, 1, step, &o->greedy, error);
    if (status == SG_OK)
        status = score_all(run, SG_SAMPLER_PLAIN, SAMPLES, step, &o->mean16, error);
    o->hard = 0;
    for (size_t k = 0; k < e->hard_count; k++)
        o->hard += e->score[e->hard[k]];
    o->hard /= (double)e->hard_count;
    return status;
}

sg_status sg_run_success(sg_run *run, size_t step, double *success, sg_error *error)
{
    sg_status status = sg_run_expected_reward(run, success, error);
    if (status == SG_OK && isnan(*success))
        status = score_all(run, SG_SAMPLER_PLAIN, SAMPLES, step, success, error);
    return status;
}

sg_status sg_evaluation_init(sg_run *run, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    size_t responses = sg_evaluation_responses(run->config), prompts = prompts_of(run);
    if (responses == 0)
        return SG_OK;
    e->prompt = calloc(responses, sizeof *e->prompt);
    e->sample = calloc(responses, sizeof *e->sample);
    e->lengths = calloc(responses, sizeof *e->lengths);
    e->tokens = calloc(responses * run->length, sizeof *e->tokens);
    e->log_prob = calloc(responses * run->length, sizeof *e->log_prob);
    e->score = calloc(prompts, sizeof *e->score);
    e->hard = calloc(prompts, sizeof *e->hard);
    if (!e->prompt || !e->sample || !e->lengths || !e->tokens || !e->log_prob || !e->score ||
        !e->hard)
        return sg_fail(error, SG_ENOMEM, "not enough memory to evaluate %zu prompts", prompts);
    return SG_OK;
}

sg_status sg_evaluation_start(sg_run *run, sg_error *error)
{
    return run->config->run.evaluate_every > 0 ? choose_hard(run, error) : SG_OK;
}

void sg_evaluation_clear(sg_evaluation *e)
{
    void *arrays[] = {e->prompt, e->sample, e->lengths, e->tokens, e->log_prob, e->score, e->hard};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    *e = (sg_evaluation){0};
}
