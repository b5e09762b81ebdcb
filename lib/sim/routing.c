/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The experts of a net in a run: recorded at the rollout, replayed while it learns from it, and
 * compared with those that it would choose now. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/net_policy.h"
#include "sim/run.h"

static sg_status out_of_memory(sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "not enough memory to record the experts of a rollout");
}

/* Blocks of tokens of the rollout for which two recordings name other experts, as a share. */
static double differing(const sg_run *run, const uint64_t *first, const uint64_t *second)
{
    double differ = 0, all = 0;
    for (size_t i = 0; i < run->rollout.count; i++)
        for (size_t b = 0; b < run->lengths[i] * run->route_words; b++, all++) {
            size_t at = i * run->length * run->route_words + b;
            differ += first[at] != second[at];
        }
    return differ / all;
}

sg_status sg_run_replay_routes(sg_run *run, sg_error *error)
{
    sg_policy *learning[] = {run->policy, run->shadow, run->probe};
    bool replay = run->controls.routing != SG_ROUTING_FREE;
    sg_status status = SG_OK;
    for (size_t i = 0; i < 3 && replay && run->route_words > 0 && status == SG_OK; i++)
        if (learning[i] != NULL)
            status = sg_net_policy_replay(learning[i], &run->rollout, run->routes, error);
    return status;
}

sg_status sg_run_record_routes(sg_run *run, sg_policy *sampler, sg_error *error)
{
    size_t words = run->rollout.count * run->length * run->route_words;
    run->sampler_flips = run->route_words > 0 ? 0 : NAN;
    if (words == 0)
        return SG_OK;
    sg_status status = sg_net_policy_routes(run->policy, &run->rollout, run->routes, NULL, error);
    if (sampler != run->policy && status == SG_OK) {
        uint64_t *theirs = calloc(words, sizeof *theirs);
        if (theirs == NULL)
            return out_of_memory(error);
        status = sg_net_policy_routes(sampler, &run->rollout, theirs, NULL, error);
        if (status == SG_OK)
            run->sampler_flips = differing(run, run->routes, theirs);
        if (run->controls.routing == SG_ROUTING_R3)
            memcpy(run->routes, theirs, words * sizeof *theirs);
        free(theirs);
    }
    return status == SG_OK ? sg_run_replay_routes(run, error) : status;
}

/* Flips of minibatch k: `now` holds what the policy would choose for its tokens. */
static void observe_flips(const sg_run *run, size_t k, const uint64_t *now, sg_observables *o)
{
    size_t words = run->route_words;
    double count[2] = {0}, sum[2] = {0}, blocks = 0; /* tokens without and with a flip */
    for (size_t i = 0; i < run->minibatch.count; i++) {
        const uint64_t *then = run->routes + sg_run_source(run, i, k) * run->length * words;
        for (size_t t = 0; t < run->part_lengths[i]; t++) {
            size_t token = i * run->length + t, flips = 0;
            for (size_t b = 0; b < words; b++)
                flips += now[token * words + b] != then[t * words + b];
            blocks += (double)flips;
            count[flips > 0]++;
            sum[flips > 0] += fabs(run->batch->logp_new[token] - run->batch->logp_old[token]);
        }
    }
    double tokens = count[0] + count[1];
    o->flip_rate = blocks / (tokens * (double)words);
    o->flip_rate_token = count[1] / tokens;
    o->log_ratio_flip = count[1] > 0 ? sum[1] / count[1] : NAN;
    o->log_ratio_no_flip = count[0] > 0 ? sum[0] / count[0] : NAN;
}

/* J - J with the rollout's routes replayed wherever it went. */
static sg_status observe_gap(sg_run *run, sg_observables *o, sg_error *error)
{
    double *expected = calloc(run->prompts, sizeof *expected), sum = 0;
    if (expected == NULL)
        return out_of_memory(error);
    sg_status status = sg_net_policy_replayed_reward(run->policy, &run->reward, expected, error);
    for (size_t p = 0; p < run->prompts; p++)
        sum += expected[p];
    o->J_routing_gap = o->J - sum / (double)run->prompts;
    free(expected);
    return status;
}

sg_status sg_run_observe_routes(sg_run *run, size_t k, sg_observables *o, sg_error *error)
{
    size_t words = run->minibatch.count * run->length * run->route_words;
    o->flip_rate = o->flip_rate_token = o->log_ratio_flip = o->log_ratio_no_flip = NAN;
    o->gate_entropy = o->J_routing_gap = NAN;
    o->flip_rate_sampler = run->sampler_flips;
    if (words == 0)
        return SG_OK;
    uint64_t *now = calloc(words, sizeof *now);
    if (now == NULL)
        return out_of_memory(error);
    sg_status status =
        sg_net_policy_routes(run->policy, &run->minibatch, now, &o->gate_entropy, error);
    if (status == SG_OK)
        observe_flips(run, k, now, o);
    free(now);
    if (status == SG_OK && run->controls.routing != SG_ROUTING_FREE && run->policy->exact_reward)
        status = observe_gap(run, o, error);
    return status;
}
