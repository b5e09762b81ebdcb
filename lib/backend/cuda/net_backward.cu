/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The neural policy on the device: gradients of gains, experts and embeddings. */
#include "backend/cuda/launch.h"

#include "backend/cuda/net_parts.h"

namespace
{

const char *const doing = "finding the gradients of the net";

/* A warp a row. */
template <typename real>
__global__ void __launch_bounds__(SG_CUDA_NET_THREADS)
    normalize_back(size_t rows, size_t d, const real *__restrict__ x, const real *__restrict__ gain,
                   const real *__restrict__ y, const real *__restrict__ inverse,
                   const real *__restrict__ dy, real *dx)
{
    size_t r = (size_t)blockIdx.x * SG_CUDA_NET_WARPS + threadIdx.x / SG_WARP;
    if (r >= rows)
        return; /* the whole warp */
    real scale = inverse[r], mean = (real)(sg_cuda_net_dot(d, dy + r * d, y + r * d) / (double)d);
    for (size_t k = threadIdx.x % SG_WARP; k < d; k += SG_WARP) {
        size_t i = r * d + k;
        dx[i] += sg_cuda_rms_slope(scale, dy[i], gain[k], mean, x[i] * scale);
    }
}

/* A block a tile of rows. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_rows(size_t rows, size_t d, const real *__restrict__ x, const real *__restrict__ inverse,
             const real *__restrict__ dy, real *tiles)
{
    size_t start = (size_t)blockIdx.x * SG_NET_TILE,
           stop = rows - start < SG_NET_TILE ? rows : start + SG_NET_TILE;
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = 0;
        for (size_t r = start; r < stop; r++)
            sum += dy[r * d + k] * (x[r * d + k] * inverse[r]);
        tiles[blockIdx.x * d + k] = sum;
    }
}

/* A thread a number of the gain. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_tiles(size_t d, size_t count, const real *__restrict__ tiles, real *dgain)
{
    size_t k = (size_t)blockIdx.x * SG_BLOCK_MOST + threadIdx.x;
    if (k >= d)
        return;
    real sum = dgain[k];
    for (size_t t = 0; t < count; t++)
        sum += tiles[t * d + k];
    dgain[k] = sum;
}

/* A warp an assignment. */
template <typename real>
__global__ void __launch_bounds__(SG_CUDA_NET_THREADS)
    spread(size_t assignments, size_t d, const uint32_t *__restrict__ row,
           const real *__restrict__ gate, const real *__restrict__ outer,
           const real *__restrict__ dx, real *dgate, real *douter)
{
    size_t a = (size_t)blockIdx.x * SG_CUDA_NET_WARPS + threadIdx.x / SG_WARP;
    if (a >= assignments)
        return; /* the whole warp */
    const real *out = dx + row[a] * d;
    double along = sg_cuda_net_dot(d, out, outer + a * d);
    for (size_t k = threadIdx.x % SG_WARP; k < d; k += SG_WARP)
        douter[a * d + k] = gate[a] * out[k];
    if (threadIdx.x % SG_WARP == 0)
        dgate[a] = (real)along;
}

template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    activate_back(size_t n, const real *__restrict__ inner, real *dinner)
{
    size_t i = (size_t)blockIdx.x * SG_BLOCK_MOST + threadIdx.x;
    if (i < n)
        dinner[i] *= sg_cuda_silu_slope(inner[i], sg_cuda_sigmoid(inner[i]));
}

/* A block a row. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    collect(size_t d, size_t top_k, const uint32_t *__restrict__ place,
            const real *__restrict__ from, real *dn)
{
    size_t r = blockIdx.x;
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = 0;
        for (size_t j = 0; j < top_k; j++)
            sum += from[place[r * top_k + j] * d + k];
        dn[r * d + k] = sum;
    }
}

/* A block a piece: the whole sum goes where it belongs, others wait. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_terms(size_t d, const uint32_t *__restrict__ row, const size_t *__restrict__ factor,
              const uint32_t *__restrict__ first, const size_t *__restrict__ to,
              const int32_t *__restrict__ part, const real *__restrict__ dx,
              const real *__restrict__ numbers, real *gradient, real *parts)
{
    size_t p = blockIdx.x;
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = 0;
        for (size_t i = first[p]; i < first[p + 1]; i++) {
            real x = dx[row[i] * d + k];
            sum += factor[i] == SIZE_MAX ? x : x * numbers[factor[i] + k];
        }
        if (part[p] == SG_NET_ALONE)
            gradient[to[p] + k] += sum;
        else
            parts[(size_t)part[p] * d + k] = sum;
    }
}

/* A block a sum of several pieces. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    add_parts(size_t d, const uint32_t *__restrict__ sum_part, const size_t *__restrict__ sum_to,
              const real *__restrict__ parts, real *gradient)
{
    real *to = gradient + sum_to[blockIdx.x];
    for (size_t k = threadIdx.x; k < d; k += blockDim.x) {
        real sum = to[k];
        for (size_t p = sum_part[blockIdx.x]; p < sum_part[blockIdx.x + 1]; p++)
            sum += parts[p * d + k];
        to[k] = sum;
    }
}

/* A thread a number of the features. */
template <typename real>
__global__ void __launch_bounds__(SG_BLOCK_MOST)
    weigh(size_t rows, size_t d, const double *__restrict__ weight, const real *__restrict__ h,
          double *sums)
{
    size_t k = (size_t)blockIdx.x * SG_BLOCK_MOST + threadIdx.x;
    if (k >= d)
        return;
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        sum += weight[r] * (double)h[r * d + k];
    sums[k] = sum;
}

/* The products of a block's experts. */
template <typename real> struct products {
    const sg_net_state *s;
    sg_cuda_groups groups;
    size_t m, step;

    /* C[assignment][n] = A[assignment][k] B of its expert, row by row. */
    sg_status rows(const void *a, const void *b, size_t k, size_t n, void *c, sg_error *error) const
    {
        sg_cuda_product p = {};
        p.precision = s->precision;
        p.m = m;
        p.n = n;
        p.k = k;
        p.a = {a, k, 1};
        p.b = {b, n, 1};
        p.c = c;
        p.lead = n;
        return sg_cuda_matmul_rows(&p, groups, step, s->stream, error);
    }

    /* C of an expert, [rows][columns]: the sum over its assignments of A[assignment][row] B[assignment][column]. */
    sg_status terms(const void *a, size_t rows, const void *b, size_t columns, void *c,
                    sg_error *error) const
    {
        sg_cuda_product p = {};
        p.precision = s->precision;
        p.m = rows;
        p.n = columns;
        p.k = m;
        p.a = {a, 1, rows};
        p.b = {b, columns, 1};
        p.c = c;
        p.lead = columns;
        return sg_cuda_matmul_terms(&p, groups, step, s->stream, error);
    }
};

} // namespace

