/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gates of sequences, made for speed. Many sequences fill a device with a warp for each, and then a warp takes
 * several and evaluates their gates side by side; a long one is cut into pieces, with a block for each. */
#include "backend/cuda/launch.h"

#include <stdlib.h>

#include "backend/cuda/block.h"
#include "backend/cuda/gates_fast.h"
#include "backend/cuda/gates_parts.h"

namespace
{

enum {
    THREADS = SG_BLOCK_MOST,
    WARP = SG_WARP,
    WARPS = THREADS / WARP,
    LOADS = 16 /* of a lane that are on their way together */
};
const size_t PIECE = SG_CUDA_LONG_SEQUENCE;

struct sequences {
    sg_gate_parameters parameter;
    bool product;
    size_t count, longest; /* longer ones are left out */
    const size_t *start;
    const float *log_ratio, *advantage;
    float *value, *row_slope, *slope;
};

/* Tokens first + t, t = thread, thread + threads, ..., in that order; what is not there is 0. */
template <unsigned threads>
__device__ double add_stretch(const float *__restrict__ x, size_t n, unsigned thread)
{
    double sum = 0;
    for (size_t t = thread; t < n; t += (size_t)threads * LOADS) {
        float part[LOADS];
        for (int k = 0; k < LOADS; k++)
            part[k] = t + (size_t)k * threads < n ? x[t + (size_t)k * threads] : 0;
        for (int k = 0; k < LOADS; k++)
            sum += (double)part[k];
    }
    return sum;
}

struct outcome {
    float value, each;
};

template <sg_gate_kind kind>
__device__ outcome evaluate(const sequences &s, double sum, size_t length, float advantage)
{
    sg_gate_of_row row =
        sg_gate_row(kind, &s.parameter, s.product, sum, (double)length, (double)advantage);
    return {(float)row.value, (float)row.slope};
}

/* A warp takes `together` sequences: adds them up one after the other, evaluates all, a lane each, and writes one
 * after the other. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS) apply(sequences s, unsigned together)
{
    size_t warp = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP, from = warp * together;
    unsigned lane = threadIdx.x % WARP;
    if (from >= s.count)
        return; /* the whole warp */
    unsigned here = s.count - from < together ? (unsigned)(s.count - from) : together;
    size_t zero = s.start[0], first = 0, length = 0;
    if (lane < here) {
        first = s.start[from + lane] - zero;
        length = s.start[from + lane + 1] - zero - first;
    }
    double sum = 0;
    for (unsigned k = 0; k < here; k++) {
        size_t begin = __shfl_sync(SG_EVERY_LANE, first, (int)k);
        size_t n = __shfl_sync(SG_EVERY_LANE, length, (int)k);
        double of_k = n <= s.longest ? add_stretch<WARP>(s.log_ratio + begin, n, lane) : 0;
        of_k = sg_warp_sum(of_k);
        sum = lane == k ? of_k : sum;
    }
    outcome mine = {0, 0};
    if (lane < here && length <= s.longest) {
        mine = evaluate<kind>(s, sum, length, s.advantage[from + lane]);
        s.value[from + lane] = mine.value;
        if (s.row_slope)
            s.row_slope[from + lane] = mine.each;
    }
    for (unsigned k = 0; k < here && s.slope; k++) {
        size_t begin = __shfl_sync(SG_EVERY_LANE, first, (int)k);
        size_t n = __shfl_sync(SG_EVERY_LANE, length, (int)k);
        float each = __shfl_sync(SG_EVERY_LANE, mine.each, (int)k);
        for (size_t t = lane; t < n && n <= s.longest; t += WARP)
            s.slope[begin + t] = each;
    }
}

/* ---- Long sequences ---- */

/* Tokens first .. first + length - 1 of all; piece `number` of `pieces` of its sequence. */
struct piece {
    size_t sequence, first, length, number, pieces;
};

