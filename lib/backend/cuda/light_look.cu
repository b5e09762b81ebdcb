/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Light rows on the device: how they start and are copied, and what is asked of them. Draws and
 * log-probabilities take a thread each, what looks at a whole row takes a warp. */
#include "backend/cuda/light_block.h"

#include "backend/light_draw.h"
#include "backend/light_look.h"

namespace
{

enum { LOOK_THREADS = 128, LOOK_ROWS = LOOK_THREADS / SG_WARP };

/* Start `kernel`, a thread or a row for each of n things. */
#define LAUNCH_EACH(kernel, n, of_a_block, stream, ...)                                            \
    ((n) == 0 ? cudaSuccess                                                                        \
              : SG_LAUNCH(kernel, (unsigned)(((n) + (of_a_block)-1) / (of_a_block)), LOOK_THREADS, \
                          0, stream, __VA_ARGS__))

__device__ size_t thread_number()
{
    return (size_t)blockIdx.x * LOOK_THREADS + threadIdx.x;
}

__device__ size_t warp_number()
{
    return (size_t)blockIdx.x * LOOK_ROWS + threadIdx.x / SG_WARP;
}

__global__ void __launch_bounds__(LIGHT_THREADS)
    start_rows(sg_cuda_light_row *rows, sg_cuda_light_prior *prior, char *memory, size_t stride,
               size_t capacity, size_t explicit_limit, bool fresh)
{
    sg_cuda_light_row *one = &rows[blockIdx.x];
    if (threadIdx.x == 0) {
        if (fresh)
            *one = sg_cuda_light_row();
        sg_cuda_light_place(&one->row, memory + blockIdx.x * stride, capacity);
        sg_light_row_reset(&one->row, &prior->base, prior->offset);
    }
    __syncthreads();
    for (size_t e = threadIdx.x; e < prior->heavy_count; e += LIGHT_THREADS) {
        one->row.token[e] = prior->heavy[e];
        one->row.q[e] = prior->heavy_q[e];
    }
    restart_row(&one->row, prior->heavy_count, explicit_limit);
}

__global__ void __launch_bounds__(LIGHT_THREADS)
    copy_rows(sg_cuda_light_row *rows, const sg_cuda_light_row *source,
              const sg_cuda_light_copy *copies)
{
    const sg_cuda_light_copy &copy = copies[blockIdx.x];
    sg_cuda_light_row *to = &rows[blockIdx.x];
    const sg_cuda_light_row *from = &source[blockIdx.x];
    if (threadIdx.x == 0) {
        to->row = from->row;
        to->own.q = copy.own;
        to->row.base = from->row.owned ? &to->own : &copy.prior->base;
        sg_cuda_light_place(&to->row, copy.memory, copy.capacity);
    }
    __syncthreads();
    copy_explicit(&to->row, &from->row);
    seal_row(&to->row);
    if (from->row.owned)
        copy_base(&to->own, &from->own);
}

__global__ void __launch_bounds__(LIGHT_THREADS) seal_one(sg_cuda_light_row *one)
{
    seal_row(&one->row);
}

__global__ void __launch_bounds__(LOOK_THREADS)
    get_logits(const sg_cuda_light_row *one, size_t first, size_t n, double *logits)
{
    size_t i = thread_number();
    if (i >= n)
        return;
    const sg_light_row *row = &one->row;
    size_t v = first + i;
    int32_t slot = sg_light_row_slot(row, (int32_t)v);
    double q = slot >= 0 ? row->q[slot]
                         : sg_light_carried(row->s, row->base->q[v], 1 / row->base->scale, 1);
    logits[i] = sg_log(q) + sg_light_row_offset(row);
}

__device__ double log_prob_of(const sg_light_row *row, int32_t token)
{
    return sg_log(sg_light_row_q(row, token) / row->total);
}

__global__ void __launch_bounds__(LOOK_THREADS)
    draw_tokens(const sg_cuda_light_row *rows, size_t cells, size_t n, const double *uniforms,
                int32_t *tokens, double *log_prob)
{
    size_t i = thread_number();
    if (i >= cells)
        return;
    int32_t drawn;
    sg_light_draw(&rows[i / n].row, 1, &uniforms[i], &drawn);
    tokens[i] = drawn;
    if (log_prob)
        log_prob[i] = log_prob_of(&rows[i / n].row, drawn);
}

__global__ void __launch_bounds__(LOOK_THREADS)
    take_log_probs(const sg_cuda_light_row *rows, size_t cells, size_t n, const int32_t *tokens,
                   double *log_prob)
{
    size_t i = thread_number();
    if (i < cells)
        log_prob[i] = log_prob_of(&rows[i / n].row, tokens[i]);
}

__global__ void __launch_bounds__(LOOK_THREADS)
    add_masses(const sg_cuda_light_row *rows, size_t sets, const size_t *state, const size_t *start,
               const int32_t *tokens, double *mass)
{
    size_t k = thread_number();
    if (k < sets)
        mass[k] =
            sg_light_row_mass(&rows[state[k]].row, start[k + 1] - start[k], tokens + start[k]);
}

/* Of rows between two updates only: what one that stopped in the middle would find is not what its update
 * would. */
__global__ void __launch_bounds__(LIGHT_THREADS)
    know_extremes(sg_cuda_light_row *rows, const sg_cuda_light_counts *counts)
{
    sg_light_row *row = &rows[blockIdx.x].row;
    bool known = counts->lacking > 0 || sg_light_row_extremes_known(row);
    if (!__syncthreads_or(known))
        find_extremes(row);
}

__global__ void __launch_bounds__(LOOK_THREADS)
    observe_rows(const sg_cuda_light_row *rows, size_t count, sg_row_observation *observation)
{
    __shared__ sg_light_room rooms[LOOK_ROWS];
    size_t s = warp_number();
    if (s < count)
        sg_light_row_observe(&rows[s].row, &rooms[threadIdx.x / SG_WARP], &observation[s]);
}

__global__ void __launch_bounds__(LOOK_THREADS)
    take_collisions(const sg_cuda_light_row *rows, size_t count, double *collision)
{
    __shared__ sg_light_room rooms[LOOK_ROWS];
    size_t s = warp_number();
    if (s >= count)
        return;
    double sum = sg_light_row_collision(&rows[s].row, &rooms[threadIdx.x / SG_WARP]);
    if (SG_TEAM_LEADS)
        collision[s] = sum;
}

} // namespace

