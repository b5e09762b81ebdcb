/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_RESIDENT_H
#define SG_CUDA_ROWS_RESIDENT_H

#include "backend/cuda/rows.h"

/* Inner updates that keep a row in the shared memory of a cluster, on devices of compute capability 9.0 and newer. */

struct sg_cuda_resident {
    unsigned cluster; /* blocks of a row; 0: such rows do not fit */
    unsigned threads; /* of a block */
    size_t tiles;     /* of a block */
    size_t bytes;     /* of a block's shared memory */
    int at_once;      /* clusters that run at the same time */
};

/* How rows with n samples are to be kept. The device in use must not change in between. */
sg_cuda_resident sg_cuda_rows_plan_resident(const sg_cuda_table &rows, size_t n);

/* One launch for all updates, at least 1; the same bits as sg_cuda_rows_queue_gates and
 * sg_cuda_rows_queue_update by turns. */
cudaError_t sg_cuda_rows_queue_resident(const sg_cuda_table &rows, const sg_cuda_resident &plan,
                                        sg_cuda_range range, const sg_rows_step &step,
                                        uint64_t updates, size_t n, const int32_t *tokens,
                                        const sg_cuda_gates &gates, sg_cuda_stream *stream);

#endif
