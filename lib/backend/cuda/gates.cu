/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bulk gates on the device: the kernels, and what queues them. The maths is that of the CPU's bulk gates,
 * compiled without contraction, so each token's result has the same bits. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/block.h"
#include "backend/cuda/gates_fast.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST, WARP = SG_WARP, WARPS = THREADS / WARP, MOST_BLOCKS = 1 << 20 };

/* One token at a time: for what the kernel below leaves, and for arrays that are not aligned to its loads. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS)
    apply(sg_gate_parameters p, size_t n, const float *__restrict__ ratio,
          const float *__restrict__ advantage, float *__restrict__ value, float *__restrict__ slope)
{
    size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) {
        float a = advantage[i];
        sg_gate_value_bulk v = gate_evaluate(kind, p, ratio[i], a);
        if (value)
            value[i] = v.surrogate * a;
        if (slope)
            slope[i] = v.coefficient * a;
    }
}

/* Four tokens at a time, 16 bytes a load: so many bytes must be on their way to keep the memory busy. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS)
    apply_fours(sg_gate_parameters p, size_t fours, const float4 *__restrict__ ratio,
                const float4 *__restrict__ advantage, float4 *__restrict__ value,
                float4 *__restrict__ slope)
{
    size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < fours; i += step) {
        float4 r = ratio[i], a = advantage[i], v, s;
        gate_apply_one<kind>(p, r.x, a.x, &v.x, &s.x);
        gate_apply_one<kind>(p, r.y, a.y, &v.y, &s.y);
        gate_apply_one<kind>(p, r.z, a.z, &v.z, &s.z);
        gate_apply_one<kind>(p, r.w, a.w, &v.w, &s.w);
        if (value)
            value[i] = v;
        if (slope)
            slope[i] = s;
    }
}

/* A warp for each sequence. */
__global__ void __launch_bounds__(THREADS)
    apply_sequences(sg_gate_kind kind, sg_gate_parameters p, bool product, size_t sequences,
                    const size_t *__restrict__ start, const float *__restrict__ log_ratio,
                    const float *__restrict__ advantage, float *__restrict__ value,
                    float *__restrict__ row_slope, float *__restrict__ slope)
{
    size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP;
    unsigned lane = threadIdx.x % WARP;
    if (i >= sequences)
        return; /* the whole warp */
    size_t first = start[i] - start[0], length = start[i + 1] - start[i];
    double sum = 0;
    for (size_t t = lane; t < length; t += WARP)
        sum += (double)log_ratio[first + t];
    sum = sg_warp_sum(sum);
    sg_gate_of_row row = sg_gate_row(kind, &p, product, sum, (double)length, (double)advantage[i]);
    float each = (float)row.slope;
    if (lane == 0) {
        value[i] = (float)row.value;
        if (row_slope)
            row_slope[i] = each;
    }
    if (slope)
        for (size_t t = lane; t < length; t += WARP)
            slope[first + t] = each;
}

/* ---- Statistics ---- */

enum { PER_THREAD = 8, TILE = THREADS * PER_THREAD };
/* What statistics leave on the device, one array after the other. */
struct statistics_room {
    double *weight;             /* [objective] */
    unsigned long long *counts; /* [objective][GATE_COUNTERS] */
    gate_and_parameters *gates; /* [objective] */
    double *weights;            /* [objective][tile] */
    unsigned *tallies;          /* [objective][GATE_COUNTERS][tile] */
};

/* A thread's own tallies, THREADS apart, so that no two threads meet in a word or a bank. */
__device__ void count(unsigned *tally, float advantage, const sg_gate_value_bulk &v)
{
    tally[sg_gate_bin(v.weight) * THREADS]++;
    tally[GATE_POSITIVE * THREADS] += advantage > 0;
    tally[GATE_NEGATIVE * THREADS] += advantage < 0;
    tally[GATE_CLIPPED_POSITIVE * THREADS] += advantage > 0 && v.coefficient == 0;
    tally[GATE_CLIPPED_NEGATIVE * THREADS] += advantage < 0 && v.coefficient == 0;
}

