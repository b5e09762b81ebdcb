/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SYNTHETIC_H
#define SG_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "objective/batch.h"

/* A made-up batch with the shape of a real mildly off-policy one: log-ratios peaked at 0 with heavy
 * tails, and a scale that differs from response to response. For figures, benchmarks and tests; it
 * is no model of any run.
 *
 *     v_i  = log-normal with the given mode and spread               variance of response i
 *     x_it = Laplace of variance 1 in a mixture of two widths:
 *            a share `outliers` of the tokens holds 90 % of it
 *     d_it = sqrt(v_i) x_it - v_i / 2                                 so that E[r] is close to 1
 *     A_i  = +1 or -1, equally likely, the same for all tokens of the response
 *
 * The first `extremes` tokens of every response are replaced by ratios around 2.5: a normal
 * log-ratio with mean ln 2.5 and standard deviation 0.1.
 *
 * Draws come from the counter-based generator (stream SYNTHETIC), so response i, token t is the
 * same whatever the sizes and the number of threads. */
typedef struct sg_synthetic_config {
    uint64_t seed;
    size_t responses;     /* >= 1, < 2^24 */
    size_t tokens;        /* per response, >= 1, < 2^32 */
    double variance_mode; /* of v_i; > 0 */
    double spread;        /* standard deviation of ln v_i; >= 0 */
    double outliers;      /* in (0, 1) */
    size_t extremes;      /* tokens per response with a ratio around 2.5; <= tokens */
} sg_synthetic_config;

/* 256 responses of 4096 tokens, variance mode 2e-4, spread 0.5, outliers 0.03, no
 * extremes, seed 1. */
sg_synthetic_config sg_synthetic_default(void);

/* SG_EARGUMENT for values out of range. */
sg_status sg_synthetic_check(const sg_synthetic_config *config, sg_error *error);

/* The log-ratios of response i, `config->tokens` of them, and its advantage, which may be NULL. The
 * configuration must have passed sg_synthetic_check. Thread-safe. */
void sg_synthetic_response(const sg_synthetic_config *config, size_t i, double *log_ratio,
                           double *advantage);

/* SG_EARGUMENT for values out of range; SG_ENOMEM. Free with sg_batch_free. O(tokens). */
sg_status sg_synthetic_batch(sg_batch **batch, const sg_synthetic_config *config, sg_error *error);

#endif
