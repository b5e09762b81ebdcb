/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stands in for the .cu files where there is no CUDA compiler: each question gets the same answer. */
#include "backend/cuda/device.h"
#include "backend/cuda/gates.h"

static sg_status absent(sg_error *error)
{
    return sg_fail(
        error, SG_EUNSUPPORTED,
        "this softgate was built without CUDA: put nvcc on the PATH and run make again, or use "
        "--backend cpu");
}

bool sg_cuda_built(void)
{
    return false;
}

const char *sg_cuda_targets(void)
{
    return "";
}

sg_status sg_cuda_use(sg_error *error)
{
    return absent(error);
}

sg_status sg_cuda_describe(sg_cuda_facts *facts, sg_error *error)
{
    (void)facts;
    return absent(error);
}

sg_status sg_cuda_gates_apply(const sg_objective *objective, size_t n, const float *ratio,
                              const float *advantage, float *value, float *slope, sg_error *error)
{
    (void)objective, (void)n, (void)ratio, (void)advantage, (void)value, (void)slope;
    return absent(error);
}

sg_status sg_cuda_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                        const size_t *start, const float *log_ratio,
                                        const float *advantage, float *value, float *row_slope,
                                        float *slope, sg_error *error)
{
    (void)objective, (void)sequences, (void)start, (void)log_ratio, (void)advantage;
    (void)value, (void)row_slope, (void)slope;
    return absent(error);
}

sg_status sg_cuda_gates_statistics(size_t count, const sg_objective *objective, size_t n,
                                   const float *ratio, const float *advantage,
                                   sg_gate_statistics *statistics, sg_error *error)
{
    (void)count, (void)objective, (void)n, (void)ratio, (void)advantage, (void)statistics;
    return absent(error);
}