/* A block takes one tile of tokens into registers and asks all gates about it. */
__global__ void __launch_bounds__(THREADS)
    statistics_of_tile(size_t objectives, const gate_and_parameters *__restrict__ gates, size_t n,
                       const float *__restrict__ ratio, const float *__restrict__ advantage,
                       double *__restrict__ weights, unsigned *__restrict__ tallies)
{
    __shared__ unsigned tally[GATE_COUNTERS * THREADS];
    __shared__ double shared[SG_BLOCK_WARPS];
    float r[PER_THREAD], a[PER_THREAD];
    size_t first = (size_t)blockIdx.x * TILE + threadIdx.x, tiles = gridDim.x;
    for (int k = 0; k < PER_THREAD; k++) {
        size_t i = first + (size_t)k * THREADS;
        r[k] = i < n ? ratio[i] : 0;
        a[k] = i < n ? advantage[i] : 0;
    }
    for (size_t g = 0; g < objectives; g++) {
        for (int c = 0; c < GATE_COUNTERS; c++)
            tally[c * THREADS + threadIdx.x] = 0;
        double sum = 0;
        for (int k = 0; k < PER_THREAD; k++) {
            if (first + (size_t)k * THREADS >= n)
                break;
            sg_gate_value_bulk v = gate_evaluate(gates[g].kind, gates[g].parameter, r[k], a[k]);
            sum += (double)v.weight;
            count(tally + threadIdx.x, a[k], v);
        }
        sum = sg_block_sum(sum, shared); /* and all tallies are there */
        if (threadIdx.x == 0)
            weights[g * tiles + blockIdx.x] = sum;
        for (unsigned c = threadIdx.x / SG_WARP; c < GATE_COUNTERS; c += WARPS) {
            unsigned mine = 0;
            for (unsigned t = threadIdx.x % SG_WARP; t < THREADS; t += SG_WARP)
                mine += tally[c * THREADS + t];
            mine = sg_warp_sum(mine);
            if (threadIdx.x % SG_WARP == 0)
                tallies[(g * GATE_COUNTERS + c) * tiles + blockIdx.x] = mine;
        }
        __syncthreads();
    }
}

/* Blocks (c, g) add up counter c of objective g over tiles, the last c its weights. */
__global__ void __launch_bounds__(THREADS)
    add_tiles(size_t tiles, const double *__restrict__ weights,
              const unsigned *__restrict__ tallies, double *__restrict__ weight,
              unsigned long long *__restrict__ counts)
{
    __shared__ double shared_sum[SG_BLOCK_WARPS];
    __shared__ unsigned long long shared_count[SG_BLOCK_WARPS];
    size_t c = blockIdx.x, g = blockIdx.y;
    if (c == GATE_COUNTERS) {
        double sum = 0;
        for (size_t t = threadIdx.x; t < tiles; t += THREADS)
            sum += weights[g * tiles + t];
        sum = sg_block_sum(sum, shared_sum);
        if (threadIdx.x == 0)
            weight[g] = sum;
    } else {
        unsigned long long sum = 0;
        for (size_t t = threadIdx.x; t < tiles; t += THREADS)
            sum += tallies[(g * GATE_COUNTERS + c) * tiles + t];
        sum = sg_block_sum(sum, shared_count);
        if (threadIdx.x == 0)
            counts[g * GATE_COUNTERS + c] = sum;
    }
}

size_t tiles_of(size_t n)
{
    return (n + TILE - 1) / TILE;
}

statistics_room divide(void *room, size_t count, size_t n)
{
    statistics_room parts;
    parts.weight = (double *)room;
    parts.counts = (unsigned long long *)(parts.weight + count);
    parts.gates = (gate_and_parameters *)(parts.counts + count * GATE_COUNTERS);
    parts.weights = (double *)(parts.gates + count);
    parts.tallies = (unsigned *)(parts.weights + count * tiles_of(n));
    return parts;
}

unsigned blocks_for(size_t items, size_t per_block)
{
    size_t blocks = (items + per_block - 1) / per_block;
    return blocks < MOST_BLOCKS ? (unsigned)blocks : (unsigned)MOST_BLOCKS;
}

template <sg_gate_kind kind>
cudaError_t queue(const sg_gate_parameters &p, size_t n, const float *ratio, const float *advantage,
                  float *value, float *slope, cudaStream_t stream)
{
    bool wide = gate_aligned(ratio) && gate_aligned(advantage) && gate_aligned(value) &&
                gate_aligned(slope);
    size_t fours = wide ? n / 4 : 0, done = 4 * fours, left = n - done;
    cudaError_t code = cudaSuccess;
    if (fours)
        code = SG_LAUNCH(apply_fours<kind>, blocks_for(fours, THREADS), THREADS, 0, stream, p,
                         fours, (const float4 *)ratio, (const float4 *)advantage, (float4 *)value,
                         (float4 *)slope);
    if (code == cudaSuccess && left)
        code = SG_LAUNCH(apply<kind>, blocks_for(left, THREADS), THREADS, 0, stream, p, left,
                         ratio + done, advantage + done, value ? value + done : nullptr,
                         slope ? slope + done : nullptr);
    return code;
}

} // namespace

extern "C" sg_status sg_cuda_gates_queue(const sg_objective *objective, size_t n,
                                         const float *ratio, const float *advantage, float *value,
                                         float *slope, sg_cuda_stream *stream, sg_error *error)
{
    cudaError_t code = cudaErrorInvalidValue;
    if (sg_cuda_kernels_chosen() == SG_CUDA_FAST)
        return sg_cuda_check(
            sg_cuda_gates_fast_tokens(objective, n, ratio, advantage, value, slope, stream),
            "evaluating gates", error);
    switch (objective->gate) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        code = queue<id>(objective->parameter, n, ratio, advantage, value, slope, stream);         \
        break;
        SG_GATE_LIST(SG_CASE)
#undef SG_CASE
    }
    return sg_cuda_check(code, "evaluating gates", error);
}

