/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fast updates of a tree's rows. A block brings its tile into shared memory with all loads on the way at once, 16 bytes
 * each, and works there as the plain kernels do on the table; the bias's gradient is made by warps side by side. */
#include "backend/cuda/tree_rows_tile.h"

#include "backend/cuda/tree_rows_fast.h"

namespace
{

/* ---- Tiles ---- */

template <typename real> struct __align__(16) wide
{
    enum { N = 16 / sizeof(real), EACH = SG_TREE_TILE / N / TREE_THREADS };
    real at[N];
};

template <typename real> struct tile_arrays {
    wide<real> theta[SG_TREE_TILE / wide<real>::N], m[SG_TREE_TILE / wide<real>::N],
        v[SG_TREE_TILE / wide<real>::N];
};

/* n numbers, a multiple of 16 bytes, of one array or of none. */
template <typename real> __device__ void bring(wide<real> *to, const real *from, size_t n)
{
    wide<real> x[wide<real>::EACH];
    SG_UNROLL
    for (int j = 0; j < wide<real>::EACH; j++) {
        size_t i = threadIdx.x + (size_t)j * TREE_THREADS;
        if (from && i * wide<real>::N < n)
            x[j] = ((const wide<real> *)from)[i];
    }
    SG_UNROLL
    for (int j = 0; j < wide<real>::EACH; j++) {
        size_t i = threadIdx.x + (size_t)j * TREE_THREADS;
        if (from && i * wide<real>::N < n)
            to[i] = x[j];
    }
}

template <typename real> __device__ void take_back(real *to, const wide<real> *from, size_t n)
{
    for (size_t i = threadIdx.x; to && i * wide<real>::N < n; i += TREE_THREADS)
        ((wide<real> *)to)[i] = from[i];
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    square_wide(sg_cuda_tree_table tree, sg_cuda_tree_samples samples)
{
    __shared__ tile_samples spread;
    __shared__ wide<real> theta[SG_TREE_TILE / wide<real>::N];
    size_t k = blockIdx.x / tree.tiles, t = blockIdx.x % tree.tiles;
    double sum = 0;
    if (has_samples(samples, k)) {
        tree_tile tile(tree, samples.state[k], t);
        tile_numbers<real> numbers = numbers_of<real>(tree, tile);
        bring(theta, numbers.theta, tile.n);
        numbers.theta = theta->at;
        __syncthreads();
        sum = square_tile(tree, samples, k, t, tile, numbers, &spread);
    }
    if (threadIdx.x == 0)
        ((double *)tree.room)[blockIdx.x] = sum;
}

template <typename real>
__global__ void __launch_bounds__(TREE_THREADS)
    step_wide(sg_cuda_tree_table tree, sg_cuda_tree_samples samples, step_numbers step,
              step_wishes wishes)
{
    __shared__ tile_samples spread;
    __shared__ tile_arrays<real> arrays;
    size_t k = blockIdx.x / tree.tiles, t = blockIdx.x % tree.tiles;
    tree_tile tile(tree, samples.state[k], t);
    tile_numbers<real> there = numbers_of<real>(tree, tile);
    tile_numbers<real> here = {arrays.theta->at, arrays.m->at, arrays.v->at, there.bias};
    bring(arrays.theta, there.theta, tile.n);
    bring(arrays.m, there.m, tile.n);
    bring(arrays.v, there.v, tile.n);
    __syncthreads();
    step_tile(tree, samples, step, wishes, k, t, tile, here, &spread);
    __syncthreads();
    take_back(there.theta, arrays.theta, tile.n);
    take_back(there.m, arrays.m, tile.n);
    take_back(there.v, arrays.v, tile.n);
}

/* ---- The bias ---- */

enum {
    STRIPE = SG_WARP, /* tokens of a block, one for a lane */
    STRIPE_WARPS = 8,
    STRIPE_EACH = 4, /* states that a warp takes at once */
    STRIPE_STATES = STRIPE_WARPS * STRIPE_EACH,
};

/* Where a stripe stands, and what its lanes know. */
struct stripe {
    size_t at, tile;
    unsigned lane;
    double bias;
};

/* The gradients of listed state k, a lane for each token, of which z is the logit without the bias. */
__device__ void stripe_gradient(const sg_cuda_tree_table &tree, const sg_cuda_tree_samples &samples,
                                const stripe &s, size_t k, double z, double *g)
{
    const size_t *span = samples.span + k * (tree.tiles + 1) + s.tile;
    size_t from = span[0], to = span[1];
    g[s.lane] = -samples.diffuse[k] * sg_exp(z + s.bias - tree.log_norm[samples.state[k]]);
    if (from == to)
        return;
    __syncwarp();
    size_t j = first_from(samples.tokens, from, to, s.at) + s.lane;
    if (j < to && (size_t)samples.tokens[j] < s.at + STRIPE)
        g[(size_t)samples.tokens[j] - s.at] += samples.pushes[j];
}

/* A block for each stripe of tokens: its warps make the gradients of STRIPE_STATES states, which one warp adds up in
 * their order. */
template <typename real>
__global__ void __launch_bounds__(STRIPE_WARPS *SG_WARP)
    add_stripes(sg_cuda_tree_table tree, sg_cuda_tree_samples samples)
{
    __shared__ double g[STRIPE_STATES][STRIPE];
    unsigned warp = threadIdx.x / SG_WARP, lane = threadIdx.x % SG_WARP;
    size_t at = (size_t)blockIdx.x * STRIPE, token = at + lane, V = tree.config.vocabulary;
    bool in = token < V;
    stripe s = {at, at / SG_TREE_TILE, lane, 0};
    if (in)
        s.bias = (double)*tree_place<real>(tree, tree.theta, tree.config.states, token);
    double total = 0;
    for (size_t first = 0; first < samples.count; first += STRIPE_STATES) {
        double z[STRIPE_EACH];
        SG_UNROLL
        for (int e = 0; e < STRIPE_EACH; e++) {
            size_t k = first + warp * STRIPE_EACH + e;
            if (k < samples.count && in && has_samples(samples, k))
                z[e] = (double)*tree_place<real>(tree, tree.theta, samples.state[k], token);
        }
        for (int e = 0; e < STRIPE_EACH; e++) {
            size_t k = first + warp * STRIPE_EACH + e;
            if (k < samples.count && has_samples(samples, k))
                stripe_gradient(tree, samples, s, k, in ? z[e] : 0, g[warp * STRIPE_EACH + e]);
        }
        __syncthreads();
        size_t left = samples.count - first,
               n = left < STRIPE_STATES ? left : (size_t)STRIPE_STATES;
        for (size_t i = 0; i < n && warp == 0; i++)
            if (has_samples(samples, first + i))
                total += g[i][lane];
        __syncthreads();
    }
    if (warp == 0 && in)
        tree.gradient[token] = total;
}

} // namespace

cudaError_t sg_cuda_tree_queue_squares_fast(const sg_cuda_tree_table &tree,
                                            const sg_cuda_tree_samples &samples,
                                            sg_cuda_stream *stream)
{
    return SG_LAUNCH_TREE(tree, square_wide, samples.count * tree.tiles, stream, tree, samples);
}

cudaError_t sg_cuda_tree_queue_bias_fast(const sg_cuda_tree_table &tree,
                                         const sg_cuda_tree_samples &samples,
                                         sg_cuda_stream *stream)
{
    unsigned blocks = (unsigned)((tree.config.vocabulary + STRIPE - 1) / STRIPE);
    return tree.config.precision == SG_FP32
               ? SG_LAUNCH(add_stripes<float>, blocks, STRIPE_WARPS * SG_WARP, 0, stream, tree,
                           samples)
               : SG_LAUNCH(add_stripes<double>, blocks, STRIPE_WARPS * SG_WARP, 0, stream, tree,
                           samples);
}

cudaError_t sg_cuda_tree_queue_tiles_fast(const sg_cuda_tree_table &tree,
                                          const sg_cuda_tree_samples &samples,
                                          const sg_tree_step &step, bool norms, bool sums,
                                          bool weighs, sg_cuda_stream *stream)
{
    return SG_LAUNCH_TREE(tree, step_wide, samples.count * tree.tiles, stream, tree, samples,
                          (step_numbers{step.rule, norms}), (step_wishes{sums, weighs}));
}
