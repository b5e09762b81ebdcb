/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gradients of the output layer on tensor cores: a chunk of logits is made again, less the normalisers before it is rounded, so that
 * likely tokens keep exact probabilities; it becomes the rounded logit gradient in place, and is multiplied with the
 * rounded features and weights. */
#include "backend/cuda/launch.h"

#include "backend/cuda/head_tensor.h"

namespace
{

enum {
    THREADS = SG_BLOCK_MOST,
    SQUARE = 128, /* side of what a block makes of a product */
    EIGHT = 8,
    ROWS = 16, /* of a block */
    TOKENS = THREADS * EIGHT
};

/* Features of the active rows, with what is to be taken from their logits. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    gather(unsigned width, unsigned padded, float sharpness, const uint32_t *__restrict__ active,
           const double *__restrict__ log_norm, const T *__restrict__ from, T *to)
{
    uint32_t row = active[blockIdx.x];
    for (unsigned k = threadIdx.x; k < padded; k += THREADS)
        if (k < width)
            to[(size_t)blockIdx.x * padded + k] = from[(size_t)row * padded + k];
        else
            sg_narrow(sg_cuda_extra<T>(false, log_norm[row] / (double)sharpness, k - width),
                      &to[(size_t)blockIdx.x * padded + k]);
}

/* The first sample of a row at or beyond a token. */
__device__ unsigned find(const sg_cuda_samples &s, size_t row, size_t token)
{
    size_t low = 0, high = s.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        bool before =
            s.place[middle] < row || (s.place[middle] == row && (size_t)s.tokens[middle] < token);
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return (unsigned)low;
}

/* diffuse * pi, or 0, and the pushes, in fp32; then rounded, once. Each logit is read and written once, eight at a time. column_sums: [row blocks][lead], of the numbers before they are
 * rounded; or NULL. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    make_gradient(sg_cuda_chunk chunk, bool dense, float sharpness,
                  const double *__restrict__ diffuse, sg_cuda_samples s, T *logits,
                  float *column_sums)
{
    __shared__ float factor[ROWS];
    __shared__ unsigned first[ROWS], stop[ROWS];
    size_t r0 = (size_t)blockIdx.y * ROWS, rows = chunk.m - r0 < ROWS ? chunk.m - r0 : (size_t)ROWS;
    size_t start = (size_t)blockIdx.x * TOKENS, v = start + threadIdx.x * EIGHT;
    if (threadIdx.x < rows) {
        unsigned r = threadIdx.x;
        size_t a = chunk.row + r0 + r;
        factor[r] = (float)diffuse[a];
        first[r] = find(s, a, chunk.token + start);
        stop[r] = find(s, a, chunk.token + start + TOKENS);
    }
    __syncthreads();
    if (v >= sg_cuda_narrow_tokens(chunk.n))
        return;
    float sum[EIGHT] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (unsigned r = 0; r < rows; r++) {
        T *z = logits + (r0 + r) * chunk.lead + v;
        float x[EIGHT] = {0, 0, 0, 0, 0, 0, 0, 0};
        if (dense) {
            sg_load_eight(z, x);
            for (int k = 0; k < EIGHT; k++)
                x[k] = factor[r] * __expf(x[k] * sharpness);
        }
        if (v + EIGHT > chunk.n)
            for (int k = 0; k < EIGHT; k++)
                x[k] = v + k < chunk.n ? x[k] : 0.0f;
        for (unsigned i = first[r]; i < stop[r]; i++) {
            size_t at = (size_t)s.tokens[i] - chunk.token - v; /* wraps where below */
            for (unsigned k = 0; k < EIGHT; k++)
                x[k] += at == k ? (float)s.push[i] : 0.0f;
        }
        for (int k = 0; k < EIGHT; k++)
            sum[k] += x[k];
        sg_store_eight(z, x);
    }
    if (!column_sums)
        return;
    float4 *to = (float4 *)(column_sums + blockIdx.y * chunk.lead + v);
    to[0] = make_float4(sum[0], sum[1], sum[2], sum[3]);
    to[1] = make_float4(sum[4], sum[5], sum[6], sum[7]);
}

