/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef SG_VEC_MATH_H
#define SG_VEC_MATH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/host_device.h"

/* Exponential and logarithm as plain branch-free arithmetic. A loop over one of these functions
 * becomes vector code with any compiler, and gives the same bits on every instruction set, because
 * every operation is one of IEEE 754 and none is contracted. The coefficients are minimax on the
 * reduced interval (Remez). On a CUDA device, without contraction, the same bits again.
 *
 * exp: NaN -> NaN, -Inf -> 0, +Inf -> Inf, overflow -> Inf, underflow -> 0 through the subnormals.
 * log: NaN -> NaN, x < 0 -> NaN, +-0 -> -Inf, +Inf -> Inf; subnormal arguments lose nothing.
 * Greatest errors are stated in core/vec.h. */

SG_HD static inline float sg_float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

SG_HD static inline uint32_t sg_bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

SG_HD static inline double sg_double_of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

SG_HD static inline uint64_t sg_bits_of_double(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* exp(x) = 2^n (1 + s): s is returned, n stored (in two's complement). |x| < 2^20. The sum with the
 * magic number rounds x / ln 2 to an integer and leaves it in the low bits; ln 2 is subtracted in
 * two parts, the first product exact. */
SG_HD static inline float sg_exp_reducef(float x, uint32_t *n)
{
    const float magic = 0x1.8p23f;
    float t = x * 0x1.715476p+0f + magic;
    float k = t - magic;
    float r = (x - k * 0x1.62e4p-1f) - k * 0x1.7f7d1cp-20f;
    float p = 0x1.6a2432p-10f;
    p = p * r + 0x1.1239e2p-7f;
    p = p * r + 0x1.5558f2p-5f;
    p = p * r + 0x1.555492p-3f;
    p = p * r + 0x1.fffffcp-2f;
    *n = sg_bits_of_float(t) - sg_bits_of_float(magic);
    return r + r * r * p;
}

/* exp(x) = 2^n (1 + r + r^2 p): p is returned, r stored as *reduced. |x| < 2^31. */
SG_HD static inline double sg_exp_polynomial(double x, double *reduced, uint64_t *n)
{
    const double magic = 0x1.8p52;
    double t = x * 0x1.71547652b82fep+0 + magic;
    double k = t - magic;
    double r = (x - k * 0x1.62e42fefa2p-1) - k * 0x1.9ef35793c7673p-41;
    double p = 0x1.ad7f66831e72dp-26;
    p = p * r + 0x1.28ad72c02342bp-22;
    p = p * r + 0x1.71df25574faafp-19;
    p = p * r + 0x1.a0199a0c753cdp-16;
    p = p * r + 0x1.a01a012a55935p-13;
    p = p * r + 0x1.6c16c1842a0c4p-10;
    p = p * r + 0x1.1111111127bebp-7;
    p = p * r + 0x1.555555555087dp-5;
    p = p * r + 0x1.55555555554fap-3;
    p = p * r + 0x1.000000000000ap-1;
    *n = sg_bits_of_double(t) - sg_bits_of_double(magic);
    *reduced = r;
    return p;
}

SG_HD static inline double sg_exp_reduce(double x, uint64_t *n)
{
    double r, p = sg_exp_polynomial(x, &r, n);
    return r + r * r * p;
}

/* factor * exp(x) for any x and a finite factor, better rounded than the product. The power of two
 * is applied in two steps, so that no step overflows or underflows before the result does. */
SG_HD static inline float sg_scale_expf(float factor, float x)
{
    float c = x > 174.0f ? 174.0f : x; /* comparisons keep NaN */
    c = c < -174.0f ? -174.0f : c;
    uint32_t n;
    float s = sg_exp_reducef(c, &n);
    uint32_t half = (n + 256) >> 1; /* floor(n / 2) + 128 */
    return (factor + factor * s) * sg_float_of_bits((half - 1) << 23) *
           sg_float_of_bits((n - half + 255) << 23);
}

SG_HD static inline double sg_scale_exp(double factor, double x)
{
    double c = x > 1417.0 ? 1417.0 : x;
    c = c < -1417.0 ? -1417.0 : c;
    uint64_t n;
    double s = sg_exp_reduce(c, &n);
    uint64_t half = (n + 2048) >> 1; /* floor(n / 2) + 1024 */
    return (factor + factor * s) * sg_double_of_bits((half - 1) << 52) *
           sg_double_of_bits((n - half + 2047) << 52);
}

/* The same for |x| <= 64 and a result that is far from overflow: the power of two in one step. */
SG_HD static inline float sg_scale_exp_nearf(float factor, float x)
{
    uint32_t n;
    float s = sg_exp_reducef(x, &n);
    return (factor + factor * s) * sg_float_of_bits((n + 127) << 23);
}

SG_HD static inline double sg_scale_exp_near(double factor, double x)
{
    uint64_t n;
    double s = sg_exp_reduce(x, &n);
    return (factor + factor * s) * sg_double_of_bits((n + 1023) << 52);
}

SG_HD static inline float sg_expf(float x)
{
    return sg_scale_expf(1.0f, x);
}

SG_HD static inline double sg_exp(double x)
{
    return sg_scale_exp(1.0, x);
}

/* x = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); log(x) = k ln 2 + log(1 + f). */
SG_HD static inline float sg_logf(float x)
{
    bool tiny = x < 0x1p-126f;
    uint32_t bits = sg_bits_of_float(tiny ? x * 0x1p24f : x) - 0x3f3504f3u;
    float k = (float)((int32_t)bits >> 23) + (tiny ? -24.0f : 0.0f);
    float f = sg_float_of_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float p = 0x1.1457aap-4f;
    p = p * f - 0x1.de3c16p-4f;
    p = p * f + 0x1.e6f068p-4f;
    p = p * f - 0x1.fc2208p-4f;
    p = p * f + 0x1.233768p-3f;
    p = p * f - 0x1.555c4ep-3f;
    p = p * f + 0x1.99a4b6p-3f;
    p = p * f - 0x1.000006p-2f;
    p = p * f + 0x1.555548p-2f;
    float square = f * f;
    float y = (k * 0x1.7f7d1cp-20f + (square * f * p - 0.5f * square)) + f;
    y += k * 0x1.62e4p-1f;
    y = x < INFINITY ? y : x;
    y = x == 0 ? -INFINITY : y;
    return x < 0 ? NAN : y;
}

/* log(1 + f) - f for sqrt(1/2) - 1 <= f <= sqrt(2) - 1, without cancellation. */
SG_HD static inline double sg_log_excess(double f)
{
    double s = f / (2.0 + f), z = s * s;
    double p = 0x1.2f063403c1e67p-3;
    p = p * z + 0x1.39a1a70576992p-3;
    p = p * z + 0x1.74663fa187546p-3;
    p = p * z + 0x1.c71c52060b74bp-3;
    p = p * z + 0x1.24924941f4f65p-2;
    p = p * z + 0x1.999999997fd78p-2;
    p = p * z + 0x1.5555555555592p-1;
    double half = 0.5 * f * f;
    return s * (half + z * p) - half;
}

/* log(x 2^more) of a positive normal number. Of 0 and subnormal numbers something finite below -708
 * + more ln 2, so that x log(x) is right or negligible. */
SG_HD static inline double sg_log_normal(double x, double more)
{
    uint64_t bits = sg_bits_of_double(x) + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
    /* The biased exponent becomes a double without an integer conversion, which few instruction
     * sets have. */
    double k = sg_double_of_bits(0x4330000000000000u | bits >> 52) - (0x1p52 + 1023) + more;
    double f = sg_double_of_bits((bits & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu) - 1.0;
    return k * 0x1.62e42fefa2p-1 + ((sg_log_excess(f) + k * 0x1.9ef35793c7673p-41) + f);
}

SG_HD static inline double sg_log(double x)
{
    bool tiny = x < 0x1p-1022;
    double y = sg_log_normal(tiny ? x * 0x1p54 : x, tiny ? -54.0 : 0.0);
    y = x < INFINITY ? y : x;
    y = x == 0 ? -INFINITY : y;
    return x < 0 ? (double)NAN : y;
}

/* 1 / (1 + exp(-x)) from exp(-|x|): never overflows, exact limits 0 and 1. */
SG_HD static inline float sg_sigmoidf(float x)
{
    float e = sg_expf(-fabsf(x));
    float upper = 1.0f / (1.0f + e);
    return x < 0 ? e * upper : upper;
}

SG_HD static inline double sg_sigmoid(double x)
{
    double e = sg_exp(-fabs(x));
    double upper = 1.0 / (1.0 + e);
    return x < 0 ? e * upper : upper;
}

#endif
