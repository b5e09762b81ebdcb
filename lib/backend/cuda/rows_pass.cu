/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pass of an update, fast: what bounds it should be memory alone. A warp has two tiles. It reads them 16
 * bytes a thread, with 8 loads on the way in each, leaves the new q in shared memory, adds them up there, a
 * half of the warp a tile and a thread a lane of the tile, and writes them 16 bytes a thread. No warp
 * waits for another.
 *
 * The sums that describe an update come from the old q and the new moments before anything is written back; half of the
 * threads are at work then, in double precision, so such an update takes longer than a copy.
 *
 * A logit costs, besides its 8 bytes (sgd in single precision; adam has 24): 8 operations of the update, half a
 * load or store, and a load, a conversion and an addition in double precision of its mass. A multiprocessor takes
 * 6 blocks (5 with moments), 24 warps, each with up to 4 KB on the way: 96 KB, where 4.8 TB/s over 132 of them need some 30. An
 * H200 moves about 2.6 such logits per cycle and multiprocessor and could compute 9, so the time to expect is that
 * of a copy. Measured nowhere yet. */
#include "backend/cuda/rows_sums.h"
#include "backend/cuda/rows_tile.h"

namespace
{

/* Warps of a block: their tiles fill 32 KB. BLOCKS of a multiprocessor. */
template <typename real, int kind> struct pass_of {
    enum {
        WARPS = 16 / sizeof(real),
        THREADS = WARPS * SG_WARP,
        BLOCKS = sizeof(real) == 8 || kind == SG_SGD ? 6 : 5
    };
};

/* The tokens of a tile without a sample as they were, and how they have moved: from the old q and the new
 * moments. */
template <typename real, int kind> struct free_tokens {
    typedef row_maths<real> maths;
    row_tile<real> tile;
    typename maths::rule rule;
    const unsigned *sampled; /* a bit for each token */

    __device__ bool has_sample(size_t i) const
    {
        return sampled[i / 32] >> i % 32 & 1;
    }
    __device__ real change(size_t i) const
    {
        real q = tile.q[i];
        if (has_sample(i))
            return 0;
        if (kind == SG_SGD)
            return rule.factor * q;
        if (kind == SG_MOMENTUM)
            return rule.step * tile.m[i];
        real x = maths::adam(rule, tile.m[i], tile.v[i]);
        return rule.decay > 0 ? x - maths::fade(rule, q) : x;
    }
};
template <typename real, int kind> struct free_q {
    const free_tokens<real, kind> &tokens;
    __device__ real operator[](size_t i) const
    {
        return tokens.has_sample(i) ? 0 : tokens.tile.q[i];
    }
};
template <typename real, int kind> struct free_x {
    const free_tokens<real, kind> &tokens;
    __device__ real operator[](size_t i) const
    {
        return tokens.change(i);
    }
};

/* The sums of a tile before its sampled tokens have moved; half a warp calls it. */
template <typename real, int kind>
__device__ void sum_tile(const free_tokens<real, kind> &tokens, size_t tile, const sg_row_job *job,
                         const sg_cuda_touched *touched, double reach, sg_row_sums *sums)
{
    unsigned lanes = 0xffffu << (threadIdx.x & 16);
    double best = 0;
    for (size_t i = threadIdx.x % SG_LANES; i < tokens.tile.n; i += SG_LANES) {
        double x = (double)tokens.change(i);
        best = x > best ? x : best;
    }
    for (int half = SG_LANES / 2; half > 0; half /= 2) {
        double other = __shfl_xor_sync(lanes, best, half);
        best = other > best ? other : best;
    }
    sum_free(free_q<real, kind>{tokens}, free_x<real, kind>{tokens}, tokens.tile.n, tile, job,
             touched, reach, best, sums);
}

/* Calls each(k, i, sample) for the samples in the tiles first and first + 1: k is 0 or 1. */
template <typename function>
__device__ void for_samples(sg_cuda_touched *touched, size_t n, size_t first, function each)
{
    for (size_t j = threadIdx.x % SG_WARP; j < n; j += SG_WARP) {
        size_t i =
            touched[j].token < 0 ? 2 * (size_t)SG_TILE : (size_t)touched[j].token - first * SG_TILE;
        if (i < 2 * SG_TILE)
            each((unsigned)(i / SG_TILE), i % SG_TILE, &touched[j]);
    }
}

template <typename real, int kind, bool with_sums>
__global__ void __launch_bounds__(pass_of<real, kind>::THREADS,
                                  with_sums ? 1 : pass_of<real, kind>::BLOCKS)
    fast_tiles(sg_cuda_table rows, sg_cuda_range range, sg_cuda_samples samples, sg_row_sums *sums)
{
    enum { WARPS = pass_of<real, kind>::WARPS };
    __shared__ __align__(16) real staged[WARPS][2][ROW_PITCH];
    __shared__ unsigned sampled[WARPS][2][SG_TILE / 32];
    unsigned warp = threadIdx.x / SG_WARP, lane = threadIdx.x % SG_WARP, half = lane / SG_LANES;
    size_t pairs = (rows.tiles + 1) / 2, at = (size_t)blockIdx.x * WARPS + warp;
    if (at >= range.count * pairs)
        return;
    size_t s = at / pairs, state = range.first + s, first = at % pairs * 2;
    unsigned tiles = first + 1 < rows.tiles ? 2 : 1, moves = 0; /* a bit for each tile */
    const sg_row_job *job = &samples.jobs[s];
    sg_cuda_touched *touched = samples.touched + s * samples.n;
    for_samples(touched, samples.n, first, [&](unsigned k, size_t i, sg_cuda_touched *one) {
        touch(row_tile<real>(rows, state, first + k), i, job, one);
        moves |= 1u << k;
    });
    moves = (__any_sync(SG_EVERY_LANE, moves & 1) ? 1u : 0u) |
            (__any_sync(SG_EVERY_LANE, moves & 2) ? 2u : 0u);
    moves = job->sparse ? moves : (1u << tiles) - 1;
    __syncwarp();
    double reach[2] = {0, 0};
    for (unsigned k = 0; k < 2; k++)
        if (moves >> k & 1) {
            row_tile<real> tile(rows, state, first + k);
            reach[k] = change_tile<kind>(tile, job, sg_row_reach(job, *tile.mass), staged[warp][k]);
        }
    if (with_sums) {
        sampled[warp][0][lane] = sampled[warp][1][lane] = 0;
        __syncwarp();
        for_samples(touched, samples.n, first, [&](unsigned k, size_t i, sg_cuda_touched *) {
            atomicOr(&sampled[warp][k][i / 32], 1u << i % 32);
        });
        __syncwarp();
        sg_row_sums *mine = &sums[s * rows.tiles + first + half];
        if (moves >> half & 1) {
            free_tokens<real, kind> tokens = {
                row_tile<real>(rows, state, first + half), {}, sampled[warp][half]};
            rule_of(job, &tokens.rule);
            sum_tile(tokens, first + half, job, touched, half ? reach[1] : reach[0], mine);
        } else if (half < tiles && lane % SG_LANES == 0) {
            *mine = sg_row_sums();
        }
    }
    __syncwarp();
    for_samples(touched, samples.n, first, [&](unsigned k, size_t i, sg_cuda_touched *one) {
        settle_touched(row_tile<real>(rows, state, first + k), i, job, one, staged[warp][k]);
    });
    __syncwarp();
    for (unsigned k = 0; k < 2; k++)
        if (moves >> k & 1) {
            row_tile<real> tile(rows, state, first + k);
            copy_wide(tile.q, staged[warp][k], (unsigned)tile.n);
        }
    if (!(moves >> half & 1))
        return;
    row_tile<real> mine(rows, state, first + half);
    double mass = tile_mass(staged[warp][half], mine.n);
    if (lane % SG_LANES == 0)
        *mine.mass = mass;
}

template <typename real, int kind>
cudaError_t queue(const sg_cuda_table &rows, sg_cuda_range range, const sg_cuda_samples &samples,
                  sg_row_sums *sums, sg_cuda_stream *stream)
{
    enum { WARPS = pass_of<real, kind>::WARPS, THREADS = pass_of<real, kind>::THREADS };
    size_t warps = range.count * ((rows.tiles + 1) / 2);
    unsigned blocks = (unsigned)((warps + WARPS - 1) / WARPS);
    return sums ? SG_LAUNCH((fast_tiles<real, kind, true>), blocks, THREADS, 0, stream, rows, range,
                            samples, sums)
                : SG_LAUNCH((fast_tiles<real, kind, false>), blocks, THREADS, 0, stream, rows,
                            range, samples, sums);
}

} // namespace

cudaError_t sg_cuda_rows_queue_fast_tiles(const sg_cuda_table &rows, sg_cuda_range range,
                                          const sg_cuda_samples &samples, sg_row_sums *sums,
                                          sg_cuda_stream *stream)
{
    return SG_FOR_KIND(rows, queue, rows, range, samples, sums, stream);
}
