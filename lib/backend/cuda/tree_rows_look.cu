/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a tree's rows on the device are asked: normalisers, probabilities, observations, logits. */
#include "backend/cuda/tree_rows_kernels.h"

namespace
{

/* ---- Normalisers ---- */

__device__ __forceinline__ size_t state_at(const sg_cuda_tree_states &states, size_t k)
{
    return states.list ? states.list[k] : states.first + k;
}

/* A block for each tile. */
template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    weigh_tiles(sg_cuda_tree_table tree, sg_cuda_tree_states states)
{
    size_t state = state_at(states, blockIdx.x / tree.tiles), t = blockIdx.x % tree.tiles;
    tree_tile tile(tree, state, t);
    double z[TREE_EACH];
    for (int k = 0; k < TREE_EACH; k++) {
        size_t i = threadIdx.x + (size_t)k * TREE_THREADS;
        if (i < tile.n)
            z[k] = logit_at<real>(tree, state, tile.at + i);
    }
    weigh_tile(tree, tile, t, z);
}

/* A block for each state. */
__global__ void __launch_bounds__(TREE_THREADS)
    settle_rows(sg_cuda_tree_table tree, sg_cuda_tree_states states)
{
    size_t state = state_at(states, blockIdx.x);
    double *mass = tree.mass + state * tree.tiles, *peak = tree.peak + state * tree.tiles;
    double *values = (double *)tree.room + blockIdx.x * tree.tiles, greatest = -(double)INFINITY;
    for (size_t t = threadIdx.x; t < tree.tiles; t += TREE_THREADS)
        greatest = peak[t] > greatest ? peak[t] : greatest;
    double offset = sg_tree_base(tree_max(greatest));
    for (size_t t = threadIdx.x; t < tree.tiles; t += TREE_THREADS)
        values[t] = mass[t] *= sg_exp(peak[t] - offset);
    tree_add(values, tree.tiles, tree_add_numbers());
    if (threadIdx.x > 0)
        return;
    tree.offset[state] = offset;
    tree.total[state] = values[0];
    tree.log_norm[state] = offset + sg_log(values[0]);
}

/* ---- Rows in and out ---- */

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    fill_tiles(sg_cuda_tree_table tree, const double *__restrict__ logits)
{
    size_t row = blockIdx.x / tree.tiles;
    tree_tile tile(tree, row, blockIdx.x % tree.tiles);
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS)
        *tree_place<real>(tree, tree.theta, row, tile.at + i) =
            row < tree.config.states ? (real)logits[tile.at + i] : (real)0;
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    read_row(sg_cuda_tree_table tree, const void *array, size_t row, bool with_bias,
             double *__restrict__ numbers)
{
    size_t i = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (i < tree.config.vocabulary)
        numbers[i] = with_bias ? logit_at<real>(tree, row, i)
                     : array   ? (double)*tree_place<real>(tree, (void *)array, row, i)
                               : tree.second[row];
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    write_row(sg_cuda_tree_table tree, size_t row, const double *__restrict__ theta)
{
    size_t i = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (i < tree.config.vocabulary)
        *tree_place<real>(tree, tree.theta, row, i) = (real)theta[i];
}

/* ---- Log-probabilities ---- */

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    log_prob_of(sg_cuda_tree_table tree, size_t n, const size_t *__restrict__ states,
                const int32_t *__restrict__ tokens, double *__restrict__ log_prob)
{
    size_t i = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x;
    if (i < n)
        log_prob[i] = logit_at<real>(tree, states[i], (size_t)tokens[i]) - tree.log_norm[states[i]];
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    head_of(sg_cuda_tree_table tree, size_t first, size_t count, double *__restrict__ log_prob)
{
    size_t i = (size_t)blockIdx.x * TREE_THREADS + threadIdx.x, head = tree.config.head;
    size_t state = first + i / head;
    if (i < count * head)
        log_prob[i] = logit_at<real>(tree, state, i % head) - tree.log_norm[state];
}

/* ---- Observations ---- */

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS) look_at_tiles(sg_cuda_tree_table tree, size_t first)
{
    size_t state = first + blockIdx.x / tree.tiles;
    tree_tile tile(tree, state, blockIdx.x % tree.tiles);
    double log_norm = tree.log_norm[state];
    sg_tree_look look = {0, 0, 0, 0, 0, -(double)INFINITY, (double)INFINITY, 0};
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS) {
        double log_p = logit_at<real>(tree, state, tile.at + i) - log_norm;
        sg_tree_look_at(&look, log_p, sg_exp(log_p), tile.at + i < tree.config.head ? 1 : 0);
    }
    look.head_mass = tree_sum(look.head_mass);
    look.head_plogp = tree_sum(look.head_plogp);
    look.tail_mass = tree_sum(look.tail_mass);
    look.tail_plogp = tree_sum(look.tail_plogp);
    look.squares = tree_sum(look.squares);
    look.highest = tree_max(look.highest);
    look.lowest = -tree_max(-look.lowest);
    look.underflowed = tree_sum(look.underflowed);
    if (threadIdx.x == 0)
        ((sg_tree_look *)tree.room)[blockIdx.x] = look;
}

__global__ void __launch_bounds__(TREE_THREADS)
    end_look(sg_cuda_tree_table tree, sg_tree_look *look)
{
    sg_tree_look *looks = (sg_tree_look *)tree.room + blockIdx.x * tree.tiles;
    tree_add(looks, tree.tiles,
             [](sg_tree_look *a, const sg_tree_look *b) { sg_tree_look_add(a, b); });
    if (threadIdx.x == 0)
        look[blockIdx.x] = looks[0];
}

} // namespace

