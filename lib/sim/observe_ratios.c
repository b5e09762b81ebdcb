/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The ratios pi_new/pi_old of a minibatch: of all tokens, by the sign of the advantage, and what
 * the gate makes of them. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "sim/run.h"

/* GRPO's customary eps_low: below it a hard clip stops pushing a token with A < 0 down. */
static const double LOW_RATIO = 0.8;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between order statistics (numpy's default); NaN of nothing. */
static double quantile(const double *sorted, size_t n, double p)
{
    if (n == 0)
        return NAN;
    double place = p * (double)(n - 1);
    size_t below = (size_t)place;
    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

typedef struct spread {
    double min, mean, max, q01, q50, q99;
} spread;

/* Sorts the ratios. */
static spread spread_of(double *ratio, size_t n, double sum)
{
    qsort(ratio, n, sizeof *ratio, by_value);
    return (spread){.min = quantile(ratio, n, 0),
                    .mean = n > 0 ? sum / (double)n : NAN,
                    .max = quantile(ratio, n, 1),
                    .q01 = quantile(ratio, n, 0.01),
                    .q50 = quantile(ratio, n, 0.50),
                    .q99 = quantile(ratio, n, 0.99)};
}

/* Tokens whose advantage has one sign. */
typedef struct side {
    double count, ratio, weight;
} side;

static void add(side *s, double ratio, double weight)
{
    s->count++;
    s->ratio += ratio;
    s->weight += weight;
}

static double share(double part, double whole)
{
    return whole > 0 ? part / whole : NAN;
}

/* Leaves the ratios in run->sorted: those of A > 0 from the front on, of A < 0 up to the end, and
 * the others between them. Returns how many there are. */
static size_t gather(sg_run *run, side sides[2], sg_observables *o)
{
    const sg_batch *batch = run->batch;
    size_t n = 0, front = 0, middle = 0, back;
    double squares = 0, sum = 0, distance = 0, far = 0, farther = 0, above = 0, below = 0;
    side low = {0};
    for (size_t i = 0; i < batch->tokens; i++) {
        n += batch->mask[i];
        middle += batch->mask[i] && batch->advantage[i] > 0;
    }
    back = n;
    for (size_t i = 0; i < batch->tokens; i++) {
        if (!batch->mask[i])
            continue;
        double advantage = batch->advantage[i], weight = run->replay[i].weight;
        double ratio = exp(batch->logp_new[i] - batch->logp_old[i]);
        run->sorted[advantage > 0 ? front++ : advantage < 0 ? --back : middle++] = ratio;
        sum += ratio;
        squares += ratio * ratio;
        distance += (ratio - 1) * (ratio - 1);
        far += ratio > 2 || ratio < 0.5;
        if (advantage == 0)
            continue;
        add(&sides[advantage < 0], ratio, weight);
        farther += advantage < 0 && ratio > 3;
        if (advantage < 0 && ratio < LOW_RATIO)
            add(&low, ratio, weight);
        if (run->replay[i].coefficient == 0) {
            /* gmpo clips tokens one by one, though its weight is the response's */
            bool own = run->objective.gate == SG_GATE_GMPO;
            double seen = own ? ratio : run->replay[i].ratio;
            above += seen > 1;
            below += seen < 1;
        }
    }
    o->ratio_mean = sum / (double)n;
    o->ess = sum * sum / ((double)n * squares);
    o->chi2 = distance / (double)n;
    o->ratio_beyond_2 = far / (double)n;
    o->ratio_beyond_3_neg = farther / (double)n;
    o->clipped_above = above / (double)n;
    o->clipped_below = below / (double)n;
    o->low_ratio_share_neg = share(low.count, sides[1].count);
    o->low_ratio_weight_neg = share(low.weight, low.count);
    return n;
}

void sg_run_observe_ratios(sg_run *run, const sg_replay_summary *summary, sg_observables *o)
{
    side sides[2] = {{0}}; /* A > 0, A < 0 */
    size_t n = gather(run, sides, o);
    spread positive = spread_of(run->sorted, (size_t)sides[0].count, sides[0].ratio);
    spread negative =
        spread_of(run->sorted + n - (size_t)sides[1].count, (size_t)sides[1].count, sides[1].ratio);
    spread all = spread_of(run->sorted, n, 0);
    o->ratio_min = all.min;
    o->ratio_max = all.max;
    o->ratio_q01 = all.q01;
    o->ratio_q50 = all.q50;
    o->ratio_q99 = all.q99;
    o->ratio_min_pos = positive.min;
    o->ratio_mean_pos = positive.mean;
    o->ratio_max_pos = positive.max;
    o->ratio_q01_pos = positive.q01;
    o->ratio_q50_pos = positive.q50;
    o->ratio_q99_pos = positive.q99;
    o->ratio_min_neg = negative.min;
    o->ratio_mean_neg = negative.mean;
    o->ratio_max_neg = negative.max;
    o->ratio_q01_neg = negative.q01;
    o->ratio_q50_neg = negative.q50;
    o->ratio_q99_neg = negative.q99;
    o->eur_pos = share(sides[0].weight, sides[0].count);
    o->eur_neg = share(sides[1].weight, sides[1].count);
    o->kl_rollout = summary->kl_k3;
    o->effective_update_ratio = summary->effective_update_ratio;
    o->clipped_fraction = summary->clipped_fraction;
    o->clipped_fraction_pos = sides[0].count > 0 ? summary->clipped_fraction_pos : NAN;
    o->clipped_fraction_neg = sides[1].count > 0 ? summary->clipped_fraction_neg : NAN;
}
