/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Draws from the output layer on the device, and sums over the vocabulary. */
#include "backend/cuda/launch.h"

#include "backend/cuda/head_parts.h"
#include "backend/cuda/head_tensor.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST, WARPS = SG_BLOCK_WARPS };
static_assert((int)THREADS == (int)SG_HEAD_TILE, "a thread for each token of a tile");
const char *const looking = "looking at rows of logits";

/* The tile of each draw, kept as its first token, and the share inside it. */
__global__ void __launch_bounds__(THREADS)
    find_tiles(size_t count, size_t tiles, size_t rows, const uint32_t *__restrict__ row,
               const double *__restrict__ log_mass, const double *__restrict__ log_norm,
               const double *__restrict__ uniform, int32_t *tokens, double *share)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count)
        tokens[i] = (int32_t)(sg_head_find_tile(log_mass, tiles, rows, row[i], log_norm[row[i]],
                                                uniform[i], &share[i]) *
                              SG_HEAD_TILE);
}

/* A block makes the logits of a draw's tile again and finds the token in it; value[i] becomes its
 * log-probability. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    draw(sg_cuda_layer layer, const real *__restrict__ hidden, const uint32_t *__restrict__ row,
         const double *__restrict__ share, const double *__restrict__ log_norm, int32_t *tokens,
         double *value)
{
    size_t i = blockIdx.x, v = (size_t)tokens[i] + threadIdx.x;
    real z = -(real)INFINITY;
    if (v < layer.vocabulary) {
        const real *w = (const real *)layer.weights + v * layer.width,
                   *h = hidden + row[i] * layer.width;
        z = 0;
        for (size_t k = 0; k < layer.width; k++)
            z += h[k] * w[k];
        z = sg_cuda_finish(z, (const real *)layer.bias, v, (real)layer.sharpness);
    }
    sg_cuda_choose(z, share[i], log_norm[row[i]], &tokens[i], &value[i]);
}

/* One token, in the words of the CPU's `look`; min is the greatest of -z. */
__device__ void look_at(double z, double log_norm, double least, sg_cuda_head_sums *sums)
{
    double x = z - log_norm;
    double t = x < least ? least : x, e = sg_decay_f64(1, x < least ? -1000.0 : x);
    sums->mass += e;
    sums->plogp += e * t;
    sums->squares += e * e;
    sums->underflowed += x < least && x > -(double)INFINITY ? 1.0 : 0.0;
    sums->max = z > sums->max ? z : sums->max;
    sums->min = x > -(double)INFINITY && -z > sums->min ? -z : sums->min;
}

/* A block for each row of the chunk adds its parts, one after the other, to the row's sums. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    look(sg_cuda_chunk chunk, size_t split, double least, const real *__restrict__ logits,
         const double *__restrict__ log_norm, sg_cuda_head_sums *all)
{
    __shared__ double shared[WARPS];
    const real *z = logits + blockIdx.x * chunk.lead;
    double norm = log_norm[chunk.row + blockIdx.x];
    const sg_cuda_head_sums none = {0, 0, 0, -(double)INFINITY, -(double)INFINITY, 0};
    for (int side = 0; side < 2; side++) {
        sg_cuda_head_sums *to = &all[(chunk.row + blockIdx.x) * 2 + side], total = none;
        if (chunk.token > 0)
            total = *to;
        __syncthreads(); /* thread 0 writes it below */
        for (size_t part = 0; part < chunk.n; part += SG_CUDA_HEAD_PART) {
            sg_cuda_head_sums own = none;
            size_t stop = chunk.n - part < SG_CUDA_HEAD_PART ? chunk.n : part + SG_CUDA_HEAD_PART;
            for (size_t v = part + threadIdx.x; v < stop; v += THREADS)
                if ((chunk.token + v >= split) == (side == 1))
                    look_at((double)z[v], norm, least, &own);
            total.mass += sg_block_sum(own.mass, shared);
            total.plogp += sg_block_sum(own.plogp, shared);
            total.squares += sg_block_sum(own.squares, shared);
            total.underflowed += sg_block_sum(own.underflowed, shared);
            double max = sg_block_max(own.max, shared), min = sg_block_max(own.min, shared);
            total.max = max > total.max ? max : total.max;
            total.min = min > total.min ? min : total.min;
        }
        if (threadIdx.x == 0)
            *to = total;
    }
}

