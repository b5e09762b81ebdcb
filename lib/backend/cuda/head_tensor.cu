/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The output layer on tensor cores: rounding, chunks of logits in fp32, the forward, draws. */
#include "backend/cuda/launch.h"

#include <stdint.h>

#include "backend/cuda/head_tensor.h"

namespace
{

enum {
    THREADS = SG_BLOCK_MOST,
    WARP = SG_WARP,
    WARPS = SG_BLOCK_WARPS,
    EIGHT = 8,
    TILES = SG_CUDA_HEAD_PART / SG_HEAD_TILE, /* of a warp */
    NORM_ROWS = 8,
    NORM_LANES = THREADS / NORM_ROWS
};
static_assert((int)SG_HEAD_TILE == (int)WARP * (int)EIGHT, "a lane reads eight tokens of a tile");
static_assert((int)TILES == 4, "sums of four tiles are added at once");

/* Eight numbers a thread, into to[all rows][padded], with the further features; zeros beyond `rows`. wide: rows of `from` start
 * where 16 bytes start. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    round_all(unsigned eights, size_t rows, unsigned width, unsigned padded, bool wide,
              bool weights, const float *__restrict__ from, const float *__restrict__ bias,
              T *__restrict__ to)
{
    unsigned i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= eights)
        return;
    unsigned each = padded / EIGHT, row = i / each, column = i % each * EIGHT;
    float x[EIGHT];
    const float *at = from + (size_t)row * width + column;
    if (row < rows && column + EIGHT <= width && wide)
        sg_load_eight(at, x);
    else
        for (unsigned k = 0; k < EIGHT; k++)
            x[k] = row >= rows          ? 0.0f
                   : column + k < width ? at[k]
                                        : sg_cuda_extra<T>(weights, bias ? (double)bias[row] : 0.0,
                                                           column + k - width);
    sg_store_eight(to + (size_t)row * padded + column, x);
}

/* A warp for each part of each row reads every logit once: four tiles share one greatest logit, and each has its own sum. Tiles
 * that lie 87 nats below it in the same part have no mass. The sums of the four go through one tree: lanes 8t.. end with
 * tile t's. */
__global__ void __launch_bounds__(THREADS)
    find_masses(sg_cuda_chunk chunk, size_t rows, float sharpness, const float *__restrict__ logits,
                double *log_mass)
{
    unsigned lane = threadIdx.x % WARP;
    size_t part = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP, start = part * SG_CUDA_HEAD_PART;
    if (start >= chunk.n)
        return; /* the whole warp */
    const float *z = logits + blockIdx.y * chunk.lead + start + lane * EIGHT;
    float x[TILES][EIGHT], max = -INFINITY, sum[TILES];
    for (int t = 0; t < TILES; t++)
        sg_load_eight(z + t * SG_HEAD_TILE, x[t]);
    if (start + SG_CUDA_HEAD_PART > chunk.n)
        for (int t = 0; t < TILES; t++)
            for (int k = 0; k < EIGHT; k++)
                if (start + t * SG_HEAD_TILE + lane * EIGHT + k >= chunk.n)
                    x[t][k] = -INFINITY;
    for (int t = 0; t < TILES; t++)
        for (int k = 0; k < EIGHT; k++)
            max = x[t][k] > max ? x[t][k] : max;
    max = sg_warp_max(max) * sharpness;
    float from = max == -INFINITY ? 0.0f : max;
    for (int t = 0; t < TILES; t++) {
        sum[t] = 0;
        for (int k = 0; k < EIGHT; k++)
            sum[t] += __expf(fmaf(x[t][k], sharpness, -from));
    }
    bool upper = lane & 16, odd = lane & 8;
    float low = upper ? sum[2] : sum[0], high = upper ? sum[3] : sum[1];
    low += __shfl_xor_sync(SG_EVERY_LANE, upper ? sum[0] : sum[2], 16);
    high += __shfl_xor_sync(SG_EVERY_LANE, upper ? sum[1] : sum[3], 16);
    float mine = (odd ? high : low) + __shfl_xor_sync(SG_EVERY_LANE, odd ? low : high, 8);
    for (int half = 4; half > 0; half /= 2)
        mine += __shfl_xor_sync(SG_EVERY_LANE, mine, half);
    size_t tile = start / SG_HEAD_TILE + lane / EIGHT;
    if (lane % EIGHT == 0 && tile * SG_HEAD_TILE < chunk.n)
        log_mass[(chunk.token / SG_HEAD_TILE + tile) * rows + chunk.row + blockIdx.y] =
            (double)from + (double)logf(mine);
}

/* Lanes of a row add every NORM_LANES-th of its tiles, and then the lanes are added in their order. */
__global__ void __launch_bounds__(THREADS)
    find_norms(size_t tiles, size_t rows, const double *__restrict__ log_mass, double *log_norm)
{
    __shared__ double shared[NORM_LANES][NORM_ROWS];
    unsigned r = threadIdx.x % NORM_ROWS, lane = threadIdx.x / NORM_ROWS;
    size_t row = (size_t)blockIdx.x * NORM_ROWS + r;
    double max = -(double)INFINITY, sum = 0;
    for (size_t t = lane; t < tiles && row < rows; t += NORM_LANES) {
        double x = log_mass[t * rows + row];
        max = x > max || x != x ? x : max; /* NaN stays */
    }
    shared[lane][r] = max;
    __syncthreads();
    for (unsigned l = 0; l < NORM_LANES; l++)
        max = shared[l][r] > max || shared[l][r] != shared[l][r] ? shared[l][r] : max;
    __syncthreads();
    for (size_t t = lane; t < tiles && row < rows; t += NORM_LANES)
        sum += sg_exp(log_mass[t * rows + row] - max);
    shared[lane][r] = sum;
    __syncthreads();
    if (lane != 0 || row >= rows)
        return;
    for (unsigned l = 1; l < NORM_LANES; l++)
        sum += shared[l][r];
    log_norm[row] = isfinite(max) ? max + sg_log(sum) : max;
}

/* One logit by a warp: every lane gets it. */
template <typename T>
__device__ float logit(float sharpness, size_t padded, const T *weights, const T *hidden,
                       size_t token)
{
    float sum = 0, w[EIGHT], h[EIGHT];
    for (size_t k = threadIdx.x % WARP * EIGHT; k < padded; k += WARP * EIGHT) {
        sg_load_eight(weights + token * padded + k, w);
        sg_load_eight(hidden + k, h);
        for (int e = 0; e < EIGHT; e++)
            sum = fmaf(w[e], h[e], sum);
    }
    return sg_warp_sum(sum) * sharpness;
}

/* Log-probabilities of samples, a warp each. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    sample(float sharpness, size_t padded, const T *__restrict__ weights,
           const T *__restrict__ hidden, size_t count, const int32_t *__restrict__ tokens,
           const uint32_t *__restrict__ row, const double *__restrict__ log_norm, double *log_prob)
{
    size_t i = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP;
    if (i >= count)
        return; /* the whole warp */
    float z = logit(sharpness, padded, weights, hidden + row[i] * padded, (size_t)tokens[i]);
    if (threadIdx.x % WARP == 0)
        log_prob[i] = (double)z - log_norm[row[i]];
}

