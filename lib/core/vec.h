/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_VEC_H
#define SG_VEC_H

#include <stddef.h>

/* Functions of whole arrays: y[i] = f(x[i]) for i < n, by the vector kernels of this machine. x and
 * y may be the same array, and may not overlap otherwise. Results are the same bits on every
 * instruction set. One thread.
 *
 * Greatest error of a normal result, in units of its last place: measured over all 2^32 arguments
 * in single precision, sampled in double; tests/check_vec.c holds them to 1.0, 0.9 and 3.0.
 *     exp      fp32 0.98    fp64 0.98
 *     log      fp32 0.85    fp64 0.88
 *     sigmoid  fp32 2.83    fp64 2.57
 * Subnormal results of exp and sigmoid are wrong by less than 0.8 of their last place.
 *
 * exp: NaN -> NaN, -Inf -> 0, +Inf -> Inf, overflow -> Inf, underflow -> 0 through the subnormals.
 * log: NaN -> NaN, x < 0 -> NaN, +-0 -> -Inf, +Inf -> Inf.
 * sigmoid(x) = 1 / (1 + exp(-x)): NaN -> NaN, limits 0 and 1.
 * By hand: exp(1) = 2.7182818, log(2) = 0.6931472, sigmoid(0) = 0.5. */
void sg_vec_expf(size_t n, const float *x, float *y);
void sg_vec_logf(size_t n, const float *x, float *y);
void sg_vec_sigmoidf(size_t n, const float *x, float *y);
void sg_vec_exp(size_t n, const double *x, double *y);
void sg_vec_log(size_t n, const double *x, double *y);
void sg_vec_sigmoid(size_t n, const double *x, double *y);

#endif
