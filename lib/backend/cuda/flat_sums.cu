/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sums over flat arrays of the device, in the order of backend/rule_math.h. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/block.h"
#include "backend/cuda/flat_parts.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST, LANES = SG_RULE_LANES, HALVES = SG_WARP / LANES };

/* Half a warp for each chunk. A warp a block: there are few chunks, and many processors. */
template <typename real>
__global__ void __launch_bounds__(SG_WARP)
    square_chunks(sg_cuda_slices list, bool only_coupled, const real *__restrict__ values)
{
    size_t number = (size_t)blockIdx.x * HALVES + threadIdx.x / LANES;
    sg_cuda_chunk_of_slice chunk = {nullptr, 0, 0};
    const real *x = nullptr;
    bool wanted = number < list.chunks;
    if (wanted) {
        chunk = sg_cuda_slice_chunk(list, number);
        wanted = !only_coupled || chunk.slice->coupled;
        x = values + chunk.slice->offset + chunk.start;
    }
    double sum = sg_cuda_add_squares(x, wanted ? chunk.n : 0); /* the whole warp comes */
    if (wanted && threadIdx.x % LANES == 0)
        list.of_chunks[number] = sum;
}

/* One block: groups of chunks, then slices and all of them in order. */
__global__ void __launch_bounds__(THREADS) add_chunks(sg_cuda_slices list, double *norm2)
{
    for (size_t g = threadIdx.x; g < list.groups; g += THREADS) {
        size_t s = 0;
        while (s + 1 < list.count && list.at[s + 1].first_group <= g)
            s++;
        size_t end = s + 1 < list.count ? list.at[s + 1].first_chunk : list.chunks;
        size_t c = list.at[s].first_chunk + (g - list.at[s].first_group) * SG_RULE_GROUP;
        end = end - c < (size_t)SG_RULE_GROUP ? end : c + SG_RULE_GROUP;
        double sum = 0;
        for (; c < end; c++)
            sum += list.of_chunks[c];
        list.of_groups[g] = sum;
    }
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    double all = 0;
    for (size_t s = 0, g = 0; s < list.count; s++) {
        size_t end = s + 1 < list.count ? list.at[s + 1].first_group : list.groups;
        double sum = 0;
        for (; g < end; g++)
            sum += list.of_groups[g];
        all += sum;
    }
    *norm2 = all;
}

/* Half a warp for each row. */
template <typename real>
__global__ void __launch_bounds__(SG_WARP)
    measure_rows(size_t rows, size_t columns, const real *__restrict__ x, double *lengths)
{
    size_t row = (size_t)blockIdx.x * HALVES + threadIdx.x / LANES;
    double sum = sg_cuda_add_squares(x + row * columns, row < rows ? columns : 0);
    if (threadIdx.x % LANES == 0 && row < rows)
        lengths[row] = sqrt(sum);
}

