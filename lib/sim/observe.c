/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#include "sim/run.h"

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
    const sg_batch *batch = run->batch;
    size_t n = 0;
    double sum = 0, squares = 0, tokens_pos = 0, tokens_neg = 0, weight_pos = 0, weight_neg = 0;
    o->ratio_max_pos = o->ratio_max_neg = NAN; /* fmax takes the number beside a NaN */
    for (size_t i = 0; i < batch->tokens; i++) {
        if (!batch->mask[i])
            continue;
        double advantage = batch->advantage[i];
        double ratio = exp(batch->logp_new[i] - batch->logp_old[i]);
        run->sorted[n++] = ratio;
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

/* Prompt by prompt, and there position by position. */
static void observe_pushes(sg_run *run, sg_observables *o)
{
    for (size_t state = 0; state < run->prompts * run->length; state++) {
        size_t p = state / run->length, t = state % run->length;
        for (size_t j = 0; j < run->part; j++) {
            size_t token = (p * run->part + j) * run->length + t;
            double advantage = run->batch->advantage[token];
            if (!run->batch->mask[token])
                continue;
            o->gate_mass_pos += advantage > 0 ? fabs(run->pushes[token]) : 0;
            o->gate_mass_neg += advantage < 0 ? fabs(run->pushes[token]) : 0;
        }
    }
}

/* rho = pi_trainer / pi_sampler of each token, both as they were at the rollout. */
static void observe_mismatch(sg_run *run, sg_observables *o)
{
    const sg_batch *batch = run->batch;
    double n = 0, divergence = 0, sum = 0, squares = 0, weights = 0, reference = 0;
    for (size_t i = 0; i < batch->tokens; i++) {
        if (!batch->mask[i])
            continue;
        double gap = batch->logp_old[i] - run->part_rollout[i], rho = exp(gap);
        o->mismatch_max = fmax(o->mismatch_max, fabs(gap));
        divergence += expm1(gap) - gap;
        sum += rho;
        squares += rho * rho;
        weights += batch->weight != NULL ? batch->weight[i] : 1;
        if (batch->logp_ref != NULL)
            reference += sg_kl_at(SG_KL_K3, batch->logp_new[i] - batch->logp_ref[i]).value;
        n++;
    }
    o->mismatch_kl = divergence / n;
    o->mismatch_ess = sum * sum / (n * squares);
    o->mismatch_weight = weights / n;
    o->kl_ref = batch->logp_ref != NULL ? reference / n : NAN;
}

void sg_run_observe(sg_run *run, const sg_replay_summary *summary, sg_observables *o)
{
    observe_ratios(run, summary, o);
    observe_pushes(run, o);
    observe_mismatch(run, o);
}
