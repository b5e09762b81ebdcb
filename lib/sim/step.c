/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#include "sim/run.h"

/* Gather minibatch k of the shuffled rollout and what the current policy says about it. */
static void gather(sg_run *run, size_t k)
{
    size_t group = run->group, part = run->part;
    for (size_t state = 0; state < run->states; state++) {
        const uint32_t *order = run->order + state / run->length * group + k * part;
        for (size_t j = 0; j < part; j++)
            run->part_tokens[state * part + j] = run->tokens[state * group + order[j]];
    }
    sg_rows_log_prob(run->rows, 0, run->states, part, run->part_tokens, run->part_logp);
    for (size_t state = 0; state < run->states; state++) {
        size_t p = state / run->length, t = state % run->length;
        const uint32_t *order = run->order + p * group + k * part;
        for (size_t j = 0; j < part; j++) {
            size_t token = (p * part + j) * run->length + t;
            run->batch->advantage[token] = run->advantage[p * group + order[j]];
            run->batch->logp_old[token] = run->logp_old[state * group + order[j]];
            run->batch->logp_new[token] = run->part_logp[state * part + j];
        }
    }
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
 * below 1e-12. */
static void set_pushes(sg_run *run, const sg_replay_summary *summary, size_t k)
{
    size_t part = run->part, length = run->length;
    sg_aggregate_counts counts = {.tokens = summary->tokens,
                                  .rows = summary->sequences,
                                  .live_rows = summary->live_sequences,
                                  .norm_length = (double)length};
    double a = sg_aggregate_factor(summary->aggregate, SG_EMPTY_COUNT, counts, length);
    for (size_t state = 0; state < run->states; state++) {
        size_t p = state / length, t = state % length;
        const uint32_t *order = run->order + p * run->group + k * part;
        for (size_t j = 0; j < part; j++) {
            const sg_replay_token *token = &run->replay[(p * part + j) * length + t];
            double centred = run->centred[p * run->group + order[j]];
            run->pushes[state * part + j] =
                run->unit[p] != 0 ? centred * rounded(a * run->unit[p] * token->coefficient)
                                  : -token->dloss_dlogp;
        }
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics (numpy's default). */
static double quantile(const double *sorted, size_t n, double p)
{
    double place = p * (double)(n - 1);
    size_t below = (size_t)place;
    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

static void observe_ratios(sg_run *run, const sg_replay_summary *summary, sg_observables *o)
{
    size_t n = run->batch->tokens;
    double sum = 0, squares = 0, tokens_pos = 0, tokens_neg = 0, weight_pos = 0, weight_neg = 0;
    o->ratio_max_pos = o->ratio_max_neg = NAN; /* fmax takes the number beside a NaN */
    for (size_t i = 0; i < n; i++) {
        double advantage = run->batch->advantage[i];
        double ratio = exp(run->batch->logp_new[i] - run->batch->logp_old[i]);
        run->sorted[i] = ratio;
        sum += ratio;
        squares += ratio * ratio;
        if (advantage > 0) {
            o->ratio_max_pos = fmax(o->ratio_max_pos, ratio);
            weight_pos += run->replay[i].weight;
            tokens_pos++;
        } else if (advantage < 0) {
            o->ratio_max_neg = fmax(o->ratio_max_neg, ratio);
            weight_neg += run->replay[i].weight;
            tokens_neg++;
        }
    }
    qsort(run->sorted, n, sizeof *run->sorted, by_value);
    o->ratio_min = run->sorted[0];
    o->ratio_mean = sum / (double)n;
    o->ratio_max = run->sorted[n - 1];
    o->ratio_q01 = quantile(run->sorted, n, 0.01);
    o->ratio_q50 = quantile(run->sorted, n, 0.50);
    o->ratio_q99 = quantile(run->sorted, n, 0.99);
    o->ess = sum * sum / ((double)n * squares);
    o->eur_pos = tokens_pos > 0 ? weight_pos / tokens_pos : NAN;
    o->eur_neg = tokens_neg > 0 ? weight_neg / tokens_neg : NAN;
    o->kl_rollout = summary->kl_k3;
    o->effective_update_ratio = summary->effective_update_ratio;
    o->clipped_fraction = summary->clipped_fraction;
}

static void observe_pushes(sg_run *run, sg_observables *o)
{
    for (size_t state = 0; state < run->states; state++) {
        double net = 0, gross = 0;
        for (size_t j = 0; j < run->part; j++) {
            size_t p = state / run->length, t = state % run->length;
            size_t token = (p * run->part + j) * run->length + t;
            double push = run->pushes[state * run->part + j];
            double advantage = run->batch->advantage[token];
            net += push;
            gross += fabs(push);
            o->gate_mass_pos += advantage > 0 ? fabs(push) : 0;
            o->gate_mass_neg += advantage < 0 ? fabs(push) : 0;
        }
        o->diffuse_share += gross > 0 ? net / gross / (double)run->states : 0;
    }
}

static void observe_policy(sg_run *run, sg_observables *o)
{
    double share = 1 / (double)run->states;
    sg_rows_observe(run->rows, 0, run->states, run->observation);
    for (size_t state = 0; state < run->states; state++) {
        const sg_row_observation *row = &run->observation[state];
        o->entropy += row->entropy * share;
        o->head_entropy += row->head_entropy * share;
        o->tail_mass += row->tail_mass * share;
        o->tail_mass_max = fmax(o->tail_mass_max, row->tail_mass);
        o->tail_entropy_share += row->tail_entropy_share * share;
        o->collision += row->collision * share;
        o->max_prob += row->max_prob * share;
        o->logit_range = fmax(o->logit_range, row->logit_range);
        o->underflowed += (double)row->underflowed;
    }
}

static void observe_change(sg_run *run, sg_observables *o)
{
    double share = 1 / (double)run->states, gradient = 0, delta = 0;
    for (size_t state = 0; state < run->states; state++) {
        const sg_row_change *row = &run->change[state];
        o->kl_old_new += row->kl_old_new * share;
        o->kl_new_old += row->kl_new_old * share;
        o->diffuse_push += row->diffuse_push * share;
        o->upward_push += row->upward_push * share;
        o->max_unsampled_push = fmax(o->max_unsampled_push, row->max_unsampled_push);
        gradient += row->grad_norm2;
        delta += row->delta_norm2;
    }
    o->grad_norm = sqrt(gradient);
    o->delta_norm = sqrt(delta);
}

static sg_record *new_record(sg_run *run, size_t rollout, size_t step, double expected)
{
    sg_record *record = &run->records[run->record_count++];
    *record = (sg_record){.rollout = (int64_t)rollout + 1, .step = (int64_t)step};
    record->value.reward = run->mean_reward;
    record->value.zero_std_groups = run->zero_std_groups;
    record->value.J = expected;
    return record;
}

sg_status sg_run_step(sg_run *run, size_t rollout, size_t step, size_t k, bool *alive,
                      sg_error *error)
{
    const sg_config *config = run->config;
    double expected = sg_task_expected_reward(run->task, run->rows);
    if (!isfinite(expected)) {
        double *value = (double *)&new_record(run, rollout, step, expected)->value;
        for (size_t c = 0; c < sizeof(sg_observables) / sizeof(double); c++)
            value[c] = NAN;
        run->ended_early = true;
        *alive = false;
        return SG_OK;
    }
    gather(run, k);
    bool natural = config->update.aggregate < 0;
    sg_replay_options options = {.natural_aggregate = natural,
                                 .aggregate =
                                     natural ? 0 : (sg_aggregate_mode)config->update.aggregate,
                                 .empty = SG_EMPTY_COUNT,
                                 .norm_length = (double)run->length};
    sg_replay_summary summary;
    sg_status status =
        sg_replay(run->batch, &run->objective, &options, run->replay, &summary, error);
    if (status != SG_OK)
        return status;
    set_pushes(run, &summary, k);
    bool last = step == (size_t)config->run.steps;
    bool observed = last || (step - 1) % (size_t)config->run.observe_every == 0;
    sg_observables *o = observed ? &new_record(run, rollout, step, expected)->value : NULL;
    if (observed) {
        observe_policy(run, o);
        observe_ratios(run, &summary, o);
        observe_pushes(run, o);
    }
    sg_optimizer optimizer = {.kind = (sg_optimizer_kind)config->optimizer.kind,
                              .lr = config->optimizer.lr,
                              .beta1 = config->optimizer.beta1,
                              .beta2 = config->optimizer.beta2,
                              .eps = config->optimizer.eps};
    sg_rows_update(run->rows, &optimizer, step, 0, run->states, run->part, run->part_tokens,
                   run->pushes, observed ? run->change : NULL);
    if (observed)
        observe_change(run, o);
    return SG_OK;
}
