/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_DISPERSION_H
#define SG_DISPERSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "core/table.h"
#include "objective/sequence.h"
#include "sim/synthetic.h"

/* How far the tokens of a response are from one common ratio: the two assumptions under which SAPO
 * is a smooth GSPO (arXiv 2511.20347, A1 and A2), checked over many responses. Statistics are
 * streamed: a response is looked at once and forgotten, except for a bounded sample.
 *
 * Counts are whole numbers and the sample is chosen by the number of the response, so the result
 * depends neither on the order of the responses nor on how they are shared among threads. */

/* Where the values are not known beforehand, bins widen by merging pairs whenever a value lies
 * outside: upward from `low`, or both ways from the middle. Their final width is a matter of the
 * values alone, not of their order. A value further than 1024 away does not widen them. */
typedef enum sg_bins_growth { SG_BINS_FIXED, SG_BINS_UPWARD, SG_BINS_BOTH } sg_bins_growth;

typedef struct sg_bins {
    double low, high; /* low < high; a value x is counted in bin (x - low) / width, high outside */
    size_t count;     /* >= 1; even when they grow */
    sg_bins_growth growth;
} sg_bins;

typedef struct sg_dispersion_options {
    double tau; /* > 0 */
    sg_bins ratio, variance;
    /* Of responses 0 .. responses - 1, every stride-th is kept, where the stride is the smallest
     * with which at most `sample` are. */
    size_t responses, sample; /* sample >= 1 */
} sg_dispersion_options;

typedef struct sg_dispersion {
    sg_dispersion_options options;            /* with the bins as they have become */
    uint64_t responses, tokens;               /* seen */
    uint64_t ratio_outside, variance_outside; /* of the bins */
    uint64_t above, above_true; /* responses with D, D_true above the bound by more than rounding */
    double largest_variance, largest_deviation, largest_deviation_true; /* 0 when none was seen */
    uint64_t *ratio_count, *variance_count;                             /* by bin */
    size_t stride, kept;
    sg_sequence_gate *rows; /* `kept` responses, number k * stride at k; NaN when not seen */
} sg_dispersion;

/* SG_EARGUMENT for options out of range, SG_ENOMEM. */
sg_status sg_dispersion_init(sg_dispersion *dispersion, const sg_dispersion_options *options,
                             sg_error *error);
void sg_dispersion_free(sg_dispersion *dispersion);

/* Response `number` with n >= 1 finite log-ratios. By hand: ratios 1.02, 1.01, 0.99 and 2.5 at tau
 * 1 have variance 0.155290, D 0.032391 below the bound 0.038822, and D_true 0.087326 above it, so
 * `above` stays and `above_true` grows by one. Not thread-safe: one dispersion per thread. */
void sg_dispersion_add(sg_dispersion *dispersion, size_t number, const double *log_ratio, size_t n);
/* The same at a temperature of its own. */
void sg_dispersion_add_at(sg_dispersion *dispersion, size_t number, double tau,
                          const double *log_ratio, size_t n);

/* Adds what another dispersion, begun with equal options, has seen of other responses. */
void sg_dispersion_merge(sg_dispersion *into, const sg_dispersion *from);

/* As bytes, for a checkpoint: how many there are; `to` NULL only counts them. Loaded into one that was begun with equal
 * options; false when the bytes are not of such a one, which is then as it was. */
size_t sg_dispersion_save(const sg_dispersion *dispersion, void *to);
bool sg_dispersion_load(sg_dispersion *dispersion, const void *from, size_t size);

/* All responses of a synthetic batch, none stored; options.responses is set from it. `threads` 0:
 * one per core. On failure *dispersion is empty. O(tokens). */
sg_status sg_dispersion_synthetic(sg_dispersion *dispersion, const sg_dispersion_options *options,
                                  const sg_synthetic_config *config, int threads, sg_error *error);

/* A new table: quantity (text: ratio or variance), low, high (of the bin) and count. */
sg_status sg_dispersion_histogram(const sg_dispersion *dispersion, sg_table **table,
                                  sg_error *error);

/* For runs, where nothing is known beforehand: bins around ratio 1 and above variance 0 that begin
 * at widths of 2^-24 and 2^-40 and grow. */
sg_dispersion_options sg_dispersion_growing(size_t responses, size_t sample);

/* As rows of a table with the columns objective and params (texts), quantity (ratio, variance,
 * above_bound, above_bound_real_gate, response), low, high, count, variance, deviation,
 * deviation_true, bound: the bins that are not empty, the two counts, and the sample. `table` may be
 * empty at first. */
sg_status sg_dispersion_append(const sg_dispersion *dispersion, const char *objective,
                               const char *params, sg_table *table, sg_error *error);

enum { SG_DISPERSION_LABEL = 112 };

/* Back from the rows of the first objective of such a table, its name in label,
 * with bins for a picture: at most `count` each, over all but the outermost thousandth of the
 * tokens on either side and of the responses above. Every row of the sample is kept; options.tau is
 * the largest temperature among them. SG_EDATA when
 * the table is no such table or is empty. */
sg_status sg_dispersion_read(sg_dispersion *dispersion, const sg_table *table, size_t count,
                             char label[SG_DISPERSION_LABEL], sg_error *error);

/* Middle of the fullest bin of the variances, the first of equals. */
double sg_dispersion_variance_mode(const sg_dispersion *dispersion);

#endif
