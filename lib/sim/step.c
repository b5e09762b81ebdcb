/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "objective/rule.h"
#include "sim/run.h"
#include "sim/statistics.h"

/* Is logp_old what the policy would say now, bit by bit? No step has been taken since the rollout, and in a table a
 * token's probability does not depend on what else is asked for. */
static bool is_as_drawn(const sg_run *run, size_t step)
{
    size_t steps = (size_t)(run->config->update.minibatches * run->config->update.epochs);
    return (step - 1) % steps == 0 && run->config->policy.kind == SG_POLICY_TABULAR;
}

/* Gather minibatch k of the shuffled rollout and what the current policy says about it. */
static sg_status gather(sg_run *run, size_t step, size_t k, sg_error *error)
{
    sg_batch *batch = run->batch;
    double cap = run->config->update.mismatch_cap;
    for (size_t i = 0; i < run->minibatch.count; i++) {
        size_t from = sg_run_source(run, i, k);
        run->part_lengths[i] = run->lengths[from];
        for (size_t t = 0; t < run->length; t++) {
            size_t token = i * run->length + t, source = from * run->length + t;
            run->part_tokens[token] = run->tokens[source];
            run->part_rollout[token] = run->logp_rollout[source];
            batch->mask[token] = t < run->lengths[from];
            batch->advantage[token] = run->advantage[from];
            batch->logp_old[token] = run->logp_old[source];
            if (batch->weight != NULL)
                batch->weight[token] =
                    fmin(exp(run->logp_old[source] - run->logp_rollout[source]), cap);
        }
    }
    const sg_policy_methods *methods = run->policy->methods;
    sg_status status = SG_OK;
    if (is_as_drawn(run, step))
        memcpy(batch->logp_new, batch->logp_old, batch->tokens * sizeof *batch->logp_new);
    else
        status = methods->log_prob(run->policy, &run->minibatch, batch->logp_new, error);
    if (status == SG_OK && run->reference != NULL)
        status = methods->log_prob(run->reference, &run->minibatch, batch->logp_ref, error);
    return status;
}

static sg_status replay(sg_run *run, const sg_objective *objective, size_t step,
                        sg_replay_summary *summary, sg_error *error)
{
    const sg_config *config = run->config;
    bool natural = config->update.aggregate < 0;
    sg_replay_options options = {.natural_aggregate = natural,
                                 .aggregate =
                                     natural ? 0 : (sg_aggregate_mode)config->update.aggregate,
                                 .empty = SG_EMPTY_COUNT,
                                 .norm_length = (double)run->length,
                                 .kl_beta = config->update.kl_beta,
                                 .kl = (sg_kl_kind)config->update.kl,
                                 .choice_seed = run->seed,
                                 .choice_step = (uint32_t)step};
    return sg_replay(run->batch, objective, &options, run->replay, summary, error);
}

/* Rounded to 40 bits, so that its product with a small integer is exact. */
static double rounded(double x)
{
    int exponent;
    double fraction = frexp(x, &exponent);
    return isfinite(x) ? ldexp(rint(ldexp(fraction, 40)), exponent - 40) : x;
}

/* What multiplies grad log pi of each sample. With a centred advantage it is an integer times a
 * factor of 40 bits: pushes of equal weight then cancel to exactly 0 at a state, and B = 0 is not
 * blurred by rounding, which Adam with a small eps would amplify. The price is a relative error
 * below 1e-12. A KL term, a penalty or a mismatch weight is not of that form. */