template <typename real>
sg_status sg_cuda_net_normalize_back(const sg_net_state *s, const void *x, const void *gain,
                                     const void *y, const void *inverse, const void *dy,
                                     void *dgain, sg_error *error)
{
    size_t d = s->width, count = (s->rows + SG_NET_TILE - 1) / SG_NET_TILE;
    real *tiles = (real *)s->tiles;
    sg_status status = sg_cuda_check(
        SG_LAUNCH(normalize_back<real>, sg_cuda_net_warps(s->rows), SG_CUDA_NET_THREADS, 0,
                  s->stream, s->rows, d, (const real *)x, (const real *)gain, (const real *)y,
                  (const real *)inverse, (const real *)dy, (real *)s->dx),
        doing, error);
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(add_rows<real>, (unsigned)count, sg_cuda_net_across(d), 0,
                                         s->stream, s->rows, d, (const real *)x,
                                         (const real *)inverse, (const real *)dy, tiles),
                               doing, error);
    return status ? status
                  : sg_cuda_check(SG_LAUNCH(add_tiles<real>, sg_cuda_net_blocks(d), SG_BLOCK_MOST,
                                            0, s->stream, d, count, tiles, (real *)dgain),
                                  doing, error);
}

template <typename real>
sg_status sg_cuda_net_experts_back(const sg_net_state *s, size_t b, const sg_net_view *net,
                                   const sg_net_view *gradient, sg_error *error)
{
    const sg_net_block_state *at = &s->block[b];
    size_t d = s->width, f = s->hidden, m = sg_net_assignments(s);
    products<real> multiply = {s, sg_cuda_net_groups(s, b), m, d * f};
    sg_status status = sg_cuda_check(
        SG_LAUNCH(spread<real>, sg_cuda_net_warps(m), SG_CUDA_NET_THREADS, 0, s->stream, m, d,
                  at->row, (const real *)at->gate, (const real *)at->outer, (const real *)s->dx,
                  (real *)s->dgate, (real *)s->douter),
        doing, error);
    if (status == SG_OK)
        status = multiply.terms(s->douter, d, at->active, f, gradient->block[b].outer, error);
    if (status == SG_OK)
        status = multiply.rows(s->douter, net->block[b].outer, d, f, s->dinner, error);
    if (status == SG_OK)
        status = sg_cuda_check(SG_LAUNCH(activate_back<real>, sg_cuda_net_blocks(m * f),
                                         SG_BLOCK_MOST, 0, s->stream, m * f,
                                         (const real *)at->inner, (real *)s->dinner),
                               doing, error);
    if (status == SG_OK)
        status = sg_cuda_net_gather<real>(s, b, error);
    if (status == SG_OK)
        status = multiply.terms(s->dinner, f, s->gathered, d, gradient->block[b].inner, error);
    if (status == SG_OK)
        status = multiply.rows(s->dinner, net->block[b].inner, f, d, s->spread, error);
    return status ? status
                  : sg_cuda_check(SG_LAUNCH(collect<real>, (unsigned)s->rows, sg_cuda_net_across(d),
                                            0, s->stream, d, s->top_k, at->place,
                                            (const real *)s->spread, (real *)s->dn),
                                  doing, error);
}