/* The same for how far two policies are apart. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    compare(sg_cuda_chunk chunk, const real *__restrict__ logits_a,
            const double *__restrict__ norm_a, const real *__restrict__ logits_b,
            const double *__restrict__ norm_b, double *all)
{
    __shared__ double shared[WARPS];
    size_t row = chunk.row + blockIdx.x;
    const real *a = logits_a + blockIdx.x * chunk.lead, *b = logits_b + blockIdx.x * chunk.lead;
    double total[3], *to = all + row * 3;
    for (int k = 0; k < 3; k++)
        total[k] = chunk.token > 0 ? to[k] : 0;
    __syncthreads(); /* thread 0 writes them below */
    for (size_t part = 0; part < chunk.n; part += SG_CUDA_HEAD_PART) {
        double own[3] = {0, 0, 0};
        size_t stop = chunk.n - part < SG_CUDA_HEAD_PART ? chunk.n : part + SG_CUDA_HEAD_PART;
        for (size_t v = part + threadIdx.x; v < stop; v += THREADS) {
            double s = (double)a[v] - norm_a[row], t = (double)b[v] - norm_b[row];
            s = s < -1e4 ? -1e4 : s;
            t = t < -1e4 ? -1e4 : t;
            double p = sg_exp(s), q = sg_exp(t);
            own[0] += sg_kl_term(p, q, t - s);
            own[1] += sg_kl_term(q, p, s - t);
            own[2] += 0.5 * fabs(p - q);
        }
        for (int k = 0; k < 3; k++)
            total[k] += sg_block_sum(own[k], shared);
    }
    if (threadIdx.x == 0)
        for (int k = 0; k < 3; k++)
            to[k] = total[k];
}

/* Samples cannot rise. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    forbid(sg_cuda_chunk chunk, size_t count, const int32_t *__restrict__ tokens,
           const uint32_t *__restrict__ row, real *logits)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= count)
        return;
    size_t v = (size_t)tokens[i] - chunk.token, r = row[i] - chunk.row; /* wrap where below */
    if (v < chunk.n && r < chunk.m)
        logits[r * chunk.lead + v] = (real)INFINITY;
}

/* A block for each row of the chunk. */
template <typename real>
__global__ void __launch_bounds__(THREADS)
    find_rises(sg_cuda_chunk chunk, const real *__restrict__ before, const real *__restrict__ after,
               double *rises)
{
    __shared__ double shared[WARPS];
    const real *a = before + blockIdx.x * chunk.lead, *b = after + blockIdx.x * chunk.lead;
    double *to = &rises[chunk.row + blockIdx.x], most = 0;
    for (size_t v = threadIdx.x; v < chunk.n; v += THREADS) {
        double rise = (double)b[v] - (double)a[v];
        most = rise > most ? rise : most;
    }
    most = sg_block_max(most, shared);
    if (threadIdx.x == 0)
        *to = chunk.token > 0 && *to > most ? *to : most;
}

template <typename real> cudaError_t launch_draw(const sg_cuda_head *head, size_t count)
{
    return SG_LAUNCH(draw<real>, (unsigned)count, THREADS, 0, head->stream, head->layer,
                     (const real *)head->hidden, sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ROWS),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_SHARES),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM),
                     sg_cuda_head_at<int32_t>(head, SG_CUDA_ROOM_TOKENS),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_VALUES));
}

template <typename real>
cudaError_t launch_look(const sg_cuda_head *head, const sg_cuda_chunk &chunk, size_t split)
{
    double least = sizeof(real) == sizeof(float) ? -87.0 : -708.0;
    return SG_LAUNCH(look<real>, (unsigned)chunk.m, THREADS, 0, head->stream, chunk, split, least,
                     sg_cuda_head_at<real>(head, SG_CUDA_ROOM_LOGITS),
                     sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM),
                     sg_cuda_head_at<sg_cuda_head_sums>(head, SG_CUDA_ROOM_SUMS));
}

