/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_TEST_DEVICE_MATHS_H
#define SG_TEST_DEVICE_MATHS_H

#include "core/rng.h"
#include "core/status.h"
#include "objective/gate.h"

/* The headers that CPU and GPU share, evaluated on the device on arrays of the host. */
#ifdef __cplusplus
extern "C" {
#endif

sg_status device_gates(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                       const double *log_ratio, const double *advantage, const double *logp_old,
                       sg_gate_value *value, sg_error *error);
sg_status device_gates_f32(sg_gate_kind kind, const sg_gate_parameters *parameter, size_t n,
                           const float *log_ratio, const float *advantage, const float *logp_old,
                           sg_gate_value_f32 *value, sg_error *error);

/* u[i] of token i. */
sg_status device_uniforms(sg_address first, size_t n, double *u, sg_error *error);

/* core/vec_math.h: exp and log in single and double precision. [n] each. */
sg_status device_exp_log(size_t n, const float *x, const double *y, float *exp_x, float *log_x,
                         double *exp_y, double *log_y, sg_error *error);

#ifdef __cplusplus
}
#endif

#endif
