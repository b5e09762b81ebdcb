/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_TREE_ROWS_FAST_H
#define SG_CUDA_TREE_ROWS_FAST_H

#include "backend/cuda/tree_rows.h"

/* The fast kernels of a tree's updates, with the bits of the plain ones. */

static inline bool sg_cuda_tree_fast(void)
{
    return sg_cuda_kernels_chosen() == SG_CUDA_FAST;
}

/* Whether 16 bytes are aligned wherever a row starts; only such rows may be given to squares and tiles. */
static inline bool sg_cuda_tree_wide(const sg_cuda_tree_table &tree)
{
    size_t real = tree.config.precision == SG_FP32 ? sizeof(float) : sizeof(double);
    return tree.config.vocabulary * real % 16 == 0;
}

/* Squared norms of the tiles of listed states. */
cudaError_t sg_cuda_tree_queue_squares_fast(const sg_cuda_tree_table &tree,
                                            const sg_cuda_tree_samples &samples,
                                            sg_cuda_stream *stream);
/* The gradient of the bias. */
cudaError_t sg_cuda_tree_queue_bias_fast(const sg_cuda_tree_table &tree,
                                         const sg_cuda_tree_samples &samples,
                                         sg_cuda_stream *stream);
/* The step of listed states' tiles; sums and new masses if wanted. */
cudaError_t sg_cuda_tree_queue_tiles_fast(const sg_cuda_tree_table &tree,
                                          const sg_cuda_tree_samples &samples,
                                          const sg_tree_step &step, bool norms, bool sums,
                                          bool weighs, sg_cuda_stream *stream);

#endif
