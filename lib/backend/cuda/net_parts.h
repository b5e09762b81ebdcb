/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_NET_PARTS_H
#define SG_CUDA_NET_PARTS_H

#include "backend/cuda/block.h"
#include "backend/cuda/matmul.h"
#include "backend/cuda/net.h"
#include "backend/net_math.h"

/* What the .cu files of the neural policy share: the functions of the table, for both precisions, and what they are
 * made of. Along a row goes a warp, whose lanes are those of the CPU; number by number of a row goes a block. */

enum { SG_CUDA_NET_WARPS = 4, SG_CUDA_NET_THREADS = SG_CUDA_NET_WARPS * SG_WARP };
static_assert((int)SG_WARP == (int)SG_NET_LANES, "a lane of the warp is a lane of the CPU");

template <typename real>
sg_status sg_cuda_net_embed(const sg_net_state *s, const sg_net_view *net, void *x,
                            sg_error *error);
template <typename real>
sg_status sg_cuda_net_normalize(const sg_net_state *s, const void *x, const void *gain, void *y,
                                void *inverse, sg_error *error);
template <typename real>
sg_status sg_cuda_net_route(const sg_net_state *s, size_t b, const sg_net_view *net,
                            sg_error *error);
template <typename real>
sg_status sg_cuda_net_experts(const sg_net_state *s, size_t b, const sg_net_view *net, void *out,
                              sg_error *error);
template <typename real>
sg_status sg_cuda_net_normalize_back(const sg_net_state *s, const void *x, const void *gain,
                                     const void *y, const void *inverse, const void *dy,
                                     void *dgain, sg_error *error);
template <typename real>
sg_status sg_cuda_net_experts_back(const sg_net_state *s, size_t b, const sg_net_view *net,
                                   const sg_net_view *gradient, sg_error *error);
template <typename real>
sg_status sg_cuda_net_router_back(const sg_net_state *s, size_t b, const sg_net_view *net,
                                  const sg_net_view *gradient, sg_error *error);
template <typename real>
sg_status sg_cuda_net_embed_back(const sg_net_state *s, const sg_net_view *net,
                                 const sg_net_view *gradient, const sg_net_terms *terms,
                                 void *parts, sg_error *error);
template <typename real>
sg_status sg_cuda_net_weigh(const sg_net_state *s, const double *weight, double *sums,
                            sg_error *error);

/* gathered = n of the assignments' rows. */
template <typename real>
sg_status sg_cuda_net_gather(const sg_net_state *s, size_t b, sg_error *error);

static inline sg_cuda_groups sg_cuda_net_groups(const sg_net_state *s, size_t b)
{
    return {s->experts, s->block[b].first};
}

/* Threads of a block that goes through a row of so many numbers; blocks of a warp each, or of a thread each, for so many. */
static inline unsigned sg_cuda_net_across(size_t width)
{
    size_t whole = (width + SG_WARP - 1) / SG_WARP * SG_WARP;
    return (unsigned)(whole < SG_BLOCK_MOST ? whole : (size_t)SG_BLOCK_MOST);
}
static inline unsigned sg_cuda_net_warps(size_t n)
{
    return (unsigned)((n + SG_CUDA_NET_WARPS - 1) / SG_CUDA_NET_WARPS);
}
static inline unsigned sg_cuda_net_blocks(size_t n)
{
    return (unsigned)((n + SG_BLOCK_MOST - 1) / SG_BLOCK_MOST);
}

/* ---- in kernels */

/* Sum of a b along a row, for all lanes of a warp. */
template <typename real> __device__ double sg_cuda_net_dot(size_t n, const real *a, const real *b)
{
    double sum = 0;
    for (size_t k = threadIdx.x % SG_WARP; k < n; k += SG_WARP)
        sum += (double)a[k] * (double)b[k];
    return sg_warp_sum(sum);
}

__device__ inline float sg_cuda_sigmoid(float x)
{
    return sg_sigmoidf(x);
}
__device__ inline double sg_cuda_sigmoid(double x)
{
    return sg_sigmoid(x);
}
__device__ inline float sg_cuda_silu_slope(float x, float s)
{
    return sg_silu_slope_f32(x, s);
}
__device__ inline double sg_cuda_silu_slope(double x, double s)
{
    return sg_silu_slope_f64(x, s);
}
__device__ inline float sg_cuda_rms_slope(float inverse, float dy, float gain, float mean,
                                          float unit)
{
    return sg_net_rms_slope_f32(inverse, dy, gain, mean, unit);
}
__device__ inline double sg_cuda_rms_slope(double inverse, double dy, double gain, double mean,
                                           double unit)
{
    return sg_net_rms_slope_f64(inverse, dy, gain, mean, unit);
}

#endif
