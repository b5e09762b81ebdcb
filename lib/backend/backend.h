/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_BACKEND_H
#define SG_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "objective/objective.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The hot kernels of tabular softmax policies behind one interface: a backend holds `states` rows of
 * `vocabulary` logits each, in single or double precision, together with their optimiser's state.
 *
 * A row stores q = exp(z - offset) instead of the logit z, so that an SGD update
 *     z_v += lr * (sum_j g_j 1[v = y_j] - W pi_v),   W = sum_j g_j,   pi = q / sum q
 * reads and writes each logit once (q_v *= exp(-lr W pi_v)) and the same pass sums the new q per tile of
 * 1024 tokens: the next normaliser, and the masses from which tokens are drawn by inverse CDF.
 *
 * g_j (a "push") is what multiplies grad log pi(y_j): aggregation factor * coefficient * advantage. The update ASCENDS.
 *
 * All results are functions of the inputs alone: not of the number of threads, not of the instruction set.
 * Calls on disjoint ranges of states of one block may run in parallel threads; a call made outside a parallel region
 * uses all threads itself. Nothing is validated in the loop beyond assertions: sg_rows_alloc checks the configuration.
 *
 * Accuracy, held by tests/check_rows.c against long double.
 *   fp64: logits to 1e-13, the sums of a change to 1e-9 relative, observations to 1e-12.
 *   fp32: an update adds at most 2e-7 of rounding to a logit; observations are good to 1e-6. A change
 *         of a logit below 3e-8 rounds to nothing, so long runs of tiny steps want fp64 rows.
 * Sampled tokens are updated in fp64 in either precision, and divergences come from series, not from
 * differences. A row whose greatest q leaves its range is rebased by an exact power of two. A logit
 * more than about 87 (fp32) or 700 (fp64) below the greatest underflows to probability 0 for good,
 * and is counted. W is taken as exactly 0 when |W| <= 2^-44 sum |g_j|: the rounding of centred pushes
 * is no push, and Adam would make full steps of it. Adam's eps acts as at least 2^-100 in fp32 and
 * 2^-500 in fp64; fp32 gradients must stay below 1e7.
 *
 * By hand: one row, logits 0, V = 4, one push g = -1 on token 2, SGD, lr 0.1:
 * z becomes (+0.025, +0.025, -0.075, +0.025). */

typedef enum sg_backend_kind { SG_BACKEND_AUTO, SG_BACKEND_CPU, SG_BACKEND_CUDA } sg_backend_kind;
typedef enum sg_precision { SG_FP32, SG_FP64 } sg_precision;
/* How a device multiplies the matrices of the output layer: as the CPU does, or on tensor cores from single-precision
 * numbers rounded to 11 (tf32) or 8 (bf16) significant bits; backend/cuda/head.h says what that costs. */
typedef enum sg_matmul { SG_MATMUL_SAME, SG_MATMUL_TF32, SG_MATMUL_BF16 } sg_matmul;
typedef enum sg_optimizer_kind {
    SG_SGD,
    SG_MOMENTUM,
    SG_ADAM,
    SG_ADAMW,
    SG_COUPLED_ADAM
} sg_optimizer_kind;

/* The ascent direction of sgd: delta = lr g. momentum: b = beta1 b + g, delta = lr b. adam: Kingma and Ba with bias
 * correction, delta = lr mhat / (sqrt(vhat) + eps). adamw (1711.05101): adam, and delta -= lr weight_decay z. In a row
 * z is the logit as it was set and moved since, constant included; the constant fades like the rest and pi does not
 * depend on it. coupled-adam (2502.08441): adam, but every token of a row has the same v, which follows the mean of
 * g^2 over the vocabulary. So sum_v delta_v = 0 where sum_v g_v = 0, as with sgd, and the step of a token that has
 * most of the gradient is about lr sqrt(V), not lr. */
