/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/synthetic.h"

#include <math.h>

#include "core/rng.h"

static const double outlier_variance = 0.9; /* share of a response's variance that outliers hold */
static const double old_log_probability = -1;

sg_synthetic_config sg_synthetic_default(void)
{
    return (sg_synthetic_config){.seed = 1,
                                 .responses = 256,
                                 .tokens = 4096,
                                 .variance_mode = 2e-4,
                                 .spread = 0.5,
                                 .outliers = 0.03};
}

/* Laplace with variance 1 by inverse cdf. */
static double laplace(double u)
{
    double side = u < 0.5 ? -1 : 1, tail = u < 0.5 ? u : 1 - u;
    return -side * log(2 * tail) * 0.70710678118654752440;
}

/* Words 0, 1 give the Laplace variate, words 2, 3 decide whether the token is an outlier. */
static double token_deviation(const sg_synthetic_config *config, sg_address at)
{
    uint32_t words[4];
    sg_rng_words(at, words);
    bool outlier = sg_rng_unit(words[2], words[3]) < config->outliers;
    double variance = outlier ? outlier_variance / config->outliers
                              : (1 - outlier_variance) / (1 - config->outliers);
    return sqrt(variance) * laplace(sg_rng_unit(words[0], words[1]));
}

static void fill_response(sg_batch *batch, const sg_synthetic_config *config, size_t i)
{
    sg_address at = {.seed = config->seed, .stream = SG_STREAM_SYNTHETIC, .prompt = (uint32_t)i};
    double normal[2];
    at.step = 1; /* properties of the response; step 0 is for its tokens */
    sg_rng_normal_pair(at, normal);
    double mean = log(config->variance_mode) + config->spread * config->spread;
    double variance = exp(mean + config->spread * normal[0]);
    double advantage = normal[1] > 0 ? 1 : -1;
    at.step = 0;
    for (size_t t = 0; t < config->tokens; t++) {
        size_t k = i * config->tokens + t;
        at.token = (uint32_t)t;
        batch->sequence[k] = (int64_t)i;
        batch->position[k] = (int64_t)t;
        batch->mask[k] = 1;
        batch->advantage[k] = advantage;
        batch->logp_old[k] = old_log_probability;
        batch->logp_new[k] =
            old_log_probability + sqrt(variance) * token_deviation(config, at) - variance / 2;
    }
}

sg_status sg_synthetic_batch(sg_batch **batch, const sg_synthetic_config *config, sg_error *error)
{
    if (config->responses < 1 || config->responses >= 1u << 24 || config->tokens < 1 ||
        config->tokens > UINT32_MAX)
        return sg_fail(error, SG_EARGUMENT,
                       "a synthetic batch needs 1 to 2^24 - 1 responses and 1 to 2^32 - 1 tokens");
    if (!(config->variance_mode > 0) || !(config->spread >= 0) || !(config->outliers > 0) ||
        !(config->outliers < 1))
        return sg_fail(
            error, SG_EARGUMENT,
            "a synthetic batch needs variance_mode > 0, spread >= 0 and outliers between 0 and 1");
    sg_status status = sg_batch_alloc(batch, config->responses * config->tokens, error);
    if (status != SG_OK)
        return status;
    for (size_t i = 0; i < config->responses; i++)
        fill_response(*batch, config, i);
    status = sg_batch_group(*batch, config->responses, error);
    if (status != SG_OK)
        sg_batch_free(*batch);
    return status;
}
