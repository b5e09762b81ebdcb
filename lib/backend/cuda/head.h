/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CUDA_HEAD_H
#define SG_CUDA_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/cuda/device.h"

/* The linear output layer (policy/head.h says what is computed) on a CUDA device: logits a chunk of tokens at a
 * time, at most 64 MiB of them, never all. With the formulas and the order of sums of the CPU, log-probabilities,
 * draws and gradients of weights and biases have its bits; the gradient of the features and the
 * observables are summed in another order. No result depends on the size of the chunks, nor a row's on other rows.
 *
 * Arrays are the host's. sg_cuda_head_load copies parameters and features to the device, and all calls up to the
 * next use these copies; a resident layer's are used where they are. Errors: those of device.h. */

#ifdef __cplusplus
extern "C" {
#endif

/* Copies, room to work in, a stream. */
typedef struct sg_cuda_head sg_cuda_head;
sg_status sg_cuda_head_alloc(sg_cuda_head **head, sg_error *error);
void sg_cuda_head_free(sg_cuda_head *head);
/* Most bytes of logits at a time, for tests; a chunk is at least one row of 1024 tokens. */
void sg_cuda_head_limit(sg_cuda_head *head, size_t bytes);
sg_cuda_stream *sg_cuda_head_stream(const sg_cuda_head *head);

/* From the next load on, products on tensor cores by cuBLASLt, of layers in single precision; SG_EUNSUPPORTED where there is none.
 * Weights, features and logit gradients are rounded to numbers of relative error u = 2^-11 (tf32) or 2^-8 (bf16), products are
 * added in fp32. The logits of a forward are fp32, sums of exponentials fp32 in a tile and fp64 in a row; a backward makes
 * log-probabilities again and, in bf16, rounds them. Bias, parameters and gradients stay fp32. Against fp64, to first order, with S
 * the greatest of sharpness sum_k |w_k h_k| over the tokens of a row:
 *   a logit is within e = (2 u + d 2^-23) S, log pi within 2 e + 2^-20, and the sum of all pi within 4e-6 of 1;
 *   an element of a gradient within the sum over its n rows or tokens of (2 u + 2 e + (n + d) 2^-22) |term|, and of
 *   2^-8 |log pi| |diffuse term| in bf16.
 * Sampled and drawn tokens have log-probabilities of the same bits. A chunk is at most 32 MiB, less where L2 is small. Results have the
 * same bits at every call with the same rows; other rows or chunks may change the order of sums. */
sg_status sg_cuda_head_matmul(sg_cuda_head *head, sg_matmul matmul, sg_error *error);

typedef struct sg_cuda_layer {
    size_t vocabulary, width;
    sg_precision precision;
    double sharpness;
    const void *weights, *bias; /* [vocabulary][width]; [vocabulary] or NULL */
    bool resident;              /* they are on the device, and so are features and gradients */
} sg_cuda_layer;

/* hidden: [rows][width], rows >= 1; of a resident layer it is used where it is, until the next load. */
sg_status sg_cuda_head_load(sg_cuda_head *head, const sg_cuda_layer *layer, const void *hidden,
                            size_t rows, sg_error *error);

/* For a layer that is resident: from now on its parameters are there. */
void sg_cuda_head_move(sg_cuda_head *head, const void *weights, const void *bias);

/* count may be 0. log_norm: [rows], or NULL; where nothing is brought back, the call only queues its work. */
sg_status sg_cuda_head_forward(sg_cuda_head *head, size_t count, const int32_t *tokens,
                               const uint32_t *row, double *log_prob, double *log_norm,
                               sg_error *error);

/* Which gradients the diffuse part reaches: all, that of the features alone, none. */
typedef enum sg_cuda_diffuse {
    SG_CUDA_DIFFUSE_ALL,
    SG_CUDA_DIFFUSE_HIDDEN,
    SG_CUDA_DIFFUSE_NONE
} sg_cuda_diffuse;

/* The logit gradient. */
typedef struct sg_cuda_push {
    size_t rows;            /* that have a push, >= 1: */
    const uint32_t *active; /* their numbers */
    const double *diffuse;  /* their diffuse part is this times pi */
    sg_cuda_diffuse diffuse_for;
    size_t count;          /* samples under them, by row, then token, then as they came: */
    const uint32_t *place; /* into active */
    const int32_t *tokens;
    const double *push; /* added to the token's */
} sg_cuda_push;

/* weights: [vocabulary][width], bias: [vocabulary] or NULL, hidden: [rows][width] or NULL. Returns when all of them
 * that are the host's are there. */
sg_status sg_cuda_head_backward(sg_cuda_head *head, const sg_cuda_push *push, void *weights,
                                void *bias, void *hidden, sg_error *error);

/* What forward and backward do between their copies, queued; once they have run for these samples,
 * a benchmark can repeat it. */
sg_status sg_cuda_head_queue_forward(sg_cuda_head *head, size_t count, sg_error *error);
sg_status sg_cuda_head_queue_backward(sg_cuda_head *head, const sg_cuda_push *push, bool bias,
                                      bool hidden, sg_error *error);

/* After a forward. log_prob may be NULL. */
sg_status sg_cuda_head_draw(sg_cuda_head *head, size_t count, const uint32_t *row,
                            const double *uniform, int32_t *tokens, double *log_prob,
                            sg_error *error);

/* sums[rows][2], of the tokens below `split` and of the others. log_norm: [rows], those of the forward. */
typedef struct sg_cuda_head_sums {
    double mass, plogp, squares, max, min, underflowed; /* those of sg_head_sums */
} sg_cuda_head_sums;
sg_status sg_cuda_head_observe(sg_cuda_head *head, size_t split, sg_cuda_head_sums *sums,
                               double *log_norm, sg_error *error);

/* sums[rows][3]: KL(a || b), KL(b || a), total variation of two layers of one shape. */
sg_status sg_cuda_head_diverge(sg_cuda_head *a, sg_cuda_head *b, double *sums, sg_error *error);

/* rises[rows]: the largest rise of a logit from a to b, layers of one shape, both with this sharpness, over the
 * tokens that are no sample of the row; 0 if none rose. count may be 0. */
sg_status sg_cuda_head_rise(sg_cuda_head *a, sg_cuda_head *b, double sharpness, size_t count,
                            const int32_t *tokens, const uint32_t *row, double *rises,
                            sg_error *error);

/* The logits of rows first.. into out[count][lead], with a sharpness of their own; -inf beyond the
 * vocabulary. */
sg_status sg_cuda_head_logits(sg_cuda_head *head, double sharpness, size_t first, size_t count,
                              void *out, size_t lead, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
