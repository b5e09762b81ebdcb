/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/stats.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_sort.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct sum {
    double high, low; /* the sum, and what rounding took from it */
};

static void add(struct sum *sum, double x)
{
    double total = sum->high + x;
    sum->low += fabs(sum->high) >= fabs(x) ? (sum->high - total) + x : (x - total) + sum->high;
    sum->high = total;
}

/* The correction of an infinite sum is NaN and means nothing. */
static double total_of(const struct sum *sum)
{
    return isfinite(sum->high) ? sum->high + sum->low : sum->high;
}

static void report(size_t *left_out, size_t count)
{
    if (left_out != NULL)
        *left_out = count;
}

double sg_stats_mean(const double *values, size_t count, size_t *left_out)
{
    struct sum sum = {0};
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i]))
            continue;
        add(&sum, values[i]);
        used++;
    }
    report(left_out, count - used);
    return used > 0 ? total_of(&sum) / (double)used : NAN;
}

double sg_stats_variance(const double *values, size_t count, size_t *left_out)
{
    size_t missing;
    double mean = sg_stats_mean(values, count, &missing);
    struct sum squares = {0};
    for (size_t i = 0; i < count; i++) {
        double deviation = values[i] - mean;
        if (!isnan(values[i]))
            add(&squares, deviation * deviation);
    }
    report(left_out, missing);
    size_t used = count - missing;
    return used > 1 ? total_of(&squares) / (double)(used - 1) : NAN;
}

/* Sorted copy of what is not NaN; *used of them. NULL when out of memory. */
static double *sorted_copy(const double *values, size_t count, size_t *used, sg_error *error)
{
    double *sorted = malloc((count + 1) * sizeof *sorted);
    if (sorted == NULL) {
        sg_fail(error, SG_ENOMEM, "not enough memory to sort %zu values", count);
        return NULL;
    }
    *used = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isnan(values[i]))
            sorted[(*used)++] = values[i];
    }
    gsl_sort(sorted, 1, *used);
    return sorted;
}

/* GSL's formula, but 0 * infinity is 0 here. */
static double interpolated(const double *sorted, size_t count, double level)
{
    if (count == 0)
        return NAN;
    double place = level * (double)(count - 1);
    size_t below = (size_t)place;
    double part = place - (double)below;
    if (part == 0 || below + 1 >= count || sorted[below] == sorted[below + 1])
        return sorted[below];
    return (1 - part) * sorted[below] + part * sorted[below + 1];
}

static double reached(const double *sorted, const double *weights, size_t count, double level)
{
    struct sum all = {0}, sum = {0};
    for (size_t i = 0; i < count; i++)
        add(&all, weights[i]);
    double target = level * total_of(&all), last = NAN;
    for (size_t i = 0; i < count; i++) {
        if (weights[i] == 0)
            continue;
        last = sorted[i];
        add(&sum, weights[i]);
        if (total_of(&sum) >= target)
            break;
    }
    return last;
}

/* Copies pairs without NaN to sorted and weights_sorted; false for a weight that is no weight. */
static bool sort_pairs(const double *values, const double *weights, size_t count, double *sorted,
                       double *weights_sorted, size_t *used)
{
    *used = 0;
    for (size_t i = 0; i < count; i++) {
        if (weights[i] < 0 || isinf(weights[i]))
            return false;
        if (isnan(values[i]) || isnan(weights[i]))
            continue;
        sorted[*used] = values[i];
        weights_sorted[(*used)++] = weights[i];
    }
    gsl_sort2(sorted, 1, weights_sorted, 1, *used);
    return true;
}

sg_status sg_stats_quantiles(const double *values, const double *weights, size_t count,
                             const double *levels, double *quantiles, size_t level_count,
                             size_t *left_out, sg_error *error)
{
    for (size_t i = 0; i < level_count; i++) {
        if (!(levels[i] >= 0 && levels[i] <= 1))
            return sg_fail(error, SG_EARGUMENT, "a quantile's level is %g; choose one in [0, 1]",
                           levels[i]);
    }
    size_t used = 0;
    if (weights == NULL) {
        double *sorted = sorted_copy(values, count, &used, error);
        if (sorted == NULL)
            return SG_ENOMEM;
        for (size_t i = 0; i < level_count; i++)
            quantiles[i] = interpolated(sorted, used, levels[i]);
        free(sorted);
    } else {
        double *pairs = calloc(2 * count + 1, sizeof *pairs);
        if (pairs == NULL)
            return sg_fail(error, SG_ENOMEM, "not enough memory to sort %zu values", count);
        if (!sort_pairs(values, weights, count, pairs, pairs + count, &used)) {
            free(pairs);
            return sg_fail(
                error, SG_EARGUMENT,
                "a weight of a quantile is negative or infinite; use finite weights >= 0");
        }
        for (size_t i = 0; i < level_count; i++)
            quantiles[i] = reached(pairs, pairs + count, used, levels[i]);
        free(pairs);
    }
    report(left_out, count - used);
    return SG_OK;
}

