/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/sampler.h"

#include "backend/sampler_math.h"
#include "core/vec.h"

sg_number_format sg_sampler_numbers(sg_sampler_format format)
{
    static const sg_number_format formats[] = {[SG_SAMPLER_FP32] = {24, -126, 0x1.fffffep127},
                                               [SG_SAMPLER_BF16] = {8, -126, 0x1.fep127},
                                               [SG_SAMPLER_FP16] = {11, -14, 65504}};
    return formats[format];
}

double sg_sampler_round(double x, sg_sampler_format format)
{
    return sg_round_to(x, sg_sampler_numbers(format));
}

static void add_noise(sg_sampler_row *row, double size, sg_address at)
{
    for (size_t i = 0; i < row->n; i += 2) {
        double normal[2];
        at.token = (uint32_t)(i / 2);
        sg_rng_normal_pair(at, normal);
        row->logits[i] += size * normal[0];
        if (i + 1 < row->n)
            row->logits[i + 1] += size * normal[1];
    }
}

static size_t likeliest(const sg_sampler_row *row)
{
    size_t best = 0;
    for (size_t i = 1; i < row->n; i++)
        best = row->logits[i] > row->logits[best] ? i : best;
    return best;
}

/* weight[i] = exp((z_i - peak) / temperature); returns their sum. */
static double weigh(const sg_sampler_row *row, double peak, double temperature, double *weight)
{
    double sum = 0;
    for (size_t i = 0; i < row->n; i++)
        weight[i] = sg_sampler_exponent(row->logits[i], peak, temperature);
    sg_vec_exp(row->n, weight, weight);
    for (size_t i = 0; i < row->n; i++)
        sum += weight[i];
    return sum;
}

/* The greatest logit, as its key, such that the tokens of at least this logit sum to `target` of
 * `mass` (NULL: each counts 1); *above is the sum of those that exceed it. A radix search, eleven
 * bits at a time from the top. */
static uint64_t least_kept(const sg_sampler_row *row, const double *mass, double target,
                           double *above)
{
    sg_sampler_search search = {0};
    for (int shift = SG_SAMPLER_TOP; shift >= 0; shift -= SG_SAMPLER_BITS) {
        double sum[SG_SAMPLER_BUCKETS] = {0};
        size_t lowest = SG_SAMPLER_BUCKETS - 1;
        for (size_t i = 0; i < row->n; i++) {
            uint64_t key = sg_sampler_key(row->logits[i]);
            size_t b = sg_sampler_bucket(key, shift);
            double m = mass != NULL ? mass[i] : 1;
            if ((key & search.known) != search.key || m == 0)
                continue;
            sum[b] += m;
            lowest = b < lowest ? b : lowest;
        }
        sg_sampler_descend(&search, shift, sum, lowest, target);
    }
    *above = search.above;
    return search.key;
}

/* Keeps the likeliest tokens until their weights, or their number, reach `target`; of equal ones the
 * first. The other weights become 0; returns the sum of those kept. */
static double truncate(const sg_sampler_row *row, bool by_number, double target)
{
    double *weight = row->cumulated, above, kept = 0;
    double left = -1; /* how many more tokens of exactly the least logit are kept */
    uint64_t least = least_kept(row, by_number ? NULL : weight, target, &above);
    for (size_t i = 0; i < row->n; i++) {
        uint64_t key = sg_sampler_key(row->logits[i]);
        bool last = key == least && weight[i] > 0;
        if (last && left < 0)
            left = sg_sampler_ties(target, above, by_number ? 1 : weight[i]);
        bool keep = key > least || (last && left > 0);
        left -= last && left > 0;
        weight[i] = keep ? weight[i] : 0;
        kept += weight[i];
    }
    return kept;
}

void sg_sampler_prepare(sg_sampler_row *row, const sg_sampler *sampler, sg_address noise)
{
    if (sampler->format != SG_SAMPLER_EXACT)
        for (size_t i = 0; i < row->n; i++)
            row->logits[i] = sg_sampler_round(row->logits[i], sampler->format);
    if (sampler->noise > 0)
        add_noise(row, sampler->noise, noise);
    size_t best = likeliest(row);
    double peak = row->logits[best];
    double total = weigh(row, peak, 1, row->cumulated);
    row->log_norm = sg_sampler_log_total(peak, 1, total);
    row->greedy = sampler->temperature == 0 ? (int32_t)best : -1;
    if (row->greedy >= 0)
        return;
    if (sampler->temperature != 1)
        total = weigh(row, peak, sampler->temperature, row->cumulated);
    if (sampler->top_k > 0 && sampler->top_k < row->n)
        total = truncate(row, true, (double)sampler->top_k);
    if (sampler->top_p < 1)
        total = truncate(row, false, sampler->top_p * total);
    row->log_total = sg_sampler_log_total(peak, sampler->temperature, total);
    for (size_t i = 1; i < row->n; i++)
        row->cumulated[i] += row->cumulated[i - 1];
}

int32_t sg_sampler_draw(const sg_sampler_row *row, const sg_sampler *sampler, double u,
                        double *log_prob)
{
    size_t low = 0, high = row->n - 1; /* the first token whose running sum exceeds the target */
    double target = u * row->cumulated[high];
    while (row->greedy < 0 && low < high) {
        size_t middle = low + (high - low) / 2;
        if (row->cumulated[middle] > target)
            high = middle;
        else
            low = middle + 1;
    }
    size_t token = row->greedy >= 0 ? (size_t)row->greedy : low;
    if (sampler->raw)
        *log_prob = row->logits[token] - row->log_norm;
    else
        *log_prob =
            row->greedy >= 0 ? 0 : row->logits[token] / sampler->temperature - row->log_total;
    return (int32_t)token;
}