__global__ void __launch_bounds__(THREADS)
    add_pieces(const piece *__restrict__ pieces, const float *__restrict__ log_ratio,
               double *__restrict__ sums)
{
    __shared__ double shared[SG_BLOCK_WARPS];
    const piece &p = pieces[blockIdx.x];
    double sum =
        sg_block_sum(add_stretch<THREADS>(log_ratio + p.first, p.length, threadIdx.x), shared);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

/* Every block of a sequence adds up the same sums in the same order. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS)
    apply_pieces(sequences s, const piece *__restrict__ pieces, const double *__restrict__ sums)
{
    __shared__ double shared[SG_BLOCK_WARPS];
    __shared__ float of_all;
    const piece p = pieces[blockIdx.x];
    double sum = 0;
    for (size_t k = threadIdx.x; k < p.pieces; k += THREADS)
        sum += sums[blockIdx.x - p.number + k];
    sum = sg_block_sum(sum, shared);
    if (threadIdx.x == 0) {
        size_t length = s.start[p.sequence + 1] - s.start[p.sequence];
        outcome mine = evaluate<kind>(s, sum, length, s.advantage[p.sequence]);
        of_all = mine.each;
        if (p.number == 0)
            s.value[p.sequence] = mine.value;
        if (p.number == 0 && s.row_slope)
            s.row_slope[p.sequence] = mine.each;
    }
    __syncthreads();
    for (size_t t = threadIdx.x; t < p.length && s.slope; t += THREADS)
        s.slope[p.first + t] = of_all;
}

/* Pieces come first, then their sums. */
double *sums_of(const sg_cuda_long_sequences *longer)
{
    return (double *)((piece *)longer->room + longer->pieces);
}

template <sg_gate_kind kind>
cudaError_t queue(const sequences &s, const sg_cuda_long_sequences *longer, cudaStream_t stream)
{
    unsigned blocks, most;
    cudaError_t code = gate_blocks(apply<kind>, THREADS, s.count, WARPS, &most);
    size_t together = s.count / ((size_t)most * WARPS);
    together = together < 1 ? 1 : together < WARP ? together : (size_t)WARP;
    blocks = (unsigned)((s.count + together * WARPS - 1) / (together * WARPS));
    if (code == cudaSuccess)
        code = SG_LAUNCH(apply<kind>, blocks, THREADS, 0, stream, s, (unsigned)together);
    if (!longer || longer->pieces == 0)
        return code;
    const piece *pieces = (const piece *)longer->room;
    double *sums = sums_of(longer);
    if (code == cudaSuccess)
        code = SG_LAUNCH(add_pieces, (unsigned)longer->pieces, THREADS, 0, stream, pieces,
                         s.log_ratio, sums);
    if (code == cudaSuccess)
        code = SG_LAUNCH(apply_pieces<kind>, (unsigned)longer->pieces, THREADS, 0, stream, s,
                         pieces, sums);
    return code;
}

size_t pieces_of(size_t length)
{
    return length > PIECE ? (length + PIECE - 1) / PIECE : 0;
}

void cut(size_t sequences, const size_t *start, piece *pieces)
{
    for (size_t i = 0; i < sequences; i++) {
        size_t length = start[i + 1] - start[i], count = pieces_of(length);
        for (size_t k = 0; k < count; k++) {
            size_t done = k * PIECE, left = length - done;
            *pieces++ = piece{i, start[i] - start[0] + done, left < PIECE ? left : PIECE, k, count};
        }
    }
}

} // namespace

extern "C" sg_status sg_cuda_long_sequences_find(sg_cuda_long_sequences *found, size_t sequences,
                                                 const size_t *start, sg_cuda_stream *stream,
                                                 sg_error *error)
{
    *found = sg_cuda_long_sequences();
    size_t count = 0;
    for (size_t i = 0; i < sequences; i++)
        count += pieces_of(start[i + 1] - start[i]);
    if (count == 0 || sg_cuda_kernels_chosen() != SG_CUDA_FAST)
        return SG_OK;
    if (count > 0x7fffffffu)
        return sg_fail(error, SG_EUNSUPPORTED,
                       "%zu pieces of sequences are more than one launch takes", count);
    piece *pieces = (piece *)malloc(count * sizeof *pieces);
    if (!pieces)
        return sg_fail(error, SG_ENOMEM, "not enough memory for a list of %zu pieces of sequences",
                       count);
    cut(sequences, start, pieces);
    sg_status status = sg_cuda_alloc(&found->room, count * (sizeof(piece) + sizeof(double)),
                                     "the pieces of long sequences", error);
    if (status == SG_OK)
        status = sg_cuda_to_device(found->room, pieces, count * sizeof *pieces, stream, error);
    if (status == SG_OK)
        status = sg_cuda_stream_wait(stream, error);
    free(pieces);
    found->pieces = count;
    if (status != SG_OK)
        sg_cuda_long_sequences_free(found);
    return status;
}

extern "C" void sg_cuda_long_sequences_free(sg_cuda_long_sequences *found)
{
    sg_cuda_free(found->room);
    *found = sg_cuda_long_sequences();
}

cudaError_t sg_cuda_gates_fast_sequences(const sg_objective *objective, size_t count,
                                         const size_t *start, const float *log_ratio,
                                         const float *advantage, float *value, float *row_slope,
                                         float *slope, const sg_cuda_long_sequences *longer,
                                         cudaStream_t stream)
{
    sequences s = {objective->parameter,
                   objective->level == SG_LEVEL_PRODUCT,
                   count,
                   longer && longer->pieces ? PIECE : (size_t)-1,
                   start,
                   log_ratio,
                   advantage,
                   value,
                   row_slope,
                   slope};
    switch (objective->gate) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        return queue<id>(s, longer, stream);
        SG_GATE_LIST(SG_CASE)
#undef SG_CASE
    }
    return cudaErrorInvalidValue;
}
