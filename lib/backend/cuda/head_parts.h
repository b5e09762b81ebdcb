/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_HEAD_PARTS_H
#define SG_CUDA_HEAD_PARTS_H

#include "backend/cuda/block.h"
#include "backend/cuda/head.h"
#include "backend/cuda/tensor.h"
#include "backend/head_math.h"

/* What the .cu files of the output layer share. */

/* Chunks start at multiples of SG_CUDA_HEAD_PART tokens, and what is summed over the vocabulary in
 * parts is cut there: so results do not depend on the chunks. */
enum { SG_CUDA_HEAD_PART = 1024 };

/* Device memory that is kept from call to call and only grows. */
enum sg_cuda_head_room {
    SG_CUDA_ROOM_WEIGHTS,
    SG_CUDA_ROOM_BIAS,
    SG_CUDA_ROOM_HIDDEN,
    SG_CUDA_ROOM_LOGITS,
    SG_CUDA_ROOM_LOG_MASS, /* [tiles][rows] */
    SG_CUDA_ROOM_LOG_NORM, /* [rows] */
    SG_CUDA_ROOM_TOKENS,   /* of samples or draws: */
    SG_CUDA_ROOM_ROWS,
    SG_CUDA_ROOM_VALUES, /* log-probabilities, uniforms */
    SG_CUDA_ROOM_SHARES,
    SG_CUDA_ROOM_PLACES, /* of samples with a push: */
    SG_CUDA_ROOM_PUSHED, /* their tokens */
    SG_CUDA_ROOM_PUSHES,
    SG_CUDA_ROOM_ACTIVE,
    SG_CUDA_ROOM_DIFFUSE,
    SG_CUDA_ROOM_COMPACT, /* features of the active rows */
    SG_CUDA_ROOM_PARTS,   /* [parts of a chunk][rows of a chunk][width] */
    SG_CUDA_ROOM_WEIGHT_GRADIENT,
    SG_CUDA_ROOM_BIAS_GRADIENT,
    SG_CUDA_ROOM_HIDDEN_GRADIENT,
    SG_CUDA_ROOM_SUMS,
    SG_CUDA_ROOM_NARROW_WEIGHTS, /* for tensor cores: see head_tensor.h */
    SG_CUDA_ROOM_NARROW_HIDDEN,
    SG_CUDA_ROOM_NARROW_COMPACT,
    SG_CUDA_ROOM_NARROW_LOGITS,
    SG_CUDA_ROOM_BIAS_PARTS,
    SG_CUDA_ROOM_PAIR, /* two arrays on their way to the host */
    SG_CUDA_ROOMS
};

struct sg_cuda_head {
    struct {
        void *at;
        size_t bytes;
    } rooms[SG_CUDA_ROOMS];
    sg_cuda_stream *stream;
    char *pair; /* of the host */
    size_t pair_bytes;
    size_t limit;        /* bytes of logits */
    sg_cuda_layer layer; /* weights and bias on the device */
    const void *hidden;  /* features on the device */
    void *weight_gradient, *bias_gradient, *hidden_gradient;
    size_t rows;
    sg_matmul matmul;
    sg_cuda_tensor *tensor; /* NULL: plain products */
    size_t processors;
    bool rounded; /* there are narrow copies of what was loaded last */
};

/* The samples with a push, by row, then token. */
struct sg_cuda_samples {
    size_t count;
    const uint32_t *place;
    const int32_t *tokens;
    const double *push;
};

/* A chunk: rows row.. + m under tokens token.. + n; logits lie at [i * lead + j]. m <= most. */
struct sg_cuda_chunk {
    size_t row, m, token, n, lead, most;
};

sg_status sg_cuda_head_reserve(sg_cuda_head *head, sg_cuda_head_room room, size_t bytes,
                               sg_error *error);
template <typename T> T *sg_cuda_head_at(const sg_cuda_head *head, sg_cuda_head_room room)
{
    return (T *)head->rooms[room].at;
}
static inline sg_cuda_samples sg_cuda_head_samples(const sg_cuda_head *head, size_t count)
{
    return {count, sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_PLACES),
            sg_cuda_head_at<int32_t>(head, SG_CUDA_ROOM_PUSHED),
            sg_cuda_head_at<double>(head, SG_CUDA_ROOM_PUSHES)};
}
sg_status sg_cuda_head_put(sg_cuda_head *head, sg_cuda_head_room room, const void *from,
                           size_t bytes, sg_error *error);
/* The first bytes of two rooms, with one wait. `to` may be NULL. */
struct sg_cuda_head_wish {
    sg_cuda_head_room room;
    void *to;
    size_t bytes;
};
sg_status sg_cuda_head_get_pair(sg_cuda_head *head, sg_cuda_head_wish a, sg_cuda_head_wish b,
                                sg_error *error);
sg_status sg_cuda_head_get(const sg_cuda_head *head, sg_cuda_head_room room, void *to, size_t bytes,
                           sg_error *error);

static inline size_t sg_cuda_head_real(const sg_cuda_head *head)
{
    return head->layer.precision == SG_FP32 ? sizeof(float) : sizeof(double);
}
static inline size_t sg_cuda_head_tiles(const sg_cuda_head *head)
{
    return (head->layer.vocabulary + SG_HEAD_TILE - 1) / SG_HEAD_TILE;
}

/* The first chunk of `rows` rows, when a logit takes so many bytes of `limit`. */
void sg_cuda_chunk_shape(const sg_cuda_head *head, size_t rows, size_t logit, sg_cuda_chunk *chunk);
/* The same with room for its logits; then the next one. Rows run fastest, so tokens
 * have all of their rows before the next tokens come. */
sg_status sg_cuda_chunk_first(sg_cuda_head *head, size_t rows, sg_cuda_chunk *chunk,
                              sg_error *error);
bool sg_cuda_chunk_next(const sg_cuda_head *head, size_t rows, sg_cuda_chunk *chunk);

/* Queue the logits of a chunk under `hidden`, the features of the rows. */
sg_status sg_cuda_head_chunk_logits(sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                    const void *hidden, sg_error *error);

/* ---- in kernels */

__device__ inline float sg_cuda_decay(float factor, float x)
{
    return sg_decay_f32(factor, x);
}
__device__ inline double sg_cuda_decay(double factor, double x)
{
    return sg_decay_f64(factor, x);
}

/* A logit from the product. */
template <typename real>
__device__ real sg_cuda_finish(real z, const real *bias, size_t token, real sharpness)
{
    if (bias)
        return (z + bias[token]) * sharpness;
    return sharpness != 1 ? z * sharpness : z;
}

/* Every thread of a block has the logit z of one token of a draw's tile, whose first is *token: finds the token where the
 * share of the tile's mass is reached, and its logit's distance to log_norm. */
template <typename real>
__device__ void sg_cuda_choose(real z, double share, double log_norm, int32_t *token, double *value)
{
    __shared__ real greatest[SG_BLOCK_WARPS], logits[SG_BLOCK_MOST];
    __shared__ double weight[SG_BLOCK_MOST];
    logits[threadIdx.x] = z;
    real max = sg_block_max(z == z ? z : -(real)INFINITY, greatest);
    weight[threadIdx.x] = sg_exp((double)z - (double)max);
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    size_t found = sg_head_find(SG_BLOCK_MOST, weight, share);
    *token += (int32_t)found;
    *value = (double)logits[found] - log_norm;
}

#endif