template <typename real>
cudaError_t launch_compare(const sg_cuda_head *a, const sg_cuda_head *b, const sg_cuda_chunk &chunk)
{
    return SG_LAUNCH(compare<real>, (unsigned)chunk.m, THREADS, 0, a->stream, chunk,
                     sg_cuda_head_at<real>(a, SG_CUDA_ROOM_LOGITS),
                     sg_cuda_head_at<double>(a, SG_CUDA_ROOM_LOG_NORM),
                     sg_cuda_head_at<real>(b, SG_CUDA_ROOM_LOGITS),
                     sg_cuda_head_at<double>(b, SG_CUDA_ROOM_LOG_NORM),
                     sg_cuda_head_at<double>(a, SG_CUDA_ROOM_SUMS));
}

template <typename real>
cudaError_t launch_rises(const sg_cuda_head *a, const sg_cuda_head *b, const sg_cuda_chunk &chunk,
                         size_t count)
{
    real *before = sg_cuda_head_at<real>(a, SG_CUDA_ROOM_LOGITS);
    cudaError_t code = cudaSuccess;
    if (count > 0)
        code = SG_LAUNCH(forbid<real>, (unsigned)((count + THREADS - 1) / THREADS), THREADS, 0,
                         a->stream, chunk, count, sg_cuda_head_at<int32_t>(a, SG_CUDA_ROOM_TOKENS),
                         sg_cuda_head_at<uint32_t>(a, SG_CUDA_ROOM_ROWS), before);
    return code != cudaSuccess
               ? code
               : SG_LAUNCH(find_rises<real>, (unsigned)chunk.m, THREADS, 0, a->stream, chunk,
                           before, sg_cuda_head_at<real>(b, SG_CUDA_ROOM_LOGITS),
                           sg_cuda_head_at<double>(a, SG_CUDA_ROOM_SUMS));
}

/* The same chunk of both layers, one after the other, each time looked at with `look`; what stands for the rows is
 * [rows][numbers] in SG_CUDA_ROOM_SUMS of a. */
template <typename function>
sg_status look_at_both(sg_cuda_head *a, sg_cuda_head *b, size_t numbers, double *sums,
                       function look, sg_error *error)
{
    size_t rows = a->rows, bytes = rows * numbers * sizeof *sums;
    sg_cuda_chunk chunk, other;
    sg_status status = sg_cuda_head_reserve(a, SG_CUDA_ROOM_SUMS, bytes, error);
    if (status == SG_OK)
        status = sg_cuda_chunk_first(a, rows, &chunk, error);
    if (status == SG_OK)
        status = sg_cuda_head_reserve(b, SG_CUDA_ROOM_LOGITS,
                                      chunk.most * chunk.lead * sg_cuda_head_real(b), error);
    for (bool more = true; more && status == SG_OK;
         more = status == SG_OK && sg_cuda_chunk_next(a, rows, &chunk)) {
        other = chunk;
        status = sg_cuda_head_chunk_logits(a, &chunk, a->hidden, error);
        if (status == SG_OK)
            status = sg_cuda_head_chunk_logits(b, &other, b->hidden, error);
        if (status == SG_OK)
            status = sg_cuda_stream_wait(b->stream, error);
        if (status == SG_OK)
            status = sg_cuda_check(look(chunk), looking, error);
        if (status == SG_OK)
            status = sg_cuda_stream_wait(a->stream, error); /* before b's logits change */
    }
    return status ? status : sg_cuda_head_get(a, SG_CUDA_ROOM_SUMS, sums, bytes, error);
}

} // namespace

