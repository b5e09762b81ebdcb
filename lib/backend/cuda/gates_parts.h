/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_GATES_PARTS_H
#define SG_CUDA_GATES_PARTS_H

/* What the plain and the fast kernels of bulk gates share. The maths is that of the CPU's bulk gates, compiled
 * without contraction, so each token's result has the same bits. */
#include "backend/cuda/gates.h"
#include "backend/gates_math.h"

/* `kind` is a constant where speed matters, so that a kernel holds one gate. */
__device__ __forceinline__ sg_gate_value_bulk gate_evaluate(sg_gate_kind kind,
                                                            const sg_gate_parameters &p,
                                                            float ratio, float advantage)
{
    float log_ratio = sg_gate_reads_log(kind) ? sg_logf(ratio) : 0.0f;
    sg_gate_point_bulk at = {log_ratio, ratio, ratio - 1, 0};
    bool positive = sg_gate_positive_bulk(kind, advantage);
    sg_gate_value_bulk v = {0, 0, 0, 0};
    switch (kind) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        v = sg_gate_##suffix##_bulk(&p, at, positive);                                             \
        break;
        SG_GATE_LIST(SG_CASE)
#undef SG_CASE
    }
    return sg_gate_keep_nan_bulk(v, ratio);
}

/* Field by field, so that stores to memory cannot change them and constants made of them outlive a loop. */
__device__ __forceinline__ sg_gate_parameters gate_in_registers(const sg_gate_parameters &p)
{
    sg_gate_parameters copy;
#define SG_FIELD(name) copy.name = p.name;
    SG_GATE_PARAMETER_LIST(SG_FIELD)
#undef SG_FIELD
    return copy;
}

template <sg_gate_kind kind>
__device__ __forceinline__ void gate_apply_one(const sg_gate_parameters &p, float ratio,
                                               float advantage, float *value, float *slope)
{
    sg_gate_value_bulk v = gate_evaluate(kind, p, ratio, advantage);
    *value = v.surrogate * advantage;
    *slope = v.coefficient * advantage;
}

/* Counters of statistics behind the bins of the histogram, the last of which is for what lies outside. */
enum {
    GATE_POSITIVE = SG_GATE_BINS + 1,
    GATE_NEGATIVE,
    GATE_CLIPPED_POSITIVE,
    GATE_CLIPPED_NEGATIVE,
    GATE_COUNTERS
};

struct gate_and_parameters {
    sg_gate_kind kind;
    sg_gate_parameters parameter;
};

/* For loads of 16 bytes. */
static inline bool gate_aligned(const void *pointer)
{
    return (uintptr_t)pointer % sizeof(float4) == 0;
}

/* As many blocks as the device holds at once, but no more than there is work for; at least one. */
template <typename kernel>
static inline cudaError_t gate_blocks(kernel *function, unsigned threads, size_t items,
                                      size_t per_block, unsigned *blocks)
{
    int device = 0, processors = 1, each = 1;
    cudaError_t code = cudaGetDevice(&device);
    if (code == cudaSuccess)
        code = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (code == cudaSuccess)
        code = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, function, (int)threads, 0);
    size_t most = (size_t)processors * (size_t)(each > 0 ? each : 1);
    size_t needed = (items + per_block - 1) / per_block;
    *blocks = (unsigned)(needed < 1 ? 1 : needed < most ? needed : most);
    return code;
}

#endif
