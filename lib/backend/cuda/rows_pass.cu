/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pass of an update, fast: what bounds it should be memory alone. A warp has two tiles. It reads them 16
 * bytes a thread, with 8 loads on the way in each, leaves the new q in shared memory, adds them up there, a
 * half of the warp a tile and a thread a lane of the tile, and writes them 16 bytes a thread. No warp
 * waits for another.
 *
 * A logit costs, besides its 8 bytes (sgd in single precision; adam has 24): 8 operations of the update, half a
 * load or store, and a load, a conversion and an addition in double precision of its mass. A multiprocessor takes
 * 5 blocks, 20 warps, each with up to 4 KB on the way: 80 KB, where 4.8 TB/s over 132 of them need some 30. An
 * H200 moves about 2.6 such logits per cycle and multiprocessor and could compute 9, so the time to expect is that
 * of a copy. Measured nowhere yet. */
#include "backend/cuda/rows_tile.h"

namespace
{

/* Warps of a block: their tiles fill 32 KB. */
template <typename real> struct pass_of {
    enum { WARPS = 16 / sizeof(real), THREADS = WARPS * SG_WARP, BLOCKS = 5 };
};

template <typename real, int kind>
__global__ void __launch_bounds__(pass_of<real>::THREADS, pass_of<real>::BLOCKS)
    fast_tiles(sg_cuda_table rows, sg_cuda_range range, sg_cuda_samples samples)
{
    __shared__ __align__(16) real staged[pass_of<real>::WARPS][2][ROW_PITCH];
    unsigned warp = threadIdx.x / SG_WARP, lane = threadIdx.x % SG_WARP, half = lane / SG_LANES;
    size_t pairs = (rows.tiles + 1) / 2, at = (size_t)blockIdx.x * pass_of<real>::WARPS + warp;
    if (at >= range.count * pairs)
        return;
    size_t s = at / pairs, first = at % pairs * 2;
    const sg_row_job *job = &samples.jobs[s];
    sg_cuda_touched *touched = samples.touched + s * samples.n;
    unsigned moves = 0; /* a bit for each tile */
    for (int k = 0; k < 2 && first + k < rows.tiles; k++) {
        row_tile<real> tile(rows, range.first + s, first + k);
        real *to = staged[warp][k];
        bool found = false;
        for (size_t j = lane; j < samples.n; j += SG_WARP) {
            size_t i = place_in_tile(&touched[j], first + k);
            if (i < SG_TILE)
                touch(tile, i, job, &touched[j]);
            found = found || i < SG_TILE;
        }
        found = __any_sync(SG_EVERY_LANE, found);
        if (!found && job->sparse)
            continue;
        moves |= 1u << k;
        change_tile<kind>(tile, job, sg_row_reach(job, *tile.mass), to);
        __syncwarp();
        for (size_t j = lane; j < samples.n && found; j += SG_WARP) {
            size_t i = place_in_tile(&touched[j], first + k);
            if (i < SG_TILE)
                settle_touched(tile, i, job, &touched[j], to);
        }
    }
    __syncwarp();
    for (int k = 0; k < 2; k++) {
        if (!(moves >> k & 1))
            continue;
        row_tile<real> tile(rows, range.first + s, first + k);
        copy_wide(tile.q, staged[warp][k], (unsigned)tile.n);
    }
    if (!(moves >> half & 1))
        return;
    row_tile<real> mine(rows, range.first + s, first + half);
    double mass = tile_mass(staged[warp][half], mine.n);
    if (lane % SG_LANES == 0)
        *mine.mass = mass;
}

template <typename real, int kind>
cudaError_t queue(const sg_cuda_table &rows, sg_cuda_range range, const sg_cuda_samples &samples,
                  sg_cuda_stream *stream)
{
    size_t warps = range.count * ((rows.tiles + 1) / 2), of_block = pass_of<real>::WARPS;
    return SG_LAUNCH((fast_tiles<real, kind>), (unsigned)((warps + of_block - 1) / of_block),
                     pass_of<real>::THREADS, 0, stream, rows, range, samples);
}

} // namespace

cudaError_t sg_cuda_rows_queue_fast_tiles(const sg_cuda_table &rows, sg_cuda_range range,
                                          const sg_cuda_samples &samples, sg_cuda_stream *stream)
{
    return SG_FOR_KIND(rows, queue, rows, range, samples, stream);
}