static void set_pushes(sg_run *run, const sg_objective *objective, const sg_replay_summary *summary,
                       size_t k, double *pushes)
{
    size_t length = run->length;
    bool exact = run->batch->weight == NULL && run->batch->logp_ref == NULL &&
                 !sg_rule_charges(objective->method->rule);
    sg_aggregate_counts counts = {.tokens = summary->tokens,
                                  .rows = summary->sequences,
                                  .live_rows = summary->live_sequences,
                                  .norm_length = (double)length};
    for (size_t i = 0; i < run->minibatch.count; i++) {
        size_t p = run->part_prompt[i];
        double centred = run->centred[sg_run_source(run, i, k)];
        double a =
            sg_aggregate_factor(summary->aggregate, SG_EMPTY_COUNT, counts, run->part_lengths[i]);
        for (size_t t = 0; t < run->part_lengths[i]; t++) {
            const sg_replay_token *token = &run->replay[i * length + t];
            pushes[i * length + t] = exact && run->unit[p] != 0
                                         ? centred * rounded(a * run->unit[p] * token->coefficient)
                                         : -token->dloss_dlogp;
        }
    }
}

/* A column that only nets have. */
static double of_net(const sg_run *run, double value)
{
    return run->config->policy.kind == SG_POLICY_NET ? value : NAN;
}

static void keep_observation(const sg_run *run, sg_observables *o,
                             const sg_policy_observation *policy)
{
    o->row_norm_head = of_net(run, policy->row_norm_head);
    o->row_norm_tail = of_net(run, policy->row_norm_tail);
    o->entropy = policy->entropy;
    o->head_entropy = policy->head_entropy;
    o->tail_mass = policy->tail_mass;
    o->tail_mass_max = policy->tail_mass_max;
    o->tail_entropy_share = policy->tail_entropy_share;
    o->collision = policy->collision;
    o->max_prob = policy->max_prob;
    o->logit_range = policy->logit_range;
    o->underflowed = policy->underflowed;
    o->tail_mass_root = policy->tail_mass_root;
    o->tail_mass_right = policy->tail_mass_right;
    o->tail_mass_losers = policy->tail_mass_losers;
    o->losers_share = policy->losers_share;
}

static void keep_change(const sg_run *run, sg_observables *o, const sg_policy_change *change)
{
    o->diffuse_push_features = of_net(run, change->diffuse_features);
    o->grad_output_share = of_net(run, change->output_share);
    o->mean_row_drift = of_net(run, change->mean_row_drift);
    o->kl_old_new = change->kl_old_new;
    o->kl_new_old = change->kl_new_old;
    o->diffuse_push = change->diffuse_push;
    o->diffuse_share = change->diffuse_share;
    o->upward_push = change->upward_push;
    o->max_unsampled_push = change->max_unsampled_push;
    o->grad_norm = change->grad_norm;
    o->clip_factor = change->clip_factor;
    o->delta_norm = change->delta_norm;
}

static sg_record *new_record(sg_run *run, size_t rollout, size_t step, double expected)
{
    sg_record *record = &run->records[run->record_count++];
    *record = (sg_record){.rollout = (int64_t)rollout + 1, .step = (int64_t)step};
    record->value.reward = run->mean_reward;
    record->value.zero_std_groups = run->zero_std_groups;
    record->value.length = run->mean_length;
    record->value.length_right = run->length_right;
    record->value.length_wrong = run->length_wrong;
    record->value.learning_rate = sg_learning_rate(run->config, step);
    record->value.J = expected;
    sg_run_leave_unevaluated(&record->value);
    if (run->detail == NULL)
        sg_detail_unknown(&record->value);
    return record;
}

/* What tells that a policy is none any more? Log-probabilities do, in a table as well as in a net: every minibatch
 * has a sample of every row, and where a row's total is NaN all of its probabilities are. A tree has rows that no
 * sample visits, so there the exact reward tells. Elsewhere that is asked for where it is observed only: it costs
 * more than a step of a net, and a wait for a table on a device. */
static bool reward_tells(const sg_run *run)
{
    return run->policy->exact_reward && run->config->policy.kind == SG_POLICY_TREE;
}

static bool is_finite(const sg_run *run)
{
    for (size_t i = 0; i < run->batch->tokens && !reward_tells(run); i++)
        if (run->batch->mask[i] && isnan(run->batch->logp_new[i]))
            return false;
    return true;
}

static bool is_evaluated(const sg_config *config, size_t step)
{
    size_t every = (size_t)config->run.evaluate_every;
    return every > 0 && (step == (size_t)config->run.steps || (step - 1) % every == 0);
}

