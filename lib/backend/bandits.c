/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Small runs: what is asked is checked here, once for all backends. */
#include "backend/bandits.h"

#include <math.h>

#include "backend/cpu/bandits.h"
#include "backend/cuda/bandits.h"

static sg_status check(const sg_bandits *b, sg_error *error)
{
    if (b->runs < 1 || b->steps < 1 || b->updates < 1)
        return sg_fail(error, SG_EARGUMENT,
                       "runs, steps and updates must be at least 1, not %zu, %zu and %zu", b->runs,
                       b->steps, b->updates);
    if (b->arms < 2 || b->arms > 65536)
        return sg_fail(error, SG_EARGUMENT,
                       "%zu arms are not possible: it must be in 2..65536; use rows for more",
                       b->arms);
    if (b->samples < 2 || b->samples > 4096)
        return sg_fail(error, SG_EARGUMENT,
                       "a group of %zu samples is not possible: it must be in 2..4096", b->samples);
    if (b->advantage != SG_ADVANTAGE_GRPO && b->advantage != SG_ADVANTAGE_DR_GRPO &&
        b->advantage != SG_ADVANTAGE_RLOO)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "small runs have the advantages grpo, dr-grpo and rloo, not %s",
                       sg_advantage_name(b->advantage));
    if (!(b->eps >= 0) || !isfinite(b->eps))
        return sg_fail(error, SG_EARGUMENT, "eps is %g; it must be 0 or positive", b->eps);
    for (size_t v = 0; v < b->arms; v++) {
        if (!isfinite(b->reward[v]))
            return sg_fail(error, SG_EDATA, "the reward of arm %zu is %g; it must be finite", v,
                           b->reward[v]);
        if (b->logits && (isnan(b->logits[v]) || b->logits[v] == INFINITY))
            return sg_fail(error, SG_EDATA, "logit %zu is %g; logits must be finite or -inf", v,
                           b->logits[v]);
    }
    for (size_t r = 0; r < b->runs; r++) {
        if (b->run[r].objective.level != SG_LEVEL_TOKEN)
            return sg_fail(error, SG_EUNSUPPORTED,
                           "run %zu has an objective of level %s; small runs need level token", r,
                           sg_level_name(b->run[r].objective.level));
        if (b->run[r].objective.method->rule != SG_RULE_NONE)
            return sg_fail(error, SG_EUNSUPPORTED,
                           "run %zu has the objective %s, which looks at the whole batch; small "
                           "runs gate tokens one by one",
                           r, b->run[r].objective.method->name);
        if (!(b->run[r].lr > 0) || !isfinite(b->run[r].lr))
            return sg_fail(error, SG_EARGUMENT,
                           "run %zu has a learning rate of %g; it must be positive", r,
                           b->run[r].lr);
        if (b->run[r].replicate >= 1u << 24)
            return sg_fail(error, SG_EARGUMENT,
                           "run %zu is of replicate %u; replicates go from 0 to 16777215", r,
                           (unsigned)b->run[r].replicate);
    }
    return SG_OK;
}

sg_status sg_bandits_run(const sg_bandits *bandits, double *value, double *logits, sg_error *error)
{
    sg_status status = check(bandits, error);
    if (status != SG_OK)
        return status;
    return bandits->backend == SG_BACKEND_CUDA ? sg_cuda_bandits_run(bandits, value, logits, error)
                                               : sg_cpu_bandits_run(bandits, value, logits, error);
}
