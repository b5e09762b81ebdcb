/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_GATES_FAST_H
#define SG_CUDA_GATES_FAST_H

#include "backend/cuda/gates_parts.h"

/* The fast kernels behind gates.h, queued when sg_cuda_kernels_chosen says so. Tokens and sequences of at most SG_CUDA_LONG_SEQUENCE tokens have the bits of the plain kernels. */
cudaError_t sg_cuda_gates_fast_tokens(const sg_objective *objective, size_t n, const float *ratio,
                                      const float *advantage, float *value, float *slope,
                                      cudaStream_t stream);
cudaError_t sg_cuda_gates_fast_sequences(const sg_objective *objective, size_t sequences,
                                         const size_t *start, const float *log_ratio,
                                         const float *advantage, float *value, float *row_slope,
                                         float *slope, const sg_cuda_long_sequences *longer,
                                         cudaStream_t stream);

/* Sums of weights and tallies of each piece of the tokens: weights[objective][piece] and
 * tallies[objective][counter][piece], counters as in gates_parts.h. There are at most as many pieces as gates.cu
 * has tiles. `gates` is on the device. */
size_t sg_cuda_gates_fast_pieces(size_t count, size_t n);
cudaError_t sg_cuda_gates_fast_statistics(size_t count, const sg_objective *objective,
                                          const gate_and_parameters *gates, size_t n,
                                          const float *ratio, const float *advantage,
                                          double *weights, unsigned *tallies, cudaStream_t stream);

#endif
