/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include "backend/cuda/cluster.h"
#include "backend/cuda/memory.h"
#include "broken_kernels.h"

namespace
{

__global__ void next_of_block(kernel_mistake mistake, int *out)
{
    SG_DYNAMIC_SHARED(int, shared);
    unsigned t = threadIdx.x, next = (t + 1) % blockDim.x;
    unsigned i = blockIdx.x * blockDim.x + t;
    if (mistake == BARRIER_OF_SOME && t == 5)
        return;
    shared[t] = (int)(10 * blockIdx.x + t);
    if (mistake != MISSING_BARRIER)
        __syncthreads();
    if (mistake == SHARED_BEYOND && t == 0)
        shared[blockDim.x + 8] = 1;
    if (mistake == NOT_INITIALISED)
        out[i] += shared[next];
    else
        out[i] = shared[next];
    if (mistake == WRITE_BEYOND && i == KERNEL_N - 1)
        out[i + 1] = 1;
    if (mistake == READ_BEYOND && i == KERNEL_N - 1)
        out[i] = out[i + 1];
}

__global__ void next_of_cluster(kernel_mistake mistake, int *out)
{
    __shared__ int fixed[KERNEL_THREADS];
    SG_DYNAMIC_SHARED(int, shared);
    auto cluster = cooperative_groups::this_cluster();
    unsigned t = threadIdx.x, size = cluster.num_blocks(), rank = cluster.block_rank();
    shared[t] = fixed[t] = (int)(10 * rank + t);
    if (mistake == CLUSTER_BARRIER_OF_SOME && rank == 1 && t == 5)
        return;
    if (mistake == MISSING_CLUSTER_BARRIER)
        __syncthreads();
    else
        cluster.sync();
    unsigned next = mistake == BLOCK_OF_NO_CLUSTER ? rank + 1 : (rank + 1) % size;
    int *there = cluster.map_shared_rank(mistake == STATIC_OF_CLUSTER ? fixed : shared, next);
    out[blockIdx.x * blockDim.x + t] = there[t];
    if (mistake != LEFT_TOO_EARLY)
        cluster.sync();
}

/* Reverses each warp through shared memory. */
__global__ void reverse_warps(bool wait, bool some, int *out)
{
    __shared__ int shared[KERNEL_THREADS + 32];
    unsigned t = threadIdx.x, lane = t % 32, first = t - lane;
    unsigned size = blockDim.x - first < 32 ? blockDim.x - first : 32;
    unsigned mask = size == 32 ? 0xffffffffu : (1u << size) - 1;
    shared[t] = (int)t;
    if (wait)
        __syncwarp(mask);
    int mine = shared[first + size - 1 - lane];
    if (!some || lane != 3)
        mine = __shfl_sync(mask, mine, (int)lane);
    out[blockIdx.x * blockDim.x + t] = mine;
}

__global__ void warp_functions(int *out)
{
    unsigned lane = threadIdx.x;
    int v = (int)(lane * lane);
    int *mine = out + lane * 8;
    mine[0] = __shfl_xor_sync(0xffffffffu, v, 5);
    mine[1] = __shfl_up_sync(0xffffffffu, v, 3);
    mine[2] = __shfl_down_sync(0xffffffffu, v, 4, 16);
    mine[3] = __shfl_sync(0xffffffffu, v, 7, 8);
    mine[4] = (int)__ballot_sync(0xffffffffu, lane % 3 == 0);
    unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    mine[5] = (int)__ballot_sync(half, lane % 2);
    mine[6] = __syncthreads_count(lane < 9);
    mine[7] = (int)__shfl_sync(0xffffffffu, (double)v + 0.5, 31);
}

} // namespace

sg_status run_kernel(kernel_mistake mistake, int out[KERNEL_N], sg_error *error)
{
    sg_cuda_array<int> on;
    sg_status status = on.alloc(KERNEL_N, "a test", error);
    if (status != SG_OK)
        return status;
    int *target = mistake == HOST_POINTER ? out : on.at;
    cudaError_t code =
        mistake == MISSING_SYNCWARP || mistake == SHUFFLE_OF_SOME
            ? SG_LAUNCH(reverse_warps, KERNEL_BLOCKS, KERNEL_THREADS, 0, nullptr,
                        mistake != MISSING_SYNCWARP, mistake == SHUFFLE_OF_SOME, target)
        : mistake >= NO_CLUSTER_MISTAKE
            ? SG_LAUNCH_CLUSTERS(next_of_cluster, KERNEL_BLOCKS, KERNEL_BLOCKS, KERNEL_THREADS,
                                 KERNEL_THREADS * sizeof(int), nullptr, mistake, target)
            : SG_LAUNCH(next_of_block, KERNEL_BLOCKS, KERNEL_THREADS, KERNEL_THREADS * sizeof(int),
                        nullptr, mistake, target);
    status = sg_cuda_check(code, "running a kernel with a mistake", error);
    return status ? status : on.to_host(KERNEL_N, out, nullptr, error);
}

const char *compare_warp_functions(void)
{
    int got[32 * 8];
    sg_cuda_array<int> on;
    if (on.alloc(32 * 8, "a test", nullptr) ||
        SG_LAUNCH(warp_functions, 1, 32, 0, nullptr, on.at) != cudaSuccess ||
        on.to_host(32 * 8, got, nullptr, nullptr))
        return "the kernel did not run";
    for (int k = 0; k < 32; k++) {
        const int *mine = got + 8 * k;
        int up = k < 3 ? k : k - 3, down = k % 16 + 4 < 16 ? k + 4 : k, seven = k / 8 * 8 + 7;
        if (mine[0] != (k ^ 5) * (k ^ 5))
            return "shfl_xor";
        if (mine[1] != up * up)
            return "shfl_up";
        if (mine[2] != down * down)
            return "shfl_down";
        if (mine[3] != seven * seven)
            return "shfl of a width";
        if (mine[4] != 0x49249249)
            return "ballot";
        if ((unsigned)mine[5] != (k < 16 ? 0x0000aaaau : 0xaaaa0000u))
            return "ballot of halves";
        if (mine[6] != 9)
            return "syncthreads_count";
        if (mine[7] != 961)
            return "shfl of a double";
    }
    return "";
}