extern "C" sg_status sg_cuda_head_draw(sg_cuda_head *head, size_t count, const uint32_t *row,
                                       const double *uniform, int32_t *tokens, double *log_prob,
                                       sg_error *error)
{
    if (count == 0)
        return SG_OK;
    sg_status status =
        sg_cuda_head_reserve(head, SG_CUDA_ROOM_TOKENS, count * sizeof *tokens, error);
    if (status == SG_OK)
        status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_SHARES, count * sizeof(double), error);
    if (status == SG_OK)
        status = sg_cuda_head_put(head, SG_CUDA_ROOM_ROWS, row, count * sizeof *row, error);
    if (status == SG_OK)
        status =
            sg_cuda_head_put(head, SG_CUDA_ROOM_VALUES, uniform, count * sizeof *uniform, error);
    if (status == SG_OK)
        status =
            sg_cuda_check(SG_LAUNCH(find_tiles, (unsigned)((count + THREADS - 1) / THREADS),
                                    THREADS, 0, head->stream, count, sg_cuda_head_tiles(head),
                                    head->rows, sg_cuda_head_at<uint32_t>(head, SG_CUDA_ROOM_ROWS),
                                    sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_MASS),
                                    sg_cuda_head_at<double>(head, SG_CUDA_ROOM_LOG_NORM),
                                    sg_cuda_head_at<double>(head, SG_CUDA_ROOM_VALUES),
                                    sg_cuda_head_at<int32_t>(head, SG_CUDA_ROOM_TOKENS),
                                    sg_cuda_head_at<double>(head, SG_CUDA_ROOM_SHARES)),
                          "drawing tokens", error);
    if (status == SG_OK)
        status = head->tensor ? sg_cuda_head_tensor_draw(head, count, error)
                              : sg_cuda_check(head->layer.precision == SG_FP32
                                                  ? launch_draw<float>(head, count)
                                                  : launch_draw<double>(head, count),
                                              "drawing tokens", error);
    sg_cuda_head_wish drawn = {SG_CUDA_ROOM_TOKENS, tokens, count * sizeof *tokens},
                      values = {SG_CUDA_ROOM_VALUES, log_prob, count * sizeof *log_prob};
    return status ? status : sg_cuda_head_get_pair(head, drawn, values, error);
}

extern "C" sg_status sg_cuda_head_observe(sg_cuda_head *head, size_t split, sg_cuda_head_sums *sums,
                                          double *log_norm, sg_error *error)
{
    size_t rows = head->rows, bytes = rows * 2 * sizeof *sums;
    sg_cuda_chunk chunk;
    sg_status status = sg_cuda_head_reserve(head, SG_CUDA_ROOM_SUMS, bytes, error);
    if (status == SG_OK)
        status = sg_cuda_chunk_first(head, rows, &chunk, error);
    for (bool more = true; more && status == SG_OK;
         more = status == SG_OK && sg_cuda_chunk_next(head, rows, &chunk)) {
        status = sg_cuda_head_chunk_logits(head, &chunk, head->hidden, error);
        if (status == SG_OK)
            status = sg_cuda_check(head->layer.precision == SG_FP32
                                       ? launch_look<float>(head, chunk, split)
                                       : launch_look<double>(head, chunk, split),
                                   looking, error);
    }
    if (status == SG_OK)
        status = sg_cuda_head_get_pair(head, {SG_CUDA_ROOM_SUMS, sums, bytes},
                                       {SG_CUDA_ROOM_LOG_NORM, log_norm, rows * sizeof *log_norm},
                                       error);
    for (size_t i = 0; i < 2 * rows && status == SG_OK; i++)
        sums[i].min = -sums[i].min;
    return status;
}

extern "C" sg_status sg_cuda_head_diverge(sg_cuda_head *a, sg_cuda_head *b, double *sums,
                                          sg_error *error)
{
    auto look = [a, b](const sg_cuda_chunk &chunk) {
        return a->layer.precision == SG_FP32 ? launch_compare<float>(a, b, chunk)
                                             : launch_compare<double>(a, b, chunk);
    };
    return look_at_both(a, b, 3, sums, look, error);
}

extern "C" sg_status sg_cuda_head_rise(sg_cuda_head *a, sg_cuda_head *b, double sharpness,
                                       size_t count, const int32_t *tokens, const uint32_t *row,
                                       double *rises, sg_error *error)
{
    double sharpness_a = a->layer.sharpness, sharpness_b = b->layer.sharpness;
    auto look = [a, b, count](const sg_cuda_chunk &chunk) {
        return a->layer.precision == SG_FP32 ? launch_rises<float>(a, b, chunk, count)
                                             : launch_rises<double>(a, b, chunk, count);
    };
    sg_status status =
        sg_cuda_head_put(a, SG_CUDA_ROOM_TOKENS, tokens, count * sizeof *tokens, error);
    if (status == SG_OK)
        status = sg_cuda_head_put(a, SG_CUDA_ROOM_ROWS, row, count * sizeof *row, error);
    a->layer.sharpness = b->layer.sharpness = sharpness;
    if (status == SG_OK)
        status = look_at_both(a, b, 1, rises, look, error);
    a->layer.sharpness = sharpness_a;
    b->layer.sharpness = sharpness_b;
    return status;
}
