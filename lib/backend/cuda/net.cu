/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy on the device: its table; embeddings, normalisations, experts. */
#include "backend/cuda/launch.h"

#include "backend/cuda/net_parts.h"

namespace
{

const char *const doing = "finding the features of the net";

/* A block a row. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    embed(size_t d, size_t slots, size_t prompt_length, const int32_t *__restrict__ position,
          const int32_t *__restrict__ context, const real *__restrict__ positions,
          const real *__restrict__ mixes, const real *__restrict__ prompts,
          const real *__restrict__ tokens, real *x)
{
    size_t r = blockIdx.x, t = (size_t)position[r];
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = positions[t * d + k];
        for (size_t s = 0; s < slots; s++) {
            int32_t symbol = context[r * slots + s];
            if (symbol < 0)
                continue;
            const real *table = s < prompt_length ? prompts : tokens;
            sum += mixes[(t * slots + s) * d + k] * table[(size_t)symbol * d + k];
        }
        x[r * d + k] = sum;
    }
}

/* A warp a row. */
template <typename real>
__global__ void __launch_bounds__(SG_CUDA_NET_THREADS)
    normalize(size_t rows, size_t d, const real *__restrict__ x, const real *__restrict__ gain,
              real *y, real *inverse)
{
    size_t r = (size_t)blockIdx.x * SG_CUDA_NET_WARPS + threadIdx.x / SG_WARP;
    if (r >= rows)
        return; /* the whole warp */
    unsigned lane = threadIdx.x % SG_WARP;
    x += r * d;
    y += r * d;
    real scale = (real)sg_net_inverse_rms(sg_cuda_net_dot(d, x, x), (double)d);
    for (size_t k = lane; k < d; k += SG_WARP)
        y[k] = gain[k] * (x[k] * scale);
    if (lane == 0)
        inverse[r] = scale;
}

/* A block an assignment. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    gather(size_t d, const uint32_t *__restrict__ row, const real *__restrict__ from, real *to)
{
    for (size_t k = threadIdx.x; k < d; k += blockDim.x)
        to[blockIdx.x * d + k] = from[row[blockIdx.x] * d + k];
}

template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    activate(size_t n, const real *__restrict__ inner, real *active)
{
    size_t i = (size_t)blockIdx.x * SG_BLOCK_MOST + threadIdx.x;
    if (i < n)
        active[i] = sg_cuda_sigmoid(inner[i]) * inner[i];
}

/* A block a row. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    combine(size_t d, size_t top_k, const uint32_t *__restrict__ place,
            const real *__restrict__ gate, const real *__restrict__ outer,
            const real *__restrict__ x, real *out)
{
    size_t r = blockIdx.x;
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = x[r * d + k];
        for (size_t j = 0; j < top_k; j++) {
            size_t a = place[r * top_k + j];
            sum += gate[a] * outer[a * d + k];
        }
        out[r * d + k] = sum;
    }
}

} // namespace

template <typename real>
sg_status sg_cuda_net_embed(const sg_net_state *s, const sg_net_view *net, void *x, sg_error *error)
{
    return sg_cuda_check(SG_LAUNCH(embed<real>, (unsigned)s->rows, sg_cuda_net_across(s->width), 0,
                                   s->stream, s->width, s->slots, s->prompt_length, s->position,
                                   s->context, (const real *)net->positions, (const real *)net->mix,
                                   (const real *)net->prompts, (const real *)net->tokens,
                                   (real *)x),
                         doing, error);
}

template <typename real>
sg_status sg_cuda_net_normalize(const sg_net_state *s, const void *x, const void *gain, void *y,
                                void *inverse, sg_error *error)
{
    return sg_cuda_check(SG_LAUNCH(normalize<real>, sg_cuda_net_warps(s->rows), SG_CUDA_NET_THREADS,
                                   0, s->stream, s->rows, s->width, (const real *)x,
                                   (const real *)gain, (real *)y, (real *)inverse),
                         doing, error);
}

template <typename real>
sg_status sg_cuda_net_gather(const sg_net_state *s, size_t b, sg_error *error)
{
    return sg_cuda_check(SG_LAUNCH(gather<real>, (unsigned)sg_net_assignments(s),
                                   sg_cuda_net_across(s->width), 0, s->stream, s->width,
                                   s->block[b].row, (const real *)s->block[b].n,
                                   (real *)s->gathered),
                         doing, error);
}

template <typename real>
sg_status sg_cuda_net_experts(const sg_net_state *s, size_t b, const sg_net_view *net, void *out,
                              sg_error *error)
{
    const sg_net_block_state *at = &s->block[b];
    size_t d = s->width, f = s->hidden, m = sg_net_assignments(s);
    sg_cuda_groups groups = sg_cuda_net_groups(s, b);
    sg_cuda_product inner = {}, outer = {};
    inner.precision = outer.precision = s->precision;
    inner.m = outer.m = m;
    inner.n = outer.k = f;
    inner.k = outer.n = d;
    inner.a = {s->gathered, d, 1};
    inner.b = {net->block[b].inner, 1, d};
    inner.c = at->inner;
    inner.lead = f;
    outer.a = {at->active, f, 1};
    outer.b = {net->block[b].outer, 1, f};
    outer.c = at->outer;
    outer.lead = d;
    sg_status status = sg_cuda_net_gather<real>(s, b, error);
    if (status == SG_OK)
        status = sg_cuda_matmul_rows(&inner, groups, f * d, s->stream, error);
    if (status == SG_OK)
        status =
            sg_cuda_check(SG_LAUNCH(activate<real>, sg_cuda_net_blocks(m * f), SG_BLOCK_MOST, 0,
                                    s->stream, m * f, (const real *)at->inner, (real *)at->active),
                          doing, error);
    if (status == SG_OK)
        status = sg_cuda_matmul_rows(&outer, groups, d * f, s->stream, error);
    return status
               ? status
               : sg_cuda_check(SG_LAUNCH(combine<real>, (unsigned)s->rows, sg_cuda_net_across(d), 0,
                                         s->stream, d, s->top_k, at->place, (const real *)at->gate,
                                         (const real *)at->outer, (const real *)at->x, (real *)out),
                               doing, error);
}

template sg_status sg_cuda_net_gather<float>(const sg_net_state *, size_t, sg_error *);
template sg_status sg_cuda_net_gather<double>(const sg_net_state *, size_t, sg_error *);

extern "C" const sg_net_kernels sg_cuda_net_kernels[2] = {
    {sg_cuda_net_embed<float>, sg_cuda_net_normalize<float>, sg_cuda_net_route<float>,
     sg_cuda_net_experts<float>, sg_cuda_net_normalize_back<float>, sg_cuda_net_experts_back<float>,
     sg_cuda_net_router_back<float>, sg_cuda_net_embed_back<float>, sg_cuda_net_weigh<float>},
    {sg_cuda_net_embed<double>, sg_cuda_net_normalize<double>, sg_cuda_net_route<double>,
     sg_cuda_net_experts<double>, sg_cuda_net_normalize_back<double>,
     sg_cuda_net_experts_back<double>, sg_cuda_net_router_back<double>,
     sg_cuda_net_embed_back<double>, sg_cuda_net_weigh<double>},
};
