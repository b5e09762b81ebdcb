/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "objective/advantage.h"
#include "policy/net_policy.h"
#include "sim/run.h"

/* Whose parameters the sampler has: those of `lag` rollouts ago, or of the start. */
static sg_policy *older(const sg_run *run, size_t rollout)
{
    size_t lag = (size_t)run->config->rollout.lag;
    if (lag == 0 || rollout == 0)
        return run->policy;
    return run->past[rollout < lag ? 0 : rollout % lag];
}

/* What draws: those parameters, or what the inference engine makes of a net's. */
static sg_status find_sampler(const sg_run *run, size_t rollout, sg_policy **sampler,
                              sg_error *error)
{
    sg_policy *source = older(run, rollout);
    *sampler = source;
    if (run->engine == NULL)
        return SG_OK;
    *sampler = run->engine;
    return sg_net_emulate(sg_net_policy_net(run->engine), sg_net_policy_net(source),
                          (sg_sampler_format)run->config->rollout.precision,
                          run->config->rollout.weight_noise, run->seed, (uint32_t)rollout, error);
}

void sg_run_blank(const sg_responses *responses)
{
    for (size_t i = 0; i < responses->count; i++)
        for (size_t t = responses->length[i]; t < responses->room; t++)
            responses->tokens[i * responses->room + t] = -1;
}

static sg_status draw(sg_run *run, size_t rollout, sg_error *error)
{
    const sg_config *config = run->config;
    const sg_policy_methods *methods = run->policy->methods;
    size_t lag = (size_t)config->rollout.lag;
    sg_policy_draw how = {.seed = run->seed,
                          .stream = SG_STREAM_ROLLOUT,
                          .step = (uint32_t)rollout,
                          .sampler = {.temperature = config->rollout.temperature,
                                      .top_p = config->rollout.top_p,
                                      .top_k = (uint32_t)config->rollout.top_k,
                                      .noise = config->rollout.noise,
                                      .format = (sg_sampler_format)config->rollout.precision,
                                      .raw = config->rollout.logp == 1}};
    sg_policy *sampler;
    sg_status status = find_sampler(run, rollout, &sampler, error);
    if (config->policy.kind == SG_POLICY_NET) /* its parameters were rounded */
        how.sampler.format = SG_SAMPLER_EXACT;
    if (status == SG_OK)
        status = methods->draw(sampler, &how, &run->rollout, run->logp_rollout, error);
    if (status == SG_OK)
        status = sg_run_record_routes(run, sampler, error);
    if (status != SG_OK)
        return status;
    sg_run_blank(&run->rollout);
    if (lag > 0)
        status = methods->copy(run->past[rollout % lag], run->policy, error);
    if (status != SG_OK)
        return status;
    if (sampler == run->policy && lag == 0 && sg_sampler_is_plain(&how.sampler))
        memcpy(run->logp_old, run->logp_rollout,
               run->rollout.count * run->length * sizeof *run->logp_old);
    else
        status = methods->log_prob(run->policy, &run->rollout, run->logp_old, error);
    return status;
}

static double mean(double sum, double n)
{
    return n > 0 ? sum / n : NAN;
}

/* Rewards are integers in units of sg_task_unit, so group * score - sum of scores is exact and sums
 * to exactly 0. */
static void score(sg_run *run, size_t rollout)
{
    double total = 0, flat = 0, n = (double)(run->prompts * run->group);
    double lengths = 0, right = 0, right_lengths = 0;
    for (size_t p = 0; p < run->prompts; p++) {
        double unit = (double)sg_task_unit(run->task, p);
        double *reward = run->score + p * run->group, *centred = run->centred + p * run->group;
        double sum = 0;
        bool equal = true;
        for (size_t i = 0; i < run->group; i++) {
            size_t response = p * run->group + i;
            const int32_t *tokens = run->tokens + response * run->length;
            reward[i] = (double)sg_task_score(run->task, run->seed, rollout, p, i, tokens);
            run->token_counts[response] = run->lengths[response];
            lengths += run->lengths[response];
            if (sg_task_clean_score(run->task, p, tokens) == 1) {
                right++;
                right_lengths += run->lengths[response];
            }
            sum += reward[i];
            equal = equal && reward[i] == reward[0];
        }
        for (size_t i = 0; i < run->group; i++) {
            centred[i] = (double)run->group * reward[i] - sum;
            reward[i] /= unit;
        }
        total += sum / unit;
        flat += equal;
    }
    run->mean_reward = total / n;
    run->zero_std_groups = flat / (double)run->prompts;
    run->mean_length = lengths / n;
    run->length_right = mean(right_lengths, right);
    run->length_wrong = mean(lengths - right_lengths, n - right);
}

/* The factor that turns the centred integers of a group into its advantages, or 0 when there is
 * none: then the estimator is not a centred one. */
static double common_unit(const double *advantage, const double *centred, size_t n)
{
    size_t largest = 0;
    for (size_t i = 1; i < n; i++) {
        if (fabs(centred[i]) > fabs(centred[largest]))
            largest = i;
    }
    if (centred[largest] == 0)
        return 0;
    double unit = advantage[largest] / centred[largest];
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(advantage[i] - centred[i] * unit) <= 1e-12 * fabs(advantage[largest])))
            return 0;
    }
    return unit;
}

sg_status sg_run_rollout(sg_run *run, size_t rollout, sg_error *error)
{
    sg_status status = draw(run, rollout, error);
    if (status != SG_OK)
        return status;
    score(run, rollout);
    sg_rewards rewards = {.n = run->prompts * run->group,
                          .reward = run->score,
                          .group = run->prompt_of,
                          .length = run->token_counts};
    sg_advantage_options options = {.eps = run->config->update.advantage_eps,
                                    .value_shift = run->config->update.value_shift};
    status = sg_advantage_estimate((sg_advantage_kind)run->config->update.advantage, &rewards,
                                   &options, run->advantage, NULL, error);
    for (size_t p = 0; p < run->prompts && status == SG_OK; p++)
        run->unit[p] =
            common_unit(run->advantage + p * run->group, run->centred + p * run->group, run->group);
    return status;
}

/* Fisher and Yates, one order for each prompt. */
void sg_run_shuffle(sg_run *run, size_t rollout, size_t epoch)
{
    sg_address at = {.seed = run->seed,
                     .stream = SG_STREAM_SHUFFLE,
                     .step = (uint32_t)rollout,
                     .token = (uint32_t)epoch};
    for (size_t p = 0; p < run->prompts; p++) {
        uint32_t *order = run->order + p * run->group;
        at.prompt = (uint32_t)p;
        for (size_t i = 0; i < run->group; i++)
            order[i] = (uint32_t)i;
        for (size_t i = run->group; i-- > 1;) {
            at.sample = (uint32_t)i;
            size_t j = (size_t)(sg_rng_uniform(at) * (double)(i + 1));
            uint32_t swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
    }
}
