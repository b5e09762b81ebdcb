/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Flat arrays on the device: memory, copies, rows of tables, sums. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/block.h"
#include "backend/cuda/flat_parts.h"
#include "core/rng.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST, LANES = SG_RULE_LANES };

/* A block a row. */
template <typename real>
__global__ void __launch_bounds__(THREADS) gather(size_t columns, const int32_t *__restrict__ rows,
                                                  const real *__restrict__ table, real *to)
{
    size_t row = (size_t)rows[blockIdx.x];
    for (size_t k = threadIdx.x; k < columns; k += THREADS)
        to[blockIdx.x * columns + k] = table[row * columns + k];
}

template <typename real>
__global__ void __launch_bounds__(THREADS) scatter(size_t columns, const int32_t *__restrict__ rows,
                                                   const real *__restrict__ from, real *table)
{
    size_t row = (size_t)rows[blockIdx.x];
    for (size_t k = threadIdx.x; k < columns; k += THREADS)
        table[row * columns + k] = from[blockIdx.x * columns + k];
}

/* A thread two numbers, which share their normals. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    emulate(size_t n, sg_cuda_noise how, const real *__restrict__ from, real *__restrict__ to)
{
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * 2;
    double normal[2] = {0, 0};
    if (i >= n)
        return;
    sg_address at = {how.seed, SG_STREAM_NOISE, how.step, 1, (uint32_t)(i >> 32), (uint32_t)i};
    if (how.noise > 0)
        sg_rng_normal_pair(at, normal);
    for (size_t k = 0; k < 2 && i + k < n; k++) {
        real x = (real)((double)from[i + k] * (1 + how.noise * normal[k]));
        to[i + k] = (real)sg_round_to((double)x, how.format);
    }
}

/* Half a warp for each piece of `each` numbers: lanes like the CPU's, added in their order. A warp a block: there
 * are few pieces, and many processors. */
template <typename real>
__global__ void __launch_bounds__(SG_WARP)
    add_squares(size_t n, size_t each, bool root, const real *__restrict__ x, double *sums)
{
    size_t piece = (size_t)blockIdx.x * (SG_WARP / LANES) + threadIdx.x / LANES;
    size_t start = piece * each, stop = start + each < n ? start + each : n;
    double sum = 0, total = 0;
    for (size_t i = start + threadIdx.x % LANES; i < stop; i += LANES)
        sum += (double)x[i] * (double)x[i];
    for (int l = 0; l < LANES; l++)
        total += __shfl_sync(SG_EVERY_LANE, sum, l, LANES);
    if (threadIdx.x % LANES == 0 && start < n)
        sums[piece] = root ? sqrt(total) : total;
}

/* A thread for each column of each tile; then one for each column. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    add_rows(size_t rows, size_t columns, size_t tiles, double factor, bool squares,
             const real *__restrict__ x, double *sums)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= tiles * columns)
        return;
    size_t first = i / columns * SG_RULE_ROWS,
           stop = rows - first < SG_RULE_ROWS ? rows : first + SG_RULE_ROWS;
    double sum = 0;
    for (size_t r = first; r < stop; r++) {
        double y = factor * (double)x[r * columns + i % columns];
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

const void *values_of(const sg_cuda_flat *flat, size_t offset)
{
    return sg_cuda_flat_at(flat, offset);
}

/* Queue the sums of squares of pieces, or their roots. */
sg_status queue_squares(const sg_cuda_flat *flat, size_t offset, size_t n, size_t each, bool root,
                        double *sums, sg_error *error)
{
    size_t pieces = (n + each - 1) / each, most = SG_WARP / LANES;
    unsigned blocks = (unsigned)((pieces + most - 1) / most);
    const void *x = values_of(flat, offset);
    return sg_cuda_check(flat->precision == SG_FP32
                             ? SG_LAUNCH(add_squares<float>, blocks, SG_WARP, 0, flat->stream, n,
                                         each, root, (const float *)x, sums)
                             : SG_LAUNCH(add_squares<double>, blocks, SG_WARP, 0, flat->stream, n,
                                         each, root, (const double *)x, sums),
                         "adding up squares", error);
}

} // namespace

extern "C" sg_status sg_cuda_flat_alloc(sg_cuda_flat **made, sg_precision precision, size_t size,
                                        const char *what, sg_error *error)
{
    *made = nullptr;
    sg_cuda_flat *flat = (sg_cuda_flat *)calloc(1, sizeof *flat);
    if (!flat)
        return sg_fail(error, SG_ENOMEM, "not enough memory for %s", what);
    flat->precision = precision;
    flat->real = precision == SG_FP32 ? sizeof(float) : sizeof(double);
    flat->size = size;
    sg_status status = sg_cuda_alloc(&flat->at, size * flat->real, what, error);
    if (status == SG_OK)
        status = sg_cuda_stream_alloc(&flat->stream, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaEventCreateWithFlags(&flat->used, cudaEventDisableTiming),
                               "making an event", error);
    if (status == SG_OK)
        status = sg_cuda_flat_zero(flat, 0, size, error);
    if (status != SG_OK)
        sg_cuda_flat_free(flat);
    else
        *made = flat;
    return status;
}