cudaError_t sg_cuda_tree_queue_settle(const sg_cuda_tree_table &tree, sg_cuda_tree_states states,
                                      sg_cuda_stream *stream)
{
    return states.count == 0 ? cudaSuccess
                             : SG_LAUNCH(settle_rows, (unsigned)states.count, TREE_THREADS, 0,
                                         stream, tree, states);
}

cudaError_t sg_cuda_tree_queue_normalise(const sg_cuda_tree_table &tree, sg_cuda_tree_states states,
                                         sg_cuda_stream *stream)
{
    cudaError_t code = cudaSuccess;
    if (states.count > 0)
        code = SG_LAUNCH_TREE(tree, weigh_tiles, states.count * tree.tiles, stream, tree, states);
    return code != cudaSuccess ? code : sg_cuda_tree_queue_settle(tree, states, stream);
}

cudaError_t sg_cuda_tree_queue_fill(const sg_cuda_tree_table &tree, const double *logits,
                                    sg_cuda_stream *stream)
{
    size_t blocks = (tree.config.states + 1) * tree.tiles;
    cudaError_t code = SG_LAUNCH_TREE(tree, fill_tiles, blocks, stream, tree, logits);
    return code != cudaSuccess
               ? code
               : sg_cuda_tree_queue_normalise(tree, {nullptr, 0, tree.config.states}, stream);
}

cudaError_t sg_cuda_tree_queue_read(const sg_cuda_tree_table &tree, const void *array, size_t row,
                                    bool with_bias, double *numbers, sg_cuda_stream *stream)
{
    return SG_LAUNCH_TREE(tree, read_row, tree_blocks(tree.config.vocabulary), stream, tree, array,
                          row, with_bias, numbers);
}

cudaError_t sg_cuda_tree_queue_write(const sg_cuda_tree_table &tree, size_t row,
                                     const double *theta, sg_cuda_stream *stream)
{
    bool bias = row == tree.config.states;
    sg_cuda_tree_states moved = {nullptr, bias ? 0 : row, bias ? tree.config.states : 1};
    cudaError_t code = SG_LAUNCH_TREE(tree, write_row, tree_blocks(tree.config.vocabulary), stream,
                                      tree, row, theta);
    return code != cudaSuccess ? code : sg_cuda_tree_queue_normalise(tree, moved, stream);
}

cudaError_t sg_cuda_tree_queue_log_prob(const sg_cuda_tree_table &tree, size_t n,
                                        const size_t *state, const int32_t *tokens,
                                        double *log_prob, sg_cuda_stream *stream)
{
    return SG_LAUNCH_TREE(tree, log_prob_of, tree_blocks(n), stream, tree, n, state, tokens,
                          log_prob);
}

cudaError_t sg_cuda_tree_queue_head(const sg_cuda_tree_table &tree, size_t first, size_t count,
                                    double *log_prob, sg_cuda_stream *stream)
{
    return SG_LAUNCH_TREE(tree, head_of, tree_blocks(count * tree.config.head), stream, tree, first,
                          count, log_prob);
}

cudaError_t sg_cuda_tree_queue_observe(const sg_cuda_tree_table &tree, size_t first, size_t count,
                                       sg_tree_look *look, sg_cuda_stream *stream)
{
    cudaError_t code = SG_LAUNCH_TREE(tree, look_at_tiles, count * tree.tiles, stream, tree, first);
    return code != cudaSuccess
               ? code
               : SG_LAUNCH(end_look, (unsigned)count, TREE_THREADS, 0, stream, tree, look);
}
