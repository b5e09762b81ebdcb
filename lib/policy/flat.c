/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "policy/flat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy/net_matrix.h"
#include "policy/optimizer_parts.h"

static const char *values_of(const sg_flat *flat, const sg_tensor *t)
{
    return (const char *)flat->host + t->offset * sg_real_size(flat->precision);
}

sg_status sg_flat_norm2(const sg_flat *flat, const sg_tensor *t, double *norm2, sg_error *error)
{
    sg_cuda_slice slice = {t->offset, t->rows, t->columns, 0, false};
    if (flat->device)
        return sg_cuda_flat_norm2(flat->device, 1, &slice, norm2, error);
    *norm2 = sg_tensor_norm2(flat->precision, t, flat->host);
    return SG_OK;
}

/* ---- columns */

void sg_column_sums(const sg_rule_kernels *kernels, size_t rows, size_t columns, double factor,
                    bool squares, const void *values, size_t real, double *tiles, double *sums)
{
    size_t count = sg_column_tiles(rows);
#pragma omp parallel for schedule(static) if (rows * columns > 1 << 17)
    for (size_t t = 0; t < count; t++) {
        size_t first = t * SG_RULE_ROWS;
        size_t n = rows - first < SG_RULE_ROWS ? rows - first : SG_RULE_ROWS;
        memset(tiles + t * columns, 0, columns * sizeof *tiles);
        kernels->columns(n, columns, factor, squares, (const char *)values + first * columns * real,
                         tiles + t * columns);
    }
    for (size_t k = 0; k < columns; k++) {
        sums[k] = 0;
        for (size_t t = 0; t < count; t++)
            sums[k] += tiles[t * columns + k];
    }
}

static sg_status no_room(sg_error *error)
{
    return sg_fail(error, SG_ENOMEM, "not enough memory for sums over a tensor");
}

sg_status sg_flat_columns(const sg_flat *flat, const sg_tensor *t, double *sums, sg_error *error)
{
    if (flat->device)
        return sg_cuda_flat_columns(flat->device, t->offset, t->rows, t->columns, sums, error);
    double *tiles = malloc(sg_column_tiles(t->rows) * t->columns * sizeof *tiles);
    if (!tiles)
        return no_room(error);
    sg_column_sums(sg_rule_kernels_select(flat->precision), t->rows, t->columns, 1, false,
                   values_of(flat, t), sg_real_size(flat->precision), tiles, sums);
    free(tiles);
    return SG_OK;
}

sg_status sg_flat_lengths(const sg_flat *flat, const sg_tensor *t, size_t first, size_t end,
                          double *sum, sg_error *error)
{
    *sum = 0;
    if (first == end)
        return SG_OK;
    if (flat->device)
        return sg_cuda_flat_lengths(flat->device, t->offset + first * t->columns, end - first,
                                    t->columns, sum, error);
    size_t n = end - first, real = sg_real_size(flat->precision);
    double *length = malloc((n + sg_column_tiles(n)) * sizeof *length);
    if (!length)
        return no_room(error);
    const sg_rule_kernels *kernels = sg_rule_kernels_select(flat->precision);
    const char *row = values_of(flat, t) + first * t->columns * real;
#pragma omp parallel for schedule(static) if (n * t->columns > 1 << 17)
    for (size_t r = 0; r < n; r++)
        length[r] = sqrt(kernels->norm2(t->columns, row + r * t->columns * real));
    sg_column_sums(sg_rule_kernels_select(SG_FP64), n, 1, 1, false, length, sizeof *length,
                   length + n, sum);
    free(length);
    return SG_OK;
}
