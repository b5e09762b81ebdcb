/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_TREE_ROWS_KERNELS_H
#define SG_CUDA_TREE_ROWS_KERNELS_H

#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/tree_rows.h"

/* What the kernels of a tree's rows have in common. A block has a thread for each lane, and works on one
 * tile, or on one row tile by tile. */

namespace
{

enum { TREE_THREADS = SG_TREE_LANES, TREE_EACH = SG_TREE_TILE / SG_TREE_LANES };

/* Start kernel<float> or kernel<double>. */
#define SG_LAUNCH_TREE(tree, kernel, blocks, stream, ...)                                          \
    ((tree).config.precision == SG_FP32                                                            \
         ? SG_LAUNCH(kernel<float>, (unsigned)(blocks), TREE_THREADS, 0, stream, __VA_ARGS__)      \
         : SG_LAUNCH(kernel<double>, (unsigned)(blocks), TREE_THREADS, 0, stream, __VA_ARGS__))

inline size_t tree_blocks(size_t threads)
{
    return (threads + TREE_THREADS - 1) / TREE_THREADS;
}

/* Tokens at .. at + n - 1 of a row. Its i-th token is the k-th of thread i % TREE_THREADS. */
struct tree_tile {
    size_t row, at, n;

    __device__ tree_tile(const sg_cuda_tree_table &tree, size_t row_, size_t tile)
        : row(row_), at(tile * SG_TREE_TILE)
    {
        size_t left = tree.config.vocabulary - at;
        n = left < SG_TREE_TILE ? left : (size_t)SG_TREE_TILE;
    }
};

template <typename real>
__device__ __forceinline__ real *tree_place(const sg_cuda_tree_table &tree, void *array, size_t row,
                                            size_t token)
{
    return (real *)array + row * tree.config.vocabulary + token;
}

template <typename real>
__device__ __forceinline__ double logit_at(const sg_cuda_tree_table &tree, size_t state,
                                           size_t token)
{
    double z = (double)*tree_place<real>(tree, tree.theta, state, token);
    if (tree.config.shared_bias)
        z += (double)*tree_place<real>(tree, tree.theta, tree.config.states, token);
    return z;
}

/* For every thread of the block. */
__device__ double tree_sum(double x)
{
    __shared__ double shared[SG_BLOCK_WARPS];
    return sg_block_sum(x, shared);
}

__device__ double tree_max(double x)
{
    __shared__ double shared[SG_BLOCK_WARPS];
    return sg_block_max(x, shared);
}

/* The greatest logit of a tile and the mass of its z, of which thread i % TREE_THREADS has the i-th. The whole
 * block calls it. */
__device__ void weigh_tile(const sg_cuda_tree_table &tree, const tree_tile &tile, size_t t,
                           const double z[TREE_EACH])
{
    double peak = -(double)INFINITY, sum = 0;
    for (int k = 0; k < TREE_EACH; k++)
        if (threadIdx.x + (size_t)k * TREE_THREADS < tile.n)
            peak = z[k] > peak ? z[k] : peak;
    peak = tree_max(peak);
    double base = sg_tree_base(peak);
    for (int k = 0; k < TREE_EACH; k++)
        if (threadIdx.x + (size_t)k * TREE_THREADS < tile.n)
            sum += sg_exp(z[k] - base);
    sum = tree_sum(sum);
    if (threadIdx.x > 0)
        return;
    tree.peak[tile.row * tree.tiles + t] = peak;
    tree.mass[tile.row * tree.tiles + t] = sum;
}

/* Adds up n things in the tree of sg_tree_split, in place; the sum is the first of them afterwards. The
 * whole block calls it. */
template <typename T, typename function> __device__ void tree_add(T *part, size_t n, function add)
{
    for (size_t reach = 1; reach < n; reach *= 2) {
        __syncthreads();
        for (size_t i = 2 * reach * threadIdx.x; i + reach < n; i += 2 * reach * TREE_THREADS)
            add(&part[i], &part[i + reach]);
    }
    __syncthreads();
}

struct tree_add_numbers {
    __device__ void operator()(double *a, const double *b) const
    {
        *a += *b;
    }
};

} // namespace

#endif