static double trimmed_mean(const double *sorted, size_t count)
{
    size_t cut = count / 4;
    return sg_stats_mean(sorted + cut, count - 2 * cut, NULL);
}

sg_status sg_stats_iqm(const double *values, size_t count, double *iqm, size_t *left_out,
                       sg_error *error)
{
    size_t used;
    double *sorted = sorted_copy(values, count, &used, error);
    if (sorted == NULL)
        return SG_ENOMEM;
    *iqm = trimmed_mean(sorted, used);
    report(left_out, count - used);
    free(sorted);
    return SG_OK;
}

sg_status sg_stats_cvar(const double *values, size_t count, double fraction, double *cvar,
                        size_t *left_out, sg_error *error)
{
    if (!(fraction > 0 && fraction <= 1))
        return sg_fail(error, SG_EARGUMENT, "the tail's share is %g; choose one in (0, 1]",
                       fraction);
    size_t used;
    double *sorted = sorted_copy(values, count, &used, error);
    if (sorted == NULL)
        return SG_ENOMEM;
    double size = fraction * (double)used;
    size_t whole = (size_t)size;
    struct sum sum = {0};
    for (size_t i = 0; i < whole; i++)
        add(&sum, sorted[i]);
    if (size > (double)whole)
        add(&sum, (size - (double)whole) * sorted[whole]);
    *cvar = used > 0 ? total_of(&sum) / size : NAN;
    report(left_out, count - used);
    free(sorted);
    return SG_OK;
}

void sg_stats_wilson(uint64_t successes, uint64_t trials, double level, double *low, double *high)
{
    *low = 0;
    *high = 1;
    if (trials == 0)
        return;
    double n = (double)trials, p = (double)successes / n;
    double z = gsl_cdf_ugaussian_Pinv(0.5 + level / 2), z2 = z * z;
    double middle = p + z2 / (2 * n), half = z * sqrt(p * (1 - p) / n + z2 / (4 * n * n));
    /* The ends of an extreme rate are exact, whatever the rounding. */
    if (successes > 0)
        *low = (middle - half) / (1 + z2 / n);
    if (successes < trials)
        *high = (middle + half) / (1 + z2 / n);
}

double sg_stats_mcnemar(uint64_t only_first, uint64_t only_second)
{
    uint64_t fewer = only_first < only_second ? only_first : only_second;
    unsigned pairs = (unsigned)(only_first + only_second);
    return fmin(1, 2 * gsl_cdf_binomial_P((unsigned)fewer, 0.5, pairs));
}

struct sample {
    const double *values;
    double *scratch;
};

static double resample_mean(const size_t *index, size_t count, void *context)
{
    struct sample *sample = context;
    for (size_t i = 0; i < count; i++)
        sample->scratch[i] = sample->values[index[i]];
    return sg_stats_mean(sample->scratch, count, NULL);
}

static double resample_iqm(const size_t *index, size_t count, void *context)
{
    struct sample *sample = context;
    for (size_t i = 0; i < count; i++)
        sample->scratch[i] = sample->values[index[i]];
    gsl_sort(sample->scratch, 1, count);
    return trimmed_mean(sample->scratch, count);
}

static sg_status sample_interval(const sg_bootstrap *how, sg_statistic *statistic,
                                 const double *values, size_t count, sg_interval *interval,
                                 sg_error *error)
{
    size_t used = 0;
    double *sorted = sorted_copy(values, count, &used, error);
    double *scratch = malloc((count + 1) * sizeof *scratch);
    sg_status status;
    if (sorted == NULL || scratch == NULL)
        status = sg_fail(error, SG_ENOMEM, "not enough memory to resample %zu values", count);
    else if (used == 0)
        status = sg_fail(error, SG_EDATA,
                         "there is no value to resample (%zu are NaN); check the runs", count);
    else
        status = sg_stats_bootstrap(how, &used, 1, statistic, &(struct sample){sorted, scratch},
                                    interval, error);
    if (status == SG_OK)
        interval->left_out = count - used;
    free(sorted);
    free(scratch);
    return status;
}

sg_status sg_stats_mean_interval(const sg_bootstrap *how, const double *values, size_t count,
                                 sg_interval *interval, sg_error *error)
{
    return sample_interval(how, resample_mean, values, count, interval, error);
}

sg_status sg_stats_iqm_interval(const sg_bootstrap *how, const double *values, size_t count,
                                sg_interval *interval, sg_error *error)
{
    return sample_interval(how, resample_iqm, values, count, interval, error);
}
