/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The output layer on the device: memory, chunks of logits, the forward. */
#include "backend/cuda/launch.h"

#include <stdlib.h>
#include <string.h>

#include "backend/cuda/head_parts.h"
#include "backend/cuda/head_tensor.h"
#include "backend/cuda/matmul.h"

namespace
{

enum {
    THREADS = SG_BLOCK_MOST,
    WARP = SG_WARP,
    WARPS = SG_BLOCK_WARPS,
    PER_LANE = SG_HEAD_TILE / WARP,
    MOST_PARTS = 2048 /* of a chunk: a launch's grid has its limits */
};
static_assert((int)WARP == (int)SG_HEAD_PAD, "a lane of the warp is a lane of the CPU");
const size_t USUAL_LIMIT = (size_t)64 << 20;

/* Tokens n .. width-1 of a row are padding. */
template <typename real>
__global__ void __launch_bounds__(THREADS) finish(sg_cuda_chunk chunk, size_t width, real *logits,
                                                  const real *__restrict__ bias, real sharpness)
{
    size_t v = (size_t)blockIdx.x * THREADS + threadIdx.x;
    real *z = logits + blockIdx.y * chunk.lead;
    if (v < chunk.n)
        z[v] = sg_cuda_finish(z[v], bias, chunk.token + v, sharpness);
    else if (v < width)
        z[v] = -(real)INFINITY;
}

/* A warp for each tile of each row; its lanes are those of the CPU, and are added in their order. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    find_masses(sg_cuda_chunk chunk, size_t rows, const real *__restrict__ logits, double *log_mass)
{
    unsigned lane = threadIdx.x % WARP;
    size_t tile = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP, start = tile * SG_HEAD_TILE;
    if (start >= chunk.n)
        return; /* the whole warp */
    const real *z = logits + blockIdx.y * chunk.lead;
    real x[PER_LANE], max = -(real)INFINITY, sum = 0;
    for (int k = 0; k < PER_LANE; k++) {
        size_t v = start + k * WARP + lane;
        x[k] = v < chunk.n ? z[v] : -(real)INFINITY;
        max = x[k] > max ? x[k] : max;
    }
    max = sg_warp_max(max);
    for (int k = 0; k < PER_LANE; k++)
        sum += sg_cuda_decay((real)1, x[k] - max);
    double total = 0;
    for (int l = 0; l < WARP; l++)
        total += (double)__shfl_sync(SG_EVERY_LANE, sum, l);
    if (lane != 0)
        return;
    double mass = (double)max + sg_log(total);
    if (max == -(real)INFINITY)
        mass = x[0] != x[0] ? (double)NAN : -(double)INFINITY;
    log_mass[(chunk.token / SG_HEAD_TILE + tile) * rows + chunk.row + blockIdx.y] = mass;
}

/* Logits of the samples in a chunk. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    pick(sg_cuda_chunk chunk, const real *__restrict__ logits, size_t count,
         const int32_t *__restrict__ tokens, const uint32_t *__restrict__ row, double *picked)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count)
        return;
    size_t v = (size_t)tokens[i] - chunk.token, r = row[i] - chunk.row; /* wrap where below */
    if (v < chunk.n && r < chunk.m)
        picked[i] = (double)logits[r * chunk.lead + v];
}

__global__ void __launch_bounds__(THREADS)
    find_norms(size_t tiles, size_t rows, const double *__restrict__ log_mass, double *log_norm)
{
    size_t row = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (row < rows)
        log_norm[row] = sg_head_log_sum_exp(log_mass, tiles, rows, row);
}

__global__ void __launch_bounds__(THREADS)
    normalise(size_t count, const uint32_t *__restrict__ row, const double *__restrict__ log_norm,
              double *picked)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        picked[i] -= log_norm[row[i]];
}

unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