/* A block makes the logits of a draw's tile again, a warp one after the other; value[i] becomes its log-probability. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    draw(size_t vocabulary, float sharpness, size_t padded, const T *__restrict__ weights,
         const T *__restrict__ hidden, const uint32_t *__restrict__ row,
         const double *__restrict__ share, const double *__restrict__ log_norm, int32_t *tokens,
         double *value)
{
    __shared__ float made[THREADS];
    size_t i = blockIdx.x, first = (size_t)tokens[i];
    for (unsigned t = threadIdx.x / WARP; t < THREADS; t += WARPS) {
        float z = -INFINITY;
        if (first + t < vocabulary)
            z = logit(sharpness, padded, weights, hidden + row[i] * padded, first + t);
        if (threadIdx.x % WARP == 0)
            made[t] = z;
    }
    __syncthreads();
    sg_cuda_choose(made[threadIdx.x], share[i], log_norm[row[i]], &tokens[i], &value[i]);
}

unsigned blocks_for(size_t n, size_t each)
{
    return (unsigned)((n + each - 1) / each);
}

template <typename T>
sg_status round_matrix(sg_cuda_head *head, bool weights, size_t rows, size_t all_rows,
                       sg_error *error)
{
    size_t width = head->layer.width, padded = sg_cuda_narrow_width(head),
           eights = all_rows * padded / EIGHT;
    sg_cuda_head_room to = weights ? SG_CUDA_ROOM_NARROW_WEIGHTS : SG_CUDA_ROOM_NARROW_HIDDEN;
    const void *from = weights ? head->layer.weights : head->hidden;
    const void *bias = weights ? head->layer.bias : nullptr;
    if (eights > UINT32_MAX - THREADS)
        return sg_fail(
            error, SG_EUNSUPPORTED,
            "an output layer of %zu x %zu is too large for tensor cores; leave run.matmul "
            "at same",
            rows, width);
    bool wide = width % 4 == 0 && (uintptr_t)from % 16 == 0;
    sg_status status = sg_cuda_head_reserve(head, to, all_rows * padded * sizeof(T), error);
    return status ? status
                  : sg_cuda_check(SG_LAUNCH(round_all<T>, blocks_for(eights, THREADS), THREADS, 0,
                                            head->stream, (unsigned)eights, rows, (unsigned)width,
                                            (unsigned)padded, wide, weights, (const float *)from,
                                            (const float *)bias, sg_cuda_head_at<T>(head, to)),
                                  "rounding the output layer", error);
}

template <typename T> sg_status round_layer(sg_cuda_head *head, sg_error *error)
{
    size_t v = head->layer.vocabulary;
    sg_status status = round_matrix<T>(head, true, v, sg_cuda_narrow_tokens(v), error);
    return status ? status : round_matrix<T>(head, false, head->rows, head->rows, error);
}

template <typename T> sg_status queue_forward(sg_cuda_head *head, size_t count, sg_error *error)
{
    size_t rows = head->rows, padded = sg_cuda_narrow_width(head);
    const char *doing = "normalising rows of logits";
    double *log_mass = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_MASS),
           *log_norm = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM);
    const T *hidden = sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_HIDDEN);
    sg_cuda_chunk chunk;
    sg_status status = sg_cuda_chunk_first(head, rows, &chunk, error);
    for (bool more = true; more && status == SG_OK;
         more = status == SG_OK && sg_cuda_chunk_next(head, rows, &chunk)) {
        status = sg_cuda_head_tensor_logits(head, &chunk, error);
        dim3 grid(blocks_for(chunk.n, SG_CUDA_HEAD_PART * WARPS), (unsigned)chunk.m);
        if (status == SG_OK)
            status = sg_cuda_check(SG_LAUNCH(find_masses, grid, THREADS, 0, head->stream, chunk,
                                             rows, (float)head->layer.sharpness,
                                             sg_cuda_head_at<float>(head, SG_CUDA_ROOM_LOGITS),
                                             log_mass),
                                   doing, error);
    }
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(find_norms, blocks_for(rows, NORM_ROWS), THREADS, 0,
                                         head->stream, sg_cuda_head_tiles(head), rows, log_mass,
                                         log_norm),
                               doing, error);
    if (status == SG_OK && count)
        status =
            sg_cuda_check(SG_LAUNCH(sample<T>, blocks_for(count, WARPS), THREADS, 0, head->stream,
                                    (float)head->layer.sharpness, padded,
                                    sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_WEIGHTS), hidden,
                                    count, sg_cuda_head_at<int32_t>(head, SG_CUDA_ROOM_TOKENS),
                                    sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ROWS), log_norm,
                                    sg_cuda_head_at<double>(head, SG_CUDA_ROOM_VALUES)),
                          doing, error);
    return status;
}

template <typename T> cudaError_t launch_draw(const sg_cuda_head *head, size_t count)
{
    return SG_LAUNCH(draw<T>, (unsigned)count, THREADS, 0, head->stream, head->layer.vocabulary,
                     (float)head->layer.sharpness, sg_cuda_narrow_width(head),
                     sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_WEIGHTS),
                     sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_HIDDEN),
                     sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ROWS),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_SHARES),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM),
                     sg_cuda_head_at<int32_t>(head, SG_CUDA_ROOM_TOKENS),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_VALUES));
}

} // namespace

/* So many bytes of logits that chunk, weights and gradients of a chunk stay in the device's L2 together, in steps of powers of
 * two; and room for what is loaded next. */
