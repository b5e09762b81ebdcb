/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#include "core/rng.h"
#include "core/stats.h"

static void draw(size_t *index, const size_t *sizes, size_t strata, uint64_t seed,
                 uint32_t resample)
{
    size_t first = 0; /* of the stratum */
    for (size_t stratum = 0; stratum < strata; first += sizes[stratum++]) {
        for (size_t i = first; i < first + sizes[stratum]; i++) {
            double u = sg_rng_uniform((sg_address){.seed = seed,
                                                   .stream = SG_STREAM_BOOTSTRAP,
                                                   .step = resample,
                                                   .sample = (uint32_t)i});
            index[i] = first + (size_t)(u * (double)sizes[stratum]);
        }
    }
}

static sg_status check(const sg_bootstrap *how, const size_t *sizes, size_t strata, size_t *count,
                       sg_error *error)
{
    if (how->resamples == 0 || how->resamples > UINT32_MAX)
        return sg_fail(error, SG_EARGUMENT,
                       "%zu resamples are asked of the bootstrap; choose 1 to 2^32 - 1",
                       how->resamples);
    if (!(how->level > 0 && how->level < 1))
        return sg_fail(error, SG_EARGUMENT,
                       "the level of the bootstrap interval is %g; choose one between 0 and 1",
                       how->level);
    for (size_t stratum = 0; stratum < strata; stratum++) {
        if (sizes[stratum] == 0)
            return sg_fail(error, SG_EARGUMENT,
                           "stratum %zu of the bootstrap is empty; leave it out", stratum);
        *count += sizes[stratum];
    }
    if (*count == 0 || *count > UINT32_MAX)
        return sg_fail(error, SG_EARGUMENT, "the bootstrap has %zu units; give it 1 to 2^32 - 1",
                       *count);
    return SG_OK;
}

sg_status sg_stats_bootstrap(const sg_bootstrap *how, const size_t *sizes, size_t strata,
                             sg_statistic *statistic, void *context, sg_interval *interval,
                             sg_error *error)
{
    size_t count = 0;
    sg_status status = check(how, sizes, strata, &count, error);
    if (status != SG_OK)
        return status;
    size_t *index = malloc(count * sizeof *index);
    double *statistics = malloc(how->resamples * sizeof *statistics);
    double ends[2];
    if (index == NULL || statistics == NULL) {
        status = sg_fail(error, SG_ENOMEM, "not enough memory for %zu resamples", how->resamples);
        goto done;
    }
    for (size_t i = 0; i < count; i++)
        index[i] = i;
    double estimate = statistic(index, count, context);
    for (size_t resample = 0; resample < how->resamples; resample++) {
        draw(index, sizes, strata, how->seed, (uint32_t)resample);
        statistics[resample] = statistic(index, count, context);
    }
    const double levels[] = {0.5 - how->level / 2, 0.5 + how->level / 2};
    size_t left_out;
    status =
        sg_stats_quantiles(statistics, NULL, how->resamples, levels, ends, 2, &left_out, error);
    if (status == SG_OK)
        *interval = (sg_interval){estimate, ends[0], ends[1], left_out};
done:
    free(index);
    free(statistics);
    return status;
}
