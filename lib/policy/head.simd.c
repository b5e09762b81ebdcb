/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Head kernels, compiled once per instruction set; head_real.h is the source for both precisions.
 */
#include "core/vec_math.h"
#include "policy/head_kernels.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

/* factor * exp(x) for x <= 64, 0 where exp(x) would fall below the normal numbers. NaN stays. */
static inline float decay_f32(float factor, float x)
{
    uint32_t n;
    float s = sg_exp_reducef(x < -87.0f ? -87.0f : x, &n);
    float y = (factor + factor * s) * sg_float_of_bits((n + 127) << 23);
    return x < -87.0f ? 0.0f : y;
}

static inline double decay_f64(double factor, double x)
{
    uint64_t n;
    double s = sg_exp_reduce(x < -708.0 ? -708.0 : x, &n);
    double y = (factor + factor * s) * sg_double_of_bits((n + 1023) << 52);
    return x < -708.0 ? 0.0 : y;
}

/* p log(p/q) - p + q >= 0, a term of KL(p || q) for probabilities that sum to 1, from p, q and
 * x = log(q/p); without cancellation where they are close. */
static inline double kl_term(double p, double q, double x)
{
    double reduced;
    uint64_t n;
    double series = sg_exp_polynomial(fabs(x) < 0.34 ? x : 0.0, &reduced, &n);
    double near = p * (reduced * reduced * series), far = (q - p) - p * x;
    return fabs(x) < 0.34 ? near : far;
}

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_LEAST -87.0
#include "policy/head_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_LEAST

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_LEAST -708.0
#include "policy/head_real.h"

extern const sg_head_kernels SG_EXPAND(sg_head_kernels_, SG_ISA)[2];
const sg_head_kernels SG_EXPAND(sg_head_kernels_, SG_ISA)[2] = {
    [SG_FP32] = {finish_f32, log_mass_f32, weigh_f32, add_f32, look_f32, compare_f32, find_f32},
    [SG_FP64] = {finish_f64, log_mass_f64, weigh_f64, add_f64, look_f64, compare_f64, find_f64},
};