/* Chunk by chunk: masses of tiles, logits of samples; then the normalisers. */
template <typename real> sg_status queue_forward(sg_cuda_head *head, size_t count, sg_error *error)
{
    size_t rows = head->rows, tiles = sg_cuda_head_tiles(head);
    const real *logits;
    double *log_mass = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_MASS),
           *log_norm = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM),
           *picked = sg_cuda_head_at<double>(head, SG_CUDA_ROOM_VALUES);
    const int32_t *tokens = sg_cuda_head_at<int32_t>(head, SG_CUDA_ROOM_TOKENS);
    const uint32_t *row = sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ROWS);
    const void *hidden = head->hidden;
    const char *doing = "normalising rows of logits";
    sg_cuda_chunk chunk;
    sg_status status = sg_cuda_chunk_first(head, rows, &chunk, error);
    for (bool more = true; more && status == SG_OK;
         more = status == SG_OK && sg_cuda_chunk_next(head, rows, &chunk)) {
        logits = sg_cuda_head_at<real>(head, SG_CUDA_ROOM_LOGITS);
        status = sg_cuda_head_chunk_logits(head, &chunk, hidden, error);
        dim3 grid((unsigned)((chunk.n + SG_HEAD_TILE * WARPS - 1) / (SG_HEAD_TILE * WARPS)),
                  (unsigned)chunk.m);
        if (status == SG_OK)
            status = sg_cuda_check(SG_LAUNCH(find_masses<real>, grid, THREADS, 0, head->stream,
                                             chunk, rows, logits, log_mass),
                                   doing, error);
        if (status == SG_OK && count)
            status =
                sg_cuda_check(SG_LAUNCH(pick<real>, blocks_for(count), THREADS, 0, head->stream,
                                        chunk, logits, count, tokens, row, picked),
                              doing, error);
    }
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(find_norms, blocks_for(rows), THREADS, 0, head->stream,
                                         tiles, rows, log_mass, log_norm),
                               doing, error);
    if (status == SG_OK && count)
        status = sg_cuda_check(SG_LAUNCH(normalise, blocks_for(count), THREADS, 0, head->stream,
                                         count, row, log_norm, picked),
                               doing, error);
    return status;
}

template <typename real>
cudaError_t launch_finish(const sg_cuda_head *head, const sg_cuda_chunk &chunk, size_t width,
                          double sharpness)
{
    dim3 grid(blocks_for(width), (unsigned)chunk.m);
    return SG_LAUNCH(finish<real>, grid, THREADS, 0, head->stream, chunk, width,
                     sg_cuda_head_at<real>(head, SG_CUDA_ROOM_LOGITS),
                     head->tensor ? nullptr : (const real *)head->layer.bias, (real)sharpness);
}

/* The logits of a chunk, padded to `width` tokens. */
sg_status make_logits(sg_cuda_head *head, const sg_cuda_chunk &chunk, const void *hidden,
                      size_t width, double sharpness, sg_error *error)
{
    size_t d = head->layer.width, real = sg_cuda_head_real(head);
    sg_cuda_product product = {};
    product.precision = head->layer.precision;
    product.m = chunk.m;
    product.n = chunk.n;
    product.k = d;
    product.a = {(const char *)hidden + chunk.row * d * real, d, 1};
    product.b = {(const char *)head->layer.weights + chunk.token * d * real, 1, d};
    product.c = sg_cuda_head_at<void>(head, SG_CUDA_ROOM_LOGITS);
    product.lead = chunk.lead;
    sg_status status = head->tensor ? sg_cuda_head_tensor_logits(head, &chunk, error)
                                    : sg_cuda_matmul(&product, head->stream, error);
    if (status != SG_OK)
        return status;
    return sg_cuda_check(head->layer.precision == SG_FP32
                             ? launch_finish<float>(head, chunk, width, sharpness)
                             : launch_finish<double>(head, chunk, width, sharpness),
                         "finishing logits", error);
}

