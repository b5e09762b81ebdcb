/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/run.h"

#include <stdlib.h>
#include <string.h>

static size_t record_capacity(const sg_config *config)
{
    /* every so many steps, the last one, and the one in which the run ends early */
    return (size_t)((config->run.steps - 1) / config->run.observe_every) + 3;
}

double sg_run_bytes(const sg_config *config)
{
    double states = (double)config->task.prompts * (double)config->task.length;
    double samples = states * (double)config->rollout.group;
    double responses = (double)config->task.prompts * (double)config->rollout.group;
    double part = samples / (double)config->update.minibatches;
    double rows = ((double)config->run.steps - 1) / (double)config->run.observe_every + 3;
    double value = config->policy.precision == SG_FP64 ? 8 : 4;
    double arrays = config->optimizer.kind == SG_ADAM       ? 3
                    : config->optimizer.kind == SG_MOMENTUM ? 2
                                                            : 1;
    /* The block itself is asked for its exact size when that fits into a size_t. */
    double block = states * (double)config->policy.vocabulary * value * arrays;
    if (block < 1e15) {
        sg_rows_config shape = sg_config_rows(config);
        block = (double)sg_rows_bytes(&shape);
    }
    return block + rows * sizeof(sg_record) + samples * 20 + responses * 44 +
           part * (24 + 57 + sizeof(sg_replay_token)) +
           states * (sizeof(sg_row_observation) + sizeof(sg_row_change));
}

static bool alloc_arrays(sg_run *run)
{
    size_t samples = run->states * run->group, responses = run->prompts * run->group;
    size_t part = run->states * run->part;
    run->uniforms = calloc(samples, sizeof *run->uniforms);
    run->tokens = calloc(samples, sizeof *run->tokens);
    run->logp_old = calloc(samples, sizeof *run->logp_old);
    run->reward = calloc(responses, sizeof *run->reward);
    run->advantage = calloc(responses, sizeof *run->advantage);
    run->centred = calloc(responses, sizeof *run->centred);
    run->unit = calloc(run->prompts, sizeof *run->unit);
    run->order = calloc(responses, sizeof *run->order);
    run->prompt_of = calloc(responses, sizeof *run->prompt_of);
    run->lengths = calloc(responses, sizeof *run->lengths);
    run->part_tokens = calloc(part, sizeof *run->part_tokens);
    run->part_logp = calloc(part, sizeof *run->part_logp);
    run->pushes = calloc(part, sizeof *run->pushes);
    run->replay = calloc(part, sizeof *run->replay);
    run->sorted = calloc(part, sizeof *run->sorted);
    run->observation = calloc(run->states, sizeof *run->observation);
    run->change = calloc(run->states, sizeof *run->change);
    run->record_capacity = record_capacity(run->config);
    run->records = calloc(run->record_capacity, sizeof *run->records);
    return run->uniforms && run->tokens && run->logp_old && run->reward && run->advantage &&
           run->centred && run->unit && run->order && run->prompt_of && run->lengths &&
           run->part_tokens && run->part_logp && run->pushes && run->replay && run->sorted &&
           run->observation && run->change && run->records;
}

/* The minibatch as replay sees it: every token of every response counts. */
static sg_status make_batch(sg_run *run, sg_error *error)
{
    sg_status status = sg_batch_alloc(&run->batch, run->states * run->part, error);
    if (status != SG_OK)
        return status;
    for (size_t i = 0; i < run->batch->tokens; i++) {
        run->batch->sequence[i] = (int64_t)(i / run->length);
        run->batch->position[i] = (int64_t)(i % run->length);
        run->batch->mask[i] = 1;
    }
    return sg_batch_group(run->batch, 0, error);
}

sg_status sg_run_init(sg_run *run, const sg_config *config, const sg_task *task,
                      const double *prior_logits, size_t arm, uint64_t seed, sg_error *error)
{
    *run = (sg_run){
        .config = config,
        .task = task,
        .objective = config->update.objectives[arm],
        .seed = seed,
        .prompts = task->prompts,
        .length = task->length,
        .states = task->prompts * task->length,
        .group = (size_t)config->rollout.group,
        .part = (size_t)(config->rollout.group / config->update.minibatches),
    };
    if (!alloc_arrays(run)) {
        sg_run_clear(run);
        return sg_fail(error, SG_ENOMEM,
                       "not enough memory for the samples of %zu states and a table of %zu rows; "
                       "lower task.prompts, task.length or rollout.group, or raise "
                       "run.observe_every",
                       run->states, run->record_capacity);
    }
    for (size_t i = 0; i < run->prompts * run->group; i++) {
        run->prompt_of[i] = (int64_t)(i / run->group);
        run->lengths[i] = (double)run->length;
    }
    sg_rows_config shape = sg_config_rows(config);
    sg_status status = make_batch(run, error);
    if (status == SG_OK)
        status = sg_rows_alloc(&run->rows, SG_BACKEND_AUTO, &shape, error);
    for (size_t state = 0; state < run->states && status == SG_OK; state++)
        status = sg_rows_set_logits(run->rows, state, prior_logits, error);
    if (status != SG_OK)
        sg_run_clear(run);
    return status;
}

void sg_run_clear(sg_run *run)
{
    sg_rows_free(run->rows);
    sg_batch_free(run->batch);
    void *arrays[] = {run->uniforms,  run->tokens,  run->logp_old,    run->reward,
                      run->advantage, run->centred, run->unit,        run->order,
                      run->prompt_of, run->lengths, run->part_tokens, run->part_logp,
                      run->pushes,    run->replay,  run->sorted,      run->observation,
                      run->change,    run->records};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    memset(run, 0, sizeof *run);
}