/* A thread for each column of each tile; then one for each column. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    add_rows(size_t rows, size_t columns, size_t tiles, const double *__restrict__ factor,
             bool squares, const real *__restrict__ x, double *sums)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= tiles * columns)
        return;
    size_t first = i / columns * SG_RULE_ROWS,
           stop = rows - first < SG_RULE_ROWS ? rows : first + SG_RULE_ROWS;
    double sum = 0, scale = factor ? *factor : 1;
    for (size_t r = first; r < stop; r++) {
        double y = scale * (double)x[r * columns + i % columns];
        sum += squares ? y * y : y;
    }
    sums[i] = sum;
}

__global__ void __launch_bounds__(THREADS)
    add_tiles(size_t columns, size_t tiles, const double *__restrict__ of_tiles, double *sums)
{
    size_t k = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (k >= columns)
        return;
    double sum = 0;
    for (size_t t = 0; t < tiles; t++)
        sum += of_tiles[t * columns + k];
    sums[k] = sum;
}

unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

unsigned halves_for(size_t n)
{
    return (unsigned)((n + HALVES - 1) / HALVES);
}

size_t aligned(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

} // namespace

sg_status sg_cuda_flat_list(sg_cuda_flat *flat, size_t count, const sg_cuda_slice *slices,
                            size_t more, sg_cuda_slices *list, void **behind, sg_error *error)
{
    sg_cuda_slice_there *here = (sg_cuda_slice_there *)calloc(count + 1, sizeof *here);
    if (!here)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a list of tensors");
    *list = {nullptr, count, 0, 0, nullptr, nullptr};
    for (size_t i = 0; i < count; i++) {
        const sg_cuda_slice *s = &slices[i];
        size_t n = s->rows * s->columns, chunks = (n + SG_RULE_CHUNK - 1) / SG_RULE_CHUNK;
        here[i] = {s->offset, n, s->second_offset, list->chunks, list->groups, s->coupled};
        list->chunks += chunks;
        list->groups += (chunks + SG_RULE_GROUP - 1) / SG_RULE_GROUP;
    }
    size_t bytes = aligned(count * sizeof *here),
           sums = aligned((list->chunks + list->groups) * sizeof(double));
    sg_status status = sg_cuda_flat_reserve(flat, bytes + sums + more, error);
    char *room = (char *)flat->room;
    list->at = (const sg_cuda_slice_there *)room;
    list->of_chunks = (double *)(room + bytes);
    list->of_groups = list->of_chunks + list->chunks;
    if (behind)
        *behind = room + bytes + sums;
    if (status == SG_OK)
        status = sg_cuda_to_device(room, here, count * sizeof *here, flat->stream, error);
    free(here);
    return status;
}

sg_status sg_cuda_flat_square(const sg_cuda_flat *flat, const sg_cuda_slices *list,
                              bool only_coupled, sg_error *error)
{
    if (list->chunks == 0)
        return SG_OK;
    if (sg_cuda_kernels_chosen() == SG_CUDA_FAST)
        return sg_cuda_flat_fast_square(flat, list, only_coupled, error);
    unsigned blocks = halves_for(list->chunks);
    return sg_cuda_check(flat->precision == SG_FP32
                             ? SG_LAUNCH(square_chunks<float>, blocks, SG_WARP, 0, flat->stream,
                                         *list, only_coupled, (const float *)flat->at)
                             : SG_LAUNCH(square_chunks<double>, blocks, SG_WARP, 0, flat->stream,
                                         *list, only_coupled, (const double *)flat->at),
                         "adding up squares", error);
}

sg_status sg_cuda_flat_total(const sg_cuda_flat *flat, const sg_cuda_slices *list, double *norm2,
                             sg_error *error)
{
    return sg_cuda_check(SG_LAUNCH(add_chunks, 1, THREADS, 0, flat->stream, *list, norm2),
                         "adding up squares", error);
}

extern "C" sg_status sg_cuda_flat_norm2(sg_cuda_flat *flat, size_t count,
                                        const sg_cuda_slice *slices, double *norm2, sg_error *error)
{
    sg_cuda_slices list;
    void *there;
    sg_status status = sg_cuda_flat_list(flat, count, slices, sizeof *norm2, &list, &there, error);
    if (status == SG_OK)
        status = sg_cuda_flat_square(flat, &list, false, error);
    if (status == SG_OK)
        status = sg_cuda_flat_total(flat, &list, (double *)there, error);
    return status ? status : sg_cuda_from_device(norm2, there, sizeof *norm2, flat->stream, error);
}

sg_status sg_cuda_flat_sum_columns(const sg_cuda_flat *flat, sg_precision precision,
                                   const void *values, size_t rows, size_t columns,
                                   const double *factor, bool squares, double *tiles, double *sums,
                                   sg_error *error)
{
    const char *doing = "adding up columns";
    size_t count = sg_cuda_column_tiles(rows);
    unsigned blocks = blocks_for(count * columns);
    sg_status status = sg_cuda_check(
        precision == SG_FP32
            ? SG_LAUNCH(add_rows<float>, blocks, THREADS, 0, flat->stream, rows, columns, count,
                        factor, squares, (const float *)values, tiles)
            : SG_LAUNCH(add_rows<double>, blocks, THREADS, 0, flat->stream, rows, columns, count,
                        factor, squares, (const double *)values, tiles),
        doing, error);
    return status ? status
                  : sg_cuda_check(SG_LAUNCH(add_tiles, blocks_for(columns), THREADS, 0,
                                            flat->stream, columns, count, tiles, sums),
                                  doing, error);
}

extern "C" sg_status sg_cuda_flat_columns(sg_cuda_flat *flat, size_t offset, size_t rows,
                                          size_t columns, double *sums, sg_error *error)
{
    size_t tiles = sg_cuda_column_tiles(rows) * columns;
    sg_status status = sg_cuda_flat_reserve(flat, (tiles + columns) * sizeof(double), error);
    double *room = (double *)flat->room;
    if (status == SG_OK)
        status = sg_cuda_flat_sum_columns(flat, flat->precision, sg_cuda_flat_at(flat, offset),
                                          rows, columns, nullptr, false, room, room + tiles, error);
    return status ? status
                  : sg_cuda_from_device(sums, room + tiles, columns * sizeof *sums, flat->stream,
                                        error);
}

extern "C" sg_status sg_cuda_flat_lengths(sg_cuda_flat *flat, size_t offset, size_t rows,
                                          size_t columns, double *sum, sg_error *error)
{
    size_t tiles = sg_cuda_column_tiles(rows);
    sg_status status = sg_cuda_flat_reserve(flat, (rows + tiles + 1) * sizeof(double), error);
    double *room = (double *)flat->room;
    const void *x = sg_cuda_flat_at(flat, offset);
    if (status == SG_OK)
        status =
            sg_cuda_check(flat->precision == SG_FP32
                              ? SG_LAUNCH(measure_rows<float>, halves_for(rows), SG_WARP, 0,
                                          flat->stream, rows, columns, (const float *)x, room)
                              : SG_LAUNCH(measure_rows<double>, halves_for(rows), SG_WARP, 0,
                                          flat->stream, rows, columns, (const double *)x, room),
                          "adding up squares", error);
    if (status == SG_OK)
        status = sg_cuda_flat_sum_columns(flat, SG_FP64, room, rows, 1, nullptr, false, room + rows,
                                          room + rows + tiles, error);
    return status ? status
                  : sg_cuda_from_device(sum, room + rows + tiles, sizeof *sum, flat->stream, error);
}
