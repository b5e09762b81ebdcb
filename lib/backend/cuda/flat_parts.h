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
    void *room; /* grows */
    size_t room_bytes;
};

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
