/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_BANDITS_FAST_H
#define SG_CUDA_BANDITS_FAST_H

#include "backend/cuda/bandits_kernel.h"

/* Small runs by the warp, each in its registers, where arms and samples are few enough. The bits are those of the
 * kernel that takes a block of one warp. tables.depth is that of a warp. */
bool sg_cuda_bandits_fast_takes(size_t arms, size_t samples);
cudaError_t sg_cuda_bandits_fast(const bandit_tables<float> &tables, size_t runs,
                                 cudaStream_t stream);
cudaError_t sg_cuda_bandits_fast(const bandit_tables<double> &tables, size_t runs,
                                 cudaStream_t stream);

#endif
