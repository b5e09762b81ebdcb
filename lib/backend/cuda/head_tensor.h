/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_HEAD_TENSOR_H
#define SG_CUDA_HEAD_TENSOR_H

#include "backend/cuda/head_parts.h"
#include "backend/cuda/narrow.h"

/* The output layer on tensor cores, for .cu files: head->tensor is there. Weights and features are rounded to narrow numbers
 * (narrow.h) in copies that are padded with zeros to whole parts of tokens and to SG_CUDA_NARROW_WIDTH features. Before that
 * padding come six more features, so that a product adds the bias b and takes away the normaliser c, three narrow numbers each:
 *     weights 1 1 1 b b' b''      features -c -c' -c'' 1 1 1,      c 0 but in a backward. */
enum { SG_CUDA_NARROW_WIDTH = 16, SG_CUDA_EXTRA = 6, SG_CUDA_EACH_EXTRA = 3 };

static inline size_t sg_cuda_narrow_size(const sg_cuda_head *head)
{
    return head->matmul == SG_MATMUL_BF16 ? sizeof(uint16_t) : sizeof(float);
}
static inline size_t sg_cuda_narrow_width(const sg_cuda_head *head)
{
    size_t each = SG_CUDA_NARROW_WIDTH;
    return (head->layer.width + SG_CUDA_EXTRA + each - 1) / each * each;
}
SG_HD static inline size_t sg_cuda_narrow_tokens(size_t n)
{
    return (n + SG_CUDA_HEAD_PART - 1) / SG_CUDA_HEAD_PART * SG_CUDA_HEAD_PART;
}

/* Narrow number `part` of those that add up to x: 24 bits of it in bf16, 33 in tf32. */
template <typename T> __device__ float sg_cuda_part(double x, unsigned part)
{
    float rounded = 0;
    for (unsigned p = 0; p <= part; p++) {
        T narrow;
        x -= (double)rounded;
        sg_narrow((float)x, &narrow);
        rounded = sg_widen(narrow);
    }
    return rounded;
}

/* Further feature k of weights (x: the bias), or of features (x: what is taken away). */
template <typename T> __device__ float sg_cuda_extra(bool weights, double x, unsigned k)
{
    if (k >= SG_CUDA_EXTRA)
        return 0;
    bool first = k < SG_CUDA_EACH_EXTRA;
    return first == weights ? 1.0f : sg_cuda_part<T>(weights ? x : -x, k % SG_CUDA_EACH_EXTRA);
}

/* Round what was loaded. */
sg_status sg_cuda_head_round(sg_cuda_head *head, sg_error *error);

/* The logits of a chunk before sharpness, in fp32; those under other rounded features, from the product with so many of
 * their columns, may be narrow. */
sg_status sg_cuda_head_tensor_logits(sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                     sg_error *error);
sg_status sg_cuda_head_tensor_product(const sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                      const void *hidden, size_t columns, void *logits, bool narrow,
                                      sg_error *error);

/* What head.cu, head_backward.cu and head_look.cu ask for. */
sg_status sg_cuda_head_tensor_forward(sg_cuda_head *head, size_t count, sg_error *error);
sg_status sg_cuda_head_tensor_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias,
                                       bool hidden, sg_error *error);
sg_status sg_cuda_head_tensor_draw(sg_cuda_head *head, size_t count, sg_error *error);

#endif
