/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim/dispersion.h"

size_t sg_run_rows(const sg_config *config)
{
    /* every so many steps, where it is evaluated, the last one, and the one in which it ends early */
    int64_t evaluated =
        config->run.evaluate_every > 0 ? (config->run.steps - 1) / config->run.evaluate_every : 0;
    return (size_t)((config->run.steps - 1) / config->run.observe_every + evaluated) + 3;
}

static double policies_of(const sg_config *config)
{
    bool shadowed = false;
    for (size_t arm = 0; arm < config->update.objective_count; arm++) {
        int64_t match = sg_config_arm_controls(config, arm).match;
        shadowed = shadowed || match == SG_MATCH_L2 || match == SG_MATCH_KL;
    }
    return 1 + 2 * shadowed + (double)config->rollout.lag + (config->update.kl_beta > 0) +
           sg_config_distorts_parameters(config) + (config->run.detail != 0);
}

double sg_run_bytes(const sg_config *config)
{
    double responses = (double)config->task.prompts * (double)config->rollout.group;
    double samples = responses * (double)sg_task_room(config);
    double part = samples / (double)config->update.minibatches;
    double rows = (double)sg_run_rows(config);
    return policies_of(config) * sg_config_policy_bytes(config) + rows * sizeof(sg_record) +
           samples * (20 + 16 * (double)sg_config_route_words(config)) + responses * 64 +
           part * (28 + 81 + sizeof(sg_replay_token)) + (double)config->task.prompts * 16 +
           sg_evaluation_bytes(config) + sg_detail_bytes(config);
}

static bool alloc_arrays(sg_run *run)
{
    size_t responses = run->prompts * run->group, samples = responses * run->length;
    size_t parts = run->prompts * run->part, part = parts * run->length;
    run->past = calloc((size_t)run->config->rollout.lag + 1, sizeof *run->past);
    run->prompt = calloc(responses, sizeof *run->prompt);
    run->sample = calloc(responses, sizeof *run->sample);
    run->lengths = calloc(responses, sizeof *run->lengths);
    run->tokens = calloc(samples, sizeof *run->tokens);
    run->logp_rollout = calloc(samples, sizeof *run->logp_rollout);
    run->logp_old = calloc(samples, sizeof *run->logp_old);
    run->routes = calloc(samples * run->route_words + 1, sizeof *run->routes);
    run->score = calloc(responses, sizeof *run->score);
    run->advantage = calloc(responses, sizeof *run->advantage);
    run->centred = calloc(responses, sizeof *run->centred);
    run->unit = calloc(run->prompts, sizeof *run->unit);
    run->order = calloc(responses, sizeof *run->order);
    run->prompt_of = calloc(responses, sizeof *run->prompt_of);
    run->token_counts = calloc(responses, sizeof *run->token_counts);
    run->part_prompt = calloc(parts, sizeof *run->part_prompt);
    run->part_lengths = calloc(parts, sizeof *run->part_lengths);
    run->part_tokens = calloc(part, sizeof *run->part_tokens);
    run->part_rollout = calloc(part, sizeof *run->part_rollout);
    run->pushes = calloc(part, sizeof *run->pushes);
    run->reference_pushes = calloc(part, sizeof *run->reference_pushes);
    run->replay = calloc(part, sizeof *run->replay);
    run->sorted = calloc(part, sizeof *run->sorted);
    run->expected = calloc(run->prompts, sizeof *run->expected);
    run->record_capacity = sg_run_rows(run->config);
    run->records = calloc(run->record_capacity, sizeof *run->records);
    return run->past && run->prompt && run->sample && run->lengths && run->tokens &&
           run->logp_rollout && run->logp_old && run->routes && run->score && run->advantage &&
           run->centred && run->unit && run->order && run->prompt_of && run->token_counts &&
           run->part_prompt && run->part_lengths && run->reference_pushes && run->part_tokens &&
           run->part_rollout && run->pushes && run->replay && run->sorted && run->expected &&
           run->records;
}

static void name_responses(sg_run *run)
{
    for (size_t i = 0; i < run->prompts * run->group; i++) {
        run->prompt[i] = (uint32_t)(i / run->group);
        run->sample[i] = (uint32_t)(i % run->group);
        run->prompt_of[i] = (int64_t)(i / run->group);
    }
    for (size_t i = 0; i < run->prompts * run->part; i++)
        run->part_prompt[i] = (uint32_t)(i / run->part);
    run->rollout = (sg_responses){run->prompts * run->group,
                                  run->length,
                                  run->prompt,
                                  run->sample,
                                  run->lengths,
                                  run->tokens};
    run->minibatch =
        (sg_responses){run->prompts * run->part, run->length,     run->part_prompt, NULL,
                       run->part_lengths,        run->part_tokens};
}