const char *const room_names[SG_CUDA_ROOMS] = {
    "the output layer's weights",
    "the output layer's bias",
    "features of the rows",
    "a chunk of logits",
    "masses of the tiles",
    "normalisers of the rows",
    "tokens of the samples",
    "rows of the samples",
    "values of the samples",
    "shares of the draws",
    "rows of the samples with a push",
    "tokens of the samples with a push",
    "pushes of the samples",
    "numbers of the active rows",
    "diffuse gradients of the rows",
    "features of the active rows",
    "parts of the features' gradient",
    "the gradient of the output layer's weights",
    "the gradient of the output layer's bias",
    "the gradient of the features",
    "sums over the vocabulary",
    "the output layer's weights, rounded",
    "features of the rows, rounded",
    "features of the active rows, rounded",
    "a chunk of logits, rounded",
    "parts of the gradient of the output layer's bias",
    "numbers on their way to the host",
};

} // namespace

extern "C" sg_status sg_cuda_head_alloc(sg_cuda_head **made, sg_error *error)
{
    *made = nullptr;
    sg_status status = sg_cuda_use(error);
    if (status != SG_OK)
        return status;
    sg_cuda_head *head = (sg_cuda_head *)calloc(1, sizeof *head);
    if (!head)
        return sg_fail(error, SG_ENOMEM, "not enough memory for the policy's output layer");
    head->limit = USUAL_LIMIT;
    status = sg_cuda_stream_alloc(&head->stream, error);
    if (status != SG_OK)
        sg_cuda_head_free(head);
    else
        *made = head;
    return status;
}

extern "C" void sg_cuda_head_free(sg_cuda_head *head)
{
    if (!head)
        return;
    if (head->stream)
        (void)sg_cuda_stream_wait(head->stream, nullptr);
    for (int i = 0; i < SG_CUDA_ROOMS; i++)
        sg_cuda_free(head->rooms[i].at);
    sg_cuda_tensor_free(head->tensor);
    sg_cuda_stream_free(head->stream);
    free(head->pair);
    free(head);
}

extern "C" void sg_cuda_head_limit(sg_cuda_head *head, size_t bytes)
{
    head->limit = bytes;
}

extern "C" sg_cuda_stream *sg_cuda_head_stream(const sg_cuda_head *head)
{
    return head->stream;
}

sg_status sg_cuda_head_reserve(sg_cuda_head *head, sg_cuda_head_room room, size_t bytes,
                               sg_error *error)
{
    sg_status status = sg_cuda_use(error);
    if (status != SG_OK || bytes <= head->rooms[room].bytes)
        return status;
    if (head->rooms[room].at) /* what is queued may use it */
        status = sg_cuda_stream_wait(head->stream, error);
    sg_cuda_free(head->rooms[room].at);
    head->rooms[room].at = nullptr;
    head->rooms[room].bytes = 0;
    if (status == SG_OK)
        status = sg_cuda_alloc(&head->rooms[room].at, bytes, room_names[room], error);
    if (status == SG_OK)
        head->rooms[room].bytes = bytes;
    /* There the padding of a last part is read too, and not used. */
    bool padded = room == SG_CUDA_ROOM_LOGITS || room == SG_CUDA_ROOM_NARROW_LOGITS;
    if (status == SG_OK && head->tensor && padded)
        status = sg_cuda_zero(head->rooms[room].at, bytes, head->stream, error);
    return status;
}

sg_status sg_cuda_head_put(sg_cuda_head *head, sg_cuda_head_room room, const void *from,
                           size_t bytes, sg_error *error)
{
    sg_status status = sg_cuda_head_reserve(head, room, bytes, error);
    return status ? status
                  : sg_cuda_to_device(head->rooms[room].at, from, bytes, head->stream, error);
}

sg_status sg_cuda_head_get(const sg_cuda_head *head, sg_cuda_head_room room, void *to, size_t bytes,
                           sg_error *error)
{
    return sg_cuda_from_device(to, head->rooms[room].at, bytes, head->stream, error);
}

