/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steps of the optimisers on flat arrays of the device, all of their tensors at once: the norm of the gradient, the clip, the
 * step, its norm, and the sum into the parameters, with no number that the host must know in between. */
#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/flat_parts.h"

namespace
{

enum { THREADS = SG_BLOCK_MOST };

unsigned blocks_for(size_t n)
{
    return (unsigned)((n + THREADS - 1) / THREADS);
}

/* One thread. What the step is made of, from the squares of the gradient where it is clipped. */
__global__ void conclude(sg_rule_numbers numbers, double clip_norm, sg_cuda_step_found *found)
{
    if (clip_norm > 0)
        numbers.scale = sg_rule_clip(sqrt(found->norms.gradient), clip_norm);
    found->scale = numbers.scale;
    found->narrow = sg_rule_of_f32(&numbers);
    found->wide = sg_rule_of_f64(&numbers);
}

/* ---- plain kernels: a block a chunk, the gradient becomes the step */

template <int kind, typename real>
__global__ void __launch_bounds__(THREADS)
    step(sg_cuda_slices list, const sg_cuda_step_found *__restrict__ found,
         sg_cuda_step_arrays<real> all)
{
    sg_cuda_chunk_of_slice chunk = sg_cuda_slice_chunk(list, blockIdx.x);
    if (chunk.slice->coupled)
        return;
    sg_cuda_step_arrays<real> a = sg_cuda_step_part(all, chunk);
    typename sg_cuda_rule_maths<real>::rule rule = sg_cuda_rule_maths<real>::of(found);
    for (size_t k = threadIdx.x; k < chunk.n; k += THREADS)
        a.g[k] =
            sg_cuda_delta<kind, real>(rule, a.g[k], kind != SG_CUDA_RULE_SGD ? &a.m[k] : nullptr,
                                      kind == SG_CUDA_RULE_ADAM ? &a.v[k] : nullptr, a.theta[k]);
}

template <typename real>
__global__ void __launch_bounds__(THREADS)
    add(sg_cuda_slices list, bool only_coupled, const real *__restrict__ delta,
        real *__restrict__ theta)
{
    sg_cuda_chunk_of_slice chunk = sg_cuda_slice_chunk(list, blockIdx.x);
    if (only_coupled && !chunk.slice->coupled)
        return;
    size_t first = chunk.slice->offset + chunk.start;
    for (size_t i = first + threadIdx.x; i < first + chunk.n; i += THREADS)
        theta[i] += delta[i];
}

/* ---- coupled slices: v and the root of each column, then a thread a number */

template <typename real>
__global__ void __launch_bounds__(THREADS)
    couple(size_t rows, size_t columns, sg_rule_numbers p, const double *__restrict__ squares,
           real *__restrict__ v, real *__restrict__ roots)
{
    size_t k = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (k >= columns)
        return;
    double now = sg_rule_couple(p, (double)v[k], squares[k], (double)rows);
    v[k] = (real)now;
    roots[k] = (real)sg_rule_coupled_root(p, now);
}

template <typename real>
__global__ void __launch_bounds__(THREADS)
    step_coupled(size_t n, size_t columns, const sg_cuda_step_found *__restrict__ found,
                 real *__restrict__ g, real *__restrict__ m, const real *__restrict__ roots)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        g[i] = sg_cuda_rule_maths<real>::coupled(sg_cuda_rule_maths<real>::of(found), g[i], &m[i],
                                                 roots[i % columns]);
}

/* ---- the sequence of one step */

template <typename real> real *at(const sg_cuda_flat *flat, size_t offset)
{
    return (real *)sg_cuda_flat_at(flat, offset);
}

