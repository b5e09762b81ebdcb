/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_SAMPLER_MATH_H
#define SG_SAMPLER_MATH_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/round_math.h"
#include "core/vec_math.h"

/* What the CPU's sampler (policy/sampler.h) and a device's have in common, so that they draw the same tokens. Sums over
 * a row are made one token after the other. */
typedef struct sg_row_sampler {
    double temperature, top_p;
    uint32_t top_k;
    sg_number_format format;
    bool raw;
} sg_row_sampler;

/* Weights are exp of this. */
SG_HD static inline double sg_sampler_exponent(double z, double peak, double temperature)
{
    return (z - peak) / temperature;
}

/* log sum exp(z / temperature). */
SG_HD static inline double sg_sampler_log_total(double peak, double temperature, double total)
{
    return peak / temperature + sg_log(total);
}

/* Numbers in the order of their values. */
SG_HD static inline uint64_t sg_sampler_key(double x)
{
    uint64_t bits = sg_bits_of_double(x + 0.0); /* -0 is 0 */
    return bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

/* The least logit that is kept is found by its key, so many bits at a time from the top. */
enum { SG_SAMPLER_BITS = 11, SG_SAMPLER_BUCKETS = 1 << SG_SAMPLER_BITS, SG_SAMPLER_TOP = 55 };

/* What is known of that key. */
typedef struct sg_sampler_search {
    uint64_t key, known; /* bits, and which of them */
    double above;        /* sum of the tokens whose keys are greater */
} sg_sampler_search;

SG_HD static inline size_t sg_sampler_bucket(uint64_t key, int shift)
{
    return (size_t)(key >> shift) % SG_SAMPLER_BUCKETS;
}

/* Goes on in the bucket in which the sum from the top reaches the target. sum: of each bucket, from tokens whose
 * keys begin as this one; lowest: the first that has any, the last bucket when none has. */
SG_HD static inline void sg_sampler_descend(sg_sampler_search *search, int shift, const double *sum,
                                            size_t lowest, double target)
{
    size_t bucket = SG_SAMPLER_BUCKETS - 1;
    while (bucket > lowest && search->above + sum[bucket] < target)
        search->above += sum[bucket--];
    search->key |= (uint64_t)bucket << shift;
    search->known |= (uint64_t)(SG_SAMPLER_BUCKETS - 1) << shift;
}

/* How many tokens of exactly the least logit are kept, if each counts `one`. */
SG_HD static inline double sg_sampler_ties(double target, double above, double one)
{
    return fmax(1.0, ceil((target - above) / one - 1e-9));
}

#endif
