/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates on the CPU: threads, and sums in an order that does not depend on them. */
#include "backend/cpu/gates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/threads.h"
#include "backend/gates_math.h"
#include "core/isa.h"

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

typedef struct gate_call {
    const sg_gate_kernels *kernels;
    const sg_objective *objective;
    size_t count;     /* of objectives, for statistics */
    size_t n, length; /* all tokens; tokens of a segment */
    const float *ratio, *advantage;
    float *value, *slope;
    sg_gate_sums *sums; /* [segment][objective] */
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

void sg_cpu_gates_apply(const sg_objective *objective, size_t n, const float *ratio,
                        const float *advantage, float *value, float *slope)
{
    gate_call call = {.kernels = kernels(),
                      .objective = objective,
                      .n = n,
                      .ratio = ratio,
                      .advantage = advantage,
                      .value = value,
                      .slope = slope};
    size_t count = segments(&call);
    sg_for_each(count, call.length, apply_segment, &call);
}

/* Block by block, so that the tokens of a block come from memory once for all objectives. */
static void sum_segment(void *context, size_t segment)
{
    gate_call *call = context;
    size_t first = segment * call->length, n = segment_size(call, segment);
    sg_gate_sums *sums = call->sums + segment * call->count;
    memset(sums, 0, call->count * sizeof *sums);
    for (size_t done = 0; done < n; done += SG_GATE_BLOCK) {
        size_t m = n - done < SG_GATE_BLOCK ? n - done : SG_GATE_BLOCK, at = first + done;
        for (size_t k = 0; k < call->count; k++)
            call->kernels->sums(call->objective[k].gate, &call->objective[k].parameter, m,
                                call->ratio + at, call->advantage + at, &sums[k]);
    }
}

static void add_up(const gate_call *call, size_t pieces, size_t k, sg_gate_statistics *statistics)
{
    *statistics = (sg_gate_statistics){.tokens = call->n};
    double weight = 0;
    for (size_t s = 0; s < pieces; s++) {
        const sg_gate_sums *sums = &call->sums[s * call->count + k];
        weight += sums->weight;
        statistics->positive += sums->positive;
        statistics->negative += sums->negative;
        statistics->clipped_positive += sums->clipped_positive;
        statistics->clipped_negative += sums->clipped_negative;
        for (size_t bin = 0; bin < SG_GATE_BINS; bin++)
            statistics->histogram[bin] += sums->bins[bin];
        statistics->outside += sums->bins[SG_GATE_BINS];
    }
    statistics->effective_update_ratio = call->n ? weight / (double)call->n : (double)NAN;
}

sg_status sg_cpu_gates_statistics(size_t count, const sg_objective *objective, size_t n,
                                  const float *ratio, const float *advantage,
                                  sg_gate_statistics *statistics, sg_error *error)
{
    gate_call call = {.kernels = kernels(),
                      .objective = objective,
                      .count = count,
                      .n = n,
                      .ratio = ratio,
                      .advantage = advantage};
    size_t pieces = segments(&call);
    call.sums = malloc((pieces * count + 1) * sizeof *call.sums);
    if (!call.sums)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the statistics of %zu objectives",
                       count);
    sg_for_each(pieces, call.length, sum_segment, &call);
    for (size_t k = 0; k < count; k++)
        add_up(&call, pieces, k, &statistics[k]);
    free(call.sums);
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
    const sg_objective *objective = call->objective;
    sg_gate_of_row row =
        sg_gate_row(objective->gate, &objective->parameter, objective->level == SG_LEVEL_PRODUCT,
                    sum, (double)length, (double)call->advantage[i]);
    call->value[i] = (float)row.value;
    float slope = (float)row.slope;
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

void sg_cpu_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                  const size_t *start, const float *log_ratio,
                                  const float *advantage, float *value, float *row_slope,
                                  float *slope)
{
    sequence_call call = {kernels(), objective, sequences, start, log_ratio,
                          advantage, value,     row_slope, slope};
    size_t tokens = start[sequences] - start[0];
    size_t groups = (sequences + SEQUENCES_AT_ONCE - 1) / SEQUENCES_AT_ONCE;
    sg_for_each(groups, tokens / groups, apply_sequences, &call);
}