template <typename real> struct sequence {
    sg_cuda_flat *gradient;
    const sg_cuda_step *asked;
    sg_cuda_slices list;
    sg_cuda_step_found *found;
    double *sums; /* of columns: tiles, columns, roots */

    sg_status check(cudaError_t code, sg_error *error) const
    {
        return sg_cuda_check(code, "taking a step", error);
    }

    sg_status step_coupled_slice(const sg_cuda_slice *s, sg_error *error) const
    {
        size_t tiles = sg_cuda_column_tiles(s->rows) * s->columns, n = s->rows * s->columns;
        double *of_columns = sums + tiles;
        real *roots = (real *)(of_columns + s->columns), *g = at<real>(gradient, s->offset);
        sg_cuda_stream *stream = gradient->stream;
        sg_status status =
            sg_cuda_flat_sum_columns(gradient, gradient->precision, g, s->rows, s->columns,
                                     &found->scale, true, sums, of_columns, error);
        if (status == SG_OK)
            status = check(SG_LAUNCH(couple<real>, blocks_for(s->columns), THREADS, 0, stream,
                                     s->rows, s->columns, asked->numbers, of_columns,
                                     at<real>(asked->second, s->second_offset), roots),
                           error);
        if (status == SG_OK)
            status =
                check(SG_LAUNCH(step_coupled<real>, blocks_for(n), THREADS, 0, stream, n,
                                s->columns, found, g, at<real>(asked->first, s->offset), roots),
                      error);
        return status;
    }

    cudaError_t launch_plain() const
    {
        unsigned blocks = (unsigned)list.chunks;
        sg_cuda_stream *stream = gradient->stream;
        sg_cuda_step_arrays<real> a = sg_cuda_step_all<real>(gradient, asked);
        switch (asked->rule) {
        case SG_CUDA_RULE_SGD:
            return SG_LAUNCH((step<SG_CUDA_RULE_SGD, real>), blocks, THREADS, 0, stream, list,
                             found, a);
        case SG_CUDA_RULE_MOMENTUM:
            return SG_LAUNCH((step<SG_CUDA_RULE_MOMENTUM, real>), blocks, THREADS, 0, stream, list,
                             found, a);
        case SG_CUDA_RULE_ADAM:
            break;
        }
        return SG_LAUNCH((step<SG_CUDA_RULE_ADAM, real>), blocks, THREADS, 0, stream, list, found,
                         a);
    }

    sg_status run(bool described, sg_error *error) const
    {
        bool fast = sg_cuda_kernels_chosen() == SG_CUDA_FAST, coupled = false;
        unsigned blocks = (unsigned)list.chunks;
        sg_status status = SG_OK;
        if (described || asked->clip_norm > 0) {
            status = sg_cuda_flat_square(gradient, &list, false, error);
            if (status == SG_OK)
                status = sg_cuda_flat_total(gradient, &list, &found->norms.gradient, error);
        }
        if (status == SG_OK)
            status = check(SG_LAUNCH(conclude, 1, 1, 0, gradient->stream, asked->numbers,
                                     asked->clip_norm, found),
                           error);
        if (status == SG_OK && blocks > 0)
            status = fast ? sg_cuda_flat_fast_step(gradient, asked, &list, found, described, error)
                          : check(launch_plain(), error);
        for (size_t i = 0; i < asked->count && status == SG_OK; i++) {
            if (asked->slices[i].coupled)
                status = step_coupled_slice(&asked->slices[i], error);
            coupled = coupled || asked->slices[i].coupled;
        }
        bool left = blocks > 0 && (coupled || !fast); /* for the kernels below */
        if (status == SG_OK && left)
            status = check(SG_LAUNCH(add<real>, blocks, THREADS, 0, gradient->stream, list, fast,
                                     at<real>(gradient, 0), at<real>(asked->parameters, 0)),
                           error);
        if (status == SG_OK && described && left)
            status = sg_cuda_flat_square(gradient, &list, fast, error);
        if (status == SG_OK && described)
            status = sg_cuda_flat_total(gradient, &list, &found->norms.step, error);
        return status;
    }
};

} // namespace

extern "C" sg_status sg_cuda_flat_step(sg_cuda_flat *gradient, const sg_cuda_step *s,
                                       sg_cuda_step_norms *norms, sg_error *error)
{
    size_t columns = 0; /* room for those of any coupled slice */
    for (size_t i = 0; i < s->count; i++) {
        const sg_cuda_slice *slice = &s->slices[i];
        size_t numbers = (sg_cuda_column_tiles(slice->rows) + 2) * slice->columns;
        columns = slice->coupled && numbers > columns ? numbers : columns;
    }
    sg_cuda_flat_uses uses = {gradient->stream, {gradient, s->first, s->second, s->parameters}};
    sg_cuda_slices list;
    void *behind;
    sg_status status = sg_cuda_flat_list(gradient, s->count, s->slices,
                                         sizeof(sg_cuda_step_found) + columns * sizeof(double),
                                         &list, &behind, error);
    if (status == SG_OK)
        status = uses.enter(error);
    if (status != SG_OK)
        return status;
    sg_cuda_step_found *found = (sg_cuda_step_found *)behind;
    double *sums = (double *)(found + 1);
    bool described = norms != nullptr;
    status = gradient->precision == SG_FP32
                 ? sequence<float>{gradient, s, list, found, sums}.run(described, error)
                 : sequence<double>{gradient, s, list, found, sums}.run(described, error);
    status = uses.leave(status, error);
    return status || !described
               ? status
               : sg_cuda_from_device(norms, &found->norms, sizeof *norms, gradient->stream, error);
}