typedef struct sg_optimizer {
    sg_optimizer_kind kind;
    double lr;           /* > 0; may be changed from call to call */
    double beta1;        /* all but sgd: in [0, 1) */
    double beta2;        /* the adams: in [0, 1) */
    double eps;          /* the adams: >= 0 */
    double weight_decay; /* adamw: >= 0 */
} sg_optimizer;

/* Numbers that a parameter takes: itself, and its moments. */
static inline size_t sg_optimizer_arrays(sg_optimizer_kind kind)
{
    return kind == SG_SGD ? 1 : kind == SG_ADAM || kind == SG_ADAMW ? 3 : 2;
}

typedef struct sg_rows_config {
    size_t states;
    size_t vocabulary; /* >= 2, < 2^31 */
    size_t head;       /* tokens 0..head-1 are the head, the others the tail; 1..vocabulary */
    sg_precision precision;
    sg_optimizer_kind optimizer; /* decides which state is allocated */
} sg_rows_config;

typedef struct sg_rows sg_rows;

/* What a row looks like now: exact sums over the whole vocabulary, accumulated in fp64. */
typedef struct sg_row_observation {
    double entropy;            /* H(pi), nats */
    double head_entropy;       /* entropy of the renormalised head, nats */
    double tail_mass;          /* sum of pi over the tail */
    double tail_entropy_share; /* part of H that the tail contributes, in [0, 1] */
    double collision;          /* C = sum pi^2 */
    double max_prob;
    double logit_range; /* max z - min z over tokens that have not underflowed */
    size_t underflowed; /* tokens whose q is 0: they can no longer be drawn */
} sg_row_observation;

/* What one update did to a row. Both KL are exact sums over the vocabulary, in nats, of order delta^2. */
typedef struct sg_row_change {
    double kl_old_new;   /* KL(pi_before || pi_after) */
    double kl_new_old;   /* KL(pi_after || pi_before) */
    double grad_norm2;   /* squared 2-norm of the logit gradient (before the optimiser) */
    double delta_norm2;  /* squared 2-norm of the logit change */
    double diffuse_push; /* B = W = sum of the pushes g_j at this state */
    double upward_push;  /* sum over unsampled tokens of max(0, -W pi_v): total upward gradient */
    double max_unsampled_push; /* largest logit change of a token without a push (0 if none rose) */
} sg_row_change;

/* Bytes that a block of this configuration takes (parameters + optimiser state + tile sums). */
size_t sg_rows_bytes(const sg_rows_config *config);

/* SG_EARGUMENT, SG_ENOMEM (the sentence says how much was needed), or SG_EUNSUPPORTED for a backend that this build or
 * machine does not have. AUTO is the CPU. Rows start uniform (all logits 0), optimiser state 0. */
sg_status sg_rows_alloc(sg_rows **rows, sg_backend_kind backend, const sg_rows_config *config,
                        sg_error *error);
void sg_rows_free(sg_rows *rows);
const char *sg_rows_backend_name(
    const sg_rows *rows); /* "cpu/avx512", "cpu/avx2", "cpu/portable", "cuda/sm_90" */

/* The first failure since these rows were made: a device may run out of memory, or be lost, in any call below. From then on
 * calls do nothing but fill what they return: tokens with 0, numbers with NaN. Waits for nothing, so that a failure
 * of work under way may show after a later call, at the latest after the next one that returns numbers. Rows of the CPU never fail. */
sg_status sg_rows_status(const sg_rows *rows, sg_error *error);

/* Set / get the logits of one state (get: up to the row's own constant, -inf where underflowed; fp64). */
sg_status sg_rows_set_logits(sg_rows *rows, size_t state, const double *logits, sg_error *error);
void sg_rows_get_logits(const sg_rows *rows, size_t state, double *logits);
/* Adam's mean of squared gradients of one state, not corrected for its start at 0 (coupled-adam: the
 * same for all); NaN with sgd and momentum. */
