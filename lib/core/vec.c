/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/vec.h"

#include "core/isa.h"
#include "core/vec_kernels.h"

static const sg_vec_kernels *kernels(void)
{
#ifdef __x86_64__
    sg_isa isa = sg_isa_select();
    if (isa == SG_ISA_AVX512)
        return &sg_vec_kernels_avx512;
    if (isa == SG_ISA_AVX2)
        return &sg_vec_kernels_avx2;
#endif
    return &sg_vec_kernels_portable;
}

void sg_vec_expf(size_t n, const float *x, float *y)
{
    kernels()->expf(n, x, y);
}

void sg_vec_logf(size_t n, const float *x, float *y)
{
    kernels()->logf(n, x, y);
}

void sg_vec_sigmoidf(size_t n, const float *x, float *y)
{
    kernels()->sigmoidf(n, x, y);
}

void sg_vec_exp(size_t n, const double *x, double *y)
{
    kernels()->exp(n, x, y);
}

void sg_vec_log(size_t n, const double *x, double *y)
{
    kernels()->log(n, x, y);
}

void sg_vec_sigmoid(size_t n, const double *x, double *y)
{
    kernels()->sigmoid(n, x, y);
}