sg_status sg_cuda_head_get_pair(sg_cuda_head *head, sg_cuda_head_wish a, sg_cuda_head_wish b,
                                sg_error *error)
{
    if (!a.to || !a.bytes || !b.to || !b.bytes) {
        const sg_cuda_head_wish &one = a.to && a.bytes ? a : b;
        return one.to ? sg_cuda_head_get(head, one.room, one.to, one.bytes, error) : SG_OK;
    }
    size_t bytes = a.bytes + b.bytes;
    sg_status status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_PAIR, bytes, error);
    if (status == SG_OK && bytes > head->pair_bytes) {
        free(head->pair);
        head->pair = (char *)malloc(bytes);
        head->pair_bytes = head->pair ? bytes : 0;
        if (!head->pair)
            status = sg_fail(error, SG_ENOMEM, "not enough memory for numbers of the device");
    }
    char *there = sg_cuda_head_at<char>(head, SG_CUDA_ROOM_PAIR);
    if (status == SG_OK)
        status = sg_cuda_copy(there, head->rooms[a.room].at, a.bytes, head->stream, error);
    if (status == SG_OK)
        status =
            sg_cuda_copy(there + a.bytes, head->rooms[b.room].at, b.bytes, head->stream, error);
    if (status == SG_OK)
        status = sg_cuda_head_get(head, SG_CUDA_ROOM_PAIR, head->pair, bytes, error);
    if (status != SG_OK)
        return status;
    memcpy(a.to, head->pair, a.bytes);
    memcpy(b.to, head->pair + a.bytes, b.bytes);
    return SG_OK;
}

void sg_cuda_chunk_shape(const sg_cuda_head *head, size_t rows, size_t logit, sg_cuda_chunk *chunk)
{
    size_t most = head->limit / (SG_CUDA_HEAD_PART * logit);
    size_t padded = (head->layer.vocabulary + SG_CUDA_HEAD_PART - 1) / SG_CUDA_HEAD_PART;
    most = most < 1 ? 1 : most; /* pairs of a row and a part */
    size_t m = rows < most ? rows : most, parts = most / m;
    parts = parts < padded ? parts : padded;
    parts = parts < MOST_PARTS ? parts : (size_t)MOST_PARTS;
    size_t lead = parts * SG_CUDA_HEAD_PART;
    *chunk = {0, m, 0, lead < head->layer.vocabulary ? lead : head->layer.vocabulary, lead, m};
}

sg_status sg_cuda_chunk_first(sg_cuda_head *head, size_t rows, sg_cuda_chunk *chunk,
                              sg_error *error)
{
    size_t real = sg_cuda_head_real(head);
    sg_cuda_chunk_shape(head, rows, real, chunk);
    return sg_cuda_head_reserve(head, SG_CUDA_ROOM_LOGITS, chunk->m * chunk->lead * real, error);
}

bool sg_cuda_chunk_next(const sg_cuda_head *head, size_t rows, sg_cuda_chunk *chunk)
{
    chunk->row += chunk->m;
    if (chunk->row >= rows) {
        chunk->row = 0;
        chunk->token += chunk->lead;
    }
    if (chunk->token >= head->layer.vocabulary)
        return false;
    size_t rows_left = rows - chunk->row, tokens_left = head->layer.vocabulary - chunk->token;
    chunk->m = rows_left < chunk->most ? rows_left : chunk->most;
    chunk->n = tokens_left < chunk->lead ? tokens_left : chunk->lead;
    return true;
}

sg_status sg_cuda_head_chunk_logits(sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                    const void *hidden, sg_error *error)
{
    return make_logits(head, *chunk, hidden, chunk->n, head->layer.sharpness, error);
}