extern "C" void sg_cuda_flat_free(sg_cuda_flat *flat)
{
    if (!flat)
        return;
    (void)sg_cuda_use(nullptr);
    if (flat->used && cudaEventSynchronize(flat->used) != cudaSuccess)
        (void)cudaGetLastError(); /* of a device that is lost: others say so */
    if (flat->used && cudaEventDestroy(flat->used) != cudaSuccess)
        (void)cudaGetLastError();
    sg_cuda_free(flat->at);
    sg_cuda_free(flat->room);
    sg_cuda_stream_free(flat->stream);
    free(flat);
}

extern "C" sg_status sg_cuda_flat_enter(const sg_cuda_flat *flat, sg_cuda_stream *stream,
                                        sg_error *error)
{
    sg_status status = sg_cuda_use(error);
    return status || !flat ? status
                           : sg_cuda_check(cudaStreamWaitEvent(stream, flat->used, 0),
                                           "ordering the uses of an array", error);
}

extern "C" sg_status sg_cuda_flat_leave(const sg_cuda_flat *flat, sg_cuda_stream *stream,
                                        sg_error *error)
{
    return flat ? sg_cuda_check(cudaEventRecord(flat->used, stream),
                                "ordering the uses of an array", error)
                : SG_OK;
}

extern "C" void *sg_cuda_flat_at(const sg_cuda_flat *flat, size_t offset)
{
    return (char *)flat->at + offset * flat->real;
}

sg_status sg_cuda_flat_reserve(sg_cuda_flat *flat, size_t bytes, sg_error *error)
{
    sg_status status = sg_cuda_flat_enter(flat, flat->stream, error);
    if (status != SG_OK || bytes <= flat->room_bytes)
        return status;
    if (flat->room)
        status = sg_cuda_stream_wait(flat->stream, error);
    sg_cuda_free(flat->room);
    flat->room = nullptr;
    flat->room_bytes = 0;
    if (status == SG_OK)
        status = sg_cuda_alloc(&flat->room, bytes, "room for rows and sums of a net", error);
    if (status == SG_OK)
        flat->room_bytes = bytes;
    return status;
}

extern "C" sg_status sg_cuda_flat_put(sg_cuda_flat *flat, size_t offset, size_t n, const void *host,
                                      sg_error *error)
{
    sg_status status = sg_cuda_flat_enter(flat, flat->stream, error);
    if (status == SG_OK)
        status = sg_cuda_to_device(sg_cuda_flat_at(flat, offset), host, n * flat->real,
                                   flat->stream, error);
    return status ? status : sg_cuda_flat_leave(flat, flat->stream, error);
}

extern "C" sg_status sg_cuda_flat_get(sg_cuda_flat *flat, size_t offset, size_t n, void *host,
                                      sg_error *error)
{
    sg_status status = sg_cuda_flat_enter(flat, flat->stream, error);
    return status ? status
                  : sg_cuda_from_device(host, sg_cuda_flat_at(flat, offset), n * flat->real,
                                        flat->stream, error);
}

extern "C" sg_status sg_cuda_flat_zero(sg_cuda_flat *flat, size_t offset, size_t n, sg_error *error)
{
    sg_status status = sg_cuda_flat_enter(flat, flat->stream, error);
    if (status == SG_OK)
        status = sg_cuda_zero(sg_cuda_flat_at(flat, offset), n * flat->real, flat->stream, error);
    return status ? status : sg_cuda_flat_leave(flat, flat->stream, error);
}

extern "C" sg_status sg_cuda_flat_copy(sg_cuda_flat *flat, const sg_cuda_flat *source,
                                       sg_error *error)
{
    sg_cuda_flat_uses uses = {flat->stream, {flat, source}};
    sg_status status = uses.enter(error);
    if (status == SG_OK)
        status = sg_cuda_copy(flat->at, source->at, flat->size * flat->real, flat->stream, error);
    return uses.leave(status, error);
}

extern "C" sg_status sg_cuda_flat_emulate(sg_cuda_flat *flat, const sg_cuda_flat *source,
                                          const sg_cuda_noise *how, sg_error *error)
{
    size_t n = flat->size;
    unsigned blocks = blocks_for((n + 1) / 2);
    sg_cuda_flat_uses uses = {flat->stream, {flat, source}};
    sg_status status = uses.enter(error);
    if (status == SG_OK)
        status =
            sg_cuda_check(flat->precision == SG_FP32
                              ? SG_LAUNCH(emulate<float>, blocks, THREADS, 0, flat->stream, n, *how,
                                          (const float *)source->at, (float *)flat->at)
                              : SG_LAUNCH(emulate<double>, blocks, THREADS, 0, flat->stream, n,
                                          *how, (const double *)source->at, (double *)flat->at),
                          "rounding parameters", error);
    return uses.leave(status, error);
}

