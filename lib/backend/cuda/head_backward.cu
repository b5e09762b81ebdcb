/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gradients of the output layer: a chunk of logits is made again, becomes the logit gradient in place, and is
 * multiplied with features and weights. */
#include "backend/cuda/launch.h"

#include "backend/cuda/head_parts.h"
#include "backend/cuda/head_tensor.h"
#include "backend/cuda/matmul.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST };

template <typename real>
__global__ void __launch_bounds__(THREADS) gather(size_t width, const uint32_t *__restrict__ active,
                                                  const real *__restrict__ from, real *to)
{
    for (size_t k = threadIdx.x; k < width; k += THREADS)
        to[blockIdx.x * width + k] = from[active[blockIdx.x] * width + k];
}

/* diffuse * pi; or 0. log_norm in two parts: rounding it once would scale the whole row. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    spread(sg_cuda_chunk chunk, bool dense, const uint32_t *__restrict__ active,
           const double *__restrict__ diffuse, const double *__restrict__ log_norm, real *logits)
{
    size_t v = (size_t)blockIdx.x * THREADS + threadIdx.x, a = chunk.row + blockIdx.y;
    if (v >= chunk.n)
        return;
    real *z = logits + blockIdx.y * chunk.lead + v;
    double norm = log_norm[active[a]];
    real high = (real)norm, low = (real)(norm - (double)high);
    *z = dense ? sg_cuda_decay((real)diffuse[a], (*z - high) - low) : (real)0;
}

/* The first of the samples that share a token adds them all, in their order. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    add_pushes(sg_cuda_chunk chunk, sg_cuda_samples s, real *logits)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= s.count)
        return;
    uint32_t place = s.place[i];
    int32_t token = s.tokens[i];
    if (i > 0 && s.place[i - 1] == place && s.tokens[i - 1] == token)
        return;
    size_t v = (size_t)token - chunk.token, r = place - chunk.row; /* wrap where below */
    if (v >= chunk.n || r >= chunk.m)
        return;
    real *z = logits + r * chunk.lead + v, sum = *z;
    for (; i < s.count && s.place[i] == place && s.tokens[i] == token; i++)
        sum += (real)s.push[i];
    *z = sum;
}