extern "C" sg_status sg_cuda_head_matmul(sg_cuda_head *head, sg_matmul matmul, sg_error *error)
{
    if (matmul == head->matmul)
        return SG_OK;
    sg_cuda_tensor_free(head->tensor);
    head->tensor = nullptr;
    head->matmul = SG_MATMUL_SAME;
    sg_cuda_facts facts;
    cudaDeviceProp device;
    sg_status status = sg_cuda_describe(&facts, error);
    if (status == SG_OK)
        status = sg_cuda_check(cudaGetDeviceProperties(&device, facts.index),
                               "asking the device what it is", error);
    if (status == SG_OK)
        status = sg_cuda_tensor_alloc(&head->tensor, matmul, error);
    if (status != SG_OK)
        return status;
    head->matmul = matmul;
    head->processors = (size_t)facts.multiprocessors;
    head->limit = (size_t)4 << 20;
    while (head->limit < (size_t)32 << 20 && 3 * head->limit <= (size_t)device.l2CacheSize)
        head->limit *= 2;
    return SG_OK;
}

sg_status sg_cuda_head_round(sg_cuda_head *head, sg_error *error)
{
    sg_status status = head->matmul == SG_MATMUL_BF16 ? round_layer<uint16_t>(head, error)
                                                      : round_layer<float>(head, error);
    head->rounded = status == SG_OK;
    return status;
}

