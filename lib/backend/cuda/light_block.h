/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_LIGHT_BLOCK_H
#define SG_CUDA_LIGHT_BLOCK_H

#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/light.h"

/* What a block does with one light row: the passes over all tokens. Each function is called by the whole
 * block, and begins and ends with all threads together. Sums are taken in the CPU's order. */

namespace
{

enum { LIGHT_THREADS = 256 };

/* 64 numbers in eight lanes, those beyond n are 0. */
__device__ double sum_of_64(const double *x, size_t n)
{
    double lane[8];
    for (size_t i = 0; i < 8; i++) {
        double part[8];
        for (size_t j = 0; j < 8; j++)
            part[j] = 8 * j + i < n ? x[8 * j + i] : 0.0;
        lane[i] = ((part[0] + part[1]) + (part[2] + part[3])) +
                  ((part[4] + part[5]) + (part[6] + part[7]));
    }
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
           ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

__device__ void make_tree(sg_light_base *base)
{
    const double *below = base->q;
    size_t n = base->vocabulary;
    for (size_t l = 0; l < base->levels; l++) {
        __syncthreads();
        for (size_t i = threadIdx.x; i < base->width[l]; i += LIGHT_THREADS)
            base->sum[l][i] = sum_of_64(below + i * SG_LIGHT_FAN, n - i * SG_LIGHT_FAN);
        below = base->sum[l];
        n = base->width[l];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0;
        for (size_t i = 0; i < n; i++)
            total += below[i];
        base->total = total;
    }
    __syncthreads();
}

/* What one thread, and then the block, finds among tokens in increasing order. */
struct light_finding {
    double most, least;
    int32_t top, bottom;
    size_t positive, heavy;
};

__device__ light_finding nothing_found()
{
    return {0, (double)INFINITY, -1, -1, 0, 0};
}

__device__ void find_light(light_finding *found, double q, int32_t token)
{
    if (q > found->most) {
        found->most = q;
        found->top = token;
    }
    if (q > 0 && q < found->least) {
        found->least = q;
        found->bottom = token;
    }
}

/* The part of n things that is this thread's; parts are in the order of the threads. */
__device__ void my_part(size_t n, size_t *first, size_t *end)
{
    size_t part = ((n + LIGHT_THREADS - 1) / LIGHT_THREADS + 15) / 16 * 16;
    *first = threadIdx.x * part < n ? threadIdx.x * part : n;
    *end = *first + part < n ? *first + part : n;
}

/* Findings of all threads as one. *heavy_before: heavy tokens of the threads before this one. */
__device__ light_finding join_findings(const light_finding &mine, size_t *heavy_before)
{
    __shared__ light_finding found[LIGHT_THREADS];
    __shared__ light_finding all;
    found[threadIdx.x] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        all = nothing_found();
        for (unsigned t = 0; t < LIGHT_THREADS; t++) {
            size_t heavy = found[t].heavy;
            if (found[t].most > all.most) {
                all.most = found[t].most;
                all.top = found[t].top;
            }
            if (found[t].least < all.least) {
                all.least = found[t].least;
                all.bottom = found[t].bottom;
            }
            all.positive += found[t].positive;
            found[t].heavy = all.heavy;
            all.heavy += heavy;
        }
    }
    __syncthreads();
    light_finding result = all;
    *heavy_before = found[threadIdx.x].heavy;
    __syncthreads();
    return result;
}

/* Greatest and least light token of a row. x / y(x) grows with x while the series is used. */
__device__ void find_extremes(sg_light_row *row)
{
    const sg_light_base *base = row->base;
    light_finding mine = nothing_found();
    size_t first, end, before;
    my_part(base->vocabulary, &first, &end);
    for (size_t v = first; v < end; v++) {
        double q = base->q[v];
        if (!(q > 0) || (q <= mine.most && q >= mine.least))
            continue;
        if (row->owned || sg_light_row_slot(row, (int32_t)v) < 0)
            find_light(&mine, q, (int32_t)v);
    }
    light_finding all = join_findings(mine, &before);
    if (threadIdx.x == 0) {
        row->top = all.top;
        row->bottom = all.bottom;
    }
    __syncthreads();
}

/* ---- Explicit tokens ---- */

/* Slots of the explicit tokens, and zeros where there are none. */
__device__ void seal_row(sg_light_row *row)
{
    __syncthreads();
    for (size_t e = row->count + threadIdx.x; e < row->capacity; e += LIGHT_THREADS)
        row->q[e] = 0;
    for (size_t e = threadIdx.x; e < row->capacity; e += LIGHT_THREADS)
        row->move[e] = 0;
    for (size_t i = threadIdx.x; i <= row->slot_mask; i += LIGHT_THREADS)
        row->slots[i] = -1;
    size_t blocks = (row->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    for (size_t b = blocks + threadIdx.x; b < row->capacity / SG_LIGHT_FAN; b += LIGHT_THREADS)
        row->block[b] = 0;
    __syncthreads();
    for (size_t e = threadIdx.x; e < row->count; e += LIGHT_THREADS)
        sg_light_slots_put(row, (int32_t)e);
    __syncthreads();
}

__device__ void copy_explicit(sg_light_row *to, const sg_light_row *from)
{
    for (size_t e = threadIdx.x; e < from->count; e += LIGHT_THREADS) {
        to->token[e] = from->token[e];
        to->q[e] = from->q[e];
        if (e % SG_LIGHT_FAN == 0)
            to->block[e / SG_LIGHT_FAN] = from->block[e / SG_LIGHT_FAN];
    }
}

/* More room for explicit tokens. */
__device__ void move_row(sg_light_row *row, char *memory, size_t capacity)
{
    __shared__ sg_light_row made;
    if (threadIdx.x == 0) {
        made = *row;
        sg_cuda_light_place(&made, memory, capacity);
    }
    __syncthreads();
    copy_explicit(&made, row);
    __syncthreads();
    if (threadIdx.x == 0)
        *row = made;
    seal_row(row);
}

/* S = 0 on the row's base; its heavy tokens lie in front already. */
__device__ void restart_row(sg_light_row *row, size_t heavy, size_t explicit_limit)
{
    __shared__ double greatest[SG_BLOCK_WARPS];
    __syncthreads();
    if (threadIdx.x == 0)
        row->count = heavy;
    double most = 0;
    for (size_t e = threadIdx.x; e < heavy; e += LIGHT_THREADS)
        most = row->q[e] > most ? row->q[e] : most;
    for (size_t b = threadIdx.x; b * SG_LIGHT_FAN < heavy; b += LIGHT_THREADS) {
        double sum = 0;
        for (size_t e = b * SG_LIGHT_FAN; e < (b + 1) * SG_LIGHT_FAN && e < heavy; e++)
            sum += row->q[e];
        row->block[b] = sum;
    }
    most = sg_block_max(most, greatest);
    seal_row(row);
    if (threadIdx.x == 0) {
        row->max_explicit = most;
        sg_light_row_start(row, explicit_limit);
    }
    __syncthreads();
}

/* ---- Bases ---- */

/* Numbers of a base in another one, which keeps its memory. */
__device__ void copy_numbers(sg_light_base *to, const sg_light_base *from)
{
    double *cells = to->q;
    *to = *from;
    sg_light_base_place(to, cells);
}

/* q and all sums. */
__device__ void copy_base(sg_light_base *to, const sg_light_base *from)
{
    __syncthreads();
    if (threadIdx.x == 0)
        copy_numbers(to, from);
    __syncthreads();
    size_t cells = (size_t)(to->sum[to->levels - 1] - to->q) + to->width[to->levels - 1];
    for (size_t i = threadIdx.x; i < cells; i += LIGHT_THREADS)
        to->q[i] = from->q[i];
    __syncthreads();
}

/* Power sums of 4096 tokens or less; eight neighbouring threads call it, each has every eighth token. */
__device__ void sum_chunk(const double *q, size_t n, double inverse_scale, double *sums)
{
    double power[SG_LIGHT_TERMS] = {0}, power_log[SG_LIGHT_TERMS] = {0};
    unsigned lane = threadIdx.x % 8, eight = 0xffu << (threadIdx.x % SG_WARP - lane);
    for (size_t i = lane; i < n; i += 8) {
        double x = q[i] * inverse_scale, logarithm = x == 0 ? 0 : sg_log(x), term = x;
        for (size_t k = 0; k < SG_LIGHT_TERMS; k++) {
            power[k] += term;
            power_log[k] += term * logarithm;
            term *= x;
        }
    }
    for (size_t k = 0; k < SG_LIGHT_TERMS; k++) {
        for (int half = 4; half > 0; half /= 2) {
            power[k] += __shfl_xor_sync(eight, power[k], half);
            power_log[k] += __shfl_xor_sync(eight, power_log[k], half);
        }
        if (lane == 0) {
            sums[k] = power[k];
            sums[SG_LIGHT_TERMS + k] = power_log[k];
        }
    }
}

/* The power sums of a base. sums: [chunks][32]. */
__device__ void sum_powers(sg_light_base *base, double *sums)
{
    const size_t terms = 2 * SG_LIGHT_TERMS, chunk = SG_LIGHT_CHUNK;
    size_t tail = base->vocabulary - base->head;
    size_t head_chunks = (base->head + chunk - 1) / chunk, chunks = (tail + chunk - 1) / chunk;
    chunks += head_chunks;
    __syncthreads();
    double inverse_scale = 1 / base->scale;
    for (size_t c = threadIdx.x / 8; c < chunks; c += LIGHT_THREADS / 8) {
        bool in_head = c < head_chunks;
        size_t first = in_head ? c * chunk : base->head + (c - head_chunks) * chunk;
        size_t end = in_head ? base->head : base->vocabulary;
        sum_chunk(base->q + first, end - first < chunk ? end - first : chunk, inverse_scale,
                  sums + c * terms);
    }
    __syncthreads();
    unsigned i = threadIdx.x;
    if (i < 2 * terms) {
        bool in_head = i < terms;
        double sum = 0,
               *all = (double *)base->sums; /* head, tail: powers, powers with logarithms */
        for (size_t c = in_head ? 0 : head_chunks; c < (in_head ? head_chunks : chunks); c++)
            sum += sums[c * terms + i % terms];
        all[i] = sum;
    }
    __syncthreads();
}

/* ---- Rebase ---- */

/* Present q of every token as the q of the row's own base. */
__device__ void carry_row(sg_cuda_light_row *one, const sg_light_update *update)
{
    sg_light_row *row = &one->row;
    const sg_light_base *base = row->base;
    double *q = one->own.q, inverse_scale = 1 / base->scale;
    for (size_t v = threadIdx.x; v < base->vocabulary; v += LIGHT_THREADS)
        q[v] = sg_light_carried(row->s, base->q[v], inverse_scale, update->light_factor);
    __syncthreads();
    for (size_t e = threadIdx.x; e < row->count; e += LIGHT_THREADS)
        q[row->token[e]] = row->q[e] * update->explicit_factor;
    __syncthreads();
    if (threadIdx.x == 0) {
        sg_light_update_rebased(row, update);
        if (!row->owned)
            copy_numbers(&one->own, base);
        row->base = &one->own;
        row->owned = true;
    }
    __syncthreads();
    make_tree(&one->own);
}

/* Takes the heavy tokens out of the base and in front of the row, and makes the sums. */
__device__ void settle_row(sg_light_row *row, const light_finding &all, size_t before, double limit,
                           double *sums)
{
    sg_light_base *base = row->base;
    size_t first, end;
    my_part(base->vocabulary, &first, &end);
    for (size_t v = first; v < end; v++) {
        if (!(base->q[v] > limit))
            continue;
        row->token[before] = (int32_t)v;
        row->q[before++] = base->q[v];
        base->q[v] = 0;
    }
    __syncthreads();
    if (all.heavy > 0)
        make_tree(base);
    if (threadIdx.x == 0) {
        base->top = all.top;
        base->bottom = all.bottom;
        base->positive = all.positive;
        /* Room above the greatest light token, for sampled ones that have risen. */
        base->scale = all.most > 0 && 4 * all.most < limit ? 4 * all.most : limit;
    }
    sum_powers(base, sums);
}

/* False when the row lacks room for its heavy tokens; then it goes on from there. */
__device__ bool rebase_row(sg_cuda_light_row *one, sg_cuda_light_job *job, double *sums)
{
    sg_light_row *row = &one->row;
    sg_light_update *update = &job->update;
    if (!job->carried)
        carry_row(one, update);
    double limit = update->threshold * one->own.total;
    light_finding mine = nothing_found();
    size_t first, end, before;
    my_part(one->own.vocabulary, &first, &end);
    for (size_t v = first; v < end; v++) {
        double q = one->own.q[v];
        mine.heavy += q > limit;
        mine.positive += q > 0 && !(q > limit);
        if (!(q > limit))
            find_light(&mine, q, (int32_t)v);
    }
    light_finding all = join_findings(mine, &before);
    size_t wanted = all.heavy + update->explicit_limit;
    wanted = wanted < one->own.vocabulary ? wanted : one->own.vocabulary;
    bool fits = wanted <= row->capacity;
    __syncthreads();
    if (threadIdx.x == 0) {
        job->carried = !fits;
        update->wanted = wanted;
    }
    if (!fits)
        return false;
    settle_row(row, all, before, limit, sums);
    restart_row(row, all.heavy, update->explicit_limit);
    return true;
}

} // namespace

#endif