/* The bias' gradient: blocks of rows, in their order. */
__global__ void __launch_bounds__(THREADS)
    add_columns(sg_cuda_chunk chunk, size_t blocks, const float *__restrict__ column_sums,
                float *bias)
{
    size_t v = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (v >= chunk.n)
        return;
    float sum = chunk.row ? bias[chunk.token + v] : 0.0f;
    for (size_t b = 0; b < blocks; b++)
        sum += column_sums[b * chunk.lead + v];
    bias[chunk.token + v] = sum;
}

/* The features' gradient of a row, in its own place. */
__global__ void __launch_bounds__(THREADS)
    add_parts(size_t rows, size_t width, size_t parts, const uint32_t *__restrict__ active,
              const float *__restrict__ part, float *hidden)
{
    for (size_t k = threadIdx.x; k < width; k += THREADS) {
        float sum = 0;
        for (size_t p = 0; p < parts; p++)
            sum += part[(p * rows + blockIdx.x) * width + k];
        hidden[active[blockIdx.x] * width + k] = sum;
    }
}

size_t squares(size_t n)
{
    return (n + SQUARE - 1) / SQUARE;
}

/* Rows x width is few squares for a device: the tokens of a chunk are cut into so many parts, at most, that it has work, each with
 * its own sum over all chunks. */
size_t most_parts(const sg_cuda_head *head, const sg_cuda_chunk &chunk)
{
    return head->processors / (squares(chunk.most) * squares(head->layer.width));
}

/* Powers of two, so that the sums of a first chunk's parts have those of a smaller last one among them. */
size_t parts_of(const sg_cuda_chunk &chunk, size_t most)
{
    size_t each = sg_cuda_narrow_tokens(chunk.n) / SG_CUDA_HEAD_PART, parts = 1;
    while (2 * parts <= most && each % (2 * parts) == 0)
        parts *= 2;
    return parts;
}

/* What a backward knows; gradients on the device. */
template <typename T> struct backward {
    sg_cuda_head *head;
    size_t rows, width, padded, most_parts;
    sg_cuda_samples sampled;
    const uint32_t *active;
    const T *hidden; /* of the active rows */
    T *logits;
    bool with_bias;

    sg_status check(cudaError_t code, sg_error *error) const
    {
        return sg_cuda_check(code, "finding the gradients of the output layer", error);
    }

    sg_status push(const sg_cuda_chunk &chunk, bool dense, float *column_sums,
                   sg_error *error) const
    {
        dim3 grid((unsigned)((sg_cuda_narrow_tokens(chunk.n) + TOKENS - 1) / TOKENS),
                  (unsigned)((chunk.m + ROWS - 1) / ROWS));
        sg_status status =
            dense ? sg_cuda_head_tensor_product(head, &chunk, hidden, padded, logits, true, error)
                  : SG_OK;
        return status ? status
                      : check(SG_LAUNCH(make_gradient<T>, grid, THREADS, 0, head->stream, chunk,
                                        dense, (float)head->layer.sharpness,
                                        sg_cuda_head_at<double>(head, SG_CUDA_ROOM_DIFFUSE),
                                        sampled, logits, column_sums),
                              error);
    }

    sg_status to_weights(const sg_cuda_chunk &chunk, sg_error *error) const
    {
        sg_cuda_tensor_product product = {};
        product.m = chunk.n;
        product.n = width;
        product.k = chunk.m;
        product.a = {logits, chunk.lead, true, 0};
        product.b = {hidden + chunk.row * padded, padded, false, 0};
        product.c = (float *)head->weight_gradient + chunk.token * width;
        product.lead = width;
        product.accumulate = chunk.row > 0;
        sg_status status = sg_cuda_tensor_multiply(head->tensor, &product, head->stream, error);
        if (status == SG_OK && with_bias)
            status = check(SG_LAUNCH(add_columns, (unsigned)((chunk.n + THREADS - 1) / THREADS),
                                     THREADS, 0, head->stream, chunk, (chunk.m + ROWS - 1) / ROWS,
                                     sg_cuda_head_at<float>(head, SG_CUDA_ROOM_BIAS_PARTS),
                                     (float *)head->bias_gradient),
                           error);
        return status;
    }

    sg_status to_hidden(const sg_cuda_chunk &chunk, sg_error *error) const
    {
        size_t parts = parts_of(chunk, most_parts), each = sg_cuda_narrow_tokens(chunk.n) / parts;
        sg_cuda_tensor_product product = {};
        product.m = chunk.m;
        product.n = width;
        product.k = each;
        product.a = {logits, chunk.lead, false, each};
        product.b = {sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_WEIGHTS) + chunk.token * padded,
                     padded, false, each * padded};
        product.c = sg_cuda_head_at<float>(head, SG_CUDA_ROOM_PARTS) + chunk.row * width;
        product.lead = width;
        product.step = rows * width;
        product.batch = parts;
        product.accumulate = chunk.token > 0;
        return sg_cuda_tensor_multiply(head->tensor, &product, head->stream, error);
    }
};

