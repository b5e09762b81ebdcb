/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_VEC_KERNELS_H
#define SG_VEC_KERNELS_H

#include <stddef.h>

/* Kernels of one instruction set, behind vec.h. */
typedef struct sg_vec_kernels {
    void (*expf)(size_t n, const float *x, float *y);
    void (*logf)(size_t n, const float *x, float *y);
    void (*sigmoidf)(size_t n, const float *x, float *y);
    void (*exp)(size_t n, const double *x, double *y);
    void (*log)(size_t n, const double *x, double *y);
    void (*sigmoid)(size_t n, const double *x, double *y);
} sg_vec_kernels;

extern const sg_vec_kernels sg_vec_kernels_portable;
#ifdef __x86_64__
extern const sg_vec_kernels sg_vec_kernels_avx2, sg_vec_kernels_avx512;
#endif

#endif
