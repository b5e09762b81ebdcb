/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_KERNELS_H
#define SG_CUDA_ROWS_KERNELS_H

#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/rows.h"
#include "backend/rows_token.h"

/* What the kernels of rows have in common. One block has ROW_THREADS threads and works on one tile, or
 * on one row tile by tile. */

namespace
{

enum { ROW_THREADS = 128, ROW_TEAMS = ROW_THREADS / SG_LANES };

/* Start kernel<float> or kernel<double>. */
#define SG_LAUNCH_ROWS(rows, kernel, blocks, stream, ...)                                          \
    ((rows).config.precision == SG_FP32                                                            \
         ? SG_LAUNCH(kernel<float>, (unsigned)(blocks), ROW_THREADS, 0, stream, __VA_ARGS__)       \
         : SG_LAUNCH(kernel<double>, (unsigned)(blocks), ROW_THREADS, 0, stream, __VA_ARGS__))

template <typename real> struct row_tile {
    real *q, *m, *v;
    double *mass;
    size_t n; /* a multiple of SG_LANES, padding included */

    row_tile() = default;
    __device__ row_tile(const sg_cuda_table &rows, size_t state, size_t tile)
    {
        size_t base = tile * SG_TILE, at = state * rows.padded + base;
        q = (real *)rows.q + at;
        m = rows.m ? (real *)rows.m + at : nullptr;
        v = rows.v ? (real *)rows.v + at : nullptr;
        mass = rows.mass + state * rows.tiles + tile;
        n = rows.padded - base < SG_TILE ? rows.padded - base : (size_t)SG_TILE;
    }
};

/* Sum of term(0) .. term(n - 1) in the lanes of a tile. 16 neighbouring threads call it, the first a
 * multiple of 16; each gets the sum. */
template <typename function> __device__ double sum_in_lanes(size_t n, function term)
{
    unsigned lanes = 0xffffu << (threadIdx.x & 16);
    double sum = 0;
    for (size_t i = threadIdx.x % SG_LANES; i < n; i += SG_LANES)
        sum += term(i);
    for (int half = SG_LANES / 2; half > 0; half /= 2)
        sum += __shfl_xor_sync(lanes, sum, half);
    return sum;
}

template <typename real> __device__ double tile_mass(const real *q, size_t n)
{
    return sum_in_lanes(n, [q](size_t i) { return (double)q[i]; });
}

/* Adds up n things in the tree of sg_tree_split, in place; the sum is the first of them afterwards. The
 * whole block calls it. */
template <typename T, typename function>
__device__ void add_in_tree(T *part, size_t n, function add)
{
    for (size_t reach = 1; reach < n; reach *= 2) {
        __syncthreads();
        for (size_t i = 2 * reach * threadIdx.x; i + reach < n; i += 2 * reach * blockDim.x)
            add(&part[i], &part[i + reach]);
    }
    __syncthreads();
}

struct add_numbers {
    __device__ void operator()(double *a, const double *b) const
    {
        *a += *b;
    }
};

/* The greatest of the block's numbers, none of them NaN, for every thread. */
__device__ double greatest_of_block(double x)
{
    __shared__ double shared[SG_BLOCK_WARPS];
    return sg_block_max(x, shared);
}

/* The normaliser of a row from the masses of its tiles. The whole block calls it. */
__device__ void add_masses(const sg_cuda_table &rows, size_t state, double *values)
{
    const double *mass = rows.mass + state * rows.tiles;
    for (size_t t = threadIdx.x; t < rows.tiles; t += ROW_THREADS)
        values[t] = mass[t];
    add_in_tree(values, rows.tiles, add_numbers());
    if (threadIdx.x == 0)
        rows.norm[state].total = values[0];
}

/* The masses of all tiles of a row, and their sum. The whole block calls it. */
template <typename real>
__device__ void weigh_row(const sg_cuda_table &rows, size_t state, double *values)
{
    __syncthreads();
    for (size_t t = threadIdx.x / SG_LANES; t < rows.tiles; t += ROW_TEAMS) {
        row_tile<real> tile(rows, state, t);
        double mass = tile_mass(tile.q, tile.n);
        if (threadIdx.x % SG_LANES == 0)
            *tile.mass = mass;
    }
    __syncthreads();
    add_masses(rows, state, values);
}

/* The push of sample i, whose token has this q. */
__device__ __forceinline__ double push_of(const sg_cuda_gates &gates, double q, double total,
                                          size_t i)
{
    double old = gates.old_log_prob[i], advantage = gates.advantage[i];
    double log_ratio = sg_row_log_prob(q, total) - old;
    sg_gate_value gate =
        sg_gate_at(gates.kind, &gates.parameter, sg_gate_point_from_log(log_ratio, old), advantage);
    return gates.factor * gate.coefficient * advantage;
}

/* The place of a sampled token in a tile; SG_TILE or more: it is in another one. */
__device__ __forceinline__ size_t place_in_tile(const sg_cuda_touched *touched, size_t tile)
{
    return touched->token < 0 ? (size_t)SG_TILE : (size_t)touched->token - tile * SG_TILE;
}

/* The formulas of one token by the type of its numbers. */
__device__ __forceinline__ void rule_of(const sg_row_job *job, sg_row_rule_f32 *rule)
{
    *rule = sg_row_rule_of_f32(job);
}
__device__ __forceinline__ void rule_of(const sg_row_job *job, sg_row_rule_f64 *rule)
{
    *rule = sg_row_rule_of_f64(job);
}

template <typename real> struct row_maths;

template <> struct row_maths<float> {
    typedef sg_row_rule_f32 rule;
    static __device__ float momentum(const rule &r, float q, float m)
    {
        return sg_row_momentum_f32(r, q, m);
    }
    static __device__ float adam_first(const rule &r, float q, float m)
    {
        return sg_row_adam_first_f32(r, q, m);
    }
    static __device__ float adam_second(const rule &r, float q, float v)
    {
        return sg_row_adam_second_f32(r, q, v);
    }
    static __device__ float adam(const rule &r, float first, float second)
    {
        return sg_row_adam_f32(r, first, second);
    }
    static __device__ float fade(const rule &r, float q)
    {
        return sg_row_fade_f32(r, q);
    }
    static __device__ float entropy_log(float q)
    {
        return sg_entropy_log_f32(q);
    }
    /* Up to this bound of |x| a short series is enough. */
    static __device__ double small()
    {
        return SG_SMALL_F32;
    }
    /* q exp(x - shift), by the way that the CPU takes for this bound of |x|. */
    static __device__ float scaled(float q, float x, float shift, double reach)
    {
        return reach <= SG_SMALL_F32 ? q + q * SG_EXPM1_SMALL_F32(x)
               : reach <= SG_NEAR    ? sg_scale_exp_nearf(q, x)
                                     : sg_scale_expf(q, x - shift);
    }
};

template <> struct row_maths<double> {
    typedef sg_row_rule_f64 rule;
    static __device__ double momentum(const rule &r, double q, double m)
    {
        return sg_row_momentum_f64(r, q, m);
    }
    static __device__ double adam_first(const rule &r, double q, double m)
    {
        return sg_row_adam_first_f64(r, q, m);
    }
    static __device__ double adam_second(const rule &r, double q, double v)
    {
        return sg_row_adam_second_f64(r, q, v);
    }
    static __device__ double adam(const rule &r, double first, double second)
    {
        return sg_row_adam_f64(r, first, second);
    }
    static __device__ double fade(const rule &r, double q)
    {
        return sg_row_fade_f64(r, q);
    }
    static __device__ double entropy_log(double q)
    {
        return sg_entropy_log_f64(q);
    }
    static __device__ double small()
    {
        return SG_SMALL_F64;
    }
    static __device__ double scaled(double q, double x, double shift, double reach)
    {
        return reach <= SG_SMALL_F64 ? q + q * SG_EXPM1_SMALL_F64(x)
               : reach <= SG_NEAR    ? sg_scale_exp_near(q, x)
                                     : sg_scale_exp(q, x - shift);
    }
};

} // namespace

#endif