extern "C" sg_status sg_cuda_head_load(sg_cuda_head *head, const sg_cuda_layer *layer,
                                       const void *hidden, size_t rows, sg_error *error)
{
    head->layer = *layer;
    head->rows = rows;
    head->rounded = false;
    if (head->tensor && layer->precision != SG_FP32)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "%s products need an output layer in single precision; set "
                       "policy.precision to fp32 or run.matmul to same",
                       head->matmul == SG_MATMUL_BF16 ? "bf16" : "tf32");
    size_t real = sg_cuda_head_real(head), v = layer->vocabulary, d = layer->width;
    head->hidden = hidden;
    if (layer->resident)
        return sg_cuda_use(error);
    sg_status status = sg_cuda_head_put(head, SG_CUDA_ROOM_HIDDEN, hidden, rows * d * real, error);
    if (status == SG_OK)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_WEIGHTS, layer->weights, v * d * real, error);
    if (status == SG_OK && layer->bias)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_BIAS, layer->bias, v * real, error);
    head->hidden = head->rooms[SG_CUDA_ROOM_HIDDEN].at;
    head->layer.weights = head->rooms[SG_CUDA_ROOM_WEIGHTS].at;
    head->layer.bias = layer->bias ? head->rooms[SG_CUDA_ROOM_BIAS].at : nullptr;
    return status;
}

extern "C" void sg_cuda_head_move(sg_cuda_head *head, const void *weights, const void *bias)
{
    head->layer.weights = weights;
    head->layer.bias = bias;
}

extern "C" sg_status sg_cuda_head_queue_forward(sg_cuda_head *head, size_t count, sg_error *error)
{
    size_t masses = sg_cuda_head_tiles(head) * head->rows;
    sg_status status =
        sg_cuda_head_reserve(head, SG_CUDA_ROOM_LOG_MASS, masses * sizeof(double), error);
    if (status == SG_OK)
        status =
            sg_cuda_head_reserve(head, SG_CUDA_ROOM_LOG_NORM, head->rows * sizeof(double), error);
    if (status == SG_OK)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_VALUES, count * sizeof(double), error);
    if (status != SG_OK)
        return status;
    if (head->tensor)
        return sg_cuda_head_tensor_forward(head, count, error);
    return head->layer.precision == SG_FP32 ? queue_forward<float>(head, count, error)
                                            : queue_forward<double>(head, count, error);
}

extern "C" sg_status sg_cuda_head_forward(sg_cuda_head *head, size_t count, const int32_t *tokens,
                                          const uint32_t *row, double *log_prob, double *log_norm,
                                          sg_error *error)
{
    sg_status status =
        sg_cuda_head_put(head, SG_CUDA_ROOM_TOKENS, tokens, count * sizeof *tokens, error);
    if (status == SG_OK)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_ROWS, row, count * sizeof *row, error);
    if (status == SG_OK)
        status = sg_cuda_head_queue_forward(head, count, error);
    sg_cuda_head_wish values = {SG_CUDA_ROOM_VALUES, log_prob, count * sizeof *log_prob},
                      norms = {SG_CUDA_ROOM_LOG_NORM, log_norm, head->rows * sizeof *log_norm};
    return status ? status : sg_cuda_head_get_pair(head, values, norms, error);
}

/* So many rows at a time that their padded logits are one chunk. */
extern "C" sg_status sg_cuda_head_logits(sg_cuda_head *head, double sharpness, size_t first,
                                         size_t count, void *out, size_t lead, sg_error *error)
{
    size_t row_bytes = lead * sg_cuda_head_real(head), group = head->limit / row_bytes;
    group = group < 1 ? 1 : group < 65535 ? group : 65535;
    group = group < count ? group : count;
    sg_status status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_LOGITS, group * row_bytes, error);
    for (size_t r = 0; r < count && status == SG_OK; r += group) {
        size_t m = count - r < group ? count - r : group;
        sg_cuda_chunk chunk = {first + r, m, 0, head->layer.vocabulary, lead, group};
        status = make_logits(head, chunk, head->hidden, lead, sharpness, error);
        if (status == SG_OK)
            status = sg_cuda_head_get(head, SG_CUDA_ROOM_LOGITS, (char *)out + r * row_bytes,
                                      m * row_bytes, error);
    }
    return status;
}
