/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Updates of light rows on the device. First a warp takes each row as far as it goes without asking; rows that
 * do ask are listed, and a block finishes each of them. */
#include "backend/cuda/light_block.h"

#include "backend/sample_maths.h"
#include "objective/gate_math.h"

namespace
{

enum { ROWS_OF_A_BLOCK = 4 }; /* warps */

/* The pushes of a row's next update, from the gates of its samples. The warp calls it. */
__device__ void make_pushes(const sg_cuda_light_work &work, size_t s)
{
    const sg_light_row *row = &work.rows[s].row;
    const sg_cuda_light_job *job = &work.jobs[s];
    double *pushes = (double *)(uintptr_t)work.pushes;
    for (size_t j = SG_TEAM_LANE; j < work.n; j += SG_TEAM_LANES) {
        size_t at = s * work.n + j;
        double old = work.old_log_prob[at], advantage = work.advantage[at];
        double d = sg_log(sg_light_row_q(row, work.tokens[at]) / row->total) - old;
        double ratio = sg_exp(d);
        sg_gate_point_sample point = {d, ratio, sg_light_excess(d, ratio), old};
        double coefficient =
            sg_gate_at_sample(work.kind, &work.parameter, point, advantage).coefficient;
        double push = work.factor * coefficient * advantage;
        pushes[at] = push;
        if (work.kept)
            work.kept[(s * work.updates + job->done) * work.n + j] = push;
    }
    SG_TEAM_WAIT();
}

/* SG_LIGHT_STEP. The warp calls it. */
__device__ void step_row(sg_light_row *row, double kappa)
{
    size_t blocks = (row->count + SG_LIGHT_FAN - 1) / SG_LIGHT_FAN;
    long long most = 0;
    for (size_t e = SG_TEAM_LANE; e < blocks * SG_LIGHT_FAN; e += SG_TEAM_LANES) {
        double q = row->q[e];
        q = sg_scale_exp_near(q, row->move[e] - kappa * q);
        row->q[e] = q;
        row->move[e] = 0;
        /* The order of positive doubles is that of their bits; NaN is greater than any number. */
        long long bits = (long long)sg_bits_of_double(q);
        most = bits > most ? bits : most;
    }
    SG_TEAM_WAIT();
    for (size_t b = SG_TEAM_LANE; b < blocks; b += SG_TEAM_LANES)
        row->block[b] = sum_of_64(row->q + b * SG_LIGHT_FAN, SG_LIGHT_FAN);
    most = sg_warp_max(most);
    if (SG_TEAM_LEADS)
        row->max_explicit = sg_double_of_bits((uint64_t)most);
    SG_TEAM_WAIT();
}

/* All updates of a row that are left, until it asks for something. The warp calls it. */
__device__ sg_light_need run_row(const sg_cuda_light_work &work, size_t s, sg_light_room *room)
{
    sg_light_row *row = &work.rows[s].row;
    sg_cuda_light_job *job = &work.jobs[s];
    while (job->done < work.updates) {
        if (work.gates && job->update.stage == SG_LIGHT_BEGIN)
            make_pushes(work, s);
        sg_light_need need = sg_light_update_go(row, &job->update, room);
        while (need == SG_LIGHT_STEP) {
            step_row(row, job->update.kappa);
            need = sg_light_update_go(row, &job->update, room);
        }
        if (need != SG_LIGHT_NOTHING)
            return need;
        SG_TEAM_WAIT();
        if (SG_TEAM_LEADS) {
            job->done++;
            job->update.stage = SG_LIGHT_BEGIN;
        }
        SG_TEAM_WAIT();
    }
    return SG_LIGHT_NOTHING;
}

__device__ void begin_job(const sg_cuda_light_work &work, size_t s)
{
    sg_cuda_light_job *job = &work.jobs[s];
    sg_light_update *update = &job->update;
    *update = work.plan;
    update->stage = SG_LIGHT_BEGIN;
    update->n = work.n;
    update->tokens = work.tokens + s * work.n;
    update->pushes = work.pushes + s * work.n;
    update->slots = work.slots + s * work.n;
    update->change = work.change ? work.change + s : nullptr;
    job->done = 0;
    job->carried = false;
}

__device__ void list(sg_cuda_light_ask *asks, unsigned *n, const sg_cuda_light_ask &ask)
{
    asks[atomicAdd(n, 1u)] = ask;
}

__global__ void __launch_bounds__(ROWS_OF_A_BLOCK *SG_WARP) run_rows(sg_cuda_light_work work)
{
    __shared__ sg_light_room rooms[ROWS_OF_A_BLOCK];
    unsigned warp = threadIdx.x / SG_WARP;
    size_t s = (size_t)blockIdx.x * ROWS_OF_A_BLOCK + warp;
    if (s >= work.count)
        return;
    if (SG_TEAM_LEADS)
        begin_job(work, s);
    SG_TEAM_WAIT();
    sg_light_need need = run_row(work, s, &rooms[warp]);
    if (need == SG_LIGHT_NOTHING || !SG_TEAM_LEADS)
        return;
    work.jobs[s].need = need;
    list(work.asking, &work.counts->asking, {s, 0, nullptr, 0});
}

/* ---- Rows that asked ---- */

/* What a row gets from its block. False when the host has to give memory first. The block calls it. */
__device__ bool serve(sg_cuda_light_row *one, sg_cuda_light_job *job, int need, double *sums)
{
    if (need == SG_LIGHT_ROOM)
        return sg_light_row_needs(&one->row, job->update.n) <= one->row.capacity;
    if (need == SG_LIGHT_EXTREMES)
        find_extremes(&one->row);
    else if (!one->own.q)
        return false;
    else if (need == SG_LIGHT_REBASE)
        return rebase_row(one, job, sums);
    else {
        copy_base(&one->own, one->row.base);
        if (threadIdx.x < SG_WARP)
            sg_light_update_own(&one->row, &one->own);
    }
    return true;
}

/* Everything that is left of one row's updates. */
__device__ void finish_row(const sg_cuda_light_work &work, size_t s, double *sums)
{
    __shared__ sg_light_room room;
    __shared__ int need;
    sg_cuda_light_row *one = &work.rows[s];
    sg_cuda_light_job *job = &work.jobs[s];
    if (threadIdx.x == 0)
        need = job->need;
    __syncthreads();
    while (need != SG_LIGHT_NOTHING) {
        bool served = serve(one, job, need, sums);
        __syncthreads();
        if (!served) {
            bool room_for_tokens = one->own.q || need == SG_LIGHT_ROOM;
            if (threadIdx.x == 0) {
                job->need = need;
                list(work.lacking, &work.counts->lacking,
                     {s, room_for_tokens ? job->update.wanted : 0, nullptr, 0});
            }
            return;
        }
        if (threadIdx.x < SG_WARP) {
            sg_light_need next = run_row(work, s, &room);
            if (threadIdx.x == 0)
                need = next;
        }
        __syncthreads();
    }
}

__global__ void __launch_bounds__(LIGHT_THREADS) serve_rows(sg_cuda_light_work work)
{
    double *sums = work.sums + blockIdx.x * work.chunks * 2 * SG_LIGHT_TERMS;
    for (size_t i = blockIdx.x; i < work.counts->asking; i += gridDim.x) {
        const sg_cuda_light_ask &ask = work.asking[i];
        sg_cuda_light_row *one = &work.rows[ask.row];
        if (ask.memory && ask.capacity > 0)
            move_row(&one->row, ask.memory, ask.capacity);
        else if (ask.memory && threadIdx.x == 0)
            one->own.q = (double *)ask.memory;
        __syncthreads();
        finish_row(work, ask.row, sums);
        __syncthreads();
    }
}

} // namespace

cudaError_t sg_cuda_light_queue_update(const sg_cuda_light_work &work, sg_cuda_stream *stream)
{
    size_t blocks = (work.count + ROWS_OF_A_BLOCK - 1) / ROWS_OF_A_BLOCK;
    return SG_LAUNCH(run_rows, (unsigned)blocks, ROWS_OF_A_BLOCK * SG_WARP, 0, stream, work);
}

cudaError_t sg_cuda_light_queue_serve(const sg_cuda_light_work &work, size_t n,
                                      sg_cuda_stream *stream)
{
    unsigned blocks = n < work.blocks ? (unsigned)n : work.blocks;
    return SG_LAUNCH(serve_rows, blocks, LIGHT_THREADS, 0, stream, work);
}
