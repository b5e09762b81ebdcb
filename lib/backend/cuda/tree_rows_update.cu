/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Updates of a tree's rows on the device. The gradient is never stored: a first pass adds up its squares and
 * the bias's gradient, a second one makes it again and moves the logits. */
#include "backend/cuda/tree_rows_tile.h"

#include "backend/cuda/tree_rows_fast.h"

namespace
{

/* ---- Samples ---- */

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

/* ---- The gradient ---- */

/* Squared norms of tiles: a block for each. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    square_tiles(sg_cuda_tree_table tree, sg_cuda_tree_samples samples)
{
    __shared__ tile_samples spread;
    size_t k = blockIdx.x / tree.tiles, t = blockIdx.x % tree.tiles;
    double sum = 0;
    if (has_samples(samples, k)) {
        tree_tile tile(tree, samples.state[k], t);
        sum = square_tile(tree, samples, k, t, tile, numbers_of<real>(tree, tile), &spread);
    }
    if (threadIdx.x == 0)
        ((double *)tree.room)[blockIdx.x] = sum;
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

/* The bias's delta becomes the drift; it moves itself when no state needs the old one. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    step_bias(sg_cuda_tree_table tree, size_t count, step_numbers numbers)
{
    tree_tile tile(tree, tree.config.states, blockIdx.x);
    tile_numbers<real> bias = numbers_of<real>(tree, tile);
    sg_rule_f64 rule = numbers.of(tree, count);
    sg_tree_sums sums = {0, 0, 0, 0, 0, 0, 0};
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS) {
        double g = tree.gradient[tile.at + i];
        double delta = optimise(tree.config.optimizer, rule, bias, i, g);
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
    real *bias = tree_place<real>(tree, tree.theta, tree.config.states, v);
    if (v < tree.config.vocabulary)
        *bias = (real)((double)*bias + tree.drift[v]);
}

/* A block for each tile of each listed state. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    step_tiles(sg_cuda_tree_table tree, sg_cuda_tree_samples samples, step_numbers numbers,
               step_wishes wishes)
{
    __shared__ tile_samples spread;
    size_t k = blockIdx.x / tree.tiles, t = blockIdx.x % tree.tiles;
    tree_tile tile(tree, samples.state[k], t);
    step_tile(tree, samples, numbers, wishes, k, t, tile, numbers_of<real>(tree, tile), &spread);
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
    bool fast = sg_cuda_tree_fast();
    if (count > 0 && norms && fast && sg_cuda_tree_wide(tree))
        code = sg_cuda_tree_queue_squares_fast(tree, samples, stream);
    else if (count > 0 && norms)
        code = SG_LAUNCH_TREE(tree, square_tiles, count * tree.tiles, stream, tree, samples);
    if (shared && fast && code == cudaSuccess)
        code = sg_cuda_tree_queue_bias_fast(tree, samples, stream);
    else if (shared && code == cudaSuccess)
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
    if (count > 0 && code == cudaSuccess && sg_cuda_tree_fast() && sg_cuda_tree_wide(tree))
        code = sg_cuda_tree_queue_tiles_fast(tree, samples, step, norms, sums != nullptr, weighs,
                                             stream);
    else if (count > 0 && code == cudaSuccess)
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
