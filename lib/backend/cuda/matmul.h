/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_MATMUL_H
#define SG_CUDA_MATMUL_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/groups.h"

/* For .cu files: matrix products on the device. Every element is the plain sum over k in rising
 * order, each product rounded before it is added, which gives the bits of the CPU's product
 * (policy/net_matrix.h) however the matrices are cut. */

/* Element (i, j) lies at at[i * row + j * column]. */
typedef struct sg_cuda_matrix {
    const void *at;
    size_t row, column;
} sg_cuda_matrix;

typedef struct sg_cuda_product {
    sg_precision precision;
    size_t m, n, k;      /* m <= 4194240 */
    sg_cuda_matrix a, b; /* m x k, k x n */
    void *c;             /* m x n at c[i * lead + j] */
    size_t lead;
    bool accumulate; /* the old C is the first term of each sum */
    size_t
        part; /* 0, or k is cut into parts of so many terms, at most 65535 parts, and part z goes to
                      * c[z * m * lead + ...]: work for more of the device where m and n are small */
} sg_cuda_product;

/* Queued on the stream. */
sg_status sg_cuda_matmul(const sg_cuda_product *product, sg_cuda_stream *stream, sg_error *error);

/* Groups of the m rows of A and C, each with a B of its own, `step` numbers after the one before. Neither
 * parts nor accumulate. */
sg_status sg_cuda_matmul_rows(const sg_cuda_product *product, sg_cuda_groups groups, size_t step,
                              sg_cuda_stream *stream, sg_error *error);

/* Groups of the k terms, each with a C of its own, `step` numbers after the one before; 0 where a group is empty. At most
 * 65535 groups. Neither parts nor accumulate. */
sg_status sg_cuda_matmul_terms(const sg_cuda_product *product, sg_cuda_groups groups, size_t step,
                               sg_cuda_stream *stream, sg_error *error);

#endif