/* ---- rows of tables */

/* Numbers of rows to the device, and room for the rows behind them. */
static sg_status put_rows(sg_cuda_flat *flat, size_t columns, size_t count, const int32_t *rows,
                          void **room, sg_error *error)
{
    size_t numbers = (count * sizeof *rows + 15) / 16 * 16;
    sg_status status = sg_cuda_flat_reserve(flat, numbers + count * columns * flat->real, error);
    if (status == SG_OK)
        status = sg_cuda_to_device(flat->room, rows, count * sizeof *rows, flat->stream, error);
    *room = (char *)flat->room + numbers;
    return status;
}

extern "C" sg_status sg_cuda_flat_gather(sg_cuda_flat *flat, size_t offset, size_t columns,
                                         size_t count, const int32_t *rows, void *host,
                                         sg_error *error)
{
    void *room;
    if (count == 0)
        return SG_OK;
    sg_status status = put_rows(flat, columns, count, rows, &room, error);
    const int32_t *numbers = (const int32_t *)flat->room;
    const void *table = values_of(flat, offset);
    if (status == SG_OK)
        status =
            sg_cuda_check(flat->precision == SG_FP32
                              ? SG_LAUNCH(gather<float>, (unsigned)count, THREADS, 0, flat->stream,
                                          columns, numbers, (const float *)table, (float *)room)
                              : SG_LAUNCH(gather<double>, (unsigned)count, THREADS, 0, flat->stream,
                                          columns, numbers, (const double *)table, (double *)room),
                          "reading rows of a table", error);
    return status
               ? status
               : sg_cuda_from_device(host, room, count * columns * flat->real, flat->stream, error);
}

extern "C" sg_status sg_cuda_flat_scatter(sg_cuda_flat *flat, size_t offset, size_t columns,
                                          size_t count, const int32_t *rows, const void *host,
                                          sg_error *error)
{
    void *room, *table = sg_cuda_flat_at(flat, offset);
    if (count == 0)
        return SG_OK;
    sg_status status = put_rows(flat, columns, count, rows, &room, error);
    if (status == SG_OK)
        status = sg_cuda_to_device(room, host, count * columns * flat->real, flat->stream, error);
    const int32_t *numbers = (const int32_t *)flat->room;
    if (status == SG_OK)
        status = sg_cuda_check(
            flat->precision == SG_FP32
                ? SG_LAUNCH(scatter<float>, (unsigned)count, THREADS, 0, flat->stream, columns,
                            numbers, (const float *)room, (float *)table)
                : SG_LAUNCH(scatter<double>, (unsigned)count, THREADS, 0, flat->stream, columns,
                            numbers, (const double *)room, (double *)table),
            "writing rows of a table", error);
    return status ? status : sg_cuda_flat_leave(flat, flat->stream, error);
}

/* ---- sums */

/* The host adds up the chunks: there are few, and it is quick at that. */
extern "C" sg_status sg_cuda_flat_norm2(sg_cuda_flat *flat, size_t offset, size_t n, double *norm2,
                                        sg_error *error)
{
    size_t chunks = (n + SG_RULE_CHUNK - 1) / SG_RULE_CHUNK;
    double *sums = (double *)malloc(chunks * sizeof *sums);
    *norm2 = 0;
    sg_status status = sums || chunks == 0
                           ? sg_cuda_flat_reserve(flat, chunks * sizeof *sums, error)
                           : sg_fail(error, SG_ENOMEM, "not enough memory for sums of squares");
    if (status == SG_OK && chunks > 0)
        status = queue_squares(flat, offset, n, SG_RULE_CHUNK, false, (double *)flat->room, error);
    if (status == SG_OK)
        status = sg_cuda_from_device(sums, flat->room, chunks * sizeof *sums, flat->stream, error);
    for (size_t c = 0; c < chunks && status == SG_OK; c++)
        *norm2 += sums[c];
    free(sums);
    return status;
}

sg_status sg_cuda_flat_sum_columns(const sg_cuda_flat *flat, sg_precision precision,
                                   const void *values, size_t rows, size_t columns, double factor,
                                   bool squares, double *tiles, double *sums, sg_error *error)
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
        status = sg_cuda_flat_sum_columns(flat, flat->precision, values_of(flat, offset), rows,
                                          columns, 1, false, room, room + tiles, error);
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
    if (status == SG_OK)
        status = queue_squares(flat, offset, rows * columns, columns, true, room, error);
    if (status == SG_OK)
        status = sg_cuda_flat_sum_columns(flat, SG_FP64, room, rows, 1, 1, false, room + rows,
                                          room + rows + tiles, error);
    return status ? status
                  : sg_cuda_from_device(sum, room + rows + tiles, sizeof *sum, flat->stream, error);
}
