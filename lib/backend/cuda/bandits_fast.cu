/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include "backend/cuda/bandits_fast.h"
#include "backend/cuda/bandits_warp.h"

namespace
{

enum { WARPS = 4, THREADS = WARPS * SG_WARP, MOST_ARMS = 1024 };

/* Rows of 256 arms in single precision: 8 blocks, so that 4096 runs are on an H200 at once. */
template <typename real, int most> constexpr int blocks_together()
{
    return sizeof(real) == 4 && most <= 8 ? 8 : most <= 8 ? 4 : 2;
}

template <typename real, int most>
__global__ void __launch_bounds__(THREADS, (blocks_together<real, most>()))
    run_warps(bandit_tables<real> tables, size_t runs)
{
    __shared__ real reward[most * SG_WARP];
    __shared__ bandit_board<real, most> board[WARPS];
    for (unsigned i = threadIdx.x; i < most * SG_WARP; i += THREADS)
        reward[i] = i < tables.depth * SG_WARP ? tables.reward[i] : 0;
    __syncthreads();
    size_t number = (size_t)blockIdx.x * WARPS + threadIdx.x / SG_WARP;
    if (number >= runs)
        return; /* the whole warp */
    bandit_warp<real, most> warp(tables, reward, board[threadIdx.x / SG_WARP]);
    warp.run(number);
}

template <typename real>
cudaError_t queue(const bandit_tables<real> &tables, size_t runs, cudaStream_t stream)
{
    size_t blocks = (runs + WARPS - 1) / WARPS;
    if (blocks > 0x7fffffffu)
        return cudaErrorInvalidConfiguration;
    if (tables.depth <= 2)
        return SG_LAUNCH((run_warps<real, 2>), (unsigned)blocks, THREADS, 0, stream, tables, runs);
    if (tables.depth <= 8)
        return SG_LAUNCH((run_warps<real, 8>), (unsigned)blocks, THREADS, 0, stream, tables, runs);
    return SG_LAUNCH((run_warps<real, 32>), (unsigned)blocks, THREADS, 0, stream, tables, runs);
}

} // namespace

bool sg_cuda_bandits_fast_takes(size_t arms, size_t samples)
{
    return arms <= MOST_ARMS && samples <= BANDIT_MOST_SAMPLES;
}

cudaError_t sg_cuda_bandits_fast(const bandit_tables<float> &tables, size_t runs,
                                 cudaStream_t stream)
{
    return queue(tables, runs, stream);
}

cudaError_t sg_cuda_bandits_fast(const bandit_tables<double> &tables, size_t runs,
                                 cudaStream_t stream)
{
    return queue(tables, runs, stream);
}
