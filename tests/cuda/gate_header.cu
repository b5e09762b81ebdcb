/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The gate maths and the random numbers are one source for CPU and GPU: here they are compiled for the device, in both
 * precisions and for every gate, so that a change that only a C compiler understands fails early. */
#include <stddef.h>

#include "core/rng.h"
#include "objective/gate.h"

__global__ void every_gate(sg_gate_kind kind, sg_gate_parameters parameters, size_t n,
                           const double *log_ratio, const double *advantage,
                           const double *logp_old, sg_gate_value *value)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        value[i] = sg_gate_at(kind, &parameters, sg_gate_point_from_log(log_ratio[i], logp_old[i]),
                              advantage[i]);
}

__global__ void every_gate_f32(sg_gate_kind kind, sg_gate_parameters parameters, size_t n,
                               const float *log_ratio, const float *advantage,
                               const float *logp_old, sg_gate_value_f32 *value)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        value[i] =
            sg_gate_at_f32(kind, &parameters,
                           sg_gate_point_from_log_f32(log_ratio[i], logp_old[i]), advantage[i]);
}

__global__ void uniforms(sg_address first, size_t n, double *u)
{
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    first.token = (uint32_t)i;
    if (i < n)
        u[i] = sg_rng_uniform(first);
}
