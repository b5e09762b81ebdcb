/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates: checks, threads, and sums in an order that does not depend on them. */
#include "backend/cpu/gates.h"

#include <math.h>

#include "backend/cpu/threads.h"
#include "core/isa.h"
#include "core/vec_math.h"

enum {
    SEGMENTS = 64, /* most pieces of an array that threads share */
    SEQUENCES_AT_ONCE = 256,
};

static const sg_gate_kernels *kernels(void)
{
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX512)
        return &sg_gate_kernels_avx512;
    if (isa == SG_ISA_AVX2)
        return &sg_gate_kernels_avx2;
#endif
    return &sg_gate_kernels_portable;
}

static sg_status check_gate(const sg_objective *objective, bool sequence, sg_error *error)
{
    if (objective->gate == SG_GATE_DPPO_TV)
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "bulk gates have no dppo-tv: it needs the old log-probability of each token; "
            "replay a batch instead");
    if (sequence ? objective->level != SG_LEVEL_SEQUENCE : objective->level != SG_LEVEL_TOKEN)
        return sg_fail(error, SG_EARGUMENT,
                       "this bulk gate works on the ratios of %s, but the objective %s does not",
                       sequence ? "whole sequences" : "single tokens", objective->method->name);
    return SG_OK;
}

typedef struct gate_call {
    const sg_gate_kernels *kernels;
    const sg_objective *objective;
    size_t n, length; /* all tokens; tokens of a segment */
    const float *ratio, *advantage;
    float *value, *slope;
    sg_gate_sums sums[SEGMENTS];
} gate_call;

/* Segments are whole blocks, and as many for any number of threads. */
static size_t segments(gate_call *call)
{
    size_t blocks = (call->n + SG_GATE_BLOCK - 1) / SG_GATE_BLOCK;
    call->length = (blocks + SEGMENTS - 1) / SEGMENTS * SG_GATE_BLOCK;
    return call->length ? (call->n + call->length - 1) / call->length : 0;
}

static size_t segment_size(const gate_call *call, size_t segment)
{
    size_t first = segment * call->length;
    return call->n - first < call->length ? call->n - first : call->length;
}

static void apply_segment(void *context, size_t segment)
{
    const gate_call *call = context;
    size_t first = segment * call->length;
    call->kernels->apply(call->objective->gate, &call->objective->parameter,
                         segment_size(call, segment), call->ratio + first, call->advantage + first,
                         call->value ? call->value + first : NULL,
                         call->slope ? call->slope + first : NULL);
}

sg_status sg_gates_apply(const sg_objective *objective, size_t n, const float *ratio,
                         const float *advantage, float *value, float *slope, sg_error *error)
{
    sg_status status = check_gate(objective, false, error);
    if (status != SG_OK)
        return status;
    gate_call call;
    call.kernels = kernels();
    call.objective = objective;
    call.n = n;
    call.ratio = ratio;
    call.advantage = advantage;
    call.value = value;
    call.slope = slope;
    size_t count = segments(&call);
    sg_for_each(count, call.length, apply_segment, &call);
    return SG_OK;
}

static void sum_segment(void *context, size_t segment)
{
    gate_call *call = context;
    size_t first = segment * call->length;
    call->sums[segment] = (sg_gate_sums){0};
    call->kernels->sums(call->objective->gate, &call->objective->parameter,
                        segment_size(call, segment), call->ratio + first, call->advantage + first,
                        &call->sums[segment]);
}

sg_status sg_gates_statistics(const sg_objective *objective, size_t n, const float *ratio,
                              const float *advantage, sg_gate_statistics *statistics,
                              sg_error *error)
{
    sg_status status = check_gate(objective, false, error);
    if (status != SG_OK)
        return status;
    gate_call call;
    call.kernels = kernels();
    call.objective = objective;
    call.n = n;
    call.ratio = ratio;
    call.advantage = advantage;
    size_t count = segments(&call);
    sg_for_each(count, call.length, sum_segment, &call);
    *statistics = (sg_gate_statistics){.tokens = n};
    double weight = 0;
    for (size_t s = 0; s < count; s++) {
        const sg_gate_sums *sums = &call.sums[s];
        weight += sums->weight;
        statistics->positive += sums->positive;
        statistics->negative += sums->negative;
        statistics->clipped_positive += sums->clipped_positive;
        statistics->clipped_negative += sums->clipped_negative;
        for (size_t k = 0; k < SG_GATE_BINS; k++)
            statistics->histogram[k] += sums->bins[k];
        statistics->outside += sums->bins[SG_GATE_BINS];
    }
    statistics->effective_update_ratio = n ? weight / (double)n : (double)NAN;
    return SG_OK;
}

typedef struct sequence_call {
    const sg_gate_kernels *kernels;
    const sg_objective *objective;
    size_t sequences;
    const size_t *start;
    const float *log_ratio, *advantage;
    float *value, *row_slope, *slope;
} sequence_call;

static void apply_sequence(const sequence_call *call, size_t i)
{
    size_t first = call->start[i], length = call->start[i + 1] - first;
    double sum = length ? call->kernels->total(length, call->log_ratio + first) : 0;
    double mean = length ? sum / (double)length : 0, advantage = (double)call->advantage[i];
    double ratio = sg_exp(mean);
    sg_gate_point at = {mean, ratio, ratio - 1, 0};
    sg_gate_value gate =
        sg_gate_at(call->objective->gate, &call->objective->parameter, at, advantage);
    call->value[i] = (float)(gate.surrogate * advantage);
    float slope = length ? (float)(gate.coefficient * advantage / (double)length) : 0;
    if (call->row_slope)
        call->row_slope[i] = slope;
    if (call->slope && length)
        call->kernels->fill(length, call->slope + first, slope);
}

static void apply_sequences(void *context, size_t group)
{
    const sequence_call *call = context;
    size_t end = (group + 1) * SEQUENCES_AT_ONCE;
    for (size_t i = group * SEQUENCES_AT_ONCE; i < end && i < call->sequences; i++)
        apply_sequence(call, i);
}

sg_status sg_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                   const size_t *start, const float *log_ratio,
                                   const float *advantage, float *value, float *row_slope,
                                   float *slope, sg_error *error)
{
    sg_status status = check_gate(objective, true, error);
    if (status != SG_OK || sequences == 0)
        return status;
    sequence_call call = {kernels(), objective, sequences, start, log_ratio,
                          advantage, value,     row_slope, slope};
    size_t tokens = start[sequences] - start[0];
    size_t groups = (sequences + SEQUENCES_AT_ONCE - 1) / SEQUENCES_AT_ONCE;
    sg_for_each(groups, tokens / groups, apply_sequences, &call);
    return SG_OK;
}
