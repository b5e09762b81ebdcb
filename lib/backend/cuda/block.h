/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_BLOCK_H
#define SG_CUDA_BLOCK_H

/* For kernels: what the threads of a block make together, in an order that depends on their number only. Blocks
 * are one-dimensional and of whole warps, SG_BLOCK_MOST threads at most; every thread must call, and all of them get the
 * result. `shared` has SG_BLOCK_WARPS elements. */

enum { SG_WARP = 32, SG_BLOCK_MOST = 256, SG_BLOCK_WARPS = SG_BLOCK_MOST / SG_WARP };
#define SG_EVERY_LANE 0xffffffffu

/* All lanes get the same bits: in each round a lane adds what its partner adds. */
template <typename T> __device__ __forceinline__ T sg_warp_sum(T x)
{
    for (int half = SG_WARP / 2; half > 0; half /= 2)
        x += __shfl_xor_sync(SG_EVERY_LANE, x, half);
    return x;
}

template <typename T> __device__ __forceinline__ T sg_warp_max(T x)
{
    for (int half = SG_WARP / 2; half > 0; half /= 2) {
        T other = __shfl_xor_sync(SG_EVERY_LANE, x, half);
        x = other > x ? other : x;
    }
    return x;
}

template <typename T> __device__ __forceinline__ T sg_block_sum(T x, T *shared)
{
    x = sg_warp_sum(x);
    unsigned warps = blockDim.x / SG_WARP;
    if (warps == 1)
        return x;
    if (threadIdx.x % SG_WARP == 0)
        shared[threadIdx.x / SG_WARP] = x;
    __syncthreads();
    T sum = shared[0];
    for (unsigned w = 1; w < warps; w++)
        sum += shared[w];
    __syncthreads();
    return sum;
}

template <typename T> __device__ __forceinline__ T sg_block_max(T x, T *shared)
{
    x = sg_warp_max(x);
    unsigned warps = blockDim.x / SG_WARP;
    if (warps == 1)
        return x;
    if (threadIdx.x % SG_WARP == 0)
        shared[threadIdx.x / SG_WARP] = x;
    __syncthreads();
    T most = shared[0];
    for (unsigned w = 1; w < warps; w++)
        most = shared[w] > most ? shared[w] : most;
    __syncthreads();
    return most;
}

#endif
