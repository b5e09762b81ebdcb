/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Compiled once per instruction set. Equal arrays are in order element by element, so the loops
 * have no dependence that would stop vector code: `omp simd` says so. */
#include "core/vec_kernels.h"
#include "core/vec_math.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

static void vec_expf(size_t n, const float *x, float *y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = sg_expf(x[i]);
}

static void vec_logf(size_t n, const float *x, float *y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = sg_logf(x[i]);
}

static void vec_sigmoidf(size_t n, const float *x, float *y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = sg_sigmoidf(x[i]);
}

static void vec_exp(size_t n, const double *x, double *y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = sg_exp(x[i]);
}

static void vec_log(size_t n, const double *x, double *y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = sg_log(x[i]);
}

static void vec_sigmoid(size_t n, const double *x, double *y)
{
#pragma omp simd
    for (size_t i = 0; i < n; i++)
        y[i] = sg_sigmoid(x[i]);
}

const sg_vec_kernels SG_EXPAND(sg_vec_kernels_, SG_ISA) = {vec_expf, vec_logf, vec_sigmoidf,
                                                           vec_exp,  vec_log,  vec_sigmoid};
