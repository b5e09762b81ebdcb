/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/dispersion.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

static bool usable(sg_bins bins)
{
    return isfinite(bins.low) && isfinite(bins.high) && bins.low < bins.high && bins.count >= 1 &&
           (bins.growth == SG_BINS_FIXED || bins.count % 2 == 0);
}

sg_status sg_dispersion_init(sg_dispersion *dispersion, const sg_dispersion_options *options,
                             sg_error *error)
{
    *dispersion = (sg_dispersion){.options = *options};
    if (!(options->tau > 0) || !isfinite(options->tau) || !usable(options->ratio) ||
        !usable(options->variance) || options->sample < 1)
        return sg_fail(error, SG_EARGUMENT,
                       "row statistics need tau > 0, bins with low < high, and a sample of at "
                       "least one response");
    size_t n = options->responses;
    dispersion->stride = n > options->sample ? (n + options->sample - 1) / options->sample : 1;
    dispersion->kept = (n + dispersion->stride - 1) / dispersion->stride;
    dispersion->ratio_count = calloc(options->ratio.count, sizeof(uint64_t));
    dispersion->variance_count = calloc(options->variance.count, sizeof(uint64_t));
    dispersion->rows = malloc((dispersion->kept + 1) * sizeof *dispersion->rows);
    if (dispersion->ratio_count == NULL || dispersion->variance_count == NULL ||
        dispersion->rows == NULL) {
        sg_dispersion_free(dispersion);
        return sg_fail(error, SG_ENOMEM, "not enough memory for row statistics");
    }
    for (size_t k = 0; k < dispersion->kept; k++)
        dispersion->rows[k] = (sg_sequence_gate){NAN, NAN, NAN, NAN, NAN};
    return SG_OK;
}

void sg_dispersion_free(sg_dispersion *dispersion)
{
    free(dispersion->ratio_count);
    free(dispersion->variance_count);
    free(dispersion->rows);
    *dispersion = (sg_dispersion){.responses = 0};
}

/* Bin of bin b after its neighbours have been merged in pairs `times` times. */
static size_t merged(sg_bins bins, size_t b, int times)
{
    size_t middle = bins.growth == SG_BINS_BOTH ? bins.count / 2 : 0;
    for (; times > 0; times--) /* half the distance to the middle, rounded down on both sides */
        b = b >= middle ? middle + (b - middle) / 2 : middle - (middle - b + 1) / 2;
    return b;
}

/* Bins of twice the width. */
static void widen(uint64_t *counts, sg_bins *bins)
{
    size_t middle = bins->growth == SG_BINS_BOTH ? bins->count / 2 : 0;
    for (size_t b = middle; b < bins->count; b++) { /* from the middle outwards, in place */
        uint64_t n = counts[b];
        counts[b] = 0;
        counts[merged(*bins, b, 1)] += n;
    }
    for (size_t b = middle; b-- > 0;) {
        uint64_t n = counts[b];
        counts[b] = 0;
        counts[merged(*bins, b, 1)] += n;
    }
    double span = bins->high - bins->low;
    bins->high += bins->growth == SG_BINS_BOTH ? span / 2 : span;
    bins->low -= bins->growth == SG_BINS_BOTH ? span / 2 : 0;
}

static const double FARTHEST = 1024;

static void count(uint64_t *counts, sg_bins *bins, double x, uint64_t *outside)
{
    double centre = bins->growth == SG_BINS_BOTH ? (bins->low + bins->high) / 2 : bins->low;
    bool reachable = bins->growth != SG_BINS_FIXED && fabs(x - centre) < FARTHEST &&
                     (x >= bins->low || bins->growth == SG_BINS_BOTH);
    while (reachable && !(x >= bins->low && x < bins->high))
        widen(counts, bins);
    double place = (x - bins->low) * ((double)bins->count / (bins->high - bins->low));
    if (place >= 0 && place < (double)bins->count)
        counts[(size_t)place]++;
    else
        ++*outside;
}

void sg_dispersion_add(sg_dispersion *d, size_t number, const double *log_ratio, size_t n)
{
    sg_dispersion_add_at(d, number, d->options.tau, log_ratio, n);
}

