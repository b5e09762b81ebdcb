/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A run between two gradient steps as bytes. What follows from the configuration and the seed alone
 * is not among them: sg_run_init makes it again. */
#include <stdlib.h>
#include <string.h>

#include "sim/dispersion.h"
#include "sim/run.h"

typedef struct counters {
    uint64_t step, records;
    double mean_reward, zero_std_groups, mean_length, length_right, length_wrong, match_idle;
    double sampler_flips;
} counters;

typedef struct part {
    void *at;
    size_t size;
} part;

enum { PARTS = 10 };

/* The rollout, and where its minibatches are. */
static void list_parts(const sg_run *run, part parts[PARTS])
{
    size_t responses = run->prompts * run->group, cells = responses * run->length;
    const part list[PARTS] = {{run->lengths, responses * sizeof *run->lengths},
                              {run->tokens, cells * sizeof *run->tokens},
                              {run->logp_rollout, cells * sizeof *run->logp_rollout},
                              {run->logp_old, cells * sizeof *run->logp_old},
                              {run->routes, cells * run->route_words * sizeof *run->routes},
                              {run->advantage, responses * sizeof *run->advantage},
                              {run->centred, responses * sizeof *run->centred},
                              {run->unit, run->prompts * sizeof *run->unit},
                              {run->order, responses * sizeof *run->order},
                              {run->token_counts, responses * sizeof *run->token_counts}};
    memcpy(parts, list, sizeof list);
}

/* Policy number i of the run; NULL past the last. */
static sg_policy *policy_at(const sg_run *run, size_t i)
{
    size_t lag = (size_t)run->config->rollout.lag;
    return i == 0 ? run->policy : i <= lag ? run->past[i - 1] : i == lag + 1 ? run->shadow : NULL;
}

static size_t fixed_size(const sg_run *run)
{
    part parts[PARTS];
    size_t size = sizeof(counters);
    list_parts(run, parts);
    for (size_t i = 0; i < PARTS; i++)
        size += parts[i].size;
    return size;
}

/* Each policy follows its size: light rows take what they need. */
static size_t policies_size(const sg_run *run)
{
    size_t size = 0;
    for (size_t i = 0; policy_at(run, i) != NULL; i++)
        size += sizeof(uint64_t) + run->policy->methods->save(policy_at(run, i), NULL);
    return size;
}

size_t sg_run_save(const sg_run *run, void *to)
{
    const counters now = {
        run->step,         run->record_count, run->mean_reward,  run->zero_std_groups,
        run->mean_length,  run->length_right, run->length_wrong, run->match_idle,
        run->sampler_flips};
    part parts[PARTS];
    char *at = to;
    size_t records = run->record_count * sizeof *run->records;
    size_t statistics = run->statistics != NULL ? sg_dispersion_save(run->statistics, NULL) : 0;
    if (to == NULL)
        return fixed_size(run) + policies_size(run) + statistics + records;
    memcpy(at, &now, sizeof now);
    at += sizeof now;
    list_parts(run, parts);
    for (size_t i = 0; i < PARTS; at += parts[i++].size)
        memcpy(at, parts[i].at, parts[i].size);
    for (size_t i = 0; policy_at(run, i) != NULL; i++) {
        uint64_t size = run->policy->methods->save(policy_at(run, i), at + sizeof size);
        if (size == 0)
            return 0;
        memcpy(at, &size, sizeof size);
        at += sizeof size + size;
    }
    if (run->statistics != NULL)
        at += sg_dispersion_save(run->statistics, at);
    memcpy(at, run->records, records);
    return (size_t)(at - (char *)to) + records;
}

static sg_status misfit(sg_error *error)
{
    return sg_fail(error, SG_EDATA,
                   "the state of a run in the checkpoint does not fit the experiment; start again "
                   "without it");
}

static sg_status load_policies(sg_run *run, const char **at, size_t *left, sg_error *error)
{
    for (size_t i = 0; policy_at(run, i) != NULL; i++) {
        uint64_t size;
        if (*left < sizeof size)
            return misfit(error);
        memcpy(&size, *at, sizeof size);
        *at += sizeof size;
        *left -= sizeof size;
        if (*left < size)
            return misfit(error);
        sg_status status = run->policy->methods->load(policy_at(run, i), *at, (size_t)size, error);
        if (status != SG_OK)
            return status;
        *at += size;
        *left -= (size_t)size;
    }
    return SG_OK;
}

sg_status sg_run_load(sg_run *run, const void *from, size_t size, sg_error *error)
{
    const char *at = from;
    size_t fixed = fixed_size(run), left = size - fixed;
    counters then = {0};
    if (size >= fixed)
        memcpy(&then, at, sizeof then);
    if (size < fixed || then.records > run->record_capacity ||
        then.step > (uint64_t)run->config->run.steps)
        return misfit(error);
    part parts[PARTS];
    at += sizeof then;
    list_parts(run, parts);
    for (size_t i = 0; i < PARTS; at += parts[i++].size)
        memcpy(parts[i].at, at, parts[i].size);
    sg_status status = load_policies(run, &at, &left, error);
    if (status != SG_OK)
        return status;
    size_t statistics = run->statistics != NULL ? sg_dispersion_save(run->statistics, NULL) : 0;
    if (left != statistics + (size_t)then.records * sizeof *run->records ||
        (run->statistics != NULL && !sg_dispersion_load(run->statistics, at, statistics)))
        return misfit(error);
    at += statistics;
    left -= statistics;
    memcpy(run->records, at, left);
    run->step = (size_t)then.step;
    run->record_count = (size_t)then.records;
    run->mean_reward = then.mean_reward;
    run->zero_std_groups = then.zero_std_groups;
    run->mean_length = then.mean_length;
    run->length_right = then.length_right;
    run->length_wrong = then.length_wrong;
    run->match_idle = then.match_idle;
    run->sampler_flips = then.sampler_flips;
    return sg_run_replay_routes(run, error);
}
