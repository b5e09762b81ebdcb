/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Updates of a tree's rows on the device. The gradient is never stored: a first pass adds up its squares and
 * the bias's gradient, a second one makes it again and moves the logits. */
#include "backend/cuda/tree_rows_kernels.h"

namespace
{

/* ---- Samples ---- */

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

/* A thread for each border of each tile. */
__global__ void __launch_bounds__(TREE_THREADS)
    find_spans(size_t tiles, sg_cuda_tree_samples samples)
{
    size_t i = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (i >= samples.count * (tiles + 1))
        return;
    size_t k = i / (tiles + 1), t = i % (tiles + 1);
    samples.span[i] = first_from(samples.tokens, samples.start[k], samples.start[k + 1],
                                 t * (size_t)SG_TREE_TILE);
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

/* ---- The gradient ---- */

/* Squared norms of tiles: a block for each. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    square_tiles(sg_cuda_tree_table tree, sg_cuda_tree_samples samples)
{
    __shared__ tile_samples spread;
    size_t k = blockIdx.x / tree.tiles, t = blockIdx.x % tree.tiles;
    double sum = 0, *norms = (double *)tree.room;
    if (has_samples(samples, k)) {
        tree_tile tile(tree, samples.state[k], t);
        double log_norm = tree.log_norm[tile.row], diffuse = samples.diffuse[k];
        bool some = spread_samples(&spread, tree, samples, k, t);
        for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS) {
            double g = -diffuse * sg_exp(logit_at<real>(tree, tile.row, tile.at + i) - log_norm);
            if (some && spread.sampled[i])
                g += spread.push[i];
            sum += g * g;
        }
        sum = tree_sum(sum);
    }
    if (threadIdx.x == 0)
        norms[blockIdx.x] = sum;
}

/* The bias's gradient: a thread for each token adds up those of the states, in their order. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    add_gradients(sg_cuda_tree_table tree, sg_cuda_tree_samples samples)
{
    size_t v = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x, t = v / SG_TREE_TILE;
    if (v >= tree.config.vocabulary)
        return;
    double total = 0, bias = (double)*tree_place<real>(tree, tree.theta, tree.config.states, v);
    for (size_t k = 0; k < samples.count; k++) {
        size_t state = samples.state[k];
        const size_t *span = samples.span + k * (tree.tiles + 1) + t;
        if (!has_samples(samples, k))
            continue;
        double z = (double)*tree_place<real>(tree, tree.theta, state, v) + bias;
        double g = -samples.diffuse[k] * sg_exp(z - tree.log_norm[state]);
        size_t j = first_from(samples.tokens, span[0], span[1], v);
        if (j < span[1] && (size_t)samples.tokens[j] == v)
            g += samples.pushes[j];
        total += g;
    }
    tree.gradient[v] = total;
}

__global__ void __launch_bounds__(TREE_THREADS) square_bias(sg_cuda_tree_table tree, size_t count)
{
    tree_tile tile(tree, 0, blockIdx.x);
    double sum = 0;
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS)
        sum += tree.gradient[tile.at + i] * tree.gradient[tile.at + i];
    sum = tree_sum(sum);
    if (threadIdx.x == 0)
        ((double *)tree.room)[count * tree.tiles + blockIdx.x] = sum;
}

/* Without a bias, its part is 0. */
__global__ void __launch_bounds__(TREE_THREADS) add_norms(sg_cuda_tree_table tree, size_t count)
{
    size_t k = blockIdx.x;
    double *norms = (double *)tree.room + k * tree.tiles;
    bool none = k == count && !tree.config.shared_bias;
    if (!none)
        tree_add(norms, tree.tiles, tree_add_numbers());
    if (threadIdx.x == 0)
        tree.norm2[k] = none ? 0 : norms[0];
}

/* One block: all bring the norms of rows, and thread 0 adds them up in their order. */
__global__ void __launch_bounds__(TREE_THREADS)
    find_factor(sg_cuda_tree_table tree, size_t count, double clip_norm)
{
    __shared__ double norms[SG_TREE_TILE];
    double total = 0;
    for (size_t at = 0; at <= count; at += SG_TREE_TILE) {
        size_t left = count + 1 - at, n = left < SG_TREE_TILE ? left : (size_t)SG_TREE_TILE;
        for (size_t i = threadIdx.x; i < n; i += TREE_THREADS)
            norms[i] = tree.norm2[at + i];
        __syncthreads();
        for (size_t i = 0; i < n && threadIdx.x == 0; i++)
            total += norms[i];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        *tree.factor = sg_tree_clip(clip_norm, total);
}

/* A thread for each row, all of which are listed. */
__global__ void __launch_bounds__(TREE_THREADS)
    find_rates(sg_cuda_tree_table tree, sg_rule_numbers rule)
{
    size_t row = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (row <= tree.config.states)
        tree.rate[row] = sg_tree_couple(&rule, *tree.factor, tree.norm2[row],
                                        tree.config.vocabulary, &tree.second[row]);
}

/* ---- The step ---- */

/* delta of a number with gradient g; its moments move on. */
template <typename real>
__device__ double optimise(const sg_cuda_tree_table &tree, const sg_rule_f64 &rule, size_t row,
                           size_t token, double g)
{
    sg_optimizer_kind kind = tree.config.optimizer;
    if (kind == SG_SGD)
        return g * rule.factor;
    real *first = tree_place<real>(tree, tree.m, row, token);
    double m = (double)*first, delta;
    if (kind == SG_MOMENTUM || kind == SG_COUPLED_ADAM) {
        delta = sg_rule_momentum_f64(rule, g, &m);
    } else {
        real *second = tree_place<real>(tree, tree.v, row, token);
        double v = (double)*second, theta = 0;
        if (rule.decay > 0)
            theta = sg_tree_parameter((double)*tree_place<real>(tree, tree.theta, row, token));
        delta = sg_rule_adam_f64(rule, g, &m, &v, theta);
        *second = (real)v;
    }
    *first = (real)m;
    return delta;
}

template <typename real>
__device__ __forceinline__ void move(const sg_cuda_tree_table &tree, size_t row, size_t token,
                                     double delta)
{
    real *theta = tree_place<real>(tree, tree.theta, row, token);
    *theta = (real)((double)*theta + delta);
}

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

/* The bias's delta becomes the drift; it moves itself when no state needs the old one. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    step_bias(sg_cuda_tree_table tree, size_t count, step_numbers numbers)
{
    size_t bias = tree.config.states;
    tree_tile tile(tree, bias, blockIdx.x);
    sg_rule_f64 rule = numbers.of(tree, count);
    sg_tree_sums sums = {0, 0, 0, 0, 0, 0, 0};
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS) {
        double g = tree.gradient[tile.at + i];
        double delta = optimise<real>(tree, rule, bias, tile.at + i, g);
        sums.gradient2 += g * g;
        tree.drift[tile.at + i] = delta;
        sums.norm2 += delta * delta;
    }
    sums.gradient2 = tree_sum(sums.gradient2);
    sums.norm2 = tree_sum(sums.norm2);
    if (threadIdx.x == 0)
        ((sg_tree_sums *)tree.room)[count * tree.tiles + blockIdx.x] = sums;
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS) move_bias(sg_cuda_tree_table tree)
{
    size_t v = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (v < tree.config.vocabulary)
        move<real>(tree, tree.config.states, v, tree.drift[v]);
}

/* z of a token after the step, when its theta has moved and the bias will. */
template <typename real>
__device__ __forceinline__ double moved_logit(const sg_cuda_tree_table &tree, size_t state,
                                              size_t token)
{
    double z = (double)*tree_place<real>(tree, tree.theta, state, token);
    if (tree.config.shared_bias)
        z += (double)(real)((double)*tree_place<real>(tree, tree.theta, tree.config.states, token) +
                            tree.drift[token]);
    return z;
}

struct step_wishes {
    bool sums;
    bool weighs; /* everything that moves is listed: its new masses come from the same pass */
};

/* A block for each tile of each listed state. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    step_tiles(sg_cuda_tree_table tree, sg_cuda_tree_samples samples, step_numbers numbers,
               step_wishes wishes)
{
    __shared__ tile_samples spread;
    size_t k = blockIdx.x / tree.tiles, t = blockIdx.x % tree.tiles;
    bool visited = has_samples(samples, k);
    tree_tile tile(tree, samples.state[k], t);
    double log_norm = tree.log_norm[tile.row], diffuse = samples.diffuse[k], z[TREE_EACH];
    sg_rule_f64 rule = numbers.of(tree, k);
    sg_tree_sums sums = {0, 0, 0, 0, 0, 0, 0};
    bool some = visited && spread_samples(&spread, tree, samples, k, t);
    for (int j = 0; j < TREE_EACH; j++) {
        size_t i = threadIdx.x + (size_t)j * TREE_THREADS, token = tile.at + i;
        if (i >= tile.n)
            break;
        bool sampled = some && spread.sampled[i];
        double p = 0, g = 0;
        if (visited) {
            p = sg_exp(logit_at<real>(tree, tile.row, token) - log_norm);
            g = -diffuse * p;
        }
        if (sampled)
            g += spread.push[i];
        double delta = optimise<real>(tree, rule, tile.row, token, g);
        sums.gradient2 += g * g;
        if (wishes.sums && visited)
            sg_tree_compare(&sums, p, delta, tree.drift[token], sampled ? 0 : 1);
        else if (wishes.sums)
            sums.norm2 += delta * delta;
        move<real>(tree, tile.row, token, delta);
        z[j] = moved_logit<real>(tree, tile.row, token);
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

__global__ void __launch_bounds__(TREE_THREADS)
    add_sums(sg_cuda_tree_table tree, size_t count, sg_tree_sums *sums)
{
    size_t k = blockIdx.x;
    sg_tree_sums *parts = (sg_tree_sums *)tree.room + k * tree.tiles;
    bool none = k == count && !tree.config.shared_bias;
    if (!none)
        tree_add(parts, tree.tiles,
                 [](sg_tree_sums *a, const sg_tree_sums *b) { sg_tree_sums_add(a, b); });
    if (threadIdx.x == 0)
        sums[k] = none ? sg_tree_sums{0, 0, 0, 0, 0, 0, 0} : parts[0];
}

} // namespace

cudaError_t sg_cuda_tree_queue_spans(const sg_cuda_tree_table &tree,
                                     const sg_cuda_tree_samples &samples, sg_cuda_stream *stream)
{
    size_t blocks = tree_blocks(samples.count * (tree.tiles + 1));
    return blocks == 0 ? cudaSuccess
                       : SG_LAUNCH(find_spans, (unsigned)blocks, TREE_THREADS, 0, stream,
                                   tree.tiles, samples);
}

cudaError_t sg_cuda_tree_queue_gradient(const sg_cuda_tree_table &tree,
                                        const sg_cuda_tree_samples &samples,
                                        const sg_tree_step &step, bool norms,
                                        sg_cuda_stream *stream)
{
    size_t count = samples.count;
    bool shared = tree.config.shared_bias;
    cudaError_t code = cudaSuccess;
    if (count > 0 && norms)
        code = SG_LAUNCH_TREE(tree, square_tiles, count * tree.tiles, stream, tree, samples);
    if (shared && code == cudaSuccess)
        code = SG_LAUNCH_TREE(tree, add_gradients, tree_blocks(tree.config.vocabulary), stream,
                              tree, samples);
    if (!norms || code != cudaSuccess)
        return code;
    if (shared)
        code = SG_LAUNCH(square_bias, (unsigned)tree.tiles, TREE_THREADS, 0, stream, tree, count);
    if (code == cudaSuccess)
        code = SG_LAUNCH(add_norms, (unsigned)(count + 1), TREE_THREADS, 0, stream, tree, count);
    if (code == cudaSuccess)
        code = SG_LAUNCH(find_factor, 1, TREE_THREADS, 0, stream, tree, count, step.clip_norm);
    if (code == cudaSuccess && tree.second)
        code = SG_LAUNCH(find_rates, (unsigned)tree_blocks(tree.config.states + 1), TREE_THREADS, 0,
                         stream, tree, step.rule);
    return code;
}

cudaError_t sg_cuda_tree_queue_step(const sg_cuda_tree_table &tree,
                                    const sg_cuda_tree_samples &samples, const sg_tree_step &step,
                                    bool norms, sg_tree_sums *sums, sg_cuda_stream *stream)
{
    size_t count = samples.count;
    bool shared = tree.config.shared_bias;
    bool weighs = !shared || count == tree.config.states;
    step_numbers numbers = {step.rule, norms};
    cudaError_t code = cudaSuccess;
    if (shared)
        code = SG_LAUNCH_TREE(tree, step_bias, tree.tiles, stream, tree, count, numbers);
    if (count > 0 && code == cudaSuccess)
        code = SG_LAUNCH_TREE(tree, step_tiles, count * tree.tiles, stream, tree, samples, numbers,
                              (step_wishes{sums != nullptr, weighs}));
    if (sums && code == cudaSuccess)
        code =
            SG_LAUNCH(add_sums, (unsigned)(count + 1), TREE_THREADS, 0, stream, tree, count, sums);
    if (shared && code == cudaSuccess)
        code = SG_LAUNCH_TREE(tree, move_bias, tree_blocks(tree.config.vocabulary), stream, tree);
    if (code != cudaSuccess)
        return code;
    return weighs ? sg_cuda_tree_queue_settle(tree, {samples.state, 0, count}, stream)
                  : sg_cuda_tree_queue_normalise(tree, {nullptr, 0, tree.config.states}, stream);
}
