/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The logits of a tree, on the backend that was asked for. */
#include "backend/tree_rows.h"

#include "backend/tree_rows_math.h"

sg_status sg_tree_rows_alloc(sg_tree_rows **rows, sg_backend_kind backend,
                             const sg_tree_rows_config *config, sg_error *error)
{
    *rows = NULL;
    return backend == SG_BACKEND_CUDA ? sg_cuda_tree_rows_alloc(rows, config, error)
                                      : sg_cpu_tree_rows_alloc(rows, config, error);
}

void sg_tree_rows_free(sg_tree_rows *rows)
{
    if (rows != NULL)
        rows->methods->free(rows);
}

sg_status sg_tree_rows_status(const sg_tree_rows *rows, sg_error *error)
{
    return rows->methods->status != NULL ? rows->methods->status(rows, error) : SG_OK;
}

double sg_tree_row_bytes(const sg_tree_rows_config *config)
{
    size_t real = config->precision == SG_FP32 ? sizeof(float) : sizeof(double);
    size_t tile = sg_tree_part_bytes() + 2 * sizeof(double);
    return (double)config->vocabulary * (double)(real * sg_optimizer_arrays(config->optimizer)) +
           (double)(sg_tree_tiles(config->vocabulary) * tile) + 6 * sizeof(double);
}
