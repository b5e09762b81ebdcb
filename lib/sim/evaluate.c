/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Scores that cost no gradient: greedy answers, means of 16 samples, the hard prompts, and the
 * families of a task. The prompts are sg_task.evaluated. */
#include <math.h>
#include <stdlib.h>

#include "sim/run.h"

enum { SAMPLES = 16, MONTE_CARLO = 4096 };

static size_t at_least(size_t x, size_t least)
{
    return x > least ? x : least;
}

/* Samples of each training prompt that stand for an exact expected reward. */
static size_t monte_carlo(const sg_run *run)
{
    return at_least(MONTE_CARLO / run->prompts, 1);
}

/* Answers for which there is room. */
static size_t capacity_of(const sg_run *run)
{
    bool scored = run->config->run.evaluate_every > 0;
    size_t answers = scored ? run->task->evaluated_count * SAMPLES : 0;
    return run->policy->exact_reward ? answers : at_least(answers, run->prompts * monte_carlo(run));
}

double sg_evaluation_bytes(const sg_config *config)
{
    double prompts = (double)config->task.heldout + (double)config->task.prompts; /* at most */
    double answers = config->run.evaluate_every > 0 ? prompts * SAMPLES : 0;
    if (config->policy.kind == SG_POLICY_NET) /* perhaps it has to estimate its reward */
        answers = fmax(answers, fmax(MONTE_CARLO, (double)config->task.prompts));
    return answers * (12 + 12 * (double)sg_task_room(config)) + prompts * 16;
}

typedef struct question {
    const uint32_t *list;    /* [prompts]; NULL: those from 0 on */
    size_t prompts, samples; /* answers to each */
    uint64_t seed;
    size_t step;
    sg_sampler sampler;
} question;

/* Mean clean score of each prompt's answers into score[prompts]; *mean is theirs, NaN when the policy
 * is not finite. */
static sg_status score_all(sg_run *run, const question *q, double *score, double *mean,
                           sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    sg_policy_draw how = {.seed = q->seed,
                          .stream = SG_STREAM_EVALUATE,
                          .step = (uint32_t)q->step,
                          .sampler = q->sampler};
    for (size_t i = 0; i < q->prompts * q->samples; i++) {
        size_t p = i / q->samples;
        e->prompt[i] = q->list != NULL ? q->list[p] : (uint32_t)p;
        e->sample[i] = (uint32_t)(i % q->samples);
    }
    e->responses = (sg_responses){
        q->prompts * q->samples, run->length, e->prompt, e->sample, e->lengths, e->tokens};
    sg_status status =
        run->policy->methods->draw(run->policy, &how, &e->responses, e->log_prob, error);
    if (status == SG_OK)
        sg_run_blank(&e->responses);
    *mean = 0;
    for (size_t p = 0; p < q->prompts && status == SG_OK; p++) {
        double sum = 0;
        for (size_t i = p * q->samples; i < (p + 1) * q->samples; i++) {
            sum += sg_task_clean_score(run->task, e->prompt[i], e->tokens + i * run->length);
            if (isnan(e->log_prob[i * run->length]))
                sum = NAN;
        }
        score[p] = sum / (double)q->samples;
        *mean += score[p];
    }
    *mean /= (double)q->prompts;
    return status;
}

/* The prompts that are evaluated, with the random numbers of a step. */
static question evaluated(const sg_run *run, size_t step, size_t samples, sg_sampler sampler)
{
    return (question){.list = run->task->evaluated,
                      .prompts = run->task->evaluated_count,
                      .samples = samples,
                      .seed = run->seed,
                      .step = step,
                      .sampler = sampler};
}

/* The estimate has the same random numbers at every step and in every run: its error is the same,
 * and a curve shows the policy and not the draws. */
