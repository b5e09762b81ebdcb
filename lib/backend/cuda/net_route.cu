/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy on the device: which experts a row uses, and the router's gradient. */
#include "backend/cuda/launch.h"

#include "backend/cuda/net_parts.h"

namespace
{

const char *const doing = "routing rows of the net";

__device__ unsigned count_bits(uint64_t set)
{
    return (unsigned)(__popc((unsigned)set) + __popc((unsigned)(set >> 32)));
}

/* A warp a row: scores, the set, its gates by row (room: [rows][top_k]) and their entropy. */
template <typename real>
__global__ void __launch_bounds__(SG_CUDA_NET_THREADS)
    choose(size_t rows, size_t d, unsigned experts, unsigned top_k, const real *__restrict__ router,
           const real *__restrict__ n, const uint64_t *__restrict__ routes, size_t blocks,
           uint64_t *set, double *entropy, real *row_gates)
{
    __shared__ double scores_of[SG_CUDA_NET_WARPS][SG_ROUTE_EXPERTS],
        gates_of[SG_CUDA_NET_WARPS][SG_ROUTE_EXPERTS];
    unsigned warp = threadIdx.x / SG_WARP;
    size_t r = (size_t)blockIdx.x * SG_CUDA_NET_WARPS + warp;
    if (r >= rows)
        return; /* the whole warp */
    double *scores = scores_of[warp], *gates = gates_of[warp];
    for (unsigned e = 0; e < experts; e++) {
        double score = router ? sg_cuda_net_dot(d, router + e * d, n + r * d) : 0;
        if (threadIdx.x % SG_WARP == 0)
            scores[e] = score;
    }
    if (threadIdx.x % SG_WARP != 0)
        return; /* the leader wrote them, and needs nobody else */
    uint64_t chosen = !router  ? 1
                      : routes ? routes[r * blocks]
                               : sg_route_choose(scores, experts, top_k);
    unsigned count = sg_route_gates(scores, chosen, gates);
    set[r] = chosen;
    entropy[r] = sg_route_entropy(gates, count);
    for (unsigned j = 0; j < count; j++)
        row_gates[r * top_k + j] = (real)gates[j];
}

/* A block an expert: those before it tell where its assignments begin; then its rows, in their order. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    assign(size_t rows, size_t top_k, const uint64_t *__restrict__ set,
           const real *__restrict__ row_gates, uint32_t *first, uint32_t *row, uint32_t *place,
           real *gate)
{
    __shared__ unsigned shared[SG_BLOCK_WARPS];
    unsigned e = blockIdx.x, lane = threadIdx.x % SG_WARP, warp = threadIdx.x / SG_WARP;
    uint64_t lower = ((uint64_t)1 << e) - 1;
    unsigned next = 0;
    for (size_t r = threadIdx.x; r < rows; r += SG_BLOCK_MOST)
        next += count_bits(set[r] & lower);
    next = sg_block_sum(next, shared);
    if (threadIdx.x == 0) {
        first[e] = next;
        if (e + 1 == gridDim.x)
            first[e + 1] = (uint32_t)(rows * top_k);
    }
    for (size_t start = 0; start < rows; start += SG_BLOCK_MOST) {
        size_t r = start + threadIdx.x;
        uint64_t mine = r < rows ? set[r] : 0;
        bool has = mine >> e & 1;
        unsigned like = __ballot_sync(SG_EVERY_LANE, has), before = 0, all = 0;
        if (lane == 0)
            shared[warp] = (unsigned)__popc(like);
        __syncthreads();
        for (unsigned w = 0; w < SG_BLOCK_WARPS; w++) {
            before += w < warp ? shared[w] : 0;
            all += shared[w];
        }
        if (has) {
            uint32_t a = next + before + (uint32_t)__popc(like & ((1u << lane) - 1));
            size_t at = r * top_k + count_bits(mine & lower);
            row[a] = (uint32_t)r;
            place[at] = a;
            gate[a] = row_gates[at];
        }
        next += all;
        __syncthreads();
    }
}

/* A thread a row: scores get g (dg - sum g dg). */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    find_score_slopes(size_t rows, size_t top_k, const uint32_t *__restrict__ place,
                      const real *__restrict__ gate, const real *__restrict__ dgate, real *dscore)
{
    size_t r = (size_t)blockIdx.x * SG_BLOCK_MOST + threadIdx.x;
    if (r >= rows)
        return;
    real mean = 0;
    place += r * top_k;
    for (size_t j = 0; j < top_k; j++)
        mean += gate[place[j]] * dgate[place[j]];
    for (size_t j = 0; j < top_k; j++)
        dscore[place[j]] = gate[place[j]] * (dgate[place[j]] - mean);
}

/* A block a piece of an expert's assignments. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_pieces(sg_cuda_groups groups, size_t d, const uint32_t *__restrict__ row,
               const real *__restrict__ dscore, const real *__restrict__ n, real *part)
{
    sg_cuda_piece piece = sg_cuda_find_piece(groups, SG_NET_TILE, blockIdx.x);
    if (piece.group == groups.count)
        return; /* the whole block */
    size_t start = groups.first[piece.group] + piece.number * SG_NET_TILE,
           end = groups.first[piece.group + 1],
           stop = end - start < SG_NET_TILE ? end : start + SG_NET_TILE;
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = 0;
        for (size_t a = start; a < stop; a++)
            sum += dscore[a] * n[row[a] * d + k];
        part[blockIdx.x * d + k] = sum;
    }
}