template <typename T>
sg_status queue_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias, bool hidden,
                         sg_error *error)
{
    size_t rows = push->rows, width = head->layer.width, padded = sg_cuda_narrow_width(head);
    sg_cuda_chunk chunk;
    sg_cuda_chunk_shape(head, rows, sizeof(T), &chunk);
    sg_status status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_NARROW_LOGITS,
                                            chunk.most * chunk.lead * sizeof(T), error);
    size_t parts = parts_of(chunk, most_parts(head, chunk)),
           row_blocks = (chunk.most + ROWS - 1) / ROWS;
    if (status == SG_OK)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_NARROW_COMPACT, rows * padded * sizeof(T),
                                      error);
    if (status == SG_OK && hidden)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_PARTS,
                                      parts * rows * width * sizeof(float), error);
    if (status == SG_OK && bias)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_BIAS_PARTS,
                                      row_blocks * chunk.lead * sizeof(float), error);
    if (status != SG_OK)
        return status;
    backward<T> b = {head,
                     rows,
                     width,
                     padded,
                     parts,
                     sg_cuda_head_samples(head, push->count),
                     sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ACTIVE),
                     sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_COMPACT),
                     sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_LOGITS),
                     bias};
    float *column_sums = bias ? sg_cuda_head_at<float>(head, SG_CUDA_ROOM_BIAS_PARTS) : nullptr;
    status = b.check(SG_LAUNCH(gather<T>, (unsigned)rows, THREADS, 0, head->stream, (unsigned)width,
                               (unsigned)padded, (float)head->layer.sharpness, b.active,
                               sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM),
                               sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_HIDDEN),
                               sg_cuda_head_at<T>(head, SG_CUDA_ROOM_NARROW_COMPACT)),
                     error);
    bool dense_weights = push->diffuse_for == SG_CUDA_DIFFUSE_ALL,
         dense_hidden = push->diffuse_for != SG_CUDA_DIFFUSE_NONE;
    for (bool more = true; more && status == SG_OK;
         more = status == SG_OK && sg_cuda_chunk_next(head, rows, &chunk)) {
        status = b.push(chunk, dense_weights, column_sums, error);
        if (status == SG_OK)
            status = b.to_weights(chunk, error);
        if (status == SG_OK && hidden && dense_hidden != dense_weights)
            status = b.push(chunk, dense_hidden, nullptr, error);
        if (status == SG_OK && hidden)
            status = b.to_hidden(chunk, error);
    }
    if (status == SG_OK && hidden)
        status =
            b.check(SG_LAUNCH(add_parts, (unsigned)rows, THREADS, 0, head->stream, rows, width,
                              parts, b.active, sg_cuda_head_at<float>(head, SG_CUDA_ROOM_PARTS),
                              (float *)head->hidden_gradient),
                    error);
    return status;
}

} // namespace

sg_status sg_cuda_head_tensor_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias,
                                       bool hidden, sg_error *error)
{
    return head->matmul == SG_MATMUL_BF16
               ? queue_backward<uint16_t>(head, push, bias, hidden, error)
               : queue_backward<float>(head, push, bias, hidden, error);
}
