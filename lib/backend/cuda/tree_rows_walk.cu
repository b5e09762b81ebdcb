/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Walks through a tree's rows on the device: a block takes a response from its root to its end. */
#include "backend/cuda/tree_rows_sample.h"

namespace
{

/* What a block has in shared memory to draw a token. */
struct walk_room {
    double weight[SG_TREE_TILE], pieces[TREE_THREADS];
    sg_tree_search search;
    int32_t token;
};

/* Thread 0 goes through the masses of the state's tiles, which all bring, until it has found one. */
__device__ void find_tile(const sg_cuda_tree_table &tree, size_t state, walk_room *room)
{
    const double *mass = tree.mass + state * tree.tiles;
    for (size_t at = 0; at < tree.tiles && !room->search.passed; at += SG_TREE_TILE) {
        size_t n = tree.tiles - at < SG_TREE_TILE ? tree.tiles - at : (size_t)SG_TREE_TILE;
        for (size_t i = threadIdx.x; i < n; i += TREE_THREADS)
            room->weight[i] = mass[at + i];
        __syncthreads();
        if (threadIdx.x == 0) {
            sg_tree_search search = room->search;
            for (size_t i = 0; i < n && !search.passed; i++)
                sg_tree_search_add(&search, at + i, room->weight[i]);
            room->search = search;
        }
        __syncthreads();
    }
}

/* All weigh the tile that was found; thread 0 goes through its pieces and the tokens of a piece. Returns the token's
 * place in the tile, to thread 0. */
template <typename real>
__device__ size_t find_token(const sg_cuda_tree_table &tree, const tree_tile &tile, walk_room *room)
{
    for (size_t i = threadIdx.x; i < tile.n; i += TREE_THREADS)
        room->weight[i] =
            sg_exp(logit_at<real>(tree, tile.row, tile.at + i) - tree.offset[tile.row]);
    __syncthreads();
    double piece = 0;
    for (size_t i = threadIdx.x * SG_TREE_PIECE;
         i < tile.n && i < (threadIdx.x + 1) * (size_t)SG_TREE_PIECE; i++)
        piece += room->weight[i];
    room->pieces[threadIdx.x] = piece;
    __syncthreads();
    if (threadIdx.x > 0)
        return 0;
    sg_tree_search search = room->search;
    sg_tree_search_enter(&search);
    for (size_t k = 0; k * SG_TREE_PIECE < tile.n && !search.passed; k++)
        sg_tree_search_add(&search, k, room->pieces[k]);
    size_t first = search.found * SG_TREE_PIECE;
    sg_tree_search_enter(&search);
    for (size_t k = 0; k < SG_TREE_PIECE && first + k < tile.n && !search.passed; k++)
        sg_tree_search_add(&search, k, room->weight[first + k]);
    return first + search.found;
}

/* A token of a state at uniform u, and its log pi: for every thread, and for thread 0. */
template <typename real>
__device__ int32_t draw_token(const sg_cuda_tree_table &tree, size_t state, double u,
                              walk_room *room, double *log_prob)
{
    if (threadIdx.x == 0)
        room->search = {u * tree.total[state], 0, 0, 0, false};
    __syncthreads();
    find_tile(tree, state, room);
    tree_tile tile(tree, state, room->search.found);
    size_t token = tile.at + find_token<real>(tree, tile, room);
    if (threadIdx.x == 0) {
        room->token = (int32_t)token;
        *log_prob = logit_at<real>(tree, state, token) - tree.log_norm[state];
    }
    __syncthreads();
    return room->token;
}

/* Response i of the walk, whose tokens come from draw(state, u, &log_prob), which has the log-probability for thread 0
 * alone. */
template <typename function>
__device__ void walk_response(const sg_tree_paths &paths, const sg_tree_walk &walk, size_t i,
                              function draw)
{
    size_t local = 0, root = walk.prompt[i] * paths.per_prompt;
    sg_address at = walk.at;
    at.prompt = walk.prompt[i];
    at.sample = walk.sample[i];
    uint32_t said = 0;
    for (bool ended = false; said < paths.length && !ended; said++) {
        double log_prob;
        at.token = said;
        int32_t token = draw(root + local, sg_rng_uniform(at), &log_prob);
        if (threadIdx.x == 0) {
            walk.tokens[i * paths.length + said] = token;
            walk.log_prob[i * paths.length + said] = log_prob;
        }
        ended = sg_tree_ends(&paths, token);
        if (!ended && said + 1 < paths.length)
            local = sg_tree_next(&paths, local, said, token);
    }
    if (threadIdx.x == 0)
        walk.length[i] = said;
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    walk_plain(sg_cuda_tree_table tree, sg_tree_paths paths, sg_tree_walk walk)
{
    __shared__ walk_room room;
    walk_response(paths, walk, blockIdx.x, [&](size_t state, double u, double *log_prob) {
        return draw_token<real>(tree, state, u, &room, log_prob);
    });
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    walk_distorted(sg_cuda_tree_table tree, sg_tree_paths paths, sg_tree_walk walk,
                   sg_row_sampler sampler)
{
    __shared__ sample_room room;
    walk_response(paths, walk, blockIdx.x, [&](size_t state, double u, double *log_prob) {
        row_sampling<real> row(tree, sampler, state, &room);
        return row.draw(u, log_prob);
    });
}

} // namespace

cudaError_t sg_cuda_tree_queue_walk(const sg_cuda_tree_table &tree, const sg_tree_paths &paths,
                                    const sg_tree_walk &walk, const sg_row_sampler *sampler,
                                    sg_cuda_stream *stream)
{
    return sampler ? SG_LAUNCH_TREE(tree, walk_distorted, walk.count, stream, tree, paths, walk,
                                    *sampler)
                   : SG_LAUNCH_TREE(tree, walk_plain, walk.count, stream, tree, paths, walk);
}
