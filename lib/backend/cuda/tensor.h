/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_TENSOR_H
#define SG_CUDA_TENSOR_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"

/* For .cu files: matrix products on tensor cores by NVIDIA's cuBLASLt, which is opened when it is first wanted, as a machine may
 * lack it: the file that SOFTGATE_CUBLASLT names, or libcublasLt.so.13 or .12 where the loader and CUDA's usual folders
 * have one. Without it, SG_EUNSUPPORTED in one sentence.
 *
 * Inputs are narrow numbers (narrow.h): bf16, or fp32 rounded to tf32. Each product of two of them is exact in fp32,
 * sums are fp32 in an order that the library chooses. The same product has the same bits at every call: its
 * algorithm is chosen once for each shape, parts of a sum are added in a step of their own, workspace is fixed. Another shape,
 * device or release of the library may sum in another order. */

/* The library's handle, the algorithms chosen, workspace; for one stream at a time. */
typedef struct sg_cuda_tensor sg_cuda_tensor;
sg_status sg_cuda_tensor_alloc(sg_cuda_tensor **tensor, sg_matmul matmul, sg_error *error);
void sg_cuda_tensor_free(sg_cuda_tensor *tensor);

/* Row i of a matrix starts at i * lead. */
typedef struct sg_cuda_narrow {
    const void *at;
    size_t lead;
    bool transposed; /* what lies there is the transpose of the factor */
    size_t step;     /* from one product of a batch to the next */
} sg_cuda_narrow;

typedef struct sg_cuda_tensor_product {
    size_t m, n, k;      /* < 2^31 */
    sg_cuda_narrow a, b; /* m x k, k x n */
    void *c;             /* m x n at c[i * lead + j] */
    size_t lead, step;
    bool narrow;     /* c is rounded as the inputs are (tf32: it stays fp32); otherwise fp32 */
    bool accumulate; /* c += */
    size_t batch;    /* so many products; 0 is one */
} sg_cuda_tensor_product;

/* Queued on the stream. Leads and steps should be multiples of 16 bytes: that is where tensor cores are fast. */
sg_status sg_cuda_tensor_multiply(sg_cuda_tensor *tensor, const sg_cuda_tensor_product *product,
                                  sg_cuda_stream *stream, sg_error *error);

#endif
