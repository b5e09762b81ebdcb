/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_LIGHT_ROWS_H
#define SG_LIGHT_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of a tabular softmax policy under plain SGD, at a cost per update that does not grow with
 * the vocabulary. The calls are those of sg_rows_* (backend.h), in double precision. On a CUDA device
 * a warp works on a row, and results have the CPU's bits; where calls cannot say what went wrong
 * there, sg_light_rows_status does.
 *
 * What happens to a token that nobody sampled. One update moves it by -lr W pi = -kappa q, with
 * q = exp(z), Z = sum q and kappa = lr W / Z. So 1/q becomes exp(kappa q) / q: to first order every
 * such token's 1/q grows by the same kappa. With x = q0 / scale of the time when the row was last
 * rebased, y = q0 / q follows
 *     y <- y exp(a / y),  a = (kappa scale) x,      y = 1 + S1 x + S2 x^2 + S3 x^3 + S4 x^4,
 * where the four numbers S are shared by all V tokens. An update therefore costs four additions for
 * the unsampled ("light") tokens. Sampled tokens, and heavy ones (pi > 2^-10), are kept explicitly.
 * Sums over the light tokens - normaliser, entropy, collision, divergences - are power series in x,
 * contracted with the power sums P_k = sum x^k, which change only when a token leaves or returns.
 *
 * A sampled token returns to the light part ("fold") as if it had started from another q0: the one
 * that the same S would have carried to its present q. The future of a token depends on its present
 * q only, so nothing is lost. Hence there is no O(V) work but the rebase, q0 = q and S = 0, when
 * the series or the tolerance is spent.
 *
 * Limits: V = 1000 uniform is all heavy, and then this is a dense fp64 row. W = 0 leaves S as it
 * is. When |lr W| is so large that one step would leave the series, more tokens count as heavy.
 *
 * Error. The series is used while |S1|/r + |S2|/r^2 + |S3|/r^3 + |S4|/r^4 <= 1, r = 1/8; then the
 * coefficients of 1/y are at most r^k, and sixteen terms of a sum over the light tokens leave less
 * than 5e-15 of it. With m = |S1|+|S2|+|S3|+|S4|, s = m - |S1| and a <= alpha, what the four
 * numbers miss of one update is, in the logit, at most
 *     [ alpha^2/2 (|S3|+|S4| + 2 m s + m^3/(1-m)) + alpha^3/6 (m^2 (3+2m)/(1-m)^2 + 2 s)
 *       + alpha^4/24 ((1-m)^-3 - 1) + alpha^5/100 (1-m)^-4 ] / (1 - m).
 * These defects are added up as they happen, with the rounding of the sums. An update with
 * 0 <= lr W <= 4 does not expand differences between two rows that get the same pushes (the
 * greatest absolute row sum of 1 - lr W (diag(pi) - pi pi^T) is 1); one with W < 0 expands them by
 * at most 1 + 2 |lr W| max pi (1 - pi), and larger ones by 2 lr W max pi (1 - pi) - 1. So `bound`
 * below holds, to first order in itself, against the exact dynamics under the same pushes. Pushes
 * that depend on the policy (gates) feed errors back; gates with hard edges make any two programs
 * part, and no bound can hold there. Measured on Zipf 1.1, V = 131072, 1000 steps of 4 SAPO updates
 * at lr 0.5: 1.3e-11, with a bound of 1.9e-10, where dense fp32 rows are off by 3e-5.
 *
 * Rows may share a prior (the starting point and its sums): a row copies it when it first folds or
 * is rebased, after explicit_limit sampled tokens, and takes 8 V bytes from then on. */

typedef struct sg_light_prior sg_light_prior;

/* The starting point of any number of rows: logits, finite or -inf, one finite at least. Shared and
 * immutable; free drops the caller's share, rows hold their own. */
sg_status sg_light_prior_alloc(sg_light_prior **prior, size_t vocabulary, size_t head,
                               const double *logits, sg_error *error);
void sg_light_prior_free(sg_light_prior *prior);

typedef struct sg_light_config {
    size_t states;
    double tolerance;      /* greatest defect in a logit between two rebases; 0 means 1e-9 */
    size_t explicit_limit; /* sampled tokens kept explicitly until they are folded; 0 means 512 */
} sg_light_config;

typedef struct sg_light_rows sg_light_rows;

/* Most bytes that rows of the default configuration take, their prior included: when every one has
 * left it. A double, since it may exceed any size_t. */
double sg_light_rows_bytes(size_t vocabulary, size_t states);

/* Vocabulary and head are the prior's. SG_EARGUMENT, SG_ENOMEM, and what a device may lack
 * (backend/cuda/device.h). */
sg_status sg_light_rows_alloc(sg_light_rows **rows, sg_backend_kind backend,
                              const sg_light_config *config, sg_light_prior *prior,
                              sg_error *error);
