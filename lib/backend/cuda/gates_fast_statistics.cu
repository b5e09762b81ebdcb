/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Statistics of gates, made for speed: a kernel for each gate, and tokens in registers through loads of 16
 * bytes. A histogram is a column a thread in shared memory, so no two threads meet; counts of signs and of closed gates
 * are halves of registers. */
#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/gates_fast.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST, WARP = SG_WARP, WARPS = THREADS / WARP };
/* Fours of a thread's tokens: many where all objectives share them; few where a block comes back for more. */
enum { MANY = 4, FEW = 2 };
/* One objective: as many blocks as an H200 holds at once, but no thread gets more tokens than halves count. */
enum { BLOCKS = 528, MOST_TILES = 4096 };

struct batch {
    size_t n;
    const float *ratio, *advantage;
    bool wide; /* both at multiples of 16 bytes */
};

struct results {
    size_t pieces;
    double *weights;
    unsigned *tallies;
};

struct tallies {
    unsigned *column;            /* [GATE_COUNTERS], THREADS apart */
    unsigned positive, negative; /* low half: all; high half: those with coefficient 0 */
    double weight;
};

__device__ __forceinline__ tallies no_tallies(unsigned *columns)
{
    tallies sum = {columns + threadIdx.x, 0, 0, 0};
    for (int c = 0; c < GATE_POSITIVE; c++)
        sum.column[c * THREADS] = 0;
    return sum;
}

template <sg_gate_kind kind>
__device__ __forceinline__ void tally(tallies &sum, const sg_gate_parameters &p, float ratio,
                                      float advantage)
{
    sg_gate_value_bulk v = gate_evaluate(kind, p, ratio, advantage);
    unsigned one = v.coefficient == 0 ? 0x10001u : 1u;
    sum.positive += advantage > 0 ? one : 0;
    sum.negative += advantage < 0 ? one : 0;
    sum.weight += (double)v.weight;
    sum.column[(unsigned)sg_gate_bin(v.weight) * THREADS]++;
}

/* Four tokens from i on, one by one; 0 in the place of those that are not there. */
__device__ __forceinline__ float4 gather(const float *__restrict__ x, size_t n, size_t i)
{
    return make_float4(i < n ? x[i] : 0, i + 1 < n ? x[i + 1] : 0, i + 2 < n ? x[i + 2] : 0,
                       i + 3 < n ? x[i + 3] : 0);
}

/* A thread's tokens of a tile: fours, THREADS fours apart. */
template <int fours> struct tokens {
    size_t first;
    float4 ratio[fours], advantage[fours];

    __device__ __forceinline__ void get(const batch &b, size_t tile)
    {
        first = (tile * fours * THREADS + threadIdx.x) * 4;
        bool whole = (tile + 1) * fours * THREADS * 4 <= b.n;
        for (int v = 0; v < fours; v++) {
            size_t i = first + (size_t)v * THREADS * 4;
            ratio[v] = whole && b.wide ? *(const float4 *)(b.ratio + i) : gather(b.ratio, b.n, i);
            advantage[v] =
                whole && b.wide ? *(const float4 *)(b.advantage + i) : gather(b.advantage, b.n, i);
        }
    }

    template <sg_gate_kind kind, bool all>
    __device__ __forceinline__ void add(tallies &sum, const sg_gate_parameters &p, size_t n) const
    {
        for (int v = 0; v < fours; v++) {
            size_t i = first + (size_t)v * THREADS * 4;
            if (all || i < n)
                tally<kind>(sum, p, ratio[v].x, advantage[v].x);
            if (all || i + 1 < n)
                tally<kind>(sum, p, ratio[v].y, advantage[v].y);
            if (all || i + 2 < n)
                tally<kind>(sum, p, ratio[v].z, advantage[v].z);
            if (all || i + 3 < n)
                tally<kind>(sum, p, ratio[v].w, advantage[v].w);
        }
    }

    /* Only the last tile may end early. */
    template <sg_gate_kind kind>
    __device__ __forceinline__ void add(tallies &sum, const sg_gate_parameters &p, size_t tile,
                                        size_t n) const
    {
        if ((tile + 1) * fours * THREADS * 4 <= n)
            add<kind, true>(sum, p, n);
        else
            add<kind, false>(sum, p, n);
    }
};

