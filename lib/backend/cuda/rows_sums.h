/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_ROWS_SUMS_H
#define SG_CUDA_ROWS_SUMS_H

#include "backend/cuda/rows_kernels.h"

/* The sums of a tile that describe an update. q[i] and x[i] are a token and its change, of arrays or of what
 * computes them; tokens with a sample have q = x = 0. */

namespace
{

/* From moments, in 8 lanes. 8 neighbouring threads call it, the first a multiple of 8. */
template <typename numbers, typename changes>
__device__ void sum_moments(numbers q, changes x, size_t n, const sg_row_job *job, int most,
                            sg_row_sums *sums)
{
    unsigned lanes = 0xffu << (threadIdx.x & 24);
    double mass = 0, square = 0, norm = 0, moment[8] = {0};
    for (size_t i = threadIdx.x % 8; i < n; i += 8) {
        double p = (double)q[i] * job->inverse_total, d = (double)x[i];
        mass += p;
        square += p * p;
        norm += d * d;
        for (int k = 1; k < 8; k++) {
            p *= d;
            if (k <= most)
                moment[k] += p;
        }
    }
    double *const all[] = {&mass,      &square,    &norm,      &moment[1], &moment[2],
                           &moment[3], &moment[4], &moment[5], &moment[6], &moment[7]};
    for (double *sum : all)
        for (int half = 4; half > 0; half /= 2)
            *sum += __shfl_xor_sync(lanes, *sum, half);
    sums->free_mass = mass;
    sums->free_collision = square;
    sums->norm2 = norm;
    sg_row_sums_of_moments(sums, moment);
}

/* The same for steps of any size, in the lanes of a tile: 16 threads call it. */
template <typename numbers, typename changes>
__device__ void sum_any(numbers q, changes x, size_t n, const sg_row_job *job, sg_row_sums *sums)
{
    double inverse = job->inverse_total, shift = job->shift;
    sums->free_mass = sum_in_lanes(n, [=](size_t i) { return (double)q[i] * inverse; });
    sums->free_collision = sum_in_lanes(n, [=](size_t i) {
        double p = (double)q[i] * inverse;
        return p * p;
    });
    sums->norm2 = sum_in_lanes(n, [=](size_t i) { return (double)x[i] * (double)x[i]; });
    sums->first =
        sum_in_lanes(n, [=](size_t i) { return (double)q[i] * inverse * ((double)x[i] - shift); });
    sums->excess = sum_in_lanes(
        n, [=](size_t i) { return (double)q[i] * inverse * sg_exp_excess((double)x[i] - shift); });
    sums->reverse = sum_in_lanes(n, [=](size_t i) {
        double y = (double)x[i] - shift, e = sg_exp_excess(y);
        return (double)q[i] * inverse * (y * (e + y) - e);
    });
}

/* All of it, into *sums: 16 neighbouring threads call it, the first a multiple of 16. reach: what is known of |x|; best: the
 * greatest x. */
template <typename numbers, typename changes>
__device__ void sum_free(numbers q, changes x, size_t n, size_t tile, const sg_row_job *job,
                         const sg_cuda_touched *touched, double reach, double best,
                         sg_row_sums *sums)
{
    unsigned lane = threadIdx.x % SG_LANES;
    sg_row_sums mine = {};
    if (reach > 0x1p-6)
        sum_any(q, x, n, job, &mine);
    else if (lane < 8)
        sum_moments(q, x, n, job, reach <= 0x1p-12 ? 4 : 7, &mine);
    if (lane > 0)
        return;
    mine.max_free = best;
    for (size_t j = 0; j < job->n; j++)
        if (place_in_tile(&touched[j], tile) < SG_TILE)
            sg_row_sums_touched(&mine, job, touched[j].push, touched[j].q, touched[j].x);
    *sums = mine;
}

} // namespace

#endif
