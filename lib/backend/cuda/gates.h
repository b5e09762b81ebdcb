/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_GATES_H
#define SG_CUDA_GATES_H

#include <stddef.h>

#include "backend/cuda/device.h"
#include "backend/gates.h"

/* Bulk gates on a CUDA device. Objectives and arguments have been checked (lib/backend/gates.c). */

#ifdef __cplusplus
extern "C" {
#endif

/* Arrays of the host: copied piece by piece. */
sg_status sg_cuda_gates_apply(const sg_objective *objective, size_t n, const float *ratio,
                              const float *advantage, float *value, float *slope, sg_error *error);
sg_status sg_cuda_gates_apply_sequences(const sg_objective *objective, size_t sequences,
                                        const size_t *start, const float *log_ratio,
                                        const float *advantage, float *value, float *row_slope,
                                        float *slope, sg_error *error);
sg_status sg_cuda_gates_statistics(size_t count, const sg_objective *objective, size_t n,
                                   const float *ratio, const float *advantage,
                                   sg_gate_statistics *statistics, sg_error *error);

/* Sequences of more tokens than a warp should add up alone, cut into pieces. Plain kernels do not look at it.
 * Fast ones add up a longer sequence piece by piece, so its sum, which is in double precision, may differ in the last
 * bits from that of the plain ones. Zeroed it means that no sequence is cut. */
enum { SG_CUDA_LONG_SEQUENCE = 4096 }; /* and the length of a piece */
typedef struct sg_cuda_long_sequences {
    size_t pieces;
    void *room; /* on the device */
} sg_cuda_long_sequences;

/* From starts in the host's memory; waits. start has sequences + 1 elements. */
sg_status sg_cuda_long_sequences_find(sg_cuda_long_sequences *found, size_t sequences,
                                      const size_t *start, sg_cuda_stream *stream, sg_error *error);
void sg_cuda_long_sequences_free(sg_cuda_long_sequences *found);

/* The same on arrays that are on the device: queued on the stream, nothing waits. sequences >= 1; the
 * tokens of sequence i are log_ratio[start[i] - start[0]] and so on. */
sg_status sg_cuda_gates_queue(const sg_objective *objective, size_t n, const float *ratio,
                              const float *advantage, float *value, float *slope,
                              sg_cuda_stream *stream, sg_error *error);
sg_status sg_cuda_gates_queue_sequences(const sg_objective *objective, size_t sequences,
                                        const size_t *start, const float *log_ratio,
                                        const float *advantage, float *value, float *row_slope,
                                        float *slope, const sg_cuda_long_sequences *longer,
                                        sg_cuda_stream *stream, sg_error *error);

/* Statistics need device memory to work in, of so many bytes, with the objectives in it once; each time
 * they are queued their results are left in it. The same count and n everywhere; count at most 65535. */
size_t sg_cuda_gates_statistics_bytes(size_t count, size_t n);
sg_status sg_cuda_gates_prepare_statistics(size_t count, const sg_objective *objective, size_t n,
                                           void *room, sg_cuda_stream *stream, sg_error *error);
sg_status sg_cuda_gates_queue_statistics(size_t count, const sg_objective *objective, size_t n,
                                         const float *ratio, const float *advantage, void *room,
                                         sg_cuda_stream *stream, sg_error *error);
/* Wait and fetch. */
sg_status sg_cuda_gates_fetch_statistics(size_t count, size_t n, const void *room,
                                         sg_gate_statistics *statistics, sg_cuda_stream *stream,
                                         sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
