/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_ROWS_TOKEN_H
#define SG_ROWS_TOKEN_H

#include "backend/rows_math.h"

/* One token of a row, in both precisions: functions end in _f32 and _f64. */

/* log(x) for entropies of single-precision rows: relative error below 1.5e-7, or 6e-8 absolute near
 * x = 1; of 0 and subnormal numbers something finite, so that x log(x) is right or negligible. */
SG_HD static inline float sg_entropy_log_f32(float x)
{
    uint32_t bits = sg_bits_of_float(x) - 0x3f3504f3u;
    float k = (float)((int32_t)bits >> 23);
    float f = sg_float_of_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float p = 0x1.645eb8p-4f;
    p = p * f - 0x1.2432bap-3f;
    p = p * f + 0x1.317456p-3f;
    p = p * f - 0x1.53824ap-3f;
    p = p * f + 0x1.98d7f2p-3f;
    p = p * f - 0x1.000382p-2f;
    p = p * f + 0x1.5556d8p-2f;
    p = p * f - 0.5f;
    return k * 0x1.62e43p-1f + (f + f * f * p);
}

SG_HD static inline double sg_entropy_log_f64(double x)
{
    return sg_log_normal(x, 0);
}

/* exp(x) - 1 for |x| <= 2^-6 in single precision (x^4 / 24 < 2^-28 is left out) and for |x| <= 2^-8
 * in double (x^7 / 5040 < 2^-68). Expressions, because numbers and vectors of numbers both pass
 * through them. */
#define SG_SMALL_F32 0x1p-6
#define SG_EXPM1_SMALL_F32(x) ((x) + (x) * (x) * (0.5f + (x)*0x1.555556p-3f))
#define SG_SMALL_F64 0x1p-8
#define SG_EXPM1_SMALL_F64(x)                                                                      \
    ((x) + (x) * (x) *                                                                             \
               (0.5 + (x) * (0x1.5555555555555p-3 +                                                \
                             (x) * (0x1.5555555555555p-5 +                                         \
                                    (x) * (0x1.1111111111111p-7 + (x)*0x1.6c16c16c16c17p-10)))))

#define SG_REAL float
#define SG_NAME(name) name##_f32
#define SG_SQRT sqrtf
#define SG_ENTROPY_LOG sg_entropy_log_f32
#include "backend/rows_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SQRT
#undef SG_ENTROPY_LOG

#define SG_REAL double
#define SG_NAME(name) name##_f64
#define SG_SQRT sqrt
#define SG_ENTROPY_LOG sg_entropy_log_f64
#include "backend/rows_real.h"
#undef SG_REAL
#undef SG_NAME
#undef SG_SQRT
#undef SG_ENTROPY_LOG

#endif