void sg_rows_get_mean_square(const sg_rows *rows, size_t state, double *mean_square);
/* Copy every row of `source` (same configuration), optimiser state included. */
void sg_rows_copy(sg_rows *rows, const sg_rows *source);
/* Copy the logits alone; the optimiser state stays. */
void sg_rows_adopt(sg_rows *rows, const sg_rows *source);
/* The optimiser state goes back to its start; the logits stay. */
void sg_rows_forget(sg_rows *rows);
/* Everything, bit by bit, for rows of the same configuration and backend. `to` NULL: only the number of
 * bytes. 0 when a device failed; the status of the rows says how. */
size_t sg_rows_save(const sg_rows *rows, void *to);
void sg_rows_load(sg_rows *rows, const void *from);

/* Samples are arrays [count states][n]: state first+s has samples s*n .. s*n+n-1. */

/* Draw n tokens for each of `count` states from uniforms in (0, 1), by inverse CDF over tile masses then inside one
 * tile, in token order. Never draws a token of zero probability. log_prob: NULL, or room for what sg_rows_log_prob says
 * of the drawn tokens, on a device without another wait; it may be where the uniforms are. */
void sg_rows_draw(const sg_rows *rows, size_t first, size_t count, size_t n, const double *uniforms,
                  int32_t *tokens, double *log_prob);

/* log pi(token) of each sample. -inf for an underflowed token. */
void sg_rows_log_prob(const sg_rows *rows, size_t first, size_t count, size_t n,
                      const int32_t *tokens, double *log_prob);

/* One optimiser step on each of `count` states with the samples' pushes. The same token may occur more than once in a
 * state. A push of 0 is the same as no sample, except that its token counts as sampled for max_unsampled_push.
 * `time` is the number of this step, from 1 (Adam's bias correction). change: [count], or NULL when not wanted (faster). */
void sg_rows_update(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time, size_t first,
                    size_t count, size_t n, const int32_t *tokens, const double *pushes,
                    sg_row_change *change);

/* The same without the diffuse part -W pi of the gradient: only tokens with a push have any. */
void sg_rows_update_projected(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time,
                              size_t first, size_t count, size_t n, const int32_t *tokens,
                              const double *pushes, sg_row_change *change);

/* `updates` full-batch updates of a token-level objective on the same samples, the inner loop of a step:
 *     repeat: sg_rows_log_prob; push = factor * coefficient(log_prob - old_log_prob) * advantage; sg_rows_update
 * with the numbers time, time + 1, ... of the steps. Rows are independent, so each one makes all its updates before
 * the next one starts, while it is in the cache. pushes: [count][n], room for them; holds the last ones on return.
 * On a device NULL will do, and then nothing is waited for. */
void sg_rows_inner_updates(sg_rows *rows, const sg_optimizer *optimizer, uint64_t time,
                           uint64_t updates, const sg_objective *objective, double factor,
                           size_t first, size_t count, size_t n, const int32_t *tokens,
                           const double *old_log_prob, const double *advantage, double *pushes);

void sg_rows_observe(const sg_rows *rows, size_t first, size_t count,
                     sg_row_observation *observation);

/* C = sum pi^2 alone, [count]: as much faster than all of an observation as logarithms are slow. */
void sg_rows_collision(const sg_rows *rows, size_t first, size_t count, double *collision);

/* Mass of a set of tokens (sorted or not, each once) at one state: sum of pi. */
double sg_rows_mass(const sg_rows *rows, size_t state, const int32_t *tokens, size_t n);
/* Of many sets: the k-th is tokens[start[k]] .. tokens[start[k + 1] - 1] at state[k]. A device answers all at once. */
void sg_rows_masses(const sg_rows *rows, size_t sets, const size_t *state, const size_t *start,
                    const int32_t *tokens, double *mass);

/* Bulk gates on arrays (W1): value[i] = f(ratio[i]) * advantage[i], slope[i] = c(ratio[i]) * advantage[i], fp32. Either
 * output may be NULL. Any token-level gate; hot ones are vectorised. Declared in backend/gates.h. */

#ifdef __cplusplus
}
#endif

#endif
