/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/cuda/launch.h"

#include "backend/cuda/machine.h"
#include "backend/cuda/memory.h"
#include "backend/cuda/narrow.h"
#include "backend/cuda/tensor.h"

namespace
{

enum { THREADS = 256, ROUNDS = 12, LAUNCHES = 4, CHAINS = 16 };
#ifdef SG_EMULATED
enum { PAIRS = 1, BLOCKS_EACH = 1, SIDE = 64 };
const size_t FOURS = (size_t)1 << 10;
#else
enum { PAIRS = 8192, BLOCKS_EACH = 16, SIDE = 8192 };
const size_t FOURS = (size_t)1 << 24; /* 256 MiB an array */
#endif

__global__ void __launch_bounds__(THREADS)
    copy(size_t fours, const float4 *__restrict__ from, float4 *__restrict__ to)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < fours)
        to[i] = from[i];
}

__global__ void __launch_bounds__(THREADS) in_place(size_t fours, float4 *x)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= fours)
        return;
    float4 v = x[i];
    x[i] = make_float4(v.x + 1, v.y + 1, v.z + 1, v.w + 1);
}

/* Four loads a thread; the sum is stored only if it is a number that zeros do not give. */
__global__ void __launch_bounds__(THREADS)
    read_all(size_t fours, const float4 *__restrict__ x, float4 *__restrict__ never)
{
    size_t first = (size_t)blockIdx.x * THREADS * 4 + threadIdx.x;
    float sum = 0;
    for (int k = 0; k < 4; k++) {
        size_t i = first + (size_t)k * THREADS;
        if (i < fours) {
            float4 v = x[i];
            sum += v.x + v.y + v.z + v.w;
        }
    }
    if (sum == 1.0f)
        never[0] = make_float4(sum, sum, sum, sum);
}

/* CHAINS independent chains a thread, which keep its pipeline full; the sum is stored only if it is a
 * number that zeros do not give. */
__global__ void __launch_bounds__(THREADS) multiply_and_add(float factor, float *never)
{
    float x[CHAINS];
    for (int k = 0; k < CHAINS; k++)
        x[k] = 0;
    for (int i = 0; i < PAIRS; i++)
        for (int k = 0; k < CHAINS; k++)
            x[k] = fmaf(x[k], factor, factor);
    float sum = 0;
    for (int k = 0; k < CHAINS; k++)
        sum += x[k];
    if (sum == 1.0f)
        *never = sum;
}

struct arithmetic {
    unsigned blocks;
    sg_cuda_stream *stream;
    float *never;
};

sg_status run_arithmetic(void *context, sg_error *error)
{
    const arithmetic *w = (const arithmetic *)context;
    return sg_cuda_check(
        SG_LAUNCH(multiply_and_add, w->blocks, THREADS, 0, w->stream, 0.0f, w->never),
        "measuring the device's arithmetic", error);
}

/* Numbers between -1 and 1 that look random: zeros would cost less power, and so run faster, than any that matter. */
template <typename T> __global__ void __launch_bounds__(THREADS) fill(size_t n, T *x)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        sg_narrow((float)((uint32_t)i * 2654435761u >> 8) * 0x1p-23f - 1, &x[i]);
}

struct squares {
    sg_cuda_tensor *tensor;
    sg_cuda_stream *stream;
    void *a, *b, *c;
};

sg_status run_squares(void *context, sg_error *error)
{
    const squares *w = (const squares *)context;
    sg_cuda_tensor_product product = {};
    product.m = product.n = product.k = SIDE;
    product.a = {w->a, SIDE, false, 0};
    product.b = {w->b, SIDE, true, 0};
    product.c = w->c;
    product.lead = SIDE;
    product.narrow = true;
    sg_status status = SG_OK;
    for (int k = 0; k < LAUNCHES && status == SG_OK; k++)
        status = sg_cuda_tensor_multiply(w->tensor, &product, w->stream, error);
    return status;
}

template <typename T>
sg_status measure_squares(sg_cuda_tensor *tensor, double *gflops, sg_error *error)
{
    const size_t n = (size_t)SIDE * SIDE;
    const char *what = "the measure of the device's arithmetic";
    sg_cuda_own_stream stream;
    sg_cuda_array<T> a, b, c;
    sg_status status = stream.alloc(error);
    if (status == SG_OK)
        status = a.alloc(n, what, error);
    if (status == SG_OK)
        status = b.alloc(n, what, error);
    if (status == SG_OK)
        status = c.alloc(n, what, error);
    T *const inputs[] = {a.at, b.at};
    for (T *x : inputs)
        if (status == SG_OK)
            status = sg_cuda_check(
                SG_LAUNCH(fill<T>, (unsigned)(n / THREADS), THREADS, 0, stream.at, n, x),
                "measuring the device's arithmetic", error);
    squares w = {tensor, stream.at, a.at, b.at, c.at};
    double flop = 2.0 * SIDE * SIDE * SIDE * LAUNCHES;
    for (int round = 0; round < ROUNDS && status == SG_OK; round++) {
        double seconds = 0;
        status = sg_cuda_time(stream.at, run_squares, &w, &seconds, error);
        double rate = seconds > 0 ? flop / seconds * 1e-9 : 0;
        if (round > 1 && rate > *gflops) /* the first two warm up */
            *gflops = rate;
    }
    return status;
}