void sg_dispersion_add_at(sg_dispersion *d, size_t number, double tau, const double *log_ratio,
                          size_t n)
{
    sg_sequence_gate row = sg_sequence_gate_of(log_ratio, n, tau);
    for (size_t t = 0; t < n; t++)
        count(d->ratio_count, &d->options.ratio, exp(log_ratio[t]), &d->ratio_outside);
    count(d->variance_count, &d->options.variance, row.variance, &d->variance_outside);
    d->responses++;
    d->tokens += n;
    d->above += sg_sequence_gate_exceeds(&row, row.deviation);
    d->above_true += sg_sequence_gate_exceeds(&row, row.deviation_true);
    d->largest_variance = fmax(d->largest_variance, row.variance);
    d->largest_deviation = fmax(d->largest_deviation, row.deviation);
    d->largest_deviation_true = fmax(d->largest_deviation_true, row.deviation_true);
    if (number % d->stride == 0 && number / d->stride < d->kept)
        d->rows[number / d->stride] = row;
}

static void merge_counts(uint64_t *into, sg_bins *bins, const uint64_t *from, sg_bins narrow)
{
    int times = 0;
    while (bins->high - bins->low < narrow.high - narrow.low)
        widen(into, bins);
    for (double span = narrow.high - narrow.low; span < bins->high - bins->low; span *= 2)
        times++;
    for (size_t b = 0; b < narrow.count; b++)
        into[merged(narrow, b, times)] += from[b];
}

void sg_dispersion_merge(sg_dispersion *into, const sg_dispersion *from)
{
    merge_counts(into->ratio_count, &into->options.ratio, from->ratio_count, from->options.ratio);
    merge_counts(into->variance_count, &into->options.variance, from->variance_count,
                 from->options.variance);
    for (size_t k = 0; k < into->kept; k++)
        if (!isnan(from->rows[k].variance))
            into->rows[k] = from->rows[k];
    into->responses += from->responses;
    into->tokens += from->tokens;
    into->ratio_outside += from->ratio_outside;
    into->variance_outside += from->variance_outside;
    into->above += from->above;
    into->above_true += from->above_true;
    into->largest_variance = fmax(into->largest_variance, from->largest_variance);
    into->largest_deviation = fmax(into->largest_deviation, from->largest_deviation);
    into->largest_deviation_true = fmax(into->largest_deviation_true, from->largest_deviation_true);
}

/* What a dispersion has seen, but for its counts and its sample, which follow. */
typedef struct seen {
    sg_bins ratio, variance;
    uint64_t responses, tokens, ratio_outside, variance_outside, above, above_true, kept;
    double largest_variance, largest_deviation, largest_deviation_true;
} seen;

static size_t bytes_of(const sg_dispersion *d)
{
    return sizeof(seen) + (d->options.ratio.count + d->options.variance.count) * sizeof(uint64_t) +
           d->kept * sizeof *d->rows;
}

size_t sg_dispersion_save(const sg_dispersion *d, void *to)
{
    seen now;
    memset(&now, 0, sizeof now); /* padding too: equal states are equal bytes */
    now.ratio = d->options.ratio;
    now.variance = d->options.variance;
    now.responses = d->responses;
    now.tokens = d->tokens;
    now.ratio_outside = d->ratio_outside;
    now.variance_outside = d->variance_outside;
    now.above = d->above;
    now.above_true = d->above_true;
    now.kept = d->kept;
    now.largest_variance = d->largest_variance;
    now.largest_deviation = d->largest_deviation;
    now.largest_deviation_true = d->largest_deviation_true;
    char *at = to;
    if (to == NULL)
        return bytes_of(d);
    size_t ratios = d->options.ratio.count * sizeof *d->ratio_count,
           variances = d->options.variance.count * sizeof *d->variance_count;
    memcpy(at, &now, sizeof now);
    memcpy(at + sizeof now, d->ratio_count, ratios);
    memcpy(at + sizeof now + ratios, d->variance_count, variances);
    memcpy(at + sizeof now + ratios + variances, d->rows, d->kept * sizeof *d->rows);
    return bytes_of(d);
}

bool sg_dispersion_load(sg_dispersion *d, const void *from, size_t size)
{
    seen then;
    const char *at = from;
    if (size != bytes_of(d))
        return false;
    memcpy(&then, at, sizeof then);
    if (then.ratio.count != d->options.ratio.count || !usable(then.ratio) || then.kept != d->kept ||
        then.variance.count != d->options.variance.count || !usable(then.variance) ||
        then.ratio.growth != d->options.ratio.growth ||
        then.variance.growth != d->options.variance.growth)
        return false;
    d->options.ratio = then.ratio;
    d->options.variance = then.variance;
    d->responses = then.responses;
    d->tokens = then.tokens;
    d->ratio_outside = then.ratio_outside;
    d->variance_outside = then.variance_outside;
    d->above = then.above;
    d->above_true = then.above_true;
    d->largest_variance = then.largest_variance;
    d->largest_deviation = then.largest_deviation;
    d->largest_deviation_true = then.largest_deviation_true;
    size_t ratios = d->options.ratio.count * sizeof *d->ratio_count,
           variances = d->options.variance.count * sizeof *d->variance_count;
    memcpy(d->ratio_count, at + sizeof then, ratios);
    memcpy(d->variance_count, at + sizeof then + ratios, variances);
    memcpy(d->rows, at + sizeof then + ratios + variances, d->kept * sizeof *d->rows);
    return true;
}

