/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_CPU_GATES_MATH_H
#define SG_CPU_GATES_MATH_H

#include "core/vec_math.h"

/* The maths functions that objective/gate_math.h asks for, in single precision and free of branches
 * where gates are hot. Errors: exp 1.0, log 0.9, erf 2, atan 3 ulp. */

#define sg_bulk_log sg_logf
#define sg_bulk_fabs fabsf
#define sg_bulk_sqrt sqrtf
#define sg_bulk_tgamma tgammaf

/* exp with its argument clamped to [-88, 88]: 0 below 2^-126, never above 2e38. The clamp works on
 * bits, which compilers leave alone; from comparisons of numbers they make three copies of all that
 * follows. */
static inline float sg_bulk_exp(float x)
{
    const uint32_t sign = 0x80000000u;
    int32_t size = (int32_t)(sg_bits_of_float(x) & ~sign), most = 0x42b00000; /* 88 */
    size = size < most ? size : most;
    uint32_t n;
    float s = sg_exp_reducef(sg_float_of_bits((uint32_t)size | (sg_bits_of_float(x) & sign)), &n);
    float y = (1.0f + s) * sg_float_of_bits((n + 127) << 23);
    return x == x ? y : x;
}

/* erf(x) = x P(x^2) below 0.92, 1 - exp(Q(|x|)) above; 1 from 4 on. */
static inline float sg_bulk_erf(float x)
{
    float a = fabsf(x), z = x * x;
    float p = 0x1.5f1144p-14f;
    p = p * z - 0x1.aae986p-11f;
    p = p * z + 0x1.54dad8p-8f;
    p = p * z - 0x1.b8107cp-6f;
    p = p * z + 0x1.ce2e2p-4f;
    p = p * z - 0x1.812744p-2f;
    p = p * z + 0x1.20dd76p+0f;
    float c = a > 4.0f ? 4.0f : a;
    float q = -0x1.61ea2ep-16f;
    q = q * c + 0x1.c790ecp-12f;
    q = q * c - 0x1.115acp-8f;
    q = q * c + 0x1.9b8e78p-6f;
    q = q * c - 0x1.bb83e2p-4f;
    q = q * c - 0x1.44460cp-1f;
    q = q * c - 0x1.2127e4p+0f;
    q = q * c + 0x1.6e5654p-13f;
    float far = 1.0f - sg_bulk_exp(q);
    far = x < 0 ? -far : far;
    return a < 0.92f ? x * p : far;
}

/* atan(x) = x + x^3 P(x^2) up to 1, pi/2 - atan(1/x) above. */
static inline float sg_bulk_atan(float x)
{
    float a = fabsf(x);
    float t = a > 1.0f ? 1.0f / a : a, z = t * t;
    float p = -0x1.d6301p-10f;
    p = p * z + 0x1.65a672p-7f;
    p = p * z - 0x1.fed178p-6f;
    p = p * z + 0x1.dac9f2p-5f;
    p = p * z - 0x1.583496p-4f;
    p = p * z + 0x1.c09ap-4f;
    p = p * z - 0x1.2421b6p-3f;
    p = p * z + 0x1.9991fep-3f;
    p = p * z - 0x1.55553ep-2f;
    float y = t + t * z * p;
    y = a > 1.0f ? 0x1.921fb6p+0f - y : y;
    return x < 0 ? -y : y;
}

/* Only sg_gate_point_from_log needs it, and bulk gates start from the ratio. */
static inline float sg_bulk_expm1(float x)
{
    return expm1f(x);
}

#endif
