/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The fast kernels of flat arrays: a block takes a chunk, 16 bytes a load and a store, so that each number of a step is read
 * and written once. Squares go through shared memory, where half a warp adds them up in the CPU's lanes. */
#include "backend/cuda/launch.h"

#include "backend/cuda/block.h"
#include "backend/cuda/flat_parts.h"

namespace
{

enum { THREADS = 256, CHUNK = SG_RULE_CHUNK };

template <typename real> struct __align__(16) wide
{
    enum { N = 16 / sizeof(real) };
    real at[N];
};

template <typename real> __device__ __forceinline__ bool aligned(const real *x)
{
    return (uintptr_t)x % 16 == 0;
}

/* Of values in shared memory, by the first warp; all threads come. */
template <typename real>
__device__ __forceinline__ void add_up(const real *values, size_t n, double *sum)
{
    __syncthreads();
    if (threadIdx.x >= SG_WARP)
        return;
    double total = sg_cuda_add_squares(values, n);
    if (threadIdx.x == 0)
        *sum = total;
}

template <typename real>
__global__ void __launch_bounds__(THREADS)
    square(sg_cuda_slices list, bool only_coupled, const real *__restrict__ values)
{
    __shared__ __align__(16) real here[CHUNK];
    typedef wide<real> sixteen;
    sg_cuda_chunk_of_slice chunk = sg_cuda_slice_chunk(list, blockIdx.x);
    if (only_coupled && !chunk.slice->coupled)
        return;
    const real *x = values + chunk.slice->offset + chunk.start;
    unsigned n = (unsigned)chunk.n, most = aligned(x) ? n / sixteen::N : 0;
    SG_UNROLL
    for (unsigned k = 0; k < CHUNK / sixteen::N / THREADS; k++) {
        unsigned i = k * THREADS + threadIdx.x;
        if (i < most)
            ((sixteen *)here)[i] = ((const sixteen *)x)[i];
    }
    for (unsigned i = most * sixteen::N + threadIdx.x; i < n; i += THREADS)
        here[i] = x[i];
    add_up(here, n, &list.of_chunks[blockIdx.x]);
}

/* N numbers at once; delta replaces g here, and in the array where it is described. */
template <int kind, bool described, typename real, typename some>
__device__ __forceinline__ void take(const typename sg_cuda_rule_maths<real>::rule &rule,
                                     const sg_cuda_step_arrays<real> &a, unsigned i, some *deltas)
{
    enum { N = sizeof(some) / sizeof(real) };
    some g = ((some *)a.g)[i], theta = ((some *)a.theta)[i], m = {}, v = {};
    if (kind != SG_CUDA_RULE_SGD)
        m = ((some *)a.m)[i];
    if (kind == SG_CUDA_RULE_ADAM)
        v = ((some *)a.v)[i];
    SG_UNROLL
    for (int k = 0; k < N; k++) {
        real old = ((real *)&theta)[k];
        real delta = sg_cuda_delta<kind, real>(rule, ((real *)&g)[k], &((real *)&m)[k],
                                               &((real *)&v)[k], old);
        ((real *)&g)[k] = delta;
        ((real *)&theta)[k] = old + delta;
    }
    ((some *)a.theta)[i] = theta;
    if (kind != SG_CUDA_RULE_SGD)
        ((some *)a.m)[i] = m;
    if (kind == SG_CUDA_RULE_ADAM)
        ((some *)a.v)[i] = v;
    if (described) {
        ((some *)a.g)[i] = g;
        deltas[i] = g;
    }
}

template <int kind, bool described, typename real>
__global__ void __launch_bounds__(THREADS)
    step(sg_cuda_slices list, const sg_cuda_step_found *__restrict__ found,
         sg_cuda_step_arrays<real> all)
{
    __shared__ __align__(16) real deltas[described ? CHUNK : 1];
    typedef wide<real> sixteen;
    sg_cuda_chunk_of_slice chunk = sg_cuda_slice_chunk(list, blockIdx.x);
    if (chunk.slice->coupled)
        return;
    sg_cuda_step_arrays<real> a = sg_cuda_step_part(all, chunk);
    typename sg_cuda_rule_maths<real>::rule rule = sg_cuda_rule_maths<real>::of(found);
    unsigned n = (unsigned)chunk.n, most = 0;
    if (aligned(a.g) && aligned(a.m) && aligned(a.v) && aligned(a.theta))
        most = n / sixteen::N;
    SG_UNROLL
    for (unsigned k = 0; k < CHUNK / sixteen::N / THREADS; k++) {
        unsigned i = k * THREADS + threadIdx.x;
        if (i < most)
            take<kind, described>(rule, a, i, (sixteen *)deltas);
    }
    for (unsigned i = most * sixteen::N + threadIdx.x; i < n; i += THREADS)
        take<kind, described>(rule, a, i, deltas);
    if (described)
        add_up(deltas, n, &list.of_chunks[blockIdx.x]);
}

template <int kind, typename real>
cudaError_t launch(const sg_cuda_flat *gradient, const sg_cuda_slices *list,
                   const sg_cuda_step_found *found, const sg_cuda_step_arrays<real> &a,
                   bool described)
{
    unsigned blocks = (unsigned)list->chunks;
    return described ? SG_LAUNCH((step<kind, true, real>), blocks, THREADS, 0, gradient->stream,
                                 *list, found, a)
                     : SG_LAUNCH((step<kind, false, real>), blocks, THREADS, 0, gradient->stream,
                                 *list, found, a);
}

template <typename real>
cudaError_t launch_rule(const sg_cuda_flat *gradient, const sg_cuda_step *s,
                        const sg_cuda_slices *list, const sg_cuda_step_found *found, bool described)
{
    sg_cuda_step_arrays<real> a = sg_cuda_step_all<real>(gradient, s);
    switch (s->rule) {
    case SG_CUDA_RULE_SGD:
        return launch<SG_CUDA_RULE_SGD>(gradient, list, found, a, described);
    case SG_CUDA_RULE_MOMENTUM:
        return launch<SG_CUDA_RULE_MOMENTUM>(gradient, list, found, a, described);
    case SG_CUDA_RULE_ADAM:
        break;
    }
    return launch<SG_CUDA_RULE_ADAM>(gradient, list, found, a, described);
}

} // namespace

sg_status sg_cuda_flat_fast_square(const sg_cuda_flat *flat, const sg_cuda_slices *list,
                                   bool only_coupled, sg_error *error)
{
    unsigned blocks = (unsigned)list->chunks;
    return sg_cuda_check(flat->precision == SG_FP32
                             ? SG_LAUNCH(square<float>, blocks, THREADS, 0, flat->stream, *list,
                                         only_coupled, (const float *)flat->at)
                             : SG_LAUNCH(square<double>, blocks, THREADS, 0, flat->stream, *list,
                                         only_coupled, (const double *)flat->at),
                         "adding up squares", error);
}

sg_status sg_cuda_flat_fast_step(const sg_cuda_flat *gradient, const sg_cuda_step *s,
                                 const sg_cuda_slices *list, const sg_cuda_step_found *found,
                                 bool described, sg_error *error)
{
    return sg_cuda_check(gradient->precision == SG_FP32
                             ? launch_rule<float>(gradient, s, list, found, described)
                             : launch_rule<double>(gradient, s, list, found, described),
                         "taking a step", error);
}