sg_status sg_run_expected_reward(sg_run *run, double *expected, sg_error *error)
{
    if (!run->policy->exact_reward) {
        question q = {
            .prompts = run->prompts, .samples = monte_carlo(run), .sampler = SG_SAMPLER_PLAIN};
        return score_all(run, &q, run->expected, expected, error);
    }
    sg_status status =
        run->policy->methods->expected_reward(run->policy, &run->reward, run->expected, error);
    double total = 0;
    for (size_t p = 0; p < run->prompts; p++)
        total += run->expected[p];
    *expected = total / (double)run->prompts;
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

/* The quarter of the prompts (rounded up) with the lowest success rate at the start; by 16 samples
 * where some are held out. */
static sg_status choose_hard(sg_run *run, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    size_t prompts = run->task->evaluated_count;
    bool heldout = run->task->heldout > 0;
    double mean;
    difficulty *order = malloc(prompts * sizeof *order);
    if (order == NULL)
        return sg_fail(error, SG_ENOMEM, "not enough memory to evaluate %zu prompts", prompts);
    question q = evaluated(run, 0, SAMPLES, SG_SAMPLER_PLAIN);
    sg_status status = heldout ? score_all(run, &q, e->score, &mean, error)
                               : sg_run_expected_reward(run, &mean, error);
    for (size_t p = 0; p < prompts; p++)
        order[p] = (difficulty){heldout ? e->score[p] : run->expected[p], p};
    qsort(order, prompts, sizeof *order, hardest_first);
    e->hard_count = (prompts + 3) / 4;
    for (size_t k = 0; k < e->hard_count; k++)
        e->hard[k] = order[k].prompt;
    free(order);
    return status;
}

void sg_run_leave_unevaluated(sg_observables *o)
{
    o->greedy = o->mean16 = o->hard = o->score = NAN;
    o->score_correct_set = o->score_path = o->score_modular_sum = NAN;
    o->score_copy = o->score_reverse = NAN;
}

/* Means over the prompts of each family, and their mean. */
static void score_families(const sg_run *run, const double *score, sg_observables *o)
{
    const sg_task *task = run->task;
    double sum[SG_TASKS] = {0}, count[SG_TASKS] = {0}, families = 0;
    double *const column[SG_TASKS] = {[SG_TASK_CORRECT_SET] = &o->score_correct_set,
                                      [SG_TASK_PATH] = &o->score_path,
                                      [SG_TASK_MODULAR_SUM] = &o->score_modular_sum,
                                      [SG_TASK_COPY] = &o->score_copy,
                                      [SG_TASK_REVERSE] = &o->score_reverse};
    for (size_t i = 0; i < task->evaluated_count; i++) {
        sg_task_kind kind = sg_task_family(task, task->evaluated[i]);
        sum[kind] += score[i];
        count[kind]++;
    }
    o->score = 0;
    for (int kind = 0; kind < SG_TASKS; kind++) {
        *column[kind] = count[kind] > 0 ? sum[kind] / count[kind] : NAN;
        if (count[kind] > 0) {
            o->score += *column[kind];
            families++;
        }
    }
    o->score /= families;
}

sg_status sg_run_evaluate(sg_run *run, size_t step, sg_observables *o, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    question greedy = evaluated(run, step, 1, (sg_sampler){.temperature = 0, .top_p = 1});
    question samples = evaluated(run, step, SAMPLES, SG_SAMPLER_PLAIN);
    sg_status status = score_all(run, &greedy, e->score, &o->greedy, error);
    if (status == SG_OK)
        status = score_all(run, &samples, e->score, &o->mean16, error);
    o->hard = 0;
    for (size_t k = 0; k < e->hard_count; k++)
        o->hard += e->score[e->hard[k]];
    o->hard /= (double)e->hard_count;
    score_families(run, e->score, o);
    return status;
}

sg_status sg_evaluation_init(sg_run *run, sg_error *error)
{
    sg_evaluation *e = &run->evaluation;
    size_t responses = capacity_of(run), prompts = run->prompts + run->task->heldout;
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
