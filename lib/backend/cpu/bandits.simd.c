/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kernel of small runs, compiled once per instruction set and precision: bandits_kernel.h. */
#include <string.h>

#include "backend/cpu/bandits.h"
#include "core/vec_math.h"

#define SG_PASTE(a, b) a##b
#define SG_EXPAND(a, b) SG_PASTE(a, b)

/* exp(x) - 1 for |x| <= 1/32 by Taylor's polynomial: the rest is below 4.1e-8 (half a unit in the
 * last place of exp(x) is 6e-8), and 1e-18. */
static inline float exp_less_one_single(float x)
{
    return x + x * x * (1.0f / 2 + x * (1.0f / 6));
}

static inline double exp_less_one_double(double x)
{
    double y = 1.0 / 720 + x * (1.0 / 5040 + x * (1.0 / 40320 + x * (1.0 / 362880)));
    y = 1.0 / 6 + x * (1.0 / 24 + x * (1.0 / 120 + x * y));
    return x + x * x * (1.0 / 2 + x * y);
}

#define single_exp sg_expf
#define single_expm1 expm1f
#define single_log sg_logf
#define single_fabs fabsf
#define single_sqrt sqrtf
#define single_erf erff
#define single_atan atanf
#define single_tgamma tgammaf
#define SG_REAL float
#define SG_NAME(name) name##_single
#define SG_MATH(function) single_##function
#define SG_INDEX int32_t
#define SG_SCALE_EXP_NEAR sg_scale_exp_nearf
#define SG_BELOW_ONE 0x1.fffffep-1f
#define SG_NO_MOVE 0x1p-25f
#if defined __AVX512F__ && !defined __clang__
#define SG_SHUFFLES 1
#else
#define SG_SHUFFLES 0
#endif
#include "backend/cpu/bandits_kernel.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_MATH
#undef SG_INDEX
#undef SG_SCALE_EXP_NEAR
#undef SG_BELOW_ONE
#undef SG_NO_MOVE
#undef SG_SHUFFLES

#define double_exp sg_exp
#define double_expm1 expm1
#define double_log sg_log
#define double_fabs fabs
#define double_sqrt sqrt
#define double_erf erf
#define double_atan atan
#define double_tgamma tgamma
#define SG_REAL double
#define SG_NAME(name) name##_double
#define SG_MATH(function) double_##function
#define SG_INDEX int64_t
#define SG_SCALE_EXP_NEAR sg_scale_exp_near
#define SG_BELOW_ONE 0x1.fffffffffffffp-1
#define SG_NO_MOVE 0x1p-54
#define SG_SHUFFLES 0
#include "backend/cpu/bandits_kernel.h"

sg_bandit_kernel *const SG_EXPAND(sg_bandit_kernels_, SG_ISA)[2] = {
    [SG_FP32] = bandit_run_single, [SG_FP64] = bandit_run_double};