/* The bias' gradient: sums over the rows, in their order. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    add_rows(sg_cuda_chunk chunk, const real *__restrict__ logits, real *bias)
{
    size_t v = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (v >= chunk.n)
        return;
    real sum = chunk.row ? bias[chunk.token + v] : (real)0;
    for (size_t r = 0; r < chunk.m; r++)
        sum += logits[r * chunk.lead + v];
    bias[chunk.token + v] = sum;
}

/* The features' gradient of a row, in its own place. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    add_parts(sg_cuda_chunk chunk, size_t width, size_t parts, const uint32_t *__restrict__ active,
              const real *__restrict__ part, real *hidden)
{
    real *to = hidden + active[chunk.row + blockIdx.x] * width;
    for (size_t k = threadIdx.x; k < width; k += THREADS) {
        real sum = to[k];
        for (size_t p = 0; p < parts; p++)
            sum += part[(p * chunk.m + blockIdx.x) * width + k];
        to[k] = sum;
    }
}

unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

/* What a backward knows; gradients on the device, bias and hidden may be NULL. */
template <typename real> struct backward {
    sg_cuda_head *head;
    sg_cuda_samples sampled;
    size_t rows, width;
    sg_precision precision;
    const uint32_t *active;
    const double *diffuse, *log_norm;
    const real *hidden; /* of the active rows */
    real *logits, *weight_gradient, *bias_gradient, *hidden_gradient, *parts;

    sg_status check(cudaError_t code, sg_error *error) const
    {
        return sg_cuda_check(code, "finding the gradients of the output layer", error);
    }

    sg_status push(const sg_cuda_chunk &chunk, bool dense, sg_error *error) const
    {
        sg_cuda_stream *stream = head->stream;
        sg_status status = dense ? sg_cuda_head_chunk_logits(head, &chunk, hidden, error) : SG_OK;
        if (status == SG_OK)
            status =
                check(SG_LAUNCH(spread<real>, dim3(blocks_for(chunk.n), (unsigned)chunk.m), THREADS,
                                0, stream, chunk, dense, active, diffuse, log_norm, logits),
                      error);
        if (status == SG_OK && sampled.count)
            status = check(SG_LAUNCH(add_pushes<real>, blocks_for(sampled.count), THREADS, 0,
                                     stream, chunk, sampled, logits),
                           error);
        return status;
    }

    sg_status to_weights(const sg_cuda_chunk &chunk, sg_error *error) const
    {
        sg_cuda_product product = {};
        product.precision = precision;
        product.m = chunk.n;
        product.n = width;
        product.k = chunk.m;
        product.a = {logits, 1, chunk.lead};
        product.b = {hidden + chunk.row * width, width, 1};
        product.c = weight_gradient + chunk.token * width;
        product.lead = width;
        product.accumulate = chunk.row > 0;
        sg_status status = sg_cuda_matmul(&product, head->stream, error);
        if (status == SG_OK && bias_gradient)
            status = check(SG_LAUNCH(add_rows<real>, blocks_for(chunk.n), THREADS, 0, head->stream,
                                     chunk, logits, bias_gradient),
                           error);
        return status;
    }

    sg_status to_hidden(const sg_cuda_chunk &chunk, sg_error *error) const
    {
        sg_cuda_product product = {};
        product.precision = precision;
        product.m = chunk.m;
        product.n = width;
        product.k = chunk.n;
        product.a = {logits, chunk.lead, 1};
        product.b = {(const real *)head->layer.weights + chunk.token * width, width, 1};
        product.c = parts;
        product.lead = width;
        product.part = SG_CUDA_HEAD_PART;
        size_t count = (chunk.n + SG_CUDA_HEAD_PART - 1) / SG_CUDA_HEAD_PART;
        sg_status status = sg_cuda_matmul(&product, head->stream, error);
        if (status == SG_OK)
            status = check(SG_LAUNCH(add_parts<real>, (unsigned)chunk.m, THREADS, 0, head->stream,
                                     chunk, width, count, active, parts, hidden_gradient),
                           error);
        return status;
    }
};

template <typename real>
sg_status queue_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias, bool hidden,
                         sg_error *error)
{
    size_t width = head->layer.width;
    sg_cuda_chunk chunk;
    sg_status status = sg_cuda_chunk_first(head, push->rows, &chunk, error);
    size_t parts = chunk.lead / SG_CUDA_HEAD_PART;
    if (status == SG_OK)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_COMPACT, push->rows * width * sizeof(real),
                                      error);
    if (status == SG_OK && hidden)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_PARTS,
                                      parts * chunk.most * width * sizeof(real), error);
    if (status != SG_OK)
        return status;
    backward<real> b = {};
    b.head = head;
    b.sampled = sg_cuda_head_samples(head, push->count);
    b.rows = push->rows;
    b.width = width;
    b.precision = head->layer.precision;
    b.active = sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ACTIVE);
    b.diffuse = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_DIFFUSE);
    b.log_norm = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM);
    b.hidden = sg_cuda_head_at<real>(head, SG_CUDA_ROOM_COMPACT);
    b.logits = sg_cuda_head_at<real>(head, SG_CUDA_ROOM_LOGITS);
    b.parts = sg_cuda_head_at<real>(head, SG_CUDA_ROOM_PARTS);
    b.weight_gradient = (real *)head->weight_gradient;
    b.bias_gradient = bias ? (real *)head->bias_gradient : nullptr;
    b.hidden_gradient = hidden ? (real *)head->hidden_gradient : nullptr;
    status = b.check(SG_LAUNCH(gather<real>, (unsigned)b.rows, THREADS, 0, head->stream, width,
                               b.active, (const real *)head->hidden,
                               sg_cuda_head_at<real>(head, SG_CUDA_ROOM_COMPACT)),
                     error);
    bool dense_weights = push->diffuse_for == SG_CUDA_DIFFUSE_ALL,
         dense_hidden = push->diffuse_for != SG_CUDA_DIFFUSE_NONE;
    for (bool more = true; more && status == SG_OK;
         more = status == SG_OK && sg_cuda_chunk_next(head, b.rows, &chunk)) {
        status = b.push(chunk, dense_weights, error);
        if (status == SG_OK)
            status = b.to_weights(chunk, error);
        if (status == SG_OK && hidden && dense_hidden != dense_weights)
            status = b.push(chunk, dense_hidden, error);
        if (status == SG_OK && hidden)
            status = b.to_hidden(chunk, error);
    }
    return status;
}

