/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gates of tokens, made for speed: as many blocks as the device holds, so that the constants of a gate are made
 * once for many tokens, and four loads of 16 bytes a thread on their way before the first is used. */
#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/gates_fast.h"
#include "backend/cuda/gates_parts.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST, VECTORS = 2, STRETCH = THREADS * VECTORS };

struct tokens {
    size_t head, fours, n; /* tokens before the first whole four; fours; all tokens */
    const float *ratio, *advantage;
    float *value, *slope;
};

template <sg_gate_kind kind>
__device__ __forceinline__ void apply_token(const sg_gate_parameters &p, const tokens &t, size_t i)
{
    float v, s;
    gate_apply_one<kind>(p, t.ratio[i], t.advantage[i], &v, &s);
    if (t.value)
        t.value[i] = v;
    if (t.slope)
        t.slope[i] = s;
}

template <sg_gate_kind kind>
__device__ __forceinline__ void apply_four(const sg_gate_parameters &p, float4 r, float4 a,
                                           float4 *__restrict__ value, float4 *__restrict__ slope)
{
    float4 v, s;
    gate_apply_one<kind>(p, r.x, a.x, &v.x, &s.x);
    gate_apply_one<kind>(p, r.y, a.y, &v.y, &s.y);
    gate_apply_one<kind>(p, r.z, a.z, &v.z, &s.z);
    gate_apply_one<kind>(p, r.w, a.w, &v.w, &s.w);
    if (value)
        *value = v;
    if (slope)
        *slope = s;
}

/* The at most six tokens beside the fours are the first block's. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS, 4) apply(sg_gate_parameters parameter, tokens t)
{
    const sg_gate_parameters p = gate_in_registers(parameter);
    if (blockIdx.x == 0 && threadIdx.x < t.n - 4 * t.fours)
        apply_token<kind>(p, t, threadIdx.x < t.head ? threadIdx.x : 4 * t.fours + threadIdx.x);
    const float4 *__restrict__ ratio = (const float4 *)(t.ratio + t.head);
    const float4 *__restrict__ advantage = (const float4 *)(t.advantage + t.head);
    float4 *value = (float4 *)(t.value ? t.value + t.head : nullptr);
    float4 *slope = (float4 *)(t.slope ? t.slope + t.head : nullptr);
    size_t step = (size_t)gridDim.x * STRETCH;
    for (size_t i = (size_t)blockIdx.x * STRETCH + threadIdx.x; i < t.fours; i += step) {
        size_t next = i + THREADS < t.fours ? i + THREADS : i; /* the same again is harmless */
        float4 r0 = ratio[i], a0 = advantage[i], r1 = ratio[next], a1 = advantage[next];
        apply_four<kind>(p, r0, a0, value ? value + i : nullptr, slope ? slope + i : nullptr);
        apply_four<kind>(p, r1, a1, value ? value + next : nullptr, slope ? slope + next : nullptr);
    }
}

/* For arrays that no loads of 16 bytes can share. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS) apply_singly(sg_gate_parameters p, tokens t)
{
    size_t step = (size_t)gridDim.x * THREADS;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < t.n; i += step)
        apply_token<kind>(p, t, i);
}

/* Tokens before the first that all arrays have at a multiple of 16 bytes; 4 if there is none. */
size_t tokens_before(const tokens &t)
{
    for (size_t head = 0; head < 4; head++)
        if (gate_aligned(t.ratio + head) && gate_aligned(t.advantage + head) &&
            (!t.value || gate_aligned(t.value + head)) &&
            (!t.slope || gate_aligned(t.slope + head)))
            return head;
    return 4;
}

template <sg_gate_kind kind>
cudaError_t queue(const sg_gate_parameters &p, tokens t, cudaStream_t stream)
{
    t.head = tokens_before(t);
    bool wide = t.head < 4 && t.head < t.n;
    t.fours = wide ? (t.n - t.head) / 4 : 0;
    unsigned blocks;
    size_t items = wide ? t.fours : t.n, each = wide ? STRETCH : THREADS;
    cudaError_t code = wide ? gate_blocks(apply<kind>, THREADS, items, each, &blocks)
                            : gate_blocks(apply_singly<kind>, THREADS, items, each, &blocks);
    if (code != cudaSuccess)
        return code;
    return wide ? SG_LAUNCH(apply<kind>, blocks, THREADS, 0, stream, p, t)
                : SG_LAUNCH(apply_singly<kind>, blocks, THREADS, 0, stream, p, t);
}

} // namespace

cudaError_t sg_cuda_gates_fast_tokens(const sg_objective *objective, size_t n, const float *ratio,
                                      const float *advantage, float *value, float *slope,
                                      cudaStream_t stream)
{
    tokens all = {0, 0, n, ratio, advantage, value, slope};
    if (n == 0)
        return cudaSuccess;
    switch (objective->gate) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        return queue<id>(objective->parameter, all, stream);
        SG_GATE_LIST(SG_CASE)
#undef SG_CASE
    }
    return cudaErrorInvalidValue;
}