/* The minibatch as replay sees it. */
static sg_status make_batch(sg_run *run, sg_error *error)
{
    sg_status status = sg_batch_alloc(&run->batch, run->minibatch.count * run->length, error);
    if (status != SG_OK)
        return status;
    size_t tokens = run->batch->tokens;
    for (size_t i = 0; i < tokens; i++) {
        run->batch->sequence[i] = (int64_t)(i / run->length);
        run->batch->position[i] = (int64_t)(i % run->length);
        run->batch->mask[i] = 1;
    }
    if (run->config->update.kl_beta > 0)
        run->batch->logp_ref = calloc(tokens, sizeof(double));
    if (run->config->update.mismatch_cap > 0)
        run->batch->weight = calloc(tokens, sizeof(double));
    if ((run->config->update.kl_beta > 0 && run->batch->logp_ref == NULL) ||
        (run->config->update.mismatch_cap > 0 && run->batch->weight == NULL))
        return sg_fail(error, SG_ENOMEM, "not enough memory for a minibatch of %zu tokens", tokens);
    return sg_batch_group(run->batch, 0, error);
}

/* The policy at its start, and the copies of it that the configuration asks for. */
static sg_status make_policies(sg_run *run, const double *prior_logits, sg_error *error)
{
    sg_status status =
        sg_config_policy(run->config, run->task, prior_logits, run->seed, &run->policy, error);
    if (status == SG_OK)
        status = sg_evaluation_init(run, error);
    if (status == SG_OK)
        status = sg_run_warm_start(run, prior_logits, error);
    if (status == SG_OK)
        status = sg_evaluation_start(run, error);
    for (int64_t i = 0; i < run->config->rollout.lag && status == SG_OK; i++)
        status = run->policy->methods->clone(run->policy, &run->past[i], error);
    if (run->config->update.kl_beta > 0 && status == SG_OK)
        status = run->policy->methods->clone(run->policy, &run->reference, error);
    bool shadowed = run->controls.match == SG_MATCH_L2 || run->controls.match == SG_MATCH_KL;
    if (shadowed && status == SG_OK)
        status = run->policy->methods->clone(run->policy, &run->shadow, error);
    if (shadowed && status == SG_OK)
        status = run->policy->methods->clone(run->policy, &run->probe, error);
    if (sg_config_distorts_parameters(run->config) && status == SG_OK)
        status = run->policy->methods->clone(run->policy, &run->engine, error);
    if (run->config->run.detail && status == SG_OK)
        status = sg_detail_alloc(run, error);
    return status;
}

sg_status sg_run_init(sg_run *run, const sg_config *config, const sg_task *task,
                      const double *prior_logits, size_t arm, uint64_t seed, sg_error *error)
{
    *run = (sg_run){
        .config = config,
        .task = task,
        .objective = config->update.objectives[arm],
        .controls = sg_config_arm_controls(config, arm),
        .seed = seed,
        .reward = sg_task_reward(task),
        .prompts = task->prompts,
        .length = task->room,
        .group = (size_t)config->rollout.group,
        .part = (size_t)(config->rollout.group / config->update.minibatches),
        .route_words = sg_config_route_words(config),
        .sampler_flips = NAN,
    };
    if (!alloc_arrays(run)) {
        sg_run_clear(run);
        return sg_fail(error, SG_ENOMEM,
                       "not enough memory for the samples of %zu states and a table of %zu rows; "
                       "lower task.prompts, task.length or rollout.group, or raise "
                       "run.observe_every",
                       task->prompts * task->room, run->record_capacity);
    }
    name_responses(run);
    sg_status status = make_batch(run, error);
    if (status == SG_OK)
        status = make_policies(run, prior_logits, error);
    if (status != SG_OK)
        sg_run_clear(run);
    return status;
}

void sg_run_clear(sg_run *run)
{
    for (int64_t i = 0; run->past != NULL && i < run->config->rollout.lag; i++)
        sg_policy_free(run->past[i]);
    sg_policy_free(run->reference);
    sg_policy_free(run->shadow);
    sg_policy_free(run->probe);
    sg_policy_free(run->engine);
    sg_policy_free(run->policy);
    sg_batch_free(run->batch);
    sg_evaluation_clear(&run->evaluation);
    sg_detail_free(run->detail);
    if (run->statistics != NULL)
        sg_dispersion_free(run->statistics);
    free(run->statistics);
    void *arrays[] = {run->past,         run->prompt,       run->sample,
                      run->lengths,      run->tokens,       run->logp_rollout,
                      run->logp_old,     run->score,        run->routes,
                      run->advantage,    run->centred,      run->unit,
                      run->order,        run->prompt_of,    run->token_counts,
                      run->part_prompt,  run->part_lengths, run->part_tokens,
                      run->part_rollout, run->pushes,       run->reference_pushes,
                      run->replay,       run->sorted,       run->expected,
                      run->records};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    memset(run, 0, sizeof *run);
}
