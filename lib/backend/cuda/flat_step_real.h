/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels of the optimisers in one precision, a thread a number: included by flat_step.cu with SG_REAL and SG_NAME
 * defined, hence no include guard. */

__global__ void __launch_bounds__(THREADS)
    SG_NAME(sgd)(size_t n, SG_NAME(sg_rule) r, SG_REAL *__restrict__ g)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        g[i] *= r.factor;
}

__global__ void __launch_bounds__(THREADS)
    SG_NAME(momentum)(size_t n, SG_NAME(sg_rule) r, SG_REAL *__restrict__ g,
                      SG_REAL *__restrict__ m)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n)
        return;
    g[i] = SG_NAME(sg_rule_momentum)(r, g[i], &m[i]);
}

__global__ void __launch_bounds__(THREADS)
    SG_NAME(adam)(size_t n, SG_NAME(sg_rule) r, SG_REAL *__restrict__ g, SG_REAL *__restrict__ m,
                  SG_REAL *__restrict__ v, const SG_REAL *__restrict__ theta)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n)
        return;
    g[i] = SG_NAME(sg_rule_adam)(r, g[i], &m[i], &v[i], theta[i]);
}

__global__ void __launch_bounds__(THREADS)
    SG_NAME(couple_columns)(size_t rows, size_t columns, sg_rule_numbers p,
                            const double *__restrict__ squares, SG_REAL *v, SG_REAL *roots)
{
    size_t k = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (k >= columns)
        return;
    double now = sg_rule_couple(p, (double)v[k], squares[k], (double)rows);
    v[k] = (SG_REAL)now;
    roots[k] = (SG_REAL)sg_rule_coupled_root(p, now);
}

__global__ void __launch_bounds__(THREADS)
    SG_NAME(coupled)(size_t n, size_t columns, SG_NAME(sg_rule) r, SG_REAL *__restrict__ g,
                     SG_REAL *__restrict__ m, const SG_REAL *__restrict__ roots)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n)
        return;
    g[i] = SG_NAME(sg_rule_coupled)(r, g[i], &m[i], roots[i % columns]);
}

__global__ void __launch_bounds__(THREADS)
    SG_NAME(add)(size_t n, SG_REAL scale, const SG_REAL *__restrict__ delta, SG_REAL *theta)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < n)
        theta[i] += scale * delta[i];
}

cudaError_t SG_NAME(launch)(sg_cuda_stream *stream, const sg_cuda_step *s, const arrays &a)
{
    size_t n = s->rows * s->columns;
    SG_NAME(sg_rule) r = SG_NAME(sg_rule_of)(&s->numbers);
    SG_REAL *g = (SG_REAL *)a.g, *m = (SG_REAL *)a.m;
    unsigned blocks = blocks_for(n);
    switch (s->rule) {
    case SG_CUDA_RULE_SGD:
        return SG_LAUNCH(SG_NAME(sgd), blocks, THREADS, 0, stream, n, r, g);
    case SG_CUDA_RULE_MOMENTUM:
        return SG_LAUNCH(SG_NAME(momentum), blocks, THREADS, 0, stream, n, r, g, m);
    case SG_CUDA_RULE_ADAM:
        return SG_LAUNCH(SG_NAME(adam), blocks, THREADS, 0, stream, n, r, g, m, (SG_REAL *)a.v,
                         (const SG_REAL *)a.theta);
    case SG_CUDA_RULE_COUPLED:
        break;
    }
    return SG_LAUNCH(SG_NAME(coupled), blocks, THREADS, 0, stream, n, s->columns, r, g, m,
                     (const SG_REAL *)a.roots);
}
