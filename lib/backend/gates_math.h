/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_GATES_MATH_H
#define SG_GATES_MATH_H

#include "backend/gates.h"
#include "core/vec_math.h"
#include "objective/gate.h"

/* The maths functions that objective/gate_math.h asks for, in single precision and free of branches
 * where gates are hot. Errors: exp 1.0, log 0.9, erf 2, atan 3 ulp. */

#define sg_bulk_log sg_logf
#define sg_bulk_fabs fabsf
#define sg_bulk_sqrt sqrtf
#define sg_bulk_tgamma tgammaf

/* exp with its argument clamped to [-88, 88]: 0 below 2^-126, never above 2e38. The clamp works on
 * bits, which compilers leave alone; from comparisons of numbers they make three copies of all that
 * follows. */
SG_HD static inline float sg_bulk_exp(float x)
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
SG_HD static inline float sg_bulk_erf(float x)
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
SG_HD static inline float sg_bulk_atan(float x)
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
SG_HD static inline float sg_bulk_expm1(float x)
{
    return expm1f(x);
}

/* The constant of the advantage's sign. Of a plain choice nvcc makes a choice between the two parameters, which it
 * then converts and divides in double precision for every token; what it cannot see through it makes once. */
SG_HD static inline float sg_bulk_side(bool positive, float above, float below)
{
#ifdef __CUDA_ARCH__
    float side;
    asm("{ .reg .pred p; setp.ne.u32 p, %3, 0; selp.f32 %0, %1, %2, p; }"
        : "=f"(side)
        : "f"(above), "f"(below), "r"((unsigned)positive));
    return side;
#else
    return positive ? above : below;
#endif
}

/* 1 / x for 1 <= x <= 2 and NaN, rounded as IEEE 754 wants it: the steps by which nvcc divides, without its branch for
 * numbers so small or large that they need other ones. */
SG_HD static inline float sg_bulk_inverse(float x)
{
#ifdef __CUDA_ARCH__
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return fmaf(y, -fmaf(x, y, -1.0f), y);
#else
    return 1.0f / x;
#endif
}

/* sg_gate_at and all it needs, with the suffix _bulk. */
#define SG_INVERSE(x) sg_bulk_inverse(x)
#define SG_SIDE(above, below) sg_bulk_side(positive, (float)(above), (float)(below))
#define SG_REAL float
#define SG_NAME(name) name##_bulk
#define SG_MATH(function) sg_bulk_##function
#include "objective/gate_math.h"
#undef SG_INVERSE
#undef SG_SIDE
#undef SG_REAL
#undef SG_NAME
#undef SG_MATH

/* Gates that read the logarithm of the ratio. */
SG_HD static inline bool sg_gate_reads_log(sg_gate_kind kind)
{
    return kind == SG_GATE_REINFORCE || kind == SG_GATE_GIPO || kind == SG_GATE_CISPO ||
           kind == SG_GATE_CE_GPPO || kind == SG_GATE_ASPO || kind == SG_GATE_TOPR ||
           kind == SG_GATE_VESPO || kind == SG_GATE_GMPO || kind == SG_GATE_DPPO_KL;
}

/* Comparisons with NaN take some branch of a gate: sg_gate_at asks first, here a selection at the end
 * does, which vectors like better. */
SG_HD static inline sg_gate_value_bulk sg_gate_keep_nan_bulk(sg_gate_value_bulk v, float ratio)
{
    v.surrogate = ratio == ratio ? v.surrogate : ratio;
    v.weight = ratio == ratio ? v.weight : ratio;
    v.coefficient = ratio == ratio ? v.coefficient : ratio;
    return v;
}

/* One sequence from the sum of its log-ratios, in double precision: f(x) A and the slope of each of its tokens. */
typedef struct sg_gate_of_row {
    double value, slope;
} sg_gate_of_row;

SG_HD static inline sg_gate_of_row sg_gate_row(sg_gate_kind kind, const sg_gate_parameters *p,
                                               bool product, double sum, double length,
                                               double advantage)
{
    double share = product ? 1 : length; /* of a token in the logarithm of x: 1 / share */
    double d = length > 0 ? sum / share : 0, ratio = sg_exp(d);
    sg_gate_point at = {d, ratio, ratio - 1, 0};
    sg_gate_value gate = sg_gate_at(kind, p, at, advantage);
    sg_gate_of_row row = {gate.surrogate * advantage,
                          length > 0 ? gate.coefficient * advantage / share : 0};
    return row;
}

/* The bin of a weight in sg_gate_statistics, SG_GATE_BINS when it is outside. */
SG_HD static inline int32_t sg_gate_bin(float weight)
{
    int32_t inside = (weight >= 0) & (weight <= 1);
    float scaled = inside ? weight * SG_GATE_BINS : 0.0f;
    int32_t bin = (int32_t)scaled;
    bin = bin < SG_GATE_BINS ? bin : SG_GATE_BINS - 1;
    return inside ? bin : SG_GATE_BINS;
}

#endif