/* A block an expert. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_up(sg_cuda_groups groups, size_t d, const real *__restrict__ part, real *drouter)
{
    size_t e = blockIdx.x, first = sg_cuda_pieces_before(groups, SG_NET_TILE, e),
           stop = sg_cuda_pieces_before(groups, SG_NET_TILE, e + 1);
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = drouter[e * d + k];
        for (size_t p = first; p < stop; p++)
            sum += part[p * d + k];
        drouter[e * d + k] = sum;
    }
}

/* A block a row. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_scores(size_t d, size_t experts, size_t top_k, const uint64_t *__restrict__ set,
               const uint32_t *__restrict__ place, const real *__restrict__ dscore,
               const real *__restrict__ router, real *dn)
{
    size_t r = blockIdx.x;
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        const uint32_t *at = place + r * top_k;
        real sum = dn[r * d + k];
        for (size_t e = 0; e < experts; e++)
            if (set[r] >> e & 1)
                sum += dscore[*at++] * router[e * d + k];
        dn[r * d + k] = sum;
    }
}

} // namespace

template <typename real>
sg_status sg_cuda_net_route(const sg_net_state *s, size_t b, const sg_net_view *net,
                            sg_error *error)
{
    const sg_net_block_state *at = &s->block[b];
    real *row_gates = (real *)s->spread;
    sg_status status =
        sg_cuda_check(SG_LAUNCH(choose<real>, sg_cuda_net_warps(s->rows), SG_CUDA_NET_THREADS, 0,
                                s->stream, s->rows, s->width, (unsigned)s->experts,
                                (unsigned)s->top_k, (const real *)net->block[b].router,
                                (const real *)at->n, s->routes ? s->routes + b : nullptr, s->blocks,
                                at->set, at->gate_entropy, row_gates),
                      doing, error);
    return status ? status
                  : sg_cuda_check(SG_LAUNCH(assign<real>, (unsigned)s->experts, SG_BLOCK_MOST, 0,
                                            s->stream, s->rows, s->top_k, at->set, row_gates,
                                            at->first, at->row, at->place, (real *)at->gate),
                                  doing, error);
}

template <typename real>
sg_status sg_cuda_net_router_back(const sg_net_state *s, size_t b, const sg_net_view *net,
                                  const sg_net_view *gradient, sg_error *error)
{
    const sg_net_block_state *at = &s->block[b];
    sg_cuda_groups groups = sg_cuda_net_groups(s, b);
    size_t d = s->width;
    unsigned across = sg_cuda_net_across(d);
    /* Room that the experts no longer need. */
    real *dscore = (real *)s->douter, *part = (real *)s->gathered;
    sg_status status =
        sg_cuda_check(SG_LAUNCH(find_score_slopes<real>, sg_cuda_net_blocks(s->rows), SG_BLOCK_MOST,
                                0, s->stream, s->rows, s->top_k, at->place, (const real *)at->gate,
                                (const real *)s->dgate, dscore),
                      doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(
            SG_LAUNCH(add_pieces<real>,
                      sg_cuda_most_pieces(groups, sg_net_assignments(s), SG_NET_TILE), across, 0,
                      s->stream, groups, d, at->row, dscore, (const real *)at->n, part),
            doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(add_up<real>, (unsigned)s->experts, across, 0, s->stream,
                                         groups, d, part, (real *)gradient->block[b].router),
                               doing, error);
    return status
               ? status
               : sg_cuda_check(SG_LAUNCH(add_scores<real>, (unsigned)s->rows, across, 0, s->stream,
                                         d, s->experts, s->top_k, at->set, at->place, dscore,
                                         (const real *)net->block[b].router, (real *)s->dn),
                               doing, error);
}

template sg_status sg_cuda_net_route<float>(const sg_net_state *, size_t, const sg_net_view *,
                                            sg_error *);
template sg_status sg_cuda_net_route<double>(const sg_net_state *, size_t, const sg_net_view *,
                                             sg_error *);
template sg_status sg_cuda_net_router_back<float>(const sg_net_state *, size_t, const sg_net_view *,
                                                  const sg_net_view *, sg_error *);
template sg_status sg_cuda_net_router_back<double>(const sg_net_state *, size_t,
                                                   const sg_net_view *, const sg_net_view *,
                                                   sg_error *);
