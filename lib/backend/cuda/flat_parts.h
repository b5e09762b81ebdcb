/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_FLAT_PARTS_H
#define SG_CUDA_FLAT_PARTS_H

#include "backend/cuda/flat.h"

/* What the .cu files of flat arrays share. */

struct sg_cuda_flat {
    sg_precision precision;
    size_t real, size;
    void *at;
    sg_cuda_stream *stream;
    cudaEvent_t used; /* recorded behind the last use, wherever it is queued */
    void *room;       /* grows; for the array's own stream */
    size_t room_bytes;
};

/* The arrays, some of which may be NULL, that a call uses on a stream. */
struct sg_cuda_flat_uses {
    sg_cuda_stream *stream;
    const sg_cuda_flat *flats[4];

    sg_status enter(sg_error *error) const
    {
        sg_status status = SG_OK;
        for (const sg_cuda_flat *flat : flats)
            if (status == SG_OK)
                status = sg_cuda_flat_enter(flat, stream, error);
        return status;
    }
    /* What the call came to; the order holds whatever that is. */
    sg_status leave(sg_status status, sg_error *error) const
    {
        for (const sg_cuda_flat *flat : flats) {
            sg_status left = sg_cuda_flat_leave(flat, stream, status == SG_OK ? error : nullptr);
            status = status == SG_OK ? left : status;
        }
        return status;
    }
};

/* Also enters the array. */
sg_status sg_cuda_flat_reserve(sg_cuda_flat *flat, size_t bytes, sg_error *error);

/* Queue the sums of the columns of factor x, or of its squares, [columns] of the device; room: tiles[][columns]. */
sg_status sg_cuda_flat_sum_columns(const sg_cuda_flat *flat, sg_precision precision,
                                   const void *values, size_t rows, size_t columns, double factor,
                                   bool squares, double *tiles, double *sums, sg_error *error);

static inline size_t sg_cuda_column_tiles(size_t rows)
{
    return (rows + SG_RULE_ROWS - 1) / SG_RULE_ROWS;
}

#endif