sg_status sg_cuda_head_tensor_product(const sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                      const void *hidden, size_t columns, void *logits, bool narrow,
                                      sg_error *error)
{
    size_t padded = sg_cuda_narrow_width(head), each = sg_cuda_narrow_size(head);
    const char *weights = sg_cuda_head_at<char>(head, SG_CUDA_ROOM_NARROW_WEIGHTS);
    sg_cuda_tensor_product product = {};
    product.m = chunk->m;
    product.n = chunk->n;
    product.k = columns;
    product.a = {(const char *)hidden + chunk->row * padded * each, padded, false, 0};
    product.b = {weights + chunk->token * padded * each, padded, true, 0};
    product.c = logits;
    product.lead = chunk->lead;
    product.narrow = narrow;
    return sg_cuda_tensor_multiply(head->tensor, &product, head->stream, error);
}

/* Without a bias the further features add nothing. */
sg_status sg_cuda_head_tensor_logits(sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                     sg_error *error)
{
    size_t columns = head->layer.bias ? sg_cuda_narrow_width(head)
                                      : (head->layer.width + EIGHT - 1) / EIGHT * EIGHT;
    sg_status status = head->rounded ? SG_OK : sg_cuda_head_round(head, error);
    return status ? status
                  : sg_cuda_head_tensor_product(
                        head, chunk, sg_cuda_head_at<void>(head, SG_CUDA_ROOM_NARROW_HIDDEN),
                        columns, sg_cuda_head_at<void>(head, SG_CUDA_ROOM_LOGITS), false, error);
}

/* Rounding is part of it, as parameters change from step to step. */
sg_status sg_cuda_head_tensor_forward(sg_cuda_head *head, size_t count, sg_error *error)
{
    sg_status status = sg_cuda_head_round(head, error);
    if (status != SG_OK)
        return status;
    return head->matmul == SG_MATMUL_BF16 ? queue_forward<uint16_t>(head, count, error)
                                          : queue_forward<float>(head, count, error);
}

sg_status sg_cuda_head_tensor_draw(sg_cuda_head *head, size_t count, sg_error *error)
{
    return sg_cuda_check(head->matmul == SG_MATMUL_BF16 ? launch_draw<uint16_t>(head, count)
                                                        : launch_draw<float>(head, count),
                         "drawing tokens", error);
}
