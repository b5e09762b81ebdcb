/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Flat arrays on the device: memory, order, copies. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/block.h"
#include "backend/cuda/flat_parts.h"
#include "core/rng.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST };

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

unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
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

extern "C" sg_cuda_stream *sg_cuda_flat_stream(const sg_cuda_flat *flat)
{
    return flat->stream;
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