static void end_early(sg_run *run, size_t rollout, size_t step)
{
    double *value = (double *)&new_record(run, rollout, step, NAN)->value;
    for (size_t c = 0; c < sizeof(sg_observables) / sizeof(double); c++)
        value[c] = NAN;
    run->ended_early = true;
}

/* Takes the step; what it did goes to `o`, which is NULL when nobody looks. */
static sg_status ascend(sg_run *run, size_t step, sg_observables *o, sg_error *error)
{
    const sg_config *config = run->config;
    sg_policy_change change;
    sg_policy_step how = {.optimizer = {.kind = (sg_optimizer_kind)config->optimizer.kind,
                                        .lr = sg_learning_rate(config, step),
                                        .beta1 = config->optimizer.beta1,
                                        .beta2 = config->optimizer.beta2,
                                        .eps = config->optimizer.eps,
                                        .weight_decay = config->optimizer.weight_decay},
                          .time = step,
                          .clip_norm = config->optimizer.clip_norm,
                          .projection = (sg_projection)run->controls.projection};
    sg_status status = SG_OK;
    if (run->shadow != NULL) {
        status = sg_run_match_step(run, &how, error);
        how.optimizer.lr *= run->match_factor;
    }
    if (status == SG_OK && o != NULL && run->detail != NULL)
        status = sg_detail_before(run, error);
    if (status == SG_OK)
        status = run->policy->methods->update(run->policy, &how, &run->minibatch, run->pushes,
                                              o != NULL ? &change : NULL, error);
    if (status != SG_OK || o == NULL)
        return status;
    keep_change(run, o, &change);
    o->match_factor = run->match_factor;
    o->match_idle = run->match_idle;
    if (run->detail != NULL)
        sg_detail_after(run, &how, change.clip_factor, o);
    return sg_run_observe_after(run, o, error);
}

sg_status sg_run_step(sg_run *run, size_t rollout, size_t step, size_t k, bool *alive,
                      sg_error *error)
{
    double expected = 0;
    sg_replay_summary summary;
    sg_policy_observation look;
    bool evaluated = is_evaluated(run->config, step);
    bool observed = evaluated || (step - 1) % (size_t)run->config->run.observe_every == 0 ||
                    step == (size_t)run->config->run.steps;
    sg_status status = SG_OK;
    if (observed || reward_tells(run))
        status = sg_run_expected_reward(run, &expected, error);
    if (status == SG_OK)
        status = gather(run, step, k, error);
    if (status == SG_OK && !(isfinite(expected) && is_finite(run))) {
        end_early(run, rollout, step);
        *alive = false;
        return SG_OK;
    }
    if (status == SG_OK && run->statistics != NULL)
        sg_statistics_add(run, step);
    if (status == SG_OK && run->controls.match != SG_MATCH_NONE) {
        status = replay(run, &run->config->control.reference, step, &summary, error);
        if (status == SG_OK)
            set_pushes(run, &run->config->control.reference, &summary, k, run->reference_pushes);
    }
    if (status == SG_OK)
        status = replay(run, &run->objective, step, &summary, error);
    if (status == SG_OK && observed)
        status = run->policy->methods->observe(run->policy, &run->reward, &look, error);
    if (status != SG_OK)
        return status;
    set_pushes(run, &run->objective, &summary, k, run->pushes);
    run->match_factor = 1;
    if (run->controls.match == SG_MATCH_MASS)
        sg_run_match_mass(run);
    sg_observables *o = observed ? &new_record(run, rollout, step, expected)->value : NULL;
    if (observed) {
        keep_observation(run, o, &look);
        sg_run_observe(run, &summary, o);
        status = sg_run_observe_routes(run, k, o, error);
    }
    if (status == SG_OK && evaluated)
        status = sg_run_evaluate(run, step, o, error);
    if (status == SG_OK)
        status = ascend(run, step, o, error);
    return status;
}
