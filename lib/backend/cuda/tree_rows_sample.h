/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_TREE_ROWS_SAMPLE_H
#define SG_CUDA_TREE_ROWS_SAMPLE_H

#include "backend/cuda/tree_rows_kernels.h"

/* A state's row as a sampler sees it: what policy/sampler.c does, by a block. All weigh a tile, then thread 0 adds it to
 * the sum over the tiles before, token after token, so tokens and log-probabilities have the CPU's bits. Nothing
 * of a row is kept but a few sums: what is asked again is made again. */

namespace
{

enum { SAMPLE_STARTS = 256 }; /* tiles whose sum of all before them is kept */

struct sample_room {
    double weight[SG_TREE_TILE];
    uint64_t key[SG_TREE_TILE];
    double bucket[SG_SAMPLER_BUCKETS], start[SAMPLE_STARTS];
    double best_z[TREE_THREADS];
    size_t best[TREE_THREADS];
    sg_sampler_search search;
    double number; /* of thread 0, for all */
    size_t found;
};

/* Which tokens are left: those of greater keys, and of exactly this one up to a place. */
struct sample_cut {
    uint64_t least;
    size_t last;

    __device__ bool keeps(uint64_t key, size_t i) const
    {
        return key > least || (key == least && i <= last);
    }
};

template <typename real> struct row_sampling {
    const sg_cuda_tree_table &tree;
    const sg_row_sampler &sampler;
    size_t state, n;
    sample_room *room;
    double peak;
    sample_cut by_number, by_mass;

    __device__ row_sampling(const sg_cuda_tree_table &tree_, const sg_row_sampler &sampler_,
                            size_t state_, sample_room *room_)
        : tree(tree_), sampler(sampler_), state(state_), n(tree_.config.vocabulary), room(room_),
          peak(0), by_number{0, SIZE_MAX}, by_mass{0, SIZE_MAX}
    {
    }

    __device__ double logit(size_t i) const
    {
        return sg_round_to(logit_at<real>(tree, state, i), sampler.format);
    }

    __device__ double weight(size_t i, double z) const
    {
        uint64_t key = sg_sampler_key(z);
        double w = sg_exp(sg_sampler_exponent(z, peak, sampler.temperature));
        return by_number.keeps(key, i) && by_mass.keeps(key, i) ? w : 0;
    }

    /* For each tile from `tile` on: all call fill(i, z, place) for its tokens, then one(at, m), in which its m tokens stand
     * in shared memory, is thread 0's. Ends behind a tile for which that returns true. */
    template <typename filling, typename ordered>
    __device__ void for_tiles(size_t tile, filling fill, ordered one) const
    {
        for (bool done = false; tile < tree.tiles && !done; tile++) {
            tree_tile x(tree, state, tile);
            for (size_t k = threadIdx.x; k < x.n; k += TREE_THREADS)
                fill(x.at + k, logit(x.at + k), k);
            __syncthreads();
            if (threadIdx.x == 0)
                room->found = one(x.at, x.n) ? 1 : 0;
            __syncthreads();
            done = room->found == 1;
            __syncthreads();
        }
    }

    /* The likeliest token, in a tie the smallest; every thread gets it, and knows the peak. */
    __device__ size_t find_peak()
    {
        double most = logit(0);
        size_t best = 0;
        for (size_t i = threadIdx.x; i < n; i += TREE_THREADS) {
            double z = logit(i);
            best = z > most ? i : best;
            most = z > most ? z : most;
        }
        room->best_z[threadIdx.x] = most;
        room->best[threadIdx.x] = best;
        __syncthreads();
        for (unsigned t = 0; t < TREE_THREADS; t++) {
            bool more = room->best_z[t] > most;
            bool same = room->best_z[t] == most && room->best[t] < best;
            best = more || same ? room->best[t] : best;
            most = more ? room->best_z[t] : most;
        }
        __syncthreads();
        peak = most;
        return best;
    }

    /* Sum of the weights, to every thread; `place` of a token's weight. */
    template <typename weighing> __device__ double sum_of(weighing weigh)
    {
        double sum = 0;
        for_tiles(
            0, [&](size_t i, double z, size_t k) { room->weight[k] = weigh(i, z); },
            [&](size_t at, size_t m) {
                if (at / SG_TREE_TILE < SAMPLE_STARTS)
                    room->start[at / SG_TREE_TILE] = sum;
                for (size_t k = 0; k < m; k++)
                    sum += room->weight[k];
                return false;
            });
        if (threadIdx.x == 0)
            room->number = sum;
        __syncthreads();
        sum = room->number;
        __syncthreads();
        return sum;
    }
    __device__ double total()
    {
        return sum_of([&](size_t i, double z) { return weight(i, z); });
    }

    /* Thread b % TREE_THREADS has bucket b, and adds what falls into it. */
    __device__ void fill_buckets(int shift, bool count)
    {
        const sg_sampler_search &known = room->search;
        for (size_t b = threadIdx.x; b < SG_SAMPLER_BUCKETS; b += TREE_THREADS)
            room->bucket[b] = 0;
        for (size_t tile = 0; tile < tree.tiles; tile++) {
            tree_tile x(tree, state, tile);
            for (size_t k = threadIdx.x; k < x.n; k += TREE_THREADS) {
                double z = logit(x.at + k);
                room->key[k] = sg_sampler_key(z);
                room->weight[k] = count ? 1 : weight(x.at + k, z);
            }
            __syncthreads();
            for (size_t k = 0; k < x.n; k++) {
                size_t b = sg_sampler_bucket(room->key[k], shift);
                if (b % TREE_THREADS == threadIdx.x && (room->key[k] & known.known) == known.key)
                    room->bucket[b] += room->weight[k];
            }
            __syncthreads();
        }
    }

    /* The cut that keeps the likeliest tokens until their number or mass reaches the target. */
    __device__ sample_cut find_cut(bool count, double target)
    {
        if (threadIdx.x == 0)
            room->search = {0, 0, 0};
        __syncthreads();
        for (int shift = SG_SAMPLER_TOP; shift >= 0; shift -= SG_SAMPLER_BITS) {
            fill_buckets(shift, count);
            size_t lowest = 0;
            while (threadIdx.x == 0 && lowest + 1 < SG_SAMPLER_BUCKETS && room->bucket[lowest] == 0)
                lowest++;
            if (threadIdx.x == 0)
                sg_sampler_descend(&room->search, shift, room->bucket, lowest, target);
            __syncthreads();
        }
        sample_cut cut = {room->search.key, 0};
        double left = -1, above = room->search.above;
        for_tiles(
            0,
            [&](size_t i, double z, size_t k) {
                room->weight[k] = sg_sampler_key(z) == cut.least ? weight(i, z) : 0;
            },
            [&](size_t at, size_t m) {
                for (size_t k = 0; k < m && left != 0; k++) {
                    double w = room->weight[k];
                    if (!(w > 0))
                        continue;
                    if (left < 0)
                        left = sg_sampler_ties(target, above, count ? 1 : w);
                    left -= 1;
                    cut.last = at + k;
                }
                return left == 0;
            });
        if (threadIdx.x == 0)
            room->found = cut.last;
        __syncthreads();
        cut.last = room->found;
        __syncthreads();
        return cut;
    }

    /* The first token at which the sum of weights exceeds the target, to every thread. */
    __device__ size_t find_token(double target)
    {
        size_t tile = 0, found = n - 1, kept = tree.tiles;
        kept = kept < SAMPLE_STARTS ? kept : (size_t)SAMPLE_STARTS;
        for (size_t t = 1; t < kept; t++)
            tile = room->start[t] <= target ? t : tile;
        double sum = room->start[tile];
        for_tiles(
            tile, [&](size_t i, double z, size_t k) { room->weight[k] = weight(i, z); },
            [&](size_t at, size_t m) {
                for (size_t k = 0; k < m; k++) {
                    sum += room->weight[k];
                    if (sum > target) {
                        found = at + k;
                        return true;
                    }
                }
                return false;
            });
        if (threadIdx.x == 0)
            room->found = found;
        __syncthreads();
        found = room->found;
        __syncthreads();
        return found;
    }

    /* A token at uniform u, to every thread, and what the sampler says its log-probability is, to thread 0. */
    __device__ int32_t draw(double u, double *log_prob)
    {
        size_t token = find_peak();
        double log_norm = 0, log_total = 0, sum;
        bool greedy = sampler.temperature == 0;
        if (sampler.raw) {
            sum = sum_of([&](size_t, double z) { return sg_exp(sg_sampler_exponent(z, peak, 1)); });
            log_norm = sg_sampler_log_total(peak, 1, sum);
        }
        if (!greedy) {
            if (sampler.top_k > 0 && sampler.top_k < n)
                by_number = find_cut(true, (double)sampler.top_k);
            if (sampler.top_p < 1)
                by_mass = find_cut(false, sampler.top_p * total());
            sum = total();
            log_total = sg_sampler_log_total(peak, sampler.temperature, sum);
            token = find_token(u * sum);
        }
        double z = logit(token);
        *log_prob = sampler.raw ? z - log_norm : greedy ? 0 : z / sampler.temperature - log_total;
        return (int32_t)token;
    }
};

} // namespace

#endif