cudaError_t sg_cuda_light_queue_start(sg_cuda_light_row *rows, size_t count,
                                      sg_cuda_light_prior *prior, char *memory, size_t stride,
                                      size_t capacity, size_t explicit_limit, bool fresh,
                                      sg_cuda_stream *stream)
{
    return SG_LAUNCH(start_rows, (unsigned)count, LIGHT_THREADS, 0, stream, rows, prior, memory,
                     stride, capacity, explicit_limit, fresh);
}

cudaError_t sg_cuda_light_queue_copy(sg_cuda_light_row *rows, const sg_cuda_light_row *source,
                                     size_t count, const sg_cuda_light_copy *copies,
                                     sg_cuda_stream *stream)
{
    return SG_LAUNCH(copy_rows, (unsigned)count, LIGHT_THREADS, 0, stream, rows, source, copies);
}

cudaError_t sg_cuda_light_queue_seal(sg_cuda_light_row *row, sg_cuda_stream *stream)
{
    return SG_LAUNCH(seal_one, 1, LIGHT_THREADS, 0, stream, row);
}

cudaError_t sg_cuda_light_queue_get(const sg_cuda_light_row *row, size_t first, size_t n,
                                    double *logits, sg_cuda_stream *stream)
{
    return LAUNCH_EACH(get_logits, n, LOOK_THREADS, stream, row, first, n, logits);
}

cudaError_t sg_cuda_light_queue_draw(const sg_cuda_light_row *rows, size_t count, size_t n,
                                     const double *uniforms, int32_t *tokens, double *log_prob,
                                     sg_cuda_stream *stream)
{
    return LAUNCH_EACH(draw_tokens, count * n, LOOK_THREADS, stream, rows, count * n, n, uniforms,
                       tokens, log_prob);
}

cudaError_t sg_cuda_light_queue_log_prob(const sg_cuda_light_row *rows, size_t count, size_t n,
                                         const int32_t *tokens, double *log_prob,
                                         sg_cuda_stream *stream)
{
    return LAUNCH_EACH(take_log_probs, count * n, LOOK_THREADS, stream, rows, count * n, n, tokens,
                       log_prob);
}

cudaError_t sg_cuda_light_queue_observe(sg_cuda_light_row *rows, size_t count,
                                        const sg_cuda_light_counts *counts,
                                        sg_row_observation *observation, sg_cuda_stream *stream)
{
    cudaError_t code =
        SG_LAUNCH(know_extremes, (unsigned)count, LIGHT_THREADS, 0, stream, rows, counts);
    return code != cudaSuccess
               ? code
               : LAUNCH_EACH(observe_rows, count, LOOK_ROWS, stream, rows, count, observation);
}

cudaError_t sg_cuda_light_queue_collision(const sg_cuda_light_row *rows, size_t count,
                                          double *collision, sg_cuda_stream *stream)
{
    return LAUNCH_EACH(take_collisions, count, LOOK_ROWS, stream, rows, count, collision);
}

cudaError_t sg_cuda_light_queue_masses(const sg_cuda_light_row *rows, size_t sets,
                                       const size_t *state, const size_t *start,
                                       const int32_t *tokens, double *mass, sg_cuda_stream *stream)
{
    return LAUNCH_EACH(add_masses, sets, LOOK_THREADS, stream, rows, sets, state, start, tokens,
                       mass);
}
