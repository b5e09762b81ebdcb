/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_BANDITS_KERNEL_H
#define SG_CUDA_BANDITS_KERNEL_H

/* One run by one block, in single or double precision. The arms are dealt to the threads in neighbouring
 * stretches of `depth`, so that sums over threads are sums in the order of arms; arm k of thread t is
 * cell k * threads + t, so that threads work on neighbouring cells. */
#include "backend/bandits.h"
#include "backend/cuda/block.h"
#include "core/rng.h"
#include "core/vec_math.h"

template <typename real> struct bandit_precision;

template <> struct bandit_precision<float> {
    static constexpr float below_one = 0x1.fffffep-1f, no_move = 0x1p-25f;
    typedef sg_gate_point_f32 point;
    static __device__ float exp(float x)
    {
        return sg_expf(x);
    }
    static __device__ float log(float x)
    {
        return sg_logf(x);
    }
    static __device__ float scale_exp_near(float factor, float x)
    {
        return sg_scale_exp_nearf(factor, x);
    }
    static __device__ float coefficient(const sg_objective &o, const point &at, float advantage)
    {
        return sg_gate_at_f32(o.gate, &o.parameter, at, advantage).coefficient;
    }
};

template <> struct bandit_precision<double> {
    static constexpr double below_one = 0x1.fffffffffffffp-1, no_move = 0x1p-54;
    typedef sg_gate_point point;
    static __device__ double exp(double x)
    {
        return sg_exp(x);
    }
    static __device__ double log(double x)
    {
        return sg_log(x);
    }
    static __device__ double scale_exp_near(double factor, double x)
    {
        return sg_scale_exp_near(factor, x);
    }
    static __device__ double coefficient(const sg_objective &o, const point &at, double advantage)
    {
        return sg_gate_at(o.gate, &o.parameter, at, advantage).coefficient;
    }
};

/* What all runs share. */
template <typename real> struct bandit_tables {
    const sg_bandit *run;       /* [runs] */
    const real *reward, *start; /* [cells]; start holds q */
    unsigned arms, depth, samples, steps, updates;
    sg_advantage_kind advantage;
    real eps;
    uint64_t seed;
    double *value;  /* [runs][steps + 1] */
    double *logits; /* [runs][arms], or NULL */
};

/* What a block works in. */
template <typename real> struct bandit_room {
    real *q;                      /* [cells] */
    real *old, *advantage, *push; /* [samples]: q when drawn; A; what is added to the logit */
    unsigned *at;                 /* [samples] cell of the arm */
    real *before;                 /* [threads + 1] mass of the threads before each */
    real *warp;                   /* [SG_BLOCK_WARPS] */
};

/* Running sums over threads, and J; before[threads] becomes the total. One after the other, so that they
 * rise: a thread without mass is never the one that a draw falls into. */
template <typename real>
__device__ real bandit_accumulate(const bandit_tables<real> &b, const bandit_room<real> &s)
{
    unsigned t = threadIdx.x, threads = blockDim.x;
    real mass = 0, gain = 0;
    for (unsigned k = 0; k < b.depth; k++) {
        real q = s.q[k * threads + t];
        mass += q;
        gain += q * b.reward[k * threads + t];
    }
    s.before[t + 1] = mass;
    __syncthreads();
    if (t == 0) {
        real sum = 0;
        s.before[0] = 0;
        for (unsigned i = 1; i <= threads; i++) {
            sum += s.before[i];
            s.before[i] = sum;
        }
    }
    gain = sg_block_sum(gain, s.warp);
    __syncthreads();
    return gain / s.before[threads];
}