extern "C" sg_status sg_cuda_gates_queue_sequences(const sg_objective *objective, size_t sequences,
                                                   const size_t *start, const float *log_ratio,
                                                   const float *advantage, float *value,
                                                   float *row_slope, float *slope,
                                                   const sg_cuda_long_sequences *longer,
                                                   sg_cuda_stream *stream, sg_error *error)
{
    size_t blocks = (sequences + WARPS - 1) / WARPS;
    if (blocks > 0x7fffffffu)
        return sg_fail(error, SG_EUNSUPPORTED, "%zu sequences are more than one launch takes",
                       sequences);
    cudaError_t code =
        sg_cuda_kernels_chosen() == SG_CUDA_FAST
            ? sg_cuda_gates_fast_sequences(objective, sequences, start, log_ratio, advantage, value,
                                           row_slope, slope, longer, stream)
            : SG_LAUNCH(apply_sequences, (unsigned)blocks, THREADS, 0, stream, objective->gate,
                        objective->parameter, objective->level == SG_LEVEL_PRODUCT, sequences,
                        start, log_ratio, advantage, value, row_slope, slope);
    return sg_cuda_check(code, "evaluating the gates of sequences", error);
}

extern "C" size_t sg_cuda_gates_statistics_bytes(size_t count, size_t n)
{
    return count * (sizeof(double) + GATE_COUNTERS * sizeof(unsigned long long) +
                    sizeof(gate_and_parameters) +
                    tiles_of(n) * (sizeof(double) + GATE_COUNTERS * sizeof(unsigned)));
}

extern "C" sg_status sg_cuda_gates_prepare_statistics(size_t count, const sg_objective *objective,
                                                      size_t n, void *room, sg_cuda_stream *stream,
                                                      sg_error *error)
{
    if (tiles_of(n) > 0x7fffffffu || count > 65535)
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "statistics of %zu tokens under %zu objectives are more than one launch takes", n,
            count);
    gate_and_parameters *gates = (gate_and_parameters *)malloc(count * sizeof *gates);
    if (!gates)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a list of %zu objectives", count);
    for (size_t k = 0; k < count; k++)
        gates[k] = gate_and_parameters{objective[k].gate, objective[k].parameter};
    sg_status status = sg_cuda_to_device(divide(room, count, n).gates, gates, count * sizeof *gates,
                                         stream, error);
    if (status == SG_OK)
        status = sg_cuda_stream_wait(stream, error);
    free(gates);
    return status;
}

extern "C" sg_status sg_cuda_gates_queue_statistics(size_t count, const sg_objective *objective,
                                                    size_t n, const float *ratio,
                                                    const float *advantage, void *room,
                                                    sg_cuda_stream *stream, sg_error *error)
{
    statistics_room at = divide(room, count, n);
    bool fast = sg_cuda_kernels_chosen() == SG_CUDA_FAST;
    size_t tiles = fast ? sg_cuda_gates_fast_pieces(count, n) : tiles_of(n);
    cudaError_t code = cudaSuccess;
    if (fast)
        code = sg_cuda_gates_fast_statistics(count, objective, at.gates, n, ratio, advantage,
                                             at.weights, at.tallies, stream);
    else if (tiles)
        code = SG_LAUNCH(statistics_of_tile, (unsigned)tiles, THREADS, 0, stream, count, at.gates,
                         n, ratio, advantage, at.weights, at.tallies);
    if (code == cudaSuccess)
        code = SG_LAUNCH(add_tiles, dim3(GATE_COUNTERS + 1, (unsigned)count), THREADS, 0, stream,
                         tiles, at.weights, at.tallies, at.weight, at.counts);
    return sg_cuda_check(code, "summing gates", error);
}

extern "C" sg_status sg_cuda_gates_fetch_statistics(size_t count, size_t n, const void *room,
                                                    sg_gate_statistics *statistics,
                                                    sg_cuda_stream *stream, sg_error *error)
{
    statistics_room at = divide(const_cast<void *>(room), count, n);
    for (size_t k = 0; k < count; k++) {
        unsigned long long counts[GATE_COUNTERS];
        double weight;
        sg_status status = sg_cuda_from_device(counts, at.counts + k * GATE_COUNTERS, sizeof counts,
                                               stream, error);
        if (status == SG_OK)
            status = sg_cuda_from_device(&weight, at.weight + k, sizeof weight, stream, error);
        if (status != SG_OK)
            return status;
        sg_gate_statistics *s = &statistics[k];
        *s = sg_gate_statistics();
        s->tokens = n;
        s->positive = (size_t)counts[GATE_POSITIVE];
        s->negative = (size_t)counts[GATE_NEGATIVE];
        s->clipped_positive = (size_t)counts[GATE_CLIPPED_POSITIVE];
        s->clipped_negative = (size_t)counts[GATE_CLIPPED_NEGATIVE];
        for (int bin = 0; bin < SG_GATE_BINS; bin++)
            s->histogram[bin] = counts[bin];
        s->outside = counts[SG_GATE_BINS];
        s->effective_update_ratio = n ? weight / (double)n : (double)NAN;
    }
    return SG_OK;
}