/* The block's sums go to its piece of objective g. */
__device__ void finish(const tallies &sum, const unsigned *columns, double *shared, size_t g,
                       const results &to)
{
    sum.column[GATE_POSITIVE * THREADS] = sum.positive & 0xffff;
    sum.column[GATE_NEGATIVE * THREADS] = sum.negative & 0xffff;
    sum.column[GATE_CLIPPED_POSITIVE * THREADS] = sum.positive >> 16;
    sum.column[GATE_CLIPPED_NEGATIVE * THREADS] = sum.negative >> 16;
    double weight = sg_block_sum(sum.weight, shared); /* and all columns are there */
    if (threadIdx.x == 0)
        to.weights[g * to.pieces + blockIdx.x] = weight;
    for (unsigned c = threadIdx.x / WARP; c < GATE_COUNTERS; c += WARPS) {
        unsigned mine = 0;
        for (unsigned t = 0; t < THREADS; t += WARP)
            mine += columns[c * THREADS + t + threadIdx.x % WARP];
        mine = sg_warp_sum(mine);
        if (threadIdx.x % WARP == 0)
            to.tallies[(g * GATE_COUNTERS + c) * to.pieces + blockIdx.x] = mine;
    }
}

template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS, 4)
    of_one(sg_gate_parameters parameter, batch b, size_t tiles, results to)
{
    __shared__ unsigned columns[GATE_COUNTERS * THREADS];
    __shared__ double shared[SG_BLOCK_WARPS];
    const sg_gate_parameters p = gate_in_registers(parameter);
    tallies sum = no_tallies(columns);
    for (size_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        tokens<FEW> mine;
        mine.get(b, tile);
        mine.template add<kind>(sum, p, tile, b.n);
    }
    finish(sum, columns, shared, 0, to);
}

/* All objectives have the same gate. */
template <sg_gate_kind kind>
__global__ void __launch_bounds__(THREADS, 4)
    of_many(size_t objectives, const gate_and_parameters *__restrict__ gates, batch b, results to)
{
    __shared__ unsigned columns[GATE_COUNTERS * THREADS];
    __shared__ double shared[SG_BLOCK_WARPS];
    tokens<MANY> mine;
    mine.get(b, blockIdx.x);
    for (size_t g = 0; g < objectives; g++) {
        const sg_gate_parameters p = gate_in_registers(gates[g].parameter);
        tallies sum = no_tallies(columns);
        mine.template add<kind>(sum, p, blockIdx.x, b.n);
        finish(sum, columns, shared, g, to);
        __syncthreads(); /* columns have been read */
    }
}

size_t tiles_of(size_t n, size_t fours)
{
    size_t tile = fours * THREADS * 4;
    return (n + tile - 1) / tile;
}

template <sg_gate_kind kind>
cudaError_t queue_one(const sg_objective *objective, const batch &b, const results &to,
                      cudaStream_t stream)
{
    return SG_LAUNCH(of_one<kind>, (unsigned)to.pieces, THREADS, 0, stream, objective->parameter, b,
                     tiles_of(b.n, FEW), to);
}

template <sg_gate_kind kind>
cudaError_t queue_many(size_t count, const gate_and_parameters *gates, const batch &b,
                       const results &to, cudaStream_t stream)
{
    return SG_LAUNCH(of_many<kind>, (unsigned)to.pieces, THREADS, 0, stream, count, gates, b, to);
}

} // namespace

size_t sg_cuda_gates_fast_pieces(size_t count, size_t n)
{
    if (count > 1)
        return tiles_of(n, MANY);
    size_t tiles = tiles_of(n, FEW), most = tiles / MOST_TILES;
    most = most > BLOCKS ? most : (size_t)BLOCKS;
    return tiles < most ? tiles : most;
}

cudaError_t sg_cuda_gates_fast_statistics(size_t count, const sg_objective *objective,
                                          const gate_and_parameters *gates, size_t n,
                                          const float *ratio, const float *advantage,
                                          double *weights, unsigned *tallies, cudaStream_t stream)
{
    batch b = {n, ratio, advantage, gate_aligned(ratio) && gate_aligned(advantage)};
    size_t pieces = sg_cuda_gates_fast_pieces(count, n);
    cudaError_t code = cudaSuccess;
    for (size_t first = 0, end; first < count && pieces && code == cudaSuccess; first = end) {
        sg_gate_kind kind = objective[first].gate;
        for (end = first + 1; end < count && objective[end].gate == kind;)
            end++;
        results to = {pieces, weights + first * pieces, tallies + first * GATE_COUNTERS * pieces};
        code = cudaErrorInvalidValue;
        switch (kind) {
#define SG_CASE(id, suffix)                                                                        \
    case id:                                                                                       \
        code = count == 1 ? queue_one<id>(objective, b, to, stream)                                \
                          : queue_many<id>(end - first, gates + first, b, to, stream);             \
        break;
            SG_GATE_LIST(SG_CASE)
#undef SG_CASE
        }
    }
    return code;
}
