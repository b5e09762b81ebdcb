/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a step shows of its minibatch beside the ratios: pushes, responses, the sampler's mismatch. */
#include <math.h>

#include "objective/sequence.h"
#include "sim/run.h"

/* Prompt by prompt, and there position by position: centred pushes then cancel to 0 as they do in
 * the update. */
static void observe_pushes(sg_run *run, sg_observables *o)
{
    for (size_t t = 0; t < run->length; t++) {
        double position = 0;
        for (size_t p = 0; p < run->prompts; p++) {
            double state = 0;
            for (size_t j = 0; j < run->part; j++) {
                size_t token = (p * run->part + j) * run->length + t;
                double advantage = run->batch->advantage[token];
                if (!run->batch->mask[token])
                    continue;
                state += run->pushes[token];
                o->gate_mass_pos += advantage > 0 ? fabs(run->pushes[token]) : 0;
                o->gate_mass_neg += advantage < 0 ? fabs(run->pushes[token]) : 0;
            }
            position += state;
        }
        o->diffuse_push_sum += position;
        o->diffuse_push_position = fmax(o->diffuse_push_position, fabs(position));
    }
}

/* The temperature of a response's gate; 1, as in the paper's own check, for other objectives. */
double sg_run_temperature(const sg_run *run, double advantage)
{
    const sg_gate_parameters *p = &run->objective.parameter;
    return run->objective.gate != SG_GATE_SAPO ? 1 : advantage > 0 ? p->tau_pos : p->tau_neg;
}

/* The finite log-ratios of response i into `d`; how many there are. */
size_t sg_run_log_ratios(const sg_run *run, size_t i, double *d)
{
    size_t n = 0;
    for (size_t t = 0; t < run->part_lengths[i]; t++) {
        size_t token = i * run->length + t;
        double log_ratio = run->batch->logp_new[token] - run->batch->logp_old[token];
        if (isfinite(log_ratio))
            d[n++] = log_ratio;
    }
    return n;
}

static void observe_sequences(sg_run *run, sg_observables *o)
{
    double rows = 0, above = 0;
    for (size_t i = 0; i < run->minibatch.count; i++) {
        size_t n = sg_run_log_ratios(run, i, run->sorted);
        if (n == 0)
            continue;
        double tau = sg_run_temperature(run, run->batch->advantage[i * run->length]);
        sg_sequence_gate gate = sg_sequence_gate_of(run->sorted, n, tau);
        rows++;
        above += sg_sequence_gate_exceeds(&gate, gate.deviation_true);
        o->sequence_variance += gate.variance;
        o->sequence_deviation += gate.deviation;
        o->sequence_bound += gate.bound;
        o->sequence_deviation_true += gate.deviation_true;
        o->sequence_variance_max = fmax(o->sequence_variance_max, gate.variance);
        o->sequence_deviation_max = fmax(o->sequence_deviation_max, gate.deviation);
        o->sequence_deviation_true_max = fmax(o->sequence_deviation_true_max, gate.deviation_true);
    }
    o->sequence_variance /= rows; /* NaN without a row */
    o->sequence_deviation /= rows;
    o->sequence_bound /= rows;
    o->sequence_deviation_true /= rows;
    o->sequence_above_bound = above / rows;
}

/* Means over responses of either sign of the advantage. */
static void log_likelihoods(const sg_run *run, const double *logp, double *pos, double *neg)
{
    double sum[2] = {0}, count[2] = {0};
    for (size_t i = 0; i < run->minibatch.count; i++) {
        double advantage = run->batch->advantage[i * run->length];
        if (advantage == 0)
            continue;
        count[advantage < 0]++;
        for (size_t t = 0; t < run->part_lengths[i]; t++)
            sum[advantage < 0] += logp[i * run->length + t];
    }
    *pos = count[0] > 0 ? sum[0] / count[0] : NAN;
    *neg = count[1] > 0 ? sum[1] / count[1] : NAN;
}

/* rho = pi_trainer / pi_sampler of each token, both as they were at the rollout. */
static void observe_mismatch(sg_run *run, sg_observables *o)
{
    const sg_batch *batch = run->batch;
    double n = 0, divergence = 0, sum = 0, squares = 0, weights = 0, reference = 0, distance = 0;
    for (size_t i = 0; i < batch->tokens; i++) {
        if (!batch->mask[i])
            continue;
        double gap = batch->logp_old[i] - run->part_rollout[i], rho = exp(gap);
        o->mismatch_max = fmax(o->mismatch_max, fabs(gap));
        divergence += expm1(gap) - gap;
        distance += expm1(gap) * expm1(gap);
        sum += rho;
        squares += rho * rho;
        weights += batch->weight != NULL ? batch->weight[i] : 1;
        if (batch->logp_ref != NULL)
            reference += sg_kl_at(SG_KL_K3, batch->logp_new[i] - batch->logp_ref[i]).value;
        n++;
    }
    o->mismatch_kl = divergence / n;
    o->mismatch_ess = sum * sum / (n * squares);
    o->mismatch_chi2 = distance / n;
    o->mismatch_weight = weights / n;
    o->kl_ref = batch->logp_ref != NULL ? reference / n : NAN;
}

/* The probability of the set of right responses, where it is known. */
static void observe_correct(const sg_run *run, sg_observables *o)
{
    o->log_correct = run->policy->exact_reward ? 0 : NAN;
    for (size_t p = 0; p < run->prompts; p++)
        o->log_correct += log(run->expected[p]) / (double)run->prompts;
}

void sg_run_observe(sg_run *run, const sg_replay_summary *summary, sg_observables *o)
{
    sg_run_observe_ratios(run, summary, o);
    observe_pushes(run, o);
    observe_sequences(run, o);
    observe_mismatch(run, o);
    observe_correct(run, o);
    log_likelihoods(run, run->batch->logp_new, &o->log_likelihood_pos, &o->log_likelihood_neg);
}

sg_status sg_run_observe_after(sg_run *run, sg_observables *o, sg_error *error)
{
    double *logp = run->sorted; /* has room for the minibatch */
    sg_status status = run->policy->methods->log_prob(run->policy, &run->minibatch, logp, error);
    if (status == SG_OK)
        log_likelihoods(run, logp, &o->log_likelihood_pos_after, &o->log_likelihood_neg_after);
    return status;
}
