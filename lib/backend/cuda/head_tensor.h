/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_HEAD_TENSOR_H
#define SG_CUDA_HEAD_TENSOR_H

#include "backend/cuda/head_parts.h"

/* The output layer on tensor cores, for .cu files: head->tensor is there. Weights, bias and features are rounded to narrow numbers
 * (narrow.h), padded with zeros to whole parts of tokens and SG_CUDA_NARROW_WIDTH features. A chunk is of narrow logits before
 * sharpness: bf16, or fp32 for tf32. */
enum { SG_CUDA_NARROW_WIDTH = 16, SG_CUDA_SQUARE = 128 /* side of a block's part of a product */ };

static inline size_t sg_cuda_narrow_size(const sg_cuda_head *head)
{
    return head->matmul == SG_MATMUL_BF16 ? sizeof(uint16_t) : sizeof(float);
}
static inline size_t sg_cuda_narrow_width(const sg_cuda_head *head)
{
    size_t each = SG_CUDA_NARROW_WIDTH;
    return (head->layer.width + each - 1) / each * each;
}
SG_HD static inline size_t sg_cuda_narrow_tokens(size_t n)
{
    return (n + SG_CUDA_HEAD_PART - 1) / SG_CUDA_HEAD_PART * SG_CUDA_HEAD_PART;
}

/* Round what was loaded. */
sg_status sg_cuda_head_round(sg_cuda_head *head, sg_error *error);

/* The first chunk, with room for its narrow logits, and the logits of a chunk under rounded features. */
sg_status sg_cuda_head_tensor_first(sg_cuda_head *head, size_t rows, sg_cuda_chunk *chunk,
                                    sg_error *error);
sg_status sg_cuda_head_tensor_product(const sg_cuda_head *head, const sg_cuda_chunk *chunk,
                                      const void *hidden, sg_error *error);

/* What head.cu, head_backward.cu and head_look.cu ask for. Logits for looks are the same numbers, in fp32, with sharpness. */
sg_status sg_cuda_head_tensor_logits(sg_cuda_head *head, const sg_cuda_chunk *chunk, size_t width,
                                     double sharpness, sg_error *error);
sg_status sg_cuda_head_tensor_forward(sg_cuda_head *head, size_t count, sg_error *error);
sg_status sg_cuda_head_tensor_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias,
                                       bool hidden, sg_error *error);
sg_status sg_cuda_head_tensor_draw(sg_cuda_head *head, size_t count, sg_error *error);

#endif
