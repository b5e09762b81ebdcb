/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sim/synthetic.h"

#include <math.h>

#include "core/rng.h"

static const double outlier_variance = 0.9; /* share of a response's variance that outliers hold */
static const double old_log_probability = -1;
static const double extreme_ratio = 2.5, extreme_spread = 0.1; /* of the log-ratio */

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

/* A token of the few that are far out. */
static double extreme_log_ratio(sg_address at)
{
    double normal[2];
    at.step = 2;
    sg_rng_normal_pair(at, normal);
    return log(extreme_ratio) + extreme_spread * normal[0];
}

void sg_synthetic_response(const sg_synthetic_config *config, size_t i, double *log_ratio,
                           double *advantage)
{
    sg_address at = {.seed = config->seed, .stream = SG_STREAM_SYNTHETIC, .prompt = (uint32_t)i};
    double normal[2];
    at.step = 1; /* properties of the response; step 0 is for its tokens, step 2 for extreme ones */
    sg_rng_normal_pair(at, normal);
    double mean = log(config->variance_mode) + config->spread * config->spread;
    double variance = exp(mean + config->spread * normal[0]);
    if (advantage != NULL)
        *advantage = normal[1] > 0 ? 1 : -1;
    at.step = 0;
    for (size_t t = 0; t < config->tokens; t++) {
        at.token = (uint32_t)t;
        log_ratio[t] = t < config->extremes
                           ? extreme_log_ratio(at)
                           : sqrt(variance) * token_deviation(config, at) - variance / 2;
    }
}

static void fill_response(sg_batch *batch, const sg_synthetic_config *config, size_t i)
{
    double advantage, *log_ratio = batch->logp_new + i * config->tokens;
    sg_synthetic_response(config, i, log_ratio, &advantage);
    for (size_t t = 0; t < config->tokens; t++) {
        size_t k = i * config->tokens + t;
        batch->sequence[k] = (int64_t)i;
        batch->position[k] = (int64_t)t;
        batch->mask[k] = 1;
        batch->advantage[k] = advantage;
        batch->logp_old[k] = old_log_probability;
        batch->logp_new[k] = old_log_probability + log_ratio[t];
    }
}

sg_status sg_synthetic_check(const sg_synthetic_config *config, sg_error *error)
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
    if (config->extremes > config->tokens)
        return sg_fail(error, SG_EARGUMENT,
                       "a synthetic response of %zu tokens cannot hold %zu extreme ones",
                       config->tokens, config->extremes);
    return SG_OK;
}

sg_status sg_synthetic_batch(sg_batch **batch, const sg_synthetic_config *config, sg_error *error)
{
    sg_status status = sg_synthetic_check(config, error);
    if (status == SG_OK)
        status = sg_batch_alloc(batch, config->responses * config->tokens, error);
    if (status != SG_OK)
        return status;
    for (size_t i = 0; i < config->responses; i++)
        fill_response(*batch, config, i);
    status = sg_batch_group(*batch, config->responses, error);
    if (status != SG_OK)
        sg_batch_free(*batch);
    return status;
}
