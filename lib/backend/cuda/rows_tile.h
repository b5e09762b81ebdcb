/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_TILE_H
#define SG_CUDA_ROWS_TILE_H

#include "backend/cuda/rows_kernels.h"

/* A tile made by a warp, for the fast kernels: 16 bytes a load and a store, several of them on the way at
 * once. The formulas and the ways chosen are those of the plain kernels, so the bits are too. */

namespace
{

enum {
    /* Elements from a staged tile to the next: two of them start in different banks. */
    ROW_PITCH = SG_TILE + SG_LANES,
};

/* Calls function<real, kind>; kind is sgd, momentum or adam, the rules that there are. */
#define SG_FOR_KIND(rows, function, ...)                                                           \
    ((rows).config.precision == SG_FP32 ? SG_FOR_KIND_OF(float, rows, function, __VA_ARGS__)       \
                                        : SG_FOR_KIND_OF(double, rows, function, __VA_ARGS__))
#define SG_FOR_KIND_OF(real, rows, function, ...)                                                  \
    (!(rows).m   ? function<real, SG_SGD>(__VA_ARGS__)                                             \
     : !(rows).v ? function<real, SG_MOMENTUM>(__VA_ARGS__)                                        \
                 : function<real, SG_ADAM>(__VA_ARGS__))

/* What a thread loads at once. */
template <typename real> struct __align__(16) row_wide
{
    enum { N = 16 / sizeof(real) };
    real at[N];
};

template <typename real> __device__ __forceinline__ row_wide<real> &wide_at(real *x, unsigned i)
{
    return ((row_wide<real> *)x)[i];
}

/* The change of a token without a sample; its moments move on. */
template <int kind, typename real>
__device__ __forceinline__ real change_one(const typename row_maths<real>::rule &rule, real q,
                                           real *m, real *v)
{
    typedef row_maths<real> maths;
    if (kind == SG_SGD)
        return rule.factor * q;
    if (kind == SG_MOMENTUM) {
        *m = maths::momentum(rule, q, *m);
        return rule.step * *m;
    }
    *m = maths::adam_first(rule, q, *m);
    *v = maths::adam_second(rule, q, *v);
    real x = maths::adam(rule, *m, *v);
    return rule.decay > 0 ? x - maths::fade(rule, q) : x;
}

/* Calls each(i, q, m, v) for the 16 bytes at i of every array of a tile that the optimiser has. BATCH of them are on
 * the way at a time. */
template <int kind, int BATCH, typename real, typename function>
__device__ __forceinline__ void for_wide(const row_tile<real> &tile, function each)
{
    unsigned n = (unsigned)tile.n / row_wide<real>::N;
    for (unsigned at = threadIdx.x % SG_WARP; at < n; at += BATCH * SG_WARP) {
        row_wide<real> q[BATCH], m[BATCH], v[BATCH];
        SG_UNROLL
        for (int b = 0; b < BATCH; b++) {
            unsigned i = at + b * SG_WARP;
            if (i >= n)
                break;
            q[b] = wide_at(tile.q, i);
            if (kind != SG_SGD)
                m[b] = wide_at(tile.m, i);
            if (kind == SG_ADAM)
                v[b] = wide_at(tile.v, i);
        }
        SG_UNROLL
        for (int b = 0; b < BATCH; b++) {
            unsigned i = at + b * SG_WARP;
            if (i >= n)
                break;
            each(i, q[b], m[b], v[b]);
        }
    }
}

/* New q of a tile's tokens into `to`, which may be the tile's own, as if none had a sample. */
template <int kind, bool small, typename real>
__device__ void make_tile(const row_tile<real> &tile, const typename row_maths<real>::rule &rule,
                          real shift, double reach, real *to)
{
    typedef row_maths<real> maths;
    enum { BATCH = !small ? 1 : kind == SG_SGD ? 8 : kind == SG_MOMENTUM ? 4 : 2 };
    for_wide<kind, BATCH>(
        tile, [&](unsigned i, row_wide<real> &q, row_wide<real> &m, row_wide<real> &v) {
            SG_UNROLL
            for (int k = 0; k < row_wide<real>::N; k++) {
                real x = change_one<kind>(rule, q.at[k], &m.at[k], &v.at[k]);
                q.at[k] = maths::scaled(q.at[k], x, shift, small ? maths::small() : reach);
            }
            wide_at(to, i) = q;
            if (kind != SG_SGD)
                wide_at(tile.m, i) = m;
            if (kind == SG_ADAM)
                wide_at(tile.v, i) = v;
        });
}

/* Greatest |x| of a tile; infinite where one is no number. Every lane gets it. */
template <int kind, typename real>
__device__ double greatest_change(const row_tile<real> &tile,
                                  const typename row_maths<real>::rule &rule)
{
    double best = 0;
    for_wide<kind, 2>(tile, [&](unsigned, row_wide<real> &q, row_wide<real> &m, row_wide<real> &v) {
        SG_UNROLL
        for (int k = 0; k < row_wide<real>::N; k++) {
            double size = fabs((double)change_one<kind>(rule, q.at[k], &m.at[k], &v.at[k]));
            best = size <= best ? best : size == size ? size : (double)INFINITY;
        }
    });
    return sg_warp_max(best);
}

/* All tokens of a tile move as those without a sample do. A warp calls it; `bound` is sg_row_reach of the tile's
 * mass; the result is what is known of |x|. */
template <int kind, typename real>
__device__ double change_tile(const row_tile<real> &tile, const sg_row_job *job, double bound,
                              real *to)
{
    typename row_maths<real>::rule rule;
    rule_of(job, &rule);
    if (bound <= row_maths<real>::small()) {
        make_tile<kind, true>(tile, rule, (real)0, bound, to);
        return bound;
    }
    double reach = bound;
    if (job->shift == 0)
        reach = fmin(bound, greatest_change<kind>(tile, rule));
    make_tile<kind, false>(tile, rule, (real)job->shift, reach, to);
    return reach;
}

/* A warp's copy of n elements, a multiple of SG_LANES. */
template <typename real> __device__ void copy_wide(real *to, const real *from, unsigned n)
{
    enum { BATCH = 8 };
    n /= row_wide<real>::N;
    for (unsigned at = threadIdx.x % SG_WARP; at < n; at += BATCH * SG_WARP) {
        row_wide<real> x[BATCH];
        SG_UNROLL
        for (int b = 0; b < BATCH; b++)
            if (at + b * SG_WARP < n)
                x[b] = wide_at((real *)from, at + b * SG_WARP);
        SG_UNROLL
        for (int b = 0; b < BATCH; b++)
            if (at + b * SG_WARP < n)
                wide_at(to, at + b * SG_WARP) = x[b];
    }
}

/* What a sampled token was, and how it moves. */
template <typename real>
__device__ void touch(const row_tile<real> &tile, size_t i, const sg_row_job *job,
                      sg_cuda_touched *one)
{
    one->q = (double)tile.q[i];
    one->m = tile.m ? (double)tile.m[i] : 0;
    one->v = tile.v ? (double)tile.v[i] : 0;
    one->x = sg_row_touched_change(job, one->push, one->q, &one->m, &one->v);
}

/* It has moved: the new q to `to`. */
template <typename real>
__device__ void settle_touched(const row_tile<real> &tile, size_t i, const sg_row_job *job,
                               const sg_cuda_touched *one, real *to)
{
    to[i] = (real)sg_scale_exp(one->q, one->x - job->shift);
    if (tile.m)
        tile.m[i] = (real)one->m;
    if (tile.v)
        tile.v[i] = (real)one->v;
}

} // namespace

#endif
