/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SAMPLER_H
#define SG_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/round_math.h"
#include "core/rng.h"

/* How an inference engine distorts the policy that it samples from. The trainer's logits z become
 *     z' = round(z) + noise * normal,   mu = top_p(top_k(softmax(z' / temperature))),
 * where round() is to the nearest number of a format (ties to even, saturating), top_k keeps so many
 * of the likeliest tokens, and top_p the likeliest of those, renormalised, until their mass reaches
 * top_p (ties: the smaller token first). What remains is renormalised. Engines apply them in this
 * order too.
 *
 * By hand: z = log(0.5, 0.3, 0.2), temperature 1/2: softmax of log(0.25, 0.09, 0.04), that is
 * 0.6579, 0.2368, 0.1053; with top_p = 0.7, or with top_k = 2, the first two remain: 0.7353, 0.2647;
 * with both the first alone.
 * bf16 has 8 significant bits: -2.7182 becomes -2.71875. */
typedef enum sg_sampler_format {
    SG_SAMPLER_EXACT, /* the trainer's own numbers */
    SG_SAMPLER_FP32,
    SG_SAMPLER_BF16,
    SG_SAMPLER_FP16,
} sg_sampler_format;

typedef struct sg_sampler {
    double temperature; /* >= 0; 0 takes the likeliest token (in a tie the smallest) */
    double top_p;       /* in (0, 1]; 1 keeps all */
    uint32_t top_k;     /* 0 keeps all */
    double noise;       /* standard deviation, >= 0 */
    sg_sampler_format format;
    bool raw; /* report log softmax(z') instead of log mu */
} sg_sampler;

static inline bool sg_sampler_is_plain(const sg_sampler *s)
{
    return s->temperature == 1 && s->top_p == 1 && s->top_k == 0 && s->noise == 0 &&
           s->format == SG_SAMPLER_EXACT;
}

#define SG_SAMPLER_PLAIN ((sg_sampler){.temperature = 1, .top_p = 1})

/* One state as the sampler sees it: room for n tokens, from the caller. */
typedef struct sg_sampler_row {
    size_t n;
    double *logits;    /* [n]: the trainer's when it is prepared, then z' */
    double *cumulated; /* [n]: running sums of weights */
    double log_norm;   /* of z' */
    double log_total;  /* of z' / temperature over the tokens that are kept */
    int32_t greedy;    /* the likeliest token, or -1 when tokens are drawn */
} sg_sampler_row;

/* `noise` is the address of the state's normals; its token is filled in. O(n). */
void sg_sampler_prepare(sg_sampler_row *row, const sg_sampler *sampler, sg_address noise);

/* The token at uniform u in (0, 1), by inverse CDF in token order, and its log-probability. */
int32_t sg_sampler_draw(const sg_sampler_row *row, const sg_sampler *sampler, double u,
                        double *log_prob);

/* x in a format, as a double. */
double sg_sampler_round(double x, sg_sampler_format format);
sg_number_format sg_sampler_numbers(sg_sampler_format format);

#endif
