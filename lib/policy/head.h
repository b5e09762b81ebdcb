/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_HEAD_H
#define SG_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"

/* The linear output layer of a policy: logits z_v = sharpness (w_v . h + b_v) of V tokens for a row
 * h of hidden features, and everything that needs all V of them, without ever storing more than
 * one tile of 256 tokens x 96 rows. Forward and backward both multiply; the backward recomputes
 * the logits. Memory beyond parameters and gradients is at most a quarter of the weights.
 *
 * Matrices are row by row, of the precision that `precision` says. Results depend on the inputs
 * alone: not on the number of threads, not on the instruction set; a row's logits and probabilities
 * not on the other rows either.
 * fp32 against fp64, d = 256, V = 131072: |log pi| within 4e-6, gradients within 3e-6 of the
 * greatest element.
 *
 * By hand: V = 4, W = 0, b = 0: log pi = -log 4. One push g = -1 on token 2 gives
 * db = (1/4, 1/4, -3/4, 1/4) and dW_v = db_v h. */
typedef struct sg_head {
    size_t vocabulary, width;
    size_t head_tokens; /* tokens 0..head_tokens-1 are the head of the distribution */
    sg_precision precision;
    double sharpness;                /* 1 / temperature, > 0 */
    const void *weights;             /* [vocabulary][width] */
    const void *bias;                /* [vocabulary], or NULL */
    bool resident;                   /* these, features and gradients are arrays of the device */
    const struct sg_cuda_flat *flat; /* these are in it, which other streams use too; or NULL */
} sg_head;

/* What becomes of the diffuse part -B pi of a row's logit gradient, B the sum of its pushes. */
typedef enum sg_diffuse {
    SG_DIFFUSE_KEEP,
    SG_DIFFUSE_DROP,      /* sampled tokens keep their push, unsampled tokens get none */
    SG_DIFFUSE_DROP_HEAD, /* dropped from the gradients of weights and bias, kept for the features
                           */
} sg_diffuse;

/* Normalisers of the last forward, and room to work in, reused from call to call. */
typedef struct sg_head_pass sg_head_pass;

/* NULL when there is no memory. AUTO is the CPU. With CUDA the layer's work is done on a device, from
 * arrays of the host or, where the head says so, its own, and each call below may also return what backend/cuda/device.h says; it sums
 * in other orders only where backend/cuda/head.h says so. */
sg_head_pass *sg_head_pass_alloc(sg_backend_kind backend);
void sg_head_pass_free(sg_head_pass *pass);

/* How a device multiplies, from the next forward or load on; SAME at first. The others need CUDA, cuBLASLt and a layer in single
 * precision, and backend/cuda/head.h says how far they are from fp64. SG_EUNSUPPORTED, SG_ENOMEM. */
sg_status sg_head_pass_matmul(sg_head_pass *pass, sg_matmul matmul, sg_error *error);

/* Sample j is token tokens[j] under row row[j]. */
typedef struct sg_head_samples {
    size_t count;
    const int32_t *tokens;
    const uint32_t *row;
} sg_head_samples;

/* Normalise `rows` rows: hidden is [rows][width]. log_prob[j], nats, may be NULL when there are no
 * samples. SG_ENOMEM. The calls below continue from the last forward, with the same head and
 * hidden. */
sg_status sg_head_forward(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t rows,
                          const sg_head_samples *samples, double *log_prob, sg_error *error);

/* Gradients of J when pushes[j] = dJ / d log pi of sample j; all are overwritten. weights: [V][d],
 * bias: [V] or NULL, hidden: [rows][d]. A row whose pushes are all 0 costs nothing. SG_ENOMEM. */
typedef struct sg_head_gradient {
    void *weights, *bias, *hidden;
    const struct sg_cuda_flat *flat; /* weights and bias are in it, as in sg_head; or NULL */
} sg_head_gradient;
sg_status sg_head_backward(sg_head_pass *pass, const sg_head *head, const void *hidden,
                           const sg_head_samples *samples, const double *pushes, sg_diffuse diffuse,
                           const sg_head_gradient *gradient, sg_error *error);

/* Draw tokens[j] for row[j] from uniform[j] in (0, 1) by inverse CDF in token order: over the
 * masses of the tiles, then inside one tile. log_prob[j] may be NULL. SG_ENOMEM. */
sg_status sg_head_draw(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t count,
                       const uint32_t *row, const double *uniform, int32_t *tokens,
                       double *log_prob, sg_error *error);

/* Exact sums over the vocabulary in fp64. observation: [rows]. `underflowed` counts tokens whose
 * probability is 0 in the head's precision. SG_ENOMEM. */
sg_status sg_head_observe(sg_head_pass *pass, const sg_head *head, const void *hidden,
                          sg_row_observation *observation, sg_error *error);

/* How far two policies are apart, row by row; both passes have normalised the same rows. */
typedef struct sg_divergence {
    double kl_ab, kl_ba; /* KL(a || b), KL(b || a), nats; sums of terms >= 0, of order delta^2 */
    double total_variation;
} sg_divergence;
sg_status sg_head_diverge(sg_head_pass *a, const sg_head *head_a, const void *hidden_a,
                          sg_head_pass *b, const sg_head *head_b, const void *hidden_b,
                          sg_divergence *divergence, sg_error *error);

/* The largest rise of a logit from a to b over all rows and all tokens but the rows' samples; 0 if
 * none rose. Both passes have seen the same rows. SG_ENOMEM. */
sg_status sg_head_rise(sg_head_pass *a, const sg_head *head_a, const void *hidden_a,
                       sg_head_pass *b, const sg_head *head_b, const void *hidden_b,
                       const sg_head_samples *samples, double *most, sg_error *error);

/* Logits can be asked for without a forward, of this head and these features, when they are loaded
 * first. Only a device needs that. */
sg_status sg_head_load(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t rows,
                       sg_error *error);

/* All logits of rows first..first+count-1 into out[count][sg_head_padded(head)], real numbers of
 * the head's precision; padding is -inf. SG_ENOMEM. */
size_t sg_head_padded(const sg_head *head);
sg_status sg_head_logits(sg_head_pass *pass, const sg_head *head, const void *hidden, size_t first,
                         size_t count, void *out, sg_error *error);

/* log sum exp of row r's logits in the last forward; on a device, when that had samples or was looked at since
 * (sg_head_observe). */
double sg_head_log_norm(const sg_head_pass *pass, size_t row);

#endif
