/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_STATS_H
#define SG_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/table.h"

/* Statistics over runs, seeds and tokens.
 *
 * NaN policy: a NaN is a value that was not measured. Every function leaves NaN out and says in
 * *left_out (which may be NULL) how many it left out; infinities are values. Over nothing, a
 * statistic is NaN. Nothing here is global, so all of it is thread-safe, and every sum has a fixed
 * order. Functions that need a sorted copy can fail with SG_ENOMEM; those that cannot return the
 * number itself. */

/* Arithmetic mean with a compensated sum (Neumaier 1974): the error does not grow with `count`.
 * {1e16, 1, -1e16} gives 1/3. */
double sg_stats_mean(const double *values, size_t count, size_t *left_out);

/* Sample variance, divisor n - 1; NaN for n < 2. {1, 2, 3, 4} gives 5/3. */
double sg_stats_variance(const double *values, size_t count, size_t *left_out);

/* Quantiles at `levels` in [0, 1], any number and order of them.
 * weights NULL: linear interpolation between the order statistics around (n - 1) * level, as
 * gsl_stats_quantile_from_sorted_data and numpy.quantile do. {1, 2, 4} at 0.75 gives 3.
 * Else the inverse of the weighted distribution function: the smallest value of positive weight at
 * which the weights reach level * total, without interpolation. Weights are finite and not
 * negative; a NaN weight leaves its value out. {1, 2, 4} with weights {1, 1, 2} at 0.5 gives 2. O(n
 * log n). SG_EARGUMENT for other levels and weights. */
sg_status sg_stats_quantiles(const double *values, const double *weights, size_t count,
                             const double *levels, double *quantiles, size_t level_count,
                             size_t *left_out, sg_error *error);

/* Interquartile mean: floor(n/4) values are cut from either end, the rest is averaged. No
 * fractional weights: this is scipy.stats.trim_mean(x, 0.25), hence the IQM of rliable (Agarwal et
 * al. 2021, arXiv:2108.13264). {0, 1, 2, 3, 100} gives 2. */
sg_status sg_stats_iqm(const double *values, size_t count, double *iqm, size_t *left_out,
                       sg_error *error);

/* Conditional value at risk, lower tail: mean of the worst (smallest) share `fraction` in (0, 1] of
 * the values; the value on the edge counts for its part (Rockafellar and Uryasev 2000).
 * {1, 2, 3, 4, 5} with 0.3: (1 + 2/2) / 1.5 = 4/3. */
sg_status sg_stats_cvar(const double *values, size_t count, double fraction, double *cvar,
                        size_t *left_out, sg_error *error);

/* Wilson's score interval of a rate, for example level 0.95. No trials: [0, 1].
 * 0 of 16 gives [0, 0.194], 13 of 64 gives [0.1227, 0.3171]. */
void sg_stats_wilson(uint64_t successes, uint64_t trials, double level, double *low, double *high);

/* McNemar's exact test of two paired rates: the two-sided probability of a split of the discordant
 * pairs at least this uneven when either kind is equally likely. 1 when there are none.
 * (0, 5) gives 2 / 32 = 0.0625. */
double sg_stats_mcnemar(uint64_t only_first, uint64_t only_second);

typedef struct sg_interval {
    double estimate, low, high;
    size_t left_out;
} sg_interval;

typedef struct sg_bootstrap {
    uint64_t seed;
    size_t resamples; /* 10,000 for a look, 50,000 for a claim; below 2^32 */
    double level;     /* of the interval, 0.95 for example */
} sg_bootstrap;

/* A statistic of the units index[0..count-1], for example the mean of data[index[i]]. It may look
 * up several arms for each unit: with units that are seeds, arms stay paired. */
typedef double sg_statistic(const size_t *index, size_t count, void *context);

/* Stratified percentile bootstrap. Units are numbered stratum after stratum; sizes[s] of them
 * belong to stratum s, and a resample draws, with replacement, sizes[s] units of each. One stratum
 * is the plain bootstrap; for runs x tasks a task is a stratum (rliable). The estimate is the
 * statistic of all units, the ends are quantiles of the statistics of the resamples; left_out
 * counts resamples whose statistic is NaN. Random numbers: stream SG_STREAM_BOOTSTRAP, step =
 * resample, sample = place in the resample, so equal seeds give equal intervals, and arms share
 * their resamples. SG_EARGUMENT for an empty stratum, no resamples, or a level outside (0, 1). */
sg_status sg_stats_bootstrap(const sg_bootstrap *how, const size_t *sizes, size_t strata,
                             sg_statistic *statistic, void *context, sg_interval *interval,
                             sg_error *error);

/* Mean or interquartile mean of one sample with its bootstrap interval; left_out counts the NaN
 * values. For paired arms pass the differences. SG_EDATA when no value is left. */
sg_status sg_stats_mean_interval(const sg_bootstrap *how, const double *values, size_t count,
                                 sg_interval *interval, sg_error *error);
sg_status sg_stats_iqm_interval(const sg_bootstrap *how, const double *values, size_t count,
                                sg_interval *interval, sg_error *error);

/* Kaplan-Meier estimate (1958) of P(T > t) from times >= 0; a censored run was still alive at its
 * time. Events come before censorings of the same time. One row at time 0, then one for each
 * distinct time: time, at_risk, events, censored, survival, low, high. The interval is pointwise,
 * by Greenwood's variance on the log(-log) scale, so it stays in [0, 1]; NaN where the survival is
 * 0. Times 1, 2, 2+ (+ censored), 3 give the survivals 3/4, 1/2, 0. */
sg_status sg_stats_survival(const double *times, const bool *censored, size_t count, double level,
                            sg_table **curve, size_t *left_out, sg_error *error);

#endif