/* For gradients that go back to the host. */
sg_status reserve_gradients(sg_cuda_head *head, bool bias, bool hidden, sg_error *error)
{
    size_t real = sg_cuda_head_real(head), bytes = head->layer.vocabulary * real;
    sg_status status =
        sg_cuda_head_reserve(head, SG_CUDA_ROOM_WEIGHT_GRADIENT, bytes * head->layer.width, error);
    if (status == SG_OK && bias)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_BIAS_GRADIENT, bytes, error);
    if (status == SG_OK && hidden)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_HIDDEN_GRADIENT,
                                      head->rows * head->layer.width * real, error);
    head->weight_gradient = head->rooms[SG_CUDA_ROOM_WEIGHT_GRADIENT].at;
    head->bias_gradient = head->rooms[SG_CUDA_ROOM_BIAS_GRADIENT].at;
    head->hidden_gradient = head->rooms[SG_CUDA_ROOM_HIDDEN_GRADIENT].at;
    return status;
}

/* Samples and active rows, to the device. */
sg_status put(sg_cuda_head *head, const sg_cuda_push *push, sg_error *error)
{
    size_t n = push->count, rows = push->rows;
    sg_status status = sg_cuda_head_put(head, SG_CUDA_ROOM_ACTIVE, push->active,
                                        rows * sizeof *push->active, error);
    if (status == SG_OK)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_DIFFUSE, push->diffuse,
                                  rows * sizeof *push->diffuse, error);
    if (status == SG_OK)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_PLACES, push->place, n * sizeof *push->place,
                                  error);
    if (status == SG_OK)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_PUSHED, push->tokens, n * sizeof *push->tokens,
                                  error);
    if (status == SG_OK)
        status =
            sg_cuda_head_put(head, SG_CUDA_ROOM_PUSHES, push->push, n * sizeof *push->push, error);
    return status;
}

} // namespace

/* Rows without a push get 0. */
extern "C" sg_status sg_cuda_head_queue_backward(sg_cuda_head *head, const sg_cuda_push *push,
                                                 bool bias, bool hidden, sg_error *error)
{
    size_t hidden_bytes = head->rows * head->layer.width * sg_cuda_head_real(head);
    sg_status status = head->layer.resident ? SG_OK : reserve_gradients(head, bias, hidden, error);
    if (status == SG_OK && hidden)
        status = sg_cuda_zero(head->hidden_gradient, hidden_bytes, head->stream, error);
    if (status != SG_OK)
        return status;
    if (head->tensor)
        return sg_cuda_head_tensor_backward(head, push, bias, hidden, error);
    return head->layer.precision == SG_FP32
               ? queue_backward<float>(head, push, bias, hidden, error)
               : queue_backward<double>(head, push, bias, hidden, error);
}

extern "C" sg_status sg_cuda_head_backward(sg_cuda_head *head, const sg_cuda_push *push,
                                           void *weights, void *bias, void *hidden, sg_error *error)
{
    size_t real = sg_cuda_head_real(head), v = head->layer.vocabulary, d = head->layer.width;
    sg_status status = put(head, push, error);
    if (head->layer.resident) {
        head->weight_gradient = weights;
        head->bias_gradient = bias;
        head->hidden_gradient = hidden;
    }
    if (status == SG_OK)
        status = sg_cuda_head_queue_backward(head, push, bias != nullptr, hidden != nullptr, error);
    if (status != SG_OK || head->layer.resident)
        return status;
    status = sg_cuda_head_get(head, SG_CUDA_ROOM_WEIGHT_GRADIENT, weights, v * d * real, error);
    if (status == SG_OK && bias)
        status = sg_cuda_head_get(head, SG_CUDA_ROOM_BIAS_GRADIENT, bias, v * real, error);
    if (status == SG_OK && hidden)
        status = sg_cuda_head_get(head, SG_CUDA_ROOM_HIDDEN_GRADIENT, hidden, head->rows * d * real,
                                  error);
    return status;
}