/* Inverse CDF: the last thread with before <= target, then the first arm whose running sum exceeds the rest. */
template <typename real>
__device__ unsigned bandit_draw(const bandit_tables<real> &b, const bandit_room<real> &s,
                                real uniform)
{
    unsigned threads = blockDim.x, thread = 0;
    real target = uniform * s.before[threads];
    for (unsigned half = threads / 2; half > 0; half /= 2)
        if (s.before[thread + half] <= target)
            thread += half;
    real mass = 0, sum = 0, rest = target - s.before[thread];
    for (unsigned k = 0; k < b.depth; k++)
        mass += s.q[k * threads + thread];
    mass *= bandit_precision<real>::below_one; /* never past the thread's last arm */
    rest = rest < mass ? rest : mass;
    for (unsigned k = 0; k < b.depth; k++) {
        sum += s.q[k * threads + thread];
        if (sum > rest)
            return k * threads + thread;
    }
    return (b.depth - 1) * threads + thread; /* of masses that are not numbers */
}

template <typename real>
__device__ void bandit_draw_all(const bandit_tables<real> &b, const bandit_room<real> &s,
                                uint32_t replicate, uint32_t step)
{
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x) {
        sg_address address = {b.seed, SG_STREAM_ROLLOUT, step, replicate, j, 0};
        double u = sg_rng_uniform(address), most = bandit_precision<real>::below_one;
        s.at[j] = bandit_draw(b, s, (real)(u < most ? u : most));
        s.old[j] = s.q[s.at[j]];
    }
    __syncthreads();
}

/* A of the drawn arms; 0 in a group of equal rewards. */
template <typename real>
__device__ void bandit_advantages(const bandit_tables<real> &b, const bandit_room<real> &s)
{
    real sum = 0, square = 0, differs = 0, n = (real)b.samples, one = b.reward[s.at[0]];
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x) {
        real r = b.reward[s.at[j]];
        s.advantage[j] = r;
        sum += r;
        differs += r != one ? 1 : 0;
    }
    real mean = sg_block_sum(sum, s.warp) / n, factor = 1;
    differs = sg_block_sum(differs, s.warp);
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x) {
        real a = s.advantage[j] - mean;
        square += a * a;
    }
    square = sg_block_sum(square, s.warp);
    if (b.advantage == SG_ADVANTAGE_GRPO)
        factor = 1 / (sqrt(square / (n - 1)) + b.eps);
    else if (b.advantage == SG_ADVANTAGE_RLOO)
        factor = n / (n - 1);
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x)
        s.advantage[j] = differs == 0 ? 0 : (s.advantage[j] - mean) * factor;
}

/* The pushes of an update and their sums. Each thread touches its own samples only. */
template <typename real>
__device__ void bandit_push(const bandit_tables<real> &b, const bandit_room<real> &s,
                            const sg_bandit &run, real total_then, real total, real *sum,
                            real *size)
{
    typedef bandit_precision<real> maths;
    real factor = (real)(run.lr / (double)b.samples), scale = total_then / total;
    *sum = *size = 0;
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x) {
        real ratio = s.q[s.at[j]] * scale / s.old[j];
        typename maths::point at = {maths::log(ratio), ratio, ratio - 1,
                                    maths::log(s.old[j] / total_then)};
        real a = s.advantage[j], push = factor * maths::coefficient(run.objective, at, a) * a;
        s.push[j] = push;
        *sum += push;
        *size += push < 0 ? -push : push;
    }
    *sum = sg_block_sum(*sum, s.warp);
    *size = sg_block_sum(*size, s.warp);
    __syncthreads(); /* the pushes are read by others */
}

/* An arm may be there more than once: the first sample of it speaks for all. */
template <typename real> __device__ bool bandit_is_first(const bandit_room<real> &s, unsigned j)
{
    for (unsigned i = 0; i < j; i++)
        if (s.at[i] == s.at[j])
            return false;
    return true;
}

/* q *= exp(-kappa q), that of sampled arms times exp(push) each. |kappa q| <= |sum of the pushes|. */
template <typename real>
__device__ void bandit_move_near(const bandit_tables<real> &b, const bandit_room<real> &s,
                                 real kappa, bool moves)
{
    typedef bandit_precision<real> maths;
    for (unsigned k = 0; k < b.depth && moves; k++) {
        real *q = &s.q[k * blockDim.x + threadIdx.x];
        *q = maths::scale_exp_near(*q, -kappa * *q);
    }
    __syncthreads();
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x) {
        if (!bandit_is_first(s, j))
            continue;
        real q = s.q[s.at[j]];
        for (unsigned i = j; i < b.samples; i++)
            if (s.at[i] == s.at[j])
                q *= maths::exp(s.push[i]);
        s.q[s.at[j]] = q;
    }
    __syncthreads();
}