template <typename real>
sg_status sg_cuda_net_embed_back(const sg_net_state *s, const sg_net_view *net,
                                 const sg_net_view *gradient, const sg_net_terms *t, void *parts,
                                 sg_error *error)
{
    size_t d = s->width;
    unsigned across = sg_cuda_net_across(d);
    sg_status status = sg_cuda_check(
        SG_LAUNCH(add_terms<real>, (unsigned)t->pieces, across, 0, s->stream, d, t->row, t->factor,
                  t->first, t->to, t->part, (const real *)s->dx, (const real *)net->numbers,
                  (real *)gradient->numbers, (real *)parts),
        doing, error);
    return status || t->sums == 0
               ? status
               : sg_cuda_check(SG_LAUNCH(add_parts<real>, (unsigned)t->sums, across, 0, s->stream,
                                         d, t->sum_part, t->sum_to, (const real *)parts,
                                         (real *)gradient->numbers),
                               doing, error);
}

template <typename real>
sg_status sg_cuda_net_weigh(const sg_net_state *s, const double *weight, double *sums,
                            sg_error *error)
{
    return sg_cuda_check(SG_LAUNCH(weigh<real>, sg_cuda_net_blocks(s->width), SG_BLOCK_MOST, 0,
                                   s->stream, s->rows, s->width, weight, (const real *)s->h, sums),
                         doing, error);
}

template sg_status sg_cuda_net_normalize_back<float>(const sg_net_state *, const void *,
                                                     const void *, const void *, const void *,
                                                     const void *, void *, sg_error *);
template sg_status sg_cuda_net_experts_back<float>(const sg_net_state *, size_t,
                                                   const sg_net_view *, const sg_net_view *,
                                                   sg_error *);
template sg_status sg_cuda_net_embed_back<float>(const sg_net_state *, const sg_net_view *,
                                                 const sg_net_view *, const sg_net_terms *, void *,
                                                 sg_error *);
template sg_status sg_cuda_net_weigh<float>(const sg_net_state *, const double *, double *,
                                            sg_error *);
template sg_status sg_cuda_net_normalize_back<double>(const sg_net_state *, const void *,
                                                      const void *, const void *, const void *,
                                                      const void *, void *, sg_error *);
template sg_status sg_cuda_net_experts_back<double>(const sg_net_state *, size_t,
                                                    const sg_net_view *, const sg_net_view *,
                                                    sg_error *);
template sg_status sg_cuda_net_embed_back<double>(const sg_net_state *, const sg_net_view *,
                                                  const sg_net_view *, const sg_net_terms *, void *,
                                                  sg_error *);
template sg_status sg_cuda_net_weigh<double>(const sg_net_state *, const double *, double *,
                                             sg_error *);
