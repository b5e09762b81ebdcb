/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_VEC_H
#define SG_VEC_H

#include <stddef.h>

/* Functions of whole arrays: y[i] = f(x[i]) for i < n, by the vector kernels of this machine. x and
 * y may be the same array, and may not overlap otherwise. Results are the same bits on every
 * instruction set. One thread.
 *
 * Greatest error in units of the last place of a normal result (measured; tests/check_vec.c holds
 * them to it): exp      fp32 1.0 of all 2^32 arguments    fp64 1.0 sampled log      fp32 0.90 "
 * fp64 0.90 " sigmoid  fp32 3.0 "                       fp64 3.0 " Subnormal results of exp and
 * sigmoid are wrong by less than 1.1 of their last place. exp: NaN -> NaN, -Inf -> 0, +Inf -> Inf,
 * overflow -> Inf, underflow -> 0 through the subnormals. log: NaN -> NaN, x < 0 -> NaN, +-0 ->
 * -Inf, +Inf -> Inf. sigmoid(x) = 1 / (1 + exp(-x)): NaN -> NaN, limits 0 and 1. By hand: exp(1)
 * = 2.7182818, log(2) = 0.6931472, sigmoid(0) = 0.5. */
void sg_vec_expf(size_t n, const float *x, float *y);
void sg_vec_logf(size_t n, const float *x, float *y);
void sg_vec_sigmoidf(size_t n, const float *x, float *y);
void sg_vec_exp(size_t n, const double *x, double *y);
void sg_vec_log(size_t n, const double *x, double *y);
void sg_vec_sigmoid(size_t n, const double *x, double *y);

#endif
