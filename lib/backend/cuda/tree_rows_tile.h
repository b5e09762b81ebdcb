/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_TREE_ROWS_TILE_H
#define SG_CUDA_TREE_ROWS_TILE_H

#include "backend/cuda/tree_rows_kernels.h"

/* What a block does to a tile in an update: for kernels that find its numbers in the table, and for those that
 * have brought them into shared memory. */

namespace
{

__device__ __forceinline__ bool has_samples(const sg_cuda_tree_samples &samples, size_t k)
{
    return samples.start[k + 1] > samples.start[k];
}

/* The first of the samples low .. high - 1, which ascend, that is not below `token`. */
__device__ size_t first_from(const int32_t *tokens, size_t low, size_t high, size_t token)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((size_t)tokens[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The samples of a tile by token, in shared memory. */
struct tile_samples {
    double push[SG_TREE_TILE];
    bool sampled[SG_TREE_TILE];
};

/* False, for the whole block: the tile has none, and nothing was written. */
__device__ bool spread_samples(tile_samples *spread, const sg_cuda_tree_table &tree,
                               const sg_cuda_tree_samples &samples, size_t k, size_t tile)
{
    const size_t *span = samples.span + k * (tree.tiles + 1) + tile;
    size_t from = span[0], to = span[1];
    if (from == to)
        return false;
    for (size_t i = threadIdx.x; i < SG_TREE_TILE; i += TREE_THREADS)
        spread->sampled[i] = false;
    __syncthreads();
    for (size_t j = from + threadIdx.x; j < to; j += TREE_THREADS) {
        size_t i = (size_t)samples.tokens[j] - tile * SG_TREE_TILE;
        spread->push[i] = samples.pushes[j];
        spread->sampled[i] = true;
    }
    __syncthreads();
    return true;
}

/* Where the numbers of a tile are. */
template <typename real> struct tile_numbers {
    real *theta, *m, *v; /* m and v may be NULL */
    const real *bias;    /* NULL: there is none */
};

template <typename real>
__device__ tile_numbers<real> numbers_of(const sg_cuda_tree_table &tree, const tree_tile &tile)
{
    size_t bias = tree.config.states;
    return {tree_place<real>(tree, tree.theta, tile.row, tile.at),
            tree.m ? tree_place<real>(tree, tree.m, tile.row, tile.at) : nullptr,
            tree.v ? tree_place<real>(tree, tree.v, tile.row, tile.at) : nullptr,
            tree.config.shared_bias ? tree_place<real>(tree, tree.theta, bias, tile.at) : nullptr};
}

template <typename real>
__device__ __forceinline__ double logit_of(const tile_numbers<real> &numbers, size_t i)
{
    double z = (double)numbers.theta[i];
    return numbers.bias ? z + (double)numbers.bias[i] : z;
}

/* ---- The gradient ---- */

/* The squared norm of a tile of listed state k, to every thread. */
template <typename real>
__device__ double square_tile(const sg_cuda_tree_table &tree, const sg_cuda_tree_samples &samples,
                              size_t k, size_t t, const tree_tile &tile,
                              const tile_numbers<real> &numbers, tile_samples *spread)
{
    double sum = 0, log_norm = tree.log_norm[tile.row], diffuse = samples.diffuse[k];
    bool some = spread_samples(spread, tree, samples, k, t);
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS) {
        double g = -diffuse * sg_exp(logit_of(numbers, i) - log_norm);
        if (some && spread->sampled[i])
            g += spread->push[i];
        sum += g * g;
    }
    return tree_sum(sum);
}

/* ---- The step ---- */

/* What a step is, and whether it depends on norms. */
struct step_numbers {
    sg_rule_numbers rule;
    bool norms;

    __device__ sg_rule_f64 of(const sg_cuda_tree_table &tree, size_t k) const
    {
        sg_rule_numbers numbers =
            sg_tree_rule(rule, norms ? *tree.factor : 1, tree.second ? &tree.rate[k] : nullptr);
        return sg_rule_of_f64(&numbers);
    }
};

/* delta of token i with gradient g; its moments move on. */
template <typename real>
__device__ double optimise(sg_optimizer_kind kind, const sg_rule_f64 &rule,
                           const tile_numbers<real> &numbers, size_t i, double g)
{
    if (kind == SG_SGD)
        return g * rule.factor;
    double m = (double)numbers.m[i], delta;
    if (kind == SG_MOMENTUM || kind == SG_COUPLED_ADAM) {
        delta = sg_rule_momentum_f64(rule, g, &m);
    } else {
        double v = (double)numbers.v[i], theta = 0;
        if (rule.decay > 0)
            theta = sg_tree_parameter((double)numbers.theta[i]);
        delta = sg_rule_adam_f64(rule, g, &m, &v, theta);
        numbers.v[i] = (real)v;
    }
    numbers.m[i] = (real)m;
    return delta;
}

struct step_wishes {
    bool sums;
    bool weighs; /* everything that moves is listed: its new masses come from the same pass */
};

/* Moves a tile of listed state k, and weighs it as it will be when the bias has moved too. */
template <typename real>
__device__ void step_tile(const sg_cuda_tree_table &tree, const sg_cuda_tree_samples &samples,
                          const step_numbers &step, step_wishes wishes, size_t k, size_t t,
                          const tree_tile &tile, const tile_numbers<real> &numbers,
                          tile_samples *spread)
{
    bool visited = has_samples(samples, k);
    double log_norm = tree.log_norm[tile.row], diffuse = samples.diffuse[k], z[TREE_EACH];
    sg_rule_f64 rule = step.of(tree, k);
    sg_tree_sums sums = {0, 0, 0, 0, 0, 0, 0};
    bool some = visited && spread_samples(spread, tree, samples, k, t);
    for (int j = 0; j < TREE_EACH; j++) {
        size_t i = threadIdx.x + (size_t)j * TREE_THREADS;
        if (i >= tile.n)
            break;
        bool sampled = some && spread->sampled[i];
        double p = 0, g = 0, drift = wishes.sums || numbers.bias ? tree.drift[tile.at + i] : 0;
        if (visited) {
            p = sg_exp(logit_of(numbers, i) - log_norm);
            g = -diffuse * p;
        }
        if (sampled)
            g += spread->push[i];
        double delta = optimise(tree.config.optimizer, rule, numbers, i, g);
        sums.gradient2 += g * g;
        if (wishes.sums && visited)
            sg_tree_compare(&sums, p, delta, drift, sampled ? 0 : 1);
        else if (wishes.sums)
            sums.norm2 += delta * delta;
        numbers.theta[i] = (real)((double)numbers.theta[i] + delta);
        z[j] = (double)numbers.theta[i];
        if (numbers.bias)
            z[j] += (double)(real)((double)numbers.bias[i] + drift);
    }
    if (wishes.weighs)
        weigh_tile(tree, tile, t, z);
    if (!wishes.sums)
        return;
    sums.gradient2 = tree_sum(sums.gradient2);
    sums.first = tree_sum(sums.first);
    sums.excess = tree_sum(sums.excess);
    sums.reverse = tree_sum(sums.reverse);
    sums.norm2 = tree_sum(sums.norm2);
    sums.free_mass = tree_sum(sums.free_mass);
    sums.max_free = tree_max(sums.max_free);
    if (threadIdx.x == 0)
        ((sg_tree_sums *)tree.room)[blockIdx.x] = sums;
}

} // namespace

#endif