void sg_light_rows_free(sg_light_rows *rows);
/* SG_OK, or what went wrong on the device first: from then on the rows answer NaN, tokens 0, and
 * save 0 bytes. SG_ENOMEM may pass: see sg_light_rows_update. Waits for nothing, so that a failure of work under
 * way shows after the next call that returns numbers. */
sg_status sg_light_rows_status(const sg_light_rows *rows, sg_error *error);
const char *
sg_light_rows_backend_name(const sg_light_rows *rows); /* "light/avx512", "light/cuda/sm_90" */

/* Starts one row again from a prior of the same vocabulary and head. */
sg_status sg_light_rows_set_prior(sg_light_rows *rows, size_t state, sg_light_prior *prior,
                                  sg_error *error);
sg_status sg_light_rows_set_logits(sg_light_rows *rows, size_t state, const double *logits,
                                   sg_error *error);
/* With the constant that they were set with, moved like all else. */
void sg_light_rows_get_logits(const sg_light_rows *rows, size_t state, double *logits);
/* Copies every row of `source`, which is on the same backend and has as many states, the same vocabulary and the same head; the
 * prior that they started from comes with them. */
sg_status sg_light_rows_copy(sg_light_rows *rows, const sg_light_rows *source, sg_error *error);
/* New rows of the same configuration and prior, with what every row of `source` holds. */
sg_status sg_light_rows_clone(sg_light_rows **made, const sg_light_rows *source, sg_error *error);
/* Everything, bit by bit, for rows of the same configuration and an equal prior on any backend; how
 * many bytes that are depends on what the rows went through. `to` NULL: only their number. load: SG_EDATA when these
 * are not the bytes of such rows, which are then partly replaced. */
size_t sg_light_rows_save(const sg_light_rows *rows, void *to);
sg_status sg_light_rows_load(sg_light_rows *rows, const void *from, size_t size, sg_error *error);

/* Samples are arrays [count states][n], as in backend.h. One uniform a draw: explicit tokens first,
 * heavy ones in token order, then the light part by inverse CDF of q0 and rejection, with further
 * numbers that are a function of the uniform's bits. The order differs from sg_rows_draw, so equal
 * uniforms give equal tokens only while they fall on the heavy head. log_prob as in sg_rows_draw. */
void sg_light_rows_draw(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                        const double *uniforms, int32_t *tokens, double *log_prob);
void sg_light_rows_log_prob(const sg_light_rows *rows, size_t first, size_t count, size_t n,
                            const int32_t *tokens, double *log_prob);

/* One SGD step; `change` as in sg_rows_update, or NULL. On the CPU only SG_ENOMEM can happen, when a
 * row needs its own copy of the prior; the rows that need none have then been updated.
 * On a device a step whose change nobody asks for (or inner updates whose pushes) is not waited for. When there is no
 * memory for rows that turn out to need more, the next call says SG_ENOMEM, or sg_light_rows_status after
 * it; nothing is lost: every later call tries again, and the step is finished before anything else happens. */
sg_status sg_light_rows_update(sg_light_rows *rows, double lr, size_t first, size_t count, size_t n,
                               const int32_t *tokens, const double *pushes, sg_row_change *change,
                               sg_error *error);
/* The same without the diffuse part -W pi of the gradient. */
sg_status sg_light_rows_update_projected(sg_light_rows *rows, double lr, size_t first, size_t count,
                                         size_t n, const int32_t *tokens, const double *pushes,
                                         sg_row_change *change, sg_error *error);

/* As sg_rows_inner_updates: `updates` full-batch updates of a token-level objective. pushes: NULL,
 * or [count][updates][n], which receives every push. */
sg_status sg_light_rows_inner_updates(sg_light_rows *rows, double lr, uint64_t updates,
                                      const sg_objective *objective, double factor, size_t first,
                                      size_t count, size_t n, const int32_t *tokens,
                                      const double *old_log_prob, const double *advantage,
                                      double *pushes, sg_error *error);

void sg_light_rows_observe(const sg_light_rows *rows, size_t first, size_t count,
                           sg_row_observation *observation);
void sg_light_rows_collision(const sg_light_rows *rows, size_t first, size_t count,
                             double *collision);
double sg_light_rows_mass(const sg_light_rows *rows, size_t state, const int32_t *tokens, size_t n);
/* As sg_rows_masses. */
void sg_light_rows_masses(const sg_light_rows *rows, size_t sets, const size_t *state,
                          const size_t *start, const int32_t *tokens, double *mass);

/* How a row is doing. */
typedef struct sg_light_report {
    double bound;           /* on |error of a logit| since the row was set; see above */
    uint64_t updates;       /* since the row was set */
    uint64_t rebases;       /* of O(V) */
    uint64_t folds;         /* batches of tokens that returned to the light part */
    size_t explicit_tokens; /* now */
    double series;          /* |S1|/r + ... now: 1 means a rebase is due */
} sg_light_report;

sg_light_report sg_light_rows_report(const sg_light_rows *rows, size_t state);

#ifdef __cplusplus
}
#endif

#endif