/* Steps whose |change of a logit| may exceed 32: through logarithms, with the peak at q = 1. */
template <typename real>
__device__ void bandit_move_far(const bandit_tables<real> &b, const bandit_room<real> &s,
                                real kappa)
{
    typedef bandit_precision<real> maths;
    for (unsigned k = 0; k < b.depth; k++) {
        real *q = &s.q[k * blockDim.x + threadIdx.x];
        *q = maths::log(*q) - kappa * *q;
    }
    __syncthreads();
    for (unsigned j = threadIdx.x; j < b.samples; j += blockDim.x) {
        if (!bandit_is_first(s, j))
            continue;
        real z = s.q[s.at[j]];
        for (unsigned i = j; i < b.samples; i++)
            if (s.at[i] == s.at[j])
                z += s.push[i];
        s.q[s.at[j]] = z;
    }
    __syncthreads();
    real peak = (real)-INFINITY;
    for (unsigned k = 0; k < b.depth; k++) {
        real z = s.q[k * blockDim.x + threadIdx.x];
        peak = z > peak ? z : peak;
    }
    peak = sg_block_max(peak, s.warp);
    for (unsigned k = 0; k < b.depth; k++) {
        real *q = &s.q[k * blockDim.x + threadIdx.x];
        *q = maths::exp(*q - peak);
    }
    __syncthreads();
}

/* sum q, kept in [2^-20, 2^20] by an exact power of two. */
template <typename real>
__device__ real bandit_total(const bandit_tables<real> &b, const bandit_room<real> &s)
{
    real sum = 0;
    for (unsigned k = 0; k < b.depth; k++)
        sum += s.q[k * blockDim.x + threadIdx.x];
    real total = sg_block_sum(sum, s.warp);
    if (!(total < (real)0x1p-20 || total > (real)0x1p20) || total > (real)0x1p120 ||
        !(total > (real)0x1p-120))
        return total;
    real power = (real)ldexp(1.0, -ilogb((double)total));
    for (unsigned k = 0; k < b.depth; k++)
        s.q[k * blockDim.x + threadIdx.x] *= power;
    __syncthreads();
    return total * power;
}

template <typename real>
__device__ void bandit_run(const bandit_tables<real> &b, const bandit_room<real> &s, size_t number)
{
    const sg_bandit &run = b.run[number];
    double *value = b.value + number * (b.steps + 1);
    for (unsigned k = 0; k < b.depth; k++)
        s.q[k * blockDim.x + threadIdx.x] = b.start[k * blockDim.x + threadIdx.x];
    real mean = bandit_accumulate(b, s);
    if (threadIdx.x == 0)
        value[0] = (double)mean;
    for (unsigned step = 0; step < b.steps; step++) {
        real total_then = s.before[blockDim.x], total = total_then;
        bandit_draw_all(b, s, run.replicate, step);
        bandit_advantages(b, s);
        for (unsigned k = 0; k < b.updates; k++) {
            real sum, size;
            bandit_push(b, s, run, total_then, total, &sum, &size);
            real kappa = sum / total;
            /* Centred advantages at ratio 1 leave nothing but rounding: no q would change a bit. */
            bool moves = !((sum < 0 ? -sum : sum) < bandit_precision<real>::no_move);
            if (size <= 32)
                bandit_move_near(b, s, kappa, moves);
            else
                bandit_move_far(b, s, kappa);
            total = bandit_total(b, s);
        }
        mean = bandit_accumulate(b, s);
        if (threadIdx.x == 0)
            value[step + 1] = (double)mean;
    }
    for (unsigned v = threadIdx.x; v < b.arms && b.logits; v += blockDim.x)
        b.logits[number * b.arms + v] = sg_log((double)s.q[v % b.depth * blockDim.x + v / b.depth]);
}

#endif
