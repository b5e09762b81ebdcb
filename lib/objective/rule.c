/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "objective/rule.h"

#include <math.h>
#include <stdlib.h>

#include "core/rng.h"

/* A token that may be chosen; the greatest keys are. */
typedef struct candidate {
    double key;
    size_t token;
} candidate;

static int by_key(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* Chooses `share` of n tokens, at least one, of the candidates. */
static void choose(sg_rule_choice *choice, candidate *candidates, size_t count, size_t n)
{
    double wanted = floor(choice->objective.rule.share * (double)n);
    size_t most = wanted >= 1 ? (size_t)wanted : 1;
    qsort(candidates, count, sizeof *candidates, by_key);
    choice->count = count < most ? count : most;
    for (size_t k = 0; k < choice->count; k++)
        choice->chosen[candidates[k].token] = true;
}

typedef struct tokens {
    const sg_batch *batch;
    const size_t *live;
    const double *log_ratio;
    size_t n;
} tokens;

/* The covariance of every live token. */
static void find_covariances(const tokens *t, candidate *candidates)
{
    double advantage = 0, logp = 0;
    for (size_t k = 0; k < t->n; k++) {
        advantage += t->batch->advantage[t->live[k]];
        logp += t->batch->logp_new[t->live[k]];
    }
    advantage /= (double)t->n;
    logp /= (double)t->n;
    for (size_t k = 0; k < t->n; k++) {
        size_t i = t->live[k];
        candidates[k] =
            (candidate){(t->batch->advantage[i] - advantage) * (t->batch->logp_new[i] - logp), i};
    }
}

/* Keeps the candidates within the covariance's bounds that the clip lets pass, with random keys. */
static size_t keep_moderate(const sg_objective *objective, const tokens *t, candidate *candidates,
                            uint64_t seed, uint32_t step)
{
    size_t kept = 0;
    for (size_t k = 0; k < t->n; k++) {
        size_t i = t->live[k];
        double covariance = candidates[k].key, advantage = t->batch->advantage[i];
        sg_gate_point at = sg_gate_point_from_log(t->log_ratio[k], t->batch->logp_old[i]);
        sg_gate_value gate = sg_gate_at(objective->gate, &objective->parameter, at, advantage);
        bool clipped = advantage != 0 && gate.weight == 0;
        if (clipped || !(covariance > objective->rule.cov_low) ||
            !(covariance < objective->rule.cov_high))
            continue;
        sg_address address = {seed, SG_STREAM_CHOICE, step, 0, 0, (uint32_t)i};
        candidates[kept++] = (candidate){sg_rng_uniform(address), i};
    }
    return kept;
}

/* The share of positive advantages in the clipped objective; 1 when nothing is negative. */
static double positive_share(const tokens *t, double low, double high)
{
    double positive = 0, negative = 0;
    for (size_t k = 0; k < t->n; k++) {
        double ratio = exp(t->log_ratio[k]), advantage = t->batch->advantage[t->live[k]];
        if (advantage > 0)
            positive += fmin(ratio, high) * advantage;
        else
            negative -= fmax(ratio, low) * advantage;
    }
    return negative > 0 ? positive / (positive + negative) : 1;
}

/* A bound after `steps` steps; whether a step more would stay within `most`, rounding aside. */
static double moved(double start, double step, size_t steps)
{
    return start + (double)steps * step;
}

static bool may_move(double start, double step, size_t steps, double most)
{
    return moved(start, step, steps + 1) <= most + 1e-9 * step;
}

static void balance(sg_objective *objective, const tokens *t)
{
    const sg_rule_parameters *r = &objective->rule;
    double low = 1 - objective->parameter.eps_low, high = 1 + objective->parameter.eps_high;
    size_t raised = 0, widened = 0;
    while (may_move(low, r->low_step, raised, r->low_max) &&
           positive_share(t, moved(low, r->low_step, raised), moved(high, r->high_step, widened)) <
               r->target) {
        if (may_move(high, r->high_step, widened, r->high_max))
            widened++;
        else
            raised++;
    }
    objective->parameter.eps_low = 1 - moved(low, r->low_step, raised);
    objective->parameter.eps_high = moved(high, r->high_step, widened) - 1;
}

sg_status sg_rule_choose(sg_rule_choice *choice, const sg_batch *batch,
                         const sg_objective *objective, const size_t *live, const double *log_ratio,
                         size_t n, uint64_t seed, uint32_t step, sg_error *error)
{
    const tokens t = {batch, live, log_ratio, n};
    sg_batch_rule rule = objective->method->rule;
    *choice = (sg_rule_choice){.objective = *objective};
    if (rule == SG_RULE_BAPO)
        balance(&choice->objective, &t);
    if ((rule != SG_RULE_KL_COV && rule != SG_RULE_CLIP_COV) || n == 0)
        return SG_OK;
    candidate *candidates = malloc(n * sizeof *candidates);
    choice->chosen = calloc(batch->tokens, sizeof *choice->chosen);
    if (candidates == NULL || choice->chosen == NULL) {
        free(candidates);
        sg_rule_choice_clear(choice);
        return sg_fail(error, SG_ENOMEM, "not enough memory to choose among %zu tokens", n);
    }
    find_covariances(&t, candidates);
    size_t count =
        rule == SG_RULE_KL_COV ? n : keep_moderate(objective, &t, candidates, seed, step);
    choose(choice, candidates, count, n);
    free(candidates);
    return SG_OK;
}

void sg_rule_choice_clear(sg_rule_choice *choice)
{
    free(choice->chosen);
    *choice = (sg_rule_choice){0};
}

static bool pays(const sg_rule_choice *choice, size_t i)
{
    sg_batch_rule rule = choice->objective.method->rule;
    return rule == SG_RULE_DRO || (rule == SG_RULE_KL_COV && choice->chosen[i]);
}

sg_gate_value sg_rule_gate(const sg_rule_choice *choice, size_t i, sg_gate_point at,
                           double advantage)
{
    const sg_objective *objective = &choice->objective;
    if (objective->method->rule == SG_RULE_CLIP_COV && choice->chosen[i])
        return (sg_gate_value){0, 0, 0, 0};
    if (pays(choice, i))
        return sg_objective_eval_at(objective, at, advantage);
    return sg_gate_at(objective->gate, &objective->parameter, at, advantage);
}

sg_kl sg_rule_penalty(const sg_rule_choice *choice, size_t i, double d)
{
    return pays(choice, i) ? sg_objective_penalty(&choice->objective, d) : (sg_kl){0, 0};
}

sg_kl sg_objective_penalty(const sg_objective *objective, double d)
{
    sg_batch_rule rule = objective->method->rule;
    if (!sg_rule_charges(rule))
        return (sg_kl){0, 0};
    sg_kl kl = sg_kl_at(rule == SG_RULE_DRO ? SG_KL_K2 : SG_KL_ABS, d);
    return (sg_kl){objective->rule.beta * kl.value, objective->rule.beta * kl.derivative};
}