static int thread_count(int asked)
{
#ifdef _OPENMP
    return asked > 0 ? asked : omp_get_max_threads();
#else
    (void)asked;
    return 1;
#endif
}

sg_status sg_dispersion_synthetic(sg_dispersion *dispersion, const sg_dispersion_options *options,
                                  const sg_synthetic_config *config, int threads, sg_error *error)
{
    sg_dispersion_options all = *options;
    all.responses = config->responses;
    *dispersion = (sg_dispersion){.responses = 0};
    sg_status status = sg_synthetic_check(config, error);
    if (status == SG_OK)
        status = sg_dispersion_init(dispersion, &all, error);
    if (status != SG_OK)
        return status;
    bool failed = false;
    int team = thread_count(threads);
    (void)team; /* without OpenMP */
#pragma omp parallel num_threads(team)
    {
        sg_dispersion own;
        sg_error ignored; /* only memory can fail here */
        double *row = malloc(config->tokens * sizeof *row);
        bool ready = sg_dispersion_init(&own, &all, &ignored) == SG_OK && row != NULL;
#pragma omp for schedule(dynamic, 64)
        for (size_t i = 0; i < config->responses; i++) {
            if (!ready)
                continue;
            sg_synthetic_response(config, i, row, NULL);
            sg_dispersion_add(&own, i, row, config->tokens);
        }
#pragma omp critical
        {
            if (ready)
                sg_dispersion_merge(dispersion, &own);
            failed = failed || !ready;
        }
        sg_dispersion_free(&own);
        free(row);
    }
    if (!failed)
        return SG_OK;
    sg_dispersion_free(dispersion);
    return sg_fail(error, SG_ENOMEM, "not enough memory for a response of %zu tokens",
                   config->tokens);
}

static sg_status append(sg_table *table, const char *quantity, sg_bins bins, const uint64_t *counts,
                        sg_error *error)
{
    size_t first = sg_table_rows(table);
    sg_status status = sg_table_add_rows(table, bins.count, error);
    double width = (bins.high - bins.low) / (double)bins.count;
    for (size_t b = 0; b < bins.count && status == SG_OK; b++) {
        status = sg_table_set_text(table, 0, first + b, quantity, error);
        sg_table_set_real(table, 1, first + b, bins.low + width * (double)b);
        sg_table_set_real(table, 2, first + b, bins.low + width * (double)(b + 1));
        sg_table_set_integer(table, 3, first + b, (int64_t)counts[b]);
    }
    return status;
}

sg_status sg_dispersion_histogram(const sg_dispersion *d, sg_table **table, sg_error *error)
{
    static const struct {
        const char *name;
        sg_column_type type;
    } columns[] = {{"quantity", SG_COLUMN_TEXT},
                   {"low", SG_COLUMN_REAL},
                   {"high", SG_COLUMN_REAL},
                   {"count", SG_COLUMN_INTEGER}};
    sg_table *t = sg_table_alloc();
    sg_status status = t != NULL ? SG_OK : sg_fail(error, SG_ENOMEM, "not enough memory");
    for (size_t c = 0; c < 4 && status == SG_OK; c++)
        status = sg_table_add_column(t, columns[c].name, columns[c].type, error);
    if (status == SG_OK)
        status = append(t, "ratio", d->options.ratio, d->ratio_count, error);
    if (status == SG_OK)
        status = append(t, "variance", d->options.variance, d->variance_count, error);
    if (status != SG_OK) {
        sg_table_free(t);
        t = NULL;
    }
    *table = t;
    return status;
}

double sg_dispersion_variance_mode(const sg_dispersion *d)
{
    sg_bins bins = d->options.variance;
    size_t best = 0;
    for (size_t b = 1; b < bins.count; b++)
        best = d->variance_count[b] > d->variance_count[best] ? b : best;
    return bins.low + (bins.high - bins.low) * ((double)best + 0.5) / (double)bins.count;
}