struct work {
    sg_cuda_traffic traffic;
    bool by_driver;
    sg_cuda_stream *stream;
    float4 *x, *y;
};

sg_status run(void *context, sg_error *error)
{
    const work *w = (const work *)context;
    cudaError_t code = cudaSuccess;
    unsigned blocks = (unsigned)((FOURS + THREADS - 1) / THREADS);
    for (int k = 0; k < LAUNCHES && code == cudaSuccess; k++)
        if (w->traffic == SG_CUDA_READ)
            code = SG_LAUNCH(read_all, (blocks + 3) / 4, THREADS, 0, w->stream, FOURS, w->x, w->y);
        else if (w->traffic == SG_CUDA_IN_PLACE)
            code = SG_LAUNCH(in_place, blocks, THREADS, 0, w->stream, FOURS, w->x);
        else if (w->by_driver)
            code = cudaMemcpyAsync(w->y, w->x, FOURS * sizeof(float4), cudaMemcpyDeviceToDevice,
                                   w->stream);
        else
            code = SG_LAUNCH(copy, blocks, THREADS, 0, w->stream, FOURS, w->x, w->y);
    return sg_cuda_check(code, "measuring the device's memory", error);
}

} // namespace

extern "C" sg_status sg_cuda_machine_rate(sg_cuda_traffic traffic, double *gb_per_s,
                                          sg_error *error)
{
    sg_cuda_own_stream stream;
    sg_cuda_array<float4> x, y;
    *gb_per_s = 0;
    sg_status status = stream.alloc(error);
    if (status == SG_OK)
        status = x.alloc(FOURS, "the measure of the device's memory", error);
    if (status == SG_OK)
        status = y.alloc(FOURS, "the measure of the device's memory", error);
    if (status == SG_OK)
        status = sg_cuda_zero(x.at, FOURS * sizeof(float4), stream.at, error);
    if (status == SG_OK)
        status = sg_cuda_zero(y.at, FOURS * sizeof(float4), stream.at, error);
    double bytes =
        (traffic == SG_CUDA_READ ? 1.0 : 2.0) * (double)(FOURS * sizeof(float4)) * LAUNCHES;
    for (int round = 0; round < ROUNDS && status == SG_OK; round++) {
        work w = {traffic, round % 2 == 0, stream.at, x.at, y.at};
        double seconds = 0;
        status = sg_cuda_time(stream.at, run, &w, &seconds, error);
        double rate = seconds > 0 ? bytes / seconds * 1e-9 : 0;
        if (round > 1 && rate > *gb_per_s) /* the first two warm up */
            *gb_per_s = rate;
    }
    return status;
}

extern "C" sg_status sg_cuda_machine_gflops(double *gflops, sg_error *error)
{
    sg_cuda_own_stream stream;
    sg_cuda_array<float> never;
    sg_cuda_facts facts = {};
    *gflops = 0;
    sg_status status = sg_cuda_describe(&facts, error);
    if (status == SG_OK)
        status = stream.alloc(error);
    if (status == SG_OK)
        status = never.alloc(1, "the measure of the device's arithmetic", error);
    arithmetic w = {(unsigned)facts.multiprocessors * BLOCKS_EACH, stream.at, never.at};
    double flop = 2.0 * CHAINS * PAIRS * THREADS * (double)w.blocks;
    for (int round = 0; round < ROUNDS && status == SG_OK; round++) {
        double seconds = 0;
        status = sg_cuda_time(stream.at, run_arithmetic, &w, &seconds, error);
        double rate = seconds > 0 ? flop / seconds * 1e-9 : 0;
        if (round > 1 && rate > *gflops) /* the first two warm up */
            *gflops = rate;
    }
    return status;
}

extern "C" sg_status sg_cuda_machine_matmul(sg_matmul matmul, double *gflops, sg_error *error)
{
    sg_cuda_tensor *tensor = nullptr;
    *gflops = 0;
    if (matmul == SG_MATMUL_SAME)
        return sg_cuda_machine_gflops(gflops, error);
    sg_status status = sg_cuda_tensor_alloc(&tensor, matmul, error);
    if (status == SG_OK)
        status = matmul == SG_MATMUL_BF16 ? measure_squares<uint16_t>(tensor, gflops, error)
                                          : measure_squares<float>(tensor, gflops, error);
    sg_cuda_tensor_free(tensor);
    return status;
}
