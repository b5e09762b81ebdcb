/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates: what is asked is checked here, once for all backends. */
#include "backend/gates.h"

#include "backend/cpu/gates.h"
#include "backend/cuda/gates.h"

static sg_status check_gate(const sg_objective *objective, bool sequence, sg_error *error)
{
    if (sg_gate_reads_old(objective->gate))
        return sg_fail(error, SG_EUNSUPPORTED,
                       "bulk gates have no %s: it needs the old log-probability of each token; "
                       "replay a batch instead",
                       objective->method->name);
    if (objective->method->rule != SG_RULE_NONE)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "bulk gates have no %s: it looks at the whole batch; replay a batch instead",
                       objective->method->name);
    if (sequence && objective->gate == SG_GATE_GMPO)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "bulk gates have no %s: it clips single tokens of a sequence; replay a "
                       "batch instead",
                       objective->method->name);
    if (sequence == (objective->level == SG_LEVEL_TOKEN))
        return sg_fail(error, SG_EARGUMENT,
                       "this bulk gate works on the ratios of %s, but the objective %s does not",
                       sequence ? "whole sequences" : "single tokens", objective->method->name);
    return SG_OK;
}

sg_status sg_gates_apply(sg_backend_kind backend, const sg_objective *objective, size_t n,
                         const float *ratio, const float *advantage, float *value, float *slope,
                         sg_error *error)
{
    sg_status status = check_gate(objective, false, error);
    if (status != SG_OK)
        return status;
    if (backend == SG_BACKEND_CUDA)
        return sg_cuda_gates_apply(objective, n, ratio, advantage, value, slope, error);
    sg_cpu_gates_apply(objective, n, ratio, advantage, value, slope);
    return SG_OK;
}

sg_status sg_gates_apply_sequences(sg_backend_kind backend, const sg_objective *objective,
                                   size_t sequences, const size_t *start, const float *log_ratio,
                                   const float *advantage, float *value, float *row_slope,
                                   float *slope, sg_error *error)
{
    sg_status status = check_gate(objective, true, error);
    if (status != SG_OK || sequences == 0)
        return status;
    if (backend == SG_BACKEND_CUDA)
        return sg_cuda_gates_apply_sequences(objective, sequences, start, log_ratio, advantage,
                                             value, row_slope, slope, error);
    sg_cpu_gates_apply_sequences(objective, sequences, start, log_ratio, advantage, value,
                                 row_slope, slope);
    return SG_OK;
}

sg_status sg_gates_statistics(sg_backend_kind backend, size_t count, const sg_objective *objective,
                              size_t n, const float *ratio, const float *advantage,
                              sg_gate_statistics *statistics, sg_error *error)
{
    sg_status status = SG_OK;
    for (size_t k = 0; k < count && status == SG_OK; k++)
        status = check_gate(&objective[k], false, error);
    if (status != SG_OK || count == 0)
        return status;
    return backend == SG_BACKEND_CUDA
               ? sg_cuda_gates_statistics(count, objective, n, ratio, advantage, statistics, error)
               : sg_cpu_gates_statistics(count, objective, n, ratio, advantage, statistics, error);
}
